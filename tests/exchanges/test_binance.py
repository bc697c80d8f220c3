"""Binance spot: real frames become events, and whatever else arrives is a ParseError that says where and what."""

import gzip
import json
import struct
from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.cli.making import RECORDINGS
from wick.errors import ParseError
from wick.exchanges import Hole, Instrument, load
from wick.exchanges.binance import PARAMS_A_REQUEST, QUOTE_ASSETS
from wick.market.trades import Ack, DepthSnapshot, DepthUpdate, Quote, Shutdown, Topic, Trade
from wick.wire.messages import pack_quote, pack_trade

VENUE = load("binance")

# As received on 2024-08-08.
TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,'
    b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
)
QUOTE = (
    b'{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
    b'"a":"61837.64000000","A":"1.54698000"}}'
)
DEPTH = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":50093239189,'
    b'"u":50093239202,"b":[["61737.63000000","0.00000000"],["61730.17000000","0.00000000"]],'
    b'"a":[["61837.64000000","1.54698000"]]}}'
)
BOOK = b'{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[]}'
AGGREGATE = (
    b'{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,'
    b'"T":1672515782136,"m":true,"M":true}'
)

GOOD = [
    TRADE, QUOTE, DEPTH, BOOK, AGGREGATE, b'{"result":null,"id":1}', b'{"e":"serverShutdown","E":1723161255343}',
    b'{"error":{"code":2,"msg":"Invalid request"},"id":7}',
]  # fmt: skip


def frame(raw, **changes):
    """The frame with some fields of its event changed; None takes one out."""
    whole = json.loads(raw)
    data = whole.get("data", whole)
    for field, value in changes.items():
        if value is None:
            del data[field]
        else:
            data[field] = value
    return json.dumps(whole).encode()


def refused(raw):
    with pytest.raises(ParseError) as caught:
        VENUE.parse(raw)
    return caught.value


# ---------------------------------------------------------------------- what arrives


def test_a_trade():
    assert VENUE.parse(TRADE) == [
        Trade("BTC-USDT", 1723161255342_000000, 3735683259, 6183763, 2, 2, 2, taker_buy=False, matches=1)
    ]


def test_the_same_event_without_its_envelope_is_the_same():
    assert VENUE.parse(json.dumps(json.loads(TRADE)["data"]).encode()) == VENUE.parse(TRADE)


@pytest.mark.parametrize(("buyer_is_maker", "taker_buy"), [(True, False), (False, True)])
def test_where_the_buyer_is_the_maker_the_taker_sold(buyer_is_maker, taker_buy):
    for raw in (TRADE, AGGREGATE):
        assert VENUE.parse(frame(raw, m=buyer_is_maker))[0].taker_buy is taker_buy


def test_a_quote_has_both_its_prices_and_both_its_sizes_in_common_units():
    assert VENUE.parse(QUOTE) == [Quote("BTC-USDT", 50093239212, 6183763, 378826, 6183764, 154698, 2, 5)]
    assert VENUE.parse(frame(QUOTE, b="61837", A="1.5")) == [
        Quote("BTC-USDT", 50093239212, 6183700, 378826, 6183764, 150000, 2, 5)
    ]


def test_an_empty_side_of_the_book_is_no_error():
    assert VENUE.parse(frame(QUOTE, b="0.00000000", B="0.00000000"))[0].bid == 0


def test_a_change_of_the_book():
    assert VENUE.parse(DEPTH) == [
        DepthUpdate(
            "BTC-USDT", 1723161255208_000000, 50093239189, 50093239202,
            [["61737.63000000", "0.00000000"], ["61730.17000000", "0.00000000"]], [["61837.64000000", "1.54698000"]],
        )
    ]  # fmt: skip


def test_a_whole_book_as_rest_gives_it():
    assert VENUE.parse(BOOK) == [DepthSnapshot(50093239218, [["61837.63000000", "3.78826000"]], [])]


def test_an_aggregate_trade_stands_for_the_trades_between_its_ids():
    assert VENUE.parse(AGGREGATE) == [Trade("BNB-BTC", 1672515782136_000000, 12345, 1, 3, 100, 0, False, matches=6)]


