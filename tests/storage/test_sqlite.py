"""The SQLite store's own: its file, damage to it, versions, its view (what every store does: test_conformance.py)."""

import random
import shutil
import sqlite3
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from tests.storage.candles import F, made, row
from wick.errors import StoreAwayError, StoreError
from wick.market.rows import rank
from wick.market.schema import (
    CANDLE,
    CANDLE_FIELDS,
    CLOSED,
    FOREIGN,
    METRIC_FIELDS,
    PARTIAL,
    PRICE,
    TURNOVER,
    VOLUME,
)
from wick.storage import sqlite, sqlite_schema
from wick.storage.batch import Batch
from wick.storage.sqlite import SqliteStore
from wick.storage.sqlite_pack import packed
from wick.storage.sqlite_rows import RANK


@pytest.fixture
def path(tmp_path):
    return tmp_path / "candles.sqlite"


@pytest.fixture
def store(path):
    store = SqliteStore(path)
    yield store
    store.close()


def put(store, *rows, **positions):
    store.write(Batch.of_rows(rows), positions)


def candles(store, **limits):
    return store.candles("binance", "BTC-USDT", "1m", **{"limit": 1000, **limits})


def test_the_view_gives_the_numbers_that_the_integers_stand_for(path, store):
    put(store, *made(60), row(symbol="HUGE-USDT", open=10**30, high=10**30, price_decimals=2))
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        shown = [dict(one) for one in db.execute("SELECT * FROM candles_float WHERE symbol = 'BTC-USDT' ORDER BY 4")]
        (huge,) = db.execute("SELECT open FROM candles_float WHERE symbol = 'HUGE-USDT'").fetchone()
    assert huge == 1e28
    decimals = {PRICE: 2, VOLUME: 5, TURNOVER: 7}
    decimal = {name: decimals[kind] for name, kind in CANDLE if kind in decimals}
    for one, kept in zip(shown, candles(store), strict=True):
        for name in CANDLE_FIELDS:
            if name not in ("bull", "bear", "patterns"):
                value = kept[F[name]]
                value = value / 10 ** decimal[name] if name in decimal and value is not None else value
                assert one[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-15)), name
    assert (shown[0]["venue"], shown[0]["interval"]) == ("binance", "1m")


def test_the_view_finds_a_series_by_its_key_and_its_newest_rows_without_the_others(path, store):
    series = "FROM candles_float WHERE venue = 'a' AND symbol = 'b' AND interval = '1m'"
    newest = f"SELECT open_time_ms, rsi_14 {series} ORDER BY open_time_ms DESC LIMIT 9"
    with closing(sqlite3.connect(path)) as db:
        plan = [one[3] for one in db.execute(f"EXPLAIN QUERY PLAN {newest}")]
    for table in ("settled USING PRIMARY KEY", "fresh USING INDEX sqlite_autoindex_fresh_1"):
        assert f"SEARCH {table} (pair=? AND interval=?)" in plan
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN") for step in plan)


def test_ranks_compare_as_bytes_as_they_do_as_numbers():
    rows = [
        row(flags=CLOSED | flags, revision=revision, obv_anchor_ms=anchor, rsi_14=rsi)
        for flags, revision, anchor, rsi in product(
            (0, PARTIAL, FOREIGN, PARTIAL | FOREIGN), (0, 1, 2**31 - 1), (None, 0, 2**41, 2**60), (None, 50.0)
        )
    ]
    _, data, _ = packed(Batch.of_rows(rows))
    ranks = [rank(one[3:]) for one in rows]
    for (one, its), (other, others) in product(zip(ranks, data, strict=True), repeat=2):
        assert (one < other) == (its[:RANK] < others[:RANK]), (one, other)


def test_what_is_far_from_the_close_is_kept_beside(store):
    far = row(close=5, price_decimals=0, sma_20=1e12, psar=-1e12, atr_14=1e15, obv_anchor_ms=2**60)
    near = row(60_000, close=2**40, price_decimals=0, sma_20=float(2**40), rsi_14=50.0)
    put(store, far, near)
    told = [[one[F[name]] for name in ("sma_20", "psar", "atr_14", "obv_anchor_ms")] for one in candles(store)]
    assert told == [[1e12, -1e12, 1e15, 2**60], [float(2**40), 0.0, 0.0, 0]]


