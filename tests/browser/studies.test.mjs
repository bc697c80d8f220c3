// How metrics are drawn (wick/web/studies.js), against the schema that the page has from the engine.

import assert from "node:assert/strict";
import { test } from "node:test";

const web = new URL("../../wick/web/", import.meta.url);
const { GROUPS, STUDIES, isBroken, layout, pointsOf, titleOf, valueOf } = await import(new URL("studies.js", web));
const { CANDLE, METRICS } = await import(new URL("schema.js", web));

const candle = (openTimeMs, more = {}) => ({ openTimeMs, ...more });
const seconds = (ms) => ms / 1000;
const names = (studies) => studies.map(({ name }) => name);

test("every metric but price and volume, which the chart shows anyway, can be drawn", () => {
  const shown = METRICS.filter(({ number }) => number > 5).map(({ name }) => name);
  assert.deepEqual(names(Object.values(STUDIES)), shown);
  assert.ok(shown.length > 50);
  for (const { name, title, group, definition, colour } of Object.values(STUDIES)) {
    assert.ok(name in CANDLE && title && GROUPS.includes(group) && definition && colour, name);
  }
  assert.equal(new Set(Object.values(STUDIES).map(({ title }) => title)).size, shown.length);
});

test("only what is a price is drawn on the candles", () => {
  const overlays = Object.values(STUDIES).filter(({ pane }) => pane === null);
  assert.deepEqual(names(overlays).sort(), [
    "donchian_lower_20", "donchian_upper_20", "ema_20", "ema_50", "hma_16", "kama_10", "psar", "sma_20", "supertrend_10_3", "vwap",
  ]);
  assert.deepEqual([...new Set(overlays.map(({ unit }) => unit))], ["quote per base"]);
});

test("metrics of a pane have different colours", () => {
  const { panes } = layout(Object.keys(STUDIES));
  assert.ok(panes.length > 15);
  for (const studies of panes) assert.equal(new Set(studies.map(({ colour }) => colour)).size, studies.length, names(studies).join());
});

test("a layout has an order of its own, and families share a pane", () => {
  const { overlays, panes } = layout(["macd_signal", "rsi_14", "ema_20", "macd", "nonsense", "vwap", "rsi_14"]);
  assert.deepEqual(names(overlays), ["vwap", "ema_20"]);
  assert.deepEqual(panes.map(names), [["rsi_14"], ["macd", "macd_signal"]]);
});

test("a pane is there without its first metric, too", () => {
  assert.deepEqual(layout(["macd_signal"]).panes.map(names), [["macd_signal"]]);
});

test("titles are for people", () => {
  assert.deepEqual(["ema_20", "rsi_14", "donchian_upper_20", "plus_di_14", "delta_ratio"].map(titleOf), [
    "EMA 20", "RSI 14", "Donchian upper 20", "+DI 14", "Delta ratio",
  ]);
});

test("exact decimals become numbers, what is unknown or was not asked for nothing", () => {
  const values = [{ cvd: "-12.5" }, { cvd: null }, {}, { cvd: "0" }].map((more) => valueOf(candle(0, more), STUDIES.cvd));
  assert.deepEqual(values, [-12.5, null, null, 0]);
});

test("a line has a gap where there is no value: nothing joins its ends", () => {
  const candles = [null, 1, 2, null, null, 5, 6, null].map((rsi14, at) => candle(at * 1000, { rsi14 }));
  const points = pointsOf(STUDIES.rsi_14, candles, seconds);
  const hidden = "rgba(0, 0, 0, 0)";
  assert.deepEqual(points, [
    { time: 0 }, { time: 1, value: 1 }, { time: 2, value: 2, color: hidden }, { time: 3 }, { time: 4 }, { time: 5, value: 5 }, { time: 6, value: 6 },
    { time: 7 },
  ]);
});

test("a trend is as high as its value, has its direction's colour, and is not joined where it turns", () => {
  const candles = [10, 11, -15, -14].map((value, at) => candle(at * 1000, { supertrend103: value }));
  const points = pointsOf(STUDIES.supertrend_10_3, candles, seconds);
  assert.deepEqual(points.map(({ value }) => value), [10, 11, 15, 14]);
  const [rising, turning, falling, still] = points.map(({ color }) => color);
  assert.equal(falling, still);
  assert.equal(new Set([rising, turning, falling]).size, 3);
  assert.equal(turning, "rgba(0, 0, 0, 0)");
});

test("a line ends where its successor has nothing, or its direction changes", () => {
  assert.equal(isBroken(STUDIES.rsi_14, null, 1), true);
  assert.equal(isBroken(STUDIES.rsi_14, 1, null), false);
  assert.equal(isBroken(STUDIES.macd, -1, 1), false);
  assert.equal(isBroken(STUDIES.supertrend_10_3, -1, 1), true);
});

test("columns have the colour of their sign", () => {
  const points = pointsOf(STUDIES.delta, ["1.5", "-2", null].map((delta, at) => candle(at, { delta })), seconds);
  assert.deepEqual(points.map(({ value }) => value), [1.5, -2, undefined]);
  assert.notEqual(points[0].color, points[1].color);
});
