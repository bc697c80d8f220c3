"""One venue of a feed: which symbols, its connections and what they bring, its books, its staleness and backfill.

Everything that is received goes into `ticks`, which the feed's flush empties. Nothing here waits while messages do:
what REST is asked for (symbols, snapshots of books, missing trades) is asked in greenlets of its own.
"""

import logging
import random
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event as Signal

from wick.errors import ParseError
from wick.exchanges import Instrument, Refused, Venue
from wick.exchanges._columns import take
from wick.market.trades import Ack, DepthUpdate, Event, Shutdown, Topic
from wick.net.clock import now_ns, steady_ns
from wick.net.dial import client_context
from wick.net.fetch import FetchError
from wick.ops.settings import Settings
from wick.ops.symbols import Wanted
from wick.roles.backfill import Backfill
from wick.roles.bookkeeping import Bookkeeper
from wick.roles.connection import Connection, Connections, Heard, Hooks, Patience
from wick.roles.house import House
from wick.roles.rest import Rest
from wick.storage import listing
from wick.stream.doubling import Doubling
from wick.stream.ticks import Ticks

SECOND_NS = 10**9
LISTED_TRIES = 3
RELIST_S, UNLISTED_S = 3600.0, 60.0  # when REST is asked again what trades: after it told, after it did not
LOGGED_A_SECOND = 5  # parse errors that are named in the log; all are counted
LIST_WEIGHT = 20  # Binance's; where requests count, one more or less does not matter
STALE_MOST_NS = 3600 * SECOND_NS

log = logging.getLogger("wick")


