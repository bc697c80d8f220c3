"""What the law of the fan-out is tested with: a worker that can do anything, fronts that follow it, and clients that do
what docs/protocol.md says, over connections that take as much as a test lets them."""

import dataclasses
import zlib
from copy import deepcopy
from typing import Any

from wick.market.blocks import EXACT
from wick.market.intervals import INTERVALS, NAMES
from wick.market.schema import CANDLE_FIELDS, CLOSED, EMPTY, STATE_WIDTHS
from wick.stream import diffs
from wick.stream.cohorts import Slices
from wick.stream.fanout import Fanout, encoded
from wick.stream.frames import Framer, form_of
from wick.stream.mirror import RECENT, live_row
from wick.wire.codec import unpack, unpack_json
from wick.wire.messages import Closes, Diffs, Snapshot
from wick.wire.session import Kind, Topic, parse_topics

VENUE = "binance"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "PEPE-USDT", "SOL-USDT")
SHARDS = 2
INTERVAL = 2  # 1m: the only one that has live candles here


def shard_of(venue: str, symbol: str) -> int:
    return SYMBOLS.index(symbol) % SHARDS


class Worker:
    """One shard's truth. `said` is its one ordered stream; `states` every state that it ever stood at, `closed` all
    closes in order."""

    def __init__(self, number: int) -> None:
        self.number, self.epoch, self.seq, self.closes_seq = number, 1, 0, 0
        self.pairs: dict[str, list[list[int]]] = {}
        self.rows: dict[str, dict[int, list[Any]]] = {}
        self.closed: list[tuple[str, list[Any]]] = []
        self.said: list[tuple[Any, int]] = []  # messages, and how many closes there were right after each
        self.states: dict[tuple[int, int], dict[str, list[list[int]]]] = {(0, 0): {}, (1, 0): {}}
        self._new: list[list[Any]] = []
        self._say(self.snapshot())

    def appear(self, symbol: str) -> None:
        if symbol not in self.pairs:
            self._new.append([len(self.pairs), VENUE, symbol])
            self.pairs[symbol] = [[0] * width for width in STATE_WIDTHS]
            self.rows[symbol] = {}

    def change(self, changes: list[tuple[str, int, int, int]]) -> None:
        """One message: each change adds to a field of a pair's head or live candle, or begins its next candle."""
        entries = []
        for symbol, group, field, delta in changes:
            self.appear(symbol)
            before = deepcopy(self.pairs[symbol])
            state = self.pairs[symbol]
            if group and field == 0:
                live = state[INTERVAL + 1]
                if live[0]:
                    row = live_row(state[0], live, INTERVALS[INTERVAL].close_ms(live[0]))
                    self._keep(symbol, row)
                state[INTERVAL + 1] = [live[0] + 60_000, delta, delta, delta, *state[0][3:8], 0]
            elif group:
                state[INTERVAL + 1][min(field, 8)] += delta
            else:
                state[0][field] += delta
            entries.append([list(self.pairs).index(symbol), *diffs.make(before, state)])
        self.seq += 1
        self._say(Diffs(self.epoch, self.seq, 0, self._new, entries))
        self._new = []
        self.states[self.epoch, self.seq] = deepcopy(self.pairs)

    def close(self, symbol: str, back: int, value: int) -> None:
        """The candle that was live `back` candles ago closes, or is corrected."""
        open_ms = self.pairs[symbol][INTERVAL + 1][0] - back * 60_000 if symbol in self.pairs else 0
        if open_ms <= 0 or self._new:
            return
        known = self.rows[symbol].get(open_ms)
        revision = known[2] + 1 if known is not None and known[3] & CLOSED else 0
        exact = [open_ms, open_ms + 60_000, revision, CLOSED, *[value] * (EXACT - 4)]
        row = exact + [None] * (len(CANDLE_FIELDS) - EXACT)
        self._keep(symbol, row)
        self.closed.append((symbol, row))
        self.closes_seq += 1
        self._say(Closes.of_rows(self.epoch, self.closes_seq, 0, [[VENUE, symbol, NAMES[INTERVAL], *row]]))

    def restart(self, *, forgets: bool) -> None:
        """Another epoch, with the same candles or none."""
        self.epoch += 1
        self.seq = 3
        if forgets:
            self.pairs, self.rows = {}, {}
        self._new = []
        self.states[self.epoch, self.seq] = deepcopy(self.pairs)
        self._say(self.snapshot())

    def snapshot(self) -> Snapshot:
        pairs, entries, recent = [], [], []
        for number, (symbol, state) in enumerate(self.pairs.items()):
            pairs.append([number, VENUE, symbol])
            entries.append([number, *diffs.make([[0] * width for width in STATE_WIDTHS], state)])
            recent += [[VENUE, symbol, NAMES[INTERVAL], *row] for row in self._last(symbol)]
        return Snapshot(self.number, self.epoch, self.seq, self.closes_seq, pairs, entries, deepcopy(recent))

    def _last(self, symbol: str) -> list[list[Any]]:
        rows = self.rows[symbol]
        return [rows[at] for at in sorted(rows)[-RECENT[INTERVAL] :]]

    def _keep(self, symbol: str, row: list[Any]) -> None:
        self.rows[symbol][row[0]] = row

    def _say(self, message: Any) -> None:
        self.said.append((message, len(self.closed)))


