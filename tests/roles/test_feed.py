"""The feed against simulated exchanges, in processes of their own over real sockets: what arrives at the worker."""

import gzip
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.roles.feeding import Feed, feeding, frozen, received, truth
from wick.exchanges import ids, load
from wick.market.trades import Trade
from wick.ops import symbols
from wick.ops.symbols import Changes
from wick.stream.shards import shard_of

pytestmark = pytest.mark.slow

CONTIGUOUS = [venue for venue in ids() if load(venue).contiguous_ids]
OTHERS = [venue for venue in ids() if not load(venue).contiguous_ids]


def is_up(told: dict[str, Any]) -> bool:
    return told.get("trades", 0) > 100 and told.get("books_live", 0) == told["symbols"] > 0


def fault(feed: Feed, venue: str, name: str, **params: Any) -> None:
    feed.exchanges[venue].fault(name, **params)


def seconds(feed: Feed, count: float) -> None:
    """Let time pass for what happens in the exchange's own time; the worker goes on reading."""
    until = time.monotonic() + count
    while time.monotonic() < until:
        feed.worker.read()


def whole(feed: Feed, venue: str) -> None:
    """A market that stands still: every trade since the first that was received has been, once, to the last digit."""
    for (one, symbol), rows in feed.worker.trades.items():
        if one == venue:
            right = truth(feed.exchanges[venue], load(venue).native(symbol))
            first = min(row[1] for row in rows)
            right = {number: trade for number, trade in right.items() if number >= first}
            feed.worker.until(lambda rows=rows, right=right: len(rows) >= len(right), what=f"all of {symbol}")
            assert {row[1]: received(row) for row in rows} == right, symbol
            assert len(rows) == len(right), f"{symbol}: a trade came twice"


def spoil(feed: Feed, venue: str) -> None:
    """All that can happen to trades and books, while both go on."""
    native = load(venue).native("BTC-USDT")
    fault(feed, venue, "rest_error", requests=2, status=429, retry_after_s=1)
    fault(feed, venue, "gap", symbol=native, trades=20)
    if load(venue).depth_check != "nothing":  # else nothing would show it, and none can happen
        fault(feed, venue, "depth_gap", symbol=native)
    seconds(feed, 0.3)
    fault(feed, venue, "reorder", window_ms=200, seconds=1.0, channel="trade")
    fault(feed, venue, "duplicate", frames=100, channel="trade")
    fault(feed, venue, "crossed", symbol=load(venue).native("ETH-USDT"))
    seconds(feed, 1.2)
    fault(feed, venue, "corrupt", frames=10, kind="truncated")  # others may make sense: 1.5e2 does to Kraken
    seconds(feed, 0.2)
    fault(feed, venue, "cut")
    seconds(feed, 0.5)


@pytest.mark.parametrize("venue", CONTIGUOUS)
def test_trades_come_exactly_once_and_books_are_the_exchange_s_whatever_happens(venue: str, tmp_path: Path) -> None:
    with feeding(tmp_path, venue, FEED_RECORD=tmp_path / "captures") as feed:
        connections = feed.until(lambda told: is_up(told) and told["connections"])
        spoil(feed, venue)
        feed.until(lambda told: is_up(told) and told["connections"] > connections and not told["holes_open"])
        frozen(feed, venue)
        whole(feed, venue)
        told = feed.until(lambda told: told["mended"] == told["holes"] and told)
        assert told["backfilled_trades"] > 0 and told["duplicates"] > 0 and told["refused"] > 0
        assert told["rest_turned_away"] == 2 and told["resyncs"] > 0
        assert "unmended" not in told and not told["lost_trades"]
        assert told["recorded"] > told["trades"] / 10 and not told["not_recorded"]
    # What was recorded is what was received: the same parser finds the same trades.
    found = set()
    for path in (tmp_path / "captures").glob("*.gz"):
        with gzip.open(path) as lines:
            messages = [line.rstrip(b"\n").partition(b" ")[2] for line in lines]
        found |= {(one.symbol, one.trade_id) for one in load(venue).take(messages) if isinstance(one, Trade)}
    taken = {(symbol, row[1]) for (_, symbol), rows in feed.worker.trades.items() for row in rows}
    assert len(taken & found) == len(taken) - told["backfilled_trades"]


@pytest.mark.parametrize("venue", OTHERS)
def test_without_contiguous_ids_no_trade_comes_twice_and_where_we_did_not_listen_a_number_is_missing(
    venue: str, tmp_path: Path
) -> None:
    with feeding(tmp_path, venue) as feed:
        connections = feed.until(lambda told: is_up(told) and told["connections"])
        before = {pair: rows[-1][1] for pair, rows in feed.worker.trades.items()}
        fault(feed, venue, "reorder", window_ms=200, seconds=1.0, channel="trade")
        fault(feed, venue, "duplicate", frames=100, channel="trade")
        seconds(feed, 1.2)
        feed.worker.until(lambda: all(rows[-1][1] > before.get(pair, 0) for pair, rows in feed.worker.trades.items()))
        for rows in feed.worker.trades.values():
            numbers = [row[1] for row in rows]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        fault(feed, venue, "cut")
        feed.until(lambda told: is_up(told) and told["connections"] > connections)
        frozen(feed, venue)
        for (_, symbol), rows in feed.worker.trades.items():
            numbers = [row[1] for row in rows]
            breaks = sum(after != one + 1 for one, after in pairwise(numbers))
            assert breaks == 1 and numbers == sorted(numbers), symbol
            right = list(truth(feed.exchanges[venue], load(venue).native(symbol)).values())
            # Trades may be alike: each that was received has one that was made.
            for row in map(received, rows):
                right.remove(row)
        assert {shard for _, shard in feed.worker.outages} >= {
            shard_of(venue, symbol) for _, symbol in feed.worker.trades
        }


