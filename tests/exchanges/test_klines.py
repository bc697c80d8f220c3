"""Bybit, OKX, Kraken, Coinbase: their own candles as documented, each digit kept; what makes no sense is refused."""

import json
from typing import Any

import pytest

from wick.errors import ParseError
from wick.exchanges import NOT_NOW, REFUSED, load
from wick.market.foreign import Kline

# Newest first. https://bybit-exchange.github.io/docs/v5/market/kline
BYBIT = [
    ["1670608800000", "17071", "17073", "17027", "17055.5", "268611", "15.74462667"],
    ["1670605200000", "17071.5", "17071.5", "17061", "17071", "4177", "0.24469757"],
]
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks-history
OKX = [
    ["1597026443085", "3.731", "3.799", "3.494", "3.72", "24912403", "67632347", "37632347", "0"],
    ["1597026383085", "3.721", "3.743", "3.677", "3.708", "8422410", "22698348.04828491", "12698348.04828491", "1"],
]
# https://docs.kraken.com/api/docs/rest-api/get-ohlc-data: the last one is running
KRAKEN = [
    [1688671200, "30306.1", "30306.2", "30305.7", "30305.7", "30306.1", "3.39243896", 23],
    [1688671260, "30304.5", "30304.5", "30300.0", "30300.0", "30300.0", "4.42996871", 18],
]
COINBASE = "[[1415398828,0.32,4.2,0.35,4.2,12.3],[1415398768,1.2e-05,4e-5,0.00003,1.30e-5,103.40000000000001]]"


def body(name: str, rows: list[Any] | None = None, **more: Any) -> bytes:
    """The venue's answer with these rows."""
    told: Any = {
        "bybit": lambda: {"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": rows or BYBIT}},
        "okx": lambda: {"code": "0", "msg": "", "data": rows or OKX},
        "kraken": lambda: {"error": [], "result": {"XXBTZUSD": rows or KRAKEN, "last": 1688671200}},
        "coinbase": lambda: rows or json.loads(COINBASE),
    }[name]()
    return json.dumps(told | more if more else told).encode()


every = pytest.mark.parametrize("name", ["bybit", "okx", "kraken", "coinbase"])


def test_bybits_are_turned_round_and_read_to_the_last_digit() -> None:
    first, second = load("bybit").parse_candles(body("bybit"))
    assert first == Kline(
        1670605200000, (170715, 1), (170715, 1), (17061, 0), (17071, 0), (4177, 0), (24469757, 8)
    )  # fmt: skip
    assert second.open_ms == 1670608800000
    assert load("bybit").candles_path("BTC-USDT", "1d", 1670544000000, 2) == (
        "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=D&start=1670544000000&end=1670716799999&limit=2"
    )


def test_okxs_have_the_turnover_and_the_one_that_runs_is_left_out() -> None:
    assert load("okx").parse_candles(body("okx")) == [
        Kline(1597026383085, (3721, 3), (3743, 3), (3677, 3), (3708, 3), (8422410, 0), (1269834804828491, 8))
    ]
    path = load("okx").candles_path("BTC-USDT", "1M", 1706745600000, 2)
    # Both ends are exclusive; February and March of 2024.
    assert path.endswith("?instId=BTC-USDT&bar=1Mutc&before=1706745599999&after=1711929600000&limit=2")


def test_krakens_have_a_count_and_the_last_one_is_left_out() -> None:
    assert load("kraken").parse_candles(body("kraken")) == [
        Kline(1688671200000, (303061, 1), (303062, 1), (303057, 1), (303057, 1), (339243896, 8), None, 23)
    ]
    path = load("kraken").candles_path("BTC-USD", "4h", 1688659200000, 9)
    assert path == "/0/public/OHLC?pair=XBTUSD&interval=240&since=1688659199"  # exclusive


def test_coinbases_numbers_are_taken_by_their_digits_whatever_their_order_and_their_exponents() -> None:
    assert load("coinbase").parse_candles(COINBASE.encode()) == [
        Kline(1415398768000, (3, 5), (4, 5), (12, 6), (13, 6), (10340000000000001, 14)),
        Kline(1415398828000, (35, 2), (42, 1), (32, 2), (42, 1), (123, 1)),
    ]
    path = load("coinbase").candles_path("BTC-USD", "15m", 1415398500000, 300)
    assert path == (  # the end is inclusive
        "/products/BTC-USD/candles?granularity=900&start=2014-11-07T22:15:00Z&end=2014-11-11T01:00:00Z"
    )


def test_a_sum_may_have_more_digits_than_an_id() -> None:
    row = [*BYBIT[0][:5], "12345678901234567.123456789", "98765432109876543210.12345678901234567890"]
    [kline] = load("bybit").parse_candles(body("bybit", [row]))
    assert kline.volume == (12345678901234567123456789, 9)
    assert kline.quote_volume == (987654321098765432101234567890123456789, 19)


@every
@pytest.mark.parametrize("value", [None, "x", "-1", [], {}, True, "1e99"])
def test_a_candle_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    venue = load(name)
    good = json.loads(COINBASE)[0] if name == "coinbase" else KRAKEN[0] if name == "kraken" else [*BYBIT[0], "1", "1"]
    for place in (0, 1, 2, 3, 4, 6 if name == "kraken" else 5):
        row = [*good[: 7 if name == "bybit" else 9]]
        row[place] = value
        with pytest.raises(ParseError):
            venue.parse_candles(body(name, [row, *[good] * (name == "kraken")]))


@every
@pytest.mark.parametrize("raw", [b"", b"5", b'"x"', b"[5]", b"{", b'{"x":5}', b"[" * 9_999, b"[[1]]"])
def test_an_answer_that_is_none_is_refused(name: str, raw: bytes) -> None:
    with pytest.raises(ParseError):
        load(name).parse_candles(raw)


@pytest.mark.parametrize(
    ("name", "more", "reason"),
    [
        ("bybit", {"retCode": 10006, "retMsg": "Too many visits!"}, NOT_NOW),
        ("bybit", {"retCode": 10001, "retMsg": "Not supported symbols"}, REFUSED),
        ("bybit", {"result": []}, "corrupt answer"),
        ("okx", {"code": "50011", "msg": "Too Many Requests"}, NOT_NOW),
        ("okx", {"code": "51001", "msg": "Instrument ID doesn't exist."}, REFUSED),
        ("okx", {"data": {}}, "corrupt answer"),
        ("kraken", {"error": ["EGeneral:Too many requests"]}, NOT_NOW),
        ("kraken", {"error": ["EQuery:Unknown asset pair"]}, REFUSED),
        ("kraken", {"result": {"last": 5}}, "corrupt answer"),
    ],
)
def test_what_a_venue_refuses_for_now_is_told_from_what_is_wrong(name: str, more: Any, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        load(name).parse_candles(body(name, **more))
    assert caught.value.reason == reason
