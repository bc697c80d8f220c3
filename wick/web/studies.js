// How each metric is drawn: on the candles or in a pane, with whom, as what, in which colour. What a metric is stands in
// schema.js; one that is not named here is a line in a pane of its own. Pure.

import { camel } from "./candles.js";
import { METRICS, PATTERNS } from "./schema.js";

// Told apart on the dark ground, and from the green, red and amber that mean something on their own.
const [BLUE, VIOLET, CYAN, PINK, SAND, PEACH, INDIGO, STEEL] = [
  "#6cb2ff", "#b795ff", "#4fd0dc", "#f090d0", "#e0cd7a", "#f3b296", "#8492ff", "#a9bccf",
];
export const [UP, DOWN] = ["#34c79a", "#f4687b"];

// The groups of the picker, each from the number of a first metric on; what the chart shows anyway is in none.
const [TREND, MOMENTUM, VOLATILITY, FLOW, BOOK, SHAPE] = ["Trend", "Momentum", "Volatility", "Order flow", "Order book", "Shape of the candle"];
export const GROUPS = Object.freeze([TREND, MOMENTUM, VOLATILITY, FLOW, BOOK, SHAPE]);
const GROUPED = Object.freeze([
  [1, null], [6, FLOW], [8, TREND], [9, SHAPE], [15, FLOW], [30, BOOK], [36, MOMENTUM], [49, TREND], [54, VOLATILITY], [56, TREND],
  [58, VOLATILITY], [59, TREND], [61, VOLATILITY], [63, FLOW],
]);

// On the candles, in the price's scale.
const OVERLAYS = Object.freeze({
  vwap: { colour: SAND }, sma_20: { colour: STEEL }, ema_20: { colour: BLUE }, ema_50: { colour: VIOLET }, hma_16: { colour: CYAN },
  kama_10: { colour: PINK }, donchian_upper_20: { colour: INDIGO, width: 1 }, donchian_lower_20: { colour: INDIGO, width: 1 },
  supertrend_10_3: { plot: "trend", colour: UP }, psar: { plot: "dots", colour: PEACH },
});

// Who shares a pane. `guides`: quiet lines at those values; bars: drawn as columns, coloured by their sign.
const PANES = Object.freeze([
  { names: ["rsi_14"], guides: [30, 70] },
  { names: ["macd", "macd_signal"], guides: [0] },
  { names: ["stoch_k", "stoch_d"], guides: [20, 80] },
  { names: ["adx_14", "plus_di_14", "minus_di_14"], colours: [SAND, UP, DOWN], guides: [25] },
  { names: ["cci_20"], guides: [-100, 100] },
  { names: ["mfi_14"], guides: [20, 80] },
  { names: ["ultosc"], guides: [30, 70] },
  { names: ["roc_10"], guides: [0] },
  { names: ["tsi_25_13"], guides: [-25, 25] },
  { names: ["cmf_20"], guides: [0] },
  { names: ["bb_percent_b"], guides: [0, 1] },
  { names: ["true_range", "atr_14"] },
  { names: ["realized_vol_20", "garman_klass_20", "tick_rv"] },
  { names: ["body_ratio", "upper_wick_ratio", "lower_wick_ratio", "close_location"] },
  { names: ["delta", "delta_max", "delta_min"], bars: ["delta"], colours: [STEEL, UP, DOWN] },
  { names: ["delta_ratio"], bars: ["delta_ratio"] },
  { names: ["cvd"], guides: [0] },
  { names: ["log_return"], bars: ["log_return"] },
  { names: ["avg_trade_size", "max_trade_size"] },
  { names: ["large_trade_volume", "large_trade_delta"], bars: ["large_trade_delta"] },
  { names: ["ofi"], bars: ["ofi"] },
  { names: ["book_imbalance", "depth_imbalance_10bps"], guides: [0] },
  { names: ["quoted_spread_bps", "effective_spread_bps"] },
  { names: ["microprice_dev_bps"], guides: [0] },
  { names: ["taker_buy_volume"] },
  { names: ["quote_volume", "taker_buy_quote_volume"] },
]);
const PANE_COLOURS = Object.freeze([BLUE, PEACH, VIOLET, CYAN]);

const CAPITALS = /^(adx|atr|bb|bps|cci|cmf|cvd|di|ema|hma|kama|macd|mfi|obv|ofi|psar|roc|rsi|rv|sma|tsi|vpin|vwap)$/;
const SPELLED = Object.freeze({
  bb_percent_b: "Bollinger %B", bb_bandwidth: "Bollinger bandwidth", psar: "Parabolic SAR", ultosc: "Ultimate oscillator",
  plus_di_14: "+DI 14", minus_di_14: "\u2212DI 14", stoch_k: "Stochastic %K", stoch_d: "Stochastic %D", hma_16: "Hull MA 16",
  kyle_lambda: "Kyle\u2019s lambda", garman_klass_20: "Garman\u2013Klass 20", supertrend_10_3: "Supertrend 10, 3",
  realized_vol_20: "Realized volatility 20", tick_rv: "Tick volatility", amihud_20: "Amihud illiquidity 20",
  microprice_dev_bps: "Microprice deviation, bps", depth_imbalance_10bps: "Depth imbalance, 10 bps",
});

