"""A service of wick as the chaos harness runs it: `process.py SCRIPT ARGUMENT ...`, with two things in its hands.

- WICK_TEST_AHEAD_S: the clock of all processes is ahead by so much, so that the first of a month that is a Monday
  begins while the test runs, and every interval closes.
- WICK_TEST_SYNCS: a folder in which each process notes what it has forced to the disk, after the system has said that
  it has: what would be there after a crash of the machine. And when it began to, to know how long the disk took.
"""

import ctypes
import json
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from stat import S_ISDIR
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def shift_clock(seconds: int) -> None:
    real_ns, real_s = time.time_ns, time.time
    time.time_ns = lambda: real_ns() + seconds * 10**9
    time.time = lambda: real_s() + seconds


def note_syncs(folder: Path) -> None:
    notes = (folder / f"{os.getpid()}.syncs").open("ab", buffering=0)

    def noting(sync: Callable[[Any], None]) -> Callable[[Any], None]:
        def synced(file: Any) -> None:
            number = file if isinstance(file, int) else file.fileno()
            before, path = os.fstat(number), Path(f"/proc/self/fd/{number}").readlink()
            entries = sorted([one.name for one in path.iterdir()]) if S_ISDIR(before.st_mode) else None
            thread = threading.get_ident()
            notes.write(b'{"thread": %d, "began_ns": %d}\n' % (thread, time.time_ns()))
            sync(number)
            size = before.st_size if entries is None else 0
            line = {
                "path": str(path),
                "inode": before.st_ino,
                "size": size,
                "at_ns": time.time_ns(),
                "entries": entries,
                "thread": thread,
            }
            notes.write(json.dumps(line).encode() + b"\n")

        return synced

    os.fsync, os.fdatasync = noting(os.fsync), noting(os.fdatasync)


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a run that is cut off leaves nobody behind
    shift_clock(int(os.environ.get("WICK_TEST_AHEAD_S", "0")))
    if folder := os.environ.get("WICK_TEST_SYNCS"):
        note_syncs(Path(folder))
    script = sys.argv[1]
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
