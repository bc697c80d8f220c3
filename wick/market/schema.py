"""The fields of a pair's state and of a candle's row, each with its kind, declared once.

Everything else (engine, diffs, wire, stores, page) reads these tables. Values are integers, exact, but for REAL:

| kind | unit |
|---|---|
| PRICE | 10^-price_decimals of the quote asset |
| VOLUME | 10^-quantity_decimals of the base asset |
| TURNOVER | 10^-(price_decimals + quantity_decimals) of the quote asset |
| PLAIN | as the name says: ids, counts, times in ms since the epoch, flags |
| REAL | a float64 in whole units of what the name says (prices in the quote asset, sizes in the base asset) |

A product of two exact integers is exact, so turnover keeps every digit that the venue's own sum has.
"""

from enum import IntFlag
from typing import Final

from wick.market.intervals import INTERVALS

PRICE, VOLUME, TURNOVER, PLAIN, REAL = "price", "volume", "turnover", "plain", "real"


class Flag(IntFlag):
    """What a candle's `flags` say."""

    CLOSED = 1
    EMPTY = 2
    PARTIAL = 4
    SUSPECT = 8
    REVISED = 16


_FLAGS: Final = {
    Flag.CLOSED: "final",
    Flag.EMPTY: "no trade, flat at the previous close",
    Flag.PARTIAL: "opened before we listened, its start is missing",
    Flag.SUSPECT: "trade ids that fall inside it are missing",
    Flag.REVISED: "corrected after it closed",
}


# A pair's head: what is true now, and running totals since the stream's epoch began.
HEAD: Final = (
    ("last_price", PRICE),
    ("last_trade_id", PLAIN),
    ("last_time_ms", PLAIN),
    ("volume", VOLUME),
    ("quote_volume", TURNOVER),
    ("trade_count", PLAIN),
    ("taker_buy_volume", VOLUME),
    ("taker_buy_quote_volume", TURNOVER),
    ("bid", PRICE),
    ("bid_quantity", VOLUME),
    ("ask", PRICE),
    ("ask_quantity", VOLUME),
    ("price_decimals", PLAIN),
    ("quantity_decimals", PLAIN),
    ("day_open", PRICE),
)

# The live candle of one interval. The `…0` fields are the head's totals at its opening: its own volume is
# head.volume - volume0, so a trade changes the head and leaves all twelve candles as they are.
LIVE: Final = (
    ("open_time_ms", PLAIN),
    ("open", PRICE),
    ("high", PRICE),
    ("low", PRICE),
    ("volume0", VOLUME),
    ("quote_volume0", TURNOVER),
    ("trade_count0", PLAIN),
    ("taker_buy_volume0", VOLUME),
    ("taker_buy_quote_volume0", TURNOVER),
    ("flags", PLAIN),
)

# A candle's row: what is closed, published, stored and shown.
CANDLE: Final = (
    ("open_time_ms", PLAIN),
    ("close_time_ms", PLAIN),
    ("revision", PLAIN),
    ("flags", PLAIN),
    ("price_decimals", PLAIN),
    ("quantity_decimals", PLAIN),
    ("open", PRICE),
    ("high", PRICE),
    ("low", PRICE),
    ("close", PRICE),
    ("volume", VOLUME),
    ("quote_volume", TURNOVER),
    ("trade_count", PLAIN),
    ("taker_buy_volume", VOLUME),
    ("taker_buy_quote_volume", TURNOVER),
    ("first_trade_id", PLAIN),
    ("last_trade_id", PLAIN),
    ("delta", VOLUME),
    ("delta_max", VOLUME),
    ("delta_min", VOLUME),
    ("cvd", VOLUME),
    ("cvd_anchor_ms", PLAIN),
    ("max_trade_size", VOLUME),
    ("large_trade_volume", VOLUME),
    ("large_trade_delta", VOLUME),
    ("vwap", REAL),
    ("delta_ratio", REAL),
    ("avg_trade_size", REAL),
    ("tick_rv", REAL),
    ("kyle_lambda", REAL),
)

HEAD_FIELDS: Final = tuple(name for name, _ in HEAD)
LIVE_FIELDS: Final = tuple(name for name, _ in LIVE)
CANDLE_FIELDS: Final = tuple(name for name, _ in CANDLE)

# The groups of a pair's state: its head, then the live candle of each interval.
STATE_WIDTHS: Final = (len(HEAD), *[len(LIVE)] * len(INTERVALS))

# How many powers of ten a field of each kind gains when a pair's decimals grow by (prices, quantities).
_GAIN = {PRICE: (1, 0), VOLUME: (0, 1), TURNOVER: (1, 1), PLAIN: (0, 0), REAL: (0, 0)}


def rescale(values: list[int], fields: tuple[tuple[str, str], ...], more_price: int, more_quantity: int) -> None:
    """Restate `values` (laid out as `fields`) in place with that many more decimals."""
    for index, (_, kind) in enumerate(fields):
        price, quantity = _GAIN[kind]
        values[index] *= 10 ** (price * more_price + quantity * more_quantity)


_TERMS = """
| term | meaning |
|---|---|
| trade | one executed match: price, size, taker side, venue id; *tick*: any market event that enters the feed |
| taker side | `buy`: the taker lifted the ask |
| base, quote | BTC and USDT in BTC-USDT; *volume* is base, *quote volume* is quote |
| symbol, venue | the normalised name (BTC-USDT), the exchange |
| candle | open, high, low, close and volumes over `[open time, close time)`; *live* while it changes, *closed* when final, *revised* when corrected |
| snapshot, diff | a whole state; a change against exactly one earlier sequence |
| epoch, sequence | an epoch is new whenever a stream's history restarts, a sequence grows by 1 within it; *hole*: a missing one |
| late | a trade that comes after a later one, or after its candle's end; *grace*: how long a candle waits for them |
| conflate | keep only the newest state for a slow reader |
"""  # noqa: E501


def units_document() -> str:
    """docs/units.md: `python -c "from wick.market import schema; print(schema.units_document(), end='')"`."""
    lines = ["# Fields, units, terms", "", "Generated from `wick/market/schema.py`.", ""]
    lines += (__doc__ or "").partition("\n\n")[2].strip().splitlines()
    for title, fields in (("HEAD", HEAD), ("LIVE", LIVE), ("CANDLE (a row)", CANDLE)):
        lines += ["", f"## {title}", "", "| # | field | kind |", "|---|---|---|"]
        lines += [f"| {number} | `{name}` | {kind} |" for number, (name, kind) in enumerate(fields)]
    lines += ["", "## Flags", "", "| bit | flag |", "|---|---|"]
    lines += [f"| {flag.value} | {str(flag.name).lower()}: {_FLAGS[flag]} |" for flag in Flag]
    return "\n".join([*lines, "", "## Terms", _TERMS.rstrip(), ""])
