"""A simulated exchange over TLS and a feed that reads it, each a process; this process is the feed's only worker."""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlencode

import trustme
import zmq

from tests.browser.system import ROOT
from tests.ports import free_port
from wick.net import bus, endpoints
from wick.wire.codec import unpack

Message = list[bytes]
START_S = 120.0


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what}"
        time.sleep(0.05)
    return value


class VenueRun:
    """Exchange and feed of one venue. `batches` are what the feed pushed; `books` the newest frame of each symbol."""

    def __init__(self, venue: str, directory: Path, exchange: dict[str, Any], feed: dict[str, Any]) -> None:
        self.venue, self.directory = venue, directory
        self.port = free_port()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
        self._context = ssl.create_default_context(cafile=directory / "ca.pem")
        (directory / "wick.toml").touch()
        own = {
            "CONFIG": directory / "wick.toml", "CORE_DATA_DIR": directory, "AGGREGATOR_WORKERS": 1,
            "EXCHANGE_VENUE": venue, "EXCHANGE_PORT": self.port, "EXCHANGE_CERTIFICATE": directory / "server.pem",
            "FEED_VENUES": venue, "FEED_SYMBOLS": "*", "FEED_CA_FILE": directory / "ca.pem",
            "FEED_WS_URL": f"wss://127.0.0.1:{self.port}", "FEED_REST_URL": f"https://127.0.0.1:{self.port}",
            "TICKLOG_ENABLED": "false",
            **{f"EXCHANGE_{name.upper()}": value for name, value in exchange.items()},
            **{f"FEED_{name.upper()}": value for name, value in feed.items()},
        }  # fmt: skip
        self.env = os.environ | {f"WICK_{name}": str(value) for name, value in own.items()}
        self.batches: list[Message] = []
        self.books: dict[str, list[Any]] = {}
        self.stats: dict[str, Any] = {}
        endpoints.run_dir(directory)
        self._stopping = threading.Event()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reader = threading.Thread(target=self._read)

    # ------------------------------------------------------------------ life

    def start_exchange(self) -> None:
        self._spawn("exchange")
        wait_until(self._exchange_answers, START_S, f"{self.venue}: the exchange is up\n{self.log('exchange')}")

    def start(self) -> None:
        self.start_exchange()
        self._reader.start()
        self._spawn("feed")

    def wick(self, *arguments: str, timeout_s: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        """A command, against this exchange."""
        return subprocess.run(
            [sys.executable, "-m", "wick", *arguments],
            cwd=ROOT, env=self.env | env, capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip

    def _spawn(self, name: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, f"services/{name}.py", "--index", "0", "--of", "1"],
                cwd=ROOT, env=self.env, stdout=output, stderr=output,
            )  # fmt: skip

    def _exchange_answers(self) -> bool:
        assert self._processes["exchange"].poll() is None, self.log("exchange")
        try:
            self.get("/_faults")
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """The feed first: it drains into this process."""
        for name in ("feed", "exchange"):
            if process := self._processes.get(name):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._stopping.set()
        if self._reader.is_alive():
            self._reader.join()

    def is_up(self) -> bool:
        return all(process.poll() is None for process in self._processes.values())

    def log(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    # ------------------------------------------------------------------ the feed's side

    def _read(self) -> None:
        pull = bus.pull(str(self.directory), 0, 100_000)
        heard = bus.subscriber(str(self.directory), ["feed-0"], [b"book.", b"stats."])
        poller = zmq.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(heard, zmq.POLLIN)
        while (ready := dict(poller.poll(100))) or not self._stopping.is_set():
            if pull in ready:
                self.batches.append(pull.recv_multipart())
            if heard in ready:
                topic, body = heard.recv_multipart()
                if topic.startswith(b"book."):
                    content = unpack(body)
                    self.books[content[0]] = content
                else:
                    self.stats = unpack(body)
        pull.close(linger=0)
        heard.close(linger=0)

    @property
    def counters(self) -> dict[str, int]:
        return self.stats.get("counters", {})

    @property
    def gauges(self) -> dict[str, Any]:
        return self.stats.get("gauges", {})

    # ------------------------------------------------------------------ the exchange's side

    def get(self, path: str, **query: Any) -> Any:
        url = f"https://127.0.0.1:{self.port}{path}{'?' + urlencode(query, quote_via=quote) if query else ''}"
        with urllib.request.urlopen(url, timeout=30, context=self._context) as answer:
            return json.load(answer)

    def fault(self, name: str, **params: Any) -> Any:
        body = json.dumps({"fault": name, **params}).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/_faults", body, method="POST")
        with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
            return json.load(answer)

    def truth(self, native: str) -> list[list[Any]]:
        """All trades of a symbol: [id, price, quantity, taker, time in ms], as the venue writes them."""
        found: list[list[Any]] = []
        page = self.get("/_truth", symbol=native)
        while page["trades"]:
            found += page["trades"]
            if len(found) and page["trades"][-1][0] >= page["last_id"]:
                break
            page = self.get("/_truth", symbol=native, from_id=page["trades"][-1][0] + 1)
        return found


@contextmanager
def venue_run(venue: str, exchange: dict[str, Any], feed: dict[str, Any]) -> Iterator[VenueRun]:
    """Not started; everything is stopped at the end. The folder's path is short: sockets live there."""
    with TemporaryDirectory(prefix="wick-", ignore_cleanup_errors=True) as folder:
        run = VenueRun(venue, Path(folder), exchange, feed)
        try:
            yield run
        finally:
            run.stop()
