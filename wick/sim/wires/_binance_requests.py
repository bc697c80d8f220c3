"""What clients ask of Binance's WebSockets, spot and futures alike, and how wrong requests are answered. Pure."""

import re
from typing import Any, NamedTuple

import orjson

from wick.errors import WickError

_STREAM = re.compile(r"[a-z0-9_]{1,40}@[A-Za-z0-9_]{1,40}(@100ms)?|![A-Za-z0-9_]{1,40}@arr")
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Request(NamedTuple):
    method: str
    params: list[Any]
    id: int | str | None


class RequestError(WickError):
    """A message of a client that is answered with an error frame."""

    def __init__(self, code: int, message: str, request_id: int | str | None = None) -> None:
        super().__init__(message)
        self.frame = orjson.dumps({"error": {"code": code, "msg": message}, "id": request_id})


def is_stream(name: object) -> bool:
    return isinstance(name, str) and _STREAM.fullmatch(name) is not None


def parse_request(raw: bytes) -> Request:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RequestError(3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}") from error
    if not isinstance(message, dict):
        raise RequestError(2, "Invalid request: expected an object at line 1 column 1")
    request_id = message.get("id")
    if not _is_id(request_id):
        raise RequestError(2, "Invalid request: request ID must be an unsigned integer")
    method, params = message.get("method"), message.get("params", [])
    if method is None:
        raise RequestError(2, f"Invalid request: missing field `method` at line 1 column {len(raw)}", request_id)
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        raise RequestError(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}", request_id)
    if not isinstance(params, list):
        raise RequestError(2, "Invalid request: invalid type: expected a sequence", request_id)
    if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        if not params:
            raise RequestError(2, "Invalid request: missing field `params`", request_id)
        if not all(is_stream(name) for name in params):
            raise RequestError(2, "Invalid request: invalid stream", request_id)
    elif method == "LIST_SUBSCRIPTIONS" and params:
        raise RequestError(2, "Invalid request: too many parameters", request_id)
    elif method.endswith("PROPERTY"):
        _check_property(method, params, request_id)
    return Request(method, params, request_id)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 36 and value.isascii() and value.replace("-", "").isalnum()
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


def _check_property(method: str, params: list[Any], request_id: int | str | None) -> None:
    if not params or not isinstance(params[0], str):
        raise RequestError(2, "Invalid request: property name must be a string", request_id)
    if params[0] != "combined":
        raise RequestError(0, "Unknown property", request_id)
    if len(params) != (2 if method == "SET_PROPERTY" else 1):
        raise RequestError(2, "Invalid request: too many parameters", request_id)
    if method == "SET_PROPERTY" and not isinstance(params[1], bool):
        raise RequestError(1, "Invalid value type: expected Boolean", request_id)


def result(value: object, request_id: int | str | None) -> bytes:
    return orjson.dumps({"result": value, "id": request_id})
