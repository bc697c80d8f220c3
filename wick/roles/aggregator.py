"""The aggregator worker: a greenlet actor a pair, fed by the feed's batches, heard through two streams a shard.

Batches come in order, by (epoch, sequence) for each venue and shard. A hole, and the start, are read from the tick
log, where the feed wrote every batch before it sent it. Candle time is the clock that the batches carry: the worker
reads none of its own for it, so the same batches give the same candles.
"""

import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent

from wick import exchanges
from wick.errors import StoreError, WireError
from wick.market.intervals import INTERVALS, NAMES
from wick.market.numbers import parse_decimal
from wick.market.records import records
from wick.market.trades import RECORD_STRUCT
from wick.metrics.processor import Processor, history_of
from wick.net import bus
from wick.net.clock import now_ns, steady_ns
from wick.net.reader import Reader, give_way
from wick.ops.process import give_memory_back, keep_freed_memory
from wick.ops.settings import Settings
from wick.roles.actors import MOST_WAITING, Stream
from wick.roles.base import Role, run_role
from wick.storage import store as store_table
from wick.storage import ticklog
from wick.storage.sqlite import SqliteStore
from wick.stream.lag import Lags
from wick.stream.shard import CandleRules, LiveStream, Shard, deepest, enrich, live
from wick.stream.shards import shard_of, shards_of
from wick.wire.messages import WATCH_S, Request, TickHeader, Watch

MS = 1_000_000
BREATH_NS = 2 * MS  # other greenlets get their turn after so long; what one actor or shard does in one go comes on top

log = logging.getLogger("wick")


