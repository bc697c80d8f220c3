"""A look at a venue as it is now: can it be reached, does it send what we think, is our clock right.

It uses what the feed uses, connections, parser, continuity and books, for a short while, and judges.
`wick doctor --live` runs it.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gevent
from gevent.event import Event

from wick import exchanges
from wick.errors import ParseError, WickError
from wick.exchanges import Hole, Instrument, Refused
from wick.market.clock import VenueClock
from wick.market.trades import Ack, DepthUpdate, LastTrade, Quote, Shutdown, Topic, Trade
from wick.net.clock import now_ns, steady_ns
from wick.net.dial import client_context
from wick.net.fetch import get
from wick.net.limits import Bucket
from wick.ops.settings import Settings
from wick.roles.connection import Connection, Connections, Hooks, Patience
from wick.stream.books import Books
from wick.stream.continuity import Contiguous, Numbers

OK, WARN, FAIL = "ok", "warn", "FAIL"
USUAL = ("BTC-USDT", "ETH-USDT", "BTC-USD", "ETH-USD")  # busy everywhere: something is traded while we look
SKEW_MS = 1_000  # a clock that is further off is worth a word; candles go by the venue's clock, so it does no harm
BACKFILLED = 20  # trades that are asked for again
MS = 1_000_000

log = logging.getLogger("wick")


class Finding(NamedTuple):
    """One thing that was looked at."""

    verdict: str
    what: str
    text: str


class Checkup:
    """One venue, looked at once."""

    def __init__(self, venue_id: str, settings: Settings) -> None:
        self.venue = venue = exchanges.load(venue_id)
        self.url = (settings["feed.ws_url"] or venue.ws_url).rstrip("/") + venue.ws_path
        self.rest_url: str = (settings["feed.rest_url"] or venue.rest_url).rstrip("/")
        self.context = client_context(settings["feed.ca_file"])
        self.levels: int = settings["feed.book_levels"]
        self.instruments: dict[str, Instrument] = {}
        self.symbols: list[str] = []
        self.counts: dict[str, int] = {}
        self.refused: list[str] = []  # the first few
        self.trades: dict[str, Contiguous | Numbers] = {}
        self.newest: dict[str, deque[Trade]] = {}  # the last few, by rising id
        self.duplicates = 0
        self.quotes: dict[str, Quote] = {}
        self.live_ms: dict[str, int] = {}  # how long a book took
        self.books = Books(self.levels, venue.depth_from_rest, venue.depth_levels)
        self.clock = VenueClock()
        self.ended = Event()
        self._rest = Bucket(*venue.limits.rest)
        self._started_ns = steady_ns()
        self._greenlets: list[Any] = []
        self._accepted_ms = 0

    def run(self, names: Sequence[str], seconds: float, show: Callable[[str], None]) -> Iterator[Finding]:
        """Look for so long; `show` is told how far it is. Findings come as they are known."""
        yield self._look_at_symbols(names)
        if not self.symbols:
            return
        for symbol in self.symbols:
            self.trades[symbol] = Contiguous() if self.venue.contiguous_ids else Numbers()
            known = self.instruments.get(symbol)
            self.books.add(symbol, known.price_step if known else "", known.quantity_step if known else "")
        self._started_ns = steady_ns()
        connections = Connections(
            self.venue,
            self.url,
            Hooks(take=self._take, closed=self._closed, count=self._count, spawn=gevent.spawn),
            Patience(silence_s=seconds),
            self.context,
        )
        connections.add([Topic(symbol, channel) for symbol in self.symbols for channel in self.venue.channels])
        try:
            while (passed_s := (steady_ns() - self._started_ns) / 1e9) < seconds and not self.ended.wait(0.1):
                if connections.settled and not self._accepted_ms:
                    self._accepted_ms = (steady_ns() - self._started_ns) // MS
                self._mend_books(connections)
                show(f"{passed_s:.0f} of {seconds:.0f} s, {self.counts.get('messages', 0):,} messages")
            yield from self._judge(connections)
        finally:
            connections.close()
            gevent.killall(self._greenlets, block=False)

    # ------------------------------------------------------------------ looking

    def _look_at_symbols(self, names: Sequence[str]) -> Finding:
        started_ns = steady_ns()
        try:
            listed = self.venue.parse_symbols(self._get(self.venue.symbols_path))
        except (WickError, ParseError) as error:
            self.symbols = [self.venue.symbol(name.upper()) for name in names]
            return Finding(FAIL, "symbols", f"REST does not tell: {error}")
        self.instruments = {one.symbol: one for one in listed}
        wanted = [self.venue.symbol(name.upper()) for name in names] or [
            one for one in USUAL if one in self.instruments
        ]
        self.symbols = [symbol for symbol in wanted if symbol in self.instruments][:10]
        took_ms = (steady_ns() - started_ns) // MS
        if unknown := [symbol for symbol in wanted if symbol not in self.instruments]:
            return Finding(FAIL, "symbols", f"{len(listed):,} are listed, but not {', '.join(unknown)}")
        if not self.symbols:
            return Finding(FAIL, "symbols", f"{len(listed):,} are listed, none of {', '.join(USUAL)}: name some")
        return Finding(OK, "symbols", f"{len(listed):,} listed, told in {took_ms:,} ms")

    def _take(self, connection: Connection, messages: list[bytes], recv_ns: int) -> tuple[bool, list[Any]]:
        self._count("messages", len(messages))
        is_data, answers = False, []
        for event in self.venue.take(messages):
            if isinstance(event, Trade):
                is_data = True
                self._trade(event, recv_ns)
            elif isinstance(event, Quote):
                is_data = True
                self._count("quotes")
                self.quotes[event.symbol] = event
            elif isinstance(event, DepthUpdate):
                is_data = True
                self._depth(event, connection.number, recv_ns)
            elif isinstance(event, Refused):
                self._count("refused")
                if len(self.refused) < 3:
                    self.refused.append(f"{event.error}: {messages[event.place][:80]!r}")
            elif isinstance(event, LastTrade):
                self._count("heartbeats")
            elif isinstance(event, Ack | Shutdown):
                answers.append(event)
        return is_data, answers

    def _trade(self, trade: Trade, recv_ns: int) -> None:
        series = self.trades.get(trade.symbol)
        if series is None:
            self._count("strangers")
            return
        self._count("trades")
        if series.take(trade.trade_id, trade.event_ns, recv_ns) < 0:
            self.duplicates += 1
            return
        newest = self.newest.setdefault(trade.symbol, deque(maxlen=BACKFILLED + 1))
        if not newest or trade.trade_id > newest[-1].trade_id:
            newest.append(trade)
        if type(trade) is Trade:
            self.clock.observe(trade.event_ns, recv_ns)

    def _depth(self, update: DepthUpdate, source: int, recv_ns: int) -> None:
        if update.symbol not in self.trades:
            self._count("strangers")
            return
        if update.event_ns:
            self.clock.observe(update.event_ns, recv_ns)
        try:
            self.books.take(update, source, recv_ns)
        except ParseError as error:
            self._count("refused")
            self.refused.append(str(error))
        if update.symbol not in self.live_ms and self.books.best(update.symbol) is not None:
            self.live_ms[update.symbol] = (steady_ns() - self._started_ns) // MS

    def _closed(self, number: int, topics: tuple[Topic, ...]) -> None:
        self.books.lost(number)

    def _mend_books(self, connections: Connections) -> None:
        """What the feed does about a book that is new or broken."""
        for symbol, why in list(self.books.broken.items()):
            topic = Topic(symbol, "depth")
            if not connections.carries(topic):
                continue
            del self.books.broken[symbol]
            self.books.expect(symbol)
            if self.venue.depth_from_rest:
                self._greenlets.append(gevent.spawn(self._snapshot, symbol))
            elif why != "new":
                connections.again([topic])

    def _snapshot(self, symbol: str) -> None:
        try:
            raw = self._get(self.venue.snapshot_path(symbol, self.levels), self.venue.snapshot_weight(self.levels))
            self.books.put(symbol, self.venue.parse_snapshot(raw), now_ns())
        except (WickError, ParseError) as error:
            self.refused.append(f"no snapshot of {symbol}: {error}")
        finally:
            self.books.expect(symbol, False)

    # ------------------------------------------------------------------ judging

    def _judge(self, connections: Connections) -> Iterator[Finding]:
        counts, total = self.counts, self.counts.get("messages", 0)
        gauges = connections.gauges()
        if not self.counts.get("connections"):
            yield Finding(
                FAIL, "connection", f"none to {self.url} in {counts.get('attempts', 0)} attempts: see the log"
            )
            return
        secure = "TLS, certificate verified" if self.url.startswith("wss:") else "NOT encrypted"
        yield Finding(
            OK if counts.get("connections") == gauges["wanted"] else WARN,
            "connection",
            f"{self.url}, {secure}; {counts['connections']} opened, {counts.get('disconnects', 0)} lost",
        )
        if self._accepted_ms and not counts.get("refused_requests"):
            yield Finding(OK, "subscriptions", f"{gauges['topics']} accepted after {self._accepted_ms:,} ms")
        else:
            refused, unanswered = counts.get("refused_requests", 0), counts.get("unanswered", 0)
            text = f"of {gauges['topics']}, {refused} requests refused, {unanswered} unanswered: see the log"
            yield Finding(FAIL, "subscriptions", text)
        wrong = counts.get("refused", 0)
        seen = f"{total:,} received, {wrong:,} not understood"
        yield Finding(FAIL if wrong else OK, "messages", "; ".join([seen, *self.refused]))
        if counts.get("strangers"):
            yield Finding(WARN, "messages", f"{counts['strangers']:,} events of symbols that were not asked for")
        yield self._judge_trades()
        if self.venue.backfills:
            yield self._judge_backfill()
        if "depth" in self.venue.channels:
            yield self._judge_books()
        yield self._judge_clock()

    def _judge_trades(self) -> Finding:
        count = self.counts.get("trades", 0)
        where = ", ".join(self.symbols)
        if not count:
            return Finding(WARN, "trades", f"none of {where}: a quiet market, or --seconds is too short")
        text = f"{count:,} of {where}"
        if not self.venue.contiguous_ids:
            return Finding(OK, "trades", f"{text}; this venue's ids do not show holes; {self.duplicates:,} came twice")
        missing = sum(hole.last_id - hole.first_id + 1 for one in self.trades.values() for hole in one.holes)
        if missing:
            return Finding(FAIL, "trades", f"{text}; {missing:,} ids are missing")
        return Finding(OK, "trades", f"{text}; ids contiguous, {self.duplicates:,} came twice")

    def _judge_backfill(self) -> Finding:
        """Ask REST for trades that we have."""
        symbol, trades = max(self.newest.items(), key=lambda item: len(item[1]), default=("", deque()))
        if len(trades) < 2:
            return Finding(WARN, "backfill", "no trades to ask for")
        first, last = trades[0], trades[-1]
        hole = Hole(symbol, first.trade_id, last.trade_id - 1, first.event_ns - 10**9, last.event_ns)
        try:
            found = self.venue.parse_backfill(
                hole, self._get(self.venue.backfill_path(hole), self.venue.backfill_weight)
            )
        except (WickError, ParseError) as error:
            return Finding(FAIL, "backfill", f"REST does not give trades: {error}")
        asked = f"{hole.first_id} to {hole.last_id} of {symbol}"
        if not found:
            return Finding(FAIL, "backfill", f"REST has none of the trades {asked}")
        return Finding(OK, "backfill", f"{len(found)} of the trades {asked} by REST")

    def _judge_books(self) -> Finding:
        counters = self.books.counters
        best = []
        for symbol in self.symbols:
            _, _, bids, asks = self.books.top(symbol, 1)
            state = f"{bids[0][0]} / {asks[0][0]}" if bids and asks else "not valid"
            best.append(f"{symbol} {state}" + (f" after {self.live_ms[symbol]:,} ms" if symbol in self.live_ms else ""))
        trouble = {name: count for name, count in counters.items() if count and name not in ("updates", "levels")}
        text = f"{counters.get('updates', 0):,} updates; {'; '.join(best)}"
        if trouble:
            text += f"; {', '.join(f'{name} {count}' for name, count in trouble.items())}"
        valid = all(self.books.best(symbol) is not None for symbol in self.symbols)
        return Finding(OK if valid else FAIL, "books", text)

    def _judge_clock(self) -> Finding:
        now = now_ns()
        venue_ns = self.clock.at(now)
        if not venue_ns:
            return Finding(WARN, "clock", "nothing told the venue's time")
        skew_ms = (venue_ns - now) // MS
        direction = "ahead of" if skew_ms > 0 else "behind"
        text = f"the venue's is {abs(skew_ms):,} ms {direction} ours, by the message that travelled fastest"
        if abs(skew_ms) > SKEW_MS:
            return Finding(WARN, "clock", f"{text}: is ours synchronised (chronyc tracking)?")
        return Finding(OK, "clock", text)

    # ------------------------------------------------------------------ helpers

    def _get(self, path: str, weight: int = 1) -> bytes:
        self._rest.wait(weight)
        return get(self.rest_url + path, self.context)

    def _count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount
