// The stored candles of one selection: fetched page by page, joined to the stream, asked for again while something lacks.
// No page, no clock of its own.

export const PAGE_ROWS = 500;
const MEND_TRIES = 3; // the store is a moment behind the stream: a hole between them is asked for again
const RETRY_MS = 1_000;
const RETRY_CAP_MS = 10_000;

/** How long to wait before asking for something once more. */
export const retryDelayMs = (tries) => Math.min(RETRY_CAP_MS, RETRY_MS * 2 ** tries);

/**
 * Fills `series`. `fetchPage(to)` gives up to PAGE_ROWS candles that open before `to` (the newest without it), oldest first;
 * `closeMs(openMs)` says where a candle closes; `onChange(isFirst)` is called when rows came or a problem did; `fields()`
 * names what a candle should have beyond the usual: `fetchPage` asks for it.
 */
export class History {
  #series;
  #fields;
  #fetchPage;
  #closeMs;
  #onChange;
  #wait;
  #isLoading = false;
  #isFilling = false;
  #isWantedAgain = false;
  #isStopped = false;
  #older = "unknown"; // more, none, loading

  constructor({ series, fetchPage, closeMs, onChange, wait, fields = () => [] }) {
    this.#series = series;
    this.#fields = fields;
    this.#fetchPage = fetchPage;
    this.#closeMs = closeMs;
    this.#onChange = onChange;
    this.#wait = wait;
    this.isLoaded = false;
    this.problem = "";
  }

  /** Whether the oldest candle there is has been reached. */
  get isWhole() { return this.#older === "none"; }

  /** Another selection has taken the chart: nothing of this one may come into the series any more. */
  stop() { this.#isStopped = true; }

  /** Fetches the newest page; again after an error, and while there is a hole in what is then there. */
  async loadLatest() {
    if (this.#isLoading) {
      this.#isWantedAgain = true;
      return;
    }
    this.#isLoading = true;
    let failed = 0;
    let mended = 0;
    while (!this.#isStopped) {
      this.#isWantedAgain = false;
      if (!(await this.#join())) {
        await this.#wait(retryDelayMs(failed++));
        continue;
      }
      failed = 0;
      const isTorn = this.#series.holes(this.#closeMs, PAGE_ROWS) > 0;
      if (isTorn && mended < MEND_TRIES) await this.#wait(retryDelayMs(mended++));
      else if (!this.#isWantedAgain) break;
    }
    this.#isLoading = false;
  }

  /** One page, joined; false where it did not come. */
  async #join() {
    let candles;
    try {
      candles = await this.#fetchPage();
    } catch (error) {
      if (this.#isStopped) return true;
      this.problem = error.name === "TypeError" ? "The front cannot be reached." : error.message;
      this.#onChange(false);
      return false;
    }
    if (this.#isStopped) return true;
    const isFirst = !this.isLoaded;
    const isFull = candles.length >= PAGE_ROWS;
    // A whole page that ends above what we have leaves a hole that one page cannot fill: begin anew with the page.
    const isApart = !isFirst && isFull && !this.#series.get(candles[0].openTimeMs);
    if (isApart) this.#series.dropBefore(candles[0].openTimeMs);
    this.#series.mergeHistory(candles);
    if (isFirst || isApart) this.#older = isFull ? "more" : "none";
    this.isLoaded = true;
    this.problem = "";
    this.#onChange(isFirst);
    this.fill();
    return true;
  }

  /** Fetches the page before the oldest candle, unless there is none or it is on its way. */
  async loadOlder() {
    if (this.#older !== "more" || this.#isStopped) return;
    this.#older = "loading";
    try {
      const candles = await this.#fetchPage(this.#series.first.openTimeMs);
      if (this.#isStopped) return;
      this.#series.mergeHistory(candles);
      this.#older = candles.length < PAGE_ROWS ? "none" : "more";
      this.#onChange(false);
      this.fill();
    } catch {
      await this.#wait(RETRY_MS); // the next scroll asks again
      this.#older = "more";
    }
  }
  /** Fetches once more what lacks a field that is wanted by now, from the newest candle to the oldest. */
  async fill() {
    if (this.#isFilling || !this.isLoaded) return;
    this.#isFilling = true;
    let failed = 0;
    while (!this.#isStopped) {
      const fields = this.#fields();
      const newest = this.#series.lacking(fields);
      if (newest === null) break;
      try {
        const candles = await this.#fetchPage(newest + 1);
        if (this.#isStopped) break;
        this.#series.fill(candles, fields, newest);
        this.#onChange(false);
        failed = 0;
      } catch {
        await this.#wait(retryDelayMs(failed++));
      }
    }
    this.#isFilling = false;
  }
}
