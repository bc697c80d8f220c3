"""`wick candles` on small inputs: what it writes, what it says about what it cannot use, how it ends."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.making import BASE_MS, capture, depth, packed, trade
from wick.cli import _offline, _report, _rows, main

AGREED = (
    "venue", "symbol", "interval", "open_time_ms", "close_time_ms", "open", "high", "low", "close", "volume",
    "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume",
)  # fmt: skip


@pytest.fixture
def candles(capsys):
    """Runs `wick candles`: (exit status, rows of the CSV, standard error)."""

    def run(*arguments: object, interval: str = "1m") -> tuple[int, list[dict[str, str]], str]:
        status = main(["candles", *map(str, arguments), "--interval", interval, "--format", "csv"])
        out, err = capsys.readouterr()
        return status, list(csv.DictReader(io.StringIO(out))), err

    return run


# ---------------------------------------------------------------------- what is written


def agreed(rows: list[dict[str, str]]) -> list[str]:
    """Of each row the columns that every candle has, whatever else is known of it."""
    return [",".join([*(row[name] for name in AGREED), row["closed"]]) for row in rows]


def test_csv_has_the_agreed_columns_and_plain_decimals_to_the_last_digit(tmp_path, candles):
    path = capture(
        tmp_path / "a",
        trade(1, 1_000, "0.00000001", "123456789.00000001"),
        trade(2, 59_999, "3", "10", m=True),
        trade(3, 60_000, "2.50", "1"),
    )
    status, rows, _ = candles(path)
    assert status == 0
    assert [(*list(row)[: len(AGREED)], list(row)[-1]) for row in rows] == [(*AGREED, "closed")] * 2
    assert agreed(rows) == [
        f"binance,BTC-USDT,1m,{BASE_MS},{BASE_MS + 60_000},0.00000001,3,0.00000001,3,123456799.00000001,"
        "31.2345678900000001,2,123456789.00000001,1.2345678900000001,1",
        f"binance,BTC-USDT,1m,{BASE_MS + 60_000},{BASE_MS + 120_000},2.5,2.5,2.5,2.5,1,2.5,1,1,2.5,0",
    ]


def test_json_has_an_object_a_line_with_flags_and_revision(tmp_path, capsys):
    path = capture(tmp_path / "a", trade(1, 1_000), trade(2, 90_000), trade(3, 150_000), trade(4, 100_000))
    assert main(["candles", str(path), "--interval", "1m", "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["open_time_ms"] == BASE_MS
    assert rows[0]["open"] == "100.5"
    assert [row["trade_count"] for row in rows] == [1, 2, 1]
    assert [row["closed"] for row in rows] == [True, True, False]
    assert [row["flags"] for row in rows] == [["closed", "partial"], ["closed", "revised"], []]
    assert [row["revision"] for row in rows] == [0, 1, 0]


def test_a_table_is_aligned_and_says_what_is_live(tmp_path, capsys):
    path = capture(tmp_path / "a", trade(1, 0, "9"), trade(2, 61_000, "123456.5"))
    assert main(["candles", str(path), "--interval", "1m", "--format", "table"]) == 0
    title, closed, live = capsys.readouterr().out.splitlines()
    assert closed.startswith("BTC-USDT  1m        2024-08-09 00:00:00         9")
    assert live.startswith("BTC-USDT  1m        2024-08-09 00:01:00  123456.5")
    assert live.endswith("live")
    for name in ("open", "high", "low", "close"):
        end = title.rindex(name) + len(name)
        assert (closed[end - 2 : end], live[end - 8 : end]) == (" 9", "123456.5")


def test_a_long_table_keeps_all_its_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_rows, "SHOWN_FIRST", 5)
    path = capture(tmp_path / "a", *[trade(n, n * 60_000) for n in range(20)])
    assert main(["candles", str(path), "--interval", "1m", "--format", "table"]) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        f"00:{n:02}:00" for n in range(20)
    ]


def test_an_interval_without_a_trade_is_flat_or_left_out(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0, "7"), trade(2, 150_000, "8"))
    _, flat, _ = candles(path)
    assert [(row["open"], row["close"], row["volume"], row["trade_count"]) for row in flat] == [
        ("7", "7", "2", "1"),
        ("7", "7", "0", "0"),
        ("8", "8", "2", "1"),
    ]
    _, omitted, _ = candles(path, "--empty", "omit")
    assert omitted == [flat[0], flat[2]]


@pytest.mark.slow
def test_a_long_silence_is_filled_to_its_end(tmp_path, candles):
    days = 18  # more than MAX_FLAT_RUN candles of 15 s
    path = capture(tmp_path / "a", trade(1, 0), trade(2, days * 86_400_000), trade(3, days * 86_400_000 + 1))
    _, rows, _ = candles(path, interval="15s")
    assert len(rows) == days * 5760 + 1


def test_the_clock_of_the_venue_closes_what_it_has_passed_and_no_more(tmp_path, candles):
    """The last trade is in the first minute; a book update says that the second minute has begun, or not yet."""
    path = capture(tmp_path / "a", trade(1, 59_000), depth(59_999))
    assert [row["closed"] for row in candles(path)[1]] == ["0"]
    path = capture(tmp_path / "a", trade(1, 59_000), depth(60_000))
    assert [(row["closed"], row["trade_count"]) for row in candles(path)[1]] == [("1", "1"), ("0", "0")]


def test_a_candle_that_the_end_of_the_input_closes_is_suspect_where_ids_are_missing(tmp_path, capsys):
    path = capture(tmp_path / "a", trade(1, 0), trade(3, 1_000), depth(60_000))
    main(["candles", str(path), "--interval", "1m", "--format", "json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["flags"] for row in rows] == [["closed", "suspect"], ["empty"]]


def test_a_quiet_symbol_is_closed_by_the_trades_of_another(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0), trade(9, 0, symbol="ETHUSDT"), trade(2, 61_000))
    _, rows, _ = candles(path)
    assert [(row["symbol"], row["closed"], row["trade_count"]) for row in rows] == [
        ("BTC-USDT", "1", "1"),
        ("ETH-USDT", "1", "1"),
        ("BTC-USDT", "0", "1"),
        ("ETH-USDT", "0", "0"),
    ]


def test_a_symbol_alone_has_the_candles_that_it_has_among_others(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0), trade(9, 0, symbol="ETHUSDT"), trade(2, 61_000))
    _, rows, _ = candles(path)
    for name in ("ETHUSDT", "ETH-USDT", "ethusdt"):
        assert candles(path, "--symbol", name) == (0, [row for row in rows if row["symbol"] == "ETH-USDT"], "")


def test_a_trade_up_to_an_hour_late_is_in_its_row_which_comes_once(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0), trade(5, 3_590_000), trade(2, 20_000, "200"), trade(6, 3_660_000))
    status, rows, err = candles(path)
    assert (status, err) == (0, "wick candles: note: BTC-USDT: 2 trade ids are missing\n")
    assert len(rows) == len({row["open_time_ms"] for row in rows}) == 62
    assert (rows[0]["high"], rows[0]["trade_count"]) == ("200", "2")


def test_a_trade_too_late_for_a_written_row_is_named(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0), trade(2, 9_000_000), trade(3, 9_000_001), trade(0, 20_000))
    status, rows, err = candles(path)
    assert status == 1
    assert f"{path}:4: trade comes too late" in err
    assert rows[0]["trade_count"] == "1"


# ---------------------------------------------------------------------- what counts as large


@pytest.mark.parametrize(("given", "taken"), [((), (100_000, 0)), (("--large-notional", "2500.50"), (25005, 1))])
def test_what_counts_as_large_is_handed_to_the_engine_exactly(given, taken, tmp_path, monkeypatch):
    seen = []

    class Watched(_offline.OfflineCandles):
        def __init__(self, *arguments, **options):
            seen.append(options["large_notional"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(_offline, "OfflineCandles", Watched)
    path = capture(tmp_path / "a", trade(1, 1_000))
    assert main(["candles", str(path), "--interval", "1m", *given]) == 0
    assert seen == [taken]


@pytest.mark.parametrize("text", ["0", "-1", "1e5", "nan", "much", ""])
def test_what_cannot_count_as_large_is_refused_by_name(text, tmp_path, capsys):
    path = capture(tmp_path / "a", trade(1, 1_000))
    assert main(["candles", str(path), "--interval", "1m", f"--large-notional={text}"]) == 2
    assert f"--large-notional: {text!r} is wrong: valid is a plain decimal number above 0" in capsys.readouterr().err


# ---------------------------------------------------------------------- what cannot be used


def test_nothing_is_said_where_all_is_well(tmp_path, candles):
    assert candles(capture(tmp_path / "a", trade(1, 0)))[::2] == (0, "")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (trade(3, 2)[:-40], "corrupt frame"),
        ('"text"', "corrupt frame"),
        ("\x00\xff\x1b[31m", "corrupt frame"),
        (trade(3, 2, e="mystery"), "unknown event in e: 'mystery'"),
        (trade(3, 2, p="NaN"), "in p: 'NaN'"),
        (trade(3, 2, q="-1"), "in q: '-1'"),
        (trade(3, 2, p="1e400"), "in p: '1e400'"),
        (trade(3, 2, p="1" * 400), "in p: '1111"),
        (trade(3, 2, p="0.00"), "in p: '0.00'"),
        (trade(3, 2, q=5), "in q: 5"),
        (trade(3, 2, s="../etc"), "in s: '../etc'"),
        (trade(3, 2, T=-1), "in T: -1"),
        (trade(3, 2, T="now"), "in T: 'now'"),
        (trade(3, 2, T=BASE_MS * 10), "absurd time"),
        (trade(3, 2, T=BASE_MS + 10**10), "absurd time"),
        (trade(3, 2, t=1.5), "in t: 1.5"),
    ],
)
def test_a_frame_that_makes_no_sense_is_named_with_its_line_and_the_rest_goes_on(frame, said, tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0), trade(2, 1), frame, trade(3, 2), trade(4, 61_000))
    status, rows, err = candles(path)
    assert status == 1
    told, count = err.splitlines()
    assert told.startswith(f"{path}:3: ")
    assert said in told
    assert count.startswith("wick candles: 1 could not be used: 1 ")
    assert [(row["trade_count"], row["closed"]) for row in rows] == [("3", "1"), ("1", "0")]


def test_a_doubled_frame_with_an_absurd_time_does_not_vouch_for_itself(tmp_path, candles):
    absurd = trade(3, 10**10)
    path = capture(tmp_path / "a", trade(1, 0), absurd, absurd, trade(2, 1))
    status, rows, err = candles(path)
    assert status == 1
    assert f"{path}:2: absurd time" in err
    assert [row["trade_count"] for row in rows] == ["2"]


@pytest.mark.parametrize("at", ["first", "last"])
def test_an_absurd_time_at_either_end_is_not_believed(at, tmp_path, candles):
    good, absurd = [trade(1, 0), trade(2, 1)], trade(9, 10**10)
    path = capture(tmp_path / "a", *([absurd, *good] if at == "first" else [*good, absurd]))
    status, rows, err = candles(path)
    assert (status, [row["trade_count"] for row in rows]) == (1, ["2"])
    assert f"{path}:{1 if at == 'first' else 3}: absurd time" in err


def test_a_line_without_a_receive_time_is_named(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0), trade(3, 1))
    path.write_text(path.read_text() + trade(2, 0) + "\n\n")
    status, rows, err = candles(path)
    assert (status, rows[0]["trade_count"]) == (1, "2")
    assert f"{path}:3: no receive time" in err


def test_what_a_truncated_gzip_still_has_is_used(tmp_path, candles):
    frames = [trade(n, n, f"{n % 97 + 1}.{n}") for n in range(5_000)]
    whole = gzip.compress(capture(tmp_path / "whole", *frames).read_bytes())
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: len(whole) // 2])
    status, rows, err = candles(path)
    used = sum(int(row["trade_count"]) for row in rows)
    assert status == 1
    assert 1_000 < used < 4_000
    assert f"{path}:{used + 1}: truncated gzip" in err


def test_other_files_are_read_when_one_is_missing_or_something_else(tmp_path, candles):
    good = capture(tmp_path / "good", trade(1, 0))
    text, empty = tmp_path / "text", tmp_path / "empty"
    text.write_text("Dear diary,\ntoday I traded.\n")
    empty.write_bytes(b"")
    status, rows, err = candles(tmp_path / "gone", text, good, tmp_path, empty)
    assert (status, len(rows)) == (1, 1)
    assert f"{tmp_path / 'gone'}: No such file or directory" in err
    assert f"{text}:1: neither a raw capture nor a Binance trade dump" in err
    assert f"{tmp_path}: Is a directory" in err
    assert f"{empty}:1: empty file" in err


def test_control_characters_never_reach_the_terminal(tmp_path, candles):
    path = capture(tmp_path / "a\x1b[31m", trade(1, 0), trade(2, 1, e="\x1b]0;owned\x07"), "\x1b[2J")
    err = candles(path)[2]
    assert "\x1b" not in err
    assert "\x07" not in err
    assert "\\x1b" in err


def test_beyond_a_limit_faults_are_only_counted(tmp_path, candles, monkeypatch):
    monkeypatch.setattr(_report, "TOLD_A_REASON", 2)
    path = capture(tmp_path / "a", trade(1, 0), *["{"] * 5)
    err = candles(path)[2].splitlines()
    assert len(err) == 3
    assert err[-1] == "wick candles: 5 could not be used: 5 corrupt frame; 3 of them not named above"


def test_a_symbol_that_is_not_in_the_input_is_named_and_the_others_go_on(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0))
    status, rows, err = candles(path, "--symbol", "BTCUSDT", "--symbol", "DOGEUSDT,NOPE")
    assert (status, len(rows)) == (1, 1)
    assert err.splitlines() == [
        "wick candles: unknown symbol DOGEUSDT: the input has no trade of it",
        "wick candles: unknown symbol NOPE: the input has no trade of it",
    ]


# ---------------------------------------------------------------------- dumps

TRADES = [(11, "10.5", "1", 0, True), (12, "11", "0.5", 59_999, False), (13, "12.25", "2", 61_000, False)]
AGGREGATES = [
    (7, "10.5", "1", 11, 11, 0, True),
    (8, "11", "0.5", 12, 14, 59_999, False),
    (9, "12.25", "2", 15, 15, 61_000, False),
]
TRADES_HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match"
AGGREGATES_HEADER = (
    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match"
)


def dump(
    folder: Path, kind: str, *, header: bool = False, unit: int = 1, symbol: str = "BTCUSDT", extra: str = ""
) -> Path:
    """A dump of the three trades above, with `unit` ticks a millisecond."""
    if kind == "trades":
        rows = [f"{i},{float(p):.8f},{q},0,{(BASE_MS + t) * unit},{m},True" for i, p, q, t, m in TRADES]
    else:
        rows = [
            f"{i},{p},{float(q):.8f},{f},{to},{(BASE_MS + t) * unit},{m},True" for i, p, q, f, to, t, m in AGGREGATES
        ]
    top = [TRADES_HEADER if kind == "trades" else AGGREGATES_HEADER] if header else []
    path = folder / f"{symbol}-{kind}-2024-08-09.csv"
    path.write_text("\n".join([*top, *rows]) + "\n" + extra)
    return path


@pytest.mark.parametrize("packing", ["csv", "gz", "zip"])
@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000], ids=["ms", "us", "ns"])
@pytest.mark.parametrize("header", [False, True], ids=["bare", "header"])
@pytest.mark.parametrize("kind", ["trades", "aggTrades"])
def test_every_kind_of_dump_gives_the_same_candles(kind, header, unit, packing, tmp_path, candles):
    status, rows, err = candles(packed(dump(tmp_path, kind, header=header, unit=unit), packing))
    assert (status, err) == (0, "")
    count = 2 if kind == "trades" else 4
    assert agreed(rows) == [
        f"binance,BTC-USDT,1m,{BASE_MS},{BASE_MS + 60_000},10.5,11,10.5,11,1.5,16,{count},0.5,5.5,1",
        f"binance,BTC-USDT,1m,{BASE_MS + 60_000},{BASE_MS + 120_000},12.25,12.25,12.25,12.25,2,24.5,1,2,24.5,0",
    ]


def test_booleans_may_be_written_small_and_the_last_column_left_out(tmp_path, candles):
    path = dump(tmp_path, "trades")
    expected = candles(path)
    path.write_text(path.read_text().replace(",True\n", "\n").replace("True", "true").replace("False", "false"))
    assert candles(path) == expected


def test_a_header_says_where_the_columns_are(tmp_path, candles):
    path = dump(tmp_path, "trades", header=True)
    expected = candles(path)
    rows = [line.split(",")[::-1] for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(",".join, rows)))
    assert candles(path) == expected


def test_a_dump_is_complete_from_its_day_on(tmp_path, capsys):
    """Its first candle is whole, though no trade came right at midnight; a capture's is not."""
    path = dump(tmp_path, "trades")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    main(["candles", str(path), "--interval", "1m", "--format", "json"])
    assert "partial" not in capsys.readouterr().out
    main(["candles", str(path.rename(tmp_path / "BTCUSDT-trades.csv")), "--interval", "1m", "--format", "json"])
    assert "partial" in capsys.readouterr().out


