"""Trade ids against a set that remembers everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.market.ids import MAX_HOLES, TradeIds


@given(st.lists(st.integers(0, 40), max_size=80))
def test_an_id_counts_exactly_once_whatever_the_order(arrivals):
    ids, seen = TradeIds(), set()
    for at, trade_id in enumerate(arrivals):
        assert ids.admit(trade_id, at, at + 1) == (trade_id not in seen)
        seen.add(trade_id)
    if arrivals:
        between = set(range(min(seen), max(seen) + 1))
        assert ids.missing == len(between - seen)
        assert ids.duplicates == len(arrivals) - len(seen)


@given(st.permutations(range(1, 30)))
def test_when_all_have_come_nothing_is_missing(arrivals):
    ids = TradeIds()
    assert all(ids.admit(trade_id, 0, 10) for trade_id in arrivals)
    assert ids.missing == 0 and not ids.missing_within(0, 10)


def test_ids_below_the_first_seen_are_missing_once_an_older_one_came_and_only_between_the_two():
    ids = TradeIds()
    assert ids.admit(10, 0, 1_000) and ids.missing == 0
    assert ids.admit(6, 1_000, 400) and ids.missing == 3
    assert ids.missing_within(500, 600) and ids.missing_within(0, 401) and ids.missing_within(1_000, 2_000)
    assert not ids.missing_within(0, 400) and not ids.missing_within(1_001, 2_000)
    assert ids.admit(3, 1_000, 100) and ids.missing == 5, "4 and 5 too"
    assert ids.missing_within(100, 101) and not ids.missing_within(0, 100)
    assert all(ids.admit(one, 1_000, 500) for one in (8, 4, 9, 7, 5)) and ids.missing == 0
    assert not ids.missing_within(0, 10_000)
    assert not any(ids.admit(one, 1_000, 500) for one in range(3, 11)) and ids.duplicates == 8
    assert ids.is_open(0, 3) and not ids.is_open(3, 11), "older ones may still come"


def test_a_hole_is_missing_in_the_time_between_its_neighbours_only():
    ids = TradeIds()
    ids.admit(1, 0, 100)
    ids.admit(5, 100, 200)
    assert ids.missing_within(150, 160) and ids.missing_within(0, 101) and ids.missing_within(200, 300)
    assert not ids.missing_within(0, 100) and not ids.missing_within(201, 300)


def test_what_came_before_we_listened_is_missing_at_no_time():
    ids = TradeIds()
    ids.admit(5, 0, 100)
    assert not ids.missing_within(-10, 10) and not ids.missing_within(0, 1_000)


@pytest.mark.parametrize("leap", [2, 10**12])
def test_of_ids_that_are_the_feeds_own_a_leap_is_one_gap_that_stays(leap):
    ids = TradeIds(contiguous=False)
    assert ids.admit(10**15, 0, 100) and ids.admit(10**15 + leap, 100, 200)
    assert ids.missing == 1 and ids.missing_within(150, 160) and not ids.missing_within(201, 300)
    assert not ids.is_open(10**15, 10**15 + leap), "nothing is waited for"
    inside = 10**15 + 1
    assert ids.admit(inside, 200, 150) and not ids.admit(inside, 200, 150), "a trade that comes counts once"
    assert not ids.admit(10**15, 200, 100) and not ids.admit(10**15 + leap, 200, 200)
    assert ids.missing == 1 and ids.missing_within(150, 160)
    assert ids.duplicates == 3


def test_trades_of_the_midst_of_holes_leave_no_more_than_are_remembered():
    ids = TradeIds()
    ids.admit(0, 0, 1)
    ids.admit(4 * MAX_HOLES, 1, 2)
    for number in range(1, 4 * MAX_HOLES, 2):
        ids.admit(number, 0, 1)
    assert len(ids._holes) <= MAX_HOLES


def test_more_holes_than_are_remembered_give_up_the_oldest():
    ids = TradeIds()
    for number in range(MAX_HOLES + 10):
        ids.admit(2 * number, number, number + 1)
    assert not ids.admit(1, 0, 1)
    assert ids.admit(2 * MAX_HOLES + 1, 0, 1)
