// The joining of history and stream (wick/web/series.js).

import assert from "node:assert/strict";
import { test } from "node:test";

const { CandleSeries, candlesFromHistory } = await import(new URL("../../wick/web/series.js", import.meta.url));

const CLOSED = 1, PARTIAL = 4;
const candle = (openTimeMs, more = {}) => ({ openTimeMs, flags: CLOSED, revision: 0, close: "1", ...more });
const times = (series) => series.toArray().map((one) => one.openTimeMs);
const shuffled = (list, seed) => list
  .map((item, index) => [Math.sin(seed * 97 + index * 31), item]).sort((a, b) => a[0] - b[0]).map(([, item]) => item);

test("history and stream meet in order, whichever comes first", () => {
  const history = [10, 20, 30, 40].map((time) => candle(time));
  const stream = [30, 40, 50].map((time) => candle(time, { close: "2" }));
  const joins = [
    (series) => { series.mergeHistory(history); series.mergeStream(stream); },
    (series) => { series.mergeStream(stream); series.mergeHistory(history); },
  ];
  for (const join of joins) {
    const series = new CandleSeries();
    join(series);
    assert.deepEqual(times(series), [10, 20, 30, 40, 50]);
    assert.deepEqual(series.toArray().map((one) => one.close), ["1", "1", "2", "2", "2"]);
  }
});

test("any order of arrival gives the same series", () => {
  const rows = [];
  for (let time = 0; time < 30; time += 1) {
    rows.push(candle(time, { revision: 1, close: "late" }), candle(time), candle(time, { flags: 0, close: "open" }));
  }
  for (let seed = 0; seed < 20; seed += 1) {
    const series = new CandleSeries();
    for (const row of shuffled(rows, seed)) series.mergeStream([row]);
    assert.deepEqual(times(series), [...Array(30).keys()]);
    assert.ok(series.toArray().every((one) => one.close === "late"));
  }
});

test("a closed candle beats an open one, and the stream's open one follows the market", () => {
  const series = new CandleSeries();
  series.setLive(candle(10, { flags: 0, close: "1" }));
  series.setLive(candle(10, { flags: 0, close: "2" }));
  series.mergeHistory([candle(10, { flags: 0, close: "stale" })]);
  assert.equal(series.last.close, "2");
  series.mergeStream([candle(10, { close: "final" })]);
  series.setLive(candle(10, { flags: 0, close: "3" }));
  assert.equal(series.last.close, "final");
});

test("of two closed candles the complete one stands, then the later revision", () => {
  const series = new CandleSeries();
  series.mergeStream([candle(10, { flags: CLOSED | PARTIAL, revision: 5, close: "partial" })]);
  series.mergeHistory([candle(10, { close: "complete" })]);
  assert.equal(series.last.close, "complete");
  series.mergeStream([candle(10, { flags: CLOSED | PARTIAL, revision: 9, close: "partial" })]);
  assert.equal(series.last.close, "complete");
  series.mergeHistory([candle(10, { revision: 1, close: "revised" })]);
  assert.equal(series.last.close, "revised");
});

test("a partial live candle after a restart replaces the open one of before", () => {
  const series = new CandleSeries();
  series.replaceStream([], candle(10, { flags: 0, close: "before" }));
  series.replaceStream([], candle(10, { flags: PARTIAL, close: "after" }));
  assert.equal(series.last.close, "after");
});

test("a snapshot removes open candles that it does not know, and nothing else", () => {
  const series = new CandleSeries();
  series.mergeHistory([10, 20].map((time) => candle(time)));
  series.replaceStream([candle(20), candle(30)], candle(40, { flags: 0 }));
  series.mergeStream([candle(50, { flags: 0 })]);
  series.replaceStream([candle(20)], candle(30, { flags: 0 }));
  assert.deepEqual(times(series), [10, 20, 30]);
  series.replaceStream([], null);
  assert.deepEqual(times(series), [10, 20, 30]);
});

test("what changed is told once: times at the end, everything when a candle came in between or went", () => {
  const series = new CandleSeries();
  assert.deepEqual(series.takeChanges(), { all: true, times: [] });
  series.mergeStream([candle(10), candle(30)]);
  series.setLive(candle(40, { flags: 0 }));
  assert.deepEqual(series.takeChanges(), { all: false, times: [10, 30, 40] });
  assert.deepEqual(series.takeChanges(), { all: false, times: [] });
  series.mergeStream([candle(20)]);
  assert.equal(series.takeChanges().all, true);
  series.dropOpen(40);
  assert.equal(series.takeChanges().all, true);
  assert.deepEqual(times(series), [10, 20, 30]);
  series.dropOpen(30);
  assert.deepEqual(times(series), [10, 20, 30], "a closed candle is not dropped");
  series.dropBefore(20);
  assert.deepEqual(times(series), [20, 30]);
});

