"""The latest trades by id, a bounded number of them: what the exchange can still tell over REST. Pure."""

from bisect import bisect_left, bisect_right

from wick.sim.market import TradeEvent


class History:
    """Trades of a symbol in the order of their ids; when it is full, the oldest make way."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ids: list[int] = []
        self._times: list[int] = []  # the latest up to this trade: a skewed clock may have gone back
        self._trades: list[TradeEvent] = []

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> tuple[int, int]:
        """The first and the last that is kept; (0, -1): none."""
        return (self._ids[0], self._ids[-1]) if self._ids else (0, -1)

    def add(self, trade: TradeEvent) -> None:
        """Keep it, unless one with this id or a higher one is there already."""
        if self._ids and trade.trade_id <= self._ids[-1]:
            return
        self._times.append(max(trade.time_ms, self._times[-1] if self._times else 0))
        self._ids.append(trade.trade_id)
        self._trades.append(trade)
        if len(self._ids) > self._capacity * 5 // 4:  # in large pieces: cutting a list's head moves all of it
            for column in (self._ids, self._times, self._trades):
                del column[: -self._capacity]

    def latest(self, limit: int) -> list[TradeEvent]:
        return self._trades[-limit:]

    def since(self, trade_id: int, limit: int) -> list[TradeEvent]:
        """Up to `limit` trades from this id on, or from the oldest one that is kept."""
        start = bisect_left(self._ids, trade_id)
        return self._trades[start : start + limit]

    def between(self, first_id: int, last_id: int, limit: int) -> list[TradeEvent]:
        """The latest `limit` of those with ids `first_id`..`last_id`."""
        start, end = bisect_left(self._ids, first_id), bisect_right(self._ids, last_id)
        return self._trades[max(start, end - limit) : end]

    def later(self, time_ms: int, limit: int) -> list[TradeEvent]:
        """Up to `limit` trades from that time on."""
        start = bisect_left(self._times, time_ms)
        return self._trades[start : start + limit]
