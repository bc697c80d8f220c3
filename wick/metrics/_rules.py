"""The declared patterns, read: rules of literals, a literal being that one value is less than another, or not. Pure."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final, NamedTuple

from wick.metrics._declared import DECLARED, WORDS

_NAME: Final = re.compile(r"\b([a-z_]+)(\d+)\b")  # a quantity or a word, and how many candles back
_COMPARISON: Final = re.compile(r"([^<>]+)(<=|>=|<|>)([^<>]+)")
_RULE: Final = re.compile(r"([±∓+-]?)(\d+) (.+)")

# The mirror: what is up is down. Of sizes only the shadows change places; all else turns with its signs.
_PRICES: Final = ("o", "h", "l", "c", "top", "bot")
_UPSIDE_DOWN: Final = {"h": "l", "l": "h", "top": "bot", "bot": "top", "upper": "lower", "lower": "upper"}
_FLIPPED: Final = str.maketrans("<>+-", "><-+")
_RECOLOURED: Final = {"white": "black", "black": "white"}


class Literal(NamedTuple):
    """`left < right` where it `holds`, else its contrary; both are expressions."""

    left: str
    right: str
    holds: bool

    @property
    def pair(self) -> tuple[str, str]:
        return self.left, self.right


class Rule(NamedTuple):
    """What a pattern says, in units of 20, where all literals are true."""

    value: int
    literals: tuple[Literal, ...]

    def excludes(self, other: "Rule") -> bool:
        """Whether both can never hold, because one asks for the contrary of what the other does."""
        return any(Literal(left, right, not holds) in other.literals for left, right, holds in self.literals)


# ---------------------------------------------------------------------- expressions


@cache
def names(expression: str) -> tuple[tuple[str, int], ...]:
    """The quantities that an expression is made of, each with its lag."""
    return tuple((name, int(lag)) for name, lag in _NAME.findall(expression))


def renamed(expression: str, name: Callable[[str, int], str]) -> str:
    """The expression with `name(quantity, lag)` for each of its quantities."""
    return _NAME.sub(lambda found: name(found[1], int(found[2])), expression)


@cache
def shifted(expression: str, lag: int) -> str:
    """The same expression, `lag` candles further back."""
    return renamed(expression, lambda name, at: f"{name}{at + lag}")


# ---------------------------------------------------------------------- rules


def _rules(texts: Iterable[str]) -> Iterable[Rule]:
    """The rules of a pattern, mirror images included, in the order in which they decide."""
    for text in texts:
        sign, value, conditions = _matched(_RULE, text)
        size = -int(value) if sign in ("-", "∓") else int(value)
        yield Rule(size, tuple(_literals(conditions, mirrored=False)))
        if sign in ("±", "∓"):
            yield Rule(-size, tuple(_literals(conditions, mirrored=True)))


def _literals(conditions: str, mirrored: bool) -> Iterable[Literal]:
    for condition in conditions.split():
        word, lag = condition[:-1], int(condition[-1])
        if word not in WORDS:
            yield _literal(condition, mirrored)
        elif mirrored and word in _RECOLOURED:  # a candle without a body is white, so the mirror of < is not >
            yield _literal(shifted(WORDS[_RECOLOURED[word]], lag), mirrored=False)
        else:
            yield from (_literal(shifted(one, lag), mirrored) for one in WORDS[word].split())


def _literal(condition: str, mirrored: bool) -> Literal:
    if mirrored:
        if any(name in _PRICES for name, _ in names(condition)):
            condition = condition.translate(_FLIPPED)
        condition = renamed(condition, lambda name, lag: f"{_UPSIDE_DOWN.get(name, name)}{lag}")
    left, sign, right = _matched(_COMPARISON, condition)
    if sign in (">", "<="):
        left, right = right, left
    return Literal(left, right, holds=sign in ("<", ">"))


def _matched(form: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = form.fullmatch(text)
    assert found, text
    return found.groups()


RULES: Final = tuple(tuple(_rules(texts)) for _, _, _, _, *texts in DECLARED)
LOOKBACKS: Final = tuple(lookback for _, lookback, *_ in DECLARED)
