"""The candle patterns against TA-Lib: every pattern at every candle of a history, not one value different.

TA-Lib gets whole histories at once, in the same whole ticks. Ours sees each candle as a stream of its own, by the last
ROWS candles that there were then: so neither state nor neighbours can matter.
"""

from collections import Counter

import numpy as np
import pytest
import talib
from numpy.lib.stride_tricks import sliding_window_view
from talib import abstract

from tests.metrics.pattern_candles import RECORDINGS, Candles, bred, drawn, recorded
from wick.metrics._rules import RULES
from wick.metrics.pattern_table import NAMES, PATTERNS, masks
from wick.metrics.patterns import ROWS, columns, one

FAST, ALL = 20_000, 200_000
TICKS = {
    "ties": (1, 2, 3),
    "small": (1, 2, 3, 5, 8),
    "mixed": (1, 3, 10, 200),
    "wide": (1, 50, 1_000, 30_000),
    "huge": (10**4, 10**6, 10**8),
}


@pytest.fixture(scope="module")
def made() -> Candles:
    """A history in which every rule of every pattern decides, 22 times or more."""
    return bred(seed=1, wanted=22, rounds=400)


@pytest.fixture(scope="module")
def found(made) -> np.ndarray:
    """What we say of it."""
    return ours(made)


def windows(candles: Candles, before: float = 0.0) -> list[np.ndarray]:
    """Each candle of a history with those before it as a column, (ROWS, candles); `before` stands before the first."""
    padded = (np.concatenate([np.full(ROWS - 1, before), column]) for column in candles)
    return [np.ascontiguousarray(sliding_window_view(column, ROWS).T) for column in padded]


def ours(candles: Candles) -> np.ndarray:
    return columns(*windows(candles), np.arange(1, len(candles[0]) + 1))


def theirs(candles: Candles) -> np.ndarray:
    return np.stack([getattr(talib, name)(*candles) for name in NAMES]) // 20


def differences(candles: Candles) -> dict[str, list[int]]:
    """The candles at which we differ, by pattern."""
    different = ours(candles) != theirs(candles)
    return {NAMES[row]: np.flatnonzero(different[row]).tolist() for row in np.flatnonzero(different.any(axis=1))}


def singly(candles: Candles, some: range) -> np.ndarray:
    """`one` at some of a history's candles, as `columns` gives them."""
    lists = [column.T.tolist() for column in windows(candles)]
    found = b"".join(one(*(column[at] for column in lists), at + 1) for at in some)
    return np.frombuffer(found, np.int8).reshape(len(some), -1).T


# ---------------------------------------------------------------------- what there is


def test_they_are_those_of_talib_in_its_order_with_its_names_and_lookbacks():
    assert tuple(talib.get_function_groups()["Pattern Recognition"]) == NAMES
    for number, pattern in enumerate(PATTERNS):
        function = abstract.Function(pattern.name)
        assert (pattern.number, pattern.title) == (number, function.info["display_name"])
        assert pattern.lookback == function.lookback
        assert pattern.definition


# ---------------------------------------------------------------------- the same as TA-Lib


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data/binance-spot is not there")
def test_recorded_candles_are_talibs():
    seen = np.zeros(len(NAMES), bool)
    for candles in recorded((15_000, 5_000, 1_000, 300)):
        assert differences(candles) == {}
        seen |= ours(candles).any(axis=1)
    assert seen.sum() > 30