class Front:
    """A fan-out that has heard a part of what each worker said; and the sockets to its clients."""

    def __init__(self, workers: list[Worker], slices: Slices) -> None:
        self.workers = workers
        self.fanout = Fanout(self, SHARDS, shard_of, slices=slices, max_topics=40)
        self.heard = [0] * SHARDS  # messages of each worker
        self.closes = [0] * SHARDS  # closes that its mirror has heard of
        self.unheard = [0] * SHARDS  # closes up to which it cannot vouch for any
        self.cut: list[tuple[Client, int]] = []

    def hear(self, shard: int, most: int = 1_000_000) -> None:
        said = self.workers[shard].said
        for message, closes in said[self.heard[shard] : self.heard[shard] + most]:
            if isinstance(message, Snapshot):
                self.fanout.restart(message)
                self.unheard[shard] = closes
            elif isinstance(message, Diffs):
                self.fanout.diffs(shard, message)
            else:
                self.fanout.closes(shard, message)
            self.heard[shard] += 1
            self.closes[shard] = closes

    def miss(self, shard: int) -> None:
        """A hole: all that it has not heard yet is lost, and a snapshot of now stands for it."""
        worker = self.workers[shard]
        if worker._new:
            return
        self.heard[shard] = len(worker.said)
        self.closes[shard] = self.unheard[shard] = len(worker.closed)
        self.fanout.restart(worker.snapshot())

    def flush(self, number: int) -> None:
        bands = self.fanout.slices.bands
        for band in list(bands[number % len(bands)]):
            self.fanout.flush(band, [Kind.HEARTBEAT, 5, None] if number % 3 == 0 else None)
        if number % len(bands) == 0:
            self.fanout.trim()

    # what a Server does

    def send(self, client: "Client", data: bytes) -> bool:
        assert not client.rest, "one writer: nothing is written before a rest"
        assert client.front is self
        taken = len(data) if client.room is None else min(client.room, len(data))
        if client.room is not None:
            client.room -= taken
        client.receive(data[:taken])
        client.rest = data[taken:]
        return not client.rest

    def send_all(self, clients: list["Client"], frames: list[bytes]) -> list["Client"]:
        return [client for client, data in zip(clients, frames, strict=True) if not self.send(client, data)]

    def close(self, client: "Client", code: int, reason: str) -> None:
        self.cut.append((client, code))

    def has_cut(self, client: "Client") -> bool:
        return any(one is client for one, _ in self.cut)

    def answer(self, client: "Client", fields: list[Any]) -> None:
        """What a front says itself: behind a rest, where there is one."""
        data = Framer().frame([encoded(fields, client.json)], 1, form_of(client.json, client.deflate))
        if client.rest:
            client.rest += data
        elif not self.send(client, data):
            self.fanout.stalled(client)


def _integers(value: Any) -> Any:
    """JSON's decimal texts are integers (topics are no such texts)."""
    if isinstance(value, list):
        return [_integers(one) for one in value]
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


@dataclasses.dataclass
class Told:
    """What a client holds of a topic; `knows`: it has been told a state."""

    epoch: int = 0
    seq: int = 0
    groups: list[list[int]] = dataclasses.field(default_factory=list)
    rows: dict[int, list[Any]] = dataclasses.field(default_factory=dict)
    knows: bool = False