@pytest.mark.parametrize("time", [1723161255342, 1723161255342_000])
def test_milliseconds_and_microseconds_are_both_nanoseconds_here(time):
    assert VENUE.parse(frame(TRADE, T=time))[0].event_ns == 1723161255342_000000


def test_a_microsecond_is_not_lost():
    assert VENUE.parse(frame(TRADE, T=1723161255342_789))[0].event_ns == 1723161255342_789000


@pytest.mark.parametrize(
    ("raw", "ack"),
    [
        (b'{"result":null,"id":1}', Ack(1, None)),
        (b'{"result":["btcusdt@trade"],"id":"x"}', Ack("x", None)),
        (b'{"error":{"code":2,"msg":"Invalid request"},"id":7}', Ack(7, "2 Invalid request")),
        (b'{"code":-1121,"msg":"Invalid symbol."}', Ack(None, "-1121 Invalid symbol.")),
        (b'{"error":"out of order","id":null}', Ack(None, "out of order")),
    ],
)
def test_an_answer_to_a_request(raw, ack):
    assert VENUE.parse(raw) == [ack]


def test_a_shutdown_is_announced():
    assert VENUE.parse(b'{"e":"serverShutdown","E":1723161255343}') == [Shutdown(1723161255343_000000)]


# ---------------------------------------------------------------------- what cannot be

ABSURD_NUMBERS = [
    "NaN", "Infinity", "-1", "+1", "1e5", "1e400", "", " 1", "1 ", "0x10", "1,5", "1_000", ".5", "5.", "٣", "9" * 20,
    "0." + "0" * 60 + "1", "0." + "0" * 300 + "1", 1.5, 1, True, ["1"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", ABSURD_NUMBERS, ids=repr)
@pytest.mark.parametrize(("raw", "field"), [(TRADE, "p"), (TRADE, "q"), *[(QUOTE, field) for field in "bBaA"]])
def test_an_absurd_number_is_refused_with_its_field_and_value(raw, field, value):
    error = refused(frame(raw, **{field: value}))
    assert (error.field, error.value) == (field, value)


@pytest.mark.parametrize(("raw", "field"), [(DEPTH, "b"), (DEPTH, "a"), (BOOK, "bids"), (BOOK, "asks")])
@pytest.mark.parametrize(
    "levels",
    ["x", 5, {"1": "2"}, ["12"], [{"1": 1, "2": 2}], [["1"]], [["1", "2", "3"]], [["1", 2]], [["1", None]], [1], [None],
     [["1", "-2"]], [["NaN", "1"]], [["1e5", "1"]], [["1", ""]], [["1\n2", "3"]], [["1", "2\n"]], [["1", "9" * 21]]],
    ids=repr,
)  # fmt: skip
def test_absurd_levels_are_refused_with_their_field(raw, field, levels):
    assert refused(frame(raw, **{field: levels})).field == field


@pytest.mark.parametrize("value", ["0", "0.00000000"])
@pytest.mark.parametrize("field", ["p", "q"])
def test_a_trade_of_nothing_is_refused(field, value):
    assert refused(frame(TRADE, **{field: value})).reason == "not a positive number"


@pytest.mark.parametrize("value", [-1, 2**63, 2**64, 2**70, 1.0, 1e30, "1", True, [1]], ids=repr)
@pytest.mark.parametrize(
    ("raw", "field"), [(TRADE, "t"), (QUOTE, "u"), (DEPTH, "U"), (DEPTH, "u"), (BOOK, "lastUpdateId"), (AGGREGATE, "a"),
                       (AGGREGATE, "f"), (AGGREGATE, "l")]
)  # fmt: skip
def test_an_absurd_id_is_refused_with_its_field(raw, field, value):
    error = refused(frame(raw, **{field: value}))
    assert (error.reason, error.field) == ("bad id", field)


def test_an_update_that_ends_before_it_begins_is_refused_and_not_skimmed():
    raw = DEPTH.replace(b'"u":50093239202', b'"u":50093239188')
    assert refused(raw).field == "U"
    assert VENUE.skim(DEPTH) is not None and VENUE.skim(raw) is None


@pytest.mark.parametrize(("first", "last"), [(106, 105), (0, 2**63 - 1)])
def test_an_aggregate_of_an_impossible_count_is_refused(first, last):
    assert refused(frame(AGGREGATE, f=first, l=last)).field == "l"


@pytest.mark.parametrize(
    "value", [0, -1, 1, 1723161255, 1_230_767_999_999, 4_102_444_800_000, 4_102_444_800_000_000, 2**63, 2**80, "now",
              1723161255342.0, True], ids=repr
)  # fmt: skip
@pytest.mark.parametrize(("raw", "field"), [(TRADE, "T"), (DEPTH, "E"), (AGGREGATE, "T")])
def test_an_absurd_time_is_refused_with_its_field(raw, field, value):
    error = refused(frame(raw, **{field: value}))
    assert error.field == field and error.reason in ("absurd time", "bad time")


@pytest.mark.parametrize("value", ["yes", 1, 0, "true", []], ids=repr)
def test_a_side_that_is_not_true_or_false_is_refused(value):
    assert refused(frame(TRADE, m=value)).field == "m"


@pytest.mark.parametrize(
    "value", ["", "BTC-USDT", "BTC USDT", "A", "X" * 41, "BTC\nUSDT", "BTC/USDT", "\u202eBTC", 5, ["BTCUSDT"]], ids=repr
)
@pytest.mark.parametrize("raw", [TRADE, QUOTE, DEPTH, AGGREGATE], ids=["trade", "quote", "depth", "aggregate"])
def test_an_impossible_symbol_is_refused(raw, value):
    error = refused(frame(raw, s=value))
    assert (error.reason, error.field) == ("bad symbol", "s")


@pytest.mark.parametrize(
    ("raw", "fields"),
    [(TRADE, "stpqTm"), (QUOTE, "sbBaA"), (DEPTH, "EsUuba"), (AGGREGATE, "sapqflTm")],
    ids=["trade", "quote", "depth", "aggregate"],
)  # fmt: skip
def test_a_missing_field_is_named(raw, fields):
    for field in fields:
        assert refused(frame(raw, **{field: None})).field == field


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"null", b"[]", b"7", b'"text"', b"NaN", b'{"data":[]}', b'{"data":5}', b"\xff\xfe", b'{"p":1e400}',
     TRADE[:-1]],
)  # fmt: skip
def test_a_frame_that_is_no_message_is_corrupt(raw):
    assert refused(raw).reason == "corrupt frame"


