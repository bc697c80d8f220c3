"""The whole system and a real Redis: what is in it is what the front says, whoever is killed or hangs."""

import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from tests.browser.system import RunningWick, running
from tests.chaos.run import logged_trades
from tests.servers.redis import Redis
from tests.system.test_sink import world
from wick.errors import StoreAwayError
from wick.storage.latest import RedisLatest
from wick.storage.store import open_store
from wick.stream.latest import pair_key

pytestmark = pytest.mark.slow

SYMBOLS = 8


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)
    return found


def told(wick: RunningWick) -> dict[str, Any]:
    """What the front says of each pair: its position and its state."""
    answer = wick.get("/api/v1/snapshot") or {"pairs": []}
    return {one["symbol"]: (one["epoch"], one["state"]["last_trade_id"]) for one in answer["pairs"]}


def kept(server: Redis, symbols: Any) -> dict[str, Any]:
    """The same in Redis."""
    reader, found = RedisLatest(server.url, 5.0), {}
    try:
        for symbol, value in zip(symbols, reader.read([pair_key("binance", one) for one in symbols]), strict=True):
            if value is not None:
                pair = msgpack.unpackb(value)
                state = dict(zip(pair["fields"], pair["state"], strict=True))
                found[symbol] = (pair["position"][0], state["last_trade_id"])
    except StoreAwayError:
        return {}
    finally:
        reader.close()
    return found


def test_redis_has_what_the_front_says_whoever_was_killed_and_a_front_begins_with_it(redis_server: Redis) -> None:
    server = redis_server.empty()
    settings = {"REDIS_URL": server.url, "EXCHANGE_SYMBOLS": SYMBOLS, "EXCHANGE_RATE": 200}
    with running(**settings) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        until(lambda: len(kept(server, told(wick))) == SYMBOLS, "every pair in Redis")
        server.kill()
        wick.kill("sink-0")
        wick.start("sink")
        server.start()
        until(lambda: len(kept(server, told(wick))) == SYMBOLS, "every pair anew")
        server.hang()
        before = {epoch for epoch, _ in told(wick).values()}
        wick.kill("aggregator-0")
        wick.start("aggregator", 0, 2)
        server.go_on()
        until(lambda: len({epoch for epoch, _ in kept(server, told(wick)).values()} - before) == 1, "the new worker")
        until(lambda: len({epoch for epoch, _ in told(wick).values()}) == 2, "nothing of the old one")

        wick.stop("feed-0")  # now all comes to rest
        logged = {symbol: ids[-1] for symbol, ids in logged_trades(wick.data_dir) if ids}

        def at_rest(epochs: set[int]) -> Any:
            """What the front says, when that is all, of two workers, and of an epoch that is none of those."""
            now = told(wick)
            trades, heard = {symbol: trade for symbol, (_, trade) in now.items()}, {epoch for epoch, _ in now.values()}
            return trades == logged and len(heard) == 2 and not epochs & {max(heard)} and now

        last = until(lambda: at_rest(before), "the last trades")
        wick.kill("aggregator-0")
        wick.start("aggregator", 0, 2)
        before = {epoch for epoch, _ in last.values()}
        last = until(lambda: at_rest(before), "the new worker, though nothing is traded")
        until(lambda: kept(server, last) == last, "what the front says")
        for process in ("front-0", "aggregator-0", "aggregator-1"):
            wick.kill(process)
        wick.start("front")
        until(lambda: told(wick) == last, "what Redis has")
        assert wick.get("/healthz")["status"] == "stale"


def test_closed_candles_go_into_the_store_while_redis_hangs(redis_server: Redis) -> None:
    server = redis_server.empty()
    server.hang()
    try:
        with world(REDIS_URL=server.url) as own:
            own.until_state("running")
            for _ in range(10):
                own.close_some()
            for shard in own.worker.outbox:
                own.worker.close_candles(shard)  # what went missing on its way is seen when something follows
            newest = {f"closes.{shard:02d}": kept[-1][0] for shard, kept in own.worker.outbox.items() if kept}
            store = open_store(own.url, read_only=True)
            own.until(lambda: store.positions() == newest)
            store.close()
            own.until(lambda: own.said["gauges"]["redis_away_s"])
            server.go_on()
            own.until(lambda: not own.said["gauges"]["redis_away_s"])
            assert own.process.poll() is None
    finally:
        server.go_on()
