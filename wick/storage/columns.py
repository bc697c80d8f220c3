"""Batches in the columns that a store keeps (`market.stored`), all candles at once."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wick.market.blocks import EXACT, REALS
from wick.market.schema import FLOW_FIELDS, FORMED_FIELDS, METRIC_FIELDS
from wick.market.stored import (
    COLUMNS,
    DIGITS,
    FOLLOWING,
    LENGTH_MS,
    LESS,
    MOST,
    NO_METRICS,
    ORDER,
    OTHER,
    PRICE,
    RATIO,
    SIGNED,
    SIZE,
    STORED,
    TENS,
    TICK,
    WHOLE,
    fired,
    put,
)
from wick.metrics.fields import NAMES as METRIC_NAMES
from wick.storage.batch import METRICS, MISSING, PATTERNS, Batch

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bits: TypeAlias = NDArray[np.bool_]

AT = {name: at for at, name in enumerate(ORDER)}
_EXACT = {name: at for at, name in enumerate(FORMED_FIELDS[:EXACT])}
_REALS = (*FORMED_FIELDS[EXACT:], *METRIC_NAMES)
_TENS = np.array(TENS)
_LENGTHS = np.array(LENGTH_MS, np.int64)
_BYTES = {column.name: column.bytes for column in COLUMNS}
_MOST = [2 ** min(8 * _BYTES.get(name, 8) - 1, 62) - 1 for name in ORDER]
_MOSTS = np.array(_MOST)
_SAFE = 2**61  # so that what is made of such numbers stays within 64 bits
_BEYOND = 2.0**62


def _runs(places: Sequence[int]) -> list[tuple[slice, slice]]:
    """Rows that are computed together go to these places: as slices of both."""
    borders = [0, *[at for at in range(1, len(places)) if places[at] != places[at - 1] + 1], len(places)]
    return [(slice(places[first], places[end - 1] + 1), slice(first, end)) for first, end in pairwise(borders)]


# Columns that are computed alike are computed together, a row of a matrix each: of the exact fields ...
_FIELDS = sorted((AT[column.name], column) for column in COLUMNS if column.name in {*_EXACT, *_REALS})
_SAME = [(at, _EXACT[one.name]) for at, one in _FIELDS if one.name in _EXACT and one.kind == WHOLE]
_SAME_TO, _SAME_OF = (np.array(part) for part in zip(*_SAME, strict=True))
_LESS = [(at, column.name) for at, column in _FIELDS if column.kind == LESS]
# ... of the REAL ones those that are scaled, by what their power of ten depends on ...
_SCALED = [(at, one) for at, one in _FIELDS if one.name in _REALS and one.kind in (WHOLE, RATIO, PRICE, SIZE)]
_SCALED_TO = _runs([at for at, _ in _SCALED])
_FIXED = sum(column.kind not in (PRICE, SIZE) for _, column in _SCALED)
_FIXED_TENS = np.array([[TENS[column.n]] for _, column in _SCALED[:_FIXED]])
_BY_DECIMALS = [  # the field of the decimals, how many more, and of which rows
    ({PRICE: "price_decimals", SIZE: "quantity_decimals"}[kind], n, slice(places[0], places[-1] + 1))
    for (kind, n), group in groupby(range(_FIXED, len(_SCALED)), key=lambda place: _SCALED[place][1][1:4:2])
    for places in [list(group)]
]
# ... those that are kept as digits, and ticks.
_CODED = [(at, column) for at, column in _FIELDS if column.kind in (DIGITS, SIGNED)]
_UNSIGNED = sum(column.kind == DIGITS for _, column in _CODED)
_CODED_TO = _runs([at for at, _ in _CODED])
_SHIFT = np.array([[52 - column.n] for _, column in _CODED])
_HALF = (1 << _SHIFT - 1) - 1
_FIRST = np.array([[(column.least + 1022 << column.n) - 1] for _, column in _CODED])
_TICKS = [(at, column.name) for at, column in _FIELDS if column.kind == TICK]
# So REAL fields have this order while they are computed.
_REAL = {name: at for at, name in enumerate(dict.fromkeys([*(one.name for _, one in (*_SCALED, *_CODED)), *_REALS]))}
_ROWS = [[_REAL[name] for name in names] for names in (_REALS[:REALS], _REALS[REALS:])]
_PAIR, _TIME, _UNKNOWN, _KNOWN = (AT[name] for name in ("pair", "open_time_ms", "unknown", "known"))
_FOLLOWING = np.array([_REAL[name] for name in FOLLOWING])
_FLOWS = [at for name, at in _EXACT.items() if name in FLOW_FIELDS]


class Blobs(NamedTuple):
    """Bytes of any length, of many rows: where each one's are in `data`, and how many; -1 of them where it has none."""

    data: NDArray[np.uint8]
    begin: Integers
    length: Integers

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Self:
        length = np.array([-1 if value is None else len(value) for value in values], np.int64)
        told = np.maximum(length, 0)
        data = np.frombuffer(b"".join([value or b"" for value in values]), np.uint8)
        return cls(data, np.cumsum(told) - told, length)

    def cut(self) -> list[bytes | None]:
        data, spans = self.data.tobytes(), zip(self.begin.tolist(), self.length.tolist(), strict=True)
        return [None if length < 0 else data[begin : begin + length] for begin, length in spans]


