"""`/api/v1/candles`: a page of candles, where the next one begins, its form, and how long it may be kept."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

import msgpack

from wick.market.rows import ALL_COLUMNS, COLUMNS, Readable, readable
from wick.market.schema import CLOSED, PARTIAL, SUSPECT, Row
from wick.net.history import END_MS, Window
from wick.net.reader import give_way
from wick.net.replies import CSV, JSON, MSGPACK, NO_STORE, RequestError, etag
from wick.wire.codec import pack_json
from wick.wire.http import Reply

ROWS_A_TURN: Final = 100  # some 4 ms, where all fields are asked for
# A candle that closed so long ago, and so many of its lengths, is out of reach of late trades (`aggregator.history`).
SETTLED_MS: Final = 10 * 60_000
SETTLED_CANDLES: Final = 16
KEEP_S: Final = 3600  # a backfill can still correct what had settled

# (venue, symbol, interval, window) -> rows, oldest first
Candles = Callable[[str, str, str, Window], list[Row]]


def page(given: dict[str, Any], candles: Candles, form: str, now_ms: int) -> Reply:
    """The reply to declared parameters of a known pair."""
    pair = {name: given[name] for name in ("venue", "symbol", "interval")}
    columns = _columns(given["fields"])
    limit, from_ms, to_ms = given["limit"], given["from"], given["to"]
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise RequestError("bad_from", "from", str(from_ms), f"a time before `to` ({to_ms})")
    forward = from_ms is not None
    # One more than fits tells whether there is a next page.
    window = Window(limit + 1, from_ms or 0, END_MS if to_ms is None else to_ms, forward)
    rows = candles(given["venue"], given["symbol"], given["interval"], window)
    is_whole = len(rows) <= limit
    rows = rows[:limit] if forward else rows[-limit:]
    link = None if is_whole else _link(given, rows, forward)
    body = _WRITERS[form](pair, columns, rows, link)
    # Nothing can be added to a page that ends in the past, or where the next one begins.
    is_bounded = (forward and not is_whole) or window.to_ms <= now_ms
    headers = [("Vary", "Accept"), *_caching(rows, is_bounded, body, now_ms)]
    if link is not None:
        headers.append(("Link", f'<{link}>; rel="next"'))
    return Reply(200, form, body, tuple(headers))


def _columns(fields: tuple[str, ...] | None) -> tuple[str, ...]:
    if fields is None:
        return COLUMNS
    if "all" in fields:
        if len(fields) > 1:
            raise RequestError("bad_fields", "fields", ",".join(fields), "`all` alone, or names")
        return ALL_COLUMNS
    return fields


def _link(given: dict[str, Any], rows: list[Row], forward: bool) -> str:
    """The next page's address, from the parameters as they were understood; a token is not repeated."""
    query = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in given.items()}
    query |= {"from": rows[-1][0] + 1} if forward else {"to": rows[0][0]}
    return f"/api/v1/candles?{urlencode({name: value for name, value in query.items() if value is not None}, safe=',')}"


def _caching(rows: list[Row], is_bounded: bool, body: bytes, now_ms: int) -> Iterable[tuple[str, str]]:
    """A page with a live candle is not kept; one of closed candles may be kept and asked about; one that is settled
    may be kept for an hour without a question, by the client alone, for a token may have opened it."""
    if not rows or not all(row[3] & CLOSED for row in rows):
        return NO_STORE
    open_ms, close_ms = rows[-1][:2]
    age_ms = now_ms - close_ms
    is_settled = is_bounded and age_ms > max(SETTLED_MS, SETTLED_CANDLES * (close_ms - open_ms))
    if is_settled and not any(row[3] & (PARTIAL | SUSPECT) for row in rows):
        return (("Cache-Control", f"private, max-age={KEEP_S}"), ("ETag", etag(body)))
    return (("Cache-Control", "private, no-cache"), ("ETag", etag(body)))


# ---------------------------------------------------------------------- forms


def _turns(rows: list[Row], columns: tuple[str, ...]) -> Iterator[list[list[Readable]]]:
    """The rows' values, some at a time; in between others have their turn."""
    for at in range(0, len(rows), ROWS_A_TURN):
        yield [[*readable(row, columns).values()] for row in rows[at : at + ROWS_A_TURN]]
        give_way()


def _as_json(pair: dict[str, str], columns: tuple[str, ...], rows: list[Row], link: str | None) -> bytes:
    head = pack_json({**pair, "columns": columns, "next": link})
    turns = [pack_json(some)[1:-1] for some in _turns(rows, columns)]
    return head[:-1] + b',"rows":[' + b",".join(turns) + b"]}"


def _as_msgpack(pair: dict[str, str], columns: tuple[str, ...], rows: list[Row], link: str | None) -> bytes:
    packer = msgpack.Packer()
    head = {**pair, "columns": columns, "next": link}
    parts = [packer.pack_map_header(len(head) + 1)]
    parts += [packer.pack(item) for pair_ in head.items() for item in pair_]
    parts += [packer.pack("rows"), packer.pack_array_header(len(rows))]
    for some in _turns(rows, columns):
        parts += [packer.pack(row) for row in some]
    return b"".join(parts)


def _as_csv(_pair: dict[str, str], columns: tuple[str, ...], rows: list[Row], _link: str | None) -> bytes:
    """RFC 4180. No value has a comma, a quote or a line's end, so none is quoted."""
    lines = [",".join(columns)]
    for some in _turns(rows, columns):
        lines += [",".join(map(_cell, row)) for row in some]
    return "\r\n".join([*lines, ""]).encode()


def _cell(value: Readable) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{name}={number}" for name, number in value.items())
    return str(value)


_WRITERS: Final = {JSON: _as_json, MSGPACK: _as_msgpack, CSV: _as_csv}
