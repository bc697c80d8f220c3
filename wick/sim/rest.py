"""The REST side: `/api/v3/...` as Binance answers it, from any source. Pure."""

from typing import TYPE_CHECKING

import orjson

from wick.sim import wire
from wick.sim.http import HttpRequest
from wick.sim.wire import RestError

if TYPE_CHECKING:
    from wick.sim.server import Source


def answer(source: "Source", request: HttpRequest, now_ms: int) -> tuple[int, bytes]:
    """Status and body."""
    try:
        if request.method != "GET":
            raise RestError(-1000, f"{request.method} is not supported here.", status=405)
        return 200, _body(source, request, now_ms)
    except RestError as error:
        return error.status, error.body


def _body(source: "Source", request: HttpRequest, now_ms: int) -> bytes:
    query = request.query
    match request.path:
        case "/api/v3/ping":
            return b"{}"
        case "/api/v3/time":
            return orjson.dumps({"serverTime": now_ms})
        case "/api/v3/exchangeInfo":
            return _exchange_info(source, query, now_ms)
        case "/api/v3/depth":
            symbol = _listed(source, query)
            return source.depth(symbol, wire.limit_of(query, 100, wire.MAX_DEPTH))
        case "/api/v3/trades":
            symbol = _listed(source, query)
            return orjson.dumps(source.trades(symbol, None, wire.limit_of(query, 500, wire.MAX_TRADES)))
        case "/api/v3/historicalTrades":
            symbol, limit = _listed(source, query), wire.limit_of(query, 500, wire.MAX_TRADES)
            from_id = wire.number_of(query, "fromId", 0) if "fromId" in query else None
            return orjson.dumps(source.trades(symbol, from_id, limit))
    raise RestError(-1000, f"No such path: {request.path[:100]}", status=404)


def _listed(source: "Source", query: dict[str, str]) -> str:
    symbol = wire.symbol_of(query)
    if symbol not in source.symbols():
        raise wire.invalid_symbol()
    return symbol


def _exchange_info(source: "Source", query: dict[str, str], now_ms: int) -> bytes:
    listed = source.symbols()
    wanted: object = list(listed)
    if "symbol" in query:
        wanted = [query["symbol"]]
    elif "symbols" in query:
        try:
            wanted = orjson.loads(query["symbols"])
        except orjson.JSONDecodeError:
            wanted = None
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise RestError(-1100, "Illegal characters found in parameter 'symbols'; legal range is a list of symbols.")
    if not all(name in listed for name in wanted):
        raise wire.invalid_symbol()
    body = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": []}
    return orjson.dumps({**body, "symbols": [listed[name] for name in wanted]})
