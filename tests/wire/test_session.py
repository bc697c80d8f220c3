"""What clients may say: a request is understood, or refused by an error that names the field and what is valid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ProtocolError, WireError
from wick.market.intervals import NAMES
from wick.wire.codec import pack, unpack, unpack_json
from wick.wire.session import CloseCode, Kind, Request, Topic, parse_request, parse_topic


@pytest.mark.parametrize("kind", [Kind.SUBSCRIBE, Kind.UNSUBSCRIBE])
def test_a_request_is_understood(kind):
    request = parse_request(unpack(pack([kind, 7, ["ticker:binance:*"]])))
    assert request == Request(kind, 7, ["ticker:binance:*"])


def test_a_ping_needs_no_topics():
    assert parse_request([18, 3]) == Request(Kind.PING, 3, [])


@pytest.mark.parametrize(
    ("message", "code", "field"),
    [
        (None, "bad_message", "message"),
        ({}, "bad_message", "message"),
        ([], "bad_message", "message"),
        ("text", "bad_message", "message"),
        ([99], "bad_kind", "kind"),
        ([0, 1], "bad_kind", "kind"),
        ([4, 1, []], "bad_kind", "kind"),
        (["16", 1, []], "bad_kind", "kind"),
        ([True, 1, []], "bad_kind", "kind"),
        ([16.0, 1, []], "bad_kind", "kind"),
        ([[16], 1, []], "bad_kind", "kind"),
        ([None, 1, []], "bad_kind", "kind"),
        ([16], "bad_id", "id"),
        ([16, "1", []], "bad_id", "id"),
        ([16, None, []], "bad_id", "id"),
        ([16, True, []], "bad_id", "id"),
        ([16, 1, "ticker"], "bad_topics", "topics"),
        ([16, 1, [1]], "bad_topics", "topics"),
        ([16, 1, None], "bad_topics", "topics"),
    ],
)
def test_a_request_that_is_none_is_refused_by_name(message, code, field):
    with pytest.raises(ProtocolError) as caught:
        parse_request(message)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert "valid is" in caught.value.message
    assert len(caught.value.value) <= 200


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda v: st.one_of(st.lists(v), st.dictionaries(st.text(), v)),
    max_leaves=8,
)


@given(st.one_of(VALUES, st.lists(st.one_of(st.integers(14, 20), VALUES), min_size=1, max_size=4)))
def test_whatever_a_client_says_is_a_request_or_a_protocol_error(message):
    try:
        assert parse_request(message).kind in (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PING)
    except ProtocolError as error:
        assert error.message


@pytest.mark.parametrize("depth", [10, 500, 1000, 1020])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_hostile_nesting_is_refused_like_anything_else(depth, place):
    before = [b"", b"\x10", b"\x10\x01"][place]
    packed = bytes([0x91 + place]) + before + b"\x91" * depth + b"\xc0"
    text = b"[" + [b"", b"16,", b"16,1,"][place] + b"[" * depth + b"]" * depth + b"]"
    for decode, data in ((unpack, packed), (unpack_json, text)):
        with pytest.raises(WireError):
            parse_request(decode(data))


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("ticker:binance:BTC-USDT", Topic("ticker", "binance", "BTC-USDT", -1)),
        ("ticker:binance:*", Topic("ticker", "binance", "*", -1)),
        ("candles:binance:BTC-USDT:1M", Topic("candles", "binance", "BTC-USDT", 11)),
        ("candles:binance:币安-USDT:15s", Topic("candles", "binance", "币安-USDT", 0)),
    ],
)
def test_a_topic_is_understood_and_written_as_it_was_read(text, topic):
    assert parse_topic(text) == topic
    assert topic.text == text


@pytest.mark.parametrize("name", NAMES)
def test_candles_show_the_head_and_the_candle_of_their_interval(name):
    assert parse_topic(f"candles:v:S:{name}").groups == {0: 0, NAMES.index(name) + 1: 1}
    assert parse_topic("ticker:v:S").groups == {0: 0}


@pytest.mark.parametrize(
    "text",
    ["", "ticker", "ticker:", "ticker::", "ticker:v:", "ticker::S", "ticker:v:S:1m", "candles:v:S", "candles:v::1m",
     "candles:v:S:1m:", "trades:v:S", "Ticker:v:S", " ticker:v:S", "ticker:v:" + "S" * 60_000],
)  # fmt: skip
def test_a_text_that_is_no_topic_is_refused_with_what_is_valid(text):
    with pytest.raises(ProtocolError, match="valid is ticker:<venue>:<symbol>") as caught:
        parse_topic(text)
    assert (caught.value.code, caught.value.field) == ("bad_topic", "topic")


def test_an_unknown_interval_is_refused_with_all_that_there_are():
    with pytest.raises(ProtocolError, match="15s, 30s, 1m") as caught:
        parse_topic("candles:v:S:2m")
    assert (caught.value.code, caught.value.field, caught.value.value) == ("bad_interval", "interval", "2m")


@given(st.text(max_size=40))
def test_any_text_is_a_topic_or_a_protocol_error(text):
    try:
        assert parse_topic(text).text == text
    except ProtocolError as error:
        assert "valid is" in error.message


def test_close_codes_say_whether_to_come_again():
    again = [code for code in CloseCode if 3000 <= code < 3500 or 4000 <= code < 4500]
    never = [code for code in CloseCode if 3500 <= code < 4000 or code >= 4500]
    assert (again, never) == ([CloseCode.SLOW], [CloseCode.BAD_REQUESTS])
