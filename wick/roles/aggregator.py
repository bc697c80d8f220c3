"""The aggregator worker: a greenlet actor a pair, fed by the feed's batches, heard through two streams a shard.

Batches come in order, by (epoch, sequence) for each venue and shard. A hole, and the start, are read from the tick
log, where the feed wrote every batch before it sent it. Candle time is the clock that the batches carry: the worker
reads none of its own for it, so the same batches give the same candles.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from gevent.event import Event

from wick import exchanges
from wick.errors import WireError
from wick.market.trades import RECORD
from wick.net import bus
from wick.net.clock import now_ns
from wick.net.reader import Reader
from wick.ops.settings import Settings
from wick.roles.base import Role, run_role
from wick.storage import ticklog
from wick.stream.shard import CandleRules, PairState, Shard
from wick.stream.shards import shards_of
from wick.wire.messages import Records, Request, TickHeader, records

MS = 1_000_000

log = logging.getLogger("wick")


class Actor:
    """One pair's greenlet: its inbox (runs of records, clock times, None for an outage), drained at each wake-up.

    The inbox is bounded by the reader: it takes at most bus.DRAIN_BUDGET batches before the actors run.
    """

    __slots__ = ("inbox", "state", "wake")

    def __init__(self, state: PairState) -> None:
        self.state = state
        self.inbox: list[Records | int | None] = []
        self.wake = Event()

    def run(self) -> None:
        while True:
            self.wake.wait()
            self.wake.clear()
            self.drain()

    def drain(self) -> None:
        inbox, self.inbox = self.inbox, []
        for item in inbox:
            if item is None:
                self.state.candles.outage()
            elif isinstance(item, int):
                self.state.clock(item)
            else:
                self.state.ticks(item)


class Aggregator(Role):
    """Worker `index` of `aggregator.workers`, with the shards that are its own."""

    name = "aggregator"
    main_counter = "ticks"

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        self.owned = frozenset(shards_of(index, settings["aggregator.workers"]))
        epoch = now_ns() // MS
        rules = {venue: _rules(settings, venue) for venue in exchanges.ids()}
        self.shards = {number: Shard(number, epoch, rules) for number in sorted(self.owned)}
        self.actors: dict[tuple[int, str], dict[str, Actor]] = {}  # (shard, venue) -> symbol -> actor
        self.positions: dict[tuple[int, str], tuple[int, int]] = {}  # (shard, venue) -> (epoch, sequence) taken
        self.log_dir = Path(self.data_dir) / "ticklog" if settings["ticklog.enabled"] else None
        self.pull = bus.pull(self.data_dir, index, settings["feed.push_hwm"])
        self.router = bus.router(self.data_dir, index)
        self.lag_ms = 0
        self._woken: list[Actor] = []

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        self._replay()
        self.stats.state = "waiting"
        self.spawn(Reader(self.pull, self._receive, self._wake).run)
        self.spawn(Reader(self.router, self._answer).run)
        self.spawn(self._flush_forever)

    def drain(self) -> None:
        bus.drain(self.pull, self._receive, budget=1_000_000)
        for actor in self._woken:
            actor.drain()
        self._flush()

    def gauges(self) -> dict[str, Any]:
        pairs = [state for shard in self.shards.values() for state in shard.pairs.values()]
        sums: dict[str, int] = {}
        for state in pairs:
            for name, value in state.candles.counters.items():
                sums[name] = sums.get(name, 0) + value
        return {"pairs": len(pairs), "lag_ms": self.lag_ms, **sums}

    # ------------------------------------------------------------------ ticks

    def _receive(self, frames: list[bytes]) -> None:
        try:
            header = TickHeader.unpack(frames[0])
            if len(frames) != 2 or not all(part[0] in self.shards for part in header.parts):
                raise WireError(f"{len(frames)} frames with shards that are not this worker's")
            batch = records(frames[1], header)
        except WireError as error:
            self.stats.add("bad_batches")
            log.error("a batch is not what it should be, it is left out: %s", error)
            return
        self.stats.state = "running"
        self.stats.newest_ns = now_ns()
        self.lag_ms = (self.stats.newest_ns - header.send_ns) // MS
        at = 0
        for part in header.parts:
            shard, seq, _, _, counts = part
            count = sum(counts)
            stream = (shard, header.venue)
            epoch, taken = self.positions.get(stream, (0, 0))
            if (header.epoch, seq) <= (epoch, taken):
                self.stats.add("repeated_batches")
            else:
                expected = taken + 1 if header.epoch == epoch else 1
                if seq > expected:
                    self._mend(stream, (header.epoch, expected), (header.epoch, seq))
                self._take(header, part, batch[at : at + count])
            at += count

    def _take(self, header: TickHeader, part: list[Any], batch: Records) -> None:
        """Hand a part to the actors of its pairs; the next of its stream."""
        shard, seq, outage, symbols, counts = part
        stream = (shard, header.venue)
        self.positions[stream] = (header.epoch, seq)
        self.stats.add("batches")
        self.stats.add("ticks", len(batch))
        actors = self.actors.setdefault(stream, {})
        if outage:
            self._tell_outage(stream)
        clock_ms = header.clock_ns // MS
        at = 0
        for symbol, count in zip(symbols, counts, strict=True):
            run = batch[at : at + count]
            at += count
            if symbol not in actors:
                since_ms = clock_ms or int(run[0]["event_ns"]) // MS
                actors[symbol] = Actor(self.shards[shard].pair(header.venue, symbol, since_ms))
                self.spawn(actors[symbol].run)
            actor = actors[symbol]
            actor.inbox.append(run)
            self._woken.append(actor)
        for actor in actors.values():
            # Its candles may roll by what waits in its inbox, so a due time that has passed is enough to ask.
            if clock_ms >= actor.state.candles.due_ms or (actor.inbox and clock_ms):
                actor.inbox.append(clock_ms)
                self._woken.append(actor)

    def _tell_outage(self, stream: tuple[int, str]) -> None:
        for actor in self.actors.get(stream, {}).values():
            actor.inbox.append(None)
            self._woken.append(actor)

    def _wake(self) -> None:
        for actor in self._woken:
            actor.wake.set()
        self._woken.clear()
        gevent.sleep(0)

    # ------------------------------------------------------------------ the tick log

    def _replay(self) -> None:
        """Start where the log ends: the same batches give the same state."""
        if self.log_dir is None or not self.log_dir.is_dir():
            return
        self.stats.state = "replaying"
        started = now_ns()
        for header, data in ticklog.read(self.log_dir, self.owned):
            for part, some in header.pieces(data):
                self._take_logged(header, part, some)
        ticks, took_ms = self.stats.counters.get("ticks", 0), (now_ns() - started) // MS
        log.info("replayed %d ticks from the log in %d ms", ticks, took_ms)

    def _take_logged(self, header: TickHeader, part: list[Any], data: memoryview) -> None:
        if header.venue not in exchanges.ids():
            return
        self._take(header, part, np.frombuffer(data, dtype=RECORD))
        for actor in self._woken:
            actor.drain()
        self._woken.clear()

    def _mend(self, stream: tuple[int, str], first: tuple[int, int], end: tuple[int, int]) -> None:
        """Read the batches of `[first, end)` from the log; what it does not have is lost, and is said so."""
        self.stats.add("holes")
        shard, venue = stream
        expected = first[1]
        if self.log_dir is not None:
            for header, data in ticklog.read(self.log_dir, frozenset([shard])):
                [(part, some)] = header.pieces(data)
                if header.venue == venue and part[1] < end[1] and (header.epoch, part[1]) == (end[0], expected):
                    self._take_logged(header, part, some)
                    expected += 1
        if expected < end[1]:
            self.stats.add("lost_batches", end[1] - expected)
            log.error("shard %d of %s lost batches %d to %d", shard, venue, expected, end[1] - 1)
            self._tell_outage(stream)

    # ------------------------------------------------------------------ out

    def _flush_forever(self) -> None:
        every_s = self.settings["aggregator.flush_ms"] / 1000
        while True:
            gevent.sleep(every_s)
            self._flush()

    def _flush(self) -> None:
        for shard in self.shards.values():
            if shard.dirty or shard.entries:
                self._publish(shard)

    def _publish(self, shard: Shard) -> None:
        for message in shard.flush(now_ns()):
            self.pub.send_multipart(message)
            self.stats.add("published")

    def _answer(self, frames: list[bytes]) -> None:
        who, asked = frames[0], frames[-1]
        try:
            request = Request.unpack(asked)
            shard = self.shards.get(request.shard)
            if shard is None:
                raise WireError(f"shard {request.shard} is not this worker's")
        except WireError as error:
            self.stats.add("bad_requests")
            log.warning("a request cannot be met: %s", error)
            return
        if request.kind == "snapshot":
            self._publish(shard)
            answer = [shard.snapshot().pack()]
        else:
            answer = shard.closes_after(request.epoch, request.after)
        bus.try_send(self.router, [who, asked, *answer])


def _rules(settings: Settings, venue: str) -> CandleRules:
    empty = settings["aggregator.empty"]
    return CandleRules(
        settings["aggregator.grace_ms"],
        settings["aggregator.history"],
        exchanges.load(venue).empty if empty == "venue" else empty,
    )


def main(argv: Sequence[str]) -> int:
    return run_role(Aggregator, argv)