/** "donchian_upper_20" as "Donchian upper 20". */
export function titleOf(name) {
  if (name in SPELLED) return SPELLED[name];
  const words = name.split("_").map((word) => (CAPITALS.test(word) ? word.toUpperCase() : word)).join(" ");
  return words[0].toUpperCase() + words.slice(1);
}

const groupOf = (number) => GROUPED.findLast(([first]) => first <= number)[1];

function howDrawn(name) {
  if (name in OVERLAYS) return { pane: null, plot: "line", guides: [], ...OVERLAYS[name] };
  const shared = PANES.find(({ names }) => names.includes(name)) ?? { names: [name] };
  const at = shared.names.indexOf(name);
  const colour = (shared.colours ?? PANE_COLOURS)[at % PANE_COLOURS.length];
  return { pane: shared.names[0], plot: shared.bars?.includes(name) ? "bars" : "line", guides: shared.guides ?? [], colour };
}

/**
 * Every metric that can be drawn, by name: {name, field, title, group, unit, definition, n, pane, plot, guides, colour}.
 *
 * `field` is its name in a candle, `pane` that of its pane's first metric (null: on the candles), `plot` one of line, dots,
 * trend (the value's sign is a direction) and bars.
 */
export const STUDIES = Object.freeze(Object.fromEntries(
  METRICS.filter(({ number }) => number && groupOf(number)).map(({ number, name, unit, definition, n }) => [name, Object.freeze({
    name, field: camel(name), title: titleOf(name), group: groupOf(number), unit: unit === "1" ? "" : unit,
    definition: definition.replaceAll("`", ""), n, ...howDrawn(name),
  })]),
));

const ORDER = new Map([...Object.keys(OVERLAYS), ...PANES.flatMap(({ names }) => names), ...Object.keys(STUDIES)].reverse()
  .map((name, at) => [name, -at]));

/** Chosen names as the chart lays them out: {overlays: [study, ...], panes: [[study, ...], ...]}, in an order of their own. */
export function layout(names) {
  const studies = [...new Set(names)].filter((name) => Object.hasOwn(STUDIES, name)).sort((a, b) => ORDER.get(a) - ORDER.get(b)).map((name) => STUDIES[name]);
  const panes = new Map();
  for (const study of studies.filter(({ pane }) => pane !== null)) {
    if (!panes.has(study.pane)) panes.set(study.pane, []);
    panes.get(study.pane).push(study);
  }
  return { overlays: studies.filter(({ pane }) => pane === null), panes: [...panes.values()] };
}

/** What a candle has of a study as a number, or null. */
export function valueOf(candle, study) {
  const value = candle[study.field];
  return value === null || value === undefined ? null : Number(value);
}

// The library joins a line's points across what is missing between them, in the colour of the earlier one.
const UNSEEN = "rgba(0, 0, 0, 0)";
const [RISES, FALLS] = ["rgba(52, 199, 154, 0.7)", "rgba(244, 104, 123, 0.7)"];

/** Whether a line is not to go on from the value `before` to `value`, its successor: nothing was there, or a trend turned. */
export function isBroken(study, before, value) {
  if (value === null) return false;
  return before === null || (study.plot === "trend" && before < 0 !== value < 0);
}

/** A candle's point: {time, value, color}, or {time} where there is no value. */
export function pointOf(study, candle, timeOf) {
  const time = timeOf(candle.openTimeMs);
  const value = valueOf(candle, study);
  if (value === null) return { time };
  switch (study.plot) {
    case "trend": return { time, value: Math.abs(value), color: value < 0 ? DOWN : UP };
    case "bars": return { time, value, color: value < 0 ? FALLS : RISES };
    default: return { time, value };
  }
}

/** The points of all `candles`. Where a line is broken, its last point before that has no colour to be joined in. */
export function pointsOf(study, candles, timeOf) {
  const all = candles.map((candle) => pointOf(study, candle, timeOf));
  if (study.plot === "bars" || study.plot === "dots") return all;
  let last = null; // the last point that has a value
  candles.forEach((candle, at) => {
    const value = valueOf(candle, study);
    const before = at ? valueOf(candles[at - 1], study) : null;
    if (last && isBroken(study, before, value)) last.color = UNSEEN;
    if (value !== null) last = all[at];
  });
  return all;
}

export const PATTERN = Object.freeze(Object.fromEntries(PATTERNS.map((pattern) => [pattern.name, pattern])));
