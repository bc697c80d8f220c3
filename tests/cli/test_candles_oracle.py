"""`wick candles` over the recordings against an independent evaluation: json and Decimal read, pandas groups.

Nothing of wick is used to work out what is expected. Sums are of Python integers, so they are exact; the few real
numbers (averages, ratios, tick_rv, kyle_lambda) are numpy's, and equal to 1e-9.
"""

import csv
import gzip
import io
import json
import math
import random
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.cli.making import RECORDINGS
from wick.cli import main
from wick.market.schema import CANDLE_FIELDS

FREQUENCIES = {
    "15s": "15s", "30s": "30s", "1m": "1min", "3m": "3min", "5m": "5min", "15m": "15min", "30m": "30min",
    "1h": "1h", "4h": "4h", "1d": "1D", "1w": "W", "1M": "M",
}  # fmt: skip
SCALE = 10**8
LARGE = 20_000  # quote units: the default of 100,000 is rare in the recordings
REALS = ("vwap", "delta_ratio", "avg_trade_size", "tick_rv", "kyle_lambda")
# No quotes are read: what they would say is not known.
BOOK = [*CANDLE_FIELDS[CANDLE_FIELDS.index("ofi") : CANDLE_FIELDS.index("depth_imbalance_10bps") + 1]]

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data/binance-spot is not there")


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return sorted(RECORDINGS.glob("*.gz"))


@pytest.fixture(scope="module")
def lines(files: list[Path]) -> dict[Path, list[bytes]]:
    """The recordings without bookTicker, which says nothing about candles: three of four lines are that."""
    content = {path: gzip.decompress(path.read_bytes()).splitlines() for path in files}
    return {path: [line for line in some if b"@bookTicker" not in line] for path, some in content.items()}


