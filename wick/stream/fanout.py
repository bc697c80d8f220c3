"""Fan-out: which client hears of what. Pure: shard messages go in, session messages come out to subscribers.

A channel is a topic that somebody subscribes to; its handle is the same for all clients, so a message is made and
encoded once and sent to many. `Channel.seq` is the sequence of the last change that concerned it: each DIFF names
the one before it, so a client sees every hole.

A client that takes no data is told less instead of later (`wick/stream/owed.py`): of the DIFFs that it misses only the
first is kept, with the state right after it; `merged` makes one DIFF of them all, and of what has changed since.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from wick.errors import ProtocolError
from wick.market.intervals import NAMES
from wick.market.schema import STATE_WIDTHS, Row
from wick.stream import diffs
from wick.stream.mirror import ShardMirror
from wick.wire.messages import Closes, Diffs, Snapshot
from wick.wire.session import Kind, Topic, parse_topic


class Message:
    """A session message, encoded at most once for each form that a client asked for; `channel`: whose state it tells.

    For who misses a DIFF: `after` is the channel's state right after it, `merged` one DIFF for it and all later ones.
    """

    __slots__ = ("_encoded", "after", "channel", "fields", "merged")

    def __init__(self, *fields: Any, channel: "Channel | None" = None) -> None:
        self.fields, self.channel = fields, channel
        self.after: list[diffs.Group] | None = None
        self.merged: Message | None = None
        self._encoded: dict[str, bytes] = {}

    def encoded(self, form: str, encode: Callable[[Any], bytes]) -> bytes:
        data = self._encoded.get(form)
        if data is None:
            data = self._encoded[form] = encode(self.fields)
        return data


class Subscriber(Protocol):
    """A client as the fan-out knows it; the fan-out keeps `topics`, the client only reads it."""

    topics: set[Topic]

    def offer(self, message: Message) -> None: ...


Pair = tuple[str, str]


class Channel:
    """A topic with subscribers."""

    __slots__ = ("groups", "handle", "seq", "shard", "subscribers", "topic")

    def __init__(self, handle: int, topic: Topic, shard: int, seq: int) -> None:
        self.handle, self.topic, self.shard, self.seq = handle, topic, shard, seq
        self.groups = topic.groups
        self.subscribers: set[Subscriber] = set()


class Fanout:
    """All shards' mirrors, and the channels on them. `shard_of` says where a pair lives."""

    def __init__(self, shards: int, shard_of: Callable[[str, str], int], venues: Iterable[str]) -> None:
        self.mirrors = [ShardMirror() for _ in range(shards)]
        self.positions = [(0, 0)] * shards  # (epoch, sequence) of each mirror
        self.venues = tuple(venues)
        self._shard_of = shard_of
        self._numbers: dict[Pair, int] = {}  # a pair's number in its shard
        self._channels: dict[Topic, Channel] = {}
        self._by_pair: dict[Pair, list[Channel]] = {}
        self._wild: dict[str, set[Subscriber]] = {}  # venue -> subscribers of all its tickers
        self._handle = 0

    # ------------------------------------------------------------------ what the front asks

    def pairs(self) -> list[Pair]:
        return sorted(self._numbers)

    def state(self, venue: str, symbol: str) -> list[list[int]] | None:
        """The groups of a pair's state; None where it is not known."""
        number = self._numbers.get((venue, symbol))
        return None if number is None else self.mirrors[self._shard_of(venue, symbol)].groups[number]

    def recent(self, venue: str, symbol: str, interval: int) -> list[Row]:
        return self.mirrors[self._shard_of(venue, symbol)].rows(venue, symbol, interval)

    @property
    def subscriptions(self) -> int:
        return sum(len(channel.subscribers) for channel in self._channels.values())

    # ------------------------------------------------------------------ what clients ask

    def topics(self, text: str) -> list[Topic]:
        """The topics that a client's text names. Raises ProtocolError."""
        topic = parse_topic(text)
        if topic.venue not in self.venues:
            raise ProtocolError("bad_venue", "venue", topic.venue, f"valid is one of {', '.join(self.venues)}")
        if topic.symbol == "*":
            if topic.interval >= 0:
                raise ProtocolError("bad_symbol", "symbol", "*", "valid is one symbol; * is for ticker topics")
            return [Topic(topic.kind, venue, symbol, -1) for venue, symbol in self.pairs() if venue == topic.venue]
        return [topic]

    def subscribe(self, client: Subscriber, topic: Topic) -> Channel:
        channel = self._channels.get(topic)
        if channel is None:
            shard = self._shard_of(topic.venue, topic.symbol)
            self._handle += 1
            channel = self._channels[topic] = Channel(self._handle, topic, shard, self.positions[shard][1])
            self._by_pair.setdefault((topic.venue, topic.symbol), []).append(channel)
        channel.subscribers.add(client)
        client.topics.add(topic)
        return channel

    def follow_all(self, client: Subscriber, venue: str, follow: bool = True) -> None:
        """Whether the client hears of tickers that appear later."""
        members = self._wild.setdefault(venue, set())
        (members.add if follow else members.discard)(client)

    def unsubscribe(self, client: Subscriber, topic: Topic) -> Channel | None:
        channel = self._channels.get(topic)
        if channel is None or client not in channel.subscribers:
            return None
        channel.subscribers.discard(client)
        client.topics.discard(topic)
        if not channel.subscribers:
            del self._channels[topic]
            members = self._by_pair[topic.venue, topic.symbol]
            members.remove(channel)
            if not members:
                del self._by_pair[topic.venue, topic.symbol]
        return channel

    def leave(self, client: Subscriber) -> None:
        for topic in list(client.topics):
            self.unsubscribe(client, topic)
        for members in self._wild.values():
            members.discard(client)

    def snapshot(self, channel: Channel) -> Message:
        """What a subscriber of the channel starts from."""
        topic = channel.topic
        rows = self.recent(topic.venue, topic.symbol, topic.interval) if topic.kind == "candles" else []
        epoch = self.positions[channel.shard][0]
        fields = (Kind.SNAPSHOT, channel.handle, epoch, channel.seq, self._groups(channel), rows)
        return Message(*fields, channel=channel)

    def _groups(self, channel: Channel) -> list[diffs.Group]:
        """A copy of the state that a channel shows."""
        state = self.state(channel.topic.venue, channel.topic.symbol)
        return [list(state[number]) if state else [0] * STATE_WIDTHS[number] for number in channel.groups]

    # ------------------------------------------------------------------ what slow clients get

    def missed(self, first: Message, channel: Channel) -> None:
        """A DIFF is the first that a client misses: remember what it led to. To be called when it is offered."""
        if first.after is None:
            first.after = self._groups(channel)

    def merged(self, first: Message, channel: Channel) -> Message:
        """What stands for a missed DIFF and all that came after it: one DIFF, or a SNAPSHOT where that tells more.

        By the laws of diffs, all that came after is the diff from the state then to the state now, however many they
        were. Made once for all who missed the same DIFF first.
        """
        made = first.merged
        if made is None or made.fields[4] != channel.seq:
            assert first.after is not None
            _, handle, epoch, prev_seq, _, changes = first.fields
            groups = self._groups(channel)
            changes = diffs.merge(changes, diffs.make(first.after, groups))
            # Who skips the end of a candle lacks its last state, which the rows of a snapshot have.
            rolled = any(number == 1 and mask & 1 for number, mask, _ in diffs.split(changes))
            if rolled or len(changes) >= sum(map(len, groups)):
                return self.snapshot(channel)
            fields = (Kind.DIFF, handle, epoch, prev_seq, channel.seq, changes)
            made = first.merged = Message(*fields, channel=channel)
        return made

    # ------------------------------------------------------------------ what shards say

    def restart(self, snapshot: Snapshot) -> None:
        """A shard's mirror starts anew: every channel on it gets a snapshot."""
        mirror = self.mirrors[snapshot.shard]
        for pair in mirror.names.values():
            self._numbers.pop(pair, None)
        mirror.restart(snapshot)
        self.positions[snapshot.shard] = (snapshot.epoch, snapshot.diffs_seq)
        channels = [channel for channel in self._channels.values() if channel.shard == snapshot.shard]
        for channel in channels:
            channel.seq = snapshot.diffs_seq
        self._number(snapshot.pairs)
        self._announce(snapshot.pairs)
        for channel in channels:
            self._send(channel, self.snapshot(channel))

    def diffs(self, shard: int, message: Diffs) -> None:
        mirror = self.mirrors[shard]
        self._number(message.pairs)
        epoch, seq = self.positions[shard] = (message.epoch, message.seq)
        for number, changes in mirror.apply(message):
            channels = self._by_pair.get(mirror.names[number])
            steps = diffs.split(changes) if channels else []
            for channel in channels or ():
                picked = diffs.pick(steps, channel.groups)
                if picked:
                    prev_seq, channel.seq = channel.seq, seq
                    fields = (Kind.DIFF, channel.handle, epoch, prev_seq, seq, picked)
                    self._send(channel, Message(*fields, channel=channel))
        # Only now: who hears of a new pair starts from a state that these changes are part of.
        self._announce(message.pairs)

    def closes(self, shard: int, message: Closes) -> None:
        mirror = self.mirrors[shard]
        for venue, symbol, interval, *row in message.rows:
            row = mirror.close(venue, symbol, interval, row)
            channel = self._channels.get(parse_topic(f"candles:{venue}:{symbol}:{interval}"))
            if channel is not None:
                self._send(channel, Message(Kind.CLOSE, channel.handle, row, channel=channel))

    def live(self, message: Closes) -> None:
        """Unclosed candles with their metrics: the newest counts, nothing is kept of them."""
        for venue, symbol, interval, *row in message.rows:
            channel = self._channels.get(Topic("metrics", venue, symbol, NAMES.index(interval)))
            if channel is not None:
                self._send(channel, Message(Kind.LIVE, channel.handle, row))

    def watched(self) -> dict[int, list[list[Any]]]:
        """By shard: whose live metrics somebody is subscribed to, [venue, symbol, interval] each.

        A client may name pairs that nobody has heard of: the workers need not hear of those.
        """
        streams: dict[int, list[list[Any]]] = {}
        for topic, channel in self._channels.items():
            if topic.kind == "metrics" and (topic.venue, topic.symbol) in self._numbers:
                streams.setdefault(channel.shard, []).append([topic.venue, topic.symbol, topic.interval])
        return streams

    def _number(self, pairs: list[list[Any]]) -> None:
        for number, venue, symbol in pairs:
            self._numbers[venue, symbol] = number

    def _announce(self, pairs: list[list[Any]]) -> None:
        """Tell who follows all tickers of the new ones."""
        for _, venue, symbol in pairs:
            topic = Topic("ticker", venue, symbol, -1)
            for client in self._wild.get(venue, ()):
                known = self._channels.get(topic)
                if known is None or client not in known.subscribers:
                    channel = self.subscribe(client, topic)
                    client.offer(Message(Kind.ACK, None, [[topic.text, channel.handle]]))
                    client.offer(self.snapshot(channel))

    @staticmethod
    def _send(channel: Channel, message: Message) -> None:
        for client in channel.subscribers:
            client.offer(message)
