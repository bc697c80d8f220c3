"""The held candles of one pair, pending and closed: what late trades and news of missing ones do to them. Pure.

A late trade goes into the candle of each interval that holds its time. Where that candle is closed already, its next
revision is published at the clock's next step, once, however many trades came in between.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from wick.market import book, flow
from wick.market.flow import Chain, Part
from wick.market.held import CLOSE_MS, CVD, FLAGS, OPEN_MS, PART, REVISION, Held, Values, partial
from wick.market.ids import TradeIds
from wick.market.intervals import DAY, INTERVALS, NAMES, Interval
from wick.market.schema import CLOSED, EMPTY, REVISED, SUSPECT
from wick.market.state import Stateful

MS = 1_000_000  # nanoseconds
FIRST_DAILY = NAMES.index("1d")  # from here on an interval's CVD is its own delta


def cvd_anchor_ms(index: int, open_ms: int, since_ms: int) -> int:
    """From when the CVD of an interval's candle counts, where the pair has been listened to from `since_ms` on."""
    return max(open_ms if index >= FIRST_DAILY else open_ms // DAY * DAY, since_ms)


class Columns(Protocol):
    """What a pair needs of those that close together with it (`lockstep`)."""

    held: Held
    clock_ms: int
    grace_ms: int
    follows: bool

    def close(self, indices: list[int]) -> None: ...
    def publish(self, indices: list[int]) -> None: ...


class History(Stateful):
    """One pair's part of the held columns. `wanted`: which intervals are kept at all."""

    STATE = ("recheck", "blind_ns", "_forgotten", "_inserted", "_apart", "_touched")
    GIVEN = ("columns", "held", "ids", "since_ms", "number", "wanted")

    def __init__(self, columns: Columns, ids: TradeIds, since_ms: int, wanted: Iterable[Interval]) -> None:
        self.columns, self.held, self.ids, self.since_ms = columns, columns.held, ids, since_ms
        self.number = self.held.add_pair()
        chosen = tuple(wanted)
        self.wanted = [interval in chosen for interval in INTERVALS]
        self.recheck = False  # whether what is known to be missing has changed
        self.blind_ns: int | None = None  # since when trades may have been missed
        self._forgotten = [-1] * len(INTERVALS)  # open_ms of the newest candle that left the history
        self._apart: dict[tuple[int, int], Chain] = {}  # (interval, open_ms) -> the parts of a candle around holes
        self._inserted: list[list[int]] = []  # [interval, open_ms] of candles that came between others
        # (interval, open_ms) of closed candles that have changed -> whether in their trades, on which metrics depend
        self._touched: dict[tuple[int, int], bool] = {}

    def state(self) -> list[Any]:
        *plain, apart, touched = super().state()
        return [*plain, list(apart.items()), list(touched.items())]

    def restore(self, state: list[Any]) -> None:
        *plain, apart, touched = state
        of_keys = {tuple(key): chain for key, chain in apart}
        super().restore([*plain, of_keys, {tuple(key): is_traded for key, is_traded in touched}])

    def candles(self, interval: int, count: int = 0) -> list[Values]:
        """The newest `count` candles of an interval (0: all), oldest first."""
        return [self.held.read(at) for at in self.indices(interval)[-count:]]

    def indices(self, interval: int) -> list[int]:
        """The rows of an interval, in the order of time."""
        return self.held.indices(self.number, interval)

    def pending(self, interval: int) -> list[Values]:
        """The candles of an interval that have ended and are not closed yet, oldest first."""
        if not self.held.pending:
            return []
        flags = self.held.rows[:, FLAGS]
        return [self.held.read(at) for at in self.indices(interval) if not flags[at] & CLOSED]

    def hold(self, index: int, values: Values, chain: Chain) -> None:
        """A candle becomes pending; the oldest of its interval leaves the history."""
        columns, number = self.held, self.number
        if columns.is_taken(number, index):
            at = columns.next_index(number, index)
            open_ms, close_ms = columns.rows[at, : CLOSE_MS + 1].tolist()
            key = (index, open_ms)
            if columns.undo_pending(at, close_ms):
                self.columns.close([at])  # so many are pending that the ring is full: it closes before its time
            if key in self._touched:
                self.revise([key])
            self._apart.pop(key, None)
            self._forgotten[index] = max(self._forgotten[index], open_ms)
        columns.put(number, index, values)
        if len(chain) > 1:
            self._apart[index, values[OPEN_MS]] = chain

    def place(self, index: int, event_ms: int, part: Part) -> int:
        """Add trades to a pending or closed candle. REVISED where it was closed, 0 where it is held no more, else 1."""
        interval = INTERVALS[index]
        open_ms = interval.open_ms(event_ms)
        at = self.held.find(self.number, index, open_ms)
        if at is None:
            if open_ms <= self._forgotten[index]:
                return 0
            flags = partial(open_ms, self.since_ms)
            anchor_ms = cvd_anchor_ms(index, open_ms, self.since_ms)
            cvd = flow.delta(part) if index >= FIRST_DAILY else self._cvd_before(index, open_ms)
            close_ms = interval.close_ms(open_ms)
            self.hold(index, [open_ms, close_ms, 0, flags, cvd, anchor_ms, *book.UNKNOWN, *part], [part])
            self._inserted.append([index, open_ms])
            self._reflatten(index, open_ms, part[flow.CLOSE])
            return 1
        values = self.held.read(at)
        was = values[PART + flow.CLOSE]
        chain = self._apart.pop((index, open_ms), None) or ([] if values[FLAGS] & EMPTY else [values[PART:]])
        chain = flow.insert(chain, part, self.ids.is_open)
        if len(chain) > 1:
            self._apart[index, open_ms] = chain
        values[PART:] = flow.whole(chain)
        if index >= FIRST_DAILY:
            values[CVD] += flow.delta(part)
        fresh = values[FLAGS] & EMPTY
        values[FLAGS] &= ~EMPTY
        self.held.write(at, values)
        if values[PART + flow.CLOSE] != was or fresh:
            self._reflatten(index, open_ms, values[PART + flow.CLOSE])
        if values[FLAGS] & CLOSED:
            self._touched[index, open_ms] = True
            return REVISED
        return 1

    def _cvd_before(self, index: int, open_ms: int) -> int:
        """The CVD with which a candle that nothing was held of begins: by its neighbours of the same day."""
        day = [values for values in self.candles(index) if values[OPEN_MS] // DAY == open_ms // DAY]
        cvd = 0
        for values in reversed(day):
            cvd = values[CVD]
            if values[OPEN_MS] < open_ms:
                break
            cvd -= 2 * values[PART + flow.BUY_VOLUME] - values[PART + flow.VOLUME]
        return cvd

    def shift_cvd(self, event_ms: int, signed: int) -> None:
        """A late trade moves the CVD of all candles of its day that end after it."""
        for index in range(FIRST_DAILY):
            if not self.wanted[index]:
                continue
            for at in self.indices(index)[::-1]:
                values = self.held.read(at)
                if values[CLOSE_MS] <= event_ms:
                    break
                if values[OPEN_MS] // DAY == event_ms // DAY:
                    values[CVD] += signed
                    self.held.write(at, values)
                    if values[FLAGS] & CLOSED:
                        self._touched.setdefault((index, values[OPEN_MS]), False)

    def _reflatten(self, index: int, open_ms: int, price: int) -> None:
        """A candle has a new close: the flat ones that follow it stand at that price."""
        for at in self.indices(index):
            values = self.held.read(at)
            if values[OPEN_MS] <= open_ms:
                continue
            if not values[FLAGS] & EMPTY:
                return
            values[PART + flow.OPEN : PART + flow.CLOSE + 1] = [price] * 4
            self.held.write(at, values)
            if values[FLAGS] & CLOSED:
                self._touched[index, values[OPEN_MS]] = True

    # ------------------------------------------------------------------ what may be missing, and what is corrected

    def see_again(self) -> None:
        """The first new trade after an outage: either its id has left a hole, or nothing was missed."""
        self.blind_ns = None
        self.recheck = True

    def is_suspect(self, open_ms: int, close_ms: int) -> bool:
        """Whether trades are missing that belong, or may belong, into this time."""
        if self.blind_ns is not None and close_ms * MS > self.blind_ns:
            return True
        return self.ids.missing_within(open_ms * MS, close_ms * MS)

    def correct(self) -> None:
        """Issue what late trades, and news of missing ones, have changed in closed candles."""
        if self.recheck:
            self.recheck = False
            rows = self.held.rows
            for index in range(len(INTERVALS)):
                for at in self.indices(index):
                    open_ms, close_ms, _, flags = rows[at, :CVD].tolist()
                    if flags & CLOSED and bool(flags & SUSPECT) != self.is_suspect(open_ms, close_ms):
                        self._touched.setdefault((index, open_ms), False)
        if self._inserted:
            self._close_inserted()
        if self._touched:
            self.revise(list(self._touched))

    def _close_inserted(self) -> None:
        """Close the candles that came between closed ones first: the metrics of those depend on them."""
        due_ms = self.columns.clock_ms - self.columns.grace_ms
        for index, open_ms in sorted(self._inserted):
            at = self.held.find(self.number, index, open_ms)
            close_ms = INTERVALS[index].close_ms(open_ms)
            if at is not None and close_ms <= due_ms and self.held.undo_pending(at, close_ms):
                self.columns.close([at])
                if self.columns.follows:
                    self._touched |= dict.fromkeys(self._closed_after(index, open_ms), True)
        self._inserted.clear()

    def _closed_after(self, index: int, open_ms: int) -> list[tuple[int, int]]:
        rows = self.held.rows
        each = [rows[at, :CVD].tolist() for at in self.indices(index)]
        return [(index, opens) for opens, _, _, flags in each if opens > open_ms and flags & CLOSED]

    def revise(self, keys: Iterable[tuple[int, int]]) -> None:
        """Publish the next revision of these held candles, as far as they were touched, and of what follows them."""
        wanted: set[tuple[int, int]] = set()
        for key in keys:
            is_traded = self._touched.pop(key, None)
            if is_traded is None:
                continue
            wanted.add(key)
            if is_traded and self.columns.follows:
                wanted.update(self._closed_after(*key))
        indices = []
        for key in sorted(wanted):
            self._touched.pop(key, None)
            at = self.held.find(self.number, *key)
            if at is None:
                continue
            values = self.held.read(at)
            values[REVISION] += 1
            suspect = SUSPECT if self.is_suspect(values[OPEN_MS], values[CLOSE_MS]) else 0
            values[FLAGS] = (values[FLAGS] | REVISED) & ~SUSPECT | suspect
            self.held.write(at, values)
            indices.append(at)
        if indices:
            self.columns.publish(indices)

    # ------------------------------------------------------------------ decimals

    def restate(self, more_price: int, more_size: int, decimals: tuple[int, int]) -> None:
        """Everything with that many more decimals."""
        for index in range(len(INTERVALS)):
            for at in self.indices(index):
                values = self.held.read(at)
                values[CVD] *= 10**more_size
                values[PART:] = flow.rescale(values[PART:], more_price, more_size)
                self.held.write(at, values)
        for key, chain in self._apart.items():
            self._apart[key] = [flow.rescale(part, more_price, more_size) for part in chain]
        self.held.decimals[self.number] = decimals
