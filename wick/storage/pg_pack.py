"""Rows in PostgreSQL's binary COPY format, packed in columns by numpy.

The format (PostgreSQL's manual, "COPY", "Binary Format"): a header, then of each row the number of its fields, and of
each field its length, -1 where it is NULL, and its bytes, integers in network order.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

Field = tuple[int, NDArray[np.int64], NDArray[np.bool_] | None]  # bytes of an integer, values, which are NULL


def packed(fields: Sequence[Field], blobs: Sequence[Sequence[bytes | None]] = ()) -> bytes:
    """All rows, `fields` first: every field has its full width in a matrix of bytes, and what is not there is left
    out of it at the end."""
    n = len(fields[0][1])
    lengths = [np.array([-1 if blob is None else len(blob) for blob in column], ">i4") for column in blobs]
    room = [max(0, int(own.max(initial=0))) for own in lengths]
    widths = [width for width, _, _ in fields] + room
    layout = np.dtype(
        {
            "names": ["count", *[f"{what}{at}" for at in range(len(widths)) for what in ("length", "value")]],
            "formats": [">i2", *[one for at, width in enumerate(widths) for one in (">i4", _format(at, width, fields))]],
        }
    )
    matrix = np.zeros((n, layout.itemsize), np.uint8)
    rows = matrix.view(layout)[:, 0]
    rows["count"] = len(widths)
    keep = np.ones(matrix.shape, np.bool_)
    for at, (width, values, null) in enumerate(fields):
        rows[f"value{at}"] = values
        rows[f"length{at}"] = width
        if null is not None and null.any():
            rows[f"length{at}"][null] = -1
            begin = layout.fields[f"value{at}"][1]  # type: ignore[index]
            keep[null, begin : begin + width] = False
    for at, (column, own, most) in enumerate(zip(blobs, lengths, room, strict=True), len(fields)):
        rows[f"length{at}"] = own
        if most:
            begin = layout.fields[f"value{at}"][1]  # type: ignore[index]
            there = np.arange(most) < own[:, None]
            matrix[:, begin : begin + most][there] = np.frombuffer(b"".join(blob or b"" for blob in column), np.uint8)
            keep[:, begin : begin + most] = there
    body = matrix if keep.all() else matrix[keep]
    return b"".join((HEADER, body.tobytes(), TRAILER))


def _format(at: int, width: int, fields: Sequence[Field]) -> str:
    return f">i{width}" if at < len(fields) else f"V{width}"
