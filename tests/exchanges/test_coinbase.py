"""Coinbase Exchange: frames become events, and whatever else arrives is a ParseError that says where and what."""

import json

import pytest

from wick.errors import ParseError
from wick.exchanges import Hole, Instrument, load
from wick.exchanges.coinbase import TOPICS_A_REQUEST
from wick.market.trades import Ack, DepthUpdate, LastTrade, Topic, Trade

VENUE = load("coinbase")

MATCH = (
    b'{"type":"match","trade_id":680012345,"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8",'
    b'"taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"sell","size":"0.02000000","price":"61837.63",'
    b'"product_id":"BTC-USD","sequence":85012345678,"time":"2024-08-08T23:54:15.342789Z"}'
)
HEARTBEAT = (
    b'{"type":"heartbeat","last_trade_id":680012345,"product_id":"BTC-USD","sequence":85012345690,'
    b'"time":"2024-08-08T23:54:16.000123Z"}'
)
SNAPSHOT = (
    b'{"type":"snapshot","product_id":"BTC-USD","asks":[["61837.64","1.5"],["61840","2"]],'
    b'"bids":[["61837.63","3.78826000"]],"time":"2024-08-08T23:54:14.5Z"}'
)
UPDATE = (
    b'{"type":"l2update","product_id":"BTC-USD","changes":[["buy","61837.63","3.5"],["sell","61837.64","0.00000000"],'
    b'["buy","61837.63","3.4"]],"time":"2024-08-08T23:54:15.400000Z"}'
)
SUBSCRIPTIONS = (
    b'{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD","ETH-USD"],"account_ids":null},'
    b'{"name":"heartbeat","product_ids":["BTC-USD","ETH-USD"]},{"name":"level2_50","product_ids":["BTC-USD"]}]}'
)
ERROR = b'{"type":"error","message":"Failed to subscribe","reason":"GIBBERISH-USD is not a valid product"}'


