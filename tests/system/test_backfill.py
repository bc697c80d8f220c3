"""A first start, and `wick backfill` beside a running system: what was lived through stays, what is missing comes."""

import subprocess
import sys
import time
from typing import Any

import pytest

from tests.browser.system import ROOT, RunningWick, running
from tests.system.venue import wait_until
from wick.market.intervals import by_name
from wick.market.schema import CANDLE_FIELDS, FOREIGN, FORMED_FIELDS, PARTIAL
from wick.metrics.fields import FIELDS
from wick.ops import settings
from wick.roles import first_start
from wick.storage.sqlite import SqliteStore

pytestmark = pytest.mark.slow

FLAGS = CANDLE_FIELDS.index("flags")
SLOWEST = [CANDLE_FIELDS.index(field.name) for field in FIELDS if 40 <= field.n <= 300]


def backfill(wick: RunningWick, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "wick", "backfill", "binance", *words],
        cwd=ROOT, env=wick.env | {"WICK_FEED_VENUES": "binance"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def stored(wick: RunningWick, interval: str) -> dict[int, Any]:
    store = SqliteStore(wick.data_dir / "candles.sqlite", read_only=True)
    try:
        return {row[0]: row for row in store.candles("binance", "BTC-USDT", interval, 1_000)}
    finally:
        store.close()


def whole(rows: dict[int, Any]) -> dict[int, Any]:
    return {at: row for at, row in rows.items() if not row[FLAGS] & (PARTIAL | FOREIGN)}


def own(row: Any) -> Any:
    """What a candle says of its own time: metrics and CVD go further back with more of the past."""
    return [value for name, value in zip(FORMED_FIELDS, row, strict=False) if not name.startswith("cvd")]


def test_a_start_has_its_metrics_and_the_past_comes_beside_live_data_and_changes_none_of_it() -> None:
    with running(EXCHANGE_SYMBOLS=4, EXCHANGE_RATE=40) as wick:
        wick.start("exchange")
        time_of_start_ms = time.time_ns() // 10**6
        wait_until(lambda: "listening" in wick.log("exchange-0"), 60, "the exchange is up")
        said: list[str] = []
        first_start.warm(settings.load(env=wick.env), said.append, said.append)
        assert "candles of binance for the metrics of 4 symbols" in said[-1]
        for name in ("sink", "front"):
            wick.start(name)
        for index in range(2):
            wick.start("aggregator", index, 2)
        wick.start("feed")
        wick.wait_until_it_runs()
        lived = wait_until(lambda: whole(stored(wick, "15s")), 120, "a candle")
        # The venue's own candles are what its metrics begin with, and nothing is between them and the first trade.
        assert all(None not in [row[at] for at in SLOWEST] for row in lived.values())
        assert "candles written" in backfill(wick, "BTCUSDT", "--from", "2h")
        after = stored(wick, "15s")
        assert {at: own(after[at]) for at in lived} == {at: own(row) for at, row in lived.items()}
        # The candle in which the feed began was partial; the exchange began in it too, or had all of it.
        first_ms = by_name("15s").close_ms(by_name("15s").open_ms(time_of_start_ms))
        assert all(at in whole(after) for at in range(first_ms + 15_000, max(lived), 15_000))
        backfill(wick, "BTCUSDT", "--from", "1h", "--candles")
        assert {at: row for at, row in stored(wick, "15s").items() if at in whole(after)} == whole(after)
        assert len(stored(wick, "1m")) >= 58
        assert wick.processes["sink-0"].poll() is None and " ERROR " not in wick.log_whole("sink-0")  # nobody fenced it
