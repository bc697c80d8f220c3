"""Packed records as an array: what `trades.RECORD_STRUCT` packs, read without a copy. Pure: numpy."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wick.errors import WireError
from wick.market.trades import RECORD_BYTES

Records = NDArray[np.void]

RECORD = np.dtype(
    [
        ("event_ns", "<i8"),
        ("id", "<i8"),
        ("a", "<i8"),
        ("b", "<i8"),
        ("c", "<i8"),
        ("d", "<i8"),
        ("recv_ns", "<i8"),
        ("price_decimals", "u1"),
        ("quantity_decimals", "u1"),
        ("kind", "u1"),
        ("taker_buy", "u1"),
        ("reserved", "<u4"),
    ]
)

assert RECORD.itemsize == RECORD_BYTES


class Header(Protocol):
    """What says how many records follow (`wire.messages.TickHeader`)."""

    @property
    def total(self) -> int: ...


def records(frame: bytes | memoryview, header: Header) -> Records:
    """The frame's records, without a copy. WireError where they are not as many as the header's parts say."""
    if len(frame) != RECORD_BYTES * header.total:
        raise WireError(f"a frame of {len(frame)} bytes does not hold the {header.total} records of its header")
    return np.frombuffer(frame, dtype=RECORD)