@pytest.mark.parametrize("raw", [b"{}", b'{"e":"kline"}', b'{"e":null}', b'{"e":["trade"]}', b'{"data":{}}'])
def test_an_event_that_nobody_knows_is_refused(raw):
    assert refused(raw).reason == "unknown event"


@pytest.mark.parametrize(
    "place",
    ['{"e":%s}', '{"e":"trade","p":%s}', '{"e":"trade","p":"1","q":"1","m":%s}', '{"lastUpdateId":1,"bids":%s}',
     '{"lastUpdateId":%s}', '{"data":%s}', "%s"],
)  # fmt: skip
def test_a_hostile_nesting_is_refused_like_anything_else(place):
    refused((place % ("[" * 1000 + "]" * 1000)).encode())


def test_a_hostile_nesting_in_an_error_answer_is_a_short_text():
    (ack,) = VENUE.parse(b'{"id":1,"error":' + b"[" * 1000 + b"]" * 1000 + b"}")
    assert ack.error and len(ack.error) <= 200


@given(st.binary(max_size=100))
@example(b'{"e":"trade"}')
def test_any_bytes_are_events_or_a_parse_error(raw):
    try:
        VENUE.parse(raw)
    except ParseError as error:
        assert error.reason


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["trade", "aggTrade", "depthUpdate", "serverShutdown", "1.5", "9223372036854775807", "0.0000000001",
                     "BTCUSDT", 1723161255342, 4_102_444_799_999, 2**63 - 1]),
)  # fmt: skip
FIELDS = st.one_of(st.sampled_from("eEstpqTmuUbBaAfl"), st.text(max_size=3))
JSON = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(FIELDS, v, max_size=3)), max_leaves=10
)
DECODED = [json.loads(raw) for raw in (TRADE, QUOTE, DEPTH, BOOK, AGGREGATE)]
EVENTS = st.sampled_from([whole.get("data", whole) for whole in DECODED])
CHANGED = st.builds(
    lambda event, changes: {**event, **changes},
    EVENTS, st.dictionaries(st.sampled_from("eEstpqTmuUbBaAfl"), JSON, max_size=3),
)  # fmt: skip


