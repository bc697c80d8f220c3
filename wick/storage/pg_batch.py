"""A batch as the tables of a PostgreSQL store take it: numpy comes in with this."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from wick.market.stored import STORED
from wick.storage import columns
from wick.storage.batch import Batch
from wick.storage.pg_pack import Field, packed
from wick.storage.pg_schema import TABLES, WIDTHS

_STORED_WIDTHS = [WIDTHS[name] for name in STORED]


def of_tables(batch: Batch, numbers: Sequence[int]) -> list[tuple[str, bytes]]:
    """The tables that the batch's candles go to, with their rows (`pg_schema.ALL`) for COPY; `numbers` of its pairs."""
    kept = columns.of(batch)
    pairs = np.array(numbers, np.int64)[batch.pair]
    null = [own if own.any() else None for own in kept.null]
    made = []
    for interval in np.unique(batch.interval).tolist():
        at: Any = np.flatnonzero(batch.interval == interval)
        places = at.tolist()
        if len(places) == batch.n:
            at = slice(None)
        fields: list[Field] = [(WIDTHS["pair"], pairs[at], None), (WIDTHS["open_time_ms"], batch.exact[at, 0], None)]
        values = kept.values[:, at]
        fields += [
            (width, own, None if none is None else none[at])
            for width, own, none in zip(_STORED_WIDTHS, values, null, strict=True)
        ]
        wide = [_jsonb(kept.wide[place]) if place in kept.wide else None for place in places]
        made.append((TABLES[interval], packed(fields, [[kept.patterns[place] for place in places], wide])))
    return made


def _jsonb(numbers: dict[str, int]) -> bytes:
    return b"\x01" + json.dumps(numbers).encode()
