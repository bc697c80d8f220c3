"""Pairs that close together: those of one shard and venue, with one clock and one set of columns. Pure."""

from typing import Any, Protocol

from wick.market.blocks import Block
from wick.market.held import CLOSE_MS, Held
from wick.market.schema import CLOSED, SUSPECT
from wick.market.state import Stateful

NEVER = 2**63


def slots(grace_ms: int, history: int) -> int:
    """How many candles an interval holds: those that can be corrected, and those that are pending."""
    return history + grace_ms // 15_000 + 3


class Pair(Protocol):
    """What the clock does to a pair."""

    symbol: str

    @property
    def boundary_ms(self) -> int: ...
    def reach(self, clock_ms: int) -> None: ...
    def correct(self) -> None: ...
    def is_suspect(self, open_ms: int, close_ms: int) -> bool: ...
    @property
    def is_doubtful(self) -> bool: ...


class Lockstep(Stateful):
    """The pairs of one shard and venue: one clock, one set of columns; what ends together closes together."""

    STATE = ("clock_ms", "held", "closed")
    GIVEN = ("grace_ms", "pairs", "follows")

    def __init__(self, grace_ms: int = 2_000, history: int = 16, follows: bool = False) -> None:
        """`follows`: what comes after a corrected candle is published again too, for its metrics have changed."""
        self.grace_ms, self.follows = grace_ms, follows
        self.held = Held(slots(grace_ms, history))
        self.pairs: list[Pair] = []
        self.clock_ms = 0
        self.closed: list[Block] = []  # what closed or was revised, until it is drained

    def restore(self, state: list[Any]) -> None:
        super().restore(state)
        self.closed = [Block(*one) for one in self.closed]

    def advance(self, clock_ms: int) -> None:
        """Move the venue's clock (never back): boundaries that it passed roll, corrections of closed candles are
        issued, and what it has passed by the grace period closes."""
        self._reach(clock_ms)
        self.close(self.held.due(self.clock_ms - self.grace_ms))

    def finish(self, clock_ms: int) -> None:
        """No more trades will come: what ends by `clock_ms` closes now, without grace."""
        self._reach(clock_ms)
        self.close(self.held.due(clock_ms))

    def _reach(self, clock_ms: int) -> None:
        self.clock_ms = max(self.clock_ms, clock_ms)
        for pair in self.pairs:
            pair.reach(clock_ms)
            pair.correct()

    @property
    def due_ms(self) -> int:
        """When `advance` next has something to do, unless late trades come: a boundary, or the end of a grace."""
        boundary = min([pair.boundary_ms for pair in self.pairs], default=NEVER)
        return min([boundary, *[end + self.grace_ms for end in self.held.pending]])

    def close(self, indices: list[int]) -> None:
        """These held candles are final."""
        if not indices:
            return
        self.held.mark(indices, CLOSED)
        doubtful = {number: pair for number, pair in enumerate(self.pairs) if pair.is_doubtful}
        if doubtful:
            for index in indices:
                pair = doubtful.get(index // self.held.block)
                if pair is not None and pair.is_suspect(*self.held.rows[index, : CLOSE_MS + 1].tolist()):
                    self.held.mark([index], SUSPECT)
        self.publish(indices)

    def publish(self, indices: list[int]) -> None:
        self.closed.append(self.held.published(indices))

    def drain(self) -> list[Block]:
        """What closed or was revised since the last call, in that order."""
        closed, self.closed = self.closed, []
        return closed
