"""`wick candles --metrics` against an independent evaluation of the very candles that it prints.

What is expected is worked out from the printed prices and volumes alone: metrics by `tests.metrics.oracles` (TA-Lib and
numpy), patterns by TA-Lib.
"""

import csv
import io
import json
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import talib

from tests.cli.making import RECORDINGS, capture, trade
from tests.metrics.bars import Bars
from tests.metrics.compare import assert_matches
from tests.metrics.oracles import ORACLES
from wick.cli import main
from wick.market.rows import METRIC_COLUMNS
from wick.metrics.pattern_table import NAMES as PATTERNS

Cells = list[dict[str, str]]


def printed(capsys: pytest.CaptureFixture[str], *arguments: object, form: str = "csv") -> str:
    status = main(["candles", *map(str, arguments), "--format", form])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def streams(text: str) -> dict[tuple[str, str], Cells]:
    """The rows of a CSV by (symbol, interval), in the order of time."""
    found: dict[tuple[str, str], Cells] = {}
    for cells in csv.DictReader(io.StringIO(text)):
        found.setdefault((cells["symbol"], cells["interval"]), []).append(cells)
    for rows in found.values():
        times = [int(cells["open_time_ms"]) for cells in rows]
        assert times == sorted(set(times))
    return found


def bars(rows: Cells) -> Bars:
    """The candles of a stream, in ticks and lots of the most decimals that any of them shows."""

    def decimals(*names: str) -> int:
        return max(-int(Decimal(cells[name]).as_tuple().exponent) for cells in rows for name in names)

    def whole(name: str, digits: int) -> np.ndarray:
        return np.array([int(Decimal(cells[name]).scaleb(digits)) for cells in rows])

    price, size = decimals("open", "high", "low", "close"), decimals("volume", "taker_buy_volume")
    return Bars(
        whole("open_time_ms", 0), *(whole(name, price) for name in ("open", "high", "low", "close")),
        whole("volume", size), whole("taker_buy_volume", size), whole("quote_volume", price + size), price, size,
    )  # fmt: skip


def assert_independent(rows: Cells) -> set[str]:
    """Every metric and pattern of a stream is what somebody else makes of its candles; which metrics have a value."""
    its = bars(rows)
    for name in ORACLES:
        assert_matches(name, np.array([float(cells[name] or "nan") for cells in rows]), its)
    assert {cells["obv_anchor_ms"] for cells in rows} == {rows[0]["open_time_ms"]}
    ohlc = [column.astype(np.float64) for column in (its.open, its.high, its.low, its.close)]
    found = {name: getattr(talib, name)(*ohlc).tolist() for name in PATTERNS}
    for at, cells in enumerate(rows):
        fired = {name: values[at] for name, values in found.items() if values[at]}
        assert cells["patterns"] == " ".join(f"{name}:{value}" for name, value in fired.items())
        for mask, sign in (("bull", 1), ("bear", -1)):
            assert int(cells[mask]) == sum(
                1 << PATTERNS.index(name) for name, value in fired.items() if sign * value > 0
            )
    return {name for name in METRIC_COLUMNS for cells in rows if cells[name]}


@pytest.mark.slow
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data/binance-spot is not there")
def test_recorded_candles_have_the_metrics_and_patterns_that_others_make_of_them(capsys):
    files = sorted(RECORDINGS.glob("*.gz"))
    found = streams(printed(capsys, *files, "--interval", "15s,1m", "--metrics"))
    assert {(symbol, len(rows)) for (symbol, interval), rows in found.items() if interval == "15s"} == {
        ("BTC-USDT", 44), ("ETH-USDT", 44),
    }  # fmt: skip
    for (_, interval), rows in found.items():
        defined = assert_independent(rows)
        if interval == "15s":  # 50 candles are not there
            assert {*METRIC_COLUMNS} - defined == {"vpin_50", "ema_50"}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hours of two pairs of different decimals: sometimes quiet, some trades late, the last minute not over."""
    chance = random.Random(8)
    frames = []
    for symbol, price, digits in (("BTCUSDT", 6_000_000, 2), ("DOGEUSDT", 12_345, 5)):
        times = sorted(chance.sample(range(0, 4 * 3_600_000, 100), 800))
        for number, at_ms in enumerate(times, 1):
            price = max(1, price + round(chance.gauss(0, price / 3_000)))
            quantity = str(Decimal(chance.randrange(1, 10**6)).scaleb(-digits))
            late_ms = at_ms + chance.choice((0, 0, 0, 50_000))
            text = trade(number, at_ms, str(Decimal(price).scaleb(-digits)), quantity, symbol, m=chance.random() < 0.4)
            frames.append((text, late_ms))
    frames.sort(key=lambda frame: frame[1])
    return capture(tmp_path_factory.mktemp("busy") / "busy", *frames)


@pytest.mark.slow
def test_hours_of_candles_of_many_streams_have_the_metrics_that_others_make_of_each(busy, capsys):
    found = streams(printed(capsys, busy, "--interval", "3m,1h", "--metrics"))
    assert len(found) == 4
    for (_, interval), rows in found.items():
        defined = assert_independent(rows)
        assert interval == "1h" or defined == {*METRIC_COLUMNS}
        assert rows[-1]["closed"] == "0"


@pytest.mark.slow
def test_a_stream_alone_has_the_metrics_that_it_has_among_others(busy, capsys):
    among = streams(printed(capsys, busy, "--interval", "3m,5m", "--metrics"))["DOGE-USDT", "3m"]
    alone = streams(printed(capsys, busy, "--interval", "3m", "--metrics", "--symbol", "DOGEUSDT"))["DOGE-USDT", "3m"]
    for line in (*among, *alone):  # how often a candle was corrected before it was final depends on the others
        line |= {"revision": "", "flags": ""}
    assert alone == among


@pytest.mark.slow
def test_metrics_are_those_of_the_candles_that_are_there(busy, capsys):
    """Without the periods that had no trade, other candles are the ones before."""
    found = streams(printed(capsys, busy, "--interval", "15s", "--metrics", "--empty", "omit"))
    for rows in found.values():
        assert "0" not in [cells["trade_count"] for cells in rows]
        assert_independent(rows)


@pytest.mark.slow
def test_what_is_printed_without_metrics_is_the_same_with_them(busy, capsys):
    plain = list(csv.reader(io.StringIO(printed(capsys, busy, "--interval", "3m,1h"))))
    full = list(csv.reader(io.StringIO(printed(capsys, busy, "--interval", "3m,1h", "--metrics"))))
    width = len(plain[0])
    assert [line[:width] for line in full] == plain
    assert full[0][width:] == list(METRIC_COLUMNS)


@pytest.mark.slow
def test_json_says_what_csv_says(busy, capsys):
    cells = csv.DictReader(io.StringIO(printed(capsys, busy, "--interval", "15m", "--metrics")))
    items = map(json.loads, printed(capsys, busy, "--interval", "15m", "--metrics", form="json").splitlines())
    for line, item in zip(cells, items, strict=True):
        fired = " ".join(f"{name}:{value}" for name, value in item["patterns"].items())
        told = item | {"flags": " ".join(item["flags"]), "closed": int(item["closed"]), "patterns": fired}
        assert line == {name: "" if value is None else str(value) for name, value in told.items()}


def test_help_says_from_when_on_a_metric_is_defined(capsys):
    assert main(["candles", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "A field says nothing before its n-th candle" in said and "300 candles" in said
