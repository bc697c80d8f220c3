"""Writing the tick log into local files (their form is in `ticklog`): one writer, segments, what goes, what fails.

`write` survives a killed process, since the kernel has the bytes; the `committer` brings them to the disk, which
survives the machine's crash. A disk that is full or fails is said once, and tried again every RETRY_NS with a new
segment; a file whose sync failed is never written again, since nobody knows what of it is on the disk.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from errno import ENOSPC
from pathlib import Path
from typing import NamedTuple

from wick.ops.process import AlreadyRunningError
from wick.storage import ticklog
from wick.storage.committer import Committer
from wick.storage.ticklog import START, SUFFIX, TAILS, Flush, Position, Shards
from wick.wire.messages import TickHeader

SECOND_NS = 10**9
RETRY_NS = SECOND_NS
UNSYNCED = 4  # of the newest segments: what a killed writer and its committer's queue may have left
SEGMENT_NS = 600 * SECOND_NS  # the oldest that a segment gets: it can only go as a whole

log = logging.getLogger("wick")


class Limits(NamedTuple):
    """Of a log. `keep_ns`: how long a segment stays that nobody needs; `commit_s`: 0: the system writes out."""

    segment_bytes: int
    budget_bytes: int
    keep_ns: int = 0
    commit_s: float = 0.0


class _Segment(NamedTuple):
    first: Position
    path: Path
    size: int
    written_ns: int  # when it last was


class FileLog:
    """The writer; one a directory (AlreadyRunningError). `passed`: what all readers have behind them; None: unknown."""

    def __init__(self, directory: Path, limits: Limits, passed: Callable[[], Position | None] = lambda: None) -> None:
        self.directory, self._limits, self._passed = directory, limits, passed
        self._directory = self._file = -1
        self._path: Path | None = None
        self._first = START
        self._size = self._began_ns = self._written_ns = 0
        self._tried_ns = -RETRY_NS - 1
        self._has_flushes = False
        self._hollow: Path | None = None  # a segment without flushes: it goes when there is a new one
        self._segments: list[_Segment] = []  # those before the one that is written
        self._newest = START
        self.failed = 0  # flushes that are not in it
        self.cut = 0  # segments that went though somebody still needed them
        self._failing: int | None = None  # what `failed` was when it began to fail
        self.committer = Committer(limits.commit_s)
        try:
            self._open()
        except OSError as error:
            self._say(error)
        except AlreadyRunningError:
            self.committer.close()
            raise

    # ------------------------------------------------------------------ the directory

    def _open(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(directory)
            raise AlreadyRunningError(
                f"another feed writes the tick log in {self.directory}; stop it first, or use another core.data_dir"
            ) from None
        self._directory = directory
        found = ticklog.segments(self.directory)
        self._segments = [self._segment(first, path) for first, path in found]
        if found:
            self._newest = self._cut_tail(*found[-1])
            self._sync_found(found)

    def _sync_found(self, found: list[tuple[Position, Path]]) -> None:
        """What a killed writer wrote last it may not have synced, nor may the one before it, if it had no time to. The
        tails that are made of it will be synced: were it lost then, nobody would know that something is missing."""
        for _, path in found[-UNSYNCED:]:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)
        os.fsync(self._directory)

    def _segment(self, first: Position, path: Path) -> _Segment:
        status = path.stat()
        return _Segment(first, path, status.st_size, status.st_mtime_ns)

    def _cut_tail(self, first: Position, path: Path) -> Position:
        """What a killed writer, or the machine's crash, left of its last block goes. The newest flush's position."""
        whole = list(ticklog.blocks(path.read_bytes(), path.name))
        end, size = whole[-1].end if whole else 0, self._segments[-1].size
        if end < size:
            log.warning("tick log segment %s: %d torn bytes at its end are cut off", path.name, size - end)
            os.truncate(path, end)
            self._segments[-1] = self._segments[-1]._replace(size=end)
        flushes = [one.position for one in whole if not one.is_tails]
        if not flushes:
            self._hollow = self._segments.pop().path
        return flushes[-1] if flushes else (first[0], first[1] - 1)

    # ------------------------------------------------------------------ segments

    def is_due(self, now_ns: int) -> bool:
        """Whether a new segment is to begin: this one is full, or old, or there is none and it is time to try again."""
        if self.committer.error is not None:
            self._fail(self.committer.error)
        if self._file < 0:
            return not 0 <= now_ns - self._tried_ns < RETRY_NS
        if not os.fstat(self._file).st_nlink:  # somebody has deleted it
            return True
        return self._size >= self._limits.segment_bytes or not 0 <= now_ns - self._began_ns < SEGMENT_NS

    def begin(self, position: Position, tails: bytes, now_ns: int) -> bool:
        """A new segment, whose first flush will be this one."""
        self._leave()
        self._tried_ns = now_ns
        try:
            if self._directory < 0:
                self._open()
            self._make_room(position, now_ns)
            try:
                self._create(position, tails)
            except OSError as error:
                if error.errno != ENOSPC or not self._make_room(position, now_ns, urgent=True):
                    raise
                self._create(position, tails)
            if self._hollow is not None:
                self._hollow.unlink(missing_ok=True)
                self._hollow = None
        except (OSError, AlreadyRunningError) as error:
            self._say(error)
            self._forget_directory()
            return False
        self._began_ns = self._written_ns = now_ns
        if self._failing is not None:
            log.warning("the tick log is written again; %d flushes are not in it", self.failed - self._failing)
            self._failing = None
        return True

    def _create(self, position: Position, tails: bytes) -> None:
        path = self.directory / f"{position[0]:020d}-{position[1]:010d}{SUFFIX}"
        data = ticklog.block(position, b"", [tails], TAILS)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(file, data)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._file, self._path, self._first = file, path, position
        self._size, self._has_flushes = len(data), False
        self.committer.open(file, self.directory)

    def _leave(self) -> None:
        """Write no more to this segment. One without a flush goes: there would be one for each try, or each start."""
        if self._file < 0:
            return
        assert self._path is not None
        self.committer.leave()
        self._file = -1
        if self._has_flushes:
            self._segments.append(_Segment(self._first, self._path, self._size, self._written_ns))
        else:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                self._say(error)

    def _make_room(self, position: Position, now_ns: int, urgent: bool = False) -> bool:
        """Segments go that nobody needs, when they have been kept long enough or it is `urgent`; and, beyond the
        budget, the oldest whoever needs them. Whether any went."""
        passed, went = self._passed(), 0
        total = sum(one.size for one in self._segments) + self._limits.segment_bytes
        while self._segments:
            one = self._segments[0]
            following = self._segments[1].first if len(self._segments) > 1 else position
            is_passed = passed is not None and following <= (passed[0], passed[1] + 1)
            is_old = urgent or not 0 <= now_ns - one.written_ns < self._limits.keep_ns
            if not (is_passed and is_old) and total <= self._limits.budget_bytes:
                break
            if passed is not None and not is_passed:
                self.cut += 1
                log.error(
                    "tick log: over ticklog.budget_mb: %s goes, which a worker that starts now would still read",
                    one.path.name,
                )
            one.path.unlink(missing_ok=True)
            del self._segments[0]
            total -= one.size
            went += 1
        return went > 0

    # ------------------------------------------------------------------ flushes

    def append(self, header: TickHeader, records: Sequence[bytes]) -> bool:
        """Write a flush in one call; false where that failed, or has failed and it is not time to try again."""
        position = header.epoch, header.block
        if self.committer.error is not None:
            self._fail(self.committer.error)
        if self._file < 0:
            self.failed += 1
            return False
        data = ticklog.block(position, header.pack(), records)
        try:
            _write(self._file, data)
        except OSError as error:
            self._fail(error)
            self.failed += 1
            return False
        self._size += len(data)
        self._has_flushes, self._written_ns = True, header.send_ns
        self._newest = position
        self.committer.wrote()
        return True

    def _fail(self, error: OSError) -> None:
        """Go on without this segment, and without what is torn at its end."""
        self._say(error)
        self.committer.error = None
        if self._file >= 0:
            try:
                os.ftruncate(self._file, self._size)
            except OSError:
                pass  # readers see that it is torn
            self._leave()

    def _say(self, error: Exception) -> None:
        if self._failing is None:
            self._failing = self.failed
            log.error("the tick log in %s cannot be written, trying again every second: %s", self.directory, error)

    # ------------------------------------------------------------------ the rest

    @property
    def newest(self) -> Position:
        return self._newest

    @property
    def is_failing(self) -> bool:
        return self._failing is not None

    def gauges(self) -> dict[str, int]:
        longest_ns, self.committer.longest_ns = self.committer.longest_ns, 0
        return {
            "ticklog_failed": self.failed,
            "ticklog_failing": int(self.is_failing),
            "ticklog_cut": self.cut,
            "ticklog_bytes": sum(one.size for one in self._segments) + (self._size if self._file >= 0 else 0),
            "ticklog_segments": len(self._segments) + (self._file >= 0),
            "ticklog_commits": self.committer.commits,
            "ticklog_durable_ms": max(longest_ns, self.committer.waiting_ns) // 1_000_000,
        }

    def read(self, shards: Shards, after: Position = START) -> Iterator[Flush]:
        return ticklog.read(self.directory, shards, after)

    def last(self) -> tuple[bytes, Iterator[Flush]]:
        return ticklog.last(self.directory)

    def positions(self) -> tuple[Position, Position] | None:
        return ticklog.positions(self.directory)

    def close(self) -> None:
        self._leave()
        self.committer.close()
        self._forget_directory()

    def _forget_directory(self) -> None:
        """Also lets go of the lock."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def _write(file: int, data: bytes) -> None:
    if os.write(file, data) != len(data):
        raise OSError(ENOSPC, "the disk took only a part of a block")
