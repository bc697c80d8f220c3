"""The fields of a pair's state and of a candle's row, each with its kind, declared once.

Everything else (engine, diffs, wire, stores, page) reads these tables. Values are integers, exact, but for REAL:

| kind | unit |
|---|---|
| PRICE | 10^-price_decimals of the quote asset |
| VOLUME | 10^-quantity_decimals of the base asset |
| TURNOVER | 10^-(price_decimals + quantity_decimals) of the quote asset |
| PLAIN | as the name says: ids, counts, times in ms since the epoch, flags |
| REAL | a float64 in whole units of what the name says (prices in the quote asset, sizes in the base asset) |
| PATTERNS | 61 signed bytes, one for each candlestick pattern: TA-Lib's value / 20 |

A product of two exact integers is exact, so turnover keeps every digit that the venue's own sum has.
"""

import json
from enum import IntFlag
from typing import Any, Final

from wick.market.intervals import INTERVALS
from wick.metrics import fields as metric_fields
from wick.metrics import pattern_table
from wick.metrics.fields import Field

PRICE, VOLUME, TURNOVER, PLAIN, REAL, PATTERNS = "price", "volume", "turnover", "plain", "real", "patterns"


class Flag(IntFlag):
    """What a candle's `flags` say."""

    CLOSED = 1
    EMPTY = 2
    PARTIAL = 4
    SUSPECT = 8
    REVISED = 16
    FOREIGN = 32


CLOSED, EMPTY, PARTIAL, SUSPECT, REVISED, FOREIGN = (int(flag) for flag in Flag)  # as fast as integers are
Row = list[Any]  # a candle as published: the values of CANDLE, in that order

