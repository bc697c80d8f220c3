// Fetching and joining of stored candles (wick/web/history.js).

import assert from "node:assert/strict";
import { test } from "node:test";

const web = new URL("../../wick/web/", import.meta.url);
const { History, PAGE_ROWS } = await import(new URL("history.js", web));
const { CandleSeries } = await import(new URL("series.js", web));

const candle = (openTimeMs) => ({ openTimeMs, flags: 1, revision: 0 });
const rows = (from, to) => Array.from({ length: to - from }, (_, index) => candle(from + index));
const times = (series) => series.toArray().map((one) => one.openTimeMs);

/** A history over `series` that gets `pages` one after the other (an Error is thrown), and what it did. */
function historyOf(series, pages, fields = []) {
  const world = { asked: [], waits: [], changes: [] };
  world.history = new History({
    series,
    fetchPage: async (to) => {
      world.asked.push(to);
      const page = pages.shift();
      if (page instanceof Error) throw page;
      return page;
    },
    closeMs: (open) => open + 1,
    onChange: (isFirst) => world.changes.push([isFirst, world.history.problem]),
    wait: async (ms) => { world.waits.push(ms); },
    fields: () => fields,
  });
  return world;
}

test("the first page is joined to what the stream has said already", async () => {
  const series = new CandleSeries();
  series.mergeStream(rows(8, 12));
  const { history, asked, waits, changes } = historyOf(series, [rows(0, 10)]);
  await history.loadLatest();
  assert.deepEqual(times(series), times({ toArray: () => rows(0, 12) }));
  assert.deepEqual([asked, waits, changes], [[undefined], [], [[true, ""]]]);
  assert.equal(history.isLoaded && history.isWhole, true);
});

test("an error is told and asked again after growing waits", async () => {
  const failures = [1, 2, 3, 4, 5].map(() => new Error("symbol: unknown"));
  const { history, waits, changes } = historyOf(new CandleSeries(), [...failures, new TypeError("fetch failed"), rows(0, 3)]);
  await history.loadLatest();
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 10000, 10000]);
  assert.deepEqual(changes.at(0), [false, "symbol: unknown"]);
  assert.deepEqual(changes.at(-2), [false, "The front cannot be reached."]);
  assert.deepEqual(changes.at(-1), [true, ""]);
});

test("a hole between store and stream is asked for again, but not for ever", async () => {
  const series = new CandleSeries();
  series.mergeStream(rows(8, 12));
  const mended = historyOf(series, [rows(0, 6), rows(0, 9)]);
  await mended.history.loadLatest();
  assert.deepEqual([times(series).length, mended.waits], [12, [1000]]);
  const torn = new CandleSeries();
  torn.mergeStream(rows(8, 12));
  const given = historyOf(torn, Array(10).fill(rows(0, 6)));
  await given.history.loadLatest();
  assert.deepEqual(given.waits, [1000, 2000, 4000]);
  assert.deepEqual(given.changes.map(([isFirst]) => isFirst), [true, false, false, false]);
});

test("what is wanted while a page is on its way is fetched after it", async () => {
  const { history, asked } = historyOf(new CandleSeries(), [rows(0, 3), rows(0, 4)]);
  await Promise.all([history.loadLatest(), history.loadLatest(), history.loadLatest()]);
  assert.equal(asked.length, 2);
});

test("after a long absence the chart begins anew instead of showing a hole", async () => {
  const series = new CandleSeries();
  const { history } = historyOf(series, [rows(0, PAGE_ROWS), rows(2_000, 2_000 + PAGE_ROWS)]);
  await history.loadLatest();
  await history.loadLatest();
  assert.deepEqual([series.first.openTimeMs, series.length, history.isWhole], [2_000, PAGE_ROWS, false]);
});

test("older pages come one by one until there is no more", async () => {
  const series = new CandleSeries();
  const [oldest, middle, newest] = [rows(600, 700), rows(700, 700 + PAGE_ROWS), rows(1_200, 1_200 + PAGE_ROWS)];
  const { history, asked } = historyOf(series, [newest, middle, oldest]);
  await history.loadOlder();
  assert.deepEqual(asked, [], "not before the newest page is there");
  await history.loadLatest();
  await Promise.all([history.loadOlder(), history.loadOlder()]);
  await history.loadOlder();
  await history.loadOlder();
  assert.deepEqual(asked, [undefined, 1_200, 700]);
  assert.deepEqual([series.first.openTimeMs, series.length, history.isWhole], [600, 1_100, true]);
});

test("an older page that failed can be asked for again", async () => {
  const series = new CandleSeries();
  const { history, waits } = historyOf(series, [rows(500, 1_000), new Error("away"), rows(400, 500)]);
  await history.loadLatest();
  await history.loadOlder();
  assert.deepEqual([series.length, waits], [500, [1000]]);
  await history.loadOlder();
  assert.equal(series.length, 600);
});

test("nothing comes into the series once another selection has taken it", async () => {
  const series = new CandleSeries();
  const late = historyOf(series, [rows(0, 3)]);
  const loading = late.history.loadLatest();
  late.history.stop();
  await loading;
  assert.deepEqual([series.length, late.changes], [0, []]);
  const failing = historyOf(series, [new Error("away")]);
  const retried = failing.history.loadLatest();
  failing.history.stop();
  await retried;
  assert.deepEqual([failing.asked.length, failing.changes], [1, []]);
});

test("a field that is wanted later is fetched for all candles, from the newest back", async () => {
  const series = new CandleSeries();
  const fields = [];
  const withField = (from, to) => rows(from, to).map((one) => ({ ...one, rsi14: one.openTimeMs }));
  const pages = [rows(300, 800), withField(300, 800)];
  const { history, asked } = historyOf(series, pages, fields);
  await history.loadLatest();
  fields.push("rsi14");
  await history.fill();
  assert.deepEqual(asked, [undefined, 800]);
  assert.ok(series.toArray().every((one) => one.rsi14 === one.openTimeMs));
  pages.push(rows(100, 300), withField(100, 300));
  await history.loadOlder(); // was asked before the field was wanted, say
  await history.fill();
  assert.deepEqual(asked.slice(2), [300, 300]);
  assert.equal(series.lacking(fields), null);
});

test("filling goes on after an error, and does not ask twice for what nobody has", async () => {
  const series = new CandleSeries();
  const fields = [];
  const { history, asked, waits } = historyOf(series, [rows(0, 10), new Error("away"), rows(4, 10), []], fields);
  await history.loadLatest();
  fields.push("rsi14");
  await Promise.all([history.fill(), history.fill()]);
  assert.deepEqual([asked, waits], [[undefined, 10, 10, 4], [1000]]);
  assert.ok(series.toArray().every((one) => one.rsi14 === null));
});

test("nothing is filled before the first page is there, which has the wanted fields anyway", async () => {
  const series = new CandleSeries();
  series.mergeHistory(rows(0, 10));
  const { history, asked } = historyOf(series, [], ["rsi14"]);
  await history.fill();
  assert.deepEqual(asked, []);
});

test("filling ends with its selection", async () => {
  const series = new CandleSeries();
  const fields = [];
  const { history, asked } = historyOf(series, [rows(0, 10), rows(0, 10)], fields);
  await history.loadLatest();
  fields.push("rsi14");
  const filling = history.fill();
  history.stop();
  await filling;
  assert.deepEqual([asked.length, series.last.rsi14], [2, undefined]);
});
