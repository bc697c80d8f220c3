// What the numbers of a topic mean: candles and quotes by name, of the rows and states that client.js holds. Pure.
//
// Prices and volumes are exact decimal texts, ratios and metrics are Numbers, null is what is not known.

import { ProtocolError, add, decimal, integer, subtract } from "./codec.js";
import { CANDLE, HEAD, LIVE, PATTERNS } from "./schema.js";

const [PRICE, VOLUME, TURNOVER, PLAIN, REAL, BY_PATTERN] = ["price", "volume", "turnover", "plain", "real", "patterns"];
const CANDLE_NAMES = Object.keys(CANDLE);
const [PRICE_DECIMALS_AT, QUANTITY_DECIMALS_AT] = ["price_decimals", "quantity_decimals"].map((name) => CANDLE_NAMES.indexOf(name));
const PATTERN_UNIT = 20; // of TA-Lib's values, in a row's patterns

/** Our name for a field: "taker_buy_volume" is takerBuyVolume, "ema_20" is ema20. */
export const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const CANDLE_FIELDS = Object.entries(CANDLE).map(([name, kind]) => [camel(name), kind]);

/** A row as a candle. */
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

/** The patterns that a row tells, by name, in TA-Lib's values. */
function patternsFrom(value) {
  if (!Array.isArray(value) || value.length !== PATTERNS.length) throw new ProtocolError("not the patterns of a candle");
  const found = {};
  for (const [at, units] of value.entries()) {
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
