"""The description of the HTTP API, from its declaration in routes.py: OpenAPI 3.1, and the table of docs/api.md.

`python -m wick.api.openapi` writes docs/openapi.json and the table anew.
"""

import json
from pathlib import Path
from typing import Any, Final

from wick import __version__
from wick.api.replies import CSV, JSON, MSGPACK
from wick.api.routes import CHOICE, INTEGER, LIST, RESOLUTIONS, ROUTES, Parameter, Route
from wick.market.intervals import NAMES
from wick.market.rows import ALL_COLUMNS, COLUMNS
from wick.market.schema import HEAD

MARKS: Final = ("<!-- routes -->\n", "<!-- end -->")

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_WHOLE: Final[Json] = {"type": "integer"}
_NUMBER: Final[Json] = {"type": "number"}
_FLAG: Final[Json] = {"type": "boolean"}
_MAYBE_MS: Final[Json] = {"type": ["integer", "null"], "description": "Milliseconds."}
# A price or size keeps all its digits as text; ratios are numbers; patterns are an object.
_CELL: Final[Json] = {"type": ["string", "number", "object", "null"]}


def _object(properties: Json, required: tuple[str, ...] | None = None) -> Json:
    return {"type": "object", "properties": properties, "required": [*(properties if required is None else required)]}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _table(text: Json) -> Json:
    return _list(_object(text))


_TEXTS: Final = _list(_TEXT)


SCHEMAS: Final[Json] = {
    "Error": _object({"error": _object(dict.fromkeys(("code", "field", "value", "message", "valid"), _TEXT))}),
    "Symbols": _list(_object({"venue": _TEXT, "symbol": _TEXT})),
    "Intervals": _list({"type": "string", "enum": [*NAMES]}),
    "Candles": _object({
        "venue": _TEXT,
        "symbol": _TEXT,
        "interval": {"type": "string", "enum": [*NAMES]},
        "columns": _list({"type": "string", "enum": [*ALL_COLUMNS]}),
        "next": {"type": ["string", "null"], "description": "Where the next page is (without the token); null: none."},
        "rows": _list(_list(_CELL)),
    }),
    "Snapshot": _object({"time_ms": _WHOLE, "pairs": _list(_object({
        "venue": _TEXT,
        "symbol": _TEXT,
        "epoch": _WHOLE,
        "seq": {"type": "integer", "description": "A session can go on from here: SUBSCRIBE with epoch and seq."},
        "state": _object({name: _CELL for name, _ in HEAD}),
        "candles": {"type": "object", "additionalProperties": _object(dict.fromkeys(COLUMNS, _CELL)),
                    "description": "By interval; none where no candle is open."},
    }))}),
    "MetricsSchema": _object({
        "fields": _table({"number": _WHOLE, "name": _TEXT, "unit": _TEXT, "definition": _TEXT, "n": _WHOLE,
                          "source": _TEXT}),
        "patterns": _table({"number": _WHOLE, "name": _TEXT, "title": _TEXT, "definition": _TEXT,
                            "lookback": _WHOLE}),
    }),
    "OpenApi": {"type": "object"},
    "UdfError": _object({"s": {"const": "error"}, "errmsg": _TEXT}),
    "UdfConfig": _object({
        **dict.fromkeys(("supports_search", "supports_group_request", "supports_marks", "supports_timescale_marks",
                         "supports_time"), _FLAG),
        "supported_resolutions": _list({"type": "string", "enum": [*RESOLUTIONS]}),
        "exchanges": _table({"value": _TEXT, "name": _TEXT, "desc": _TEXT}),
        "symbols_types": _table({"name": _TEXT, "value": _TEXT}),
    }),
    "UdfSymbol": _object({
        **dict.fromkeys(("name", "ticker", "description", "type", "exchange", "listed_exchange", "session", "timezone",
                         "format", "data_status"), _TEXT),
        **dict.fromkeys(("minmov", "minmove2", "pricescale", "volume_precision"), _WHOLE),
        **dict.fromkeys(("has_seconds", "has_intraday", "has_daily", "has_weekly_and_monthly"), _FLAG),
        **dict.fromkeys(("seconds_multipliers", "intraday_multipliers", "daily_multipliers", "weekly_multipliers",
                         "monthly_multipliers", "supported_resolutions"), _TEXTS),
    }),
    "UdfSearch": _table(dict.fromkeys(("symbol", "full_name", "ticker", "description", "exchange", "type"), _TEXT)),
    "UdfHistory": {"oneOf": [
        _object({"s": {"const": "ok"}, "t": _list(_WHOLE), **dict.fromkeys("ohlcv", _list(_NUMBER))}),
        _object({"s": {"const": "no_data"}, "nextTime": {"type": "integer", "description": "The newest bar before."}},
                ("s",)),
    ]},
    "UdfTime": _TEXT,
    "Health": _object({"status": _TEXT, "age_ms": _MAYBE_MS, "pairs": _WHOLE, "shards_waiting": _WHOLE,
                       "silent": _TEXTS}),
    "Ready": _object({"ready": {"type": "boolean"}, "reasons": _TEXTS}),
    "Metrics": _TEXT,
}  # fmt: skip


