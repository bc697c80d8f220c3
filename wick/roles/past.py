"""Candles of a pair's past, out of its trades, as a worker would have made them: the same engine, clock, and metrics.

Only whole candles come out: one that opened before the first trade that was asked for says nothing, neither of itself
nor for the metrics of those behind it, which begin with what the store has.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any, Final

import numpy as np

from wick.errors import StoreError
from wick.market.blocks import EXACT, METRIC_BYTES, ROW_BYTES, Block
from wick.market.candles import PairCandles
from wick.market.intervals import DAY, INTERVALS, NAMES
from wick.market.lockstep import Lockstep
from wick.market.schema import BOOK, FOREIGN, FORMED_FIELDS, PARTIAL, REVISED, SUSPECT
from wick.market.trades import RECORD_BYTES, RECORD_STRUCT, TRADE, Trade
from wick.metrics.processor import Processor, history_of
from wick.storage.batch import Batch
from wick.storage.store import Store
from wick.stream import saved
from wick.stream.shard import CandleRules, deepest

MS = 1_000_000
SHORTEST_MS: Final = INTERVALS[0].close_ms(0)
_FLAGS, _REVISION = FORMED_FIELDS.index("flags"), FORMED_FIELDS.index("revision")
_BOOK: Final = [FORMED_FIELDS.index(field.name) for field in BOOK]
_KEPT: Final = ("open_time_ms", "flags", "revision", *[field.name for field in BOOK])

assert min(_BOOK) >= EXACT


class Past:
    """One pair's candles from `from_ms` on. Feed it with `take`, then `finish`; take rows with `drain`.

    The first of all trades may be the one before `from_ms`: it tells the price at which quiet candles begin.
    """

    def __init__(self, venue: str, symbol: str, rules: CandleRules, from_ms: int) -> None:
        self.venue, self.symbol, self.rules, self.from_ms = venue, symbol, rules, from_ms
        self.lockstep = Lockstep(rules.grace_ms, rules.history, follows=True)
        self.candles = PairCandles(
            venue, symbol, empty=rules.empty, since_ms=from_ms, large_notional=rules.large_notional,
            lockstep=self.lockstep, contiguous=rules.contiguous,
        )  # fmt: skip
        self.processor = Processor(deepest({venue: rules}))
        self._column = self.processor.column(venue, symbol)

    @property
    def closed_ms(self) -> int:
        """Up to when everything has closed."""
        return max(self.from_ms, INTERVALS[0].open_ms(self.lockstep.clock_ms - self.rules.grace_ms))

    def warm(self, store: Store, count: int) -> int:
        """Begin the metrics with so many stored candles of each interval before the first whole one; how many."""
        taken = 0
        for index, interval in enumerate(INTERVALS):
            first_ms = interval.open_ms(self.from_ms)
            first_ms = first_ms if first_ms == self.from_ms else interval.close_ms(first_ms)
            rows = store.inputs(self.venue, self.symbol, NAMES[index], count, first_ms) if count else []
            is_flat = self.rules.empty == "flat"
            history = history_of(rows, contiguous=is_flat)
            if history is not None:
                next_ms = [history.close_ms if is_flat else 0]
                column, decimals = [self._column], [history.decimals]
                for _ in self.processor.learn(index, column, [history.candles], decimals, next_ms):
                    pass
                taken += len(rows)
        return taken

    def take(self, trades: Sequence[Trade]) -> None:
        """The next trades, by rising id. The clock is the latest time so far, and stops wherever a candle may close."""
        if not self.lockstep.clock_ms:
            early = [trade for trade in trades if trade.event_ns < self.from_ms * MS]
            if early:
                self._begin(early[-1])
            trades = trades[len(early) :]
        if not trades:
            return
        packed = _packed(trades)
        times_ms = np.maximum.accumulate(np.array([trade.event_ns for trade in trades]) // MS)
        beats = times_ms // SHORTEST_MS + (times_ms - self.rules.grace_ms) // SHORTEST_MS
        cuts = [0, *(np.flatnonzero(np.diff(beats)) + 1).tolist(), len(trades)]
        for begin, end in pairwise(cuts):
            self._advance(int(times_ms[begin]))
            self.candles.take(packed[begin * RECORD_BYTES : end * RECORD_BYTES])

    def _begin(self, before: Trade) -> None:
        """At the price of the trade before the range. As if it had come the day before: it is not in the CVD either."""
        day_ns = self.from_ms // DAY * DAY * MS
        early = before._replace(event_ns=min(before.event_ns, day_ns - 1))
        self.lockstep.advance(early.event_ns // MS)
        self.candles.take(_packed([early]))
        self.lockstep.advance(self.from_ms)

    def _advance(self, clock_ms: int) -> None:
        """In steps of the shortest candle: no more of them end at once than are held."""
        at_ms = self.lockstep.clock_ms or clock_ms
        while at_ms + SHORTEST_MS < clock_ms:
            at_ms += SHORTEST_MS
            self.lockstep.advance(at_ms)
        self.lockstep.advance(clock_ms)

    def finish(self, to_ms: int) -> None:
        """There are no more trades before `to_ms`: what ends by then closes."""
        if self.lockstep.clock_ms:
            self._advance(max(self.lockstep.clock_ms, to_ms + self.rules.grace_ms))

    def drain(self) -> Batch:
        """What has closed since the last call, with its metrics."""
        whole = [block for one in self.lockstep.drain() if (block := _whole(one)).pairs]
        column, made = np.array([self._column]), []
        for block in whole:
            for blocks in self.processor.run([(column, block)]):
                made += blocks
        return Batch.of_closes([[self.venue, [self.symbol], *block] for block in made])

    # ------------------------------------------------------------------ as bytes

    def save(self, beside: object) -> bytes:
        """All that later candles depend on, and what the caller wants to find again. Drain first."""
        engine = [self.candles.state(), self.lockstep.state(), self.processor.save([self._column])]
        return saved.pack([self._made_of(), engine, beside], [])

    def _made_of(self) -> str:
        return repr((self.venue, self.symbol, self.from_ms, astuple(self.rules)))

    @classmethod
    def load(cls, data: bytes, venue: str, symbol: str, rules: CandleRules, from_ms: int) -> "tuple[Past, Any]":
        """As it was saved, and what was saved beside it. StoreError where these bytes are not of this."""
        [made_of, (candles, lockstep, metrics), beside], _ = saved.unpack(data)
        past = cls(venue, symbol, rules, from_ms)
        if made_of != past._made_of():
            raise StoreError("it was begun with another range, or by other rules")
        past.candles.restore(candles)
        past.lockstep.restore(lockstep)
        past.processor.restore([past._column], metrics)
        return past, beside


def _packed(trades: Iterable[Trade]) -> bytes:
    pack = RECORD_STRUCT.pack
    return b"".join(
        [pack(ns, number, p, q, n, 0, 0, pd, qd, TRADE, buy, 0) for _, ns, number, p, pd, q, qd, buy, n in trades]
    )


def _whole(block: Block) -> Block:
    """A block without its partial candles."""
    exact = np.frombuffer(block.exact, "<i8").reshape(-1, EXACT)
    partial = exact[:, _FLAGS] & PARTIAL != 0
    for place, row in block.big:
        partial[place] = row[_FLAGS] & PARTIAL
    if not partial.any():
        return block
    places = np.flatnonzero(~partial).tolist()
    big = dict(block.big)
    cut = [
        b"".join([data[at * width : (at + 1) * width] for at in places]) if data else b""
        for data, width in zip(block[2:4] + block[5:], (*ROW_BYTES, *METRIC_BYTES), strict=True)
    ]
    return Block(
        [block.pairs[at] for at in places], [block.intervals[at] for at in places], cut[0], cut[1],
        [[new, big[at]] for new, at in enumerate(places) if at in big], *cut[2:],
    )  # fmt: skip


def beside_stored(batch: Batch, store: Store) -> Batch:
    """Candles of one pair as they are to be written, beside those that the store has of live data.

    What a live candle tells of the book stays known. A suspect one is replaced, by its next revision; one that is
    suspect itself replaces none that is not.
    """
    if not batch.n:
        return batch
    [(venue, symbol)] = batch.pairs
    keep = np.ones(batch.n, np.bool_)
    for interval in {*batch.interval.tolist()}:
        places = np.flatnonzero(batch.interval == interval)
        opens = batch.exact[places, 0]
        stored = store.candles(
            venue, symbol, NAMES[interval], len(places) * 4 + 100, int(opens.max()) + 1, int(opens.min()), fields=_KEPT
        )
        known = {row[0]: row[1:] for row in stored if not row[1] & (PARTIAL | FOREIGN)}
        for place, open_ms in zip(places.tolist(), opens.tolist(), strict=True):
            if open_ms in known:
                keep[place] = _beside(batch, place, *known[open_ms])
    return batch if keep.all() else batch.take(keep)


def _beside(batch: Batch, place: int, flags: int, revision: int, *book: float | None) -> bool:
    """Adjust a candle to the one that is stored; false where that one is better."""
    ours = int(batch.exact[place, _FLAGS])
    if ours & SUSPECT and not flags & SUSPECT:
        return False
    for at, value in zip(_BOOK, book, strict=True):
        if value is not None:
            batch.real[place, at - EXACT] = value
    if flags & SUSPECT and not ours & SUSPECT:
        batch.exact[place, _REVISION] = max(revision + 1, int(batch.exact[place, _REVISION]))
        batch.exact[place, _FLAGS] = ours | REVISED
    if place in batch.big:
        row = batch.big[place]
        row[_FLAGS], row[_REVISION] = batch.exact[place, [_FLAGS, _REVISION]].tolist()
        row[EXACT:] = [None if value != value else value for value in batch.real[place].tolist()]
    return True
