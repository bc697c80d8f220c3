"""The patterns of one stream: the conditions as nested ifs, each value worked out where it is first needed. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from wick.metrics._declared import QUANTITIES, ROWS
from wick.metrics._rules import LOOKBACKS, RULES, Literal, names, shifted

COMMON: Final = 20  # a value that so many rules need is worked out at once


class _Path(NamedTuple):
    """The conditions of a rule in the order in which they are looked at, and what to do where they hold."""

    literals: list[Literal]
    finding: str


def _paths() -> list[_Path]:
    """All rules, so that as many as possible begin alike; where the order matters, the one that decides comes last."""
    free: list[_Path] = []
    last: list[_Path] = []
    for number, rules in enumerate(RULES):
        paths = [_Path(list(rule.literals), f"found[{number}] = {rule.value & 0xFF}") for rule in rules]
        if all(one.value == other.value or one.excludes(other) for one in rules for other in rules):
            free += paths
        else:
            last += reversed(paths)
    uses = Counter(literal.pair for path in free for literal in path.literals)
    rank = {pair: at for at, (pair, _) in enumerate(uses.most_common())}
    for path in free:
        path.literals.sort(key=lambda literal: rank[literal.pair])
    free.sort(key=lambda path: [(rank[literal.pair], literal.holds) for literal in path.literals])
    return free + last


@cache
def _behind(expression: str) -> frozenset[str]:
    """All quantities that have to be worked out for an expression, with their lags."""
    direct = {(name, lag): shifted(QUANTITIES[name], lag) for name, lag in names(expression) if name in QUANTITIES}
    return frozenset(f"{name}{lag}" for name, lag in direct).union(*map(_behind, direct.values()))


class _Source:
    """The lines of the function that evaluates it all."""

    def __init__(self) -> None:
        self.lines = ["def evaluated(o, h, l, c):", f" found = bytearray({len(RULES)})"]
        for price in "ohlc":
            self.lines.append(f" {', '.join(f'{price}{lag}' for lag in reversed(range(ROWS)))} = {price}")
        known: set[str] = set()
        uses = Counter(
            value
            for rules in RULES
            for rule in rules
            for value in frozenset[str]().union(*(_behind(side) for literal in rule.literals for side in literal.pair))
        )
        for value, count in uses.items():
            if count >= COMMON:
                self._define(value, known, " ")
        self._branch(_paths(), 0, known)
        self.lines.append(" return bytes(found)")

    def _branch(self, paths: Iterable[_Path], depth: int, known: set[str]) -> None:
        """The paths from their condition number `depth` on, where all before are true and `known` is defined."""
        pad = " " * (depth + 1)
        for pair, group in groupby(paths, lambda path: path.literals[depth].pair if path.literals[depth:] else None):
            some = list(group)
            if pair is None:
                self.lines += [pad + path.finding for path in some]
                continue
            left, right = pair
            self._define(f"{left}, {right}", known, pad)
            true = [path for path in some if path.literals[depth].holds]
            false = [path for path in some if not path.literals[depth].holds]
            self.lines.append(f"{pad}if {left} < {right}:" if true else f"{pad}if {left} >= {right}:")
            self._branch(true or false, depth + 1, set(known))
            if true and false:
                self.lines.append(f"{pad}else:")
                self._branch(false, depth + 1, set(known))

    def _define(self, expression: str, known: set[str], pad: str) -> None:
        """Lines for what the expression is made of, as far as that is not known."""
        for name, lag in names(expression):
            variable = f"{name}{lag}"
            if name in QUANTITIES and variable not in known:
                text = shifted(QUANTITIES[name], lag)
                self._define(text, known, pad)
                self.lines.append(f"{pad}{variable} = {text}")
                known.add(variable)


_SCOPE: Final[dict[str, Any]] = {}
exec("\n".join(_Source().lines), _SCOPE)
_evaluated: Final[Callable[..., bytes]] = _SCOPE["evaluated"]
_ENOUGH: Final = max(LOOKBACKS)


def one(o: Sequence[float], h: Sequence[float], l: Sequence[float], c: Sequence[float], count: int) -> bytes:  # noqa: E741
    """The column of `columns` for one stream, from its last ROWS prices of each kind: 61 signed bytes.

    ValueError where there are not ROWS of them.
    """
    found = _evaluated(o, h, l, c)
    if count > _ENOUGH:
        return found
    return bytes(value if count > lookback else 0 for value, lookback in zip(found, LOOKBACKS, strict=True))
