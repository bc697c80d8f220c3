// The list of symbols: any number of rows, of which only the visible ones exist in the page; drawn once a frame.

import { NOTHING, compact, percentText, priceText } from "./format.js";
import { decimal } from "./codec.js";
import { HEAD } from "./schema.js";

const SORT_EVERY_MS = 1_500; // rows that change places at every trade cannot be read
const FLASH_MS = 280; // set and taken away: an animation would repaint the list sixty times a second
const FLASH_EVERY_MS = 450;
const SPARE_ROWS = 3; // above and below the view, so that a quick scroll shows no holes

const float = (mantissa, decimals) => Number(mantissa) / 10 ** decimals;

/** One symbol: its topic's head is read when it is drawn or sorted, not at every diff. */
class Row {
  constructor(topic) {
    const [, venue, symbol] = topic.name.split(":");
    this.topic = topic;
    this.venue = venue;
    this.symbol = symbol;
    this.key = `${venue}:${symbol}`;
    [this.base, this.quote = ""] = symbol.split("-");
    this.searched = `${symbol} ${symbol.replace("-", "")} ${symbol.replace("-", "/")}`.toLowerCase();
    this.version = 0;
    this.change = NaN;
    this.turnover = 0;
  }

  get head() { return this.topic.groups?.[0] ?? null; }

  /** Brings the numbers that rows are sorted by up to date. */
  measure() {
    const head = this.head;
    if (!head) return;
    const [last, open] = [Number(head[HEAD.LAST_PRICE]), Number(head[HEAD.DAY_OPEN])];
    this.change = open && last ? last / open - 1 : NaN;
    this.turnover = float(head[HEAD.QUOTE_VOLUME], head[HEAD.PRICE_DECIMALS] + head[HEAD.QUANTITY_DECIMALS]);
  }
}

const ORDERS = Object.freeze({
  name: (a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : a.venue < b.venue ? -1 : 1),
  change: (a, b) => (Number.isNaN(a.change) ? -Infinity : a.change) - (Number.isNaN(b.change) ? -Infinity : b.change),
  volume: (a, b) => a.turnover - b.turnover,
});

/** A row's elements, which go from symbol to symbol as the list is scrolled. */
class Slot {
  constructor(index) {
    const part = (name, className) => {
      const element = document.createElement(name);
      element.className = className;
      return element;
    };
    this.element = part("div", "row");
    this.element.id = `row-${index}`;
    this.element.setAttribute("role", "option");
    this.symbol = part("span", "row-symbol");
    this.base = part("b", "");
    this.quote = part("i", "");
    this.symbol.append(this.base, this.quote);
    this.last = part("span", "row-last");
    this.change = part("span", "row-change");
    this.volume = part("span", "row-volume");
    this.element.append(this.symbol, this.last, this.change, this.volume);
    this.row = null;
    this.version = -1;
    this.position = -1;
    this.total = -1;
    this.price = 0;
    this.flashedAt = 0;
  }
}

function setText(element, text) {
  if (element.firstChild?.data !== text) element.textContent = text;
}

export class Watchlist {
  #scroller;
  #sizer;
  #empty;
  #onSelect;
  #rows = new Map(); // key -> Row
  #shown = []; // rows that match the search, in order
  #slots = [];
  #selected = null;
  #sort = { by: "volume", down: true };
  #query = "";
  #sortedAt = -Infinity;
  #stirred = true; // rows, search or order changed: sort at the next frame
  #hovered = false;
  #rowHeight = 34;

