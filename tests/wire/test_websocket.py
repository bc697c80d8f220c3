"""RFC 6455 and 7692 without a socket: handshakes agreed on, frames made, frames read however their bytes come."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.net.lean import ACCEPT, KEY, masked
from wick.errors import WickError
from wick.wire import websocket
from wick.wire.http import Refusal, Request
from wick.wire.websocket import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    Closing,
    Deflater,
    Fault,
    Inbox,
    boundary,
    close_frame,
    frame,
    handshake,
    parse_close,
    window_bits,
)

MAX_BYTES = 1000


def read(chunks, max_bytes=MAX_BYTES, inflate=True):
    """All that an inbox gives for these chunks; a Fault as its code, the last."""
    inbox, heard = Inbox(max_bytes, inflate), []
    try:
        for chunk in chunks:
            inbox.feed(chunk)
            while (one := inbox.next()) is not None:
                heard.append(one)
    except Fault as fault:
        heard.append(fault.code)
    else:
        assert len(inbox._whole) <= max_bytes
    return heard, inbox


def asked(**headers):
    base = {"host": "x", "upgrade": "WebSocket", "connection": "keep-alive, Upgrade", "sec-websocket-version": "13",
            "sec-websocket-key": KEY}  # fmt: skip
    return Request("GET", "/ws", {}, base | {f"sec-websocket-{name}": value for name, value in headers.items()}, "/ws")


def packed(data):
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


# ---------------------------------------------------------------------- the handshake


def test_the_rfc_s_example_is_answered_as_in_the_rfc():
    agreed = handshake(asked(), ("a",), True)
    assert f"\r\nSec-WebSocket-Accept: {ACCEPT}\r\n".encode() in agreed.reply and agreed.reply.endswith(b"\r\n\r\n")
    assert agreed[1:] == ("", False, False)


@pytest.mark.parametrize(
    ("offer", "bits"),
    [("permessage-deflate", 15), ("x, permessage-deflate; client_max_window_bits", 15), ("", 0), ("x-deflate", 0),
     ("permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=9", 15),
     ("permessage-deflate; server_max_window_bits=12", 12), ('permessage-deflate; server_max_window_bits="9"', 9),
     ("permessage-deflate; server_max_window_bits=8, permessage-deflate", 15),
     ("permessage-deflate; server_max_window_bits", 0), ("permessage-deflate; client_max_window_bits=16", 0),
     ("permessage-deflate; server_max_window_bits=09", 0), ("permessage-deflate; level=9", 0),
     ("permessage-deflate; client_max_window_bits; client_max_window_bits", 0),
     ("permessage-deflate; server_no_context_takeover=1", 0), ("permessage-deflate;", 0)],
)  # fmt: skip
def test_the_first_offer_that_can_be_followed_is(offer, bits):
    assert window_bits(offer) == bits
    agreed = handshake(asked(extensions=offer), (), True)
    assert (agreed.inflate, agreed.deflate) == (bits > 0, bits == 15)
    assert (f"server_max_window_bits={bits}".encode() in agreed.reply) == (0 < bits < 15)
    assert (b"Extensions: permessage-deflate; server_no" in agreed.reply) == (bits > 0)
    assert b"Extensions" not in handshake(asked(extensions=offer), (), False).reply


@given(st.dictionaries(st.sampled_from(["version", "key", "protocol", "extensions"]), st.binary(max_size=40)))
def test_whatever_the_headers_say_the_answer_is_a_handshake_or_a_refusal(headers):
    texts = {name: value.decode("latin-1") for name, value in headers.items()}
    try:
        assert handshake(asked(**texts), ("a",), True).reply.startswith(b"HTTP/1.1 101 ")
    except Refusal as refusal:
        assert refusal.reply.status in (400, 426)


# ---------------------------------------------------------------------- out


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_a_frame_is_as_long_as_it_must_be_and_no_longer(size):
    data = frame(bytes(size), BINARY)
    assert data[0] == 0x82 and len(data) == size + (2 if size < 126 else 4 if size < 65536 else 10)
    assert int.from_bytes(data[2 : len(data) - size], "big") == (size if size > 125 else 0)


@given(st.lists(st.integers(0, 70_000).map(lambda size: frame(bytes(size), BINARY)), min_size=1, max_size=3), st.data())
def test_a_cut_among_frames_is_followed_by_the_end_of_the_frame_that_it_cut(frames, data):
    whole = b"".join(frames)
    ends = [sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    near = {end + more for end in ends for more in range(12)}
    sent = data.draw(st.sampled_from(sorted(at for at in near if at <= len(whole))))
    end = boundary(whole, 0, sent)
    assert end == min(one for one in ends if one >= sent)
    later = data.draw(st.integers(sent, len(whole)))  # and so on from what was left
    assert boundary(whole[sent:], end - sent, later - sent) + sent == min(one for one in ends if one >= max(later, end))


def test_a_long_reason_is_cut_between_characters():
    assert close_frame(1000, "€" * 100) == b"\x88\x7d\x03\xe8" + "€".encode() * 41
    assert close_frame(None) == b"\x88\x00"


@given(st.lists(st.binary(max_size=600).map(lambda part: part * 4), max_size=4), st.sampled_from([9, 15]))
def test_each_compressed_frame_is_read_by_who_has_read_no_other(messages, bits):
    deflater = Deflater(bits)
    for message in messages:
        data = deflater.frame(message, TEXT)
        assert len(data) <= len(frame(message, TEXT))
        if data[0] == 0xC1:
            start = len(data) - len(packed_part(data))
            assert zlib.decompressobj(-bits).decompress(data[start:] + b"\x00\x00\xff\xff") == message
        else:
            assert data == frame(message, TEXT)
    assert deflater.frame(b"ab" * 400, BINARY)[0] == 0xC2


def packed_part(data):
    return data[2 if data[1] < 126 else 4 :]


# ---------------------------------------------------------------------- in

SESSION = [
    (masked(TEXT, "zwölf €".encode()), (TEXT, "zwölf €".encode())),
    (masked(PING, b"p"), (PING, b"p")),
    (masked(TEXT, "ä".encode()[:1], fin=False) + masked(PONG) + masked(CONTINUED, "ä".encode()[1:]), (PONG, b"")),
    (b"", (TEXT, "ä".encode())),
    (masked(BINARY, bytes(range(200)), mask=b"\xff\x00\x01\x80"), (BINARY, bytes(range(200)))),
    (masked(BINARY), (BINARY, b"")),
    (masked(BINARY, packed(b"x" * 900), rsv=0x40), (BINARY, b"x" * 900)),
    (masked(TEXT, packed("ü".encode() * 90)[:5], fin=False, rsv=0x40) + masked(0, packed("ü".encode() * 90)[5:]),
     (TEXT, "ü".encode() * 90)),
    (masked(CLOSE, b"\x03\xe8"), (CLOSE, b"\x03\xe8")),
]  # fmt: skip


def test_bytes_split_anywhere_are_the_same_messages():
    data, told = b"".join(sent for sent, _ in SESSION), [heard for _, heard in SESSION]
    for at in range(len(data) + 1):
        heard, inbox = read([data[:at], data[at:]])
        assert heard == told and inbox.idle
    assert read([bytes([byte]) for byte in data])[0] == told


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_random_bytes_are_messages_or_a_fault_however_they_are_cut(chunks):
    heard, _ = read(chunks)
    assert read([b"".join(chunks)])[0] == heard
    assert all(one in (1002, 1007, 1009) or one[0] in (TEXT, BINARY, CLOSE, PING, PONG) for one in heard)


CUT = st.sampled_from(["ä", "€", "\ud800", "😀", "\U0010ffff"]).map(lambda one: one.encode("utf-8", "surrogatepass"))


@given(st.one_of(st.binary(max_size=40), st.lists(st.one_of(CUT, st.binary(max_size=1)), max_size=9).map(b"".join)))
def test_a_text_is_refused_at_the_byte_at_which_it_stops_being_utf_8(text):
    def first_wrong():
        for end in range(1, len(text) + 1):
            try:
                text[:end].decode()
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    return end
        return None

    data = masked(TEXT, text)
    heard_at = None
    inbox = Inbox(MAX_BYTES, False)
    for at, byte in enumerate(data):
        inbox.feed(bytes([byte]))
        try:
            inbox.next()
        except Fault as fault:
            assert fault.code == 1007
            heard_at = at - 5  # of the payload, counted from one
            break
    wrong = first_wrong()
    assert heard_at == (wrong if wrong is not None or _whole(text) else len(text))


def _whole(text):
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_what_inflates_without_end_is_stopped_at_the_bound():
    bomb = masked(BINARY, packed(bytes(10_000_000)), rsv=0x40)
    assert read([bomb])[0] == [1009]
    assert read([bomb[at : at + 7] for at in range(0, len(bomb), 7)])[0] == [1009]
    assert read([masked(BINARY, packed(bytes(MAX_BYTES)), rsv=0x40)])[0] == [(BINARY, bytes(MAX_BYTES))]


def test_what_comes_behind_the_end_of_a_compressed_message_is_not_gathered():
    """A last block (BFINAL) and an empty one behind it are a message (RFC 7692, 7.2.3.4); more is not."""
    ended = zlib.compressobj(wbits=-15)
    data = ended.compress(b"hello") + ended.flush()
    assert read([masked(BINARY, data + b"\0", rsv=0x40)])[0] == [(BINARY, b"hello")]
    inbox = Inbox(MAX_BYTES, True)
    inbox.feed(b"\xc2\xfe" + (1000).to_bytes(2, "big") + bytes(4) + data)
    assert inbox.next() is None
    inbox.feed(bytes(100))
    with pytest.raises(Fault) as caught:
        inbox.next()
    assert caught.value.code == 1007


def test_a_compressed_message_that_goes_on_without_saying_anything_is_stopped():
    inbox = Inbox(MAX_BYTES, True)
    empty = b"\x00\x00\x00\xff\xff"  # a stored block of nothing
    inbox.feed(masked(BINARY, empty * 300, fin=False, rsv=0x40))
    assert inbox.next() is None
    inbox.feed(masked(CONTINUED, empty * 300, fin=False))
    with pytest.raises(Fault) as caught:
        inbox.next()
    assert caught.value.code == 1009


def test_a_message_in_ever_more_pieces_is_refused():
    """Empty ones say nothing, cost no byte of the bound, and come eleven thousand to a read."""
    inbox = Inbox(MAX_BYTES, False)
    inbox.feed(masked(TEXT, b"", fin=False) + masked(CONTINUED, b"", fin=False) * 2000)
    with pytest.raises(Fault) as caught:
        inbox.next()
    assert caught.value.code == 1009


def test_what_cannot_be_inflated_is_1007_and_compression_that_was_not_agreed_on_1002():
    assert read([masked(BINARY, b"\xff\xff\xff", rsv=0x40)])[0] == [1007]
    assert read([masked(BINARY, packed(b"x"), rsv=0x40)], inflate=False)[0] == [1002]
    assert read([masked(BINARY, packed(b"x")[:2], fin=False, rsv=0x40) + masked(0, rsv=0x40)])[0] == [1002]


def test_a_thousand_small_frames_in_one_read_take_no_time():
    data = masked(PING) * 10_000
    inbox = Inbox(MAX_BYTES, False)
    inbox.feed(data)
    assert [inbox.next() for _ in range(10_000)] == [(PING, b"")] * 10_000 and inbox.idle


def test_a_close_carries_a_code_that_may_be_sent():
    assert parse_close(b"") == Closing(None, "") and parse_close(b"\x0b\xb8bye") == Closing(3000, "bye")
    good = {code for code in range(65536) if code in websocket.CODES}
    assert good == {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535):
        with pytest.raises(Fault) as caught:
            parse_close(code.to_bytes(2, "big"))
        assert caught.value.code == 1002 and isinstance(caught.value, WickError)
