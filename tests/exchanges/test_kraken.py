"""Kraken v2: frames as its documentation shows them become events, each digit kept; the rest is a ParseError."""

import json
import zlib
from pathlib import Path

import orjson
import pytest

from tests.exchanges.mutants import alone, shown
from wick.errors import ParseError
from wick.exchanges import Hole, Instrument, Refused, load
from wick.exchanges.kraken import DEPTH, SYMBOLS_A_REQUEST
from wick.market.trades import Ack, DepthUpdate, Topic, Trade

VENUE = load("kraken")

# https://docs.kraken.com/api/docs/websocket-v2/trade
TRADE = (
    b'{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"sell","price":0.5117,"qty":40.0,'
    b'"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}'
)
TWO = (
    b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","qty":0.00010000,"price":27000.1,'
    b'"ord_type":"limit","trade_id":4665846,"timestamp":"2023-09-25T07:48:36.925533Z"},{"symbol":"BTC/USD",'
    b'"side":"buy","price":27000.2,"qty":1e-05,"ord_type":"limit","trade_id":4665847,'
    b'"timestamp":"2023-09-25T07:48:36.925533Z"}]}'
)
NEWEST_FIRST = TWO.replace(b"update", b"snapshot").replace(b"4665847", b"4665845")
# https://docs.kraken.com/api/docs/websocket-v2/book
BOOK = (
    b'{"channel":"book","type":"update","data":[{"symbol":"MATIC/USD","bids":[{"price":0.5657,"qty":1098.3947558}],'
    b'"asks":[],"checksum":2114181697,"timestamp":"2023-10-06T17:35:55.440295Z"}]}'
)
EXAMPLE = json.loads(Path(__file__).with_name("kraken_checksum_example.json").read_text())["frames"]
ACK = (
    b'{"method":"subscribe","result":{"channel":"trade","snapshot":true,"symbol":"MATIC/USD"},"success":true,'
    b'"time_in":"2023-09-25T09:21:10.428340Z","time_out":"2023-09-25T09:21:10.428375Z","req_id":7}'
)
REFUSED = (
    b'{"error":"Currency pair not supported FOO/USD","method":"subscribe","req_id":8,"success":false,'
    b'"symbol":"FOO/USD","time_in":"2023-09-25T09:21:10.428340Z","time_out":"2023-09-25T09:21:10.428375Z"}'
)
QUIET = [
    b'{"channel":"heartbeat"}',
    b'{"channel":"status","data":[{"api_version":"v2","connection_id":18446744073709551615,"system":"online",'
    b'"version":"2.0.0"}],"type":"update"}',
    b'{"method":"pong","req_id":101,"time_in":"2023-09-24T14:10:23.799685Z","time_out":"2023-09-24T14:10:23.799703Z"}',
]
GOOD = [TRADE, TWO, NEWEST_FIRST, BOOK, *[raw.encode() for raw in EXAMPLE], ACK, REFUSED, *QUIET]
# https://docs.kraken.com/api/docs/rest-api/get-recent-trades
PAGE = (
    b'{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044952],'
    b'["30243.30000","0.00376960",1688669598.2804112,"s","l","",61044953],'
    b'["30243.30000","0.01235716",1688669602,"s","m","",61044956]],"last":"1688671969993150842"}}'
)
HOLE = Hole("BTC-USD", 61044952, 61044953, 1688669597_000000_000, 1688669602_000000_000)
# https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs
PAIRS = json.dumps({"error": [], "result": {
    "XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD", "lot_decimals": 8, "pair_decimals": 1, "tick_size": "0.1",
                 "status": "online"},
    "XDGUSD": {"altname": "XDGUSD", "wsname": "XDG/USD", "lot_decimals": 8, "pair_decimals": 7, "status": "online"},
    "OLD": {"altname": "OLD", "wsname": "OLD/USD", "lot_decimals": 8, "pair_decimals": 7, "status": "cancel_only"},
    "ODD": {"altname": "ODD", "wsname": "A_B/USD", "lot_decimals": 8, "pair_decimals": 7, "status": "online"},
    "XXBTZUSD.d": {"altname": "XBTUSD.d", "lot_decimals": 8, "status": "online"},
}}).encode()  # fmt: skip


