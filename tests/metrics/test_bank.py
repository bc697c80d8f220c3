"""Streams in a bank: none touches another, corrections leave no trace, and what is saved goes on bit for bit."""

import numpy as np
import pytest

from tests.metrics.bars import HISTORIES
from tests.metrics.engine import DEPTH, taken
from wick.metrics.bank import CLOSE, DELTA, HIGH, OPEN, TAKEN, TIME, TURNOVER, VOLUME, Bank
from wick.metrics.processor import Processor
from wick.metrics.table import FIELDS, NAMES

CANDLES = 120
slow = pytest.mark.slow
KINDS = sorted(HISTORIES)


def market(streams, candles=CANDLES):
    """(TAKEN, candles, streams): histories of every kind side by side."""
    each = [taken(HISTORIES[KINDS[at % len(KINDS)]](candles, seed=at)) for at in range(streams)]
    return np.stack(each, axis=2)


def decimals(streams):
    return np.array([[2] * streams, [5] * streams])


def fed(candles, at=slice(None), bank=None):
    """A bank with these candles, and what it said of each: (candles, FIELDS + 61, streams)."""
    streams = candles.shape[2]
    if bank is None:
        bank = Bank(DEPTH)
        bank.widen(streams)
    columns, some = np.arange(streams), range(candles.shape[1])[at]
    return bank, [joined(bank.take(columns, candles[:, candle], decimals(streams))) for candle in some]


def joined(answer):
    values, found = answer
    return np.concatenate([values, found.astype(np.float64)])


def same(one, other):
    return np.array(one).tobytes() == np.array(other).tobytes()


@pytest.mark.parametrize("size", [*(pytest.param(size, marks=slow) for size in (1, 2, 3, 7)), 31])
def test_what_a_stream_says_does_not_depend_on_what_is_taken_with_it(size):
    candles = market(31)
    _, whole = fed(candles)
    bank = Bank(DEPTH)
    bank.widen(31)
    order = np.random.default_rng(size).permutation(31)
    for candle, expected in enumerate(whole):
        for at in range(0, 31, size):
            some = order[at : at + size]
            assert same(joined(bank.take(some, candles[:, candle, some], decimals(len(some)))), expected[:, some])


def test_streams_may_be_any_number_of_candles_apart():
    candles = market(5)
    _, whole = fed(candles)
    bank, behind = Bank(DEPTH), np.array([0, 3, 20, 57, 100])
    bank.widen(5)
    for candle in range(CANDLES):
        some = np.flatnonzero(candle >= behind)
        now = np.stack([candles[:, candle - behind[stream], stream] for stream in some], axis=1)
        said = joined(bank.take(some, now, decimals(len(some))))
        assert same(said, np.stack([whole[candle - behind[stream]][:, stream] for stream in some], axis=1))


def test_a_peek_says_what_the_candle_would_say_and_leaves_nothing_behind():
    candles = market(3)
    _, whole = fed(candles)
    bank = Bank(DEPTH)
    bank.widen(3)
    columns = np.arange(3)
    for candle in range(CANDLES):
        other = candles[:, (candle * 7) % CANDLES].copy()
        bank.peek(columns, other, decimals(3))
        said = joined(bank.peek(columns, candles[:, candle], decimals(3)))
        assert same(said, whole[candle])
        assert same(joined(bank.take(columns, candles[:, candle], decimals(3))), said)


@pytest.mark.parametrize("cut", [1, *(pytest.param(cut, marks=slow) for cut in (2, 15, 34, 100)), 61])
def test_a_bank_that_is_saved_and_loaded_goes_on_bit_for_bit(cut):
    candles = market(4)
    _, whole = fed(candles)
    bank, _ = fed(candles, slice(cut))
    saved = bank.save(np.array([3, 1]))
    other = Bank(DEPTH)
    other.widen(7)
    columns = np.array([6, 2])
    other.restore(columns, saved)
    for candle in range(cut, CANDLES):
        said = joined(other.take(columns, candles[:, candle, [3, 1]], decimals(2)))
        assert same(said, whole[candle][:, [3, 1]])


# ---------------------------------------------------------------------- corrections


def wrong(candle):
    """Another candle at the same time."""
    other = candle.copy()
    other[HIGH] += 17
    other[CLOSE] = other[HIGH] - 3
    other[TURNOVER] += 1_000
    other[VOLUME] += 5
    other[DELTA] -= 3
    return other


def corrected(bank, columns, candles, candle_decimals):
    *_, made = bank.correct(columns, candles, candle_decimals)
    return made


