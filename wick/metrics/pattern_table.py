"""TA-Lib's 61 candle patterns by name, in the order in which rows and masks have them. Pure, and without numpy."""

from typing import Final, NamedTuple

from wick.metrics._declared import DECLARED


class Pattern(NamedTuple):
    """`number` is its place in rows and its bit in masks; it says nothing of a stream's first `lookback` candles."""

    number: int
    name: str
    title: str
    definition: str
    lookback: int


PATTERNS: Final = tuple(
    Pattern(number, f"CDL{name}", title, definition, lookback)
    for number, (name, lookback, title, definition, *_) in enumerate(DECLARED)
)
NAMES: Final = tuple(pattern.name for pattern in PATTERNS)

# A pattern's value as a binary digit: whether it is above, whether it is below 0 (as a signed byte).
_ABOVE: Final = bytes(48 + (0 < value < 128) for value in range(256))
_BELOW: Final = bytes(48 + (value > 127) for value in range(256))


def masks(found: bytes) -> tuple[int, int]:
    """The bullish and the bearish ones of a row's patterns: bit k is pattern k."""
    backwards = found[::-1]
    return int(backwards.translate(_ABOVE), 2), int(backwards.translate(_BELOW), 2)
