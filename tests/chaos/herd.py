"""wick's processes under a keeper that kills them, and starts again whatever is not there.

Everything runs with a clock that is ahead (see `process.py`), on ports of its own, in a folder of its own.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

from tests.browser.system import ROOT, stop
from tests.chaos.power import Lost, cut, disk_ms
from tests.ports import free_port
from wick.net import bus, endpoints
from wick.wire.codec import unpack

TURN = datetime(2027, 2, 1, tzinfo=UTC)  # a Monday: all twelve intervals begin here
POLL_S = 0.02
START_S, STOP_S = 120.0, 30.0
PATIENCE_S = 60.0  # for what takes a moment where nothing else runs
SAY_EACH = 25  # kills


class Server(Protocol):
    """A database or a Redis that can be killed."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


class Herd:
    """`turn_s`: how long after now the month turns. `settings` are WICK_* variables without the prefix."""

    def __init__(
        self, folder: Path, *, seed: int, symbols: int, rate: float, turn_s: float, workers: int = 2, fronts: int = 2,
        servers: Mapping[str, Server] | None = None, data_dir: Path | None = None, **settings: object,
    ) -> None:  # fmt: skip
        self.data_dir = data_dir or folder
        self.folder, self.seed, self.symbols, self.rate = folder, seed, symbols, rate
        self.port, self.exchange_port = free_port(), free_port()
        self.ahead_s = int(TURN.timestamp() - time.time() - turn_s)
        self.turn_ms = int(TURN.timestamp() * 1000)
        self.notes = folder / "exchange.notes"
        self.syncs = folder / "syncs"
        self.syncs.mkdir()
        self.servers = dict(servers or {})
        (folder / "wick.toml").touch()
        exchange = f"127.0.0.1:{self.exchange_port}"
        own = {
            "CONFIG": folder / "wick.toml", "CORE_DATA_DIR": self.data_dir, "FRONT_PORT": self.port,
            "AGGREGATOR_WORKERS": workers, "FEED_SYMBOLS": "*", "FEED_WS_URL": f"ws://{exchange}",
            "FEED_REST_URL": f"http://{exchange}", "TEST_AHEAD_S": self.ahead_s, "TEST_SYNCS": self.syncs,
        }  # fmt: skip
        variables = {f"WICK_{name}": str(value) for name, value in (own | settings).items()}
        self.env = os.environ | variables | {"PYTHONPATH": str(ROOT)}
        self.commands = {
            "sink-0": ["services/sink.py"],
            **{f"front-{at}": ["services/front.py", "--index", str(at), "--of", str(fronts)] for at in range(fronts)},
            **{
                f"aggregator-{at}": ["services/aggregator.py", "--index", str(at), "--of", str(workers)]
                for at in range(workers)
            },
            "feed-0": ["services/feed.py"],
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: Counter[str] = Counter()
        # What they took, of how many milliseconds of the log, and the longest that the feed had waited for the disk.
        self.power_cuts: list[tuple[Lost, int, int]] = []
        self.deaths: list[str] = []  # of those that nobody killed
        self._due: dict[str, float] = {}  # when to start what was killed
        self.stats: dict[str, dict[str, Any]] = {}  # what each process said last of itself
        self.most: Counter[str] = Counter()  # of each counter and gauge, `process.name`, the largest number heard
        self._heard: Any = None

    # ------------------------------------------------------------------ processes

    def now_ms(self) -> int:
        """By the clock of the processes."""
        return int((time.time() + self.ahead_s) * 1000)

    def start_exchange(self) -> None:
        arguments = [self.exchange_port, self.seed, self.symbols, self.rate, self.notes]
        self._spawn("exchange-0", ["tests/chaos/exchange.py", *map(str, arguments)])
        self.wait_until(lambda: self.ask_exchange("/_faults"), "the exchange is up", START_S)

    def start(self, *names: str) -> None:
        if self._heard is None:
            endpoints.run_dir(str(self.data_dir))
            self._heard = bus.subscriber(str(self.data_dir), list(self.commands), [b"stats."])
        for name in names or self.commands:
            self._spawn(name, self.commands[name])

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "tests/chaos/process.py", *command],
                cwd=ROOT, env=self.env, stdout=output, stderr=output,
            )  # fmt: skip

    def kill(self, name: str, away_s: float = 0.0) -> None:
        """kill -9, and a new start after so long."""
        if name == "machine":
            self.cut_power()
            return
        self.kills[name] += 1
        if server := self.servers.get(name):
            if name not in self._due:
                server.kill()
        elif process := self.processes.pop(name, None):
            process.kill()
            process.wait()
        self._due[name] = time.monotonic() + away_s

    def cut_power(self) -> None:
        """Everything but the exchange dies at one moment, and what was not forced to the disk is gone."""
        gone = [name for name in self.processes if name != "exchange-0"]
        feed = self.processes.get("feed-0")
        for name in gone:
            self.processes[name].send_signal(signal.SIGKILL)
        died_ns = (time.time_ns()) + self.ahead_s * 10**9
        for name in gone:
            self.processes.pop(name).wait()
            self._due[name] = time.monotonic()
        lost = cut(self.data_dir, self.syncs)
        waited_ms = disk_ms(self.syncs / f"{feed.pid}.syncs", died_ns) if feed else 0
        self.power_cuts.append((lost, (died_ns - lost.oldest_ns) // 1_000_000 if lost.flushes else 0, waited_ms))
        self.kills["machine"] += 1

    def keep(self) -> None:
        """Start what is due, note who died by himself, and hear what all say of themselves."""
        if self._heard:
            bus.drain(self._heard, self._hear)
        for name, process in list(self.processes.items()):
            if process.poll() is not None:
                self.deaths.append(f"{name} ended by itself with {process.returncode}:\n{self.tail(name)}")
                del self.processes[name]
                self._due[name] = time.monotonic() + 0.5
        for name, due in list(self._due.items()):
            if time.monotonic() >= due:
                del self._due[name]
                if server := self.servers.get(name):
                    server.start()
                else:
                    self.start(name)

    @property
    def is_whole(self) -> bool:
        """Whether nobody waits to be started."""
        return not self._due

    def stop(self) -> None:
        stop(self.processes, STOP_S)
        if self._heard:
            self._heard.close(linger=0)
            self._heard = None

    # ------------------------------------------------------------------ looking

    def sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.keep()
            time.sleep(POLL_S)
        self.keep()

    def _hear(self, frames: list[bytes]) -> None:
        said = unpack(frames[1])
        self.stats[said["process"]] = said
        for name, value in (said["counters"] | said["gauges"]).items():
            if isinstance(value, int):
                self.most[f"{said['process']}.{name}"] = max(value, self.most[f"{said['process']}.{name}"])

    def said(self, process: str, name: str) -> Any:
        """The newest of a counter or gauge of a process, or its `state`."""
        said = self.stats.get(process, {"state": "", "counters": {}, "gauges": {}})
        return said["state"] if name == "state" else (said["counters"] | said["gauges"]).get(name, 0)

    def hear(self, process: str) -> None:
        """Wait for what the process says of itself as it is now."""
        now_ns = self.now_ms() * 1_000_000
        self.wait_until(lambda: self.stats[process]["time_ns"] > now_ns, f"a word of {process}")

    def wait_until(self, condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            self.keep()
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {timeout_s:g} s: {what}; deaths: {self.deaths[:3]}")
            time.sleep(POLL_S)
        return value

    def get(self, path: str) -> Any:
        return _json(f"http://127.0.0.1:{self.port}{path}")

    def ask_exchange(self, path: str) -> Any:
        return _json(f"http://127.0.0.1:{self.exchange_port}{path}")

    def fault(self, name: str, **params: Any) -> Any:
        body = json.dumps({"fault": name, **params}).encode()
        return _json(urllib.request.Request(f"http://127.0.0.1:{self.exchange_port}/_faults", body, method="POST"))

    def runs(self) -> bool:
        """Whether a front has heard of every shard and of all pairs."""
        health = self.get("/healthz")
        return bool(
            health
            and health["status"] == "running"
            and not health["shards_waiting"]
            and health["pairs"] >= self.symbols
        )

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, name: str) -> str:
        return self.log(name)[-2000:]


def _json(request: Any) -> Any:
    """None where nobody answers."""
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except (OSError, HTTPException):
        return None


class Killer:
    """Who dies when follows from the seed; the rest is up to the machine.

    One death in five takes others along, one in five comes right after a start, and some stay away for a while.
    """

    WEIGHTS: Mapping[str, float] = {
        "aggregator": 5, "sink": 3, "front": 2, "feed": 1.5, "database": 2, "redis": 2, "machine": 0.7,
    }  # fmt: skip

    def __init__(
        self, herd: Herd, victims: list[str], kills: int, every_s: float, seed: int, say: Callable[[str], object]
    ) -> None:
        self.herd, self.victims, self.kills, self.every_s, self.say = herd, victims, kills, every_s, say
        self.random = random.Random(seed)
        self.done = 0

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """All the kills, or until it is told to stop."""
        while self.done < self.kills and not until():
            wait_s = self.random.expovariate(1 / self.every_s)
            if self.random.random() < 0.2:
                wait_s = self.random.random() * 0.5
            self.herd.sleep(wait_s)
            for name in self._chosen():
                away_s = self.random.choice([0, 0, 0, 0, 0.2, 1.0, 3.0])
                self.herd.kill(name, away_s)
                self.done += 1
                if not self.done % SAY_EACH:
                    self.say(f"{self.done} kills: {dict(self.herd.kills)}, by themselves died {len(self.herd.deaths)}")

    def _chosen(self) -> list[str]:
        weights = [self.WEIGHTS[name.partition("-")[0]] for name in self.victims]
        count = 1 if self.random.random() < 0.8 else self.random.randint(2, 3)
        return list(dict.fromkeys(self.random.choices(self.victims, weights, k=min(count, self.kills - self.done))))
