"""wick watch: what a client of a front gets, a line an event, and nothing that a terminal would act upon."""

import json

import pytest

from tests.cli.live import data_dir
from tests.client.front_server import OPEN, Line, playing
from tests.client.speaking import BTC, CANDLES, EPOCH, TRADES, head, row
from wick.cli import main
from wick.client import reconnect
from wick.wire.session import Kind

__all__ = ["data_dir"]

pytestmark = pytest.mark.usefixtures("data_dir")


def candles(line: Line) -> None:
    line.shows_candles()
    line.says([Kind.DIFF, 1, 11, 1, [0, 1, 50]], [Kind.CLOSE, 1, 12, row(OPEN)])
    line.stays()


def watch(script, *arguments, **options):
    with playing(script, **options) as front:
        return main(["watch", "--url", front.url, *arguments])


def test_an_event_is_a_line(capsys):
    assert watch(candles, CANDLES, "--count", "4") == 0
    out, err = capsys.readouterr()
    subscribed, snapshot, changed, closed = out.splitlines()
    assert subscribed == f"{CANDLES} subscribed resumed=False"
    assert snapshot.startswith(f"{CANDLES} snapshot ticker={{last_price=90000 ")
    assert snapshot.endswith(" candles=1")
    assert "changed ticker={last_price=90000.5 bid=0 ask=0} candle={open_time_ms=1763900040000 open=90000 " in changed
    assert closed.startswith(f"{CANDLES} closed candle=") and "close=90000.5 volume=1.23456" in closed
    assert err.startswith("connected front=front-0.1")


def test_with_json_every_event_is_an_object_with_all_fields(capsys):
    assert watch(candles, CANDLES, "--json", "--count", "4") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["event"] for one in said] == ["connected", "subscribed", "snapshot", "changed", "closed"]
    assert said[-1]["candle"]["close"] == "90000.5" and said[-1]["candle"]["patterns"]["CDL2CROWS"] == 100
    assert said[2]["ticker"]["last_price"] == "90000"


def test_trades_books_and_stats_have_their_lines(capsys):
    book = "book:binance:BTC-USDT"

    def script(line: Line) -> None:
        line.takes([TRADES, book, "stats"])
        line.says(
            [Kind.TRADES, 1, EPOCH, 6, 0, 2, 5, [[n, n, 9_000_000, 50_000, n % 2 == 0, 1] for n in range(6)]],
            [Kind.BOOK, 2, 7, 8, [["90000.1", "0.00000001"]], [["90000.2", "1"]]],
            [Kind.STATS, 3, "feed-0", {"state": "running"}],
        )
        line.stays()

    assert watch(script, TRADES, book, "stats", "--count", "6") == 0
    trades, levels, stats = capsys.readouterr().out.splitlines()[3:]
    assert trades == f"{TRADES} trades trades=0.5@90000+,0.5@90000-,0.5@90000+,0.5@90000- and 2 more missed=0"
    assert levels == f"{book} book seq=7 time_us=8 bids=0.00000001@90000.1 asks=1@90000.2"
    assert stats == "stats stats process=feed-0 stats={'state': 'running'}"
    assert watch(script, TRADES, book, "stats", "--count", "6", "--json") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()][4:]
    assert said[0]["trades"][0] == {
        "id": 0, "time_us": 0, "price": "90000", "quantity": "0.5", "taker_is_buyer": True, "fills": 1,
    }  # fmt: skip
    assert said[1]["bids"] == [["90000.1", "0.00000001"]] and said[2]["stats"] == {"state": "running"}


