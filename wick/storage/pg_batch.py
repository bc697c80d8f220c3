"""A batch as the tables of a PostgreSQL store take it: numpy comes in with this."""

import json
from collections.abc import Sequence

import numpy as np

from wick.market.stored import ORDER
from wick.storage import columns
from wick.storage.batch import Batch
from wick.storage.columns import Blobs
from wick.storage.pg_pack import packed
from wick.storage.pg_schema import TABLES, WIDTHS

_WIDTHS = tuple(WIDTHS[name] for name in ORDER)
_NONE = np.empty(0, np.uint8)


def of_tables(batch: Batch, numbers: Sequence[int]) -> list[tuple[str, memoryview]]:
    """The tables that the batch's candles go to, with their rows (ALL) for COPY; `numbers` of its pairs."""
    kept = columns.of(batch)
    kept.values[columns.AT["pair"]] = np.array(numbers, np.int64)[batch.pair]
    wide = Blobs(_NONE, np.zeros(batch.n, np.int64), np.full(batch.n, -1))
    if kept.wide:
        wide = Blobs.of([_jsonb(kept.wide[place]) if place in kept.wide else None for place in range(batch.n)])
    made = packed(kept.values, kept.null, _WIDTHS, [kept.patterns, wide], batch.interval)
    return [(TABLES[interval], data) for interval, data in made.items()]


def _jsonb(numbers: dict[str, int]) -> bytes:
    return b"\x01" + json.dumps(numbers).encode()
