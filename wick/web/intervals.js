// The lengths of the intervals that /api/v1/intervals names: where a candle closes. Times are UTC milliseconds.

const UNIT_MS = Object.freeze({ s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 });

/** Where the candle of `interval` ("15s", "1h", "1M") that opens at `openMs` closes. */
export function closeMs(interval, openMs) {
  const count = parseInt(interval, 10);
  const unit = interval.slice(String(count).length);
  if (unit === "M") {
    const date = new Date(openMs);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + count, 1);
  }
  return openMs + count * UNIT_MS[unit];
}

/** Whether a chart of `interval` needs a clock on its time axis, and seconds on it. */
export function axisNeeds(interval) {
  return { timeVisible: !/[dwM]$/.test(interval), secondsVisible: interval.endsWith("s") };
}

const NAMES = Object.freeze({ s: "second", m: "minute", h: "hour", d: "day", w: "week", M: "month" });

/** "15s" as a person says it: "15 seconds". */
export function spokenName(interval) {
  const count = parseInt(interval, 10);
  return `${count} ${NAMES[interval.slice(-1)]}${count === 1 ? "" : "s"}`;
}
