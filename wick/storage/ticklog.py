"""The tick log in local files: what the feed received, appended before it is pushed to the workers.

A block is one flush: magic, CRC32 of all that follows it, lengths, the packed TickHeader with the parts of all
shards, the packed records. Segments are named by the time of their first block, so that names sort; the oldest are
deleted beyond the budget. `write` survives a killed process, since the kernel has the bytes; a crash of the machine can
lose what it has not written out yet. A reader stops a segment at the first block that is torn or fails its CRC.
"""

import logging
from collections.abc import Iterator, Sequence
from errno import ENOSPC
from pathlib import Path
from struct import Struct
from typing import BinaryIO
from zlib import crc32

from wick.errors import WireError
from wick.market.trades import RECORD_BYTES
from wick.wire.messages import TickHeader

SUFFIX = ".ticks"
SEGMENTS = "[0-9]" * 20 + SUFFIX
MAGIC = b"WTL2"
MAX_PART = 1 << 28  # a length beyond this is not one of ours
_HEAD = Struct("<4sIII")  # magic, crc, header length, records length
_LENGTHS = Struct("<II")  # the part of it that the CRC covers

log = logging.getLogger("wick")


def newest_ns(directory: Path) -> int:
    """The time by which the newest segment is named; -1 where there is none. No process that wrote one began later."""
    return max((int(segment.stem) for segment in directory.glob(SEGMENTS)), default=-1)


class TickLog:
    """The writer; one a directory."""

    def __init__(self, directory: Path, segment_bytes: int, budget_bytes: int) -> None:
        self._directory, self._segment_bytes, self._budget_bytes = directory, segment_bytes, budget_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file: BinaryIO | None = None
        self._segment: Path | None = None
        self._size = 0
        self.failed = 0  # blocks that could not be written

    def append(self, header: bytes, records: Sequence[bytes], now_ns: int) -> None:
        """Write a flush in one call. A failing disk is counted and logged, it stops nobody."""
        data = block(header, records)
        try:
            if self._file is None or self._size >= self._segment_bytes:
                self._rotate(now_ns)
            assert self._file is not None
            if self._file.write(data) != len(data):
                raise OSError(ENOSPC, "the disk took only a part of a block")
            self._size += len(data)
        except OSError as error:
            if not self.failed:
                log.error("the tick log cannot be written, going on without it: %s", error)
            self.failed += 1
            # What was written of the block is torn: a new segment follows when the disk takes it.
            self.close()
            self._drop_empty()

    def _drop_empty(self) -> None:
        """A segment without a whole block goes: while the disk is full there would be one for each try."""
        try:
            if self._segment is not None and not self._size:
                self._segment.unlink(missing_ok=True)
        except OSError:
            pass

    def _rotate(self, now_ns: int) -> None:
        self.close()
        self._segment = None
        segments = sorted(self._directory.glob(SEGMENTS))
        sizes = [segment.stat().st_size for segment in segments]
        newest = newest_ns(self._directory)
        while segments and sum(sizes) + self._segment_bytes > self._budget_bytes:
            segments.pop(0).unlink()
            sizes.pop(0)
        # Never before the newest, nor into it: the clock may have gone back.
        self._segment = self._directory / f"{max(now_ns, newest + 1):020d}{SUFFIX}"
        self._size = 0
        self._file = self._segment.open("xb", buffering=0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def block(header: bytes, records: Sequence[bytes]) -> bytes:
    lengths = _LENGTHS.pack(len(header), sum(map(len, records)))
    crc = crc32(header, crc32(lengths))
    for some in records:
        crc = crc32(some, crc)
    return b"".join([MAGIC, crc.to_bytes(4, "little"), lengths, header, *records])


def read(directory: Path, shards: frozenset[int]) -> Iterator[tuple[TickHeader, memoryview]]:
    """Of each flush that has something of these shards: their parts, and the records of these, in the same order.

    Oldest first, up to the end as it is now.
    """
    for segment in sorted(directory.glob(SEGMENTS)):
        try:
            data = segment.read_bytes()
        except FileNotFoundError:
            continue  # it was the oldest, and the feed has just let go of it
        view, at = memoryview(data), 0
        while at + _HEAD.size <= len(data):
            magic, crc, header_length, records_length = _HEAD.unpack_from(data, at)
            middle = at + _HEAD.size + header_length
            end = middle + records_length
            if magic != MAGIC or max(header_length, records_length) > MAX_PART or end > len(data):
                log.info("tick log segment %s ends in a torn block at byte %d", segment.name, at)
                break
            whole = crc32(view[at + _HEAD.size - _LENGTHS.size : end]) == crc
            header = _header(view[at + _HEAD.size : middle], records_length) if whole else None
            if header is None:
                log.error("tick log segment %s is damaged at byte %d: its rest is skipped", segment.name, at)
                break
            ours = _only(header, view[middle:end], shards)
            if ours is not None:
                yield ours
            at = end


def _header(data: memoryview, records_length: int) -> TickHeader | None:
    try:
        header = TickHeader.unpack(data)
    except WireError:
        return None
    return header if header.total * RECORD_BYTES == records_length else None


def _only(header: TickHeader, records: memoryview, shards: frozenset[int]) -> tuple[TickHeader, memoryview] | None:
    """What a flush has of these shards, if anything."""
    found = [(part, some) for part, some in header.pieces(records) if part[0] in shards]
    if len(found) == len(header.parts):
        return header, records
    if not found:
        return None
    parts = [part for part, _ in found]
    return header._replace(parts=parts), memoryview(b"".join([some for _, some in found]))
