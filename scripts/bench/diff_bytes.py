#!/usr/bin/env python3
"""Bytes of one diff: what a pair's change in a flush takes in the Diffs message, over our recordings.

    .venv/bin/python scripts/bench/diff_bytes.py [FILE ...] [--quick]

Trades and best quotes go the way that the feed and the worker make them go: parsed, batched every 10 ms (a quote
replaces the one before it), packed as records, taken by a shard, which flushes every 50 ms of receive time; the venue's
clock advances it, so boundaries are in it. Every flush in which a pair changed counts once. `diff` is the pair's
entries (two where a boundary lies between); `with a trade` are those that are not a quote alone. `message` is all that
is sent: topic, header, names. The recordings have two pairs, each in a shard of its own, so each message carries one
diff; `shared` is the mean if a shard had ten, as where 300 are spread over 32.

Baseline: the pair's whole state, as a msgpack map with a map an interval, sent at the same flushes.
"""

import gzip
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import _common as common
import msgpack
import numpy as np
from _market import MS, VENUE

from wick.errors import ParseError
from wick.exchanges import load
from wick.market.clock import VenueClock
from wick.market.intervals import NAMES
from wick.market.schema import HEAD_FIELDS, LIVE_FIELDS
from wick.market.trades import RECORD, Quote, Trade
from wick.stream.shard import CandleRules, Shard
from wick.stream.shards import shard_of
from wick.wire.codec import pack
from wick.wire.messages import Diffs, pack_quote, pack_trade

TARGET = 40.0
BATCH_NS, FLUSH_NS = 10 * MS, 50 * MS
SHARED = 10  # pairs of a shard, where 300 are spread over 32
QUICK_LINES = 4_000
COUNT = HEAD_FIELDS.index("trade_count")


def frames(path: Path, most: int | None) -> Iterator[tuple[int, bytes]]:
    """(receive time, message) of a capture."""
    with gzip.open(path) as file:
        for number, line in enumerate(file):
            if number == most:
                return
            stamp, _, raw = line.partition(b" ")
            yield int(stamp), raw.rstrip()


class Pipeline:
    """Feed and worker without sockets, for one recording (one pair)."""

    def __init__(self) -> None:
        self.venue, self.clock = load(VENUE), VenueClock()
        self.shards: dict[int, Shard] = {}
        self.trades: dict[str, list[bytes]] = {}
        self.quotes: dict[str, bytes] = {}
        self.sizes: list[tuple[int, int, int]] = []  # of each pair and flush: diff, message, whole state
        self.with_a_trade: list[int] = []
        self.counts: dict[int, int] = {}  # trades of each shard's only pair

    def play(self, path: Path, most: int | None) -> None:
        batch_at = flush_at = 0
        for recv_ns, raw in frames(path, most):
            batch_at, flush_at = batch_at or recv_ns + BATCH_NS, flush_at or recv_ns + FLUSH_NS
            while recv_ns >= min(batch_at, flush_at):
                if batch_at <= flush_at:
                    self._batch(batch_at)
                    batch_at += BATCH_NS
                else:
                    self._flush(flush_at)
                    flush_at += FLUSH_NS
            self._message(raw, recv_ns)
        self._batch(batch_at)
        self._flush(max(batch_at, flush_at))

    def _message(self, raw: bytes, recv_ns: int) -> None:
        try:
            events = self.venue.parse(raw)
        except ParseError:
            return
        for event in events:
            if isinstance(event, Trade) and self.clock.observe(event.event_ns, recv_ns):
                self.trades.setdefault(event.symbol, []).append(pack_trade(event, recv_ns))
            elif isinstance(event, Quote):
                self.quotes[event.symbol] = pack_quote(event, recv_ns)

    def _batch(self, now_ns: int) -> None:
        clock_ms = self.clock.at(now_ns) // MS
        for symbol in {**self.trades, **self.quotes}:
            number = shard_of(VENUE, symbol)
            shard = self.shards.setdefault(number, Shard(number, 1, {VENUE: CandleRules()}))
            packed = [*self.trades.get(symbol, ()), *([self.quotes[symbol]] if symbol in self.quotes else [])]
            shard.pair(VENUE, symbol, clock_ms).ticks(np.frombuffer(b"".join(packed), RECORD))
        for shard in self.shards.values():
            for state in shard.pairs.values():
                if clock_ms >= state.candles.due_ms:
                    state.clock(clock_ms)
        self.trades, self.quotes = {}, {}

    def _flush(self, now_ns: int) -> None:
        for shard in self.shards.values():
            for topic, body in shard.flush(now_ns):
                if topic.startswith(b"diffs."):
                    self._measure(shard, topic, body)

    def _measure(self, shard: Shard, topic: bytes, body: bytes) -> None:
        diffs: dict[int, int] = defaultdict(int)
        for entry in Diffs.unpack(body).entries:
            diffs[entry[0]] += len(pack(entry))
        states = {state.number: state.candles.groups for state in shard.pairs.values()}
        for number, size in diffs.items():
            # The only pair of its shard: the whole message is for it.
            self.sizes.append((size, len(topic) + len(body), len(msgpack.packb(full(states[number])))))
            count = int(states[number][0][COUNT])
            if count != self.counts.get(shard.number):
                self.with_a_trade.append(size)
            self.counts[shard.number] = count


def full(groups: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A pair's whole state, as a map."""
    head, *live = ([int(value) for value in group] for group in groups)
    candles = {name: dict(zip(LIVE_FIELDS, group, strict=True)) for name, group in zip(NAMES, live, strict=True)}
    return {**dict(zip(HEAD_FIELDS, head, strict=True)), "candles": candles}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(common.RECORDINGS.glob("*.gz")))
    args = parser.parse_args()
    if not args.files:
        raise SystemExit(f"no recordings in {common.RECORDINGS}: name some files")
    sizes: list[tuple[int, int, int]] = []
    with_a_trade: list[int] = []
    for path in args.files:
        pipeline = Pipeline()
        pipeline.play(path, QUICK_LINES if args.quick else None)
        sizes += pipeline.sizes
        with_a_trade += pipeline.with_a_trade
    diff, message, state = zip(*sizes, strict=True)
    kinds = {"diff": diff, "with a trade": with_a_trade, "message": message, "whole state (map)": state}
    steps = (50, 90, 99, 100)
    spread = {name: [float(one) for one in np.percentile(some, steps)] for name, some in kinds.items()}
    mean = {name: fmean(some) for name, some in kinds.items()}
    shared = mean["diff"] + (mean["message"] - mean["diff"]) / SHARED
    print(f"{len(sizes):,} diffs (a pair and flush) of {len(args.files)} recordings, bytes")
    rows = [(name, f"{mean[name]:.1f}", *(f"{one:.0f}" for one in some)) for name, some in spread.items()]
    common.table(["", "mean", "median", "p90", "p99", "most"], [*rows, ("shared", f"{shared:.1f}", "", "", "", "")])
    common.finish(
        "diff_bytes",
        args,
        {"diffs": len(sizes), "mean": mean | {"shared": shared}, "p50_p90_p99_most": spread},
        [common.Target("bytes of one diff a pair and flush, mean", mean["diff"], TARGET)],
    )


if __name__ == "__main__":
    main()