@given(st.one_of(JSON, CHANGED))
def test_any_json_is_a_parse_error_or_events_that_fit_their_records(value):
    try:
        raw = orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits
        raw = json.dumps(value).encode("utf-8", "surrogatepass")
    try:
        events = VENUE.parse(raw)
    except ParseError as error:
        assert error.reason and len(str(error)) < 400
        return
    for event in events:
        if isinstance(event, Trade):
            assert len(pack_trade(event, 1)) == 64
        elif isinstance(event, Quote):
            assert len(pack_quote(event, 1)) == 64


def test_prices_too_far_apart_for_common_units_are_refused():
    raw = frame(QUOTE, b="9000000000000000000", a="0.000000000000000001")
    assert refused(raw).reason == "more digits than wick keeps"


@pytest.mark.parametrize("number", ["9223372036854775807", "0.000000000000000001", "123456789.123456789"])
def test_what_is_accepted_fits_a_record(number):
    (trade,) = VENUE.parse(frame(TRADE, p=number, q=number))
    assert struct.calcsize("<8q") == len(pack_trade(trade, 1))


# ---------------------------------------------------------------------- names and requests


@pytest.mark.parametrize(
    ("native", "symbol"),
    [("BTCUSDT", "BTC-USDT"), ("BTCFDUSD", "BTC-FDUSD"), ("ETHBTC", "ETH-BTC"), ("BNBU", "BNB-U"),
     ("USDTTRY", "USDT-TRY"), ("1000SATSUSDT", "1000SATS-USDT"), ("BTCEURI", "BTC-EURI"),
     ("币安人生USDT", "币安人生-USDT"), ("FDUSDUSDT", "FDUSD-USDT"), ("BTCXYZ", "BTCXYZ"), ("USDT", "USDT")],
)  # fmt: skip
def test_a_native_name_is_normalised_and_comes_back(native, symbol):
    assert VENUE.symbol(native) == symbol
    assert VENUE.native(symbol) == native
    assert VENUE.symbol(symbol) == symbol and VENUE.native(native) == native


@given(st.from_regex(r"[A-Z0-9]{2,12}", fullmatch=True))
def test_every_native_name_comes_back(native):
    assert VENUE.native(VENUE.symbol(native)) == native


def test_the_longest_quote_asset_wins():
    assert [len(asset) for asset in QUOTE_ASSETS] == sorted(map(len, QUOTE_ASSETS), reverse=True)
    assert len(set(QUOTE_ASSETS)) == len(QUOTE_ASSETS)


@pytest.mark.parametrize(("ask", "method"), [(VENUE.subscribe, "SUBSCRIBE"), (VENUE.unsubscribe, "UNSUBSCRIBE")])
def test_a_request_names_every_stream_once_and_is_of_a_bounded_size(ask, method):
    topics = [Topic(f"A{number}-USDT", channel) for number in range(300) for channel in ("trade", "depth")]
    requests = ask(topics, 7)
    frames = [json.loads(request.raw) for request in requests]
    params = [name for sent in frames for name in sent["params"]]
    assert params == [f"a{n}usdt@{kind}" for n in range(300) for kind in ("trade", "depth@100ms")]
    assert max(len(sent["params"]) for sent in frames) == PARAMS_A_REQUEST
    assert [sent["id"] for sent in frames] == [request.id for request in requests] == [7, 8, 9]
    assert {sent["method"] for sent in frames} == {method}
    assert [topic for request in requests for topic in request.topics] == topics
    assert ask([]) == []


