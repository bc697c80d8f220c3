"""The exchange role as a process: its exit codes, its messages, its end."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.sim.exchange_process import ROOT


def start(tmp_path: Path, port: int, *options: str) -> "subprocess.Popen[str]":
    config = tmp_path / "wick.toml"
    config.touch()
    command = [sys.executable, "-m", "wick.roles.exchange", "--exchange-port", str(port), *options]
    environment = {**os.environ, "WICK_CONFIG": str(config)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
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
        client.recv(timeout=5)
        process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                client.recv(timeout=5)
        assert closed.value.rcvd.code == 1001
    _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    assert f"listening url=ws://127.0.0.1:{port} symbols=5" in log and "stopped" in log


def test_a_port_in_use_ends_with_3_and_says_how_to_mend_it(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(tmp_path, taken.getsockname()[1])
        _, log = process.communicate(timeout=10)
    assert process.returncode == 3
    assert "in use" in log and "--exchange-port" in log
    assert "Traceback" not in log


def test_a_recording_that_is_not_there_ends_with_2_and_is_named(tmp_path: Path):
    process = start(tmp_path, free_port(), "--exchange-files", "no-such-file.gz")
    _, log = process.communicate(timeout=10)
    assert process.returncode == 2
    assert "no-such-file.gz" in log and "valid is" in log
    assert "Traceback" not in log
