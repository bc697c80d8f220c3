"""A batch as rows of the SQLite store (`sqlite_rows`): numpy comes in with this."""

import json
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.market.schema import FOREIGN, PARTIAL
from wick.market.stored import COLUMNS, LENGTH_MS, OPEN, PRICE, SIGNED
from wick.storage import columns
from wick.storage.batch import MISSING, Batch
from wick.storage.sqlite_rows import BASES, CODES, COLUMN, EXACT, FOLLOW, NULLS, PLACES, RANK, REST, VARYING

_ORDER: Final = [name for name, place in PLACES.items() if place.code not in ("", "f") and name not in (NULLS, OPEN)]
_FLOATS: Final = [name for name, place in PLACES.items() if place.code == "f"]
_AT: Final = {name: at for at, name in enumerate(_ORDER)}
_NUMBER: Final = {column.name: at for at, column in enumerate(COLUMNS)}
# Integers come from the exact fields, and from what is stored of the others.
_WHOLE: Final = [name for name in _ORDER if name in EXACT]
_WHOLE_TO, _WHOLE_OF = (np.array([at[name] for name in _WHOLE]) for at in (_AT, EXACT))
_OTHERS: Final = [name for name in _ORDER if name not in EXACT]
_OTHERS_TO, _OTHERS_OF = (np.array([at[name] for name in _OTHERS]) for at in (_AT, _NUMBER))
_FOLLOW_OF: Final = np.array([EXACT[name] for name in FOLLOW])
_FLOATS_OF: Final = np.array([_NUMBER[name] for name in _FLOATS])
# What is kept less another.
_LESS: Final = [name for name in _ORDER if name in BASES or COLUMN[name].kind == PRICE]
_LESS_TO: Final = np.array([_AT[name] for name in _LESS])
_BASES_OF: Final = np.array([_AT.get(BASES.get(name, "close"), 0) for name in _LESS])
_BY_OPEN: Final = [at for at, name in enumerate(_LESS) if BASES.get(name) == OPEN]
_TENS: Final = np.array([[10 ** COLUMN[name].n if COLUMN[name].kind == PRICE else 1] for name in _LESS])
# What is less than this fits for sure.
_MOST: Final = {"v": 2**63 - 1, "q": 2**63 - 1, "i": 2**30, "h": 2**15 - 1, "b": 2**7 - 1}
_MOSTS: Final = np.array([[_MOST[PLACES[name].code]] for name in _ORDER])
# Where in a row what is of one width lies, and in _ORDER.
_SECTIONS: Final = [
    (f"<i{CODES[code]}", slice(first.at, first.at + len(names) * CODES[code]), slice(_AT[names[0]], _AT[names[-1]] + 1))
    for code in "qihb"
    for names in [[name for name in _ORDER if PLACES[name].code == code]]
    for first in [PLACES[names[0]]]
]
_FLOATS_AT: Final = slice(PLACES[_FLOATS[0]].at, PLACES[_FLOATS[-1]].at + CODES["f"])
_FIRST_AT: Final = slice(PLACES[NULLS].at, PLACES[OPEN].at + CODES["q"])
_LENGTHS: Final = np.array(LENGTH_MS)
_BITS: Final = np.array([PLACES[name].bit for name in (*_ORDER, *FOLLOW, *_FLOATS)])
_LAST: Final = 2**63 - 1
_SIGNED: Final = np.array([[COLUMN[name].kind == SIGNED] for name in _FLOATS])
_DIGITS: Final = np.array([[COLUMN[name].n] for name in _FLOATS])
_BEGIN: Final = (np.array([[COLUMN[name].least + 126] for name in _FLOATS]) << _DIGITS) - 1

Numbers = NDArray[Any]
Wide = dict[int, dict[str, int]]  # by candle and column


