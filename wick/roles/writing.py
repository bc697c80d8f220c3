"""From closes in memory to rows in the store: the backlog, and the thread that empties it.

A driver waits for its database, and a database that is away lets it wait for long. So the store has a thread of its
own: the loop goes on reading, answering `wick status` and telling Redis. What the thread writes is whole messages,
with the positions that they reach, in one transaction.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from wick.errors import FencedError, StoreAwayError, StoreError
from wick.net.clock import steady_ns
from wick.ops.process import Stats
from wick.storage.batch import Batch
from wick.storage.store import Position, Store
from wick.wire.messages import Closes

MS, S = 1_000_000, 1_000_000_000
HELD_BYTES = 32 << 20  # of closes that wait: 40,000 candles, twenty minutes of 300 pairs; the outbox has what follows
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 10.0  # between attempts at a store that is away: doubled, with jitter
SAY_AGAIN_S = 60.0  # what is still wrong is said once more
REST_S = 1.0  # with nothing to write: then the store does what it has put off
EXPIRE_S = 3600.0  # between two looks for what is older than `store.keep`

T = TypeVar("T")

log = logging.getLogger("wick")


def stream_of(shard: int) -> str:
    """The name under which a shard's position is stored."""
    return f"closes.{shard:02d}"


class Held(NamedTuple):
    """A message that waits."""

    shard: int
    position: Position
    blocks: list[list[Any]]
    rows: int
    size: int
    since_ns: int


class Backlog:
    """Messages between the loop and the thread, in order; bounded in bytes: who finds it full asks again later."""

    def __init__(self, batch_rows: int, batch_ms: int, most_bytes: int = HELD_BYTES) -> None:
        self.batch_rows, self.batch_ns, self.most_bytes = batch_rows, batch_ms * MS, most_bytes
        self.rows = self.bytes = 0
        self.is_open = False  # until it is known where the streams begin
        self.is_closed = False
        self._held: deque[Held] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    @property
    def has_room(self) -> bool:
        """Whether it is worth asking for more."""
        return self.bytes <= self.most_bytes // 2

    def put(self, shard: int, message: Closes, size: int) -> bool:
        """False where it is full, or not open."""
        rows = sum([len(block[2]) for block in message.blocks])
        with self._lock:
            if not self.is_open or (self.bytes and self.bytes + size > self.most_bytes):
                return False
            self._held.append(Held(shard, (message.epoch, message.seq), message.blocks, rows, size, steady_ns()))
            self.rows += rows
            self.bytes += size
            if len(self._held) == 1 or self.rows >= self.batch_rows:
                self._changed.notify()
        return True

    def take(self, wait_s: float) -> list[Held]:
        """The oldest messages, as soon as they are worth a transaction or have waited long enough; none if not within
        that time. They stay until they are `done`."""
        until_ns = steady_ns() + int(wait_s * S)
        with self._changed:
            while True:
                now = steady_ns()
                due_ns = self._held[0].since_ns + self.batch_ns if self._held else until_ns
                if self._held and (self.is_closed or self.rows >= self.batch_rows or now >= due_ns):
                    return self._first()
                if self.is_closed or now >= until_ns:
                    return []
                self._changed.wait((min(due_ns, until_ns) - now) / S)

    def _first(self) -> list[Held]:
        batch, rows = [], 0
        for held in self._held:
            batch.append(held)
            rows += held.rows
            if rows >= self.batch_rows:
                break
        return batch

    def done(self, batch: list[Held]) -> None:
        """These are in the store."""
        with self._changed:
            for _ in batch:
                self._held.popleft()
            self.rows -= sum([held.rows for held in batch])
            self.bytes -= sum([held.size for held in batch])

    def open(self) -> None:
        """The streams have begun where the store stands."""
        with self._changed:
            self.is_open = True

    def begin_anew(self) -> None:
        """Let go of all, and take nothing until it is open again."""
        with self._changed:
            self._held.clear()
            self.rows = self.bytes = 0
            self.is_open = False

    def close(self) -> None:
        """Nothing more comes: what is there is due."""
        with self._changed:
            self.is_closed = True
            self._changed.notify()


class Trouble(NamedTuple):
    """Why the store is not written to, and since when."""

    state: str
    since_ns: int


