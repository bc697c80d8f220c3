"""Every message between wick's processes, declared once: topic, fields, bytes. Pure.

| stream | topic | frames |
|---|---|---|
| ticks (feed to worker) | none: a PUSH socket a worker | TickHeader, packed RECORDs |
| ticks (the feed's mirror) | `ticks.<venue>.<shard>` | topic, TickHeader with this shard's part, its RECORDs |
| book (the feed's mirror) | `book.<venue>.<shard>` | topic, [symbol, event_ns, update id, bids, asks] |
| diffs (worker to front) | `diffs.<shard>` | topic, Diffs |
| closes (worker to front and sink) | `closes.<shard>` | topic, Closes |
| live (worker to front, what a front watches) | `live.<shard>` | topic, Closes with seq 0: unclosed candles |
| stats (every process) | `stats.<process>` | topic, map |

A message is a msgpack array in the order of its fields. Unpacking raises WireError and nothing else.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Self, get_origin

from wick.errors import WireError, shown
from wick.market.blocks import METRIC_BYTES, ROW_BYTES, Block
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, FORMED_FIELDS
from wick.market.trades import DEPTH, QUOTE, RECORD_BYTES, RECORD_STRUCT, TRADE, BookDepth, Quote, Trade
from wick.wire.codec import ARRAY_HEAD, joined, pack, unpack

__all__ = [
    "CANDLE_FIELDS", "Closes", "Diffs", "Kept", "Request", "Snapshot", "TickHeader", "Watch",
    "book_frames", "book_topic", "closes_topic", "diffs_topic", "live_topic", "pack_depth", "pack_quote", "pack_record",
    "pack_trade", "stats_topic", "ticks_topic",
]  # fmt: skip

pack_record = RECORD_STRUCT.pack  # the fields of a RECORD in their order
_PART = [int, int, bool, list, list]


@lru_cache
def _types(declared: type) -> list[type]:
    """The types of a message's fields, in order; what is inside of a list is found where it is used."""
    hints: list[Any] = list(declared.__annotations__.values())
    return [get_origin(hint) or hint for hint in hints]


def _array(data: bytes | memoryview, kind: str, declared: type) -> list[Any]:
    return _checked(unpack(data), kind, declared)


def _checked(fields: Any, kind: str, declared: type) -> list[Any]:
    types = _types(declared)
    if type(fields) is not list or len(fields) != len(types):
        raise WireError(f"{kind} is not an array of {len(types)} fields")
    if [*map(type, fields)] != types:
        raise WireError(f"{kind} has a field of a wrong type: {shown(fields)}")
    told: list[Any] = fields
    return told


class TickHeader(NamedTuple):
    """What one flush of a venue's feed says of itself.

    `epoch` is the feed's start (ns), `block` the number of the flush since then, over all its venues: 1, 2, 3 ... Both
    together are its position in the tick log. `before` is the newest earlier block that had something for the same
    worker (0: none since the feed's start, and in the log, which has all workers' parts in one). `clock_ns` is the
    venue's estimated time behind the flush (0: unknown). A part is what one shard has of it: [shard, seq, outage,
    symbols, counts]. `seq` grows by 1 a part of this venue and shard, `outage` says that the venue was not listened to
    since the part before, `counts` how many of the records are of each of the `symbols`: the records come in the order
    of the parts, and of the symbols in them. A part without symbols carries the clock only.
    """

    epoch: int
    block: int
    before: int
    venue: str
    send_ns: int
    clock_ns: int
    parts: list[list[Any]]

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        header = cls(*_array(data, "a tick header", cls))
        for part in header.parts:
            if type(part) is not list or [type(field) for field in part] != _PART:
                raise WireError(f"a tick header has an impossible part: {shown(part)}")
            shard, seq, _, symbols, counts = part
            if (
                shard < 0
                or seq < 1
                or len(symbols) != len(counts)
                or {*map(type, symbols)} - {str}
                or {*map(type, counts)} - {int}
                or min(counts, default=1) < 1
            ):
                raise WireError(f"a tick header has an impossible part: {shown(part)}")
        return header

    def pack(self) -> bytes:
        return pack(self)

    @property
    def total(self) -> int:
        """How many records follow."""
        return sum([sum(part[4]) for part in self.parts])

    def pieces(self, frame: bytes | memoryview) -> Iterator[tuple[list[Any], memoryview]]:
        """Each part with its own records."""
        view, at = memoryview(frame), 0
        for part in self.parts:
            end = at + sum(part[4]) * RECORD_BYTES
            yield part, view[at:end]
            at = end


