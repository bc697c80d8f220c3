"""One venue of a feed: which symbols, its connections and what they bring, its books, its staleness and backfill.

Everything that is received goes into `ticks`, which the feed's flush empties. Nothing here waits while messages do:
what REST is asked for (symbols, snapshots of books, missing trades) is asked in greenlets of its own.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
from gevent.event import Event as Signal

from wick.errors import ParseError
from wick.exchanges import Instrument, Refused, Venue
from wick.market.trades import Ack, DepthUpdate, Event, Shutdown, Topic
from wick.net.clock import now_ns, steady_ns
from wick.net.dial import client_context
from wick.net.fetch import FetchError
from wick.net.limits import Bucket
from wick.ops.settings import Settings
from wick.ops.symbols import Wanted
from wick.roles.backfill import Backfill
from wick.roles.connection import Connection, Connections, Heard, Hooks, Patience
from wick.roles.rest import Rest
from wick.stream.books import Books
from wick.stream.doubling import Doubling
from wick.stream.ticks import Ticks

SECOND_NS = 10**9
LISTED_TRIES = 3
LOGGED_A_SECOND = 5  # parse errors that are named in the log; all are counted
BOOKS_NS = 5_000_000  # of a flush that books may take; what is left waits for the next, and is conflated meanwhile
BOOKS_AT_ONCE = 8
TAPPED_LEVELS = 20
BOOKS_SHARE = 0.6  # of what REST may be asked: the rest is for missing trades whenever there are some
LIST_WEIGHT = 20  # Binance's; where requests count, one more or less does not matter
SNAPSHOTS = 4  # of books that are asked for at the same time: an answer takes a second, the venue's limit holds anyway
RESYNC_NS, RESYNC_MOST_NS = SECOND_NS, 60 * SECOND_NS  # a book that breaks again and again is not asked for in a storm
LATE_NS = 10 * SECOND_NS  # for the snapshot that comes with a subscription
STALE_MOST_NS = 3600 * SECOND_NS

log = logging.getLogger("wick")


class Recorder(Protocol):
    """Keeps everything as it was received; connection 0 is REST (`storage.capture.Capture`)."""

    def write(self, number: int, recv_ns: int, messages: list[bytes]) -> None: ...

    def end(self, number: int) -> None: ...


@dataclass(frozen=True)
class House:
    """What a venue needs of the process that it lives in."""

    spawn: Callable[..., Any]
    count: Callable[..., Any]  # (name, amount=1)
    room: Callable[[], Any]  # blocks while too much is unsent
    heard: Callable[[int], Any]  # (recv_ns): there was data
    show: Callable[[str, str, tuple[int, int, Any, Any]], Any]  # (venue, symbol, best levels): to who taps them
    recorder: Recorder | None


class VenueFeed:
    """Reads one venue for as long as the process lives."""

    def __init__(self, venue: Venue, settings: Settings, house: House) -> None:
        self.venue, self.house = venue, house
        context = client_context(settings["feed.ca_file"])
        self._rest = Rest(venue, settings["feed.rest_url"] or venue.rest_url, context, house.count)
        self.ticks = Ticks(venue.id, (), venue.contiguous_ids)
        self._channels = tuple(channel for channel in settings["feed.channels"] if channel in venue.channels)
        self._quotes_come = "quote" in self._channels
        levels = settings["feed.book_levels"]
        self._book_levels = levels
        # What a venue says is for 1,000 levels; Binance, the only one that has more, weighs 5,000 as five such.
        most, window_s = venue.limits.rest
        self._books_share = Bucket(max(1, int(most * BOOKS_SHARE)), window_s)
        self._snapshot_weight = venue.snapshot_weight * (1 if levels <= 1_000 else 5)
        self.books = Books(levels, venue.depth_from_rest, venue.depth_levels)
        url = (settings["feed.ws_url"] or venue.ws_url).rstrip("/") + venue.ws_path
        hooks = Hooks(self._take, closed=self._closed, room=house.room, count=house.count, spawn=house.spawn)
        patience = Patience(silence_s=settings["feed.silence_s"], backoff_s=settings["feed.backoff_s"])
        self.connections = Connections(venue, url, hooks, patience, context)
        asks = settings["feed.backfill"] and venue.backfills
        self._backfill = Backfill(venue, self.ticks, self._rest if asks else None, house.count)
        self._stale_ns = round(settings["feed.stale_s"] * 1e9)
        self._silent = Doubling(self._stale_ns, STALE_MOST_NS)
        self._resyncs = Doubling(RESYNC_NS, RESYNC_MOST_NS)
        self._asking: dict[str, None] = {}  # books whose snapshot REST is to be asked for
        self._asked: set[str] = set()  # ... and whose answer is awaited
        self._late: dict[str, int] = {}  # books that are not valid and that nobody asks for, since when
        self._dirty: dict[str, None] = {}  # books that have changed, the longest ago first
        self._depth_ns: dict[str, int] = {}  # when a symbol's book last changed
        self._since_ns: dict[str, int] = {}  # when a symbol was added
        self._fresh: set[int] = set()  # connections that have brought data
        self._away: set[str] = set()  # symbols that are not listened to since a connection was lost
        self._read: dict[int, int] = {}  # messages of each connection
        self._instruments: dict[str, Instrument] | None = None
        self._wanted: Wanted | None = None
        self._changed = Signal()
        self.chosen = Signal()  # it is known which symbols there are to read
        self.stale = 0
        self._logged = (0, 0)  # (second, parse errors named in it)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        for body in (self._manage, self._watch, self._backfill.run):
            self.house.spawn(body)
        if self.venue.depth_from_rest:
            for _ in range(SNAPSHOTS):
                self.house.spawn(self._fetch_books)

    def want(self, wanted: Wanted) -> None:
        """Read these from now on: what is new is subscribed to, what is gone is not any more, the rest stays."""
        self._wanted = wanted
        self._changed.set()

    @property
    def is_connected(self) -> bool:
        """Whether some connection brings data: only then is the venue's time known to have brought nothing else."""
        return bool(self._fresh)

    def gauges(self) -> dict[str, Any]:
        return {
            "symbols": len(self.ticks),
            "stale": self.stale,
            **{f"connections_{name}": value for name, value in self.connections.gauges().items()},
            **{f"books_{name}": value for name, value in self.books.states().items()},
            "books_waiting": len(self.books.broken) + len(self._asking) + len(self._asked),
            **self.ticks.gauges(),
        }

    def counters(self) -> dict[str, int]:
        """What is counted elsewhere than with `House.count`."""
        return {f"book_{name}": value for name, value in self.books.counters.items()}

    # ------------------------------------------------------------------ symbols

    def _manage(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            wanted = self._wanted
            assert wanted is not None
            symbols = self._choose(wanted)
            if self._wanted is wanted:
                self._read_these(symbols)
                self.chosen.set()

    def _choose(self, wanted: Wanted) -> list[str]:
        """The wanted symbols that the venue lists. Keeps asking where it has to know."""
        if not wanted.every and not wanted.symbols:
            log.error("there is no symbol of %s to read: set feed.symbols", self.venue.id)
            return []
        if self._instruments is None or wanted.every or not self._instruments.keys() >= set(wanted.symbols):
            self._list(wanted)
        if self._instruments is None:
            return list(wanted.symbols)
        symbols = wanted.of(self._instruments)
        for name in sorted(set(wanted.symbols) - set(symbols)):
            self.house.count("unknown_symbols")
            log.error("feed.symbols: %s does not list %s, it is left out", self.venue.id, name)
        return symbols

    def _list(self, wanted: Wanted) -> None:
        tries = 0
        while self._wanted is wanted and (tries < LISTED_TRIES or (wanted.every and self._instruments is None)):
            tries += 1
            try:
                listed = self.venue.parse_symbols(self._rest.get(self.venue.symbols_path, LIST_WEIGHT))
            except (FetchError, ParseError) as error:
                log.warning("cannot ask %s which symbols trade: %s", self.venue.id, error)
                gevent.sleep(random.uniform(0, min(30.0, 0.5 * 2 ** min(tries, 10))))
            else:
                self._instruments = {one.symbol: one for one in listed}
                return

    def _read_these(self, symbols: list[str]) -> None:
        wanted = set(symbols)
        gone = [symbol for symbol in self._since_ns if symbol not in wanted]
        self.connections.drop(self._topics(gone))
        for symbol in gone:
            self.ticks.remove(symbol)
            self.books.remove(symbol)
            for by_symbol in (self._since_ns, self._depth_ns, self._asking, self._late, self._dirty):
                by_symbol.pop(symbol, None)
            self._away.discard(symbol)
            self._silent.forget(symbol)
            self._resyncs.forget(symbol)
        new = [symbol for symbol in symbols if symbol not in self._since_ns]
        at_ns = now_ns()
        for symbol in new:
            self.ticks.add(symbol)
            if "depth" in self._channels:
                listed = (self._instruments or {}).get(symbol)
                self.books.add(symbol, listed.price_step if listed else "", listed.quantity_step if listed else "")
            self._since_ns[symbol] = at_ns
        self.connections.add(self._topics(new))
        log.info("%s: reading %d symbols, %d new, %d gone", self.venue.id, len(symbols), len(new), len(gone))

    def _topics(self, symbols: list[str]) -> list[Topic]:
        return [Topic(symbol, channel) for symbol in symbols for channel in self._channels]

    # ------------------------------------------------------------------ in

    def _take(self, connection: Connection, messages: list[bytes], recv_ns: int) -> Heard:
        """Take what a connection has received; whether there was data, and what concerns the connection itself."""
        number, house, ticks = connection.number, self.house, self.ticks
        if house.recorder is not None:
            house.recorder.write(number, recv_ns, messages)
        if number not in self._fresh and self._away:
            back = self._away.intersection(topic.symbol for topic in connection.topics)
            ticks.outage(back)
            self._away -= back
        before = self._read.get(number, 0)
        self._read[number] = before + len(messages)
        trades, quotes, duplicates, depths = ticks.trades, ticks.quotes, ticks.duplicates, 0
        own: list[Event] = []
        books_take, depth_ns = self.books.take, self._depth_ns
        for other in ticks.take(self.venue.take(messages), recv_ns):
            if isinstance(other, DepthUpdate):
                if other.symbol not in self._since_ns:
                    continue  # it has just been removed
                depths += 1
                depth_ns[other.symbol] = recv_ns
                try:
                    books_take(other, number, recv_ns)
                except ParseError as error:
                    self._refuse(error, f"a change of the book of {other.symbol}")
            elif isinstance(other, Refused):
                self._refuse(other.error, f"frame {before + other.place + 1} of connection {number}")
                if other.error.reason != "unknown event":
                    ticks.doubt({topic.symbol for topic in connection.topics})
            elif isinstance(other, ParseError):
                self._refuse(other, "an event")
            elif isinstance(other, Ack | Shutdown):
                own.append(other)
        trades, quotes, duplicates = ticks.trades - trades, ticks.quotes - quotes, ticks.duplicates - duplicates
        for name, count in (
            ("messages", len(messages)), ("trades", trades), ("quotes", quotes), ("depth_updates", depths),
            ("duplicates", duplicates),
        ):  # fmt: skip
            if count:
                house.count(name, count)
        data = bool(trades or quotes or depths or duplicates)
        if data:
            self._fresh.add(number)
            house.heard(recv_ns)
        return data, own

    def _closed(self, number: int, topics: tuple[Topic, ...]) -> None:
        self._fresh.discard(number)
        self._read.pop(number, None)
        self.books.lost(number)
        symbols = {topic.symbol for topic in topics if topic.channel == "trade"} & self._since_ns.keys()
        self.ticks.outage(symbols)
        self._away |= symbols
        if self.house.recorder is not None:
            self.house.recorder.end(number)

    def _refuse(self, error: ParseError, what: str) -> None:
        if error.reason == "unknown symbol":
            self.house.count("unwanted")  # it has just been removed
            return
        self.house.count("refused")
        self.house.count("refused: " + error.reason)
        second = now_ns() // SECOND_NS
        count = self._logged[1] + 1 if self._logged[0] == second else 1
        self._logged = (second, count)
        if count <= LOGGED_A_SECOND:
            log.warning("%s: %s is left out: %s", self.venue.id, what, error)

    # ------------------------------------------------------------------ books

    def tell_books(self, tapped: bool) -> None:
        """Give what books hold to the ticks of the next flush; called behind a flush, so that no trade waits for it."""
        books, dirty = self.books, self._dirty
        dirty.update(dict.fromkeys(books.dirty))
        books.dirty.clear()
        until_ns = steady_ns() + BOOKS_NS
        for place, symbol in enumerate(list(dirty), 1):
            del dirty[symbol]
            recv_ns = self._depth_ns.get(symbol, 0) or now_ns()
            self.ticks.book(books.depth(symbol), None if self._quotes_come else books.best(symbol), recv_ns)
            if tapped:
                self.house.show(self.venue.id, symbol, books.top(symbol, TAPPED_LEVELS))
            if place % BOOKS_AT_ONCE == 0 and steady_ns() > until_ns:
                self.house.count("books_put_off", len(dirty))
                return

    def _resync(self) -> None:
        """Ask for the books that are broken, each at its pace."""
        broken, at_ns = self.books.broken, now_ns()
        again = []
        for symbol in [one for one in broken if self._resyncs.is_due(one, at_ns)]:
            why = broken.pop(symbol)
            if why == "lost" and not self.venue.depth_from_rest:
                continue  # its snapshot comes with the next connection
            self._resyncs.done(symbol, at_ns)
            self.house.count("resyncs")
            self.house.count("resyncs: " + why)
            if self.venue.depth_from_rest:
                self._asking[symbol] = None
            else:
                again.append(Topic(symbol, "depth"))
        if again:
            self.connections.again(again)

    def _notice_late(self, at_ns: int) -> None:
        """A book whose snapshot does not come, or made no sense, is asked for again."""
        for symbol in self._since_ns:
            is_asked = symbol in self.books.broken or symbol in self._asking or symbol in self._asked
            if is_asked or self.books.is_live(symbol) or not self.connections.carries(Topic(symbol, "depth")):
                self._late.pop(symbol, None)
            elif at_ns - self._late.setdefault(symbol, at_ns) >= LATE_NS and symbol in self._depth_ns:
                del self._late[symbol]
                self.books.broken[symbol] = "late"

    def _fetch_books(self) -> None:
        """Put the snapshots that REST gives into the books; a greenlet's body."""
        while True:
            while not self._asking:
                gevent.sleep(0.05)
            symbol = next(iter(self._asking))
            del self._asking[symbol]
            self._asked.add(symbol)
            try:
                self._books_share.wait(self._snapshot_weight)
                raw = self._rest.get(self.venue.snapshot_path(symbol, self._book_levels), self._snapshot_weight)
                recv_ns = now_ns()
                if self.house.recorder is not None:
                    self.house.recorder.write(0, recv_ns, [raw])
                if symbol in self._since_ns:
                    self._depth_ns[symbol] = recv_ns
                    self.books.put(symbol, self.venue.parse_snapshot(raw), recv_ns)
            except (FetchError, ParseError) as error:
                log.warning("cannot have the book of %s:%s: %s", self.venue.id, symbol, error)
                if symbol in self._since_ns:
                    self.books.broken.setdefault(symbol, "unanswered")
            finally:
                self._asked.discard(symbol)

    # ------------------------------------------------------------------ what has gone quiet

    def _watch(self) -> None:
        seconds = min(1.0, self._stale_ns / 4e9)
        looked_ns = 0
        while True:
            gevent.sleep(min(0.1, seconds))
            self._resync()
            if (at_ns := now_ns()) - looked_ns >= seconds * 1e9:
                looked_ns = at_ns
                self._renew_stale(at_ns)
                if "depth" in self._channels:
                    self._notice_late(at_ns)

    def _renew_stale(self, at_ns: int) -> None:
        """Subscribe anew to the symbols that bring nothing, while their connection is up; less and less often."""
        stale, renewed = 0, []
        for symbol, since_ns in self._since_ns.items():
            last_ns = max(since_ns, self._depth_ns.get(symbol, 0), self.ticks.data_ns(symbol))
            if at_ns - last_ns < self._stale_ns:
                self._silent.forget(symbol)
                continue
            stale += 1
            topics = self._topics([symbol])
            if self._silent.is_due(symbol, at_ns) and any(map(self.connections.carries, topics)):
                self._silent.done(symbol, at_ns)
                renewed.append(symbol)
        self.stale = stale
        if renewed:
            self.house.count("stale_renewed", len(renewed))
            log.warning("%s: nothing comes of %s: subscribing anew", self.venue.id, ", ".join(renewed[:10]))
            self.connections.again(self._topics(renewed))
