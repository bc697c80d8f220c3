// Replays a front's messages in node: reads {form, topics, frames} from stdin and writes what the client makes of each frame.
// Frames are hex for msgpack and text for JSON. Integers are written as text: JSON could not hold them all.

import { readFileSync } from "node:fs";
import { World } from "./world.mjs";

const web = new URL("../../wick/web/", import.meta.url);
const { candleFromRow, completed, liveCandle, quoteFromHead } = await import(new URL("candles.js", web));
const { FORMS, decimal } = await import(new URL("codec.js", web));
const { CANDLE } = await import(new URL("schema.js", web));

const given = JSON.parse(readFileSync(0, "utf8"));
const { encode } = FORMS[given.form];
const world = new World(given.form);
const completions = []; // of each LIVE message: the first topic's live candle with it
let told = [];

function describe({ type, topic, ...event }) {
  if (type === "subscribed") return { type, topic: topic.name };
  if (event.row) event.candle = candleFromRow(event.row);
  if (event.rows) event.candles = event.rows.map(candleFromRow);
  if (type === "live") completions.push(completed(liveCandle(world.client.topics.get(given.topics[0]).groups), event.candle));
  if (!topic?.groups?.length) return { ...event, type, topic: topic?.name };
  const [head, live] = topic.groups;
  return {
    ...event, type, topic: topic.name, seq: topic.seq, epoch: topic.epoch, groups: topic.groups.map((group) => group.map(String)),
    live: live ? liveCandle(topic.groups) : null, rolled: event.left ? liveCandle(event.left) : null, quote: quoteFromHead(head),
  };
}

world.client.subscribe(given.topics, (event) => told.push(describe(event)));
world.socket.open();
const events = given.frames.map((frame) => {
  told = [];
  world.socket.hear(given.form === "json" ? frame : Uint8Array.from(Buffer.from(frame, "hex")).buffer);
  return { told, status: world.client.status, reason: world.client.reason };
});

// As the front gets them: in the form's own bytes.
const requests = world.sockets[0].sent.map((request) => {
  const data = encode(request);
  return typeof data === "string" ? data : Buffer.from(data).toString("hex");
});
const decimals = (given.decimals ?? []).map(([mantissa, places]) => decimal(BigInt(mantissa), places));
const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);
process.stdout.write(JSON.stringify({ events, requests, decimals, completed: completions, fields: Object.entries(CANDLE) }, plain));
