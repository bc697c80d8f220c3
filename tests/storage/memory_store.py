"""A store in memory: the rules of `storage.store.Store`, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from wick.errors import StoreAwayError
from wick.market.rows import rank
from wick.market.schema import CANDLE_FIELDS, CLOSED, Row
from wick.storage.batch import Batch
from wick.storage.store import END_MS, INPUTS, Position

_FLAGS = CANDLE_FIELDS.index("flags")


class MemoryStore:
    """`commits`: how often was written; `away`: so many of the next writes fail."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], dict[int, Row]] = {}
        self.done: dict[str, Position] = {}
        self.commits = self.away = 0

    def write(self, batch: Batch, positions: Mapping[str, Position]) -> None:
        if self.away:
            self.away -= 1
            raise StoreAwayError("it is away")
        for venue, symbol, interval, *row in batch.rows():
            own = self.rows.setdefault((venue, symbol, interval), {})
            if row[0] not in own or rank(row) >= rank(own[row[0]]):
                own[row[0]] = row
        self.done |= positions
        self.commits += 1

    def positions(self) -> dict[str, Position]:
        return dict(self.done)

    def candles(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = END_MS, from_ms: int = 0,
        *, oldest: bool = False, fields: Sequence[str] | None = None,
    ) -> list[Row]:  # fmt: skip
        own = self.rows.get((venue, symbol, interval), {})
        opens = sorted(at for at in own if from_ms <= at < before_ms)
        some = opens[:limit] if oldest else opens[-limit:]
        places = [CANDLE_FIELDS.index(name) for name in fields or CANDLE_FIELDS]
        return [[own[at][place] for place in places] for at in some]

    def inputs(self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = END_MS) -> list[Any]:
        rows = [row for row in self.candles(venue, symbol, interval, 10**9, before_ms) if row[_FLAGS] & CLOSED]
        return [tuple(row[CANDLE_FIELDS.index(name)] for name in INPUTS) for row in rows[-limit:]]

    def close(self) -> None:
        pass

    def all(self) -> list[Row]:
        """Every row, in order."""
        return [[*key, *own[at]] for key, own in sorted(self.rows.items()) for at in sorted(own)]
