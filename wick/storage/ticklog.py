"""The tick log: what the feed received, written before it is pushed to the workers. A port, and its form in files.

A block is one flush of a venue: MAGIC, CRC32 of all that follows it, its position (the feed's epoch, the flush's
number), lengths, the packed TickHeader with the parts of all shards, the packed records. Positions only grow. Segments
are named by the position of their first block, so a reader goes straight to where it has to begin, and passes over what
it has by the heads alone. A segment begins with a block of TAILS (`stream.tails`): where every pair's trades stood. A
reader stops a segment at the first block that is torn or fails its CRC. `storage.logwriter` writes.
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

log = logging.getLogger("wick")


class TickLog(Protocol):
    """What a feed writes to, and workers read from, wherever the log is kept."""

    def append(self, header: TickHeader, records: Sequence[bytes]) -> bool:
        """Log a flush; false where that failed. When it is there, a killed process loses nothing of it any more."""

    def read(self, shards: frozenset[int], after: Position = START) -> Iterator[tuple[TickHeader, memoryview]]:
        """What the log has of these shards behind `after`, in order."""

    def positions(self) -> tuple[Position, Position] | None:
        """Of the oldest and the newest flush; None of an empty log."""

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
    """The whole blocks of a segment behind `after`, up to what is torn or damaged, which is said.

    What is not behind it is passed over unseen: whoever asks so has had it.
    """
    view, at = memoryview(data), 0
    while at + HEAD.size <= len(data):
        magic, crc, epoch, number, header_length, records_length = HEAD.unpack_from(data, at)
        middle = at + HEAD.size + header_length
        end = middle + records_length
        if magic not in (TICKS, TAILS) or max(header_length, records_length) > MAX_PART or end > len(data):
            log.info("tick log segment %s ends in a torn block at byte %d", name, at)
            return
        if (epoch, number) > after:
            if crc32(view[at + _CHECKED_AT : end]) != crc:
                log.error("tick log segment %s is damaged at byte %d: its rest is skipped", name, at)
                return
            header, records = view[at + HEAD.size : middle], view[middle:end]
            yield Block(at, end, (epoch, number), header, records, magic == TAILS)
        at = end


def read(directory: Path, shards: frozenset[int], after: Position = START) -> Iterator[tuple[TickHeader, memoryview]]:
    """Of each flush behind `after` that has something of these shards: their parts, and their records.

    In the order of the log, up to the end as it is now.
    """
    found = segments(directory)
    for place, (_, path) in enumerate(found):
        if place + 1 < len(found) and found[place + 1][0] <= (after[0], after[1] + 1):
            continue  # whatever it has comes before what the next one begins with
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # it was the oldest, and the feed has just let go of it
        for one in blocks(data, path.name, after):
            if one.is_tails:
                continue
            header = ticks_of(one)
            if header is None:
                log.error("tick log segment %s makes no sense at byte %d: its rest is skipped", path.name, one.at)
                break
            ours = _only(header, one.records, shards)
            if ours is not None:
                yield ours


def positions(directory: Path) -> tuple[Position, Position] | None:
    """Of the oldest and the newest flush; None where there is none. The newest segment is looked through."""
    found = segments(directory)
    for first, path in reversed(found):
        newest = [one.position for one in blocks(path.read_bytes(), path.name) if not one.is_tails]
        if newest:
            return min(found[0][0], first), newest[-1]
    return None


def ticks_of(one: Block) -> TickHeader | None:
    """The header of a block of ticks; None where it makes no sense."""
    try:
        header = TickHeader.unpack(one.header)
    except WireError:
        return None
    fits = header.total * RECORD_BYTES == len(one.records) and (header.epoch, header.block) == one.position
    return header if fits else None


def _only(header: TickHeader, records: memoryview, shards: frozenset[int]) -> tuple[TickHeader, memoryview] | None:
    """What a flush has of these shards, if anything."""
    found = [(part, some) for part, some in header.pieces(records) if part[0] in shards]
    if len(found) == len(header.parts):
        return header, records
    if not found:
        return None
    parts = [part for part, _ in found]
    return header._replace(parts=parts), memoryview(b"".join([some for _, some in found]))
