"""The two forms of a message: integers of any size come back, and bytes that are no message are a WireError."""

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import WireError
from wick.wire.codec import BIG_INTEGER, JSON_SAFE, pack, pack_json, unpack, unpack_json

INTEGERS = st.one_of(
    st.integers(),
    st.integers(-(2**500), 2**500),
    st.sampled_from([s * 2**bits + d for s in (1, -1) for bits in (31, 53, 63, 64, 127, 128, 500) for d in (-1, 0, 1)]),
)
MESSAGES = st.recursive(
    st.one_of(INTEGERS, st.text(max_size=8), st.binary(max_size=8), st.none(), st.booleans()),
    lambda m: st.lists(m, max_size=5),
    max_leaves=20,
)


@given(MESSAGES)
def test_a_message_comes_back_from_msgpack_as_it_was(message):
    assert unpack(pack(message)) == message


@pytest.mark.parametrize("number", [2**63 - 1, 2**64 - 1, -(2**63)])
def test_64_bits_are_msgpack_s_own_integers(number):
    assert msgpack.unpackb(pack(number)) == number


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (2**64, b"\x01" + bytes(8)),
        (-(2**63) - 1, b"\xff\x7f" + b"\xff" * 7),
        (2**71 - 1, b"\x7f" + b"\xff" * 8),
        (2**71, b"\x00\x80" + bytes(8)),
    ],
)
def test_beyond_64_bits_an_integer_is_two_s_complement_bytes(number, data):
    assert msgpack.unpackb(pack(number)) == msgpack.ExtType(BIG_INTEGER, data)


@given(st.binary(max_size=60))
def test_random_bytes_are_a_message_or_a_wire_error(data):
    for decode in (unpack, unpack_json):
        try:
            decode(data)
        except WireError:
            continue


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x92\x01", pack(1) + b"\x01", b"\xc7\x00\x01", b"\xd4\x02\x05", b"\xc7\x41\x01" + bytes(65),
     b"\x81\x90\x01", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xa1\xff", b"\x91" * 5000 + b"\xc0"],
    ids=["nothing", "reserved", "torn", "trailing", "empty integer", "unknown ext", "integer of 65 bytes",
         "a list as key", "4 billion items", "4 GB text", "bad UTF-8", "too deep"],
)  # fmt: skip
def test_what_is_no_message_is_a_wire_error(data):
    with pytest.raises(WireError, match="not msgpack"):
        unpack(data)


@given(MESSAGES)
def test_in_json_an_integer_that_javascript_cannot_hold_is_its_decimal_text_and_bytes_are_signed_numbers(message):
    def expected(value):
        if isinstance(value, list):
            return [expected(item) for item in value]
        if isinstance(value, bytes):
            return [byte - 256 if byte > 127 else byte for byte in value]
        return str(value) if type(value) is int and abs(value) > JSON_SAFE else value

    assert json.loads(pack_json(message)) == unpack_json(pack_json(message)) == expected(message)


def test_the_bound_is_javascript_s_largest_safe_integer():
    assert pack_json([2**53 - 1, 2**53, -(2**53) + 1, -(2**53)]) == (
        b'[9007199254740991,"9007199254740992",-9007199254740991,"-9007199254740992"]'
    )


def test_patterns_are_an_array_beside_an_integer_of_any_size():
    assert pack_json([5, b"\x05\xfb\x00\x80\x7f", [b""]]) == b"[5,[5,-5,0,-128,127],[[]]]"
    assert pack_json({"bear": 2**60, "patterns": b"\xf6"}) == b'{"bear":"1152921504606846976","patterns":[-10]}'


@pytest.mark.parametrize("data", [b"", b"{", b"[1,]", b"NaN", b"\xff", b"[" * 5000, b'"\\ud800"', b"1e999"])
def test_what_is_no_json_is_a_wire_error(data):
    with pytest.raises(WireError, match="not JSON"):
        unpack_json(data)


def test_what_no_message_can_hold_is_a_programming_error():
    with pytest.raises(TypeError, match="cannot hold set"):
        pack([{1}])
    for message in ([{1}], [2**60, {1}]):
        with pytest.raises(TypeError):
            pack_json(message)
