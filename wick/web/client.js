// The client of a front, for browsers and node (docs/client.md): keeps topics subscribed, their state current, and the connection.
//
// It knows how a state moves, not what its numbers mean: candles.js reads them by name.

import { FORMS, ProtocolError, integer } from "./codec.js";
import { Subscription, call } from "./subscription.js";
import { Topic, patternOf } from "./topics.js";

export { ProtocolError, decimal } from "./codec.js";

const VERSION = 1;
const KIND = Object.freeze({
  HELLO: 0, ACK: 1, ERROR: 2, SNAPSHOT: 3, DIFF: 4, CLOSE: 5, HEARTBEAT: 6, BYE: 7, LIVE: 8, BATCH: 9, TRADES: 10, BOOK: 11,
  STATS: 12, SUBSCRIBE: 16, UNSUBSCRIBE: 17,
});

const BACKOFF_FIRST_MS = 500;
const BACKOFF_CAP_MS = 15_000;
const HEARTBEAT_S = 5; // until HELLO says how often
const SILENT_BEATS = 3; // so many missing: the connection is dead
const STALE_MS = 10_000; // the newest data are older than this: the connection lives, its source does not
const ENTRY_BYTES = 64; // of an entry of SUBSCRIBE beyond its topic's name: a position as JSON writes it

const EVENTS = Object.freeze(["subscribed", "gap", "snapshot", "diff", "close", "live", "trades", "book", "stats"]); // of a topic
const FRESH = new Set(["diff", "trades", "book"]); // these tell of what has just happened

const NORMAL = 1000;
const REFUSED = Object.freeze([1002, 1003, 1007, 1008, 1009, 1010]); // we are at fault: we would be the next time, too

/** The front has asked not to come back; an iterator ends with this. */
export class EndedError extends Error {
  name = "EndedError";
}

// ---------------------------------------------------------------------------------------------------- the connection

/** Whether to come back after a close code: 3500-3999 and 4500-4999 ask not to. */
export function mayReconnect(code) {
  return !((code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999) || REFUSED.includes(code));
}

/** Capped exponential backoff with full jitter; or a random moment within the time that the server asked for. */
export function reconnectDelayMs(attempt, retryAfterMs, random) {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 20));
  return Math.round(random() * Math.max(ceiling, retryAfterMs));
}

/** Where to connect: http(s) is ws(s), and the token goes into the query, as a browser's WebSocket sends no headers. */
function socketUrl(url, token) {
  const socket = new URL(url);
  socket.protocol = socket.protocol.replace(/^http/, "ws");
  if (token) socket.searchParams.set("token", token);
  return socket.href;
}

/**
 * A front's client. It connects with the first subscription (or `connect()`), and again whenever the connection is lost:
 * after a random wait, with the positions of its topics, so that the front goes on where it was.
 *
 * `status`: idle, connecting, live, stale (connected, but the newest data are old), waiting (for the next try), ended (the
 * front asked not to come back, or `close()`); `reason` says why.
 */
export class WickClient {
  #url;
  #form;
  #onEvent;
  #environment;
  #socket = null;
  #isWelcome = false; // HELLO has come
  #nextId = 1;
  #requests = new Map(); // id -> the request that awaits its ACK
  #subscriptions = new Set();
  #refused = new Set(); // texts that the front cannot follow
  #byHandle = new Map();
  #lacking = new Set(); // topics that what was just heard asks for again: a front takes few requests a second
  #attempt = 0;
  #retryAfterMs = 0;
  #retryTimer = null;
  #watchTimer = null;
  #heardAt = 0;
  #hasData = false; // since this connection was opened

