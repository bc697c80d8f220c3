"""The patterns of many streams at once: values in rows, one comparison of all, then logic on a bit a stream. Pure."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.metrics._declared import DECLARED, QUANTITIES, SUMS
from wick.metrics._rules import RULES, Literal, names, shifted

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
WORD: Final = 64

_LOOKBACKS: Final = tuple(lookback for _, lookback, *_ in DECLARED)
_LEVELS: Final = tuple(sorted(set(_LOOKBACKS)))


def _before(rows: Floats, count: int) -> Floats:
    """The sum of the `count` (5 or 10) rows before each row, from the first that has them on. Whole numbers: exact."""
    two = rows[:-1] + rows[1:]
    five = two[:-2] + two[2:]
    five = five[:-1] + rows[4:]
    return (five if count == 5 else five[:-5] + five[5:])[:-1]


class _Plan:
    """Where each value stands, and the source of the function that fills them in."""

    def __init__(self, literals: Iterable[Literal]) -> None:
        lags: dict[str, set[int]] = {}
        for literal in literals:
            for side in literal[:2]:
                nearest = min(lag for _, lag in names(side))
                lags.setdefault(shifted(side, -nearest), set()).add(nearest)
        self.spans = {one: (min(some), max(some)) for one, some in lags.items()}
        self.places: dict[str, int] = {}
        self.size = 0
        lines = ["def fill(o, h, l, c, out):"]
        # Arrays of a quantity have the newest candle in the last row, as those of the prices.
        for name, expression in QUANTITIES.items():
            for used, _ in names(expression):
                if used in SUMS:
                    lines.append(f" {used} = before({SUMS[used][0]}, {SUMS[used][1]})")
            lines.append(f" {name} = {_NAME0(expression)}")
        for one, (near, far) in self.spans.items():
            end = self.size + far - near + 1
            sliced = _sliced(one, near, far)
            lines.append(f" out[{self.size}:{end}] = {sliced}")
            for lag in range(near, far + 1):
                self.places[shifted(one, lag)] = self.size + far - lag
            self.size = end
        space: dict[str, Any] = {"before": _before, "max": np.maximum, "min": np.minimum, "abs": np.abs}
        exec("\n".join(lines), space)
        self.source = "\n".join(lines)
        self.fill = space["fill"]


def _NAME0(expression: str) -> str:
    return expression.replace("0)", ")") if False else __import__("re").sub(r"\b([a-z_]+)0\b", r"\1", expression)


def _sliced(expression: str, near: int, far: int) -> str:
    """The expression over the lags `far` … `near`, oldest first."""
    for name, lag in sorted(set(names(expression))):
        end = -(near + lag) or None
        part = f"{name}[{-(far + lag) - 1}:{'' if end is None else end}]"
        expression = __import__("re").sub(rf"\b{name}{lag}\b", part, expression)
    return expression


_PREDICATES: Final = {
    pair: at for at, pair in enumerate(sorted({one[:2] for rules in RULES for rule in rules for one in rule.literals}))
}
_PLAN: Final = _Plan(one for rules in RULES for rule in rules for one in rule.literals)
_LEFT: Final = np.array([_PLAN.places[left] for left, _ in _PREDICATES])
_RIGHT: Final = np.array([_PLAN.places[right] for _, right in _PREDICATES])
_READY: Final = len(_PREDICATES)  # then: enough candles for each look-back
_ROWS: Final = _READY + len(_LEVELS)
_LITERALS: list[int] = []
_STARTS: list[int] = []
for _lookback, _rules in zip(_LOOKBACKS, RULES, strict=True):
    for _rule in _rules:
        _STARTS.append(len(_LITERALS))
        _LITERALS.append(_READY + _LEVELS.index(_lookback))
        _LITERALS += [_PREDICATES[one[:2]] + (0 if one.holds else _ROWS) for one in _rule.literals]
_LIT = np.array(_LITERALS)
_ST = np.array(_STARTS)
_LEV = np.array(_LEVELS)[:, None]
VALUES = np.array([rule.value for rules in RULES for rule in rules])
OF = np.array([at for at, rules in enumerate(RULES) for rule in rules])


def columns(o: Floats, h: Floats, l: Floats, c: Floats, count: NDArray[np.int64]) -> NDArray[np.int8]:
    streams = count.shape[0]
    values = np.empty((_PLAN.size, streams))
    _PLAN.fill(o, h, l, c, values)
    padded = -(-streams // WORD) * WORD
    holds = np.zeros((_ROWS, padded), np.bool_)
    np.less(values.take(_LEFT, 0), values.take(_RIGHT, 0), out=holds[:_READY, :streams])
    np.less(_LEV, count, out=holds[_READY:, :streams])
    bits = np.packbits(holds, axis=1, bitorder="little").view(np.uint64)
    bits = np.concatenate([bits, ~bits])
    found = np.bitwise_and.reduceat(bits.take(_LIT, 0), _ST, axis=0)
    hit = np.unpackbits(found.view(np.uint8), axis=1, bitorder="little", count=streams)
    out = np.zeros((61, streams), np.int8)
    for i in range(len(VALUES) - 1, -1, -1):
        out[OF[i]] = np.where(hit[i], VALUES[i], out[OF[i]])
    return out
