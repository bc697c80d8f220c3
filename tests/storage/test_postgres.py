"""What is PostgreSQL's own: connections that break, errors of the server, the migration, the rows on the wire."""

import threading
from math import nan

import numpy as np
import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ports import free_port
from tests.servers.postgres import PASSWORD, database
from tests.storage.candles import made, row
from wick.errors import FencedError, StoreAwayError, StoreError
from wick.market.rows import readable
from wick.storage.batch import Batch
from wick.storage.columns import Blobs
from wick.storage.pg_pack import packed
from wick.storage.pg_rows import integers
from wick.storage.pg_schema import VERSION
from wick.storage.postgres import PostgresStore


@pytest.fixture
def store(postgres_url):
    store = PostgresStore(postgres_url)
    yield store
    store.close()


def sql(url, statement, *told):
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        cursor = connection.cursor()
        cursor.execute(statement, told)
        return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def put(store, *rows, **positions):
    store.write(Batch.of_rows(rows), positions)


def newest(store):
    return [candle[0] for candle in store.candles("binance", "BTC-USDT", "1m", 100)]


# ---------------------------------------------------------------------- the wire


WIDTHS = (2, 4, 8)


INTEGERS = [st.none() | st.integers(1 - 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1) for width in WIDTHS]
BLOBS = [st.none() | st.binary(max_size=most) for most in (9, 2)]


@given(st.lists(st.tuples(st.integers(0, 2), *INTEGERS, *BLOBS), min_size=1, max_size=12))
def test_rows_that_are_packed_hold_each_value_or_that_it_is_null(rows):
    tables, *integers, first, second = zip(*rows, strict=True)
    values = np.array([[value or 0 for value in own] for own in integers], np.int64)
    null = np.array([[value is None for value in own] for own in integers])
    data = packed(values, null, WIDTHS, [Blobs.of(first), Blobs.of(second)], np.array(tables))
    for table in {*tables}:
        assert sorted(map(repr, read(data[table]))) == sorted(repr([*one]) for at, *one in rows if at == table)
    assert {*data} == {*tables}


