// The HTTP API of the front, with the token of the page's own address where it has one.

import { PAGE_ROWS } from "./history.js";
import { candlesFromHistory } from "./series.js";

const TOKEN = new URLSearchParams(location.search).get("token");
const TIMEOUT_MS = 10_000;

async function get(path, query = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
  const headers = TOKEN ? { Authorization: `Bearer ${TOKEN}` } : {};
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.status === 401) throw new Error("This front wants a token: open the page with ?token=\u2026 in its address.");
  const body = await response.json().catch(() => null);
  if (!response.ok || body === null) throw new Error(complaint(body?.error) ?? `The front answered ${response.status}.`);
  return body;
}

function complaint(error) {
  if (!error?.message) return null;
  return `${error.field}: ${error.message}` + (error.valid ? `; valid is ${error.valid}` : "");
}

/** [{venue, symbol}, ...] */
export const symbols = () => get("api/v1/symbols");

/** ["15s", "30s", ...] */
export const intervals = () => get("api/v1/intervals");

// What the chart and its legend need of a candle, where more is asked for than the API tells unasked.
const NEEDED = Object.freeze([
  "open_time_ms", "open", "high", "low", "close", "volume", "trade_count", "taker_buy_volume", "vwap", "delta", "cvd",
  "max_trade_size", "revision", "flags",
]);

/** Up to PAGE_ROWS candles, oldest first, that open before `to` (the newest, without it); `fields`: metrics they should have. */
export async function candles({ venue, symbol, interval }, to, fields = []) {
  const names = fields.length ? [...new Set([...NEEDED, ...fields])].join() : undefined;
  return candlesFromHistory(await get("api/v1/candles", { venue, symbol, interval, limit: PAGE_ROWS, to, fields: names }));
}

export function socketUrl() {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  url.search = "";
  if (TOKEN) url.searchParams.set("token", TOKEN);
  return url.href;
}
