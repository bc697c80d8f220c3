"""Channels: topics that somebody is subscribed to, and what is said of each. Pure.

A channel is made with its first subscriber and goes with its last; its handle is the same for all clients of a front.
`catch_up` tells all that a client lacks, from wherever it stands: that is how a new, a resumed and a slow one begin.
"""

from collections.abc import Callable
from typing import Any

from wick.market.schema import CLOSED, FORMED_FIELDS, STATE_WIDTHS
from wick.stream import diffs
from wick.stream.mirror import ShardMirror
from wick.wire.codec import pack, pack_json
from wick.wire.session import Kind, Topic

KEEP_APART = 4  # as many DIFFs of a topic are told as they are; merging saves bytes from then on
_FLAGS = FORMED_FIELDS.index("flags")


class Message:
    """A session message of a channel, encoded at most once for each form.

    `seq`: who lacks it lacks something from this position on. `number`: among all messages of the fan-out.
    """

    __slots__ = ("_json", "_msgpack", "channel", "fields", "number", "seq")

    def __init__(self, channel: "Channel", seq: int, *fields: Any) -> None:
        self.channel, self.seq, self.fields = channel, seq, fields
        self.number = 0
        self._msgpack = self._json = b""

    def encoded(self, json: bool) -> bytes:
        if json:
            self._json = self._json or pack_json(self.fields)
            return self._json
        self._msgpack = self._msgpack or pack(self.fields)
        return self._msgpack


class Lost(Exception):
    """A client stands so far back that it cannot be told all that it missed."""


class Channel:
    """A topic with subscribers. Of this kind only the newest message counts: it replaces what was said before."""

    __slots__ = ("began", "handle", "kept", "newest", "number", "restarted", "topic", "users")

    def __init__(self, handle: int, topic: Topic) -> None:
        self.handle, self.topic = handle, topic
        self.users = 0  # cohorts, and clients that are behind
        self.number = 0  # of its newest message, among all of the fan-out
        self.restarted = self.began = 0  # where its history began anew: the number of that message, and the position
        self.newest: Message | None = None
        self.kept: list[Message] = []  # that wait for flushes

    @property
    def position(self) -> int | None:
        """Where a client stands that has been told all until now."""
        return 0

    def resume(self, epoch: int, seq: int) -> tuple[int | None, bool]:
        """A client had been told until then, perhaps by another front: where it stands here, and whether it is proven
        that it can be told all that it missed."""
        return None, False

    def begin(self) -> int | None:
        """Where a client stands that subscribes anew; None: it knows nothing."""
        return None

    def catch_up(self, since: int | None) -> list[Message]:
        """What a client lacks that stands at `since`. Raises Lost."""
        return [self.newest] if self.newest else []

    def told(self, messages: list[Message]) -> list[Message]:
        """What to send for these, which came one after the other since the last flush."""
        return messages[-1:]

    def since(self, number: int) -> list[Message]:
        """What is missing for who knows all until that number, by the messages that are kept; none where they are so
        many that a state is shorter."""
        messages = [one for one in self.kept if one.number > number]
        return self.told(messages) if len(messages) <= KEEP_APART else []

    def said(self, message: Message, number: int) -> None:
        """The message is in the fan-out now, by that number."""
        self.number, self.newest = number, message


class StateChannel(Channel):
    """A topic on the state of a pair: ticker, candles, closes. Its positions are those of the shard's diffs."""

    __slots__ = ("groups", "interval", "mirror", "seq")

    def __init__(self, handle: int, topic: Topic, mirror: ShardMirror) -> None:
        super().__init__(handle, topic)
        self.mirror, self.groups = mirror, topic.groups
        self.interval = topic.interval
        self.seq = mirror.seq  # of the last change that concerned it: a DIFF starts from there

    @property
    def position(self) -> int | None:
        return self.mirror.seq

    def begin(self) -> int | None:
        return None if self.groups else self.mirror.seq  # who subscribes to closes does so from now on

    def resume(self, epoch: int, seq: int) -> tuple[int | None, bool]:
        if epoch == self.mirror.epoch != 0 and self._reaches(seq):
            return seq, True
        # It is owed the closes from now on, with those that are kept: it must be found out if some of them go.
        return None if self.groups else self._reach(), False

    def _reach(self) -> int:
        return self.mirror.reach(self.topic.venue, self.topic.symbol, self.interval)

    def _reaches(self, since: int) -> bool:
        return self.interval < 0 or since >= self._reach()

    def diff(self, steps: list[diffs.Step]) -> Message | None:
        """What these changes of the pair, which the mirror has just taken, are to the topic."""
        changes = diffs.pick(steps, self.groups) if self.groups else None
        if not changes:
            return None
        before, self.seq = self.seq, self.mirror.seq
        return Message(self, self.seq, Kind.DIFF, self.handle, self.seq, self.seq - before, changes)

    def close(self, row: Any) -> Message:
        seq = self.mirror.seq
        return Message(self, seq, Kind.CLOSE, self.handle, seq, row)

    def restart(self) -> Message:
        """The mirror has begun anew."""
        self.seq = self.began = self.mirror.seq
        return self.snapshot(None)

    def catch_up(self, since: int | None) -> list[Message]:
        if since is not None and not self._reaches(since):
            raise Lost
        return [self.snapshot(since)]

    def snapshot(self, since: int | None) -> Message:
        """The state, with the rows that came at `since` or later."""
        venue, symbol = self.topic.venue, self.topic.symbol
        state = self.mirror.state(venue, symbol)
        groups = [list(state[number]) if state else [0] * STATE_WIDTHS[number] for number in self.groups]
        rows = (
            self.mirror.rows(venue, symbol, self.interval, -1 if since is None else since) if self.interval >= 0 else []
        )
        seq = self.seq
        if not groups:
            seq, rows = self.mirror.seq, [row for row in rows if row[_FLAGS] & CLOSED]
        return Message(self, seq, Kind.SNAPSHOT, self.handle, self.mirror.epoch, seq, groups, rows)

    def told(self, messages: list[Message]) -> list[Message]:
        """Many DIFFs in a row become one. Not across the end of a candle, whose last state a client keeps."""
        if len(messages) <= KEEP_APART:
            return messages
        runs: list[list[Message]] = []
        for message in messages:
            last = runs[-1][-1] if runs else message
            both_diff = last.fields[0] == message.fields[0] == Kind.DIFF
            if last is message or not both_diff or _rolls(message):
                runs.append([message])
            else:
                runs[-1].append(message)
        return [run[0] if len(run) == 1 else self._merged(run) for run in runs]

    def _merged(self, run: list[Message]) -> Message:
        changes = diffs.merge(*[one.fields[4] for one in run])
        seq, back = run[-1].seq, sum([one.fields[3] for one in run])
        return Message(self, seq, Kind.DIFF, self.handle, seq, back, changes)

    def said(self, message: Message, number: int) -> None:
        self.number = number


def _rolls(message: Message) -> bool:
    return any(number == 1 and mask & 1 for number, mask, _ in diffs.split(message.fields[4]))


class LiveChannel(Channel):
    """Live metrics of a candle: the newest row counts."""

    __slots__ = ()

    def row(self, row: Any) -> Message:
        return Message(self, 0, Kind.LIVE, self.handle, row)


MakeChannel = Callable[[int, Topic], Channel]
