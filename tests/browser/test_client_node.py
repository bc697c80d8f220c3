"""The JavaScript client in node on a real front, over a line that is cut: it holds what a client does that never was."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import system
from tests.browser.chromium import until
from tests.browser.line import line_to
from tests.browser.system import RunningWick

HERE = Path(__file__).parent
node = shutil.which("node")
NODE = [str(node), "--no-warnings", "--experimental-websocket"]
SLOW_S = 90


def has_websocket() -> bool:
    if node is None:
        return False
    return subprocess.run([*NODE, "-e", "new WebSocket('ws://localhost:1')"], capture_output=True, timeout=60).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not has_websocket(), reason="there is no node with a WebSocket")]


@pytest.fixture(scope="module")
def running_wick() -> Iterator[RunningWick]:
    with system.running(EXCHANGE_SYMBOLS=12, EXCHANGE_RATE=200) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        yield wick


@pytest.mark.parametrize("form", ["msgpack", "json"])
def test_a_client_whose_line_is_cut_again_and_again_misses_nothing(running_wick: RunningWick, form: str) -> None:
    with line_to(running_wick.port) as line:
        given = {
            "url": f"ws://127.0.0.1:{running_wick.port}/ws", "cut": f"ws://127.0.0.1:{line.port}/ws", "form": form,
            "topics": ["ticker:*", "candles:*:15s", "closes:*:15s"],
        }  # fmt: skip
        command = [*NODE, str(HERE / "node_clients.mjs"), json.dumps(given)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        began = time.time()
        cuts = 0

        def has_seen_a_close() -> bool:
            nonlocal cuts
            line.cut()
            cuts += 1
            time.sleep(1.5)
            # The grace period after which a candle closes is within this.
            return time.time() // 15 > began // 15 and time.time() % 15 > 8

        until(has_seen_a_close, "a close", SLOW_S)
        time.sleep(2)
        told, _ = process.communicate(timeout=20)
    steady, unsteady = (json.loads(told)[which] for which in ("steady", "unsteady"))
    assert steady["counters"]["connects"] == 1
    assert unsteady["counters"]["connects"] > cuts // 2
    assert unsteady["gaps"] == steady["gaps"] == []
    compared = 0
    for topic, states in steady["states"].items():
        both = states.keys() & unsteady["states"][topic].keys()
        assert {position: states[position] for position in both} == {
            position: unsteady["states"][topic][position] for position in both
        }
        compared += len(both)
    assert compared > 100
    closes = {tuple(close) for close in steady["closes"]}
    assert closes == {tuple(close) for close in unsteady["closes"]}
    assert len(closes) >= 12
