"""History without a seam: what is stored, what closed since, and the live candle, in any window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.asking import MINUTE, row
from wick.api.history import END_MS, History, Window, join
from wick.api.replies import RequestError
from wick.market.schema import CLOSED, PARTIAL
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
    store.write([["v", "S", "1m", *row(minute * MINUTE)] for minute in range(0, 100, 2)], {})
    store.close()
    return path


def history(path, recent=(), live=None, failures=None):
    rows = [row(minute * MINUTE) for minute in recent]
    failures = [] if failures is None else failures
    return History(path, lambda *_: rows, lambda *_: live, lambda: failures.append(1))


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
    SqliteStore(path).write([["v", "S", "1m", *row(MINUTE)]], {})
    assert opened(known.read("v", "S", "1m", Window(10))) == [1, 3]
