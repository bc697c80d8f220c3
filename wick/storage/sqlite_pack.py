"""A batch as rows of the SQLite store (`sqlite_rows`): numpy comes in with this."""

import json
from math import inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.market.stored import LENGTH_MS, OPEN, PATTERNS, PRICE, SIGNED, WIDE
from wick.metrics.fields import NAMES as METRIC_NAMES
from wick.storage import columns
from wick.storage.batch import MISSING, Batch
from wick.storage.sqlite_rows import (
    BASES,
    CODES,
    COLUMN,
    DATA,
    EXACT,
    FOLLOW,
    FRONT,
    KEPT,
    NULLS,
    PLACES,
    REST,
)

_INTEGERS: Final = ["close", *(name for name, place in PLACES.items() if place.code and place.code != "f")]
_ORDER: Final = sorted(_INTEGERS, key=lambda name: name not in EXACT)
_FLOATS: Final = [name for name, place in PLACES.items() if place.code == "f"]
_AT: Final = {name: at for at, name in enumerate(_ORDER)}
_NUMBER: Final = columns.AT
_WHOLE: Final = [name for name in _ORDER if name in EXACT]
_OTHERS: Final = [_NUMBER[name] for name in _ORDER[len(_WHOLE) :]]
_ANCHOR: Final = METRIC_NAMES.index("obv_anchor_ms")
# What is less than this fits for sure; differences are compared as floats.
_MOST: Final = {"": inf, "v": inf, "q": inf, "i": 2.0**30, "h": 2.0**15 - 1, "b": 2.0**7 - 1}
_MOSTS: Final = np.array([[_MOST[PLACES[name].code]] for name in _ORDER])
_LENGTHS: Final = np.array(LENGTH_MS)
_BITS: Final = np.array([PLACES[name].bit for name in (*_ORDER, *FOLLOW, *_FLOATS)])
_SIGNED: Final = np.array([[COLUMN[name].kind == SIGNED] for name in _FLOATS])
_DIGITS: Final = np.array([[COLUMN[name].n] for name in _FLOATS])
_BEGIN: Final = (np.array([[COLUMN[name].least + 126] for name in _FLOATS]) << _DIGITS) - 1

Numbers = NDArray[Any]
Wide = dict[int, dict[str, int]]  # by candle and column


def packed(batch: Batch) -> list[list[Any]]:
    """The columns KEPT."""
    stored = columns.of(batch)
    wide: Wide = {place: {name: value for name, value in told.items() if name not in EXACT}
                  for place, told in stored.wide.items()}  # fmt: skip
    # Integers, the exact ones first, and then what follows.
    exact = batch.exact.T[[EXACT[name] for name in (*_WHOLE, *FOLLOW)]]
    missing = exact == MISSING
    exact[missing] = 0
    n = len(_WHOLE)
    whole, follow = np.concatenate((exact[:n], stored.values[_OTHERS])), exact[n:]
    null = np.concatenate((missing[:n], stored.null[_OTHERS]))
    base, far = _bases(whole, batch.exact[:, 0])
    over = (np.abs(whole - far) >= _MOSTS) & ~null
    other = (follow != _usual(batch, whole)) & ~missing[n:]
    codes, unknown = (told[[_NUMBER[name] for name in _FLOATS]] for told in (stored.values, stored.null))
    size = np.where(_SIGNED, codes >> 1, codes)
    huge = (size + _BEGIN >= 255 << _DIGITS) & ~unknown
    for names, told, beyond in ((_ORDER, whole, over), (FOLLOW, follow, other), (_FLOATS, codes, huge)):
        for row, place in zip(*(found.tolist() for found in np.nonzero(beyond)), strict=True):
            wide.setdefault(place, {})[names[row]] = int(told[row, place])
    for place, formed in batch.big.items():
        for name in (*_WHOLE, *FOLLOW):
            value = formed[EXACT[name]]
            if value is not None and abs(value) >= 2**63:
                wide.setdefault(place, {})[name] = value
                (other[FOLLOW.index(name)] if name in FOLLOW else over[_AT[name]])[place] = True

    numbers = np.where(null | over, 0, whole - base)
    gone = unknown | huge
    # The bits of a float32.
    floats = np.where((size == 0) | gone, 0, (size + _BEGIN << 23 - _DIGITS) | (_SIGNED & codes) << 31)
    absent = np.concatenate((null | over, missing[n:] | other, gone))
    anchor = [None if value != value else int(value) for value in batch.metrics[:, _ANCHOR].tolist()]
    made: dict[str, list[Any]] = {
        OPEN: batch.exact[:, 0].tolist(), "known": stored.values[_NUMBER["known"]].tolist(), "obv_anchor_ms": anchor,
        **{name: batch.exact[:, EXACT[name]].tolist() for name in ("flags", "revision")},
        NULLS: (_BITS @ absent).tolist(), "close": numbers[_AT["close"]].tolist(), DATA: _rows(numbers, floats),
        PATTERNS: stored.patterns.cut(), WIDE: [_text(wide.get(place)) for place in range(batch.n)],
    }  # fmt: skip
    return [made[name] for name in KEPT]


def _bases(whole: Numbers, opens: Numbers) -> tuple[Numbers, Numbers]:
    """What each is kept less; and as floats, which do not overflow."""
    base, far = np.zeros_like(whole), np.zeros(whole.shape)
    for at, name in enumerate(_ORDER):
        own = COLUMN[name]
        if name in BASES or own.kind == PRICE:
            less = opens if BASES.get(name) == OPEN else whole[_AT[BASES.get(name, "close")]]
            ten = 10**own.n if own.kind == PRICE else 1
            base[at], far[at] = less * ten, less * float(ten)
    return base, far


def _usual(batch: Batch, whole: Numbers) -> Numbers:
    """FOLLOW, as they nearly always are."""
    bought, volume = whole[_AT["taker_buy_volume"]], whole[_AT["volume"]]
    return np.stack((batch.exact[:, 0] + _LENGTHS[batch.interval], 2 * bought - volume))


def _rows(numbers: Numbers, floats: Numbers) -> list[bytes]:
    """`data` of each candle."""
    n = numbers.shape[1]
    parts = dict(zip(_ORDER, numbers, strict=True)) | dict(zip(_FLOATS, floats, strict=True))
    rest = np.zeros((n, REST), np.uint8)
    for code, width in CODES.items():
        names = [name for name, place in PLACES.items() if place.code == code != "v"]
        if names:
            at = PLACES[names[0]].at
            section = rest[:, at : at + width * len(names)].view("<u4" if code == "f" else f"<i{width}")
            section[:] = np.stack([parts[name] for name in names], axis=1)
    front = np.stack([parts[name] for name in FRONT], axis=1)
    is_narrow = (np.abs(front) < 2**31).all(axis=1).tolist()
    fronts = zip(is_narrow, _cut(front.astype("<i4")), _cut(front.astype("<i8")), strict=True)
    return [(narrow if fits else broad) + behind
            for (fits, narrow, broad), behind in zip(fronts, _cut(rest), strict=True)]  # fmt: skip


def _cut(rows: Numbers) -> list[bytes]:
    data, size = rows.tobytes(), rows.itemsize * rows.shape[1]
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def _text(numbers: dict[str, int] | None) -> str | None:
    return json.dumps({name: str(value) for name, value in numbers.items()}) if numbers else None