EVERYWHERE = [(back, so_far) for back in (1, 2, 6, 7, 8, 13, 18, 19) for so_far in (1, 5, 19, 20, 27, 28, 29, 60, 90)]


@pytest.mark.parametrize(
    ("back", "taken_so_far"),
    [(1, 1), (7, 28), (19, 90), *(pytest.param(*case, marks=slow) for case in EVERYWHERE)],
)
def test_after_a_correction_everything_is_as_if_the_candle_had_been_right_from_the_start(back, taken_so_far):
    back = min(back, taken_so_far)
    candles = market(3)
    _, whole = fed(candles)
    mistaken = candles.copy()
    place = taken_so_far - back
    mistaken[:, place] = wrong(candles[:, place])
    bank, said = fed(mistaken, slice(taken_so_far))
    assert not same(said[place], whole[place])
    made = corrected(bank, [0, 2], [candles[:, place:taken_so_far, stream] for stream in (0, 2)], decimals(2))
    for stream, answer in zip((0, 2), made, strict=True):
        assert same(joined(answer), np.stack([one[:, stream] for one in whole[place:taken_so_far]], axis=1))
    corrected(bank, [1], [candles[:, [place], 1]], decimals(1))  # what follows is taken again though it is not given
    _, after = fed(candles, slice(taken_so_far, None), bank)
    assert same(after, whole[taken_so_far:])


@pytest.mark.parametrize("place", [41, pytest.param(55, marks=slow), pytest.param(59, marks=slow)])
def test_a_candle_that_was_missing_is_put_where_it_belongs(place):
    candles = market(2)
    _, whole = fed(candles)
    without = np.delete(candles[:, :60], place, axis=1)
    bank, _ = fed(without)
    ((values, found),) = corrected(bank, [1], [candles[:, [place], 1]], decimals(1))
    assert same(joined((values, found))[:, 0], whole[place][:, 1])
    for candle in range(60, CANDLES):
        said = joined(bank.take(np.array([1]), candles[:, candle, [1]], decimals(1)))
        assert same(said[:, 0], whole[candle][:, 1])


@pytest.mark.slow
def test_corrections_may_come_again_and_again():
    candles = market(1)
    _, whole = fed(candles)
    bank = Bank(DEPTH)
    bank.widen(1)
    column, chance = np.zeros(1, np.intp), np.random.default_rng(3)
    for candle in range(CANDLES):
        bank.take(column, wrong(candles[:, candle]), decimals(1))
        back = int(chance.integers(1, 4))
        first = max(0, candle + 1 - back)
        ((values, found),) = corrected(bank, [0], [candles[:, first : candle + 1, 0]], decimals(1))
        assert same(joined((values, found))[:, -1], whole[candle][:, 0])


def test_a_candle_that_is_older_than_what_is_kept_has_no_values_and_changes_nothing():
    candles = market(1)
    _, whole = fed(candles)
    bank, _ = fed(candles, slice(100))
    ((values, found),) = corrected(bank, [0], [wrong(candles[:, 30])], decimals(1))
    assert np.isnan(values).all() and not found.any()
    _, after = fed(candles, slice(100, None), bank)
    assert same(after, whole[100:])


def test_a_correction_gives_the_caller_time_after_each_candle():
    candles = market(3)
    bank, _ = fed(candles, slice(90))
    *between, made = bank.correct([0, 1, 2], [candles[:, 75:90, stream] for stream in range(3)], decimals(3))
    assert not any(between) and len(between) >= 15 and len(made) == 3


def test_what_comes_with_a_candle_that_is_too_old_is_taken_all_the_same():
    candles = market(1)
    _, whole = fed(candles)
    bank, _ = fed(candles, slice(60))
    together = np.stack([wrong(candles[:, 5, 0]), candles[:, 58, 0], candles[:, 60, 0]], axis=1)
    ((values, found),) = corrected(bank, [0], [together], decimals(1))
    said = joined((values, found))
    assert np.isnan(values[:, 0]).all() and not found[:, 0].any()
    assert same(said[:, 1:], np.stack([whole[58][:, 0], whole[60][:, 0]], axis=1))
    _, after = fed(candles, slice(61, None), bank)
    assert same(after, whole[61:])


# ---------------------------------------------------------------------- decimals, histories


FINER = np.ones((TAKEN, 1))  # what the numbers of a candle grow by with one decimal more of both kinds
FINER[OPEN : CLOSE + 1], FINER[VOLUME], FINER[DELTA], FINER[TURNOVER] = 10, 10, 10, 100


