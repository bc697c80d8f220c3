"""What every process has, gevent or not: its name, a lock that no second one can hold, its memory, and its stats."""

import ctypes
import fcntl
import os
import resource
from pathlib import Path
from typing import IO, Any, TextIO

from wick.errors import WickError

ALREADY_RUNNING = 3  # the exit code


class AlreadyRunningError(WickError):
    """Another process holds this one's place."""


def hold_lock(run_dir: Path, process: str) -> TextIO:
    """Take `<run_dir>/<process>.lock` for as long as the returned file is open (a killed process lets go of it)."""
    path = run_dir / f"{process}.lock"
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunningError(
            f"{process} runs already (process {holder} holds {path}); stop it first, or use another core.data_dir"
        ) from None
    sign(file)
    return file


def sign(lock: IO[Any]) -> None:
    """Write into it who holds it: for whoever wonders, so a disk that is full keeps nobody from starting."""
    try:
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), str(os.getpid()).encode())
    except OSError:
        pass


KEPT_BLOCK = 2 << 20  # bytes


def keep_freed_memory() -> None:
    """Have malloc keep what is freed, in blocks of up to KEPT_BLOCK and twice that in all, for the next array.

    By default glibc maps each block of 128 KB or more by itself and unmaps it when it is freed, or gives the end of the
    heap back; then every large temporary array begins with a page fault each 4 KB, which doubles what it costs. It
    raises both thresholds to the size of a mapped block, and twice that, when one is freed (mallopt(3),
    M_MMAP_THRESHOLD). With another malloc nothing happens.
    """
    bytes(KEPT_BLOCK)


def give_memory_back() -> None:
    """Return to the kernel what has been freed and is not the end of the heap: what a start needed and a run does not.

    glibc does not do that by itself (malloc_trim(3)). With another C library nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def allow_open_files(wanted: int) -> int:
    """Raise the limit of descriptors that may be open to `wanted`, as far as the system lets us; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Stats:
    """Counters of a process since its start, and what it says of itself once a second on `stats.<process>`."""

    def __init__(self, process: str, started_ns: int) -> None:
        self.process, self.started_ns = process, started_ns
        self.counters: dict[str, int] = {}
        self.state = "starting"
        self.newest_ns = 0  # when the newest data arrived
        self._last = (started_ns, 0)

    def add(self, name: str, amount: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + amount

    def message(self, now_ns: int, main: str, gauges: dict[str, Any]) -> dict[str, Any]:
        """One sample: `main` names the counter whose rate a second is the process's rate."""
        count = self.counters.get(main, 0)
        since_ns, before = self._last
        self._last = (now_ns, count)
        rate = (count - before) * 1e9 / (now_ns - since_ns) if now_ns > since_ns else 0.0
        return {
            "process": self.process,
            "pid": os.getpid(),
            "time_ns": now_ns,
            "started_ns": self.started_ns,
            "state": self.state,
            "unit": main,
            "rate": round(rate, 1),
            "age_ms": (now_ns - self.newest_ns) // 1_000_000 if self.newest_ns else None,
            "counters": dict(self.counters),
            "gauges": gauges,
        }