def change(raw, **fields):
    """The frame with some fields of its first datum changed; `...` takes one out."""
    whole = json.loads(raw)
    whole["data"][0].update(fields)
    for field in [field for field, value in fields.items() if value is ...]:
        del whole["data"][0][field]
    return json.dumps(whole).encode()


def refused(raw):
    with pytest.raises(ParseError) as caught:
        VENUE.parse(raw)
    return caught.value


# ---------------------------------------------------------------------- what arrives


def test_a_trade():
    assert VENUE.parse(TRADE) == [Trade("MATIC-USD", 1695628177_708706_000, 4665906, 5117, 4, 40, 0, taker_buy=False)]


def test_a_number_with_an_exponent_is_exact_and_the_order_of_fields_does_not_matter():
    assert VENUE.parse(TWO) == [
        Trade("BTC-USD", 1695628116_925533_000, 4665846, 270001, 1, 1, 4, taker_buy=True),
        Trade("BTC-USD", 1695628116_925533_000, 4665847, 270002, 1, 1, 5, taker_buy=True),
    ]


def test_a_snapshot_comes_by_rising_id_whatever_its_order():
    assert [trade.trade_id for trade in VENUE.parse(NEWEST_FIRST)] == [4665845, 4665846]


@pytest.mark.parametrize(
    ("written", "exact"),
    [("1e-05", "0.00001"), ("1.50E-3", "0.00150"), ("12.5e1", "125"), ("1E+3", "1000"), ("1.5e0", "1.5"),
     ("45283.50", "45283.50"), ("0.00000000", "0.00000000"), ("123456789012345678.25", "123456789012345678.25")],
)  # fmt: skip
def test_a_level_has_each_digit_that_was_written(written, exact):
    assert VENUE.parse(BOOK.replace(b"1098.3947558", written.encode()))[0].bids == [["0.5657", exact]]


def test_a_change_of_the_book():
    assert VENUE.parse(BOOK) == [
        DepthUpdate("MATIC-USD", 1696613755_440295_000, 0, 0, [["0.5657", "1098.3947558"]], [], -1, 2114181697)
    ]


def test_the_levels_of_the_documented_example_give_its_checksum():
    (book,) = VENUE.parse(EXAMPLE[0].encode())
    assert book.is_snapshot and book.event_ns == 0 and book.checksum == 3310070434
    text = "".join(number.replace(".", "").lstrip("0") for level in book.asks + book.bids for number in level)
    assert zlib.crc32(text.encode()) == book.checksum


def test_a_change_of_the_book_and_a_heartbeat_are_skimmed():
    assert VENUE.skim(BOOK) == 1696613755_440295_000 and VENUE.skim(QUIET[0]) == 0
    assert [VENUE.skim(raw.encode()) is None for raw in EXAMPLE] == [True, False, False]
    for raw in (TRADE, ACK, BOOK.replace(b"2023-10", b"2023-13"), BOOK.replace(b"0.5657", b"-1"), BOOK + b" "):
        assert VENUE.skim(raw) is None


@pytest.mark.parametrize("raw", QUIET)
def test_what_needs_no_answer_is_no_event(raw):
    assert VENUE.parse(raw) == []


def test_an_ack_names_its_request_and_its_stream():
    assert VENUE.parse(ACK) == [Ack(7, None, (Topic("MATIC-USD", "trade"),))]
    book = ACK.replace(b'"trade"', b'"book"').replace(b'"subscribe"', b'"unsubscribe"')
    assert VENUE.parse(book) == [Ack(7, None, (Topic("MATIC-USD", "depth"),))]


def test_a_refusal_names_the_symbol_in_every_channel():
    topics = (Topic("FOO-USD", "trade"), Topic("FOO-USD", "depth"))
    assert VENUE.parse(REFUSED) == [Ack(8, "Currency pair not supported FOO/USD", topics)]
    assert VENUE.parse(b'{"error":"Exceeded msg rate","method":"subscribe","success":false}') == [
        Ack(None, "Exceeded msg rate")
    ]


