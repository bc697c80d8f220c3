"""Where a metric is computed: `@metric("name", ..., state=(...))` on the function that gives the fields of these names,
which are declared in `fields`. Pure.

The function takes a `Window` and its own state, an array of one row for each unit in `state`, and gives one array a
field, a value a stream. It changes the state in place. State begins as zeros, and a candle comes but once.

What is made of prices is in whole ticks, of sizes in whole lots: exact integers in a float64. A field or state that
scales with them says so by its unit, and only at the end becomes real units.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.metrics.fields import FIELDS, Field, Scale

Column = NDArray[np.float64]


class Metric(NamedTuple):
    """A function and the fields that it gives, in order."""

    compute: Callable[..., Any]
    fields: tuple[Field, ...]
    state: tuple[Scale, ...]


_FIELDS = {field.name: field for field in FIELDS}
_DECLARED: list[Metric] = []


def metric(*names: str, state: tuple[Scale, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares what the decorated function computes."""

    def declare(compute: Callable[..., Any]) -> Callable[..., Any]:
        _DECLARED.append(Metric(compute, tuple(_FIELDS[name] for name in names), state))
        return compute

    return declare


def declared() -> tuple[Metric, ...]:
    """All metrics, in the order of their first field's number; what has none comes last."""
    return tuple(sorted(_DECLARED, key=lambda one: one.fields[0].number or 99))
