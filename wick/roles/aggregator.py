"""The aggregator worker: a greenlet actor a pair, fed by the feed's batches, heard through two streams a shard.

The feed wrote every batch to the tick log before it sent it, and each says which one came before it. So what has not
arrived is seen at once, and read there, in order; and a worker that starts loads what it has saved of its shards, and
reads what came since. Candle time is the clock that the batches carry: the worker reads none of its own for it, so the
same batches give the same candles, bit for bit. Every start begins new epochs of the streams that go out.
"""

import gc
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent

from wick import exchanges
from wick.errors import WireError
from wick.market.records import records
from wick.market.trades import RECORD_STRUCT
from wick.metrics.processor import Processor
from wick.net import bus
from wick.net.clock import now_ns, steady_ns
from wick.net.reader import Reader, give_way
from wick.ops.process import give_memory_back, keep_freed_memory
from wick.ops.settings import Settings
from wick.roles.actors import MOST_WAITING, Stream
from wick.roles.base import Role, run_role
from wick.roles.keeper import Keeper
from wick.roles.rules import candle_rules
from wick.roles.warming import warm
from wick.storage import ticklog
from wick.storage.ticklog import START, Position
from wick.stream.lag import Lags
from wick.stream.shard import LiveStream, Shard, deepest, enrich, live
from wick.stream.shards import shard_of, shards_of
from wick.wire import codec
from wick.wire.messages import WATCH_S, Request, TickHeader, Watch, closes_topic

MS = 1_000_000
REPLAYED_NS = 500 * MS  # of a replay, after which closes are published and progress is told
LONG_NS = 1_000 * MS  # a replay that takes more tells its progress in the log
BEGUN_TIMES, BEGUN_S = 8, 0.5  # who was cut off connects again within half a second (bus.subscriber), or a little more
BREATH_NS = 2 * MS  # other greenlets get their turn after so long; what one actor or shard does in one go comes on top

log = logging.getLogger("wick")