def test_quotes_are_the_book_ticker():
    (request,) = VENUE.subscribe([Topic("BTC-USDT", "quote")])
    assert json.loads(request.raw)["params"] == ["btcusdt@bookTicker"]


# ---------------------------------------------------------------------- REST

LISTED = {
    "symbol": "BTCUSDT", "status": "TRADING",
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "stepSize": "0.00001000"}, {"filterType": "ICEBERG_PARTS", "limit": 10},
    ],
}  # fmt: skip


def test_what_trades_is_listed_with_its_steps():
    raw = json.dumps({"symbols": [LISTED, {"symbol": "LUNAUSDT", "status": "BREAK"}]}).encode()
    assert VENUE.parse_symbols(raw) == [Instrument("BTCUSDT", "BTC-USDT", "0.01000000", "0.00001000")]


@pytest.mark.parametrize("filters", [[], [{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}]])
def test_a_step_that_is_not_told_is_empty(filters):
    raw = json.dumps({"symbols": [{**LISTED, "filters": filters}]}).encode()
    assert VENUE.parse_symbols(raw) == [Instrument("BTCUSDT", "BTC-USDT", "", "")]


def test_a_name_that_no_stream_could_have_is_passed_over():
    raw = json.dumps({"symbols": [{**LISTED, "symbol": "A/B"}, LISTED]}).encode()
    assert [one.native for one in VENUE.parse_symbols(raw)] == ["BTCUSDT"]


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"7", b"null", b"{}", b'{"symbols":5}', b'{"symbols":[5]}', b'{"symbols":[{"symbol":"A"}]}',
     b'{"symbols":[{"symbol":7,"status":"TRADING"}]}', b'{"symbols":{"a":1}}',
     b'{"symbols":[{"symbol":"AB","status":"TRADING","filters":[5]}]}',
     b'{"symbols":[{"symbol":"AB","status":"TRADING","filters":[{"filterType":"LOT_SIZE","stepSize":"x"}]}]}',
     b'{"symbols":[{"symbol":"AB","status":"TRADING","filters":[{"filterType":[]}]}]}'],
)  # fmt: skip
def test_a_list_of_symbols_that_is_none_is_a_parse_error(raw):
    with pytest.raises(ParseError):
        VENUE.parse_symbols(raw)


@pytest.mark.parametrize(
    ("levels", "limit"), [(1, 5), (5, 5), (6, 10), (1000, 1000), (1001, 5000), (9999, 5000)]
)  # fmt: skip
def test_a_snapshot_has_at_least_the_levels_that_are_asked_for(levels, limit):
    assert VENUE.snapshot_path("BTC-USDT", levels) == f"/api/v3/depth?symbol=BTCUSDT&limit={limit}"


def test_a_name_in_another_script_is_quoted_in_an_address():
    assert VENUE.snapshot_path("币安人生-USDT", 5) == (
        "/api/v3/depth?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&limit=5"
    )


def test_rests_book_is_read():
    assert VENUE.parse_snapshot(BOOK) == VENUE.parse(BOOK)[0]
    for raw in (b"", b"[]", b"{}", b'{"lastUpdateId":1,"bids":[],"asks":5}'):
        with pytest.raises(ParseError):
            VENUE.parse_snapshot(raw)


HOLE = Hole("BTC-USDT", 28457, 28459, 0, 2**62)
ROW = {"id": 28457, "price": "4.00000100", "qty": "12.00000000", "time": 1499865549590, "isBuyerMaker": True}


def test_missing_trades_are_asked_for_by_the_first_id():
    assert VENUE.backfill_path(HOLE) == "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=28457&limit=3"
    assert VENUE.backfill_path(HOLE._replace(last_id=10**6)).endswith("&limit=1000")


