"""A front that begins while no worker answers shows what Redis has, with its age, until a worker replaces it."""

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.net.front_process import VENUE, Front, Worker, wait_for
from tests.system.session_client import SessionClient
from wick.ops.process import Stats
from wick.ops.settings import Settings
from wick.roles.latest import LatestState
from wick.storage.latest import RedisLatest
from wick.stream.latest import pair_key
from wick.stream.shards import SHARDS

pytestmark = pytest.mark.slow

OPEN_MS = 1_723_161_600_000
TOPIC = "candles:binance:BTC-USDT:15s"


@pytest.fixture
def server(redis_server):
    return redis_server.empty()


def fill(server, symbols):
    """As a sink does; returns when every pair is there."""
    with TemporaryDirectory(prefix="wick-", dir="/tmp") as folder:
        worker, latest = Worker(folder), RedisLatest(server.url, 5.0)
        settings = Settings({"core.data_dir": folder, "aggregator.workers": 1, "redis.flush_ms": 10})
        state = LatestState(settings, Stats("sink-0", 1), latest)
        for number, symbol in enumerate(symbols):
            worker.publish(symbol, head=[7 + number, 8, OPEN_MS], g1=[OPEN_MS, 7, 9, 6])
        state.start()
        reader = RedisLatest(server.url, 5.0)
        wait_for(lambda: None not in reader.read([pair_key(VENUE, symbol) for symbol in symbols]), "the values")
        worker.stop()
        state.close()
        reader.close()


def test_a_front_boots_from_redis_at_once_says_how_old_it_is_and_takes_what_a_worker_says(server):
    fill(server, ["BTC-USDT", "ETH-USDT"])
    filled = time.time()
    with TemporaryDirectory(prefix="wick-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        front = Front(Path(folder), {"REDIS_URL": server.url})
        worker = None
        try:
            wait_for(lambda: health(front).get("pairs") == 2, "what Redis has")
            told = health(front)
            assert told["status"] == "stale" and told["shards_waiting"] == SHARDS
            assert 0 <= told["age_ms"] <= 1000 * (time.time() - filled) + 10_000
            assert not front.ask("/readyz")["ready"]
            pairs = {one["symbol"]: one["state"]["last_trade_id"] for one in front.ask("/api/v1/snapshot")["pairs"]}
            assert pairs == {"BTC-USDT": 8, "ETH-USDT": 8}
            client = SessionClient(front.port, [TOPIC])
            client.follow(lambda own: own.states.get(TOPIC, [[0]])[0][0] == 7)

            worker = Worker(Path(folder))
            worker.publish("BTC-USDT", head=[70], g1=[OPEN_MS, 70])
            client.follow(lambda own: own.states[TOPIC][0][0] == 70)
            wait_for(front.is_ready, "the worker's snapshots")
            assert client.states[TOPIC] == [worker.state("BTC-USDT")[0], worker.state("BTC-USDT")[1]]
            told = health(front)
            assert (told["status"], told["pairs"]) == ("running", 1), "what the worker does not have is gone"
            client.close()
        finally:
            front.end()
            if worker is not None:
                worker.stop()


def health(front):
    try:
        return front.ask("/healthz")
    except OSError:
        return {}


def test_a_front_whose_redis_is_away_waits_for_the_workers_as_without_one():
    with TemporaryDirectory(prefix="wick-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        worker = Worker(Path(folder))
        front = Front(Path(folder), {"REDIS_URL": f"unix://{folder}/none.sock"})
        try:
            worker.publish("BTC-USDT", head=[70])
            wait_for(front.is_ready, "the worker's snapshots")
            wait_for(lambda: "nothing to begin with until" in front.log(), "what the front says")
        finally:
            front.end()
            worker.stop()


def test_a_redis_that_answers_only_later_is_read_then(server):
    fill(server, ["BTC-USDT"])
    server.hang()
    with TemporaryDirectory(prefix="wick-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        front = Front(Path(folder), {"REDIS_URL": server.url})
        try:
            wait_for(lambda: "does not answer" in front.log(), "what the front says")
            assert health(front)["pairs"] == 0
            server.go_on()
            wait_for(lambda: health(front).get("pairs") == 1, "what Redis has")
        finally:
            server.go_on()
            front.end()


def test_a_wrong_address_ends_the_front_with_what_is_valid(tmp_path):
    env = os.environ | {"WICK_CORE_DATA_DIR": str(tmp_path), "WICK_REDIS_URL": "redis://:hush@localhost/name"}
    done = subprocess.run(
        [".venv/bin/python", "services/front.py"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2 and "redis.url is wrong: valid is" in done.stderr and "hush" not in done.stderr


def test_a_front_that_boots_from_redis_loads_no_client_of_it(server, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # it writes down whatever it imports
    fill(server, ["BTC-USDT"])
    with TemporaryDirectory(prefix="wick-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        front = Front(Path(folder), {"REDIS_URL": server.url})
        try:
            wait_for(lambda: health(front).get("pairs") == 1, "what Redis has")
            loaded = {line.rpartition("|")[2].strip() for line in front.log().splitlines() if "import time:" in line}
            assert "wick.storage.latest" in loaded and {"redis", "ssl", "asyncio", "numpy"} & loaded == set()
        finally:
            front.end()
