"""The candles of one pair, all intervals at once. Pure: packed trades and a clock go in, closed rows come out.

How it stays cheap. A trade changes one list of integers, the *segment*: what has been traded since the shortest candle
opened (`flow`). When that candle ends its part is put into the next longer one, and so on up the intervals (a
cascade); what a longer candle is now is derived from the pieces when somebody asks. Few trades at a time go through a
loop, many through numpy's columns: the same integers come out.

How it stays right. The order of trades is the venue's, by id, whatever order they arrive in. A boundary that trades
or the clock have passed makes a candle *pending*; it closes when the clock is a grace period past its end (`held`). A
trade that comes later corrects the closed candle, with the next revision at the next step of the clock. An id counts
once: ids that were skipped are holes (`ids`), and only a hole lets an older id in. Around a hole a candle's trades
stay in separate parts, so that what comes late is put exactly where it belongs.

A venue's times do not fall as its ids grow. Where they do across a 15 s boundary, each trade is in the candles of its
own time, and all that is no matter of order stays exact: volumes, turnover, counts, highs, lows, sizes, CVD, and which
ids came twice or are missing. Open, close, first and last id, delta_max, delta_min, tick_rv and kyle_lambda follow the
15 s pieces that a candle is put together from, and the ids within each.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import dropwhile
from operator import length_hint
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.market import flow, held
from wick.market.book import Book, Flows
from wick.market.cascade import Cascade, restated
from wick.market.flow import RV_UNIT, SMALL, Part, squared_return
from wick.market.flow import SECOND_TERM as _2
from wick.market.flow import THIRD_TERM as _3
from wick.market.held import Values
from wick.market.history import FIRST_DAILY, History
from wick.market.ids import TradeIds
from wick.market.intervals import INTERVALS, NAMES, Interval
from wick.market.lockstep import NEVER, Lockstep
from wick.market.numbers import POW10
from wick.market.schema import HEAD, HEAD_FIELDS, LIVE_FIELDS, UNKNOWN, Row, rescale
from wick.market.state import Stateful
from wick.market.trades import DEPTH, QUOTE, RECORD_STRUCT

MS = 1_000_000  # nanoseconds
COLUMNS_FROM = 64  # trades at a time from which columns are cheaper than the loop (scripts/bench/ticks.py)

(
    LAST_PRICE, LAST_ID, LAST_TIME, VOLUME, QUOTE_VOLUME, COUNT, BUY_VOLUME, BUY_QUOTE_VOLUME,
    BID, BID_QUANTITY, ASK, ASK_QUANTITY, PRICE_DECIMALS, QUANTITY_DECIMALS, DAY_OPEN,
) = range(len(HEAD))  # fmt: skip
TOTALS: Final = slice(VOLUME, BUY_QUOTE_VOLUME + 1)
L_OPEN = LIVE_FIELDS.index("open")

assert HEAD_FIELDS[DAY_OPEN] == "day_open"

Trade = tuple[int, int, int, int, int, int, bool, int]
# Quotes at the same prices, one after the other: of the first how many trades of the batch are before it, its time,
# bid, bid quantity, ask, ask quantity; of the last the two quantities.
Quoted = tuple[int, int, int, int, int, int, int, int]
DEFAULT_LARGE: Final = (100_000, 0)


class PairCandles(Stateful):
    """Live, pending and recently closed candles of one pair.

    `history`: closed candles an interval that a late trade can still correct. `empty`: `flat` gives a quiet
    period a candle at the previous close, `omit` leaves it out. `since_ms`: candles that opened before it are
    flagged partial. `large_notional`: (mantissa, decimals) in the quote asset, from which a trade counts as large.
    `intervals`: those whose candles are held and published. `lockstep`: the pairs that close together with this one.
    `contiguous`: whether the venue numbers its trades without holes (see `ids`).

    Feed it with `take` (packed records) or `trades`, then `advance` the clock; take rows with `drain_closed`.
    """

    STATE = (
        "head", "ids", "history", "book", "_cascade", "moved", "_counters", "_segment", "_before", "_last_ns",
        "_from_ns", "_to_ns", "_large_from", "_unseen",
    )  # fmt: skip
    GIVEN = (
        "venue", "symbol", "intervals", "lockstep", "since_ms", "large_notional", "before_roll", "_late", "_late_ms",
    )  # fmt: skip

    def __init__(
        self,
        venue: str,
        symbol: str,
        intervals: Sequence[Interval] = INTERVALS,
        *,
        grace_ms: int = 2_000,
        history: int = 16,
        empty: str = "flat",
        since_ms: int = 0,
        large_notional: tuple[int, int] = DEFAULT_LARGE,
        lockstep: "Lockstep | None" = None,
        contiguous: bool = True,
    ) -> None:
        self.venue, self.symbol, self.intervals = venue, symbol, tuple(intervals)
        self.lockstep = lockstep or Lockstep(grace_ms, history)
        self.lockstep.pairs.append(self)
        self.since_ms, self.large_notional = since_ms, large_notional
        self.before_roll: Callable[[], object] | None = None  # called while the live candles are still complete
        self.head: list[int] = [0] * len(HEAD)
        self.ids = TradeIds(contiguous)
        self.history = History(self.lockstep, self.ids, since_ms, intervals)
        self.book = Book()
        self._cascade = Cascade(self.ids, self.history, self.book, empty == "flat", since_ms)
        self._counters = {"trades": 0, "late": 0, "revised": 0, "too_late": 0}
        self._segment: Part = []  # trades since the shortest candle opened, or since the last hole
        self._before = [0] * 5  # running totals before the segment
        self._last_ns = 0
        self._from_ns = self._to_ns = 0  # where a trade of the segment can be; nowhere while it is empty
        self._large_from = 0
        self.moved = True  # whether live candles may have changed in more than their totals
        self._unseen = False  # an outage that the next boundary has to take into account
        self._late: list[Part] = []  # trades that wait for `_place_late`: none between two calls
        self._late_ms = 0  # the opening of the 15 s in which they are
        self._adopt(0, 0)

    # ------------------------------------------------------------------ in

    def trades(self, batch: Iterable[Trade]) -> None:
        """Take trades: (event_ns, trade_id, price, price_decimals, quantity, quantity_decimals, taker_buy, count)."""
        pack = RECORD_STRUCT.pack
        self.take(
            b"".join([pack(ns, number, p, q, n, 0, 0, pd, qd, 0, buy, 0) for ns, number, p, pd, q, qd, buy, n in batch])
        )

    def take(self, buffer: Any) -> None:
        """Take packed RECORDs of this pair: trades, and quotes and depth among them."""
        if len(buffer) < COLUMNS_FROM * RECORD_STRUCT.size:
            self._one_by_one(RECORD_STRUCT.iter_unpack(buffer))
        else:
            self._columns(buffer)

    def _one_by_one(self, records: Iterator[tuple[Any, ...]]) -> None:
        stopped = self._loop(records)
        while stopped:
            kind, at_ns, a, b, c, d, price_decimals, quantity_decimals = stopped
            if kind == QUOTE:
                self.quote(at_ns, a, c, b, d, price_decimals, quantity_decimals)
            else:
                self.depth(at_ns, a, b, c, d)
            stopped = self._loop(records) if length_hint(records) else None

    def _loop(self, records: Iterable[tuple[Any, ...]]) -> tuple[int, int, int, int, int, int, int, int] | None:
        """Record by record, up to a quote that brings new prices, or what ends the candle and is no trade; that one,
        where there is one: its kind, time, a, b, c, d, decimals."""
        ids, next_id, resized, stopped = self.ids, self.ids.next, self.book.resized, None
        first_id = next_id
        from_ns, to_ns, last_ns = self._from_ns, self._to_ns, self._last_ns
        price_decimals, quantity_decimals = self.head[PRICE_DECIMALS], self.head[QUANTITY_DECIMALS]
        large_from, taken = self._large_from, 0
        (
            first, last, first_price, high, low, close, signed, volume, quote_volume, trades, bought, bought_for,
            delta_max, delta_min, largest, large, large_buy, rv, kyle, squares,
        ) = self._segment or _NOTHING  # fmt: skip
        delta = 2 * bought - volume
        for event_ns, trade_id, price, size, count, d, _, p, q, kind, buy, _ in records:
            if (
                trade_id != next_id
                or not from_ns <= event_ns < to_ns
                or p != price_decimals
                or q != quantity_decimals
                or kind
            ):
                if kind == QUOTE:
                    if (
                        event_ns < to_ns
                        and p == price_decimals
                        and q == quantity_decimals
                        and resized(price, size, count, d)
                    ):
                        continue
                    stopped = (kind, event_ns, price, size, count, d, p, q)
                    break
                if kind == DEPTH:
                    if event_ns < to_ns:
                        self.book.levels.take(event_ns, price, size, count, d)
                        continue
                    stopped = (kind, event_ns, price, size, count, d, p, q)
                    break
                # Not the next of this candle: everything is put back, for whoever knows what to do.
                if from_ns < to_ns:
                    self.moved = True  # by the trades before this one, even where it is one that came twice
                    ids.next, self._last_ns = next_id, last_ns
                    self._segment = [
                        first, last, first_price, high, low, close, signed, volume, quote_volume, trades,
                        bought, bought_for, delta_max, delta_min, largest, large, large_buy, rv, kyle, squares,
                    ]  # fmt: skip
                taken += self._odd(event_ns, trade_id, price, p, size, q, buy, count)
                next_id, from_ns, to_ns, last_ns = ids.next, self._from_ns, self._to_ns, self._last_ns
                price_decimals, quantity_decimals = self.head[PRICE_DECIMALS], self.head[QUANTITY_DECIMALS]
                large_from = self._large_from
                (
                    first, last, first_price, high, low, close, signed, volume, quote_volume, trades, bought,
                    bought_for, delta_max, delta_min, largest, large, large_buy, rv, kyle, squares,
                ) = self._segment or _NOTHING  # fmt: skip
                delta = 2 * bought - volume
                continue
            last = trade_id
            next_id += 1
            last_ns = event_ns
            taken += 1
            turnover = price * size
            volume += size
            quote_volume += turnover
            trades += count
            squares += size * size
            if size > largest:
                largest = size
            if turnover >= large_from:
                large += size
                if buy:
                    large_buy += size
            if price != close:
                change = price - close
                r = change / (price + close)
                s = r * r
                rv += int(s * (4.0 + s * (_2 + s * _3)) * RV_UNIT) if s < SMALL else squared_return(close, price)
                kyle += change * size if buy else -change * size
                close = price
                if price > high:
                    high = price
                elif price < low:
                    low = price
            if buy:
                bought += size
                bought_for += turnover
                delta += size
                if delta > delta_max:
                    delta_max = delta
            else:
                delta -= size
                if delta < delta_min:
                    delta_min = delta
        if from_ns < to_ns:
            segment = self._segment
            if high != segment[flow.HIGH] or low != segment[flow.LOW]:
                self.moved = True
            ids.next, self._last_ns = next_id, last_ns
            self._segment = [
                first, last, first_price, high, low, close, signed, volume, quote_volume, trades, bought,
                bought_for, delta_max, delta_min, largest, large, large_buy, rv, kyle, squares,
            ]  # fmt: skip
        if self._late:
            self._place_late()
        self._counters["trades"] += taken
        if self.history.blind_ns is not None and ids.next > first_id:
            self.history.see_again()
        return stopped

    def _columns(self, buffer: Any) -> None:
        """Runs of trades that are alike in columns, the odd ones between them by the loop."""
        table = flow.columns(buffer)
        ours = self.head[PRICE_DECIMALS] | self.head[QUANTITY_DECIMALS] << 8
        quotes: list[Quoted] = []
        depths: list[list[int]] = []
        odd = int(_either(table[7] ^ ours)) & _NOT_BUY
        if odd & _KIND:
            if int(_most(table[0])) >= self._cascade.closes[0] * MS:
                self._around_boundaries(memoryview(buffer), table[0])
                return
            is_depth = table[7] & _KIND == _DEPTH
            if is_depth.any():
                depths, table = table.compress(is_depth, 1).T.tolist(), table.compress(~is_depth, 1)
                odd = int(_either(table[7] ^ ours)) & _NOT_BUY
        if odd & ~_KIND and not self._make_alike(table):
            self._one_by_one(RECORD_STRUCT.iter_unpack(buffer))
            return
        for at_ns, _, *held_now, _, _ in depths:
            self.book.levels.take(at_ns, *held_now)
        if odd & _KIND:
            is_quote = table[7] & _KIND != 0
            quotes = self._quotes(table, is_quote)
            table = table.compress(~is_quote, 1)
        at, n, quoted = 0, table.shape[1], 0
        while True:
            while quoted < len(quotes) and quotes[quoted][0] == at:
                self._quote(quotes[quoted], self._flows())
                quoted += 1
            if at == n:
                return
            run = self._regular(table, at)
            inside = quoted
            while inside < len(quotes) and quotes[inside][0] < at + run:
                inside += 1
            if run >= COLUMNS_FROM // 2 and self._extend(table[:, at : at + run], quotes[quoted:inside], at):
                at, quoted = at + run, inside
                continue
            few = max(run + 1, COLUMNS_FROM // 2)
            if not run and table[1, at] < self.ids.next:  # what comes late goes together
                few = max(few, int((table[1, at:] < self.ids.next).argmin()) or n - at)
            end = min(n, at + few, *[place for place, *_ in quotes[quoted : quoted + 1]])
            self._loop(
                (ns, number, p, q, count, 0, 0, tail & 0xFF, tail >> 8 & 0xFF, 0, tail >> 24 & 1, 0)
                for ns, number, p, q, count, _, _, tail in table[:, at:end].T.tolist()
            )
            at = end

    def _around_boundaries(self, buffer: memoryview, times: flow.Column) -> None:
        """Records among which the candle ends, and not all of which are trades: those before the one that ends it, the
        next few one by one, and so on. In columns it is no longer known what came before a boundary and what behind."""
        at, n, size = 0, len(times), RECORD_STRUCT.size
        while at < n:
            ends = times[at:] >= self._cascade.closes[0] * MS
            first = at + int(ends.argmax()) if ends.any() else n
            if at < first:
                self.take(buffer[at * size : first * size])
            at = min(n, first + COLUMNS_FROM // 2)
            self._one_by_one(RECORD_STRUCT.iter_unpack(buffer[first * size : at * size]))

    def _make_alike(self, table: flow.Column) -> bool:
        """Restate all records of the table in the pair's decimals. False where 64 bits cannot hold them all, or where
        one has more decimals: what comes before it, and is published at a boundary, has not."""
        small = table[7]
        p, q = small & 0xFF, small >> 8 & 0xFF
        prices, quantities = self.head[PRICE_DECIMALS], self.head[QUANTITY_DECIMALS]
        if int(p.max()) > prices or int(q.max()) > quantities:
            return False
        more_price, more_quantity = prices - p, quantities - q
        if not (more_price.any() or more_quantity.any()):
            return True
        is_quote = small & _KIND != 0
        price_factor, quantity_factor = POW10[int(more_price.max())], POW10[int(more_quantity.max())]
        of_quotes = table[:, is_quote]
        if (
            int(table[2].max()) * price_factor > flow.INT64
            or int(table[3].max()) * max(price_factor, quantity_factor) > flow.INT64
            or int(of_quotes[4:6].max(initial=0)) * quantity_factor > flow.INT64
        ):
            return False
        table[2] *= _POW10[more_price]
        table[3] *= _POW10[np.where(is_quote, more_price, more_quantity)]
        table[4:6, is_quote] *= _POW10[more_quantity[is_quote]]
        table[7] = (small & ~0xFFFF) | prices | quantities << 8
        return True

    def _quotes(self, table: flow.Column, is_quote: NDArray[np.bool_]) -> list[Quoted]:
        """The quotes of a table of records alike, of those at the same prices the first, and what the last left."""
        rows = is_quote.nonzero()[0]
        places = rows - _COUNTING.upto(len(rows))
        times, _, bids, asks, bid_quantities, ask_quantities = table[:6, rows]
        counts = (bid_quantities > 0) & (ask_quantities > 0)
        new = (bids[1:] != bids[:-1]) | (asks[1:] != asks[:-1]) | ~(counts[1:] & counts[:-1])
        first = np.concatenate([[0], new.nonzero()[0] + 1])
        last = np.append(first[1:] - 1, len(rows) - 1)
        return list(
            zip(
                *[column[first].tolist() for column in (places, times, bids, bid_quantities, asks, ask_quantities)],
                bid_quantities[last].tolist(), ask_quantities[last].tolist(), strict=True,
            )
        )  # fmt: skip

    def _regular(self, table: flow.Column, at: int) -> int:
        """How many trades from `at` on, all alike, are simply the next ones of the segment."""
        n = table.shape[1] - at
        times, from_ns, to_ns = table[0, at:], self._from_ns, self._to_ns
        fits = (table[1, at:] - _COUNTING.upto(n)) == self.ids.next
        if not (_least(times) >= from_ns and _most(times) < to_ns):
            fits &= (times >= from_ns) & (times < to_ns)
        return n if _all(fits) else int(fits.argmin())

    def _extend(self, table: flow.Column, quotes: list[Quoted], at: int) -> bool:
        """Put a run of next trades to the segment; false where its numbers are too large for columns.

        `quotes`: those in its midst; their places are counted from `at` before the run.
        """
        part = flow.of_columns(table, self._large_from)
        if part is None:
            return False
        resized = self.book.resized
        new = [*dropwhile(lambda quoted: resized(quoted[2], quoted[4], *quoted[6:]), quotes)] if quotes else quotes
        if new:
            volume, signed, turnover = self._flows()
            sums = flow.running_flows(table)[:, [quoted[0] - at - 1 for quoted in new]].T.tolist()
            for quoted, (a, b, c) in zip(new, sums, strict=True):
                self._quote(quoted, [volume + a, signed + b, turnover + c])
        segment = self._segment
        if part[flow.HIGH] > segment[flow.HIGH] or part[flow.LOW] < segment[flow.LOW]:
            self.moved = True
        self._segment = flow.merge(segment, part)
        self.ids.next = part[flow.LAST_ID] + 1
        self._last_ns = int(table[0, -1])
        self._counters["trades"] += table.shape[1]
        if self.history.blind_ns is not None:
            self.history.see_again()
        return True

    def quote(
        self, at_ns: int, bid: int, bid_quantity: int, ask: int, ask_quantity: int,
        price_decimals: int, quantity_decimals: int,
    ) -> None:  # fmt: skip
        """Take the best bid and ask, of that time (see `book`)."""
        head = self.head
        if price_decimals != head[PRICE_DECIMALS] or quantity_decimals != head[QUANTITY_DECIMALS]:
            self._adopt(price_decimals, quantity_decimals)
            price_factor = POW10[head[PRICE_DECIMALS] - price_decimals]
            quantity_factor = POW10[head[QUANTITY_DECIMALS] - quantity_decimals]
            bid, bid_quantity = bid * price_factor, bid_quantity * quantity_factor
            ask, ask_quantity = ask * price_factor, ask_quantity * quantity_factor
        if at_ns >= self._cascade.closes[0] * MS and self.ids.next >= 0:
            self._roll(at_ns // MS)
        if not self.book.resized(bid, ask, bid_quantity, ask_quantity):
            self.book.take(at_ns, bid, bid_quantity, ask, ask_quantity, self._flows())

    def depth(self, at_ns: int, bid_top: int, ask_top: int, bid_near: int, ask_near: int) -> None:
        """Take what the book holds, as of that time (see `levels`)."""
        if at_ns >= self._cascade.closes[0] * MS and self.ids.next >= 0:
            self._roll(at_ns // MS)
        self.book.levels.take(at_ns, bid_top, ask_top, bid_near, ask_near)

    def _quote(self, quoted: Quoted, flows: Flows) -> None:
        """Take quotes at the same prices, none of which ends the candle. `flows`: of the trades before them."""
        _, at_ns, bid, bid_quantity, ask, ask_quantity, *left = quoted
        book = self.book
        if book.resized(bid, ask, *left):
            return
        book.take(at_ns, bid, bid_quantity, ask, ask_quantity, flows)
        if left != [bid_quantity, ask_quantity] and not book.resized(bid, ask, *left):
            book.take(at_ns, bid, left[0], ask, left[1], flows)

    def outage(self) -> None:
        """We did not listen for a while up to now: no candle of that time is known to be whole, or to be quiet.

        Until the next trade tells by its id whether any was missed, candles that close are suspect.
        """
        self._unseen = True
        self.book.lose(self._last_ns, self._flows())
        if self.history.blind_ns is None and self.ids.next >= 0:
            clock = self.lockstep
            self.history.blind_ns = max(self._last_ns, (clock.clock_ms - clock.grace_ms) * MS)

    def advance(self, clock_ms: int) -> None:
        """Move the clock of this pair, and of those that close with it (see `Lockstep.advance`)."""
        self.lockstep.advance(clock_ms)

    def finish(self, clock_ms: int) -> None:
        """No more trades will come: what ends by `clock_ms` closes now, without grace."""
        self.lockstep.finish(clock_ms)

    @property
    def clock_ms(self) -> int:
        return self.lockstep.clock_ms

    @property
    def due_ms(self) -> int:
        """When `advance` next has something to do."""
        return self.lockstep.due_ms

    @property
    def boundary_ms(self) -> int:
        """Where the shortest live candle ends."""
        return self._cascade.closes[0] if self.ids.next >= 0 else NEVER

    @property
    def counters(self) -> dict[str, int]:
        """Trades taken, those late, and what they did; ids that came twice, and that are missing now."""
        return {**self._counters, "duplicates": self.ids.duplicates, "missing": self.ids.missing}

    # ------------------------------------------------------------------ out

    @property
    def groups(self) -> list[list[int]]:
        """The head and the twelve live candles (see schema) as they are now. Read them, do not keep them."""
        head, segment = self.head, self._segment
        if segment:
            a, b, c, d, e = self._before
            head[TOTALS] = (
                a + segment[flow.VOLUME], b + segment[flow.QUOTE_VOLUME], c + segment[flow.COUNT],
                d + segment[flow.BUY_VOLUME], e + segment[flow.BUY_QUOTE_VOLUME],
            )  # fmt: skip
            head[LAST_PRICE] = segment[flow.CLOSE]
        else:
            head[TOTALS] = self._before
        head[BID : ASK_QUANTITY + 1] = self.book.best
        head[LAST_ID] = max(self.ids.next - 1, 0)
        head[LAST_TIME] = self._last_ns // MS
        if self.moved:
            self.moved = False
            if self.ids.next >= 0:
                self._cascade.derive(segment, head[LAST_PRICE])
                head[DAY_OPEN] = self._cascade.live[FIRST_DAILY][L_OPEN]
        return [head, *self._cascade.live]

    def drain_closed(self) -> list[tuple[str, Row]]:
        """Rows closed or revised since the last call, in the order in which that happened."""
        return [
            (NAMES[interval], row)
            for block in self.lockstep.drain()
            for interval, row in zip(block.intervals, block.rows(), strict=True)
        ]

    def live(self) -> list[tuple[str, Row]]:
        """Rows that are not closed yet: pending ones, then the live one, interval by interval."""
        rows = []
        for index, interval in enumerate(INTERVALS):
            if not self.history.wanted[index]:
                continue
            rows += [(interval.name, self._row(values)) for values in self.history.pending(index)]
            if self.ids.next >= 0:
                rows.append((interval.name, self._row(self._live_values(index))))
        return rows

    def unclosed(self, interval: int) -> list[Row]:
        """The rows of an interval that are not closed, without metrics: pending ones, then the live one. None at all
        before the first trade."""
        if self.ids.next < 0:
            return []
        decimals = self.head[PRICE_DECIMALS], self.head[QUANTITY_DECIMALS]
        each = [*self.history.pending(interval), self._live_values(interval)]
        return [held.published(values, *decimals) for values in each]

    def recent(self, counts: Sequence[int]) -> list[tuple[str, Row]]:
        """The newest pending or closed rows of each interval, so many of each, oldest first: what precedes the live
        candle."""
        return [
            (name, self._row(values))
            for index, (name, count) in enumerate(zip(NAMES, counts, strict=True))
            for values in self.history.candles(index, count)
        ]

    def _row(self, values: Values) -> Row:
        return [*held.published(values, self.head[PRICE_DECIMALS], self.head[QUANTITY_DECIMALS]), *UNKNOWN]

    def _live_values(self, index: int) -> Values:
        chain = self._cascade.chain(index, self._segment)
        price = self._segment[flow.CLOSE] if self._segment else self.head[LAST_PRICE]
        clock_ns = min(max(self.lockstep.clock_ms * MS, self._last_ns), self._cascade.closes[0] * MS)
        numbers = self.book.candle(index, clock_ns, self._flows())
        return self._cascade.values(index, chain, self._delta(), price, numbers)

    def _flows(self) -> Flows:
        """What the book wants to know of all trades so far."""
        volume, quote_volume, _, bought, bought_for = self._before
        segment = self._segment
        if segment:
            volume += segment[flow.VOLUME]
            quote_volume += segment[flow.QUOTE_VOLUME]
            bought += segment[flow.BUY_VOLUME]
            bought_for += segment[flow.BUY_QUOTE_VOLUME]
        return [volume, 2 * bought - volume, 2 * bought_for - quote_volume]

    def _delta(self) -> int:
        """Taker buys minus sells, of all trades so far."""
        segment = self._segment
        inside = 2 * segment[flow.BUY_VOLUME] - segment[flow.VOLUME] if segment else 0
        return inside + 2 * self._before[3] - self._before[0]

    # ------------------------------------------------------------------ trades that are not simply the next

    def _odd(
        self, event_ns: int, trade_id: int, price: int, price_decimals: int,
        size: int, quantity_decimals: int, buy: int, count: int,
    ) -> int:  # fmt: skip
        """Any trade; 1 where it counts, 0 where it came before."""
        ids, is_next, late = self.ids, trade_id == self.ids.next, self._late
        newest, head = trade_id >= ids.next, self.head
        # Before its id is known and it restates anything: the hole that it fills still divides those before it.
        if late and (
            trade_id != late[-1][flow.LAST_ID] + 1
            or self._late_ms != _first_open_ms(event_ns)
            or price_decimals > head[PRICE_DECIMALS]
            or quantity_decimals > head[QUANTITY_DECIMALS]
        ):
            self._place_late()
        if not is_next:
            if not ids.admit(trade_id, self._last_ns, event_ns):
                return 0
            self.history.recheck = True
        ids.next = max(ids.next, trade_id + 1)
        self._adopt(price_decimals, quantity_decimals)
        price *= POW10[head[PRICE_DECIMALS] - price_decimals]
        size *= POW10[head[QUANTITY_DECIMALS] - quantity_decimals]
        cascade = self._cascade
        if event_ns >= cascade.closes[0] * MS:
            self._roll(event_ns // MS)
        part = flow.of_trade(trade_id, price, size, buy, count, self._large_from)
        if newest:
            head[LAST_PRICE] = price
            self._last_ns = event_ns
        self.moved = True
        if not newest or event_ns < cascade.opens[0] * MS:
            self._late.append(part)
            self._late_ms = _first_open_ms(event_ns)
        else:
            segment = self._segment
            if segment and ids.is_open(segment[flow.LAST_ID], trade_id):
                self._shift(segment)
                cascade.chains[0] = [*cascade.chains[0], segment]
                segment = []
            self._segment = flow.merge(segment, part) if segment else part
        self._bound_segment()
        return 1

    def _bound_segment(self) -> None:
        """Where the next trade simply goes on with the segment: nowhere while it is empty, or older ids may still come
        in between (where the newest trade is older than the shortest live candle, they lie behind the segment)."""
        segment, cascade = self._segment, self._cascade
        goes_on = segment and not self.ids.is_open(segment[flow.LAST_ID], self.ids.next)
        self._from_ns, self._to_ns = (cascade.opens[0] * MS, cascade.closes[0] * MS) if goes_on else (0, 0)

    def _shift(self, part: Part) -> None:
        """A part leaves the segment: the running totals take it in."""
        self._before = [total + more for total, more in zip(self._before, part[flow.SUMS], strict=True)]

    def _place_late(self) -> None:
        """Put trades that are not the newest, or older than the shortest live candle, into every candle of their time.

        They follow each other within 15 s: so a page of old trades costs little more than one of them."""
        count, part, event_ms, cascade = len(self._late), flow.whole(self._late), self._late_ms, self._cascade
        self._late, self._late_ms = [], 0
        self._counters["late"] += count
        if event_ms < cascade.opens[0]:
            revised, lost = cascade.place(event_ms, part)
            self._counters["revised"] += count * revised
            self._counters["too_late"] += count * lost
            self._shift(part)
            self.book.skip(part)
        else:
            was = self._segment
            *cascade.chains[0], self._segment = flow.insert(
                [*cascade.chains[0], *([was] if was else [])], part, self.ids.is_open
            )
            self._bound_segment()
            # The totals before the segment: all that there is, less what it has now.
            self._shift(part)
            if was:
                self._shift(was)
            inside = self._segment[flow.SUMS]
            self._before = [total - some for total, some in zip(self._before, inside, strict=True)]
        self.history.shift_cvd(event_ms, flow.delta(part))

    # ------------------------------------------------------------------ boundaries

    def reach(self, clock_ms: int) -> None:
        """The clock is at `clock_ms`: boundaries that it passed roll."""
        if self.ids.next >= 0 and clock_ms >= self._cascade.closes[0]:
            self._roll(clock_ms)

    def _roll(self, now_ms: int) -> None:
        """Open the candles that hold `now_ms`; those that end before it become pending."""
        if self.before_roll is not None:
            self.before_roll()
        segment, delta, book, flows = self._segment, self._delta(), self.book, self._flows()
        if self._cascade.closes[0]:
            book.reach(self._cascade.closes[0] * MS, flows)
        else:
            book.begin(now_ms * MS)
        if segment:
            self._shift(segment)
            self.head[LAST_PRICE] = segment[flow.CLOSE]
        self._cascade.roll(now_ms, segment, self._before, delta, self.head[LAST_PRICE], not self._unseen)
        book.reach(self._cascade.opens[0] * MS, flows)
        self._segment, self._from_ns, self._to_ns = [], 0, 0
        self._unseen, self.moved = False, True

    def correct(self) -> None:
        """Issue what late trades, and news of missing ones, have changed in closed candles."""
        self.history.correct()

    @property
    def is_doubtful(self) -> bool:
        """Whether anything that closes has to be looked at: trades are, or may be, missing."""
        return self.ids.missing > 0 or self.history.blind_ns is not None

    def is_suspect(self, open_ms: int, close_ms: int) -> bool:
        return self.history.is_suspect(open_ms, close_ms)

    # ------------------------------------------------------------------ decimals

    def _adopt(self, price_decimals: int, quantity_decimals: int) -> None:
        """Restate everything when a price or a quantity comes with more decimals than any before it."""
        head = self.head
        more_price = max(0, price_decimals - head[PRICE_DECIMALS])
        more_size = max(0, quantity_decimals - head[QUANTITY_DECIMALS])
        if more_price or more_size:
            self._restate(more_price, more_size)
        elif self._large_from:
            return
        mantissa, decimals = self.large_notional
        power = head[PRICE_DECIMALS] + head[QUANTITY_DECIMALS] - decimals
        self._large_from = max(1, mantissa * 10**power if power >= 0 else -(-mantissa // 10**-power))

    def _restate(self, more_price: int, more_size: int) -> None:
        head = self.head
        rescale(head, HEAD, more_price, more_size)
        head[PRICE_DECIMALS] += more_price
        head[QUANTITY_DECIMALS] += more_size
        if self._segment:
            self._segment = flow.rescale(self._segment, more_price, more_size)
        self._before = restated(self._before, more_price, more_size)
        self.book.restate(more_price, more_size)
        self._cascade.restate(more_price, more_size)
        self.moved = True
        self.history.restate(more_price, more_size, (head[PRICE_DECIMALS], head[QUANTITY_DECIMALS]))


def _first_open_ms(event_ns: int) -> int:
    """When the shortest candle opens that holds this time."""
    return INTERVALS[0].open_ms(event_ns // MS)


class _Counting:
    """0, 1, 2, ... as long as it was ever needed."""

    def __init__(self) -> None:
        self._numbers = np.arange(1024)

    def upto(self, n: int) -> flow.Column:
        if n > len(self._numbers):
            self._numbers = np.arange(2 * n)
        return self._numbers[:n]


_COUNTING = _Counting()
_least, _most, _all, _either = np.minimum.reduce, np.maximum.reduce, np.logical_and.reduce, np.bitwise_or.reduce
_POW10 = np.array([10**n for n in range(19)])
_BUY = 1 << 24  # in the small fields of a record, read as one integer
_NOT_BUY = ~_BUY
_KIND, _DEPTH = 0xFF << 16, DEPTH << 16
_NOTHING = (0,) * flow.WIDTH
