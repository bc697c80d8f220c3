"""Follows all shards of all workers: what applies is handed on, and what cannot be followed is mended by a snapshot.

For a reader with a loop of its own, gevent or not: nothing here waits, or owns a socket.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from wick.errors import WireError
from wick.net.clock import steady_ns
from wick.stream.following import ShardFollower
from wick.stream.shards import SHARDS
from wick.wire.messages import Closes, Diffs, Request, Snapshot

ASK_AGAIN_NS = 1_000_000_000

log = logging.getLogger("wick")


class Reader(Protocol):
    """Who is told. WireError: the message does not fit what was told before."""

    def restart(self, snapshot: Snapshot) -> None: ...
    def diffs(self, shard: int, message: Diffs) -> None: ...
    def closes(self, shard: int, message: Closes) -> None: ...


class Following:
    """`ask(shard, request)` sends to the shard's worker without waiting, and says whether it could; `count` counts in
    the stats."""

    def __init__(
        self, reader: Reader, ask: Callable[[int, bytes], bool], count: Callable[[str], Any],
        clock: Callable[[], int] = steady_ns,
    ) -> None:  # fmt: skip
        self._reader, self._send, self._count, self._clock = reader, ask, count, clock
        self._followers = [ShardFollower() for _ in range(SHARDS)]
        self._asked_ns = [0] * SHARDS

    @property
    def waiting(self) -> int:
        """How many shards need a snapshot."""
        return sum(follower.wanted for follower in self._followers)

    @property
    def resyncs(self) -> int:
        return sum(follower.resyncs for follower in self._followers)

    def wants(self, shard: int) -> bool:
        return self._followers[shard].wanted

    def take(self, frames: list[bytes]) -> bool | None:
        """A message of the diffs or the closes: whether it was applied; None where it is none."""
        try:
            stream, _, shard_text = frames[0].partition(b".")
            shard = int(shard_text)
            message: Diffs | Closes = (Diffs if stream == b"diffs" else Closes).unpack(frames[1])
            follower = self._followers[shard]
        except (WireError, ValueError, LookupError) as error:
            self._count("bad_messages")
            log.error("a message is not what it should be, it is left out: %s", error)
            return None
        self._count("messages")
        if follower.offer(message):
            self._apply(shard, message)
            return True
        if follower.wanted:
            self._ask(shard)
        return False

    def answer(self, frames: list[bytes]) -> Snapshot | None:
        """A worker's snapshot; None where it is none that was needed."""
        try:
            snapshot = Snapshot.unpack(frames[1])
            follower = self._followers[snapshot.shard]
        except (WireError, LookupError, TypeError) as error:
            self._count("bad_messages")
            log.error("an answer is not what it should be: %s", error)
            return None
        if not follower.wanted:
            return None  # asked twice: this is the later answer
        self._count("snapshots")
        self._asked_ns[snapshot.shard] = 0
        self._reader.restart(snapshot)
        for message in follower.restart(snapshot):
            self._apply(snapshot.shard, message)
        return snapshot

    def ask_again(self) -> None:
        """For what is needed, and is not on its way or overdue."""
        for shard, follower in enumerate(self._followers):
            if follower.wanted:
                self._ask(shard)

    def _apply(self, shard: int, message: Diffs | Closes) -> None:
        try:
            if isinstance(message, Diffs):
                self._reader.diffs(shard, message)
            else:
                self._reader.closes(shard, message)
        except WireError as error:
            log.error("shard %d cannot be followed, asking for a snapshot: %s", shard, error)
            self._ask(shard)

    def _ask(self, shard: int) -> None:
        """Ask for a snapshot, once until it comes or is overdue."""
        self._followers[shard].ask()
        now = self._clock()
        if not self._asked_ns[shard] or now - self._asked_ns[shard] >= ASK_AGAIN_NS:
            self._asked_ns[shard] = now if self._send(shard, Request("snapshot", shard, 0, 0).pack()) else 0
