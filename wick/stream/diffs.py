"""Diffs of integer states: make, apply, merge. Pure.

A state is a tuple of groups, a group a list of integers. A diff is a flat list
`[group, mask, delta, delta, ..., group, mask, delta, ...]`: bit k of the mask says that field k changed, and one
delta follows for each bit in ascending order; `new = old + delta`. Integers under addition are a group, so the
laws hold bit for bit, for every state: `apply(s, diff(s, t)) == t`, `apply(merge(a, b)) == apply(apply(a), b)`.
The state before anything is known is all zeros, so a snapshot is a diff from zero.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import compress, count
from operator import ne

from wick.errors import WireError

Group = list[int]
Diff = list[int]
Step = tuple[int, int, Diff]  # group, mask, deltas


def make(old: Sequence[Group], new: Sequence[Group]) -> Diff:
    """What turns `old` into `new`, a state of the same shape; empty where they are equal."""
    changes: Diff = []
    for number in compress(count(), map(ne, old, new)):
        before, after = old[number], new[number]
        mask, mask_at = 0, len(changes) + 1
        changes += (number, 0)
        for field in compress(count(), map(ne, before, after)):
            mask |= 1 << field
            changes.append(after[field] - before[field])
        changes[mask_at] = mask
    return changes


def apply(groups: Sequence[Group], changes: Diff) -> None:
    """Add `changes` to `groups`, in place. Raises WireError (and changes nothing) where they do not fit."""
    steps = split(changes)
    for number, mask, _ in steps:
        if number >= len(groups) or mask >> len(groups[number]):
            raise WireError(f"a diff names group {number} with mask {mask:#x}, which the state does not have")
    for number, mask, deltas in steps:
        group = groups[number]
        for field, delta in zip(_fields(mask), deltas):  # noqa: B905 (the keyword costs a fifth of all this)
            group[field] += delta


def split(changes: Diff) -> list[Step]:
    """`changes` group by group; WireError where it is no diff."""
    steps = []
    at, end = 0, len(changes)
    while at < end:
        number, mask = changes[at], changes[at + 1] if at + 1 < end else 0
        if number < 0 or mask <= 0:
            raise WireError(f"a diff has a bad group or mask at {at}: {changes[at : at + 2]}")
        after = at + 2 + mask.bit_count()
        if after > end:
            raise WireError(f"a diff's group {number} has {end - at - 2} of {mask.bit_count()} deltas")
        steps.append((number, mask, changes[at + 2 : after]))
        at = after
    return steps


def merge(*parts: Diff) -> Diff:
    """One diff that does what these do, one after the other; the shortest."""
    sums: dict[int, dict[int, int]] = {}
    for changes in parts:
        for number, mask, deltas in split(changes):
            group = sums.setdefault(number, {})
            for field, delta in zip(_fields(mask), deltas):  # noqa: B905 (as above; split has counted them)
                group[field] = group.get(field, 0) + delta
    merged: Diff = []
    for number, group in sorted(sums.items()):
        changed = {field: delta for field, delta in sorted(group.items()) if delta}
        if changed:
            merged += (number, sum([1 << field for field in changed]), *changed.values())
    return merged


def pick(steps: Iterable[Step], wanted: dict[int, int]) -> Diff:
    """The part of a diff's `steps` in the groups of `wanted`, renumbered to its values."""
    picked: Diff = []
    for number, mask, deltas in steps:
        if number in wanted:
            picked += (wanted[number], mask, *deltas)
    return picked


@lru_cache(maxsize=4096)
def _fields(mask: int) -> tuple[int, ...]:
    """Which fields a mask names. Few masks of the many possible occur, and those all the time."""
    return tuple(field for field in range(mask.bit_length()) if mask >> field & 1)
