// Two clients of a real front, one over a line that is cut now and then: takes {url, cut, form, topics} as its argument, and
// answers each line on stdin with what each has held at which position, and heard of closes
// and trades.

import { createInterface } from "node:readline";

const web = new URL("../../wick/web/", import.meta.url);
const { WickClient } = await import(new URL("client.js", web));

const given = JSON.parse(process.argv[2]);
const KEPT = 400; // states of a topic

function follow(url) {
  const client = new WickClient(url, { form: given.form });
  const states = {}; // topic -> {position: [groups, ...]}: several where a candle ends between them
  const closes = [];
  const gaps = [];
  const trades = []; // ids, and 0 for each hole
  client.subscribe(given.topics, ({ type, topic, row, rows, reason, trades: some, missed }) => {
    if (type === "trades") trades.push(...(missed ? [0] : []), ...some.map(({ id }) => id));
    if (type === "gap") gaps.push([topic.name, reason]);
    if (type === "snapshot" || type === "diff") {
      const held = (states[topic.name] ??= new Map());
      const position = `${topic.epoch}:${topic.seq}`;
      held.set(position, [...(held.get(position) ?? []), JSON.stringify(topic.groups.map((group) => group.map(String)))]);
      if (held.size > KEPT) held.delete(held.keys().next().value);
    }
    for (const [openMs, , revision] of row ? [row] : rows ?? []) closes.push([topic.name, openMs, revision]);
  });
  const told = () => ({
    states: Object.fromEntries(Object.entries(states).map(([name, held]) => [name, Object.fromEntries(held)])),
    closes, gaps, trades, counters: client.counters, status: client.status,
  });
  return { client, told };
}

const steady = follow(given.url);
const unsteady = follow(given.cut);
createInterface({ input: process.stdin })
  .on("line", () => { process.stdout.write(`${JSON.stringify({ steady: steady.told(), unsteady: unsteady.told() })}\n`); })
  .on("close", () => process.exit());
