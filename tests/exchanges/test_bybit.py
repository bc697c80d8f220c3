"""Bybit v5 spot: frames as its documentation shows them become events, and the rest is a ParseError."""

import json

import orjson
import pytest

from tests.exchanges.mutants import alone, shown
from wick.errors import ParseError
from wick.exchanges import Instrument, Refused, load
from wick.exchanges.bybit import ARGS_A_REQUEST, QUOTE_ASSETS, key
from wick.market.trades import Ack, DepthUpdate, Quote, Topic, Trade

VENUE = load("bybit")

# https://bybit-exchange.github.io/docs/v5/websocket/public/trade
TRADE = (
    b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT",'
    b'"S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,'
    b'"seq":1783284617}]}'
)
# Spot's ids are numbers (https://github.com/bybit-exchange/docs, and recordings that are public).
NUMBERED = (
    b'{"topic":"publicTrade.ETHUSDC","ts":1672304486868,"type":"snapshot","data":[{"i":"2290000000068683805",'
    b'"T":1672304486865,"p":"1216.5","v":"0.4","S":"Sell","seq":1783284617,"s":"ETHUSDC","BT":false,"RPI":true},'
    b'{"i":"2290000000068683806","T":1672304486866,"p":"1216.4","v":"1","S":"Sell","s":"ETHUSDC","BT":false}]}'
)
BLOCK = NUMBERED.replace(b'"BT":false', b'"BT":true', 1)
# https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
BOOK = (
    b'{"topic":"orderbook.200.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":'
    b'[["16493.50","0.006"],["16493.00","0.100"]],"a":[["16611.00","0.029"],["16612.00","0.213"]],"u":18521288,'
    b'"seq":7961638724},"cts":1672304484976}'
)
DELTA = (
    b'{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1687940967466,"data":{"s":"BTCUSDT","b":'
    b'[["30247.20","30.028"],["30245.40","0"]],"a":[],"u":177400507,"seq":66544703342},"cts":1687940967464}'
)
BEST = (
    b'{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":'
    b'[["16493.50","0.006"]],"a":[["16611.00","0.02"]],"u":18521288,"seq":7961638724},"cts":1672304484976}'
)
# https://bybit-exchange.github.io/docs/v5/ws/connect
ACK = (
    b'{"success":true,"ret_msg":"subscribe","conn_id":"2324d924-aa4d-45b0-a858-7b8be29ab52b","req_id":"7",'
    b'"op":"subscribe"}'
)
REFUSED = (
    b'{"success":false,"ret_msg":"error:handler not found,topic:orderbook.200.NOPEUSDT","conn_id":"x","req_id":"8",'
    b'"op":"subscribe"}'
)
PONG = b'{"success":true,"ret_msg":"pong","conn_id":"0970e817-426e-429a-a679-ff7f55e0b16a","op":"ping"}'
GOOD = [TRADE, NUMBERED, BLOCK, BOOK, DELTA, BEST, ACK, REFUSED, PONG]
# https://bybit-exchange.github.io/docs/v5/market/instrument
SYMBOLS = json.dumps({"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": [
    {"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading",
     "lotSizeFilter": {"basePrecision": "0.000001", "quotePrecision": "0.01"}, "priceFilter": {"tickSize": "0.01"}},
    {"symbol": "NEWUSDT", "status": "PreLaunch"},
    {"symbol": "A/USDT", "status": "Trading", "lotSizeFilter": {}, "priceFilter": {}},
]}}).encode()  # fmt: skip


def change(raw, **fields):
    """The frame with some fields of its (first) datum changed; `...` takes one out."""
    whole = json.loads(raw)
    data = whole["data"][0] if isinstance(whole["data"], list) else whole["data"]
    data.update(fields)
    for field in [field for field, value in fields.items() if value is ...]:
        del data[field]
    return json.dumps(whole).encode()


# ---------------------------------------------------------------------- what arrives


def test_a_trade_has_63_bits_of_its_uuid_for_an_id():
    (trade,) = VENUE.parse(TRADE)
    assert trade == Trade("BTC-USDT", 1672304486865_000000, 0x1112A178EB6023AF, 165785, 1, 1, 3, taker_buy=True)


