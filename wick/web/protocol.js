// The session protocol v1 (docs: wick/wire/session.py), without a socket, a page or a clock: it also runs in node.
//
// Integers stay exact: a value is a Number where it is safe and a BigInt beyond, and prices leave here as decimal strings.

import { CANDLE, HEAD, LIVE, PATTERNS } from "./schema.js";

export const VERSION = 1;
export const SUBPROTOCOLS = Object.freeze({ msgpack: "wick.v1.msgpack", json: "wick.v1.json" });

export const KIND = Object.freeze({
  HELLO: 0, ACK: 1, ERROR: 2, SNAPSHOT: 3, DIFF: 4, CLOSE: 5, HEARTBEAT: 6, BYE: 7, LIVE: 8,
  SUBSCRIBE: 16, UNSUBSCRIBE: 17, PING: 18,
});

const GROUP_SIZES = Object.freeze({
  ticker: [Object.keys(HEAD).length], candles: [Object.keys(HEAD).length, Object.keys(LIVE).length], metrics: [],
});

const [PRICE, VOLUME, TURNOVER, PLAIN, REAL, BY_PATTERN] = ["price", "volume", "turnover", "plain", "real", "patterns"];
const CANDLE_NAMES = Object.keys(CANDLE);
const [PRICE_DECIMALS_AT, QUANTITY_DECIMALS_AT] = ["price_decimals", "quantity_decimals"].map((name) => CANDLE_NAMES.indexOf(name));
const PATTERN_UNIT = 20; // of TA-Lib's values, in a row's patterns
const EXT_BIG_INTEGER = 1;

/** What the other side sent is not the protocol. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

// ---------------------------------------------------------------------------------------------------- integers

/** A wire integer (Number, BigInt, or the decimal string that JSON uses beyond 2^53) as Number if safe, else BigInt. */
export function integer(value) {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  if (typeof value === "string" && /^-?\d+$/.test(value)) value = BigInt(value);
  if (typeof value !== "bigint") throw new ProtocolError(`not an integer: ${value}`);
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

export function add(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return integer(BigInt(a) + BigInt(b));
}

export function subtract(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    const difference = a - b;
    if (Number.isSafeInteger(difference)) return difference;
  }
  return integer(BigInt(a) - BigInt(b));
}

/** The plain decimal text of `mantissa` · 10^-`decimals`, without trailing zeros: exact, as the engine writes it. */
export function decimal(mantissa, decimals) {
  const negative = mantissa < 0;
  const digits = String(mantissa).replace("-", "");
  if (decimals <= 0) return (negative ? "-" : "") + (digits === "0" ? "0" : digits + "0".repeat(-decimals));
  const padded = digits.padStart(decimals + 1, "0");
  const whole = padded.slice(0, -decimals);
  const fraction = padded.slice(-decimals).replace(/0+$/, "");
  return (negative ? "-" : "") + whole + (fraction ? "." + fraction : "");
}

/** Big-endian two's complement bytes (ext type 1) as an integer. */
export function integerFromBytes(bytes) {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return integer(BigInt.asIntN(8 * bytes.length, value));
}

// ---------------------------------------------------------------------------------------------------- codecs

/** The msgpack codec over the vendored library (`globalThis.MessagePack` on the page). */
export function msgpackCodec({ Decoder, ExtensionCodec, encode }) {
  const extensionCodec = new ExtensionCodec();
  extensionCodec.register({ type: EXT_BIG_INTEGER, encode: () => null, decode: integerFromBytes });
  const decoder = new Decoder({ extensionCodec, useBigInt64: true });
  return {
    subprotocol: SUBPROTOCOLS.msgpack,
    encode: (message) => encode(message),
    decode: (data) => decoder.decode(data),
    size: (data) => data.byteLength,
  };
}

export const jsonCodec = Object.freeze({
  subprotocol: SUBPROTOCOLS.json,
  encode: (message) => JSON.stringify(message),
  decode: (data) => JSON.parse(data),
  size: (data) => data.length,
});

// ---------------------------------------------------------------------------------------------------- candles