def test_missing_trades_come_by_rising_id_each_once_and_only_those_of_the_hole():
    rows = [{**ROW, "id": number} for number in (28459, 28457, 28458, 28458, 28460, 1)]
    trades = VENUE.parse_backfill(HOLE, json.dumps(rows).encode())
    assert [one.trade_id for one in trades] == [28457, 28458, 28459]
    assert trades[0] == Trade("BTC-USDT", 1499865549590_000000, 28457, 4000001, 6, 12, 0, taker_buy=False)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[5]", b"[{}]", b'{"code":-1121,"msg":"Invalid symbol."}',
     *[json.dumps([{**ROW, field: None}]).encode() for field in ROW]],
)  # fmt: skip
def test_missing_trades_that_make_no_sense_are_a_parse_error(raw):
    with pytest.raises(ParseError):
        VENUE.parse_backfill(HOLE, raw)


# ---------------------------------------------------------------------- real recordings


@pytest.mark.slow
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data/binance-spot is not there")
@pytest.mark.parametrize("name", ["btcusdt", "ethusdt"])
def test_a_real_recording_is_read_whole_and_in_order(name):
    frames = []
    for path in sorted(RECORDINGS.glob(f"*{name}*.gz")):
        frames += [line.split(b" ", 1)[1] for line in gzip.decompress(path.read_bytes()).splitlines()]
    events = VENUE.take(frames)
    assert len(events) == len(frames) and events == [event for raw in frames for event in VENUE.parse(raw)]
    trades = [event.trade_id for event in events if isinstance(event, Trade)]
    assert trades == list(range(trades[0], trades[0] + len(trades))) and len(trades) > 10_000
    updates = [event for event in events if isinstance(event, DepthUpdate)]
    assert all(one.first_update_id == last.last_update_id + 1 for last, one in pairwise(updates))
    assert {type(event) for event in events} == {Trade, Quote, DepthUpdate, DepthSnapshot}
    assert {event.symbol for event in events if not isinstance(event, DepthSnapshot)} == {VENUE.symbol(name)}


def test_a_snapshot_weighs_what_its_levels_do() -> None:
    assert [VENUE.snapshot_weight(levels) for levels in (10, 100, 101, 1_000, 1_001, 9_000)] == [5, 5, 25, 50, 250, 250]


# ---------------------------------------------------------------------- the past

KLINE = [1499040000000, "0.01634790", "0.80000000", "0.01575800", "0.01577100", "148976.11427815", 1499644799999,
         "2434.19055334", 308, "1756.87402397", "28.46694368", "0"]  # fmt: skip


def test_its_own_candles_are_read_to_the_last_digit():
    [kline] = VENUE.parse_candles(json.dumps([KLINE]).encode())
    assert kline.open_ms == 1499040000000 and kline.trades == 308
    assert (kline.open, kline.high, kline.low, kline.close) == ((163479, 7), (8, 1), (15758, 6), (15771, 6))
    assert kline.volume == (14897611427815, 8) and kline.taker_buy_quote_volume == (2846694368, 8)
    assert VENUE.candles_path("BTC-USDT", "1m", 7, 9).endswith("symbol=BTCUSDT&interval=1m&startTime=7&limit=9")


@pytest.mark.parametrize("place", range(11))
@pytest.mark.parametrize("value", [None, "x", -1, 1.5, [], "-1"])
def test_a_candle_that_makes_no_sense_is_refused(place, value):
    if place == 6:  # when it closes is known by when it opens
        return
    with pytest.raises(ParseError):
        VENUE.parse_candles(json.dumps([[*KLINE[:place], value, *KLINE[place + 1 :]]]).encode())


def test_the_first_trade_of_a_moment_is_that_of_its_aggregate():
    row = {"a": 26129, "p": "0.01", "q": "4.7", "f": 27781, "l": 27783, "T": 1498793709153, "m": True, "M": True}
    assert VENUE.parse_since("BTC-USDT", json.dumps([row]).encode()) == 27781
    assert VENUE.parse_since("BTC-USDT", b"[]") is None
    assert "startTime=2&" in VENUE.since_path("BTC-USDT", 1_000_001)  # not before that moment
    for raw in (b"{}", b"[1]", b'[{"a":1}]', b"x"):
        with pytest.raises(ParseError):
            VENUE.parse_since("BTC-USDT", raw)
