"""Binance USD-M futures: where they are not as spot is."""

import json

import pytest

from tests.exchanges.test_binance import LISTED, frame
from wick.errors import ParseError
from wick.exchanges import Hole, Instrument, load
from wick.market.trades import Ack, DepthSnapshot, DepthUpdate, Quote, Topic, Trade

VENUE = load("binance-usdm")

AGGREGATE = (
    b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1723161255343,"a":2312345678,"s":"BTCUSDT",'
    b'"p":"61837.60","q":"0.020","nq":"0.020","f":5273456700,"l":5273456702,"T":1723161255342,"m":true}}'
)
TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"T":1723161255342,"s":"BTCUSDT",'
    b'"t":5273456700,"p":"61837.60","q":"0.020","X":"MARKET","m":false}}'
)
QUOTE = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":4912345678901,"s":"BTCUSDT","b":"61837.60",'
    b'"B":"3.788","a":"61837.70","A":"154","T":1723161255342,"E":1723161255343}}'
)
DEPTH = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255343,"T":1723161255342,"s":"BTCUSDT",'
    b'"U":4912345678801,"u":4912345678901,"pu":4912345678799,"b":[["61837.60","3.788"]],"a":[["61900","0"],["61837.70","154"]]}}'
)
BOOK = b'{"lastUpdateId":4912345678800,"E":1723161255343,"T":1723161255342,"bids":[["61837.60","3.788"]],"asks":[]}'
GOOD = [AGGREGATE, TRADE, QUOTE, DEPTH, BOOK, b'{"result":null,"id":1}']


def test_a_trade_is_an_aggregate_of_matches():
    assert VENUE.parse(AGGREGATE) == [
        Trade("BTC-USDT", 1723161255342_000000, 2312345678, 618376, 1, 2, 2, taker_buy=False, matches=3)
    ]


def test_a_single_trade_is_read_too():
    assert VENUE.parse(TRADE) == [
        Trade("BTC-USDT", 1723161255342_000000, 5273456700, 618376, 1, 2, 2, taker_buy=True, matches=1)
    ]


@pytest.mark.parametrize("kind", ["NA", "INSURANCE_FUND", "ADL", "", None, 5, []], ids=repr)
def test_a_trade_that_is_none_of_the_market_is_no_event(kind):
    raw = json.loads(frame(TRADE, p="0", q="0"))
    raw["data"]["X"] = kind
    encoded = json.dumps(raw).encode()
    assert VENUE.parse(encoded) == [] == VENUE.take([encoded])


def test_best_prices():
    assert VENUE.parse(QUOTE) == [Quote("BTC-USDT", 4912345678901, 618376, 3788, 618377, 154000, 1, 3)]


