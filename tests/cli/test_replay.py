"""`wick replay`: what it refuses, and a client that gets what was recorded."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.cli.making import BASE_MS, capture, packed, trade
from wick.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("option", "valid"),
    [
        (("--speed", "-3"), "above 0"),
        (("--speed", "fast"), "max"),
        (("--port", "99999"), "65535"),
        (("--venue", "mtgox"), "kraken"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_valid(option, valid, tmp_path, capsys):
    assert main(["replay", str(capture(tmp_path / "a", trade(1, 0))), *option]) == 2
    said = capsys.readouterr().err
    assert option[1] in said
    assert valid in said


def test_what_cannot_be_served_is_named_and_nothing_is_served(tmp_path, capsys):
    good = capture(tmp_path / "good", trade(1, 0))
    dump = tmp_path / "BTCUSDT-trades-2024-08-09.csv"
    dump.write_text(f"5,1.5,2,3,{BASE_MS},True,True\n")
    zipped = packed(capture(tmp_path / "zipped", trade(1, 0)), "zip")
    assert main(["replay", str(good), str(dump), str(zipped), str(tmp_path / "gone")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{dump}: a dump of trades has no frames to serve" in err
    assert str(zipped) not in err
    assert f"{tmp_path / 'gone'}: No such file or directory" in err
    assert str(good) not in err


@pytest.fixture
def replay(tmp_path):
    """Starts `wick replay`: (process, the address that it prints)."""
    started = []

    def start(*arguments: object) -> tuple[subprocess.Popen[str], str]:
        code = "import sys; from wick.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "replay", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_client_gets_the_recorded_frames_byte_for_byte_and_in_order(replay, tmp_path):
    mine = [trade(n, n, f"{n}.5") for n in range(1, 200)]
    other = [trade(n, n, symbol="ETHUSDT") for n in range(1, 200)]
    path = capture(
        tmp_path / "a",
        *[entry for n, pair in enumerate(zip(mine, other, strict=True)) for entry in ((pair[0], n), (pair[1], n))],
    )
    process, address = replay(path, "--speed", "max", "--port", "0")
    with connect(f"{address}/stream?streams=btcusdt@trade") as client:
        assert [client.recv(timeout=30) for _ in mine] == mine
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(replay, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, address = replay(capture(tmp_path / "a", trade(1, 0)), "--port", port)
        assert address == ""
        assert process.wait(30) == 3
        assert f"wick replay: port {port}: Address already in use" in process.stderr.read()
