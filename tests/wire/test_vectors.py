"""The vectors that all clients run: current, the same in both forms, and with every message of the front among them."""

import json

import pytest

from tests.vectors.generate import HERE, VECTORS
from wick.wire.codec import pack, pack_json, unpack
from wick.wire.session import MESSAGES, Kind, parse_request


@pytest.mark.parametrize("make", VECTORS, ids=lambda make: make.__name__)
def test_a_vector_is_as_its_generator_makes_it_and_the_same_in_both_forms(make):
    vector = make()
    text = (HERE / f"{vector.name}.json").read_text()
    assert text == vector.text(), "python -m tests.vectors.generate"
    for step in json.loads(text)["steps"]:
        if "receive" in step:
            message = unpack(bytes.fromhex(step["msgpack"]))
            assert json.loads(pack_json(message)) == step["receive"]
            assert len(message) == len(step["receive"])
        if "send" in step:
            assert parse_request(unpack(pack(step["send"]))).id == step["send"][1]


def test_there_is_no_other_file():
    assert {path.stem for path in HERE.glob("*.json")} == {make().name for make in VECTORS}


def test_every_message_that_a_front_can_send_is_in_a_vector_with_all_its_parts():
    lengths = {declared.kind: 1 + len(declared.parts) for declared in MESSAGES if declared.sender == "front"}
    del lengths[Kind.BATCH]  # as long as what is in it
    seen = set()
    for make in VECTORS:
        for step in make().steps:
            message = step.get("receive", [Kind.BATCH])
            for one in message[1:] if message[0] == Kind.BATCH else [message]:
                assert len(one) == lengths[Kind(one[0])]
                seen.add(Kind(one[0]))
    assert seen == lengths.keys()
