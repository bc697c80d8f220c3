"""A feed whose system's clock jumps."""

from pathlib import Path

import pytest

from wick.market.trades import Trade
from wick.net.clock import now_ns
from wick.ops.settings import Settings
from wick.roles import feed as module
from wick.roles import venue_feed
from wick.roles.feed import Feed
from wick.storage.checkpoints import Checkpoints, shard_directory
from wick.storage.ticklog import SUFFIX

HOUR_NS = 3600 * 10**9


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(venue_feed, "client_context", lambda _: None)  # to read certificates takes long
    (tmp_path / "run").mkdir(mode=0o700)
    return Settings({"core.data_dir": str(tmp_path), "aggregator.workers": 1})


def test_a_feed_that_starts_after_the_clock_was_set_back_is_newer_than_the_one_before_all_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    later = now_ns() + HOUR_NS
    (tmp_path / "ticklog").mkdir()
    for name in (later, later - HOUR_NS):
        (tmp_path / "ticklog" / f"{name:020d}-{1:010d}{SUFFIX}").touch()
    feed = Feed(settings, 0)
    assert feed.epoch == later + 1
    feed.drain()
    feed.pub.close()


def test_where_there_is_no_log_the_checkpoints_tell_which_feed_was_the_newest(
    settings: Settings, tmp_path: Path
) -> None:
    later = now_ns() + HOUR_NS
    for shard, position in ((3, (later, 9)), (7, (later - HOUR_NS, 8))):
        Checkpoints(shard_directory(tmp_path, shard)).write(position, b"", b"state")
    feed = Feed(settings, 0)
    assert feed.epoch == later + 1
    feed.drain()
    feed.pub.close()


def test_a_clock_that_is_set_forward_is_said_and_closes_no_candle(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(settings, 0)
    at_ns = now_ns()
    clock = feed.venues["binance"].ticks.clock
    feed.venues["binance"].ticks.add("BTC-USDT")
    feed.venues["binance"].ticks.take([Trade("BTC-USDT", at_ns, 1, 1, 0, 1, 0, True)], at_ns)
    feed._flush()
    assert "clock_jumps" not in feed.stats.counters
    monkeypatch.setattr(module, "now_ns", lambda: now_ns() + 5 * HOUR_NS)
    feed._flush()
    feed._flush()
    assert feed.stats.counters["clock_jumps"] == 1
    assert clock.at(module.now_ns()) < at_ns + HOUR_NS
    feed.drain()
    feed.pub.close()