def test_a_refusal_that_quotes_what_looks_like_a_field_is_understood():
    raw = b'{"error":"bad \\"depth\\":7, ask","method":"subscribe","req_id":8,"success":false}'
    assert VENUE.parse(raw) == [Ack(8, 'bad "depth":7, ask')]
    assert shown(VENUE.take([TRADE, raw, TRADE])) == shown(alone(VENUE, [TRADE, raw, TRADE]))


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"price": 0}, "not a positive number", "price"),
        ({"price": -1.5}, "not a decimal string", "price"),
        ({"price": ...}, "not a decimal string", "price"),
        ({"qty": "1e-99"}, "more digits than wick keeps", "qty"),
        ({"qty": "1.2.3"}, "not a plain decimal", "qty"),
        ({"side": "b"}, "bad side", "side"),
        ({"symbol": "BTC-USD"}, "bad symbol", "symbol"),
        ({"trade_id": 1.5}, "bad id", "trade_id"),
        ({"trade_id": 2**63}, "bad id", "trade_id"),
        ({"timestamp": "2023-09-25 07:49:37.708706Z"}, "bad time", "timestamp"),
        ({"timestamp": "1970-01-01T00:00:00Z"}, "absurd time", "timestamp"),
    ],
)
def test_a_trade_that_makes_no_sense_says_where(changes, reason, field):
    error = refused(change(TRADE, **changes))
    assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize(
    "changes",
    [{"bids": ...}, {"bids": [[1, 2]]}, {"asks": [{"price": 1}]}, {"asks": [{"price": "x", "qty": 1}]}, {"symbol": 5},
     {"checksum": 2**32}, {"checksum": "-1"}, {"checksum": ...}, {"bids": [{"price": None, "qty": 1}]}],
)  # fmt: skip
def test_a_book_that_makes_no_sense_is_refused(changes):
    refused(change(BOOK, **changes))


ROW = TRADE[len(b'{"channel":"trade","type":"update","data":[') : -2]
HEAD = TRADE[: -len(ROW) - 2]


@pytest.mark.parametrize(
    "frames",
    [[TRADE + b"\n" + TRADE], [TRADE + b"\n", TRADE], [TRADE[:-2], TRADE], [HEAD, ROW + b"]}"], [HEAD + b"]}", TRADE],
     [HEAD + ROW + ROW + b"]}"], [HEAD + ROW + b",]}"], [HEAD + b"," + ROW + b"]}"], [HEAD + ROW + b",\n" + TRADE],
     [HEAD + ROW + b" ]}", TRADE], [TRADE + b"x"], [TRADE[:-1]], [TRADE, TRADE[:-2] + b"," + ROW, TRADE],
     [HEAD + ROW + b"]}\n" + HEAD + ROW, TRADE], [TRADE.replace(b"40.0", b"0.0"), TRADE],
     [TRADE.replace(b"2023-09-25", b"2023-02-30"), TRADE], [TRADE.replace(b"0.5117", b"9" * 12 + b"." + b"9" * 18)]],
)  # fmt: skip
def test_trades_by_their_bytes_are_what_their_json_is(frames):
    assert shown(VENUE.take(frames)) == shown(alone(VENUE, frames))
    assert shown(VENUE.take([TRADE, BOOK, *frames, TRADE])) == shown(alone(VENUE, [TRADE, BOOK, *frames, TRADE]))


def test_many_trades_are_taken_with_and_without_books_between_them():
    many = [TRADE.replace(b"4665906", b"%d" % number) for number in range(300)]
    assert [trade.trade_id for trade in VENUE.take(many)] == [*range(300)]
    many[100:200] = [BOOK, b"{"] * 50
    assert shown(VENUE.take(many)) == shown(alone(VENUE, many))


def test_one_bad_trade_refuses_its_message_and_no_other():
    bad = TWO.replace(b'"side":"buy"', b'"side":"?"', 1)
    assert [type(one) for one in VENUE.take([TRADE, bad, TWO])] == [Trade, Refused, Trade, Trade]


# ---------------------------------------------------------------------- what is asked for


