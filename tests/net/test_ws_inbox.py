"""Cutting messages out of received bytes gives what the protocol alone would give, however the bytes are torn."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from wick.net.ws_client import Inbox

LIMIT = 70_000  # bytes a message


def connected() -> ClientProtocol:
    """A protocol whose handshake is over."""
    return ClientProtocol(parse_uri("ws://localhost/"), max_size=LIMIT, state=State.OPEN)


def plainly(data: bytes) -> tuple[list[bytes], ClientProtocol]:
    """What the protocol alone makes of it."""
    protocol = connected()
    protocol.receive_data(data)
    protocol.receive_eof()
    messages: list[bytes] = []
    parts: list[bytes] = []
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            parts.append(bytes(event.data))
            if event.fin:
                messages.append(b"".join(parts))
                parts.clear()
    return messages, protocol


def in_pieces(*pieces: bytes) -> tuple[list[bytes], ClientProtocol]:
    protocol = connected()
    inbox = Inbox(protocol)
    messages = [message for piece in pieces for message in inbox.take(piece)]
    inbox.end()
    return messages, protocol


def outcome(result: tuple[list[bytes], ClientProtocol]) -> tuple[object, ...]:
    """All that a user of the connection sees of it; pongs are masked at random, so what they carry is compared."""
    messages, protocol = result
    answers = b"".join(protocol.data_to_send())
    sent = []
    at = 0
    while at < len(answers):
        size = answers[at + 1] & 127
        assert size < 126
        mask, body = answers[at + 2 : at + 6], answers[at + 6 : at + 6 + size]
        sent.append((answers[at], bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))))
        at += 6 + size
    return messages, protocol.state, protocol.close_rcvd, protocol.close_sent, repr(protocol.parser_exc), sent


def frame(first: int, body: bytes, form: int | None = None, masked: bool = False) -> bytes:
    """A frame; `form` 126 or 127 writes the length in more bytes than it needs."""
    size = len(body)
    form = form or (size if size < 126 else 126 if size < 65_536 else 127)
    length = b"" if form < 126 else struct.pack("!H" if form == 126 else "!Q", size)
    return bytes([first, form | 128 * masked]) + length + (bytes(4) if masked else b"") + body


TEXT, BINARY, CONT, PING, PONG, CLOSE = 1, 2, 0, 9, 10, 8
FIN = 0x80
SMALL, BIG = st.binary(max_size=6), st.sampled_from([125, 126, 300, 65_535, 65_536, LIMIT]).map(bytes)
BODIES = st.one_of(SMALL, SMALL, SMALL, BIG)
WHOLE = st.builds(frame, st.sampled_from([FIN | TEXT, FIN | BINARY]), BODIES)
PINGS = st.builds(frame, st.sampled_from([FIN | PING, FIN | PONG]), SMALL)
FRAGMENTED = st.builds(
    lambda kind, parts, between: b"".join(
        frame(FIN * (n == len(parts) - 1) | (CONT if n else kind), part) + between * (n < len(parts) - 1)
        for n, part in enumerate(parts)
    ),
    st.sampled_from([TEXT, BINARY]), st.lists(BODIES, min_size=2, max_size=4), st.one_of(st.just(b""), PINGS),
)  # fmt: skip
LONG_FORM = st.builds(frame, st.sampled_from([FIN | TEXT, FIN | PING]), SMALL, st.sampled_from([126, 127]))
WRONG = st.one_of(
    st.builds(frame, st.integers(0, 255), SMALL),  # reserved bits, unknown opcodes, stray continuations
    st.builds(frame, st.just(FIN | TEXT), SMALL, st.none(), st.just(True)),  # masked
    st.builds(frame, st.sampled_from([FIN | PING, FIN | CLOSE]), st.just(bytes(126))),  # a control frame too long
    st.just(bytes([FIN | TEXT, 127]) + struct.pack("!Q", LIMIT + 1) + b"x"),  # a message too large
    st.just(bytes([FIN | TEXT, 127]) + b"\xff" * 8),
    st.binary(max_size=12),
)
CLOSES = st.sampled_from([frame(FIN | CLOSE, b""), frame(FIN | CLOSE, b"\x03\xe9bye"), frame(FIN | CLOSE, b"\x03")])
STREAMS = st.lists(st.one_of(WHOLE, WHOLE, WHOLE, PINGS, FRAGMENTED, LONG_FORM, WRONG, CLOSES), max_size=8).map(
    b"".join
)


@given(STREAMS, st.data())
def test_any_stream_torn_anywhere_gives_what_the_protocol_alone_gives(stream, data):
    stream = stream[: data.draw(st.integers(0, len(stream)))] if data.draw(st.booleans()) else stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert outcome(in_pieces(*pieces)) == outcome(plainly(stream))


MIXED = (
    frame(FIN | TEXT, b"one") + frame(FIN | PING, b"?") + frame(TEXT, b"ab")
    + frame(FIN | PING, b"!") + frame(FIN | CONT, b"c") + frame(FIN | BINARY, bytes(200)) + frame(FIN | TEXT, b"")
    + frame(FIN | TEXT, b"long", 127) + frame(FIN | CLOSE, b"\x03\xe9bye") + frame(FIN | TEXT, b"never")
)  # fmt: skip


def test_frames_torn_at_every_byte_are_the_same_messages():
    right = outcome(plainly(MIXED))
    assert right[0] == [b"one", b"abc", bytes(200), b"", b"long"]
    for at in range(len(MIXED) + 1):
        assert outcome(in_pieces(MIXED[:at], MIXED[at:])) == right, at
    assert outcome(in_pieces(*[MIXED[at : at + 1] for at in range(len(MIXED))])) == right


@pytest.mark.parametrize("first", [0xC1, 0xA1, 0x91, 0xC2, 0xF1])
def test_a_reserved_bit_ends_the_connection_as_it_does_without_us(first):
    result = in_pieces(frame(FIN | TEXT, b"good") + frame(first, b"bad") + frame(FIN | TEXT, b"never"))
    assert result[0] == [b"good"]
    assert "reserved bits" in repr(result[1].parser_exc)


def test_a_message_beyond_the_limit_is_refused_at_its_header_and_not_gathered():
    protocol = connected()
    inbox = Inbox(protocol)
    inbox.take(bytes([FIN | TEXT, 127]) + struct.pack("!Q", LIMIT + 1))
    assert protocol.close_sent is not None and protocol.close_sent.code == 1009


def test_fragments_that_grow_beyond_the_limit_together_are_refused():
    messages, protocol = in_pieces(frame(TEXT, bytes(60_000)) + frame(FIN | CONT, bytes(60_000)))
    assert messages == [] and protocol.close_sent is not None and protocol.close_sent.code == 1009


def test_messages_come_at_once_and_do_not_wait_for_the_next_frame():
    inbox = Inbox(connected())
    assert inbox.take(frame(FIN | TEXT, b"one") + frame(FIN | TEXT, b"two")[:3]) == [b"one"]
    assert inbox.take(frame(FIN | TEXT, b"two")[3:]) == [b"two"]
