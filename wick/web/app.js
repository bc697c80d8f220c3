// The page: wires session, series, chart, watchlist and the address together. Every drawing happens once a frame.

import * as api from "./api.js";
import { camel, candleFromRow, completed, liveCandle, quoteFromHead } from "./candles.js";
import { CandleChart } from "./chart.js";
import { choiceFrom, choiceText, fieldsOf, PLAIN, withMetric } from "./choice.js";
import { WickClient } from "./client.js";
import { History, retryDelayMs } from "./history.js";
import { closeMs, spokenName } from "./intervals.js";
import { PatternLabels, StudyLabels } from "./labels.js";
import { patternsOf } from "./marks.js";
import * as memory from "./memory.js";
import { Picker } from "./picker.js";
import { FLAG } from "./schema.js";
import { CandleSeries } from "./series.js";
import { layout } from "./studies.js";
import { Legend, PriceHead, StatusLine, drawBeginning, drawNotice } from "./view.js";
import { Watchlist } from "./watchlist.js";

const FIRST_CHOICE = Object.freeze({ symbol: "BTC-USDT", interval: "1m" });
const TICK_MS = 500;
const FRAME_MS = 30; // the stream moves 20 times a second: 60 pictures of it would be work for nothing
const FEW_CANDLES = 24; // fewer leave most of the chart empty, which wants to be explained
const OMITTED_MS = 10_000; // far beyond the grace period after which a CLOSE comes
const NOTE_MS = 8_000; // how long the status line tells what a reconnect has cost
const STREAM_ROWS = 16; // among so many candles a snapshot shows that it does not reach back to what was there before
const SWITCH_MS = 120; // holding an arrow key runs through the list without asking for every symbol's history

const byId = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const series = new CandleSeries();
let intervals = [];
let selection = null; // {venue, symbol, interval, topic, stream, ...}: what the chart shows
let choice = PLAIN; // the metrics and patterns that are shown
let legendPx = 0; // how high the legend has been: its rows come and go with what a candle has to tell
let hovered = null; // the open time under the crosshair
let liveMoved = false; // the live candle changed since the last frame
let switchTimer = null;

// ---------------------------------------------------------------------------------------------------- drawing

let frameAsked = false;
let drawnAt = 0;

function draw() {
  if (frameAsked) return;
  frameAsked = true;
  requestAnimationFrame(frame);
}

function frame(now) {
  if (now - drawnAt < FRAME_MS) {
    requestAnimationFrame(frame);
    return;
  }
  frameAsked = false;
  drawnAt = now;
  settle();
  chart.draw();
  drawHead();
  drawLegend();
  watchlist.draw(now);
}

/** Takes the live candle over into the series. */
function settle() {
  if (!liveMoved) return;
  liveMoved = false;
  const groups = candleTopic()?.groups;
  if (groups) series.setLive(whole(liveCandle(groups)));
}

/** A live candle with the metrics that the engine tells of it, while they are shown. */
const whole = (live) => live && completed(live, selection.told);

const candleTopic = () => (selection ? client.topics.get(selection.topic) ?? null : null);

function currentHead() {
  const ticker = watchlist.get(`${selection?.venue}:${selection?.symbol}`);
  return candleTopic()?.groups?.[0] ?? ticker?.head ?? null;
}

function drawHead() {
  const head = currentHead();
  if (!head) return;
  const quote = quoteFromHead(head);
  priceHead.draw(quote, selection.symbol);
  selection.decimals = quote.priceDecimals;
  chart.setDecimals(quote.priceDecimals);
}

function drawLegend() {
  if (!selection) return;
  const isYoung = selection.history.isWhole && series.length > 0 && series.length < FEW_CANDLES;
  drawBeginning(isYoung ? series.first : null, selection.interval);
  const candle = series.get(hovered) ?? series.last;
  legend.draw(candle, selection.interval, selection.decimals);
  studyLabels.draw(candle, selection.decimals, chart.panes);
  chart.leaveRoom(legendPx);
  patternLabels.draw(choice.marks ? patternsOf(candle, new Set(choice.patterns)) : [], candle?.openTimeMs === hovered);
  if (series.length) drawNotice("");
  else if (selection.problem || selection.history.problem) drawNotice(selection.problem || selection.history.problem, "error");
  else drawNotice(selection.history.isLoaded ? "No candles yet: the first comes with the first trade." : "Loading candles\u2026");
}

