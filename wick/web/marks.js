// Which candles are marked for their patterns, and how: one mark a candle, and no more marks than can be read. Pure.

import { PATTERN } from "./studies.js";

/** A candle's patterns among those of the set `wanted`: [{name, title, definition, value}, ...], the strongest first. */
export function patternsOf(candle, wanted) {
  const found = Object.entries(candle?.patterns ?? {}).filter(([name]) => wanted.has(name) && Object.hasOwn(PATTERN, name));
  return found.map(([name, value]) => ({ ...PATTERN[name], value })).sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
}

/** 1 where what speaks for a rise outweighs, -1 for a fall, 0 where they cancel out. */
const direction = (found) => Math.sign(found.reduce((sum, { value }) => sum + value, 0));

/**
 * The marks of `candles`: [{openTimeMs, direction, count}, ...]. Of every `span` neighbours at most one is marked, the one
 * whose patterns are the rarest among these candles taken together.
 */
export function marksOf(candles, wanted, span) {
  const marked = [];
  const seen = new Map(); // pattern -> on how many candles
  candles.forEach((candle, at) => {
    const found = patternsOf(candle, wanted);
    if (!found.length) return;
    marked.push({ candle, at: candles.length - at, found });
    for (const { name } of found) seen.set(name, (seen.get(name) ?? 0) + 1);
  });
  const rarity = (found) => found.reduce((sum, { name }) => sum + Math.log(candles.length / seen.get(name)), 0);
  const best = new Map(); // counted from the candle's own time: which one is marked does not change as others join
  const step = candles.length > 1 ? candles[1].openTimeMs - candles[0].openTimeMs : 1;
  for (const { candle, found } of marked) {
    const mark = { openTimeMs: candle.openTimeMs, direction: direction(found), count: found.length, weight: rarity(found) };
    const stretch = Math.floor(candle.openTimeMs / step / span);
    if (!(best.get(stretch)?.weight >= mark.weight)) best.set(stretch, mark);
  }
  return [...best.values()].map(({ openTimeMs, direction, count }) => ({ openTimeMs, direction, count }));
}

const LEAST_PX = 14; // between marks

/** Of how many neighbours one is marked, with candles `barPx` apart: a power of two, so that zooming seldom changes it. */
export const spanOf = (barPx) => 2 ** Math.max(0, Math.ceil(Math.log2(LEAST_PX / barPx)));