class Columns(NamedTuple):
    """`values`: a row a name of ORDER (`pair` is the batch's own number), a column a candle; 0 and in `null` is what is
    not known, or in `wide`."""

    values: Integers  # (ORDER, n)
    null: Bits  # (ORDER, n)
    patterns: Blobs
    wide: dict[int, dict[str, int]]  # by candle and column: numbers that the column cannot hold


def of(batch: Batch) -> Columns:
    """What is kept of a batch's candles."""
    n = batch.n
    values, null = np.empty((len(ORDER), n), np.int64), np.zeros((len(ORDER), n), np.bool_)
    # A row a field, as they are taken: a stride costs more than the copy.
    whole, real = np.ascontiguousarray(batch.exact.T), np.empty((len(_REAL), n))
    real[_ROWS[0]], real[_ROWS[1]] = batch.real.T, batch.metrics.T
    finite = np.isfinite(real)
    exact = dict(zip(_EXACT, whole, strict=True))
    values[_PAIR], values[_TIME] = batch.pair, whole[0]
    values[_SAME_TO] = whole[_SAME_OF]
    for at, name in _LESS:
        np.subtract(exact[name], _expected(name, batch, exact), values[at])
    if whole.min(initial=0) == MISSING:
        null[_SAME_TO] = whole[_SAME_OF] == MISSING
        for at, name in _LESS:
            null[at] = exact[name] == MISSING
    with np.errstate(all="ignore"):
        _scale(exact, real[: len(_SCALED)], values, null)
        _code(real[len(_SCALED) :][: len(_CODED)], values, null)
        for at, name in _TICKS:
            values[at], null[at] = _tick(name, exact, real[_REAL[name]])
    values[_UNKNOWN], values[_KNOWN] = _unknown(batch, exact, finite), _knows(batch, whole, finite)
    for some in np.flatnonzero(null.any(axis=1)).tolist():
        values[some, null[some]] = 0
    wide: dict[int, dict[str, int]] = {}
    places = _slow(batch, whole, exact, values)
    for place, row in zip(places, batch.take(places).rows() if places else (), strict=True):
        for name, value in zip(STORED, put(int(batch.interval[place]), row[3:]), strict=True):
            at = AT[name]
            fits = value is not None and abs(value) <= _MOST[at]
            null[at, place], values[at, place] = not fits, 0
            if value is not None and fits:
                values[at, place] = value
            elif value is not None:
                wide.setdefault(place, {})[name] = value
    return Columns(values, null, _patterns(batch), wide)


def _slow(batch: Batch, whole: Integers, exact: dict[str, Integers], values: Integers) -> list[int]:
    """The candles with numbers that are too big for arrays, or for their columns: nearly always none."""
    turnover = np.abs(exact["high"].astype(np.float64)) + np.abs(exact["low"])
    turnover *= np.maximum(np.abs(exact["volume"]), np.abs(exact["taker_buy_volume"]))
    # And of the rounded price, which is not the candle's where more was bought than traded.
    price = np.abs(exact["quote_volume"].astype(np.float64)) / np.maximum(np.abs(exact["volume"]), 1)
    slow = (turnover >= _SAFE) | (price * np.abs(exact["taker_buy_volume"]) >= _SAFE)
    if max(int(whole.max(initial=0)), -int(whole.min(initial=0))) >= _SAFE:
        slow |= (np.abs(whole) >= _SAFE).any(axis=0)  # (of MISSING this is below 0)
    most, least = values.max(axis=1, initial=0), values.min(axis=1, initial=0)
    for at in np.flatnonzero((most > _MOSTS) | (least < -_MOSTS)):
        slow |= (values[at] > _MOST[at]) | (values[at] < -_MOST[at])
    slow[list(batch.big)] = True
    return [int(place) for place in np.flatnonzero(slow)]


def _scale(exact: dict[str, Integers], own: Floats, values: Integers, null: Bits) -> None:
    """In place."""
    own[:_FIXED] *= _FIXED_TENS
    for decimals, n, rows in _BY_DECIMALS:
        own[rows] *= _TENS[exact[decimals] + n]
    if not (own.min(initial=0.0) > -_BEYOND and own.max(initial=0.0) < _BEYOND):  # or NaN
        wrong = ~np.isfinite(own)
        own[wrong] = 0.0
        # Beyond int64 a cast would give anything: it stays beyond, and the slow way takes the candle.
        np.clip(own, -_BEYOND, _BEYOND, out=own)
        for to, of_ in _SCALED_TO:
            null[to] = wrong[of_]
    np.rint(own, own)
    for to, of_ in _SCALED_TO:
        values[to] = own[of_]