class VenueFeed:
    """Reads one venue for as long as the process lives."""

    def __init__(self, venue: Venue, settings: Settings, house: House) -> None:
        self.venue, self.house = venue, house
        context = client_context(settings["feed.ca_file"])
        self._rest = Rest(venue, settings["feed.rest_url"] or venue.rest_url, context, house.count)
        self.ticks = Ticks(venue.id, (), venue.contiguous_ids)
        asked: tuple[str, ...] = settings["feed.channels"]
        if "quote" in asked and "quote" not in venue.channels:
            asked += ("depth",)  # the best prices are in the book
        self._channels = tuple(channel for channel in venue.channels if channel in asked)
        url = (settings["feed.ws_url"] or venue.ws_url).rstrip("/") + venue.ws_path
        hooks = Hooks(self._take, closed=self._closed, room=house.room, count=house.count, spawn=house.spawn)
        patience = Patience(silence_s=settings["feed.silence_s"], backoff_s=settings["feed.backoff_s"])
        self.connections = Connections(venue, url, hooks, patience, context, settings["feed.streams"])
        self.books = Bookkeeper(
            venue, settings["feed.book_levels"], self.connections, self._rest, house,
            with_quotes="quote" not in self._channels,
        )  # fmt: skip
        asks = settings["feed.backfill"] and venue.backfills
        self._backfill = Backfill(venue, self.ticks, self._rest if asks else None, house.count)
        self._stale_ns = round(settings["feed.stale_s"] * 1e9)
        self._silent = Doubling(self._stale_ns, STALE_MOST_NS)
        self._since_ns: dict[str, int] = {}  # when a symbol was added
        self._fresh: set[int] = set()  # connections that have brought data
        self._away: set[str] = set()  # symbols that are not listened to since a connection was lost
        self._received: dict[int, int] = {}  # messages of each connection
        self._instruments: dict[str, Instrument] | None = None
        self._listing = Path(settings["core.data_dir"]) / "symbols" / venue.id
        self._listed = False  # REST has told them when it was last asked
        self._wanted: Wanted | None = None
        self._changed = Signal()
        self.chosen = Signal()  # it is known which symbols there are to read
        self.stale = 0
        self._looked = (0, 0)  # by the system's clock, and by the one that nobody sets
        self._logged = (0, 0)  # (second, parse errors named in it)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        for body in (self._manage, self._watch, self._backfill.run):
            self.house.spawn(body)
        self.books.start()

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
            **self.books.gauges(),
            **self.ticks.gauges(),
        }

    # ------------------------------------------------------------------ symbols

    def _manage(self) -> None:
        relist_s = None
        while True:
            is_told = self._changed.wait(relist_s)
            self._changed.clear()
            wanted = self._wanted
            assert wanted is not None
            symbols = self._choose(wanted) if is_told else self._look_again(wanted)
            if self._wanted is wanted:
                self._read_these(symbols)
                self.chosen.set()
            relist_s = self._relist_s(wanted)

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

    def _look_again(self, wanted: Wanted) -> list[str]:
        """What is read, and what trades by now beside it: a venue at rest may tell that nothing does."""
        self._list(wanted)
        return list(dict.fromkeys([*self._since_ns, *wanted.of(self._instruments or ())]))

    def _relist_s(self, wanted: Wanted) -> float | None:
        """When to look again; None: all that is wanted is read."""
        if not wanted.every and self._since_ns.keys() >= set(wanted.symbols):
            return None
        return RELIST_S if self._listed else UNLISTED_S

    def _list(self, wanted: Wanted) -> None:
        tries, self._listed = 0, False
        while self._wanted is wanted and (tries < LISTED_TRIES or (wanted.every and self._instruments is None)):
            tries += 1
            try:
                listed = self.venue.parse_symbols(self._rest.get(self.venue.symbols_path, LIST_WEIGHT))
                if not listed:
                    raise ParseError("nothing trades", "symbols")
            except (FetchError, ParseError) as error:
                log.warning("cannot ask %s which symbols trade: %s", self.venue.id, error)
                if self._instruments is None and (known := listing.load(self._listing)):
                    log.warning("%s: going by what it said that it trades when it was asked before", self.venue.id)
                    self._instruments = {one.symbol: one for one in known}
                    return
                gevent.sleep(random.uniform(0, min(30.0, 0.5 * 2 ** min(tries, 10))))
            else:
                self._instruments, self._listed = {one.symbol: one for one in listed}, True
                self._remember(listed)
                return

    def _remember(self, listed: list[Instrument]) -> None:
        """For the next feed: it may begin when the venue has been asked too much, or is at rest."""
        try:
            listing.save(self._listing, listed)
        except OSError as error:
            log.warning("%s: what it trades cannot be kept: %s", self.venue.id, error)

    def _read_these(self, symbols: list[str]) -> None:
        wanted = set(symbols)
        gone = [symbol for symbol in self._since_ns if symbol not in wanted]
        at_ns = now_ns()
        self.connections.drop(self._topics(gone))
        for symbol in gone:
            self.ticks.remove(symbol, at_ns)
            self.books.remove(symbol)
            del self._since_ns[symbol]
            self._away.discard(symbol)
            self._silent.forget(symbol)
        new = [symbol for symbol in symbols if symbol not in self._since_ns]
        for symbol in new:
            self.ticks.add(symbol, at_ns)
            if "depth" in self._channels:
                self.books.add(symbol, (self._instruments or {}).get(symbol))
            self._since_ns[symbol] = at_ns
        self.connections.add(self._topics(new))
        if new or gone or not self.chosen.is_set():
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
            back = self._away.intersection(topic.symbol for topic in connection.topics if topic.channel == "trade")
            ticks.outage(back)
            self._away -= back
        before = self._received.get(number, 0)
        self._received[number] = before + len(messages)
        trades, quotes, duplicates, depths = ticks.trades, ticks.quotes, ticks.duplicates, 0
        own: list[Event] = []
        books_take, doubtful = self.books.take, False
        columns, events = take(self.venue, messages)
        left = ticks.take_columns(columns, recv_ns) if columns is not None else []
        for other in left + ticks.take(events, recv_ns):
            if isinstance(other, DepthUpdate):
                depths += 1
                try:
                    books_take(other, number, recv_ns)
                except ParseError as error:
                    self._refuse(error, f"a change of the book of {other.symbol}")
            elif isinstance(other, Refused):
                self._refuse(other.error, f"frame {before + other.place + 1} of connection {number}")
                doubtful = doubtful or other.error.reason != "unknown event"
            elif isinstance(other, ParseError):
                self._refuse(other, "an event")
            elif isinstance(other, Ack | Shutdown):
                own.append(other)
        if doubtful:
            symbols = {topic.symbol for topic in connection.topics}
            ticks.doubt(symbols)
            if self.venue.depth_check == "nothing":
                self.books.doubt(symbols)
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
        self._received.pop(number, None)
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

    # ------------------------------------------------------------------ what has gone quiet

    def _watch(self) -> None:
        seconds = min(1.0, self._stale_ns / 4e9)
        self._looked = now_ns(), steady_ns()
        while True:
            gevent.sleep(min(0.1, seconds))
            self.books.resync()
            if steady_ns() - self._looked[1] >= seconds * 1e9:
                self._look(now_ns(), steady_ns())

    def _look(self, at_ns: int, at_steady_ns: int) -> None:
        before_ns, before_steady_ns = self._looked
        self._looked = at_ns, at_steady_ns
        if abs(at_ns - before_ns - (at_steady_ns - before_steady_ns)) > SECOND_NS:
            # The clock has been set: by it everything would be silent, or nothing ever.
            self._since_ns = dict.fromkeys(self._since_ns, at_ns)
        self._renew_stale(at_ns)
        if "depth" in self._channels:
            self.books.notice_late(at_ns)

    def _renew_stale(self, at_ns: int) -> None:
        """Subscribe anew to the symbols that bring nothing, while their connection is up; less and less often."""
        stale, renewed = 0, []
        for symbol, since_ns in self._since_ns.items():
            times = since_ns, self.books.changed_ns.get(symbol, 0), self.ticks.data_ns(symbol)
            last_ns = max(one for one in times if one <= max(at_ns, since_ns))
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
            self.ticks.doubt(renewed)  # what is traded between the two requests does not come
            self.connections.again(self._topics(renewed))