@pytest.mark.parametrize("ticks", TICKS)
def test_drawn_candles_are_talibs(ticks):
    assert differences(drawn(1, FAST // len(TICKS), TICKS[ticks])) == {}


@pytest.mark.slow
@pytest.mark.parametrize("ticks", TICKS)
@pytest.mark.parametrize("seed", range(2, 7))
def test_a_million_drawn_candles_are_talibs_too(ticks, seed):
    assert differences(drawn(seed, ALL // len(TICKS), TICKS[ticks])) == {}


@pytest.mark.slow
def test_every_pattern_is_found_where_talib_finds_it_in_every_size_and_direction(made, found):
    expected = theirs(made)
    assert np.array_equal(found, expected)
    for name, rules, row in zip(NAMES, RULES, expected, strict=True):
        times = Counter(row.tolist())
        assert times.keys() == {rule.value for rule in rules} | {0}, name
        assert min(times.values()) >= 20, (name, times)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_other_candles_made_for_the_patterns_are_talibs_too(seed):
    assert differences(bred(seed, wanted=100, rounds=200)) == {}


def test_a_hikkake_is_confirmed_once_within_three_candles_and_only_the_last_one():
    high = np.array([9, 9, 9, 9, 8, 7, 7, 9, 9, 9, 8, 7, 7, 7, 7, 9, 9, 8, 7, 6, 5, 9, 9, 9.0])
    low = np.array([1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 2, 1, 1, 1, 1.0])
    close = np.array([5, 5, 5, 5, 5, 5, 5, 9, 9, 5, 5, 5, 5, 5, 5, 9, 5, 5, 5, 5, 5, 7, 9, 9.0])
    said = [0] * 5 + [5, 0, 10, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 5, 0, 5, 10, 0, 0]
    row = NAMES.index("CDLHIKKAKE")
    assert theirs((close, high, low, close))[row].tolist() == said
    assert ours((close, high, low, close))[row].tolist() == said


# ---------------------------------------------------------------------- the same, however they are asked for


@pytest.mark.parametrize("streams", [1, 2, 7, 63, 64, 65, 300, 1_000])
def test_a_stream_is_the_same_whatever_its_neighbours_are(made, found, streams):
    some = tuple(column[:6_000] for column in made)
    columns_of, counts = windows(some), np.arange(1, 6_001)
    for start in range(0, min(len(counts), 40 * streams), streams):
        part = slice(start, start + streams)
        given = [np.ascontiguousarray(column[:, part]) for column in columns_of]
        assert columns(*given, counts[part]).tobytes() == found[:, :6_000][:, part].tobytes()


def test_no_stream_at_all_is_nothing():
    assert columns(*np.empty((4, ROWS, 0)), np.empty(0, np.int64)).shape == (len(NAMES), 0)


def test_one_stream_is_the_same_as_in_a_column(made, found):
    ends = range(ROWS - 1, len(made[0]), ROWS)  # where a pattern was made, each time
    assert np.array_equal(singly(made, ends), found[:, ends])
    candles = drawn(7, 1_000, TICKS["small"])
    assert np.array_equal(singly(candles, range(1_000)), ours(candles))


@pytest.mark.slow
@pytest.mark.parametrize("ticks", TICKS)
def test_one_stream_is_the_same_as_in_a_column_everywhere(made, ticks):
    for candles in (made, drawn(8, ALL // len(TICKS), TICKS[ticks])):
        assert np.array_equal(singly(candles, range(len(candles[0]))), ours(candles))


@pytest.mark.parametrize("before", [0.0, 1e9])
def test_nothing_is_said_before_the_lookback_whatever_stands_there(made, before):
    """As of TA-Lib, whose histories begin at every place of ours."""
    for start in range(0, 1_200, 17):
        candles = tuple(column[start : start + ROWS + 1] for column in made)
        expected = theirs(candles)
        counts = np.arange(1, ROWS + 2)
        given = windows(candles, before)
        assert np.array_equal(columns(*given, counts), expected)
        for at in range(ROWS + 1):
            assert (
                one(*(column[:, at].tolist() for column in given), at + 1) == expected[:, at].astype(np.int8).tobytes()
            )
    assert all((expected[number, : pattern.lookback] == 0).all() for number, pattern in enumerate(PATTERNS))


def test_one_wants_as_many_candles_as_the_longest_pattern_looks_at():
    with pytest.raises(ValueError, match="unpack"):
        one([1.0], [1.0], [1.0], [1.0], 1)


# ---------------------------------------------------------------------- masks


def test_masks_have_a_bit_for_each_pattern_that_is_bullish_or_bearish(found):
    for column in found.T[ROWS - 1 :: 3 * ROWS]:
        assert masks(column.tobytes()) == (
            sum(1 << bit for bit, value in enumerate(column.tolist()) if value > 0),
            sum(1 << bit for bit, value in enumerate(column.tolist()) if value < 0),
        )
