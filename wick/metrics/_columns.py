"""The patterns of many streams at once: all values compared in one go, then logic on a bit a stream. Pure."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.metrics._declared import QUANTITIES, ROWS
from wick.metrics._rules import LOOKBACKS, RULES, names, renamed, shifted

Floats = NDArray[np.float64]
Bits = NDArray[np.uint64]
Span = tuple[int, int]  # the nearest and the farthest lag

WORD: Final = 64  # bits
# More streams, or comparisons, at a time cost more each: their memory is given back and asked for again, or leaves L2.
STREAMS: Final = 768
COMPARISONS: Final = 32


# ---------------------------------------------------------------------- the values that are compared


class _Values:
    """The row that each value has, and `fill(o, h, l, c, out)`, which computes them all."""

    def __init__(self, expressions: Iterable[str]) -> None:
        compared: dict[str, Span] = {}
        for expression in expressions:
            lag = min(lag for _, lag in names(expression))
            _widen(compared, shifted(expression, -lag), (lag, lag))
        needed: dict[str, Span] = {}
        for expression, span in compared.items():
            _need(needed, expression, span)
        for name in reversed(QUANTITIES):
            _need(needed, QUANTITIES[name], needed[name])
        assert max(needed[price][1] for price in "ohlc") == ROWS - 1
        # Rows go from the oldest to the newest candle, as those of the prices do.
        farthest = {name: far for name, (_, far) in needed.items()} | dict.fromkeys("ohlc", ROWS - 1)
        lines = [f"{name} = {_over(needed[name], text, farthest)}" for name, text in QUANTITIES.items()]
        self.rows: dict[str, int] = {}
        for expression, (near, far) in compared.items():
            start = len(self.rows)
            self.rows |= {shifted(expression, lag): start + far - lag for lag in range(near, far + 1)}
            lines.append(f"out[{start}:{len(self.rows)}] = {_over((near, far), expression, farthest)}")
        scope: dict[str, Any] = {"max": np.maximum, "min": np.minimum, "abs": np.abs}
        exec("\n ".join(["def fill(o, h, l, c, out):", *lines]), scope)
        self.fill: Callable[..., None] = scope["fill"]


def _widen(spans: dict[str, Span], name: str, span: Span) -> None:
    near, far = spans.get(name, span)
    spans[name] = min(near, span[0]), max(far, span[1])


def _need(spans: dict[str, Span], expression: str, span: Span) -> None:
    """An expression is wanted over `span`: so is what it is made of."""
    for name, lag in names(expression):
        _widen(spans, name, (span[0] + lag, span[1] + lag))


def _over(span: Span, expression: str, farthest: dict[str, int]) -> str:
    """The expression over a span of lags: each quantity becomes a slice of its array."""
    near, far = span
    return renamed(
        expression, lambda name, lag: f"{name}[{farthest[name] - far - lag}:{farthest[name] - near - lag + 1}]"
    )


# ---------------------------------------------------------------------- logic


class _All:
    """Makes a row of bits of each group of given rows: where all of them are set (of one given as ~row: are not)."""

    def __init__(self, groups: Iterable[list[int]], given: int) -> None:
        members = [[row if row >= 0 else given + ~row for row in group] for group in groups]
        self.members = np.array([row for group in members for row in group])
        self.starts = np.cumsum([0, *map(len, members)])[:-1]

    def __call__(self, bits: Bits) -> Bits:
        both = np.concatenate([bits, ~bits])
        made: Bits = np.bitwise_and.reduceat(both.take(self.members, 0), self.starts)
        return made


# Rows of bits, first: each comparison, then whether there are more candles than each look-back.
_PAIRS: Final = sorted({literal.pair for rules in RULES for rule in rules for literal in rule.literals})
_VALUES: Final = _Values(side for pair in _PAIRS for side in pair)
_LEFT, _RIGHT = (np.array([_VALUES.rows[pair[side]] for pair in _PAIRS]) for side in (0, 1))
_PARTS: Final = [slice(start, start + COMPARISONS) for start in range(0, len(_PAIRS), COMPARISONS)]
_ENOUGH: Final = np.array(sorted(set(LOOKBACKS)))[:, None]
_FIRST_ROWS: Final = len(_PAIRS) + len(_ENOUGH)

# Then: each rule, once where its conditions hold, once where it decides. After the latter a row that is never set.
_ROWS_OF: Final = [
    range(sum(map(len, RULES[:number])), sum(map(len, RULES[: number + 1]))) for number in range(len(RULES))
]
_NEVER: Final = sum(map(len, RULES))

# Last: where a pattern says nothing bullish, where nothing bearish, and where no other size than the usual one.
SIZE: Final = 5
_OTHER: Final = {
    n: abs(rule.value) for n, rules in enumerate(RULES) for rule in rules if abs(rule.value) not in (0, SIZE)
}
_OTHER_ROWS: Final = list(_OTHER)
_OTHER_MORE: Final = np.array([[size - SIZE] for size in _OTHER.values()], np.int8)


def _holding() -> Iterable[list[int]]:
    row = {pair: at for at, pair in enumerate(_PAIRS)}
    enough = {lookback: len(_PAIRS) + at for at, lookback in enumerate(_ENOUGH[:, 0].tolist())}
    for lookback, rules in zip(LOOKBACKS, RULES, strict=True):
        for rule in rules:
            conditions = (row[literal.pair] if literal.holds else ~row[literal.pair] for literal in rule.literals)
            yield [enough[lookback], *conditions]


def _deciding() -> Iterable[list[int]]:
    for rows, rules in zip(_ROWS_OF, RULES, strict=True):
        for row, rule in zip(rows, rules, strict=True):
            before = zip(rows, rules[: row - rows.start], strict=False)
            yield [row, *(~earlier for earlier, other in before if not other.excludes(rule))]
    yield [0, ~0]


def _silent() -> Iterable[list[int]]:
    for sign in (1, -1):
        for rows, rules in zip(_ROWS_OF, RULES, strict=True):
            said = [~row for row, rule in zip(rows, rules, strict=True) if rule.value * sign > 0]
            yield said or [~_NEVER]
    for number, size in _OTHER.items():
        yield [~row for row, rule in zip(_ROWS_OF[number], RULES[number], strict=True) if abs(rule.value) == size]


_HOLDING: Final = _All(_holding(), _FIRST_ROWS)
_DECIDING: Final = _All(_deciding(), _NEVER)
_SILENT: Final = _All(_silent(), _NEVER + 1)


# ---------------------------------------------------------------------- all of it


def columns(o: Floats, h: Floats, l: Floats, c: Floats, count: NDArray[np.int64]) -> NDArray[np.int8]:  # noqa: E741
    """What each pattern says of the newest candle of each stream, in units of 20 (TA-Lib's 100 is 5): (61, streams).

    `o`, `h`, `l`, `c`: prices in whole ticks, (ROWS, streams), the newest candle last. `count`: candles that a stream
    has so far, the newest included; rows before the first of them are zeros or anything else that is finite, and a
    pattern that looks back over more says 0.
    """
    streams = count.shape[0]
    found = np.empty((len(RULES), streams), np.int8)
    tiles = -(-streams // STREAMS)
    for tile in range(tiles):
        part = slice(tile * streams // tiles, (tile + 1) * streams // tiles)
        _columns([price[:, part] for price in (o, h, l, c)], count[part], found[:, part])
    return found


def _columns(prices: list[Floats], count: NDArray[np.int64], out: NDArray[np.int8]) -> None:
    streams = count.shape[0]
    values = np.empty((len(_VALUES.rows), streams))
    _VALUES.fill(*prices, out=values)
    holds = np.zeros((_FIRST_ROWS, -(-streams // WORD) * WORD), np.bool_)
    compared, enough = holds[: len(_PAIRS), :streams], holds[len(_PAIRS) :, :streams]
    for part in _PARTS:
        np.less(values.take(_LEFT[part], 0), values.take(_RIGHT[part], 0), out=compared[part])
    np.less(_ENOUGH, count, out=enough)
    bits = np.packbits(holds, axis=1, bitorder="little").view(np.uint64)
    bits = ~_SILENT(_DECIDING(_HOLDING(bits)))
    said = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little", count=streams).view(np.int8)
    bullish, bearish, other = said[: len(RULES)], said[len(RULES) : 2 * len(RULES)], said[2 * len(RULES) :]
    sign = bullish - bearish
    np.multiply(sign, np.int8(SIZE), out=out)
    out[_OTHER_ROWS] += sign[_OTHER_ROWS] * other * _OTHER_MORE
