// What a client holds of a topic, and how the front's messages move it. Pure.

import { ProtocolError, add, decimal, integer, subtract } from "./codec.js";

const KEPT_ROWS = 8; // of a topic, as the front does
const OPEN_TIME_AT = 0; // in a candle's row
const LIVE_GROUP = 1; // of a candles topic; its first field is the live candle's open time

/** A value of a row, in the form that it has whatever the wire's was: bytes (a candle's patterns) are small signed integers. */
function cell(value) {
  if (typeof value === "string") return integer(value);
  return value instanceof Uint8Array ? [...new Int8Array(value.buffer, value.byteOffset, value.length)] : value;
}

function bitCount(mask) {
  let count = 0;
  for (; mask; mask &= mask - 1) count += 1;
  return count;
}

/** Whether a DIFF's changes touch `field` of `group`. */
function touches(changes, group, field) {
  for (let i = 0; i < changes.length; i += 2 + bitCount(changes[i + 1])) {
    if (changes[i] === group && (changes[i + 1] >> field) & 1) return true;
  }
  return false;
}

/** Adds a DIFF's changes to `groups` in place; malformed ones throw before anything has moved. */
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

// ---------------------------------------------------------------------------------------------------- topics

/**
 * What is held of one concrete topic. Before its first snapshot `groups` is null; while `isCurrent` is false, it may lag.
 *
 * Each kind of message about it has a method, which takes the message's fields and gives the event that tells of it, or null.
 */
export class Topic {
  constructor(name) {
    this.name = name;
    this.type = name.split(":", 1)[0];
    this.epoch = null; // with `seq` the position in the topic's stream
    this.seq = null;
    this.groups = null;
    this.rows = []; // candles that are over, by open time; the newest KEPT_ROWS
    this.row = null; // the live candle of a metrics topic
    this.book = null; // {seq, timeUs, bids, asks}
    this.processes = {}; // what each says of itself, by name
    this.isCurrent = false;
    this.isResuming = false; // a SUBSCRIBE with its position is on its way
    this.handle = null; // of this connection
    this.subscriptions = [];
  }

  snapshot(epoch, seq, groups, rows) {
    const told = rows.map((row) => row.map(cell));
    this.groups = groups.map((group) => group.map(integer));
    this.#stand(epoch, seq);
    for (const row of told) this.#keep(row);
    return { type: "snapshot", rows: told };
  }

  /** Changes; where they do not start from what we hold, there is a hole, and they mean nothing until the next snapshot. */
  diff(seq, back, changes) {
    if (!this.isCurrent) return null;
    const next = integer(seq);
    if (add(this.seq, integer(back)) !== next) return this.gap("hole");
    // A candle that a diff moves on from stays until its CLOSE comes: nobody sends its last state again before that.
    const left = this.type === "candles" && touches(changes, LIVE_GROUP, 0) ? this.groups.map((group) => [...group]) : null;
    applyChanges(this.groups, changes);
    this.seq = next;
    return { type: "diff", left };
  }

  /** A row is whole in itself: it holds in a gap, too. */
  close(seq, row) {
    const told = row.map(cell);
    this.#keep(told);
    if (this.type === "closes" && this.isCurrent) this.seq = integer(seq);
    return { type: "close", row: told };
  }

  live(row) {
    this.row = row.map(cell);
    return { type: "live", row: this.row };
  }

  /** Trades are numbered by `seq`: after a resume some come again, which are told once. */
  trades(epoch, seq, missed, priceDecimals, quantityDecimals, trades) {
    const [ours, last] = [integer(epoch) === this.epoch ? this.seq : null, integer(seq)];
    const isNew = (at) => ours === null || subtract(last, trades.length - 1 - at) > ours;
    const told = trades.filter((_, at) => isNew(at)).map(([id, timeUs, price, quantity, takerIsBuyer, count]) => ({
      id: integer(id), timeUs: integer(timeUs), price: decimal(integer(price), priceDecimals),
      quantity: decimal(integer(quantity), quantityDecimals), takerIsBuyer: Boolean(takerIsBuyer), count: integer(count),
    }));
    if (ours === null || last > ours) this.#stand(epoch, seq);
    return { type: "trades", trades: told, missed: integer(missed) };
  }

  levels(seq, timeUs, bids, asks) {
    this.book = { seq: integer(seq), timeUs: integer(timeUs), bids, asks };
    return { type: "book", ...this.book };
  }

  stats(process, stats) {
    this.processes[process] = stats;
    return { type: "stats", process, stats };
  }

  /** Something may have been missed: no diff means anything until the next snapshot. What we hold, we hold still. */
  gap(reason) {
    this.isCurrent = false;
    return { type: "gap", reason };
  }

  #stand(epoch, seq) {
    this.epoch = integer(epoch);
    this.seq = integer(seq);
    this.isCurrent = true;
  }

  /** Takes a row; of two of the same candle the one told last stands. */
  #keep(row) {
    const at = this.rows.findIndex((other) => other[OPEN_TIME_AT] >= row[OPEN_TIME_AT]);
    if (at < 0) this.rows.push(row);
    else this.rows.splice(at, this.rows[at][OPEN_TIME_AT] === row[OPEN_TIME_AT] ? 1 : 0, row);
    if (this.rows.length > KEPT_ROWS) this.rows.shift();
  }
}

const escaped = (text) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");

/** Which concrete topics a topic's text names: `*` stands for anything in a part, alone for venue and symbol; commas are "or". */
export function patternOf(text) {
  const part = (choices, at) => {
    if (at === 1 && choices === "*") return "[^:]+(?::[^:]+)?";
    return `(?:${choices.split(",").map((choice) => escaped(choice).replaceAll("*", "[^:]*")).join("|")})`;
  };
  return new RegExp(`^${text.split(":").map(part).join(":")}$`);
}
