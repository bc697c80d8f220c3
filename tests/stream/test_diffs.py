"""The laws of diffs, over generated states with integers of any size."""

from copy import deepcopy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import WireError
from wick.stream import diffs

INTEGERS = st.one_of(st.integers(-3, 3), st.integers(), st.integers(-(2**300), 2**300))
WIDTHS = st.lists(st.integers(1, 16), min_size=1, max_size=13)


def states_of(widths):
    return st.tuples(*[st.lists(INTEGERS, min_size=width, max_size=width) for width in widths])


@st.composite
def states(draw, count):
    """`count` states of one shape, each with most fields as in the one before, as real states have."""
    widths = draw(WIDTHS)
    made = [draw(states_of(widths))]
    while len(made) < count:
        state = deepcopy(made[-1])
        for group in state:
            for index in draw(st.lists(st.integers(0, len(group) - 1), max_size=4)):
                group[index] = draw(INTEGERS)
        made.append(state)
    return made


def applied(state, *changes):
    state = deepcopy(state)
    for change in changes:
        diffs.apply(state, change)
    return state


@given(states(2))
def test_a_diff_turns_the_old_state_into_the_new_one(pair):
    old, new = pair
    assert applied(old, diffs.make(old, new)) == new


@given(states(3))
def test_a_merged_diff_does_what_its_parts_do_one_after_the_other(three):
    a, b, c = three
    first, second = diffs.make(a, b), diffs.make(b, c)
    merged = diffs.merge(first, second)
    assert applied(a, merged) == applied(a, first, second) == c
    assert merged == diffs.make(a, c), "and it is the shortest that does so"


@given(states(4))
def test_it_does_not_matter_which_diffs_are_merged_first(four):
    first, second, third = (diffs.make(*pair) for pair in pairwise(four))
    left = diffs.merge(diffs.merge(first, second), third)
    assert left == diffs.merge(first, diffs.merge(second, third))


@given(states(2))
def test_a_diff_and_its_inverse_merge_to_nothing(pair):
    old, new = pair
    assert diffs.merge(diffs.make(old, new), diffs.make(new, old)) == []


@given(states(1))
def test_a_diff_of_equal_states_is_empty(one):
    assert diffs.make(one[0], deepcopy(one[0])) == []


@given(states(1))
def test_a_snapshot_is_a_diff_from_zero(one):
    zero = [[0] * len(group) for group in one[0]]
    assert tuple(applied(zero, diffs.make(zero, one[0]))) == one[0]


@given(states(2))
def test_a_diff_holds_the_changed_fields_only(pair):
    old, new = pair
    changed = sum(a != b for x, y in zip(old, new, strict=True) for a, b in zip(x, y, strict=True))
    groups = sum(x != y for x, y in zip(old, new, strict=True))
    assert len(diffs.make(old, new)) == changed + 2 * groups


@given(st.lists(st.one_of(st.integers(-2, 14), INTEGERS), max_size=40), states(1))
def test_a_list_that_is_no_diff_is_an_error_and_changes_nothing(numbers, one):
    state = one[0]
    before = deepcopy(state)
    try:
        diffs.apply(state, numbers)
    except WireError:
        assert state == before
    else:
        assert sum((mask.bit_count() + 2 for _, mask, _ in diffs.split(numbers))) == len(numbers)


@pytest.mark.parametrize(
    "changes",
    [[0], [0, 0], [-1, 1, 5], [0, -1, 5], [0, 3, 5], [2, 1, 5], [0, 8, 5], [0, 1 << 400, 5]],
    ids=["no mask", "empty mask", "group below 0", "mask below 0", "too few deltas", "no such group", "no such field",
         "a field far beyond"],
)  # fmt: skip
def test_the_error_of_a_bad_diff_leaves_even_its_good_part_unapplied(changes):
    state = ([1, 2, 3], [4])
    with pytest.raises(WireError):
        diffs.apply(state, [1, 1, 7, *changes])
    assert state == ([1, 2, 3], [4])


@given(states(2), st.data())
def test_a_pick_changes_the_picked_groups_as_the_whole_diff_does(pair, data):
    old, new = pair
    kept = data.draw(st.lists(st.sampled_from(range(len(old))), unique=True))
    picked = diffs.pick(diffs.make(old, new), {group: place for place, group in enumerate(kept)})
    assert applied([old[group] for group in kept], picked) == [new[group] for group in kept]


def test_a_pick_of_untouched_groups_is_empty():
    assert diffs.pick(diffs.make(([1], [2]), ([1], [3])), {0: 0}) == []
