"""What enters the engine: trades, quotes and book updates, and the packed record that carries the first two.

Prices and quantities are integers with their own count of decimals (see `numbers`). Times are integer
nanoseconds since the epoch. `event_ns` is the venue's time, `recv_ns` ours on arrival.
"""

from struct import Struct
from typing import NamedTuple

import numpy as np


class Trade(NamedTuple):
    """One executed match. `taker_buy`: the taker lifted the ask. `matches`: how many it stands for (aggregates > 1)."""

    symbol: str
    event_ns: int
    trade_id: int
    price: int
    price_decimals: int
    quantity: int
    quantity_decimals: int
    taker_buy: bool
    matches: int = 1


class Quote(NamedTuple):
    """Best bid and ask. All four numbers share the decimals of their kind; Binance gives no time for it."""

    symbol: str
    update_id: int
    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int
    price_decimals: int
    quantity_decimals: int


class DepthUpdate(NamedTuple):
    """A change of the book: levels as the venue's text, quantity "0…" removes; ids `first`..`last` inclusive."""

    symbol: str
    event_ns: int
    first_update_id: int
    last_update_id: int
    bids: list[list[str]]
    asks: list[list[str]]


class DepthSnapshot(NamedTuple):
    """A whole book as REST gives it (a Binance answer does not name its symbol)."""

    last_update_id: int
    bids: list[list[str]]
    asks: list[list[str]]


class Ack(NamedTuple):
    """The venue's answer to a request: `error` is None where it was accepted."""

    request_id: object
    error: str | None


class Shutdown(NamedTuple):
    """The venue says that it is about to close the connection: reconnect now."""

    event_ns: int


Event = Trade | Quote | DepthUpdate | DepthSnapshot | Ack | Shutdown

TRADE, QUOTE = 0, 1

# 64 bytes, little-endian, naturally aligned: read with np.frombuffer, without a copy.
# A trade uses a=price, b=quantity, c=matches; a quote a=bid, b=ask, c=bid quantity, d=ask quantity.
RECORD = np.dtype(
    [
        ("event_ns", "<i8"),
        ("id", "<i8"),
        ("a", "<i8"),
        ("b", "<i8"),
        ("c", "<i8"),
        ("d", "<i8"),
        ("recv_ns", "<i8"),
        ("price_decimals", "u1"),
        ("quantity_decimals", "u1"),
        ("kind", "u1"),
        ("taker_buy", "u1"),
        ("reserved", "<u4"),
    ]
)
RECORD_STRUCT = Struct("<7q4BI")

assert RECORD_STRUCT.size == RECORD.itemsize
