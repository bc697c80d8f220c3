// What stands around the chart: the price head, the legend, the status line. Elements in, text out; no state of the market.

import {
  NOTHING, ageText, bytesText, clockText, compact, openTimeText, percentText, priceText, signed, spanText,
} from "./format.js";
import { axisNeeds, spokenName } from "./intervals.js";
import { FLAG } from "./schema.js";

const byId = (id) => document.getElementById(id);

function setText(element, text) {
  if (element.firstChild?.data !== text) element.textContent = text;
}

function setSign(element, value) {
  const sign = value > 0 ? "up" : value < 0 ? "down" : "";
  if (element.dataset.sign !== sign) element.dataset.sign = sign;
}

// ---------------------------------------------------------------------------------------------------- the head

export class PriceHead {
  #symbol = byId("symbol");
  #venue = byId("venue");
  #last = byId("last");
  #change = byId("change");
  #bid = byId("bid");
  #ask = byId("ask");
  #spread = byId("spread");
  #dayOpen = byId("day-open");
  #closesIn = byId("closes-in");
  #price = null;
  #tickTimer = null;

  show({ venue, symbol }) {
    const [base, quote = ""] = symbol.split("-");
    setText(this.#symbol.children[0], base);
    setText(this.#symbol.children[1], quote);
    setText(this.#venue, venue);
    this.#price = null;
    for (const element of [this.#last, this.#change, this.#bid, this.#ask, this.#spread, this.#dayOpen]) setText(element, NOTHING);
    setSign(this.#change, 0);
    document.title = `${symbol} \u00b7 wick`;
  }

  /** `quote` as quoteFromHead makes it. */
  draw(quote, symbol) {
    const decimals = quote.priceDecimals;
    const last = quote.last === null ? null : Number(quote.last);
    setText(this.#last, priceText(quote.last, decimals));
    if (this.#price !== null && last !== null && last !== this.#price) this.#tick(last > this.#price ? "up" : "down");
    if (last !== null) {
      if (last !== this.#price) document.title = `${priceText(quote.last, decimals)} ${symbol} \u00b7 wick`;
      this.#price = last;
    }
    const share = last !== null && quote.dayOpen !== null ? last / Number(quote.dayOpen) - 1 : NaN;
    setText(this.#change, percentText(share));
    setSign(this.#change, share);
    this.#side(this.#bid, quote.bid, quote.bidQuantity, decimals);
    this.#side(this.#ask, quote.ask, quote.askQuantity, decimals);
    setText(this.#dayOpen, priceText(quote.dayOpen, decimals));
    const spread = quote.bid !== null && quote.ask !== null ? Number(quote.ask) - Number(quote.bid) : null;
    setText(this.#spread, spread === null ? NOTHING : priceText(spread.toFixed(decimals), decimals));
  }

  #side(element, price, quantity, decimals) {
    if (!element.children.length) element.replaceChildren(document.createElement("span"), document.createElement("i"));
    setText(element.children[0], priceText(price, decimals));
    setText(element.children[1], price === null ? "" : compact(Number(quantity)));
  }

  #tick(direction) {
    this.#last.dataset.tick = direction;
    clearTimeout(this.#tickTimer);
    this.#tickTimer = setTimeout(() => delete this.#last.dataset.tick, 120);
  }

  /** How long until the live candle closes; null where nobody can say. */
  drawClosesIn(ms) {
    setText(this.#closesIn, ms === null ? NOTHING : spanText(ms));
  }
}

// ---------------------------------------------------------------------------------------------------- the legend

const EXPLANATIONS = Object.freeze([
  [FLAG.SUSPECT, "suspect: trades may be missing", "flag"],
  [FLAG.PARTIAL, "partial: began after its open", "flag"],
  [FLAG.EMPTY, "no trades", "flag plain"],
  [FLAG.REVISED, "revised", "flag plain"],
]);

export class Legend {
  #root = byId("legend");
  #name;
  #values = {};
  #change;
  #share;
  #bar;
  #flags;
  #flagsShown = null;

  constructor() {
    const part = (name, className, parent = this.#root) => {
      const element = document.createElement(name);
      element.className = className;
      parent.append(element);
      return element;
    };
    const pair = (label, title = "") => {
      const element = part("span", "pair");
      element.title = title;
      part("i", "", element).textContent = label;
      return element;
    };
    this.#name = part("span", "name");
    for (const [field, label] of [["open", "O"], ["high", "H"], ["low", "L"], ["close", "C"]]) {
      this.#values[field] = part("span", "", pair(label));
    }
    this.#change = part("span", "pair");
    this.#values.volume = part("span", "", pair("Vol", "Volume in the base currency"));
    this.#values.tradeCount = part("span", "", pair("Trades"));
    part("span", "turn"); // the order flow begins a line of its own, where there is room
    const buy = pair("Taker buy", "The share of the volume where the taker bought");
    this.#share = part("span", "", buy);
    this.#bar = part("b", "", part("span", "share", buy));
    for (const [field, label] of [["vwap", "VWAP"], ["delta", "Delta"], ["cvd", "CVD"], ["maxTradeSize", "Max trade"]]) {
      this.#values[field] = part("span", "", pair(label));
    }
    this.#flags = part("span", "pair");
  }

  draw(candle, interval, decimals) {
    this.#root.hidden = candle === null;
    if (candle === null) return;
    const [open, close, volume] = [Number(candle.open), Number(candle.close), Number(candle.volume)];
    setText(this.#name, `${interval}  ${openTimeText(candle.openTimeMs, axisNeeds(interval))} UTC`);
    for (const field of ["open", "high", "low", "close"]) {
      setText(this.#values[field], priceText(candle[field], decimals));
    }
    setText(this.#change, percentText(close / open - 1));
    this.#change.className = close >= open ? "pair up" : "pair down";
    setText(this.#values.volume, compact(volume, 4));
    this.#values.volume.title = candle.volume;
    this.#pair("tradeCount", candle.tradeCount, (value) => value.toLocaleString("en"));
    const share = volume > 0 && candle.takerBuyVolume !== null ? Number(candle.takerBuyVolume) / volume : null;
    setText(this.#share, share === null ? NOTHING : `${Math.round(share * 100)}%`);
    this.#bar.parentElement.hidden = share === null;
    this.#bar.style.width = `${((share ?? 0) * 100).toFixed(1)}%`;
    this.#drawFlow(candle, decimals);
    this.#drawFlags(candle.flags);
  }

  /** The order flow, as far as it is known: that of the live candle comes with its close. */
  #drawFlow({ vwap, delta, cvd, maxTradeSize }, decimals) {
    this.#pair("vwap", vwap, (value) => priceText(value.toFixed(decimals), decimals));
    this.#pair("delta", delta, (value) => signed(Number(value), 4));
    this.#pair("cvd", cvd, (value) => signed(Number(value), 4));
    this.#pair("maxTradeSize", maxTradeSize, (value) => compact(Number(value), 4));
    for (const [field, value] of [["delta", delta], ["cvd", cvd]]) setSign(this.#values[field], Number(value));
  }

  #pair(field, value, format) {
    const element = this.#values[field];
    const isKnown = value !== null && value !== undefined;
    element.parentElement.hidden = !isKnown;
    if (isKnown) setText(element, format(value));
  }

  #drawFlags(flags) {
    if (flags === this.#flagsShown) return;
    this.#flagsShown = flags;
    this.#flags.replaceChildren(...EXPLANATIONS.filter(([flag]) => flags & flag).map(([, text, className]) => {
      const element = document.createElement("span");
      element.className = className;
      element.textContent = text;
      return element;
    }));
  }
}

// ---------------------------------------------------------------------------------------------------- the status line

const STATES = Object.freeze({
  idle: "Connecting", connecting: "Connecting", live: "Live", waiting: "Reconnecting", stale: "Stale: no new data", ended: "Disconnected",
});

export class StatusLine {
  #state = byId("state");
  #age = byId("age");
  #epoch = byId("epoch");
  #seq = byId("seq");
  #diffs = byId("diffs");
  #bytes = byId("bytes");
  #clock = byId("clock");
  #banner = byId("banner");

  constructor({ onTryNow }) {
    this.#banner.querySelector("button").addEventListener("click", onTryNow);
  }

  /** `note`: what there is to say beside it, for a moment. */
  drawState(status, note) {
    document.body.dataset.status = status;
    setText(this.#state, STATES[status] + (note && `: ${note}`));
  }

  draw({ ageMs, epoch, seq, diffsPerSecond, bytesPerSecond, nowMs }) {
    setText(this.#age, ageText(ageMs));
    setText(this.#epoch, epoch === null ? NOTHING : shortId(epoch));
    this.#epoch.title = epoch === null ? "" : String(epoch);
    setText(this.#seq, seq === null ? NOTHING : seq.toLocaleString("en"));
    setText(this.#diffs, `${Math.round(diffsPerSecond).toLocaleString("en")} diffs/s`);
    setText(this.#bytes, bytesText(bytesPerSecond));
    setText(this.#clock, `${clockText(nowMs)} UTC`);
  }

  /** The banner on the chart while there is no connection: why, and when the next try is. */
  drawBanner(status, reason, waitMs) {
    const down = status === "waiting" || status === "ended";
    this.#banner.hidden = !down;
    if (!down) return;
    const when = status === "waiting" ? ` \u2013 next try in ${Math.max(0, Math.ceil(waitMs / 1000))} s` : "";
    setText(this.#banner.firstElementChild, `Not connected: ${reason}${when}`);
    this.#banner.querySelector("button").hidden = status === "ended";
  }
}

/** The last digits of an epoch, which is enough to see that it changed. */
function shortId(epoch) {
  const text = String(epoch);
  return text.length > 8 ? `\u2026${text.slice(-6)}` : text;
}

// ---------------------------------------------------------------------------------------------------- the notice

/** A sentence in the middle of an empty chart. */
export function drawNotice(text, tone = "") {
  const notice = byId("notice");
  notice.hidden = !text;
  notice.dataset.tone = tone;
  setText(notice, text);
}

/** Why most of a chart with a handful of candles is empty. `first` is the oldest candle; null where there is no need. */
export function drawBeginning(first, interval) {
  const beginning = byId("beginning");
  beginning.hidden = first === null;
  if (first === null) return;
  const moment = openTimeText(first.openTimeMs, axisNeeds(interval));
  setText(beginning, `History begins at ${moment} UTC. A candle joins it every ${spokenName(interval).replace(/^1 /, "")}.`);
}
