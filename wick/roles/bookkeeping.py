"""Keeping one venue's books valid, and telling the ticks what they hold: which to ask for, when, and how often.

A broken book is asked for alone, at its own pace: REST in greenlets of their own, or a new subscription. Nothing that
is received waits for any of it.
"""

import logging
from collections.abc import Container, Iterable

from gevent.event import Event as Signal

from wick.errors import ParseError
from wick.exchanges import Instrument, Venue
from wick.market.trades import DepthUpdate, Topic
from wick.net.clock import now_ns, steady_ns
from wick.net.fetch import FetchError
from wick.net.limits import Bucket
from wick.roles.connection import Connections
from wick.roles.house import House
from wick.roles.rest import Rest
from wick.stream.books import Books
from wick.stream.doubling import Doubling
from wick.stream.shards import shard_of
from wick.stream.ticks import Ticks

SECOND_NS = 10**9
AT_ONCE_NS = 5_000_000  # of a flush that books may take; what is left waits for the next, and is conflated meanwhile
BETWEEN_LOOKS = 8  # books, at the clock
TAPPED_LEVELS = 20
SHARE = 0.6  # of what REST may be asked: the rest is for missing trades whenever there are some
ASKED_AT_ONCE = 4  # an answer takes a second; the venue's limit holds anyway
BEGINS = ("new", "lost")  # not the book's fault: asked for at once, however often connections are lost
RESYNC_NS, RESYNC_MOST_NS = SECOND_NS, 60 * SECOND_NS  # a book that breaks again and again is not asked for in a storm
LATE_NS = 10 * SECOND_NS  # for the snapshot that comes with a subscription

log = logging.getLogger("wick")


