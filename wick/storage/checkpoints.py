"""Checkpoints of a shard: its saved state and the position in the tick log up to which the state has taken all.

A file is a generation. It begins with a whole state; what follows are checkpoints too, each the pages that changed
since the one before: most of a state is history that stays as it is. A new generation is begun, in a temporary file
that is synced and renamed, when the changes have become much larger than the state; the one before is kept. So whatever
is torn or damaged, there is an older checkpoint, and a longer replay.

A frame: MAGIC with the version, CRC32 of all that follows it, position (epoch, block), bytes of the note, of the whole
state, number of pages; the note, the pages' numbers, the pages. The note is the caller's, whole each time.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from wick.ops.process import AlreadyRunningError, sign
from wick.storage.outbox import sync_directory
from wick.storage.ticklog import Position
from wick.stream.shards import SHARDS

SUFFIX = ".checkpoint"
GENERATIONS = "[0-9]" * 12 + SUFFIX
MAGIC = b"WCP1"
PAGE = 256  # bytes: a pair's candle of one interval and a ring's row of ten pairs are about as large
NO_EPOCH = 1 << 62  # ns: the year 2116; a head that says so is damaged
MOST = 4  # times as large as a whole state may a generation become: what is written is a third more than the changes
LEAST = 1 << 16  # bytes of changes for which no new generation is worth its rename
_HEAD = Struct("<4sIQQIII")  # magic, crc, epoch, block, bytes of the note, of the state, pages
_COVERED_AT = 8
_NUMBER = np.dtype("<u4")

log = logging.getLogger("wick")


class Checkpoint(NamedTuple):
    position: Position
    note: bytes
    state: bytes


class Written(NamedTuple):
    """What a write cost."""

    bytes: int
    is_whole: bool


def shard_directory(data_dir: Path, shard: int) -> Path:
    return data_dir / "shards" / f"{shard:02d}"


def hold(directory: Path) -> BinaryIO:
    """The right to write a shard's files, as long as the returned file is open. AlreadyRunningError where another
    process has it: a worker that nobody supervises any more, or one of another `aggregator.workers`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (directory / "lock").open("ab+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().decode().strip() or "unknown"
        file.close()
        raise AlreadyRunningError(
            f"another worker (process {holder}) still writes {directory}; stop it first"
        ) from None
    sign(file)
    return file


class Checkpoints:
    """The writer, and the reader before it; one a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in directory.glob("*.part"):
            unfinished.unlink()
        self._appendable = False  # what we have written ourselves, to the end

    def load(self) -> Iterator[Checkpoint]:
        """What there is, newest first: the last whole one of each generation. Who cannot use one takes the next."""
        for path in reversed(_generations(self.directory)):
            try:
                newest, _ = _read(path)
            except OSError as error:
                log.error("checkpoints in %s cannot be read: %s", path, error)
                continue
            if newest is not None:
                yield newest

    def write(self, position: Position, note: bytes, state: bytes) -> Written:
        """When this returns, a crash of the machine leaves this checkpoint. OSError, and the older ones stay.

        The one before is read back to find what has changed: it is cheaper than to keep it. What cannot be read, or is
        another's, is not gone on with."""
        generations = _generations(self.directory)
        if generations and self._appendable:
            try:
                before, size = _read(generations[-1])
            except OSError:
                before = None
            if before is not None:
                frame = _frame(position, note, state, _changed(before.state, state))
                if size + len(frame) < MOST * len(state) + LEAST:
                    self._append(generations[-1], size, frame)
                    return Written(len(frame), False)
        frame = _frame(position, note, state, np.arange(-(-len(state) // PAGE), dtype=_NUMBER))
        self._begin(generations, frame)
        return Written(len(frame), True)

    def _append(self, path: Path, size: int, frame: bytes) -> None:
        self._appendable = False
        with path.open("r+b", buffering=0) as file:
            file.truncate(size)
            file.seek(size)
            _write(file, frame)
        self._appendable = True

    def _begin(self, generations: list[Path], frame: bytes) -> None:
        number = int(generations[-1].stem) + 1 if generations else 1
        path = self.directory / f"{number:012d}{SUFFIX}"
        part = path.with_suffix(".part")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have deleted it
        try:
            with part.open("wb", buffering=0) as file:
                _write(file, frame)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        part.replace(path)
        sync_directory(self.directory)
        for old in generations[:-1]:
            old.unlink()
        self._appendable = True


def passed(data_dir: Path) -> Position | None:
    """The position that all shards have passed with the checkpoint before their newest: what comes behind it in the log
    is needed even where the newest is torn. None where a shard has none. (Where a whole generation is damaged the log
    goes further back only as far as `ticklog.keep_s`.)"""
    each = [_positions(shard_directory(data_dir, shard)) for shard in range(SHARDS)]
    return min(found[-2:][0] for found in each) if all(each) else None


def newest_epoch(data_dir: Path) -> int:
    """Of the feeds that checkpoints have heard of; 0: of none."""
    each = [_positions(shard_directory(data_dir, shard)) for shard in range(SHARDS)]
    return max([epoch for found in each for epoch, _ in found], default=0)


def _positions(directory: Path) -> list[Position]:
    """Of its checkpoints, oldest first, by the heads of the frames."""
    found: list[Position] = []
    for path in _generations(directory):
        try:
            with path.open("rb") as file:
                size, at = os.fstat(file.fileno()).st_size, 0
                while len(head := os.pread(file.fileno(), _HEAD.size, at)) == _HEAD.size:
                    magic, _, epoch, block, note, _, pages = _HEAD.unpack(head)
                    at += _HEAD.size + note + pages * (_NUMBER.itemsize + PAGE)
                    if magic != MAGIC or at > size or epoch >= NO_EPOCH:
                        break
                    found.append((epoch, block))
        except OSError:
            continue  # it has just made way, or cannot be read, which its worker says
    return found


def _generations(directory: Path) -> list[Path]:
    return sorted(directory.glob(GENERATIONS))


def _write(file: BinaryIO, frame: bytes) -> None:
    if file.write(frame) != len(frame):
        raise OSError("the disk took only a part of a checkpoint")
    os.fdatasync(file.fileno())


def _pages(state: bytes) -> NDArray[np.uint64]:
    """(pages, words of a page); the last page is filled up with zeros."""
    padded = state + bytes(-len(state) % PAGE)
    return np.frombuffer(padded, np.uint64).reshape(-1, PAGE // 8)


def _changed(before: bytes, state: bytes) -> NDArray[np.uint32]:
    """The numbers of the pages that are not as they were."""
    was, now = _pages(before), _pages(state)
    both = min(len(was), len(now))
    changed = np.flatnonzero((was[:both] != now[:both]).any(axis=1))
    return np.concatenate([changed, np.arange(both, len(now))]).astype(_NUMBER)


def _frame(position: Position, note: bytes, state: bytes, numbers: NDArray[np.uint32]) -> bytes:
    pages = _pages(state)[numbers].tobytes()
    parts = [note, numbers.tobytes(), pages]
    head = _HEAD.pack(MAGIC, 0, *position, len(note), len(state), len(numbers))
    crc = crc32(head[_COVERED_AT:])
    for part in parts:
        crc = crc32(part, crc)
    return b"".join([MAGIC, crc.to_bytes(4, "little"), head[_COVERED_AT:], *parts])


def _read(path: Path) -> tuple[Checkpoint | None, int]:
    """The newest whole checkpoint of a generation, and where it ends: before what is torn, damaged or not of ours."""
    data = path.read_bytes()
    view, at, newest = memoryview(data), 0, None
    image = np.zeros((0, PAGE // 8), np.uint64)
    while at + _HEAD.size <= len(data):
        magic, crc, epoch, block, note_bytes, state_bytes, count = _HEAD.unpack_from(data, at)
        numbers_at = at + _HEAD.size + note_bytes
        pages_at = numbers_at + count * _NUMBER.itemsize
        end = pages_at + count * PAGE
        if magic != MAGIC or end > len(data) or crc32(view[at + _COVERED_AT : end]) != crc:
            break
        pages = -(-state_bytes // PAGE)
        if pages != len(image):
            before, image = image[:pages], np.zeros((pages, PAGE // 8), np.uint64)
            image[: len(before)] = before
        numbers = np.frombuffer(view[numbers_at:pages_at], _NUMBER)
        image[numbers] = np.frombuffer(view[pages_at:end], np.uint64).reshape(-1, PAGE // 8)
        newest, at = (epoch, block, at + _HEAD.size, numbers_at, state_bytes), end
    if at < len(data):
        log.error("checkpoints in %s are torn or damaged at byte %d: those before it are used", path, at)
    if newest is None:
        return None, 0
    epoch, block, note_at, note_end, state_bytes = newest
    return Checkpoint((epoch, block), bytes(view[note_at:note_end]), image.tobytes()[:state_bytes]), at
