"""The venues' wires, seen from the exchange's side: one pure file a venue, loaded by venue id.

A module defines one `WIRE` object that follows `Wire`: which addresses it has, what it answers, how it writes what the
market does, its limits. The market's events and books are the same for all; sockets, clock, faults, and who gets what
are the server's. Prices and quantities are integers of 1e-8 everywhere (`UNITS`), times are integer milliseconds.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple, Protocol

from wick.errors import WickError
from wick.sim.book import Book, DepthUpdate
from wick.sim.http import HttpRequest
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.symbols import Listing


class Symbol(NamedTuple):
    """What is traded: the venue's own name, and the price and quantity steps in 1e-8."""

    native: str
    base: str
    quote: str
    tick: int
    lot: int


class Subscription(NamedTuple):
    """One stream of a connection: a symbol's trade, quote or depth.

    `form` is the wire's own and tells its ways of writing one stream apart (wrapped or not, how deep a book): frames
    are made once for all connections that have the same subscription.
    """

    symbol: str  # native
    channel: str  # trade, quote, depth; anything else is accepted and stays silent
    form: Hashable = None


class Answer(NamedTuple):
    """What follows from a client's message: first the frames are sent, then each added stream's `opening`."""

    frames: Sequence[bytes] = ()
    add: Sequence[Subscription] = ()
    remove: Sequence[Subscription] = ()
    refused: bool = False  # a wrong request: it is counted
    close: tuple[int, str] | None = None  # and then the connection is closed: code, reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What the exchange enforces; (count, seconds): so many in any such time."""

    messages: tuple[int, float]  # of a client, a connection; more end it with 1008
    connects: tuple[int, float]  # more are turned away with 429
    rest: tuple[int, float]  # weight of REST requests; more get `rest_error(429)`
    used_header: str = ""  # of an answer that says how much of `rest` is used; "": it does not tell
    lifetime_s: float = 0.0  # it ends a connection after so long; 0: never
    ping_s: float = 0.0  # it sends WebSocket pings so often; 0: never
    pong_s: float = 60.0  # and ends a connection that leaves one unanswered for so long
    idle_s: float = 0.0  # it ends a connection on which neither side has sent data for so long (OKX 30 s); 0: never
    first_s: float = 0.0  # ... that has no subscription so long after its begin (Coinbase 5 s); 0: never


class Turned(WickError):
    """A WebSocket's address that the venue does not have: the handshake is answered with `status` and `body`."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(body.decode(errors="replace"))
        self.status, self.body = status, body


class View(Protocol):
    """The market as the exchange may tell it. All by native name; KeyError: there is no such symbol."""

    def symbols(self) -> dict[str, Symbol]:
        """All that is listed, most active first."""

    def trades(self, symbol: str, limit: int) -> Sequence[TradeEvent]:
        """The latest trades, oldest first (newest first in an `opening` that the fault `newest_first` concerns)."""

    def trades_from(self, symbol: str, first_id: int, limit: int) -> Sequence[TradeEvent]:
        """Up to `limit` trades with ids from `first_id` on, oldest first."""

    def trades_between(self, symbol: str, first_id: int, last_id: int, limit: int) -> Sequence[TradeEvent]:
        """The latest `limit` of the trades with ids `first_id`..`last_id`, inclusive, oldest first."""

    def trades_since(self, symbol: str, time_ms: int, limit: int) -> Sequence[TradeEvent]:
        """Up to `limit` trades from that time on, oldest first."""

    def past_price(self, symbol: str, time_ms: int) -> int | None:
        """What was paid at a time before all trades that are kept; None where nobody can say."""

    def quote(self, symbol: str) -> QuoteEvent | None:
        """The best prices; None where there are none."""

    def told(self, symbol: str) -> Book | None:
        """The book as the depth stream has told it up to its last update: what a stream's snapshot has to show."""

    def snapshot(self, symbol: str) -> Book | None:
        """The book as it is now, for REST; may be between two updates of the stream."""


