"""The simulated exchange and the real feed, each a process of its own; this one stands where a worker is."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import _common as common
import zmq

from tests.ports import free_port
from wick.net import bus, endpoints
from wick.wire.codec import unpack

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Running:
    """Exchange and feed as processes; what the feed says of itself."""

    def __init__(self, directory: Path, venue: str, symbols: int, rate: float, **settings: object) -> None:
        port = free_port()
        (directory / "wick.toml").touch()
        own = {
            "CONFIG": directory / "wick.toml", "CORE_DATA_DIR": directory, "AGGREGATOR_WORKERS": 1,
            "EXCHANGE_VENUE": venue, "EXCHANGE_PORT": port, "EXCHANGE_SYMBOLS": symbols, "EXCHANGE_RATE": rate,
            "FEED_VENUES": venue, "FEED_SYMBOLS": "*", "FEED_WS_URL": f"ws://127.0.0.1:{port}",
            "FEED_REST_URL": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        endpoints.run_dir(directory)
        outer = {name: value for name, value in os.environ.items() if not name.startswith("WICK_")}
        ours = {f"WICK_{name}": str(value) for name, value in (own | settings).items()}
        env = outer | {"PYTHONPATH": str(common.ROOT)} | ours
        self.address = f"http://127.0.0.1:{port}"
        self.stats: dict[str, Any] = {}  # what the feed says of itself, once a second
        self.batches = 0
        self._stopping = threading.Event()
        self._directory = str(directory)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.processes = {}
        for name in ("exchange", "feed"):
            with (directory / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, str(common.ROOT / "services" / f"{name}.py"), "--index", "0", "--of", "1"],
                    cwd=common.ROOT, env=env, stdout=log, stderr=log,
                )  # fmt: skip

    def _read(self) -> None:
        pull = bus.pull(self._directory, 0, 10_000)
        heard = bus.subscriber(self._directory, ["feed-0"], [b"stats."])
        poller = zmq.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(heard, zmq.POLLIN)
        while not self._stopping.is_set():
            ready = dict(poller.poll(200))
            if pull in ready:
                pull.recv_multipart()
                self.batches += 1
            if heard in ready:
                self.stats = unpack(heard.recv_multipart()[1])
        pull.close(linger=0)
        heard.close(linger=0)

    @property
    def messages(self) -> int:
        counters: dict[str, int] = self.stats.get("counters", {})
        return counters.get("messages", 0)

    @property
    def feed(self) -> int:
        return self.processes["feed"].pid

    def resident_mb(self) -> float:
        return int(Path(f"/proc/{self.feed}/statm").read_text().split()[1]) * PAGE_MB

    def rate(self, seconds: float) -> float:
        """Messages a second, measured for so long."""
        before, began = self.messages, time.monotonic()
        time.sleep(seconds)
        return (self.messages - before) / (time.monotonic() - began)

    def ask(self, path: str, fault: dict[str, Any] | None = None) -> Any:
        """The exchange's own answers: `/_faults`, `/_truth`; with `fault` that is switched on."""
        request = urllib.request.Request(self.address + path, json.dumps(fault).encode() if fault else None)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        for name in ("feed", "exchange"):
            self.processes[name].send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self._stopping.set()
        self._reader.join(5)
