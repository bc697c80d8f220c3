"""The AsyncAPI document says what the declaration says, its references lead somewhere, and messages are as it says.

It has been found valid by AsyncAPI's own schema (npm `@asyncapi/specs` 6.11.1, schemas/3.0.0.json).
"""

import json
import re

import pytest

from tests.vectors.generate import HERE
from wick.wire.documents import asyncapi, asyncapi_text, schema_of, yaml
from wick.wire.session import MESSAGES, REQUESTS, Kind

DOCUMENT = asyncapi()
MESSAGES_AT = "#/channels/session/messages/"


def at(reference):
    found = DOCUMENT
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    return found


def references(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key == "$ref" else references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def fits(schema, value):
    """Whether a value is as a schema says: the words of JSON Schema that the document uses, and no others."""
    known = {"$ref", "allOf", "oneOf", "type", "const", "pattern", "items", "additionalItems", "minItems", "maxItems"}
    assert set(schema) <= known | {"title", "description"}
    kinds = {"array": list, "object": dict, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    items = schema.get("items", {})
    rest = schema.get("additionalItems", {}) if isinstance(items, list) else items
    each = items if isinstance(items, list) else []
    return (
        ("$ref" not in schema or fits(at(schema["$ref"]), value))
        and all(fits(one, value) for one in schema.get("allOf", []))
        and ("oneOf" not in schema or sum(fits(one, value) for one in schema["oneOf"]) == 1)
        and ("type" not in schema or type(value) is kinds[schema["type"]])
        and value == schema.get("const", value)
        and ("pattern" not in schema or re.search(schema["pattern"], value) is not None)
        and (
            type(value) is not list
            or (
                schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
                and all(fits(one, item) for one, item in zip(each, value, strict=False))
                and all(fits(rest, item) for item in value[len(each) :])
            )
        )
    )


def payload(kind):
    return DOCUMENT["components"]["messages"][Kind(kind).name]["payload"]


def test_every_reference_leads_somewhere():
    assert all(at(reference) for reference in references(DOCUMENT))


def test_every_message_is_in_the_channel_and_in_one_operation():
    names = [declared.kind.name for declared in MESSAGES]
    assert list(DOCUMENT["channels"]["session"]["messages"]) == list(DOCUMENT["components"]["messages"]) == names
    operations = DOCUMENT["operations"].values()
    told = [one["$ref"].removeprefix(MESSAGES_AT) for operation in operations for one in operation["messages"]]
    assert sorted(told) == sorted(names)
    asked = {
        one["$ref"] for operation in operations if operation["action"] == "receive" for one in operation["messages"]
    }
    assert asked == {MESSAGES_AT + kind.name for kind in REQUESTS}


@pytest.mark.parametrize("declared", MESSAGES, ids=lambda declared: declared.kind.name)
def test_a_message_has_the_fields_that_are_declared(declared):
    kind, *fields = payload(declared.kind)["items"]
    assert kind["const"] == declared.kind
    if declared.kind != Kind.BATCH:
        assert [field["title"] for field in fields] == [part.name for part in declared.parts]


@pytest.mark.parametrize("path", sorted(HERE.glob("*.json")), ids=lambda path: path.stem)
def test_the_messages_of_the_vectors_are_as_the_document_says(path):
    for step in json.loads(path.read_text())["steps"]:
        message = step.get("receive") or step.get("send")
        if message:
            assert fits(payload(message[0]), message)
            for other in Kind:
                assert not (other != message[0] and fits(payload(other), message))
            if message != [Kind.BATCH]:
                assert not fits(payload(message[0]), message[:-1] if message[0] != Kind.BATCH else [9, 1])


def test_types_may_be_nested_and_either_of_several():
    assert schema_of("[[int, …], …]") == {"type": "array", "items": schema_of("[int, …]")}
    assert schema_of("[text or position, …]")["items"] == schema_of("text or position")
    assert schema_of("text or null") == {"oneOf": [{"type": "string"}, {"type": "null"}]}


def test_the_text_is_yaml_in_which_every_scalar_is_json():
    assert (
        yaml({"a": {"b": [1, "x: y", {"c": []}]}, "d": {}})
        == '\na:\n  b:\n    - 1\n    - "x: y"\n    -\n      c: []\nd: {}'
    )
    for line in asyncapi_text().splitlines()[1:]:
        key, scalar = re.fullmatch(r" *(?:- ?)?(?:([\w$/-]+):)? ?(.*)", line).groups()
        assert key or scalar or line.strip() == "-"
        if scalar:
            json.loads(scalar)
