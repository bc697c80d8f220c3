"""What a worker keeps of its shards on the disk: the lock that nobody else has, the outboxes, the checkpoints.

Shards are saved one after the other, so that all are within `aggregator.checkpoint_s`, in a native thread: a slow disk
stops nobody. What cannot be written is said, counted, and tried again; the older checkpoints stay.
"""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent

from wick.errors import StoreError
from wick.metrics.processor import Processor
from wick.net.clock import steady_ns
from wick.ops.process import Stats
from wick.storage import checkpoints
from wick.storage.checkpoints import Checkpoints, Written
from wick.storage.outbox import Outbox
from wick.storage.ticklog import Position
from wick.stream.shard import CandleRules, Shard

log = logging.getLogger("wick")


class Loaded:
    """A shard as a checkpoint has it, its position in the log, and the note that was saved with it."""

    def __init__(self, shard: Shard, position: Position, note: bytes) -> None:
        self.shard, self.position, self.note = shard, position, note


class Keeper:
    """`every_ns`: how often each of the shards is saved; 0: never."""

    def __init__(self, data_dir: Path, shards: Iterable[int], closes_bytes: int, every_ns: int, stats: Stats) -> None:
        self.stats, self.every_ns = stats, every_ns
        self._numbers = sorted(shards)
        directories = {number: checkpoints.shard_directory(data_dir, number) for number in self._numbers}
        with ExitStack() as held:
            for directory in directories.values():
                held.enter_context(checkpoints.hold(directory))
            budget = closes_bytes // max(1, len(directories))
            self.outboxes = {number: Outbox(directory, budget) for number, directory in directories.items()}
            self._locks = held.pop_all()
        self._checkpoints = {number: Checkpoints(directory) for number, directory in directories.items()}
        self._saved_ns = dict.fromkeys(self._numbers, steady_ns())
        self._next = 0
        self._due_ns = 0
        self._writing: tuple[int, Any] | None = None  # a shard's number and what comes of it
        self._failing: set[int] = set()

    # ------------------------------------------------------------------ at the start

    def load(self, rules: dict[str, CandleRules], processor: Processor) -> dict[int, Loaded]:
        """Each shard from its newest checkpoint that can be used."""
        loaded = {}
        for number in self._numbers:
            for one in self._checkpoints[number].load():
                try:
                    shard = Shard.load(one.state, rules, processor)
                except StoreError as error:
                    self.stats.add("refused_checkpoints")
                    log.error("a checkpoint of shard %d is not used: %s", number, error)
                    continue
                loaded[number] = Loaded(shard, one.position, one.note)
                break
        return loaded

    @property
    def newest_epoch(self) -> int:
        """Of all that was published."""
        return max((outbox.newest[0] for outbox in self.outboxes.values()), default=0)

    # ------------------------------------------------------------------ while it runs

    def due(self) -> int | None:
        """The shard that is to be saved now, if one is."""
        now = steady_ns()
        if self._writing is not None:
            number, result = self._writing
            if not result.ready():
                return None
            self._writing = None
            self._written(number, result.get())
        if not self.every_ns or now < self._due_ns:
            return None
        self._due_ns = now + self.every_ns // len(self._numbers)
        return self._numbers[self._next]

    def save(self, number: int, position: Position, note: bytes, state: bytes) -> None:
        """Begin to write what `due` has asked for."""
        self.outboxes[number].try_again()
        self._writing = number, gevent.get_hub().threadpool.spawn(self._write, number, position, note, state)

    def save_now(self, number: int, position: Position, note: bytes, state: bytes) -> None:
        """The same, and wait for it."""
        self.outboxes[number].try_again()
        self._written(number, self._write(number, position, note, state))

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._writing is not None:
            (number, result), self._writing = self._writing, None
            self._written(number, result.get())

    def _write(self, number: int, position: Position, note: bytes, state: bytes) -> Written | OSError:
        """In a native thread: nothing is logged here."""
        try:
            self.outboxes[number].sync()  # what the state says was published has to be there after a crash
            return self._checkpoints[number].write(position, note, state)
        except OSError as error:
            return error

    def _written(self, number: int, result: Written | OSError) -> None:
        self._next = (self._numbers.index(number) + 1) % len(self._numbers)
        if isinstance(result, OSError):
            self.stats.add("failed_checkpoints")
            if not self._failing:
                log.error("shard %d cannot be saved, the checkpoint before it stays: %s", number, result)
            self._failing.add(number)
            return
        if self._failing:
            self._failing.discard(number)
            if not self._failing:
                log.info("shards are saved again")
        self._saved_ns[number] = steady_ns()
        self.stats.add("checkpoints")
        self.stats.add("checkpoint_bytes", result.bytes)

    def gauges(self) -> dict[str, int]:
        """`checkpoint_age_s`: of the oldest; it is the alarm, if it grows."""
        each = self.outboxes.values()
        told = {
            "outbox_waiting": sum(outbox.waiting for outbox in each),
            "outbox_lost": sum(outbox.lost for outbox in each),
            "outbox_cut": sum(outbox.cut for outbox in each),
        }
        if self.every_ns:
            told["checkpoint_age_s"] = (steady_ns() - min(self._saved_ns.values())) // 10**9
        return told

    def close(self) -> None:
        self.wait()
        for outbox in self.outboxes.values():
            outbox.close()
        self._locks.close()