def packed(batch: Batch) -> tuple[list[int], list[bytes], list[bytes | None]]:
    """The columns `sqlite_rows.KEPT`."""
    stored = columns.of(batch)
    wide: Wide = {place: {name: value for name, value in told.items() if name not in EXACT}
                  for place, told in stored.wide.items()}  # fmt: skip
    exact = np.ascontiguousarray(batch.exact.T)
    opens, missing = exact[0], exact == MISSING
    whole, null = np.empty((len(_ORDER), batch.n), np.int64), np.empty((len(_ORDER), batch.n), np.bool_)
    whole[_WHOLE_TO], null[_WHOLE_TO] = exact[_WHOLE_OF], missing[_WHOLE_OF]
    whole[_OTHERS_TO], null[_OTHERS_TO] = stored.values[_OTHERS_OF], stored.null[_OTHERS_OF]
    if missing.any():
        whole[null] = 0
    base = whole[_BASES_OF]
    base[_BY_OPEN] = opens
    over = np.abs(whole) >= _MOSTS
    over[_LESS_TO] = np.abs(whole[_LESS_TO] - base * _TENS.astype(np.float64)) >= _MOST["i"]  # floats do not overflow
    over &= ~null
    follow, unsaid = exact[_FOLLOW_OF], missing[_FOLLOW_OF]
    other = (follow != _usual(batch, whole)) & ~unsaid
    codes, unknown = stored.values[_FLOATS_OF], stored.null[_FLOATS_OF]
    size = np.where(_SIGNED, codes >> 1, codes)
    huge = (size + _BEGIN >= 255 << _DIGITS) & ~unknown
    for names, told, too_big in ((_ORDER, whole, over), (FOLLOW, follow, other), (_FLOATS, codes, huge)):
        for row, place in np.argwhere(too_big).tolist() if too_big.any() else ():
            wide.setdefault(place, {})[names[row]] = int(told[row, place])
    for place, formed in batch.big.items():
        for name in (*_WHOLE, *FOLLOW):
            value = formed[EXACT[name]]
            if value is not None and abs(value) >= 2**63:
                wide.setdefault(place, {})[name] = value
                (other[FOLLOW.index(name)] if name in FOLLOW else over[_AT[name]])[place] = True

    absent = np.concatenate((null | over, unsaid | other, unknown | huge))
    whole[_LESS_TO] -= base * _TENS
    # The bits of a float32.
    floats = (size + _BEGIN << 23 - _DIGITS) | (_SIGNED & codes) << 31
    floats[size == 0] = 0
    if absent.any():
        whole[absent[: len(whole)]] = 0
        floats[absent[-len(floats) :]] = 0
    data = _rows(_rank(batch, stored), np.stack((_BITS @ absent, opens)), whole, floats, wide.keys())
    for place, beyond in wide.items():
        data[place] += json.dumps({name: str(value) for name, value in beyond.items()}).encode()
    return opens.tolist(), data, stored.patterns.cut()


def _usual(batch: Batch, whole: Numbers) -> Numbers:
    """FOLLOW, as they nearly always are."""
    bought, volume = whole[_AT["taker_buy_volume"]], whole[_AT["volume"]]
    return np.stack((batch.exact[:, 0] + _LENGTHS[batch.interval], 2 * bought - volume))


def _rank(batch: Batch, stored: columns.Columns) -> Numbers:
    """`market.rows.rank` in bytes that compare alike."""
    flags, revision = (batch.exact[:, EXACT[name]] for name in ("flags", "revision"))
    known, anchor = _NUMBER["known"], _NUMBER["obv_anchor_ms"]
    made = np.empty((batch.n, 2), ">i8")  # never below 0: it compares as its bytes do
    made[:, 0] = np.where(flags & PARTIAL, 0, 1 << 62) | np.where(flags & FOREIGN, 0, 1 << 61)
    made[:, 0] |= revision << 8 | stored.values[known]
    made[:, 1] = np.where(stored.null[anchor], 0, _LAST - stored.values[anchor])
    return made.view(np.uint8)


def _rows(rank: Numbers, first: Numbers, whole: Numbers, floats: Numbers, wide: Iterable[int]) -> list[bytes]:
    """`data` of each candle."""
    rest = np.zeros((len(rank), REST), np.uint8)
    rest[:, :RANK] = rank
    rest[:, _FIRST_AT].view("<i8")[:] = first.T
    for kind, at, rows in _SECTIONS:
        rest[:, at].view(kind)[:] = whole[rows].T
    rest[:, _FLOATS_AT].view("<u4")[:] = floats.T
    varying = whole[: len(VARYING)]
    fitting: Any = (np.abs(varying) < 2**31).all(axis=0)
    fitting[[*wide]] = False
    is_narrow: list[bool] = fitting.tolist()
    made = {}
    for fits in {*is_narrow}:
        end = varying.T.astype("<i4" if fits else "<i8", order="C").view(np.uint8)
        made[fits] = _cut(np.concatenate((rest, end), axis=1))
    return [made[fits][place] for place, fits in enumerate(is_narrow)]


def _cut(rows: Numbers) -> list[bytes]:
    data, size = rows.tobytes(), rows.itemsize * rows.shape[1]
    return [data[begin : begin + size] for begin in range(0, len(data), size)]
