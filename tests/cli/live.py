"""Real sockets of a wick that the test plays itself, for the commands that look at a running one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from wick.net import bus, endpoints

Message = list[bytes]


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `core.data_dir` with one worker; its path is short, since sockets live there."""
    with TemporaryDirectory(prefix="wick-", dir="/tmp") as folder:
        path = Path(folder)
        (path / "wick.toml").touch()
        monkeypatch.setenv("WICK_CONFIG", str(path / "wick.toml"))
        monkeypatch.setenv("WICK_CORE_DATA_DIR", folder)
        monkeypatch.setenv("WICK_AGGREGATOR_WORKERS", "1")
        endpoints.run_dir(path)
        yield path


@contextmanager
def in_background(body: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `body` in a thread; the event that it gets is set when it is to end."""
    done = threading.Event()
    thread = threading.Thread(target=body, args=(done,))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def publishing(data_dir: Path, make: Callable[[str], list[Message]], *processes: str) -> Iterator[None]:
    """Each process publishes what `make` gives it, again and again: whoever subscribes gets it soon."""

    def publish(done: threading.Event) -> None:
        sockets = {process: bus.publisher(data_dir, process) for process in processes}
        while not done.wait(0.01):
            for process, socket in sockets.items():
                for message in make(process):
                    socket.send_multipart(message)
        for socket in sockets.values():
            socket.close(linger=0)

    with in_background(publish):
        yield
