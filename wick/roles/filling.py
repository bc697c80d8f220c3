"""The past into the store: of one pair a range of time, from wherever its trades come, beside live data and to be
resumed.

What is done stands in the store, with the rows (`backfill.VENUE.SYMBOL`: from when, up to when). What the engine needs
to go on is in a file beside, written after: a run that was cut off does at most some pages again, and changes nothing
by that.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from wick.errors import StoreAwayError, StoreError
from wick.exchanges import Venue
from wick.market.intervals import INTERVALS, NAMES, Interval
from wick.market.schema import CANDLE_FIELDS, PARTIAL, SUSPECT
from wick.market.trades import Trade
from wick.ops.settings import Settings
from wick.roles.past import Past, beside_stored
from wick.roles.past_trades import PastTrades
from wick.roles.rules import candle_rules
from wick.storage.batch import Batch
from wick.storage.store import Position, Store

MS = 1_000_000
COMMIT_S = 5.0
COMMIT_ROWS = 5_000
AWAY_TRIES, AWAY_S = 60, 1.0
APART_MS = 5 * 60_000  # gaps nearer to each other than this are fetched in one go
_AT_ONCE = 20_000  # candles that are looked at in one go
_FLAGS = CANDLE_FIELDS.index("flags")

log = logging.getLogger("wick")


class Range(NamedTuple):
    """[from, to)."""

    from_ms: int
    to_ms: int


class Progress(NamedTuple):
    """How far a range is: up to which time, with how many trades and candles so far."""

    at_ms: int
    trades: int
    candles: int


Show = Callable[[Progress], object]
# Trades by rising id, from this one on, which was traded at this time or later; up to a time.
Source = Callable[[int, int, int], Iterable[Sequence[Trade]]]


class Filling:
    """One pair's ranges into the store."""

    def __init__(
        self, settings: Settings, venue: Venue, symbol: str, store: Store, show: Show,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self.settings, self.venue, self.symbol, self.store = settings, venue, symbol, store
        self.rules = candle_rules(settings, venue.id)
        self.stream = f"backfill.{venue.id}.{symbol}"
        self.path = Path(settings["core.data_dir"]) / "backfill" / f"{venue.id}-{symbol}.state"
        self._show, self._sleep = show, sleep

    def is_done(self, wanted: Range) -> bool:
        """Whether an earlier run has filled all of it."""
        from_ms, done_ms = self.store.positions().get(self.stream, (0, 0))
        return from_ms == wanted.from_ms and done_ms >= wanted.to_ms

    def from_rest(self, wanted: Range, trades: PastTrades) -> Progress:
        """AskError, StoreError: what is done so far stays, and the next run goes on from there."""
        from_ns, before_ns = wanted.from_ms * MS, (wanted.to_ms + self.rules.grace_ms) * MS
        first_id = trades.first(from_ns)
        if first_id is None:
            return Progress(wanted.to_ms, 0, 0)
        end_id = trades.first(before_ns)
        # With the trade before: at its price the range begins, and nothing is missing in between.
        start_id = max(first_id - 1, 0)
        if first_id > 1 and trades.one(start_id, from_ns) is None and (first := trades.one(first_id, from_ns)):
            wanted = Range(first.event_ns // MS + 1, wanted.to_ms)
            log.warning("%s has no trades of %s before %d", self.venue.id, self.symbol, first_id)
            if wanted.from_ms >= wanted.to_ms:
                return Progress(wanted.to_ms, 0, 0)
        return self.fill(wanted, start_id, lambda at, last_ns, end: trades.pages(at, last_ns, end, end_id))

    def fill(self, wanted: Range, start_id: int, source: Source) -> Progress:
        """Run trades through the engine, and write what closes."""
        past, next_id, last_ns = self._begun(wanted, start_id)
        trades = candles = 0
        waiting: list[Batch] = []
        due = time.monotonic() + COMMIT_S
        for page in source(next_id, last_ns, (wanted.to_ms + self.rules.grace_ms) * MS):
            if not page:
                continue
            past.take(page)
            next_id, last_ns = page[-1].trade_id + 1, max(last_ns, page[-1].event_ns)
            waiting.append(past.drain())
            trades += len(page)
            if time.monotonic() >= due or sum(one.n for one in waiting) >= COMMIT_ROWS:
                candles += self._commit(waiting, (wanted.from_ms, past.closed_ms))
                self._keep(past.save([next_id, last_ns]))
                due = time.monotonic() + COMMIT_S
            self._show(Progress(last_ns // MS, trades, candles))
        past.finish(wanted.to_ms)
        waiting.append(past.drain())
        candles += self._commit(waiting, (wanted.from_ms, wanted.to_ms))
        self.path.unlink(missing_ok=True)
        return Progress(wanted.to_ms, trades, candles)

    def write(self, batch: Batch, positions: dict[str, Position]) -> None:
        """In one transaction; a store that is away for a while is waited for."""
        for left in reversed(range(AWAY_TRIES)):
            try:
                self.store.write(batch, positions)
                return
            except StoreAwayError as error:
                if not left:
                    raise
                log.warning("the store is away, trying again: %s", error)
                self._sleep(AWAY_S)

    def _commit(self, waiting: list[Batch], position: Position) -> int:
        batch = Batch.join(waiting)
        waiting.clear()
        if batch.n:
            batch = beside_stored(batch.best(), self.store)
        self.write(batch, {self.stream: position})
        return batch.n

    # ------------------------------------------------------------------ going on

    def _begun(self, wanted: Range, start_id: int) -> tuple[Past, int, int]:
        """The engine where an earlier run of this range left it, or a new one; the next id, and the last time."""
        from_ms, done_ms = self.store.positions().get(self.stream, (0, 0))
        if from_ms == wanted.from_ms and self.path.exists():
            try:
                past, (next_id, last_ns) = Past.load(
                    self.path.read_bytes(), self.venue.id, self.symbol, self.rules, wanted.from_ms
                )
                if past.closed_ms <= done_ms:  # else it is of another store
                    return past, next_id, last_ns
            except (StoreError, OSError) as error:
                log.warning("cannot go on from %s, it begins anew: %s", self.path, error)
        past = Past(self.venue.id, self.symbol, self.rules, wanted.from_ms)
        past.warm(self.store, self.settings["aggregator.warmup"])
        return past, start_id, wanted.from_ms * MS

    def _keep(self, state: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        beside.write_bytes(state)
        beside.replace(self.path)

    # ------------------------------------------------------------------ what is missing

    def gaps(self, within: Range, intervals: Sequence[Interval]) -> list[Range]:
        """The time of candles that are suspect, partial, or (where quiet periods have candles too) missing."""
        bad = sorted(one for interval in intervals for one in self._bad(within, interval))
        found: list[Range] = []
        for from_ms, to_ms in bad:
            if found and from_ms <= found[-1].to_ms + APART_MS:
                found[-1] = Range(found[-1].from_ms, max(found[-1].to_ms, to_ms))
            else:
                found.append(Range(from_ms, to_ms))
        return found

    def _bad(self, within: Range, interval: Interval) -> Iterator[Range]:
        venue, symbol, name = self.venue.id, self.symbol, NAMES[INTERVALS.index(interval)]
        is_flat = self.rules.empty == "flat"
        at_ms = interval.open_ms(within.from_ms)
        if at_ms < within.from_ms:
            at_ms = interval.close_ms(at_ms)
        while interval.close_ms(at_ms) <= within.to_ms:
            rows = self.store.candles(
                venue, symbol, name, _AT_ONCE, within.to_ms, at_ms, oldest=True, fields=("open_time_ms", "flags")
            )
            for open_ms, flags in rows:
                if interval.close_ms(open_ms) > within.to_ms:
                    break
                if is_flat and open_ms > at_ms:
                    yield Range(at_ms, open_ms)
                at_ms = interval.close_ms(open_ms)
                if flags & (SUSPECT | PARTIAL):
                    yield Range(open_ms, at_ms)
            if len(rows) < _AT_ONCE:
                break
        end_ms = interval.open_ms(within.to_ms)
        if is_flat and at_ms < end_ms:
            yield Range(at_ms, end_ms)


def between(trades: Iterable[Sequence[Trade]], next_id: int, from_ns: int, before_ns: int) -> Iterator[list[Trade]]:
    """Of a file's trades those with ids from `next_id` on, up to the first not before `before_ns`; with them
    the last one before `from_ns`."""
    last: list[Trade] = []
    for some in trades:
        page = [trade for trade in some if trade.trade_id >= next_id]
        early = [trade for trade in page if trade.event_ns < from_ns]
        if len(early) == len(page):
            last = early[-1:] or last
            continue
        if early:
            last = early[-1:]
            page = [trade for trade in page if trade.event_ns >= from_ns]
        wanted = list(takewhile(lambda trade: trade.event_ns < before_ns, page))
        yield [*last, *wanted]
        last = []
        if len(wanted) < len(page):
            return