def test_symbols_come_and_go_on_sighup_and_the_others_are_not_disturbed(tmp_path: Path) -> None:
    with feeding(tmp_path, "binance", FEED_SYMBOLS="BTCUSDT,ETHUSDT,NOSUCH") as feed:
        feed.until(lambda told: is_up(told) and told["symbols"] == 2)
        assert "binance does not list NOSUCH" in feed.log()
        symbols.save(feed.data_dir, Changes(("binance:SOL-USDT",), ("binance:ETH-USDT",)))
        feed.tell()
        feed.worker.until(lambda: feed.worker.ids("binance", "SOL-USDT"), what="a trade of what is new")
        feed.until(lambda told: is_up(told) and told["symbols"] == 2 and told["connections_topics"] == 6)
        seen = {}

        def is_quiet() -> bool:
            """Whether what is gone brings nothing, while another brings a hundred trades: half as many were its own."""
            trades = [len(feed.worker.ids("binance", symbol)) for symbol in ("BTC-USDT", "ETH-USDT")]
            return trades[0] > seen.setdefault(trades[1], trades[0]) + 100

        feed.worker.until(is_quiet, what="the end of what is gone")
        count = len(feed.worker.ids("binance", "ETH-USDT"))
        (feed.data_dir / symbols.FILE).write_text("{")
        feed.tell()
        feed.until(lambda told: "the symbols stay as they are" in feed.log())
        frozen_symbols = [symbol for _, symbol in feed.worker.trades if symbol != "ETH-USDT"]
        newest = feed.worker.ids("binance", "BTC-USDT")[-1]
        feed.worker.until(lambda: feed.worker.ids("binance", "BTC-USDT")[-1] > newest + 20)
        assert sorted(frozen_symbols) == ["BTC-USDT", "SOL-USDT"]
        assert len(feed.worker.ids("binance", "ETH-USDT")) == count
        for symbol in frozen_symbols:
            numbers = feed.worker.ids("binance", symbol)
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        told = feed.told()
        assert told["connections"] == 1 and told["unknown_symbols"] >= 1 and not feed.worker.outages


def test_a_feed_reads_several_venues_and_what_happens_to_one_is_not_the_others_concern(tmp_path: Path) -> None:
    venues = ("binance", "kraken", "bybit")
    with feeding(tmp_path, *venues, demo={"rate": 150}, FEED_SYMBOLS="BTC-USDT,kraken:ETH/USDT") as feed:
        feed.until(lambda told: all(told.get(f"{venue}.books_live") for venue in venues))
        assert {(venue, "BTC-USDT") for venue in venues} | {("kraken", "ETH-USDT")} >= set(feed.worker.trades)
        feed.exchanges["kraken"].stop()
        feed.until(lambda told: told.get("kraken.failed_attempts", 0) > 1)
        for venue in ("binance", "bybit"):
            frozen(feed, venue)
        whole(feed, "binance")
        assert {venue for venue, _ in feed.worker.outages} == {"kraken"}
        told = feed.told()
        assert told["trades"] == sum(told[f"{venue}.trades"] for venue in venues)
        assert told["symbols"] == 4 and told["kraken.connections_open"] == 0


def test_a_symbol_that_goes_quiet_is_subscribed_to_anew_less_and_less_often_and_backfilled(tmp_path: Path) -> None:
    with feeding(tmp_path, "binance", FEED_CHANNELS="trade", FEED_STALE_S=0.5, demo={"rate": 1000}) as feed:
        feed.until(lambda told: told.get("trades", 0) > 1000 and not told["stale"])
        fault(feed, "binance", "gap", symbol="BTCUSDT", trades=1_000_000)

        def pauses() -> list[float]:
            """Between one new subscription and the next, by the log."""
            said = [line.split() for line in feed.log().splitlines() if "nothing comes of" in line]
            at = [datetime.fromisoformat(words[0]) for words in said if {"BTC-USDT:", "BTC-USDT,"} & {*words}]
            return [(later - one).total_seconds() for one, later in pairwise(at)]

        feed.worker.until(lambda: any(pause > 0.9 for pause in pauses()), what="a longer pause")
        assert min(pauses()) > 0.45
        feed.until(lambda told: told["stale"] == 1 and told["stale_renewed"] > 2)
        fault(feed, "binance", "clear")
        feed.until(lambda told: not told["stale"] and told.get("mended"))
        fault(feed, "binance", "freeze", seconds=600.0)
        feed.worker.until(
            lambda: (
                set(feed.worker.ids("binance", "BTC-USDT"))
                >= set(list(truth(feed.exchanges["binance"], "BTCUSDT"))[-5:])
            )
        )
        whole(feed, "binance")


def test_where_there_is_nothing_to_read_the_feed_says_so_and_ends(tmp_path: Path) -> None:
    with feeding(tmp_path, "binance", ends_with=2, FEED_SYMBOLS="NOSUCH") as feed:
        feed.worker.until(lambda: feed.process.poll() is not None)
        assert "there is no symbol to read" in feed.log()