class Aggregator(Role):
    """Worker `index` of `aggregator.workers`, with the shards that are its own."""

    name = "aggregator"
    main_counter = "ticks"

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        self.owned = frozenset(shards_of(index, settings["aggregator.workers"]))
        epoch = now_ns() // MS
        self.venues = exchanges.ids()
        self.rules = rules = {venue: _rules(settings, venue) for venue in self.venues}
        self.processor = Processor(deepest(rules))
        keep = (settings["aggregator.closes_mb"] << 20) // max(1, len(self.owned))
        self.shards = {number: Shard(number, epoch, rules, self.processor, keep) for number in sorted(self.owned)}
        self.streams: dict[tuple[int, str], Stream] = {}  # by (shard, venue)
        self.log_dir = Path(self.data_dir) / "ticklog" if settings["ticklog.enabled"] else None
        self.pull = bus.pull(self.data_dir, index, settings["feed.push_hwm"])
        self.router = bus.router(self.data_dir, index)
        self.lag_ms = 0
        self.lags = Lags()
        self.watches: dict[bytes, tuple[int, list[list[Any]]]] = {}  # by front: until when (ns), and what it watches
        self._live_ns = 0
        self._waiting = 0  # ticks in inboxes
        self._breathed_ns = 0
        self._ending = False

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        keep_freed_memory()
        self._warm()
        self._replay()
        # What lives now lives long: the collector need not look at it, nor at all of the heap ever again. Actors leave
        # no cycles behind, and what little does is young.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 1_000_000)
        give_memory_back()
        self.stats.state = "waiting"
        self.spawn(Reader(self.router, self._answer).run)
        self.spawn(self._work_forever)

    def drain(self) -> None:
        bus.drain(self.pull, self._receive, budget=1_000_000)
        self._turn()
        self._flush()

    def gauges(self) -> dict[str, Any]:
        pairs = [state for shard in self.shards.values() for state in shard.pairs.values()]
        sums: dict[str, int] = {}
        for state in pairs:
            for name, value in state.candles.counters.items():
                sums[name] = sums.get(name, 0) + value
        lag = {"lag_ms": self.lag_ms, "lag": self.lags.told()}
        return {"pairs": len(pairs), **lag, "waiting": self._waiting, **sums}

    def _breathe(self, after_ns: int = BREATH_NS) -> None:
        """Let the hub's other greenlets run, where this one has run for a while.

        Who is told to end meanwhile does so when what it is about is done: half a message taken is half one lost.
        """
        if self._ending or steady_ns() - self._breathed_ns <= after_ns:
            return
        try:
            give_way()
        except gevent.GreenletExit:
            self._ending = True
        self._breathed_ns = steady_ns()

    # ------------------------------------------------------------------ ticks

    def _receive(self, frames: list[bytes]) -> None:
        try:
            header = TickHeader.unpack(frames[0])
            if len(frames) != 2 or not self.owned.issuperset([part[0] for part in header.parts]):
                raise WireError(f"{len(frames)} frames with shards that are not this worker's")
            if header.venue not in self.venues:
                raise WireError(f"the venue {header.venue!r} is not one of {', '.join(self.venues)}")
            records(frames[1], header)
        except WireError as error:
            self.stats.add("bad_batches")
            log.error("a batch is not what it should be, it is left out: %s", error)
            return
        self.stats.state = "running"
        self.stats.newest_ns = now_ns()
        self.lag_ms = (self.stats.newest_ns - header.send_ns) // MS
        self.lags.sample(header, frames[1], self.stats.newest_ns)
        for part, some in header.pieces(frames[1]):
            stream = self._stream(part[0], header.venue)
            seq = part[1]
            if (header.epoch, seq) <= (stream.epoch, stream.seq):
                self.stats.add("repeated_batches")
                continue
            expected = stream.seq + 1 if header.epoch == stream.epoch else 1
            if seq > expected:
                self._mend(stream, header.epoch, expected, seq)
            self._take(stream, header, part, some)
            if some:
                self.lags.took(part[0], self.stats.newest_ns)

    def _stream(self, shard: int, venue: str) -> Stream:
        stream = self.streams.get((shard, venue))
        if stream is None:
            stream = self.streams[shard, venue] = Stream(self.shards[shard], venue)
        return stream

    def _take(self, stream: Stream, header: TickHeader, part: list[Any], data: memoryview) -> None:
        """The next part of a stream: ticks into the inboxes, and the clock where it has come to a new beat."""
        _, seq, outage, symbols, counts = part
        stream.epoch, stream.seq = header.epoch, seq
        clock_ms = header.clock_ns // MS
        if outage:
            stream.outage()
        if symbols:
            ticks = sum(counts)
            stream.deliver(symbols, counts, data, clock_ms)
            self._waiting += ticks
            self.stats.add("ticks", ticks)
            if self._waiting > MOST_WAITING:
                self._turn()
        if stream.beats(clock_ms):
            stream.turn(self._breathe)
            stream.advance(clock_ms)
            self._breathe()

    def _turn(self) -> None:
        """Every actor that has something in its inbox empties it."""
        self._waiting = 0
        for stream in self.streams.values():
            if stream.waiting:
                stream.turn(self._breathe)

    # ------------------------------------------------------------------ the store, and the tick log

    def _warm(self) -> None:
        """Begin the metrics with what the store has of the candles before those that are about to come."""
        path = store_table.path_of(self.settings)
        if not self.settings["aggregator.warmup"] or not path.exists():
            return
        self.stats.state = "warming up"
        started, taken, first_ms = steady_ns(), 0, self._first_ms()
        try:
            store = SqliteStore(path, read_only=True)
            pairs = [(venue, symbol) for venue, symbol in store.symbols() if shard_of(venue, symbol) in self.owned]
            for index, interval in enumerate(INTERVALS):
                before_ms = interval.open_ms(first_ms)
                taken += self._learn(store, index, before_ms, [pair for pair in pairs if pair[0] in self.venues])
                log.info("metrics of %s have their history, %d candles so far", interval.name, taken)
            store.close()
        except StoreError as error:
            log.error("the metrics begin without a history: %s", error)
            return
        log.info("warmed %d pairs with %d candles in %d ms", len(pairs), taken, (steady_ns() - started) // MS)

    def _learn(self, store: SqliteStore, index: int, before_ms: int, pairs: list[tuple[str, str]]) -> int:
        """The candles of an interval; how many there were."""
        columns, histories, decimals, next_ms = [], [], [], []
        for venue, symbol in pairs:
            rows = store.inputs(venue, symbol, NAMES[index], self.settings["aggregator.warmup"], before_ms)
            rules = self.rules[venue]
            history = history_of(rows, contiguous=rules.empty == "flat")
            if history is not None:
                columns.append(self.processor.column(venue, symbol))
                histories.append(history.candles)
                decimals.append(history.decimals)
                next_ms.append(history.close_ms if rules.empty == "flat" else 0)
        for _ in self.processor.learn(index, columns, histories, decimals, next_ms):
            pass
        return sum(one.shape[1] for one in histories)

    def _first_ms(self) -> int:
        """When what the worker will take begins: with the tick log, or now."""
        if self.log_dir is not None and self.log_dir.is_dir():
            for header, data in ticklog.read(self.log_dir, self.owned):
                return (header.clock_ns or RECORD_STRUCT.unpack_from(data)[0] or header.send_ns) // MS
        return now_ns() // MS

    def _replay(self) -> None:
        """Start where the log ends: the same batches give the same state."""
        if self.log_dir is None or not self.log_dir.is_dir():
            return
        self.stats.state = "replaying"
        started = steady_ns()
        for header, data in ticklog.read(self.log_dir, self.owned):
            if header.venue in self.venues:
                for part, some in header.pieces(data):
                    self._take(self._stream(part[0], header.venue), header, part, some)
        self._turn()
        ticks, took_ms = self.stats.counters.get("ticks", 0), (steady_ns() - started) // MS
        log.info("replayed %d ticks from the log in %d ms", ticks, took_ms)

    def _mend(self, stream: Stream, epoch: int, expected: int, end: int) -> None:
        """Read the parts from `expected` to before `end` from the log; what it does not have is lost, and is said."""
        self.stats.add("holes")
        shard = stream.shard.number
        if self.log_dir is not None:
            for header, data in ticklog.read(self.log_dir, frozenset([shard])):
                [(part, some)] = header.pieces(data)
                if (header.venue, header.epoch, part[1]) == (stream.venue, epoch, expected) and expected < end:
                    self._take(stream, header, part, some)
                    expected += 1
        if expected < end:
            self.stats.add("lost_batches", end - expected)
            log.error("shard %d of %s lost batches %d to %d", shard, stream.venue, expected, end - 1)
            stream.outage()

    # ------------------------------------------------------------------ out

    def _work_forever(self) -> None:
        """Every flush window: read what has come, let the actors run, publish.

        Nothing is published between two flushes, so nothing has to be read then: a worker wakes once a window, not
        once a message. Where one window's messages take longer than it lasts it goes on at once, in larger steps.
        """
        every_ns = self.settings["aggregator.flush_ms"] * MS
        due_ns = steady_ns()
        while not self._ending:
            due_ns = max(due_ns + every_ns, steady_ns())
            gevent.sleep(max((due_ns - steady_ns()) / 1e9, 1e-6))
            self._breathed_ns = steady_ns()
            while bus.drain(self.pull, self._receive) == bus.DRAIN_BUDGET and steady_ns() < due_ns + every_ns:
                give_way()
            self._turn()
            self._flush()
            self._show_live()

    def _show_live(self) -> None:
        """Publish the metrics of unclosed candles that fronts watch, `aggregator.live_hz` times a second."""
        now = steady_ns()
        if not self.watches or now < self._live_ns:
            return
        self._live_ns = now + 10**9 // self.settings["aggregator.live_hz"]
        self.watches = {front: watch for front, watch in self.watches.items() if watch[0] > now}
        wanted: dict[int, dict[LiveStream, None]] = {}
        for _, streams in self.watches.values():
            for venue, symbol, interval in streams:
                wanted.setdefault(shard_of(venue, symbol), {})[venue, symbol, interval] = None
        asked = [(self.shards[number], wanted[number]) for number in self.owned & wanted.keys()]
        for messages in live(self.processor, asked, now_ns()):
            self._breathe()
            for message in messages:
                self.pub.send_multipart(message)
                self.stats.add("live")

    def _flush(self) -> None:
        for shard in self.shards.values():
            if not shard.is_quiet:
                self._send(shard.flush_diffs(now_ns()))
                self.lags.published(shard.number, now_ns())
                self._breathe()
        closing = [shard for shard in self.shards.values() if not shard.is_quiet]
        for _ in enrich(self.processor, closing):
            self._breathe(BREATH_NS // 4)  # the next step may take more than what is left
        for shard in closing:
            self._publish(shard)
            self._breathe()

    def _publish(self, shard: Shard) -> None:
        self._send(shard.flush(now_ns()))
        self.lags.published(shard.number, now_ns())

    def _send(self, messages: list[list[bytes]]) -> None:
        for message in messages:
            self.pub.send_multipart(message)
            self.stats.add("published")

    def _answer(self, frames: list[bytes]) -> None:
        who, asked = frames[0], frames[-1]
        try:
            if Watch.is_one(asked):
                self._watch(who, Watch.unpack(asked))
                return
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

    def _watch(self, who: bytes, watch: Watch) -> None:
        self.watches.pop(who, None)
        if watch.streams and self.settings["aggregator.live_hz"]:
            self.watches[who] = (steady_ns() + WATCH_S * 10**9, watch.streams)


def _rules(settings: Settings, venue: str) -> CandleRules:
    empty, own = settings["aggregator.empty"], exchanges.load(venue)
    return CandleRules(
        settings["aggregator.grace_ms"],
        settings["aggregator.history"],
        own.empty if empty == "venue" else empty,
        parse_decimal(settings["aggregator.large_notional"]),
        own.contiguous_ids,
    )


def main(argv: Sequence[str]) -> int:
    return run_role(Aggregator, argv)
