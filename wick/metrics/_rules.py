"""The declared patterns as data: rules of literals, a literal being "one value is less than another, or not". Pure."""

import re
from typing import Final, NamedTuple

from wick.metrics._declared import DECLARED, WORDS

_NAME: Final = re.compile(r"\b([a-z_]+)(\d)\b")  # a quantity or a word, and how many candles back
_COMPARISON: Final = re.compile(r"([^<>]+)(<=|>=|<|>)([^<>]+)")
_UPSIDE_DOWN: Final = {"h": "l", "l": "h", "top": "bot", "bot": "top", "upper": "lower", "lower": "upper"}
_RECOLOURED: Final = {"white": "black", "black": "white"}
_FLIPPED: Final = str.maketrans("<>+-", "><-+")
_PRICES: Final = ("o", "h", "l", "c", "top", "bot")


class Literal(NamedTuple):
    """`left < right` where `holds`, else its contrary. Both sides are expressions; NaN does not occur."""

    left: str
    right: str
    holds: bool


class Rule(NamedTuple):
    value: int
    literals: tuple[Literal, ...]


def shifted(expression: str, lag: int) -> str:
    """The same expression, `lag` candles further back."""
    return _NAME.sub(lambda found: f"{found[1]}{int(found[2]) + lag}", expression)


def names(expression: str) -> list[tuple[str, int]]:
    """The quantities that an expression is made of, each with its lag."""
    return [(found[1], int(found[2])) for found in _NAME.finditer(expression)]


def rules(texts: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules of a pattern, mirror images included, in the order in which they decide."""
    made = []
    for text in texts:
        sign, value, conditions = re.fullmatch(r"([±∓+-]?)(\d+) (.*)", text).groups()  # type: ignore[union-attr]
        size = -int(value) if sign in "∓-" and sign else int(value)
        made.append(Rule(size, _literals(conditions, mirrored=False)))
        if sign and sign in "±∓":
            made.append(Rule(-size, _literals(conditions, mirrored=True)))
    return tuple(made)


def _literals(conditions: str, mirrored: bool) -> tuple[Literal, ...]:
    made = []
    for condition in conditions.split():
        word, lag = condition[:-1], condition[-1]
        if word not in WORDS:
            made.append(_literal(condition, mirrored))
        elif mirrored and word in _RECOLOURED:  # a candle without a body is white, so the mirror is not the contrary
            made.append(_literal(shifted(WORDS[_RECOLOURED[word]], int(lag)), False))
        else:
            made += [_literal(shifted(one, int(lag)), mirrored) for one in WORDS[word].split()]
    return tuple(made)


def _literal(condition: str, mirrored: bool) -> Literal:
    if mirrored:
        if names(condition)[0][0] in _PRICES and not condition.startswith("abs"):
            condition = condition.translate(_FLIPPED)
        condition = _NAME.sub(lambda found: _UPSIDE_DOWN.get(found[1], found[1]) + found[2], condition)
    left, sign, right = _COMPARISON.fullmatch(condition).groups()  # type: ignore[union-attr]
    if sign in (">", "<="):
        left, right = right, left
    return Literal(left, right, len(sign) == 1)


RULES: Final = tuple(rules(tuple(texts)) for _, _, _, _, *texts in DECLARED)