const watchlist = new Watchlist({
  scroller: byId("list"), sizer: byId("list-size"), empty: byId("list-empty"),
  onSelect: (venue, symbol) => { select({ ...selection, venue, symbol }); },
});
watchlist.onNeedFrame = draw;
const priceHead = new PriceHead();
const legend = new Legend();
const studyLabels = new StudyLabels({ onDrop: (name) => choose(withMetric(choice, name, false)) });
const patternLabels = new PatternLabels();
const picker = new Picker({ root: byId("picker"), button: byId("metrics"), onChange: (wanted) => choose(wanted) });
const statusLine = new StatusLine({ onTryNow: () => client.hurry() });
const chart = new CandleChart(byId("chart"), {
  onCrosshair: (openTimeMs) => { hovered = openTimeMs; draw(); },
  onNeedOlder: () => selection.history.loadOlder(),
  onNeedFrame: draw,
});

// ---------------------------------------------------------------------------------------------------- selecting

function select({ venue, symbol, interval }) {
  if (selection && venue === selection.venue && symbol === selection.symbol && interval === selection.interval) return;
  const topic = `candles:${venue}:${symbol}:${interval}`;
  selection?.history.stop();
  selection?.stream?.unsubscribe();
  selection?.metrics?.unsubscribe();
  selection = {
    venue, symbol, interval, topic, decimals: 2, problem: "",
    stream: null, // the subscription to the topic
    metrics: null, // that to the live candle's metrics
    epoch: null, // of the last snapshot
    isTorn: false, // something of the stream may have been missed
    told: null, // the live candle with its metrics, as the engine last told it
    history: new History({
      series, wait,
      fetchPage: (to) => api.candles({ venue, symbol, interval }, to, fieldsOf(choice)),
      fields: () => fieldsOf(choice).map(camel),
      closeMs: (openMs) => closeMs(interval, openMs),
      onChange: drawHistory,
    }),
  };
  series.clear();
  hovered = null;
  liveMoved = false;
  chart.show(series, interval);
  priceHead.show(selection);
  watchlist.select(`${venue}:${symbol}`);
  byId("chart").setAttribute("aria-label", `Candle chart of ${symbol} on ${venue}, ${spokenName(interval)} a candle`);
  for (const button of byId("intervals").children) {
    button.setAttribute("aria-pressed", String(button.dataset.interval === interval));
  }
  revealInterval();
  writeAddress();
  draw();
  clearTimeout(switchTimer);
  switchTimer = setTimeout(begin, SWITCH_MS, selection);
}

/** On a phone the row of intervals is longer than the screen. */
function revealInterval() {
  const chosen = byId("intervals").querySelector("[aria-pressed='true']");
  chosen?.scrollIntoView({ block: "nearest", inline: "center" });
}

/** Stream first, then history: what closes while history is on its way is not missed. */
function begin(chosen) {
  chosen.stream = client.subscribe(chosen.topic, onCandles);
  followMetrics();
  chosen.history.loadLatest();
}

function drawHistory(isFirst) {
  chart.draw();
  if (isFirst && series.length) chart.showLatest();
  draw();
}

function selectionFromHash() {
  const [venue, symbol, interval, shown] = decodeURIComponent(location.hash.slice(1)).split(":");
  return venue && symbol ? { venue, symbol: symbol.toUpperCase(), interval, shown } : null;
}

function writeAddress() {
  const { venue, symbol, interval } = selection;
  const shown = choiceText(choice);
  history.replaceState(null, "", `#${venue}:${symbol}:${interval}${shown && `:${shown}`}`);
}

function stepInterval(step) {
  const at = intervals.indexOf(selection?.interval);
  const interval = intervals[at + step];
  if (at >= 0 && interval) select({ ...selection, interval });
}

// ---------------------------------------------------------------------------------------------------- metrics and patterns

/** Shows the metrics and patterns of `wanted`, a choice of choice.js. */
function choose(wanted) {
  const isOther = wanted.metrics.join() !== choice.metrics.join();
  choice = wanted;
  const shown = layout(choice.metrics);
  if (isOther) {
    chart.showStudies(shown);
    studyLabels.show(shown);
  }
  legendPx = 0;
  chart.showMarks(choice.marks ? new Set(choice.patterns) : null);
  picker.draw(choice);
  byId("metrics-count").textContent = choice.metrics.length || "";
  byId("marks").setAttribute("aria-pressed", String(choice.marks));
  memory.write(choice);
  if (selection) {
    writeAddress();
    followMetrics();
    selection.history.fill();
  }
  draw();
}

/** The live candle's metrics are told to those who ask. */
function followMetrics() {
  const isWanted = selection.stream !== null && fieldsOf(choice).length > 0;
  if (isWanted === (selection.metrics !== null)) return;
  if (isWanted) {
    selection.metrics = client.subscribe(selection.topic.replace(/^candles/, "metrics"), onMetrics);
  } else {
    selection.metrics.unsubscribe();
    selection.metrics = selection.told = null;
  }
}

// ---------------------------------------------------------------------------------------------------- the stream

const client = new WickClient(api.socketUrl(), { onEvent: onConnection });

