"""The sink, loop and thread: what workers publish stands in the store once, whatever happens to either."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.roles.closing import AWAY, FENCED, FakeStore, Worker, candle
from wick.errors import SettingError, StoreError
from wick.ops.settings import Settings
from wick.roles import sink as sink_role
from wick.roles import writing
from wick.roles.sink import Sink
from wick.roles.writing import Backlog
from wick.stream.shards import SHARDS
from wick.wire.messages import Closes

SHARD = 5


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path: sockets live there."""
    with TemporaryDirectory(prefix="wick-") as folder:
        (Path(folder) / "run").mkdir()
        yield Path(folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(writing, "LONGEST_WAIT_S", 0.002)
    monkeypatch.setattr(sink_role, "TICK_MS", 1)


class Running:
    """A sink whose loop the test turns, with the workers that it reads."""

    def __init__(self, data_dir: Path, store: FakeStore, *workers: Worker, **settings: Any) -> None:
        own = {"core.data_dir": str(data_dir), "aggregator.workers": len(workers) or 1, "sink.batch_ms": 10}
        given = {name.replace("__", "."): value for name, value in settings.items()}
        self.sink, self.store, self.workers = Sink(Settings(own | given), store.open), store, workers
        self.sink.writer.start()

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            self.sink.wait()
            self.sink.turn()
            for worker in self.workers:
                worker.serve()

    def until_written(self, *rows: list[Any]) -> None:
        self.until(lambda: len(self.store.rows) >= len(rows))
        assert self.store.rows == list(rows)

    def until_followed(self) -> None:
        """All that the outboxes have is taken."""
        self.until(lambda: self.sink.backlog.is_open and not any(stream.behind for stream in self.sink.streams))

    @property
    def counters(self) -> dict[str, int]:
        return self.sink.stats.counters


@contextmanager
def running(data_dir: Path, store: FakeStore, *workers: Worker, **settings: Any) -> Iterator[Running]:
    own = Running(data_dir, store, *workers, **settings)
    try:
        yield own
    finally:
        store.go.set()
        own.sink.writer.stop(10)
        own.sink.close()
        for worker in workers:
            worker.kill()


def test_what_is_published_stands_in_the_store_with_its_position(data_dir):
    store, workers = FakeStore(), [Worker(data_dir, index, 2) for index in range(2)]
    with running(data_dir, store, *workers) as own:
        own.until_followed()
        reached = [workers[0].close_candles(4, candle(1)), workers[1].close_candles(5, candle(2), candle(3))]
        own.until(lambda: store.stands.get("closes.04") == reached[0] and store.stands.get("closes.05") == reached[1])
        assert sorted(store.rows) == [candle(1), candle(2), candle(3)]
        assert set(store.stands) == {f"closes.{shard:02d}" for shard in range(SHARDS)}
        own.until(lambda: own.sink.stats.state == "running")


def test_a_start_takes_from_the_outbox_what_the_store_has_not(data_dir):
    store, worker = FakeStore(), Worker(data_dir)
    positions = [worker.close_candles(SHARD, candle(number)) for number in range(4)]
    store.stands["closes.05"] = positions[1]
    with running(data_dir, store, worker) as own:
        own.until_written(candle(2), candle(3))
        assert own.counters.get("messages_lost", 0) == 0


def test_what_never_arrived_is_taken_from_the_outbox(data_dir):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        worker.close_candles(SHARD, candle(1), publish=False)
        worker.close_candles(SHARD, candle(2))
        own.until_written(candle(1), candle(2))
        assert own.counters["holes"] >= 1


def test_the_last_word_of_a_shard_is_asked_for_where_nothing_follows_that_would_show_the_hole(data_dir, monkeypatch):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        worker.close_candles(SHARD, candle(1), publish=False)
        monkeypatch.setattr(sink_role, "QUIET_NS", 1_000_000)
        own.until_written(candle(1))


def test_a_worker_that_is_killed_with_a_question_is_asked_again_when_it_is_back(data_dir, monkeypatch):
    monkeypatch.setattr(sink_role, "UNANSWERED_NS", (20_000_000, 40_000_000))
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        worker.close_candles(SHARD, candle(1), publish=False)
        own.sink.streams[SHARD].behind = True
        own.workers = ()  # it answers no more
        own.until(lambda: own.sink.links[0].asked)
        worker.kill()
        own.until(lambda: not own.sink.links[0].asked)
        worker.start(epoch=2)
        worker.close_candles(SHARD, candle(2))
        own.workers = (worker,)
        own.until_written(candle(1), candle(2))
        own.until(lambda: store.stands["closes.05"] == (2, 2))


def test_a_store_that_is_away_costs_bounded_memory_and_what_was_let_go_is_fetched_when_it_is_back(data_dir):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        own.sink.backlog.most_bytes = 20_000
        store.trouble = AWAY
        for number in range(60):
            worker.close_candles(SHARD, candle(number))
        own.until(lambda: own.sink.stats.state == "store away" and own.counters.get("put_off"))
        own.until(lambda: own.sink.streams[SHARD].newest == (1, 61))
        assert 0 < own.sink.backlog.bytes <= 20_000
        gauges = own.sink.gauges()
        assert 0 < gauges["waiting_rows"] < 60 and gauges["lacking_messages"] > 0
        store.trouble = None
        own.until_written(*[candle(number) for number in range(60)])
        assert own.counters.get("messages_lost", 0) == 0
        own.until(lambda: own.sink.stats.state == "running")


def test_while_a_store_hangs_the_loop_goes_on_and_tells_of_itself(data_dir):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        store.go.clear()
        worker.close_candles(SHARD, candle(1))
        own.until(store.is_waiting.is_set)
        worker.close_candles(SHARD, candle(2))
        own.until(lambda: own.sink.gauges()["waiting_rows"] == 2)
        store.go.set()
        own.until_written(candle(1), candle(2))


def test_a_store_that_answers_and_takes_nothing_is_away_until_it_takes_something(data_dir, caplog):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own, caplog.at_level(logging.INFO):
        own.until_followed()
        store.writes_fail = AWAY
        worker.close_candles(SHARD, candle(1))
        own.until(lambda: store.failures > 3)
        assert own.sink.writer.trouble is not None
        store.writes_fail = None
        own.until_written(candle(1))
        own.until(lambda: own.sink.writer.trouble is None)
    said = [one.getMessage() for one in caplog.records if "store" in one.getMessage()]
    assert sum("store away" in one for one in said) == 1, "once, not at every attempt"
    assert sum("the store is back" in one for one in said) == 1


def test_a_store_that_is_broken_at_the_start_is_tried_until_somebody_has_mended_it(data_dir, caplog):
    store, worker = FakeStore(), Worker(data_dir)
    store.trouble = StoreError("fake:store: not a database; move it away")
    with running(data_dir, store, worker) as own:
        own.until(lambda: own.sink.stats.state == "store broken" and store.failures > 2)
        assert "move it away" in caplog.text
        worker.close_candles(SHARD, candle(1))
        store.trouble = None
        own.until_written(candle(1))


def test_a_store_that_breaks_is_opened_anew_when_somebody_has_mended_it(data_dir):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        store.writes_fail = StoreError("fake:store: malformed; move it away")
        worker.close_candles(SHARD, candle(1))
        own.until(lambda: own.sink.stats.state == "store broken" and store.is_closed)
        worker.close_candles(SHARD, candle(2))
        store.writes_fail = None
        store.stands.clear()  # a new file
        own.until_written(candle(1), candle(2))
        assert store.writers >= 2


def test_a_sink_that_was_fenced_off_ends_and_says_why(data_dir, caplog):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        store.writes_fail = FENCED
        worker.close_candles(SHARD, candle(1))
        own.until(lambda: own.sink.writer.failed)
        assert "another sink writes to this store" in caplog.text
        assert own.sink.run_to_end() == 1


def test_a_store_that_was_put_back_to_what_it_was_gets_again_what_it_lacks(data_dir):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        positions = [worker.close_candles(SHARD, candle(number)) for number in range(3)]
        own.until(lambda: store.stands.get("closes.05") == positions[-1])
        store.trouble = AWAY
        worker.close_candles(SHARD, candle(3))
        own.until(lambda: store.failures)
        del store.transactions[:]
        store.stands["closes.05"] = positions[0]
        store.trouble = None
        own.until_written(candle(1), candle(2), candle(3))


def test_a_message_of_an_outbox_that_nobody_can_read_is_counted_and_the_others_are_taken(data_dir, caplog):
    store, worker = FakeStore(), Worker(data_dir)
    for number in range(3):
        worker.close_candles(SHARD, candle(number))
    position, body = worker.outbox[SHARD][2]
    broken = Closes.unpack(body)._replace(blocks=[["binance"]]).pack()
    worker.outbox[SHARD][2] = position, broken
    with running(data_dir, store, worker) as own:
        own.until_written(candle(0), candle(2))
        assert own.counters["messages_lost"] == 1 and "cannot be read" in caplog.text


def test_a_stop_writes_what_has_not_waited_long_enough(data_dir):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker, sink__batch_ms=60_000) as own:
        own.until_followed()
        worker.close_candles(SHARD, candle(1))
        own.until(lambda: own.sink.backlog.rows == 1)
        assert store.rows == []
        assert own.sink.run_to_end() == 0
        assert store.rows == [candle(1)] and store.is_closed


