#!/usr/bin/env python3
"""Bytes on the wire a pair and second: what a client of the front is sent, over our recordings, against JSON objects.

    .venv/bin/python scripts/bench/front_bytes.py [FILE ...] [--quick]

Trades and best quotes of the recordings go the way that feed, worker and front make them go (as in diff_bytes.py): the
worker's messages of every 50 ms are taken by the front's own Fanout and flushed at once, so every client is told as
often as it can be. Counted are the frames of WebSocket, heads included, without TCP's. Clients: the ticker of a pair;
its 1 m candles; a chart (both); and everything (the ticker and all twelve intervals); each in msgpack, in msgpack with
permessage-deflate, and in wick's JSON.

Baseline: what a JSON feed sends of the same content at the same moments: for each topic that changed an object with all
its fields by name, values as integers, in a frame of its own; a closed candle is an object of its row. `changed`: only
the changed fields are in it. Both also deflated, message by message, without context, as ours are. The kind of client
with the worst ratio counts.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common as common
import orjson
from _market import VENUE
from diff_bytes import QUICK_LINES, Pipeline, _no_breath, symbol_of

from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, HEAD_FIELDS, LIVE_FIELDS
from wick.stream import diffs
from wick.stream.fanout import Fanout
from wick.stream.shards import SHARDS, shard_of
from wick.wire.messages import Closes, Diffs, Snapshot
from wick.wire.session import Topic
from wick.wire.websocket import BINARY, TEXT, frame

PLAIN, DEFLATED = 1 / 8, 1 / 15
SEQ = 1_000_000  # of a worker that has run for half a day: five bytes in each DIFF
MINUTE = NAMES.index("1m")
KINDS = {
    "ticker": [("ticker", -1)],
    "candles 1m": [("candles", MINUTE)],
    "chart": [("ticker", -1), ("candles", MINUTE)],
    "everything": [("ticker", -1), *(("candles", number) for number in range(len(NAMES)))],
}
FORMS = {"msgpack": (False, False), "deflate": (False, True), "JSON": (True, False)}


class Client:
    """What the fan-out keeps, and how many bytes went to it."""

    def __init__(self) -> None:
        self.cohort = self.behind = None
        self.place, self.globs = 0, ()
        self.bytes = 0


class Wire:
    """Takes everything, and counts."""

    def send(self, client: Client, data: bytes) -> bool:
        client.bytes += len(data)
        return True

    def send_all(self, clients: Sequence[Client], frames: Sequence[bytes]) -> list[Client]:
        for client, data in zip(clients, frames, strict=True):
            client.bytes += len(data)
        return []

    def close(self, client: Client, code: int, reason: str) -> None:
        raise AssertionError(reason)


class Objects:
    """The baseline: bytes of the objects, of each kind of client and form."""

    def __init__(self) -> None:
        self.bytes: Counter[tuple[str, str]] = Counter()

    def tell(self, topic: tuple[str, int], whole: dict[str, Any], changed: dict[str, Any]) -> None:
        for form, some in (("JSON objects", whole), ("changed", changed)):
            text = orjson.dumps(some, default=lambda value: list(memoryview(value).cast("b")))
            packer = zlib.compressobj(6, zlib.DEFLATED, -15)
            packed = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
            size = len(frame(text, TEXT))
            for kind, topics in KINDS.items():
                if topic in topics:
                    self.bytes[kind, form] += size
                    self.bytes[kind, f"{form}, deflated"] += min(size, len(frame(packed[:-4], BINARY)))


class Player(Pipeline):
    """A recording on its way to the clients of a front."""

    def __init__(self, symbol: str, objects: Objects) -> None:
        super().__init__(symbol)
        self.pair, self.objects = (VENUE, symbol), objects
        self.number, self.shard.diffs_seq = shard_of(*self.pair), SEQ
        self.fanout = Fanout(Wire(), SHARDS, shard_of)
        for shard in range(SHARDS):
            self.fanout.restart(Snapshot(shard, 1, SEQ, 0, [], [], []))
        self.clients = {}
        for kind, topics in KINDS.items():
            for form, (json, deflate) in FORMS.items():
                client = self.clients[kind, form] = Client()
                self.fanout.enter(client, json=json, deflate=deflate)
                for name, interval in topics:
                    self.fanout.subscribe(client, Topic(name, *self.pair, interval))
                self.fanout.tell(client)
        self.began_ns = self.last_ns = 0

    def _flush(self, now_ns: int) -> None:
        self.stream.turn(_no_breath)
        for topic, body in self.shard.flush(now_ns):
            kind = topic.partition(b".")[0]
            if kind == b"diffs":
                message = Diffs.unpack(body)
                self.fanout.diffs(self.number, message)
                for entry in message.entries:
                    self._objects_of(diffs.split(entry[1:]))
            elif kind == b"closes":
                closes = Closes.unpack(body)
                self.fanout.closes(self.number, closes)
                for venue, symbol, interval, *row in closes.rows:
                    named = {"venue": venue, "symbol": symbol, "interval": interval}
                    named |= dict(zip(CANDLE_FIELDS, row, strict=True))
                    self.objects.tell(("candles", NAMES.index(interval)), named, named)
        for bands in self.fanout.slices.bands:
            for band in bands:
                self.fanout.flush(band)
        self.fanout.trim()
        if not self.began_ns:  # what a client is told at its start is not what it costs a second
            self.began_ns = now_ns
            for client in self.clients.values():
                client.bytes = 0
            self.objects.bytes.clear()
        self.last_ns = now_ns

    def _objects_of(self, steps: Sequence[tuple[int, int, list[int]]]) -> None:
        state = self.fanout.state(*self.pair)
        assert state is not None
        masks = {group: mask for group, mask, _ in steps}
        head = dict(zip(HEAD_FIELDS, state[0], strict=True))
        for topic in dict.fromkeys(topic for topics in KINDS.values() for topic in topics):
            kind, interval = topic
            if not masks.keys() & ({0} if interval < 0 else {0, interval + 1}):
                continue
            whole = {"type": kind, "venue": VENUE, "symbol": self.pair[1]}
            changed = dict(whole) | _named(HEAD_FIELDS, state[0], masks.get(0, 0))
            whole |= head
            if interval >= 0:
                whole["interval"] = changed["interval"] = NAMES[interval]
                live = state[interval + 1]
                whole |= {f"live_{name}": value for name, value in zip(LIVE_FIELDS, live, strict=True)}
                fields = [f"live_{name}" for name in LIVE_FIELDS]
                changed |= _named(fields, live, masks.get(interval + 1, 0))
            self.objects.tell(topic, whole, changed)


def _named(fields: Sequence[str], group: Sequence[int], mask: int) -> dict[str, Any]:
    return {name: value for number, (name, value) in enumerate(zip(fields, group, strict=True)) if mask >> number & 1}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(common.RECORDINGS.glob("*.gz")))
    args = parser.parse_args()
    if not args.files:
        raise SystemExit(f"no recordings in {common.RECORDINGS}: name some files")
    total: Counter[tuple[str, str]] = Counter()
    seconds = 0.0
    for path in args.files:
        objects = Objects()
        player = Player(symbol_of(path), objects)
        player.play(path, QUICK_LINES if args.quick else None)
        seconds += (player.last_ns - player.began_ns) / 1e9
        total.update({key: client.bytes for key, client in player.clients.items()})
        total.update(objects.bytes)
    forms = [*FORMS, "JSON objects", "changed", "JSON objects, deflated", "changed, deflated"]
    print(f"{seconds:,.0f} s of a pair, bytes a pair and second")
    common.table(
        ["", *forms, "of JSON objects", "deflated"],
        [
            (
                kind,
                *(f"{total[kind, form] / seconds:,.0f}" for form in forms),
                f"1/{total[kind, 'JSON objects'] / total[kind, 'msgpack']:.1f}",
                f"1/{total[kind, 'JSON objects'] / total[kind, 'deflate']:.1f}",
            )
            for kind in KINDS
        ],
    )
    whole = "JSON objects"
    ratios = {kind: {form: total[kind, form] / total[kind, whole] for form in ("msgpack", "deflate")} for kind in KINDS}
    worst = {form: max(its[form] for its in ratios.values()) for form in ("msgpack", "deflate")}
    common.finish(
        "front_bytes",
        args,
        {
            "seconds": seconds,
            "bytes_a_second": {kind: {form: total[kind, form] / seconds for form in forms} for kind in KINDS},
            "ratios": ratios,
        },
        [
            common.Target("bytes, of those of JSON objects", worst["msgpack"], PLAIN),
            common.Target("bytes with deflate, of those of JSON objects", worst["deflate"], DEFLATED),
        ],
    )


if __name__ == "__main__":
    main()
