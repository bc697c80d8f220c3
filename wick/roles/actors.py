"""The actors of a worker: a greenlet a pair, each with an inbox and a state of its own.

A batch is split by pair into the actors' inboxes, as slices of the frame that it came in. Nobody is woken for that:
actors take their turn when the worker publishes, when the venue's clock beats, or when much is waiting. So the more
there is to do, the more each finds in its inbox, and the cheaper a tick becomes.
"""

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from wick.market.trades import RECORD_STRUCT
from wick.stream.shard import PairState, Shard

BEAT_MS = 1_000  # the clock moves candles at each whole second, and a grace after it: by the batches, whatever ran when
MOST_WAITING = 262_144  # ticks in inboxes, 16 MB, at which the actors run before more is read
_SIZE = RECORD_STRUCT.size


class Actor(greenlet):  # type: ignore[misc]
    """One pair's greenlet. The inbox has slices of packed records, and None for an outage."""

    def __init__(self, state: PairState) -> None:
        super().__init__()
        self.state = state
        self.inbox: list[memoryview | None] = []

    def run(self) -> None:
        while True:
            self._drain()
            self.parent.switch()

    def turn(self) -> None:
        """Let the actor empty its inbox; a failure in it is the caller's."""
        self.parent = getcurrent()
        self.switch()

    def _drain(self) -> None:
        inbox, take = self.inbox, self.state.ticks
        if len(inbox) == 1 and inbox[0] is not None:
            take(inbox[0])
        elif None not in inbox:
            take(b"".join(inbox))  # type: ignore[arg-type]
        else:
            for item in inbox:
                if item is None:
                    self.state.candles.outage()
                else:
                    take(item)
        inbox.clear()


class Stream:
    """The ticks of one venue in one shard: where it stands, its actors, and who of them has something to do."""

    __slots__ = ("actors", "beat", "epoch", "grace_ms", "inboxes", "seq", "shard", "venue", "waiting")

    def __init__(self, shard: Shard, venue: str) -> None:
        self.shard, self.venue = shard, venue
        self.grace_ms = shard.rules[venue].grace_ms
        self.epoch = self.seq = self.beat = 0
        self.actors: dict[str, Actor] = {}
        self.inboxes: dict[str, list[memoryview | None]] = {}  # the actors' own, by symbol: looked up for every run
        self.waiting: list[Actor] = []
        for of, symbol in shard.pairs:  # that was loaded: an outage concerns all that it has
            if of == venue:
                self._welcome(symbol, 0)

    @property
    def place(self) -> tuple[int, int, int]:
        """What is to be saved with the shard, to go on behind it."""
        return self.epoch, self.seq, self.beat

    def resume(self, epoch: int, seq: int, beat: int) -> None:
        self.epoch, self.seq, self.beat = epoch, seq, beat

    def deliver(self, symbols: list[str], counts: list[int], records: memoryview, clock_ms: int) -> None:
        """Split packed records by pair into the inboxes."""
        inboxes, at = self.inboxes, 0
        for symbol, count in zip(symbols, counts, strict=True):
            end = at + count * _SIZE
            inbox = inboxes.get(symbol)
            if inbox is None:
                inbox = self._welcome(symbol, clock_ms or RECORD_STRUCT.unpack_from(records, at)[0] // 1_000_000)
            if not inbox:
                self.waiting.append(self.actors[symbol])
            inbox.append(records[at:end])
            at = end

    def _welcome(self, symbol: str, since_ms: int) -> list[memoryview | None]:
        """An actor for a pair that is seen first; its inbox."""
        actor = self.actors[symbol] = Actor(self.shard.pair(self.venue, symbol, since_ms))
        self.inboxes[symbol] = actor.inbox
        return actor.inbox

    def outage(self) -> None:
        """Nobody listened to the venue for a while before what comes next."""
        for actor in self.actors.values():
            if not actor.inbox:
                self.waiting.append(actor)
            actor.inbox.append(None)

    def turn(self, breathe: Callable[[], Any]) -> None:
        """Let everybody who has something to do do it. `breathe` is called between them."""
        waiting, self.waiting = self.waiting, []
        for actor in waiting:
            actor.turn()
            breathe()

    def beats(self, clock_ms: int) -> bool:
        """Whether the clock has passed a whole second, or one and a grace, since it last moved candles."""
        beat = clock_ms // BEAT_MS + (clock_ms - self.grace_ms) // BEAT_MS
        if beat <= self.beat:
            return False
        self.beat = beat
        return True

    def advance(self, clock_ms: int) -> None:
        self.shard.advance(self.venue, clock_ms)
