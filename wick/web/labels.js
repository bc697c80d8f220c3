// What the chosen metrics and patterns say of a candle: rows of the legend, and a label on each pane.

import { figure, priceText } from "./format.js";
import { UP, valueOf } from "./studies.js";

const byId = (id) => document.getElementById(id);
const MOST_PATTERNS = 4; // told with their definitions: the candles lie beneath

function part(name, className, parent, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
}

function setText(element, text) {
  if (element.firstChild?.data !== text) element.textContent = text;
}

/** A study's value as text; "" where there is none. */
function valueText(candle, study, decimals) {
  const value = candle && valueOf(candle, study);
  if (value === null) return "\u2013";
  return study.pane === null ? priceText(Math.abs(value).toFixed(decimals), decimals) : figure(value);
}

/** A study's title and value, in its colour; a click on its cross takes it off the chart. */
class Value {
  constructor(study, parent, onDrop) {
    this.study = study;
    const root = part("span", "pair study", parent);
    root.title = study.definition;
    part("i", "", root, study.title);
    this.text = part("span", "", root);
    this.text.style.color = study.colour;
    const drop = part("button", "drop", root, "\u00d7");
    drop.type = "button";
    drop.setAttribute("aria-label", `Remove ${study.title}`);
    drop.addEventListener("click", () => onDrop(study.name));
  }

  draw(candle, decimals) {
    setText(this.text, valueText(candle, this.study, decimals));
    if (this.study.plot === "trend" || this.study.plot === "bars") {
      const value = candle && valueOf(candle, this.study);
      this.text.style.color = value === null ? "" : value < 0 ? "var(--down)" : UP;
    }
  }
}

export class StudyLabels {
  #overlays = byId("overlays");
  #labels = byId("pane-labels");
  #onDrop;
  #values = [];
  #tops = "";

  /** `onDrop(name)`: a metric is to go. */
  constructor({ onDrop }) { this.#onDrop = onDrop; }

  /** `layout` of studies.js. */
  show({ overlays, panes }) {
    const values = (studies, parent) => studies.map((study) => new Value(study, parent, this.#onDrop));
    this.#overlays.replaceChildren();
    this.#overlays.hidden = !overlays.length;
    this.#labels.replaceChildren();
    this.#values = [values(overlays, this.#overlays), ...panes.map((studies) => values(studies, part("div", "pane-label", this.#labels)))].flat();
    this.#tops = "";
  }

  /** `panes` as CandleChart has them. */
  draw(candle, decimals, panes) {
    for (const value of this.#values) value.draw(candle, decimals);
    const tops = panes.slice(1).map(({ top }) => top);
    if (tops.join() === this.#tops) return;
    this.#tops = tops.join();
    [...this.#labels.children].forEach((label, index) => { label.style.top = `${tops[index] ?? 0}px`; });
  }
}

export class PatternLabels {
  #root = byId("patterns");
  #shown = "";

  /** `found` as patternsOf of marks.js gives it; with definitions where `isAsked`: somebody points at the candle. */
  draw(found, isAsked) {
    const shown = found.map(({ name, value }) => `${name}${value}`).join() + isAsked;
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#root.hidden = !found.length;
    this.#root.classList.toggle("asked", isAsked);
    this.#root.replaceChildren();
    const told = isAsked ? found.slice(0, MOST_PATTERNS) : found;
    for (const { title, definition, value } of told) {
      const row = part("li", value > 0 ? "rises" : "falls", this.#root);
      part("b", "", row, title);
      part("span", "unseen", row, value > 0 ? " (bullish)" : " (bearish)");
      if (isAsked) part("span", "what", row, definition);
    }
    const more = found.slice(told.length);
    if (more.length) part("li", "more", this.#root, `and ${more.map(({ title }) => title).join(", ")}`);
  }
}