def document() -> Json:
    """OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wick",
            "version": __version__,
            "summary": "Market data of crypto exchanges: candles with metrics, live states, TradingView's UDF.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"query": []}, {}],
        "paths": {route.path: {"get": _operation(route)} for route in ROUTES},
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
            "schemas": SCHEMAS,
        },
    }


def _operation(route: Route) -> Json:
    error = _ref("UdfError" if route.name.startswith("udf_") else "Error")
    refused = {"description": "Refused; it says why.", "content": {JSON: {"schema": error}}}
    replies: Json = {
        "200": {"description": route.summary, "content": {form: _media(route, form) for form in route.forms}}
    }
    if route.name == "readyz":
        replies["503"] = replies["200"] | {"description": "Not ready, for these reasons."}
    if route.name in ("candles", "udf_history"):
        replies["503"] = refused | {"description": "What is stored cannot be read now; ask again after Retry-After."}
    if not route.is_public:
        replies |= {"4XX": refused}
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": replies,
    }
    return operation | ({"security": []} if route.is_public else {})


def _media(route: Route, form: str) -> Json:
    schema = {"type": "string"} if form == CSV else {} if form == MSGPACK else _ref(route.schema)
    return {"schema": schema}


def _parameter(parameter: Parameter) -> Json:
    schema: Json = {"type": "string"}
    if parameter.kind == INTEGER:
        schema = {"type": "integer", "minimum": parameter.least, "maximum": parameter.most}
    elif parameter.kind == CHOICE:
        schema["enum"] = [*parameter.choices]
    elif parameter.kind == LIST:
        schema = _list({"type": "string", "enum": [*parameter.choices]}) | {"minItems": 1}
    else:
        schema |= {"minLength": parameter.least, "maxLength": parameter.most}
    if parameter.default:
        schema["default"] = parameter.default
    told: Json = {"name": parameter.name, "in": "query", "required": parameter.required,
                  "description": parameter.meaning, "schema": schema}  # fmt: skip
    if parameter.kind == LIST:
        told |= {"style": "form", "explode": False}
    if parameter.example:
        example: Any = int(parameter.example) if parameter.kind == INTEGER else parameter.example
        told["example"] = example.split(",") if parameter.kind == LIST else example
    return told


def table() -> str:
    """The routes and their parameters, as docs/api.md has them."""
    lines: list[str] = []
    for route in ROUTES:
        lines += [f"### `GET {route.path}`", "", route.summary + (" Needs no token." if route.is_public else ""), ""]
        if route.parameters:
            lines += ["| parameter | valid | default | what |", "|---|---|---|---|"]
            lines += [_line(parameter) for parameter in route.parameters]
            lines.append("")
    return "\n".join(lines)


def _line(parameter: Parameter) -> str:
    if parameter.required:
        default = "required"
    else:
        default = f"`{parameter.default}`" if parameter.default else ""
    valid = "`all`, or columns (below), with commas" if parameter.name == "fields" else parameter.valid
    return f"| `{parameter.name}` | {valid} | {default} | {parameter.meaning} |"


def json_document() -> str:
    return json.dumps(document(), indent=1) + "\n"


def replace_table(text: str) -> str:
    """A document's text with the table as it is now between the marks."""
    before, mark, rest = text.partition(MARKS[0])
    return f"{before}{mark}{table()}{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def main() -> None:
    docs = Path(__file__).parents[2] / "docs"
    (docs / "openapi.json").write_text(json_document(), encoding="utf-8")
    api = docs / "api.md"
    api.write_text(replace_table(api.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