function onConnection(event) {
  if (event.type !== "status") return;
  if (event.status === "live" && liveAt === null) liveAt = performance.now();
  if (event.status === "waiting") liveAt = null;
  drawConnection();
}

function onTicker({ type, topic, message }) {
  if (type === "error") watchlist.problem = message;
  else if (type === "subscribed") watchlist.add(topic);
  else if (type === "snapshot" || type === "diff") watchlist.changed(topic);
  draw();
}

function onMetrics({ type, row }) {
  if (type !== "live") return;
  selection.told = candleFromRow(row);
  liveMoved = true;
  draw();
}

function onCandles(event) {
  const { type, topic } = event;
  switch (type) {
    case "snapshot":
      series.replaceStream(event.rows.map(candleFromRow), whole(liveCandle(topic.groups)));
      liveMoved = false;
      mendHistory(topic);
      break;
    case "diff":
      if (event.left) leaveBehind(whole(liveCandle(event.left)));
      liveMoved = true;
      break;
    case "close":
      series.mergeStream([candleFromRow(event.row)]);
      break;
    case "gap":
      selection.isTorn = true;
      break;
    case "error":
      if (!series.length) selection.problem = event.message;
      break;
  }
  draw();
}

/** After a snapshot: its few rows may not reach back to where the stream had stopped; history has the candles between. */
function mendHistory({ epoch }) {
  const isOther = selection.epoch !== null && selection.epoch !== epoch;
  const { isTorn, history: stored, interval } = selection;
  Object.assign(selection, { epoch, isTorn: false });
  if (isTorn || isOther || series.holes((openMs) => closeMs(interval, openMs), STREAM_ROWS)) stored.loadLatest();
  else stored.fill();
}

/** The candle that was live stays until its CLOSE; if it was empty and the engine omits such, none comes. */
function leaveBehind(candle) {
  const chosen = selection;
  series.mergeStream([candle]);
  if (!(candle.flags & FLAG.EMPTY)) return;
  setTimeout(() => {
    if (chosen === selection) series.dropOpen(candle.openTimeMs);
    draw();
  }, OMITTED_MS);
}

// ---------------------------------------------------------------------------------------------------- status

let measured = { at: performance.now(), diffs: 0, bytes: 0 };
let rates = { diffs: 0, bytes: 0 };

let liveAt = null; // since when this connection has been live

function drawConnection() {
  statusLine.drawState(client.status, resumptionNote());
  statusLine.drawBanner(client.status, client.reason, (client.nextTryAt ?? 0) - Date.now());
}

/** What a reconnect has cost. */
function resumptionNote() {
  const { resumed, gaps } = client.resumption;
  if (client.status !== "live" || resumed + gaps === 0 || performance.now() - liveAt > NOTE_MS) return "";
  return gaps ? "rejoined, gaps are filled from history" : "resumed, nothing missed";
}

function tick() {
  const at = performance.now();
  const seconds = (at - measured.at) / 1000;
  const { diff: diffs, bytes } = client.counters;
  const smooth = (old, total, before) => old * 0.5 + ((total - before) / seconds) * 0.5;
  rates = { diffs: smooth(rates.diffs, diffs, measured.diffs), bytes: smooth(rates.bytes, bytes, measured.bytes) };
  measured = { at, diffs, bytes };
  const topic = candleTopic();
  statusLine.draw({
    ageMs: client.dataAgeMs, epoch: topic?.epoch ?? null, seq: topic?.seq ?? null, nowMs: client.serverNow,
    diffsPerSecond: rates.diffs, bytesPerSecond: rates.bytes,
  });
  priceHead.drawClosesIn(closesInMs());
  drawConnection();
  draw();
}

function closesInMs() {
  const last = series.last;
  if (!last) return null;
  const close = closeMs(selection.interval, last.openTimeMs);
  const left = close - client.serverNow;
  // A recording plays in its own time: there is no countdown to the past.
  return left > -5_000 && left <= close - last.openTimeMs + 5_000 ? left : null;
}

// ---------------------------------------------------------------------------------------------------- keys and clicks

const search = byId("search");

function openDrawer(open) {
  document.body.classList.toggle("drawer", open);
  byId("menu").setAttribute("aria-expanded", String(open));
  byId("veil").hidden = !open;
  if (open) byId("list").focus(); // not the search: that would raise a phone's keyboard
}

function drawSorts() {
  for (const button of document.querySelectorAll("[data-sort]")) {
    const active = button.dataset.sort === watchlist.sort.by;
    button.setAttribute("aria-pressed", String(active));
    button.dataset.direction = active ? (watchlist.sort.down ? "down" : "up") : "";
  }
}

function leaveSearch() {
  search.value = "";
  search.blur();
  watchlist.search("");
  draw();
  requestAnimationFrame(() => watchlist.reveal());
}

