"""The real sink process and real stores: every candle once, with the position, whoever is killed, full or away."""

import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.browser.system import RunningWick, running
from tests.roles.closing import Worker, candle
from tests.servers.postgres import Postgres, database
from wick.market.intervals import NAMES
from wick.market.rows import rank
from wick.market.stored import rounded
from wick.net import bus, endpoints
from wick.storage.store import Store, open_store
from wick.wire.codec import unpack

pytestmark = pytest.mark.slow

SHARDS_USED = (4, 5, 6, 17)
KEY = slice(0, 4)  # of a row: venue, symbol, interval, open time


class World:
    """A sink process on a store, and the worker that the test plays."""

    def __init__(self, wick: RunningWick, url: str) -> None:
        self.wick, self.url = wick, url
        endpoints.run_dir(wick.data_dir)
        self.worker = Worker(wick.data_dir)
        self.said: dict[str, Any] = {}
        self._sub = bus.subscriber(wick.data_dir, ["sink-0"], [b"stats."])
        self.random = random.Random(7)
        self.rows: list[list[Any]] = []
        self.number = 0

    def start(self) -> None:
        self.wick.start("sink")

    def close_some(self) -> None:
        """A few candles in some shards, some of them corrected; a fifth of the messages never arrives."""
        for shard in SHARDS_USED:
            self.number += 1
            rows = [candle(self.number, f"S{shard}-USDT")]
            if self.number > 8 and self.random.random() < 0.3:
                rows.append(candle(self.number - 8, f"S{shard}-USDT", revision=self.number))
            self.rows += rows
            self.worker.close_candles(shard, *rows, publish=self.random.random() < 0.8)
        self.step()

    def step(self, wait_ms: int = 20) -> None:
        self.worker.router.poll(wait_ms)
        self.worker.serve()
        bus.drain(self._sub, self._hear)

    def _hear(self, frames: list[bytes]) -> None:
        self.said = unpack(frames[1])

    def until(self, condition: Callable[[], Any], wait_s: float = 60) -> None:
        deadline = time.monotonic() + wait_s
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.said, self.wick.log("sink-0"))
            self.step()

    def until_state(self, state: str) -> None:
        self.said = {}
        self.until(lambda: self.said.get("state") == state)

    def until_written_some(self) -> None:
        """By this process."""
        self.close_some()
        self.said = {}
        self.until(lambda: self.said.get("counters", {}).get("rows"))

    def finish(self) -> None:
        """All that was closed stands in the store: the best of each candle, once, and the positions."""
        self.until_written_some()
        for shard in SHARDS_USED:  # what went missing at the end is seen when something follows
            self.worker.close_candles(shard)
        newest = {f"closes.{shard:02d}": kept[-1][0] for shard, kept in self.worker.outbox.items() if kept}
        store = open_store(self.url, read_only=True)
        try:
            self.until(lambda: store.positions() == newest)
            self._compare(store)
        finally:
            store.close()
        assert self.said["counters"].get("messages_lost", 0) == 0

    def _compare(self, store: Store) -> None:
        best: dict[tuple[Any, ...], list[Any]] = {}
        for row in self.rows:
            before = best.get(tuple(row[KEY]))
            if before is None or rank(row[3:]) >= rank(before[3:]):
                best[tuple(row[KEY])] = row
        for venue, symbol, interval in {key[:3] for key in best}:
            wanted = [
                rounded(NAMES.index(interval), best[key][3:])
                for key in sorted(best)
                if key[:3] == (venue, symbol, interval)
            ]
            assert store.candles(venue, symbol, interval, len(wanted) + 1) == wanted

    def close(self) -> None:
        self.worker.kill()
        self._sub.close(linger=0)

    @property
    def process(self) -> Any:
        return self.wick.processes["sink-0"]


