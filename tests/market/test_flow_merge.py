"""Accumulators of order flow: put together in any grouping, by loop or by columns, they are those of the whole."""

import math
import random
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.market.reference import Reference
from wick.market import flow

NUMBERS = st.one_of(
    st.integers(1, 20), st.integers(1, 10**6), st.integers(1, 10**15), st.integers(2**63 - 9, 2**63 - 1)
)
TRADES = st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans(), st.integers(1, 9)), min_size=1, max_size=30)
LARGE = st.sampled_from([0, 1, 10**9, 10**40])


def parts_of(trades, large_from):
    return [flow.of_trade(n, price, size, buy, count, large_from) for n, (price, size, buy, count) in enumerate(trades)]


def columns_of(trades, large_from, first_id=0):
    price, size, buy, count = (np.array(column, np.int64) for column in zip(*trades, strict=True))
    table = np.zeros((8, len(trades)), np.int64)
    table[1:5] = np.arange(first_id, first_id + len(trades)), price, size, count
    table[7] = buy << 24
    return flow.of_columns(table, large_from)


def grouped(parts, chance):
    """Neighbours merged in any order until one is left."""
    parts = list(parts)
    while len(parts) > 1:
        at = chance.randrange(len(parts) - 1)
        parts[at : at + 2] = [flow.merge(parts[at], parts[at + 1])]
    return parts[0]


@given(TRADES, LARGE, st.randoms(use_true_random=False))
def test_parts_may_be_merged_in_any_grouping(trades, large_from, chance):
    parts = parts_of(trades, large_from)
    assert grouped(parts, chance) == reduce(flow.merge, parts)


@given(TRADES, TRADES, TRADES, LARGE)
def test_merging_is_associative(a, b, c, large_from):
    parts = parts_of([*a, *b, *c], large_from)
    a, b, c = (reduce(flow.merge, some) for some in (parts[: len(a)], parts[len(a) : -len(c)], parts[-len(c) :]))
    assert flow.merge(flow.merge(a, b), c) == flow.merge(a, flow.merge(b, c))


@given(TRADES, LARGE)
def test_merging_changes_neither_part(trades, large_from):
    one, other = parts_of(trades[:1], large_from)[0], reduce(flow.merge, parts_of(trades, large_from))
    before = list(one), list(other)
    flow.merge(one, other)
    assert (one, other) == before


@given(TRADES, LARGE)
@example([(2**51, 3, True, 1), (2**51 + 1, 3, False, 1)] * 9, 0)  # just below what columns take
@example([(2**52 - 1, 2**5, True, 1)] * 30, 1)
@example([(10**6, 10**12, True, 1), (10**6 + 1, 10**12, False, 1)], 10**18)  # the square of a size passes 64 bits
def test_columns_say_what_the_loop_says_or_nothing(trades, large_from):
    whole = columns_of(trades, large_from)
    assert whole is None or whole == reduce(flow.merge, parts_of(trades, large_from))
    assert whole is None or all(type(value) is int for value in whole), "numpy's integers would wrap later"


@pytest.mark.parametrize("step", [0, 1, 50, 10_000, 500_000])
def test_columns_take_what_a_busy_pair_trades(step):
    """Prices that stand, creep, walk and leap: so that both ways to a squared return are used."""
    chance = random.Random(step)
    price, trades = 6_000_000, []
    for _ in range(3_000):
        price = max(1, price + chance.randint(-step, step))
        trades.append((price, chance.randint(1, 10**6), chance.random() < 0.5, 1))
    whole = columns_of(trades, 10**12)
    assert whole is not None, "columns refused numbers that are not large"
    assert whole == reduce(flow.merge, parts_of(trades, 10**12))
    halves = [columns_of(trades[:1_111], 10**12), columns_of(trades[1_111:], 10**12, 1_111)]
    assert flow.merge(*halves) == whole


@given(TRADES)
def test_a_part_says_of_its_trades_what_the_definitions_say(trades):
    start = 1_723_161_600_000_000_000
    listed = [(start, n, price, 0, size, 0, buy, count) for n, (price, size, buy, count) in enumerate(trades)]
    truth = Reference(listed, large_notional=(1_000, 0)).candles("1M", 0)
    (candle,) = truth.values()
    part = reduce(flow.merge, parts_of(trades, 1_000))
    fields = {
        "open": flow.OPEN, "high": flow.HIGH, "low": flow.LOW, "close": flow.CLOSE, "volume": flow.VOLUME,
        "quote_volume": flow.QUOTE_VOLUME, "trade_count": flow.COUNT, "taker_buy_volume": flow.BUY_VOLUME,
        "taker_buy_quote_volume": flow.BUY_QUOTE_VOLUME, "delta_max": flow.D_MAX, "delta_min": flow.D_MIN,
        "max_trade_size": flow.MAX_SIZE, "large_trade_volume": flow.LARGE,
    }  # fmt: skip
    assert {name: part[at] for name, at in fields.items()} == {name: candle[name] for name in fields}
    assert 2 * part[flow.LARGE_BUY] - part[flow.LARGE] == candle["large_trade_delta"]
    assert float(Fraction(part[flow.KYLE], part[flow.SQUARES])) == candle["kyle_lambda"]


@given(st.one_of(st.integers(10**8, 10**15), st.integers(2, 10**6)), st.fractions(-1, 10, max_denominator=10**8))
def test_a_squared_return_is_that_of_the_logarithm(before, move):
    after = max(1, before + int(before * move))
    ratio = Fraction(after - before, before)
    true = (math.log1p(float(ratio)) if abs(ratio) < Fraction(1, 2) else math.log(after) - math.log(before)) ** 2
    assert abs(flow.squared_return(before, after) / 2.0**flow.RV_BITS - true) <= 1e-10 * true + 2.0**-flow.RV_BITS