def test_a_trade_whose_id_is_a_number_keeps_it_and_all_of_a_message_come_in_order():
    assert VENUE.parse(NUMBERED) == [
        Trade("ETH-USDC", 1672304486865_000000, 2290000000068683805, 12165, 1, 4, 1, taker_buy=False),
        Trade("ETH-USDC", 1672304486866_000000, 2290000000068683806, 12164, 1, 1, 0, taker_buy=False),
    ]


def test_the_same_trade_has_the_same_id_whenever_it_comes_and_others_have_others():
    texts = [f"20f43950-d8dd-5b31-{high:04x}-{low:012x}" for high in (0x8000, 0xBFFF) for low in (0, 1, 2**48 - 1)]
    assert len({key(text) for text in texts}) == len(texts)
    assert all(0 <= key(text) < 2**63 and key(text) == key(text.upper()) for text in texts)


def test_a_block_trade_is_no_market_trade():
    assert [trade.trade_id for trade in VENUE.parse(BLOCK)] == [2290000000068683806]
    assert shown(VENUE.take([BLOCK])) == shown(VENUE.parse(BLOCK))


def test_a_book_begins_and_goes_on():
    assert VENUE.parse(BOOK) == [
        DepthUpdate(
            "BTC-USDT", 1672304484976_000000, 18521288, 18521288, [["16493.50", "0.006"], ["16493.00", "0.100"]],
            [["16611.00", "0.029"], ["16612.00", "0.213"]], is_snapshot=True,
        )
    ]  # fmt: skip
    assert VENUE.parse(DELTA) == [
        DepthUpdate(
            "BTC-USDT", 1687940967464_000000, 177400507, 177400507, [["30247.20", "30.028"], ["30245.40", "0"]], []
        )
    ]


def test_a_service_that_began_anew_replaces_the_book():
    assert VENUE.parse(change(DELTA, u=1))[0].is_snapshot
    assert not VENUE.parse(change(DELTA, u=2))[0].is_snapshot


def test_the_gateways_time_is_good_enough_where_the_engines_is_missing():
    assert VENUE.parse(BOOK.replace(b',"cts":1672304484976', b""))[0].event_ns == 1672304484978_000000


def test_the_first_level_is_a_quote_in_common_units():
    assert VENUE.parse(BEST) == [Quote("BTC-USDT", 18521288, 164935, 6, 166110, 20, 1, 3)]
    assert VENUE.parse(change(BEST, b=[["16493", "1"]], a=[["16611.25", "2"]])) == [
        Quote("BTC-USDT", 18521288, 1649300, 1, 1661125, 2, 2, 0)
    ]
    assert VENUE.parse(change(BEST, a=[])) == [Quote("BTC-USDT", 18521288, 164935, 6, 0, 0, 1, 3)]


def test_books_and_quotes_are_skimmed():
    later = DELTA.replace(b'"type":"delta","ts":1687940967466', b'"ts":1687940967466,"type":"delta"')
    assert [VENUE.skim(raw) for raw in (BOOK, DELTA, later)] == [
        VENUE.parse(raw)[0].event_ns for raw in (BOOK, DELTA, later)
    ]
    assert VENUE.skim(BEST) == 0
    for raw in (TRADE, ACK, BEST.replace(b"snapshot", b"delta"), BOOK.replace(b"0.006", b".006"), BOOK + b" "):
        assert VENUE.skim(raw) is None


def test_a_change_of_the_first_level_alone_is_no_quote():
    with pytest.raises(ParseError):
        VENUE.parse(BEST.replace(b'"snapshot"', b'"delta"'))


@pytest.mark.parametrize("raw", [PONG, b'{"op":"pong","args":["1675418560633"],"conn_id":"x"}'])
def test_a_pong_is_no_event(raw):
    assert VENUE.parse(raw) == []


def test_an_ack_is_of_all_that_was_asked_for():
    assert VENUE.parse(ACK) == [Ack(7, None)]


