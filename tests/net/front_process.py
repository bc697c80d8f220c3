"""A real front process, and a worker that the test plays itself, on real sockets."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.ports import free_port
from wick.cli.status import collect
from wick.market.schema import STATE_WIDTHS
from wick.net import bus, endpoints
from wick.stream import diffs
from wick.stream.shards import SHARDS, shard_of
from wick.wire.codec import pack
from wick.wire.messages import Closes, Diffs, Request, Snapshot, closes_topic, diffs_topic, stats_topic

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
VENUE = "binance"
PAGE_ORIGIN = "http://page.example"


def wait_for(probe: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)
    return answer


class Worker:
    """The only worker: whatever state the test gives its pairs is published, and told to who asks for a snapshot."""

    def __init__(self, data_dir: Path) -> None:
        endpoints.run_dir(data_dir)
        self._pub = bus.publisher(data_dir, "aggregator-0")
        self._router = bus.router(data_dir, 0)
        self._lock = threading.Lock()
        self.epoch = 1
        self._seqs = [[0, 0] for _ in range(SHARDS)]
        self._pairs: list[dict[str, list[list[int]]]] = [{} for _ in range(SHARDS)]
        self._stopping = False
        self.asked = 0  # snapshots that were asked for
        self.answering = threading.Event()  # while it is not set, a snapshot that was made stays on its way
        self.answering.set()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        while not self._stopping:
            if not self._router.poll(50):
                continue
            who, asked = self._router.recv_multipart()
            shard = Request.unpack(asked).shard
            with self._lock:
                pairs = self._pairs[shard]
                names = [[number, VENUE, symbol] for number, symbol in enumerate(pairs)]
                zero = [[0] * width for width in STATE_WIDTHS]
                entries = [[number, *diffs.make(zero, groups)] for number, groups in enumerate(pairs.values())]
                snapshot = Snapshot(shard, self.epoch, *self._seqs[shard], names, entries, [])
            self.asked += 1
            self.answering.wait(PATIENCE_S)
            self._router.send_multipart([who, asked, snapshot.pack()])

    def publish(self, symbol: str, **groups: list[int]) -> None:
        """Change groups of a pair: `head=[...]`, or `g3=[...]` for the fourth."""
        shard = shard_of(VENUE, symbol)
        with self._lock:
            pairs = self._pairs[shard]
            new = [] if symbol in pairs else [[len(pairs), VENUE, symbol]]
            before = pairs.setdefault(symbol, [[0] * width for width in STATE_WIDTHS])
            after = [list(group) for group in before]
            for name, values in groups.items():
                after[0 if name == "head" else int(name[1:])][: len(values)] = values
            entry = [list(pairs).index(symbol), *diffs.make(before, after)]
            pairs[symbol] = after
            self._seqs[shard][0] += 1
            message = Diffs(self.epoch, self._seqs[shard][0], time.time_ns(), new, [entry])
        self._pub.send_multipart([diffs_topic(shard), message.pack()])

    def close_candle(self, symbol: str, interval: str, row: list[int]) -> None:
        shard = shard_of(VENUE, symbol)
        with self._lock:
            self._seqs[shard][1] += 1
            message = Closes.of_rows(self.epoch, self._seqs[shard][1], 0, [[VENUE, symbol, interval, *row]])
        self._pub.send_multipart([closes_topic(shard), message.pack()])

    def say(self, ago_ns: int) -> None:
        """What it says of itself, as of then."""
        said = {"process": "aggregator-0", "time_ns": time.time_ns() - ago_ns}
        self._pub.send_multipart([stats_topic("aggregator-0"), pack(said)])

    def state(self, symbol: str) -> list[list[int]]:
        return self._pairs[shard_of(VENUE, symbol)][symbol]

    def lose_closes(self, symbol: str) -> None:
        """A message of the closes is lost on its way."""
        self._seqs[shard_of(VENUE, symbol)][1] += 1

    def restart(self) -> None:
        """All state is lost; the next messages are of a new epoch."""
        with self._lock:
            self.epoch += 1
            self._seqs = [[0, 0] for _ in range(SHARDS)]
            self._pairs = [{} for _ in range(SHARDS)]

    def stop(self) -> None:
        self._stopping = True
        self.answering.set()
        self._thread.join()
        self._pub.close(linger=0)
        self._router.close(linger=0)


class Front:
    """A running services/front.py."""

    def __init__(self, data_dir: Path, settings: dict[str, object], index: int = 0, of: int = 1, port: int = 0) -> None:
        self.port = port or free_port()
        self.data_dir, self.index, self.is_ended = data_dir, index, False
        (data_dir / "wick.toml").touch()
        own = {"CONFIG": data_dir / "wick.toml", "CORE_DATA_DIR": data_dir, "FRONT_PORT": self.port,
               "AGGREGATOR_WORKERS": 1, "FRONT_ORIGINS": PAGE_ORIGIN}  # fmt: skip
        env = os.environ | {f"WICK_{name}": str(value) for name, value in (own | settings).items()}
        command = [sys.executable, "services/front.py", "--index", str(index), "--of", str(of)]
        with self._log_path.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)

    def rss_mb(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def _log_path(self) -> Path:
        return self.data_dir / f"front-{self.index}.log"

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case names) and body; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def ask(self, path: str, **headers: str) -> Any:
        return json.loads(self.get(path, **headers)[2])

    def is_ready(self) -> bool:
        """It has heard of all shards; of several fronts on the port one answers."""
        assert self.process.poll() is None, self.log()
        try:
            return bool(self.ask("/healthz")["shards_waiting"] == 0)
        except OSError:
            return False

    def stats(self) -> Any:
        """What the process says of itself, once a second; None where it says nothing."""
        name = f"front-{self.index}"
        return collect({"core.data_dir": str(self.data_dir)}, [name]).get(name)

    def end(self, number: int = signal.SIGTERM) -> None:
        """The test itself ends the process."""
        self.is_ended = True
        self.process.send_signal(number)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def fronts_running(count: int, **settings: object) -> Iterator[tuple[list[Front], Worker]]:
    """So many fronts on one port, of which one has heard of all shards of the worker. The folder's path is short:
    sockets live there. Those that the test has not ended itself must be alive when it ends."""
    with TemporaryDirectory(prefix="wick-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        worker, port = Worker(Path(folder)), free_port()
        fronts = [Front(Path(folder), settings, index, count, port) for index in range(count)]
        try:
            wait_for(lambda: all(front.is_ready() for front in fronts), "the fronts")
            yield fronts, worker
            for front in fronts:
                assert front.process.poll() is None or front.is_ended, front.log()
        finally:
            for front in fronts:
                front.end()
            worker.stop()


@contextmanager
def running(**settings: object) -> Iterator[tuple[Front, Worker]]:
    with fronts_running(1, **settings) as (fronts, worker):
        yield fronts[0], worker
