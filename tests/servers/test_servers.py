"""The servers that tests use do what a test relies on."""

import threading

import psycopg2
import pytest


def said(url, *statements):
    connection = psycopg2.connect(url)
    try:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        connection.commit()
        return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def test_a_killed_postgres_comes_back_with_what_was_committed(postgres, postgres_url):
    said(postgres.url("postgres"), "CREATE TABLE IF NOT EXISTS kept (a int)", "INSERT INTO kept VALUES (7)")
    postgres.kill()
    assert not postgres.runs
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(postgres.url("postgres"))
    postgres.start()
    assert said(postgres.url("postgres"), "SELECT a FROM kept") == [(7,)]


def test_timescale_copies_and_its_clients_take_turns(timescale_url):
    from io import StringIO

    one, two = psycopg2.connect(timescale_url), psycopg2.connect(timescale_url)
    with one.cursor() as cursor:
        cursor.execute("CREATE SCHEMA wick; CREATE TABLE wick.t (a int, b text)")
        cursor.copy_expert("COPY wick.t FROM STDIN", StringIO("1\tx\n2\ty\n"))
    counted = []
    other = threading.Thread(target=lambda: counted.append(count(two)))
    other.start()  # waits for the transaction of the first
    with pytest.raises(psycopg2.errors.UndefinedColumn), one.cursor() as cursor:
        cursor.execute("SAVEPOINT here")
        cursor.execute("SELECT nonsense")
    with one.cursor() as cursor:
        cursor.execute("ROLLBACK TO here")
    assert not counted
    one.commit()
    other.join(10)
    assert counted == [2]
    one.close()
    two.close()
    assert said(timescale_url, "SELECT extname FROM pg_extension WHERE extname = 'timescaledb'") == [("timescaledb",)]


def count(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM wick.t")
        return cursor.fetchone()[0]
