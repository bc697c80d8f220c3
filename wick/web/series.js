// The candles of one symbol and interval, ordered by open time: history and stream joined without a seam. Pure.

import { camel } from "./candles.js";
import { FLAG } from "./schema.js";

/** The rows of /api/v1/candles (`columns` and `rows`) as candles, under the names that those of the stream have. */
export function candlesFromHistory({ columns, rows }) {
  const names = columns.map(camel);
  return rows.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index]])));
}

const MANY = 32; // changed candles: then all are drawn at once

const isClosed = (candle) => (candle.flags & FLAG.CLOSED) !== 0;

/** Whether `candle` may take the place of `old`. Of two closed ones: complete beats partial, then the later revision. */
function supersedes(candle, old, fromStream) {
  if (isClosed(candle) !== isClosed(old)) return isClosed(candle);
  if (!isClosed(candle)) return fromStream;
  const partial = (one) => (one.flags & FLAG.PARTIAL) !== 0;
  if (partial(candle) !== partial(old)) return partial(old);
  if (candle.revision !== old.revision) return candle.revision > old.revision;
  return fromStream;
}

/** Whether both are the same close: the same is true of them, but not the same known. */
const isSame = (candle, old) =>
  old && isClosed(candle) && isClosed(old) && candle.revision === old.revision && !((candle.flags ^ old.flags) & FLAG.PARTIAL);

/** A row whose metrics nobody has computed leaves them open: history may have them. */
const open = (candle) =>
  candle.patterns === null && isClosed(candle) ? Object.fromEntries(Object.entries(candle).filter(([, value]) => value !== null)) : candle;

/** What is known of a candle, by `first` where both know. */
function joined(first, second) {
  return { ...first, ...second, ...Object.fromEntries(Object.entries(first).filter(([, value]) => value !== null)) };
}

/**
 * An ordered series of candles that says what changed since it was last drawn.
 *
 * `takeChanges()` gives `{all: true}` when bars came in between or went away, else the open times that changed, in order.
 */
export class CandleSeries {
  #byTime = new Map();
  #times = []; // ascending
  #fromStream = new Set();
  #changed = new Set();
  #reordered = true;

  get length() { return this.#times.length; }

  get first() { return this.#byTime.get(this.#times[0]) ?? null; }

  get last() { return this.#byTime.get(this.#times[this.#times.length - 1]) ?? null; }

  get(openTimeMs) { return this.#byTime.get(openTimeMs) ?? null; }

  /** The candle before that of `openTimeMs`, or null. */
  before(openTimeMs) { return this.#byTime.get(this.#times[this.#times.lastIndexOf(openTimeMs) - 1]) ?? null; }

  toArray() { return this.#times.map((time) => this.#byTime.get(time)); }

  clear() {
    this.#byTime.clear();
    this.#fromStream.clear();
    this.#changed.clear();
    this.#times = [];
    this.#reordered = true;
  }

  /** Rows of history: they fill what the stream has not said, and correct it only by a close or a later revision. */
  mergeHistory(candles) {
    for (const candle of candles) {
      const old = this.#byTime.get(candle.openTimeMs);
      const isOurs = this.#fromStream.has(candle.openTimeMs);
      if (isSame(candle, old)) this.#put(isOurs ? joined(old, candle) : joined(candle, old));
      else if (!old || supersedes(candle, old, !isOurs)) this.#put(candle);
    }
  }

  /** The open time of the newest candle that has nothing to say of one of `fields`, not even that it is not known; or null. */
  lacking(fields) {
    return this.#times.findLast((time) => fields.some((field) => this.#byTime.get(time)[field] === undefined)) ?? null;
  }

  /** History that was asked for `fields`, up to `to`: what ours lack of them comes from there; null where nobody has it. */
  fill(candles, fields, to) {
    this.mergeHistory(candles);
    const told = new Map(candles.map((candle) => [candle.openTimeMs, candle]));
    const from = candles[0]?.openTimeMs ?? -Infinity;
    for (const time of this.#times.filter((time) => time >= from && time <= to)) {
      const ours = this.#byTime.get(time);
      const lacks = fields.filter((field) => ours[field] === undefined);
      if (lacks.length) this.#put({ ...ours, ...Object.fromEntries(lacks.map((field) => [field, told.get(time)?.[field] ?? null])) });
    }
  }

  /** A snapshot: what it says stands, and an open candle that it does not know is a leftover of the state before it. */
  replaceStream(candles, live) {
    const said = live ? [...candles, live] : candles;
    const known = new Set(said.map((candle) => candle.openTimeMs));
    for (const time of this.#times.filter((time) => said.length && time >= said[0].openTimeMs)) {
      if (!known.has(time) && !isClosed(this.#byTime.get(time))) this.#remove(time);
    }
    this.mergeStream(said);
  }

  /** Closes, and the candle that the live one left behind. */
  mergeStream(candles) {
    for (const candle of candles) {
      const old = this.#byTime.get(candle.openTimeMs);
      if (old && !supersedes(candle, old, true)) continue;
      this.#put(isSame(candle, old) ? joined(open(candle), old) : open(candle));
      this.#fromStream.add(candle.openTimeMs);
    }
  }

  /** The live candle in its present state; a close that has come for it stands. */
  setLive(candle) {
    if (candle) this.mergeStream([candle]);
  }

  /** Forgets a candle that nobody closed: an empty one, where the venue omits those. */
  dropOpen(openTimeMs) {
    const candle = this.#byTime.get(openTimeMs);
    if (candle && !isClosed(candle)) this.#remove(openTimeMs);
  }

  /** Forgets what is older than `openTimeMs`: beyond a hole that history cannot fill in one page. */
  dropBefore(openTimeMs) {
    for (const time of this.#times.filter((time) => time < openTimeMs)) this.#remove(time);
  }

  /** How many pairs of neighbours among the newest `count` have something missing between them. */
  holes(closeMs, count) {
    const times = this.#times.slice(-count);
    return times.filter((time, i) => i > 0 && closeMs(times[i - 1]) < time).length;
  }

  /** What to redraw: everything, or the candles of `times`. */
  takeChanges() {
    const all = this.#reordered || this.#changed.size > MANY;
    const times = all ? [] : [...this.#changed].sort((a, b) => a - b);
    this.#reordered = false;
    this.#changed.clear();
    return { all, times };
  }

  #put(candle) {
    const time = candle.openTimeMs;
    if (!this.#byTime.has(time)) this.#insert(time);
    this.#byTime.set(time, candle);
    this.#changed.add(time);
  }

  #remove(time) {
    this.#byTime.delete(time);
    this.#fromStream.delete(time);
    this.#changed.delete(time);
    this.#times = this.#times.filter((other) => other !== time);
    this.#reordered = true;
  }

  #insert(time) {
    const times = this.#times;
    if (!times.length || time > times[times.length - 1]) {
      times.push(time);
      return;
    }
    let low = 0;
    for (let high = times.length; low < high;) {
      const middle = (low + high) >> 1;
      if (times[middle] < time) low = middle + 1;
      else high = middle;
    }
    times.splice(low, 0, time);
    this.#reordered = true;
  }
}
