"""The HTTP API of the front, and the files of the page."""

import mimetypes
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from wick.market.intervals import NAMES
from wick.market.rows import ALL_COLUMNS, COLUMNS, Readable, rank, readable
from wick.market.schema import CLOSED, FIELDS, Row
from wick.metrics import pattern_table
from wick.net.http_server import Reply, error_reply, json_body, json_reply
from wick.net.reader import give_way
from wick.wire.codec import pack_json

DEFAULT_LIMIT, MAX_LIMIT = 500, 5_000
ROWS_A_TURN = 100  # some 4 ms, where all fields are asked for
# (venue, symbol, interval, limit, before_ms or None) -> rows, oldest first
Candles = Callable[[str, str, str, int, int | None], list[Row]]


def join(stored: Iterable[Row], recent: Iterable[Row], live: Row | None) -> list[Row]:
    """History without a seam: what the store has, overlaid by what closed since, then the live candle."""
    rows = {row[0]: row for row in stored}
    for row in recent:
        known = rows.get(row[0])
        if known is None or _at_least(row, known):
            rows[row[0]] = row
    if live is not None and live[0]:
        rows[live[0]] = live
    return [rows[open_ms] for open_ms in sorted(rows)]


def _at_least(row: Row, known: Row) -> bool:
    """Closed beats what was made of diffs; then the store's own rule."""
    if (row[3] ^ known[3]) & CLOSED:
        return bool(row[3] & CLOSED)
    return rank(row) >= rank(known)


def metrics_schema() -> dict[str, list[dict[str, Any]]]:
    """What the numbers of a candle are. A field's `number` is 0 where it only goes with one of the 64 metrics."""
    names = ("number", "name", "unit", "definition", "n", "source")
    return {
        "fields": [{name: getattr(field, name) for name in names} for field in FIELDS],
        "patterns": [pattern._asdict() for pattern in pattern_table.PATTERNS],
    }


class Api:
    """Routes `GET` paths. `pairs` lists the pairs that are known now; `candles` reads them."""

    def __init__(self, pairs: Callable[[], list[tuple[str, str]]], candles: Candles, health: Callable[[], Any]) -> None:
        self._pairs, self._candles, self._health = pairs, candles, health
        self._files = dict(_page_files())
        self._metrics_schema = json_reply(metrics_schema())

    def route(self, path: str, query: dict[str, str]) -> Reply | None:
        if path in self._files:
            return self._files[path]
        if path == "/api/v1/symbols":
            return json_reply([{"venue": venue, "symbol": symbol} for venue, symbol in self._pairs()])
        if path == "/api/v1/intervals":
            return json_reply(list(NAMES))
        if path == "/api/v1/metrics-schema":
            return self._metrics_schema
        if path == "/api/v1/candles":
            return self._get_candles(query)
        if path == "/healthz":
            return json_reply(self._health())
        return None

    def _get_candles(self, query: dict[str, str]) -> Reply:
        known = ("venue", "symbol", "interval", "limit", "to", "fields", "token")
        for field in query:
            if field not in known:
                return _bad(field, query[field], f"no such parameter; there are {', '.join(known[:-1])}")
        venue, symbol, interval = query.get("venue", ""), query.get("symbol", ""), query.get("interval", "")
        if interval not in NAMES:
            return _bad("interval", interval, f"one of {', '.join(NAMES)}")
        if (venue, symbol) not in self._pairs():
            return _bad("symbol", f"{venue}:{symbol}", "a venue and symbol of /api/v1/symbols")
        limit, before_ms = query.get("limit", str(DEFAULT_LIMIT)), query.get("to", "")
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and 1 <= int(limit) <= MAX_LIMIT):
            return _bad("limit", limit, f"a whole number from 1 to {MAX_LIMIT}")
        if before_ms and not (before_ms.isascii() and before_ms.isdigit() and len(before_ms) < 16):
            return _bad("to", before_ms, "a time in milliseconds since the epoch")
        columns = _columns(query["fields"]) if "fields" in query else COLUMNS
        for name in columns:
            if name not in ALL_COLUMNS:
                return _bad("fields", name, f"all, or some of {', '.join(ALL_COLUMNS)}")
        rows = self._candles(venue, symbol, interval, int(limit), int(before_ms) if before_ms else None)
        head = pack_json({"venue": venue, "symbol": symbol, "interval": interval, "columns": columns})
        turns = [pack_json(some)[1:-1] for some in _turns(rows, columns)]
        return json_body(head[:-1] + b',"rows":[' + b",".join(turns) + b"]}")


def _turns(rows: list[Row], columns: tuple[str, ...]) -> Iterator[list[list[Readable]]]:
    """The rows' values, some at a time; in between others have their turn."""
    for at in range(0, len(rows), ROWS_A_TURN):
        yield [[*readable(row, columns).values()] for row in rows[at : at + ROWS_A_TURN]]
        give_way()


def _columns(fields: str) -> tuple[str, ...]:
    return ALL_COLUMNS if fields == "all" else tuple(dict.fromkeys(fields.split(",")))


def _bad(field: str, value: str, valid: str) -> Reply:
    return error_reply("400 Bad Request", f"bad_{field}"[:40], field[:40], f"{value[:80]!r} is not valid", valid)


def _page_files() -> Iterable[tuple[str, Reply]]:
    """Every file of the page by its path: only what is listed here can be asked for."""
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("text/javascript", ".mjs")
    root = Path(__file__).parent.parent / "web"
    for file in sorted(root.rglob("*")):
        if file.is_file() and file.suffix != ".py":
            body = file.read_bytes()
            kind = mimetypes.guess_type(file.name)[0] or "text/plain"
            kind += "; charset=utf-8" if kind.startswith("text/") else ""
            # The page may be a day old to a browser only if it asks whether it still is.
            headers = (("Cache-Control", "no-cache"), ("ETag", f'"{sha256(body).hexdigest()[:16]}"'))
            reply = Reply("200 OK", kind, body, headers)
            name = file.relative_to(root).as_posix()
            yield f"/static/{name}", reply
            if name == "index.html":
                yield "/", reply
