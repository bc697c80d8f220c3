"""The thread that keeps the latest state: what a worker says is in Redis, through whatever happens to either."""

from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest

from tests.net.front_process import VENUE, Worker, wait_for
from tests.storage.memory_latest import MemoryLatest
from wick.errors import StoreAwayError
from wick.market.schema import CANDLE_FIELDS, CLOSED
from wick.ops.process import Stats
from wick.ops.settings import Settings
from wick.roles.latest import RENEW_NS, RETRY_MS, LatestState
from wick.storage.latest import RedisLatest, read_shard
from wick.stream.latest import closed_key, pair_key, shard_key
from wick.stream.mirror import RECENT
from wick.stream.shards import SHARDS, shard_of

MS = 1_000_000
OPEN_MS = 1_723_161_600_000
SHARD = shard_of(VENUE, "BTC-USDT")


class Flaky(MemoryLatest):
    """Away while it is told to be."""

    is_away = False

    def write(self, values):
        if self.is_away:
            raise StoreAwayError("flaky: away")
        super().write(values)

    def read(self, keys):
        if self.is_away:
            raise StoreAwayError("flaky: away")
        return super().read(keys)


class Keeper:
    """A LatestState in the test's hands, and its time."""

    def __init__(self, folder, latest, flush_ms):
        settings = Settings({"core.data_dir": folder, "aggregator.workers": 1, "redis.flush_ms": flush_ms})
        self.stats = Stats("sink-0", 1)
        self.latest, self.now = latest, 1_000_000 * MS
        self.state = LatestState(settings, self.stats, latest)

    def turn(self, ms=250):
        self.now += ms * MS
        self.state.turn(self.now)

    def until(self, probe):
        """Turn until it holds."""
        wait_for(lambda: self.turn() or probe(), "what is stored")

    def groups(self, symbol="BTC-USDT"):
        """A pair's state as a front would read it."""
        stored = read_shard(self.latest, shard_of(VENUE, symbol))
        numbers = [number for number, *name in stored.snapshot.pairs if name == [VENUE, symbol]] if stored else []
        return [entry[1:] for entry in stored.snapshot.entries if entry[0] in numbers] if stored else []

    def rows(self):
        stored = read_shard(self.latest, SHARD)
        return [row[3:] for row in stored.snapshot.recent] if stored else []


@contextmanager
def keeping(latest=None, flush_ms=250):
    with TemporaryDirectory(prefix="wick-", dir="/tmp") as folder:
        worker = Worker(folder)
        keeper = Keeper(folder, latest or Flaky(), flush_ms)
        try:
            yield keeper, worker
        finally:
            keeper.state.close()
            worker.stop()


def candle(number):
    named = dict.fromkeys(CANDLE_FIELDS, 0) | {"open_time_ms": OPEN_MS + 15_000 * number, "flags": CLOSED}
    return [*named.values()]


def heard(keeper):
    keeper.until(lambda: keeper.stats.counters.get("latest_snapshots", 0) >= 32)


def test_what_changes_is_written_and_only_that():
    with keeping() as (keeper, worker):
        heard(keeper)
        worker.publish("BTC-USDT", head=[7, 8], g1=[OPEN_MS, 7, 7])
        worker.publish("ETH-USDT", head=[2**70])
        keeper.until(lambda: keeper.groups() and keeper.groups("ETH-USDT"))
        assert keeper.groups() == [[0, 3, 7, 8, 1, 7, OPEN_MS, 7, 7]]
        assert keeper.groups("ETH-USDT") == [[0, 1, 2**70]]
        written = {**keeper.latest.values}
        keeper.latest.values.clear()
        worker.publish("BTC-USDT", head=[9])
        keeper.until(lambda: keeper.latest.values)
        assert set(keeper.latest.values) == {pair_key(VENUE, "BTC-USDT"), shard_key(SHARD)} < set(written)
        keeper.latest.values |= {key: value for key, value in written.items() if key not in keeper.latest.values}
        assert keeper.groups() == [[0, 3, 9, 8, 1, 7, OPEN_MS, 7, 7]]


def test_nothing_is_written_before_it_is_time():
    with keeping() as (keeper, worker):
        heard(keeper)
        worker.publish("BTC-USDT", head=[7])
        wait_for(lambda: keeper.turn(0) or keeper.state.shards.mirrors[SHARD].seq, "the change")
        keeper.turn(249)
        assert keeper.groups() == []
        keeper.turn(1)
        assert keeper.groups() == [[0, 1, 7]]


