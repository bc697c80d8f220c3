// What an application hears of the topics that it has subscribed to: by a listener, or by iterating.

import { patternOf } from "./topics.js";

const QUEUED_EVENTS = 4096; // for an iterator that lags; on full the oldest go, and it is told how many

/** A listener's fault is its own: the others hear the event, and nobody swallows the error. */
export function call(listener, ...given) {
  try {
    listener(...given);
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}

/**
 * Topics that are wanted together, by text: names and globs. Made by `WickClient.subscribe`.
 *
 * With a listener every event goes to it; without, they are read by `for await (const event of subscription)`.
 */
export class Subscription {
  #client;
  #listener;
  #patterns;
  #events = [];
  #dropped = 0;
  #readers = []; // {resolve, reject} of those that wait, while there is nothing to read
  #end = null; // how it ended: {error}

  constructor(client, texts, listener) {
    this.texts = Object.freeze([...texts]);
    this.#client = client;
    this.#listener = listener;
    this.#patterns = texts.map(patternOf);
  }

  /** The topics as they stand, by name. */
  get topics() {
    return new Map([...this.#client.topics].filter(([, topic]) => topic.subscriptions.includes(this)));
  }

  matches(name) { return this.#patterns.some((pattern) => pattern.test(name)); }

  unsubscribe() { this.#client.unsubscribe(this); }

  [Symbol.asyncIterator]() {
    if (this.#listener) throw new TypeError("a subscription has a listener or is iterated over, not both");
    return {
      next: () => this.#next(),
      return: () => {
        this.unsubscribe();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next() {
    if (this.#dropped) {
      const dropped = this.#dropped;
      this.#dropped = 0;
      return Promise.resolve({ done: false, value: { type: "dropped", count: dropped } });
    }
    if (this.#events.length) return Promise.resolve({ done: false, value: this.#events.shift() });
    if (this.#end?.error) return Promise.reject(this.#end.error);
    if (this.#end) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => { this.#readers.push({ resolve, reject }); });
  }

  /** For the client: an event, for the listener or the reader. */
  deliver(event) {
    if (this.#end) return;
    if (this.#listener) call(this.#listener, event, this);
    else if (this.#readers.length) this.#readers.shift().resolve({ done: false, value: event });
    else {
      this.#events.push(event);
      if (this.#events.length > QUEUED_EVENTS) {
        this.#events.shift();
        this.#dropped += 1;
      }
    }
  }

  /** For the client: no more events. */
  finish(error = null) {
    if (this.#end) return;
    this.#end = { error };
    for (const { resolve, reject } of this.#readers.splice(0)) {
      if (error) reject(error);
      else resolve({ done: true, value: undefined });
    }
  }
}
