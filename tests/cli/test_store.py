"""`wick store`: make, look at, check, copy and thin out a store of candles."""

import json

import pytest

from tests.storage.candles import F, made, row
from wick.cli import main
from wick.storage.batch import Batch
from wick.storage.store import open_store


@pytest.fixture
def url(tmp_path):
    return f"sqlite:{tmp_path / 'candles.sqlite'}"


def filled(url, *rows, **positions):
    store = open_store(url)
    store.write(Batch.of_rows(rows), positions)
    store.close()


def test_init_makes_a_store_and_says_what_it_is(url, capsys):
    assert main(["store", "init", url]) == 0
    assert main(["store", "init", url]) == 0
    assert f"{url}: SQLite" in capsys.readouterr().out


def test_without_an_address_it_is_the_store_of_the_settings(tmp_path, capsys):
    assert main(["store", "init", "--data-dir", str(tmp_path)]) == 0
    assert (tmp_path / "candles.sqlite").exists()


def test_status_tells_an_operator_what_is_stored(url, capsys):
    filled(url, *made(10), **{"closes.01": (5, 1)})
    assert main(["store", "status", url]) == 0
    told = capsys.readouterr().out
    assert "1m                    10  2024-07-01 00:00:00" in told and "1 pairs, 1 streams written to" in told
    assert main(["store", "status", "--json", url]) == 0
    assert json.loads(capsys.readouterr().out)["intervals"]["1m"]["rows"] == 10


def test_a_store_that_is_not_there_is_an_error_that_names_it(url, capsys):
    for action in ("status", "verify"):
        assert main(["store", action, url]) == 1
        assert "candles.sqlite" in capsys.readouterr().err


def test_verify_says_what_is_wrong_and_exits_with_1(url, capsys):
    filled(url, *made(10))
    assert main(["store", "verify", url]) == 0
    assert "1 of 1 pairs, 10 candles; nothing wrong" in capsys.readouterr().out
    wrong = [*made(10)[5]]
    wrong[3 + F["high"]], wrong[3 + F["revision"]] = 1, 1
    filled(url, wrong)
    assert main(["store", "verify", url]) == 1
    assert "WRONG: binance BTC-USDT 1m" in capsys.readouterr().out


def test_copy_takes_everything_along_and_may_be_repeated(tmp_path, url, capsys):
    rows = [*made(30), *made(20, seed=2, interval="1h"), row(venue="kraken", delta=2**90)]
    filled(url, *rows, **{"closes.01": (5, 1)})
    to = f"sqlite:{tmp_path / 'copy.sqlite'}"
    for _ in range(2):
        assert main(["store", "copy", url, to]) == 0
        assert "51 candles of 2 pairs" in capsys.readouterr().out
    one, other = open_store(url, read_only=True), open_store(to, read_only=True)
    for venue, symbol in one.symbols():
        for interval in ("1m", "1h"):
            assert other.candles(venue, symbol, interval, 100) == one.candles(venue, symbol, interval, 100)
    assert other.positions() == one.positions()
    one.close()
    other.close()


def test_copy_leaves_the_better_row_and_the_positions_of_the_other_as_they_are(tmp_path, url):
    to = f"sqlite:{tmp_path / 'copy.sqlite'}"
    filled(url, row(revision=1), row(60_000, revision=1), **{"closes.01": (5, 9), "closes.02": (5, 9)})
    filled(to, row(revision=2), row(60_000), **{"closes.01": (6, 1)})
    assert main(["store", "copy", url, to]) == 0
    other = open_store(to, read_only=True)
    assert [one[2] for one in other.candles("binance", "BTC-USDT", "1m", 9)] == [2, 1]
    assert other.positions() == {"closes.01": (6, 1), "closes.02": (5, 9)}
    other.close()


def test_compact_deletes_what_the_settings_do_not_keep(url, capsys, monkeypatch):
    monkeypatch.setenv("WICK_STORE_KEEP", "1m:30")
    filled(url, row(), row(interval="5m"))
    assert main(["store", "compact", url]) == 0
    store = open_store(url, read_only=True)
    assert store.status()["intervals"].keys() == {"5m"}
    store.close()
    assert main(["store", "compact", url]) == 0
    assert "nothing to do" in capsys.readouterr().out
