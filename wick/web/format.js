// Numbers and times as the page shows them. Prices come and stay as exact decimal strings. Pure.

const MINUS = "\u2212";
export const NOTHING = "\u2013";

/** "61837.5" with 2 decimals as "61,837.50"; digits beyond `decimals` stay: never less than the exact price. */
export function priceText(text, decimals) {
  if (text === null || text === undefined) return NOTHING;
  const [whole, fraction = ""] = text.replace("-", "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const padded = fraction.padEnd(decimals, "0");
  return (text.startsWith("-") ? MINUS : "") + grouped + (padded ? "." + padded : "");
}

const STEPS = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]];

/** 1234567 as "1.23M": as many digits as matter. */
export function compact(value, significant = 3) {
  const size = Math.abs(value);
  for (const [step, letter] of STEPS) {
    if (size >= step * 0.9995) return digits(value / step, significant) + letter;
  }
  return digits(value, significant);
}

/** A value of any size in four digits: "52.31", "12.35K", "1.234e\u22129". */
export function figure(value) {
  if (value === 0 || Math.abs(value) >= 1e-4) return compact(value, 4);
  return value.toExponential(3).replaceAll("-", MINUS);
}

/** Like `compact`, with a sign: "+12.3". */
export const signed = (value, significant) => (value > 0 ? "+" : "") + compact(value, significant);

function digits(value, significant) {
  value = Number(value.toPrecision(significant)); // 0.9996 has a digit before the point once it is rounded
  if (value === 0) return "0";
  const before = Math.floor(Math.log10(Math.abs(value))) + 1; // digits before the point; negative for 0.001
  return value.toFixed(Math.min(8, Math.max(0, significant - before))).replace("-", MINUS);
}

/** A share of change, 0.0123 as "+1.23%". */
export function percentText(share) {
  if (!Number.isFinite(share)) return NOTHING;
  const text = (Math.abs(share) * 100).toFixed(2);
  if (text === "0.00") return "0.00%";
  return (share > 0 ? "+" : MINUS) + text + "%";
}

/** A span as "0:07", "12:30" or "1d 03:12". */
export function spanText(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (value) => String(value).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days}d ${two(hours)}:${two(minutes)}`;
  if (hours) return `${hours}:${two(minutes)}:${two(seconds % 60)}`;
  return `${minutes}:${two(seconds % 60)}`;
}

/** The age of something: "80 ms", "4.2 s", "3 min". */
export function ageText(ms) {
  if (ms === null) return NOTHING;
  if (ms < 1_000) return `${Math.round(ms / 10) * 10} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return `${Math.floor(ms / 3_600_000)} h`;
}

export function bytesText(bytesPerSecond) {
  if (bytesPerSecond < 1_000) return `${Math.round(bytesPerSecond)} B/s`;
  if (bytesPerSecond < 1_000_000) return `${(bytesPerSecond / 1e3).toFixed(1)} kB/s`;
  return `${(bytesPerSecond / 1e6).toFixed(2)} MB/s`;
}

export const clockText = (ms) => new Date(ms).toISOString().slice(11, 19);

/** The open time of a candle: a date for days and longer, else a date and a time. */
export function openTimeText(ms, { timeVisible, secondsVisible }) {
  const text = new Date(ms).toISOString();
  if (!timeVisible) return text.slice(0, 10);
  return `${text.slice(0, 10)} ${text.slice(11, secondsVisible ? 19 : 16)}`;
}
