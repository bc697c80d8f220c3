"""Many clients of a front: drives _load.c, built where a compiler is, or else _load_lean.py, the same but slower.

What they do and count is told in the first lines of _load.c. Which compiler: the environment's CC, or cc.
"""

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
PATIENCE_S = 120.0
Report = dict[str, Any]


def built(source: str, *options: str) -> Path | None:
    """The program of a C file here; None where there is no compiler. Built once for each text of it."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    path = HERE / source
    digest = hashlib.sha256(path.read_bytes() + " ".join(options).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"wick-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise SystemExit(f"{folder} belongs to somebody else")
    program = folder / f"{path.stem}-{digest}"
    if not program.exists():
        made = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", *options, "-o", str(made), str(path)], check=True)
        made.replace(program)
    return program


def library(source: str) -> ctypes.CDLL | None:
    """A C file here as a library."""
    path = built(source, "-shared", "-fPIC")
    return None if path is None else ctypes.CDLL(str(path))


class Load:
    """The load generator as a process; `core` is where it runs, `rest` how we wait for it."""

    def __init__(
        self,
        port: int,
        *,
        subprotocol: str = "wick.v1.msgpack",
        deflate: bool = False,
        sources: int = 16,
        receive_buffer: int = 0,
        core: int | None = None,
        rest: Callable[[float], Any] = time.sleep,
    ) -> None:
        program = built("_load.c")
        self.lean = program is None
        command = [str(program)] if program else [sys.executable, str(HERE / "_load_lean.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        self._rest = rest
        self._topics: dict[str, int] = {}
        self.to(port, subprotocol, deflate, sources, receive_buffer)

    def to(
        self, port: int, subprotocol: str = "wick.v1.msgpack", deflate: bool = False, sources: int = 16, buffer: int = 0
    ) -> None:
        """Where connections that are opened from now on go."""
        self._tell(f"server 127.0.0.1 {port} {sources} {subprotocol or '-'} {int(deflate)} {buffer}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._tell(line)
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("the load generator died")
        return json.loads(answer)

    def add(self, topics: Sequence[str], group: int = 0) -> None:
        """One more client, subscribed to these."""
        for topic in topics:
            if topic not in self._topics:
                self._topics[topic] = len(self._topics)
                self._tell(f"topic {topic}")
        self._tell(f"client {int(group)} {' '.join(str(self._topics[topic]) for topic in topics)}")

    def start(self, at_once: int = 200) -> None:
        """Connect who is not, with so many handshakes under way at most."""
        self._ask(f"open {at_once}")

    def open(self, at_once: int = 200, told: bool = True) -> Report:
        """Connect who is not, until all are subscribed, and have been told a state of everything. Who is turned away
        tries again at once; `failed` says how often."""
        self.start(at_once)
        failed = 0

        def done(report: Report) -> bool:
            nonlocal failed
            if report["failed"] > failed:
                failed = report["failed"]
                self._ask("again")
            return bool(report["told" if told else "acked"] == report["clients"])

        return self.until(done, "all clients are subscribed")

    def until(self, condition: Callable[[Report], bool], what: str, patience_s: float = PATIENCE_S) -> Report:
        """The counts of the time until the condition holds, added up."""
        deadline = time.monotonic() + patience_s
        total: Report = {}
        while True:
            report = self.report()
            counts = {name: total.get(name, 0) + report[name] for name in ADDED}
            total = report | counts | {name: _sum(total.get(name, {}), report[name]) for name in ("closed", "messages")}
            if condition(total):
                return total
            if time.monotonic() > deadline:
                raise SystemExit(f"in {patience_s:g} s not: {what}; {total}")
            self._rest(0.02)

    def report(self) -> Report:
        """What was counted since the last report."""
        answer: Report = self._ask("report")
        return answer

    def stall(self) -> None:
        self._ask("stall")

    def wake(self) -> None:
        self._ask("wake")

    def cut(self) -> None:
        self._ask("cut")

    def states(self) -> dict[str, list[list[Any]]]:
        """By topic each distinct state: [clients, known, epoch, seq, 16 fields of two groups, [rows, first, last]]."""
        answer: dict[str, list[list[Any]]] = self._ask("states")
        return answer

    def close(self) -> None:
        self._process.communicate()


ADDED = ("seconds", "frames", "bytes", "holes", "bad", "resumed", "fresh", "failed")


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