def test_dumps_of_several_symbols_and_a_capture_are_merged_by_time(tmp_path, candles):
    btc, eth = dump(tmp_path, "trades"), dump(tmp_path, "aggTrades", symbol="ETHUSDT")
    sol = capture(
        tmp_path / "capture", (trade(1, 5, symbol="SOLUSDT"), 5), (trade(2, 125_000, symbol="SOLUSDT"), 125_000)
    )
    status, rows, err = candles(eth, sol, btc)
    assert (status, err) == (0, "")
    assert [(row["symbol"], row["trade_count"], row["closed"]) for row in rows] == [
        ("BTC-USDT", "2", "1"), ("ETH-USDT", "4", "1"), ("SOL-USDT", "1", "1"),
        ("BTC-USDT", "1", "1"), ("ETH-USDT", "1", "1"), ("SOL-USDT", "0", "1"),
        ("BTC-USDT", "0", "0"), ("ETH-USDT", "0", "0"), ("SOL-USDT", "1", "0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("14,12,1,0,{t},False", "wrong CSV column in row (6 instead of 7)"),
        ("14,12,1,0,{t},False,True,9", "wrong CSV column in row (8 instead of 7)"),
        ("14,12,1,0,{t},maybe,True", "wrong CSV column in is_buyer_maker: 'maybe'"),
        ("x,12,1,0,{t},False,True", "wrong CSV column in id: 'x'"),
        ("14,NaN,1,0,{t},False,True", "in price: 'NaN'"),
        ("14,12,-1,0,{t},False,True", "in quantity: '-1'"),
        ("14,12,1e400,0,{t},False,True", "in quantity: '1e400'"),
        ("14,12,0,0,{t},False,True", "not a positive number in quantity: '0'"),
        ("14,12,1,0,soon,False,True", "wrong CSV column in time: 'soon'"),
        ("14,12,1,0,{t}000,False,True", "time in another unit"),
        ("14,12,1,0,9999999999999,False,True", "absurd time"),
        ("14,12,\xff,0,{t},False,True", "wrong CSV column"),
        ("dear diary", "wrong CSV column"),
    ],
)
@pytest.mark.parametrize("header", [False, True], ids=["bare", "header"])
def test_a_row_that_makes_no_sense_is_named_with_its_line_and_the_rest_goes_on(header, row, said, tmp_path, candles):
    path = dump(tmp_path, "trades", header=header)
    expected = candles(path)[1]
    top, *rest = path.read_text().splitlines()
    path.write_text("\n".join([top, row.format(t=BASE_MS + 1), *rest]), encoding="latin-1")
    status, rows, err = candles(path)
    assert (status, rows) == (1, expected)
    assert f"{path}:2: " in err
    assert said in err