def is_like(said, expected):
    """Patterns are the same, metrics as near as an `ema` in other units comes."""
    metrics, found = slice(len(FIELDS)), slice(len(FIELDS), None)
    near = np.allclose(said[metrics], expected[metrics], rtol=1e-9, atol=1e-9, equal_nan=True)
    return near and same(said[found], expected[found])


@pytest.mark.parametrize("back", [3, pytest.param(19, marks=slow)])
def test_a_correction_may_come_with_more_decimals(back):
    candles = market(7)
    _, whole = fed(candles)
    bank, _ = fed(candles, slice(60))
    some = [candles[:, 60 - back : 60, stream] * FINER for stream in range(7)]
    made = corrected(bank, list(range(7)), some, decimals(7) + 1)
    for stream, answer in enumerate(made):
        expected = np.stack([one[:, stream] for one in whole[60 - back : 60]], axis=1)
        assert is_like(joined(answer), expected), KINDS[stream]


def test_a_stream_keeps_the_decimals_of_its_history():
    """As after a start: the venue's zeros at the end are no decimals, so the first prices may seem to have fewer."""
    candles, streams = market(31), np.arange(31)
    coarse = np.maximum(np.rint(candles[:, 60:75] / FINER[:, None]), 1.0)
    coarse[TIME] = candles[TIME, 60:75]
    candles[:, 60:75] = coarse * FINER[:, None]
    _, whole = fed(candles)
    bank, _ = fed(candles, slice(60))
    for candle in range(15):
        said = joined(bank.take(streams, coarse[:, candle], decimals(31) - 1))
        assert same(said, whole[60 + candle])
    _, after = fed(candles, slice(75, None), bank)
    assert same(after, whole[75:])


def test_more_decimals_are_no_other_prices():
    candles = market(1)
    _, whole = fed(candles)
    bank = Bank(DEPTH)
    bank.widen(1)
    column = np.zeros(1, np.intp)
    finer = np.ones(TAKEN)
    finer[OPEN : CLOSE + 1], finer[VOLUME], finer[DELTA], finer[TURNOVER] = 1_000, 10, 10, 10_000
    for candle in range(CANDLES):
        if candle < 50:
            said = bank.take(column, candles[:, candle], decimals(1))
        else:
            said = bank.take(column, candles[:, candle] * finer[:, None], decimals(1) + np.array([[3], [1]]))
        for name, ours, expected in zip(NAMES, joined(said), whole[candle], strict=False):
            assert np.allclose(ours, expected, rtol=1e-9, atol=1e-12, equal_nan=True), name
        assert same(said[1][:, 0], whole[candle][len(FIELDS) :, 0].astype(np.int8))


def learned(candles, histories, next_ms):
    processor = Processor(DEPTH)
    columns = [processor.column("v", f"S{at}") for at in range(candles.shape[2])]
    dec = [np.repeat(decimals(1), own.shape[1], axis=1) for own in histories]
    for _ in processor.learn(0, columns, histories, dec, next_ms):
        pass
    return processor.banks[0]


def test_a_stream_that_begins_with_a_history_says_what_one_does_that_took_it_live():
    candles = market(3)
    _, whole = fed(candles)
    lengths = [100, 40, 7]
    histories = [candles[:, 100 - length : 100, at] for at, length in enumerate(lengths)]
    bank = learned(candles, histories, [0, 0, 0])
    assert bank.count.tolist()[:3] == lengths
    said = joined(bank.take(np.arange(3), candles[:, 100], decimals(3)))
    assert same(said[:, 0], whole[100][:, 0]) and np.isnan(said[NAMES.index("sma_20"), 2])
    assert np.isfinite(said[NAMES.index("sma_20"), 1])


def test_a_history_with_a_gap_before_the_first_candle_is_forgotten():
    candles = market(2)
    times = candles[TIME, 60]
    bank = learned(candles, [candles[:, :60, at] for at in range(2)], [int(times[0]), int(times[1]) - 1])
    bank.meet(np.arange(2), times)
    said = joined(bank.take(np.arange(2), candles[:, 60], decimals(2)))
    assert np.isfinite(said[NAMES.index("rsi_14"), 0]) and np.isnan(said[NAMES.index("rsi_14"), 1])
    fresh = Bank(DEPTH)
    fresh.widen(1)
    alone = joined(fresh.take(np.zeros(1, np.intp), candles[:, 60, [1]], decimals(1)))
    assert same(said[:, 1], alone[:, 0])


def test_a_stream_takes_no_more_than_six_kilobytes():
    bank = Bank(DEPTH)
    bank.widen(320)
    total = sum(array.nbytes for array in bank._arrays)
    assert total / 320 <= 6_000