def test_a_stop_does_not_wait_for_a_store_that_is_away(data_dir, caplog):
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as own:
        own.until_followed()
        store.trouble = AWAY
        worker.close_candles(SHARD, candle(1))
        own.until(lambda: store.failures)
        assert own.sink.run_to_end() == 0
        assert "1 rows are not written: they wait in the workers' outboxes" in caplog.text


def test_what_is_older_than_it_is_kept_goes_and_what_closes_meanwhile_is_written(data_dir):
    store, worker = FakeStore(), Worker(data_dir)

    def steps():
        deadline = time.monotonic() + 10
        while not store.rows and time.monotonic() < deadline:
            yield "deleted some"

    store.steps = steps
    with running(data_dir, store, worker, store__keep=("15s:30", "1m:0.5")) as own:
        worker.close_candles(SHARD, candle(1))
        own.until_written(candle(1))
        assert store.compacted == [{"15s": 30.0, "1m": 0.5}]


def test_a_store_has_time_for_itself_when_there_is_nothing_to_write_and_may_be_away_then_too(data_dir, monkeypatch):
    monkeypatch.setattr(writing, "REST_S", 0.001)
    store, worker = FakeStore(), Worker(data_dir)
    with running(data_dir, store, worker) as sink:
        sink.until(lambda: store.rests > 2)
        store.trouble = AWAY
        sink.until(lambda: sink.sink.stats.state == "store away")
        store.trouble, rests = None, store.rests
        sink.until(lambda: store.rests > rests)