  /**
   * @param {string} url of the front's WebSocket, as `ws://localhost:8765/ws`
   * @param {object} [options]
   * @param {string} [options.token] what the front wants to be shown
   * @param {"msgpack" | "json"} [options.form]
   * @param {(event: object) => void} [options.onEvent] hears what concerns the connection: status, hello, error, bye
   * @param {typeof WebSocket} [options.WebSocket] where there is no global one
   * @param {object} [options.environment] what a test replaces: now, random, setTimeout, clearTimeout
   */
  constructor(url, { token = "", form = "msgpack", onEvent = () => {}, WebSocket = globalThis.WebSocket, environment = {} } = {}) {
    if (!FORMS[form]) throw new TypeError(`form is ${form}; valid is ${Object.keys(FORMS).join(", ")}`);
    if (!WebSocket) throw new TypeError("there is no WebSocket here: give one as an option");
    this.#url = socketUrl(url, token);
    this.#form = FORMS[form];
    this.#onEvent = onEvent;
    this.#environment = {
      WebSocket,
      now: () => Date.now(),
      random: Math.random,
      setTimeout: (call, ms) => setTimeout(call, ms),
      clearTimeout: (timer) => clearTimeout(timer),
      ...environment,
    };
    this.topics = new Map(); // what is held, by name
    this.status = "idle";
    this.reason = "";
    this.nextTryAt = null;
    this.limits = {};
    this.front = null; // which one, since when
    this.serverOffsetMs = 0;
    this.dataAt = null; // when the newest data were new, on our clock
    this.resumption = { resumed: 0, gaps: 0 }; // of the topics that this connection found a position of
    this.counters = Object.fromEntries(["connects", "messages", "bytes", "errors", ...EVENTS].map((name) => [name, 0]));
  }

  /** The server's clock, as well as its messages let us know it. */
  get serverNow() { return this.#environment.now() + this.serverOffsetMs; }

  get dataAgeMs() { return this.dataAt === null ? null : Math.max(0, this.#environment.now() - this.dataAt); }

  connect() {
    if (this.status === "idle") this.#connect();
  }

  /** Try now instead of at the end of the wait (the page came back, the network came back). */
  hurry() {
    if (this.status !== "waiting") return;
    this.#environment.clearTimeout(this.#retryTimer);
    this.#connect();
  }

  /** Ends everything; iterators end. */
  close() {
    if (this.status === "ended") return;
    const socket = this.#leave();
    this.#environment.clearTimeout(this.#retryTimer);
    socket?.close(NORMAL);
    this.#finish("closed here", null);
  }

  /**
   * Subscribes to a topic or several: names and globs.
   *
   * @param {string | string[]} texts
   * @param {(event: object, subscription: Subscription) => void} [listener] without it, iterate over what is returned
   * @returns {Subscription}
   */
  subscribe(texts, listener = null) {
    if (this.status === "ended") throw new EndedError(this.reason);
    const subscription = new Subscription(this, [...new Set([texts].flat())], listener);
    const asked = this.#texts();
    this.#subscriptions.add(subscription);
    for (const topic of this.topics.values()) {
      if (!subscription.matches(topic.name)) continue;
      topic.subscriptions = [...topic.subscriptions, subscription];
      if (topic.isCurrent) this.#tellLater(subscription, topic);
    }
    const lacking = subscription.texts.filter((text) => this.#refused.delete(text) || !asked.has(text));
    if (this.#isWelcome && lacking.length) this.#request(KIND.SUBSCRIBE, lacking);
    this.connect();
    return subscription;
  }

  unsubscribe(subscription) {
    if (!this.#subscriptions.delete(subscription)) return;
    subscription.finish();
    for (const topic of this.topics.values()) topic.subscriptions = topic.subscriptions.filter((other) => other !== subscription);
    const wanted = this.#texts();
    for (const text of this.#refused) if (!wanted.has(text)) this.#refused.delete(text);
    const left = subscription.texts.filter((text) => !wanted.has(text));
    if (this.#isWelcome && left.length) this.#request(KIND.UNSUBSCRIBE, left);
  }

  /** What is subscribed to, by text. */
  #texts() { return new Set([...this.#subscriptions].flatMap(({ texts }) => texts)); }

  /** Who joins a topic that is held already begins with its state as well. */
  #tellLater(subscription, topic) {
    queueMicrotask(() => {
      if (topic.isCurrent && this.#subscriptions.has(subscription)) subscription.deliver({ type: "snapshot", topic, rows: [...topic.rows] });
    });
  }

  // -------------------------------------------------------------------------------------------------- requests

  #send(message) { this.#socket.send(this.#form.encode(message)); }

  /** One request, or as many as the length of a message asks for. */
  #request(kind, entries) {
    const room = this.limits.message_bytes;
    for (let first = 0; first < entries.length;) {
      let size = ENTRY_BYTES;
      let end = first;
      do {
        size += nameOf(entries[end]).length + ENTRY_BYTES;
        end += 1;
      } while (end < entries.length && size + nameOf(entries[end]).length + ENTRY_BYTES <= room);
      const id = this.#nextId++;
      const part = entries.slice(first, end);
      this.#requests.set(id, { kind, texts: part.map(nameOf) });
      this.#send([kind, id, part]);
      first = end;
    }
  }

  /** On a new connection: what we hold, from where we stand, and whatever else is wanted. */
  #subscribeAll() {
    for (const [name, topic] of this.topics) {
      if (!topic.subscriptions.length) this.topics.delete(name);
      else topic.isResuming = topic.epoch !== null;
    }
    const texts = [...this.#texts()].filter((text) => !this.topics.has(text) && !this.#refused.has(text));
    this.#request(KIND.SUBSCRIBE, [...[...this.topics.values()].map(placeOf), ...texts]);
  }

  // -------------------------------------------------------------------------------------------------- connection

  #say(event) { call(this.#onEvent, event); }

  #setStatus(status, reason = "") {
    if (status === this.status && reason === this.reason) return;
    this.status = status;
    this.reason = reason;
    this.#say({ type: "status", status, reason });
  }

  #connect() {
    this.nextTryAt = null;
    this.#setStatus("connecting");
    this.#requests.clear();
    this.#byHandle.clear();
    this.#lacking.clear();
    for (const topic of this.topics.values()) topic.handle = null;
    this.resumption = { resumed: 0, gaps: 0 };
    this.counters.connects += 1;
    this.#heardAt = this.#environment.now();
    this.#hasData = false;
    const socket = new this.#environment.WebSocket(this.#url, this.#form.subprotocol);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    socket.onerror = () => {}; // its close comes next and says more
    this.#watch();
  }

  /** The socket, which is ours no more. */
  #leave() {
    const socket = this.#socket;
    if (socket) socket.onmessage = socket.onclose = null;
    this.#socket = null;
    this.#isWelcome = false;
    this.#environment.clearTimeout(this.#watchTimer);
    return socket;
  }

  /** Leaves a socket behind without waiting for its close, which on a dead line can take minutes. */
  #abandon(why) {
    this.#socket.close();
    this.#lost(1006, why);
  }

  #lost(code, reason) {
    this.#leave();
    if (!mayReconnect(code)) {
      const why = reason || `closed by the server (${code})`;
      this.#finish(why, new EndedError(why));
      return;
    }
    const delayMs = reconnectDelayMs(this.#attempt, this.#retryAfterMs, this.#environment.random);
    this.#attempt += 1;
    this.#retryAfterMs = 0;
    this.nextTryAt = this.#environment.now() + delayMs;
    this.#setStatus("waiting", reason || "the connection was lost");
    this.#retryTimer = this.#environment.setTimeout(() => this.#connect(), delayMs);
  }

  #finish(why, error) {
    this.#setStatus("ended", why);
    for (const subscription of this.#subscriptions) subscription.finish(error);
    this.#subscriptions.clear();
  }

  /** Looks again when the line would have been silent for too long. */
  #watch() {
    const silenceMs = SILENT_BEATS * 1000 * (this.limits.heartbeat_s ?? HEARTBEAT_S);
    const leftMs = this.#heardAt + silenceMs - this.#environment.now();
    if (leftMs > 0) {
      this.#watchTimer = this.#environment.setTimeout(() => this.#watch(), leftMs);
      return;
    }
    this.#setStatus("stale", "the server fell silent");
    this.#abandon("the server fell silent");
  }

  /** Are the data old? As the heartbeats say: where those are missing it is the line that is silent. */
  #judge() { this.#setStatus(this.dataAgeMs !== null && this.dataAgeMs > STALE_MS ? "stale" : "live"); }

  // -------------------------------------------------------------------------------------------------- messages

  #receive(data) {
    this.#heardAt = this.#environment.now();
    this.counters.messages += 1;
    this.counters.bytes += this.#form.size(data);
    try {
      this.#take(this.#form.decode(data));
      this.#askAgain();
    } catch (error) {
      // Nothing after a message that we cannot read can be trusted: start over from fresh snapshots.
      this.counters.errors += 1;
      for (const topic of this.topics.values()) {
        topic.epoch = null;
        this.#tell(topic, topic.gap("unreadable"));
      }
      if (this.#socket) this.#abandon(`unreadable message: ${error.message}`);
    }
  }

  #take(message) {
    if (!Array.isArray(message)) throw new ProtocolError("a message is not an array");
    const [kind, ...fields] = message;
    switch (kind) {
      case KIND.DIFF: return this.#toTopic("diff", ...fields);
      case KIND.BATCH: return fields.forEach((part) => this.#take(part));
      case KIND.SNAPSHOT: return this.#toTopic("snapshot", ...fields);
      case KIND.CLOSE: return this.#toTopic("close", ...fields);
      case KIND.LIVE: return this.#toTopic("live", ...fields);
      case KIND.TRADES: return this.#toTopic("trades", ...fields);
      case KIND.BOOK: return this.#toTopic("levels", ...fields);
      case KIND.STATS: return this.#toTopic("stats", ...fields);
      case KIND.ACK: return this.#ack(...fields);
      case KIND.HELLO: return this.#hello(...fields);
      case KIND.HEARTBEAT: return this.#heartbeat(...fields);
      case KIND.ERROR: return this.#error(...fields);
      case KIND.BYE: return this.#bye(...fields);
      default: throw new ProtocolError(`unknown kind of message: ${kind}`);
    }
  }

  #toTopic(method, handle, ...fields) {
    const topic = this.#byHandle.get(handle); // none: what was on its way when we left it
    const event = topic?.[method](...fields);
    if (!event) return;
    this.#hasData = true;
    if (FRESH.has(event.type)) this.#isFresh();
    this.#tell(topic, event);
    if (event.type === "gap") this.#lacking.add(topic);
  }

  #tell(topic, event) {
    this.counters[event.type] += 1;
    event.topic = topic;
    for (const subscription of topic.subscriptions) subscription.deliver(event);
  }

  #isFresh() {
    this.dataAt = this.#heardAt;
    if (this.status === "stale") this.#judge();
  }

  #hello(version, serverTimeMs, front, limits) {
    if (version !== VERSION) throw new ProtocolError(`the front speaks version ${version} of the protocol, we speak ${VERSION}`);
    if (!(limits.heartbeat_s > 0 && limits.message_bytes > 0)) throw new ProtocolError("HELLO does not tell its limits");
    this.#isWelcome = true;
    this.front = front;
    this.limits = limits;
    this.#tick(serverTimeMs);
    this.#setStatus("live");
    this.#say({ type: "hello", front, limits });
    this.#subscribeAll();
  }

  #heartbeat(serverTimeMs, ageMs) {
    this.#tick(serverTimeMs);
    this.dataAt = ageMs === null ? null : this.#heardAt - integer(ageMs);
    // Data, and a while without a break, show that the other side is well; the mere connection does not.
    if (this.#hasData) this.#attempt = 0;
    this.#judge();
  }

  #tick(serverTimeMs) { this.serverOffsetMs = integer(serverTimeMs) - this.#heardAt; }

  #bye(code, reason, retryAfterMs) {
    this.#retryAfterMs = integer(retryAfterMs);
    this.#say({ type: "bye", code, reason, retryAfterMs: this.#retryAfterMs });
  }

  /** What is wrong with a text is told to those who asked for it; it is not asked for again. */
  #error(id, code, field, value, message, valid, text) {
    this.counters.errors += 1;
    const event = { type: "error", code, field, value, message, valid, text };
    this.#say(event);
    if (text === null) {
      // Others have used up what our address or token may send, the request was not followed: come back with all.
      if (code === "too_many" && this.#requests.has(id)) this.#abandon(`${field}: ${message}`);
      return;
    }
    this.#refused.add(text);
    for (const subscription of this.#subscriptions) if (subscription.texts.includes(text)) subscription.deliver(event);
  }

  // -------------------------------------------------------------------------------------------------- topics

  #ack(id, topics) {
    const isLeft = this.#requests.get(id)?.kind === KIND.UNSUBSCRIBE; // id null: a glob found more topics
    this.#requests.delete(id);
    for (const [name, handle, resumed] of topics) {
      if (isLeft) this.#left(name, handle);
      else this.#joined(name, handle, resumed);
    }
  }

  #joined(name, handle, resumed) {
    let topic = this.topics.get(name);
    if (!topic) {
      topic = new Topic(name);
      topic.subscriptions = [...this.#subscriptions].filter((subscription) => subscription.matches(name));
      this.topics.set(name, topic);
    }
    topic.handle = handle;
    this.#byHandle.set(handle, topic);
    const { isResuming } = topic;
    topic.isResuming = false;
    this.#tell(topic, { type: "subscribed", resumed });
    if (!isResuming) return;
    if (resumed) {
      this.resumption.resumed += 1;
      topic.isCurrent = true;
    } else {
      this.resumption.gaps += 1;
      this.#tell(topic, topic.gap("unproven"));
    }
  }

  /** The front tells us no more of a topic; where another subscription wants it still, it is asked for again. */
  #left(name, handle) {
    this.#byHandle.delete(handle);
    const topic = this.topics.get(name);
    if (!topic || topic.handle !== handle) return;
    topic.handle = null;
    if (!topic.subscriptions.length) this.topics.delete(name);
    else if (![...this.#requests.values()].some(({ texts }) => texts.some((text) => patternOf(text).test(name)))) {
      this.#lacking.add(topic);
    }
  }

  #askAgain() {
    const entries = [...this.#lacking].filter(({ subscriptions }) => subscriptions.length).map(placeOf);
    this.#lacking.clear();
    if (this.#isWelcome) this.#request(KIND.SUBSCRIBE, entries);
  }
}

/** The entry of a SUBSCRIBE that goes on where we are. */
const placeOf = ({ name, epoch, seq }) => (epoch === null ? name : [name, epoch, seq]);
const nameOf = (entry) => (Array.isArray(entry) ? entry[0] : entry);