def test_an_update_of_the_book_names_the_one_before():
    assert VENUE.parse(DEPTH) == [
        DepthUpdate(
            "BTC-USDT", 1723161255343_000000, 4912345678801, 4912345678901, [["61837.60", "3.788"]],
            [["61900", "0"], ["61837.70", "154"]], previous_update_id=4912345678799,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("value", [None, -1, "1", 1.0, 2**63], ids=repr)
def test_without_it_the_update_is_refused(value):
    with pytest.raises(ParseError) as caught:
        VENUE.parse(frame(DEPTH, pu=value))
    assert (caught.value.reason, caught.value.field) == ("bad id", "pu")


def test_a_whole_book_and_the_answers_are_as_on_spot():
    assert VENUE.parse_snapshot(BOOK) == DepthSnapshot(4912345678800, [["61837.60", "3.788"]], [])
    assert VENUE.parse(b'{"result":null,"id":3}') == [Ack(3, None)]


@pytest.mark.parametrize(("field", "value"), [("f", 0), ("f", 5273456703), ("l", 2**63), ("a", -1), ("m", 1)])
def test_an_impossible_aggregate_is_judged_alike_alone_and_among_others(field, value):
    raw = frame(AGGREGATE, **{field: value})
    try:
        (alone,) = VENUE.parse(raw)
    except ParseError as error:
        alone = str(error)
    (taken,) = VENUE.take([raw])
    assert (taken if isinstance(taken, Trade) else str(taken.error)) == alone


# ---------------------------------------------------------------------- names, requests, REST


@pytest.mark.parametrize(
    ("native", "symbol"),
    [("BTCUSDT", "BTC-USDT"), ("BTCUSDT_250328", "BTC-USDT_250328"), ("1000SHIBUSDC", "1000SHIB-USDC"),
     ("ETHBTC", "ETH-BTC"), ("BTCDOMUSDT", "BTCDOM-USDT")],
)  # fmt: skip
def test_a_native_name_is_normalised_and_comes_back(native, symbol):
    assert VENUE.symbol(native) == symbol and VENUE.native(symbol) == native
    assert VENUE.symbol(symbol) == symbol and VENUE.native(native) == native
    assert VENUE.parse(frame(AGGREGATE, s=native))[0].symbol == symbol


@pytest.mark.parametrize("name", ["BTCUSDT_", "BTCUSDT_25", "BTCUSDT_2503289", "_250328", "BTCUSDT_25032a", "BTC-USDT"])
def test_an_impossible_name_is_refused(name):
    with pytest.raises(ParseError) as caught:
        VENUE.parse(frame(AGGREGATE, s=name))
    assert (caught.value.reason, caught.value.field) == ("bad symbol", "s")


def test_trades_are_had_at_another_path_than_books_and_best_prices():
    assert [VENUE.path(channel) for channel in ("trade", "quote", "depth")] == [
        "/market/stream", "/public/stream", "/public/stream"
    ]  # fmt: skip


def test_a_subscription_asks_for_aggregates():
    (request,) = VENUE.subscribe([Topic("BTC-USDT_250328", channel) for channel in VENUE.channels], 5)
    assert json.loads(request.raw) == {
        "method": "SUBSCRIBE", "id": 5,
        "params": ["btcusdt_250328@aggTrade", "btcusdt_250328@bookTicker", "btcusdt_250328@depth@100ms"],
    }  # fmt: skip


def test_what_trades_is_listed_perpetual_or_dated():
    rows = [
        {**LISTED, "contractType": "PERPETUAL"},
        {**LISTED, "contractType": "CURRENT_QUARTER", "symbol": "BTCUSDT_250328"},
        {**LISTED, "contractType": "PERPETUAL", "symbol": "LUNAUSDT", "status": "SETTLING"},
        {**LISTED, "contractType": "", "symbol": "NEWUSDT"},
    ]
    assert VENUE.parse_symbols(json.dumps({"symbols": rows}).encode()) == [
        Instrument("BTCUSDT", "BTC-USDT", "0.01000000", "0.00001000"),
        Instrument("BTCUSDT_250328", "BTC-USDT_250328", "0.01000000", "0.00001000"),
    ]
    with pytest.raises(ParseError):
        VENUE.parse_symbols(json.dumps({"symbols": [LISTED]}).encode())


@pytest.mark.parametrize(("levels", "limit"), [(1, 5), (1000, 1000), (5000, 1000)])
def test_a_snapshot_has_at_most_a_thousand_levels(levels, limit):
    assert VENUE.snapshot_path("BTC-USDT", levels) == f"/fapi/v1/depth?symbol=BTCUSDT&limit={limit}"


HOLE = Hole("BTC-USDT_250328", 26129, 26130, 0, 2**62)
ROW = {"a": 26129, "p": "0.01633102", "q": "4.70443515", "f": 27781, "l": 27784, "T": 1498793709153, "m": True}


def test_missing_trades_are_aggregates_too():
    assert VENUE.backfill_path(HOLE) == "/fapi/v1/aggTrades?symbol=BTCUSDT_250328&fromId=26129&limit=2"
    rows = [{**ROW, "a": number} for number in (26128, 26129, 26130, 26131)]
    trades = VENUE.parse_backfill(HOLE, json.dumps(rows).encode())
    assert [one.trade_id for one in trades] == [26129, 26130]
    assert trades[0] == Trade(
        "BTC-USDT_250328", 1498793709153_000000, 26129, 1633102, 8, 470443515, 8, taker_buy=False, matches=4
    )


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[5]", b"[{}]", *[json.dumps([{**ROW, field: None}]).encode() for field in ROW]]
)
def test_missing_trades_that_make_no_sense_are_a_parse_error(raw):
    with pytest.raises(ParseError):
        VENUE.parse_backfill(HOLE, raw)


def test_a_live_trade_and_a_backfilled_one_are_the_same():
    live = json.loads(AGGREGATE)["data"]
    row = {field: live[field] for field in ROW}
    hole = Hole("BTC-USDT", live["a"], live["a"], 0, 2**62)
    assert VENUE.parse_backfill(hole, json.dumps([row]).encode()) == VENUE.parse(AGGREGATE)
