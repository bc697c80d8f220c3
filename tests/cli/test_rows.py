"""The order in which rows leave, with revisions and more of them than memory is given; and what is written of each."""

import csv
import io
import json
import random

import pytest

from wick.cli import _rows
from wick.cli._rows import HEADER, OUTS, SHOWN_METRICS, Rows, Spool
from wick.market.intervals import by_name
from wick.market.rows import COLUMNS, MAY_MISS, METRIC_COLUMNS
from wick.market.schema import CANDLE_FIELDS, FLOW_FIELDS, Flag
from wick.metrics.pattern_table import NAMES as PATTERNS

HOUR = 3_600_000
INTERVALS = [by_name(name) for name in ("15s", "1m", "1h")]


def row(interval: str, open_ms: int, revision: int = 0) -> list[int]:
    return [open_ms, by_name(interval).close_ms(open_ms), revision, 1, *[0] * (len(CANDLE_FIELDS) - 4)]


@pytest.fixture
def written() -> list[tuple[int, str, str, int]]:
    return []


@pytest.fixture
def rows(written, monkeypatch) -> Rows:
    """Rows that are written as (open time, symbol, interval, revision); two of an interval fit in memory."""
    monkeypatch.setattr(_rows, "IN_MEMORY", 2)

    def text(_: str, symbol: str, interval: str, row: list[int]) -> str:
        return f"{row[0]} {symbol} {interval} {row[2]}"

    def write(line: str) -> None:
        open_ms, symbol, interval, revision = line.split()
        written.append((int(open_ms), symbol, interval, int(revision)))

    return Rows("binance", INTERVALS, HOUR, text, write)


def test_rows_leave_by_open_time_symbol_interval_in_whatever_order_they_came(rows, written):
    names = ["15s", "1m", "1h"]
    expected = sorted(
        (open_ms, symbol, names.index(name))
        for name in names
        for open_ms in range(0, 3 * HOUR, by_name(name).close_ms(0))
        for symbol in ("A-B", "C-D")
    )
    closing = sorted(expected, key=lambda key: by_name(names[key[2]]).close_ms(key[0]))
    chance = random.Random(5)
    for at in range(0, len(closing), 40):
        some = closing[at : at + 40]
        chance.shuffle(some)
        for open_ms, symbol, index in some:
            assert rows.put(symbol, names[index], row(names[index], open_ms))
        rows.settle(max(by_name(names[index]).close_ms(open_ms) for open_ms, _, index in some))
    early = len(written)
    rows.finish()
    assert [(open_ms, symbol, names.index(name)) for open_ms, symbol, name, _ in written] == expected
    assert 0 < early < len(expected), "rows leave as soon as nothing can come before them"


def test_a_revision_replaces_its_row_until_it_is_written(rows, written):
    rows.settle(HOUR)
    assert rows.put("A-B", "1m", row("1m", HOUR))
    assert rows.put("A-B", "1m", row("1m", HOUR, revision=1))
    rows.settle(3 * HOUR)
    assert not rows.put("A-B", "1m", row("1m", HOUR, revision=2))
    rows.finish()
    assert written == [(HOUR, "A-B", "1m", 1)]


class Noted:
    """In the place of `metrics.streams.Streams`: notes what it is given, and adds 100 to the revision."""

    def __init__(self) -> None:
        self.given: dict[tuple[str, str], list[int]] = {}

    def enrich(self, keys, rows):
        for key, one in zip(keys, rows, strict=True):
            self.given.setdefault(key, []).append(one[0])
        return [[*one[:2], one[2] + 100, *one[3:]] for one in rows]


def test_metrics_are_made_of_rows_that_are_final_each_once_in_the_order_of_time(written):
    def write(line: str) -> None:
        written.append(tuple(line.split()))

    noted = Noted()
    rows = Rows("binance", INTERVALS, HOUR, lambda _, s, i, row: f"{row[0]} {s} {i} {row[2]}", write, noted.enrich)
    rows.settle(0)
    minutes = [60_000 * n for n in range(180)]
    chance = random.Random(4)
    for at in range(0, len(minutes), 20):
        for revision in range(2):  # the second comes before anything is final
            for open_ms in chance.sample(minutes[at : at + 20], 20):
                for symbol in "BA":
                    rows.put(symbol, "1m", row("1m", open_ms, revision))
        rows.settle(minutes[at] + 20 * 60_000)
        assert all(
            open_ms + 60_000 + HOUR <= minutes[at] + 20 * 60_000 for some in noted.given.values() for open_ms in some
        )
    assert noted.given, "not only at the end"
    rows.finish()
    assert noted.given == {("A", "1m"): minutes, ("B", "1m"): minutes}
    assert written == [(str(open_ms), symbol, "1m", "101") for open_ms in minutes for symbol in "AB"]


