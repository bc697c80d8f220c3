"""`wick backfill`: what it brings into the store, from where, and what it says."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.roles.past_venue import START_MS, SYMBOL, PastVenue
from tests.roles.test_past import filled, venue
from tests.storage.memory_store import MemoryStore
from wick.cli import main
from wick.errors import StoreError
from wick.market.numbers import format_decimal
from wick.market.schema import CANDLE_FIELDS, FOREIGN, SUSPECT
from wick.roles.filling import Progress
from wick.storage.batch import Batch

FLAGS = 3 + CANDLE_FIELDS.index("flags")
TIMES = ("--from", "2024-08-09T01:00", "--to", "2024-08-09T01:11")


class Wick:
    """The command with a venue and a store of this process."""

    def __init__(self, capsys: Any) -> None:
        self.store, self.venue, self._capsys = MemoryStore(), venue(), capsys
        self.venue.asked, self.venue.fails_at = [], 0

    def __call__(self, *words: object) -> tuple[int, str]:
        status = main(["backfill", *map(str, words)])
        return status, self._capsys.readouterr().err


@pytest.fixture
def wick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> Wick:
    (tmp_path / "wick.toml").touch()
    monkeypatch.setenv("WICK_CONFIG", str(tmp_path / "wick.toml"))
    monkeypatch.setenv("WICK_CORE_DATA_DIR", str(tmp_path))
    one = Wick(capsys)
    monkeypatch.setattr("wick.storage.store.open_store", lambda *_: one.store)
    monkeypatch.setattr("wick.roles.asking.Asking.ask", lambda _, *asked: one.venue.ask(*asked))
    return one


def dump(path: Path, rows: Any) -> Path:
    """As Binance's archive writes them."""
    lines = [
        f"{one.trade_id},{format_decimal(one.price, one.price_decimals)},"
        f"{format_decimal(one.quantity, one.quantity_decimals)},0,{one.event_ns // 10**6},{not one.taker_buy},True\n"
        for one in rows
    ]
    data = "".join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.slow
def test_past_trades_come_over_rest_once(wick: Wick) -> None:
    status, said = wick("binance", "btcusdt", *TIMES)
    assert status == 0 and "82 candles written" in said
    assert wick.store.all() == filled().all()
    asked = len(wick.venue.asked)
    status, said = wick("binance", "BTC-USDT", *TIMES)
    assert status == 0 and "--again" in said and len(wick.venue.asked) == asked
    status, said = wick("binance", "BTC-USDT", *TIMES, "--again")
    assert status == 0 and len(wick.venue.asked) > asked and wick.store.all() == filled().all()


@pytest.mark.slow
def test_trade_dumps_give_the_same_candles_as_rest(wick: Wick, tmp_path: Path) -> None:
    trades = wick.venue.trades
    files = [
        dump(tmp_path / "BTCUSDT-trades-2024-08-09.csv", trades[900:]),
        dump(tmp_path / "BTCUSDT-trades-2024-08-08.csv.gz", trades[:900]),
    ]
    status, said = wick("binance", "BTCUSDT", *TIMES, "--files", *files)
    assert status == 0, said
    assert wick.store.all() == filled().all()
    assert wick.venue.asked == []


