"""The exchanges' own candles over REST, as the documents of Bybit, OKX, Kraken and Coinbase have them."""

from typing import Any

import pytest

from tests.sim.wire_bench import START_MS, Bench, units
from wick.exchanges import load as venue_of
from wick.sim import wires
from wick.sim.http import HttpRequest

MINUTE = 60_000
FIRST_MS = START_MS - START_MS % MINUTE  # the minute in which the market begins


def bench_of(name: str) -> Bench:
    bench = Bench(wires.load(name), venue_of(name).ws_path, rate=50.0)
    bench.run(100)
    return bench


def rows_of(name: str, bench: Bench, path: str, **query: Any) -> list[Any]:
    status, body = bench.rest(path, **{key: str(value) for key, value in query.items()})
    assert status == 200, body
    return {
        "bybit": lambda: body["result"]["list"], "okx": lambda: body["data"],
        "kraken": lambda: next(iter(body["result"].values())), "coinbase": lambda: body,
    }[name]()  # type: ignore[no-any-return]  # fmt: skip


def test_bybit_gives_the_newest_first_of_those_between_start_and_end() -> None:
    bench = bench_of("bybit")
    where = {"category": "spot", "symbol": "BTCUSDT", "interval": "1"}
    newest = rows_of("bybit", bench, "/v5/market/kline", **where)
    assert len(newest) == 200 and [int(row[0]) for row in newest[:2]] == [FIRST_MS, FIRST_MS - MINUTE]
    span = {"start": FIRST_MS - 9 * MINUTE, "end": FIRST_MS - 5 * MINUTE}
    some = rows_of("bybit", bench, "/v5/market/kline", **where, **span)
    assert [int(row[0]) for row in some] == [FIRST_MS - at * MINUTE for at in range(5, 10)]
    assert rows_of("bybit", bench, "/v5/market/kline", **where, **span, limit=2) == some[:2]
    traded = bench.traded["BTCUSDT"]
    assert units(newest[0][5]) == sum(one.quantity for one in traded) and units(newest[0][4]) == traded[-1].price
    for wrong in ({"interval": "2"}, {"limit": "1001"}, {"start": "x"}):
        assert bench.rest("/v5/market/kline", **{**where, **wrong})[1]["retCode"] == 10001


def test_okx_gives_the_newest_first_between_two_times_and_says_which_one_runs() -> None:
    bench, path = bench_of("okx"), "/api/v5/market/history-candles"
    rows = rows_of("okx", bench, path, instId="BTC-USDT", limit=500)
    assert len(rows) == 300 and [row[-1] for row in rows[:3]] == ["0", "1", "1"]
    between = {"before": FIRST_MS - 4 * MINUTE, "after": FIRST_MS}
    some = rows_of("okx", bench, path, instId="BTC-USDT", **between)
    assert [int(row[0]) for row in some] == [FIRST_MS - at * MINUTE for at in (1, 2, 3)]
    days = rows_of("okx", bench, path, instId="BTC-USDT", bar="1Dutc")
    assert all(int(row[0]) % 86_400_000 == 0 for row in days)
    assert bench.rest(path, instId="BTC-USDT", bar="1D")[0] == 400  # of Hong Kong: not here
    assert rows_of("okx", bench, path, instId="BTC-USDT", bar="1s", after=START_MS - 91 * 86_400_000) == []
    assert bench.wire.weight(HttpRequest("GET", path, {}, {}, b"", b"")) * 20 == bench.wire.limits.rest[0]


def test_kraken_gives_the_newest_720_and_the_one_that_runs_whatever_is_asked_for() -> None:
    bench = bench_of("kraken")
    rows = rows_of("kraken", bench, "/0/public/OHLC", pair="XBTUSDT", since=1_000_000_000)
    assert [row[0] for row in (rows[0], rows[-1])] == [FIRST_MS // 1000 - 720 * 60, FIRST_MS // 1000] and len(
        rows
    ) == 721
    since = FIRST_MS // 1000 - 180
    assert [row[0] for row in rows_of("kraken", bench, "/0/public/OHLC", pair="BTC/USDT", since=since)] == [
        since + 60, since + 120, since + 180,
    ]  # fmt: skip
    future = rows_of("kraken", bench, "/0/public/OHLC", pair="BTC/USDT", since=since + 9_999)
    assert len(future) == 1 and future[0][-1] == len(bench.traded["BTC/USDT"])
    assert bench.rest("/0/public/OHLC", pair="XBTUSDT", interval="2")[1] == {"error": ["EGeneral:Invalid arguments"]}
    assert bench.rest("/0/public/OHLC", pair="FOOBAR")[1] == {"error": ["EQuery:Unknown asset pair"]}


def test_coinbase_gives_300_at_most_and_none_of_a_quiet_minute() -> None:
    bench, path = bench_of("coinbase"), "/products/BTC-USDT/candles"
    rows = rows_of("coinbase", bench, path, granularity=60)
    assert len(rows) == 300 and [row[0] for row in rows[:2]] == [FIRST_MS // 1000, FIRST_MS // 1000 - 60]
    low, high, opened, closed = (units(str(value)) for value in rows[0][1:5])
    assert low <= min(opened, closed) <= max(opened, closed) <= high
    bench.now_ms += 3 * MINUTE  # in which nothing happens
    assert rows_of("coinbase", bench, path, granularity=60)[0] == rows[0]
    assert bench.rest(path, granularity="120")[0] == 400
    span = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T04:59:00Z", "granularity": "60"}
    assert len(rows_of("coinbase", bench, path, **span)) == 300
    status, body = bench.rest(path, **{**span, "end": "2026-01-01T05:00:00Z"})
    assert status == 400 and "exceeds 300" in body["message"]
    assert bench.rest(path, **{**span, "end": "now"})[0] == 400


@pytest.mark.parametrize("units_of", [9_999, 10_000, 123_456_789, 1])
def test_coinbases_numbers_are_json_and_say_every_digit(units_of: int) -> None:
    from wick.exchanges._text import plain
    from wick.sim.wires.coinbase import _number

    assert units(plain(_number(units_of), "x")) == units_of
