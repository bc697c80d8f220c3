"""A batch of candles in columns: rows come out as they went in, and of two rows of a candle the better stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.candles import VERSIONS, row
from wick.market.rows import rank
from wick.market.schema import METRICS
from wick.storage.batch import Batch
from wick.wire.messages import Closes

ODD = [
    row(open=2**70, delta=-(2**80), vwap=1.5),
    row(60_000, delta=None, cvd=None, delta_max=-(2**63)),
    row(120_000, symbol="ETH-USDT", interval="1M", rsi_14=None, obv_anchor_ms=7),
    row(120_000, venue="kraken", **dict.fromkeys(name for name, _ in METRICS)),
]


def test_rows_come_back_as_they_went_in():
    assert Batch.of_rows(ODD).rows() == ODD
    assert Batch.of_rows([]).rows() == []


def test_batches_are_joined_one_behind_the_other_and_taken_apart_again():
    joined = Batch.join([Batch.of_rows(ODD[:3]), Batch.empty(), Batch.of_rows([ODD[3], ODD[0]])])
    assert joined.rows() == [*ODD, ODD[0]]
    assert joined.pairs == [("binance", "BTC-USDT"), ("binance", "ETH-USDT"), ("kraken", "BTC-USDT")]
    assert joined.take([3, 0]).rows() == [ODD[3], ODD[0]]
    assert joined.take(slice(1, 3)).rows() == ODD[1:3]


def test_published_closes_become_the_rows_that_they_hold():
    message = Closes.of_rows(1, 1, 0, [ODD[0], ODD[2]])
    assert Batch.of_closes(message.blocks).rows() == message.rows
    assert Batch.of_closes([]).n == 0


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63) + 1, -(2**63), 2**63, -(2**63) - 1])
def test_an_exact_number_at_the_bounds_of_64_bits_is_exact(number):
    told = [row(delta=number), row(60_000)]
    assert Batch.of_rows(told).rows() == told


@given(st.lists(st.sampled_from([*VERSIONS, *ODD]), max_size=30))
def test_the_best_of_each_candle_is_the_one_that_ranks_highest_the_later_of_equals(rows):
    best = {}
    for one in rows:
        candle = tuple(one[:4])
        if candle not in best or rank(one[3:]) >= rank(best[candle][3:]):
            best[candle] = one
    told = Batch.of_rows(rows).best().rows()
    assert sorted(told, key=lambda one: one[:4]) == [best[candle] for candle in sorted(best)]
