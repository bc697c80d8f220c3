// Which metrics and patterns are shown, as text (wick/web/choice.js) and remembered (memory.js).

import assert from "node:assert/strict";
import { test } from "node:test";

const web = new URL("../../wick/web/", import.meta.url);
const { PLAIN, PRESETS, choiceFrom, choiceText, fieldsOf, presetOf, withMetric, withPattern } = await import(new URL("choice.js", web));

const chosen = (metrics, marks = false, patterns = PRESETS.notable) => ({ metrics, marks, patterns });

test("a choice goes to text and back", () => {
  const choices = [
    ["", PLAIN],
    ["ema_20,rsi_14", chosen(["ema_20", "rsi_14"])],
    ["patterns", chosen([], true)],
    ["macd,patterns", chosen(["macd"], true)],
    ["patterns=all", chosen([], true, PRESETS.all)],
    ["vwap,DOJI,HAMMER", chosen(["vwap"], true, ["CDLDOJI", "CDLHAMMER"])],
  ];
  for (const [text, choice] of choices) {
    assert.equal(choiceText(choice), text);
    assert.deepEqual(choiceFrom(text), choice);
  }
});

test("what nobody knows, and what is said twice, is left out", () => {
  assert.deepEqual(choiceFrom("ema_20,nonsense,ema_20,open,constructor,patterns=none"), chosen(["ema_20"]));
});

test("patterns that are switched off wait as they were", () => {
  const before = chosen([], true, ["CDLDOJI"]);
  assert.deepEqual(choiceFrom("rsi_14", before), chosen(["rsi_14"], false, ["CDLDOJI"]));
});

test("metrics and patterns come and go one by one", () => {
  const two = withMetric(withMetric(PLAIN, "macd", true), "vwap", true);
  assert.deepEqual(two.metrics, ["macd", "vwap"]);
  assert.deepEqual(withMetric(two, "macd", false).metrics, ["vwap"]);
  const more = withPattern(PLAIN, "CDLDOJI", true);
  assert.ok(more.patterns.includes("CDLDOJI") && more.patterns.length === PRESETS.notable.length + 1);
  assert.equal(presetOf(more.patterns), null);
  assert.equal(presetOf(withPattern(more, "CDLDOJI", false).patterns), "notable");
  assert.deepEqual(PLAIN.metrics, [], "nothing was changed in place");
});

test("notable are all but the shapes of single candles", () => {
  assert.equal(PRESETS.all.length, 61);
  assert.equal(PRESETS.notable.length, 48);
  assert.ok(PRESETS.notable.includes("CDLENGULFING") && !PRESETS.notable.includes("CDLDOJI"));
});

test("only what is shown is asked for", () => {
  assert.deepEqual(fieldsOf(PLAIN), []);
  assert.deepEqual(fieldsOf(chosen(["macd"], true)), ["macd", "patterns"]);
});

test("a browser remembers what was shown, and which patterns wait; one that refuses to shows nothing", async () => {
  const memory = await import(new URL("memory.js", web));
  const stored = new Map();
  globalThis.localStorage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) };
  assert.deepEqual(memory.read(), PLAIN);
  for (const choice of [chosen(["ema_20"], false, ["CDLDOJI"]), chosen([], true, PRESETS.all), PLAIN]) {
    memory.write(choice);
    assert.deepEqual(memory.read(), choice);
  }
  const refuse = () => { throw new Error("denied"); };
  globalThis.localStorage = { getItem: refuse, setItem: refuse };
  memory.write(chosen(["ema_20"]));
  assert.deepEqual(memory.read(), PLAIN);
});