def test_a_spool_gives_back_what_it_got_whatever_the_turns(monkeypatch):
    monkeypatch.setattr(_rows, "IN_MEMORY", 7)
    chance, spool, pushed, popped = random.Random(1), Spool(), [], []
    for turn in range(2_000):
        for _ in range(chance.randrange(20)):
            pushed.append((turn, f"S{turn}", f"text ünicode {len(pushed)}"))
            spool.push(*pushed[-1])
        for _ in range(chance.randrange(min(20, len(spool) + 1))):
            assert spool.peek() == pushed[len(popped)]
            popped.append(spool.pop())
    while spool:
        popped.append(spool.pop())
    assert popped == pushed


# ---------------------------------------------------------------------- what is written

MINUTE = {
    "open_time_ms": 1_723_161_600_000, "close_time_ms": 1_723_161_660_000, "revision": 1,
    "flags": Flag.CLOSED | Flag.REVISED, "price_decimals": 2, "quantity_decimals": 5, "open": 6183763,
    "high": 6183764, "low": 6183700, "close": 6183700, "volume": 300_000, "quote_volume": 18550000000001,
    "trade_count": 3, "taker_buy_volume": 100_000, "taker_buy_quote_volume": 6183763, "first_trade_id": 7,
    "last_trade_id": 9, "delta": -100_000, "delta_max": 0, "delta_min": -200_001, "cvd": -(10**25),
    "cvd_anchor_ms": 1_723_161_600_000, "max_trade_size": 150_000, "large_trade_volume": 0, "large_trade_delta": 0,
    "vwap": 61833.33333333667, "delta_ratio": -1 / 3, "avg_trade_size": 1.0, "tick_rv": 1.5e-05, "kyle_lambda": -0.63,
}  # fmt: skip
UNKNOWN = MINUTE | dict.fromkeys(FLOW_FIELDS) | {"flags": 0}
QUIET = MINUTE | {"vwap": None, "delta": 0, "flags": Flag.CLOSED | Flag.EMPTY}
# What is no metric of MINUTE is not defined yet.
FOUND = bytes({"CDLDOJI": 5, "CDLHAMMER": 256 - 5}.get(name, 0) for name in PATTERNS)
ENRICHED = MINUTE | {
    "rsi_14": 61.54321, "macd": -12.345678, "vpin_50": 0.1 + 0.2, "obv": 1e-05, "obv_anchor_ms": 1_723_161_600_000,
    "bull": 2**60, "bear": 1, "patterns": FOUND,
}  # fmt: skip


def out(form: str, *candles: dict[str, object], metrics: bool = False) -> str:
    """What is written of these candles; a field that they do not have is not known."""
    text = io.StringIO()
    writer = OUTS[form](text, metrics)
    for candle in candles:
        assert {*candle} <= {*CANDLE_FIELDS}
        row = [candle.get(name) for name in CANDLE_FIELDS]
        writer.write(writer.text("binance", "BTC-USDT", "1m", row))
    writer.finish()
    return text.getvalue()


CELLS = {
    "venue": "binance", "symbol": "BTC-USDT", "interval": "1m", "open_time_ms": "1723161600000",
    "close_time_ms": "1723161660000", "open": "61837.63", "high": "61837.64", "low": "61837", "close": "61837",
    "volume": "3", "quote_volume": "1855000.0000001", "trade_count": "3", "taker_buy_volume": "1",
    "taker_buy_quote_volume": "0.6183763", "first_trade_id": "7", "last_trade_id": "9", "delta": "-1",
    "delta_max": "0", "delta_min": "-2.00001", "cvd": "-100000000000000000000", "cvd_anchor_ms": "1723161600000",
    "max_trade_size": "1.5", "large_trade_volume": "0", "large_trade_delta": "0", "vwap": "61833.33333333667",
    "delta_ratio": "-0.3333333333333333", "avg_trade_size": "1.0", "tick_rv": "1.5e-05", "kyle_lambda": "-0.63",
    "revision": "1", "flags": "closed revised", "closed": "1",
}  # fmt: skip


def test_csv_has_every_field_of_a_candle_to_the_last_digit():
    first, line = csv.reader(io.StringIO(out("csv", MINUTE)))
    assert tuple(first) == HEADER == ("venue", "symbol", "interval", *COLUMNS, "closed")
    cells = dict(zip(first, line, strict=True))
    assert {name: text for name, text in cells.items() if text or name in MINUTE} == CELLS


def test_csv_with_metrics_has_the_same_cells_and_after_them_every_metric():
    first, line = csv.reader(io.StringIO(out("csv", ENRICHED, metrics=True)))
    assert tuple(first) == (*HEADER, *METRIC_COLUMNS)
    assert line[: len(HEADER)] == next(csv.reader([out("csv", ENRICHED).splitlines()[1]]))
    more = dict(zip(METRIC_COLUMNS, line[len(HEADER) :], strict=True))
    assert {name: text for name, text in more.items() if text} == {
        "rsi_14": "61.54321", "macd": "-12.345678", "vpin_50": "0.30000000000000004", "obv": "1e-05",
        "obv_anchor_ms": "1723161600000", "bull": str(2**60), "bear": "1", "patterns": "CDLDOJI:100 CDLHAMMER:-100",
    }  # fmt: skip


