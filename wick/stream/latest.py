"""The latest state as keys and values, for Redis: what other programs read, and a front boots from. Pure.

| key | value: a msgpack map |
|---|---|
| `wick:pair:VENUE:SYMBOL` | PAIR: the pair's state and its live candle of every interval |
| `wick:closed:VENUE:SYMBOL:INTERVAL` | CLOSED_ROWS: the last closed candles, with metrics and patterns |
| `wick:shard:NN` | SHARD: the pairs that there are, and where the shard's stream of changes stands |

docs/redis.md tells them field by field. Values name their fields, so a reader needs no table. They are put together
from packed parts: of a pair that trades only its head is packed anew, and of its live candles those that changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from wick.errors import WireError, shown
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, HEAD_FIELDS, LIVE_FIELDS, STATE_WIDTHS
from wick.stream import diffs
from wick.stream.mirror import ShardMirror
from wick.wire.codec import Packer, pack, unpack
from wick.wire.messages import Snapshot

Pair = tuple[str, str]

_NUMBERS: Final = {int, float, type(None)}
_INT64: Final = 2**63
VERSION: Final = 1  # of the values: a reader of another one finds nothing
PAIR: Final = ("version", "venue", "symbol", "fields", "candle_fields", "position", "state", "candles")
CLOSED_ROWS: Final = ("version", "venue", "symbol", "interval", "fields", "rows")
SHARD: Final = ("version", "epoch", "seq", "time_ms", "pairs")

_packer = Packer()


def pair_key(venue: str, symbol: str) -> bytes:
    return f"wick:pair:{venue}:{symbol}".encode()


def closed_key(venue: str, symbol: str, interval: str) -> bytes:
    return f"wick:closed:{venue}:{symbol}:{interval}".encode()


def shard_key(shard: int) -> bytes:
    return b"wick:shard:%02d" % shard


def keys_of(pair: Pair) -> list[bytes]:
    """All of a pair's."""
    return [pair_key(*pair), *(closed_key(*pair, interval) for interval in NAMES)]


# ---------------------------------------------------------------------- values


def _map(names: Sequence[str], known: Iterable[Any]) -> bytes:
    """The beginning of a map of these names: as many of the values as are known."""
    assert len(names) < 16
    items = b"".join([pack(name) + pack(value) for name, value in zip(names, known, strict=False)])
    return bytes([0x80 | len(names)]) + items


def _array(parts: Sequence[bytes]) -> bytes:
    """An array of what is packed already, of fewer than 16."""
    assert len(parts) < 16
    return bytes([0x90 | len(parts)]) + b"".join(parts)


_STATE, _POSITION = pack("state"), pack("position")
_CANDLES = pack("candles") + bytes([0x80 | len(NAMES)])
_NAMES: Final = [(b"" if at else _CANDLES) + pack(name) for at, name in enumerate(NAMES)]  # what stands before each


def position(epoch: int, seq: int, time_ms: int) -> bytes:
    """What all pairs have in common of which a shard tells at once."""
    return _POSITION + pack([epoch, seq, time_ms]) + _STATE


class PairParts:
    """A pair's value in parts, those of its live candles as they were packed last."""

    __slots__ = ("_parts", "key")

    def __init__(self, pair: Pair, groups: Sequence[Sequence[int]]) -> None:
        self.key = pair_key(*pair)
        self._parts = [_map(PAIR, (VERSION, *pair, HEAD_FIELDS, LIVE_FIELDS)), b"", b"", *_NAMES]
        self.candles(groups, (1 << len(groups)) - 1)

    def candles(self, groups: Sequence[Sequence[int]], changed: int) -> None:
        """Take the live candles of these groups, a bit each; the first is the head."""
        changed &= ~1
        while changed:
            number = changed.bit_length() - 1
            self._parts[2 + number] = _NAMES[number - 1] + _packer.pack(groups[number])
            changed ^= 1 << number

    def value(self, position: bytes, head: Sequence[int]) -> bytes:
        parts = self._parts
        parts[1], parts[2] = position, _packer.pack(head)
        return b"".join(parts)


def closed_value(pair: Pair, interval: str, rows: Sequence[bytes]) -> bytes:
    """Of packed rows, oldest first."""
    return _map(CLOSED_ROWS, (VERSION, *pair, interval, CANDLE_FIELDS)) + pack("rows") + _array(rows)


