// Numbers, times and intervals as the page shows them (wick/web/format.js, intervals.js).

import assert from "node:assert/strict";
import { test } from "node:test";

const web = new URL("../../wick/web/", import.meta.url);
const { ageText, bytesText, compact, figure, openTimeText, percentText, priceText, signed, spanText } = await import(new URL("format.js", web));
const { axisNeeds, closeMs, spokenName } = await import(new URL("intervals.js", web));

test("a price has thousands separators and all of its digits", () => {
  assert.equal(priceText("61837.5", 2), "61,837.50");
  assert.equal(priceText("0.00000811", 8), "0.00000811");
  assert.equal(priceText("1234567", 0), "1,234,567");
  assert.equal(priceText("999.125", 2), "999.125", "digits beyond the symbol's decimals stay");
  assert.equal(priceText("12345678901234567890.1", 1), "12,345,678,901,234,567,890.1");
  assert.equal(priceText("-1000", 1), "\u22121,000.0");
  assert.equal(priceText(null, 2), "\u2013");
});

test("a large number is short", () => {
  const cases = [[0, "0"], [0.0123456, "0.0123"], [3.8349, "3.83"], [999.6, "1.00K"], [1234567, "1.23M"], [2.44e9, "2.44B"], [-4567, "\u22124.57K"], [7e12, "7.00T"]];
  for (const [value, text] of cases) assert.equal(compact(value), text);
  assert.equal(compact(93.02542, 4), "93.03");
});

test("a figure of any size has four digits", () => {
  assert.deepEqual([52.3149, 0, -19.114, 12345.6, 0.00012344, 1.2346e-9, -4e-7].map(figure), [
    "52.31", "0", "\u221219.11", "12.35K", "0.0001234", "1.235e\u22129", "\u22124.000e\u22127",
  ]);
});

test("a delta has a sign, except where it is nothing", () => {
  assert.deepEqual([12.345, -4567, 0].map((value) => signed(value, 4)), ["+12.35", "\u22124.567K", "0"]);
});

test("a change has a sign, except where it rounds to nothing", () => {
  assert.equal(percentText(0.0123), "+1.23%");
  assert.equal(percentText(-0.5), "\u221250.00%");
  assert.equal(percentText(-0.00001), "0.00%");
  assert.equal(percentText(NaN), "\u2013");
});

test("spans, ages and rates read well", () => {
  assert.deepEqual([0, 7_000, 750_500, 3_600_000, 90_000_000].map(spanText), ["0:00", "0:07", "12:31", "1:00:00", "1d 01:00"]);
  assert.deepEqual([null, 84, 4_200, 180_000, 7_200_000].map(ageText), ["\u2013", "80 ms", "4.2 s", "3 min", "2 h"]);
  assert.deepEqual([512, 43_600, 1_250_000].map(bytesText), ["512 B/s", "43.6 kB/s", "1.25 MB/s"]);
});

test("an open time has as much clock as its interval needs", () => {
  const moment = Date.UTC(2026, 10, 22, 21, 54, 15);
  assert.equal(openTimeText(moment, axisNeeds("15s")), "2026-11-22 21:54:15");
  assert.equal(openTimeText(moment, axisNeeds("4h")), "2026-11-22 21:54");
  assert.equal(openTimeText(moment, axisNeeds("1M")), "2026-11-22");
});

test("months have their own length", () => {
  assert.equal(closeMs("1M", Date.UTC(2024, 1, 1)), Date.UTC(2024, 2, 1));
  assert.equal(closeMs("1M", Date.UTC(2026, 11, 1)), Date.UTC(2027, 0, 1));
});

test("an interval is said as a person would", () => {
  assert.deepEqual(["15s", "1m", "4h", "1M"].map(spokenName), ["15 seconds", "1 minute", "4 hours", "1 month"]);
});
