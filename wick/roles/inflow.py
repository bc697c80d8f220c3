"""The inflow of one shard's closes: every message once, in order, from where the store stands.

No sockets, no clock: messages and answers come in, `put` takes what is next. A hole, and what was published before a
worker's new epoch, are asked for from that worker's outbox. What is known to exist and is not taken, since there is no
room, is asked for when there is room again: the outbox is where closes wait for a store.
"""

import logging
from collections.abc import Callable, Sequence

from wick.ops.process import Stats
from wick.storage.store import Position
from wick.wire.messages import Closes, Kept, Request

AHEAD_BYTES = 1 << 18  # of messages behind a hole that are held until it is mended; the outbox has the others
NOTHING: Position = (0, 0)

Sized = tuple[Closes, int]  # a message of so many bytes
Put = Callable[[int, Sequence[Sized]], int]  # takes a shard's messages as far as there is room; how many

log = logging.getLogger("wick")


class Inflow:
    """One shard's stream. `at`: what has been taken; `newest`: what is known to exist."""

    def __init__(self, shard: int, put: Put, stats: Stats) -> None:
        self.shard, self._put, self._stats = shard, put, stats
        self.begin(NOTHING)

    def begin(self, at: Position) -> None:
        """Go on from there; what was published meanwhile nobody knows."""
        self.at = self.newest = at
        self.behind = True  # there may be messages that have not come to us
        self._asked: Position | None = None  # since a question is open: the newest that was known then
        self._ahead: dict[Position, Sized] = {}
        self._ahead_bytes = 0
        self._is_older = False  # a message of an epoch before ours has come

    @property
    def wants(self) -> bool:
        """Whether the outbox has to be asked."""
        return self.behind and self._asked is None

    @property
    def lacking(self) -> int:
        """How many messages are known to be missing, at least."""
        return self.newest[1] - (self.at[1] if self.newest[0] == self.at[0] else 0)

    # ------------------------------------------------------------------ live

    def offer(self, message: Closes, size: int) -> None:
        """A message as it is published, of `size` bytes."""
        position = message.epoch, message.seq
        if position <= self.at:
            if message.epoch < self.at[0]:
                self._is_older = self.behind = True
            return
        self.newest = max(self.newest, position)
        if not self.behind:
            if position == (self.at[0], self.at[1] + 1) and self._take(message, size):
                return
            self.behind = True
            self._stats.add("holes" if position > (self.at[0], self.at[1] + 1) else "put_off")
        if position not in self._ahead and self._ahead_bytes + size <= AHEAD_BYTES:
            self._ahead[position] = message, size
            self._ahead_bytes += size

    # ------------------------------------------------------------------ asked for

    def ask(self) -> Request:
        self._asked = self.newest
        return Request("closes", self.shard, *self.at)

    def unanswered(self) -> None:
        self._asked = None

    def answer(self, request: Request, kept: Kept, messages: Sequence[Sized]) -> None:
        """The outbox's page behind `at`. What it lacks is gone: that is counted and said, and then we go on."""
        if self._asked is None or (request.epoch, request.after) != self.at:
            return  # of a question that is no longer open
        asked, self._asked = self._asked, None
        begun, newest = self.at, (kept.newest_epoch, kept.newest_seq)
        if newest > NOTHING:
            asked = min(asked, newest)  # it may be the late answer to a question before this one, which knew less
        self.newest = max(self.newest, newest)
        if self._is_older and newest > NOTHING and newest[0] < self.at[0]:
            log.warning(
                "shard %d: the outbox ends at %s, the store stands at %s: epochs begin anew (a clock set back, and a "
                "data directory that is gone?); all of it is taken", self.shard, newest, self.at,
            )  # fmt: skip
            self.begin(NOTHING)
            return
        self._is_older = False
        oldest = kept.oldest_epoch, kept.oldest_seq
        while messages:
            if not self._go_on(*messages[0], oldest):
                return
            messages = messages[1 + self._follow(messages[1:]) :]
        if not kept.more or self.at == begun:  # a page of which nothing can be read is the last that we ask for
            self._join(asked, oldest, newest)

    def _join(self, asked: Position, oldest: Position, newest: Position) -> None:
        """The outbox has told all that it had: go on with what came live meanwhile."""
        ahead, self._ahead, self._ahead_bytes = self._ahead, {}, 0
        for position in sorted(ahead):
            # What was published before the question stood in the outbox when it was answered, or never will.
            is_due = position <= max(asked, (self.at[0], self.at[1] + 1))
            if not is_due or not self._go_on(*ahead[position], oldest):
                self._ahead = {one: ahead[one] for one in ahead if one >= position}
                self._ahead_bytes = sum(size for _, size in self._ahead.values())
                return
        end = max(newest, min(self.newest, asked))
        if self.at < end:
            self._gone(self.at, end, end[1] - (self.at[1] if end[0] == self.at[0] else 0))
        self.behind = self.at < self.newest

    def _go_on(self, message: Closes, size: int, oldest: Position) -> bool:
        """Take it unless it was taken, whatever is missing before it; false where there is no room. `oldest` is what
        the outbox begins with."""
        before, position = self.at, (message.epoch, message.seq)
        if position <= before:
            return True
        if not self._take(message, size):
            self._stats.add("put_off")
            return False
        missing = message.seq - 1 - (before[1] if message.epoch == before[0] else 0)
        if message.epoch > before[0] > 0 and not NOTHING < oldest <= before:
            missing += 1  # the end of our epoch may be gone, and nobody knows how much it was
        if missing:
            self._gone(before, position, missing)
        return True

    def _take(self, message: Closes, size: int) -> bool:
        if not self._put(self.shard, [(message, size)]):
            return False
        self.at = message.epoch, message.seq
        return True

    def _follow(self, messages: Sequence[Sized]) -> int:
        """Take those that follow without a hole together, as far as there is room; how many."""
        epoch, seq = self.at
        count = 0
        for message, _ in messages:
            if message.seq != seq + count + 1 or message.epoch != epoch:
                break
            count += 1
        taken = self._put(self.shard, messages[:count]) if count else 0
        self.at = epoch, seq + taken
        return taken

    def _gone(self, after: Position, to: Position, count: int) -> None:
        self._stats.add("messages_lost", count)
        self.at = max(self.at, to)
        log.error(
            "shard %d: closes behind epoch %d, message %d and before epoch %d, message %d are gone, %d at least: the "
            "outbox does not have them any more (aggregator.closes_mb); `wick backfill --gaps` fetches their candles",
            self.shard, *after, *to, count,
        )  # fmt: skip
