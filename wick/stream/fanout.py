"""Fan-out: who hears of what, and when. Pure: shard messages go in, frames for clients come out.

What is said of a channel gets a running number and is kept until every band has been told. A flush of a band sends each
cohort one frame with what is new for it. A client that does not take its frame falls behind: it is told nothing until
it takes data again, and then what it lacks (`wick/stream/behind.py`); so is who subscribes, or resumes.
A flush never gives way, and nothing changes while it runs: whoever is in step after it lacks nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Protocol

from wick.market.intervals import NAMES
from wick.market.schema import Row
from wick.stream import cohorts, diffs
from wick.stream.behind import Behind
from wick.stream.channels import Channel, LiveChannel, Lost, MakeChannel, Message, StateChannel
from wick.stream.cohorts import Band, Client, Cohort, Slices
from wick.stream.frames import Framer, form_of, is_json, joined
from wick.stream.mirror import ShardMirror
from wick.wire.codec import pack, pack_json
from wick.wire.messages import Closes, Diffs, Snapshot
from wick.wire.session import CloseCode, Kind, Pattern, Topic

Pair = tuple[str, str]

MAX_KEPT = 65_536  # messages that wait for flushes. On full: every client falls behind, and gets states instead
TELL_BYTES = 65_536  # that a client which is behind is told at once
HELD_BYTES = 1 << 16  # of frames that are made before they are sent
BAND_BYTES = 1 << 20  # that all such clients of a band are told in one flush; the others come first in the next
SNAPSHOTS = 2048  # of clients that are behind, kept for others at the same position while there are any


class Sender(Protocol):
    """Where frames go (`wick.net.ws_server.Server`)."""

    def send(self, client: Any, data: bytes) -> bool: ...
    def send_all(self, clients: Sequence[Any], frames: Sequence[bytes]) -> list[Any]: ...
    def close(self, client: Any, code: int, reason: str) -> None: ...


class News:
    """Of each channel in `messages` what to tell, encoded and joined, of the others b""; and how many messages more
    than one it is."""

    __slots__ = ("more", "payloads")

    def __init__(self, messages: list[Message], json: bool) -> None:
        self.payloads = defaultdict(bytes, {message.channel: message.encoded(json) for message in messages})
        self.more: dict[Channel, int] = {}
        if len(self.payloads) == len(messages):  # mostly: a window is as long as the workers' own
            return
        first: dict[Channel, Message] = {}
        several: dict[Channel, list[Message]] = {}
        for message in messages:
            before = first.setdefault(message.channel, message)
            if before is not message:
                several.setdefault(message.channel, [before]).append(message)
        for channel, its in several.items():
            told = channel.told(its)
            if len(told) > 1:
                self.more[channel] = len(told) - 1
            self.payloads[channel] = joined([message.encoded(json) for message in told], json)


class Counters:
    """What the fan-out has done."""

    def __init__(self) -> None:
        self.frames = self.bytes = 0  # frames made, and their bytes times the clients they went to
        self.deliveries = 0  # frames handed to the kernel
        self.lagged = 0  # times that a client fell behind
        self.lost = 0  # clients closed because they could not be told all that they had missed
        self.overflows = 0  # times that MAX_KEPT was reached
        self.refused_topics = 0  # of globs, beyond what a client may hold


class Fanout:
    """All shards' mirrors, the channels on them, and the clients. `shard_of` says where a pair lives.

    `admit` is asked, last, whether a client may have one of its globs' new topics.
    `kinds` has the makers of channels that are not made of shards' messages, by the kind of their topics.
    """

    def __init__(
        self,
        sender: Sender,
        shards: int,
        shard_of: Callable[[str, str], int],
        *,
        max_topics: int = 1000,
        kinds: dict[str, MakeChannel] | None = None,
        slices: Slices | None = None,
        admit: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        self.mirrors = [ShardMirror() for _ in range(shards)]
        self.slices = slices or Slices()
        self.counters = Counters()
        self.topics: dict[Topic, Channel] = {}
        self._sender, self._shard_of, self._max_topics, self._admit = sender, shard_of, max_topics, admit
        self._makers: dict[str, MakeChannel] = {
            "ticker": self._state_channel, "candles": self._state_channel, "closes": self._state_channel,
            "metrics": LiveChannel, **(kinds or {}),
        }  # fmt: skip
        self._known: set[Pair] = set()
        self._pairs: list[Pair] = []  # the same in order
        self._by_pair: dict[Pair, list[StateChannel]] = {}
        self._globs: dict[Pattern, dict[Client, None]] = {}
        self._handle = 0
        self._log: list[Message] = []
        self._before = 0  # messages that are not kept any more
        self._told_to_all = 0  # those that every band had been told at the last trim
        self._news: dict[tuple[int, bool], News] = {}  # as of `_news_as_of`, by the number before it, and the form
        self._news_as_of = 0
        self._framer = Framer()
        self._lacks = lru_cache(SNAPSHOTS)(lambda channel, since, number: channel.catch_up(since))

    @property
    def number(self) -> int:
        """Of the newest message."""
        return self._before + len(self._log)

    # ------------------------------------------------------------------ what the front asks

    def knows(self, pair: object) -> bool:
        """Whether the pair is known: for names of clients, which may be any, and many."""
        return pair in self._known

    def pairs(self) -> list[Pair]:
        """In order; not to be changed."""
        if len(self._pairs) != len(self._known):
            self._pairs = sorted(self._known)
        return self._pairs

    def state(self, venue: str, symbol: str) -> list[list[int]] | None:
        """The groups of a pair's state; None where it is not known."""
        return self.mirrors[self._shard_of(venue, symbol)].state(venue, symbol)

    def recent(self, venue: str, symbol: str, interval: int) -> list[Row]:
        return self.mirrors[self._shard_of(venue, symbol)].rows(venue, symbol, interval)

    @property
    def subscriptions(self) -> int:
        return sum(channel.users for channel in self.topics.values())

    def gauges(self) -> dict[str, int]:
        """How many there are of what, for the process's stats."""
        bands = list(self.slices)
        its = [cohort for band in bands for same in band.cohorts for cohort in same.values()]
        return {
            "topics": len(self.topics),
            "subscriptions": self.subscriptions,
            "cohorts": len(its),
            "behind": sum(band.clients for band in bands) - sum(map(len, its)),
        }

    def watched(self) -> dict[int, list[list[Any]]]:
        """By shard: whose live metrics somebody is subscribed to, [venue, symbol, interval] each.

        A client may name pairs that nobody has heard of: the workers need not hear of those.
        """
        streams: dict[int, list[list[Any]]] = {}
        for kind, venue, symbol, interval in self.topics:
            if kind == "metrics" and self.state(venue, symbol) is not None:
                streams.setdefault(self._shard_of(venue, symbol), []).append([venue, symbol, interval])
        return streams

    # ------------------------------------------------------------------ what clients ask

    def enter(self, client: Client, *, json: bool, deflate: bool) -> None:
        """A new client: in step, for it has nothing to hear of."""
        client.globs = ()
        cohorts.join(client, self.slices.enter(self.number), form_of(json, deflate), ())

    def leave(self, client: Client) -> None:
        """It is gone; once for each `enter`."""
        channels = self.channels_of(client)
        if client.cohort is not None:
            band = cohorts.part(client).band
        else:
            assert client.behind is not None
            band, client.behind = client.behind.band, None
            band.waiting.pop(client, None)
        self.slices.leave(band)
        for channel in channels:
            self._release(channel)
        for pattern in client.globs:
            self.unfollow(client, pattern)

    def channels_of(self, client: Client) -> Collection[Channel]:
        """In no order: to put those of a client that is behind into one takes a while, and this is often asked."""
        if client.cohort is not None:
            return client.cohort.channels
        return client.behind.since.keys() if client.behind is not None else ()

    def subscribe(self, client: Client, topic: Topic, position: tuple[int, int] | None = None) -> tuple[Channel, bool]:
        """The topic's channel, and whether it is proven that the client missed nothing since `position`.

        To a topic that it has: it is told the state anew. Acknowledge it, then `tell`.
        """
        behind = self._behind(client)
        channel = self._channel(topic)
        if channel not in behind.since:
            channel.users += 1
        since, resumed = (channel.begin(), False) if position is None else channel.resume(*position)
        behind.add(channel, since)
        return channel, resumed

    def unsubscribe(self, client: Client, topic: Topic) -> Channel | None:
        """The channel that the client has left, if it had it."""
        channel = self.topics.get(topic)
        if channel is None or channel not in self.channels_of(client):
            return None
        self._behind(client).discard(channel)
        self._release(channel)
        return channel

    def follow(self, client: Client, pattern: Pattern) -> None:
        """The client hears of pairs of the glob that appear later."""
        if pattern not in client.globs:
            client.globs += (pattern,)
            self._globs.setdefault(pattern, {})[client] = None

    def unfollow(self, client: Client, pattern: Pattern) -> None:
        if pattern in client.globs:
            client.globs = tuple(one for one in client.globs if one != pattern)
            del self._globs[pattern][client]
            if not self._globs[pattern]:
                del self._globs[pattern]

    def tell(self, client: Client, answers: Sequence[bytes] = ()) -> None:
        """Tell a client these messages, encoded; and if it is behind, in the same frame, what fits at once: the rest
        comes with the flushes of its band."""
        behind = client.behind
        if behind is not None and client in behind.band.waiting:
            self._tell(client, behind, None, answers)
        elif (stands := behind or client.cohort) is not None and answers:
            self._send_one(client, answers, stands.form)

    def stalled(self, client: Client) -> None:
        """The client did not take all of something that was sent to it, not by the fan-out."""
        self._behind(client).band.waiting.pop(client, None)

    def writable(self, client: Client) -> None:
        """The client takes data again."""
        if client.behind is not None and not client.behind.lost:
            client.behind.band.waiting[client] = None

    def _channel(self, topic: Topic) -> Channel:
        channel = self.topics.get(topic)
        if channel is None:
            self._handle += 1
            channel = self.topics[topic] = self._makers[topic.kind](self._handle, topic)
        return channel

    def _state_channel(self, handle: int, topic: Topic) -> Channel:
        channel = StateChannel(handle, topic, self.mirrors[self._shard_of(topic.venue, topic.symbol)])
        self._by_pair.setdefault((topic.venue, topic.symbol), []).append(channel)
        return channel

    def _release(self, channel: Channel) -> None:
        channel.users -= 1
        if not channel.users:
            del self.topics[channel.topic]
            if isinstance(channel, StateChannel):
                pair = (channel.topic.venue, channel.topic.symbol)
                self._by_pair[pair].remove(channel)
                if not self._by_pair[pair]:
                    del self._by_pair[pair]

    def _behind(self, client: Client) -> Behind:
        """The client, out of step: what it knows is what its band was told."""
        if client.behind is None:
            cohort = cohorts.part(client)
            self._lag(client, cohort, self._first_since(cohort.band.told) if cohort.channels else {})
            cohort.band.waiting[client] = None
        assert client.behind is not None
        return client.behind

    def _first_since(self, told: int) -> dict[Channel, Message]:
        """The first message of each channel after number `told`."""
        return {message.channel: message for message in reversed(self._log[told - self._before :])}

    @staticmethod
    def _lag(client: Client, cohort: Cohort, missed: dict[Channel, Message]) -> None:
        since = {one: missed[one].seq if one in missed else one.position for one in cohort.channels}
        client.behind = Behind(cohort.band, cohort.form, since, cohort.band.told)

    # ------------------------------------------------------------------ what shards say

    def put(self, message: Message) -> None:
        """Something is said of a channel."""
        if len(self._log) >= MAX_KEPT:
            self._overflow()
        self._log.append(message)
        message.number = self.number
        message.channel.kept.append(message)
        message.channel.said(message, message.number)

    def restart(self, snapshot: Snapshot) -> None:
        """A shard's mirror starts anew: every channel on it gets a snapshot."""
        mirror = self.mirrors[snapshot.shard]
        known = set(mirror.names.values())
        mirror.restart(snapshot)
        self._known -= known
        self._pairs = []
        self._known.update(mirror.names.values())
        for channel in [one for its in self._by_pair.values() for one in its if one.mirror is mirror]:
            self.put(channel.restart())
            channel.restarted = channel.number
        self._announce([pair for pair in snapshot.pairs if (pair[1], pair[2]) not in known])

    def diffs(self, shard: int, message: Diffs) -> None:
        mirror = self.mirrors[shard]
        for number, changes in mirror.apply(message):
            channels = self._by_pair.get(mirror.names[number])
            if channels:
                steps = diffs.split(changes)
                for channel in channels:
                    said = channel.diff(steps)
                    if said is not None:
                        self.put(said)
        self._known.update((venue, symbol) for _, venue, symbol in message.pairs)
        # Only now: who hears of a new pair starts from a state that these changes are part of.
        self._announce(message.pairs)

    def closes(self, shard: int, message: Closes) -> None:
        mirror = self.mirrors[shard]
        for venue, symbol, interval, *row in message.rows:
            stands = mirror.close(venue, symbol, interval, row)
            for channel in self._by_pair.get((venue, symbol), ()):
                if channel.interval >= 0 and NAMES[channel.interval] == interval:
                    self.put(channel.close(stands))

    def live(self, message: Closes) -> None:
        """Unclosed candles with their metrics."""
        for venue, symbol, interval, *row in message.rows:
            channel = self.topics.get(Topic("metrics", venue, symbol, NAMES.index(interval)))
            if isinstance(channel, LiveChannel):
                self.put(channel.row(row))

    def _announce(self, pairs: list[list[Any]]) -> None:
        """Who follows globs gets the new pairs."""
        for _, venue, symbol in pairs:
            for pattern, clients in self._globs.items():
                for topic in pattern.of(venue, symbol):
                    for client in clients:
                        self._bring(client, topic)

    def _bring(self, client: Client, topic: Topic) -> None:
        known = self.topics.get(topic)
        has = self.channels_of(client)
        if known is not None and known in has:
            return
        if len(has) >= self._max_topics or not self._admit(client):
            self.counters.refused_topics += 1
            return
        channel = self._channel(topic)
        channel.users += 1
        self._behind(client).add(channel, channel.begin(), unannounced=True)

    # ------------------------------------------------------------------ flushes

    def flush(self, band: Band, beat: Sequence[Any] | None = None) -> int:
        """Tell a band what is new, with a heartbeat where it is time; how many clients were told."""
        number = self.number
        told, band.told = band.told, number
        before = self.counters.deliveries
        if told != number or beat is not None:
            short: list[Any] = []
            for form, its in enumerate(band.cohorts):
                if its:
                    json = is_json(form)
                    beats = b"" if beat is None else encoded(beat, json)
                    self._flush(form, its.values(), self._news_since(told, json), beats, short)
            for client in short:
                self._lag(client, cohorts.part(client), {})
            self.counters.lagged += len(short)
        if band.waiting:
            self._tell_waiting(band, beat)
        return self.counters.deliveries - before

    def trim(self) -> None:
        """Forget what every band had been told the last time: who took its frame a little late is told it yet."""
        done = self._told_to_all - self._before
        self._told_to_all = min([band.told for band in self.slices], default=self.number)
        if done:
            for message in self._log[:done]:
                message.channel.kept.pop(0)
            del self._log[:done]
            self._before += done
        if not any(band.waiting for band in self.slices):
            self._lacks.cache_clear()

    def _flush(self, form: int, its: Iterable[Cohort], news: News, beat: bytes, short: list[Any]) -> None:
        """The hot loop: once a cohort. What is done once a client is the server's."""
        payloads, more, plain, heads, join = news.payloads, news.more, not form, self._framer.heads, b"".join
        clients: list[Any] = []
        frames: list[bytes] = []
        made = held = 0
        for cohort in its:
            channels = cohort.channels
            # A getter, although it is made for one call only, takes half of the time of any loop.
            parts = itemgetter(*channels)(payloads) if len(channels) > 1 else (*map(payloads.__getitem__, channels),)
            if beat:
                parts += (beat,)
            count = len(parts) - parts.count(b"")
            if not count:
                continue
            if more:
                count += sum([more[channel] for channel in channels if channel in more])
            members = cohort.members
            if plain:  # as Framer.frame does it, without the call
                body = join(parts)
                frame = heads[count, len(body)] + body
            else:
                frame = self._framer.frame(parts, count, form)
            if type(members) is list:
                clients += members
                frames += [frame] * len(members)
            else:
                clients.append(members)
                frames.append(frame)
            made += 1
            held += len(frame)
            if held > HELD_BYTES:
                short += self._send(clients, frames)
                clients, frames, held = [], [], 0
        self.counters.frames += made
        short += self._send(clients, frames)

    def _send(self, clients: list[Any], frames: list[bytes]) -> list[Any]:
        self.counters.deliveries += len(clients)
        self.counters.bytes += sum(map(len, frames))
        return self._sender.send_all(clients, frames)

    def _news_since(self, told: int, json: bool) -> News:
        if self._news_as_of != self.number:
            self._news.clear()
            self._news_as_of = self.number
        news = self._news.get((told, json))
        if news is None:
            news = self._news[told, json] = News(self._log[told - self._before :], json)
        return news

    def _tell_waiting(self, band: Band, beat: Sequence[Any] | None) -> None:
        left = BAND_BYTES
        for client in list(band.waiting):
            if left <= 0:
                break
            left -= self._tell(client, client.behind, beat)
            if client in band.waiting:  # not yet in step: the others come first in the next flush
                del band.waiting[client]
                band.waiting[client] = None

    def _tell(self, client: Client, behind: Behind, beat: Sequence[Any] | None, answers: Sequence[bytes] = ()) -> int:
        """Tell a client what it lacks, as much as is right at once; the bytes. It is in step if that was all, and its
        band stands at the newest message."""
        json, number = is_json(behind.form), self.number
        parts = [*answers]
        size = 0
        if behind.unannounced:
            parts.append(
                encoded((Kind.ACK, None, [[one.topic.text, one.handle, False] for one in behind.unannounced]), json)
            )
            behind.unannounced = []
        try:
            for messages in behind.catch_up(number, self._before, self._lacks):
                for message in messages:
                    parts.append(message.encoded(json))
                    size += len(parts[-1])
                if size >= TELL_BYTES:
                    break
            else:
                if behind.band.told == number:
                    del behind.band.waiting[client]
                    cohorts.join(client, behind.band, behind.form, behind.channels)
        except Lost:
            self.counters.lost += 1
            behind.lost = True
            del behind.band.waiting[client]
            self._sender.close(client, CloseCode.SLOW, "too far behind: some that you missed is forgotten here")
            return 0
        if beat is not None:
            parts.append(encoded(beat, json))
        return self._send_one(client, parts, behind.form) if parts else 0

    def _send_one(self, client: Client, parts: Sequence[bytes], form: int) -> int:
        frame = self._framer.frame(parts, len(parts), form)
        self.counters.frames += 1
        self.counters.deliveries += 1
        self.counters.bytes += len(frame)
        if not self._sender.send(client, frame):
            self.stalled(client)
            self.counters.lagged += 1
        return len(frame)

    def _overflow(self) -> None:
        """Nobody flushes, or too much is said: clients get states instead."""
        self.counters.overflows += 1
        for band in self.slices:
            missed = self._first_since(band.told)
            for cohort in [one for its in band.cohorts for one in its.values() if one.channels]:
                for client in list(cohort):
                    self._lag(client, cohorts.part(client), missed)
                    band.waiting[client] = None
            band.told = self.number
        self._told_to_all = self.number
        self.trim()


def encoded(fields: Sequence[Any], json: bool) -> bytes:
    return pack_json(fields) if json else pack(fields)
