"""The description of the HTTP API is of what is there: it, the routes and the documents say the same."""

import json
from pathlib import Path

import pytest

from tests.api.asking import Known, request, row
from wick.api import openapi
from wick.api.routes import CHOICE, INTEGER, LIST, ROUTES
from wick.api.service import Api

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = {path: item["get"] for path, item in openapi.document()["paths"].items()}


def test_the_documents_are_current():
    assert (DOCS / "openapi.json").read_text() == openapi.json_document(), "python -m wick.api.openapi"
    api = (DOCS / "api.md").read_text()
    assert openapi.replace_table(api) == api, "python -m wick.api.openapi"


def test_a_front_serves_the_document():
    assert Known().ask("/api/v1/openapi.json") == (200, json.loads((DOCS / "openapi.json").read_text()))


def test_every_route_is_described_and_has_who_answers_it():
    assert [*OPERATIONS] == [route.path for route in ROUTES]
    assert len({operation["operationId"] for operation in OPERATIONS.values()}) == len(ROUTES)
    own = {name for name in vars(Api) if callable(getattr(Api, name))}
    assert all(f"_{route.name}" in own for route in ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_parameter_is_described_as_it_is_checked(route):
    described = OPERATIONS[route.path]["parameters"]
    assert [(one["name"], one["required"]) for one in described] == [
        (one.name, one.required) for one in route.parameters
    ]
    for parameter, one in zip(route.parameters, described, strict=True):
        assert one["description"] == parameter.meaning
        schema = one["schema"]
        if parameter.kind == INTEGER:
            assert parameter.parse(str(schema["minimum"])) == schema["minimum"]
            assert parameter.parse(str(schema["maximum"])) == schema["maximum"]
        elif parameter.kind in (CHOICE, LIST):
            choices = schema["enum"] if parameter.kind == CHOICE else schema["items"]["enum"]
            assert all(parameter.parse(choice) in (choice, (choice,)) for choice in choices)
        else:
            assert parameter.parse("x" * schema["maxLength"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_the_examples_are_answered(route):
    known = Known([row(), row(60_000)])
    known.live = row(60_000)
    query = "&".join(
        f"{one.name}={one.example}" for one in route.parameters if one.example and one.name not in ("from", "to")
    ) + ("&to=1735776000" if route.path == "/udf/history" else "")
    reply = known.api().respond(request(f"{route.path}?{query}"))
    assert reply.status == 200, reply.body
    assert reply.content_type in OPERATIONS[route.path]["responses"]["200"]["content"]
    if reply.content_type == "application/json":
        name = openapi.document()["paths"][route.path]["get"]["responses"]["200"]["content"]["application/json"]
        assert fits(json.loads(reply.body), name["schema"])


def fits(value, schema):
    """As much of JSON Schema as the document uses."""
    if "$ref" in schema:
        return fits(value, openapi.SCHEMAS[schema["$ref"].rpartition("/")[2]])
    if "oneOf" in schema:
        return sum(fits(value, one) for one in schema["oneOf"]) == 1
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema and value not in schema["enum"]:
        return False
    types = {"string": str, "integer": int, "number": int | float, "array": list, "object": dict, "boolean": bool,
             "null": type(None)}  # fmt: skip
    names = schema.get("type", [])
    allowed = [types[name] for name in ([names] if isinstance(names, str) else names)]
    if allowed and not any(isinstance(value, one) for one in allowed):
        return False
    if isinstance(value, list):
        return all(fits(item, schema["items"]) for item in value)
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {*schema["required"]} <= value.keys() and all(
            name in known and fits(item, known[name]) for name, item in value.items()
        )
    return True


def test_errors_are_as_described():
    assert fits(Known().ask("/api/v1/candles")[1], openapi.SCHEMAS["Error"])
    assert fits(Known().ask("/udf/history")[1], openapi.SCHEMAS["UdfError"])
    no_data = "/udf/history?symbol=BTC-USDT&resolution=1&from=0&to=60"
    assert fits(Known().ask(no_data)[1], openapi.SCHEMAS["UdfHistory"])


def test_what_asks_for_no_token_is_said():
    assert {path for path, one in OPERATIONS.items() if one.get("security") == []} == {"/healthz", "/readyz"}
