"""Trade ids against a set that remembers everything."""

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
        between = set(range(arrivals[0], max(seen) + 1))
        assert ids.missing == len(between - seen)
        assert ids.duplicates == len(arrivals) - len(seen)


@given(st.permutations(range(1, 30)))
def test_when_all_have_come_nothing_is_missing(arrivals):
    ids = TradeIds()
    assert all(ids.admit(trade_id, 0, 10) for trade_id in arrivals)
    assert ids.missing == 0 and not ids.missing_within(0, 10)


def test_a_hole_is_missing_in_the_time_between_its_neighbours_only():
    ids = TradeIds()
    ids.admit(1, 0, 100)
    ids.admit(5, 100, 200)
    assert ids.missing_within(150, 160) and ids.missing_within(0, 101) and ids.missing_within(200, 300)
    assert not ids.missing_within(0, 100) and not ids.missing_within(201, 300)


def test_more_holes_than_are_remembered_give_up_the_oldest():
    ids = TradeIds()
    for number in range(MAX_HOLES + 10):
        ids.admit(2 * number, number, number + 1)
    assert not ids.admit(1, 0, 1)
    assert ids.admit(2 * MAX_HOLES + 1, 0, 1)
