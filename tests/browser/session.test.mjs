// The connection that stays (wick/web/session.js), on a clock and sockets of the test's own.

import assert from "node:assert/strict";
import { test } from "node:test";

const web = new URL("../../wick/web/", import.meta.url);
const { KIND, jsonCodec } = await import(new URL("protocol.js", web));
const { Session, mayReconnect, reconnectDelayMs } = await import(new URL("session.js", web));

const TICKER = "ticker:binance:BTC-USDT";
const HEAD = Array(15).fill(0);

/** A session whose time and network are `world`. */
function sessionIn(world) {
  world.now = 1_000_000;
  world.sockets = [];
  world.timers = [];
  world.events = [];
  world.statuses = [];
  class FakeSocket {
    constructor(url, subprotocol) {
      Object.assign(this, { url, subprotocol, readyState: 0, sent: [], isClosed: false });
      world.sockets.push(this);
    }
    open() { this.readyState = 1; this.onopen(); }
    send(data) { this.sent.push(JSON.parse(data)); }
    say(...message) { this.onmessage({ data: JSON.stringify(message) }); }
    close() { this.isClosed = true; this.readyState = 3; }
    lose(code = 1006, reason = "") { this.readyState = 3; this.onclose({ code, reason }); }
  }
  world.advance = (ms) => {
    const end = world.now + ms;
    for (;;) {
      const [next] = world.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      world.timers = world.timers.filter((timer) => timer !== next);
      world.now = next.at;
      next.call();
    }
    world.now = end;
  };
  const session = new Session({
    url: "ws://test/ws", codec: jsonCodec,
    onEvent: (event) => world.events.push(event.type),
    onStatus: (status) => world.statuses.push(status),
    environment: {
      WebSocket: FakeSocket, now: () => world.now, random: () => world.random ?? 1,
      setTimeout: (call, ms) => { const timer = { call, at: world.now + ms }; world.timers.push(timer); return timer; },
      clearTimeout: (timer) => { world.timers = world.timers.filter((other) => other !== timer); },
    },
  });
  session.subscribe([TICKER]);
  session.start();
  return session;
}

const welcome = (socket, now) => {
  socket.open();
  socket.say(KIND.HELLO, 1, now, {});
  socket.say(KIND.ACK, 1, [[TICKER, 1]]);
  socket.say(KIND.SNAPSHOT, 1, 5, 1, [HEAD], []);
};

test("it asks for the subprotocol and subscribes when the socket opens", () => {
  const world = {};
  const session = sessionIn(world);
  const [socket] = world.sockets;
  assert.equal(socket.subprotocol, "wick.v1.json");
  assert.deepEqual(socket.sent, []);
  welcome(socket, world.now + 250);
  assert.deepEqual(socket.sent, [[KIND.SUBSCRIBE, 1, [TICKER]]]);
  assert.equal(session.status, "live");
  assert.equal(session.serverNow, world.now + 250);
  assert.deepEqual(world.events, ["hello", "ack", "snapshot"]);
  session.subscribe(["candles:binance:BTC-USDT:1m"]);
  session.unsubscribe([TICKER]);
  assert.deepEqual(socket.sent.slice(1).map((message) => message[0]), [KIND.SUBSCRIBE, KIND.UNSUBSCRIBE]);
});

test("a lost connection comes back with all subscriptions and a state of its own", () => {
  const world = {};
  const session = sessionIn(world);
  welcome(world.sockets[0], world.now);
  session.subscribe(["candles:binance:BTC-USDT:1m"]);
  world.sockets[0].lose();
  assert.equal(session.status, "waiting");
  world.advance(500);
  assert.equal(world.sockets.length, 2);
  world.sockets[1].open();
  assert.deepEqual(world.sockets[1].sent[0].slice(2), [[TICKER, "candles:binance:BTC-USDT:1m"]]);
  assert.equal(session.topic(TICKER), null, "handles of the old connection are gone");
  assert.deepEqual(world.statuses, ["live", "waiting", "connecting"]);
});

