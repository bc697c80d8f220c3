"""Diffs of integer states: make, apply, merge. Pure.

A state is a tuple of groups, a group a list of integers. A diff is a flat list
`[group, mask, delta, delta, ..., group, mask, delta, ...]`: bit k of the mask says that field k changed, and one
delta follows for each bit in ascending order; `new = old + delta`. Integers under addition are a group, so the
laws hold bit for bit, for every state: `apply(s, diff(s, t)) == t`, `apply(merge(a, b)) == apply(apply(a), b)`.
The state before anything is known is all zeros, so a snapshot is a diff from zero.
"""

from collections.abc import Sequence

from wick.errors import WireError

Group = list[int]
Diff = list[int]


def make(old: Sequence[Group], new: Sequence[Group]) -> Diff:
    """What turns `old` into `new`; empty where they are equal."""
    changes: Diff = []
    for number, (before, after) in enumerate(zip(old, new, strict=True)):
        if before != after:
            mask = 0
            deltas = []
            bit = 1
            for a, b in zip(before, after, strict=True):
                if a != b:
                    mask |= bit
                    deltas.append(b - a)
                bit <<= 1
            changes.append(number)
            changes.append(mask)
            changes += deltas
    return changes


def apply(groups: Sequence[Group], changes: Diff) -> None:
    """Add `changes` to `groups`, in place. Raises WireError (and changes nothing) where they do not fit."""
    steps = list(split(changes))
    for number, mask, _ in steps:
        if number >= len(groups) or mask >> len(groups[number]):
            raise WireError(f"a diff names group {number} with mask {mask:#x}, which the state does not have")
    for number, mask, deltas in steps:
        group = groups[number]
        index = 0
        for delta in deltas:
            while not mask & 1:
                mask >>= 1
                index += 1
            group[index] += delta
            mask >>= 1
            index += 1


def split(changes: Diff) -> list[tuple[int, int, Diff]]:
    """`changes` as (group, mask, deltas); WireError where it is no diff."""
    steps = []
    at = 0
    while at < len(changes):
        if at + 2 > len(changes) or changes[at] < 0 or changes[at + 1] <= 0:
            raise WireError(f"a diff has a bad group or mask at {at}: {changes[at : at + 2]}")
        number, mask = changes[at], changes[at + 1]
        count = mask.bit_count()
        deltas = changes[at + 2 : at + 2 + count]
        if len(deltas) != count:
            raise WireError(f"a diff's group {number} has {len(deltas)} of {count} deltas")
        steps.append((number, mask, deltas))
        at += 2 + count
    return steps


def merge(first: Diff, second: Diff) -> Diff:
    """One diff that does what `first` and then `second` do."""
    fields: dict[int, dict[int, int]] = {}
    for changes in (first, second):
        for number, mask, deltas in split(changes):
            group = fields.setdefault(number, {})
            values = iter(deltas)
            for bit in range(mask.bit_length()):
                if mask >> bit & 1:
                    group[bit] = group.get(bit, 0) + next(values)
    merged: Diff = []
    for number in sorted(fields):
        changed = {bit: delta for bit, delta in sorted(fields[number].items()) if delta}
        if changed:
            merged += [number, sum(1 << bit for bit in changed), *changed.values()]
    return merged


def pick(changes: Diff, wanted: dict[int, int]) -> Diff:
    """The part of `changes` in the groups of `wanted`, renumbered to its values."""
    picked: Diff = []
    for number, mask, deltas in split(changes):
        if number in wanted:
            picked += [wanted[number], mask, *deltas]
    return picked
