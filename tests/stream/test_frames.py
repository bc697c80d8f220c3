"""Frames: however many messages and bytes, what a client unpacks is the same messages."""

import zlib

import pytest

from wick.stream.frames import FORMS, Framer, form_of, is_json, joined
from wick.wire.codec import pack, pack_json, unpack, unpack_json
from wick.wire.session import Kind


def _read(frame: bytes, form: int) -> list:
    assert frame[0] & 0xF == (1 if is_json(form) else 2)
    wide = {126: 2, 127: 8}.get(frame[1], 0)
    size = int.from_bytes(frame[2 : 2 + wide], "big") if wide else frame[1]
    payload = frame[2 + wide :]
    assert len(payload) == size
    if frame[0] & 0x40:
        assert form > 1
        payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
    return (unpack_json if is_json(form) else unpack)(payload)


@pytest.mark.parametrize("form", range(FORMS))
@pytest.mark.parametrize("count", [1, 2, 14, 15, 16, 300])
def test_one_message_stands_alone_and_several_are_a_batch(form, count):
    messages = [[Kind.DIFF, number, 5, 1, [0, 1, number]] for number in range(count)]
    parts = [(pack_json if is_json(form) else pack)(message) for message in messages]
    expected = messages[0] if count == 1 else [Kind.BATCH, *messages]
    assert _read(Framer().frame(parts, count, form), form) == expected
    if count > 2:  # a part can be several messages
        parts = [b"", joined(parts[:2], is_json(form)), b"", *parts[2:], b""]  # or none
        assert _read(Framer().frame(parts, count, form), form) == expected


def test_a_batch_of_more_messages_than_16_bits_count():
    part = joined([pack([Kind.DIFF])] * 65_536, json=False)
    assert len(_read(Framer().frame([part], 65_536, 0), 0)) == 65_537


def test_a_form_is_a_language_and_whether_it_is_compressed():
    assert [is_json(form_of(json, deflate)) for json in (False, True) for deflate in (False, True)] == [0, 0, 1, 1]
    assert {form_of(json, deflate) for json in (False, True) for deflate in (False, True)} == set(range(FORMS))
