"""A batch as the tables of a PostgreSQL store take it: numpy comes in with this."""

import json
from collections.abc import Sequence

import numpy as np

from wick.market.stored import STORED
from wick.storage import columns
from wick.storage.batch import Batch
from wick.storage.pg_pack import NULL, blob, packed
from wick.storage.pg_schema import ALL, INTEGERS, KEY, TABLES, WIDTHS

_STORED = np.array([STORED.index(name) if name in STORED else 0 for name in INTEGERS])
_WIDTHS = tuple(WIDTHS[name] for name in INTEGERS)
_PAIR, _TIME = map(INTEGERS.index, KEY)


def of_tables(batch: Batch, numbers: Sequence[int]) -> list[tuple[str, bytes]]:
    """The tables that the batch's candles go to, with their rows (ALL) for COPY; `numbers` of its pairs."""
    kept = columns.of(batch)
    values, null = kept.values[_STORED], kept.null[_STORED]
    values[_PAIR], values[_TIME] = np.array(numbers, np.int64)[batch.pair], batch.exact[:, 0]
    null[[_PAIR, _TIME]] = False
    # Most candles' patterns are one of a few hundred.
    tails = {patterns: blob(patterns) + NULL for patterns in {*kept.patterns}}
    told = [tails[patterns] for patterns in kept.patterns]
    for place, wide in kept.wide.items():
        told[place] = blob(kept.patterns[place]) + blob(b"\x01" + json.dumps(wide).encode())  # jsonb's version
    made = packed(values, null, _WIDTHS, told, len(ALL), batch.interval)
    return [(TABLES[interval], data) for interval, data in made.items()]
