"""What clients may say: a request is understood, or refused by an error that names the field and what is valid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ProtocolError, WireError
from wick.wire.codec import pack, pack_json, unpack, unpack_json
from wick.wire.session import (
    CLOSES,
    MESSAGES,
    REQUESTS,
    CloseCode,
    Kind,
    Request,
    Topic,
    Wanted,
    parse_request,
    request_id,
)


@pytest.mark.parametrize("kind", [Kind.SUBSCRIBE, Kind.UNSUBSCRIBE])
def test_a_request_is_understood(kind):
    request = parse_request(unpack(pack([kind, 7, ["ticker:binance:*"]])))
    assert request == Request(kind, 7, [Wanted("ticker:binance:*")])


@pytest.mark.parametrize(("encode", "decode"), [(pack, unpack), (pack_json, unpack_json)])
def test_a_position_goes_through_both_forms(encode, decode):
    epoch = 1_763_900_000_000_000_000  # beyond 2^53: JSON has it as a text
    message = [16, 7, ["stats", ["ticker:binance:BTC-USDT", epoch, 12]]]
    request = parse_request(decode(encode(message)))
    assert request.topics == [Wanted("stats"), Wanted("ticker:binance:BTC-USDT", (epoch, 12))]


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
        ([16, 1], "bad_topics", "topics"),
        ([17, 1], "bad_topics", "topics"),
        ([16, 1, [["stats"]]], "bad_topics", "topics"),
        ([16, 1, [[1, 2, 3]]], "bad_topics", "topics"),
        ([17, 1, [["ticker:v:S", 1, 2]]], "bad_topics", "topics"),
        ([16, 1, [["ticker:v:S", -1, 2]]], "bad_position", "epoch"),
        ([16, 1, [["ticker:v:S", 1, 1 << 64]]], "bad_position", "seq"),
        ([16, 1, [["ticker:v:S", 1, None]]], "bad_position", "seq"),
        ([16, 1, [["ticker:v:S", 1, True]]], "bad_position", "seq"),
        ([16, 1, [["ticker:v:S", "1" * 21, 2]]], "bad_position", "epoch"),
        ([16, 1, [["ticker:v:S", "\u0661", 2]]], "bad_position", "epoch"),
    ],
)
def test_a_request_that_is_none_is_refused_by_name(message, code, field):
    with pytest.raises(ProtocolError) as caught:
        parse_request(message)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert "valid is" in caught.value.message
    assert caught.value.valid
    assert len(caught.value.value) <= 200


@pytest.mark.parametrize(
    ("message", "told"),
    [([16, 5, None], 5), ([99, 5], 5), ([16], None), ({}, None), ([16, "5"], None), ([16, True], None)],
)
def test_an_error_carries_the_id_of_its_request_where_that_can_be_told(message, told):
    assert request_id(message) == told


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


@pytest.mark.parametrize("text", ["ticker:*", "candles:v:A-B,C-D:1m", "candles:v:A-B:1m,5m", "book:v:A-B", "stats"])
def test_a_position_is_of_one_topic_that_has_positions(text):
    with pytest.raises(ProtocolError, match="valid is one topic with a position") as caught:
        Wanted(text, (1, 2)).pattern()
    assert (caught.value.code, caught.value.field, caught.value.value) == ("bad_position", "topic", text)
    assert Wanted(text).pattern().kind == text.partition(":")[0]


def test_a_topic_with_a_position_is_understood():
    assert Wanted("trades:v:A-B", (1, 2)).pattern(("v",)).single == Topic("trades", "v", "A-B", -1)


def test_every_message_is_declared_once_and_its_sender_is_known():
    assert [declared.kind for declared in MESSAGES] == list(Kind)
    assert [declared.kind for declared in MESSAGES if declared.sender == "client"] == list(REQUESTS)


def test_every_close_code_is_explained():
    assert [code for code, _, _ in CLOSES] == list(CloseCode)


def test_close_codes_say_whether_to_come_again():
    again = [code for code in CloseCode if 3000 <= code < 3500 or 4000 <= code < 4500]
    never = [code for code in CloseCode if 3500 <= code < 4000 or code >= 4500]
    assert (again, never) == ([CloseCode.SLOW], [CloseCode.BAD_REQUESTS, CloseCode.TOO_MANY_MESSAGES])
