"""A feed and its log: what it received is in there whatever becomes of it, and the next one begins where it ended."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.roles.feeding import Feed, feeding, received, truth
from tests.roles.test_feed import fault, is_up, seconds
from wick.exchanges import load
from wick.market.records import records
from wick.market.trades import TRADE
from wick.storage import ticklog

pytestmark = pytest.mark.slow


def logged(feed: Feed) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """All trades that are in the log, by pair, in its order."""
    found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for header, data in ticklog.read(feed.data_dir / "ticklog", None):
        rows = iter(records(data, header).tolist())
        for part in header.parts:
            for symbol, count in zip(*part[3:], strict=True):
                for row in [next(rows) for _ in range(count)]:
                    if row[9] == TRADE:
                        found.setdefault((header.venue, symbol), []).append(row)
    return found


def is_whole(feed: Feed, venue: str) -> bool:
    """Whether the log has every trade that the exchange made since the first that it has. None is in it twice."""
    trades = logged(feed)
    for (_, symbol), rows in trades.items():
        right = truth(feed.exchanges[venue], load(venue).native(symbol))
        taken = {row[1]: received(row) for row in rows}
        assert len(taken) == len(rows), f"a trade of {symbol} is in the log twice"
        assert taken.items() <= right.items(), symbol
        if len(taken) < sum(number >= min(taken) for number in right):
            return False
    return bool(trades)


@pytest.mark.parametrize("venue", ["binance", "kraken"])
def test_what_was_traded_while_no_feed_lived_is_backfilled_by_the_next(venue: str, tmp_path: Path) -> None:
    with feeding(tmp_path, venue, TICKLOG_SEGMENT_MB=1) as feed:
        feed.until(is_up)
        for pause_s in (0.0, 1.5) if venue == "binance" else (0.5,):
            fault(feed, venue, "gap", symbol=load(venue).native("BTC-USDT"), trades=20)  # and a hole that is open
            seconds(feed, 0.1)
            feed.kill()
            seconds(feed, pause_s)
            feed.start()
            told = feed.until(
                lambda told: is_up(told) and told.get("backfilled_trades") and not told["holes_open"] and told
            )
            assert not told["lost_trades"] and "unmended" not in told
        fault(feed, venue, "freeze", seconds=600.0)
        feed.worker.until(lambda: is_whole(feed, venue), what="every trade in the log")
        assert feed.log().count("the log tells where 5 pairs ended") == (2 if venue == "binance" else 1)


@pytest.mark.parametrize("venue", ["okx"])
def test_where_ids_do_not_tell_no_trade_is_twice_in_the_log_and_each_end_leaves_a_number_out(
    venue: str, tmp_path: Path
) -> None:
    with feeding(tmp_path, venue) as feed:
        feed.until(is_up)
        feed.kill()
        seconds(feed, 0.5)
        feed.start()
        feed.until(is_up)
        fault(feed, venue, "freeze", seconds=600.0)
        seconds(feed, 0.5)
        for (_, symbol), rows in logged(feed).items():
            numbers = [row[1] for row in rows]
            breaks = [after - one for one, after in pairwise(numbers) if after != one + 1]
            assert len(breaks) == 1 and breaks[0] > 1, symbol
            right = list(truth(feed.exchanges[venue], load(venue).native(symbol)).values())
            for row in map(received, rows):
                right.remove(row)


def test_a_second_feed_on_the_same_log_is_refused(tmp_path: Path) -> None:
    with feeding(tmp_path, "binance") as feed:
        feed.until(is_up)
        (feed.data_dir / "run" / "feed-0.lock").unlink()  # an orphan of another supervisor
        second = subprocess.run(
            [sys.executable, *map(str, feed.process.args[1:])],
            env=feed._env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 3 and "another feed writes the tick log in" in second.stderr


@pytest.mark.parametrize("policy", ["continue", "stop"])
def test_a_log_that_cannot_be_written_is_said_and_the_feed_goes_on_or_ends_as_it_is_told(
    policy: str, tmp_path: Path
) -> None:
    (tmp_path / "var").mkdir(parents=True)
    (tmp_path / "var" / "ticklog").write_text("no directory")
    ends_with = 1 if policy == "stop" else 0
    with feeding(tmp_path, "binance", ends_with=ends_with, TICKLOG_ON_ERROR=policy) as feed:
        if policy == "stop":
            feed.worker.until(lambda: feed.process.poll() == 1, what="the end")
            assert "ticklog.on_error is stop: the process ends" in feed.log() and not feed.worker.trades
            return
        feed.until(lambda told: is_up(told) and told["ticklog_failed"] and told["ticklog_failing"])
        (feed.data_dir / "ticklog").unlink()
        feed.until(lambda told: not told["ticklog_failing"] and told["ticklog_bytes"] > 10_000)
        assert "the tick log is written again" in feed.log()
        assert logged(feed)