def test_an_aggregate_of_less_than_one_trade_is_named(tmp_path, candles):
    path = dump(tmp_path, "aggTrades", extra=f"10,1,1,20,19,{BASE_MS + 62_000},False,True\n")
    status, _, err = candles(path)
    assert (status, f"{path}:4: wrong CSV column in last_id: '19'" in err) == (1, True)


def test_a_header_without_a_needed_column_refuses_the_file_by_name(tmp_path, candles):
    path = dump(tmp_path, "trades", header=True)
    path.write_text(path.read_text().replace(",time,", ",whatever,"))
    status, rows, err = candles(path)
    assert (status, rows) == (1, [])
    assert f"{path}:1: wrong CSV column in time: 'missing'" in err


def test_a_dump_whose_name_has_no_symbol_needs_exactly_one(tmp_path, candles):
    path = dump(tmp_path, "trades")
    expected = candles(path)
    path = path.rename(tmp_path / "mine.csv")
    assert candles(path, "--symbol", "BTCUSDT") == expected
    for arguments, count in (((), 0), (("--symbol", "BTCUSDT,ETHUSDT"), 2)):
        status, rows, err = candles(path, *arguments)
        assert (status, rows) == (2, [])
        assert f"{path}: its name is not like BTCUSDT-" in err
        assert f"give exactly one --symbol, not {count}" in err


