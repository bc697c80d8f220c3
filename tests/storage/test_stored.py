"""The stored form: a row comes back to the resolution that is declared, many rows at once as one by one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.candles import F, made, row
from wick.market import stored
from wick.market.schema import CANDLE, CANDLE_FIELDS, METRIC_FIELDS, REAL
from wick.market.stored import COLUMNS, FOLLOWING, Reader, fired, found, needs, put, rounded
from wick.storage import columns
from wick.storage.batch import Batch

MINUTE = 2
REALS = [name for name, kind in CANDLE if kind == REAL]
floats = st.floats(width=64) | st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1e-300, 1e300, None])
numbers = st.integers(-(2**63), 2**63) | st.integers(-(10**6), 10**6)
EXACT = [name for name, kind in CANDLE[6:25]]
odd_rows = st.builds(
    lambda reals, exact, patterns, price: row(
        **dict(zip(REALS, reals, strict=True)), **dict(zip(EXACT, exact, strict=True)), patterns=patterns,
        price_decimals=price, flags=1,
    ),
    st.lists(floats, min_size=len(REALS), max_size=len(REALS)),
    st.lists(numbers, min_size=len(EXACT), max_size=len(EXACT)),
    st.binary(min_size=61, max_size=61) | st.just(bytes(61)), st.integers(0, 18),
)  # fmt: skip


@given(st.lists(odd_rows, max_size=4))
def test_many_rows_at_once_are_kept_as_one_by_one(rows):
    rows = [*rows, *made(40)[::7], row(**dict.fromkeys(METRIC_FIELDS)), row(**dict.fromkeys(REALS))]
    batch = Batch.of_rows(rows)
    kept = columns.of(batch)
    for at, one in enumerate(batch.rows()):
        own = put(MINUTE, one[3:])
        for column, number in zip(COLUMNS, own, strict=True):
            value, is_null = (part[columns.AT[column.name], at] for part in (kept.values, kept.null))
            beyond = kept.wide.get(at, {}).get(column.name)
            assert (beyond if is_null else int(value)) == number, column.name
        assert kept.patterns.cut()[at] == (None if one[-1] is None else fired(one[-1]))


@given(odd_rows)
def test_what_came_back_comes_back_the_same_ever_after_and_what_is_exact_at_once(one):
    back = rounded(MINUTE, one[3:])
    assert rounded(MINUTE, back) == back
    for (name, kind), value, own in zip(CANDLE, back, one[3:], strict=True):
        if kind != REAL and name not in ("bull", "bear"):
            assert value == own, name


def test_of_what_an_engine_makes_each_number_comes_back_to_four_digits_or_the_decimals_that_are_declared():
    decimals = {column.name: column.n for column in COLUMNS if column.kind == stored.RATIO}
    prices = {column.name: column.n for column in COLUMNS if column.kind == stored.PRICE}
    for one in made(200):
        for name, value, own in zip(CANDLE_FIELDS, rounded(MINUTE, one[3:]), one[3:], strict=True):
            if name in REALS and own is not None:
                least = 0.51 * 10.0 ** -(decimals[name] if name in decimals else 2 + prices.get(name, 0))
                least = least if name in {**decimals, **prices} else 2e-4 if name == "bb_percent_b" else 0
                assert abs(value - own) <= max(5e-4 * abs(own), least), name  # (approx takes half a second here)


def test_what_follows_from_the_candle_and_returns_are_exact():
    exact = {*FOLLOWING, "log_return", "roc_10"} - {"bb_percent_b"}
    for one in made(60):
        back = rounded(MINUTE, one[3:])
        assert [back[F[name]] for name in exact] == [one[3 + F[name]] for name in exact]


@given(st.floats(0, 1e30), st.booleans(), st.integers(6, 16))
def test_digits_are_binary_and_grow_with_the_value(value, below, n):
    value = -value if below else value
    code = stored._to_digits(value, n, -100, True)
    (back,) = stored.of_digits([code], n, -100, True)
    assert back == pytest.approx(value, rel=2.0 ** -(n + 1), abs=2.0**-100)
    larger = stored._to_digits(value * (1 + 2.0 ** -(n - 1)), n, -100, True)
    assert abs(value) < 2.0**-90 or larger > code


@given(st.binary(min_size=61, max_size=61))
def test_patterns_of_any_value_come_back(patterns):
    assert found(fired(patterns))[0] == patterns


def test_usual_patterns_take_a_byte_each():
    for one in made(200):
        assert len(fired(one[-1])) == 61 - one[-1].count(0)
        assert found(fired(one[-1])) == (one[-1], one[-2 - 1], one[-2])


def test_a_field_needs_no_column_but_those_that_it_is_made_of():
    assert needs(["open_time_ms", "close"]) == ("open_time_ms", "close", "wide")
    assert needs(["vwap"]) == (
        "open_time_ms", "price_decimals", "high", "low", "volume", "quote_volume", "unknown", "wide",
    )  # fmt: skip
    whole = dict.fromkeys(needs(CANDLE_FIELDS), (None,))
    assert {*whole} == {"open_time_ms", *stored.STORED, "patterns", "wide"} - {"known"}


def test_columns_of_different_decimals_are_read_row_by_row():
    rows = [row(price_decimals=2, sma_20=1.25), row(price_decimals=4, sma_20=1.2525)]
    kept = [put(MINUTE, one[3:]) for one in rows]
    told = {name: [own[at] for own in kept] for at, name in enumerate(stored.STORED)}
    told |= {"open_time_ms": [0, 0], "wide": [None, None], "patterns": [b"", b""]}
    assert Reader(MINUTE, told).rows(["sma_20"]) == [[1.25], [1.2525]]


def test_a_number_that_is_none_is_not_known_afterwards():
    back = rounded(MINUTE, row(rsi_14=math.inf, tick_rv=-1.0, macd=math.nan)[3:])
    assert [back[F[name]] for name in ("rsi_14", "tick_rv", "macd")] == [None, None, None]
