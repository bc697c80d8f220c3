// The chosen metrics on the chart: a series for each, on the candles or in panes below them.

import {
  HistogramSeries, LineSeries, LineStyle,
} from "./vendor/lightweight-charts/lightweight-charts.standalone.production.mjs";
import { figure } from "./format.js";
import { isBroken, pointOf, pointsOf, valueOf } from "./studies.js";

const QUIET = { priceLineVisible: false, crosshairMarkerRadius: 3, crosshairMarkerBorderWidth: 0 };
const GUIDE = { color: "#34465c", lineWidth: 1, lineStyle: LineStyle.Dotted, axisLabelVisible: false };
const FIGURES = { type: "custom", formatter: figure, minMove: 1e-10 };
const PANE_MARGINS = { top: 0.2, bottom: 0.1 };

const STYLES = Object.freeze({
  line: ({ colour, width = 1.5 }) => [LineSeries, { color: colour, lineWidth: width }],
  trend: ({ colour }) => [LineSeries, { color: colour, lineWidth: 2 }],
  dots: ({ colour }) => [LineSeries, { color: colour, lineVisible: false, pointMarkersVisible: true, pointMarkersRadius: 1.5 }],
  bars: ({ colour }) => [HistogramSeries, { color: colour }],
});

/** A scale that has the guides in view: without them an oscillator's small waves would look like large ones. */
function reaching(scale, guides) {
  if (!scale?.priceRange) return scale;
  const { minValue, maxValue } = scale.priceRange;
  return { ...scale, priceRange: { minValue: Math.min(minValue, ...guides), maxValue: Math.max(maxValue, ...guides) } };
}

export class Plots {
  #chart;
  #timeOf;
  #drawn = []; // [{study, series, broken: whether the line ends before the newest candle}, ...]
  #priceFormat = null;

  constructor(chart, timeOf) {
    this.#chart = chart;
    this.#timeOf = timeOf;
  }

  get size() { return this.#drawn.length; }

  /** Draws what `layout` of studies.js gives, and nothing else; the data come with `setAll`. */
  show({ overlays, panes }) {
    for (const { series } of this.#drawn) this.#chart.removeSeries(series); // a pane goes with its last series
    this.#drawn = [];
    for (const study of overlays) this.#add(study, 0);
    panes.forEach((studies, index) => this.#addPane(studies, index + 1));
    // The candles keep most of the height, and more than half of it however many panes there are.
    this.#chart.panes().forEach((pane, index) => pane.setStretchFactor(index ? 1 : Math.max(3, panes.length * 1.2)));
    this.setPriceFormat(this.#priceFormat);
  }

  #addPane(studies, index) {
    const [first] = studies.map((study) => this.#add(study, index));
    const { guides } = studies[0];
    for (const price of guides) first.createPriceLine({ price, ...GUIDE });
    if (guides.length > 1) first.applyOptions({ autoscaleInfoProvider: (own) => reaching(own(), guides) });
    first.priceScale().applyOptions({ scaleMargins: PANE_MARGINS });
  }

  #add(study, index) {
    const [kind, style] = STYLES[study.plot](study);
    const options = { ...QUIET, ...style, lastValueVisible: index > 0, ...(index > 0 && { priceFormat: FIGURES }) };
    const series = this.#chart.addSeries(kind, options, index);
    this.#drawn.push({ study, series, broken: false });
    return series;
  }

  /** What is drawn on the candles has their number format. */
  setPriceFormat(priceFormat) {
    this.#priceFormat = priceFormat;
    if (!priceFormat) return;
    for (const { study, series } of this.#drawn) if (study.pane === null) series.applyOptions({ priceFormat });
  }

  setAll(candles) {
    const [before, newest] = [candles[candles.length - 2] ?? null, candles[candles.length - 1]];
    for (const drawn of this.#drawn) {
      drawn.series.setData(pointsOf(drawn.study, candles, this.#timeOf));
      drawn.broken = newest !== undefined && breaks(drawn.study, before, newest);
    }
  }

  /** The newest candle has changed; `before` is the one before it, or null. False: all have to be set, a line broke. */
  update(newest, before) {
    if (this.#drawn.some(({ study, broken }) => breaks(study, before, newest) !== broken)) return false;
    for (const { study, series } of this.#drawn) series.update(pointOf(study, newest, this.#timeOf));
    return true;
  }
}

const breaks = (study, before, newest) => isBroken(study, before && valueOf(before, study), valueOf(newest, study));