def shard_pairs(mirror: ShardMirror) -> bytes:
    """The part of a shard's value that is as long as its pairs are the same."""
    return pack("pairs") + pack([[number, *name] for number, name in mirror.names.items()])


def shard_value(mirror: ShardMirror, time_ms: int, pairs: bytes) -> bytes:
    return _map(SHARD, (VERSION, mirror.epoch, mirror.seq, time_ms)) + pairs


# ---------------------------------------------------------------------- and back


class Stored(NamedTuple):
    """What is stored of a shard: where it stands, and as of when."""

    epoch: int
    seq: int
    time_ms: int
    pairs: list[list[Any]]  # [number, venue, symbol]


def stored(value: bytes | None) -> Stored | None:
    """Of a shard's value; None where there is none of this version. WireError where it is no such value."""
    known = _fields(value, SHARD)
    if known is None:
        return None
    epoch, seq, time_ms, pairs = known[1:]
    if {type(epoch), type(seq), type(time_ms)} != {int} or not 0 <= seq < _INT64 or type(pairs) is not list:
        raise WireError(f"an impossible shard: {shown(known)}")
    for pair in pairs:
        if type(pair) is not list or [type(part) for part in pair] != [int, str, str]:
            raise WireError(f"an impossible pair of a shard: {shown(pair)}")
    return Stored(epoch, seq, time_ms, pairs)


def snapshot(shard: int, known: Stored, values: Mapping[bytes, bytes | None]) -> Snapshot:
    """What a reader that begins can stand on until it hears of the worker: of the shard's pairs those that are among
    these values. Its `closes_seq` says nothing. WireError where a value is not what it should be."""
    pairs: list[list[Any]] = []
    entries: list[list[int]] = []
    recent: list[list[Any]] = []
    zero = [[0] * width for width in STATE_WIDTHS]
    for number, venue, symbol in known.pairs:
        groups = _groups(values.get(pair_key(venue, symbol)))
        if groups is None:
            continue
        pairs.append([number, venue, symbol])
        entries.append([number, *diffs.make(zero, groups)])
        for interval in NAMES:
            rows = _rows(values.get(closed_key(venue, symbol, interval)))
            recent += [[venue, symbol, interval, *row] for row in rows]
    return Snapshot(shard, known.epoch, known.seq, 0, pairs, entries, recent)


def _fields(value: bytes | None, names: Sequence[str]) -> list[Any] | None:
    """The values of a map's fields in order; None where it is not there, or of another version."""
    if value is None:
        return None
    found = unpack(value)
    if type(found) is not dict:
        raise WireError(f"a stored value is no map: {shown(found)}")
    if found.get("version") != VERSION:
        return None
    if tuple(found) != tuple(names):
        raise WireError(f"a stored value has not the fields {', '.join(names)}: {shown(found)}")
    return [*found.values()]


def _groups(value: bytes | None) -> list[list[int]] | None:
    """The groups of a pair's value, if its fields are ours."""
    known = _fields(value, PAIR)
    if known is None or known[3:5] != [list(HEAD_FIELDS), list(LIVE_FIELDS)]:
        return None
    head, candles = known[6:]
    if type(candles) is not dict or tuple(candles) != tuple(NAMES):
        raise WireError(f"impossible live candles: {shown(candles)}")
    groups = [head, *candles.values()]
    for group, width in zip(groups, STATE_WIDTHS, strict=True):
        if type(group) is not list or len(group) != width or {*map(type, group)} != {int}:
            raise WireError(f"an impossible part of a state: {shown(group)}")
    return groups


def _rows(value: bytes | None) -> list[list[Any]]:
    known = _fields(value, CLOSED_ROWS)
    if known is None or known[4] != list(CANDLE_FIELDS):
        return []
    rows: list[list[Any]] = known[5]
    if type(rows) is not list:
        raise WireError(f"impossible rows: {shown(rows)}")
    for row in rows:
        if (
            type(row) is not list
            or len(row) != len(CANDLE_FIELDS)
            or {*map(type, row[:4])} != {int}
            or {*map(type, row[4:-1])} - _NUMBERS  # the last are patterns
            or not 0 <= row[0] < _INT64
        ):
            raise WireError(f"an impossible row: {shown(row)}")
    return rows