const KEYS = Object.freeze({
  ArrowDown: () => watchlist.move(1),
  ArrowUp: () => watchlist.move(-1),
  ArrowLeft: () => stepInterval(-1),
  ArrowRight: () => stepInterval(1),
  End: () => chart.showLatest(),
  "/": () => search.focus(),
  Escape: () => { openDrawer(false); picker.open(false); },
});

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !selection || picker.contains(event.target)) return;
  const searching = event.target === search;
  if (searching && event.key === "Enter") {
    if (!watchlist.keys.includes(`${selection.venue}:${selection.symbol}`)) watchlist.selectFirst();
    openDrawer(false);
    leaveSearch();
  } else if (searching && event.key === "Escape") {
    if (!search.value) openDrawer(false);
    leaveSearch();
  } else if (event.key in KEYS && !(searching && !/^Arrow(Up|Down)$/.test(event.key))) {
    KEYS[event.key]();
  } else {
    if (!searching && /^[a-z0-9]$/i.test(event.key)) search.focus(); // the letter itself then lands in the field
    return;
  }
  event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", onKey);
  search.addEventListener("input", () => watchlist.search(search.value));
  document.querySelector(".sorts").addEventListener("click", ({ target }) => {
    if (!target.dataset.sort) return;
    watchlist.sortBy(target.dataset.sort);
    drawSorts();
  });
  byId("intervals").addEventListener("click", ({ target }) => {
    if (target.dataset.interval && selection) select({ ...selection, interval: target.dataset.interval });
  });
  new ResizeObserver(([{ contentRect }]) => { legendPx = Math.max(legendPx, contentRect.height); }).observe(byId("numbers"));
  new ResizeObserver(() => { legendPx = byId("numbers").offsetHeight; }).observe(byId("chart"));
  new ResizeObserver(revealInterval).observe(byId("intervals"));
  byId("latest").addEventListener("click", () => chart.showLatest());
  byId("metrics").addEventListener("click", () => picker.open(!picker.isOpen));
  byId("marks").addEventListener("click", () => choose({ ...choice, marks: !choice.marks }));
  byId("menu").addEventListener("click", () => openDrawer(!document.body.classList.contains("drawer")));
  byId("veil").addEventListener("click", () => openDrawer(false));
  byId("list").addEventListener("click", () => openDrawer(false));
  window.addEventListener("hashchange", () => {
    const chosen = selectionFromHash();
    if (chosen?.shown !== undefined) choose(choiceFrom(chosen.shown, choice));
    if (chosen) select({ ...chosen, interval: intervals.includes(chosen.interval) ? chosen.interval : selection.interval });
  });
  window.addEventListener("online", () => client.hurry());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) client.hurry(); });
}

// ---------------------------------------------------------------------------------------------------- the start

/** What `ask` answers, asked again until it does and `enough` is satisfied. */
async function insist(ask, enough) {
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await ask();
      if (enough(answer)) return answer;
    } catch (error) {
      drawNotice(error.name === "TypeError" ? "The front cannot be reached." : error.message, "error");
    }
    await wait(retryDelayMs(Math.min(tries, 2)));
  }
}

function drawIntervals() {
  byId("intervals").replaceChildren(...intervals.map((name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.interval = button.textContent = name;
    button.setAttribute("aria-label", spokenName(name));
    return button;
  }));
}

async function start() {
  listen();
  drawSorts();
  client.connect();
  setInterval(tick, TICK_MS);
  intervals = await insist(api.intervals, (names) => names.length > 0);
  drawIntervals();
  const symbols = await insist(api.symbols, (pairs) => pairs.length > 0);
  client.subscribe([...new Set(symbols.map(({ venue }) => venue))].map((venue) => `ticker:${venue}:*`), onTicker);
  const wanted = selectionFromHash() ?? symbols.find(({ symbol }) => symbol === FIRST_CHOICE.symbol) ?? symbols[0];
  const interval = [wanted.interval, FIRST_CHOICE.interval].find((name) => intervals.includes(name)) ?? intervals[0];
  choose(wanted.shown === undefined ? memory.read() : choiceFrom(wanted.shown, memory.read()));
  select({ ...wanted, interval });
}

/** What the browser tests look at; nothing on the page reads it. */
window.wick = Object.freeze({
  get status() { return client.status; },
  get connected() { return client.status === "live" || client.status === "stale"; },
  get venue() { return selection?.venue ?? null; },
  get symbol() { return selection?.symbol ?? null; },
  get interval() { return selection?.interval ?? null; },
  get loaded() { return selection?.history.isLoaded ?? false; },
  get candles() { settle(); return series.toArray(); },
  get choice() { return choice; },
  get marks() { return chart.marks; },
  get symbols() { return watchlist.keys; },
  get counters() { return { ...client.counters }; },
});

start();
