"""Every metric of a candle against its oracle, candle by candle, in every kind of history."""

from functools import cache

import numpy as np
import pytest

from tests.metrics.bars import HISTORIES, SPIKE_AT, SPIKES, Bars, Generator, Reals, price_spike, random_walk
from tests.metrics.compare import assert_equal, assert_matches, scale_of
from tests.metrics.engine import enriched
from tests.metrics.oracles import ORACLES, RECURSIVE

SETTLED = 400  # candles that a spike is past when nothing may be left of it
# As short as it can be for every `pytest -q`: a spike, its window and what follows, or what decays, takes its time.
CANDLES = dict.fromkeys(HISTORIES, 200) | dict.fromkeys(("stopped", *SPIKES), 600)
LONG = ("stopped", "price_spike")  # volume_spike is as long, and stays in the inner loop
INNER = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in HISTORIES]


@cache
def found(history: str, candles: int, seed: int) -> tuple[Bars, dict[str, Reals]]:
    """A history, and what the engine makes of it."""
    bars = HISTORIES[history](candles, seed)
    return bars, enriched(bars)


def assert_all_match(bars: Bars, values: dict[str, Reals]) -> None:
    """Every field is there and equals its oracle; all that differ are named."""
    assert not ORACLES.keys() - values.keys()
    wrong = []
    for name in ORACLES:
        try:
            assert_matches(name, values[name], bars)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n" + "\n".join(wrong)


def assert_no_trace(spike: Generator, candles: int, seed: int, values: dict[str, Reals]) -> None:
    """What is decided by a window is, long after a spike, what it would have been without one."""
    without = random_walk(candles, seed)
    for name in ORACLES.keys() - RECURSIVE:
        oracle = ORACLES[name]
        after = slice(SPIKE_AT + oracle.n + SETTLED, None)
        scale = np.broadcast_to(scale_of(name, without), candles)[after]
        assert len(scale) > 0, spike
        assert_equal(name, values[name][after], oracle.evaluate(without)[after], 1, scale)


@pytest.mark.parametrize("history", INNER)
def test_every_metric_equals_its_oracle(history: str) -> None:
    assert_all_match(*found(history, CANDLES[history], seed=1))


@pytest.mark.parametrize("spike", [pytest.param("price_spike", marks=pytest.mark.slow), "volume_spike"])
def test_a_spike_that_has_left_the_window_leaves_no_trace(spike: str) -> None:
    candles = CANDLES[spike]
    assert_no_trace(SPIKES[spike], candles, 1, found(spike, candles, seed=1)[1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 10))
@pytest.mark.parametrize("history", HISTORIES)
def test_every_metric_equals_its_oracle_whatever_the_seed(history: str, seed: int) -> None:
    bars = HISTORIES[history](600, seed)
    assert_all_match(bars, enriched(bars))


@pytest.mark.slow
@pytest.mark.parametrize("history", HISTORIES)
def test_every_metric_equals_its_oracle_after_5_000_candles(history: str) -> None:
    bars = HISTORIES[history](5_000, 10)
    values = enriched(bars)
    assert_all_match(bars, values)
    if history in SPIKES:
        assert_no_trace(SPIKES[history], 5_000, 10, values)


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1, 10, 14, 26, 33])
def test_a_recursion_may_begin_with_a_spike(at: int) -> None:
    bars = price_spike(300, seed=11, at=at)
    assert_all_match(bars, enriched(bars))
