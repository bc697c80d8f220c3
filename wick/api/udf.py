"""TradingView's UDF: the HTTP protocol by which its charting library asks for symbols and bars.

https://www.tradingview.com/charting-library-docs/latest/connecting_data/UDF and the library's own client
(datafeeds/udf/src/history-provider.ts). Times are seconds; a bar's time is its opening, 00:00 UTC for days, weeks
(Mondays) and months. A symbol's ticker is `venue:symbol`: what the library asks by. An error is {"s": "error"}.
"""

from collections.abc import Sequence
from typing import Any, Final

from wick.api.candles import Candles, chunks
from wick.api.history import Window
from wick.api.replies import JSON, NO_STORE, RequestError, error_headers, harmless_json, json_reply
from wick.api.routes import MAX_LIMIT, RESOLUTIONS, interval_of
from wick.market.rows import readable
from wick.market.schema import HEAD_FIELDS, Row
from wick.wire.http import Reply

Pair = tuple[str, str]

MAX_DECIMALS: Final = 15  # of a price scale: 10 to the 15 is still exact as JavaScript's number
_PRICE_AT, _QUANTITY_AT = HEAD_FIELDS.index("price_decimals"), HEAD_FIELDS.index("quantity_decimals")
_BAR: Final = ("open", "high", "low", "close", "volume")


def error_reply(error: RequestError) -> Reply:
    """As the protocol has it. The library reads the body whatever the status is."""
    told = f"{error.field}: {error.message}; valid is {error.valid}"
    return Reply(error.status, JSON, harmless_json({"s": "error", "errmsg": told}), error_headers(error.status))


def config(pairs: Sequence[Pair]) -> Reply:
    venues = sorted({venue for venue, _ in pairs})
    return json_reply(
        {
            "supports_search": True,
            "supports_group_request": False,
            "supports_marks": False,
            "supports_timescale_marks": False,
            "supports_time": True,
            "supported_resolutions": [*RESOLUTIONS],
            "exchanges": [
                {"value": "", "name": "All exchanges", "desc": ""},
                *({"value": venue, "name": venue, "desc": venue} for venue in venues),
            ],
            "symbols_types": [{"name": "All types", "value": ""}, {"name": "Crypto", "value": "crypto"}],
        }
    )


def resolve(text: str, pairs: Sequence[Pair]) -> Pair:
    """A ticker, or the name alone: of several venues that list it the first. Names may be in any case."""
    wanted = text.lower()
    for venue, symbol in pairs:
        if wanted in (f"{venue}:{symbol}".lower(), symbol.lower()):
            return venue, symbol
    raise RequestError("unknown_symbol", "symbol", text, "a ticker that /udf/search finds", 404)


def symbol_info(pair: Pair, head: Sequence[int] | None) -> dict[str, Any]:
    """`head`: the pair's, which tells how many decimals its numbers have."""
    venue, symbol = pair
    price, quantity = (head[_PRICE_AT], head[_QUANTITY_AT]) if head is not None else (2, 2)
    return {
        "name": symbol,
        "ticker": f"{venue}:{symbol}",
        "description": f"{symbol.replace('-', ' / ')} on {venue}",
        "type": "crypto",
        "exchange": venue,
        "listed_exchange": venue,
        "session": "24x7",
        "timezone": "Etc/UTC",
        "format": "price",
        "minmov": 1,
        "minmove2": 0,
        "pricescale": 10 ** min(price, MAX_DECIMALS),
        "volume_precision": min(quantity, MAX_DECIMALS),
        "has_seconds": True,
        "seconds_multipliers": ["15", "30"],
        "has_intraday": True,
        "intraday_multipliers": [one for one in RESOLUTIONS if one.isdigit()],
        "has_daily": True,
        "daily_multipliers": ["1"],
        "has_weekly_and_monthly": True,
        "weekly_multipliers": ["1"],
        "monthly_multipliers": ["1"],
        "supported_resolutions": [*RESOLUTIONS],
        "data_status": "streaming",
    }


def search(given: dict[str, Any], pairs: Sequence[Pair]) -> Reply:
    """Those whose name begins with what was typed come first."""
    wanted, venue, kind = ((given[name] or "").lower() for name in ("query", "exchange", "type"))
    found = [
        (not pair[1].lower().startswith(wanted), pair)
        for pair in pairs
        if kind in ("", "crypto") and venue in ("", pair[0].lower()) and wanted in f"{pair[0]}:{pair[1]}".lower()
    ]
    return json_reply([_found(*pair) for _, pair in sorted(found)[: given["limit"]]])


def _found(venue: str, symbol: str) -> dict[str, str]:
    ticker = f"{venue}:{symbol}"
    description = f"{symbol.replace('-', ' / ')} on {venue}"
    return {"symbol": symbol, "full_name": ticker, "ticker": ticker, "description": description, "exchange": venue,
            "type": "crypto"}  # fmt: skip


def history(given: dict[str, Any], pair: Pair, candles: Candles) -> Reply:
    """Bars that open in [from, to); with `countback` so many before `to`, however old. The newest, where there are more
    than one answer may have (`limitedServerResponse: {maxResponseLength, expectedOrder: "latestFirst"}`)."""
    interval = interval_of(given["resolution"])

    def read(part: Window) -> list[Row]:
        return candles(*pair, interval, part)

    # Who scrolls far back, in months, asks for what was before 1970.
    to_ms = max(0, given["to"]) * 1000
    if given["countback"] is not None:
        window = Window(min(given["countback"], MAX_LIMIT), 0, to_ms)
    else:
        window = Window(MAX_LIMIT, max(0, given["from"]) * 1000, to_ms)
    bars = [_bar(row) for rows in chunks(read, window) for row in reversed(rows)]
    if not bars:
        # Without a nextTime the library takes it that there is nothing older, and asks no more.
        older = read(Window(1, 0, min(window.from_ms, to_ms)))
        return json_reply({"s": "no_data", **({"nextTime": older[0][0] // 1000} if older else {})})
    bars.reverse()
    return json_reply({"s": "ok", **dict(zip("tohlcv", zip(*bars, strict=True), strict=True))})


def _bar(row: Row) -> tuple[float, ...]:
    return row[0] // 1000, *(float(str(value)) for value in readable(row, _BAR).values())


def clock(now_ms: int) -> Reply:
    return Reply(200, "text/plain; charset=utf-8", str(now_ms // 1000).encode(), NO_STORE)