def read(data):
    """The format as PostgreSQL's manual tells it."""
    assert data[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    rows, at = [], 19
    while (count := int.from_bytes(data[at : at + 2], "big", signed=True)) >= 0:
        at += 2
        row = []
        for number in range(count):
            length = int.from_bytes(data[at : at + 4], "big", signed=True)
            value = None if length < 0 else data[at + 4 : at + 4 + length]
            row.append(int.from_bytes(value, "big", signed=True) if value is not None and number < 3 else value)
            at += 4 + max(length, 0)
        rows.append(row)
    assert data[at:] == b"\xff\xff"
    return rows


@given(st.integers(1, 4), st.data(), st.booleans())
def test_integers_are_read_by_column_and_only_the_lowest_one_is_null(columns, data, backwards):
    for width, integer in zip(WIDTHS, INTEGERS, strict=True):
        rows = data.draw(st.lists(st.tuples(*[integer] * columns), max_size=5))
        lowest = -(2 ** (8 * width - 1))
        joined = b"".join(
            (lowest if value is None else value).to_bytes(width, "big", signed=True) for row in rows for value in row
        )
        told = rows[::-1] if backwards else rows
        assert integers(joined, width, columns, backwards) == [[row[at] for row in told] for at in range(columns)]


@pytest.mark.slow
def test_of_a_pair_no_more_rows_are_looked_at_than_are_asked_for_whatever_the_server_knows_of_the_table(
    postgres_url, store
):
    pairs = [f"P{number}-USDT" for number in range(4)]
    for first in range(0, 240, 20):
        put(store, *[row(at * 60_000, symbol=pair) for at in range(first, first + 20) for pair in pairs])
    sql(postgres_url, "ANALYZE wick.candles_1m")

    def looked_at():
        with store._cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
        told = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'candles_1m'"
        return sql(postgres_url, told)[0][0]

    before = looked_at()
    assert len(store.candles("binance", pairs[0], "1m", 120)) == 120
    assert looked_at() - before == 120


# ---------------------------------------------------------------------- connections


def test_a_server_that_was_killed_is_away_until_it_is_back_and_then_the_same_store_goes_on(postgres):
    with database(postgres.url("postgres")) as url:
        store = PostgresStore(url)
        store.take_over()
        put(store, row(), closes=(1, 1))
        postgres.kill()
        for ask in (store.positions, lambda: put(store, row(60_000), closes=(1, 2)), lambda: newest(store)):
            with pytest.raises(StoreAwayError, match=r"127\.0\.0\.1"):
                ask()
        postgres.start()
        assert store.positions() == {"closes": (1, 1)}
        put(store, row(60_000), closes=(1, 2))
        assert (newest(store), store.positions()) == ([0, 60_000], {"closes": (1, 2)})
        other = PostgresStore(url)
        other.take_over()
        postgres.kill()
        postgres.start()
        store.positions()
        with pytest.raises(FencedError, match="taken over"):
            put(store, row(120_000))
        other.positions()
        put(other, row(180_000))
        assert newest(other) == [0, 60_000, 180_000]
        for one in (store, other):
            one.close()


def test_a_reader_whose_connection_was_cut_does_not_notice(postgres_url, store):
    put(store, row())
    reader = PostgresStore(postgres_url, read_only=True)
    assert newest(reader) == [0]
    sql(postgres_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                      "AND pid <> pg_backend_pid()")  # fmt: skip
    assert newest(reader) == [0]
    reader.close()


def test_what_the_server_has_no_room_for_is_written_later_whole(postgres_url, store):
    put(store, row(), closes=(1, 1))
    sql(postgres_url, "CREATE FUNCTION wick.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                      "RAISE 'could not extend file' USING ERRCODE = '53100'; END $$")  # fmt: skip
    sql(postgres_url, "CREATE TRIGGER no_room BEFORE INSERT ON wick.candles_1h EXECUTE FUNCTION wick.full()")
    rows = row(60_000), row(0, interval="1h", close_time_ms=3_600_000)
    with pytest.raises(StoreAwayError, match="could not extend file"):
        put(store, *rows, closes=(1, 2))
    assert (newest(store), store.positions()) == ([0], {"closes": (1, 1)})
    sql(postgres_url, "DROP TRIGGER no_room ON wick.candles_1h")
    put(store, *rows, closes=(1, 2))
    assert (newest(store), store.positions()) == ([0, 60_000], {"closes": (1, 2)})


def test_candles_are_found_whatever_our_clock_says(store, monkeypatch):
    put(store, row(), row(60_000))
    monkeypatch.setattr("wick.storage.postgres.time.time_ns", lambda: -10 * 86_400 * 10**9)
    assert newest(store) == [0, 60_000]


def test_nobody_waits_long_for_a_lock(postgres_url, store):
    put(store, row())
    store._db.cursor().execute("SET lock_timeout = '50ms'")
    other = psycopg2.connect(postgres_url)
    other.cursor().execute("LOCK TABLE wick.candles_1m")
    with pytest.raises(StoreAwayError, match="lock timeout"):
        put(store, row(60_000))
    other.close()
    put(store, row(60_000))
    assert newest(store) == [0, 60_000]


# ---------------------------------------------------------------------- what is wrong


def test_an_address_that_is_none_is_not_repeated():
    with pytest.raises(StoreError, match=r"valid is postgresql://USER:PASSWORD@HOST:PORT/DATABASE") as caught:
        PostgresStore(f"postgresql://wick:{PASSWORD}@[::1/x")
    assert PASSWORD not in str(caught.value)


def test_no_server_is_away_a_wrong_password_and_a_missing_database_are_wrong(postgres):
    with pytest.raises(StoreAwayError, match="refused"):
        PostgresStore(f"postgresql://wick:{PASSWORD}@127.0.0.1:{free_port()}/x")
    right = postgres.url("postgres")
    for url, said in ((right.replace(PASSWORD, "hush2"), "password"), (postgres.url("nowhere"), "nowhere")):
        with pytest.raises(StoreError, match=said) as caught:
            PostgresStore(url)
        assert not isinstance(caught.value, StoreAwayError)
        assert PASSWORD not in str(caught.value)


def test_a_reader_of_an_empty_database_is_told_what_to_do(postgres_url):
    with pytest.raises(StoreError, match="wick store init"):
        PostgresStore(postgres_url, read_only=True)


def test_a_schema_of_a_newer_wick_is_left_alone(postgres_url, store):
    sql(postgres_url, "INSERT INTO wick.schema_version VALUES (%s)", VERSION + 1)
    with pytest.raises(StoreError, match=f"version {VERSION + 1}, this wick knows {VERSION}"):
        PostgresStore(postgres_url)


def test_of_many_that_begin_at_once_one_makes_the_tables(postgres_url):
    opened, failed = [], []

    def begin():
        try:
            opened.append(PostgresStore(postgres_url))
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(opened), failed) == (4, [])
    assert sql(postgres_url, "SELECT count(*) FROM wick.schema_version") == [(VERSION,)]
    for store in opened:
        store.close()


# ---------------------------------------------------------------------- for people


def test_the_view_gives_the_numbers_that_the_integers_stand_for(postgres_url, store):
    rows = made(80)
    put(store, *rows)
    venue, symbol = rows[0][:2]
    asked = (
        "open_time_ms",
        "close_time_ms",
        "open",
        "close",
        "quote_volume",
        "delta_min",
        "vwap",
        "rsi_14",
        "body_ratio",
    )
    told = sql(postgres_url, f"SELECT {', '.join(asked)} FROM wick.candles_1m_float WHERE symbol = %s "
                             "ORDER BY open_time_ms", symbol)  # fmt: skip
    stored = store.candles(venue, symbol, "1m", 1000)
    assert len(told) == len(stored) > 50
    for numbers, candle in zip(told, stored, strict=True):
        expected = readable(candle, asked).values()
        assert [*map(number, numbers)] == pytest.approx([*map(number, expected)], rel=1e-9, nan_ok=True)


def number(value):
    return nan if value is None else float(value)


def test_a_number_beyond_64_bits_is_in_the_view_too(postgres_url, store):
    put(store, row(volume=2**70, trade_count=1))
    assert sql(postgres_url, "SELECT volume FROM wick.candles_1m_float") == [(float(2**70),)]
