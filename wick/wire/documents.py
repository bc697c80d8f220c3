"""Documents of the session protocol, made from its declaration: the tables of docs/protocol.md, and docs/asyncapi.yaml.

`python -m wick.wire.documents` writes both. In docs/protocol.md only what stands between `<!-- made: … -->` and
`<!-- end -->` is made here.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from wick.wire.session import (
    CLOSES,
    KINDS,
    MESSAGES,
    REQUESTS,
    STRUCTURES,
    SUBPROTOCOLS,
    VERSION,
    Declared,
    Kind,
    Part,
)
from wick.wire.topics import TopicKind

# ---------------------------------------------------------------------------------------------------- docs/protocol.md


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(heads), *map(list, rows)]
    head, *body = [f"| {' | '.join(map(str, line))} |\n" for line in lines]
    return "".join([head, "|" + "---|" * len(lines[0]) + "\n", *body])


def _topics() -> str:
    def shown(kind: TopicKind) -> list[str]:
        text = ":".join([kind.name, *(f"<{part}>" for part in kind.parts)])
        state = ", ".join(kind.groups) or "-"
        return [f"`{text}`", kind.meaning, state, ", ".join(kind.messages), "yes" if kind.resumes else "no"]

    return _table(["topic", "what it tells", "groups", "messages", "resumes"], map(shown, KINDS.values()))


def _messages() -> str:
    return _table(
        ["kind", "from", "fields after the kind", "what for"],
        ([f"{one.kind.value} {one.kind.name}", one.sender, _names(one.parts), one.meaning] for one in MESSAGES),
    )


def _names(parts: Iterable[Part]) -> str:
    return ", ".join(part.name for part in parts)


def _fields() -> str:
    named = [*((one.kind.name, one.parts) for one in MESSAGES), *STRUCTURES.items()]
    return _table(
        ["of", "field", "type", "meaning"],
        ([name, part.name, part.type.replace("|", "\\|"), part.meaning] for name, parts in named for part in parts),
    )


def _closes() -> str:
    return _table(["code", "meaning", "connect again"], ([code.value, *rest] for code, *rest in CLOSES))


_MADE: Final[dict[str, Callable[[], str]]] = {
    "topics": _topics, "messages": _messages, "fields": _fields, "close codes": _closes,
}  # fmt: skip


def protocol(text: str) -> str:
    """The document with its tables as they should be."""

    def made(found: re.Match[str]) -> str:
        return f"<!-- made: {found[1]} -->\n{_MADE[found[1]]()}<!-- end -->"

    return re.sub(r"<!-- made: ([a-z ]+) -->\n.*?<!-- end -->", made, text, flags=re.DOTALL)


# -------------------------------------------------------------------------------------------------- docs/asyncapi.yaml

Schema = dict[str, Any]

_TYPES: Final[dict[str, Schema]] = {
    "int": {"$ref": "#/components/schemas/int"},
    "bool": {"type": "boolean"},
    "text": {"type": "string"},
    "null": {"type": "null"},
    "map": {"type": "object"},
    "row": {"$ref": "#/components/schemas/row"},
    "message": {"type": "array"},
}


def schema_of(type_: str) -> Schema:
    """A declared type as JSON Schema."""
    choices = _split(type_, " or ")
    if len(choices) > 1:
        return {"oneOf": [schema_of(choice) for choice in choices]}
    if type_.startswith("["):
        return {"type": "array", "items": schema_of(type_[1:-1].removesuffix(", …"))}
    return {"$ref": f"#/components/schemas/{type_}"} if type_ in STRUCTURES else _TYPES[type_]


def _split(text: str, sign: str) -> list[str]:
    """At the signs outside of all brackets."""
    parts = [""]
    for piece in re.split(f"({re.escape(sign)})", text):
        if piece == sign and parts[-1].count("[") == parts[-1].count("]"):
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _array(parts: Iterable[Part], first: tuple[Schema, ...] = ()) -> Schema:
    """Fields in their order: a tuple, as draft 7 of JSON Schema, AsyncAPI's own, writes it."""
    items = [*first, *({"title": part.name, "description": part.meaning} | _own(part) for part in parts)]
    return {
        "type": "array", "items": items, "minItems": len(items), "maxItems": len(items), "additionalItems": False,
    }  # fmt: skip


