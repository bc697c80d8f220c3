"""The exchange role as a process: its exit codes, its messages, its end."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.ports import free_port
from tests.sim.exchange_process import ROOT, wait_until
from wick.ops.settings import Settings
from wick.roles.exchange import _source
from wick.sim.demo import Demo

pytestmark = pytest.mark.slow


def start(tmp_path: Path, port: int, *options: str) -> "subprocess.Popen[str]":
    config = tmp_path / "wick.toml"
    config.touch()
    command = [sys.executable, "-m", "wick.roles.exchange", "--exchange-port", str(port), *options]
    environment = {**os.environ, "WICK_CONFIG": str(config)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the exchange did not listen in time"
            time.sleep(0.02)


def test_sigterm_closes_clients_in_order_and_ends_with_0(tmp_path: Path):
    port = free_port()
    process = start(tmp_path, port, "--exchange-symbols", "5")
    wait_for(port)
    with connect(f"ws://127.0.0.1:{port}/ws/btcusdt@trade", compression=None, proxy=None, max_queue=None) as client:
        client.recv(timeout=30)
        process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                client.recv(timeout=30)
        assert closed.value.rcvd.code == 1001
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"listening url=ws://127.0.0.1:{port} symbols=5" in log and "stopped" in log


@contextmanager
def market(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", Callable[..., list[dict[str, Any]]]]]:
    """A process, and what its REST tells of trades."""
    port = free_port()

    def trades(path: str = "trades", **query: int) -> list[dict[str, Any]]:
        asked = "".join(f"&{name}={value}" for name, value in query.items())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v3/{path}?symbol=BTCUSDT{asked}", timeout=5) as found:
            return json.load(found)

    options = ("--core-data-dir", str(tmp_path), "--exchange-symbols", "5", "--exchange-rate", "200")
    with start(tmp_path, port, *options) as process:
        try:
            wait_for(port)
            wait_until(lambda: bool(trades()))
            yield process, trades
        finally:
            process.kill()


def test_a_market_that_is_started_again_goes_on_and_can_still_be_asked_for_what_was_before(tmp_path: Path):
    with market(tmp_path) as (process, trades):
        known = trades()
        process.terminate()
        assert process.wait(10) == 0
    with market(tmp_path) as (process, trades):
        again = trades("historicalTrades", fromId=known[0]["id"])
        assert again[: len(known)] == known
        assert [trade["id"] for trade in again] == [*range(known[0]["id"], known[0]["id"] + len(again))]
        process.kill()  # nothing is saved: no id may come again
        process.wait(10)
    with market(tmp_path) as (process, trades):
        assert trades()[0]["id"] > again[-1]["id"] + 1_000


@pytest.mark.parametrize(
    "saved", [b"", b"{}", b"nonsense", b'{"version":0}', b'{"version":1,"stands":[[1]],"trades":[]}',
              b'{"version":1,"stands":[],"trades":[[0,1,2,3,4,true]]}'],
)  # fmt: skip
def test_a_market_that_cannot_be_read_begins_anew_and_says_so(tmp_path: Path, caplog, saved: bytes):
    file, settings = tmp_path / "saved.json", Settings({})
    file.write_bytes(saved)
    assert isinstance(_source(settings, file), Demo)
    assert bool(saved) == ("the market begins anew" in caplog.text)


def test_another_venue_over_tls_is_two_settings(tmp_path: Path):
    authority, port = trustme.CA(), free_port()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    options = ("--exchange-venue", "coinbase", "--exchange-certificate", str(tmp_path / "server.pem"))
    process = start(tmp_path, port, "--exchange-symbols", "5", *options)
    wait_for(port)
    stranger, trust = (ssl.create_default_context() for _ in range(2))
    authority.configure_trust(trust)
    trust.maximum_version = ssl.TLSVersion.TLSv1_2  # wick/client/blocking.py says why
    with pytest.raises(ssl.SSLCertVerificationError), connect(f"wss://127.0.0.1:{port}", ssl=stranger, proxy=None):
        pass
    with connect(f"wss://127.0.0.1:{port}", ssl=trust, proxy=None, max_queue=None) as client:
        client.send('{"type":"subscribe","product_ids":["BTC-USDT"],"channels":["matches"]}')
        while '"type":"match"' not in client.recv(timeout=30):
            pass
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"listening url=wss://127.0.0.1:{port} symbols=5 venue=coinbase" in log
    assert "Traceback" not in log, log


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path):
    (tmp_path / "wrong.pem").write_text("nonsense")
    process = start(tmp_path, free_port(), "--exchange-certificate", str(tmp_path / "wrong.pem"))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "exchange.certificate" in log and "wrong.pem" in log and "valid is" in log
    assert "Traceback" not in log, log


def test_a_port_in_use_ends_with_3_and_says_how_to_mend_it(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(tmp_path, taken.getsockname()[1])
        _, log = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "in use" in log and "--exchange-port" in log
    assert "Traceback" not in log, log


def test_a_recording_that_is_not_there_ends_with_2_and_is_named(tmp_path: Path):
    process = start(tmp_path, free_port(), "--exchange-files", "no-such-file.gz")
    _, log = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "no-such-file.gz" in log and "valid is" in log
    assert "Traceback" not in log, log
