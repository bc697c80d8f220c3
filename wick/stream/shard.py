"""A shard's pairs and its two outgoing streams. Pure: batches of ticks go in, Diffs, Closes and Snapshots come out.

A pair's changes are collected until the next flush; at a boundary the change up to it is kept apart, so that a
reader sees the finished candle before the new one. What was published last is the state that snapshots show.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from wick.errors import StoreError, shown
from wick.market.blocks import Block
from wick.market.candles import DEFAULT_LARGE, PairCandles
from wick.market.intervals import INTERVALS
from wick.market.lockstep import Lockstep, slots
from wick.market.schema import STATE_WIDTHS, Row
from wick.market.state import Stateful
from wick.metrics.processor import Processor, Work
from wick.stream import diffs, saved
from wick.stream.mirror import RECENT
from wick.wire.messages import Closes, Diffs, Snapshot, closes_topic, diffs_topic, live_topic

MS = 1_000_000
LiveStream = tuple[str, str, int]  # venue, symbol, interval
Numbered = tuple[int, int, Row]  # the numbers of its pair and interval, and the row


@dataclass(frozen=True)
class CandleRules:
    """How candles are made: the part of the settings that a shard needs."""

    grace_ms: int = 2_000
    history: int = 16
    empty: str = "flat"
    large_notional: tuple[int, int] = DEFAULT_LARGE
    contiguous: bool = True  # whether the venue numbers its trades without holes


class PairState(Stateful):
    """One pair: its candles, its number in the shard's messages, and its state as last published."""

    STATE = ("candles", "published")
    GIVEN = ("number", "shard")
    __slots__ = STATE + GIVEN

    def __init__(self, shard: "Shard", number: int, candles: PairCandles) -> None:
        self.shard, self.number, self.candles = shard, number, candles
        self.published = [[0] * width for width in STATE_WIDTHS]
        candles.before_roll = self._before_roll

    def ticks(self, records: Any) -> None:
        """Take packed records of this pair."""
        self.candles.take(records)
        self.shard.dirty[self.number] = self

    def _before_roll(self) -> None:
        self.publish()
        self.shard.dirty[self.number] = self

    def publish(self) -> None:
        """Put what has changed since the last time into the shard's next message."""
        candles, published = self.candles, self.published
        moved = candles.moved
        groups = candles.groups if moved else [candles.groups[0]]
        changes = diffs.make(published if moved else published[:1], groups)
        if changes:
            self.shard.entries.append([self.number, *changes])
            for before, after in zip(published, groups, strict=False):
                before[:] = after


