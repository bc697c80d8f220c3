"""Forcing a log to the disk in a thread of its own: an fdatasync takes a millisecond, or a second, and nobody waits.

The thread is a native one, also where gevent has patched the modules: a greenlet would stand still with the feed. It
logs nothing (the handlers' locks may be gevent's), it only leaves word. What it is handed it also closes.
"""

import os
from collections import deque
from pathlib import Path
from time import monotonic_ns

from gevent.monkey import get_original

_allocate_lock = get_original("_thread", "allocate_lock")
_start_thread = get_original("_thread", "start_new_thread")


class Committer:
    """Syncs one file at a time, at most every `every_s`; 0: never, the system does it when it likes."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._file = -1  # descriptor; -1: none
        self._left: deque[int] = deque()  # to be synced a last time, and closed
        self._named: deque[Path] = deque()  # directories that have a new name in them
        self._since_ns = 0  # when the oldest was written that no sync is about yet; 0: there is none
        self._failed = -1  # the file that could not be synced; it never is again
        self.error: OSError | None = None  # until the writer has taken notice
        self.longest_ns = 0  # from a write to its sync, since somebody last asked
        self.commits = 0
        self._ending = False
        # Held, until somebody has something to say.
        self._wake, self._end, self._ended = _allocate_lock(), _allocate_lock(), _allocate_lock()
        for lock in (self._wake, self._end, self._ended):
            lock.acquire()
        _start_thread(self._run, ())

    def open(self, file: int, directory: Path) -> None:
        """From now on this file is written, and begun; its name is new in the directory."""
        self._named.append(directory)
        self._file = file
        self.wrote()

    def wrote(self) -> None:
        """Something has been written to it."""
        if not self._since_ns:
            self._since_ns = monotonic_ns()
            self._rouse()

    def leave(self) -> None:
        """Nothing more is written to the file."""
        if self._file >= 0:
            self._left.append(self._file)
            self._file = -1
            self._rouse()

    def close(self) -> None:
        """Sync what is left, and end."""
        self.leave()
        self._ending = True
        self._end.release()
        self._rouse()
        self._ended.acquire()

    @property
    def waiting_ns(self) -> int:
        """For how long something has been written that no sync has begun about."""
        since_ns = self._since_ns
        return monotonic_ns() - since_ns if since_ns else 0

    def _rouse(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:
            pass  # it is awake

    def _run(self) -> None:
        began_ns = 0
        try:
            while not self._ending or self._left:
                self._wake.acquire()
                if not self._ending:
                    self._end.acquire(True, max(0.0, self._every_s - (monotonic_ns() - began_ns) / 1e9))
                began_ns = monotonic_ns()
                self._commit()
        except BaseException as error:
            self.error = OSError(f"what forces the log to the disk has ended: {error!r}")
            raise
        finally:
            self._ended.release()

    def _commit(self) -> None:
        since_ns, self._since_ns = self._since_ns, 0  # what is written from here on is of the next time
        # In the order in which they were written: what a crash of the machine leaves then has no hole. The writer may
        # leave the file and open the next one meanwhile.
        written = self._file
        is_synced = True
        while self._left:
            file = self._left.popleft()
            is_synced &= self._sync(file)
            os.close(file)
            if file == self._failed:
                self._failed = -1
            if file == written:
                written = -1
        if written >= 0:
            is_synced &= self._sync(written)
        if since_ns and is_synced:
            self.commits += 1
            self.longest_ns = max(self.longest_ns, monotonic_ns() - since_ns)

    def _sync(self, file: int) -> bool:
        if not self._every_s or file == self._failed:
            return False
        try:
            while self._named:
                _sync_directory(self._named[0])
                self._named.popleft()
            os.fdatasync(file)
        except OSError as error:
            self._failed, self.error = file, error
            return False
        return True


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
