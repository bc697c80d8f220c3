// The panel in which metrics and patterns are chosen. Elements in, choices out: what is chosen lives elsewhere.

import { PRESETS, presetOf, withMetric, withPattern } from "./choice.js";
import { PATTERNS } from "./schema.js";
import { GROUPS, STUDIES } from "./studies.js";

function part(name, className, parent, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  parent?.append(element);
  return element;
}

const firstLetterUp = (text) => text[0].toUpperCase() + text.slice(1);
const PRESET_TEXTS = Object.freeze({
  notable: ["Notable", "All but the shapes of single candles, of which every other candle has one"], all: ["All", "All 61 of TA-Lib"],
});

export class Picker {
  #root;
  #button;
  #search;
  #what;
  #tabs;
  #lists;
  #switch;
  #presets = {};
  #options = []; // [{input, label, name, kind, searched, what}, ...]
  #onChange;
  #onOpen;
  #choice = null;
  #tab = "metrics";

  /** `onChange(choice)`; `onOpen(isOpen)` after the panel came or went. */
  constructor({ root, button, onChange, onOpen = () => {} }) {
    this.#root = root;
    this.#button = button;
    this.#onChange = onChange;
    this.#onOpen = onOpen;
    this.#search = root.querySelector("input[type='search']");
    this.#what = root.querySelector(".what");
    this.#tabs = [...root.querySelectorAll("[role='tab']")];
    this.#lists = Object.fromEntries(["metrics", "patterns"].map((name) => [name, root.querySelector(`#picker-${name}`)]));
    this.#fillMetrics();
    this.#fillPatterns();
    this.#listen();
  }

  get isOpen() { return !this.#root.hidden; }

  contains(element) { return this.#root.contains(element); }

  open(isOpen, tab = this.#tab) {
    if (isOpen) this.#showTab(tab);
    if (isOpen === this.isOpen) return;
    const hadFocus = this.contains(document.activeElement);
    this.#root.hidden = !isOpen;
    this.#button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen && !matchMedia("(pointer: coarse)").matches) this.#search.focus(); // a phone would raise its keyboard
    if (!isOpen && hadFocus) this.#button.focus();
    this.#onOpen(isOpen);
  }

  /** Shows what is chosen. */
  draw(choice) {
    this.#choice = choice;
    for (const { input, kind, name } of this.#options) input.checked = choice[kind].includes(name);
    this.#switch.checked = choice.marks;
    this.#lists.patterns.classList.toggle("off", !choice.marks);
    const preset = presetOf(choice.patterns);
    for (const [name, button] of Object.entries(this.#presets)) button.setAttribute("aria-pressed", String(name === preset));
    for (const field of this.#root.querySelectorAll("fieldset")) {
      const count = field.querySelectorAll(".option input:checked").length;
      field.querySelector("legend i").textContent = count ? String(count) : "";
    }
  }

  // -------------------------------------------------------------------------------------------------- the lists

  #group(title, list) {
    const group = part("fieldset", "", list);
    part("i", "", part("legend", "", group, title));
    return group;
  }

  #option(group, { kind, name, title, aside, colour, what, searched }) {
    const label = part("label", "option", group);
    const input = part("input", "", label);
    input.type = "checkbox";
    input.dataset[kind] = name;
    input.setAttribute("aria-description", what);
    part("span", "swatch", label).style.background = colour ?? "";
    part("span", "", label, title);
    part("small", "", label, aside);
    this.#options.push({ input, label, name, kind, what: `${title}: ${what}`, searched: `${title} ${name} ${searched}`.toLowerCase() });
  }

  #fillMetrics() {
    for (const title of GROUPS) {
      const studies = Object.values(STUDIES).filter(({ group }) => group === title);
      if (!studies.length) continue;
      const group = this.#group(title, this.#lists.metrics);
      for (const { name, title, unit, definition, n, colour } of studies) {
        const what = definition + (n > 1 ? ` (from the ${n}th candle on)` : "");
        this.#option(group, { kind: "metrics", name, title, aside: unit, colour, what, searched: definition });
      }
    }
  }

  #fillPatterns() {
    const list = this.#lists.patterns;
    const head = part("div", "marks", list);
    const label = part("label", "switch", head);
    this.#switch = part("input", "", label);
    this.#switch.type = "checkbox";
    this.#switch.setAttribute("role", "switch");
    part("span", "", label, "Mark them on the chart");
    const presets = part("div", "presets", head);
    presets.setAttribute("role", "group");
    presets.setAttribute("aria-label", "Which patterns");
    for (const name of Object.keys(PRESETS)) {
      const [text, title] = PRESET_TEXTS[name];
      this.#presets[name] = part("button", "text-button", presets, text);
      Object.assign(this.#presets[name], { type: "button", title });
    }
    const group = this.#group("Candlestick patterns", list);
    for (const { name, title, definition } of [...PATTERNS].sort((a, b) => (a.title < b.title ? -1 : 1))) {
      this.#option(group, {
        kind: "patterns", name, title: title.replace(/ (Pattern|Candle)$/, ""), aside: "", what: firstLetterUp(definition), searched: definition,
      });
    }
  }

