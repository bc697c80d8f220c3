"""The laws of diffs, over generated states with integers of any size, and over the states of pairs that trade."""

from copy import deepcopy
from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.market import Market, steps
from wick.errors import WireError
from wick.stream import diffs
from wick.wire.codec import pack, unpack

WIDE = [sign * (2**bits + step) for bits in (8, 16, 32, 53, 63, 64, 127) for step in (-1, 0) for sign in (1, -1)]
INTEGERS = st.one_of(st.integers(-3, 3), st.integers(), st.sampled_from(WIDE), st.integers(-(2**300), 2**300))
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


@st.composite
def traded(draw, least):
    """A pair's state after each step of a market, `least` of them at least."""
    market = Market()
    made = []
    for step in draw(steps(late=True)):
        step = step._replace(symbol="BTC-USDT")
        market.take(step)
        made.append(deepcopy(tuple(market.pair("BTC-USDT").candles.groups)))
    while len(made) < least:
        made.append(deepcopy(tuple(market.pair("BTC-USDT").candles.groups)))
    return made


def histories(least):
    """Lists of at least so many states of one shape."""
    return st.one_of(states(least), st.integers(least, least + 6).flatmap(states), traded(least))


def applied(state, *changes):
    state = deepcopy(state)
    for change in changes:
        diffs.apply(state, change)
    return state


@given(histories(2))
def test_a_diff_turns_the_old_state_into_the_new_one_also_when_it_has_travelled(history):
    for old, new in pairwise(history):
        changes = diffs.make(old, new)
        assert unpack(pack(changes)) == changes
        assert applied(old, changes) == new


@given(histories(3))
def test_a_merged_diff_does_what_its_parts_do_one_after_the_other(history):
    for a, b, c in zip(history, history[1:], history[2:], strict=False):
        first, second = diffs.make(a, b), diffs.make(b, c)
        merged = diffs.merge(first, second)
        assert applied(a, merged) == applied(a, first, second) == c
        assert merged == diffs.make(a, c), "and it is the shortest that does so"


@given(histories(1))
def test_any_number_of_diffs_merge_to_the_diff_from_the_first_state_to_the_last(history):
    parts = [diffs.make(old, new) for old, new in pairwise(history)]
    assert reduce(diffs.merge, parts, []) == diffs.make(history[0], history[-1])


@given(states(2), states(1))
def test_a_merge_holds_for_states_that_the_diffs_were_not_made_of(pair, other):
    (state,) = other
    shape = [len(group) for group in pair[0]]
    state = [(group * 16)[:width] for group, width in zip(state * 13, shape, strict=False)]
    first, second = diffs.make(*pair), diffs.make(pair[1], state)
    assert applied(state, diffs.merge(first, second)) == applied(state, first, second)
    assert applied(state, diffs.merge(second, first)) == applied(state, second, first), "and their order is nothing"


@given(histories(4))
def test_it_does_not_matter_which_diffs_are_merged_first(history):
    first, second, third = (diffs.make(*pair) for pair in list(pairwise(history))[:3])
    left = diffs.merge(diffs.merge(first, second), third)
    assert left == diffs.merge(first, diffs.merge(second, third))


@given(states(2))
def test_the_empty_diff_changes_nothing_and_adds_nothing(pair):
    changes = diffs.make(*pair)
    assert diffs.merge(changes, []) == diffs.merge([], changes) == changes
    assert applied(pair[0], []) == pair[0]


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


def kept_of(data, state):
    """Some of the groups, and where they are picked to."""
    kept = data.draw(st.lists(st.sampled_from(range(len(state))), unique=True))
    return kept, {group: place for place, group in enumerate(kept)}


@given(histories(3), st.data())
def test_to_pick_and_then_to_apply_or_merge_is_to_apply_or_merge_and_then_to_pick(history, data):
    a, b, c = history[:3]
    kept, wanted = kept_of(data, a)
    first, second = diffs.make(a, b), diffs.make(b, c)
    picked = [diffs.pick(diffs.split(changes), wanted) for changes in (first, second)]
    assert applied([a[group] for group in kept], *picked) == [c[group] for group in kept]
    whole = diffs.pick(diffs.split(diffs.merge(first, second)), wanted)
    assert sorted(diffs.split(diffs.merge(*picked))) == sorted(diffs.split(whole))


def test_a_pick_of_untouched_groups_is_empty():
    assert diffs.pick(diffs.split(diffs.make(([1], [2]), ([1], [3]))), {0: 0}) == []
