"""The outbox of a shard: every Closes message, written before it is published, for a sink that missed some.

Segments are named by the position of their first message, so that names sort; the oldest go beyond the budget. A frame
is its CRC32, length, epoch, sequence, message. `write` survives a killed process; `sync`, before a checkpoint that has
passed these messages, makes them survive the machine. What a full disk does not take waits in memory, bounded.
"""

import logging
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple
from zlib import crc32

from wick.wire.messages import Kept

SUFFIX = ".closes"
SEGMENTS = "[0-9]" * 20 + "-" + "[0-9]" * 12 + SUFFIX
ANEW = ".anew"
SHARES = 8  # a segment is such a part of the budget: so much goes at once
PAGE_BYTES = 1 << 20  # of an answer
MOST_WAITING = 8 << 20  # bytes of messages that the disk has not taken; on full: the oldest are let go of, counted
_HEAD = Struct("<IIQQ")  # crc of what follows it, length of the message, epoch, seq
_COVERED = Struct("<IQQ")  # the part of it that the CRC covers
Position = tuple[int, int]  # epoch, seq

log = logging.getLogger("wick")


class Page(NamedTuple):
    """An answer: what is kept at all, and messages in their order."""

    kept: Kept
    messages: list[bytes]


class Outbox:
    """The writer, and the only reader; one a directory. `newest`: the newest message that it was ever given."""

    def __init__(self, directory: Path, budget_bytes: int) -> None:
        self.directory = directory
        self._budget_bytes = budget_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in directory.glob(f"*{ANEW}"):
            unfinished.unlink()
        self._segments = {path: path.stat().st_size for path in sorted(directory.glob(SEGMENTS))}  # in order
        self._file: BinaryIO | None = None  # the newest of them
        self._waiting: deque[tuple[Position, bytes]] = deque()
        self._waiting_bytes = 0
        self._is_failing = False
        # With bytes that a crash would lose (of those found a killed process may have left some); whether one must be
        # written anew.
        self._unsynced = dict.fromkeys(self._segments, False)
        self._ended: set[Path] = set()  # that a sync has failed on: what we would write to is soon another file
        self.lost = self.cut = 0  # messages that no disk took, and segments that made way
        self.newest = self._open()

    def _open(self) -> Position:
        """Cut what a crash has torn, to go on behind it; the newest position."""
        while self._segments:
            segment = next(reversed(self._segments))
            newest, size = (0, 0), 0
            try:
                data = segment.read_bytes()
            except OSError as error:
                log.error("outbox segment %s cannot be read: %s", segment, error)
                return _first(segment)
            for newest, size, _ in _frames(data):  # noqa: B007  (the last)
                pass
            if size:
                if size < self._segments[segment]:
                    log.warning("outbox segment %s ends in a torn message: cut at byte %d", segment, size)
                    os.truncate(segment, size)
                self._file = segment.open("ab", buffering=0)
                self._segments[segment] = size
                return newest
            segment.unlink()
            del self._segments[segment], self._unsynced[segment]
        return 0, 0

    # ------------------------------------------------------------------ in

    def append(self, epoch: int, seq: int, message: bytes) -> None:
        """Before it is published. A disk that does not take it is logged, and stops nobody."""
        self.newest = (epoch, seq)
        self._waiting.append((self.newest, _frame(epoch, seq, message)))
        self._waiting_bytes += len(message)
        self._write()
        while self._waiting_bytes > MOST_WAITING:
            self._waiting_bytes -= len(self._waiting.popleft()[1]) - _HEAD.size
            self.lost += 1

    def try_again(self) -> None:
        """With what waits: of a shard without pairs nothing may follow that would take it along."""
        if self._waiting:
            self._write()

    @property
    def waiting(self) -> int:
        """Messages that the disk has not taken."""
        return len(self._waiting)

    def _write(self) -> None:
        """What waits, in one call."""
        data = b"".join([frame for _, frame in self._waiting])
        try:
            file, segment = self._room(self._waiting[0][0])
            if file.write(data) != len(data):
                file.truncate(self._segments[segment])
                raise OSError("the disk took only a part of a message")
        except OSError as error:
            if not self._is_failing:
                log.error("the outbox in %s cannot be written, messages wait in memory: %s", self.directory, error)
            self._is_failing = True
            self._let_go()
            return
        if self._is_failing:
            log.info("the outbox in %s is written again, with %d messages", self.directory, len(self._waiting))
        self._is_failing = False
        self._segments[segment] += len(data)
        self._unsynced.setdefault(segment, False)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _room(self, first: Position) -> tuple[BinaryIO, Path]:
        """The segment that takes the next message: the newest, or another one."""
        if self._file is not None:
            segment = next(reversed(self._segments))
            is_there = os.fstat(self._file.fileno()).st_nlink  # somebody may have deleted it
            if is_there and self._segments[segment] < self._budget_bytes // SHARES and segment not in self._ended:
                return self._file, segment
        self._let_go()
        segment = self.directory / f"{first[0]:020d}-{first[1]:012d}{SUFFIX}"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have deleted it
        self._file = segment.open("xb", buffering=0)
        self._segments[segment] = 0
        while sum(self._segments.values()) > self._budget_bytes * (SHARES - 1) // SHARES:
            oldest = next(iter(self._segments))
            del self._segments[oldest]
            self._unsynced.pop(oldest, None)
            self._ended.discard(oldest)
            oldest.unlink(missing_ok=True)
            self.cut += 1
        return self._file, segment

    def _let_go(self) -> None:
        """Of the segment in hand; one without a message goes."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        segment, size = next(reversed(self._segments.items()))
        if not size:
            del self._segments[segment]
            segment.unlink(missing_ok=True)

    def sync(self) -> None:
        """What was appended survives a crash of the machine; OSError where it may not. Any thread, one at a time.

        After a failed fsync nobody knows what the disk has, and another one may say that all is well: the segment is
        written anew from what the kernel still has of it.
        """
        if self._waiting:
            raise OSError(f"{len(self._waiting)} messages are not written yet")
        unsynced = list(self._unsynced.items())
        for segment, failed in unsynced:
            self._unsynced.pop(segment, None)  # what is appended from here on is for the next time
            try:
                if failed:
                    _write_anew(segment)
                else:
                    with segment.open("rb") as file:
                        os.fdatasync(file.fileno())
            except FileNotFoundError:
                continue  # it was the oldest, and has made way
            except OSError:
                self._ended.add(segment)
                self._unsynced[segment] = True
                raise
        try:
            if unsynced:
                sync_directory(self.directory)
        except OSError:
            for segment, _ in unsynced:
                self._unsynced.setdefault(segment, False)
            raise

    def close(self) -> None:
        self._let_go()

    # ------------------------------------------------------------------ out

    def page(self, after: Position) -> Page:
        """The messages behind a position, at most PAGE_BYTES but at least one; and what is kept."""
        messages: list[bytes] = []
        size, last = 0, after
        for position, message in self._behind(after):
            if messages and size + len(message) > PAGE_BYTES:
                break
            messages.append(bytes(message))
            size, last = size + len(message), position
        firsts = [_first(segment) for segment in self._segments] + [first for first, _ in self._waiting]
        oldest, newest = (firsts[0], self.newest) if firsts else ((0, 0), (0, 0))
        return Page(Kept(*oldest, *newest, bool(messages) and last < newest), messages)

    def _behind(self, after: Position) -> Iterator[tuple[Position, bytes | memoryview]]:
        firsts = [_first(segment) for segment in self._segments]
        begin = max([at for at, first in enumerate(firsts) if first <= after], default=0)
        for segment in list(self._segments)[begin:]:
            try:
                data = segment.read_bytes()
            except OSError as error:
                log.error("outbox segment %s cannot be read: %s", segment, error)
                continue
            end = 0
            for position, end, message in _frames(data):  # noqa: B007
                if position > after:
                    yield position, message
            if end < len(data):
                log.error("outbox segment %s is damaged at byte %d: its rest is skipped", segment, end)
        for position, frame in self._waiting:
            if position > after:
                yield position, frame[_HEAD.size :]


def _frame(epoch: int, seq: int, message: bytes) -> bytes:
    covered = _COVERED.pack(len(message), epoch, seq)
    return b"".join([crc32(message, crc32(covered)).to_bytes(4, "little"), covered, message])


def _frames(data: bytes) -> Iterator[tuple[Position, int, memoryview]]:
    """Of each whole message, up to one that is torn or damaged: its position, where it ends, and it."""
    view, at = memoryview(data), 0
    while at + _HEAD.size <= len(data):
        crc, length, epoch, seq = _HEAD.unpack_from(data, at)
        begin, end = at + _HEAD.size, at + _HEAD.size + length
        if end > len(data) or crc32(view[begin - _COVERED.size : end]) != crc:
            return
        yield (epoch, seq), end, view[begin:end]
        at = end


def _first(segment: Path) -> Position:
    epoch, _, seq = segment.stem.partition("-")
    return int(epoch), int(seq)


def _write_anew(segment: Path) -> None:
    anew, data = segment.with_suffix(ANEW), segment.read_bytes()
    with anew.open("wb", buffering=0) as file:
        if file.write(data) != len(data):
            raise OSError("the disk took only a part of an outbox segment")
        os.fdatasync(file.fileno())
    anew.replace(segment)


def sync_directory(directory: Path) -> None:
    """What was made, renamed or deleted in it survives a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