class Session(Protocol):
    """One connection's state on the wire: what it is subscribed to. Pure; not called for a silent connection."""

    def greeting(self, now_ms: int) -> Answer:
        """What the exchange says first (Kraken's status), and the streams that the address named (Binance)."""
        return Answer()

    def receive(self, message: bytes, view: View, now_ms: int, refuse: bool) -> Answer:
        """A data frame of the client. Any bytes: what makes no sense gets the venue's error.

        `refuse`: a request for streams is answered with the venue's error (an error of its own kind, whatever the
        request says) and adds nothing; everything else is answered as ever.
        """

    def asks(self, message: bytes) -> bool:
        """Whether this message asks for streams (`refuse` would concern it). Any bytes."""

    def heartbeat(self, view: View, now_ms: int) -> Sequence[bytes]:
        """What is sent every `Wire.heartbeat_ms`, whatever the market does."""
        return ()


class Wire(Protocol):
    """How one venue writes, and what it accepts."""

    id: str
    contiguous_ids: bool  # whether trade ids on the wire grow by 1
    batches: bool = True  # whether `trades` is given all of a symbol's at once; else each comes on its own
    depth_ms: int = 100  # how often a symbol's depth is told; a multiple of 10
    heartbeat_ms: int = 0  # 0: no heartbeats
    limits: Limits
    # Of wrong_checksum, sequence_reset, newest_first: those that the venue can have (see faults.py).
    faults: frozenset[str] = frozenset()
    # Channels in which no client could see that something is missing or overtaken: faults do neither there.
    unchecked: frozenset[str] = frozenset()
    reset_shift: int = 0  # `sequence_reset` shifts the ids of a book's updates by so much (Binance up: a gap; OKX down)
    lifetime_close: tuple[int, str] = (1001, "Going away")  # what ends a connection of `lifetime_s`

    def native(self, listing: Listing) -> str:
        """The venue's own name of base and quote: BTCUSDT, BTC-USD, BTC/USD."""

    def session(self, request: HttpRequest) -> Session:
        """For a new connection to this path and query. Turned: the venue has no such address."""

    # ---- frames; now_ms is the exchange's clock (with its skew)

    def opening(self, symbol: Symbol, channel: str, form: Hashable, view: View, now_ms: int) -> Sequence[bytes]:
        """What a new subscriber gets first: a book's snapshot, the last trades."""
        return ()

    def trades(self, symbol: Symbol, form: Hashable, trades: Sequence[TradeEvent], now_ms: int) -> Sequence[bytes]:
        """New trades of one symbol, at least one: a frame each, or (where it `batches`) all in one."""

    def told(self, trades: Sequence[TradeEvent]) -> Sequence[TradeEvent]:
        """What the stream makes of a symbol's trades in a row, where it tells several as one: for `/_truth`."""
        return trades

    def quote(self, symbol: Symbol, form: Hashable, quote: QuoteEvent, now_ms: int) -> Sequence[bytes]:
        """The best prices have changed."""
        return ()

    def depth(self, symbol: Symbol, form: Hashable, update: DepthUpdate, now_ms: int) -> Sequence[bytes]:
        """The book has changed; see DepthUpdate for its ids, and for `reset` and `wrong_checksum`."""

    def shutdown(self, now_ms: int) -> tuple[bytes, int]:
        """The notice that the server is going down ("" where the venue has none), and the code of its close frame."""
        return b"", 1012

    # ---- REST

    def rest(self, request: HttpRequest, view: View, now_ms: int) -> tuple[int, bytes]:
        """Status and body of any request: symbols, a book, trades to backfill, the time; or the venue's error."""

    def rest_error(self, status: int) -> bytes:
        """The body of a refused request (429, 418, 5xx)."""

    def weight(self, request: HttpRequest) -> int:
        """What the request costs of `limits.rest`."""
        return 1


def ids() -> tuple[str, ...]:
    """The venues whose wire can be spoken."""
    names = (module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
    return tuple(sorted(name.replace("_", "-") for name in names))


def load(venue_id: str) -> Wire:
    """The wire of the venue called `venue_id`; KeyError names the valid ones."""
    if venue_id not in ids():
        raise KeyError(f"venue {venue_id!r} is not one of {', '.join(ids())}")
    wire: Wire = import_module(f"{__name__}.{venue_id.replace('-', '_')}").WIRE
    return wire


def symbols(wire: Wire, listings: Iterable[Listing]) -> list[Symbol]:
    """The listings as the venue names them."""
    return [Symbol(wire.native(one), one.base, one.quote, one.tick, one.lot) for one in listings]
