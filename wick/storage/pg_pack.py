"""Rows in PostgreSQL's binary COPY format, packed in columns by numpy.

The format (PostgreSQL's manual, "COPY", "Binary Format"): a header, then of each row the number of its fields, and of
each field its length, -1 where it is NULL, and its bytes, integers in network order.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wick.storage.columns import Bits, Blobs, Integers

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
AT_ONCE = 512  # rows that stay in a processor's cache while they are filled

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint32]


def packed(
    values: Integers, null: Bits, widths: Sequence[int], blobs: Sequence[Blobs], of: NDArray[Any]
) -> dict[int, memoryview]:
    """What COPY is given, for each table: `of` names each row's. Fields are integers, a row of `values` and `null`
    each, those of 2 bytes first, an odd number of them, then those of 4, then those of 8; and then what has any length.

    Where a row goes follows from how long those before it are: so all go to their places at once, in one array.
    """
    widths = tuple(widths)
    length = np.full(len(of), _begin(widths, len(widths)) - 4)
    if null.any():
        length -= np.array(widths) @ null
    at, ends = _places(length + sum([4 + np.maximum(own, 0) for _, _, own in blobs]), of)
    out = np.empty(max(ends.values(), default=0), np.uint8)
    words = np.tile(_template(widths, len(blobs)), (min(AT_ONCE, len(of)), 1))
    for some, empty in _alike(null):
        rows = _filled(words, values[:, some], widths)
        _put(out, at[some], _without(empty, rows.view(np.uint8), widths) if empty else rows)
    at += length
    for data, begin, own in blobs:
        _put(out, at, own.astype(">i4")[:, None])
        at += 4
        if not (own > 0).any():
            continue
        told = np.maximum(own, 0)
        place = np.arange(told.sum()) - np.repeat(np.cumsum(told) - told, told)
        out[np.repeat(at, told) + place] = data[np.repeat(begin, told) + place]
        at += told
    borders = pairwise([0, *ends.values()])
    return {table: _framed(out[first:end]) for table, (first, end) in zip(ends, borders, strict=True)}


def _places(length: Integers, of: NDArray[Any]) -> tuple[Integers, dict[int, int]]:
    """Where each row of so many bytes begins, table behind table, and where each table ends."""
    order = np.argsort(of, kind="stable")
    counts = np.bincount(of)
    tables = np.flatnonzero(counts)
    counts = counts[tables]
    number = np.repeat(np.arange(len(tables)), counts)
    ends = np.cumsum(length[order]) + number * (len(HEADER) + len(TRAILER)) + len(HEADER)
    at = np.empty_like(length)
    at[order] = ends - length[order]
    return at, dict(zip(tables.tolist(), (ends[np.cumsum(counts) - 1] + len(TRAILER)).tolist(), strict=True))


def _put(out: Bytes, at: Integers, rows: NDArray[Any]) -> None:
    """Rows, all as long, where they are to begin."""
    size = rows.shape[1] * rows.itemsize
    places: NDArray[Any] = np.ndarray(len(out) - size + 1, f"V{size}", out, 0, 1)
    places[at] = rows.view(places.dtype)[:, 0]


def _framed(table: Bytes) -> memoryview:
    table[: len(HEADER)] = np.frombuffer(HEADER, np.uint8)
    table[-len(TRAILER) :] = np.frombuffer(TRAILER, np.uint8)
    return table.data


def _alike(null: Bits) -> Iterator[tuple[Any, list[int]]]:
    """All rows, a few at a time that have the same fields NULL; and those fields."""
    kinds = np.zeros(null.shape[1], np.int64)
    for bits in np.packbits(null[null.any(axis=1) & ~null.all(axis=1)], axis=0):
        kinds = np.unique(kinds << 8 | bits, return_inverse=True)[1]
    order = np.argsort(kinds, kind="stable") if kinds.any() else None
    borders = [0, *(np.flatnonzero(np.diff(kinds[order])) + 1).tolist()] if order is not None else [0]
    for first, end in pairwise([*borders, len(kinds)]):
        for at in range(first, end, AT_ONCE):
            some = slice(at, min(at + AT_ONCE, end))
            same = some if order is None else order[some]
            yield same, np.flatnonzero(null[:, same][:, 0]).tolist()


def _filled(words: Words, values: Integers, widths: tuple[int, ...]) -> Words:
    """Rows of the integers, as if none were NULL, in `words`, which have the lengths already."""
    two, four = widths.count(2), widths.count(2) + widths.count(4)
    at_four, at_eight = _begin(widths, two) // 4, _begin(widths, four) // 4
    told = values.astype(">i8", order="C")
    halves, own = told.view(np.uint16), told.view(np.uint32)
    words = words[: values.shape[1]]
    words.view(np.uint16)[:, 3 : 3 * two + 1 : 3] = halves[:two, 3::4].T
    words[:, at_four : at_four + 2 * (four - two) : 2] = own[two:four, 1::2].T
    words[:, at_eight::3], words[:, at_eight + 1 :: 3] = own[four:, ::2].T, own[four:, 1::2].T
    return words


@lru_cache
def _template(widths: tuple[int, ...], blobs: int) -> Words:
    """Such a row with its lengths."""
    assert widths.count(2) % 2 and list(widths) == sorted(widths), "the others begin at whole words"
    row = (len(widths) + blobs).to_bytes(2, "big") + b"".join(
        [width.to_bytes(4, "big") + bytes(width) for width in widths]
    )
    return np.frombuffer(row, np.uint32)


def _begin(widths: Sequence[int], at: int) -> int:
    """Where a field's bytes begin, behind its length."""
    return 2 + 4 * (at + 1) + sum(widths[:at])


def _without(empty: Sequence[int], rows: Bytes, widths: Sequence[int]) -> Bytes:
    """The rows with these fields NULL."""
    rows, kept, end = rows.copy(), [], 0
    for at in empty:
        begin = _begin(widths, at)
        rows[:, begin - 4 : begin] = 0xFF
        kept.append(rows[:, end:begin])
        end = begin + widths[at]
    return np.concatenate([*kept, rows[:, end:]], axis=1)
