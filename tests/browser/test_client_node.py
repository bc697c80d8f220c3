"""The JavaScript client in node on a real front, over a line that is cut: it holds what one does that never was."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import system
from tests.browser.chromium import until
from tests.browser.line import Line, line_to
from tests.browser.system import RunningWick

HERE = Path(__file__).parent
node = shutil.which("node")
NODE = [str(node), "--no-warnings", "--experimental-websocket"]
CUTS = 4
CLOSES = 24  # twelve pairs, twice: some of them while the line was cut
SLOW_S = 120

pytestmark = [pytest.mark.slow, pytest.mark.skipif(node is None, reason="there is no node on this machine")]


@pytest.fixture(scope="module")
def running_wick() -> Iterator[RunningWick]:
    if subprocess.run([*NODE, "-e", "new WebSocket('ws://localhost:1')"], capture_output=True, timeout=60).returncode:
        pytest.skip("this node has no WebSocket")
    with system.running(EXCHANGE_SYMBOLS=12, EXCHANGE_RATE=200) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        yield wick


class Clients:
    """The two clients of node_clients.mjs."""

    def __init__(self, port: int, line: Line, form: str) -> None:
        topics = ["ticker:*", "candles:*:15s", "closes:*:15s", "trades:binance:BTC-USDT"]
        ways = {"url": f"ws://127.0.0.1:{port}/ws", "cut": f"ws://127.0.0.1:{line.port}/ws"}
        command = [*NODE, str(HERE / "node_clients.mjs"), json.dumps({**ways, "form": form, "topics": topics})]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self) -> tuple[dict[str, Any], dict[str, Any]]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return told["steady"], told["unsteady"]

    def stop(self) -> None:
        self._process.communicate(timeout=20)


def closes(client: dict[str, Any]) -> set[tuple[Any, ...]]:
    return {tuple(close) for close in client["closes"]}


@pytest.mark.parametrize("form", ["msgpack", "json"])
def test_a_client_whose_line_is_cut_again_and_again_misses_nothing(running_wick: RunningWick, form: str) -> None:
    with line_to(running_wick.port) as line:
        clients = Clients(running_wick.port, line, form)
        diffs = cuts = 0

        def has_seen_enough() -> bool:
            nonlocal diffs, cuts
            steady, unsteady = clients.ask()
            if cuts < CUTS and unsteady["counters"]["diff"] > diffs + 20:
                line.cut()
                diffs, cuts = unsteady["counters"]["diff"], cuts + 1
            return steady["counters"]["close"] >= CLOSES and cuts == CUTS

        until(has_seen_enough, "closes and cuts", SLOW_S)
        until(lambda: len({frozenset(closes(client)) for client in clients.ask()}) == 1, "the same closes", SLOW_S)
        steady, unsteady = clients.ask()
        clients.stop()
    assert (steady["counters"]["connects"], unsteady["counters"]["connects"]) == (1, CUTS + 1)
    assert steady["gaps"] == unsteady["gaps"] == []
    compared = 0
    for topic, states in steady["states"].items():
        others = unsteady["states"][topic]
        for position in states.keys() & others.keys():
            ours, theirs = set(states[position]), set(others[position])
            # The last state of a candle has the position of the next one's first, which a merged DIFF can skip.
            assert ours <= theirs or theirs <= ours, (topic, position, ours, theirs)
            compared += 1
    assert compared > 100
    trades, others = steady["trades"], unsteady["trades"]
    assert trades == sorted(set(trades))
    both = slice(trades.index(max(trades[0], others[0])), trades.index(min(trades[-1], others[-1])))
    assert trades[both] == [one for one in others if one in set(trades[both])]
    assert len(trades[both]) > 100