class Bookkeeper:
    """The books of one venue."""

    def __init__(
        self, venue: Venue, levels: int, connections: Connections, rest: Rest, house: House, *, with_quotes: bool
    ) -> None:
        """`with_quotes`: nothing else tells the best prices."""
        self.books = Books(levels, venue.depth_from_rest, venue.depth_levels)
        self.changed_ns: dict[str, int] = {}  # when an update or a snapshot of a book last came
        self._venue, self._levels, self._connections, self._rest, self._house = venue, levels, connections, rest, house
        self._with_quotes = with_quotes
        self._symbols: set[str] = set()
        self._weight = venue.snapshot_weight(levels)
        most, window_s = venue.limits.rest
        self._share = Bucket(max(1, int(most * SHARE)), window_s)
        self._resyncs = Doubling(RESYNC_NS, RESYNC_MOST_NS)
        self._asking: dict[str, None] = {}  # whose snapshot REST is to be asked for
        self._to_ask = Signal()
        self._asked: set[str] = set()  # ... and whose answer is awaited
        self._late: dict[str, int] = {}  # that are not valid and that nobody asks for, since when
        self._dirty: dict[str, None] = {}  # that have changed, the longest ago first

    def start(self) -> None:
        if self._venue.depth_from_rest:
            for _ in range(ASKED_AT_ONCE):
                self._house.spawn(self._fetch_forever)

    def add(self, symbol: str, listed: Instrument | None) -> None:
        self._symbols.add(symbol)
        self.books.add(symbol, listed.price_step if listed else "", listed.quantity_step if listed else "")

    def remove(self, symbol: str) -> None:
        self._symbols.discard(symbol)
        self.books.remove(symbol)
        self.changed_ns.pop(symbol, None)
        self._asking.pop(symbol, None)
        self._late.pop(symbol, None)
        self._dirty.pop(symbol, None)
        self._resyncs.forget(symbol)

    def take(self, update: DepthUpdate, source: int, recv_ns: int) -> None:
        """ParseError: see `Books.take`. What has just been removed is passed over."""
        if update.symbol in self._symbols:
            self.changed_ns[update.symbol] = recv_ns
            self.books.take(update, source, recv_ns)

    def lost(self, source: int) -> None:
        for symbol in self._symbols:
            self._tell_who_listens(symbol, source)
        self.books.lost(source)

    def doubt(self, symbols: Iterable[str]) -> None:
        self.books.doubt(symbols)

    def gauges(self) -> dict[str, int]:
        waiting = len(self.books.broken) + len(self._asking) + len(self._asked)
        return {**{f"books_{name}": value for name, value in self.books.states().items()}, "books_waiting": waiting}

    def counters(self) -> dict[str, int]:
        return {f"book_{name}": value for name, value in self.books.counters.items()}

    def tell(self, ticks: Ticks, tapped: Container[int]) -> None:
        """Give what books hold to the ticks of the next flush; called behind a flush, so that no trade waits for it.

        The best levels of the books of the shards `tapped` are shown: to write them down costs more than all else here.
        """
        books, dirty = self.books, self._dirty
        dirty.update(dict.fromkeys(books.dirty))
        books.dirty.clear()
        until_ns = steady_ns() + AT_ONCE_NS
        for place, symbol in enumerate(list(dirty), 1):
            del dirty[symbol]
            recv_ns = self.changed_ns.get(symbol, 0) or now_ns()
            ticks.book(books.depth(symbol), books.best(symbol) if self._with_quotes else None, recv_ns)
            if shard_of(self._venue.id, symbol) in tapped:
                self._show(symbol)
            if place % BETWEEN_LOOKS == 0 and steady_ns() > until_ns:
                self._house.count("books_put_off", len(dirty))
                return

    def show(self, shards: Container[int]) -> None:
        """Show the books of these shards as they are, to someone who has just begun to listen."""
        for symbol in self._symbols:
            if shard_of(self._venue.id, symbol) in shards and self.books.is_live(symbol):
                self._show(symbol)

    def _show(self, symbol: str) -> None:
        self._house.show(self._venue.id, symbol, self.books.top(symbol, TAPPED_LEVELS))

    def resync(self) -> None:
        """Ask for the books that are broken, each at its pace."""
        broken, at_ns = self.books.broken, now_ns()
        again = []
        due = [one for one, why in broken.items() if why in BEGINS or self._resyncs.is_due(one, at_ns)]
        for symbol in due:
            why = broken.pop(symbol)
            if why == "lost" and not self._venue.depth_from_rest:
                continue  # its snapshot comes with the next connection
            if why not in BEGINS:
                self._resyncs.done(symbol, at_ns)
            self._house.count("resyncs")
            self._house.count("resyncs: " + why)
            if self._venue.depth_from_rest:
                self._asking[symbol] = None
                self._to_ask.set()
            else:
                again.append(Topic(symbol, "depth"))
        if again:
            self._connections.again(again)

    def notice_late(self, at_ns: int) -> None:
        """A book whose snapshot does not come, or made no sense, is asked for again."""
        for symbol in self._symbols:
            self._tell_who_listens(symbol)
            is_asked = symbol in self.books.broken or symbol in self._asking or symbol in self._asked
            if is_asked or self.books.is_live(symbol) or not self._connections.carries(Topic(symbol, "depth")):
                self._late.pop(symbol, None)
            elif not 0 <= at_ns - self._late.setdefault(symbol, at_ns) < LATE_NS and symbol in self.changed_ns:
                del self._late[symbol]
                self.books.broken[symbol] = "late"

    def _tell_who_listens(self, symbol: str, but: int = -1) -> None:
        """A quiet book begins, and is handed over, though nothing is heard of it."""
        for number in self._connections.carriers(Topic(symbol, "depth")):
            if number != but:
                self.books.listens(symbol, number)

    def _fetch_forever(self) -> None:
        """Put the snapshots that REST gives into the books; a greenlet's body."""
        while True:
            while not self._asking:
                self._to_ask.clear()
                self._to_ask.wait()
            symbol = next(iter(self._asking))
            del self._asking[symbol]
            self._asked.add(symbol)
            try:
                self._share.wait(self._weight)
                self.books.expect(symbol)
                raw = self._rest.get(self._venue.snapshot_path(symbol, self._levels), self._weight)
                recv_ns = now_ns()
                if self._house.recorder is not None:
                    self._house.recorder.write(0, recv_ns, [raw])
                if symbol in self._symbols:
                    self.changed_ns[symbol] = recv_ns
                    self.books.put(symbol, self._venue.parse_snapshot(raw), recv_ns)
            except (FetchError, ParseError) as error:
                log.warning("cannot have the book of %s:%s: %s", self._venue.id, symbol, error)
                if symbol in self._symbols:
                    self.books.broken.setdefault(symbol, "unanswered")
            finally:
                self.books.expect(symbol, False)
                self._asked.discard(symbol)