def test_the_table_has_a_line_a_topic(capsys):
    def script(line: Line) -> None:
        line.takes([CANDLES, BTC, "book:binance:BTC-USDT"])
        line.says(
            [Kind.SNAPSHOT, 1, EPOCH, 10, [head(), [OPEN, 9_000_000, 9_000_000, 9_000_000, 0, 0, 1, 0, 0, 0]], []],
            [Kind.SNAPSHOT, 2, EPOCH, 10, [head()], []],
            [Kind.BOOK, 3, 7, 8, [["90000.1", "1"]], [["90000.2", "1"]]],
        )
        line.stays()

    assert watch(script, "candles:*", BTC, "book:*", "--table", "--count", "6") == 0
    header, book, bars, ticker = capsys.readouterr().out.splitlines()[-4:]
    assert header.split()[:4] == ["TOPIC", "LAST", "BID", "ASK"]
    assert book.split()[:4] == ["book:binance:BTC-USDT", "-", "90000.1", "90000.2"]
    assert bars.split() == [CANDLES, "90000", "0", "0", *["90000"] * 4, "1", "2"]
    assert ticker.split()[:3] == [BTC, "90000", "0"] and ticker.split()[4:] == ["-"] * 6


@pytest.mark.parametrize("form", [[], ["--table"]], ids=["lines", "table"])
def test_nothing_that_a_front_says_drives_the_terminal(form, capsys):
    evil = "ticker:binance:\x1b]0;owned\x07-USDT"

    def script(line: Line) -> None:
        line.greets()
        line.says([Kind.ERROR, 1, "\x1b[2J", "topic", "\x9b2J", "\r\n", [], None])
        line.says([Kind.ACK, 1, [[evil, 1, False]]], [Kind.SNAPSHOT, 1, EPOCH, 10, [head()], []])
        line.stays()

    assert watch(script, "ticker:*", "--count", "2", *form) == 0
    for text in capsys.readouterr():
        assert not {*text} & {*map(chr, range(32)), *map(chr, range(127, 160))} - {"\n"}


@pytest.mark.parametrize("form", [[], ["--table"]], ids=["lines", "table"])
def test_when_no_topic_is_right_it_says_so_and_ends(form, capsys):
    def script(line: Line) -> None:
        line.greets()
        line.says([Kind.ERROR, 1, "bad_kind", "kind", "tikcer", "valid is ticker", ["ticker"], "tikcer:x:y"])
        line.stays()

    assert watch(script, "tikcer:x:y", *form) == 1
    assert "error code=bad_kind field=kind value=tikcer message=valid is ticker" in capsys.readouterr().err


def test_a_lost_connection_is_told_on_standard_error_and_made_anew(monkeypatch, capsys):
    monkeypatch.setattr(reconnect, "FIRST_MS", 4)
    assert watch(candles, CANDLES, "--count", "1", refusals=((503, "full"),)) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err.splitlines()[0].startswith("disconnected code=503 reason=HTTP 503 Service Unavailable: full retry_ms=")


def test_a_token_of_a_file_is_presented_and_a_wrong_one_ends_it(tmp_path, capsys):
    (tmp_path / "token").write_text("secret\nsecond line\n")
    with playing(refusals=((401, "a token is required"),)) as front:
        assert main(["watch", BTC, "--url", front.url, "--token-file", str(tmp_path / "token")]) == 1
    assert front.requests[0].headers["Authorization"] == "Bearer secret"
    assert capsys.readouterr().err.splitlines()[-1] == "wick: HTTP 401 Unauthorized: a token is required"
    assert main(["watch", BTC, "--token-file", str(tmp_path / "none")]) == 2


def test_without_a_url_the_settings_say_where_the_front_is_and_its_token(monkeypatch, capsys):
    with playing(candles) as front:
        monkeypatch.setenv("WICK_FRONT_PORT", front.url.rpartition(":")[2])
        monkeypatch.setenv("WICK_FRONT_TOKEN", "ours")
        assert main(["watch", CANDLES, "--count", "1"]) == 0
    assert front.requests[0].headers["Authorization"] == "Bearer ours"
    with playing(candles) as other:
        assert main(["watch", CANDLES, "--count", "1", "--url", other.url]) == 0
    assert "Authorization" not in other.requests[0].headers  # our token is nobody else's


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--url", "ftp://x"], ["--json", "--table"]])
def test_wrong_usage_is_refused(arguments, capsys):
    assert main(["watch", BTC, *arguments]) in (1, 2)
    assert capsys.readouterr().err
