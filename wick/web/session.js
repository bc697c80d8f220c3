// A connection that stays: the WebSocket under a SessionState, reconnected, subscribed anew, and watched for silence.

import { SessionState } from "./protocol.js";

const BACKOFF_FIRST_MS = 500;
const BACKOFF_CAP_MS = 15_000;
const HEARTBEAT_MS = 5_000; // the server's promise
const SILENCE_MS = 2.5 * HEARTBEAT_MS; // two heartbeats missing and some slack: the connection is dead
const STALE_MS = 10_000; // the newest data are older than this: the connection lives, its source does not
const WATCH_MS = 1_000;

const BROKEN = Object.freeze([1002, 1007, 1009]); // our messages are at fault: they would be the next time, too

/** Whether to come back after a close code: 3500-3999 and 4500-4999 ask not to. */
export function mayReconnect(code) {
  return !((code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999) || BROKEN.includes(code));
}

/** Capped exponential backoff with full jitter; or a random moment within the time that the server asked for. */
export function reconnectDelayMs(attempt, retryAfterMs, random) {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 20));
  return Math.round(random() * Math.max(ceiling, retryAfterMs));
}

/**
 * Keeps topics subscribed at `url` and hands every event of the protocol to `onEvent`.
 *
 * `status` is one of connecting, live, waiting (for the next try), stale, ended (the server asked not to come back).
 * `environment` has what a test replaces: WebSocket, now, random, setTimeout, clearTimeout.
 */
export class Session {
  #url;
  #codec;
  #onEvent;
  #onStatus;
  #environment;
  #socket = null;
  #state = new SessionState();
  #attempt = 0;
  #retryAfterMs = 0;
  #retryTimer = null;
  #watchTimer = null;
  #heardAt = 0;
  #hasData = false; // since this connection was opened

  constructor({ url, codec, onEvent, onStatus = () => {}, environment = {} }) {
    this.#url = url;
    this.#codec = codec;
    this.#onEvent = onEvent;
    this.#onStatus = onStatus;
    this.#environment = {
      WebSocket: globalThis.WebSocket,
      now: () => Date.now(),
      random: Math.random,
      setTimeout: (call, ms) => setTimeout(call, ms),
      clearTimeout: (timer) => clearTimeout(timer),
      ...environment,
    };
    this.topics = new Set();
    this.status = "connecting";
    this.reason = "";
    this.nextTryAt = null;
    this.serverOffsetMs = 0;
    this.dataAt = null; // when the newest data were new, on our clock
    this.counters = { connects: 0, messages: 0, bytes: 0, diffs: 0, snapshots: 0, closes: 0, gaps: 0, errors: 0 };
  }

  /** The server's clock, as well as its messages let us know it. */
  get serverNow() { return this.#environment.now() + this.serverOffsetMs; }

  get dataAgeMs() { return this.dataAt === null ? null : Math.max(0, this.#environment.now() - this.dataAt); }

  topic(name) { return this.#state.byName.get(name) ?? null; }

  start() { this.#connect(); }

  /** Try now instead of at the end of the wait (the page came back, the network came back). */
  hurry() {
    if (this.status !== "waiting") return;
    this.#environment.clearTimeout(this.#retryTimer);
    this.#connect();
  }

  subscribe(topics) {
    for (const topic of topics) this.topics.add(topic);
    if (this.#isOpen()) this.#send(this.#state.subscribe(topics));
  }

  unsubscribe(topics) {
    for (const topic of topics) this.topics.delete(topic);
    if (this.#isOpen()) this.#send(this.#state.unsubscribe(topics));
  }

  // -------------------------------------------------------------------------------------------------- connection

  #isOpen() { return this.#socket?.readyState === 1; }

  #send(message) { this.#socket.send(this.#codec.encode(message)); }

  #setStatus(status, reason = "") {
    if (status === this.status && reason === this.reason) return;
    this.status = status;
    this.reason = reason;
    this.#onStatus(status, reason);
  }

  #connect() {
    this.nextTryAt = null;
    this.#setStatus("connecting");
    this.#state = new SessionState();
    this.counters.connects += 1;
    this.#heardAt = this.#environment.now();
    this.#hasData = false;
    const socket = new this.#environment.WebSocket(this.#url, this.#codec.subprotocol);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => {
      this.#heardAt = this.#environment.now();
      if (this.topics.size) this.#send(this.#state.subscribe([...this.topics]));
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#watch();
  }

  /** Leaves a socket behind without waiting for its close, which on a dead line can take minutes. */
  #abandon(why) {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#closed(1006, why);
  }

  #closed(code, reason) {
    this.#socket = null;
    this.#environment.clearTimeout(this.#watchTimer);
    if (!mayReconnect(code)) {
      this.#setStatus("ended", reason || `closed by the server (${code})`);
      return;
    }
    const delayMs = reconnectDelayMs(this.#attempt, this.#retryAfterMs, this.#environment.random);
    this.#attempt += 1;
    this.#retryAfterMs = 0;
    this.nextTryAt = this.#environment.now() + delayMs;
    this.#setStatus("waiting", reason || "the connection was lost");
    this.#retryTimer = this.#environment.setTimeout(() => this.#connect(), delayMs);
  }

  /** Once a second: is the line silent, are the data old? */
  #watch() {
    this.#environment.clearTimeout(this.#watchTimer);
    this.#watchTimer = this.#environment.setTimeout(() => {
      if (this.#environment.now() - this.#heardAt > SILENCE_MS) {
        this.#abandon("the server fell silent");
        return;
      }
      if (this.status === "live" || this.status === "stale") {
        this.#setStatus(this.dataAgeMs !== null && this.dataAgeMs > STALE_MS ? "stale" : "live");
      }
      this.#watch();
    }, WATCH_MS);
  }

  // -------------------------------------------------------------------------------------------------- messages

  #receive(data) {
    const now = this.#environment.now();
    this.#heardAt = now;
    this.counters.messages += 1;
    this.counters.bytes += this.#codec.size(data);
    let event;
    try {
      event = this.#state.receive(this.#codec.decode(data));
    } catch (error) {
      // Nothing after a message that we cannot read can be trusted: start over from fresh snapshots.
      this.counters.errors += 1;
      this.#abandon(`unreadable message: ${error.message}`);
      return;
    }
    this.#note(event, now);
    this.#onEvent(event);
  }

  #note(event, now) {
    switch (event.type) {
      case "diff":
        this.counters.diffs += 1;
        this.dataAt = now;
        break;
      case "close":
        this.counters.closes += 1;
        break;
      case "snapshot":
        this.counters.snapshots += 1;
        this.#hasData = true;
        break;
      case "hello":
        this.#setStatus("live");
        this.serverOffsetMs = event.serverTimeMs - now;
        break;
      case "heartbeat":
        this.serverOffsetMs = event.serverTimeMs - now;
        this.dataAt = event.ageMs === null ? null : now - event.ageMs;
        // Data, and a while without a break, show that the other side is well; the mere connection does not.
        if (this.#hasData) this.#attempt = 0;
        break;
      case "gap":
        this.counters.gaps += 1;
        this.#send(this.#state.unsubscribe([event.topic.name]));
        this.#send(this.#state.subscribe([event.topic.name]));
        break;
      case "error":
        this.counters.errors += 1;
        break;
      case "bye":
        this.#retryAfterMs = event.retryAfterMs;
        break;
    }
  }
}
