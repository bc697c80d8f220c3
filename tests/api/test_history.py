"""History without a seam: what is stored, what closed since, and the live candle, in any window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.asking import MINUTE, row
from wick.api.history import DEEP, END_MS, KEPT_S, History, Standing, Window, join
from wick.api.replies import RequestError
from wick.market.schema import CLOSED, PARTIAL
from wick.storage.batch import Batch
from wick.storage.sqlite import SqliteStore


def opened(rows):
    return [one[0] // MINUTE for one in rows]


# Of two rows of a candle: flags, revision, and whether its metrics are known.
@pytest.mark.parametrize(
    ("stored", "recent", "served"),
    [
        ((CLOSED, 0, 1), (CLOSED, 1, 0), "recent"),
        ((CLOSED, 1, 0), (CLOSED, 0, 1), "stored"),
        ((CLOSED, 0, 0), (CLOSED | PARTIAL, 2, 0), "stored"),
        ((CLOSED, 0, 0), (CLOSED, 0, 0), "recent"),
        ((CLOSED, 0, 1), (CLOSED, 0, 0), "stored"),  # a worker that began again without its metrics
        ((CLOSED, 0, 0), (0, 0, 0), "stored"),  # made of diffs: it knows less than what has closed
        ((CLOSED | PARTIAL, 0, 0), (0, 0, 0), "stored"),
        ((0, 0, 1), (CLOSED, 0, 0), "recent"),
    ],
)
def test_of_two_rows_of_a_candle_the_better_one_is_served(stored, recent, served):
    rows = {
        name: row(flags=flags, revision=revision, rsi_14=50.0 if known else None)
        for name, (flags, revision, known) in (("stored", stored), ("recent", recent))
    }
    (chosen,) = join([rows["stored"]], [rows["recent"]], None)
    assert chosen is rows[served]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A store with the minutes 0, 2, 4, …, 98 of one pair."""
    path = tmp_path_factory.mktemp("store") / "candles.sqlite"
    store = SqliteStore(path)
    store.write(Batch.of_rows(["v", "S", "1m", *row(minute * MINUTE)] for minute in range(0, 100, 2)), {})
    store.close()
    return path


def history(path, recent=(), live=None, failures=None):
    rows = [row(minute * MINUTE) for minute in recent]
    failures = [] if failures is None else failures
    standing = Standing(1, 1, 0)
    return History(f"sqlite:{path}", lambda *_: rows, lambda *_: live, lambda *_: standing, lambda: failures.append(1))


times = st.none() | st.integers(-2, 110)


@given(st.integers(1, 120), times, times, st.booleans())
def test_a_window_has_the_newest_or_the_oldest_of_what_is_in_it_whoever_knows_it(path, limit, since, until, forward):
    known = history(path, recent=(98, 99, 100), live=row(101 * MINUTE, flags=0))
    window = Window(limit, max(0, (since or 0) * MINUTE), END_MS if until is None else until * MINUTE, forward)
    every = [one for one in (*range(0, 100, 2), 99, 100, 101) if window.from_ms <= one * MINUTE < window.to_ms]
    found = opened(known.read("v", "S", "1m", window))
    assert found == (every[:limit] if forward else every[-limit:])


def test_without_a_store_there_is_what_the_front_knows(tmp_path):
    known = history(tmp_path / "none.sqlite", recent=(3, 4))
    assert opened(known.read("v", "S", "1m", Window(10))) == [3, 4]
    assert known.read("v", "S", "1m", Window(10, to_ms=0)) == []


def test_a_store_that_cannot_be_read_is_an_error_counted_and_looked_at_again(tmp_path, caplog):
    failures = []
    path = tmp_path / "candles.sqlite"
    path.write_bytes(b"this is no database at all, however long it may be" * 100)
    known = history(path, recent=(3,), failures=failures)
    with pytest.raises(RequestError, match="ask again") as caught:
        known.read("v", "S", "1m", Window(10))
    assert (caught.value.status, caught.value.code, caught.value.field) == (503, "unreadable_store", "candles")
    assert (len(failures), "history cannot be read" in caplog.text) == (1, True)
    assert str(path) not in caught.value.message, "where it lies is no client's business"
    path.unlink()
    SqliteStore(path).write(Batch.of_rows([["v", "S", "1m", *row(MINUTE)]]), {})
    assert opened(known.read("v", "S", "1m", Window(10))) == [1, 3]


class World:
    """A store of one pair, what closes, and how often the store is asked."""

    def __init__(self, path):
        self.path, self.recent, self.asked, self.now_s = path, [], 0, 0.0
        self.standing = Standing(1, 1, 0)
        self.history = History(
            f"sqlite:{path}", self._recent, lambda *_: None, lambda *_: self.standing, lambda: None, lambda: self.now_s
        )
        ask = self.history._ask
        self.history._ask = lambda *told: self._counted(ask, told)

    def _recent(self, _venue, _symbol, _interval, since):
        return [one for stamp, one in self.recent if stamp >= since]

    def _counted(self, ask, told):
        self.asked += 1
        return ask(*told)

    def closes(self, minute, seq, **fields):
        self.recent.append((seq, row(minute * MINUTE, **fields)))
        self.standing = self.standing._replace(seq=seq)

    def read(self, limit=1000, **window):
        return self.history.read("v", "S", "1m", Window(limit, **window))


@pytest.fixture
def world(path):
    return World(path)


def test_what_was_read_is_kept_and_what_closes_is_put_in(world):
    assert opened(world.read(3)) == [94, 96, 98] and world.asked == 1
    world.closes(99, seq=2)
    world.closes(96, seq=3, revision=7)
    assert opened(world.read(3)) == [96, 98, 99] and world.asked == 1
    assert world.read(3)[0][2] == 7
    assert opened(world.read(2, to_ms=96 * MINUTE)) == [92, 94]
    assert opened(world.read(2, from_ms=90 * MINUTE, forward=True)) == [90, 92] and world.asked == 1


def test_what_is_kept_is_read_again_where_closes_may_be_missing_and_after_a_while(world):
    world.read(3)
    for number, standing in enumerate((Standing(2, 1, 0), Standing(2, 9, 5)), 2):  # another epoch, a ring that is full
        world.standing = standing
        world.read(3)
        assert world.asked == number
    world.now_s = KEPT_S + 1
    world.read(3)
    assert world.asked == 4


def test_what_is_older_than_what_is_kept_comes_from_the_store(tmp_path):
    store = SqliteStore(tmp_path / "candles.sqlite")
    store.write(Batch.of_rows(["v", "S", "1m", *row(minute * MINUTE)] for minute in range(DEEP + 50)), {})
    store.close()
    world = World(tmp_path / "candles.sqlite")
    assert opened(world.read(2)) == [DEEP + 48, DEEP + 49] and world.asked == 1
    assert opened(world.read(2, to_ms=52 * MINUTE)) == [50, 51] and world.asked == 1
    assert opened(world.read(2, to_ms=51 * MINUTE)) == [49, 50] and world.asked == 2
    assert opened(world.read(DEEP + 10))[0] == 40 and world.asked == 3


def test_however_much_closes_what_is_kept_is_bounded(world, monkeypatch):
    monkeypatch.setattr("wick.api.history.DEEP", 60)
    monkeypatch.setattr("wick.api.history.SLACK", 5)
    for number in range(200):
        world.closes(100 + number, seq=2 + number)
        newest = opened(world.read(60))
        assert newest == sorted([*range(0, 100, 2), *range(100, 101 + number)])[-60:]
    (kept,) = world.history._kept.values()
    assert len(kept.rows) <= 65
