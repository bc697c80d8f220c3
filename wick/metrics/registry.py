"""Where a metric is declared: `@metric(Field(...), ..., state=(...))` on the function that computes it. Pure.

The function takes a `Window` and its own state, an array of one row for each unit in `state`, and gives one array a
field, a value a stream. It changes the state in place. State begins as zeros, and a candle comes but once.

What is made of prices is in whole ticks, of sizes in whole lots: exact integers in a float64. A field or state that
scales with them says so by its unit, and only at the end becomes real units.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]

# What a number scales with: powers of (10^price_decimals, 10^quantity_decimals).
PURE: Final = (0, 0)
PRICE: Final = (1, 0)
SIZE: Final = (0, 1)
Scale = tuple[int, int]


class Field(NamedTuple):
    """A field of the candle's schema. `number`: its place among the 64 metrics, 0 for what only goes with one.

    `n`: candles until it is defined; `scale`: of the number that is computed.
    """

    number: int
    name: str
    unit: str
    definition: str
    n: int
    source: str
    scale: Scale = PURE


class Metric(NamedTuple):
    """A function and the fields that it gives, in order."""

    compute: Callable[..., Any]
    fields: tuple[Field, ...]
    state: tuple[Scale, ...]


_DECLARED: list[Metric] = []


def metric(*fields: Field, state: tuple[Scale, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares what the decorated function computes."""

    def declare(compute: Callable[..., Any]) -> Callable[..., Any]:
        _DECLARED.append(Metric(compute, fields, state))
        return compute

    return declare


def declared() -> tuple[Metric, ...]:
    """All metrics, in the order of their first field's number; what has none comes last."""
    return tuple(sorted(_DECLARED, key=lambda one: one.fields[0].number or 99))