def test_trades_and_aggregates_of_one_symbol_do_not_mix(tmp_path, candles):
    status, _, err = candles(dump(tmp_path, "trades"), dump(tmp_path, "aggTrades"))
    assert status == 2
    assert "would count trades twice" in err


def test_a_broken_zip_is_named(tmp_path, candles):
    path = packed(dump(tmp_path, "trades"), "zip")
    path.write_bytes(path.read_bytes()[:100])
    status, _, err = candles(path)
    assert (status, err.startswith(f"{path}: ")) == (1, True)


def test_a_row_in_a_zip_is_named_with_its_member(tmp_path, candles):
    path = packed(dump(tmp_path, "trades", extra="oops\n"), "zip")
    assert f"{path}/BTCUSDT-trades-2024-08-09.csv:4: wrong CSV column" in candles(path)[2]


# ---------------------------------------------------------------------- how it is called, and ends


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["FILE"], "--interval"),
        (["--interval", "1m"], "FILE"),
        (["FILE", "--interval", "2m"], "15s, 30s, 1m, 3m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, 1M, all"),
        (["FILE", "--interval", "1m", "--format", "xml"], "csv"),
        (["FILE", "--interval", "1m", "--empty", "maybe"], "flat"),
        (["FILE", "--interval", "1m", "--venue", "nowhere"], "binance"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_valid(arguments, said, capsys):
    assert main(["candles", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_intervals_may_be_repeated_listed_and_all(tmp_path, candles):
    path = capture(tmp_path / "a", trade(1, 0))
    assert [row["interval"] for row in candles(path, "--interval", "1h", interval="5m, 15s")[1]] == ["15s", "5m", "1h"]
    assert len(candles(path, interval="all")[1]) == 12


def test_progress_is_shown_on_a_terminal_and_taken_away(tmp_path, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    path = capture(tmp_path / "a", *[trade(n, n) for n in range(1_000)])
    assert main(["candles", str(path), "--interval", "1m"]) == 0
    text = terminal.getvalue()
    assert text.startswith("\r\x1b[K100%  ")
    assert "1,000 frames" in text
    assert text.endswith("\r\x1b[K")
    assert "\x1b" not in capsys.readouterr().out


def test_ctrl_c_ends_with_130(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wick.storage.recordings.merge", interrupted)
    assert main(["candles", str(capture(tmp_path / "a", trade(1, 0))), "--interval", "1m"]) == 130


def _wick(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    code = "import sys; from wick.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path):
    path = capture(tmp_path / "a", trade(1, 0), trade(2, 86_400_000), trade(3, 86_400_001))
    process = _wick("candles", path, "--interval", "15s")
    assert process.stdout.readline().decode().strip() == ",".join(_rows.HEADER)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 128 + signal.SIGPIPE
    process.stderr.close()


@pytest.mark.slow
def test_neither_gevent_nor_zmq_nor_pandas_is_loaded(tmp_path):
    path = capture(tmp_path / "a", trade(1, 0))
    code = (
        "import sys; from wick.cli import main; main(sys.argv[1:]);"
        "print(sorted({'gevent', 'zmq', 'pandas', 'redis'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "candles", str(path), "--interval", "1m"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.stdout.splitlines()[-1] == "[]"
