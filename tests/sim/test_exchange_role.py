"""The exchange role as a process: its exit codes, its messages, its end."""

import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.ports import free_port
from tests.sim.exchange_process import ROOT

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