class Diffs(NamedTuple):
    """What changed in a shard since the message before. `pairs` names new ones: [number, venue, symbol].

    `entries`: [pair number, change...], applied in order (a pair may come twice: before and after a boundary).
    A snapshot is the same message with every pair in it, as changes from zero.
    """

    epoch: int
    seq: int
    publish_ns: int
    pairs: list[list[Any]]
    entries: list[list[int]]

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        return cls(*_array(data, "diffs", cls))

    def pack(self) -> bytes:
        return pack(self)


class Closes(NamedTuple):
    """Candles closed or revised in a shard, in that order.

    A block is [venue, symbols, pairs, intervals, exact, real, big, metrics, patterns]: of each row the pair (its place
    in `symbols`) and the interval (its place in the table), and the columns of `market.blocks.Block`.
    """

    epoch: int
    seq: int
    publish_ns: int
    blocks: list[list[Any]]

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        return cls.of(unpack(data))

    @classmethod
    def of(cls, fields: Any) -> Self:
        closes = cls(*_checked(fields, "closes", cls))
        for block in closes.blocks:
            if type(block) is not list or [*map(type, block)] != _BLOCK or not _fits(block):
                raise WireError(f"closes have an impossible block: {shown(block)}")
        return closes

    @classmethod
    def of_rows(cls, epoch: int, seq: int, publish_ns: int, rows: list[list[Any]]) -> Self:
        """From rows as `rows` gives them, without their metrics."""
        width = len(FORMED_FIELDS)
        blocks = [
            [venue, [symbol], *Block.of([0], [NAMES.index(interval)], [row[:width]])]
            for venue, symbol, interval, *row in rows
        ]
        return cls(epoch, seq, publish_ns, blocks)

    @property
    def rows(self) -> list[list[Any]]:
        """[venue, symbol, interval, *CANDLE_FIELDS] of each."""
        return [
            [venue, symbols[pair], NAMES[interval], *row]
            for venue, symbols, *block in self.blocks
            for pair, interval, row in zip(block[0], block[1], Block(*block).rows(), strict=True)
        ]

    def pack(self) -> bytes:
        return pack(self)


_INTEGERS, _STRINGS = {int}, {str}
_BLOCK = [str, list, list, list, bytes, bytes, list, bytes, bytes]
_BYTES = bytes(range(256))
_EXACT, _REAL, _METRICS, _PATTERNS = *ROW_BYTES, *METRIC_BYTES


def _fits(block: list[Any]) -> bool:
    _, symbols, pairs, intervals, exact, real, big, metrics, patterns = block
    count = len(pairs)
    computed = count if metrics else 0
    return (
        len(intervals) == count
        and len(exact) == count * _EXACT
        and len(real) == count * _REAL
        and len(metrics) == computed * _METRICS
        and len(patterns) == computed * _PATTERNS
        and {*map(type, symbols)} <= _STRINGS
        and _are_places(pairs, len(symbols))
        and _are_places(intervals, len(NAMES))
        and (not big or _are_beside(big, count))
    )


def _are_places(values: list[Any], count: int) -> bool:
    """Whether all are places in a list of `count`."""
    if count <= len(_BYTES):  # nearly always: then this is a third of the work
        try:
            return not bytes(values).translate(None, _BYTES[:count])
        except (TypeError, ValueError):
            return False
    return not values or ({*map(type, values)} == _INTEGERS and min(values) >= 0 and max(values) < count)


def _are_beside(big: list[Any], count: int) -> bool:
    """Whether these are rows that came beside a block of so many."""
    return all(
        type(one) is list
        and [type(part) for part in one] == [int, list]
        and 0 <= one[0] < count
        and len(one[1]) == len(FORMED_FIELDS)
        for one in big
    )


class Snapshot(NamedTuple):
    """A shard's whole state, standing at these sequences of its two streams.

    `pairs` and `entries` as in Diffs, from zero; `recent`: the rows before each live candle, oldest first, as in
    Closes.
    """

    shard: int
    epoch: int
    diffs_seq: int
    closes_seq: int
    pairs: list[list[Any]]
    entries: list[list[int]]
    recent: list[list[Any]]

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        return cls(*_array(data, "a snapshot", cls))

    def pack(self) -> bytes:
        return pack(self)


class Request(NamedTuple):
    """Asked of a worker's ROUTER. `snapshot`: the shard's Snapshot. `closes`: the shard's Closes behind (epoch, after).

    The answer's frames: this request again, then for `snapshot` one Snapshot; for `closes` Kept, and a page of Closes
    (`pack_page`), oldest first, of whatever epochs: the worker's outbox has those of the processes before it too.
    (0, 0): from the oldest on.
    """

    kind: str
    shard: int
    epoch: int
    after: int

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        request = cls(*_array(data, "a request", cls))
        if request.kind not in ("snapshot", "closes"):
            raise WireError(f"a request is not one of snapshot, closes: {shown(request.kind)}")
        return request

    def pack(self) -> bytes:
        return pack(self)


