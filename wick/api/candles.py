"""`/api/v1/candles`: a page of candles, where the next one begins, its form, and how long it may be kept."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

from wick.api.forms import FORMS
from wick.api.history import END_MS, Window
from wick.api.replies import NO_STORE, RequestError, etag
from wick.market.rows import ALL_COLUMNS, COLUMNS, readable
from wick.market.schema import CLOSED, PARTIAL, SUSPECT, Row
from wick.wire.http import Reply

CHUNK: Final = 50  # rows that are read and written at once: 2 to 6 ms, and 200 KB, where all fields are asked for
# A candle that closed so long ago, and so many of its lengths, is out of reach of late trades (`aggregator.history`).
SETTLED_MS: Final = 10 * 60_000
SETTLED_CANDLES: Final = 16
KEEP_S: Final = 3600  # a backfill can still correct what had settled

# (venue, symbol, interval, window) -> rows, oldest first
Candles = Callable[[str, str, str, Window], list[Row]]


def chunks(read: Callable[[Window], list[Row]], window: Window) -> Iterator[list[Row]]:
    """The rows of a window, some at a time, from its oldest on or from its newest back: a page has no need of all of
    them at once, and while the store is read others have their turn."""
    left = window.limit
    while left:
        part = window._replace(limit=min(left, CHUNK))
        rows = read(part)
        if rows:
            yield rows
        if len(rows) < part.limit:
            return
        left -= len(rows)
        window = window._replace(from_ms=rows[-1][0] + 1) if window.forward else window._replace(to_ms=rows[0][0])


def page(given: dict[str, Any], candles: Candles, form: str, now_ms: int) -> Reply:
    """The reply to declared parameters of a known pair."""
    pair = {name: given[name] for name in ("venue", "symbol", "interval")}
    columns = _columns(given["fields"])
    from_ms, to_ms = given["from"], given["to"]
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise RequestError("bad_from", "from", str(from_ms), f"a time before `to` ({to_ms})")
    window = Window(given["limit"], from_ms or 0, END_MS if to_ms is None else to_ms, from_ms is not None)

    def read(part: Window) -> list[Row]:
        return candles(given["venue"], given["symbol"], given["interval"], part)

    shape = FORMS[form]
    span, parts = _Span(), []
    for rows in chunks(read, window):
        span.add(rows)
        parts.append(shape.encode([[*readable(row, columns).values()] for row in rows]))
    if not window.forward:
        parts.reverse()
    link = _link(given, span, read, window)
    body = shape.join({**pair, "columns": columns, "next": link}, "rows", span.count, parts)
    # Nothing can be added to a page that ends in the past, or where the next one begins.
    is_bounded = (window.forward and link is not None) or window.to_ms <= now_ms
    headers = [("Vary", "Accept"), *_caching(span, is_bounded, body, now_ms)]
    if link is not None:
        headers.append(("Link", f'<{link}>; rel="next"'))
    return Reply(200, form, body, tuple(headers))


class _Span:
    """What is known of the rows of a page when they themselves are gone."""

    def __init__(self) -> None:
        self.count = 0
        self.first_ms, self.last_ms, self.close_ms = END_MS, -1, 0
        self.all_flags, self.any_flags = -1, 0

    def add(self, rows: list[Row]) -> None:
        self.count += len(rows)
        self.first_ms = min(self.first_ms, rows[0][0])
        if rows[-1][0] > self.last_ms:
            self.last_ms, self.close_ms = rows[-1][:2]
        for row in rows:
            self.all_flags &= row[3]
            self.any_flags |= row[3]


def _columns(fields: tuple[str, ...] | None) -> tuple[str, ...]:
    if fields is None:
        return COLUMNS
    if "all" in fields:
        if len(fields) > 1:
            raise RequestError("bad_fields", "fields", ",".join(fields), "`all` alone, or names")
        return ALL_COLUMNS
    return fields


def _link(given: dict[str, Any], span: _Span, read: Callable[[Window], list[Row]], window: Window) -> str | None:
    """The next page's address, from the parameters as they were understood; a token is not repeated. None: there is
    nothing on it."""
    if span.count < window.limit:
        return None
    query = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in given.items()}
    query |= {"from": span.last_ms + 1} if window.forward else {"to": span.first_ms}
    rest = window._replace(from_ms=span.last_ms + 1) if window.forward else window._replace(to_ms=span.first_ms)
    if not read(rest._replace(limit=1)):
        return None
    return f"/api/v1/candles?{urlencode({name: value for name, value in query.items() if value is not None}, safe=',')}"


def _caching(span: _Span, is_bounded: bool, body: bytes, now_ms: int) -> Iterable[tuple[str, str]]:
    """A page with a live candle is not kept; one of closed candles may be kept and asked about; one that is settled
    may be kept for an hour without a question, by the client alone, for a token may have opened it."""
    if not span.count or not span.all_flags & CLOSED:
        return NO_STORE
    reach_ms = max(SETTLED_MS, SETTLED_CANDLES * (span.close_ms - span.last_ms))
    is_settled = is_bounded and now_ms - span.close_ms > reach_ms and not span.any_flags & (PARTIAL | SUSPECT)
    keep = f"private, max-age={KEEP_S}" if is_settled else "private, no-cache"
    return (("Cache-Control", keep), ("ETag", etag(body)))
