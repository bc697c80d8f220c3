"""The power goes: every file is cut back to what its process had forced to the disk, by the notes of `process.py`.

As POSIX has it, and no file system better: bytes are there up to the size at which the file was last synced, and a name
is there if its folder was synced since the file got it. What was deleted stays deleted. SQLite syncs by itself; what a
commit in WAL mode (synchronous = NORMAL) promises after a crash is the database as of its last checkpoint. One that is
under way has synced its log before it writes into the file (https://sqlite.org/wal.html): then the log is there too.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from
from typing import Any, NamedTuple

from wick.storage import ticklog
from wick.stream.shards import SHARDS

WATCHED = ("ticklog", "shards")  # folders of the data directory: the tick log, checkpoints and outboxes


class Lost(NamedTuple):
    """What the cut took: files, bytes, and of the tick log the flushes, the oldest of them sent at `oldest_ns`."""

    files: int
    bytes: int
    flushes: int
    oldest_ns: int


def cut(data_dir: Path, syncs: Path) -> Lost:
    """After all processes are dead."""
    sizes: dict[int, int] = {}
    entries: dict[str, tuple[int, set[str]]] = {}
    for path in syncs.glob("*.syncs"):
        for note in _notes(path):
            if "began_ns" not in note:
                _learn(note, sizes, entries)
    before = _flushes(data_dir)
    files = lost_bytes = 0
    for root in WATCHED:
        for path in sorted((data_dir / root).rglob("*")):
            if path.is_dir() or path.suffix == ".lock" or path.name == "lock":
                continue
            named = path.name in entries.get(str(path.parent), (0, set()))[1]
            status = path.stat()
            kept = min(status.st_size, sizes.get(status.st_ino, 0)) if named else 0
            files += kept < status.st_size or not named
            lost_bytes += status.st_size - kept
            if named:
                os.truncate(path, kept)
            else:
                path.unlink()
    for store in data_dir.glob("candles.sqlite"):
        index, log = (store.with_name(f"{store.name}-{end}") for end in ("shm", "wal"))
        if log.exists() and not _is_checkpointing(index):
            lost_bytes += log.stat().st_size
            log.unlink()
        index.unlink(missing_ok=True)
    gone = before.keys() - _flushes(data_dir).keys()
    return Lost(files, lost_bytes, len(gone), min((before[one] for one in gone), default=0))


def disk_ms(notes: Path, died_ns: int) -> int:
    """The longest that a process which died then has waited for the disk; it may have waited when it died."""
    began: dict[int, int] = {}  # by thread
    longest_ns = 0
    for note in _notes(notes):
        if "began_ns" in note:
            began[note["thread"]] = note["began_ns"]
        else:
            longest_ns = max(longest_ns, note["at_ns"] - began.pop(note["thread"]))
    return max(longest_ns, *[died_ns - one for one in began.values()], 0) // 1_000_000


def _notes(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines() if path.exists() else ():  # it may have died before it began
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the process died while it wrote this


def _is_checkpointing(index: Path) -> bool:
    """Whether fewer frames of the log are in the file than were perhaps written (`WalCkptInfo` of SQLite's wal.c)."""
    told = index.read_bytes() if index.exists() else b""
    return len(told) >= 132 and unpack_from("=I", told, 96) < unpack_from("=I", told, 128)


def _learn(note: dict[str, Any], sizes: dict[int, int], entries: dict[str, tuple[int, set[str]]]) -> None:
    if note["entries"] is None:
        sizes[note["inode"]] = max(note["size"], sizes.get(note["inode"], 0))
    elif note["at_ns"] >= entries.get(note["path"], (0, set()))[0]:
        entries[note["path"]] = note["at_ns"], set(note["entries"])


def _flushes(data_dir: Path) -> dict[tuple[int, int], int]:
    """Of each block of the log when it was sent."""
    shards = frozenset(range(SHARDS))
    return {(header.epoch, header.block): header.send_ns for header, _ in ticklog.read(data_dir / "ticklog", shards)}