@contextmanager
def world(url: str = "", **settings: object) -> Iterator[World]:
    """Without an address: a file in its own directory."""
    with running(AGGREGATOR_WORKERS=1, SINK_BATCH_MS=50, **settings) as wick:
        url = url or f"sqlite:{wick.data_dir}/candles.sqlite"
        wick.env["WICK_STORE_URL"] = url
        made = World(wick, url)
        made.start()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else ""


def test_a_sink_that_is_killed_again_and_again_leaves_every_candle_once(url: str) -> None:
    with world(url) as own:
        for _ in range(3):
            own.until_written_some()
            for _ in range(own.random.randint(1, 25)):
                own.close_some()
            own.wick.kill("sink-0")
            own.close_some()
            own.start()
        own.finish()


def test_a_database_that_is_killed_is_outlived_by_the_same_process(postgres: Postgres) -> None:
    with database(postgres.url("postgres")) as url, world(url) as own:
        own.until_state("running")
        process = own.process
        for _ in range(2):
            for _ in range(5):
                own.close_some()
            postgres.kill()
            try:
                for _ in range(5):
                    own.close_some()
                own.until_state("store away")
                own.close_some()
                assert own.said["gauges"]["waiting_rows"] > 0
            finally:
                postgres.start()
            own.until_state("running")
        own.finish()
        assert own.process is process and process.poll() is None
        assert "hush" not in own.wick.log_whole("sink-0"), "the password"


@contextmanager
def locked(url: str) -> Iterator[Any]:
    """All tables of the store are, by the connection that is given."""
    with psycopg2.connect(url) as other, other.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname IN ('public', 'wick')")
        for (table,) in cursor.fetchall():
            cursor.execute(f'LOCK TABLE "{table}" IN ACCESS EXCLUSIVE MODE')
        yield other


def test_while_a_table_is_locked_the_sink_tells_of_itself_and_what_waits_is_written_after(postgres_url: str) -> None:
    with world(postgres_url) as own:
        own.until_written_some()
        with locked(postgres_url) as other:
            own.close_some()
            before = own.said["time_ns"]
            own.until(lambda: own.said["gauges"]["waiting_rows"] and own.said["time_ns"] > before + 2 * 10**9)
        other.close()
        own.finish()


def test_a_full_disk_is_an_alarm_and_nothing_is_lost_when_there_is_room_again() -> None:
    with world() as own:
        for _ in range(3):
            own.until_written_some()
        # As a disk does that has no room: nothing can be written beyond that byte of any file.
        resource.prlimit(own.process.pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        for _ in range(5):
            own.close_some()
        own.until_state("store away")
        for _ in range(5):
            own.close_some()
        resource.prlimit(own.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        own.until_state("running")
        own.finish()


def test_a_file_that_somebody_spoiled_is_an_alarm_until_it_is_moved_away() -> None:
    with world() as own:
        own.wick.kill("sink-0")
        path = Path(own.wick.data_dir) / "candles.sqlite"
        path.write_bytes(b"no database " * 10_000)
        own.start()
        own.close_some()
        own.until_state("store broken")
        assert str(path) in own.wick.log("sink-0")
        path.rename(path.with_suffix(".spoiled"))
        own.close_some()
        own.until_state("running")
        own.finish()


def test_a_second_sink_on_the_same_database_ends_the_first(postgres_url: str) -> None:
    with world(postgres_url) as first:
        first.close_some()
        first.until_state("running")
        with world(postgres_url) as second:
            second.until_state("running")
            deadline = time.monotonic() + 60
            while first.process.poll() is None and time.monotonic() < deadline:
                first.close_some()
            assert first.process.wait(0) == 1
            assert "another sink writes to this store" in first.wick.log("sink-0")


def test_a_stop_does_not_wait_for_a_database_that_hangs(postgres_url: str) -> None:
    with world(postgres_url) as own:
        own.until_written_some()
        with locked(postgres_url) as other:
            own.close_some()
            own.until(lambda: own.said["gauges"]["waiting_rows"])
            own.process.terminate()
            assert own.process.wait(14) == 0, "supervisord waits for 15 s"
        other.close()
        own.start()
        own.finish()