@pytest.mark.parametrize("found", [None, bytes(61)])
def test_a_candle_without_a_pattern_has_an_empty_cell(found):
    (line,) = csv.DictReader(io.StringIO(out("csv", MINUTE | {"patterns": found}, metrics=True)))
    assert line["patterns"] == ""


def test_json_with_metrics_has_patterns_by_name_and_null_for_what_is_not_defined():
    item = json.loads(out("json", ENRICHED, metrics=True))
    assert {*item} == {*HEADER, *METRIC_COLUMNS}
    assert {name: item[name] for name in HEADER} == json.loads(out("json", ENRICHED))
    assert {name: item[name] for name in METRIC_COLUMNS if item[name] is not None} == {
        "rsi_14": 61.54321, "macd": -12.345678, "vpin_50": 0.1 + 0.2, "obv": 1e-05,
        "obv_anchor_ms": 1_723_161_600_000, "bull": str(2**60), "bear": 1,
        "patterns": {"CDLDOJI": 100, "CDLHAMMER": -100},
    }  # fmt: skip


def test_json_says_no_pattern_and_not_known_apart():
    assert json.loads(out("json", MINUTE | {"patterns": bytes(61)}, metrics=True))["patterns"] == {}
    assert json.loads(out("json", MINUTE, metrics=True))["patterns"] is None


def test_a_table_of_metrics_shows_a_choice_of_them_in_few_digits_and_the_patterns_last():
    title, line, bare = out("table", ENRICHED, MINUTE | {"flags": 0}, metrics=True).splitlines()
    assert title.split()[4:] == [
        name.replace("supertrend_10_3", "supertrend") for name in SHOWN_METRICS if name != "state"
    ]
    assert line.split()[4:] == (
        ["61837", "3", "-1", "0.3000", "61.54", "-12.35", "-", "-", "-", "-", "CDLDOJI:100", "CDLHAMMER:-100"]
    )
    assert bare.split()[7:] == ["-"] * 7 + ["live", "-"]


def test_ratios_in_csv_read_back_as_the_very_same_floats():
    chance = random.Random(3)
    for _ in range(200):
        value = chance.uniform(-1, 1) * 10.0 ** chance.randrange(-300, 300)
        (line,) = csv.DictReader(io.StringIO(out("csv", MINUTE | {"kyle_lambda": value})))
        assert float(line["kyle_lambda"]) == value


def test_what_is_not_known_is_an_empty_cell_in_csv_and_null_in_json():
    (line,) = csv.DictReader(io.StringIO(out("csv", UNKNOWN)))
    missing = {*COLUMNS} & {*MAY_MISS}
    assert {name for name, text in line.items() if text == ""} == {*missing, "flags"}
    item = json.loads(out("json", UNKNOWN))
    assert {name for name, value in item.items() if value is None} == missing
    (line,) = csv.DictReader(io.StringIO(out("csv", QUIET)))
    assert (line["vwap"], line["delta"]) == ("", "0")
    assert json.loads(out("json", QUIET))["vwap"] is None


def test_json_has_decimals_as_texts_and_the_rest_as_numbers():
    item = json.loads(out("json", MINUTE))
    assert tuple(item) == HEADER
    assert {name: value for name, value in item.items() if value is not None} == {
        "venue": "binance", "symbol": "BTC-USDT", "interval": "1m", "open_time_ms": 1_723_161_600_000,
        "close_time_ms": 1_723_161_660_000, "open": "61837.63", "high": "61837.64", "low": "61837", "close": "61837",
        "volume": "3", "quote_volume": "1855000.0000001", "trade_count": 3, "taker_buy_volume": "1",
        "taker_buy_quote_volume": "0.6183763", "first_trade_id": 7, "last_trade_id": 9, "delta": "-1",
        "delta_max": "0", "delta_min": "-2.00001", "cvd": "-100000000000000000000", "cvd_anchor_ms": 1_723_161_600_000,
        "max_trade_size": "1.5", "large_trade_volume": "0", "large_trade_delta": "0", "vwap": 61833.33333333667,
        "delta_ratio": -1 / 3, "avg_trade_size": 1.0, "tick_rv": 1.5e-05, "kyle_lambda": -0.63, "revision": 1,
        "flags": ["closed", "revised"], "closed": True,
    }  # fmt: skip


def test_a_table_shows_what_a_person_looks_for_and_a_dash_where_nothing_is_known():
    title, *lines = out("table", MINUTE, QUIET, UNKNOWN).splitlines()
    for name in ("high", "volume", "trades", "vwap", "delta", "cvd", "max trade"):
        end = title.index(f" {name}") + 1 + len(name)
        assert all(line[end - 1] != " " and line[end : end + 1] in (" ", "") for line in lines), name
    assert lines[0].split()[8:] == ["3", "3", "61833.33", "-1", "-100000000000000000000", "1.5"]
    assert lines[1].split()[8:] == ["3", "3", "-", "0", "-100000000000000000000", "1.5"]
    assert lines[2].split()[8:] == ["3", "3", "-", "-", "-", "-", "live"]
