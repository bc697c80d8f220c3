"""Candles from merged recordings: the engine, and a clock made of the event times that pass. No IO.

The clock is the largest event time so far, over all symbols of the venue. Trades are handed to the engine in
batches; within one the clock passes no boundary at which a candle closes, so the result is the same as trade
by trade. A time that leaps by more than an hour needs the next event to agree with it: else one wrong frame
would close everything and fill years with flat candles.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter

from wick.errors import ParseError
from wick.exchanges import Venue
from wick.market.candles import PairCandles
from wick.market.intervals import DAY, Interval
from wick.market.schema import CANDLE_FIELDS, EMPTY
from wick.market.trades import DepthUpdate, Event, PastTrade, Trade
from wick.storage.recordings import Batch, Fault
from wick.stream.continuity import Numbers

MS = 1_000_000  # nanoseconds
GRACE_MS = 2_000  # as aggregator.grace_ms
LATE_MS = 3_600_000  # a trade that is so late still revises all rows it belongs to
HISTORY = LATE_MS // 15_000 + 16  # candles of the shortest interval that cover it
LEAP_NS = 3_600 * 10**9
NEVER = 2**63

_TRADE_ID = itemgetter(1)
_FLAGS = CANDLE_FIELDS.index("flags")

Dated = Trade | DepthUpdate
Taken = tuple[int, int, int, int, int, int, bool, int]  # a trade as the engine takes it: without its symbol


class OfflineCandles:
    """Feed it with `take`, end with `finish`. `deliver(symbol, interval, row)` gets closed and revised rows.

    `deliver` returns false where the row cannot be revised any more; `settled(clock_ms)` tells each move of
    the clock. `since_ms`: from when on a symbol's input is complete, where known; else from the first event.
    """

    def __init__(
        self,
        venue: Venue,
        intervals: Sequence[Interval],
        *,
        empty: str,
        symbols: Collection[str],
        since_ms: Mapping[str, int],
        large_notional: tuple[int, int],
        deliver: Callable[[str, str, list[int]], bool],
        settled: Callable[[int], None],
        fault: Fault,
    ) -> None:
        self.venue, self.intervals, self.empty = venue, intervals, empty
        self.symbols, self.since_ms = frozenset(symbols), since_ms
        self.large_notional = large_notional
        self.deliver, self.settled, self.fault = deliver, settled, fault
        self.pairs: dict[str, PairCandles] = {}
        self.clock_ms = 0
        self._first_ms = 0
        self._newest_ns = 0
        self._waiting: defaultdict[str, list[Taken]] = defaultdict(list)
        # Events in [low, high) need no thought: neither late, nor does the clock reach anything.
        self._low_ns = self._high_ns = 0
        self._leap: tuple[Dated, str] | None = None  # an event far ahead of all others, and where it stands
        # Where ids do not count, trades get numbers as the feed gives them.
        self._numbers: defaultdict[str, Numbers] | None = None if venue.contiguous_ids else defaultdict(Numbers)
        self.past = 0  # trades that the venue told again, too old to be in any candle that is not written yet

    def take(self, batch: Batch) -> None:
        """The next entries, in the order of time."""
        parse, waiting, symbols = self.venue.parse, self._waiting, self.symbols
        skim = self.venue.skim
        for index, item in enumerate(batch.items):
            if type(item) is bytes:
                at_ns = skim(item)
                if at_ns is not None and at_ns < self._high_ns:
                    continue  # it is flawless, has no trade, and does not move the clock
                try:
                    events = parse(item)
                except ParseError as error:
                    self.fault(batch.where(index), error)
                    continue
                if self._numbers is not None:
                    events = self._numbered(self._numbers, events)
            else:
                events = [item]  # type: ignore[list-item]
            for event in events:
                if type(event) is PastTrade:
                    if event.event_ns < self._low_ns < NEVER:
                        self.past += 1
                        continue
                    # It was traded before we listened: what opened before the receipt is partial.
                    self._first_ms = self._first_ms or batch.times_ns[index] // MS
                    event = Trade._make(event)
                if type(event) is Trade:
                    if not self._low_ns <= event.event_ns < self._high_ns:
                        self._turn(event, batch.where(index))
                    elif not symbols or event.symbol in symbols:
                        waiting[event.symbol].append(event[1:])
                elif type(event) is DepthUpdate and event.event_ns >= self._high_ns:
                    self._turn(event, batch.where(index))
        self._flush()

    def finish(self) -> None:
        """Nothing more will come: what the clock has passed closes, the rest is delivered as it is, live."""
        if self._leap:
            event, where = self._leap
            if self._newest_ns and event.event_ns > self._newest_ns + DAY * MS:
                self.fault(where, _absurd(event))
            else:
                self._accept(event, where)
            self._leap = None
        self._flush()
        self._advance(self._newest_ns // MS)
        for symbol, pair in self.pairs.items():
            pair.finish(self.clock_ms)
            self._drain(pair)
            for name, row in pair.live():
                if not row[_FLAGS] & EMPTY or self.empty == "flat":
                    self.deliver(symbol, name, row)

    @staticmethod
    def _numbered(numbers: defaultdict[str, Numbers], events: Iterable[Event]) -> list[Event]:
        """The events without the trades that have come before; the others have our own numbers."""
        kept: list[Event] = []
        for event in events:
            if isinstance(event, Trade):
                number = numbers[event.symbol].take(event.trade_id, event.event_ns, 0)
                if number < 0:
                    continue
                event = event._replace(trade_id=number)
            kept.append(event)
        return kept

    # ------------------------------------------------------------------ time

    def _turn(self, event: Dated, where: str) -> None:
        """An event that is late, or that moves the clock past a boundary, or after a leap."""
        self._flush()
        if self._leap:
            leap, its_place = self._leap
            if event == leap:
                return  # a doubled frame cannot vouch for itself
            self._leap = None
            if event.event_ns < leap.event_ns - LEAP_NS:
                self.fault(its_place, _absurd(leap))
            else:
                self._accept(leap, its_place)
        if event.event_ns > self._newest_ns + LEAP_NS:
            self._leap = event, where
            self._low_ns, self._high_ns = NEVER, 0
            return
        self._accept(event, where)

    def _accept(self, event: Dated, where: str) -> None:
        if not self._first_ms:
            self._first_ms = event.event_ns // MS
        if event.event_ns > self._newest_ns:
            self._newest_ns = event.event_ns
        if self._newest_ns // MS >= self._next_ms():
            self._advance(self._newest_ns // MS)
        self._low_ns = (self.clock_ms - LATE_MS) * MS
        self._high_ns = min(self._next_ms() * MS, self._newest_ns + LEAP_NS)
        if type(event) is Trade and (not self.symbols or event.symbol in self.symbols):
            self._waiting[event.symbol].append(event[1:])
            if event.event_ns < self._low_ns:
                self._late(event, where)

    def _next_ms(self) -> int:
        """When the clock next reaches a candle's end, or the end of its grace."""
        grace = [interval.close_ms(interval.open_ms(self.clock_ms - GRACE_MS)) for interval in self.intervals]
        return min(grace) + GRACE_MS

    def _advance(self, clock_ms: int) -> None:
        if not self.clock_ms:
            self.settled(clock_ms)
        step = self.clock_ms or clock_ms
        while step < clock_ms:
            step = min(step + DAY, clock_ms)  # the engine fills a bounded number of quiet periods a step
            for pair in self.pairs.values():
                pair.advance(step)
                self._drain(pair)
            self.settled(step)
        self.clock_ms = clock_ms

    # ------------------------------------------------------------------ engine

    def _pair(self, symbol: str) -> PairCandles:
        pair = self.pairs.get(symbol)
        if pair is None:
            since_ms = min(self._first_ms, self.since_ms.get(symbol, self._first_ms))
            pair = self.pairs[symbol] = PairCandles(
                self.venue.id, symbol, self.intervals,
                grace_ms=GRACE_MS, history=HISTORY, empty=self.empty, since_ms=since_ms,
                large_notional=self.large_notional, contiguous=self.venue.contiguous_ids,
            )  # fmt: skip
            pair.advance(self.clock_ms)
        return pair

    def _flush(self) -> None:
        for symbol, trades in self._waiting.items():
            if trades:
                # In the order of their ids: the engine then has no holes to remember for reordered frames.
                trades.sort(key=_TRADE_ID)
                self._newest_ns = max(self._newest_ns, max(trades)[0])
                self._pair(symbol).trades(trades)
                trades.clear()

    def _late(self, trade: Trade, where: str) -> None:
        """More than an hour late: it corrects what is not written yet, and is a fault where something is."""
        pair = self._pair(trade.symbol)
        lost = pair.counters["too_late"]
        self._flush()
        pair.advance(self.clock_ms)
        if not self._drain(pair) or pair.counters["too_late"] > lost:
            self.fault(where, ParseError("trade comes too late", trade.symbol, trade.trade_id))

    def _drain(self, pair: PairCandles) -> bool:
        """Deliver what closed; whether all of it could still be taken."""
        taken = [self.deliver(pair.symbol, name, row) for name, row in pair.drain_closed()]
        return all(taken)


def _absurd(event: Dated) -> ParseError:
    return ParseError("absurd time", "event", event.event_ns // MS)