def test_a_dump_begins_and_ends_with_the_day_or_month_that_it_is_named_after(
    wick: Wick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wick.roles.filling.Filling.fill", lambda _, wanted, *__: Progress(wanted.to_ms, 0, 0))
    few = wick.venue.trades[:5]
    status, said = wick("binance", "BTCUSDT", "--files", dump(tmp_path / "BTCUSDT-trades-2024-08-09.csv", few))
    assert status == 0 and "2024-08-09 00:00:00 to 2024-08-10 00:00:00" in said
    status, said = wick("binance", "BTCUSDT", "--files", dump(tmp_path / "BTCUSDT-trades-2024-08.csv", few))
    assert status == 0 and "2024-08-01 00:00:00 to 2024-09-01 00:00:00" in said
    status, said = wick("binance", "BTCUSDT", "--files", dump(tmp_path / "some.csv", few))
    assert status == 1 and "--to is missing" in said


def test_files_that_do_not_fit_are_named(wick: Wick, tmp_path: Path) -> None:
    other = dump(tmp_path / "ETHUSDT-trades-2024-08-09.csv", wick.venue.trades[:5])
    status, said = wick("binance", "BTCUSDT", "--files", other)
    assert status == 1 and "none of the files has trades of BTC-USDT" in said
    capture = tmp_path / "capture"
    capture.write_bytes(b'1723165200000000000 {"e":"trade"}\n')
    status, said = wick("binance", "BTCUSDT", "--files", capture)
    assert status == 1 and "no trade dump" in said


@pytest.mark.slow
def test_the_venues_own_candles_are_marked_and_stand_below_our_own(wick: Wick) -> None:
    wick("binance", "BTCUSDT", *TIMES)
    ours = len(wick.store.all())
    status, said = wick("binance", "BTCUSDT", "--from", "2024-08-09T00:00", "--to", "2024-08-09T01:11", "--candles")
    assert status == 0 and "candles of the venue's own" in said
    foreign = [row for row in wick.store.all() if row[FLAGS] & FOREIGN]
    assert len(wick.store.all()) == ours + len(foreign) > 400
    assert {row[2] for row in foreign} == {"15s", "30s", "1m", "3m", "5m", "15m", "30m", "1h"}


@pytest.mark.slow
def test_gaps_are_found_and_only_they_are_fetched(wick: Wick) -> None:
    wick("binance", "BTCUSDT", *TIMES)
    good = wick.store.all()
    bad = [row for row in good if row[2] == "15s"][10]
    bad = [*bad[:FLAGS], bad[FLAGS] | SUSPECT, *bad[FLAGS + 1 :]]
    wick.store.write(Batch.of_rows([bad]), {})
    wick.store.rows["binance", SYMBOL, "15s"][bad[3]] = bad[3:]
    wick.venue.asked = []
    status, said = wick("binance", "BTCUSDT", *TIMES, "--gaps", "--interval", "15s")
    assert status == 0 and "1 gaps" in said and "1 candles written" in said and len(wick.venue.asked) == 4
    status, said = wick("binance", "BTCUSDT", *TIMES, "--gaps", "--interval", "15s")
    assert status == 0 and "0 gaps" in said


def test_where_nobody_answers_the_rest_is_left_for_the_next_time(wick: Wick) -> None:
    wick.venue.fails_at = 2
    status, said = wick("binance", "BTCUSDT", "ETHUSDT", *TIMES)
    assert status == 1 and "the same command goes on from there" in said and len(wick.venue.asked) == 2


@pytest.mark.slow
def test_a_store_that_refuses_is_said(wick: Wick, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("sqlite:/x: it is damaged")

    monkeypatch.setattr(wick.store, "write", refuse)
    status, said = wick("binance", "BTCUSDT", *TIMES)
    assert status == 1 and "it is damaged" in said


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("bnance", "BTCUSDT", *TIMES), "kraken"),
        (("binance", "BTCUSDT"), "--from is missing"),
        (("binance", "BTCUSDT", "--from", "yesterday"), "how long ago"),
        (("binance", "BTCUSDT", "--from", "2024-08-09", "--to", "2024-08-08"), "not before"),
        (("binance", "BTCUSDT", *TIMES, "--gaps", "--candles"), "either"),
        (("binance", "BTCUSDT", *TIMES, "--interval", "1m"), "all intervals"),
        (("binance", "BTCUSDT", *TIMES, "--candles", "--interval", "2m"), "is not one of 15s"),
    ],
)
def test_wrong_usage_names_what_is_valid(wick: Wick, words: Any, names: str) -> None:
    status, said = wick(*words)
    assert status == 2 and names in said


def test_what_a_venue_does_not_have_is_said(wick: Wick, monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = wick("okx", "BTC-USDT", *TIMES)
    assert status == 1 and "valid is --candles" in said
    status, said = wick("bybit", "BTC-USDT", *TIMES, "--candles", "--interval", "15s")
    assert status == 1 and "Bybit spot has no candles of 15s: valid is 1m, 3m" in said
    monkeypatch.setattr("wick.exchanges.kraken.VENUE.candles", (), raising=False)
    status, said = wick("kraken", "BTC-USDT", *TIMES, "--candles")
    assert status == 1 and "valid is without --candles" in said


@pytest.mark.slow
def test_where_a_venue_has_its_newest_candles_only_it_is_said_since_when(wick: Wick) -> None:
    wick.venue = PastVenue("kraken", minutes=11)
    times = ("--from", "2024-08-08", "--to", "2024-08-09T01:11")
    status, said = wick("kraken", "BTC-USDT", *times, "--candles", "--interval", "1m,1h")
    assert status == 1 and "Kraken has its newest 720 candles of an interval only: 1m since 2024-08-08 13:11\n" in said
    assert {row[2]: row[3] for row in reversed(wick.store.all())} == {
        "1m": START_MS + 11 * 60_000 - 720 * 60_000, "1h": START_MS - 25 * 3_600_000,
    }  # fmt: skip