class Client:
    """A client by the protocol, that checks every sequence it is told. `room`: bytes its socket takes, None: all."""

    __slots__ = (
        "asked", "begins", "behind", "cohort", "deflate", "front", "globs", "handles", "inbox", "json", "place",
        "rest", "room", "since", "told",
    )  # fmt: skip

    def __init__(self, *, json: bool, deflate: bool) -> None:
        self.json, self.deflate = json, deflate
        self.told: dict[Topic, Told] = {}
        self.since: dict[Topic, int] = {}  # it is owed the closes of the topic's shard from this one on
        self.begins: set[Topic] = set()  # a SNAPSHOT is where its claims begin
        self.front: Front | None = None

    def connect(self, front: Front) -> None:
        self.front, self.room, self.rest, self.inbox = front, None, b"", b""
        self.handles: dict[int, Topic] = {}
        self.asked: list[dict[Topic, int]] = []  # of each request the closes that the front had heard of
        front.fanout.enter(self, json=self.json, deflate=self.deflate)

    def disconnect(self) -> None:
        self.front.fanout.leave(self)
        self.front.cut = [one for one in self.front.cut if one[0] is not self]
        self.front = None

    def wake(self, room: int | None) -> None:
        """The socket takes so much more: what it owes first, then whatever comes."""
        self.room, rest = room, self.rest
        self.rest = b""
        if rest and self.front.send(self, rest):
            self.front.fanout.writable(self)

    # ------------------------------------------------------------------ what it asks, and a front's part in it

    def subscribe(self, text: str) -> None:
        pattern = parse_topics(text)
        fanout = self.front.fanout
        topics = [topic for pair in fanout.pairs() for topic in pattern.of(*pair)] if pattern.is_open else []
        topics = topics or [one for one in [pattern.single] if one]
        if pattern.is_open:
            fanout.follow(self, pattern)
        held = {channel.topic for channel in fanout.channels_of(self)}
        self._acknowledge([(topic, None) for topic in topics if topic not in held])

    def resume(self, topics: list[Topic]) -> None:
        self._acknowledge([(topic, (self.told[topic].epoch, self.told[topic].seq)) for topic in topics])

    def _acknowledge(self, wanted: list[tuple[Topic, tuple[int, int] | None]]) -> None:
        fanout = self.front.fanout
        acked = [(topic, *fanout.subscribe(self, topic, position)) for topic, position in wanted]
        self.asked.append({topic: self.front.closes[shard_of(topic.venue, topic.symbol)] for topic, _ in wanted})
        told = [[topic.text, channel.handle, resumed] for topic, channel, resumed in acked]
        self.front.answer(self, [Kind.ACK, len(self.asked), told])
        fanout.tell(self)

    def unsubscribe(self, topic: Topic) -> None:
        channel = self.front.fanout.unsubscribe(self, topic)
        if channel is not None:
            self.asked.append({})
            self.front.answer(self, [Kind.ACK, -len(self.asked), [[topic.text, channel.handle, False]]])

    def claim(self) -> None:
        """What its front has not heard itself, it is not owed."""
        for topic in self.since if self.front is not None else ():
            unheard = self.front.unheard[shard_of(topic.venue, topic.symbol)]
            self.since[topic] = max(self.since[topic], unheard)

    # ------------------------------------------------------------------ what it is told

    def receive(self, data: bytes) -> None:
        self.inbox += data
        while len(self.inbox) >= 2:
            first, size, at = self.inbox[0], self.inbox[1], 2
            if size > 125:
                wide = 2 if size == 126 else 8
                at += wide
                size = int.from_bytes(self.inbox[2:at], "big") if len(self.inbox) >= at else 1 << 40
            if len(self.inbox) < at + size:
                return
            payload, self.inbox = self.inbox[at : at + size], self.inbox[at + size :]
            if first & 0x40:
                assert self.deflate
                payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            assert first & 0x8F == (0x81 if self.json else 0x82)
            self.take(_integers(unpack_json(payload)) if self.json else unpack(payload))

    def take(self, message: list[Any]) -> None:
        kind, *fields = message
        if kind == Kind.BATCH:
            for one in fields:
                self.take(one)
        elif kind == Kind.ACK:
            number, topics = fields
            for text, handle, resumed in topics:
                self._acked(number, parse_topics(text).single, handle, resumed)
        elif kind == Kind.SNAPSHOT:
            handle, epoch, seq, groups, rows = fields
            topic = self.handles[handle]
            told = self.told[topic]
            if topic in self.begins and topic.kind != "closes":
                self.since[topic] = self.front.closes[shard_of(topic.venue, topic.symbol)]
            self.begins.discard(topic)
            told.epoch, told.seq, told.groups, told.knows = epoch, seq, groups, True
            told.rows |= {row[0]: row for row in rows}
        elif kind == Kind.DIFF:
            handle, seq, back, changes = fields
            self._apply(self.told[self.handles[handle]], seq, back, changes)
        elif kind == Kind.CLOSE:
            handle, seq, row = fields
            topic = self.handles[handle]
            told = self.told[topic]
            told.rows[row[0]] = row
            if topic.kind == "closes":
                told.seq = seq
        elif kind == Kind.LIVE:
            handle, row = fields
            self.told[self.handles[handle]].rows = {row[0]: row}
        else:
            assert kind == Kind.HEARTBEAT

    def _acked(self, number: int | None, topic: Topic, handle: int, resumed: bool) -> None:
        if number is None:  # a glob has brought it
            assert topic not in self.handles.values()
            self.since[topic] = self.front.closes[shard_of(topic.venue, topic.symbol)]
            self.begins.add(topic)
        elif number < 0:
            for held, key in ((self.told, topic), (self.since, topic), (self.handles, handle)):
                held.pop(key, None)  # asked twice, before the first answer came
            return
        elif not resumed:
            self.since[topic] = self.asked[number - 1][topic]
            self.begins.add(topic)
        self.handles[handle] = topic
        self.told.setdefault(topic, Told())

    @staticmethod
    def _apply(told: Told, seq: int, back: int, changes: list[int]) -> None:
        assert told.knows and seq - back == told.seq, (seq, back, told.seq)
        for number, mask, _ in diffs.split(changes):
            live = told.groups[number]
            if number == 1 and mask & 1 and live[0] and not live[-1] & EMPTY:
                told.rows[live[0]] = live_row(told.groups[0], live, INTERVALS[INTERVAL].close_ms(live[0]))
        diffs.apply(told.groups, changes)
        told.seq = seq