# ---------------------------------------------------------------------- fresh, and settled


def counts(store):
    return tuple(store._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("fresh", "settled"))


def test_rows_are_the_same_wherever_they_lie_and_none_lies_twice(tmp_path, store, monkeypatch):
    own = random.Random(1)
    rows = [
        row(60_000 * own.randrange(9), own.choice(("A-USDT", "B-USDT")), own.choice(("1m", "5m")), revision=revision)
        for revision in map(own.randrange, [4] * 150)
    ]
    batches = [[rows.pop() for _ in range(min(own.randrange(1, 7), len(rows)))] for _ in range(30)]
    other = SqliteStore(tmp_path / "other.sqlite")
    seen = set()
    for batch in batches:
        monkeypatch.setattr(sqlite, "FRESH_ROWS", 4)
        put(store, *batch)
        if own.random() < 0.2:
            store.rest()
        seen.add(tuple(min(count, 1) for count in counts(store)))
        monkeypatch.setattr(sqlite, "FRESH_ROWS", 1000)
        put(other, *batch)
        assert not store._db.execute("SELECT 1 FROM fresh JOIN settled USING (pair, interval, open_time_ms)").fetchall()
        for symbol, interval in product(("A-USDT", "B-USDT"), ("1m", "5m")):
            told = [one.candles("binance", symbol, interval, 5) for one in (store, other)]
            assert told[0] == told[1]
    assert (1, 1) in seen and counts(other)[1] == 0 and store.status()["intervals"] == other.status()["intervals"]
    other.close()


def test_what_is_late_is_settled_at_once(store):
    put(store, row(60_000))
    store._settle(store._db)
    put(store, row(), row(60_000, revision=1), row(120_000), row(120_000, "ETH-USDT"))
    assert counts(store) == (2, 2)
    assert [(one[0], one[F["revision"]]) for one in candles(store)] == [(0, 0), (60_000, 1), (120_000, 0)]


def test_in_a_rest_the_log_goes_into_the_file_and_many_fresh_rows_are_settled(path, store, monkeypatch):
    def in_the_file():  # as if there were no log
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
            return [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("fresh", "settled")]

    monkeypatch.setattr(sqlite, "FRESH_ROWS", 8)
    put(store, *[row(number * 60_000) for number in range(3)])
    store.rest()
    assert in_the_file() == [3, 0]
    put(store, row(180_000), **{"closes.01": (5, 1)})
    assert in_the_file() == [3, 0]
    store.rest()
    assert in_the_file() == [0, 4] and store.positions() == {"closes.01": (5, 1)}


# ---------------------------------------------------------------------- versions


def test_a_file_of_a_version_that_is_not_known_is_an_error_and_stays_as_it_is(path, store):
    store.close()
    newest = sqlite_schema.newest_version()
    for other in (3, newest + 1):
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version = {other}")
        before = path.read_bytes()
        for read_only in (True, False):
            said = rf"candles\.sqlite.*version {other}, this wick writes version {newest}; move the"
            with pytest.raises(StoreError, match=said):
                SqliteStore(path, read_only=read_only)
        assert path.read_bytes() == before


