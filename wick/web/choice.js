// Which metrics and patterns are shown: as text for the page's address and for the browser's memory. Pure.

import { PATTERNS } from "./schema.js";
import { STUDIES } from "./studies.js";

// The shapes of single candles, of which every other one has some: shown where they are asked for.
const ORDINARY = Object.freeze([
  "CDLBELTHOLD", "CDLCLOSINGMARUBOZU", "CDLDOJI", "CDLDRAGONFLYDOJI", "CDLGRAVESTONEDOJI", "CDLHIGHWAVE", "CDLLONGLEGGEDDOJI",
  "CDLLONGLINE", "CDLMARUBOZU", "CDLRICKSHAWMAN", "CDLSHORTLINE", "CDLSPINNINGTOP", "CDLTAKURI",
]);
const ALL = Object.freeze(PATTERNS.map(({ name }) => name));
export const PRESETS = Object.freeze({ notable: Object.freeze(ALL.filter((name) => !ORDINARY.includes(name))), all: ALL });

/** Nothing on the chart but candles. `patterns` waits for `marks` to be switched on. */
export const PLAIN = Object.freeze({ metrics: Object.freeze([]), marks: false, patterns: PRESETS.notable });

const isSame = (some, others) => some.length === others.length && some.every((name) => others.includes(name));

/** The preset that `patterns` are, or null. */
export const presetOf = (patterns) => Object.keys(PRESETS).find((name) => isSame(PRESETS[name], patterns)) ?? null;

/** A choice as text: "ema_20,rsi_14,patterns"; "" for none. */
export function choiceText({ metrics, marks, patterns }) {
  if (!marks) return metrics.join();
  const preset = presetOf(patterns);
  const told = preset === "notable" ? ["patterns"] : preset ? [`patterns=${preset}`] : patterns.map((name) => name.slice(3));
  return [...metrics, ...told].join();
}

/** The choice that `text` names; what nobody knows is left out. Without patterns, those of `before` wait. */
export function choiceFrom(text, before = PLAIN) {
  const words = [...new Set(text.split(","))];
  const metrics = words.filter((word) => Object.hasOwn(STUDIES, word));
  const preset = words.includes("patterns") ? "notable" : words.find((word) => word.startsWith("patterns="))?.slice(9);
  const named = ALL.filter((name) => words.includes(name.slice(3)));
  const patterns = Object.hasOwn(PRESETS, preset ?? "") ? PRESETS[preset] : named.length ? named : null;
  return { metrics, marks: patterns !== null, patterns: patterns ?? before.patterns };
}

/** The fields that the API is asked for beyond its own. */
export const fieldsOf = ({ metrics, marks }) => (marks ? [...metrics, "patterns"] : [...metrics]);

/** `choice` with `name`, a metric, taken in or out. */
export function withMetric(choice, name, on) {
  const others = choice.metrics.filter((other) => other !== name);
  return { ...choice, metrics: on ? [...others, name] : others };
}

/** `choice` with the pattern `name` taken in or out. */
export function withPattern(choice, name, on) {
  return { ...choice, patterns: ALL.filter((other) => (other === name ? on : choice.patterns.includes(other))) };
}
