"""supervisord as a child process: started, watched through its log, stopped, and cleaned up after."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xmlrpc.client import Fault, ServerProxy

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
POLL_S = 0.05
STOP_TIMEOUT_S = 100.0  # five groups one after another, at most 15 s each (stopwaitsecs), and some air
ORPHAN_GRACE_S = 15.0  # what supervisord would have given them
TAIL_LINES = 15
START_ATTEMPTS = 3  # of a process that has never come up; with others supervisord is patient (startretries)
# Exit codes of a role that another start will not mend: wrong settings; its place or port is taken.
HOPELESS = (2, 3)

_EXITED = re.compile(r"exited: (\S+) \((.*); not expected\)")
_EXIT_STATUS = re.compile(r"exit status (\d+)")
_CAME_UP = re.compile(r"success: (\S+) entered RUNNING state")
_GAVE_UP = re.compile(r"gave up: (\S+) entered FATAL state")
_NOT_SPAWNED = re.compile(r"spawnerr: (.*)")
_STOPPED = re.compile(r"stopped: (\S+) \((.*)\)")
# A role that has not come to install its handlers yet has nothing to drain.
_GOOD_STOPS = ("exit status 0", "terminated by SIGTERM")


class News(NamedTuple):
    """What happened; `code` is the exit code where we cannot go on, None while it is being mended."""

    text: str
    code: int | None = None


class Supervisor:
    """One supervisord and its children.

    Resource handling: none of them outlives this process. Should this process die, the kernel sends SIGTERM
    to supervisord; should supervisord die, what it leaves behind becomes our child (subreaper), and `stop`
    ends it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._log_dir = root / "var" / "log"
        self._log = self._log_dir / "supervisord.log"
        self._said = self._log_dir / "supervisord.out"  # what it says before it has a log
        self._position = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: list[str] = []
        self._came_up: set[str] = set()
        self._failed_starts: Counter[str] = Counter()

    @staticmethod
    def control_path(root: Path) -> Path:
        return root / "var" / "run" / "supervisor.sock"

    @classmethod
    def running_pid(cls, root: Path) -> int:
        """The process id of the supervisord that answers for this directory, or 0."""
        try:
            with cls._rpc(root) as rpc:
                return int(str(rpc.supervisor.getPID()))
        except (OSError, Fault):
            return 0

    @classmethod
    def _rpc(cls, root: Path) -> ServerProxy:
        from supervisor.xmlrpc import SupervisorTransport

        return ServerProxy("http://127.0.0.1", SupervisorTransport(None, None, f"unix://{cls.control_path(root)}"))

    def start(self, also: Sequence[str] = ()) -> None:
        """Start supervisord; `also` names programs to start that do not start by themselves."""
        self._waiting = list(also)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._position = self._log.stat().st_size if self._log.exists() else 0
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        config = str(self._root / "supervisord.conf")
        command = [sys.executable, "-m", __name__, str(os.getpid()), "-n", "-c", config]
        with self._said.open("wb") as said:
            # A session of its own: Ctrl-C in the terminal comes to this process alone, which then stops it.
            self._process = subprocess.Popen(
                command, cwd=self._root, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def is_up(self) -> bool:
        """Whether supervisord answers; as soon as it does, whatever was asked for besides is started."""
        if not self.running_pid(self._root):
            return False
        while self._waiting:
            try:
                with self._rpc(self._root) as rpc:
                    rpc.supervisor.startProcess(self._waiting.pop(0), False)
            except Fault:
                pass  # supervisord logs why, which is news
        return True

    def news(self) -> Iterator[News]:
        """What has happened since the last call."""
        assert self._process is not None
        status = self._process.poll()  # before the log is read: its last lines are in it then
        for line in self._new_lines():
            if found := _EXITED.search(line):
                name, how = found.groups()
                code = _EXIT_STATUS.fullmatch(how)
                if code and int(code[1]) in HOPELESS:
                    yield News(f"{name} cannot run ({how})\n{self.tail(name)}", int(code[1]))
                    continue
                self._failed_starts[name] += name not in self._came_up
                if self._failed_starts[name] == START_ATTEMPTS:
                    yield News(f"{name} does not come up ({how})\n{self.tail(name)}", 1)
                else:
                    yield News(f"{name} ended ({how}) and is started again; see {self._log_of(name)}")
            elif found := _CAME_UP.search(line):
                self._came_up.add(found[1])
            elif found := _GAVE_UP.search(line):
                yield News(f"{found[1]} ended again and again\n{self.tail(found[1])}", 1)
            elif found := _NOT_SPAWNED.search(line):
                yield News(f"supervisord: {found[1]}", 1)
        if status == 0:
            yield News("supervisord was told to shut down", 0)
        elif status is not None:
            how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
            yield News(f"supervisord ended ({how})\n{_tail(self._said)}", 1)

    def stop(self, is_urgent: Callable[[], bool]) -> list[str]:
        """Drain and stop everything, at once when `is_urgent`; returns what did not end as it should."""
        if self._process is None:
            return []
        if self._process.poll() is None:
            self._process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline and not is_urgent():
            time.sleep(POLL_S)
        hurried = self._process.poll() is None
        if hurried:
            self._process.kill()
            self._process.wait()
        complaints = [
            f"{found[1]} did not stop as it should ({found[2]}); see {self._log_of(found[1])}"
            for line in self._new_lines()
            if (found := _STOPPED.search(line)) and found[2] not in _GOOD_STOPS
        ]
        left = _end_children(0 if hurried else ORPHAN_GRACE_S, is_urgent)
        if hurried:
            complaints.append("it was stopped without waiting until everything had drained")
        elif left:
            complaints.append(f"supervisord had left processes behind, which were ended: {', '.join(left)}")
        return complaints

    def tail(self, name: str) -> str:
        """The last lines of a process's log, for whoever wonders why it ended."""
        return f"--- the end of {self._log_of(name)}\n{_tail(self._log_of(name))}"

    def _log_of(self, name: str) -> Path:
        return (self._log_dir / f"{name}.log").relative_to(self._root)

    def _new_lines(self) -> list[str]:
        """The whole lines that supervisord has logged since the last call."""
        try:
            with self._log.open("rb") as log:
                if log.seek(0, os.SEEK_END) < self._position:
                    self._position = 0  # a new file, after rotation
                log.seek(self._position)
                whole, newline, _ = log.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._position += len(whole) + len(newline)
        return whole.decode(errors="backslashreplace").splitlines()


def _tail(path: Path) -> str:
    try:
        text = path.read_text(errors="backslashreplace")
    except OSError as error:
        return f"({error.strerror})"
    return "\n".join(text.splitlines()[-TAIL_LINES:]) or "(nothing was logged)"


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _end_children(grace_s: float, is_urgent: Callable[[], bool]) -> list[str]:
    """End the children of this process, kindly for `grace_s`, then not; says who they were."""
    names: dict[int, str] = {}
    deadline = time.monotonic() + grace_s
    while children := _children():
        is_late = is_urgent() or time.monotonic() >= deadline
        for pid in children:
            if is_late or pid not in names:
                names.setdefault(pid, f"{pid} ({_command(pid)})")
                os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        time.sleep(POLL_S)
    return list(names.values())


def _children() -> list[int]:
    """The living children of this process; the dead are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return []
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == os.getpid()]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
        return 0


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    return b" ".join(words).decode(errors="backslashreplace").strip()


def _supervisord(parent: int, arguments: list[str]) -> None:
    """Be supervisord, and end with `parent`."""
    from supervisor import supervisord

    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # or it is dead already, and its signal will not come
        supervisord.main(arguments)


if __name__ == "__main__":
    _supervisord(int(sys.argv[1]), sys.argv[2:])