def _own(part: Part) -> Schema:
    """Nothing may stand beside a `$ref`."""
    schema = schema_of(part.type)
    return {"allOf": [schema]} if "$ref" in schema else schema


def payload(declared: Declared) -> Schema:
    kind: Schema = {"title": "kind", "const": declared.kind.value}
    if declared.kind == Kind.BATCH:
        return {"type": "array", "items": [kind], "additionalItems": _TYPES["message"], "minItems": 1}
    return _array(declared.parts, (kind,))


def asyncapi() -> dict[str, Any]:
    """https://www.asyncapi.com/docs/reference/specification/v3.0.0; the front is the application."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "wick session",
            "version": str(VERSION),
            "description": "Candles, tickers, trades and books of wick's front over WebSocket. docs/protocol.md says "
            "how a client keeps its state; this says what messages look like. They are arrays, as JSON "
            "(wick.v1.json, text frames) or the same as msgpack (wick.v1.msgpack, binary frames).",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:8765", "protocol": "ws", "description": "A front (front.port)."}},
        "channels": {
            "session": {
                "address": "/ws",
                "servers": [{"$ref": "#/servers/local"}],
                "messages": {one.kind.name: {"$ref": f"#/components/messages/{one.kind.name}"} for one in MESSAGES},
                "bindings": {"ws": {
                    "method": "GET",
                    "query": {"type": "object", "properties": {"token": {"type": "string"}}},
                    "headers": {"type": "object", "properties": {
                        "Sec-WebSocket-Protocol": {"type": "string", "enum": list(SUBPROTOCOLS)},
                        "Authorization": {"type": "string", "pattern": "^Bearer "},
                    }},
                    "bindingVersion": "0.1.0",
                }},
            }
        },
        "operations": {
            "tell": _operation("send", "What a front tells.", [one for one in MESSAGES if one.sender == "front"]),
            **{
                one.kind.name.lower(): _operation("receive", one.meaning, [one])
                | {"reply": {"channel": _SESSION, "messages": _refs(_ANSWERS)}}
                for one in MESSAGES
                if one.kind in REQUESTS
            },
        },
        "components": {
            "messages": {one.kind.name: _message(one) for one in MESSAGES},
            "schemas": {
                "int": {
                    "description": "Beyond 2^53 - 1, in JSON, a decimal text; beyond 64 bits, in msgpack, ext type 1: "
                    "big-endian two's complement.",
                    "oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}],
                },
                "row": {
                    "type": "array",
                    "description": "The fields of CANDLE in their order (docs/units.md); null: not known, or none.",
                    "items": {},
                },
                **{name: _array(parts) for name, parts in STRUCTURES.items()},
            },
        },
    }  # fmt: skip


_SESSION: Final = {"$ref": "#/channels/session"}
_ANSWERS: Final = [one for one in MESSAGES if one.kind in (Kind.ACK, Kind.ERROR)]


def _operation(action: str, summary: str, messages: list[Declared]) -> dict[str, Any]:
    return {"action": action, "channel": _SESSION, "summary": summary, "messages": _refs(messages)}


def _refs(messages: Iterable[Declared]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/session/messages/{one.kind.name}"} for one in messages]


def _message(declared: Declared) -> dict[str, Any]:
    return {"name": declared.kind.name, "summary": declared.meaning, "payload": payload(declared)}


def yaml(value: Any, indent: str = "") -> str:
    """Maps, lists and scalars as YAML: a scalar is written as JSON, which is YAML."""
    if isinstance(value, dict) and value:
        return "".join(f"\n{indent}{key}:{yaml(item, indent + '  ')}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "".join(f"\n{indent}-{yaml(item, indent + '  ')}" for item in value)
    return " " + json.dumps(value, ensure_ascii=False)


def main(docs: Path) -> None:
    document = docs / "protocol.md"
    document.write_text(protocol(document.read_text()))
    (docs / "asyncapi.yaml").write_text(asyncapi_text())


def asyncapi_text() -> str:
    return "# Made by `python -m wick.wire.documents`." + yaml(asyncapi()) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
