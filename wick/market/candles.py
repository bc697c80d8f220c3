"""The candles of one pair, all intervals at once. Pure: trades and a clock go in, closed rows come out.

How it stays cheap and exact. The pair keeps running totals; a candle remembers the totals at its opening, so a
trade adds to the totals once and all twelve candles are current. High and low are compared upwards only when
the shortest candle's are exceeded. Everything is an integer, so sums have no rounding, and order never matters.

How it stays right. The order of trades is (event time, trade id), whatever order they arrive in. A boundary
that trades or the clock have passed makes a candle *pending*; it closes when the clock is a grace period past
its end. A trade that comes later still corrects the closed candle, with the next revision. A trade id counts
once: ids that were skipped are remembered as holes, and only a hole lets an older id in.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Final

from wick.market.ids import TradeIds
from wick.market.intervals import INTERVALS, Interval
from wick.market.numbers import POW10
from wick.market.schema import CANDLE, CANDLE_FIELDS, HEAD, HEAD_FIELDS, LIVE, Flag, rescale

Row = list[int]

MS = 1_000_000  # nanoseconds
NEVER = 2**63
MAX_FLAT_RUN = 100_000  # flat candles that one step of the clock makes: 17 days of 15 s; a longer silence is an outage

CLOSED, EMPTY, PARTIAL, SUSPECT, REVISED = (int(flag) for flag in Flag)

(
    LAST_PRICE, LAST_ID, LAST_TIME, VOLUME, QUOTE_VOLUME, COUNT, BUY_VOLUME, BUY_QUOTE_VOLUME,
    BID, BID_QUANTITY, ASK, ASK_QUANTITY, PRICE_DECIMALS, QUANTITY_DECIMALS, DAY_OPEN,
) = range(len(HEAD))  # fmt: skip
L_OPEN_TIME, L_OPEN, L_HIGH, L_LOW, L_VOLUME0 = range(5)
L_FLAGS = len(LIVE) - 1
(
    C_OPEN_TIME, C_CLOSE_TIME, C_REVISION, C_FLAGS, C_PRICE_DECIMALS, C_QUANTITY_DECIMALS,
    C_OPEN, C_HIGH, C_LOW, C_CLOSE, C_VOLUME, C_QUOTE_VOLUME, C_COUNT, C_BUY_VOLUME, C_BUY_QUOTE_VOLUME,
    C_FIRST_ID, C_LAST_ID,
) = range(17)  # fmt: skip
NO_FLOW = [None] * (len(CANDLE) - 17)
WIDTH: Final = len(CANDLE)

assert HEAD_FIELDS[DAY_OPEN] == "day_open"

Key = tuple[int, int]  # (event_ns, trade_id): the order of trades


class Held:
    """A candle that is pending or closed: its row, and the keys of its first and last trade."""

    __slots__ = ("first", "last", "row")

    def __init__(self, row: Row, first: Key | None, last: Key | None) -> None:
        self.row, self.first, self.last = row, first, last


class PairCandles:
    """Live, pending and recently closed candles of one pair.

    `history`: closed candles an interval that a late trade can still correct. `empty`: `flat` gives a quiet
    period a candle at the previous close, `omit` leaves it out. `since_ms`: candles that opened before it are
    flagged partial. Feed it with `trades`, then `advance` it with the venue's clock; take rows with `drain_closed`.
    """

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
    ) -> None:
        self.venue, self.symbol, self.intervals = venue, symbol, tuple(intervals)
        self.grace_ms, self.history, self.flat, self.since_ms = grace_ms, history, empty == "flat", since_ms
        self.head: list[int] = [0] * len(HEAD)
        self.live_groups: list[list[int]] = [[0] * len(LIVE) for _ in self.intervals]
        self.groups: list[list[int]] = [self.head, *self.live_groups]
        self._counters = {"trades": 0, "late": 0, "revised": 0, "too_late": 0}
        self.clock_ms = 0
        self.before_roll: Callable[[], object] | None = None  # called while the live candles are still complete
        self._closes: list[int] = [0] * len(self.intervals)  # close_ms of each live candle
        self._first: list[Key | None] = [None] * len(self.intervals)  # key of each live candle's first trade
        self._last: Key = (-1, -1)  # key of the newest trade
        self._open_ns = self._close_ns = 0  # bounds of the shortest live candle
        self.ids = TradeIds()
        self._held: list[dict[int, Held]] = [{} for _ in self.intervals]  # pending and closed, by open_ms
        self._forgotten = [-1] * len(self.intervals)  # open_ms of the newest candle that left the history
        self._pending: list[tuple[int, int, int]] = []  # heap of (close_ms, interval index, open_ms)
        self._closed: list[tuple[str, Row]] = []
        self._unseen = False  # an outage that the next boundary has to take into account
        self._blind_ns: int | None = None  # since when trades may have been missed
        self._day = next((i for i, interval in enumerate(self.intervals) if interval.name == "1d"), None)

    # ------------------------------------------------------------------ in

    def trades(self, batch: Iterable[tuple[int, int, int, int, int, int, bool, int]]) -> None:
        """Take trades: (event_ns, trade_id, price, price_decimals, quantity, quantity_decimals, taker_buy, count)."""
        head = self.head
        shortest = self.live_groups[0]
        last_ns, last_id = self._last
        ids = self.ids
        taken, next_id = 0, ids.next
        for event_ns, trade_id, price, price_decimals, quantity, quantity_decimals, taker_buy, count in batch:
            if trade_id == ids.next:
                ids.next = trade_id + 1
            elif not ids.admit(trade_id, last_ns, event_ns):
                continue
            if price_decimals != head[PRICE_DECIMALS] or quantity_decimals != head[QUANTITY_DECIMALS]:
                self._adopt(price_decimals, quantity_decimals)
                price *= POW10[head[PRICE_DECIMALS] - price_decimals]
                quantity *= POW10[head[QUANTITY_DECIMALS] - quantity_decimals]
            taken += 1
            if event_ns >= self._close_ns:
                self._roll(event_ns // MS)
            turnover = price * quantity
            head[VOLUME] += quantity
            head[QUOTE_VOLUME] += turnover
            head[COUNT] += count
            if taker_buy:
                head[BUY_VOLUME] += quantity
                head[BUY_QUOTE_VOLUME] += turnover
            if event_ns < self._open_ns or event_ns < last_ns or (event_ns == last_ns and trade_id < last_id):
                buy = (quantity, turnover) if taker_buy else (0, 0)
                self._place((event_ns, trade_id), price, (quantity, turnover, count, *buy))
                last_ns, last_id = self._last
                continue
            last_ns, last_id = self._last = (event_ns, trade_id)
            head[LAST_PRICE] = price
            if shortest[L_FLAGS] & EMPTY:
                self._fill_empty(price)
            elif price > shortest[L_HIGH]:
                for live in self.live_groups:
                    if price > live[L_HIGH]:
                        live[L_HIGH] = price
            elif price < shortest[L_LOW]:
                for live in self.live_groups:
                    if price < live[L_LOW]:
                        live[L_LOW] = price
        if taken:
            if self._blind_ns is not None and ids.next > next_id:
                self._see_again()
            self._counters["trades"] += taken
            head[LAST_ID] = last_id
            head[LAST_TIME] = last_ns // MS
            if self._day is not None:
                head[DAY_OPEN] = self.live_groups[self._day][L_OPEN]

    def quote(
        self, bid: int, bid_quantity: int, ask: int, ask_quantity: int, price_decimals: int, quantity_decimals: int
    ) -> None:
        """Take the best bid and ask."""
        head = self.head
        self._adopt(price_decimals, quantity_decimals)
        price_factor = POW10[head[PRICE_DECIMALS] - price_decimals]
        quantity_factor = POW10[head[QUANTITY_DECIMALS] - quantity_decimals]
        head[BID], head[BID_QUANTITY] = bid * price_factor, bid_quantity * quantity_factor
        head[ASK], head[ASK_QUANTITY] = ask * price_factor, ask_quantity * quantity_factor

    def outage(self) -> None:
        """We did not listen for a while up to now: no candle of that time is known to be whole, or to be quiet.

        Until the next trade tells by its id whether any was missed, candles that close are suspect.
        """
        self._unseen = True
        if self._blind_ns is None and self.ids.next >= 0:
            self._blind_ns = max(self._last[0], (self.clock_ms - self.grace_ms) * MS)

    def advance(self, clock_ms: int) -> None:
        """Move the venue's clock to `clock_ms`: boundaries that it passed roll, candles past their grace close."""
        if clock_ms <= self.clock_ms:
            return
        self._reach(clock_ms)
        self._close_pending(clock_ms - self.grace_ms)

    def finish(self, clock_ms: int) -> None:
        """No more trades will come: what ends by `clock_ms` closes now, without grace."""
        self._reach(clock_ms)
        self._close_pending(clock_ms)

    @property
    def counters(self) -> dict[str, int]:
        """Trades taken, those late, and what they did; ids that came twice, and that are missing now."""
        return {**self._counters, "duplicates": self.ids.duplicates, "missing": self.ids.missing}

    @property
    def due_ms(self) -> int:
        """When `advance` next has something to do: the next boundary, or the end of a grace period."""
        if self.ids.next < 0:
            return NEVER
        boundary = self._closes[0]
        return min(boundary, self._pending[0][0] + self.grace_ms) if self._pending else boundary

    # ------------------------------------------------------------------ out

    def drain_closed(self) -> list[tuple[str, Row]]:
        """Rows closed or revised since the last call, in the order in which that happened."""
        closed, self._closed = self._closed, []
        return closed

    def live(self) -> list[tuple[str, Row]]:
        """Rows that are not closed yet: pending ones, then the live one, interval by interval."""
        rows = []
        for index, interval in enumerate(self.intervals):
            held = sorted(self._held[index].items())
            rows += [(interval.name, list(one.row)) for _, one in held if not one.row[C_FLAGS] & CLOSED]
            if self.ids.next >= 0:
                rows.append((interval.name, self._live_row(index)))
        return rows

    def recent(self, count: int) -> list[tuple[str, Row]]:
        """The newest `count` pending or closed rows of each interval, oldest first: what precedes the live candle."""
        rows = []
        for index, interval in enumerate(self.intervals):
            held = sorted(self._held[index].items())[-count:]
            rows += [(interval.name, list(one.row)) for _, one in held]
        return rows

    # ------------------------------------------------------------------ what may be missing

    def _suspect(self, row: Row) -> bool:
        """Whether trades are missing that belong, or may belong, into this candle."""
        from_ns, to_ns = row[C_OPEN_TIME] * MS, row[C_CLOSE_TIME] * MS
        if self._blind_ns is not None and to_ns > self._blind_ns:
            return True
        return self.ids.missing_within(from_ns, to_ns)

    def _see_again(self) -> None:
        """The first new trade after an outage: either its id has left a hole, or nothing was missed."""
        self._blind_ns = None
        for index, held in enumerate(self._held):
            for one in held.values():
                if one.row[C_FLAGS] & CLOSED and one.row[C_FLAGS] & SUSPECT and not self._suspect(one.row):
                    self._revise(index, one.row)

    # ------------------------------------------------------------------ boundaries

    def _reach(self, clock_ms: int) -> None:
        """The clock is at `clock_ms`, if it was not further: boundaries that it passed roll."""
        self.clock_ms = max(self.clock_ms, clock_ms)
        if self.ids.next >= 0 and clock_ms * MS >= self._close_ns:
            self._roll(clock_ms)
            if self._day is not None:
                self.head[DAY_OPEN] = self.live_groups[self._day][L_OPEN]

    def _roll(self, now_ms: int) -> None:
        """Open the candles that hold `now_ms`; those that end before it become pending."""
        if self.before_roll is not None:
            self.before_roll()
        head = self.head
        flat = self.flat and not self._unseen
        self._unseen = False
        totals = head[VOLUME : BUY_QUOTE_VOLUME + 1]
        for index, interval in enumerate(self.intervals):
            close_ms = self._closes[index]
            if now_ms < close_ms:
                continue
            live = self.live_groups[index]
            open_ms = interval.open_ms(now_ms)
            if close_ms:
                if not live[L_FLAGS] & EMPTY or flat:
                    self._hold(index, self._live_row(index), self._first[index], self._last)
                if flat:
                    self._hold_flat(index, close_ms, open_ms)
            price = head[LAST_PRICE]
            live[:] = [open_ms, price, price, price, *totals, EMPTY | (PARTIAL if open_ms < self.since_ms else 0)]
            self._first[index] = None
            self._closes[index] = interval.close_ms(open_ms)
        self._open_ns = self.live_groups[0][L_OPEN_TIME] * MS
        self._close_ns = self._closes[0] * MS

    def _hold_flat(self, index: int, from_ms: int, to_ms: int) -> None:
        """Flat candles for the quiet periods of `[from_ms, to_ms)`; none where it is absurdly long."""
        interval = self.intervals[index]
        if (to_ms - from_ms) // (interval.close_ms(from_ms) - from_ms) > MAX_FLAT_RUN:
            return
        while from_ms < to_ms:
            self._hold(index, self._flat_row(index, from_ms, self.head[LAST_PRICE]), None, None)
            from_ms = interval.close_ms(from_ms)

    def _hold(self, index: int, row: Row, first: Key | None, last: Key | None) -> Held:
        empty = row[C_FLAGS] & EMPTY
        held = self._held[index][row[C_OPEN_TIME]] = Held(row, None if empty else first, None if empty else last)
        heappush(self._pending, (row[C_CLOSE_TIME], index, row[C_OPEN_TIME]))
        return held

    def _close_pending(self, until_ms: int) -> None:
        """Close the pending candles that end by `until_ms`."""
        while self._pending and self._pending[0][0] <= until_ms:
            _, index, open_ms = heappop(self._pending)
            self._close(index, self._held[index][open_ms])

    def _close(self, index: int, held: Held) -> None:
        row = held.row
        row[C_FLAGS] |= CLOSED | (SUSPECT if self._suspect(row) else 0)
        self._closed.append((self.intervals[index].name, list(row)))
        rows = self._held[index]
        while len(rows) > self.history:
            oldest = next(iter(rows))
            if not rows[oldest].row[C_FLAGS] & CLOSED:
                break
            del rows[oldest]
            self._forgotten[index] = max(self._forgotten[index], oldest)

    # ------------------------------------------------------------------ rows

    def _live_row(self, index: int) -> Row:
        head, live = self.head, self.live_groups[index]
        volumes = [total - opening for total, opening in zip(head[VOLUME:], live[L_VOLUME0:L_FLAGS], strict=False)]
        first = self._first[index]
        ids = [0, 0] if live[L_FLAGS] & EMPTY or first is None else [first[1], self._last[1]]
        return [
            live[L_OPEN_TIME], self._closes[index], 0, live[L_FLAGS], head[PRICE_DECIMALS], head[QUANTITY_DECIMALS],
            live[L_OPEN], live[L_HIGH], live[L_LOW], head[LAST_PRICE], *volumes, *ids, *NO_FLOW,
        ]  # fmt: skip

    def _flat_row(self, index: int, open_ms: int, price: int) -> Row:
        flags = EMPTY | (PARTIAL if open_ms < self.since_ms else 0)
        close_ms = self.intervals[index].close_ms(open_ms)
        decimals = self.head[PRICE_DECIMALS], self.head[QUANTITY_DECIMALS]
        return [open_ms, close_ms, 0, flags, *decimals, price, price, price, price, 0, 0, 0, 0, 0, 0, 0, *NO_FLOW]

    def _fill_empty(self, price: int) -> None:
        """The newest trade is the first of the shortest candle, and of every longer one that was empty too."""
        for index in range(len(self.live_groups)):
            self._place_live(index, self._last, price)

    # ------------------------------------------------------------------ trades that are not the newest

    def _place(self, key: Key, price: int, amounts: tuple[int, int, int, int, int]) -> None:
        """Put a trade that is out of order, or older than the live candle, into every candle that contains it."""
        self._counters["late"] += 1
        event_ms = key[0] // MS
        newest = key > self._last
        if newest:
            self._last = key
            self.head[LAST_PRICE] = price
        revised = lost = False
        for index, live in enumerate(self.live_groups):
            if event_ms >= live[L_OPEN_TIME]:
                self._place_live(index, key, price)
                continue
            for field, amount in enumerate(amounts, L_VOLUME0):
                live[field] += amount
            open_ms = self.intervals[index].open_ms(event_ms)
            if open_ms <= self._forgotten[index]:
                lost = True
                continue
            revised |= self._place_held(index, open_ms, key, price, amounts)
        self._counters["revised"] += revised
        self._counters["too_late"] += lost

    def _place_live(self, index: int, key: Key, price: int) -> None:
        live, first = self.live_groups[index], self._first[index]
        if live[L_FLAGS] & EMPTY or first is None:
            live[L_FLAGS] &= ~EMPTY
            live[L_OPEN] = live[L_HIGH] = live[L_LOW] = price
            self._first[index] = key
            return
        if key < first:
            live[L_OPEN] = price
            self._first[index] = key
        live[L_HIGH] = max(live[L_HIGH], price)
        live[L_LOW] = min(live[L_LOW], price)

    def _place_held(self, index: int, open_ms: int, key: Key, price: int, amounts: tuple[int, ...]) -> bool:
        """Add to a pending or closed candle; true where that corrects one that was published."""
        held = self._held[index].get(open_ms)
        fresh = held is None
        if held is None:
            held = self._hold(index, self._flat_row(index, open_ms, price), None, None)
            # Keep the history in time order: its oldest leaves first.
            self._held[index] = dict(sorted(self._held[index].items()))
        row = held.row
        if held.first is None or held.last is None:
            row[C_FLAGS] &= ~EMPTY
            row[C_OPEN : C_CLOSE + 1] = [price] * 4
            row[C_FIRST_ID] = row[C_LAST_ID] = key[1]
            held.first = held.last = key
        else:
            row[C_HIGH] = max(row[C_HIGH], price)
            row[C_LOW] = min(row[C_LOW], price)
            if key < held.first:
                held.first, row[C_OPEN], row[C_FIRST_ID] = key, price, key[1]
            if key > held.last:
                held.last, row[C_CLOSE], row[C_LAST_ID] = key, price, key[1]
        for field, amount in enumerate(amounts, C_VOLUME):
            row[field] += amount
        revised = bool(row[C_FLAGS] & CLOSED)
        if revised:
            self._revise(index, row)
        elif fresh and row[C_CLOSE_TIME] + self.grace_ms <= self.clock_ms:
            # It would have closed already: it does so on the next step of the clock, which may be far away.
            self._pending.remove((row[C_CLOSE_TIME], index, open_ms))
            self._pending.sort()
            self._close(index, held)
        if held.last == key:
            self._reflatten(index, open_ms, price)
        return revised

    def _reflatten(self, index: int, open_ms: int, price: int) -> None:
        """A candle has a new close: the flat ones that follow it stand at that price."""
        rows, live = self._held[index], self.live_groups[index]
        for later in sorted(key for key in rows if key > open_ms):
            row = rows[later].row
            if not row[C_FLAGS] & EMPTY:
                return
            row[C_OPEN : C_CLOSE + 1] = [price] * 4
            if row[C_FLAGS] & CLOSED:
                self._revise(index, row)
        if live[L_FLAGS] & EMPTY:
            live[L_OPEN] = live[L_HIGH] = live[L_LOW] = price

    def _revise(self, index: int, row: Row) -> None:
        row[C_REVISION] += 1
        row[C_FLAGS] = (row[C_FLAGS] | REVISED) & ~SUSPECT | (SUSPECT if self._suspect(row) else 0)
        self._closed.append((self.intervals[index].name, list(row)))

    # ------------------------------------------------------------------ decimals

    def _adopt(self, price_decimals: int, quantity_decimals: int) -> None:
        """Restate everything when a price or a quantity comes with more decimals than any before it."""
        head = self.head
        more_price = max(0, price_decimals - head[PRICE_DECIMALS])
        more_quantity = max(0, quantity_decimals - head[QUANTITY_DECIMALS])
        if not more_price and not more_quantity:
            return
        rescale(head, HEAD, more_price, more_quantity)
        for live in self.live_groups:
            rescale(live, LIVE, more_price, more_quantity)
        head[PRICE_DECIMALS] += more_price
        head[QUANTITY_DECIMALS] += more_quantity
        for held in self._held:
            for one in held.values():
                rescale(one.row, CANDLE, more_price, more_quantity)
                one.row[C_PRICE_DECIMALS] += more_price
                one.row[C_QUANTITY_DECIMALS] += more_quantity
