"""Writing the tick log into local files. `ticklog` has their form."""

import logging
from collections.abc import Iterator, Sequence
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO

from wick.storage import ticklog
from wick.storage.ticklog import START, SUFFIX, Position
from wick.wire.messages import TickHeader

log = logging.getLogger("wick")


class FileLog:
    """The writer; one a directory."""

    def __init__(self, directory: Path, segment_bytes: int, budget_bytes: int) -> None:
        self.directory, self._segment_bytes, self._budget_bytes = directory, segment_bytes, budget_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file: BinaryIO | None = None
        self._segment: Path | None = None
        self._size = 0
        self.failed = 0  # blocks that could not be written

    def append(self, header: TickHeader, records: Sequence[bytes]) -> bool:
        """Write a flush in one call. A failing disk is counted and logged, it stops nobody."""
        position = header.epoch, header.block
        data = ticklog.block(position, header.pack(), records)
        try:
            if self._file is None or self._size >= self._segment_bytes:
                self._rotate(position)
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
            return False
        return True

    def read(self, shards: frozenset[int], after: Position = START) -> Iterator[tuple[TickHeader, memoryview]]:
        return ticklog.read(self.directory, shards, after)

    def positions(self) -> tuple[Position, Position] | None:
        return ticklog.positions(self.directory)

    def _drop_empty(self) -> None:
        """A segment without a whole block goes: while the disk is full there would be one for each try."""
        try:
            if self._segment is not None and not self._size:
                self._segment.unlink(missing_ok=True)
        except OSError:
            pass

    def _rotate(self, position: Position) -> None:
        self.close()
        self._segment = None
        segments = [path for _, path in ticklog.segments(self.directory)]
        sizes = [segment.stat().st_size for segment in segments]
        while segments and sum(sizes) + self._segment_bytes > self._budget_bytes:
            segments.pop(0).unlink()
            sizes.pop(0)
        self._segment = self.directory / f"{position[0]:020d}-{position[1]:010d}{SUFFIX}"
        self._size = 0
        self._file = self._segment.open("xb", buffering=0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
