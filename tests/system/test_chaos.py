"""Everything is killed at random moments, and the power goes: no candle is lost, doubled or changed. The short form of
`scripts/chaos.py`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.chaos.run import chaos, compared
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE, CLOSED, PATTERNS, REVISED, SUSPECT
from wick.market.stored import rounded

KILLS, SEED = 14, 3
LOG_LOST_MS = 100  # 25 where nothing else runs; the gate computes beside this


@pytest.mark.slow
def test_kills_at_random_moments_and_a_power_cut_leave_every_candle_as_it_would_have_been(record_property: Any) -> None:
    with TemporaryDirectory(prefix="wick-", ignore_cleanup_errors=True) as folder:
        verdict = chaos(
            Path(folder), kills=KILLS, every_s=1.2, seed=SEED, symbols=12, rate=600.0, turn_s=25.0,
            AGGREGATOR_CHECKPOINT_S=2,
        )  # fmt: skip
    record_property("said", str(verdict))
    assert verdict.faults == []
    assert sum(verdict.kills.values()) == KILLS
    assert {name.partition("-")[0] for name in verdict.kills} == {"aggregator", "feed", "front", "sink", "machine"}
    assert all(milliseconds <= LOG_LOST_MS + disk_ms for milliseconds, disk_ms in verdict.log_lost_ms)
    assert min(verdict.intervals.values()) >= 12, "every interval has closed, of every pair"


def row(**values: Any) -> list[Any]:
    """A whole one, as a store gives it back."""
    names = {name: 0 if kind != PATTERNS else bytes(61) for name, kind in CANDLE}
    known = {"open_time_ms": KEY[2], "close_time_ms": KEY[2] + 60_000, "price_decimals": 2, "quantity_decimals": 3}
    known |= dict.fromkeys(("open", "high", "low", "close"), 10_000)
    return rounded(NAMES.index(KEY[1]), list((names | known | values).values()))


KEY = ("BTC-USDT", "1m", 60_000)


def test_the_comparison_sees_what_is_missing_what_is_too_much_and_every_wrong_digit() -> None:
    other = ("BTC-USDT", "1m", 120_000)
    right = {KEY: row(flags=CLOSED, volume=7, rsi_14=50.0)}
    assert compared({KEY: row(flags=CLOSED | REVISED, volume=7, rsi_14=50.0, revision=3, ofi=1.5)}, right) == []
    assert "1 of 1 candles are missing" in compared({}, right)[0]
    assert "1 candles should not be there" in compared({**right, other: row()}, right)[0]
    for wrong in (
        {"volume": 8},
        {"rsi_14": 51.0},
        {"flags": CLOSED | SUSPECT},
        {"patterns": bytes([5, *bytes(60)])},
        {"cvd": -1},
    ):
        there = row(**{"flags": CLOSED, "volume": 7, "rsi_14": 50.0} | wrong)
        assert "1 of 1 candles differ" in compared({KEY: there}, right)[0], wrong