test("holes are counted among the newest candles", () => {
  const series = new CandleSeries();
  series.mergeHistory([10, 20, 40, 50, 80].map((time) => candle(time)));
  assert.equal(series.holes((open) => open + 10, 5), 2);
  assert.equal(series.holes((open) => open + 10, 2), 1);
  assert.equal(series.holes((open) => open + 30, 5), 0);
});

test("history's columns may stand in any order, and what is not known stays so", () => {
  const columns = ["flags", "open_time_ms", "close", "taker_buy_quote_volume", "cvd", "vwap"];
  const [one, other] = candlesFromHistory({ columns, rows: [[1, 10, "5.5", "4", "-2", 0.5], [1, 20, "5", "3", null, null]] });
  assert.deepEqual(one, { flags: 1, openTimeMs: 10, close: "5.5", takerBuyQuoteVolume: "4", cvd: "-2", vwap: 0.5 });
  assert.deepEqual([other.openTimeMs, other.cvd, other.vwap], [20, null, null]);
});

test("camel case has digits, too", () => {
  const [one] = candlesFromHistory({ columns: ["ema_20", "bb_percent_b", "adx_14"], rows: [[1, 2, 3]] });
  assert.deepEqual(one, { ema20: 1, bbPercentB: 2, adx14: 3 });
});

test("what was not asked for lacks, what is not known does not", () => {
  const series = new CandleSeries();
  series.mergeHistory([candle(10, { rsi14: 1 }), candle(20), candle(30, { rsi14: null })]);
  assert.equal(series.lacking(["rsi14"]), 20);
  assert.equal(series.lacking([]), null);
  assert.equal(series.lacking(["rsi14", "macd"]), 30);
});

test("history fills what ours lack and changes nothing else", () => {
  const series = new CandleSeries();
  series.mergeHistory([candle(5), candle(10), candle(20)]);
  series.mergeStream([candle(30, { close: "stream" })]);
  series.takeChanges();
  series.fill([candle(10, { rsi14: 50 }), candle(30, { close: "store", rsi14: 70 })], ["rsi14"], 30);
  assert.deepEqual(series.toArray().map(({ close, rsi14 }) => [close, rsi14]), [["1", undefined], ["1", 50], ["1", null], ["stream", 70]]);
  assert.equal(series.lacking(["rsi14"]), 5);
  assert.deepEqual(series.takeChanges().times, [10, 20, 30]);
});

test("a candle that history tells again keeps the fields that it had, unless it was revised", () => {
  const series = new CandleSeries();
  series.mergeHistory([candle(10, { rsi14: 50 })]);
  series.mergeHistory([candle(10, { macd: 1 })]);
  assert.deepEqual([series.last.rsi14, series.last.macd], [50, 1]);
  series.mergeHistory([candle(10, { revision: 1, macd: 2 })]);
  assert.deepEqual([series.last.rsi14, series.last.macd], [undefined, 2]);
});

test("what one of two rows of the same close does not know comes from the other, whichever is first", () => {
  const [stored, streamed] = [candle(10, { rsi14: 50, cvd: null }), candle(10, { rsi14: null, cvd: "2", close: "stream" })];
  for (const join of [(series) => series.mergeHistory([stored]), () => {}]) {
    const series = new CandleSeries();
    join(series);
    series.mergeStream([streamed]);
    series.mergeHistory([stored]);
    assert.deepEqual([series.last.rsi14, series.last.cvd, series.last.close], [50, "2", "stream"]);
  }
});

test("a close whose metrics nobody has computed lacks them, and gets them from history", () => {
  const series = new CandleSeries();
  series.mergeStream([candle(10, { rsi14: null, patterns: {} }), candle(20, { rsi14: null, patterns: null, cvd: null })]);
  assert.equal(series.lacking(["rsi14"]), 20);
  series.fill([candle(20, { rsi14: 55, patterns: null })], ["rsi14"], 20);
  assert.deepEqual([series.lacking(["rsi14"]), series.last.rsi14], [null, 55]);
  series.setLive(candle(30, { flags: 0, rsi14: null, patterns: null }));
  assert.equal(series.lacking(["rsi14"]), null, "the live one waits for its close");
});

test("a candle's predecessor is found", () => {
  const series = new CandleSeries();
  series.mergeHistory([candle(10), candle(20)]);
  assert.equal(series.before(20).openTimeMs, 10);
  assert.equal(series.before(10), null);
});

test("many changes are drawn as a whole", () => {
  const series = new CandleSeries();
  series.mergeHistory(Array.from({ length: 100 }, (_, at) => candle(at)));
  series.takeChanges();
  series.mergeHistory(Array.from({ length: 100 }, (_, at) => candle(at, { rsi14: 1 })));
  assert.deepEqual(series.takeChanges(), { all: true, times: [] });
});
