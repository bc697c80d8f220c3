"""Topics that the front only passes on: trades and books of the feed's mirror, stats of all processes. Pure.

What a front has of trades is what it has heard itself: a ring for each topic that somebody is subscribed to, or was
lately, so that one who comes back after a moment finds what he missed. Whatever may have been lost on the way begins a
new epoch: within an epoch every trade has its number, and what is missing can be counted.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from wick.errors import WireError, shown
from wick.market.trades import RECORD_BYTES, RECORD_STRUCT, TRADE
from wick.stream.channels import Channel, MakeChannel, Message
from wick.stream.shards import shard_of
from wick.wire.codec import unpack
from wick.wire.messages import TickHeader, book_topic, ticks_topic
from wick.wire.session import Kind, Topic
from wick.wire.topics import TRADES_KEPT

MS = 1_000_000
LINGER_NS = 30_000 * MS  # how long a ring is kept up for nobody
MAX_LINGERING = 1_000  # rings that are. On full: the oldest goes
SILENT_NS = 5_000 * MS  # processes speak once a second; who does not for so long is gone

_KIND_AT = 58  # of a RECORD's bytes
TradeRow = list[Any]  # as `session.STRUCTURES` has it
Put = Callable[[Message], None]


class Trades(NamedTuple):
    """Trades in a row, all in the same units."""

    price_decimals: int
    quantity_decimals: int
    rows: list[TradeRow]


def unpacked(records: Iterable[bytes]) -> Trades:
    """The trades that these RECORDs are."""
    runs: list[Trades] = []
    for record in records:
        event_ns, number, price, quantity, count, _, _, prices, quantities, _, taker_buy, _ = RECORD_STRUCT.unpack(
            record
        )
        if not runs or runs[-1][:2] != (prices, quantities):
            runs.append(Trades(prices, quantities, []))
        runs[-1].rows.append([number, event_ns // 1000, price, quantity, taker_buy != 0, count])
    return joined(runs)


def joined(parts: Sequence[Trades]) -> Trades:
    """Several as one, in the finest units of them: these seldom differ."""
    prices = max((part.price_decimals for part in parts), default=0)
    quantities = max((part.quantity_decimals for part in parts), default=0)
    rows: list[TradeRow] = []
    for part in parts:
        if (part.price_decimals, part.quantity_decimals) == (prices, quantities):
            rows += part.rows
        else:
            of_price, of_quantity = 10 ** (prices - part.price_decimals), 10 ** (quantities - part.quantity_decimals)
            rows += [
                [number, time_us, price * of_price, quantity * of_quantity, *rest]
                for number, time_us, price, quantity, *rest in part.rows
            ]
    return Trades(prices, quantities, rows)


class Ring:
    """The last trades of a pair, as packed RECORDs. Those of an epoch are numbered from 1, the last is number `seq`."""

    __slots__ = ("_kept", "epoch", "idle_ns", "seq")

    def __init__(self, epoch: int) -> None:
        self.idle_ns = 0  # since when nobody is subscribed; 0: somebody is
        self.restart(epoch)

    def restart(self, epoch: int) -> None:
        self.epoch, self.seq = epoch, 0
        self._kept: deque[bytes] = deque(maxlen=TRADES_KEPT)

    @property
    def first(self) -> int:
        """The number of the oldest that is kept."""
        return self.seq - len(self._kept) + 1

    def take(self, records: list[bytes]) -> None:
        self._kept.extend(records)
        self.seq += len(records)

    def since(self, number: int) -> Trades:
        return unpacked(islice(self._kept, max(0, number - self.first), None))


class TradesChannel(Channel):
    """A position is the number of the first trade that a client may lack."""

    __slots__ = ("ring",)

    def __init__(self, handle: int, topic: Topic, ring: Ring) -> None:
        super().__init__(handle, topic)
        self.ring = ring

    @property
    def position(self) -> int:
        return self.ring.seq + 1

    def resume(self, epoch: int, seq: int) -> tuple[int | None, bool]:
        if epoch != self.ring.epoch or seq > self.ring.seq:
            return None, False
        return seq + 1, seq + 1 >= self.ring.first

    def catch_up(self, since: int | None) -> list[Message]:
        """Also where there is no trade: it tells the position."""
        first = self.ring.first
        missed = 0 if since is None else max(0, first - since)
        return [self.message(self.ring.since(since or first), missed)]

    def message(self, trades: Trades, missed: int = 0) -> Message:
        """The last trades."""
        epoch, seq = self.ring.epoch, self.ring.seq
        return Message(self, seq - len(trades.rows) + 1, Kind.TRADES, self.handle, epoch, seq, missed, *trades)

    def told(self, messages: list[Message]) -> list[Message]:
        """One for those of an epoch."""
        made: list[Message] = []
        run: list[Message] = []
        for message in messages:
            if run and run[-1].fields[2] != message.fields[2]:
                made.append(self._run(run))
                run = []
            run.append(message)
        return [*made, self._run(run)]

    def _run(self, run: list[Message]) -> Message:
        kind, handle, epoch, seq = run[-1].fields[:4]
        return Message(self, run[0].seq, kind, handle, epoch, seq, 0, *joined([Trades(*one.fields[5:]) for one in run]))

    def said(self, message: Message, number: int) -> None:
        self.number = number


class StatsChannel(Channel):
    """The newest of each process."""

    __slots__ = ("_processes",)

    def __init__(self, handle: int, topic: Topic, processes: dict[str, dict[str, Any]]) -> None:
        super().__init__(handle, topic)
        self._processes = processes

    def message(self, process: str) -> Message:
        return Message(self, 0, Kind.STATS, self.handle, process, self._processes[process])

    def catch_up(self, since: int | None) -> list[Message]:
        return [self.message(process) for process in sorted(self._processes)]

    def told(self, messages: list[Message]) -> list[Message]:
        return list({message.fields[2]: message for message in messages}.values())


class Relays:
    """All of it. `epoch` is the first that a ring gets: greater than any that an earlier front gave."""

    def __init__(self, epoch: int) -> None:
        self.kinds: dict[str, MakeChannel] = {"trades": self._trades, "book": self._book, "stats": self._stats}
        self.processes: dict[str, dict[str, Any]] = {}  # the newest stats of each
        self.silent: set[str] = set()  # processes that were heard, and are not any more
        self.restarts = 0  # of rings: something may have been lost
        self._epoch = epoch
        self._channels: dict[Topic, Channel] = {}
        self._rings: dict[Topic, Ring] = {}
        self._books: dict[Topic, bytes] = {}  # packed, of all pairs of the shards that are listened to
        self._heard: dict[tuple[str, int], tuple[int, int]] = {}  # of a venue's shard: the feed's epoch, the last part

    # ------------------------------------------------------------------ who wants what

    def _trades(self, handle: int, topic: Topic) -> Channel:
        ring = self._rings.get(topic)
        if ring is None:
            ring = self._rings[topic] = Ring(self._next_epoch())
        ring.idle_ns = 0
        return self._keep(TradesChannel(handle, topic, ring))

    def _book(self, handle: int, topic: Topic) -> Channel:
        channel = self._keep(Channel(handle, topic))
        if topic in self._books:
            channel.newest = _book_message(channel, unpack(self._books[topic]))
        return channel

    def _stats(self, handle: int, topic: Topic) -> Channel:
        return self._keep(StatsChannel(handle, topic, self.processes))

    def _keep(self, channel: Channel) -> Channel:
        self._channels[channel.topic] = channel
        return channel

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def wanted(self, now_ns: int) -> set[bytes]:
        """The streams of the feed's mirror to listen to. What nobody has wanted for a while is forgotten."""
        for topic, channel in list(self._channels.items()):
            if not channel.users:
                del self._channels[topic]
                if topic in self._rings:
                    self._rings[topic].idle_ns = now_ns
        self._forget(now_ns)
        streams = {_stream(topic) for topic in (*self._rings, *self._channels) if topic.venue}
        self._books = {topic: book for topic, book in self._books.items() if _stream(topic) in streams}
        # A shard that is not listened to, and then again, has not lost anything for those who come then.
        self._heard = {place: last for place, last in self._heard.items() if ticks_topic(*place) in streams}
        return streams

    def _forget(self, now_ns: int) -> None:
        idle = sorted((ring.idle_ns, topic) for topic, ring in self._rings.items() if ring.idle_ns)
        for place, (since_ns, topic) in enumerate(idle):
            too_many = len(idle) - place > MAX_LINGERING
            if too_many or not self._rings[topic].seq or not 0 <= now_ns - since_ns < LINGER_NS:
                del self._rings[topic]
        for process, stats in list(self.processes.items()):
            if now_ns - stats["time_ns"] > SILENT_NS:
                del self.processes[process]
                self.silent.add(process)

    # ------------------------------------------------------------------ what is heard

    def take(self, frames: list[bytes], put: Put) -> None:
        """A message of the bus. Raises WireError."""
        if len(frames) < 2:
            raise WireError(f"a message of {len(frames)} frames")
        stream = frames[0].partition(b".")[0]
        if stream == b"ticks" and len(frames) == 3:
            self._take_ticks(TickHeader.unpack(frames[1]), frames[2], put)
        elif stream == b"book":
            self._take_book(frames[0], frames[1], put)
        elif stream == b"stats":
            self._take_stats(unpack(frames[1]), put)
        else:
            raise WireError(f"a stream that nobody asked for: {shown(frames[0])}")

    def _take_ticks(self, header: TickHeader, records: bytes, put: Put) -> None:
        if len(records) != header.total * RECORD_BYTES:
            raise WireError(f"a frame of {len(records)} bytes does not hold the {header.total} records of its header")
        for (shard, seq, outage, symbols, counts), its in header.pieces(records):
            before = self._heard.get((header.venue, shard))
            self._heard[header.venue, shard] = header.epoch, seq
            if before is not None and (outage or before != (header.epoch, seq - 1)):
                self._restart(header.venue, shard, put)
            at = 0
            for symbol, count in zip(symbols, counts, strict=True):
                end = at + count * RECORD_BYTES
                topic = Topic("trades", header.venue, symbol, -1)
                if topic in self._rings:
                    self._take_trades(topic, its[at:end], put)
                at = end

    def _take_trades(self, topic: Topic, records: memoryview, put: Put) -> None:
        """A pair's records; quotes and depth are among them."""
        each = range(0, len(records), RECORD_BYTES)
        trades = [bytes(records[at : at + RECORD_BYTES]) for at in each if records[at + _KIND_AT] == TRADE]
        if trades:
            self._rings[topic].take(trades)
            channel = self._channels.get(topic)
            if isinstance(channel, TradesChannel):
                put(channel.message(unpacked(trades)))

    def _restart(self, venue: str, shard: int, put: Put) -> None:
        """Trades of this shard may have been lost."""
        for topic, ring in self._rings.items():
            if topic.venue == venue and shard_of(venue, topic.symbol) == shard:
                self.restarts += 1
                ring.restart(self._next_epoch())
                channel = self._channels.get(topic)
                if isinstance(channel, TradesChannel):
                    put(channel.message(Trades(0, 0, [])))
                    channel.restarted, channel.began = channel.number, channel.position

    def _take_book(self, name: bytes, packed: bytes, put: Put) -> None:
        book = unpack(packed)
        if type(book) is not list or [type(part) for part in book] != [str, int, int, list, list]:
            raise WireError(f"an impossible book: {shown(book)}")
        topic = Topic("book", name.decode(errors="replace").split(".")[1], book[0], -1)
        self._books[topic] = packed
        if (channel := self._channels.get(topic)) is not None:
            put(_book_message(channel, book))

    def _take_stats(self, stats: Any, put: Put) -> None:
        if type(stats) is not dict or type(stats.get("process")) is not str or type(stats.get("time_ns")) is not int:
            raise WireError(f"impossible stats: {shown(stats)}")
        process = stats["process"]
        self.processes[process] = _with_text_keys(stats)
        self.silent.discard(process)
        channel = self._channels.get(Topic("stats", "", "", -1))
        if isinstance(channel, StatsChannel):
            put(channel.message(process))


def _stream(topic: Topic) -> bytes:
    """In which of the feed's streams the topic is."""
    stream_of = ticks_topic if topic.kind == "trades" else book_topic
    return stream_of(topic.venue, shard_of(topic.venue, topic.symbol))


def _book_message(channel: Channel, book: list[Any]) -> Message:
    _, event_ns, update_id, bids, asks = book
    return Message(channel, 0, Kind.BOOK, channel.handle, update_id, event_ns // 1000, _levels(bids), _levels(asks))


def _levels(levels: Iterable[Any]) -> list[Any]:
    """A venue may say more of a level than its price and quantity."""
    return [level[:2] for level in levels]


def _with_text_keys(value: Any) -> Any:
    """JSON has no other keys; what a process says of its shards is by number."""
    return {str(key): _with_text_keys(item) for key, item in value.items()} if isinstance(value, dict) else value
