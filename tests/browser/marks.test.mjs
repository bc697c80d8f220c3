// Which candles are marked for their patterns (wick/web/marks.js).

import assert from "node:assert/strict";
import { test } from "node:test";

const web = new URL("../../wick/web/", import.meta.url);
const { marksOf, patternsOf, spanOf } = await import(new URL("marks.js", web));

const candles = (...found) => found.map((patterns, at) => ({ openTimeMs: at * 60_000, patterns }));
const ANY = new Set(["CDLDOJI", "CDLENGULFING", "CDLHAMMER", "CDLHIKKAKE"]);

test("a rise is marked, a fall is marked, and nothing else", () => {
  const marks = marksOf(candles({ CDLHAMMER: 100 }, {}, null, { CDLENGULFING: -80 }, undefined, { CDLMARUBOZU: 100 }), ANY, 1);
  assert.deepEqual(marks, [{ openTimeMs: 0, direction: 1, count: 1 }, { openTimeMs: 180_000, direction: -1, count: 1 }]);
});

test("several patterns of a candle are one mark with their number, in the direction that outweighs", () => {
  const marks = marksOf(candles({ CDLHAMMER: 100, CDLHIKKAKE: -200 }, { CDLDOJI: 100, CDLENGULFING: -100 }), ANY, 1);
  assert.deepEqual(marks.map(({ direction, count }) => [direction, count]), [[-1, 2], [0, 2]]);
});

test("of neighbours that are too close the one with the rarest patterns is marked", () => {
  const doji = { CDLDOJI: 100 };
  const rows = candles(doji, doji, doji, { CDLHAMMER: 100 }, doji, doji, {}, {});
  assert.deepEqual(marksOf(rows, ANY, 4).map(({ openTimeMs }) => openTimeMs / 60_000), [3, 4]);
});

test("which candle is marked does not change as older candles come", () => {
  const rows = candles(...Array.from({ length: 40 }, (_, at) => (at % 3 ? { CDLDOJI: 100 } : {})));
  const marked = (some) => marksOf(some, ANY, 4).map(({ openTimeMs }) => openTimeMs);
  assert.deepEqual(marked(rows.slice(16)), marked(rows).filter((time) => time >= rows[16].openTimeMs));
});

test("marks are in the order of time, and none where there are no candles", () => {
  assert.deepEqual(marksOf([], ANY, 4), []);
  const times = marksOf(candles({ CDLDOJI: 100 }, { CDLHAMMER: 100 }, { CDLDOJI: 100 }), ANY, 1).map(({ openTimeMs }) => openTimeMs);
  assert.deepEqual(times, [0, 60_000, 120_000]);
});

test("a candle's patterns have titles and definitions, the strongest first", () => {
  const found = patternsOf({ patterns: { CDLDOJI: 100, CDLHIKKAKE: -200, CDLMARUBOZU: 100 } }, ANY);
  assert.deepEqual(found.map(({ title, value }) => [title, value]), [["Hikkake Pattern", -200], ["Doji", 100]]);
  assert.ok(found[0].definition.length > 10);
  for (const candle of [null, { patterns: null }, {}]) assert.deepEqual(patternsOf(candle, ANY), []);
});

test("the closer candles stand, the more of them share a mark", () => {
  assert.deepEqual([60, 14, 8, 4, 2].map(spanOf), [1, 1, 2, 4, 8]);
});