test("waits double up to a cap, all of it jitter, and start over only when data kept coming", () => {
  const world = {};
  const session = sessionIn(world);
  const waits = [];
  for (let tries = 0; tries < 8; tries += 1) {
    const socket = world.sockets.at(-1);
    if (tries % 2) welcome(socket, world.now);
    else socket.open();
    socket.lose();
    waits.push(session.nextTryAt - world.now);
    world.advance(waits.at(-1));
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  welcome(world.sockets.at(-1), world.now);
  world.sockets.at(-1).say(KIND.HEARTBEAT, world.now, 10);
  world.sockets.at(-1).lose();
  assert.equal(session.nextTryAt - world.now, 500);
  assert.equal(reconnectDelayMs(9, 0, () => 0), 0);
  assert.equal(reconnectDelayMs(9, 300, () => 0.5), 7500);
  assert.equal(reconnectDelayMs(0, 4000, () => 0.5), 2000);
});

test("the server's advice to come back later is followed", () => {
  const world = { random: 0.5 };
  const session = sessionIn(world);
  welcome(world.sockets[0], world.now);
  world.sockets[0].say(KIND.BYE, 1001, "the front stops", 1400);
  world.sockets[0].lose(1001, "the front stops");
  assert.equal(session.nextTryAt - world.now, 700);
  assert.equal(session.reason, "the front stops");
});

test("a close code says whether to come back", () => {
  for (const code of [1000, 1001, 1006, 1008, 1011, 1013, 3000, 3008, 3499, 4000, 4499]) assert.equal(mayReconnect(code), true, String(code));
  for (const code of [1002, 1007, 1009, 3500, 3999, 4500, 4999]) assert.equal(mayReconnect(code), false, String(code));
  const world = {};
  const session = sessionIn(world);
  welcome(world.sockets[0], world.now);
  world.sockets[0].lose(3500, "too many bad requests");
  world.advance(60_000);
  assert.equal(session.status, "ended");
  assert.equal(world.sockets.length, 1);
});

test("a silent connection is given up, one with heartbeats is not", () => {
  const world = {};
  const session = sessionIn(world);
  welcome(world.sockets[0], world.now);
  for (let beats = 0; beats < 6; beats += 1) {
    world.advance(5_000);
    world.sockets[0].say(KIND.HEARTBEAT, world.now, 10);
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(session.status, "live");
  world.advance(13_100);
  assert.equal(world.sockets[0].isClosed, true);
  assert.equal(session.reason, "the server fell silent");
  world.advance(500);
  assert.equal(world.sockets.length, 2);
});

test("a connection that never opens is given up too", () => {
  const world = {};
  sessionIn(world);
  world.advance(14_000);
  assert.equal(world.sockets.length, 2);
});

test("old data make a living connection stale until new ones come", () => {
  const world = {};
  const session = sessionIn(world);
  welcome(world.sockets[0], world.now);
  world.sockets[0].say(KIND.HEARTBEAT, world.now, 9_500);
  assert.equal(session.dataAgeMs, 9_500);
  world.advance(1_000);
  assert.equal(session.status, "stale");
  world.sockets[0].say(KIND.DIFF, 1, 5, 1, 2, [0, 1, 5]);
  assert.equal(session.dataAgeMs, 0);
  world.advance(1_000);
  assert.equal(session.status, "live");
  assert.equal(session.topic(TICKER).groups[0][0], 5);
});

test("a gap leads to exactly one resubscription", () => {
  const world = {};
  const session = sessionIn(world);
  const [socket] = world.sockets;
  welcome(socket, world.now);
  socket.say(KIND.DIFF, 1, 5, 7, 8, [0, 1, 5]);
  socket.say(KIND.DIFF, 1, 5, 8, 9, [0, 1, 5]);
  assert.deepEqual(socket.sent.slice(1), [[KIND.UNSUBSCRIBE, 2, [TICKER]], [KIND.SUBSCRIBE, 3, [TICKER]]]);
  assert.equal(session.counters.gaps, 1);
});

test("an unreadable message starts the session over", () => {
  const world = {};
  const session = sessionIn(world);
  welcome(world.sockets[0], world.now);
  world.sockets[0].onmessage({ data: "{" });
  assert.equal(session.status, "waiting");
  assert.match(session.reason, /^unreadable message/);
  world.advance(500);
  welcome(world.sockets[1], world.now);
  assert.equal(session.status, "live");
});

test("hurry tries at once, but only while waiting", () => {
  const world = {};
  const session = sessionIn(world);
  session.hurry();
  assert.equal(world.sockets.length, 1);
  world.sockets[0].lose();
  session.hurry();
  assert.equal(world.sockets.length, 2);
  world.advance(10_000);
  assert.equal(world.sockets.length, 2, "the wait that was cut short does not fire later");
});
