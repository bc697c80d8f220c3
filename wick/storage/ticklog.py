"""The tick log: what the feed received, written before it is pushed to the workers. A port, and its form in files.

A block is one flush of a venue: MAGIC, CRC32 of all that follows it, its position (the feed's epoch, the flush's
number), lengths, the packed TickHeader with the parts of all shards, the packed records. Positions only grow. Segments
are named by the position of their first block, so a reader goes straight to where it has to begin, and passes over what
it has by the heads alone. A segment begins with a block of TAILS (`stream.tails`): where every pair's trades stood. A
reader leaves out what is torn or fails its CRC, and goes on at the next whole block. `storage.logwriter` writes.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import NamedTuple, Protocol
from zlib import crc32

from wick.errors import WireError
from wick.market.trades import RECORD_BYTES
from wick.wire.messages import TickHeader

SUFFIX = ".ticks"
SEGMENTS = "[0-9]" * 20 + "-" + "[0-9]" * 10 + "*" + SUFFIX
TICKS, TAILS = b"WTL3", b"WTT3"  # what a block has; the number is the version of its form
MAX_PART = 1 << 28  # a length beyond this is not one of ours
HEAD = Struct("<4sIQQII")  # magic, crc, epoch, block, length of the header, of the records
_CHECKED = Struct("<QQII")  # the part of it that the CRC covers
_CHECKED_AT = HEAD.size - _CHECKED.size

Position = tuple[int, int]  # epoch of the feed, number of its flush; they sort
START: Position = (0, 0)  # before every block
Shards = frozenset[int] | None  # None: all
Flush = tuple[TickHeader, memoryview]  # and its records

log = logging.getLogger("wick")


class TickLog(Protocol):
    """What a feed writes to, and workers read from, wherever the log is kept. One writer at a time."""

    @property
    def newest(self) -> Position:
        """Of the newest flush; or of none that is, behind which a writer has begun."""

    @property
    def is_failing(self) -> bool:
        """Whether what is appended is not logged now."""

    def begin(self, position: Position, tails: bytes, now_ns: int) -> bool:
        """Say where every pair stands before that flush. Called first, and later when `is_due`, between two flushes."""

    def is_due(self, now_ns: int) -> bool:
        """Whether to begin anew: enough is written since it was last said, or nothing could be written."""

    def append(self, header: TickHeader, records: Sequence[bytes]) -> bool:
        """Log a flush; false where that failed. What is logged outlives the process."""

    def read(self, shards: Shards, after: Position = START) -> Iterator[Flush]:
        """What the log has of these shards behind `after`, in order."""

    def last(self) -> tuple[bytes, Iterator[Flush]]:
        """What was last said of where every pair stands, and the flushes since."""

    def positions(self) -> tuple[Position, Position] | None:
        """Of the oldest and the newest flush; None of an empty log."""

    def gauges(self) -> dict[str, int]:
        """What it says of itself, for `wick status`."""

    def close(self) -> None: ...


class Block(NamedTuple):
    """A block that is whole: its bytes are as they were written."""

    at: int  # where in its segment it begins
    end: int
    position: Position
    header: memoryview
    records: memoryview
    is_tails: bool


def segments(directory: Path) -> list[tuple[Position, Path]]:
    """The segments, in order, each with the position of its first block."""
    found = []
    for path in directory.glob(SEGMENTS):
        epoch, _, block = path.stem.partition("-")
        if block.isdigit():
            found.append(((int(epoch), int(block)), path))
    return sorted(found)


def block(position: Position, header: bytes, records: Sequence[bytes], magic: bytes = TICKS) -> bytes:
    checked = _CHECKED.pack(*position, len(header), sum(map(len, records)))
    crc = crc32(header, crc32(checked))
    for some in records:
        crc = crc32(some, crc)
    return b"".join([magic, crc.to_bytes(4, "little"), checked, header, *records])


def blocks(data: bytes, name: str, after: Position = START) -> Iterator[Block]:
    """The whole blocks of a segment behind `after`; what is torn or damaged is said, and passed over.

    What is not behind it is passed over unseen: whoever asks so has had it.
    """
    view, at = memoryview(data), 0
    while at < len(data):
        one = _block(view, at)
        if one is None or (one.position > after and not _is_whole(view, one)):
            at, bad = _next_whole(data, at + 1), at
            if at < 0:
                log.info("tick log segment %s ends in a torn block at byte %d", name, bad)
                return
            log.error("tick log segment %s is damaged from byte %d to %d", name, bad, at)
            continue
        if one.position > after:
            yield one
        at = one.end


def _block(view: memoryview, at: int) -> Block | None:
    """What begins there, if it looks like a block."""
    if at + HEAD.size > len(view):
        return None
    magic, _, epoch, number, header_length, records_length = HEAD.unpack_from(view, at)
    middle = at + HEAD.size + header_length
    end = middle + records_length
    if magic not in (TICKS, TAILS) or max(header_length, records_length) > MAX_PART or end > len(view):
        return None
    return Block(at, end, (epoch, number), view[at + HEAD.size : middle], view[middle:end], magic == TAILS)


def _is_whole(view: memoryview, one: Block) -> bool:
    crc: int = HEAD.unpack_from(view, one.at)[1]
    return crc32(view[one.at + _CHECKED_AT : one.end]) == crc


def _next_whole(data: bytes, at: int) -> int:
    """Where the next block that is whole begins; -1 where there is none."""
    view = memoryview(data)
    while (at := data.find(TICKS, at)) >= 0:
        one = _block(view, at)
        if one is not None and _is_whole(view, one):
            return at
        at += 1
    return -1


def read(directory: Path, shards: Shards, after: Position = START) -> Iterator[Flush]:
    """Of each flush behind `after` that has something of these shards: their parts, and their records.

    In the order of the log, up to the end as it is now.
    """
    found = segments(directory)
    for place, (_, path) in enumerate(found):
        if place + 1 < len(found) and found[place + 1][0] <= (after[0], after[1] + 1):
            continue  # whatever it has comes before what the next one begins with
        for one in blocks(_content(path), path.name, after):
            if one.is_tails:
                continue
            header = ticks_of(one)
            if header is None:
                log.error("tick log segment %s makes no sense at byte %d: that block is left out", path.name, one.at)
                continue
            ours = _only(header, one.records, shards)
            if ours is not None:
                yield ours


def positions(directory: Path) -> tuple[Position, Position] | None:
    """Of the oldest and the newest flush; None where there is none. The newest segment is looked through."""
    found = segments(directory)
    for _, path in reversed(found):
        newest = [one.position for one in _flushes(path)]
        if newest:
            return next((one.position for _, path in found for one in _flushes(path)), newest[0]), newest[-1]
    return None


def last(directory: Path) -> tuple[bytes, Iterator[Flush]]:
    """The newest TAILS, and the flushes since."""
    for _, path in reversed(segments(directory)):
        for one in blocks(_content(path), path.name):
            if one.is_tails:
                epoch, number = one.position
                return bytes(one.records), read(directory, None, (epoch, number - 1))
    return b"", iter(())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # it was the oldest, and the feed has just let go of it
    except OSError as error:
        log.error("tick log segment %s cannot be read, it is left out: %s", path.name, error)
        return b""


def _flushes(path: Path) -> Iterator[Block]:
    return (one for one in blocks(_content(path), path.name) if not one.is_tails)


def ticks_of(one: Block) -> TickHeader | None:
    """The header of a block of ticks; None where it makes no sense."""
    try:
        header = TickHeader.unpack(one.header)
    except WireError:
        return None
    fits = header.total * RECORD_BYTES == len(one.records) and (header.epoch, header.block) == one.position
    return header if fits else None


def _only(header: TickHeader, records: memoryview, shards: Shards) -> Flush | None:
    """What a flush has of these shards, if anything."""
    if shards is None:
        return header, records
    found = [(part, some) for part, some in header.pieces(records) if part[0] in shards]
    if len(found) == len(header.parts):
        return header, records
    if not found:
        return None
    parts = [part for part, _ in found]
    return header._replace(parts=parts), memoryview(b"".join([some for _, some in found]))
