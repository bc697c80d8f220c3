"""Whose a recorded frame is: the streams that it belongs to, and what REST can tell of it. Pure.

Binance's frames name their stream (or are recognised by a field or two), so they are not parsed to be routed. Those of
any other venue are: its own parser tells which symbols and kinds are in them.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import orjson

from wick.errors import ParseError
from wick.exchanges import Venue
from wick.market.trades import Ack, DepthUpdate, LastTrade, Quote, Topic, Trade
from wick.sim.market import TradeEvent
from wick.sim.wires._binance_requests import is_stream
from wick.sim.wires.binance import subscription
from wick.sim.wires.binance_usdm import BinanceUsdm

Topics = tuple[Topic, ...] | None  # (): an answer, which nobody gets; None: it names no stream, everybody got it

DECIMALS = 8  # of the simulator's integers
_CHANNELS: dict[type, str] = {Trade: "trade", LastTrade: "trade", Quote: "quote", DepthUpdate: "depth"}


class Steps(NamedTuple):
    """How many decimals the prices and quantities of a frame need."""

    price: int
    quantity: int


class Routes:
    """Of one venue, by its parser."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def topics(self, raw: bytes) -> Topics:
        try:
            events = self._venue.parse(raw)
        except ParseError:
            return None
        if any(isinstance(event, Ack) for event in events):
            return ()
        found: dict[Topic, None] = {}
        for event in events:
            if isinstance(event, Trade | LastTrade | Quote | DepthUpdate):
                found[Topic(self._venue.native(event.symbol), _CHANNELS[type(event)])] = None
        return tuple(found) or None  # heartbeats and notices are everybody's

    def snapshot_id(self, raw: bytes) -> int | None:
        """The update id of REST's answer with a book; None: it is none. -1: it has no id."""
        return None

    def update_id(self, raw: bytes) -> int | None:
        """An update id of the frame's symbol, if it has one."""
        return None

    def steps(self, raw: bytes) -> Steps | None:
        try:
            events = self._venue.parse(raw)
        except ParseError:
            return None
        for event in events:
            if isinstance(event, Trade):
                return Steps(
                    _needed(event.price, event.price_decimals), _needed(event.quantity, event.quantity_decimals)
                )
        return None

    def trades(self, raw: bytes) -> list[TradeEvent]:
        """The frame's trades as REST gives them; none where it is damaged, or has more than eight decimals."""
        try:
            events = self._venue.parse(raw)
        except ParseError:
            return []
        return [
            TradeEvent(
                0, event.event_ns // 1_000_000, event.trade_id, event.price * 10 ** (DECIMALS - event.price_decimals),
                event.quantity * 10 ** (DECIMALS - event.quantity_decimals), not event.taker_buy,
            )
            for event in events
            if isinstance(event, Trade) and max(event.price_decimals, event.quantity_decimals) <= DECIMALS
        ]  # fmt: skip


def _needed(number: int, decimals: int) -> int:
    """Without the zeros at its end."""
    while decimals and number % 10 == 0:
        number, decimals = number // 10, decimals - 1
    return decimals


# ---- Binance


def _json(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern of JSON: a blank in it stands for any number of them, as a recorder may have written the message."""
    return re.compile(pattern.replace(b" ", rb"[ \t]*"))


_ENVELOPE = _json(rb'{ "stream" : "([^"]+)"')
_SNAPSHOT = _json(rb'{ "lastUpdateId" : ([0-9]*)')
_UPDATE_ID = _json(rb'"u" : (\d+)')
_STEPS = _json(rb'"p" : "([0-9.]{1,40})" , "q" : "([0-9.]{1,40})"|"b" : "([0-9.]{1,40})" , "B" : "([0-9.]{1,40})"')
_KINDS = {"depthUpdate": "depth", "trade": "trade", "aggTrade": "trade", "bookTicker": "quote"}


class BinanceRoutes(Routes):
    """Of spot, and of futures."""

    def topics(self, raw: bytes) -> Topics:
        if envelope := _ENVELOPE.match(raw):
            return _of_stream(envelope[1].decode("latin-1"))
        if _SNAPSHOT.match(raw):
            return ()
        try:
            message = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(message, dict):
            return None
        if "result" in message or "lastUpdateId" in message:
            return ()
        if "stream" in message:
            return _of_stream(message["stream"]) if isinstance(message["stream"], str) else None
        symbol, kind = message.get("s"), message.get("e")
        if kind is None and "B" in message and "A" in message:
            kind = "bookTicker"
        if not isinstance(symbol, str) or not isinstance(kind, str) or kind not in _KINDS:
            return None
        return (Topic(symbol, _KINDS[kind]),)

    def snapshot_id(self, raw: bytes) -> int | None:
        found = _SNAPSHOT.match(raw)
        return None if found is None else int(found[1] or -1)

    def update_id(self, raw: bytes) -> int | None:
        found = _UPDATE_ID.search(raw)
        return None if found is None else int(found[1])

    def steps(self, raw: bytes) -> Steps | None:
        found = _STEPS.search(raw)
        if found is None:
            return None
        price, quantity, bid, bid_quantity = (_decimals(text) for text in found.groups(b""))
        return Steps(max(price, bid), max(quantity, bid_quantity))


@lru_cache(10_000)
def _of_stream(name: str) -> Topics:
    """The topic of a stream's name; None if there can be no such stream."""
    if not is_stream(name):
        return None
    symbol, channel, _ = subscription(BinanceUsdm.channels, name, False)
    return (Topic(symbol, channel),)


def _decimals(text: bytes) -> int:
    return len(text.partition(b".")[2].rstrip(b"0"))


def routes_of(venue: Venue) -> Routes:
    return BinanceRoutes(venue) if venue.id.startswith("binance") else Routes(venue)