def test_a_refusal_names_the_stream_that_spoilt_the_request():
    topics = (Topic("NOPE-USDT", "depth"),)
    assert VENUE.parse(REFUSED) == [
        Ack(8, "error:handler not found,topic:orderbook.200.NOPEUSDT", topics),
    ]
    invalid = REFUSED.replace(b"error:handler not found,topic:orderbook.200.NOPEUSDT", b"Invalid symbol")
    assert VENUE.parse(invalid) == [Ack(8, "Invalid symbol")]


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"p": "0"}, "not a positive number", "p"),
        ({"v": 1}, "not a decimal string", "v"),
        ({"v": "1e-5"}, "not a plain decimal", "v"),
        ({"S": "buy"}, "bad side", "S"),
        ({"s": "BTC/USDT"}, "bad symbol", "s"),
        ({"i": 5}, "bad id", "i"),
        ({"i": "9223372036854775808"}, "bad id", "i"),
        ({"i": "x" * 36}, "bad id", "i"),
        ({"T": "1672304486865"}, "bad time", "T"),
        ({"T": 5}, "absurd time", "T"),
        ({"BT": 1}, "corrupt frame", "data"),
    ],
)
def test_a_trade_that_makes_no_sense_says_where(changes, reason, field):
    with pytest.raises(ParseError) as caught:
        VENUE.parse(change(TRADE, **changes))
    assert (caught.value.reason, caught.value.field) == (reason, field)


@pytest.mark.parametrize(
    "changes", [{"u": ...}, {"u": -1}, {"b": ...}, {"a": [["1"]]}, {"a": [["1", 2]]}, {"a": [["-1", "2"]]}, {"s": ""}]
)
def test_a_book_that_makes_no_sense_is_refused(changes):
    for raw in (BOOK, BEST):
        with pytest.raises(ParseError):
            VENUE.parse(change(raw, **changes))


def test_one_bad_trade_refuses_its_message_and_no_other():
    bad = NUMBERED.replace(b'"S":"Sell","s"', b'"S":"?","s"')
    assert [type(one) for one in VENUE.take([TRADE, bad, NUMBERED])] == [Trade, Refused, Trade, Trade]
    assert shown(VENUE.take([TRADE, bad, NUMBERED])) == shown(alone(VENUE, [TRADE, bad, NUMBERED]))


# ---------------------------------------------------------------------- what is asked for


def test_a_request_has_no_more_args_than_spot_takes():
    topics = [Topic(f"C{n}-USDT", channel) for n in range(4) for channel in ("trade", "quote", "depth")]
    requests = VENUE.subscribe(topics, 3)
    assert [request.id for request in requests] == [3, 4]
    assert [topic for request in requests for topic in request.topics] == topics
    first = orjson.loads(requests[0].raw)
    assert first["req_id"] == "3" and first["op"] == "subscribe" and len(first["args"]) == ARGS_A_REQUEST
    assert first["args"][:3] == ["publicTrade.C0USDT", "orderbook.1.C0USDT", "orderbook.200.C0USDT"]
    assert orjson.loads(VENUE.unsubscribe(topics)[1].raw)["op"] == "unsubscribe"
    assert orjson.loads(VENUE.ping()) == {"op": "ping"}


@pytest.mark.parametrize(
    ("native", "symbol"),
    [("BTCUSDT", "BTC-USDT"), ("BTC3LUSDT", "BTC3L-USDT"), ("USDCUSDT", "USDC-USDT"), ("1INCHUSDT", "1INCH-USDT"),
     ("ETHBTC", "ETH-BTC"), ("SOLEUR", "SOL-EUR"), ("USDTBRZ", "USDT-BRZ"), ("WHAT", "WHAT"), ("USDT", "USDT")],
)  # fmt: skip
def test_symbols_go_there_and_back(native, symbol):
    assert VENUE.symbol(native) == symbol
    assert VENUE.native(symbol) == native == VENUE.native(native)


def test_no_quote_asset_hides_a_longer_one():
    for asset in QUOTE_ASSETS:
        assert VENUE.symbol(f"ZZZ{asset}") == f"ZZZ-{asset}"


def test_the_symbols_that_trade():
    assert VENUE.parse_symbols(SYMBOLS) == [Instrument("BTCUSDT", "BTC-USDT", "0.01", "0.000001")]


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}',
     SYMBOLS.replace(b'"0.01"', b"0.01"), SYMBOLS.replace(b'"BTCUSDT"', b"5"), SYMBOLS.replace(b"tickSize", b"x")],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_refused(raw):
    with pytest.raises(ParseError):
        VENUE.parse_symbols(raw)
