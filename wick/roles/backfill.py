"""Asking a venue's REST for the trades that did not come. A greenlet a venue; it never goes beyond the venue's limits.

A hole is left alone for a moment: reordered trades fill it by themselves. Then it is asked for page by page, the oldest
hole of each symbol in turn, and whatever of an answer is still missing is taken like a live trade. What REST does not
have, after some tries, is given up: counted, and named in the log.
"""

import logging
import random
from collections.abc import Callable
from typing import Any

import gevent

from wick.errors import ParseError
from wick.exchanges import NOT_NOW, Hole, Venue
from wick.net.clock import now_ns
from wick.net.fetch import FetchError
from wick.roles.rest import Rest
from wick.stream.doubling import Doubling
from wick.stream.ticks import Ticks

LOOK_S = 0.2
SETTLE_NS = 10**9  # reordered trades come by themselves; within the grace of candles, so that none has to be revised
ALONE_NS = 10 * 10**9  # where nobody asks: then they do not come any more
TRIES = 5  # answers that bring nothing, or refuse; 1, 2, 4, ... s apart: REST may be behind the stream
NONSENSE_TRIES = 60  # most of an hour: a page about maintenance, with status 200, does not say that there are none
NAMED = 10  # holes that are named in the log in a minute; all are counted
SECOND_NS = 10**9
WAIT_NS, WAIT_MOST_NS = SECOND_NS, 60 * SECOND_NS
REFUSALS = range(400, 500)  # statuses that say that the request is wrong; but for those that say "not now"
# 403 is a firewall's: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-api-information
LATER = (403, 408, 418, 425, 429)

log = logging.getLogger("wick")


class Backfill:
    """Mends the holes of one venue's ticks."""

    def __init__(self, venue: Venue, ticks: Ticks, rest: Rest | None, count: Callable[..., Any]) -> None:
        """`rest` None: nobody is asked."""
        self._venue, self._ticks, self._rest, self._count = venue, ticks, rest, count
        self._waits = Doubling(WAIT_NS, WAIT_MOST_NS)
        self._tries: dict[str, int] = {}  # that brought nothing, by symbol, since one that did
        self._nonsense: dict[str, int] = {}  # those whose answer made no sense
        self._named = (0, 0)  # minute, holes given up in it
        self._open: dict[str, int] = {}  # symbols with holes, and how many trades of them are given up

    def run(self) -> None:
        """Forever; a greenlet's body."""
        while True:
            gevent.sleep(LOOK_S * random.uniform(0.5, 1))
            self._ticks.notice_tails(now_ns())
            if symbols := self._ticks.renumbered():
                log.error(
                    "%s numbers the trades of %d symbols anew, or made a million meanwhile; nobody asks for them: %s",
                    self._venue.id, len(symbols), ", ".join(symbols[:NAMED]),
                )  # fmt: skip
            while self.step(now_ns()):
                pass

    def step(self, at_ns: int) -> bool:
        """Do something about one hole; false where there is nothing to do now."""
        ticks = self._ticks
        asked: set[str] = set()
        while hole := ticks.next_hole(at_ns - (SETTLE_NS if self._rest else ALONE_NS)):
            if hole.symbol in asked:
                break
            asked.add(hole.symbol)
            if hole.symbol not in self._open:
                self._open[hole.symbol] = 0
                self._count("holes")
            if self._waits.is_due(hole.symbol, at_ns):
                if self._rest is None:
                    self._give_up(hole, "nobody is asked for it")
                else:
                    self._ask(hole, self._rest)
                self._conclude()
                return True
        self._conclude()
        return False

    def _ask(self, hole: Hole, rest: Rest) -> None:
        """One page of the hole."""
        symbol = hole.symbol
        try:
            # Where REST goes by time, the time may be wrong: an exchange's clock that was turned back, for one.
            earlier_ns = 4**tries * SECOND_NS if (tries := self._tries.get(symbol, 0)) else 0
            path = self._venue.backfill_path(hole._replace(from_ns=hole.from_ns - earlier_ns))
            raw = rest.get(path, self._venue.backfill_weight)
            trades = self._venue.parse_backfill(hole, raw)
        except FetchError as error:
            if error.status in REFUSALS and error.status not in LATER:
                self._in_vain(hole, str(error), self._tries, TRIES)
            else:
                log.warning("cannot ask for missing trades of %s: %s", symbol, error)
                self._waits.done(symbol, now_ns())
            return
        except ParseError as error:
            if error.reason == NOT_NOW:
                rest.turned_away()
                self._waits.done(symbol, now_ns())
            else:
                self._in_vain(hole, str(error), self._nonsense, NONSENSE_TRIES)
            return
        self._nonsense.pop(symbol, None)
        taken = self._ticks.mend(trades, now_ns())
        self._count("backfilled_trades", taken)
        if taken:
            self._tries.pop(symbol, None)
            self._waits.forget(symbol)
        elif self._ticks.missing(hole):
            self._in_vain(hole, f"{self._venue.id} does not have them", self._tries, TRIES)

    def _in_vain(self, hole: Hole, why: str, tries: dict[str, int], most: int) -> None:
        tries[hole.symbol] = tries.get(hole.symbol, 0) + 1
        self._waits.done(hole.symbol, now_ns())
        if tries[hole.symbol] >= most:
            del tries[hole.symbol]
            self._waits.forget(hole.symbol)
            self._give_up(hole, why)

    def _give_up(self, hole: Hole, why: str) -> None:
        count = self._ticks.give_up(hole)
        self._open[hole.symbol] += count
        minute = now_ns() // (60 * SECOND_NS)
        self._named = (minute, self._named[1] + 1 if self._named[0] == minute else 1)
        if self._named[1] <= NAMED:
            log.error(
                "%d trades of %s:%s are missing for good, ids %d to %d: %s",
                count, self._venue.id, hole.symbol, hole.first_id, hole.last_id, why,
            )  # fmt: skip
        elif self._named[1] == NAMED + 1:
            log.error("more of %s are missing for good: lost_trades in wick status counts them", self._venue.id)

    def _conclude(self) -> None:
        """Symbols that miss nothing any more."""
        for symbol in [one for one in self._open if not self._ticks.is_holed(one)]:
            given_up = self._open.pop(symbol)
            self._tries.pop(symbol, None)
            self._nonsense.pop(symbol, None)
            self._waits.forget(symbol)
            self._count("unmended" if given_up else "mended")
