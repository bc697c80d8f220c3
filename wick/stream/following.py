"""The two streams of a shard, diffs and closes, as a reader follows them: one snapshot mends both. Pure."""

from itertools import count

from wick.stream.sequence import Follower
from wick.wire.messages import Closes, Diffs, Snapshot

Message = Diffs | Closes


class ShardFollower:
    """What applies of a shard's messages, in the order in which they arrived.

    All readers of a worker get its messages in one order, so what they know at a position of the diffs is the same.
    """

    def __init__(self) -> None:
        self._diffs, self._closes = Follower(), Follower()
        self._arrivals = count()

    @property
    def wanted(self) -> bool:
        """Whether a snapshot is needed."""
        return self._diffs.wanted or self._closes.wanted

    @property
    def resyncs(self) -> int:
        return self._diffs.resyncs + self._closes.resyncs

    def offer(self, message: Message) -> bool:
        """True where the message is to be applied now."""
        follower = self._diffs if isinstance(message, Diffs) else self._closes
        return follower.offer(message.epoch, message.seq, (next(self._arrivals), message))

    def ask(self) -> None:
        """A snapshot is needed: it replaces all, so both streams wait for it."""
        self._diffs.wanted = self._closes.wanted = True

    def restart(self, snapshot: Snapshot) -> list[Message]:
        """Stand at the snapshot; what has arrived and follows it, to be applied now. May want another one."""
        waited = self._diffs.restart(snapshot.epoch, snapshot.diffs_seq)
        waited += self._closes.restart(snapshot.epoch, snapshot.closes_seq)
        return [message for _, message in sorted(waited, key=lambda one: one[0])]
