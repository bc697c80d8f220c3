"""`wick backfill --candles` against four venues, over TLS, within their limits: the candles are those of the trades."""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.system.venue import VenueRun, venue_run
from wick import exchanges
from wick.market.intervals import MINUTE, by_name
from wick.market.rows import readable
from wick.market.schema import CANDLE_FIELDS, CLOSED, EMPTY, FOREIGN
from wick.sim.demo import VERSION
from wick.sim.market import Market, TradeEvent
from wick.storage.sqlite import SqliteStore

pytestmark = pytest.mark.slow

INTERVALS = {"bybit": "1m,3m,5m", "coinbase": "1m,3m,5m", "kraken": "1m,3m,5m", "okx": "15s,30s,1m,3m,5m"}
LIVED_MS, SYMBOLS, RATE = 11 * MINUTE, 3, 4.0  # the market has been there for two candles of 5m, one of them whole
SYMBOL, FLAGS = "SOL-USDT", CANDLE_FIELDS.index("flags")
TOLD = ("open", "high", "low", "close", "volume")


def lived(now_ms: int) -> bytes:
    """What an exchange saves that has run until now."""
    market = Market(5, SYMBOLS, RATE, (now_ms - LIVED_MS) // 1_000 * 1_000)
    trades = [one for one in market.advance(now_ms) if isinstance(one, TradeEvent)]
    return orjson.dumps({"version": VERSION, "stands": market.stands(), "trades": trades}, default=list)


def of_trades(run: VenueRun, name: str, native: str) -> dict[int, list[Decimal]]:
    """By when they open: the candles of the exchange's own trades."""
    interval, found = by_name(name), defaultdict[int, list[Any]](list)
    for _, price, quantity, _, at_ms in run.truth(native):
        found[interval.open_ms(at_ms)].append((Decimal(price), Decimal(quantity)))
    return {
        open_ms: [own[0][0], max(own)[0], min(own)[0], own[-1][0], sum(quantity for _, quantity in own)]
        for open_ms, own in found.items()
    }


def check(run: VenueRun) -> None:
    begun_ms = time.time_ns() // 10**6 - LIVED_MS + 2_000
    run.start_exchange()
    since = f"{datetime.fromtimestamp(begun_ms / 1e3, UTC):%Y-%m-%dT%H:%M:%S}"
    venue, names = exchanges.load(run.venue), INTERVALS[run.venue]
    done = run.wick("backfill", run.venue, SYMBOL, "--from", since, "--candles", "--interval", names)
    ended_ms = time.time_ns() // 10**6
    assert done.returncode == 0 and "candles of the venue's own" in done.stderr, done.stderr
    store = SqliteStore(run.directory / "candles.sqlite", read_only=True)
    for name in names.split(","):
        rows, interval = store.candles(run.venue, SYMBOL, name, 1_000), by_name(name)
        truth = of_trades(run, name, venue.native(SYMBOL))
        for row in rows:
            assert row[FLAGS] & ~EMPTY == CLOSED | FOREIGN and interval.open_ms(row[0]) == row[0] >= begun_ms - 1_000
            told = [Decimal(str(value)) for value in readable(row, TOLD).values()]
            assert told == truth[row[0]] if told[-1] else row[0] not in truth
        opens = [row[0] for row in rows]
        if venue.empty == "flat":
            assert opens == [*range(opens[0], opens[-1] + 1, interval.close_ms(opens[0]) - opens[0])]
        assert len(opens) == len({*opens}) >= 1 and ended_ms - interval.close_ms(
            opens[-1]
        ) < 60_000 + interval.close_ms(0)
    store.close()
    assert run.get("/_faults")["counters"].get("rest_over_limit", 0) == 0


def test_every_venues_candles_are_those_of_its_trades() -> None:
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        runs = [
            stack.enter_context(venue_run(venue, {"symbols": SYMBOLS, "rate": RATE, "seed": 5}, {}))
            for venue in INTERVALS
        ]
        saved = lived(time.time_ns() // 10**6)
        for run in runs:
            (run.directory / f"exchange-{run.venue}.json").write_bytes(saved)
        list(pool.map(check, runs))