  // -------------------------------------------------------------------------------------------------- what people do

  #listen() {
    this.#search.addEventListener("input", () => this.#find());
    for (const tab of this.#tabs) tab.addEventListener("click", () => this.#showTab(tab.dataset.tab));
    this.#root.querySelector(".close").addEventListener("click", () => this.open(false));
    this.#root.addEventListener("change", ({ target }) => this.#changed(target));
    this.#root.addEventListener("keydown", (event) => this.#key(event));
    for (const [name, button] of Object.entries(this.#presets)) {
      button.addEventListener("click", () => this.#onChange({ ...this.#choice, marks: true, patterns: [...PRESETS[name]] }));
    }
    for (const { input, label, what } of this.#options) {
      const tell = () => { this.#what.textContent = what; };
      label.addEventListener("pointerenter", tell);
      input.addEventListener("focus", tell);
    }
  }

  #changed(target) {
    const { metrics, patterns } = target.dataset;
    if (target === this.#switch) this.#onChange({ ...this.#choice, marks: target.checked });
    else if (metrics) this.#onChange(withMetric(this.#choice, metrics, target.checked));
    else if (patterns) this.#onChange({ ...withPattern(this.#choice, patterns, target.checked), marks: true });
  }

  #showTab(name) {
    this.#tab = name;
    for (const tab of this.#tabs) {
      tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
      tab.tabIndex = tab.dataset.tab === name ? 0 : -1;
    }
    for (const [list, element] of Object.entries(this.#lists)) element.hidden = list !== name;
    this.#what.textContent = "";
    this.#find();
  }

  /** Shows the options that have every word of the search. */
  #find() {
    const words = this.#search.value.trim().toLowerCase().split(/\s+/);
    for (const { label, searched } of this.#options) label.hidden = !words.every((word) => searched.includes(word));
    for (const group of this.#root.querySelectorAll("fieldset")) group.hidden = !group.querySelector(".option:not([hidden])");
    const list = this.#lists[this.#tab];
    this.#root.querySelector(".none").hidden = list.querySelector(".option:not([hidden])") !== null;
  }

  get #visible() { return this.#options.filter(({ kind, label }) => kind === this.#tab && !label.hidden).map(({ input }) => input); }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      this.open(false);
    } else if (event.target.role === "tab" && /^Arrow(Left|Right)$/.test(event.key)) {
      const other = this.#tabs.find((tab) => tab !== event.target);
      this.#showTab(other.dataset.tab);
      other.focus();
    } else if (event.key === "Enter" && event.target === this.#search && this.#search.value) {
      this.#visible[0]?.click();
    } else if (step) {
      const at = this.#visible.indexOf(event.target);
      const next = this.#visible[at < 0 ? (step > 0 ? 0 : -1) : at + step];
      (next ?? this.#search).focus();
    } else {
      return;
    }
    event.preventDefault();
  }
}
