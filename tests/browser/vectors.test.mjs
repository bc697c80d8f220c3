// What every client must hold, say and send (tests/vectors/README.md), in both forms.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { World, plain } from "./world.mjs";

const web = new URL("../../wick/web/", import.meta.url);
const { decimal, integer } = await import(new URL("codec.js", web));

const folder = new URL("../vectors/", import.meta.url);
const vectors = readdirSync(folder).filter((name) => name.endsWith(".json")).map((name) => JSON.parse(readFileSync(new URL(name, folder), "utf8")));
const TRADES = 10;
const UNCOMPARED = new Set(["heartbeat", "unsubscribed"]); // the client has no such events

class Replay {
  constructor(form) {
    this.world = new World(form);
    this.form = form;
    this.events = [];
    this.subscriptions = new Map(); // texts -> the subscription
    this.decimals = new Map(); // a trade's id -> those of its message
    this.read = 0; // of what the client has sent on this connection
  }

  get client() { return this.world.client; }

  step(step) {
    const [name] = Object.keys(step);
    this[name](step[name], step);
  }

  subscribe(texts) {
    this.subscriptions.set(texts.join(), this.client.subscribe(texts, (event) => this.events.push(event)));
  }

  unsubscribe(texts) { this.subscriptions.get(texts.join()).unsubscribe(); }

  connect() {
    this.client.connect();
    this.client.hurry();
    this.world.socket.open();
    this.read = 0;
  }

  receive(message, { msgpack }) {
    this.done();
    this.noteDecimals(message);
    this.world.socket.hear(this.form === "json" ? JSON.stringify(message) : Uint8Array.from(Buffer.from(msgpack, "hex")).buffer);
    this.take();
  }

  /** What is told of the connection, among what the subscriptions are told: each in the order of its own. */
  take() {
    for (const event of this.world.events.splice(0)) {
      if (event.type === "status" && event.status === "stale") this.events.push({ type: "stale" });
      else if (event.type === "hello" || event.type === "bye") this.events.push(event);
      else if (event.type === "error" && event.text === null) this.events.push(event);
    }
  }

  noteDecimals(message) {
    if (message[0] !== TRADES) return;
    const [, , , , , price, quantity, trades] = message;
    for (const [id] of trades) this.decimals.set(id, [price, quantity]);
  }

  send(message) {
    assert.deepEqual(plain(this.world.socket.sent[this.read]), message);
    this.read += 1;
  }

  advance_ms(ms) {
    this.world.advance(ms);
    this.take();
  }

  disconnect(code) {
    this.done();
    this.world.socket.lose(code);
  }

  reconnect(wanted) {
    this.take();
    if (wanted === null) assert.equal(this.client.status, "ended");
    else assert.ok(this.client.status === "waiting" && this.client.nextTryAt - this.world.now <= wanted.max_ms, this.client.status);
  }

  age_ms(age) { assert.equal(this.client.dataAgeMs, age); }

  expect(topics, { events }) {
    assert.deepEqual(plain(Object.fromEntries([...this.client.topics].map(([name, topic]) => [name, held(topic)]))), topics);
    const told = this.events.splice(0).filter(({ type, reason }) => type !== "gap" || reason === "hole").map(described);
    const wanted = events.filter(({ type }) => !UNCOMPARED.has(type));
    assert.deepEqual(plain(told), wanted.map((event) => (event.type === "trades" ? { ...event, trades: event.trades.map(this.named) } : event)));
  }

  named = ([id, timeUs, price, quantity, takerIsBuyer, count]) => {
    const [priceDecimals, quantityDecimals] = this.decimals.get(id);
    const texts = { price: decimal(integer(price), priceDecimals), quantity: decimal(integer(quantity), quantityDecimals) };
    return { id, timeUs, ...texts, takerIsBuyer, count };
  };

  /** Nothing is said that no step has named. */
  done() { if (this.world.socket) assert.deepEqual(plain(this.world.socket.sent.slice(this.read)), []); }
}

function held({ type, epoch, seq, groups, rows, row, book, processes }) {
  switch (type) {
    case "trades": return { epoch, seq };
    case "metrics": return { row };
    case "book": return { seq: book?.seq ?? null, time_us: book?.timeUs ?? null, bids: book?.bids ?? null, asks: book?.asks ?? null };
    case "stats": return { processes };
    default: return { epoch, seq, groups, rows };
  }
}

function described(event) {
  const { type, topic } = event;
  switch (type) {
    case "hello": case "stale": return { type };
    case "bye": return { type, close_code: event.code, retry_after_ms: event.retryAfterMs };
    case "error": return { type, code: event.code, field: event.field, value: event.value, valid: event.valid, topic: event.text };
    case "subscribed": return { type, topic: topic.name, resumed: event.resumed };
    case "stats": return { type, topic: topic.name, process: event.process };
    case "trades": return { type, topic: topic.name, missed: event.missed, trades: event.trades };
    default: return { type, topic: topic.name };
  }
}

test("there are vectors", () => { assert.ok(vectors.length >= 12); });

for (const { name, about, steps } of vectors) {
  for (const form of ["msgpack", "json"]) {
    test(`${name}, ${form}: ${about}`, () => {
      const replay = new Replay(form);
      steps.forEach((step, at) => {
        try {
          replay.step(step);
        } catch (error) {
          error.message = `step ${at}, ${JSON.stringify(step).slice(0, 200)}: ${error.message}`;
          throw error;
        }
      });
      replay.done();
    });
  }
}

test("whatever is broken of a message, the client takes it or connects anew, and nothing else happens", () => {
  let seed = 20261123;
  const random = (end) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31; // Python's and C's old generator: the same every time
    return (seed >> 8) % end;
  };
  const outcomes = new Set();
  for (const { steps } of vectors) {
    const said = steps.filter(({ receive }) => receive).map(({ msgpack }) => Buffer.from(msgpack, "hex"));
    const texts = steps.filter(({ subscribe }) => subscribe).flatMap(({ subscribe }) => subscribe);
    for (let times = 0; times < 20; times += 1) {
      const world = new World("msgpack");
      const subscription = world.client.subscribe(texts, () => {});
      world.socket.open();
      const broken = random(said.length);
      for (const [at, frame] of said.entries()) {
        const bytes = Uint8Array.from(frame);
        if (at === broken) bytes[random(bytes.length)] = random(256);
        if (world.socket.onmessage) world.socket.hear(bytes.buffer);
      }
      outcomes.add(world.client.status);
      world.advance(60_000);
      assert.ok(world.sockets.length > 1, "it goes on");
      subscription.unsubscribe();
      world.client.close();
    }
  }
  assert.deepEqual([...outcomes].sort(), ["live", "waiting"]);
});