def test_while_it_is_away_the_mirrors_go_on_and_then_all_is_written(caplog):
    caplog.set_level("INFO", "wick")
    with keeping() as (keeper, worker):
        heard(keeper)
        worker.publish("BTC-USDT", head=[1])
        keeper.until(keeper.groups)
        keeper.latest.is_away = True
        worker.publish("BTC-USDT", head=[2])
        keeper.until(lambda: keeper.stats.counters.get("failed_redis_writes", 0) >= 2)
        assert keeper.state.gauges()["redis_away_s"] > 0
        keeper.latest.values.clear()  # it comes back with nothing
        keeper.latest.is_away = False
        worker.publish("ETH-USDT", head=[3])
        keeper.until(lambda: keeper.groups("ETH-USDT"))
        assert keeper.groups() == [[0, 1, 2]] and keeper.state.gauges() == {"redis_away_s": 0}
        assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"], "said once, however long"


def test_what_redis_loses_by_itself_is_written_again_in_a_few_minutes():
    with keeping() as (keeper, worker):
        heard(keeper)
        worker.publish("BTC-USDT", head=[1])
        keeper.until(keeper.groups)
        keeper.latest.values.clear()
        for _ in range(SHARDS):
            keeper.turn(RENEW_NS // MS)
        assert keeper.groups() == [[0, 1, 1]]


def test_it_is_tried_again_ever_later():
    with keeping() as (keeper, _):
        keeper.latest.is_away = True
        heard(keeper)
        before = keeper.stats.counters.get("failed_redis_writes", 0)
        for _ in range(200):
            keeper.turn(250)
        tries = keeper.stats.counters["failed_redis_writes"] - before
        assert 50_000 / RETRY_MS[1] <= tries <= 2 * 50_000 / RETRY_MS[1] + 8


def test_the_last_closed_candles_are_written():
    with keeping() as (keeper, worker):
        heard(keeper)
        worker.publish("BTC-USDT", head=[1])
        for number in range(10):
            worker.close_candle("BTC-USDT", "15s", candle(number))
        last = [OPEN_MS + 15_000 * number for number in range(10 - RECENT[0], 10)]
        keeper.until(lambda: [row[0] for row in keeper.rows()] == last)
        assert closed_key(VENUE, "BTC-USDT", "30s") not in keeper.latest.values


def test_a_sink_that_begins_again_keeps_what_redis_knows_and_its_worker_does_not():
    latest = Flaky()
    with keeping(latest) as (keeper, worker):
        heard(keeper)
        worker.publish("BTC-USDT", head=[1])
        for number in (1, 2):
            worker.close_candle("BTC-USDT", "15s", candle(number))
        keeper.until(lambda: len(keeper.rows()) == 2)
    kept = {**latest.values}
    with keeping(latest) as (keeper, worker):
        keeper.turn()
        assert latest.values == kept, "until the worker is heard, nothing is known better"
        heard(keeper)
        keeper.until(lambda: not keeper.groups())
        gone = {pair_key(VENUE, "BTC-USDT"), closed_key(VENUE, "BTC-USDT", "15s")}
        assert set(latest.expiring) == gone, "the worker has no such pair: its keys go, in time"


@pytest.mark.slow
def test_a_redis_that_is_killed_and_hangs_gets_all_again_and_the_thread_goes_on(redis_server):
    server = redis_server.empty()
    with keeping(RedisLatest(server.url)) as (keeper, worker):
        reader = RedisLatest(server.url, 5.0)
        said = lambda symbol: pair_key(VENUE, symbol) in server_keys(reader, symbol)  # noqa: E731
        keeper.state.start()
        worker.publish("BTC-USDT", head=[1])
        wait_for(lambda: said("BTC-USDT"), "the first value")
        server.kill()
        worker.publish("ETH-USDT", head=[1])
        wait_for(lambda: keeper.state.gauges()["redis_away_s"], "that it is away")
        server.start()
        wait_for(lambda: said("BTC-USDT") and said("ETH-USDT"), "all of it anew")
        server.hang()
        worker.publish("SOL-USDT", head=[1])
        wait_for(lambda: keeper.state.gauges()["redis_away_s"], "that it hangs")
        server.go_on()
        wait_for(lambda: said("SOL-USDT"), "what changed meanwhile")
        assert not keeper.state.failed
        reader.close()


def server_keys(reader, symbol):
    key = pair_key(VENUE, symbol)
    try:
        return {key} if reader.read([key])[0] is not None else set()
    except StoreAwayError:
        return set()


def test_a_fault_of_its_own_is_logged_and_ends_the_process(caplog, monkeypatch):
    with keeping(flush_ms=10) as (keeper, _):
        monkeypatch.setattr(keeper.state, "turn", lambda now: 1 / 0)
        keeper.state.start()
        wait_for(lambda: keeper.state.failed, "the failure")
        assert "the process ends" in caplog.text
