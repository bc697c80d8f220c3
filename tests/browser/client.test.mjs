// The client (wick/web/client.js) on a clock and sockets of the test's own; what it holds of topics is in vectors.test.mjs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "./world.mjs";

const web = new URL("../../wick/web/", import.meta.url);
const { EndedError, WickClient, mayReconnect, reconnectDelayMs } = await import(new URL("client.js", web));
const { candleFromRow } = await import(new URL("candles.js", web));
const { FORMS } = await import(new URL("codec.js", web));
const { CANDLE } = await import(new URL("schema.js", web));
const { patternOf } = await import(new URL("topics.js", web));

const [HELLO, ACK, ERROR, SNAPSHOT, DIFF, CLOSE, HEARTBEAT, BYE] = [0, 1, 2, 3, 4, 5, 6, 7];
const [SUBSCRIBE, UNSUBSCRIBE] = [16, 17];
const TICKER = "ticker:binance:BTC-USDT";
const OTHER = "ticker:binance:ETH-USDT";
const HEAD = Array(15).fill(0);
const LIMITS = { subscriptions: 1000, message_bytes: 65536, messages_s: 20, heartbeat_s: 5 };

const hello = (world, limits = LIMITS) => {
  world.socket.open();
  world.socket.say(HELLO, 1, world.now, "front-0.1", limits);
};

/** A connection on which TICKER has handle 1 and the position (5, 1). */
const welcome = (world) => {
  hello(world);
  const [, id] = world.socket.sent[0];
  world.socket.say(ACK, id, [[TICKER, 1, false]]);
  world.socket.say(SNAPSHOT, 1, 5, 1, [HEAD], []);
};

function ticking(listener = () => {}) {
  const world = new World();
  const subscription = world.client.subscribe(TICKER, listener);
  return { world, subscription, client: world.client };
}

test("it connects with the first subscription, where and how it was told to", () => {
  const { world, client } = ticking();
  assert.equal(world.socket.url, "ws://test/ws");
  assert.equal(world.socket.subprotocol, "wick.v1.json");
  assert.equal(client.status, "connecting");
  hello(world);
  assert.deepEqual(world.socket.sent, [[SUBSCRIBE, 1, [TICKER]]]);
  assert.equal(client.status, "live");
  assert.equal(client.front, "front-0.1");
});

test("a token goes into the address", () => {
  const addresses = [];
  class Socket { constructor(url) { addresses.push(url); } }
  new WickClient("wss://wick.test/ws?a=1", { token: "open sesame", WebSocket: Socket, environment: { setTimeout: () => {} } }).connect();
  assert.deepEqual(addresses, ["wss://wick.test/ws?a=1&token=open+sesame"]);
});

test("what it cannot work with is refused at once", () => {
  assert.throws(() => new WickClient("ws://test", { form: "xml", WebSocket: class {} }), /form is xml; valid is msgpack, json/);
  assert.throws(() => new WickClient("ws://test", { WebSocket: null }), /there is no WebSocket here/);
  assert.throws(() => new WickClient("not an address", { WebSocket: class {} }), TypeError);
});

test("the server's clock is known from its messages", () => {
  const { world, client } = ticking();
  world.socket.open();
  world.socket.say(HELLO, 1, world.now + 250, "front-0.1", LIMITS);
  assert.equal(client.serverNow, world.now + 250);
});

test("a lost connection comes back from where its topics stand", () => {
  const { world, client } = ticking();
  welcome(world);
  client.subscribe("closes:*:1m", () => {});
  world.socket.lose();
  assert.equal(client.status, "waiting");
  assert.equal(client.topics.get(TICKER).seq, 1, "what is held stays");
  world.advance(500);
  assert.equal(world.sockets.length, 2);
  hello(world);
  assert.deepEqual(world.socket.sent[0].slice(2), [[[TICKER, 5, 1], "closes:*:1m"]]);
  assert.deepEqual(world.statuses, ["connecting", "live", "waiting", "connecting", "live"]);
});

test("whether something was missed is told of each topic", () => {
  const told = [];
  const world = new World();
  world.client.subscribe("ticker:*", ({ type, topic, reason }) => told.push([type, topic.name, reason]));
  hello(world);
  world.socket.say(ACK, 1, [[TICKER, 1, false], [OTHER, 2, false]]);
  for (const handle of [1, 2]) world.socket.say(SNAPSHOT, handle, 5, 1, [HEAD], []);
  world.socket.lose();
  world.advance(500);
  told.length = 0;
  hello(world);
  world.socket.say(ACK, 2, [[TICKER, 1, true], [OTHER, 2, false]]);
  world.socket.say(DIFF, 1, 3, 2, [0, 1, 5]);
  world.socket.say(DIFF, 2, 3, 2, [0, 1, 5]);
  assert.deepEqual(told, [
    ["subscribed", TICKER, undefined], ["subscribed", OTHER, undefined], ["gap", OTHER, "unproven"], ["diff", TICKER, undefined],
  ]);
  assert.deepEqual(world.client.resumption, { resumed: 1, gaps: 1 });
  assert.equal(world.client.topics.get(TICKER).groups[0][0], 5);
});

