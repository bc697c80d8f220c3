"""A batch as the tables of a PostgreSQL store take it: numpy comes in with this."""

import json
from collections.abc import Sequence

import numpy as np

from wick.market.stored import STORED
from wick.storage import columns
from wick.storage.batch import Batch
from wick.storage.pg_pack import Field, copied, packed
from wick.storage.pg_schema import TABLES, WIDTHS

_STORED_WIDTHS = [WIDTHS[name] for name in STORED]


def of_tables(batch: Batch, numbers: Sequence[int]) -> list[tuple[str, bytes]]:
    """The tables that the batch's candles go to, with their rows (`pg_schema.ALL`) for COPY; `numbers` of its pairs."""
    batch = batch.take(np.argsort(batch.interval, kind="stable"))
    kept = columns.of(batch)
    fields: list[Field] = [
        (WIDTHS["pair"], np.array(numbers, np.int64)[batch.pair], None),
        (WIDTHS["open_time_ms"], batch.exact[:, 0], None),
        *zip(_STORED_WIDTHS, kept.values, kept.null, strict=True),
    ]
    wide = [_jsonb(kept.wide[place]) if place in kept.wide else None for place in range(batch.n)]
    rows = packed(fields, [kept.patterns, wide])
    intervals, first = np.unique(batch.interval, return_index=True)
    borders = [*first.tolist(), batch.n]
    return [
        (TABLES[interval], copied(rows, begin, end))
        for interval, begin, end in zip(intervals.tolist(), borders, borders[1:], strict=False)
    ]


def _jsonb(numbers: dict[str, int]) -> bytes:
    return b"\x01" + json.dumps(numbers).encode()