class Kept(NamedTuple):
    """Of a shard's Closes, which a worker's outbox still has: from the oldest to the newest (zeros: none), and whether
    there are `more` behind this page.

    Who stands before the oldest has missed what is gone. A hole within is gone too.
    """

    oldest_epoch: int
    oldest_seq: int
    newest_epoch: int
    newest_seq: int
    more: bool

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        return cls(*_array(data, "what is kept", cls))

    def pack(self) -> bytes:
        return pack(self)


def pack_page(packed: Sequence[bytes]) -> list[bytes]:
    """Packed Closes in two frames: how long each is, and an array of all. A hundred small messages in a frame each cost
    their reader as much as what he does with them."""
    return [pack([*map(len, packed)]), joined(packed)]


def unpack_page(lengths: bytes, body: bytes) -> list[tuple[Closes, int]]:
    """Each with its length. WireError where one cannot be read: see `cut_page`."""
    packed, told = cut_page(lengths, body), unpack(body)
    if type(told) is not list or len(told) != len(packed):
        raise WireError(f"a page is not an array of {len(packed)} closes")
    return [*zip(map(Closes.of, told), map(len, packed), strict=True)]


def cut_page(lengths: bytes, body: bytes) -> list[memoryview]:
    """The messages of a page, packed."""
    sizes = unpack(lengths)
    if type(sizes) is not list or not {*map(type, sizes)} <= _INTEGERS or sum(sizes) != len(body) - ARRAY_HEAD:
        raise WireError(f"a page does not have what it tells of: {shown(sizes)}")
    view = memoryview(body)
    return [view[begin:end] for begin, end in pairwise(accumulate(sizes, initial=ARRAY_HEAD))]


class Watch(NamedTuple):
    """Told to a worker's ROUTER: the front has subscribers of the live metrics of these: [venue, symbol, interval].

    It replaces what the same front said before, and is good for WATCH_S. There is no answer.
    """

    streams: list[list[Any]]

    @staticmethod
    def is_one(data: bytes) -> bool:
        """Whether it is this, and no Request: the only array of one field that a ROUTER gets."""
        return data[:1] == b"\x91"

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        watch = cls(*_array(data, "a watch", cls))
        for one in watch.streams:
            if (
                type(one) is not list
                or [type(part) for part in one] != [str, str, int]
                or not 0 <= one[2] < len(NAMES)
            ):
                raise WireError(f"a watch has an impossible stream: {shown(one)}")
        return watch

    def pack(self) -> bytes:
        return pack(self)


WATCH_S = 3  # a front repeats it every second


def ticks_topic(venue: str, shard: int) -> bytes:
    return b"ticks.%s.%02d" % (venue.encode(), shard)


def diffs_topic(shard: int) -> bytes:
    return b"diffs.%02d" % shard


def closes_topic(shard: int) -> bytes:
    return b"closes.%02d" % shard


def live_topic(shard: int) -> bytes:
    return b"live.%02d" % shard


def stats_topic(process: str) -> bytes:
    return b"stats." + process.encode()


def book_topic(venue: str, shard: int) -> bytes:
    return b"book.%s.%02d" % (venue.encode(), shard)


def book_frames(
    venue: str, shard: int, symbol: str, event_ns: int, update_id: int, bids: list[list[str]], asks: list[list[str]]
) -> list[bytes]:
    """A book's best levels, best first, as the feed has them after a flush."""
    return [book_topic(venue, shard), pack([symbol, event_ns, update_id, bids, asks])]


def pack_trade(trade: Trade, recv_ns: int) -> bytes:
    """A trade as one RECORD."""
    return pack_record(
        trade[1], trade[2], trade[3], trade[5], trade[8], 0, recv_ns, trade[4], trade[6], TRADE, trade[7], 0
    )


def pack_quote(quote: Quote, recv_ns: int, event_ns: int | None = None) -> bytes:
    """Best bid and ask as one RECORD. `event_ns`: the venue's time; that of receipt where nothing better is known."""
    at_ns = recv_ns if event_ns is None else event_ns
    return pack_record(
        at_ns, quote[1], quote[2], quote[4], quote[3], quote[5], recv_ns, quote[6], quote[7], QUOTE, 0, 0
    )


def pack_depth(depth: BookDepth, recv_ns: int, event_ns: int, price_decimals: int) -> bytes:
    """What a book holds as one RECORD; `event_ns` is the venue's time. It has no price: it takes the pair's."""
    _, update_id, bid_top, ask_top, bid_near, ask_near, decimals = depth
    return pack_record(
        event_ns, update_id, bid_top, ask_top, bid_near, ask_near, recv_ns, price_decimals, decimals, DEPTH, 0, 0
    )
