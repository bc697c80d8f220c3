"""A pair's past trades from a venue's REST: page by page, by rising id, within the venue's limits."""

import logging
from collections.abc import Iterator
from itertools import takewhile

from wick.exchanges import Hole, Venue
from wick.market.trades import Trade
from wick.roles.asking import AskError, Asking

PAGE = 1_000  # all venues give as many at a time
NEWEST = 2**53  # no venue has numbered as many; JavaScript's largest safe integer

log = logging.getLogger("wick")


class PastTrades:
    """AskError where the venue gives none."""

    def __init__(self, venue: Venue, symbol: str, asking: Asking) -> None:
        if not venue.backfills:
            raise AskError(
                f"{venue.title} gives no past trades over REST: valid is --candles where it has those, or --files"
            )
        self._venue, self._symbol, self._asking = venue, symbol, asking

    def first(self, from_ns: int) -> int | None:
        """The id of the first trade from that time on; None: there is none yet."""
        venue, symbol = self._venue, self._symbol
        if venue.since_weight:
            path = venue.since_path(symbol, from_ns)
            return self._asking.ask(path, venue.since_weight, lambda raw: venue.parse_since(symbol, raw))
        newest = self._page(Hole(symbol, 1, NEWEST, from_ns, from_ns))
        if not newest or newest[-1].event_ns < from_ns:
            return None
        low, high = 0, newest[-1].trade_id  # the trade `high` is not before that time
        while low + 1 < high:
            middle = (low + high) // 2
            found = self._page(Hole(symbol, middle, middle, from_ns, from_ns))
            low, high = (low, middle) if found and found[0].event_ns >= from_ns else (middle, high)
        return high

    def one(self, trade_id: int, near_ns: int) -> Trade | None:
        """The trade with that id, from about that time; None where the venue does not have it."""
        found = self._page(Hole(self._symbol, trade_id, trade_id, near_ns, near_ns))
        return found[0] if found else None

    def pages(self, next_id: int, last_ns: int, before_ns: int, end_id: int | None) -> Iterator[list[Trade]]:
        """Trades from `next_id` on, which was traded at `last_ns` or later, up to the first that is not before
        `before_ns`: the one with `end_id`, where that is known, else the newest that there is."""
        while end_id is None or next_id < end_id:
            last_id = next_id + PAGE - 1 if end_id is None else min(next_id + PAGE, end_id) - 1
            trades = self._page(Hole(self._symbol, next_id, last_id, last_ns, before_ns))
            if trades:
                some = list(takewhile(lambda trade: trade.event_ns < before_ns, trades))
                yield some
                if len(some) < len(trades):
                    return
                last_ns = max(last_ns, trades[-1].event_ns)
                next_id = trades[-1].trade_id + 1
            elif end_id is None:
                return
            else:
                log.error("%s does not have trades %d to %d of %s", self._venue.id, next_id, last_id, self._symbol)
                next_id = last_id + 1

    def _page(self, hole: Hole) -> list[Trade]:
        venue = self._venue
        return self._asking.ask(
            venue.backfill_path(hole), venue.backfill_weight, lambda raw: venue.parse_backfill(hole, raw)
        )
