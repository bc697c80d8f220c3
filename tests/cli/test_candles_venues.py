"""`wick candles` of every venue's captures: by the feed's own parser, each trade once, gaps and old trades told."""

import csv
import io
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from tests.sim.wire_bench import Bench
from wick import exchanges
from wick.cli import main
from wick.market.trades import Topic
from wick.sim import wires
from wick.sim.symbols import UNITS

RUN_MS = 1_000


def recorded(venue_id: str, path: Path, *, again: int = 0) -> Bench:
    """A capture of a session with two symbols; the last `again` frames come twice, as after a reconnect."""
    venue = exchanges.load(venue_id)
    bench = Bench(wires.load(venue_id), venue.path("trade").partition("?")[0], rate=400.0)
    bench.market.advance(bench.now_ms)
    topics = [Topic(symbol, "trade") for symbol in ("BTC-USDT", "ETH-USDT")]
    lines = []
    for request in venue.subscribe(topics):
        lines += [(bench.now_ms, frame) for frame in bench.subscribe(request.raw)]
    for _ in range(RUN_MS // 100):
        frames = bench.run(100)
        lines += [(bench.now_ms, frame) for frame in frames]
    lines += [(bench.now_ms, frame) for _, frame in lines[len(lines) - again :]]
    path.write_bytes(b"".join(b"%d %b\n" % (at_ms * 1_000_000, frame) for at_ms, frame in lines))
    return bench


def candles(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[tuple[str, str], dict[str, str]]:
    assert main(["candles", *arguments, "--format", "csv"]) == 0
    printed = capsys.readouterr()
    return {(row["symbol"], row["open_time_ms"]): row for row in csv.DictReader(io.StringIO(printed.out))}


@pytest.mark.parametrize("venue_id", exchanges.ids())
def test_all_trades_of_a_capture_are_in_its_candles_once(venue_id, tmp_path, capsys):
    bench = recorded(venue_id, tmp_path / "capture", again=30)
    expected: defaultdict[str, Decimal] = defaultdict(Decimal)
    for native, trades in bench.traded.items():
        symbol = exchanges.load(venue_id).symbol(native)
        expected[symbol] += sum(Decimal(trade.quantity) / UNITS for trade in trades)
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (symbol, _), row in candles(capsys, str(tmp_path / "capture"), "--venue", venue_id, "--interval", "1h").items():
        found[symbol] += Decimal(row["volume"])
    assert len(found) == 2 and all(found[symbol] == expected[symbol] > 0 for symbol in found)


def test_the_same_capture_gives_the_same_candles_however_often_it_is_read(tmp_path, capsys):
    recorded("bybit", tmp_path / "capture")
    arguments = (str(tmp_path / "capture"), "--venue", "bybit", "--interval", "15s,1m")
    assert candles(capsys, *arguments) == candles(capsys, *arguments)


def test_trades_that_kraken_tells_again_are_in_partial_candles_and_those_too_old_are_named(tmp_path, capsys):
    def frame(kind: str, trade_id: int, at: str) -> bytes:
        return (
            b'{"channel":"trade","type":"%b","data":[{"symbol":"BTC/USD","side":"buy","price":50000.0,"qty":1.0,'
            b'"ord_type":"limit","trade_id":%d,"timestamp":"2024-08-09T%b.000000Z"}]}'
            % (kind.encode(), trade_id, at.encode())
        )

    began_ns = 1_723_201_205_000_000_000  # 2024-08-09 11:00:05
    later_ns = began_ns + 10_000_000_000
    lines = [
        b"%d %b\n" % (began_ns, frame("snapshot", 7, "10:59:30")),
        b"%d %b\n" % (later_ns, frame("update", 8, "11:00:15")),
        b"%d %b\n" % (later_ns, frame("snapshot", 5, "08:00:00")),
        b"%d %b\n" % (later_ns, frame("snapshot", 8, "11:00:15")),
    ]
    (tmp_path / "capture").write_bytes(b"".join(lines))
    assert main(["candles", str(tmp_path / "capture"), "--venue", "kraken", "--interval", "1m", "--format", "csv"]) == 0
    printed = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [(row["open_time_ms"], row["volume"]) for row in rows] == [
        ("1723201140000", "1"), ("1723201200000", "1"),
    ]  # fmt: skip
    assert "1 trades that the venue told again" in printed.err