@pytest.fixture(scope="module")
def slim(lines: dict[Path, list[bytes]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The recordings without bookTicker, as plain files."""
    folder = tmp_path_factory.mktemp("slim")
    return [_write(folder / path.stem, some) for path, some in lines.items()]


@pytest.fixture(scope="module")
def expected(lines: dict[Path, list[bytes]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Every candle by (symbol, interval, open time)."""
    events = [json.loads(line.split(b" ", 1)[1]).get("data", {}) for some in lines.values() for line in some]
    trades = pd.DataFrame([event for event in events if event.get("e") == "trade"])
    assert len(trades) == 34_419
    clock = max(event["T"] if event["e"] == "trade" else event["E"] for event in events if "e" in event)
    trades = trades.sort_values("t")
    assert all(of_symbol["T"].is_monotonic_increasing for _, of_symbol in trades.groupby("s")), "numbers follow time"
    trades["time"] = pd.to_datetime(trades["T"], unit="ms", utc=True)
    trades["price"] = trades["p"].map(lambda text: int(Decimal(text) * SCALE)).astype(object)
    trades["volume"] = trades["q"].map(lambda text: int(Decimal(text) * SCALE)).astype(object)
    trades["quote_volume"] = trades["price"] * trades["volume"]
    trades["signed"] = trades["volume"].where(~trades["m"], -trades["volume"])
    trades["large"] = trades["quote_volume"] >= LARGE * SCALE**2
    trades["day"] = trades["time"].dt.floor("1D")
    trades["taker_buy_volume"] = trades["volume"].where(~trades["m"], 0)
    trades["taker_buy_quote_volume"] = trades["quote_volume"].where(~trades["m"], 0)
    return {
        key: candle
        for symbol, of_symbol in trades.groupby("s")
        for name in FREQUENCIES
        for key, candle in _candles(symbol.replace("USDT", "-USDT"), name, of_symbol, clock)
    }


def _opens(times: pd.Series, name: str) -> pd.Series:
    """The opening of the candle that holds each time, by pandas' own calendar."""
    frequency = FREQUENCIES[name]
    if frequency in ("W", "M"):
        # W ends on Sunday, so it begins on Monday.
        return times.dt.tz_localize(None).dt.to_period(frequency).dt.start_time.dt.tz_localize("UTC")
    return times.dt.floor(frequency)


def _candles(
    symbol: str, name: str, trades: pd.DataFrame, clock: int
) -> Iterable[tuple[tuple[str, str, int], dict[str, Any]]]:
    groups = dict(list(trades.groupby(_opens(trades["time"], name))))
    last_open = _opens(pd.Series([pd.Timestamp(clock, unit="ms", tz="UTC")]), name)[0]
    days = dict(list(trades.groupby("day")))
    running = {day: (of_day["T"].to_numpy(), of_day["signed"].cumsum().to_numpy()) for day, of_day in days.items()}
    open_time, close = min(groups), 0
    while open_time <= last_open:
        close_time = _next(open_time, name)
        group = groups.get(open_time, trades.iloc[:0])
        empty = group.empty
        prices = list(group["price"]) or [close]
        close = prices[-1]
        volume, quote_volume = sum(group["volume"]), sum(group["quote_volume"])
        delta = sum(group["signed"])
        levels = [0, *group["signed"].cumsum()]
        large = group[group["large"]]
        day = open_time.floor("1D")
        if name in ("1d", "1w", "1M"):
            cvd, anchor = delta, open_time
        else:
            times, sums = running.get(day, ([], []))
            before_close = np.searchsorted(times, _ms(close_time))
            cvd, anchor = (sums[before_close - 1] if before_close else 0), day
        exact = {
            "open": prices[0], "high": max(prices), "low": min(prices), "close": close, "volume": volume,
            "taker_buy_volume": sum(group["taker_buy_volume"]), "delta": delta, "delta_max": max(levels),
            "delta_min": min(levels), "cvd": cvd, "max_trade_size": max(group["volume"], default=0),
            "large_trade_volume": sum(large["volume"]), "large_trade_delta": sum(large["signed"]),
        }  # fmt: skip
        products = {"quote_volume": quote_volume, "taker_buy_quote_volume": sum(group["taker_buy_quote_volume"])}
        open_ms, close_ms, anchor_ms = (_ms(at) for at in (open_time, close_time, anchor))
        whole = {
            "open_time_ms": open_ms, "close_time_ms": close_ms, "trade_count": len(group), "cvd_anchor_ms": anchor_ms,
            "first_trade_id": 0 if empty else group["t"].iloc[0], "last_trade_id": 0 if empty else group["t"].iloc[-1],
            "revision": 0, "closed": int(close_ms <= clock),
        }  # fmt: skip
        texts = {column: _text(value, 8) for column, value in exact.items()}
        texts |= {column: _text(value, 16) for column, value in products.items()}
        texts |= {column: str(value) for column, value in whole.items()}
        texts |= {"venue": "binance", "symbol": symbol, "interval": name, **dict.fromkeys(BOOK, "")}
        yield (symbol, name, open_ms), texts | _reals(group, volume, quote_volume, delta)
        open_time = close_time


def _ms(at: pd.Timestamp) -> int:
    return at.value // 1_000_000


def _reals(group: pd.DataFrame, volume: int, quote_volume: int, delta: int) -> dict[str, float | None]:
    if group.empty:
        return dict.fromkeys(REALS, 0.0) | {"vwap": None}
    price, signed = group["price"].astype(float) / SCALE, group["signed"].astype(float) / SCALE
    return {
        "vwap": quote_volume / volume / SCALE,
        "delta_ratio": delta / volume,
        "avg_trade_size": volume / len(group) / SCALE,
        "tick_rv": float(np.sqrt((np.log(price).diff().dropna() ** 2).sum())),
        "kyle_lambda": float((price.diff() * signed).sum() / (signed**2).sum()),
    }


def _next(open_time: pd.Timestamp, name: str) -> pd.Timestamp:
    if name == "1M":
        return open_time + pd.offsets.MonthBegin(1)
    return open_time + pd.Timedelta("7D" if name == "1w" else FREQUENCIES[name])


def _text(value: int, decimals: int) -> str:
    text = format((Decimal(value).scaleb(-decimals)).normalize(), "f")
    assert Decimal(text).scaleb(decimals) == value, "the oracle itself has lost a digit"
    return text


def _rows(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    status = main(["candles", *map(str, arguments), "--large-notional", str(LARGE), "--format", "csv"])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return list(csv.DictReader(io.StringIO(out)))


def _listened_from(lines: dict[Path, list[bytes]]) -> int:
    """The time of the first event: what was traded before it nobody has heard, so no CVD is anchored before it."""
    for line in min(lines.values(), key=lambda some: some[0].split(b" ")[0]):
        event = json.loads(line.split(b" ", 1)[1]).get("data", {})
        if event.get("e") in ("trade", "depthUpdate"):
            return int(event["T"] if event["e"] == "trade" else event["E"])
    raise AssertionError("no event at all")


def _same(
    rows: list[dict[str, str]], expected: dict[tuple[str, str, int], dict[str, Any]], lines: dict[Path, list[bytes]]
) -> None:
    since_ms = _listened_from(lines)
    expected = {
        key: candle | {"cvd_anchor_ms": str(max(int(candle["cvd_anchor_ms"]), since_ms))}
        for key, candle in expected.items()
    }
    got = {(row["symbol"], row["interval"], int(row["open_time_ms"])): row for row in rows}
    assert len(got) == len(rows), "a candle came twice"
    assert got.keys() == expected.keys()
    wrong = [
        (key, name, row[name], expected[key].get(name))
        for key, row in got.items()
        for name in _wrong(row, expected[key])
    ]
    assert not wrong[:9]


def _wrong(row: dict[str, str], expected: dict[str, Any]) -> list[str]:
    assert row.keys() - {"flags"} == expected.keys()
    wrong = [name for name, text in expected.items() if name not in REALS and row[name] != text]
    for name in REALS:
        true = expected[name]
        same = (
            row[name] == ""
            if true is None
            else row[name] and math.isclose(float(row[name]), true, rel_tol=1e-9, abs_tol=1e-12)
        )
        wrong += [] if same else [name]
    flags = set(row["flags"].split()) - {"partial"}
    if flags != {*(["closed"] if row["closed"] == "1" else []), *(["empty"] if row["trade_count"] == "0" else [])}:
        wrong.append("flags")
    return wrong


@pytest.mark.slow
def test_all_twelve_intervals_equal_pandas_to_the_last_digit(files, lines, expected, capsys):
    assert len({interval for _, interval, _ in expected}) == 12
    rows = _rows(capsys, *files, "--interval", "all")
    _same(rows, expected, lines)
    order = list(FREQUENCIES)
    keys = [(int(row["open_time_ms"]), row["symbol"], order.index(row["interval"])) for row in rows]
    assert keys == sorted(keys)


@pytest.mark.slow
@pytest.mark.parametrize(
    "interval", ["1w", pytest.param("1m", marks=pytest.mark.slow), pytest.param("1M", marks=pytest.mark.slow)]
)
def test_an_interval_alone_is_what_it_is_among_all(interval, slim, lines, expected, capsys):
    of_interval = {key: candle for key, candle in expected.items() if key[1] == interval and key[0] == "BTC-USDT"}
    _same(_rows(capsys, *slim, "--interval", interval, "--symbol", "BTCUSDT"), of_interval, lines)


@pytest.mark.slow
def test_the_order_of_the_files_does_not_matter(slim, capsys):
    assert _rows(capsys, *slim, "--interval", "15s,1h") == _rows(capsys, *slim[::-1], "--interval", "1h,15s")


@pytest.mark.slow
def test_every_frame_doubled_gives_the_same_candles(lines, expected, tmp_path, capsys):
    doubled = [_write(tmp_path / path.name, [line for line in some for _ in (1, 2)]) for path, some in lines.items()]
    _same(_rows(capsys, *doubled, "--interval", "all"), expected, lines)


@pytest.mark.slow
def test_the_same_recordings_twice_give_the_same_candles(slim, lines, expected, tmp_path, capsys):
    copies = [_write(tmp_path / path.stem, some) for path, some in lines.items()]
    _same(_rows(capsys, *slim, *copies, "--interval", "all"), expected, lines)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_frames_reordered_within_the_grace_give_the_same_candles(seed, lines, expected, tmp_path, capsys):
    """Some of them doubled too. Windows of 1.5 s and what the network does stay below the 2 s of grace."""
    frames = {path: _shaken(some, random.Random(seed)) for path, some in lines.items()}
    shaken = [_write(tmp_path / path.name, some) for path, some in frames.items()]
    _same(_rows(capsys, *shaken, "--interval", "all"), expected, frames)
    main(["candles", *map(str, shaken), "--interval", "all", "--format", "json"])
    assert {json.loads(row)["revision"] for row in capsys.readouterr().out.splitlines()} == {0}


def _shaken(lines: list[bytes], chance: random.Random) -> list[bytes]:
    windows: dict[int, list[bytes]] = {}
    for line in lines:
        windows.setdefault(int(line[:19]) // 1_500_000_000, []).extend([line] * chance.choice((1, 1, 2)))
    for window in windows.values():
        chance.shuffle(window)
    return [line for window in windows.values() for line in window]


def _write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path
