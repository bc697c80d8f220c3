"""OKX v5 spot: frames as its documentation shows them become events, and the rest is a ParseError."""

import json

import orjson
import pytest

from tests.exchanges.mutants import alone, shown
from wick.errors import ParseError
from wick.exchanges import Instrument, Refused, load
from wick.exchanges.okx import ARGS_A_REQUEST
from wick.market.trades import Ack, DepthUpdate, Quote, Shutdown, Topic, Trade

VENUE = load("okx")

# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel
TRADE = (
    b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474",'
    b'"px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3","source":"0","seqId":1234}]}'
)
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
BOOK = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["8476.98","415","0","13"],'
    b'["8477","7","0","2"]],"bids":[["8476.97","256","0","12"],["8475.55","101","0","1"]],"ts":"1597026383085",'
    b'"checksum":0,"prevSeqId":-1,"seqId":123456}]}'
)
CHANGE = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["8476.98","0","0","0"]],'
    b'"bids":[],"ts":"1597026383185","checksum":0,"prevSeqId":123456,"seqId":123457}]}'
)
KEEPALIVE = CHANGE.replace(b'[["8476.98","0","0","0"]]', b"[]").replace(b'"prevSeqId":123456', b'"prevSeqId":123457')
RESET = CHANGE.replace(b'"seqId":123457', b'"seqId":3')
BEST = (
    b'{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["111.06","55154","0","2"]],"bids":'
    b'[["111.05","57745.5","0","2"]],"ts":"1670324386802","seqId":363996337}]}'
)
# https://www.okx.com/docs-v5/en/#overview-websocket-subscribe, -notification, -connection-count-limit
ACK = b'{"id":"7","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}'
REFUSED = (
    b'{"id":"8","event":"error","code":"60018","msg":"Wrong URL or channel:trades,instId:NO-USDT doesn\'t exist. '
    b'Please use the correct URL, channel and parameters referring to API document.","connId":"a4d3ae55"}'
)
INVALID = b'{"event":"error","code":"60012","msg":"Invalid request: {\\"op\\": \\"subscribe\\"}","connId":"x"}'
UPGRADE = (
    b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please '
    b'reconnect.","connId":"a4d3ae55"}'
)
COUNT = b'{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}'
GOOD = [TRADE, BOOK, CHANGE, KEEPALIVE, RESET, BEST, ACK, REFUSED, INVALID, UPGRADE, COUNT, b"pong"]
# https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments
SYMBOLS = json.dumps({"code": "0", "msg": "", "data": [
    {"instType": "SPOT", "instId": "BTC-USDT", "tickSz": "0.1", "lotSz": "0.00000001", "state": "live"},
    {"instType": "SPOT", "instId": "OLD-USDT", "state": "suspend"},
    {"instType": "SPOT", "instId": "A_B-USDT", "tickSz": "0.1", "lotSz": "0.1", "state": "live"},
]}).encode()  # fmt: skip


def change(raw, **fields):
    """The frame with some fields of its first datum changed; `...` takes one out."""
    whole = json.loads(raw)
    whole["data"][0].update(fields)
    for field in [field for field, value in fields.items() if value is ...]:
        del whole["data"][0][field]
    return json.dumps(whole).encode()


# ---------------------------------------------------------------------- what arrives


def test_a_trade_stands_for_the_fills_that_it_counts():
    assert VENUE.parse(TRADE) == [
        Trade("BTC-USDT", 1630048897897_000000, 130639474, 422199, 1, 12060306, 8, taker_buy=True, matches=3)
    ]
    assert VENUE.parse(change(TRADE, side="sell", count="1"))[0][-2:] == (False, 1)


def test_a_book_begins_and_goes_on_from_the_update_that_it_names():
    assert VENUE.parse(BOOK) == [
        DepthUpdate(
            "BTC-USDT", 1597026383085_000000, 123456, 123456,
            [["8476.97", "256", "0", "12"], ["8475.55", "101", "0", "1"]],
            [["8476.98", "415", "0", "13"], ["8477", "7", "0", "2"]], is_snapshot=True,
        )
    ]  # fmt: skip
    assert VENUE.parse(CHANGE) == [
        DepthUpdate("BTC-USDT", 1597026383185_000000, 123457, 123457, [], [["8476.98", "0", "0", "0"]], 123456)
    ]


def test_a_keepalive_and_a_reset_by_maintenance_follow_as_well():
    assert VENUE.parse(KEEPALIVE)[0][3:7] == (123457, [], [], 123457)
    assert VENUE.parse(RESET)[0][3] == 3 and VENUE.parse(RESET)[0].previous_update_id == 123456


@pytest.mark.parametrize("checksum", [0, -855196043, "x", ...])
def test_the_checksum_is_never_looked_at(checksum):
    assert VENUE.parse(change(CHANGE, checksum=checksum)) == VENUE.parse(CHANGE)
    assert VENUE.parse(CHANGE)[0].checksum == -1


def test_the_first_level_is_a_quote_in_common_units():
    assert VENUE.parse(BEST) == [Quote("BTC-USDT", 363996337, 11105, 577455, 11106, 551540, 2, 1)]
    assert VENUE.parse(change(BEST, bids=[])) == [Quote("BTC-USDT", 363996337, 0, 0, 11106, 55154, 2, 0)]