class Aggregator(Role):
    """Worker `index` of `aggregator.workers`, with the shards that are its own."""

    name = "aggregator"
    main_counter = "ticks"

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        self.owned = frozenset(shards_of(index, settings["aggregator.workers"]))
        closes, every_ns = settings["aggregator.closes_mb"] << 20, int(settings["aggregator.checkpoint_s"] * 1e9)
        self.keeper = Keeper(Path(self.data_dir), self.owned, closes, every_ns, self.stats)
        self.venues = exchanges.ids()
        self.rules = rules = {venue: candle_rules(settings, venue) for venue in self.venues}
        self.processor = Processor(deepest(rules))
        self.shards = {number: Shard(number, 0, rules, self.processor) for number in sorted(self.owned)}
        self.taken: Position = START  # the newest block whose ticks are all in the shards, or in inboxes
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
        self._ending = self._is_live = False

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        keep_freed_memory()
        self.spawn(self._begin)

    def _begin(self) -> None:
        """Come to where the log ends; then live."""
        since = self._load()
        self._warm(since)
        self._replay(since)
        if self._ending:
            return
        # What lives now lives long: the collector need not look at it, nor at all of the heap ever again. Actors leave
        # no cycles behind, and what little does is young.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 1_000_000)
        give_memory_back()
        self.stats.state = "waiting"
        self._is_live = True
        self.spawn(Reader(self.router, self._answer).run)
        self.spawn(self._work_forever)
        self.spawn(self._tell_begun)

    def drain(self) -> None:
        # Of one that ends because something failed nobody knows what it has taken: the next one reads that again.
        if self._is_live and not self._code:
            bus.drain(self.pull, self._receive, budget=1_000_000)
            self._turn()
            self._flush()
            self.keeper.wait()
            if self.keeper.every_ns:
                for shard in self.shards.values():
                    self.keeper.save_now(shard.number, self.taken, self._note(shard), shard.save())
        self.keeper.close()

    def gauges(self) -> dict[str, Any]:
        pairs = [state for shard in self.shards.values() for state in shard.pairs.values()]
        sums: dict[str, int] = {}
        for state in pairs:
            for name, value in state.candles.counters.items():
                sums[name] = sums.get(name, 0) + value
        lag = {"lag_ms": self.lag_ms, "lag": self.lags.told()}
        return {"pairs": len(pairs), **lag, "waiting": self._waiting, **self.keeper.gauges(), **sums}

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
        if (header.epoch, header.before) > self.taken:
            self._mend(header)
        self._take_all(header, frames[1])
        self.taken = max(self.taken, (header.epoch, header.block))

    def _take_all(self, header: TickHeader, records: bytes | memoryview) -> None:
        """Of a flush each part that its stream has not taken yet. What is still missing before it is lost; but before
        the first that we ever had of a stream there is nothing that we miss."""
        for part, some in header.pieces(records):
            stream, seq = self._stream(part[0], header.venue), part[1]
            if (header.epoch, seq) <= (stream.epoch, stream.seq):
                self.stats.add("repeated_batches")
                continue
            expected = stream.seq + 1 if header.epoch == stream.epoch else 1
            if seq > expected and stream.epoch:
                self.stats.add("lost_batches", seq - expected)
                log.error("shard %d of %s lost batches %d to %d", part[0], header.venue, expected, seq - 1)
                stream.outage()
            self._take(stream, header, part, some)
            if some and self.stats.newest_ns:  # not during a replay
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

    def _load(self) -> Position:
        """The shards as they were saved; from where on the log is to be read."""
        self.stats.state = "loading"
        started = steady_ns()
        loaded = self.keeper.load(self.rules, self.processor)
        epochs = [self.keeper.newest_epoch]
        for number, one in loaded.items():
            self.shards[number] = one.shard
            epochs.append(one.shard.epoch)
            for venue, *place in codec.unpack(one.note):
                if venue in self.venues:
                    self._stream(number, venue).resume(*place)
        epoch = max(now_ns() // MS, max(epochs) + 1)
        for shard in self.shards.values():
            message = shard.begin(epoch, now_ns())
            self.keeper.outboxes[shard.number].append(epoch, 1, message[1])
            self._send([message])
        pairs = sum(len(one.shard.pairs) for one in loaded.values())
        took_ms = (steady_ns() - started) // MS
        told = (epoch, len(loaded), len(self.owned), pairs, took_ms)
        log.info("epoch %d: %d of %d shards were saved, with %d pairs; read in %d ms", *told)
        if len(loaded) < len(self.owned):
            return START
        return min(one.position for one in loaded.values())

    def _note(self, shard: Shard) -> bytes:
        """Where the streams of a shard stand: what is saved with it."""
        streams = [self.streams.get((shard.number, venue)) for venue in self.venues]
        return codec.pack([[one.venue, *one.place] for one in streams if one is not None])

    def _warm(self, since: Position) -> None:
        """The metrics of pairs that were not saved begin with what the store has of the candles before those that are
        about to come."""
        if self.settings["aggregator.warmup"]:
            self.stats.state = "warming up"
            saved = {pair for shard in self.shards.values() for pair in shard.pairs}
            first_ms = self._first_ms(since)
            warm(self.settings, self.processor, self.rules, self.owned, saved, first_ms, self._breathe)

    def _first_ms(self, since: Position) -> int:
        """When what the worker will take begins: with what it reads of the tick log, or now."""
        for header, data in self._logged(since):
            return (header.clock_ns or RECORD_STRUCT.unpack_from(data)[0] or header.send_ns) // MS
        return now_ns() // MS

    def _logged(self, since: Position) -> Iterator[tuple[TickHeader, memoryview]]:
        if self.log_dir is None or not self.log_dir.is_dir():
            return
        for header, data in ticklog.read(self.log_dir, self.owned, since):
            if header.venue in self.venues:
                yield header, data

    def _replay(self, since: Position) -> None:
        """Take what the log has behind `since`, in its order: the same batches give the same state."""
        self.stats.state = "replaying"
        started = told = steady_ns()
        first_ns, end_ns, self.taken = 0, now_ns(), since
        for header, data in self._logged(since):
            self._take_all(header, data)
            self.taken = (header.epoch, header.block)
            first_ns = first_ns or header.send_ns
            if steady_ns() - told > REPLAYED_NS:
                self._turn()
                self._flush_closes()
                told = steady_ns()
                self._tell(100 * (header.send_ns - first_ns) // max(1, end_ns - first_ns), told - started)
                self._breathe(0)
            if self._ending:
                return
        self._turn()
        self._flush_closes()
        took_ms = (steady_ns() - started) // MS
        log.info("replayed %d ticks from the log in %d ms", self.stats.counters.get("ticks", 0), took_ms)

    def _tell(self, percent: int, took_ns: int) -> None:
        percent = max(0, min(percent, 99))
        self.stats.state = f"replaying {percent} %"
        if took_ns > LONG_NS:
            ticks = self.stats.counters.get("ticks", 0)
            log.info("replaying the log: %d %%, %d ticks, %d a second", percent, ticks, ticks * 10**9 // took_ns)

    def _mend(self, header: TickHeader) -> None:
        """Read what has not arrived before this flush from the log: messages that the feed let go of, or that were in
        the queue of one that was killed."""
        if header.epoch == self.taken[0]:
            self.stats.add("holes")
        for missed, data in self._logged(self.taken):
            if (missed.epoch, missed.block) >= (header.epoch, header.block):
                break
            self._take_all(missed, data)

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
            self._save()
            self._show_live()

    def _save(self) -> None:
        """Right after a flush, when nothing waits to be taken or published."""
        number = self.keeper.due()
        if number is not None:
            shard, started = self.shards[number], steady_ns()
            self.keeper.save(number, self.taken, self._note(shard), shard.save())
            self.stats.add("save_us", (steady_ns() - started) // 1_000)  # what publishing waits for it

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

    def _flush_closes(self) -> None:
        """During a replay: nobody wants to see candles race, readers of the diffs get a snapshot in the end."""
        for _ in enrich(self.processor, list(self.shards.values())):
            self._breathe()
        for shard in self.shards.values():
            messages = self._kept(shard, shard.flush(now_ns()))
            self._send([message for message in messages if message[0] == closes_topic(shard.number)])

    def _publish(self, shard: Shard) -> None:
        self._send(self._kept(shard, shard.flush(now_ns())))
        self.lags.published(shard.number, now_ns())

    def _kept(self, shard: Shard, messages: list[list[bytes]]) -> list[list[bytes]]:
        """The messages of a flush: closes are in the outbox before anyone sees them."""
        for topic, body in messages:
            if topic == closes_topic(shard.number):
                self.keeper.outboxes[shard.number].append(shard.epoch, shard.closes_seq, body)
        return messages

    def _send(self, messages: list[list[bytes]]) -> None:
        for message in messages:
            self.pub.send_multipart(message)
            self.stats.add("published")

    def _tell_begun(self) -> None:
        """The first message of every epoch again: who followed the worker before this one had not found it yet, and
        where nothing happens would go on with what it has. Who has heard of the epoch leaves it out, as repeated."""
        for _ in range(BEGUN_TIMES):
            self._send([shard.begun(now_ns()) for shard in self.shards.values()])
            gevent.sleep(BEGUN_S)

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
            kept, messages = self.keeper.outboxes[shard.number].page((request.epoch, request.after))
            answer = [kept.pack(), *messages]
        bus.try_send(self.router, [who, asked, *answer])

    def _watch(self, who: bytes, watch: Watch) -> None:
        self.watches.pop(who, None)
        if watch.streams and self.settings["aggregator.live_hz"]:
            self.watches[who] = (steady_ns() + WATCH_S * 10**9, watch.streams)


def main(argv: Sequence[str]) -> int:
    return run_role(Aggregator, argv)
