"""The stored form (`market.stored`) in SQL: which of two rows ranks higher, and every field in plain numbers."""

from collections.abc import Callable
from typing import NamedTuple

from wick.market.schema import CANDLE, CANDLE_FIELDS, FOREIGN, PARTIAL, TURNOVER, VOLUME
from wick.market.schema import PRICE as PRICE_KIND
from wick.market.stored import (
    COLUMNS,
    DIGITS,
    LESS,
    NO_METRICS,
    OF_METRICS,
    OPEN,
    PRICE,
    SIGNED,
    SIZE,
    TICK,
    WHOLE,
    Column,
    bit_of,
)


def rank_sql(row: str) -> str:
    """`market.rows.rank` of a kept candle; `row` is a table's name and a dot, or nothing."""
    anchor = f"coalesce({row}obv_anchor_ms, {2**63 - 1})"
    return f"(~{row}flags & {PARTIAL}, ~{row}flags & {FOREIGN}, {row}revision, {row}known, -{anchor})"


class Dialect(NamedTuple):
    """How a database says it: a stored column as a number of any size, a quotient of two whole numbers as one, a power
    of two as a float64, the name of that type, the larger and the smaller of two; and whether fields of kind `less` are
    kept so, or whole."""

    column: Callable[[str], str]
    quotient: Callable[[str, str], str]
    power: Callable[[str], str]
    real: str
    most: str
    least: str
    less: bool = True


def floats(dialect: Dialect, length_ms: str) -> dict[str, str]:
    """SQL for every field of a candle but the patterns' in plain numbers: floats, where a unit has decimals.
    `length_ms`: SQL for the nominal length of the interval."""
    made: dict[str, str] = {OPEN: OPEN}
    for column in COLUMNS:
        made[column.name] = _sql(column, dialect, length_ms, made)
    tens = {PRICE_KIND: "price_decimals", VOLUME: "quantity_decimals", TURNOVER: "price_decimals + quantity_decimals"}
    real = dialect.real
    shown = {name: f"CAST({made[name]} AS {real}) * {_ten(tens[kind], real)}" if kind in tens else made[name]
             for name, kind in CANDLE if name in made}  # fmt: skip
    prices = {name: f"CAST({made[name]} AS {real})" for name in ("open", "high", "low", "close")}
    height = f"nullif({prices['high']} - {prices['low']}, 0)"
    top, bottom = (f"{of}({prices['open']}, {prices['close']})" for of in (dialect.most, dialect.least))
    then = f"({made['open']} - {dialect.column('log_return')})"
    mean, price_ten = f"CAST({dialect.column('sma_20')} AS {real}) / 100", _ten("price_decimals", real)
    top_then, bottom_then = f"{dialect.most}({made['high']}, {then})", f"{dialect.least}({made['low']}, {then})"
    band = f"nullif({mean} * {made['bb_bandwidth']}, 0)"
    follow = {
        "vwap": f"CAST({made['quote_volume']} AS {real}) / nullif({made['volume']}, 0) * {price_ten}",
        "delta_ratio": f"coalesce(CAST({made['delta']} AS {real}) / nullif({made['volume']}, 0), {made['delta']} * 0)",
        "avg_trade_size": f"coalesce(CAST({made['volume']} AS {real}) / nullif(trade_count, 0), 0) * "
        + _ten("quantity_decimals", real),
        "true_range": f"CAST({top_then} - {bottom_then} AS {real}) * {price_ten}",
        "body_ratio": f"coalesce(({prices['close']} - {prices['open']}) / {height}, 0)",
        "upper_wick_ratio": f"coalesce(({prices['high']} - {top}) / {height}, 0)",
        "lower_wick_ratio": f"coalesce(({bottom} - {prices['low']}) / {height}, 0)",
        "close_location": f"coalesce(({prices['close']} - {prices['low']}) / {height}, 0.5)",
        "bb_percent_b": f"coalesce(({prices['close']} - {mean}) / {band} + 0.5, {made['bb_bandwidth']} * 0)",
    }
    for name, sql in follow.items():
        bits = bit_of(name) | (NO_METRICS if name in OF_METRICS else 0)
        shown[name] = f"CASE WHEN unknown & {bits} = 0 THEN {sql} END"
    return {name: shown[name] for name in CANDLE_FIELDS if name in shown}


def _ten(decimals: str, real: str) -> str:
    """A power of ten by its text: not every database was built with pow()."""
    return f"CAST('1e-' || ({decimals}) AS {real})"


def _sql(column: Column, dialect: Dialect, length_ms: str, made: dict[str, str]) -> str:
    name, kind, _, n, _ = column
    kept, real = dialect.column(name), dialect.real
    if kind == WHOLE or (kind == LESS and not dialect.less):
        return kept
    if kind == TICK:
        open_, close = (f"CAST({made[price]} AS {real})" for price in ("open", "close"))
        then = f"({open_} - {kept})"
        if name == "roc_10":
            return f"(100 * ({close} - {then}) / {then})"
        # ln(c / t) = 2 artanh((c - t) / (c + t)): not every database was built with ln().
        y = f"(({close} - {then}) / ({close} + {then}))"
        return f"2 * {y} * (1 + {y} * {y} * (1 / 3.0 + {y} * {y} * (0.2 + {y} * {y} / 7)))"
    if kind in (DIGITS, SIGNED):
        code = f"({kept} / 2)" if kind == SIGNED else kept
        power = dialect.power(f"({code} - 1) / {1 << n} + {column.least - n - 1}")
        value = f"(({code} - 1) % {1 << n} + {1 << n}) * {power} * {dialect.least}({code}, 1)"
        return f"({value} * (1 - 2 * ({kept} % 2)))" if kind == SIGNED else f"({value})"
    if kind != LESS:
        tens = {PRICE: "price_decimals + ", SIZE: "quantity_decimals + "}.get(kind, "")
        return f"(CAST({kept} AS {real}) * {_ten(f'{tens}{n}', real)})"
    usual = {
        "close_time_ms": f"{OPEN} + {length_ms}",
        "quote_volume": f"{made['volume']} * " + dialect.quotient(f"({made['high']} + {made['low']})", "2"),
        "taker_buy_volume": dialect.quotient(made["volume"], "2"),
        "first_trade_id": "last_trade_id - CASE trade_count WHEN 0 THEN 0 ELSE trade_count - 1 END",
    }
    if name == "taker_buy_quote_volume":
        whole = dialect.quotient(made["quote_volume"], f"nullif({made['volume']}, 0)")
        usual[name] = f"coalesce({made['taker_buy_volume']} * {whole}, 0)"
    elif name == "delta":
        usual[name] = f"2 * {made['taker_buy_volume']} - {made['volume']}"
    elif name in ("delta_max", "delta_min"):
        usual[name] = f"{dialect.most if name == 'delta_max' else dialect.least}(coalesce({made['delta']}, 0), 0)"
    return f"({kept} + {usual[name]})"