@pytest.mark.parametrize("wrong", ["15s", "2s:30", "1m:0", "1m:nan", "1m:-3", "1m:x"])
def test_a_time_to_keep_that_makes_no_sense_is_refused(data_dir, wrong):
    with pytest.raises(SettingError, match=r"store\.keep"):
        Running(data_dir, FakeStore(), store__keep=(wrong,))


def message(number: int) -> Closes:
    return Closes.of_rows(1, number, 0, [candle(number)])


def test_a_transaction_has_whole_messages_and_comes_when_it_is_large_or_old_enough(monkeypatch):
    now = [0]
    monkeypatch.setattr(writing, "steady_ns", lambda: now[0])
    backlog = Backlog(batch_rows=3, batch_ms=1_000)
    assert not backlog.put(1, message(1), 1), "nobody knows yet where the stream begins"
    backlog.open()
    for number in (1, 2):
        assert backlog.put(1, message(number), 1)
        now[0] += 100_000_000
    assert backlog.take(0) == []
    now[0] = 999_999_999
    assert backlog.take(0) == []
    now[0] = 1_000_000_000
    assert [held.position for held in backlog.take(0)] == [(1, 1), (1, 2)]
    for number in (3, 4):
        backlog.put(1, message(number), 1)
    assert [held.position for held in backlog.take(0)] == [(1, 1), (1, 2), (1, 3)]
    backlog.done(backlog.take(0))
    assert backlog.rows == backlog.bytes == 1 and backlog.take(0) == []
    backlog.close()
    assert len(backlog.take(0)) == 1
