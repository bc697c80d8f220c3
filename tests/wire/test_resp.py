"""RESP: what is sent is what the specification has, and nothing that arrives raises anything but WireError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import WireError
from wick.wire.resp import BULK_BYTES, LINE_BYTES, Refused, command, mset, refusals, replies

# The examples of the specification, and what they are.
EXAMPLES = [
    (b"+OK\r\n", "OK"),
    (b"-ERR unknown command 'asdf'\r\n", Refused("ERR unknown command 'asdf'")),
    (b":1000\r\n", 1000),
    (b":-12\r\n", -12),
    (b"$5\r\nhello\r\n", b"hello"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n$5\r\nhello\r\n$-1\r\n:3\r\n", [b"hello", None, 3]),
    (b"$6\r\na\r\nb\r\n\r\n", b"a\r\nb\r\n"),
]


@pytest.mark.parametrize(("data", "value"), EXAMPLES)
def test_a_reply_is_read_once_it_is_whole(data, value):
    for size in range(len(data)):
        assert replies(data[:size], 1) is None
    assert replies(bytearray(data), 1) == [value]
    assert refusals(replies(data, 1)) == ([value] if isinstance(value, Refused) else [])


def test_several_replies_are_read_together():
    data, wanted = b"".join(data for data, _ in EXAMPLES), [value for _, value in EXAMPLES]
    assert replies(data, len(EXAMPLES)) == wanted
    with pytest.raises(WireError, match="5 bytes follow"):
        replies(data + b"+OK\r\n", len(EXAMPLES))


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"$-2\r\n", b"$%d\r\n" % (BULK_BYTES + 1), b":\r\n", b":1.5\r\n",
     b"\r\n", b"$1\r\nabc\r\n", b"*1\r\n*1\r\n:1\r\n", b"*-1\r\n", b":99999999999999999999\r\n", b"+" * LINE_BYTES],
)  # fmt: skip
def test_what_is_no_reply_is_a_wire_error(data):
    with pytest.raises(WireError):
        replies(data, 1)


@given(st.lists(st.sampled_from([b"*", b"$", b":", b"+", b"-", b"1", b"2", b"\r\n", b"x", b"\xff"])))
def test_no_bytes_raise_anything_else(parts):
    try:
        replies(b"".join(parts), 1)
    except WireError:
        pass


@given(st.dictionaries(st.binary(), st.binary(), max_size=4))
def test_a_packed_mset_is_the_command_that_it_stands_for(values):
    assert mset(values) == command(b"MSET", *[part for item in values.items() for part in item])
    assert command(b"GET", b"a\r\nb") == b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n"
