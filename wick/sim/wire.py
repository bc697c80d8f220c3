"""Binance spot's wire, from the exchange's side: frames, REST bodies, and what clients ask for. Pure.

Texts are as the venue writes them, field for field; prices and quantities always have eight decimals.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from wick.errors import WickError
from wick.sim.book import Book, DepthUpdate
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.symbols import UNITS

MAX_STREAMS = 1024
MAX_DEPTH, MAX_TRADES = 5000, 1000
_STREAM = re.compile(r"[a-z0-9_]{1,40}@[A-Za-z0-9_]{1,40}(@100ms)?|![A-Za-z0-9_]{1,40}@arr")
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


# ---- events


def decimal(units: int) -> bytes:
    return b"%d.%08d" % divmod(units, UNITS)


def trade(symbol: bytes, event: TradeEvent, event_ms: int) -> bytes:
    return b'{"e":"trade","E":%d,"s":"%b","t":%d,"p":"%b","q":"%b","T":%d,"m":%b,"M":true}' % (
        event_ms, symbol, event.trade_id, decimal(event.price), decimal(event.quantity), event.time_ms,
        b"true" if event.buyer_is_maker else b"false",
    )  # fmt: skip


def book_ticker(symbol: bytes, event: QuoteEvent) -> bytes:
    return b'{"u":%d,"s":"%b","b":"%b","B":"%b","a":"%b","A":"%b"}' % (
        event.update_id, symbol, decimal(event.bid), decimal(event.bid_quantity), decimal(event.ask),
        decimal(event.ask_quantity),
    )  # fmt: skip


def depth_update(symbol: bytes, update: DepthUpdate, event_ms: int) -> bytes:
    bids = levels(dict(sorted(update.bids.items(), reverse=True)))
    asks = levels(dict(sorted(update.asks.items())))
    return b'{"e":"depthUpdate","E":%d,"s":"%b","U":%d,"u":%d,"b":%b,"a":%b}' % (
        event_ms, symbol, update.first_id, update.last_id, bids, asks,
    )  # fmt: skip


def levels(side: Mapping[int, int]) -> bytes:
    return b"[" + b",".join(b'["%b","%b"]' % (decimal(p), decimal(q)) for p, q in side.items()) + b"]"


def wrapped(stream: str, payload: bytes) -> bytes:
    return b'{"stream":"%b","data":%b}' % (stream.encode(), payload)


def shutdown_event(event_ms: int) -> bytes:
    return b'{"e":"serverShutdown","E":%d}' % event_ms


# ---- REST bodies


class RestError(WickError):
    """A REST request that is answered with Binance's error body."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = orjson.dumps({"code": code, "msg": message})


def invalid_symbol() -> RestError:
    return RestError(-1121, "Invalid symbol.")


def depth_body(book: Book, limit: int) -> bytes:
    bids = dict(list(book.bids.items())[:limit])
    asks = dict(list(book.asks.items())[:limit])
    return b'{"lastUpdateId":%d,"bids":%b,"asks":%b}' % (book.update_id, levels(bids), levels(asks))


def trade_body(
    trade_id: int, price: str, quantity: str, quote_quantity: str, time_ms: int, maker: bool
) -> dict[str, Any]:
    return {"id": trade_id, "price": price, "qty": quantity, "quoteQty": quote_quantity, "time": time_ms,
            "isBuyerMaker": maker, "isBestMatch": True}  # fmt: skip


def symbol_info(symbol: str, base: str, quote: str, tick: str, step: str) -> dict[str, Any]:
    return {
        "symbol": symbol, "status": "TRADING", "baseAsset": base, "baseAssetPrecision": 8,
        "quoteAsset": quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True, "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "922327.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "92141578.00000000", "stepSize": step},
        ],
    }  # fmt: skip


# ---- REST parameters


def symbol_of(query: Mapping[str, str]) -> str:
    if not query.get("symbol"):
        raise RestError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    return query["symbol"]


def number_of(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,20}", text, re.ASCII):
        message = f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        raise RestError(-1100, message)
    return int(text)


def limit_of(query: Mapping[str, str], default: int, most: int) -> int:
    limit = number_of(query, "limit", default)
    if limit == 0:
        raise RestError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


# ---- what a client of the WebSocket asks for


class Request(NamedTuple):
    method: str
    params: list[Any]
    id: int | str | None


class RequestError(WickError):
    """A message of a client that is answered with an error frame."""

    def __init__(self, code: int, message: str, request_id: int | str | None = None) -> None:
        super().__init__(message)
        self.frame = orjson.dumps({"error": {"code": code, "msg": message}, "id": request_id})


def is_stream(name: object) -> bool:
    return isinstance(name, str) and _STREAM.fullmatch(name) is not None


def parse_request(raw: bytes) -> Request:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RequestError(3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}") from error
    if not isinstance(message, dict):
        raise RequestError(2, "Invalid request: expected an object at line 1 column 1")
    request_id = message.get("id")
    if not _is_id(request_id):
        raise RequestError(2, "Invalid request: request ID must be an unsigned integer")
    method, params = message.get("method"), message.get("params", [])
    if method is None:
        raise RequestError(2, f"Invalid request: missing field `method` at line 1 column {len(raw)}", request_id)
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        raise RequestError(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}", request_id)
    if not isinstance(params, list):
        raise RequestError(2, "Invalid request: invalid type: expected a sequence", request_id)
    if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        if not params:
            raise RequestError(2, "Invalid request: missing field `params`", request_id)
        if not all(is_stream(name) for name in params):
            raise RequestError(2, "Invalid request: invalid stream", request_id)
    elif method == "LIST_SUBSCRIPTIONS" and params:
        raise RequestError(2, "Invalid request: too many parameters", request_id)
    elif method.endswith("PROPERTY"):
        _check_property(method, params, request_id)
    return Request(method, params, request_id)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 36 and value.isascii() and value.replace("-", "").isalnum()
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


def _check_property(method: str, params: list[Any], request_id: int | str | None) -> None:
    if not params or not isinstance(params[0], str):
        raise RequestError(2, "Invalid request: property name must be a string", request_id)
    if params[0] != "combined":
        raise RequestError(0, "Unknown property", request_id)
    if len(params) != (2 if method == "SET_PROPERTY" else 1):
        raise RequestError(2, "Invalid request: too many parameters", request_id)
    if method == "SET_PROPERTY" and not isinstance(params[1], bool):
        raise RequestError(1, "Invalid value type: expected Boolean", request_id)


def result(value: object, request_id: int | str | None) -> bytes:
    return orjson.dumps({"result": value, "id": request_id})
