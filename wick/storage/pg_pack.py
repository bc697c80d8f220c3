"""Rows in PostgreSQL's binary COPY format, packed in columns by numpy.

The format (PostgreSQL's manual, "COPY", "Binary Format"): a header, then of each row the number of its fields, and of
each field its length, -1 where it is NULL, and its bytes, integers in network order.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wick.storage.columns import Bits, Blobs, Integers

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
AT_ONCE = 256  # rows that stay in a processor's cache while they are filled

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint32]


def packed(
    values: Integers, null: Bits, widths: Sequence[int], blobs: Sequence[Blobs], of: NDArray[Any]
) -> dict[int, bytes]:
    """What COPY is given, for each table: `of` names each row's. Fields are integers, a row of `values` and `null`
    each, those of 2 bytes first, an odd number of them, then those of 4, then those of 8; and then what has any length.

    Rows that are alike, with the same fields NULL and others as long, are one matrix of bytes.
    """
    widths = tuple(widths)
    rows = _full(values, widths, len(blobs)).view(np.uint8)
    kinds = _kinds(null, blobs)
    order = np.lexsort((of, kinds))
    pieces: dict[int, list[Any]] = {}
    for same in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
        empty = np.flatnonzero(null[:, same[0]]).tolist()
        parts = _kept(rows[same], empty, widths)
        for data, begin, length in blobs:
            parts += _field(data, begin[same], int(length[same[0]]))
        block = np.concatenate(parts, axis=1)
        tables = of[same]
        borders = [0, *(np.flatnonzero(np.diff(tables)) + 1).tolist(), len(same)]
        for first, end in pairwise(borders):
            pieces.setdefault(int(tables[first]), []).append(block[first:end])
    return {table: b"".join([HEADER, *own, TRAILER]) for table, own in sorted(pieces.items())}


def _full(values: Integers, widths: tuple[int, ...], blobs: int) -> Words:
    """The integers of the rows, as if none were NULL."""
    n = values.shape[1]
    two, four = widths.count(2), widths.count(2) + widths.count(4)
    template = _template(widths, blobs)
    words = np.empty((n, len(template)), np.uint32)
    at_four, at_eight = _begin(widths, two) // 4, _begin(widths, four) // 4
    for first in range(0, n, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        own, told = words[part], values[:, part]
        own[:] = template
        halves = told[:two].astype(np.int16).byteswap(True).view(np.uint16)
        own.view(np.uint16)[:, 3 : 3 * two + 1 : 3] = halves.T
        own[:, at_four : at_four + 2 * (four - two) : 2] = (
            told[two:four].astype(np.int32).byteswap(True).view(np.uint32).T
        )
        eight = told[four:].byteswap().view(np.uint32)
        own[:, at_eight::3], own[:, at_eight + 1 :: 3] = eight[:, ::2].T, eight[:, 1::2].T
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


def _kinds(null: Bits, blobs: Sequence[Blobs]) -> Integers:
    """A number for each row: the same one where the same fields are NULL and the others are as long."""
    kinds = np.zeros(null.shape[1], np.int64)
    for _, _, length in blobs:
        if (length != length[:1]).any():
            kinds = np.unique(kinds << 32 | length + 1, return_inverse=True)[1]
    for bits in np.packbits(null[null.any(axis=1) & ~null.all(axis=1)], axis=0):
        kinds = np.unique(kinds << 8 | bits, return_inverse=True)[1]
    return kinds


def _kept(rows: Bytes, empty: Sequence[int], widths: Sequence[int]) -> list[Bytes]:
    """What stays of rows with these fields NULL, piece by piece."""
    kept, end = [], 0
    for at in empty:
        begin = _begin(widths, at)
        rows[:, begin - 4 : begin] = 0xFF
        kept.append(rows[:, end:begin])
        end = begin + widths[at]
    return [*kept, rows[:, end:]]


def _field(data: Bytes, begin: Integers, length: int) -> list[Bytes]:
    """A field of so many bytes, of each row."""
    head = np.frombuffer(length.to_bytes(4, "big", signed=True), np.uint8)
    heads = np.broadcast_to(head, (len(begin), 4))
    return [heads, data[begin[:, None] + np.arange(length)]] if length > 0 else [heads]