class Writer(threading.Thread):
    """The store's thread. What it counts nobody else counts; everything else in it is read by the loop only."""

    def __init__(
        self, open_it: Callable[[], Store], backlog: Backlog, stats: Stats, keep_days: Mapping[str, float]
    ) -> None:
        super().__init__(name="store", daemon=True)  # a process that is to end does not wait for a database that hangs
        self._open, self.backlog, self._stats, self._keep_days = open_it, backlog, stats, keep_days
        self.trouble: Trouble | None = None
        self.failed: BaseException | None = None  # the process is to end
        self.commit_us = 0  # the last one's
        self._stopping = threading.Event()
        self._written: dict[str, Position] = {}
        self._begun: dict[str, Position] | None = None
        self._said_ns = 0
        self._wait_s = FIRST_WAIT_S / 2  # doubled before the next attempt; what is written brings it back to this

    # ------------------------------------------------------------------ the loop's side

    def begun(self) -> dict[str, Position] | None:
        """Where the streams are to begin; given once, at the start and whenever the store has gone back."""
        begun, self._begun = self._begun, None
        return begun

    def stop(self, wait_s: float) -> None:
        """Write what is held, once, and end. What cannot be written is in the outbox."""
        self._stopping.set()
        self.backlog.close()
        self.join(wait_s)

    # ------------------------------------------------------------------ the thread's side

    def run(self) -> None:
        try:
            while not self._has_served():
                pass
        except FencedError as error:
            log.critical("another sink writes to this store, this one ends: %s", error)
            self.failed = error
        except BaseException as error:
            log.critical("the store's thread failed: the process ends", exc_info=True)
            self.failed = error

    def _has_served(self) -> bool:
        """Write to the store until the end; false where it breaks: then it is opened anew, in case it was mended."""
        store = None
        try:
            store = self._attempt(self._open)
            if store is not None:
                self._serve(store)
        except FencedError:
            raise
        except StoreError as error:
            self._say("store broken", error)
            self.backlog.begin_anew()
            return False
        finally:
            if store is not None:
                store.close()
        return True

    def _serve(self, store: Store) -> None:
        if self._attempt(store.take_over) is None or (positions := self._attempt(store.positions)) is None:
            return
        self._well()
        log.info("the store is %s", store.address)
        self._written = self._begun = positions
        expire_ns = steady_ns()
        while not (self._stopping.is_set() and self.trouble):
            if batch := self.backlog.take(REST_S):
                self._write(store, batch)
            elif self._stopping.is_set():
                break
            else:
                self._attempt(store.rest)
            if self._keep_days and steady_ns() >= expire_ns:
                self._expire(store)
                expire_ns = steady_ns() + int(EXPIRE_S * S)

    def _write(self, store: Store, batch: list[Held]) -> None:
        """One transaction. After a failure the store is asked where it stands: it may have been put back to what it was
        yesterday. (It may also have taken the rows after all: then it takes them once more, which changes nothing.)"""
        reached = {stream_of(held.shard): held.position for held in batch}
        rows = sum([held.rows for held in batch])
        started = steady_ns()
        try:
            store.write(Batch.of_closes([block for held in batch for block in held.blocks]), reached)
        except StoreAwayError as error:
            self._stats.add("failed_commits")
            self._say("store away", error)
            positions = self._attempt(store.positions)
            if positions is not None and any(positions.get(one, (0, 0)) < at for one, at in self._written.items()):
                log.warning("the store has gone back to what it was before: what it lacks is asked for again")
                self.backlog.begin_anew()
                self._written = self._begun = positions
            return
        self._well()
        self._wait_s = FIRST_WAIT_S / 2
        self.commit_us = (steady_ns() - started) // 1000
        self._written = self._written | reached
        self.backlog.done(batch)
        self._stats.add("rows", rows)
        self._stats.add("commits")
        self._stats.add("commit_us", self.commit_us)

    def _expire(self, store: Store) -> None:
        """Let go of what is older than it is to be kept; what closes meanwhile is written between two steps."""
        try:
            for step in store.compact(self._keep_days):
                log.info("%s", step)
                if self._stopping.is_set():
                    return
                if batch := self.backlog.take(0):
                    self._write(store, batch)
        except StoreAwayError as error:
            log.error("old candles stay for now: %s", error)

    def _attempt(self, what: Callable[[], T]) -> T | None:
        """Try until it does not fail as away, with pauses while there is trouble; None where the process is to end."""
        while not (self.trouble and self._stopping.wait(self._wait_s * random.uniform(0.5, 1.0))):
            try:
                return what()
            except StoreAwayError as error:
                self._say("store away", error)
        return None

    def _say(self, state: str, error: StoreError) -> None:
        """An alarm: at once, and again every minute; and the next attempt is later."""
        now, before = steady_ns(), self.trouble
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self.trouble = Trouble(state, before.since_ns if before else now)
        if before is None or before.state != state or now - self._said_ns > SAY_AGAIN_S * S:
            self._said_ns = now
            for_s = (now - self.trouble.since_ns) // S
            log.error("%s for %d s, %d rows wait: %s", state, for_s, self.backlog.rows, error)

    def _well(self) -> None:
        if self.trouble:
            away_s = (steady_ns() - self.trouble.since_ns) / S
            log.warning("the store is back after %.1f s, %d rows wait", away_s, self.backlog.rows)
            self.trouble = None
