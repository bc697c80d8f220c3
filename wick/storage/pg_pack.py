"""Rows in PostgreSQL's binary COPY format, packed in columns by numpy.

The format (PostgreSQL's manual, "COPY", "Binary Format"): a header, then of each row the number of its fields, and of
each field its length, -1 where it is NULL, and its bytes, integers in network order.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"

Field = tuple[int, NDArray[np.int64], NDArray[np.bool_] | None]  # bytes of an integer, values, which are NULL


def packed(fields: Sequence[Field], blobs: Sequence[Iterable[bytes | None]] = ()) -> list[list[bytes]]:
    """Rows for `copied`, `fields` first. These have their full width in a matrix of bytes; where one is NULL its bytes
    are left out at the end."""
    n = len(fields[0][1])
    # Of each field in how many rows it is NULL; one that nobody knows has no bytes at all.
    counts = [0 if null is None else int(np.count_nonzero(null)) for _, _, null in fields]
    widths = tuple(0 if count == n else width for (width, _, _), count in zip(fields, counts, strict=True))
    layout, template = _layout(widths, len(blobs))
    matrix = np.empty((n, layout.itemsize), np.uint8)
    matrix[:] = template
    rows = matrix.view(layout)[:, 0]
    for at, (_, values, _) in enumerate(fields):
        if widths[at]:
            rows[f"value{at}"] = values
    nulls = [(at, null) for at, (_, _, null) in enumerate(fields) if null is not None and 0 < counts[at] < n]
    lines = _cut(matrix.tobytes(), layout.itemsize)
    if nulls:
        some = np.flatnonzero(np.logical_or.reduce([null for _, null in nulls]))
        own = matrix[some]
        keep = np.ones(own.shape, np.bool_)
        for at, null in nulls:
            where, begin = null[some], _begin(layout, at)
            own[where, begin - 4 : begin] = 0xFF
            keep[where, begin : begin + fields[at][0]] = False
        kept = own[keep].tobytes()
        ends = np.cumsum(keep.sum(axis=1)).tolist()
        for place, begin, end in zip(some.tolist(), [0, *ends], ends, strict=False):
            lines[place] = kept[begin:end]
    tails = [[_NULL if blob is None else len(blob).to_bytes(4, "big") + blob for blob in column] for column in blobs]
    return [lines, *tails]


def copied(rows: list[list[bytes]], begin: int = 0, end: int | None = None) -> bytes:
    """What COPY is given of rows from `packed`, from the one to before the other."""
    parts = [column[begin:end] for column in rows]
    return b"".join((HEADER, *[part for row in zip(*parts, strict=True) for part in row], TRAILER))


@lru_cache
def _layout(widths: tuple[int, ...], blobs: int) -> tuple[np.dtype[np.void], NDArray[np.uint8]]:
    """Of the integers of a row (0: NULL), and such a row with its lengths."""
    parts = [("count", ">i2")]
    for at, width in enumerate(widths):
        parts += [(f"length{at}", ">i4"), (f"value{at}", f">i{width}")][: 2 if width else 1]
    layout = np.dtype(parts)
    row = np.zeros(1, layout)
    row["count"] = len(widths) + blobs
    for at, width in enumerate(widths):
        row[f"length{at}"] = width or -1
    return layout, row.view(np.uint8)


def _begin(layout: np.dtype[np.void], at: int) -> int:
    assert layout.fields is not None
    return int(layout.fields[f"value{at}"][1])


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