def changed(raw, **fields):
    """The frame with some fields changed; None takes one out."""
    whole = {**json.loads(raw), **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


GOOD = [
    MATCH, changed(MATCH, type="last_match"), HEARTBEAT, SNAPSHOT, UPDATE, SUBSCRIPTIONS, ERROR,
]  # fmt: skip


def refused(raw):
    with pytest.raises(ParseError) as caught:
        VENUE.parse(raw)
    return caught.value


# ---------------------------------------------------------------------- what arrives


@pytest.mark.parametrize("kind", ["match", "last_match"])
def test_a_trade(kind):
    assert VENUE.parse(changed(MATCH, type=kind)) == [
        Trade("BTC-USD", 1723161255_342789_000, 680012345, 6183763, 2, 2, 2, taker_buy=True)
    ]


@pytest.mark.parametrize(("maker", "taker_buy"), [("sell", True), ("buy", False)])
def test_the_side_is_the_makers(maker, taker_buy):
    raw = changed(MATCH, side=maker)
    assert VENUE.parse(raw)[0].taker_buy is taker_buy
    assert VENUE.take([raw])[0].taker_buy is taker_buy


def test_a_heartbeat_tells_the_newest_trade():
    assert VENUE.parse(HEARTBEAT) == [LastTrade("BTC-USD", 680012345)]


def test_a_heartbeat_that_knows_none_is_no_event():
    assert VENUE.parse(changed(HEARTBEAT, last_trade_id=0)) == []


def test_a_book_begins_with_a_snapshot():
    assert VENUE.parse(SNAPSHOT) == [
        DepthUpdate(
            "BTC-USD", 1723161254_500000_000, 0, 0, [["61837.63", "3.78826000"]], [["61837.64", "1.5"], ["61840", "2"]],
            is_snapshot=True,
        )
    ]  # fmt: skip
    assert VENUE.parse(changed(SNAPSHOT, time=None))[0].event_ns == 0


def test_changes_of_the_book_keep_their_order_on_each_side():
    assert VENUE.parse(UPDATE) == [
        DepthUpdate(
            "BTC-USD", 1723161255_400000_000, 0, 0, [["61837.63", "3.5"], ["61837.63", "3.4"]],
            [["61837.64", "0.00000000"]],
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("time", "ns"),
    [("2024-08-08T23:54:15Z", 0), ("2024-08-08T23:54:15.3Z", 300_000_000), ("2024-08-08T23:54:15.000001Z", 1_000),
     ("2024-08-08T23:54:15.123456789Z", 123_456_789)],
)  # fmt: skip
def test_a_time_has_as_many_digits_as_it_likes(time, ns):
    assert VENUE.parse(changed(MATCH, time=time))[0].event_ns == 1723161255_000000_000 + ns


def test_what_is_subscribed_is_listed_in_the_answer():
    assert VENUE.parse(SUBSCRIPTIONS) == [
        Ack(None, None, (Topic("BTC-USD", "trade"), Topic("ETH-USD", "trade"), Topic("BTC-USD", "depth")))
    ]
    assert VENUE.parse(b'{"type":"subscriptions","channels":[]}') == [Ack(None, None, ())]


def test_a_refusal_names_the_product_that_is_wrong():
    assert VENUE.parse(ERROR) == [
        Ack(
            None, "Failed to subscribe: GIBBERISH-USD is not a valid product",
            (Topic("GIBBERISH-USD", "trade"), Topic("GIBBERISH-USD", "depth")),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "error"),
    [(b'{"type":"error","message":"Failed to subscribe"}', "Failed to subscribe"), (b'{"type":"error"}', "error"),
     (b'{"type":"error","message":5,"reason":null}', "5: None")],
)  # fmt: skip
def test_a_refusal_of_nothing_in_particular(raw, error):
    assert VENUE.parse(raw) == [Ack(None, error)]


def test_a_hostile_refusal_is_a_short_text():
    (ack,) = VENUE.parse(b'{"type":"error","message":' + b"[" * 1000 + b"]" * 1000 + b"}")
    assert ack.error and len(ack.error) <= 200


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize("value", ["NaN", "-1", "1e5", "", ".5", "5.", "0", "0.00", 1.5, 1, None, ["1"]], ids=repr)
@pytest.mark.parametrize("field", ["price", "size"])
def test_an_absurd_number_is_refused_with_its_field(field, value):
    assert refused(changed(MATCH, **{field: value})).field == field


@pytest.mark.parametrize(
    "value",
    ["", "now", 5, None, True, "2024-08-08", "2024-08-08T23:54:15", "2024-08-08T23:54:15.Z", "2024-13-08T23:54:15Z",
     "2024-08-08T24:54:15Z", "2024-08-08T23:54:15.1x3Z", "2024-08-08T23:54:15,123Z", "2024-08-08 23:54:15Z",
     "2024-08-08T23:54:15+02:00", "1999-08-08T23:54:15Z", "2100-01-01T00:00:00Z", "2024-08-08T23:54:15.0000000000Z",
     "2024-08-08T23:54:1Z", "2024-08-08T23:54:15.²Z", "٢٠٢٤-08-08T23:54:15Z", "Z", ["2024-08-08T23:54:15Z"]],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("raw", [MATCH, UPDATE], ids=["match", "update"])
def test_an_absurd_time_is_refused_with_its_field(raw, value):
    error = refused(changed(raw, time=value))
    assert error.field == "time" and error.reason in ("bad time", "absurd time")


@pytest.mark.parametrize("value", ["", "BTC", "BTCUSD", "btc-usd", "BTC-USD\n", "A-B-C", "-", 5, None, []], ids=repr)
@pytest.mark.parametrize("raw", [MATCH, HEARTBEAT, SNAPSHOT, UPDATE], ids=["match", "heartbeat", "snapshot", "update"])
def test_an_impossible_product_is_refused(raw, value):
    error = refused(changed(raw, product_id=value))
    assert (error.reason, error.field) == ("bad symbol", "product_id")


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, "1", True, None], ids=repr)
@pytest.mark.parametrize(("raw", "field"), [(MATCH, "trade_id"), (HEARTBEAT, "last_trade_id")])
def test_an_absurd_id_is_refused(raw, field, value):
    error = refused(changed(raw, **{field: value}))
    assert (error.reason, error.field) == ("bad id", field)


@pytest.mark.parametrize("value", ["BUY", "", None, 1, ["sell"], {}], ids=repr)
def test_an_unknown_side_is_refused(value):
    raw = changed(MATCH, side=value)
    assert refused(raw).field == "side"
    assert VENUE.take([raw])[0].error.field == "side"


@pytest.mark.parametrize(
    "changes",
    [None, 5, {"a": 1}, ["abc"], [["buy", "1"]], [["buy", "1", "2", "3"]], [["bid", "1", "2"]], [[["buy"], "1", "2"]],
     [{"buy": 1, "1": 1, "2": 1}], [["buy", 1, "2"]], [["buy", "1", "-2"]], [["sell", "1e5", "2"]], [5]],
    ids=repr,
)  # fmt: skip
def test_absurd_changes_of_a_book_are_refused(changes):
    assert refused(changed(UPDATE, changes=changes)).field in ("changes", "bids", "asks")


@pytest.mark.parametrize(
    "channels",
    [None, 5, [5], ["matches"], [{"name": "matches"}], [{"name": ["matches"], "product_ids": []}],
     [{"name": "matches", "product_ids": 5}], [{"name": "matches", "product_ids": [5]}],
     [{"name": "matches", "product_ids": ["../x"]}]],
    ids=repr,
)  # fmt: skip
def test_an_absurd_answer_is_refused(channels):
    refused(changed(SUBSCRIPTIONS, channels=channels))


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", MATCH[:-1]])
def test_a_frame_that_is_no_message_is_corrupt(raw):
    assert refused(raw).reason == "corrupt frame"


@pytest.mark.parametrize("raw", [b"{}", b'{"type":"ticker"}', b'{"type":null}', b'{"type":["match"]}'])
def test_an_event_that_nobody_knows_is_refused(raw):
    assert refused(raw).reason == "unknown event"


# ---------------------------------------------------------------------- requests and REST


def test_trades_are_asked_for_with_their_heartbeat_and_books_in_batches():
    asked = [Topic("BTC-USD", "trade"), Topic("BTC-USD", "depth"), Topic("ETH-USD", "trade")]
    for ask, kind in ((VENUE.subscribe, "subscribe"), (VENUE.unsubscribe, "unsubscribe")):
        (request,) = ask(asked, 4)
        assert json.loads(request.raw) == {
            "type": kind,
            "channels": [
                {"name": "matches", "product_ids": ["BTC-USD", "ETH-USD"]},
                {"name": "heartbeat", "product_ids": ["BTC-USD", "ETH-USD"]},
                {"name": "level2_batch", "product_ids": ["BTC-USD"]},
            ],
        }
        assert (request.id, request.topics) == (4, tuple(asked))


def test_many_topics_are_asked_for_in_requests_of_a_bounded_size():
    asked = [Topic(f"A{number}-USD", "trade") for number in range(2 * TOPICS_A_REQUEST + 1)]
    assert [len(request.topics) for request in VENUE.subscribe(asked)] == [TOPICS_A_REQUEST, TOPICS_A_REQUEST, 1]


PRODUCT = {
    "id": "BTC-USD", "base_increment": "0.00000001", "quote_increment": "0.01", "status": "online",
    "trading_disabled": False,
}  # fmt: skip


def test_what_trades_is_listed_with_its_steps():
    rows = [
        PRODUCT,
        {**PRODUCT, "id": "OLD-USD", "status": "delisted"},
        {**PRODUCT, "id": "OFF-USD", "trading_disabled": True},
        {"id": "NEW-USD", "status": "online"},
        {"id": "ODD", "status": "online"},
    ]
    assert VENUE.parse_symbols(json.dumps(rows).encode()) == [
        Instrument("BTC-USD", "BTC-USD", "0.01", "0.00000001"),
        Instrument("NEW-USD", "NEW-USD", "", ""),
    ]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"null", b"[5]", b"[{}]", b'[{"status":"online"}]', b'[{"status":"online","id":5}]',
     b'[{"status":"online","id":[]}]',
     b'[{"status":"online","id":"A-B","quote_increment":"x"}]'],
)  # fmt: skip
def test_a_list_of_products_that_is_none_is_a_parse_error(raw):
    with pytest.raises(ParseError):
        VENUE.parse_symbols(raw)