def _code(own: Floats, values: Integers, null: Bits) -> None:
    """`stored._to_digits` in arrays: a float's bits are the power of two and the digits already, in that order, and are
    rounded where those end."""
    size = np.abs(own)
    if not (own[:_UNSIGNED].min(initial=0.0) >= 0.0 and size.max(initial=0.0) <= MOST):  # or NaN
        wrong = ~(size <= MOST)
        wrong[:_UNSIGNED] |= own[:_UNSIGNED] < 0.0
        size[wrong] = 0.0
        for to, of_ in _CODED_TO:
            null[to] = wrong[of_]
    bits = size.view(np.int64)
    code = bits >> _SHIFT
    code &= 1
    code += _HALF  # half to even
    code += bits
    code >>= _SHIFT
    code -= _FIRST
    np.maximum(code, 0, out=code)
    code[_UNSIGNED:] <<= 1
    code[_UNSIGNED:] |= own[_UNSIGNED:] < 0.0
    for to, of_ in _CODED_TO:
        values[to] = code[of_]


def _tick(name: str, exact: dict[str, Integers], own: Floats) -> tuple[Integers, Bits]:
    close = exact["close"]
    then = np.rint(close * np.exp(-own) if name == "log_return" else close / (1.0 + own / 100.0))
    wrong = ~((then > 0.5) & (then < float(_SAFE)))
    return exact["open"] - np.where(wrong, 0, then).astype(np.int64), wrong


def _expected(name: str, batch: Batch, exact: dict[str, Integers]) -> Any:
    """`stored.EXPECTED` in arrays."""
    if name == "close_time_ms":
        return exact["open_time_ms"] + _LENGTHS[batch.interval]
    if name == "quote_volume":
        return exact["volume"] * ((exact["high"] + exact["low"]) >> 1)
    if name == "taker_buy_volume":
        return exact["volume"] >> 1
    if name == "taker_buy_quote_volume":
        volume = exact["volume"]
        return exact["taker_buy_volume"] * np.where(
            volume == 0, 0, exact["quote_volume"] // np.where(volume == 0, 1, volume)
        )
    if name == "first_trade_id":
        return exact["last_trade_id"] - (np.maximum(exact["trade_count"], 1) - 1)  # (MISSING is no count)
    if name == "delta":
        return 2 * exact["taker_buy_volume"] - exact["volume"]
    delta = np.where(exact["delta"] == MISSING, 0, exact["delta"])
    return np.maximum(delta, 0) if name == "delta_max" else np.minimum(delta, 0)


def _unknown(batch: Batch, exact: dict[str, Integers], finite: Bits) -> Any:
    """`stored._unknown` in arrays."""
    bits = np.where(batch.known, 0, NO_METRICS)
    if finite[_FOLLOWING].all():
        return bits
    known = {name: finite[at] for name, at in _REAL.items()}
    told = {name: ~known[name] for name in FOLLOWING}
    told["vwap"] &= exact["volume"] != 0
    told["delta_ratio"] &= exact["delta"] != MISSING
    for name in FOLLOWING[3:]:
        told[name] &= batch.known
    told["true_range"] &= known["log_return"]
    told["bb_percent_b"] &= known["sma_20"] & known["bb_bandwidth"]
    for bit, name in enumerate(FOLLOWING):
        bits |= told[name].astype(np.int64) << bit
    return bits


def _knows(batch: Batch, whole: Integers, finite: Bits) -> Any:
    """`Batch.knows` of these columns."""
    made = np.add.reduce(finite.view(np.uint8), axis=0, dtype=np.uint8)  # of fewer than 256
    made += np.add.reduce((whole[_FLOWS] != MISSING).view(np.uint8), axis=0, dtype=np.uint8)
    return made.astype(np.int64) + (len(METRIC_FIELDS) - METRICS) * batch.known


def _nonzero(values: NDArray[np.int8]) -> Integers:
    """Where they are; few are, so eight at a time are looked at first."""
    whole = len(values) & -8
    words = values[:whole].view(np.int64)
    some = np.flatnonzero(words != 0)
    own = np.flatnonzero(words[some].view(np.int8) != 0)
    return np.concatenate((8 * some[own >> 3] + (own & 7), whole + np.flatnonzero(values[whole:])))


_OTHERS = np.array(OTHER)


def _patterns(batch: Batch) -> Blobs:
    """`stored.fired` of each candle; None where nobody has computed them."""
    found = batch.patterns.ravel()
    at = _nonzero(found)
    rows, values = at // PATTERNS, found[at]
    numbers = at - rows * PATTERNS
    sizes = np.abs(values)
    other = sizes != 5
    codes = (4 * numbers + 2 * other + (values < 0)).astype(np.uint8)
    length = np.bincount(rows, minlength=batch.n)
    begin = np.cumsum(length) - length
    odd = other & (sizes != _OTHERS[numbers])
    if odd.any():
        for place in {*rows[odd].tolist()}:
            told = np.frombuffer(fired(batch.patterns[place].tobytes()), np.uint8)
            begin[place], length[place] = len(codes), len(told)
            codes = np.concatenate((codes, told))
    length[~batch.known] = -1
    return Blobs(codes, begin, length)
