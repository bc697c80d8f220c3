"""What no process that serves may load: the oracles of the tests, and the big data-frame libraries."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.net.front_process import running
from tests.system.session_client import SessionClient

ROOT = Path(__file__).parents[1]
SERVICES = sorted((ROOT / "services").glob("*.py"))
# What a front can do without: 12 MB of numpy, 4 of OpenSSL and so on, beside some 28 that it takes when it begins.
NOT_IN_A_FRONT = {
    "numpy", "ssl", "_ssl", "_hashlib", "asyncio", "http.client", "http.server", "email", "gevent.pywsgi", "websockets",
    "sqlite3", "subprocess", "multiprocessing", "prometheus_client",
}  # fmt: skip
HEAVY = {"talib", "talipp", "pandas", "polars", "numba", "scipy", "hypothesis", "pytest"}
CODE = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*{name.partition('.')[0] for name in sys.modules})"


def loaded(code: str, *arguments: str) -> set[str]:
    """The top packages that a fresh interpreter has loaded when it has run this code, which prints them last."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return {*done.stdout.splitlines()[-1].split()}


def test_every_service_is_looked_at():
    assert {path.stem for path in SERVICES} >= {"aggregator", "exchange", "feed", "front", "sink"}


@pytest.mark.slow
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_a_serving_process_loads_neither_oracles_nor_data_frames(path):
    modules = loaded(CODE, str(path))
    assert "wick" in modules and modules & HEAVY == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*HEAVY} & {"talib", "talipp", "pandas"}))
def test_it_would_be_seen_if_one_did(name, tmp_path):
    service = tmp_path / "service.py"
    service.write_text(f"import wick\nimport {name}\n")
    assert loaded(CODE, str(service)) & HEAVY >= {name}


@pytest.mark.slow
def test_computing_metrics_loads_only_numpy_beside_wick():
    modules = loaded("import sys; import wick.metrics.streams; print(*{m.partition('.')[0] for m in sys.modules})")
    assert "numpy" in modules and modules & {*HEAVY, "gevent", "zmq", "socket", "websockets"} == set()


@pytest.mark.slow
def test_a_front_that_serves_has_loaded_nothing_that_it_can_do_without(monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # it writes down whatever it imports
    with running() as (front, worker):
        empty_mb = front.rss_mb()
        worker.publish("BTC-USDT", head=[1, 2, 3], g1=[15_000, 1, 1, 1, 0])
        client = SessionClient(front.port, ["ticker:*", "candles:binance:BTC-USDT:15s"], "json")
        client.follow(lambda own: "candles:binance:BTC-USDT:15s" in own.states)
        assert front.get("/")[0] == front.get("/healthz")[0] == 200
        client.close()
        loaded = {line.rpartition("|")[2].strip() for line in front.log().splitlines() if "import time:" in line}
        print(f"a front takes {empty_mb:.1f} MB before its first client, {front.rss_mb():.1f} MB with the page served")
        assert {"wick.roles.front", "gevent", "zmq"} <= loaded
        assert {name for name in loaded if {name, name.partition(".")[0]} & NOT_IN_A_FRONT} == set()
        assert empty_mb < 32
