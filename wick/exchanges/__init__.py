"""Venues: one pure file each, discovered by being there.

A venue module defines one `VENUE` object that follows `Venue`: addresses, limits, subscribe frames, bytes in and events
out. It has no sockets, no clock and no state; what is true of a venue stands in its file and nowhere else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wick.errors import ParseError
from wick.market.foreign import Kline
from wick.market.trades import DepthSnapshot, Event, Topic, Trade

if TYPE_CHECKING:
    from wick.exchanges._columns import Columns

# Reasons of a ParseError: an answer that says in its text what others say with status 429, and with status 400.
NOT_NOW, REFUSED = "not now", "refused"
CHANNELS = ("trade", "quote", "depth")  # the kinds of streams; a venue without `quote` has its best prices in `depth`


class Refused(NamedTuple):
    """A message that makes no sense: its place (from 0) among those taken together, and what is wrong."""

    place: int
    error: ParseError


class Request(NamedTuple):
    """A frame that asks the venue for something; the Ack names its `id`, or the topics."""

    raw: bytes
    id: object
    topics: tuple[Topic, ...]


class Instrument(NamedTuple):
    """What can be traded. Steps as the venue writes them: of the price, and of the quantity."""

    native: str
    symbol: str
    price_step: str
    quantity_step: str


class Hole(NamedTuple):
    """Trades of a symbol that are missing: ids `first_id`..`last_id`, traded after `from_ns` and before `to_ns`."""

    symbol: str
    first_id: int
    last_id: int
    from_ns: int
    to_ns: int


@dataclass(frozen=True)
class Limits:
    """What the venue allows one address; (count, seconds): so many in any such time."""

    streams: int  # a connection
    requests: tuple[int, float]  # messages to the venue, a connection
    connects: tuple[int, float]  # connection attempts
    rest: tuple[int, float]  # weight of REST requests
    lifetime_s: float = 0.0  # the venue ends a connection after so long; 0: it does not
    ping_s: float = 0.0  # it wants a message so often (see `Venue.ping`); 0: it does not
    used_header: str = ""  # of an answer: how much of `rest` is used up; "": it does not tell


class Venue(Protocol):
    """What the feed and the offline tools need to know about an exchange."""

    id: str
    title: str  # as people write it
    ws_url: str  # base address of its WebSocket
    ws_path: str
    rest_url: str
    symbols_path: str
    channels: tuple[str, ...]  # those of CHANNELS that it has
    limits: Limits
    empty: str  # how it publishes a quiet period itself: "flat" or "omit"
    # Whether trade ids grow by 1, so that every hole shows. Else an id tells no more than that a trade came twice.
    contiguous_ids: bool
    backfills: bool  # whether missing trades can be had over REST
    depth_from_rest: bool  # whether a book begins with REST's snapshot; else the stream sends one when it is subscribed
    depth_check: str  # by what a book's lost update shows: "ids", "checksum" or "nothing"
    depth_levels: int  # a side, of the book that is subscribed to; 0: no bound
    backfill_weight: int  # of a REST request for trades

    def symbol(self, native: str) -> str:
        """The venue's own name (BTCUSDT) as wick writes it (BTC-USDT)."""

    def native(self, symbol: str) -> str:
        """The inverse of `symbol`; takes a native name as well."""

    def path(self, channel: str) -> str:
        """The path of the WebSocket's address where this channel is had."""
        return self.ws_path

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        """The frames that ask for these streams, in order, with ids from `first_id` on."""

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        """The frames that end these streams."""

    def ping(self) -> bytes:
        """What to send every `limits.ping_s`; empty where nothing needs to be."""

    def parse(self, raw: bytes) -> list[Event]:
        """One received message. Raises ParseError, and nothing else, for bytes that make no sense.

        Heartbeats, pongs and notices that need no answer are no events. Trades come in the order in which they were
        made: a snapshot that is newest first is turned round.
        """

    def take(self, frames: Sequence[bytes]) -> list[Event | Refused]:
        """Many messages: in order, what `parse` makes of each. A venue that can do this faster than one by one does."""
        taken: list[Event | Refused] = []
        for place, raw in enumerate(frames):
            try:
                taken += self.parse(raw)
            except ParseError as error:
                taken.append(Refused(place, error))
        return taken

    def columns(self, frames: Sequence[bytes]) -> "Columns | None":
        """For a flood: the flawless trades of many messages, the places of the messages that are left to `take`, and of
        those of them that look like trades. None: all are left.

        What it takes, `parse` takes too, as the same trades; a message's are taken all or none.
        """
        return None

    def skim(self, raw: bytes) -> int | None:
        """For who wants trades only: the time (ns) of a flawless frame that has none, 0 where it tells no time.

        None: only `parse` can say. What it takes, `parse` takes too, as events without a trade, of that time.
        """
        return None

    def parse_symbols(self, raw: bytes) -> list[Instrument]:
        """All that trades now, from the answer to `symbols_path`. ParseError."""

    # ---- where `depth_from_rest`

    def snapshot_path(self, symbol: str, levels: int) -> str:
        """Where REST has the book, with at least so many levels a side where the venue gives as many."""
        return ""

    def snapshot_weight(self, levels: int) -> int:
        """Of that REST request."""
        return 1

    def parse_snapshot(self, raw: bytes) -> DepthSnapshot:
        """The answer. ParseError."""
        raise ParseError("not offered", self.id)

    # ---- where `backfills`

    def backfill_path(self, hole: Hole) -> str:
        """Where REST has trades of the hole: a page of them, at its beginning or at its end."""
        return ""

    def parse_backfill(self, hole: Hole, raw: bytes) -> list[Trade]:
        """The answer's trades of that hole, by rising id. ParseError; with the reason NOT_NOW where it is busy."""
        raise ParseError("not offered", self.id)

    # Where its REST can find the first trade of a time; a venue whose ids count can do without.
    since_weight: int = 0  # of that request; 0: it cannot

    def since_path(self, symbol: str, from_ns: int) -> str:
        """Where REST tells the first trade from that time on."""
        return ""

    def parse_since(self, symbol: str, raw: bytes) -> int | None:
        """Its id; None where there is no trade since. ParseError."""
        raise ParseError("not offered", self.id)

    # ---- its own candles

    # The intervals that REST has of them and that begin when wick's do: wick's names, and `foreign.SECONDS`.
    candles: tuple[str, ...] = ()
    candles_a_page: int = 0
    candles_kept: int = 0  # of an interval, the newest; 0: all

    def candles_path(self, symbol: str, interval: str, from_ms: int, count: int) -> str:
        """Where REST has so many (a page at most) of them, from the one that opens at `from_ms` on."""
        return ""

    def candles_weight(self, count: int) -> int:
        """Of that request."""
        return 1

    def parse_candles(self, raw: bytes) -> list[Kline]:
        """The answer, by time, with others perhaps, later ones too; the last one may not have ended. ParseError."""
        raise ParseError("not offered", self.id)


def ids() -> tuple[str, ...]:
    """The venues that wick knows."""
    names = (module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
    return tuple(sorted(name.replace("_", "-") for name in names))


def load(venue_id: str) -> Venue:
    """The venue called `venue_id`; KeyError names the valid ones."""
    if venue_id not in ids():
        raise KeyError(f"venue {venue_id!r} is not one of {', '.join(ids())}")
    venue: Venue = import_module(f"{__name__}.{venue_id.replace('-', '_')}").VENUE
    return venue
