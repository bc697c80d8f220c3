"""Venues: one pure file each, discovered by being there.

A venue module defines one `VENUE` object that follows `Venue`: addresses, subscribe frames, bytes in and events
out. It has no sockets, no clock and no state; what is true of a venue stands in its file and nowhere else.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple, Protocol

from wick.errors import ParseError
from wick.market.trades import Event


class Refused(NamedTuple):
    """A message that makes no sense: its place (from 0) among those taken together, and what is wrong."""

    place: int
    error: ParseError


class Venue(Protocol):
    """What the feed and the offline tools need to know about an exchange."""

    id: str
    ws_url: str  # base address of its WebSocket
    rest_url: str
    ws_path: str
    channels: tuple[str, ...]  # the kinds of streams that it can be asked for
    max_streams: int  # a connection
    empty: str  # how it publishes a quiet period itself: "flat" or "omit"
    contiguous_ids: bool  # whether trade ids grow by 1, so that every hole shows

    def symbol(self, native: str) -> str:
        """The venue's own name (BTCUSDT) as wick writes it (BTC-USDT)."""

    def native(self, symbol: str) -> str:
        """The inverse of `symbol`; takes a native name as well."""

    def subscribe(self, symbols: Iterable[str], channels: Iterable[str]) -> list[bytes]:
        """The frames that ask for these streams, in order; the venue answers each with an Ack."""

    def parse(self, raw: bytes) -> list[Event]:
        """One received message. Raises ParseError, and nothing else, for bytes that make no sense."""

    def take(self, frames: Sequence[bytes]) -> list[Event | Refused]:
        """Many messages: in order, what `parse` makes of each. A venue that can do this faster than one by one does."""
        taken: list[Event | Refused] = []
        for place, raw in enumerate(frames):
            try:
                taken += self.parse(raw)
            except ParseError as error:
                taken.append(Refused(place, error))
        return taken

    def skim(self, raw: bytes) -> int | None:
        """For who wants trades only: the time (ns) of a flawless frame that has none, 0 where it tells no time.

        None: only `parse` can say. What it takes, `parse` takes too, as a Quote or DepthUpdate of that time.
        """

    def parse_symbols(self, raw: bytes) -> list[str]:
        """Native names of all symbols that trade now, from the answer to `symbols_path`."""

    symbols_path: str


def ids() -> tuple[str, ...]:
    """The venues that wick knows."""
    names = (module.name for module in iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in names))


def load(venue_id: str) -> Venue:
    """The venue called `venue_id`; KeyError names the valid ones."""
    if venue_id not in ids():
        raise KeyError(f"venue {venue_id!r} is not one of {', '.join(ids())}")
    venue: Venue = import_module(f"{__name__}.{venue_id.replace('-', '_')}").VENUE
    return venue
