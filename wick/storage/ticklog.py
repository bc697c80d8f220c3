"""The tick log in local files: what the feed received, appended before it is pushed to the workers.

A block is one batch: magic, CRC32 of all that follows it, shard and lengths, the packed TickHeader, the packed
records. Segments are named by the time of their first block, so that names sort; the oldest are deleted beyond
the budget. `write` survives a killed process, since the kernel has the bytes; a crash of the machine can lose
what it has not written out yet. A reader stops a segment at the first block that is torn or fails its CRC.
"""

import logging
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path
from struct import Struct
from typing import BinaryIO
from zlib import crc32

from wick.errors import WireError
from wick.wire.messages import TickHeader

SUFFIX = ".ticks"
SEGMENTS = "[0-9]" * 20 + SUFFIX
MAGIC = b"WTL1"
MAX_PART = 1 << 28  # a length beyond this is not one of ours
_HEAD = Struct("<4sIIII")  # magic, crc, shard, header length, records length
_CHECKED = Struct("<III")  # the part of it that the CRC covers

log = logging.getLogger("wick")


class TickLog:
    """The writer; one a directory."""

    def __init__(self, directory: Path, segment_bytes: int, budget_bytes: int) -> None:
        self._directory, self._segment_bytes, self._budget_bytes = directory, segment_bytes, budget_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file: BinaryIO | None = None
        self._segment: Path | None = None
        self._size = 0
        self.failed = 0  # batches that could not be written

    def append(self, batches: list[tuple[int, bytes, bytes]], now_ns: int) -> None:
        """Write (shard, header, records) batches in one call. A failing disk is counted and logged, it stops nobody."""
        data = b"".join([block(shard, header, records) for shard, header, records in batches])
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
            self.failed += len(batches)
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
        newest = int(segments[-1].stem) if segments else -1
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


def block(shard: int, header: bytes, records: bytes) -> bytes:
    checked = _CHECKED.pack(shard, len(header), len(records)) + header + records
    return MAGIC + crc32(checked).to_bytes(4, "little") + checked


def read(directory: Path, shards: frozenset[int]) -> Iterator[tuple[TickHeader, bytes]]:
    """The batches of these shards, oldest first, up to the end as it is now."""
    for segment in sorted(directory.glob(SEGMENTS)):
        try:
            data = segment.read_bytes()
        except FileNotFoundError:
            continue  # it was the oldest, and the feed has just let go of it
        view, at = memoryview(data), 0
        while at + _HEAD.size <= len(data):
            magic, crc, shard, header_length, records_length = _HEAD.unpack_from(data, at)
            middle = at + _HEAD.size + header_length
            end = middle + records_length
            if magic != MAGIC or max(header_length, records_length) > MAX_PART or end > len(data):
                log.info("tick log segment %s ends in a torn block at byte %d", segment.name, at)
                break
            # Of other shards too: a damaged block may be one of ours.
            whole = crc32(view[at + _HEAD.size - _CHECKED.size : end]) == crc
            header = _header(view[at + _HEAD.size : middle]) if whole and shard in shards else None
            if not whole or (header is None and shard in shards):
                log.error("tick log segment %s is damaged at byte %d: its rest is skipped", segment.name, at)
                break
            if header is not None:
                yield header, data[middle:end]
            at = end


def _header(data: memoryview) -> TickHeader | None:
    try:
        return TickHeader.unpack(data)
    except WireError:
        return None