def test_a_request_has_one_channel_and_not_too_many_symbols():
    topics = [Topic(f"C{number}-USD", "trade") for number in range(SYMBOLS_A_REQUEST + 1)] + [Topic("BTC-USD", "depth")]
    requests = VENUE.subscribe(topics, 5)
    assert [request.id for request in requests] == [5, 6, 7]
    assert [topic for request in requests for topic in request.topics] == topics
    params = [orjson.loads(request.raw)["params"] for request in requests]
    assert [len(one["symbol"]) for one in params] == [SYMBOLS_A_REQUEST, 1, 1]
    assert params[0]["channel"] == "trade" and params[0]["snapshot"] is True
    assert params[2] == {"channel": "book", "symbol": ["BTC/USD"], "depth": DEPTH, "snapshot": True}


def test_a_book_is_left_as_it_was_asked_for():
    (request,) = VENUE.unsubscribe([Topic("BTC-USD", "depth")])
    assert orjson.loads(request.raw) == {
        "method": "unsubscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": DEPTH}, "req_id": 1,
    }  # fmt: skip
    assert orjson.loads(VENUE.ping()) == {"method": "ping"}


@pytest.mark.parametrize("old", ["BTC/USD", "XBT/USD", "BTC-USD", "XBT-USD"])
def test_old_names_are_the_new_ones(old):
    assert VENUE.native(old) == "BTC/USD"
    assert VENUE.symbol(VENUE.native(old)) == "BTC-USD"
    assert VENUE.symbol("ETH/XBT") == "ETH-BTC" and VENUE.native("DOGE-USD") == "DOGE/USD"


# ---------------------------------------------------------------------- REST


def test_the_symbols_that_trade():
    assert VENUE.parse_symbols(PAIRS) == [
        Instrument("BTC/USD", "BTC-USD", "0.1", "0.00000001"),
        Instrument("DOGE/USD", "DOGE-USD", "0.0000001", "0.00000001"),
    ]


def test_a_page_of_old_trades_is_cut_to_the_hole_and_its_times_are_exact():
    assert VENUE.parse_backfill(HOLE, PAGE) == [
        Trade("BTC-USD", 1688669597_827736900, 61044952, 302434, 1, 34507674, 8, taker_buy=True),
        Trade("BTC-USD", 1688669598_280411200, 61044953, 302433, 1, 37696, 7, taker_buy=False),
    ]
    assert (
        VENUE.parse_backfill(HOLE._replace(first_id=61044956, last_id=61044956), PAGE)[0].event_ns == 1688669602 * 10**9
    )


def test_old_trades_are_asked_for_by_the_old_name_from_a_little_before_the_hole():
    assert VENUE.backfill_path(HOLE) == "/0/public/Trades?pair=XBTUSD&since=1688669596999999000&count=1000"
    assert "since=0&" in VENUE.backfill_path(HOLE._replace(from_ns=0))


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"error":["EGeneral:Too many requests"]}',
     b'{"error":[],"result":[]}', b'{"error":[],"result":{"X":5}}', b'{"error":[],"result":{"X":[[]]}}',
     PAGE.replace(b"1688669597.8277369", b"NaN"),
     PAGE.replace(b"1688669597.8277369", b"1e9"), PAGE.replace(b'"b"', b"null"), PAGE.replace(b"61044952", b'"6"'),
     PAGE.replace(b'"30243.40000"', b"30243.4e99")],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_refused(raw):
    with pytest.raises(ParseError):
        VENUE.parse_backfill(HOLE, raw)
    with pytest.raises(ParseError):
        VENUE.parse_symbols(raw)


def test_the_first_trade_of_a_moment_is_the_first_of_a_page():
    assert (
        VENUE.parse_since("BTC-USD", PAGE)
        == VENUE.parse_backfill(HOLE._replace(first_id=0, last_id=2**62), PAGE)[0].trade_id
    )
    assert VENUE.parse_since("BTC-USD", b'{"error":[],"result":{"XXBTZUSD":[],"last":"0"}}') is None
    with pytest.raises(ParseError):
        VENUE.parse_since("BTC-USD", b'{"error":[],"result":{"XXBTZUSD":1,"last":"0"}}')
