// What a browser remembers of the page: the metrics and patterns that were shown last. A browser may refuse to.

import { PLAIN, choiceFrom, choiceText } from "./choice.js";

const [SHOWN, PATTERNS] = ["wick.shown", "wick.patterns"];

/** The choice that was made last here. */
export function read() {
  try {
    const patterns = choiceFrom(localStorage.getItem(PATTERNS) ?? "").patterns; // those that wait while none are shown
    return choiceFrom(localStorage.getItem(SHOWN) ?? "", { ...PLAIN, patterns });
  } catch {
    return PLAIN;
  }
}

export function write(choice) {
  try {
    localStorage.setItem(SHOWN, choiceText(choice));
    localStorage.setItem(PATTERNS, choiceText({ metrics: [], marks: true, patterns: choice.patterns }));
  } catch {
    // it is shown all the same
  }
}
