// A client (wick/web/client.js) whose time and network are the test's.

const web = new URL("../../wick/web/", import.meta.url);
const { FORMS } = await import(new URL("codec.js", web));
const { WickClient } = await import(new URL("client.js", web));

export class World {
  now = 1_000_000;
  random = 1;
  sockets = [];
  events = []; // of the connection
  #timers = [];

  constructor(form = "json") {
    const world = this;
    this.form = FORMS[form];
    class Socket {
      constructor(url, subprotocol) {
        Object.assign(this, { url, subprotocol, readyState: 0, sent: [], isClosed: false });
        world.sockets.push(this);
      }
      open() { this.readyState = 1; this.onopen?.(); }
      send(data) { this.sent.push(world.form.decode(data)); }
      hear(data) { this.onmessage({ data }); }
      say(...message) { this.hear(JSON.stringify(message)); }
      close(code) { Object.assign(this, { isClosed: true, closedWith: code, readyState: 3 }); }
      lose(code = 1006, reason = "") { this.readyState = 3; this.onclose({ code, reason }); }
    }
    this.client = new WickClient("http://test/ws", {
      form, WebSocket: Socket, onEvent: (event) => this.events.push(event),
      environment: {
        now: () => this.now,
        random: () => this.random,
        setTimeout: (call, ms) => {
          const timer = { call, at: this.now + ms };
          this.#timers.push(timer);
          return timer;
        },
        clearTimeout: (timer) => { this.#timers = this.#timers.filter((other) => other !== timer); },
      },
    });
  }

  get socket() { return this.sockets.at(-1); }

  get statuses() { return this.events.filter(({ type }) => type === "status").map(({ status }) => status); }

  advance(ms) {
    const end = this.now + ms;
    for (;;) {
      const [next] = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.now = next.at;
      next.call();
    }
    this.now = end;
  }
}

/** A value as JSON writes it: integers beyond 2^53 - 1 are decimal texts. */
export const plain = (value) => JSON.parse(JSON.stringify(value, (_, item) => (typeof item === "bigint" ? String(item) : item)));