/** The page's name for a field: "taker_buy_volume" is takerBuyVolume, "ema_20" is ema20. */
export const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const CANDLE_FIELDS = Object.entries(CANDLE).map(([name, kind]) => [camel(name), kind]);

/** A message's row as a candle: exact decimals as text, ratios as numbers, null for what is not known. */
export function candleFromRow(row) {
  if (!Array.isArray(row) || row.length < CANDLE_FIELDS.length) throw new ProtocolError("a candle row is too short");
  const priceDecimals = integer(row[PRICE_DECIMALS_AT]);
  const quantityDecimals = integer(row[QUANTITY_DECIMALS_AT]);
  const decimals = { [PRICE]: priceDecimals, [VOLUME]: quantityDecimals, [TURNOVER]: priceDecimals + quantityDecimals };
  return Object.fromEntries(CANDLE_FIELDS.map(([name, kind], at) => {
    const value = row[at];
    if (value === null) return [name, null];
    if (kind === REAL) return [name, real(value)];
    if (kind === BY_PATTERN) return [name, patternsFrom(value)];
    return [name, kind === PLAIN ? integer(value) : decimal(integer(value), decimals[kind])];
  }));
}

/** A float of the wire; NaN, which JSON does not have, is null. */
function real(value) {
  if (typeof value !== "number" && typeof value !== "bigint") throw new ProtocolError(`not a number: ${value}`);
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

/** The patterns that a row tells, by name, in TA-Lib's values: bytes in msgpack, an array of integers in JSON. */
function patternsFrom(value) {
  if (!(Array.isArray(value) || value instanceof Uint8Array) || value.length !== PATTERNS.length) {
    throw new ProtocolError("not the patterns of a candle");
  }
  const found = {};
  for (const [at, units] of (Array.isArray(value) ? value : new Int8Array(value)).entries()) {
    if (integer(units)) found[PATTERNS[at].name] = Number(units) * PATTERN_UNIT;
  }
  return found;
}

const UNKNOWN = Object.freeze(Object.fromEntries(CANDLE_FIELDS.map(([name]) => [name, null])));

/** The live candle that a `[head, candle]` state holds; null while nothing has traded. */
export function liveCandle([head, live]) {
  if (!live[LIVE.OPEN_TIME_MS]) return null;
  const priceDecimals = head[HEAD.PRICE_DECIMALS];
  const quantityDecimals = head[HEAD.QUANTITY_DECIMALS];
  const price = (mantissa) => decimal(mantissa, priceDecimals);
  const quantity = (mantissa) => decimal(mantissa, quantityDecimals);
  const quote = (mantissa) => decimal(mantissa, priceDecimals + quantityDecimals);
  const since = (total, opening) => subtract(head[total], live[opening]);
  const volume = since(HEAD.VOLUME, LIVE.VOLUME0);
  const quoteVolume = since(HEAD.QUOTE_VOLUME, LIVE.QUOTE_VOLUME0);
  const bought = since(HEAD.TAKER_BUY_VOLUME, LIVE.TAKER_BUY_VOLUME0);
  const tradeCount = since(HEAD.TRADE_COUNT, LIVE.TRADE_COUNT0);
  const delta = subtract(add(bought, bought), volume);
  const hasTraded = Number(volume) > 0;
  return {
    ...UNKNOWN, openTimeMs: live[LIVE.OPEN_TIME_MS], revision: 0, flags: live[LIVE.FLAGS], priceDecimals, quantityDecimals,
    open: price(live[LIVE.OPEN]), high: price(live[LIVE.HIGH]), low: price(live[LIVE.LOW]),
    close: price(head[HEAD.LAST_PRICE]), volume: quantity(volume), quoteVolume: quote(quoteVolume), tradeCount,
    takerBuyVolume: quantity(bought),
    takerBuyQuoteVolume: quote(since(HEAD.TAKER_BUY_QUOTE_VOLUME, LIVE.TAKER_BUY_QUOTE_VOLUME0)),
    delta: quantity(delta), vwap: hasTraded ? Number(quoteVolume) / Number(volume) / 10 ** priceDecimals : null,
    deltaRatio: hasTraded ? Number(delta) / Number(volume) : 0,
    avgTradeSize: tradeCount ? Number(volume) / 10 ** quantityDecimals / Number(tradeCount) : 0,
  };
}

/** The live candle with what its totals do not tell from a LIVE message's, where that is the same candle. */
export function completed(live, told) {
  if (told?.openTimeMs !== live.openTimeMs) return live;
  return Object.fromEntries(Object.entries(live).map(([name, value]) => [name, value ?? told[name]]));
}

/** What a head says, for display: exact decimal strings; null where it is not known. */
export function quoteFromHead(head) {
  const priceDecimals = head[HEAD.PRICE_DECIMALS];
  const price = (field) => (head[field] ? decimal(head[field], priceDecimals) : null);
  const quantity = (field) => decimal(head[field], head[HEAD.QUANTITY_DECIMALS]);
  return {
    last: price(HEAD.LAST_PRICE), lastTimeMs: head[HEAD.LAST_TIME_MS], dayOpen: price(HEAD.DAY_OPEN),
    bid: price(HEAD.BID), bidQuantity: quantity(HEAD.BID_QUANTITY),
    ask: price(HEAD.ASK), askQuantity: quantity(HEAD.ASK_QUANTITY),
    volume: quantity(HEAD.VOLUME), priceDecimals, quantityDecimals: head[HEAD.QUANTITY_DECIMALS],
    quoteVolume: decimal(head[HEAD.QUOTE_VOLUME], priceDecimals + head[HEAD.QUANTITY_DECIMALS]),
    tradeCount: head[HEAD.TRADE_COUNT],
  };
}

// ---------------------------------------------------------------------------------------------------- diffs

/** Whether a DIFF's changes touch `field` of `group`. */
function touches(changes, group, field) {
  for (let i = 0; i < changes.length; i += 2 + bitCount(changes[i + 1])) {
    if (changes[i] === group && (changes[i + 1] >> field) & 1) return true;
  }
  return false;
}

function bitCount(mask) {
  let count = 0;
  for (; mask; mask &= mask - 1) count += 1;
  return count;
}

/** Adds a DIFF's changes to `groups` in place; a malformed one throws before anything has moved. */
export function applyChanges(groups, changes) {
  for (let i = 0; i < changes.length;) {
    const group = groups[changes[i]];
    const mask = changes[i + 1];
    if (!group || !Number.isInteger(mask) || mask <= 0 || mask >= 2 ** group.length) {
      throw new ProtocolError("a diff changes what is not there");
    }
    i += 2 + bitCount(mask);
    if (i > changes.length) throw new ProtocolError("a diff ends too early");
  }
  const deltas = changes.map(integer);
  for (let i = 0; i < deltas.length;) {
    const group = groups[deltas[i]];
    const mask = deltas[i + 1];
    i += 2;
    for (let field = 0; mask >> field; field += 1) {
      if ((mask >> field) & 1) group[field] = add(group[field], deltas[i++]);
    }
  }
}

// ---------------------------------------------------------------------------------------------------- the session

/** What the session holds of one subscribed topic. */
class Topic {
  constructor(name, handle) {
    this.name = name;
    this.handle = handle;
    this.type = name.slice(0, name.indexOf(":"));
    this.epoch = null;
    this.seq = null;
    this.groups = null; // null until a snapshot came, and again from a gap to the next snapshot
    this.broken = false;
  }
}

/**
 * One connection's session: makes the client's messages, takes the server's and says what each of them means.
 *
 * `receive(message)` gives an event `{type, ...}`: hello, ack, error, snapshot, diff, close, live, heartbeat, bye, gap (the topic
 * must be subscribed anew: said once a gap), or ignored (a message for a handle that is no longer ours).
 */
export class SessionState {
  #nextId = 1;
  #requests = new Map(); // id -> the kind of request that awaits its ACK

  constructor() {
    this.byHandle = new Map();
    this.byName = new Map();
  }

  subscribe(topics) { return this.#request(KIND.SUBSCRIBE, topics); }

  unsubscribe(topics) { return this.#request(KIND.UNSUBSCRIBE, topics); }

  ping() {
    const [kind, id] = this.#request(KIND.PING, null);
    return [kind, id];
  }

  #request(kind, topics) {
    const id = this.#nextId++;
    this.#requests.set(id, kind);
    return [kind, id, topics];
  }

  receive(message) {
    if (!Array.isArray(message)) throw new ProtocolError("a message is not an array");
    switch (message[0]) {
      case KIND.DIFF: return this.#diff(message);
      case KIND.SNAPSHOT: return this.#snapshot(message);
      case KIND.CLOSE: return this.#close(message);
      case KIND.LIVE: return this.#live(message);
      case KIND.ACK: return this.#ack(message);
      case KIND.HELLO:
        return { type: "hello", version: message[1], serverTimeMs: integer(message[2]), limits: message[3] };
      case KIND.HEARTBEAT: {
        const ageMs = message[2] == null ? null : integer(message[2]);
        return { type: "heartbeat", serverTimeMs: integer(message[1]), ageMs };
      }
      case KIND.ERROR: {
        const [, id, code, field, value, text] = message;
        this.#requests.delete(id);
        return { type: "error", id, code, field, value, text };
      }
      case KIND.BYE:
        return { type: "bye", code: message[1], reason: message[2], retryAfterMs: message[3] ?? 0 };
      default: throw new ProtocolError(`unknown kind of message: ${message[0]}`);
    }
  }

  #ack([, id, pairs]) {
    const kind = this.#requests.get(id) ?? KIND.SUBSCRIBE; // id null: a glob found more topics
    this.#requests.delete(id);
    const topics = [];
    for (const [name, handle] of pairs) {
      if (kind === KIND.UNSUBSCRIBE) {
        this.byHandle.delete(handle);
        if (this.byName.get(name)?.handle === handle) this.byName.delete(name);
      } else if (this.byHandle.get(handle)?.name !== name) {
        const topic = new Topic(name, handle);
        this.byHandle.set(handle, topic);
        this.byName.set(name, topic);
        topics.push(topic);
      }
    }
    return { type: "ack", id, topics };
  }

  #snapshot([, handle, epoch, seq, groups, rows]) {
    const topic = this.byHandle.get(handle);
    if (!topic) return { type: "ignored" };
    const sizes = GROUP_SIZES[topic.type];
    if (!sizes || groups.length !== sizes.length || groups.some((group, i) => group.length < sizes[i])) {
      throw new ProtocolError(`a snapshot of ${topic.name} has the wrong shape`);
    }
    topic.groups = groups.map((group) => group.map(integer));
    topic.epoch = integer(epoch);
    topic.seq = integer(seq);
    topic.broken = false;
    const candles = rows.map(candleFromRow);
    return { type: "snapshot", topic, candles, live: topic.type === "candles" ? liveCandle(topic.groups) : null };
  }

  #diff([, handle, epoch, prevSeq, seq, changes]) {
    const topic = this.byHandle.get(handle);
    if (!topic || topic.broken || !topic.groups) return { type: "ignored" };
    if (integer(epoch) !== topic.epoch || integer(prevSeq) !== topic.seq) {
      topic.broken = true;
      return { type: "gap", topic };
    }
    // A candle that a diff moves on from stays until its CLOSE comes: nobody sends its last state again before that.
    const rolled = topic.type === "candles" && touches(changes, 1, LIVE.OPEN_TIME_MS) ? liveCandle(topic.groups) : null;
    applyChanges(topic.groups, changes);
    topic.seq = integer(seq);
    return { type: "diff", topic, rolled };
  }

  #close([, handle, row]) {
    const topic = this.byHandle.get(handle);
    if (!topic) return { type: "ignored" };
    // A row is whole in itself: it holds in a gap, too.
    return { type: "close", topic, candle: candleFromRow(row) };
  }
  #live([, handle, row]) {
    const topic = this.byHandle.get(handle);
    return topic ? { type: "live", topic, candle: candleFromRow(row) } : { type: "ignored" };
  }
}
