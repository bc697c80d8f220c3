"""Everything is killed at random moments, and the power goes: no candle is lost, doubled or changed. The short form of
`scripts/chaos.py`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.chaos.run import chaos, compared
from tests.chaos.truth import PLACE
from wick.market.schema import CANDLE_FIELDS, CLOSED, REVISED, SUSPECT

KILLS, SEED = 14, 3
LOG_LOST_MS = 25


@pytest.mark.slow
def test_kills_at_random_moments_and_a_power_cut_leave_every_candle_as_it_would_have_been(record_property: Any) -> None:
    with TemporaryDirectory(prefix="wick-", ignore_cleanup_errors=True) as folder:
        verdict = chaos(
            Path(folder), kills=KILLS, every_s=1.0, seed=SEED, symbols=12, rate=600.0, turn_s=16.0,
            AGGREGATOR_CHECKPOINT_S=2,
        )  # fmt: skip
    record_property("said", str(verdict))
    assert verdict.faults == []
    assert sum(verdict.kills.values()) == KILLS
    assert {name.partition("-")[0] for name in verdict.kills} == {"aggregator", "feed", "front", "sink", "machine"}
    assert all(milliseconds <= LOG_LOST_MS for milliseconds in verdict.log_lost_ms)
    assert min(verdict.intervals.values()) >= 12, "every interval has closed, of every pair"


def row(**values: Any) -> list[Any]:
    return [values.get(name, 0) for name in CANDLE_FIELDS]


def test_the_comparison_sees_what_is_missing_what_is_too_much_and_every_wrong_bit() -> None:
    key, other = ("BTC-USDT", "1m", 60_000), ("BTC-USDT", "1m", 120_000)
    right = {key: row(flags=CLOSED, volume=7, vwap=0.1)}
    assert compared({key: row(flags=CLOSED | REVISED, volume=7, vwap=0.1, revision=3, ofi=1.5)}, right) == []
    assert "1 of 1 candles are missing" in compared({}, right)[0]
    assert "1 candles should not be there" in compared({**right, other: row()}, right)[0]
    for wrong in (row(flags=CLOSED, volume=8, vwap=0.1), row(flags=CLOSED, volume=7, vwap=0.1 + 2e-17),
                  row(flags=CLOSED | SUSPECT, volume=7, vwap=0.1)):  # fmt: skip
        assert "1 of 1 candles differ" in compared({key: wrong}, right)[0]
    assert PLACE["open_time_ms"] == 0
