"""No trade counts twice, and none is missing unseen."""

from hypothesis import given
from hypothesis import strategies as st

from wick.stream.continuity import GENERATION_NS, KEYS, MAX_HOLES, MOST_MISSING, RESTART_RUN, Contiguous, Numbers

NOW = 1_723_161_600_000_000_000
MS = 1_000_000


def taken(ids: Contiguous, numbers: list[int], recv_ns: int = NOW) -> list[int]:
    """Of these trades, made a millisecond apart, the ids that count."""
    return [one for one in numbers if ids.take(one, NOW + one * MS, recv_ns) >= 0]


def missing(ids: Contiguous) -> list[int]:
    return [one for hole in ids.holes for one in range(hole.first_id, hole.last_id + 1)]


@given(st.lists(st.integers(100, 160), max_size=120))
def test_whatever_the_order_each_id_counts_once_and_what_is_between_is_missing(numbers: list[int]) -> None:
    ids = Contiguous()
    assert taken(ids, numbers) == list(dict.fromkeys(numbers))
    span = range(min(numbers), max(numbers)) if numbers else ()
    assert missing(ids) == [one for one in span if one not in numbers]
    assert ids.holes == sorted(ids.holes)
    assert ids.restarts == ids.given_up == 0


@given(st.lists(st.integers(98, 132), max_size=60))
def test_what_fills_a_hole_is_taken_once_and_the_rest_stays_missing(numbers: list[int]) -> None:
    ids = Contiguous()
    taken(ids, [99, 130])
    filled = [one for one in numbers if ids.fill(one, NOW + one * MS)]
    assert filled == list(dict.fromkeys(one for one in numbers if 99 < one < 130))
    assert missing(ids) == [one for one in range(100, 130) if one not in filled]
    for hole in ids.holes:
        assert hole.from_ns == NOW + (hole.first_id - 1) * MS and hole.to_ns == NOW + (hole.last_id + 1) * MS


def test_a_hole_tells_its_ids_its_time_and_when_it_was_noticed() -> None:
    ids = Contiguous()
    ids.take(5, NOW, NOW)
    ids.take(9, NOW + 4 * MS, NOW + 7 * MS)
    assert ids.holes == [(6, 8, NOW, NOW + 4 * MS, NOW + 7 * MS)]
    ids.expect(11, NOW + 6 * MS, NOW + 8 * MS)
    assert ids.holes[1:] == [(10, 11, NOW + 4 * MS, NOW + 6 * MS, NOW + 8 * MS)]
    ids.expect(11, NOW + 9 * MS, NOW + 9 * MS)
    assert len(ids.holes) == 2


def test_before_the_first_trade_nothing_is_missing() -> None:
    ids = Contiguous()
    ids.expect(100, NOW, NOW)
    assert ids.holes == [] and ids.next_id == -1
    assert taken(ids, [7]) == [7]
    assert ids.holes == []


def test_what_is_given_up_is_no_hole_any_more_and_does_not_count_when_it_comes() -> None:
    ids = Contiguous()
    taken(ids, [1, 5, 6, 10])
    assert ids.give_up(3, 8) == 4
    assert missing(ids) == [2, 9]
    assert ids.given_up == 4
    assert taken(ids, [3, 2]) == [2]


def test_too_many_holes_the_oldest_is_given_up() -> None:
    ids = Contiguous()
    taken(ids, list(range(0, 2 * MAX_HOLES + 4, 2)))
    assert len(ids.holes) == MAX_HOLES
    assert ids.given_up == 1 and missing(ids)[0] == 3


def test_a_jump_that_no_exchange_makes_is_another_numbering_and_no_hole() -> None:
    ids = Contiguous()
    assert taken(ids, [1, MOST_MISSING + 3, MOST_MISSING + 4]) == [1, MOST_MISSING + 3, MOST_MISSING + 4]
    assert ids.holes == [] and ids.restarts == 1 and ids.given_up == MOST_MISSING + 1


def test_newer_trades_with_ids_that_we_have_had_are_another_numbering() -> None:
    ids = Contiguous()
    taken(ids, [1000, 1001, 1005])
    later = range(3, 5 + RESTART_RUN)
    assert [one for one in later if ids.admit(one, NOW + (2000 + one) * MS, NOW) >= 0] == []
    count = [one for one in later if ids.take(one, NOW + (2000 + one) * MS, NOW) >= 0]
    # The first of them are asked for again: that it was no mistake is not known at once.
    assert count == list(later)[RESTART_RUN - 1 :]
    assert missing(ids) == list(later)[: RESTART_RUN - 1]
    assert ids.restarts == 1 and ids.given_up == 3
    assert ids.fill(3, NOW) and ids.fill(4, NOW)


def test_trades_that_come_again_are_no_other_numbering() -> None:
    ids = Contiguous()
    taken(ids, list(range(100, 200)))
    assert taken(ids, list(range(120, 200))) == []
    assert ids.take(3, NOW + 10**12, NOW) == -1, "a single mistake is none either"
    assert taken(ids, [200]) == [200]
    assert ids.restarts == 0


def test_own_numbers_count_up_from_the_first_trade_s_time_and_a_key_counts_once() -> None:
    numbers = Numbers()
    first = NOW // 1_000
    keys = [91, 17, 91, 5, 17]
    assert [numbers.take(key, NOW, NOW) for key in keys] == [first, first + 1, -1, first + 2, -1]


def test_a_number_is_left_out_where_we_did_not_listen() -> None:
    numbers = Numbers()
    numbers.skip()
    first = numbers.take(1, NOW, NOW)
    numbers.skip()
    assert numbers.take(2, NOW, NOW) == first + 2
    assert first == NOW // 1_000


def test_keys_are_remembered_for_a_while_in_bounded_memory() -> None:
    numbers = Numbers()
    for key in range(3 * KEYS):
        assert numbers.take(key, NOW, NOW) >= 0
    assert numbers.take(3 * KEYS - 1, NOW, NOW) == numbers.take(2 * KEYS, NOW, NOW) == -1
    assert numbers.take(0, NOW, NOW) >= 0
    assert len(numbers._keys) + len(numbers._before) <= 2 * KEYS


def test_a_key_is_remembered_for_a_minute_at_least_and_not_for_ever() -> None:
    numbers = Numbers()
    for second in range(600):
        at_ns = NOW + second * 1000 * MS
        assert numbers.take(second, at_ns, at_ns) >= 0
        earlier = max(0, second - GENERATION_NS // (1000 * MS) + 1)
        assert numbers.take(earlier, at_ns, at_ns) == -1
    assert len(numbers._keys) + len(numbers._before) <= 2 * 61
    assert numbers.take(599, NOW, NOW - GENERATION_NS) == -1, "the clock was set back"