test("positions of many topics go in as many requests as the length of a message asks for", () => {
  const world = new World();
  world.client.subscribe("ticker:*", () => {});
  hello(world);
  const names = Array.from({ length: 60 }, (_, at) => `ticker:binance:PAIR${at}-USDT`);
  world.socket.say(ACK, 1, names.map((name, at) => [name, at + 1, false]));
  for (const at of names.keys()) world.socket.say(SNAPSHOT, at + 1, "1795384128465000000", 10 ** 9, [HEAD], []);
  world.socket.lose();
  world.advance(500);
  hello(world, { ...LIMITS, message_bytes: 1024 });
  const asked = world.socket.sent.flatMap(([, , entries]) => entries);
  assert.deepEqual(asked.map((entry) => (typeof entry === "string" ? entry : entry[0])), [...names, "ticker:*"]);
  assert.ok(world.socket.sent.length > 1);
  for (const message of world.socket.sent) assert.ok(JSON.stringify(message).length <= 1024);
});

test("waits double up to a cap, all of it jitter, and start over only when data kept coming", () => {
  const { world, client } = ticking();
  const waits = [];
  for (let tries = 0; tries < 8; tries += 1) {
    if (tries % 2) welcome(world);
    else world.socket.open();
    world.socket.lose();
    waits.push(client.nextTryAt - world.now);
    world.advance(waits.at(-1));
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  welcome(world);
  world.socket.say(HEARTBEAT, world.now, 10);
  world.socket.lose();
  assert.equal(client.nextTryAt - world.now, 500);
  assert.equal(reconnectDelayMs(9, 0, () => 0), 0);
  assert.equal(reconnectDelayMs(9, 300, () => 0.5), 7500);
  assert.equal(reconnectDelayMs(0, 4000, () => 0.5), 2000);
});

test("the server's advice to come back later is followed", () => {
  const { world, client } = ticking();
  world.random = 0.5;
  welcome(world);
  world.socket.say(BYE, 1001, "the front stops", 1400);
  world.socket.lose(1001, "the front stops");
  assert.equal(client.nextTryAt - world.now, 700);
  assert.equal(client.reason, "the front stops");
});

test("a close code says whether to come back", async () => {
  for (const code of [1000, 1001, 1006, 1011, 1013, 3000, 3008, 3499, 4000, 4499]) assert.equal(mayReconnect(code), true, String(code));
  for (const code of [1002, 1003, 1007, 1008, 1009, 1010, 3500, 3999, 4500, 4999]) assert.equal(mayReconnect(code), false, String(code));
  const world = new World();
  const reader = world.client.subscribe(TICKER)[Symbol.asyncIterator]();
  const next = reader.next();
  hello(world);
  world.socket.lose(3500, "too many bad requests");
  world.advance(60_000);
  assert.equal(world.client.status, "ended");
  assert.equal(world.sockets.length, 1);
  await assert.rejects(next, EndedError);
  assert.throws(() => world.client.subscribe(TICKER), /too many bad requests/);
});

test("a silent connection is given up, one with heartbeats is not", () => {
  const { world, client } = ticking();
  welcome(world);
  for (let beats = 0; beats < 6; beats += 1) {
    world.advance(5_000);
    world.socket.say(HEARTBEAT, world.now, 10);
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(client.status, "live");
  world.advance(14_999);
  assert.equal(client.status, "live");
  world.advance(1);
  assert.equal(world.socket.isClosed, true);
  assert.equal(client.reason, "the server fell silent");
  world.advance(500);
  assert.equal(world.sockets.length, 2);
});

test("a connection that never opens is given up too", () => {
  const { world } = ticking();
  world.advance(15_500);
  assert.equal(world.sockets.length, 2);
});

test("old data make a living connection stale until new ones come", () => {
  const { world, client } = ticking();
  welcome(world);
  world.socket.say(HEARTBEAT, world.now, 10_500);
  assert.equal(client.dataAgeMs, 10_500);
  assert.equal(client.status, "stale");
  world.advance(1_000);
  assert.equal(client.dataAgeMs, 11_500);
  world.socket.say(DIFF, 1, 2, 1, [0, 1, 5]);
  assert.equal(client.dataAgeMs, 0);
  assert.equal(client.status, "live");
});

test("an unreadable message starts the session over, from fresh snapshots", () => {
  const told = [];
  const { world, client } = ticking(({ type, reason }) => told.push([type, reason]));
  welcome(world);
  world.socket.hear("{");
  assert.equal(client.status, "waiting");
  assert.match(client.reason, /^unreadable message/);
  assert.deepEqual(told.at(-1), ["gap", "unreadable"]);
  world.advance(500);
  hello(world);
  assert.deepEqual(world.socket.sent[0].slice(2), [[TICKER]]);
});

test("of a diff that cannot be read nothing is applied", () => {
  const malformed = [[2, 1, 5], [0, 1 << 15, 5], [0, 3, 5], [0, 0, 5], [0], [-1, 1, 5], [0, 1, "x"], [0, 1, 1.5], [0, 3, 1, "x"]];
  for (const changes of malformed) {
    const { world, client } = ticking();
    welcome(world);
    world.socket.say(DIFF, 1, 2, 1, changes);
    assert.equal(client.status, "waiting", JSON.stringify(changes));
    assert.deepEqual(client.topics.get(TICKER).groups, [HEAD]);
  }
});

test("another version of the protocol is not spoken with", () => {
  const { world, client } = ticking();
  world.socket.open();
  world.socket.say(HELLO, 2, world.now, "front-0.1", LIMITS);
  assert.match(client.reason, /the front speaks version 2/);
  assert.deepEqual(world.socket.sent, []);
});

test("hurry tries at once, but only while waiting", () => {
  const { world, client } = ticking();
  client.hurry();
  assert.equal(world.sockets.length, 1);
  world.socket.lose();
  client.hurry();
  assert.equal(world.sockets.length, 2);
  world.advance(10_000);
  assert.equal(world.sockets.length, 2, "the wait that was cut short does not fire later");
});

test("close ends everything at once and for good", async () => {
  const world = new World();
  const reader = world.client.subscribe(TICKER)[Symbol.asyncIterator]();
  welcome(world);
  for (const type of ["subscribed", "snapshot"]) assert.equal((await reader.next()).value.type, type);
  const next = reader.next();
  world.client.close();
  assert.deepEqual([world.socket.isClosed, world.socket.closedWith, world.client.status], [true, 1000, "ended"]);
  assert.deepEqual(await next, { done: true, value: undefined });
  world.advance(60_000);
  assert.equal(world.sockets.length, 1);
});

test("a topic that two subscriptions want is asked for once, and left with the last of them", async () => {
  const told = [[], []];
  const { world, client, subscription } = ticking(({ type }) => told[0].push(type));
  welcome(world);
  world.socket.say(DIFF, 1, 2, 1, [0, 1, 5]);
  const second = client.subscribe([TICKER], ({ type, topic }) => told[1].push([type, topic.groups[0][0]]));
  await null; // what it holds already is told in a moment of its own
  assert.deepEqual(told[1], [["snapshot", 5]]);
  assert.equal(world.socket.sent.length, 1);
  subscription.unsubscribe();
  world.socket.say(DIFF, 1, 3, 1, [0, 1, 5]);
  assert.deepEqual(told[0], ["subscribed", "snapshot", "diff"]);
  assert.deepEqual(told[1].at(-1), ["diff", 10]);
  second.unsubscribe();
  assert.deepEqual(world.socket.sent.slice(1), [[UNSUBSCRIBE, 2, [TICKER]]]);
  world.socket.say(ACK, 2, [[TICKER, 1, false]]);
  assert.equal(client.topics.size, 0);
});

test("a topic of a glob that is left is asked for again where its name is wanted still", () => {
  const world = new World();
  const glob = world.client.subscribe("ticker:*", () => {});
  world.client.subscribe(TICKER, () => {});
  hello(world);
  world.socket.say(ACK, 1, [[TICKER, 1, false], [OTHER, 2, false]]);
  glob.unsubscribe();
  world.socket.say(ACK, 2, [[TICKER, 1, false], [OTHER, 2, false]]);
  assert.deepEqual(world.socket.sent.slice(1), [[UNSUBSCRIBE, 2, ["ticker:*"]], [SUBSCRIBE, 3, [TICKER]]]);
  assert.deepEqual([...world.client.topics.keys()], [TICKER]);
});

test("however many are asked for again, it takes one request: a front closes who makes hundreds at once", () => {
  const world = new World();
  const names = Array.from({ length: 300 }, (_, number) => `ticker:binance:S${number}-USDT`);
  const grants = names.map((name, number) => [name, number + 1, false]);
  const glob = world.client.subscribe("ticker:*", () => {});
  world.client.subscribe("ticker:binance:*", () => {});
  hello(world);
  world.socket.say(ACK, 1, grants);
  glob.unsubscribe();
  world.socket.say(ACK, 2, grants);
  assert.deepEqual(world.socket.sent.slice(1), [[UNSUBSCRIBE, 2, ["ticker:*"]], [SUBSCRIBE, 3, names]]);
  world.socket.say(ACK, 3, grants);
  world.socket.say(9, ...grants.map(([, handle]) => [SNAPSHOT, handle, 5, 1, [HEAD], []]));
  world.socket.say(9, ...grants.map(([, handle]) => [DIFF, handle, 9, 1, [0, 1, 5]]));
  assert.deepEqual(world.socket.sent.slice(3), [[SUBSCRIBE, 4, names.map((name) => [name, 5, 1])]]);
});

test("who leaves and comes back before the answer loses nothing", () => {
  const { world, client, subscription } = ticking();
  welcome(world);
  subscription.unsubscribe();
  const told = [];
  client.subscribe(TICKER, ({ type }) => told.push(type));
  world.socket.say(ACK, 2, [[TICKER, 1, false]]);
  world.socket.say(ACK, 3, [[TICKER, 1, false]]);
  world.socket.say(SNAPSHOT, 1, 5, 7, [HEAD], []);
  world.socket.say(DIFF, 1, 8, 1, [0, 1, 5]);
  assert.deepEqual(world.socket.sent.slice(1), [[UNSUBSCRIBE, 2, [TICKER]], [SUBSCRIBE, 3, [TICKER]]]);
  assert.deepEqual(told, ["subscribed", "snapshot", "diff"]);
});

test("a request for which others left no room is made again on another connection", () => {
  const { world, client } = ticking();
  hello(world);
  assert.deepEqual(world.socket.sent, [[SUBSCRIBE, 1, [TICKER]]]);
  world.socket.say(ERROR, 1, "too_many", "messages", "1", "the address has too many", [], null);
  assert.equal(client.status, "waiting");
  world.advance(500);
  hello(world);
  assert.deepEqual(world.socket.sent.at(-1).at(-1), [TICKER]);
});

test("an error is told to who asked for the text, and to the client's owner", () => {
  const told = [];
  const { world, client } = ticking((event) => told.push(event.type));
  client.subscribe("tikcer:x", ({ type, message, valid }) => told.push([type, message, valid]));
  hello(world);
  world.socket.say(ERROR, 1, "bad_kind", "kind", "tikcer", "valid is ticker", ["ticker"], "tikcer:x");
  assert.deepEqual(told, [["error", "valid is ticker", ["ticker"]]]);
  assert.deepEqual(world.events.at(-1).text, "tikcer:x");
  assert.equal(client.counters.errors, 1);
});

test("a text that was refused is asked for again only by who subscribes anew", () => {
  const { world, client } = ticking();
  client.subscribe("ticker:mars:*", () => {});
  hello(world);
  world.socket.say(ERROR, 1, "bad_venue", "venue", "mars", "valid is binance", ["binance"], "ticker:mars:*");
  world.socket.lose();
  world.advance(500);
  hello(world);
  assert.deepEqual(world.socket.sent, [[SUBSCRIBE, 2, [TICKER]]]);
  client.subscribe(["ticker:mars:*", "ticker:mars:*"], () => {});
  assert.deepEqual(world.socket.sent.slice(1), [[SUBSCRIBE, 3, ["ticker:mars:*"]]]);
});

test("a listener that fails disturbs nobody, and is heard of", (context) => {
  const later = context.mock.method(globalThis, "queueMicrotask", () => {});
  const told = [];
  const world = new World();
  world.client.subscribe(TICKER, () => { throw new Error("a listener's own"); });
  world.client.subscribe("ticker:*", ({ type }) => told.push(type));
  welcome(world);
  assert.deepEqual(told, ["subscribed", "snapshot"]);
  assert.equal(world.client.status, "live");
  assert.equal(later.mock.callCount(), 2);
  for (const { arguments: [thrown] } of later.mock.calls) assert.throws(thrown, /a listener's own/);
});

test("events can be iterated over; to leave the loop is to unsubscribe", async () => {
  const world = new World();
  const subscription = world.client.subscribe(TICKER);
  welcome(world);
  const told = [];
  for await (const { type } of subscription) {
    told.push(type);
    if (type === "snapshot") world.socket.say(DIFF, 1, 2, 1, [0, 1, 5]);
    if (type === "diff") break;
  }
  assert.deepEqual(told, ["subscribed", "snapshot", "diff"]);
  assert.deepEqual(world.socket.sent.at(-1), [UNSUBSCRIBE, 2, [TICKER]]);
});

test("a reader that lags loses the oldest events, is told how many, and its topics are current all the same", async () => {
  const world = new World();
  const subscription = world.client.subscribe(TICKER);
  welcome(world);
  for (let seq = 2; seq <= 4200; seq += 1) world.socket.say(DIFF, 1, seq, 1, [0, 1, 1]);
  const reader = subscription[Symbol.asyncIterator]();
  assert.deepEqual((await reader.next()).value, { type: "dropped", count: 4199 + 2 - 4096 });
  assert.equal((await reader.next()).value.type, "diff");
  assert.equal(subscription.topics.get(TICKER).groups[0][0], 4199);
});

test("rows are kept by open time, the newest eight, and of each what was told last", () => {
  const world = new World();
  const name = "closes:binance:BTC-USDT:1m";
  world.client.subscribe(name, () => {});
  hello(world);
  world.socket.say(ACK, 1, [[name, 1, false]]);
  world.socket.say(SNAPSHOT, 1, 5, 1, [], []);
  for (const [open, revision] of [[120, 1], [60, 1], [60, 2], [120, 0]]) world.socket.say(CLOSE, 1, 2, [open, 0, revision]);
  const rows = () => world.client.topics.get(name).rows.map(([open, , revision]) => [open, revision]);
  assert.deepEqual(rows(), [[60, 2], [120, 0]]);
  for (let open = 180; open <= 720; open += 60) world.socket.say(CLOSE, 1, 3, [open, 0, 0]);
  assert.deepEqual(rows().map(([open]) => open), [300, 360, 420, 480, 540, 600, 660, 720]);
});

test("a glob is the topics that the front says it is", () => {
  const names = [
    "ticker:binance:BTC-USDT", "ticker:okx:BTC-USDT", "candles:binance:BTC-USDT:1m", "candles:binance:ETH-BTC:15s", "closes:okx:ETH-BTC:1h", "stats",
  ];
  const named = (text) => names.filter((name) => patternOf(text).test(name));
  assert.deepEqual(named("ticker:*"), names.slice(0, 2));
  assert.deepEqual(named("ticker:binance:*"), [names[0]]);
  assert.deepEqual(named("ticker:*:BTC-USDT"), names.slice(0, 2));
  assert.deepEqual(named("candles:*:1m"), [names[2]]);
  assert.deepEqual(named("candles:*:BTC-*:1m,15s"), [names[2]]);
  assert.deepEqual(named("candles:binance:BTC-USDT,ETH-BTC:*"), names.slice(2, 4));
  assert.deepEqual(named("closes:*:1h"), [names[4]]);
  assert.deepEqual(named("ticker:binance:B.C-USDT"), []);
  assert.deepEqual(named("stats"), ["stats"]);
});

test("a row that is no candle's is refused", () => {
  const row = [...Array(Object.keys(CANDLE).length - 1).fill(0), Array(61).fill(0)];
  assert.deepEqual(candleFromRow(row).patterns, {});
  assert.throws(() => candleFromRow(row.slice(1)), { name: "ProtocolError" });
  for (const patterns of [Array(60).fill(1), "x".repeat(61), 5, [...Array(60).fill(0), "x"]]) {
    assert.throws(() => candleFromRow([...row.slice(0, -1), patterns]), { name: "ProtocolError" });
  }
});

test("msgpack that is cut off, goes on, or lies about its lengths is refused", () => {
  const { encode, decode } = FORMS.msgpack;
  const whole = encode([16, 1, ["x".repeat(40), [TICKER, 2n ** 63n, -(2n ** 70n)], null, true, -200, 70_000, 2 ** 40]]);
  assert.deepEqual(encode(decode(whole)), whole);
  for (let end = 0; end < whole.length; end += 1) assert.throws(() => decode(whole.subarray(0, end)), RangeError, String(end));
  assert.throws(() => decode(Uint8Array.of(...whole, 0)), RangeError);
  const huge = [[0xdd, 255, 255, 255, 255], [0xdf, 255, 255, 255, 255], [0xdb, 255, 255, 255, 255], [0xc6, 255, 255, 255, 255]];
  const others = [Array(40).fill(0x91), [0xc1], [0xd4, 5, 0], [0xc7, 0, 1], [0xa2, 0xc3, 0x28]];
  for (const bytes of [...huge, ...others]) assert.throws(() => decode(Uint8Array.from(bytes)), bytes.join());
});
