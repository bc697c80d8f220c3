#!/usr/bin/env python3
"""Bytes on the wire for a pair and second: a client's frames against JSON objects of the same content.

    .venv/bin/python scripts/bench/front_bytes.py [FILE ...] [--quick]

Our recordings go through feed, worker and fan-out without sockets, flushed every 50 ms of receive time. A client is
subscribed to a pair's ticker, to its 1m candles, or to its candles of five intervals; its frames are counted, headers
of WebSocket included, once as they are and once with permessage-deflate.

Baseline: a JSON object at each of the same moments, as JSON APIs send them: the topic, its position, and the fields of
the state by name (a close: those of the row); four bytes of frame header. `changed` is a baseline that sends the
changed fields only.
"""

import json
from pathlib import Path
from typing import Any

import _common as common
from diff_bytes import QUICK_LINES, Pipeline, symbol_of

from wick.market.schema import CANDLE_FIELDS, HEAD_FIELDS, LIVE_FIELDS
from wick.stream import diffs
from wick.stream.channels import Message, StateChannel
from wick.stream.fanout import Fanout
from wick.wire.messages import Closes, Diffs, Snapshot
from wick.wire.session import Kind, Topic

PLAIN, DEFLATED = 1 / 8, 1 / 15
SEQ = 1_000_000  # a worker's, half a day after its start: five bytes
EPOCH = 1_723_161_592_000_000_000
SETS = {"ticker": ("ticker", (-1,)), "candles 1m": ("candles", (2,)), "candles of 5": ("candles", (0, 2, 4, 7, 9))}
NAMES = (("head", HEAD_FIELDS), ("candle", LIVE_FIELDS))


class Client:
    """What the fan-out needs of one, and the bytes that it was sent."""

    __slots__ = ("behind", "bytes", "cohort", "globs", "place")


class Wire:
    """Takes all, and counts it."""

    def send(self, client: Client, data: bytes) -> bool:
        client.bytes += len(data)
        return True

    def send_all(self, clients: list[Client], data: bytes) -> list[Client]:
        return [client for client in clients if not self.send(client, data)]

    def close(self, client: Client, code: int, reason: str) -> None:
        raise AssertionError(reason)


class Watched(Pipeline):
    """One recording, with a client of each form."""

    def __init__(self, symbol: str, kind: str, intervals: tuple[int, ...]) -> None:
        super().__init__(symbol)
        self.shard.epoch, self.shard.diffs_seq = EPOCH, SEQ
        self.fanout = Fanout(Wire(), 1, lambda venue, symbol: 0)
        self.fanout.restart(Snapshot(0, EPOCH, SEQ, 0, [], [], []))
        self.clients = [Client(), Client()]
        for client, deflate in zip(self.clients, (False, True), strict=True):
            client.bytes = 0
            self.fanout.enter(client, json=False, deflate=deflate)
            for interval in intervals:
                self.fanout.subscribe(client, Topic(kind, self.venue.id, symbol, interval))
        self.whole = self.changed = self.flushes = 0

    def _flush(self, now_ns: int) -> None:
        self.stream.turn(lambda: None)
        before = self.fanout.number
        for topic, body in self.shard.flush(now_ns):
            if topic.startswith(b"diffs."):
                self.fanout.diffs(0, Diffs.unpack(body))
            else:
                self.fanout.closes(0, Closes.unpack(body))
        for message in self.fanout._log[before - self.fanout._before :]:
            self._as_json(message)
        for band in self.fanout.slices:
            self.fanout.flush(band)
        self.fanout.trim()
        self.flushes += 1

    def _as_json(self, message: Message) -> None:
        channel = message.channel
        assert isinstance(channel, StateChannel)
        whole: dict[str, Any] = {"topic": channel.topic.text, "seq": message.fields[2]}
        changed = dict(whole)
        if message.fields[0] == Kind.DIFF:
            state = self.fanout.state(channel.topic.venue, channel.topic.symbol) or []
            for number, group in enumerate(channel.groups):
                name, fields = NAMES[number]
                whole[name] = dict(zip(fields, state[group], strict=True))
            for number, mask, _ in diffs.split(message.fields[4]):
                name, fields = NAMES[number]
                changed[name] = {one: whole[name][one] for at, one in enumerate(fields) if mask >> at & 1}
        else:
            row = [list(value) if isinstance(value, bytes) else value for value in message.fields[3]]
            whole["row"] = changed["row"] = dict(zip(CANDLE_FIELDS, row, strict=True))
        self.whole += 4 + len(json.dumps(whole, separators=(",", ":")))
        self.changed += 4 + len(json.dumps(changed, separators=(",", ":")))


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(common.RECORDINGS.glob("*.gz")))
    args = parser.parse_args()
    if not args.files:
        raise SystemExit(f"no recordings in {common.RECORDINGS}: name some files")
    rows, results = [], {}
    for name, (kind, intervals) in SETS.items():
        total = [0.0] * 5
        for path in args.files:
            wire = Watched(symbol_of(path), kind, intervals)
            wire.play(path, QUICK_LINES if args.quick else None)
            plain, deflated = (client.bytes for client in wire.clients)
            seconds = wire.flushes / 20
            total = [a + b for a, b in zip(total, (seconds, plain, deflated, wire.whole, wire.changed), strict=True)]
        seconds, *sizes = total
        plain, deflated, whole, changed = (size / seconds for size in sizes)
        rows.append((name, *(f"{size:.0f}" for size in (plain, deflated, whole, changed)),
                     f"1/{whole / plain:.1f}", f"1/{whole / deflated:.1f}", f"1/{changed / plain:.1f}"))  # fmt: skip
        results[name] = {"plain": plain, "deflated": deflated, "json": whole, "json_changed": changed}
    common.table(
        ["bytes a pair and second", "frames", "deflated", "JSON", "changed", "", "deflated", "of changed"], rows
    )
    targets = []
    for words, key, limit in (("", "plain", PLAIN), (", deflated", "deflated", DEFLATED)):
        worst = max(one[key] / one["json"] for one in results.values())
        targets.append(common.Target(f"bytes of frames against JSON objects{words}, worst", worst, limit))
    common.finish("front_bytes", args, results, targets)


if __name__ == "__main__":
    main()
