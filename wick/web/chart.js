// The candle chart: draws a CandleSeries with the vendored lightweight-charts, and says what lies under the crosshair.

import {
  CandlestickSeries, CrosshairMode, HistogramSeries, LineStyle, createChart, createSeriesMarkers,
} from "./vendor/lightweight-charts/lightweight-charts.standalone.production.mjs";
import { compact, openTimeText, priceText } from "./format.js";
import { axisNeeds } from "./intervals.js";
import { marksOf, spanOf } from "./marks.js";
import { Plots } from "./plots.js";
import { FLAG } from "./schema.js";

const UP = "#34c79a";
const DOWN = "#dd4660";
const QUIET = "#5d6b7c"; // a candle without a trade
const AMBER = "#e5a93d"; // suspect
const HOLLOW = "rgba(0, 0, 0, 0)";
const DIM = Object.freeze({ [UP]: "rgba(52, 199, 154, 0.5)", [DOWN]: "rgba(221, 70, 96, 0.5)", [QUIET]: "rgba(93, 107, 124, 0.5)" });
const HISTORY_MARGIN_BARS = 30; // ask for more when fewer than this are left of the view
const FIRST_VIEW_BARS = 140;
const FEWEST_VIEW_BARS = 40; // a handful of candles should not fill the screen

const SEPARATOR_PX = 1; // between panes
const LEGEND_GAP_PX = 20; // between the legend and the candles
const VOLUME_SHARE = 0.24; // of the candles' pane

const secondsOf = (openTimeMs) => openTimeMs / 1000;

/** How a candle is marked: whole ones are filled, partial ones hollow and dim, suspect ones hollow and amber. */
function candleColours(candle) {
  const base = candle.flags & FLAG.EMPTY ? QUIET : Number(candle.close) >= Number(candle.open) ? UP : DOWN;
  if (candle.flags & FLAG.SUSPECT) return { color: HOLLOW, borderColor: AMBER, wickColor: AMBER };
  if (candle.flags & FLAG.PARTIAL) return { color: HOLLOW, borderColor: DIM[base], wickColor: DIM[base] };
  return { color: base, borderColor: base, wickColor: base };
}

function bar(candle) {
  return {
    time: secondsOf(candle.openTimeMs),
    open: Number(candle.open), high: Number(candle.high), low: Number(candle.low), close: Number(candle.close),
    ...candleColours(candle),
  };
}

/** The volume's column, coloured by delta: the more one-sided the takers were, the fuller the colour; grey: nobody knows. */
function column(candle) {
  const volume = Number(candle.volume);
  const isKnown = candle.takerBuyVolume !== null;
  const delta = volume > 0 && isKnown ? (2 * Number(candle.takerBuyVolume)) / volume - 1 : 0;
  const strength = (0.18 + 0.62 * Math.min(1, Math.abs(delta) * 1.6)).toFixed(2);
  const rgb = !isKnown ? "138, 147, 163" : delta >= 0 ? "52, 199, 154" : "221, 70, 96";
  return { time: secondsOf(candle.openTimeMs), value: volume, color: `rgba(${rgb}, ${strength})` };
}

/** A mark below a candle that speaks for a rise, above one that speaks for a fall; how many patterns, if several. */
function marker({ openTimeMs, direction, count }) {
  const rises = direction > 0;
  return {
    time: secondsOf(openTimeMs), size: 0.8, position: rises ? "belowBar" : "aboveBar", text: count > 1 ? String(count) : "",
    shape: direction === 0 ? "circle" : rises ? "arrowUp" : "arrowDown", color: direction === 0 ? QUIET : rises ? UP : DOWN,
  };
}

export class CandleChart {
  #chart;
  #candles;
  #volumes;
  #plots;
  #markers;
  #wanted = null; // the names of the patterns that are marked, or null
  #span = 1; // of how many candles at most one is marked
  #marked = new Map(); // open time -> the patterns that the marks were made of
  #top = 0.14; // the share of the pane that is left to the legend
  #isStale = false; // metrics or marks are to be drawn anew
  #series = null;
  #drawn = 0; // the last open time drawn, ms
  #fresh = true; // nothing has been drawn since `show`
  #axis = axisNeeds("1m");
  #decimals = null;

