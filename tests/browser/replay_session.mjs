// Replays a session in node: reads {codec, topics, frames} from stdin and writes what the page's client makes of each frame.
// Frames are hex for msgpack and text for JSON. Integers are written as text: JSON could not hold them all.

import { readFileSync } from "node:fs";
import vm from "node:vm";

const web = new URL("../../wick/web/", import.meta.url);
const { SessionState, completed, decimal, jsonCodec, liveCandle, msgpackCodec, quoteFromHead } = await import(new URL("protocol.js", web));
const { CANDLE } = await import(new URL("schema.js", web));

// A classic script, as on the page: it defines globalThis.MessagePack.
vm.runInThisContext(readFileSync(new URL("vendor/msgpack/msgpack.min.js", web), "utf8"));

const given = JSON.parse(readFileSync(0, "utf8"));
const codec = given.codec === "json" ? jsonCodec : msgpackCodec(globalThis.MessagePack);
const state = new SessionState();
const requests = [state.subscribe(given.topics)];

const completions = []; // of each LIVE message: the first topic's live candle with it

function describe(event) {
  const { topic, ...told } = event;
  if (!topic?.groups?.length) return { ...told, topic: topic?.name };
  const [head, live] = topic.groups;
  return {
    ...told, topic: topic.name, seq: topic.seq, epoch: topic.epoch, groups: topic.groups.map((group) => group.map(String)),
    live: live ? liveCandle(topic.groups) : null, quote: quoteFromHead(head),
  };
}

const events = given.frames.map((frame) => {
  const data = given.codec === "json" ? frame : Uint8Array.from(Buffer.from(frame, "hex"));
  try {
    const event = state.receive(codec.decode(data));
    if (event.type === "gap") requests.push(state.unsubscribe([event.topic.name]), state.subscribe([event.topic.name]));
    if (event.type === "live") completions.push(completed(liveCandle(state.byName.get(given.topics[0]).groups), event.candle));
    return describe(event);
  } catch (error) {
    return { type: "unreadable", name: error.name };
  }
});

const encoded = requests.map((request) => {
  const data = codec.encode(request);
  return typeof data === "string" ? data : Buffer.from(data).toString("hex");
});
const decimals = (given.decimals ?? []).map(([mantissa, places]) => decimal(BigInt(mantissa), places));
const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);
process.stdout.write(JSON.stringify({ events, requests: encoded, decimals, completed: completions, fields: Object.entries(CANDLE) }, plain));