  constructor({ scroller, sizer, empty, onSelect }) {
    this.#scroller = scroller;
    this.#sizer = sizer;
    this.#empty = empty;
    this.#onSelect = onSelect;
    this.problem = ""; // why there may be no symbols
    this.onNeedFrame = () => {};
    scroller.addEventListener("scroll", () => this.onNeedFrame(), { passive: true });
    scroller.addEventListener("pointerenter", (event) => { this.#hovered = event.pointerType === "mouse"; });
    scroller.addEventListener("pointerleave", () => { this.#hovered = false; });
    scroller.addEventListener("click", (event) => {
      const slot = this.#slots.find(({ element }) => element.contains(event.target));
      if (slot?.row) this.#onSelect(slot.row.venue, slot.row.symbol);
    });
    new ResizeObserver(() => this.#measureHeight()).observe(scroller);
    this.#measureHeight();
  }

  get size() { return this.#rows.size; }

  get sort() { return this.#sort; }

  /** The symbols in the order that the list shows. */
  get keys() { return this.#shown.map((row) => row.key); }

  #measureHeight() {
    this.#rowHeight = parseFloat(getComputedStyle(this.#scroller).getPropertyValue("--row-height")) || 34;
    this.onNeedFrame();
  }

  /** A ticker topic is there: a new row, unless it was before. */
  add(topic) {
    const row = new Row(topic);
    if (this.#rows.has(row.key)) return;
    this.#rows.set(row.key, row);
    this.#stirred = true;
  }

  changed(topic) {
    const row = this.#rows.get(topic.name.slice(topic.name.indexOf(":") + 1));
    if (row) row.version += 1;
  }

  get(key) { return this.#rows.get(key) ?? null; }

  select(key) {
    this.#selected = key;
    for (const slot of this.#slots) slot.version = -1;
    this.onNeedFrame();
  }

  search(query) {
    this.#query = query.trim().toLowerCase();
    this.#stirred = true;
    this.#scroller.scrollTop = 0;
    this.onNeedFrame();
  }

  sortBy(by) {
    const down = by === this.#sort.by ? !this.#sort.down : by !== "name";
    this.#sort = { by, down };
    this.#stirred = true;
    this.#scroller.scrollTop = 0;
    this.onNeedFrame();
  }

  /** Selects the neighbour `step` rows away, or the first row. */
  move(step) {
    if (!this.#shown.length) return;
    const at = this.#shown.findIndex((row) => row.key === this.#selected);
    const to = at < 0 ? 0 : Math.min(this.#shown.length - 1, Math.max(0, at + step));
    const row = this.#shown[to];
    this.reveal(to);
    this.#onSelect(row.venue, row.symbol);
  }

  selectFirst() {
    const row = this.#shown[0];
    if (row) this.#onSelect(row.venue, row.symbol);
  }

  reveal(position = this.#shown.findIndex((row) => row.key === this.#selected)) {
    if (position < 0) return;
    const [top, height] = [position * this.#rowHeight, this.#scroller.clientHeight];
    if (top < this.#scroller.scrollTop) this.#scroller.scrollTop = top;
    else if (top + this.#rowHeight > this.#scroller.scrollTop + height) {
      this.#scroller.scrollTop = top + this.#rowHeight - height;
    }
  }

  #order(now) {
    const due = now - this.#sortedAt > SORT_EVERY_MS && !this.#hovered;
    if (!this.#stirred && !due) return;
    this.#sortedAt = now;
    this.#stirred = false;
    const compare = ORDERS[this.#sort.by];
    const sign = this.#sort.down ? -1 : 1;
    const rows = [];
    for (const row of this.#rows.values()) {
      if (this.#query && !row.searched.includes(this.#query)) continue;
      row.measure();
      rows.push(row);
    }
    const rank = (row) => (this.#query && row.searched.startsWith(this.#query) ? 0 : 1);
    rows.sort((a, b) => rank(a) - rank(b) || sign * compare(a, b) || ORDERS.name(a, b));
    this.#shown = rows;
    this.#sizer.style.height = `${rows.length * this.#rowHeight}px`;
    this.#empty.hidden = rows.length > 0;
    if (!rows.length) this.#empty.textContent = this.#rows.size ? "No symbol matches." : this.problem || "Waiting for symbols\u2026";
  }

  /** Draws what is visible; once a frame. */
  draw(now) {
    this.#order(now);
    const { scrollTop, clientHeight } = this.#scroller;
    const first = Math.max(0, Math.floor(scrollTop / this.#rowHeight) - SPARE_ROWS);
    const visible = Math.ceil(clientHeight / this.#rowHeight) + 2 * SPARE_ROWS;
    while (this.#slots.length < visible) {
      const slot = new Slot(this.#slots.length);
      this.#slots.push(slot);
      this.#sizer.append(slot.element);
    }
    let active = "";
    for (let i = 0; i < this.#slots.length; i += 1) {
      // A slot keeps its row while that stays in view: position p belongs to the slot p mod slots.
      const position = first + ((i - (first % this.#slots.length) + this.#slots.length) % this.#slots.length);
      const slot = this.#slots[i];
      const row = this.#shown[position] ?? null;
      if (row?.key === this.#selected) active = slot.element.id;
      this.#drawSlot(slot, row, position, now);
    }
    if (this.#scroller.getAttribute("aria-activedescendant") !== active) {
      this.#scroller.setAttribute("aria-activedescendant", active);
    }
  }

  #drawSlot(slot, row, position, now) {
    const { element } = slot;
    if (!row) {
      if (slot.row) element.hidden = true;
      slot.row = null;
      return;
    }
    if (slot.position !== position) {
      element.style.transform = `translateY(${position * this.#rowHeight}px)`;
      element.setAttribute("aria-posinset", position + 1);
      slot.position = position;
    }
    if (slot.total !== this.#shown.length) {
      slot.total = this.#shown.length;
      element.setAttribute("aria-setsize", slot.total);
    }
    const moved = slot.row !== row;
    if (element.dataset.flash && now - slot.flashedAt > FLASH_MS) element.dataset.flash = "";
    if (!moved && slot.version === row.version) return;
    slot.version = row.version;
    if (moved) {
      slot.row = row;
      slot.price = 0;
      element.hidden = false;
      element.dataset.flash = "";
      setText(slot.base, row.base);
      setText(slot.quote, row.quote);
      slot.symbol.title = `${row.symbol} on ${row.venue}`;
    }
    const selected = String(row.key === this.#selected);
    if (element.getAttribute("aria-selected") !== selected) element.setAttribute("aria-selected", selected);
    this.#drawNumbers(slot, row, now);
  }

  #drawNumbers(slot, row, now) {
    const head = row.head;
    const price = head ? Number(head[HEAD.LAST_PRICE]) : 0;
    if (!price) {
      for (const part of [slot.last, slot.change, slot.volume]) setText(part, NOTHING);
      return;
    }
    row.measure();
    const decimals = head[HEAD.PRICE_DECIMALS];
    setText(slot.last, priceText(decimal(head[HEAD.LAST_PRICE], decimals), decimals));
    setText(slot.change, percentText(row.change));
    slot.change.dataset.sign = row.change > 0 ? "up" : row.change < 0 ? "down" : "";
    setText(slot.volume, compact(row.turnover));
    if (slot.price && price !== slot.price && now - slot.flashedAt > FLASH_EVERY_MS) {
      slot.element.dataset.flash = price > slot.price ? "up" : "down";
      slot.flashedAt = now;
    }
    slot.price = price;
  }
}