_FLAGS: Final = {
    Flag.CLOSED: "final",
    Flag.EMPTY: "no trade, flat at the previous close",
    Flag.PARTIAL: "opened before we listened, its start is missing",
    Flag.SUSPECT: "trades that fall inside it are missing, or may be",
    Flag.REVISED: "corrected after it closed",
    Flag.FOREIGN: "as the venue gave it, not made of trades here; what the venue does not tell is null",
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

# What trades and quotes make of a candle; the exact fields first.
FORMED: Final = (
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
    ("ofi", REAL),
    ("book_imbalance", REAL),
    ("quoted_spread_bps", REAL),
    ("effective_spread_bps", REAL),
    ("microprice_dev_bps", REAL),
    ("depth_imbalance_10bps", REAL),
)

# What is made of closed candles (`wick.metrics`): null where a value is not defined yet, or nobody has computed it.
METRICS: Final = (
    *((field.name, REAL if field.unit != "ms" else PLAIN) for field in metric_fields.FIELDS),
    ("bull", PLAIN),
    ("bear", PLAIN),
    ("patterns", PATTERNS),
)

# A candle's row: what is closed, published, stored and shown.
CANDLE: Final = (*FORMED, *METRICS)

_TRADES, _QUOTES, _LEVELS = "trades", "best quotes", "order book"

# What the fields of FORMED mean that are among the 64 metrics or go with one (number 0). None: not known here (a reader
# that derives a row from diffs), or there is none (vwap without a volume). 0/0 is 0.
BASIC: Final = (
    Field(1, "open", "quote per base", "price of the first trade", 1, _TRADES),
    Field(2, "high", "quote per base", "highest price", 1, _TRADES),
    Field(3, "low", "quote per base", "lowest price", 1, _TRADES),
    Field(4, "close", "quote per base", "price of the last trade", 1, _TRADES),
    Field(5, "volume", "base", "sum of the quantities q", 1, _TRADES),
    Field(6, "quote_volume", "quote", "sum of p q", 1, _TRADES),
    Field(7, "trade_count", "1", "number of trades", 1, _TRADES),
    Field(15, "taker_buy_volume", "base", "sum of q over trades in which the taker bought", 1, _TRADES),
    Field(16, "taker_buy_quote_volume", "quote", "sum of p q over those trades", 1, _TRADES),
)
FLOW: Final = (
    Field(17, "delta", "base", "taker buy volume - taker sell volume", 1, _TRADES),
    Field(
        20, "delta_max", "base", "highest value of the running delta, which is 0 at the open: never negative", 1,
        _TRADES,
    ),
    Field(21, "delta_min", "base", "lowest value of the running delta: never positive", 1, _TRADES),
    Field(
        19, "cvd", "base", "cumulative volume delta at the close: the running delta since `cvd_anchor_ms`", 1, _TRADES
    ),
    Field(
        0, "cvd_anchor_ms", "ms",
        "00:00 UTC of the day in which the candle opens (for 1d, 1w and 1M the candle's own open, so that `cvd` is "
        "`delta`), or the moment from which we listened to the pair, if that is later", 1, _TRADES,
    ),
    Field(23, "max_trade_size", "base", "largest quantity of a trade", 1, _TRADES),
    Field(
        24, "large_trade_volume", "base",
        "volume of the trades whose price * quantity is at least `aggregator.large_notional`", 1, _TRADES,
    ),
    Field(
        25, "large_trade_delta", "base", "taker buy volume - taker sell volume of those trades", 1, _TRADES
    ),
    Field(
        8, "vwap", "quote per base",
        "volume-weighted average price: quote_volume / volume; null where the volume is 0", 1, _TRADES,
    ),
    Field(18, "delta_ratio", "1", "delta / volume, from -1 to 1", 1, _TRADES),
    Field(22, "avg_trade_size", "base", "volume / trade_count", 1, _TRADES),
    Field(
        26, "tick_rv", "1",
        "realised volatility: sqrt(sum((ln p_i - ln p_(i-1))^2)) over consecutive trades inside the candle",
        1, f"{_TRADES}; Andersen, Bollerslev, Diebold, Labys 2003",
    ),
    Field(
        28, "kyle_lambda", "quote per base^2",
        "price impact of signed volume: sum((p_i - p_(i-1)) * s_i q_i) / sum(q_i^2), s = 1 for taker buys, -1 for "
        "taker sells; the numerator over consecutive trades inside the candle, the denominator over all of them",
        1, f"{_TRADES}; after Kyle 1985",
    ),
)  # fmt: skip

# What the book was while a candle was made, likewise.
BOOK: Final = (
    Field(
        30, "ofi", "base",
        "order-flow imbalance at the best quotes: sum over consecutive quotes of e = [b >= b'] B - [b <= b'] B' "
        "- [a <= a'] A + [a >= a'] A', with bid b and its quantity B, ask a and its quantity A, and ' for the quote "
        "before", 1, f"{_QUOTES}; Cont, Kukanov, Stoikov 2014",
    ),
    Field(
        31, "book_imbalance", "1",
        "time-weighted (Qb - Qa) / (Qb + Qa) of the quantities of the best 5 levels, bids and asks", 1, _LEVELS,
    ),
    Field(
        32, "quoted_spread_bps", "bps", "time-weighted (a - b) / mid * 1e4, mid = (a + b) / 2", 1, _QUOTES
    ),
    Field(
        33, "effective_spread_bps", "bps",
        "volume-weighted 2s (p - mid) / mid * 1e4 over trades, s = 1 for taker buys, -1 for taker sells, mid of the "
        "newest quote before the trade", 1, f"{_TRADES} and {_QUOTES}",
    ),
    Field(
        34, "microprice_dev_bps", "bps",
        "(weighted mid - mid) / mid * 1e4 at the close, weighted mid = (b A + a B) / (A + B)", 1, _QUOTES,
    ),
    Field(
        35, "depth_imbalance_10bps", "1",
        "(Db - Da) / (Db + Da) at the close, of the quantities of bids and asks within 10 bps of mid", 1, _LEVELS,
    ),
)  # fmt: skip
FLOW_FIELDS: Final = tuple(field.name for field in (*FLOW, *BOOK))  # they may be null

# The 64 metrics by number, and what goes with them: what they are, for documents, pages and programs.
FIELDS: Final = tuple(sorted((*BASIC, *FLOW, *BOOK, *metric_fields.FIELDS), key=lambda field: field.number or 99))

HEAD_FIELDS: Final = tuple(name for name, _ in HEAD)
LIVE_FIELDS: Final = tuple(name for name, _ in LIVE)
FORMED_FIELDS: Final = tuple(name for name, _ in FORMED)
METRIC_FIELDS: Final = tuple(name for name, _ in METRICS)
CANDLE_FIELDS: Final = tuple(name for name, _ in CANDLE)
UNKNOWN: Final = [None] * len(METRICS)  # of a row whose metrics nobody has computed

# The groups of a pair's state: its head, then the live candle of each interval.
STATE_WIDTHS: Final = (len(HEAD), *[len(LIVE)] * len(INTERVALS))

# How many powers of ten a field of each kind gains when a pair's decimals grow by (prices, quantities).
_GAIN = {PRICE: (1, 0), VOLUME: (0, 1), TURNOVER: (1, 1), PLAIN: (0, 0), REAL: (0, 0), PATTERNS: (0, 0)}


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


_FLOW_TEXT = """
Of the trades of this candle, in the order of their ids. 0/0 is 0. What is not known is null (in SQLite NULL, in CSV an
empty cell): a row that was made from HEAD and LIVE, because its CLOSE has not come yet, has none of these. `vwap` is
null too where nothing was traded: there is no such price.

The order of ids is that of time: at the venues that we know, times never fall as ids grow. Where one falls across a
15 s boundary, a trade still belongs to the candles of its own time. Volumes, turnovers, counts, highs, lows, sizes,
`cvd` and which ids are missing stay exact. What depends on the order of trades (open, close, first and last id,
`delta_max`, `delta_min`, `tick_rv`, `kyle_lambda`) then goes by the 15 s pieces of a candle first, by ids within each
(and by ids alone where such a trade comes when the candle that it belongs to has ended).
""".rstrip().splitlines()


_METRICS_TEXT = """
The 64 metrics, and what goes with them. O, H, L, C are the candle's prices, V its volume, C' the close before. `n`:
candles until the value is defined, the candle itself included; before that it is null, never a guess. 0/0 is 0 for a
ratio (0.5 for `close_location`). Prices enter as whole ticks, so that ties are ties; recursive values have TA-Lib's
seeds. Of flat candles without a trade all are made as of any other. `obv_anchor_ms` tells from when `obv` counts.
""".rstrip().splitlines()

_PATTERNS_TEXT = """
TA-Lib's 61, with its default parameters, bit for bit on whole ticks. `patterns` has one signed byte for each: TA-Lib's
value / 20 (100 is 5, 80 is 4, 200 is 10). `bull` and `bear` are masks: bit k says that pattern k is above, below 0. A
pattern says nothing of a stream's first candles, as many as `after` tells.
""".rstrip().splitlines()

_BOOK_TEXT = """
Of the best bid and ask, and of the levels below them. A quote counts where both sides have a price and a quantity and
the bid is not above the ask, and it stands until the next one comes; behind one that does not count, and behind an
outage, none stands. All that is said of quotes is of those that reach the engine: of a pair the newest of each flush of
the feed (`feed.batch_ms`), behind the trades of the flush; so the mid that a trade is held against is that of the flush
before. They are taken in the order of the records, and timed by the venue's clock at the moment of receipt.

- Times: the quote that stands at a boundary counts up to it in one candle and from it on in the next. Only time in
  which a quote stood has weight. In a pair's first candles quotes count from its first trade on.
- `ofi` is of neighbours that both count, in the candle in which the second of them came. A quiet candle has 0.
- `effective_spread_bps` is of trades that came while a quote stood. A trade that came late, when the 15 s candle of its
  time had ended, is in none of any interval; a revision leaves all of these fields as they were.
- Levels: behind the trades of a flush the feed tells of a book what bids and asks have in their five best levels, and
  within 10 bps of the mid. `book_imbalance` is weighted by the time in which the first was known;
  `depth_imbalance_10bps` is what stood of the second when the candle ended, and is not known where the book that the
  venue gives is cut off nearer than that. Behind news that a book is not whole, and behind an outage, nothing stands.
  0/0 is 0: nothing on either side.
- Null is what is not known: in a candle in which no quote stood for any time (`ofi`, `quoted_spread_bps`), no levels
  were known at any time (`book_imbalance`), no trade came while a quote stood (`effective_spread_bps`), or nothing
  stood at the end (`microprice_dev_bps`, `depth_imbalance_10bps`); all of them in a candle that a late trade made where
  none was. `wick candles` reads neither quotes nor books: there all of these are null.
""".rstrip().splitlines()


def units_document() -> str:
    """docs/units.md: `python -c "from wick.market import schema; print(schema.units_document(), end='')"`."""
    lines = ["# Fields, units, terms", "", "Generated from `wick/market/schema.py`.", ""]
    lines += (__doc__ or "").partition("\n\n")[2].strip().splitlines()
    for title, fields in (("HEAD", HEAD), ("LIVE", LIVE), ("CANDLE (a row)", CANDLE)):
        lines += ["", f"## {title}", "", "| # | field | kind |", "|---|---|---|"]
        lines += [f"| {number} | `{name}` | {kind} |" for number, (name, kind) in enumerate(fields)]
    lines += ["", "## Order flow", *_FLOW_TEXT]
    lines += ["", "## Book", *_BOOK_TEXT]
    lines += ["", "## Metrics", *_METRICS_TEXT]
    lines += ["", "| # | field | unit | definition | n | source |", "|---|---|---|---|---|---|"]
    for field in FIELDS:
        number = field.number or ""
        lines += [f"| {number} | `{field.name}` | {field.unit} | {field.definition} | {field.n} | {field.source} |"]
    lines += ["", "## Patterns", *_PATTERNS_TEXT]
    lines += ["", "| bit | pattern | | after | what it is |", "|---|---|---|---|---|"]
    for pattern in pattern_table.PATTERNS:
        number, name, title, definition, lookback = pattern
        lines += [f"| {number} | `{name}` | {title} | {lookback} | {definition} |"]
    lines += ["", "## Flags", "", "| bit | flag |", "|---|---|"]
    lines += [f"| {flag.value} | {str(flag.name).lower()}: {_FLAGS[flag]} |" for flag in Flag]
    return "\n".join([*lines, "", "## Terms", _TERMS.rstrip(), ""])


def web_module() -> str:
    """wick/web/schema.js: `python -c "from wick.market import schema; print(schema.web_module(), end='')"`."""

    def text(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    def places(fields: tuple[tuple[str, str], ...]) -> dict[str, object]:
        return {name.upper(): place for place, (name, _) in enumerate(fields)}

    def table(name: str, rows: tuple[Any, ...], parts: tuple[str, ...]) -> list[str]:
        told = ([f"{part}: {text(getattr(row, part))}" for part in parts] for row in rows)
        return [f"export const {name} = Object.freeze([", *(f"  {{ {', '.join(row)} }}," for row in told), "]);"]

    lines = ["// States, rows, metrics and patterns as the engine declares them. Generated from wick/market/schema.py."]
    maps: tuple[tuple[str, str, dict[str, object]], ...] = (
        ("HEAD", "A pair's head: where each field stands.", places(HEAD)),
        ("LIVE", "The live candle of one interval, likewise.", places(LIVE)),
        ("FLAG", "The bits of a candle's flags.", {str(flag.name): flag.value for flag in Flag}),
        ("CANDLE", "The fields of a candle's row in order, each with its kind.", dict(CANDLE)),
    )
    for name, comment, values in maps:
        entries = [f"  {key}: {text(value)}," for key, value in values.items()]
        lines += ["", f"// {comment}", f"export const {name} = Object.freeze({{", *entries, "});"]
    lines += ["", "// What fields mean; n: candles until one is defined; number 0: no metric, but goes with one."]
    lines += table("METRICS", FIELDS, ("number", "name", "unit", "n", "definition", "source"))
    lines += ["", "// A pattern's place here is that in a row's patterns, and its bit in the masks."]
    lines += table("PATTERNS", pattern_table.PATTERNS, ("name", "title", "definition"))
    return "\n".join([*lines, ""])