  /** `onCrosshair(openTimeMs | null)`, `onNeedOlder()` when the view comes near the oldest candle, `onNeedFrame()`. */
  constructor(container, { onCrosshair, onNeedOlder, onNeedFrame }) {
    const reduced = matchMedia("(max-width: 720px)").matches;
    this.#chart = createChart(container, {
      autoSize: true,
      layout: {
        background: { color: "#0c1117" }, textColor: "#8796a8", fontSize: reduced ? 11 : 12,
        fontFamily: getComputedStyle(document.body).fontFamily,
        attributionLogo: true, // the library's licence asks for it
        panes: { separatorColor: "#1d2733", separatorHoverColor: "rgba(108, 178, 255, 0.18)" },
      },
      grid: { vertLines: { color: "#151d27" }, horzLines: { color: "#151d27" } },
      crosshair: {
        mode: CrosshairMode.Normal,
        vertLine: { color: "#55667a", style: LineStyle.Dashed, labelBackgroundColor: "#2a3747" },
        horzLine: { color: "#55667a", style: LineStyle.Dashed, labelBackgroundColor: "#2a3747" },
      },
      rightPriceScale: { borderColor: "#1d2733", scaleMargins: { top: this.#top, bottom: VOLUME_SHARE } },
      timeScale: { borderColor: "#1d2733", rightOffset: 6, barSpacing: reduced ? 6 : 8, minBarSpacing: 1.5 },
      localization: {
        locale: "en-GB",
        timeFormatter: (time) => openTimeText(time * 1000, this.#axis) + " UTC",
      },
    });
    this.#candles = this.#chart.addSeries(CandlestickSeries, {
      upColor: UP, downColor: DOWN, borderUpColor: UP, borderDownColor: DOWN, wickUpColor: UP, wickDownColor: DOWN,
      priceLineStyle: LineStyle.Dotted, priceLineWidth: 1,
    });
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume", lastValueVisible: false, priceLineVisible: false,
      priceFormat: { type: "custom", formatter: compact, minMove: 1e-8 },
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#plots = new Plots(this.#chart, secondsOf);
    this.#markers = createSeriesMarkers(this.#candles, [], { zOrder: "aboveSeries" });
    this.#chart.subscribeCrosshairMove(({ time }) => onCrosshair(time === undefined ? null : time * 1000));
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && !this.#fresh && range.from < HISTORY_MARGIN_BARS) onNeedOlder();
      if (this.#wanted && this.#spanNow() !== this.#span) onNeedFrame();
    });
  }

  /** Draws `series` from now on: another symbol or interval. */
  show(series, interval) {
    this.#series = series;
    this.#axis = axisNeeds(interval);
    this.#fresh = true;
    this.#chart.applyOptions({ timeScale: this.#axis });
    this.#candles.setData([]);
    this.#volumes.setData([]);
    this.#plots.setAll([]);
    this.#markers.setMarkers([]);
    this.#marked.clear();
    this.#drawn = 0;
  }

  setDecimals(decimals) {
    if (decimals === this.#decimals) return;
    this.#decimals = decimals;
    const priceFormat = { type: "custom", minMove: 10 ** -decimals, formatter: (price) => priceText(price.toFixed(decimals), decimals) };
    this.#candles.applyOptions({ priceFormat });
    this.#plots.setPriceFormat(priceFormat);
  }

  /** Draws these metrics (`layout` of studies.js) with the candles. */
  showStudies(layout) {
    this.#plots.show(layout);
    this.#isStale = true;
  }

  /** Keeps the candles clear of the uppermost `px`, where the legend is. */
  leaveRoom(px) {
    const height = this.#chart.panes()[0].getHeight();
    const top = Math.min(0.4, Math.max(0.08, (px + LEGEND_GAP_PX) / Math.max(1, height)));
    if (Math.abs(top - this.#top) * height < LEGEND_GAP_PX / 2) return;
    this.#top = top;
    this.#chart.priceScale("right").applyOptions({ scaleMargins: { top, bottom: VOLUME_SHARE } });
  }

  /** Marks the candles that have one of the patterns `wanted`, a set of names; null: none. */
  showMarks(wanted) {
    this.#wanted = wanted;
    this.#isStale = true;
  }

  /** The marks that are drawn: [{openTimeMs, position}, ...]. */
  get marks() { return this.#markers.markers().map(({ time, position }) => ({ openTimeMs: time * 1000, position })); }

  /** Where the panes are, from the top: [{top, height}, ...] in pixels; the candles' own comes first. */
  get panes() {
    let below = 0;
    return this.#chart.panes().map((pane) => {
      const [top, height] = [below, pane.getHeight()];
      below += height + SEPARATOR_PX;
      return { top, height };
    });
  }

  /** Brings the picture up to the series; called once a frame. Whether anything had changed. */
  draw() {
    if (!this.#series?.length) return false;
    const { all, times } = this.#series.takeChanges();
    if (all) this.#drawAll();
    else for (const time of times) this.#drawOne(this.#series.get(time));
    if (this.#isStale) this.#plots.setAll(this.#series.toArray());
    if (this.#isStale || times.some((time) => this.#isMarkedAnew(time)) || this.#spanNow() !== this.#span) this.#drawMarks();
    this.#isStale = false;
    return all || times.length > 0;
  }

  #drawAll() {
    const candles = this.#series.toArray();
    this.#candles.setData(candles.map(bar));
    this.#volumes.setData(candles.map(column));
    this.#drawn = candles[candles.length - 1].openTimeMs;
    this.#isStale = true;
    if (this.#fresh) this.showLatest();
    this.#fresh = false;
  }

  #drawOne(candle) {
    const historical = candle.openTimeMs < this.#drawn;
    this.#candles.update(bar(candle), historical);
    this.#volumes.update(column(candle), historical);
    // An older one may be joined to its successor in another way now.
    if (historical || !this.#plots.update(candle, this.#series.before(candle.openTimeMs))) this.#isStale = true;
    this.#drawn = Math.max(this.#drawn, candle.openTimeMs);
  }

  #isMarkedAnew(time) {
    return this.#wanted !== null && this.#series.get(time)?.patterns !== this.#marked.get(time);
  }

  #spanNow() { return spanOf(this.#chart.timeScale().options().barSpacing); }

  #drawMarks() {
    const candles = this.#wanted ? this.#series.toArray() : [];
    this.#span = this.#spanNow();
    this.#marked = new Map(candles.map((candle) => [candle.openTimeMs, candle.patterns]));
    this.#markers.setMarkers(marksOf(candles, this.#wanted ?? new Set(), this.#span).map(marker));
  }

  /** Puts the newest candles into view. */
  showLatest() {
    const count = this.#series.length;
    const room = Math.floor(this.#chart.timeScale().width() / 8);
    const bars = Math.min(room, FIRST_VIEW_BARS, Math.max(count, FEWEST_VIEW_BARS));
    this.#chart.timeScale().setVisibleLogicalRange({ from: count - bars, to: count + 5 });
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
  }
}