class Shard(Stateful):
    """The pairs of one shard, by (venue, symbol)."""

    STATE = ("entries", "diffs_seq", "closes_seq", "ready", "_new", "dirty", "pairs", "locksteps")
    GIVEN = ("number", "epoch", "rules", "processor", "columns")

    def __init__(
        self, number: int, epoch: int, rules: dict[str, CandleRules], processor: Processor | None = None
    ) -> None:
        self.number, self.epoch, self.rules = number, epoch, rules
        self.processor = processor or Processor(deepest(rules))
        self.pairs: dict[tuple[str, str], PairState] = {}
        self.locksteps: dict[str, Lockstep] = {}  # by venue
        self.columns: dict[str, list[int]] = {}  # a venue's pairs in the processor, by their numbers in the lockstep
        self.ready: list[list[Any]] = []  # blocks with metrics, until the next flush
        self.dirty: dict[int, PairState] = {}
        self.entries: list[list[int]] = []
        self.diffs_seq = self.closes_seq = 0
        self._new: list[list[Any]] = []

    def pair(self, venue: str, symbol: str, now_ms: int) -> PairState:
        """The pair's state; a pair that is seen first gets one, and what opened before `now_ms` is partial."""
        state = self.pairs.get((venue, symbol))
        if state is None:
            state = self._add(venue, symbol, now_ms)
            self._new.append([state.number, venue, symbol])
        return state

    def _add(self, venue: str, symbol: str, since_ms: int) -> PairState:
        rules = self.rules[venue]
        if venue not in self.locksteps:
            self.locksteps[venue] = Lockstep(rules.grace_ms, rules.history, follows=True)
            self.columns[venue] = []
        candles = PairCandles(
            venue, symbol, empty=rules.empty, since_ms=since_ms, large_notional=rules.large_notional,
            lockstep=self.locksteps[venue], contiguous=rules.contiguous,
        )  # fmt: skip
        self.columns[venue].append(self.processor.column(venue, symbol))
        state = self.pairs[venue, symbol] = PairState(self, len(self.pairs), candles)
        return state

    def advance(self, venue: str, clock_ms: int) -> None:
        """Move the clock of a venue: boundaries roll, candles close."""
        lockstep = self.locksteps.get(venue)
        if lockstep is not None:
            lockstep.advance(clock_ms)

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to publish."""
        return not (self.dirty or self.entries or self.ready or self.has_closed)

    @property
    def has_closed(self) -> bool:
        """Whether there are closed candles that have no metrics yet."""
        return any(one.closed for one in self.locksteps.values())

    def flush(self, now_ns: int) -> list[list[bytes]]:
        """The messages (topic, body) for what has changed since the last flush; none where nothing has."""
        for _ in enrich(self.processor, [self]):
            pass
        messages = self.flush_diffs(now_ns)
        if self.ready:
            self.closes_seq += 1
            packed = Closes(self.epoch, self.closes_seq, now_ns, self.ready).pack()
            self.ready = []
            messages.append([closes_topic(self.number), packed])
        return messages

    def flush_diffs(self, now_ns: int) -> list[list[bytes]]:
        """Of these the first: what has changed of live candles, which need not wait for the metrics of closed ones."""
        messages: list[list[bytes]] = []
        for state in self.dirty.values():
            state.publish()
        self.dirty.clear()
        if self.entries or self._new:
            self.diffs_seq += 1
            message = Diffs(self.epoch, self.diffs_seq, now_ns, self._new, self.entries)
            messages.append([diffs_topic(self.number), message.pack()])
            self._new, self.entries = [], []
        return messages

    def begin(self, epoch: int, now_ns: int) -> list[bytes]:
        """Begin both streams anew: readers of the diffs need a snapshot, which has all that was published; what has
        closed and was not published yet comes."""
        self.epoch, self.diffs_seq, self.closes_seq = epoch, 0, 1
        self.entries, self._new = [], []
        return self.begun(now_ns)

    def begun(self, now_ns: int) -> list[bytes]:
        """The first message (topic, body) of the closes: that the streams have begun, and no more."""
        return [closes_topic(self.number), Closes(self.epoch, 1, now_ns, []).pack()]

    def unclosed(self, streams: Iterable[LiveStream]) -> Iterator[tuple[str, Block, Block]]:
        """Of these streams what is known: for each venue the candles that have ended
        and are not closed yet, and the live ones."""
        for venue, lockstep in self.locksteps.items():
            ended: list[Numbered] = []
            live: list[Numbered] = []
            numbers = {pair.symbol: number for number, pair in enumerate(lockstep.pairs)}
            for _, symbol, interval in (one for one in streams if one[0] == venue and one[1] in numbers):
                rows = self.pairs[venue, symbol].candles.unclosed(interval)
                each = [(numbers[symbol], interval, row) for row in rows]
                ended += each[:-1]
                live += each[-1:]
            if live:
                yield venue, _block(ended), _block(live)

    def symbols(self, venue: str) -> list[str]:
        """The venue's pairs, by their numbers in its lockstep."""
        return [pair.symbol for pair in self.locksteps[venue].pairs]

    def snapshot(self) -> Snapshot:
        """The state as last published. Flush first: a change that waits for its message would be told twice."""
        assert not self.entries and not self._new
        pairs: list[list[Any]] = []
        entries: list[list[int]] = []
        recent: list[list[Any]] = []
        for (venue, symbol), state in self.pairs.items():
            pairs.append([state.number, venue, symbol])
            zero = [[0] * len(group) for group in state.published]
            entries.append([state.number, *diffs.make(zero, state.published)])
            recent += [[venue, symbol, name, *row] for name, row in state.candles.recent(RECENT)]
        return Snapshot(self.number, self.epoch, self.diffs_seq, self.closes_seq, pairs, entries, recent)

    # ------------------------------------------------------------------ as bytes

    def save(self) -> bytes:
        """All that later output depends on. Nothing changes, and it may be done at any moment."""
        rules = {venue: astuple(self.rules[venue]) for venue in self.locksteps}
        pairs = [[venue, symbol, one.candles.since_ms] for (venue, symbol), one in self.pairs.items()]
        columns = [column for own in self.columns.values() for column in own]
        banks, state = self.processor.save(columns), self.state()
        # Apart, since hardly anything of it changes from one time to the next.
        blobs = [*[array for bank in banks for array in bank], *[held.pop() for _, held, _ in state[-1]]]
        return saved.pack([self.number, self.epoch, rules, pairs, self.processor.depth, state], blobs)

    @classmethod
    def load(cls, data: bytes, rules: dict[str, CandleRules], processor: Processor | None = None) -> "Shard":
        """The shard as it was saved, which goes on as if it had never been. StoreError, and nothing else, where the
        bytes are damaged or of another version, or where candles were made by other rules than they would go on by."""
        content, blobs = saved.unpack(data)
        try:
            number, epoch, made_by, pairs, depth, state = content
            for venue, (grace_ms, history, empty, large, contiguous) in made_by.items():
                _same(venue, CandleRules(grace_ms, history, empty, tuple(large), contiguous), rules.get(venue))
            shard = cls(number, epoch, rules, processor)
            if depth != shard.processor.depth:
                raise StoreError(f"a saved shard keeps metrics {depth} candles back, not {shard.processor.depth}")
            for venue, symbol, since_ms in pairs:
                shard._add(venue, symbol, since_ms)
            arrays = len(blobs) - len(state[-1])
            for (_, held, _), rows in zip(state[-1], blobs[arrays:], strict=True):
                held.append(rows)
            shard.restore(state)
            each = arrays // len(INTERVALS)
            metrics = [blobs[at : at + each] for at in range(0, arrays, each)]
            shard.processor.restore([column for own in shard.columns.values() for column in own], metrics)
        except StoreError:
            raise
        except Exception as error:  # whole, and yet not what this version saves: any kind of error may come of it
            raise StoreError(f"a saved shard has another content than its version says: {error!r}") from error
        return shard

    def state(self) -> list[Any]:
        *plain, dirty, pairs, locksteps = super().state()
        own = [[one.state() for one in some.values()] for some in (pairs, locksteps)]
        return [*plain, list(dirty), *own]

    def restore(self, state: list[Any]) -> None:
        *plain, dirty, pairs, locksteps = state
        numbered = list(self.pairs.values())
        for one, its in zip([*numbered, *self.locksteps.values()], [*pairs, *locksteps], strict=True):
            one.restore(its)
        super().restore([*plain, {at: numbered[at] for at in dirty}, self.pairs, self.locksteps])