def test_changes_of_the_book_and_quotes_are_skimmed():
    for raw in (CHANGE, KEEPALIVE, RESET):
        assert VENUE.skim(raw) == 1597026383185_000000
    assert VENUE.skim(CHANGE.replace(b'"prevSeqId":123456,"seqId":123457', b'"seqId":123457,"prevSeqId":123456'))
    assert VENUE.skim(BEST) == 0
    for raw in (TRADE, BOOK, ACK, CHANGE.replace(b'"prevSeqId":123456', b'"prevSeqId":-1'), CHANGE + b" ",
                CHANGE.replace(b'"checksum":0', b'"checksum":00')):  # fmt: skip
        assert VENUE.skim(raw) is None


def test_what_needs_no_answer_is_no_event():
    for raw in (b"pong", COUNT, UPGRADE.replace(b"64008", b"64009")):
        assert VENUE.parse(raw) == []
    assert VENUE.take([TRADE, b"pong", TRADE]) == VENUE.parse(TRADE) * 2


def test_a_notice_of_an_upgrade_is_the_end_of_the_connection():
    assert VENUE.parse(UPGRADE) == [Shutdown(0)]


def test_an_ack_names_its_request_and_its_stream():
    assert VENUE.parse(ACK) == [Ack(7, None, (Topic("BTC-USDT", "depth"),))]


def test_a_refusal_names_its_stream_where_its_text_does():
    (ack,) = VENUE.parse(REFUSED)
    assert (
        ack.request_id == 8 and ack.error.startswith("60018 Wrong URL") and ack.topics == (Topic("NO-USDT", "trade"),)
    )
    (ack,) = VENUE.parse(INVALID)
    assert ack.request_id is None and ack.error.startswith("60012 Invalid request") and ack.topics == ()


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"px": "0"}, "not a positive number", "px"),
        ({"sz": 1}, "not a decimal string", "sz"),
        ({"side": "Buy"}, "bad side", "side"),
        ({"instId": "BTCUSDT"}, "bad symbol", "instId"),
        ({"tradeId": 5}, "bad id", "tradeId"),
        ({"tradeId": "9223372036854775808"}, "bad id", "tradeId"),
        ({"tradeId": "-1"}, "bad id", "tradeId"),
        ({"count": "0"}, "bad id", "count"),
        ({"count": "00"}, "bad id", "count"),
        ({"count": ...}, "bad id", "count"),
        ({"ts": 1630048897897}, "bad id", "ts"),
        ({"ts": "5"}, "absurd time", "ts"),
    ],
)
def test_a_trade_that_makes_no_sense_says_where(changes, reason, field):
    raw = change(TRADE, **changes)
    with pytest.raises(ParseError) as caught:
        VENUE.parse(raw)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert shown(VENUE.take([raw])) == shown(alone(VENUE, [raw]))


@pytest.mark.parametrize(
    "changes",
    [{"seqId": ...}, {"seqId": "5"}, {"prevSeqId": -1}, {"prevSeqId": ...}, {"bids": ...}, {"asks": [["1", "2"]]},
     {"asks": [["1", "2", "0", 1]]}, {"asks": [["1", "-2", "0", "1"]]}, {"ts": ...}],
)  # fmt: skip
def test_a_change_of_the_book_that_makes_no_sense_is_refused(changes):
    with pytest.raises(ParseError):
        VENUE.parse(change(CHANGE, **changes))


def test_one_bad_trade_refuses_its_message_and_no_other():
    whole = json.loads(TRADE)
    whole["data"] += [{**whole["data"][0], "side": "?"}]
    frames = [TRADE, json.dumps(whole).encode(), TRADE]
    assert [type(one) for one in VENUE.take(frames)] == [Trade, Refused, Trade]
    assert shown(VENUE.take(frames)) == shown(alone(VENUE, frames))


# ---------------------------------------------------------------------- what is asked for


def test_requests_are_few_and_name_each_stream():
    topics = [Topic(f"C{n}-USDT", channel) for n in range(40) for channel in ("trade", "quote", "depth")]
    requests = VENUE.subscribe(topics, 3)
    assert [request.id for request in requests] == [3, 4]
    assert [topic for request in requests for topic in request.topics] == topics
    first = orjson.loads(requests[0].raw)
    assert first["id"] == "3" and first["op"] == "subscribe" and len(first["args"]) == ARGS_A_REQUEST
    assert first["args"][:3] == [{"channel": name, "instId": "C0-USDT"} for name in ("trades", "bbo-tbt", "books")]
    assert max(len(request.raw) for request in requests) < 64 * 1024
    assert orjson.loads(VENUE.unsubscribe(topics)[1].raw)["op"] == "unsubscribe"
    assert VENUE.ping() == b"ping"


def test_the_venues_names_are_wicks():
    assert VENUE.symbol("BTC-USDT") == VENUE.native("btc-usdt") == "BTC-USDT"


def test_the_symbols_that_trade():
    assert VENUE.parse_symbols(SYMBOLS) == [Instrument("BTC-USDT", "BTC-USDT", "0.1", "0.00000001")]


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"code":"50011","msg":"Too Many Requests"}', SYMBOLS.replace(b'"0.1"', b"0.1"),
            SYMBOLS.replace(b'"BTC-USDT"', b"5"), SYMBOLS.replace(b"lotSz", b"x")],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_refused(raw):
    with pytest.raises(ParseError):
        VENUE.parse_symbols(raw)