def test_a_file_of_an_older_version_is_brought_to_the_newest_step_by_step_or_not_at_all(path, store, monkeypatch):
    put(store, row(), **{"closes.01": (5, 1)})
    store.close()
    newest = sqlite_schema.newest_version()
    steps = sqlite_schema.MIGRATIONS | {
        newest: (newest + 1, lambda: iter(["CREATE TABLE one (a)"])),
        newest + 1: (newest + 2, lambda: iter(["INSERT INTO one VALUES (7)", "CREATE TABLE nonsense ("])),
    }
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", steps)
    with pytest.raises(StoreError, match="wick store init"):
        SqliteStore(path, read_only=True)
    with pytest.raises(StoreError):
        SqliteStore(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (newest,)
        assert not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'one'").fetchall()
    steps[newest + 1] = (newest + 2, lambda: iter(["INSERT INTO one VALUES (7)"]))
    again = SqliteStore(path)
    assert again.status()["version"] == newest + 2 and len(candles(again)) == 1
    again.close()


# ---------------------------------------------------------------------- the file


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("damage", [b"no database at all, but some text" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_an_error_that_names_it_and_what_to_type(path, damage, read_only):
    path.write_bytes(damage)
    with pytest.raises(StoreError, match=r"candles\.sqlite.*wick store verify"):
        SqliteStore(path, read_only=read_only)
    assert path.read_bytes() == damage


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.95])
def test_a_file_that_was_cut_is_found_by_verify_and_what_can_be_read_can_be_copied(tmp_path, path, store, cut):
    put(store, *made(200))
    store.close()
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(whole * cut) // 4096 * 4096)
    try:
        broken = SqliteStore(path, read_only=True)
    except StoreError as error:
        assert "wick store verify" in str(error)
        return
    bad = [finding for finding in broken.verify() if finding.bad]
    assert bad and f"wick store copy sqlite:{path} sqlite:NEW" == bad[0].mend
    broken.close()


def test_a_page_that_is_damaged_later_is_an_error_that_names_the_file(path, store):
    put(store, *[row(number * 60_000) for number in range(500)])
    store.close()
    data = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'fresh'").fetchone()
    data[4096 * (root - 1) : 4096 * root] = b"\xee" * 4096
    path.write_bytes(data)
    broken = SqliteStore(path, read_only=True)
    with pytest.raises(StoreError, match=r"candles\.sqlite.*wick store copy"):
        candles(broken)
    assert any(finding.bad for finding in broken.verify())
    broken.close()


def test_without_its_log_a_file_goes_back_in_time_rows_and_positions_together(tmp_path, path, store):
    put(store, row(), **{"closes.01": (5, 1)})
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    put(store, row(60_000), **{"closes.01": (5, 2)})
    shutil.copy(path, tmp_path / "lost.sqlite")  # the -wal file stays behind
    lost = SqliteStore(tmp_path / "lost.sqlite")
    assert (len(candles(lost)), lost.positions()) == (1, {"closes.01": (5, 1)})
    put(lost, row(60_000), **{"closes.01": (5, 2)})
    assert candles(lost) == candles(store)
    lost.close()


def test_a_file_that_was_moved_away_is_told_to_who_writes_it_and_a_reader_opens_the_new_one(path, store):
    put(store, row())
    reader = SqliteStore(path, read_only=True)
    assert len(candles(reader)) == 1
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").rename(path.with_name(f"old.sqlite{end}"))
    with pytest.raises(StoreError, match="moved away, deleted or replaced"):
        put(store, row(60_000))
    assert not path.exists()
    new = SqliteStore(path)
    put(new, row(60_000), row(120_000))
    assert len(candles(reader)) == 2
    new.close()
    reader.close()


def test_a_lock_that_somebody_holds_is_waited_for_and_then_may_pass(path, store, monkeypatch):
    store._db.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAwayError, match="locked"):
            put(store, row())
        other.rollback()
    put(store, row())
    assert len(candles(store)) == 1


def test_a_full_disk_may_pass_and_what_was_begun_is_undone(store):
    put(store, row())
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreAwayError, match="full"):
        put(store, *[row(number * 60_000) for number in range(1000)], **{"closes.01": (1, 1)})
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert len(candles(store)) == 1 and store.positions() == {}
    put(store, *[row(number * 60_000) for number in range(1000)])
    assert len(candles(store)) == 1000


def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "candles.sqlite"):
        with pytest.raises(StoreError, match=path.name):
            SqliteStore(path)
    with pytest.raises(StoreError, match="missing"):
        SqliteStore(Path(tmp_path / "missing.sqlite"), read_only=True)
    assert not (tmp_path / "missing.sqlite").exists()


def test_compact_gives_space_back_to_the_file_system(path, store):
    put(store, *[row(number * 60_000, **dict.fromkeys(METRIC_FIELDS)) for number in range(3000)])
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size
    assert list(store.compact({"1m": 1.0}))
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < before / 2 and store.status()["free_bytes"] == 0