HOLE = Hole("BTC-USD", 101, 103, 0, 2**62)
ROW = {"time": "2014-11-07T22:19:28.578544Z", "trade_id": 103, "price": "10.00", "size": "0.01", "side": "buy"}


def test_missing_trades_are_asked_for_from_their_end():
    assert VENUE.backfill_path(HOLE) == "/products/BTC-USD/trades?limit=3&after=104"
    assert "limit=1000&" in VENUE.backfill_path(HOLE._replace(last_id=10**6))


def test_missing_trades_come_newest_first_and_are_turned_round():
    rows = [{**ROW, "trade_id": number} for number in (104, 103, 102, 101, 100)]
    trades = VENUE.parse_backfill(HOLE, json.dumps(rows).encode())
    assert [one.trade_id for one in trades] == [101, 102, 103]
    assert trades[2] == Trade("BTC-USD", 1415398768_578544_000, 103, 10, 0, 1, 2, taker_buy=False)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[5]", b"[{}]", b'{"message":"NotFound"}',
     *[json.dumps([{**ROW, field: None}]).encode() for field in ROW]],
)  # fmt: skip
def test_missing_trades_that_make_no_sense_are_a_parse_error(raw):
    with pytest.raises(ParseError):
        VENUE.parse_backfill(HOLE, raw)
