"""A candle's row as people read it: exact decimals as text, ratios as numbers, nothing where nothing is known."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.market.numbers import format_decimal
from wick.market.rows import ALL_COLUMNS, COLUMNS, MAY_MISS, METRIC_COLUMNS, flag_names, rank, readable
from wick.market.schema import CANDLE, CANDLE_FIELDS, FLOW_FIELDS, FORMED_FIELDS, METRIC_FIELDS, PARTIAL, REAL, Flag
from wick.metrics import pattern_table

ROW = {
    "open_time_ms": 60_000, "close_time_ms": 120_000, "revision": 1, "flags": 17, "price_decimals": 2,
    "quantity_decimals": 5, "open": 6183763, "high": 6183800, "low": 1, "close": 6183700, "volume": 378826,
    "quote_volume": 10**25 + 1, "trade_count": 3, "taker_buy_volume": 100_000, "taker_buy_quote_volume": 12,
    "first_trade_id": 7, "last_trade_id": 9, "delta": -178_826, "delta_max": 0, "delta_min": -200_000,
    "cvd": -(10**20), "cvd_anchor_ms": 0, "max_trade_size": 50_000, "large_trade_volume": 50_000,
    "large_trade_delta": -50_000, "vwap": 61837.123456789, "delta_ratio": -0.1, "avg_trade_size": 1.26275,
    "tick_rv": 1e-05, "kyle_lambda": -2.5, "ofi": 0.5, "book_imbalance": -0.25, "quoted_spread_bps": 1.5,
    "effective_spread_bps": 2.5, "microprice_dev_bps": -1e-05, "depth_imbalance_10bps": 0.75,
}  # fmt: skip

REALS = {name for name, kind in CANDLE if kind == REAL}
FOUND = bytes(0 if name != "CDLENGULFING" else 256 - 4 for name in pattern_table.NAMES)  # a signed byte: -80 / 20


def row(**others):
    """ROW with what is given; what neither says is not known."""
    return [(ROW | others).get(name) for name in CANDLE_FIELDS]


def test_every_field_is_told_in_its_unit():
    told = readable(row(rsi_14=61.5, macd=-1e-07, obv_anchor_ms=60_000, bull=2**60, bear=0, patterns=FOUND))
    assert tuple(told) == CANDLE_FIELDS
    assert {name: value for name, value in told.items() if value is not None} == {
        **{name: value for name, value in ROW.items() if isinstance(value, float)},
        **{name: value for name, value in ROW.items() if dict(CANDLE)[name] == "plain"},
        "open": "61837.63", "high": "61838", "low": "0.01", "close": "61837", "volume": "3.78826",
        "quote_volume": "1000000000000000000.0000001", "taker_buy_volume": "1", "taker_buy_quote_volume": "0.0000012",
        "delta": "-1.78826", "delta_max": "0", "delta_min": "-2", "cvd": "-1000000000000000",
        "max_trade_size": "0.5", "large_trade_volume": "0.5", "large_trade_delta": "-0.5",
        "rsi_14": 61.5, "macd": -1e-07, "obv_anchor_ms": 60_000, "bull": 2**60, "bear": 0,
        "patterns": {"CDLENGULFING": -80},
    }  # fmt: skip


def test_patterns_are_told_by_name_with_the_values_of_ta_lib_and_those_that_do_not_fire_are_left_out():
    every = bytes(range(61))
    assert readable(row(patterns=every))["patterns"] == {
        name: 20 * value for name, value in zip(pattern_table.NAMES, range(61), strict=True) if value
    }
    assert readable(row(patterns=bytes(61)))["patterns"] == {}
    assert readable(row())["patterns"] is None


def test_what_is_not_known_and_what_is_no_number_is_none():
    told = readable([None if name in MAY_MISS else ROW[name] for name in CANDLE_FIELDS])
    assert [name for name, value in told.items() if value is None] == list(MAY_MISS)
    for odd in (math.nan, math.inf, -math.inf):
        told = readable([odd if kind == REAL else ROW.get(name, 0) for name, kind in CANDLE[:-1]] + [b""])
        assert {name for name, value in told.items() if value is None} == REALS


def test_the_names_that_are_asked_for_are_told_in_their_order():
    assert list(readable(row(rsi_14=7.0), ("rsi_14", "close", "volume")).items()) == [
        ("rsi_14", 7.0), ("close", "61837"), ("volume", "3.78826"),
    ]  # fmt: skip


def test_the_columns_are_the_fields_but_for_the_decimals_which_the_texts_show():
    assert sorted([*COLUMNS, "price_decimals", "quantity_decimals"]) == sorted(FORMED_FIELDS)
    assert sorted([*ALL_COLUMNS, "price_decimals", "quantity_decimals"]) == sorted(CANDLE_FIELDS)
    assert ALL_COLUMNS == COLUMNS + METRIC_COLUMNS and METRIC_COLUMNS == METRIC_FIELDS


def test_a_row_of_another_width_is_an_error():
    for other in (row()[:-1], [*row(), 0]):
        with pytest.raises(ValueError, match=f"a row has {len(CANDLE)} fields"):
            readable(other)


# Of two rows of a candle: each of these is better than the one before it.
BETTER = [
    row(flags=1 | PARTIAL, revision=9, rsi_14=50.0, patterns=FOUND, obv_anchor_ms=0),
    row(flags=1, revision=0, **dict.fromkeys(FLOW_FIELDS)),
    row(flags=1, revision=0),
    row(flags=1, revision=0, patterns=FOUND, obv_anchor_ms=60_000),
    row(flags=1, revision=0, patterns=FOUND, obv_anchor_ms=0),
    row(flags=1, revision=0, patterns=FOUND, obv_anchor_ms=60_000, rsi_14=50.0),
    row(flags=1, revision=1),
]


@pytest.mark.parametrize(("worse", "better"), list(pairwise(BETTER)))
def test_complete_beats_partial_then_the_revision_then_what_is_known_then_the_older_anchor(worse, better):
    assert rank(worse) < rank(better)


@given(st.integers(), st.integers(0, 30))
def test_a_decimal_text_is_the_integer_it_came_from_whatever_its_sign(mantissa, decimals):
    text = format_decimal(mantissa, decimals)
    whole, _, fraction = text.removeprefix("-").partition(".")
    assert int(whole + fraction.ljust(decimals, "0")) == abs(mantissa)
    assert text.startswith("-") == (mantissa < 0)
    assert whole.isdigit() and not fraction.endswith("0")


def test_flags_are_told_by_name():
    assert flag_names(Flag.CLOSED | Flag.REVISED) == ["closed", "revised"]
    assert flag_names(0) == []