def _block(rows: list[Numbered]) -> Block:
    return Block.of([pair for pair, _, _ in rows], [interval for _, interval, _ in rows], [row for *_, row in rows])


def deepest(rules: dict[str, CandleRules]) -> int:
    """How far back metrics have to be corrected: as far as any venue's candles are."""
    return max([slots(one.grace_ms, one.history) for one in rules.values()], default=1)


def enrich(processor: Processor, shards: Sequence[Shard]) -> Iterator[None]:
    """Compute the metrics of what has closed in these shards, all at once; then it is ready to be published.

    It gives the caller time in between, in which nothing may be fed to the shards, and none of them saved.
    """
    waiting = [
        (shard, venue, deque(lockstep.drain()))
        for shard in shards
        for venue, lockstep in shard.locksteps.items()
        if lockstep.closed
    ]
    while waiting:
        now = [(shard, venue, blocks.popleft()) for shard, venue, blocks in waiting]
        work = [(np.array(shard.columns[venue]), block) for shard, venue, block in now]
        made: list[Block] = []
        for made in processor.run(work):  # noqa: B007  (the last one is what is wanted)
            yield
        for (shard, venue, _), block in zip(now, made, strict=True):
            shard.ready.append([venue, shard.symbols(venue), *block])
        waiting = [one for one in waiting if one[2]]


def live(
    processor: Processor, wanted: Sequence[tuple[Shard, Iterable[LiveStream]]], now_ns: int
) -> Iterator[list[list[bytes]]]:
    """The messages (topic, body) with the unclosed candles of these streams of the shards, and the metrics that they
    would have if they closed now. They come last: the lists before them are empty, and
    give the caller time, in which nothing may be fed to the shards."""
    found: list[tuple[Shard, str]] = []
    before: list[Work] = []
    work: list[Work] = []
    for shard, streams in wanted:
        for venue, ended, now in shard.unclosed(streams):
            columns = np.array(shard.columns[venue])
            found.append((shard, venue))
            before.append((columns, ended))
            work.append((columns, now))
        yield []
    if not work:
        return
    made: list[Block] = []
    for made in processor.peek(before, work):  # noqa: B007  (the last one is what is wanted)
        yield []
    blocks: dict[Shard, list[list[Any]]] = {}
    for (shard, venue), block in zip(found, made, strict=True):
        blocks.setdefault(shard, []).append([venue, shard.symbols(venue), *block])
    yield [[live_topic(one.number), Closes(one.epoch, 0, now_ns, its).pack()] for one, its in blocks.items()]


def _same(venue: str, were: CandleRules, now: CandleRules | None) -> None:
    """Candles that were begun by some rules cannot go on by others."""
    if now is None:
        raise StoreError(f"a saved shard has pairs of {shown(venue)}, for which there are no rules")
    for name in [one.name for one in fields(CandleRules)]:
        before, after = getattr(were, name), getattr(now, name)
        if before != after:
            raise StoreError(f"a saved shard was made with {name} {before!r} for {venue}, not {after!r}")
