"""What is TimescaleDB's own: chunks, compression, retention by whole chunks."""

import psycopg2
import pytest

from tests.storage.candles import row
from wick.market.intervals import NAMES
from wick.storage.batch import Batch
from wick.storage.pg_schema import TABLES
from wick.storage.postgres import PostgresStore
from wick.storage.timescale import CHUNK_CANDLES, OPEN_CANDLES

MINUTE = 60_000
CHUNK_MS = CHUNK_CANDLES * MINUTE


@pytest.fixture
def store(timescale_url):
    store = PostgresStore(timescale_url)
    yield store
    store.close()


def put(store, *rows, **positions):
    store.write(Batch.of_rows(rows), positions)


def candles(store, **limits):
    return store.candles("binance", "BTC-USDT", "1m", **{"limit": 10_000, **limits})


def chunks(store, table="candles_1m"):
    return store.status()["timescale"]["chunks"][table]


def steps(store, now_ms, **keep_days):
    return [*store.compact(keep_days, now_ms)]


def some(first=0, count=4):
    """Candles that lie far apart: a few to a chunk."""
    return [row(at * MINUTE * 400, open=at, high=at, close=at, volume=at) for at in range(first, first + count)]


def test_every_interval_is_a_hypertable_with_chunks_of_as_many_candles(store):
    told = store.status()
    assert told["kind"] == "TimescaleDB"
    assert {*told["timescale"]["chunks"]} == {*TABLES}
    assert "plain_tables" not in told["timescale"]
    put(store, row(0), row(CHUNK_MS - MINUTE), row(CHUNK_MS), row(0, interval="1h", close_time_ms=60 * MINUTE))
    assert chunks(store) == {"chunks": 2, "compressed": 0}
    assert chunks(store, "candles_1h") == {"chunks": 1, "compressed": 0}


def test_a_chunk_is_compressed_when_nothing_in_it_is_corrected_any_more_and_says_the_same(store):
    put(store, *some(count=8))
    before = candles(store)
    end = CHUNK_MS + OPEN_CANDLES * MINUTE
    assert steps(store, end - 1) == []
    assert steps(store, end) == ["1m: 1 of 1 chunks compressed"]
    assert chunks(store) == {"chunks": 2, "compressed": 1}
    assert candles(store) == before
    assert candles(store, limit=2, before_ms=CHUNK_MS) == before[2:4]
    assert candles(store, limit=2, oldest=True) == before[:2]
    assert steps(store, end) == []


def test_a_compressed_candle_is_corrected_and_another_comes_beside_it(store):
    put(store, *some(), closes=(1, 1))
    steps(store, 2 * CHUNK_MS)
    assert chunks(store)["compressed"] == 1
    put(store, *some(), closes=(1, 2))  # once more, as after a crash
    put(store, row(0, open=9, high=9, close=9, revision=1), row(MINUTE))
    assert [(candle[0], candle[2], candle[6]) for candle in candles(store)] == [
        (0, 1, 9), (MINUTE, 0, 0), *[(at * 400 * MINUTE, 0, at) for at in (1, 2, 3)]
    ]  # fmt: skip
    assert store.positions() == {"closes": (1, 2)}
    put(store, row(0, open=8, high=8, close=8))
    assert candles(store)[0][6] == 9
    assert steps(store, 2 * CHUNK_MS) == ["1m: 1 of 1 chunks compressed"]
    assert len(candles(store)) == 5


def test_what_is_no_longer_kept_goes_by_whole_chunks(store):
    put(store, *some(count=12))
    day_ms = 86_400_000
    steps(store, 2 * CHUNK_MS)
    now_ms = 3 * CHUNK_MS + day_ms
    told = steps(store, now_ms, **{"1m": 1})
    assert "1m: 3 chunks from before 1970-01-04 00:00:00 dropped" in told
    assert [candle[0] // MINUTE for candle in candles(store)] == [at * 400 for at in range(11, 12)]


def test_a_table_that_was_filled_before_the_extension_came_stays_as_it_is_and_is_named(timescale_url, store):
    put(store, row())
    store.close()
    connection = psycopg2.connect(timescale_url)
    connection.autocommit = True
    cursor = connection.cursor()
    # As PostgreSQL alone would have made it.
    cursor.execute("CREATE TABLE wick.plain (LIKE wick.candles_1m INCLUDING ALL)")
    cursor.execute(
        "DROP VIEW wick.candles_1m_float; DROP TABLE wick.candles_1m; ALTER TABLE wick.plain RENAME TO candles_1m"
    )
    cursor.execute(f"INSERT INTO wick.candles_1m (pair, open_time_ms) VALUES (1, {-MINUTE})")
    connection.close()
    again = PostgresStore(timescale_url)
    assert again.status()["timescale"]["plain_tables"] == ["candles_1m"]
    put(again, row(5 * MINUTE))
    assert steps(again, 10 * MINUTE, **{"1m": 8 / 1440}) == [
        "1m: 1 candles from before 1970-01-01 00:02:00 deleted", "1m: their space is free for new candles"
    ]  # fmt: skip
    assert [candle[0] for candle in candles(again)] == [5 * MINUTE]
    again.close()


def test_all_intervals_have_names_of_their_own():
    assert len({name.lower() for name in TABLES}) == len(NAMES)
