"""What enters the engine: trades, quotes and books, what venues say beside, and the packed record for the engine.

Prices and quantities are integers with their own count of decimals (see `numbers`). Times are integer
nanoseconds since the epoch. `event_ns` is the venue's time, `recv_ns` ours on arrival.
"""

from struct import Struct
from typing import NamedTuple


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


class PastTrade(Trade):
    """A trade that a venue tells again when a stream begins, hours old where little is traded: it may have come before,
    and its time says nothing of what time it is."""

    __slots__ = ()


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


Levels = list[list[str]]  # of each level the first two: price and quantity, plain decimals as the venue sent them


class DepthUpdate(NamedTuple):
    """A change of the book, or all of it. Quantity "0…" removes a level. It says itself how it follows what was before:

    - `is_snapshot`: it replaces the book, whatever there was.
    - `previous_update_id` >= 0: it follows the update that ended with exactly that id (Binance futures, OKX).
    - else `first_update_id` > 0: it covers the ids `first`..`last`, inclusive, without a hole (Binance spot, Bybit).
    - else it has no order that could be checked but that of receipt (Coinbase, Kraken).
    - `checksum` >= 0: CRC32 of the top ten levels once it is applied and the book is cut to its depth (Kraken).
    """

    symbol: str
    event_ns: int  # 0 where the venue tells none
    first_update_id: int
    last_update_id: int
    bids: Levels
    asks: Levels
    previous_update_id: int = -1
    checksum: int = -1
    is_snapshot: bool = False


class DepthSnapshot(NamedTuple):
    """A whole book as REST gives it (a Binance answer does not name its symbol)."""

    last_update_id: int
    bids: Levels
    asks: Levels


class BookDepth(NamedTuple):
    """What the engine is told of a book: quantities of both sides, each -1 where it is not known.

    `bid_top`, `ask_top`: of the five best levels. `bid_near`, `ask_near`: of all within 10 bps of the mid; not known
    where the book is cut off nearer than that.
    """

    symbol: str
    update_id: int
    bid_top: int
    ask_top: int
    bid_near: int
    ask_near: int
    quantity_decimals: int


class LastTrade(NamedTuple):
    """The venue says which trade of a symbol is its newest: who does not have it has lost some."""

    symbol: str
    trade_id: int


class Topic(NamedTuple):
    """One stream: `channel` is one of `exchanges.CHANNELS`."""

    symbol: str
    channel: str


class Ack(NamedTuple):
    """The venue's answer to a request: `error` is None where it was accepted.

    It concerns `topics`; where there are none, all that were asked for with `request_id`.
    """

    request_id: object
    error: str | None
    topics: tuple[Topic, ...] = ()


class Shutdown(NamedTuple):
    """The venue says that it is about to close the connection: reconnect now."""

    event_ns: int


Event = Trade | Quote | DepthUpdate | DepthSnapshot | LastTrade | Ack | Shutdown

TRADE, QUOTE, DEPTH = 0, 1, 2

# A packed record: 64 bytes, little-endian, naturally aligned. `records` reads them without a copy.
# event_ns, id, a, b, c, d, recv_ns, price_decimals, quantity_decimals, kind, taker_buy, 0 (`records.RECORD`).
# A trade uses a=price, b=quantity, c=matches; a quote a=bid, b=ask, c=bid quantity, d=ask quantity; depth (BookDepth)
# a=bid_top, b=ask_top, c=bid_near, d=ask_near.
RECORD_STRUCT = Struct("<7q4BI")
RECORD_BYTES = RECORD_STRUCT.size
