"""Everything that a front answers over HTTP: a Request in, a Reply out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from wick.api import candles, udf
from wick.api.forms import FORMS
from wick.api.pages import Pages
from wick.api.prometheus import Exporter
from wick.api.replies import (
    JSON,
    NO_STORE,
    RequestError,
    accepted,
    error_reply,
    etag,
    finished,
    json_reply,
)
from wick.api.routes import BY_PATH, FORMATS, Route
from wick.errors import ProtocolError
from wick.market.intervals import NAMES
from wick.market.rows import COLUMNS, Readable, decimals_of, readable, readable_value
from wick.market.schema import FIELDS, HEAD, HEAD_FIELDS, Row
from wick.metrics import pattern_table
from wick.net.reader import give_way
from wick.wire.codec import pack_json
from wick.wire.http import Reply, Request
from wick.wire.topics import Pattern, parse_topics

PAIRS_A_TURN: Final = 20  # of a snapshot with all intervals, some 4 ms
RUNNING: Final = "running"

Pair = tuple[str, str]


class State(NamedTuple):
    """What is true of a pair now: its head, as of a position of its stream."""

    epoch: int
    seq: int
    head: Sequence[int]


class Health(NamedTuple):
    """How the front itself is: `age_ms` of the newest data, None before there is any."""

    state: str
    age_ms: int | None
    pairs: int
    shards_waiting: int
    silent: Sequence[str] = ()  # the workers that were heard, and are not any more: their pairs stand still


class Sources(NamedTuple):
    """What the answers are made of; each is asked anew for each request, and must not block but for `candles`.

    `live` gives the row of the live candle of an interval (by its index in the table), None where there is none;
    `stats` the newest message of each process.
    """

    pairs: Callable[[], Sequence[Pair]]
    state: Callable[[str, str], State | None]
    live: Callable[[str, str, int], Row | None]
    candles: candles.Candles
    health: Callable[[], Health]
    stats: Callable[[], Iterable[Mapping[str, Any]]]
    now_ms: Callable[[], int]


class Api:
    """Answers every path of `routes.ROUTES`, and the page's files. `ready_s` is `front.ready_s`."""

    def __init__(self, sources: Sources, ready_s: float, pages: Pages | None = None) -> None:
        self._sources, self._ready_ms = sources, ready_s * 1000
        self._pages = Pages() if pages is None else pages
        self._exporter = Exporter()
        self._fixed: dict[str, Reply] = {}

    def respond(self, request: Request) -> Reply:
        """Headers that all replies have included. May give way to other greenlets, and wait for the store."""
        return finished(self._reply(request), request)

    def _reply(self, request: Request) -> Reply:
        page = self._pages.reply(request.path)
        if page is not None:
            return page
        route = BY_PATH.get(request.path)
        if route is None:
            unknown = RequestError("not_found", "path", request.path, "a path of /api/v1/openapi.json", 404)
            return error_reply(unknown)
        try:
            form = self._form(route, request)
            reply: Reply = getattr(self, f"_{route.name}")(route.parse(request.query), form)
        except RequestError as error:
            return udf.error_reply(error) if route.name.startswith("udf_") else error_reply(error)
        return reply

    def _form(self, route: Route, request: Request) -> str:
        """The content type that is asked for: by `format`, else by Accept."""
        if len(route.forms) == 1:
            return route.forms[0]
        named = FORMATS.get(request.query.get("format", ""))
        if named in route.forms:
            return named
        accept = request.headers.get("accept", "")
        form = accepted(accept, route.forms)
        if form is None:
            raise RequestError("not_acceptable", "Accept", accept, ", ".join(route.forms), 406)
        return form

    def _kept(self, name: str, make: Callable[[], Any]) -> Reply:
        """What never changes is made once, when it is first asked for."""
        if name not in self._fixed:
            body = pack_json(make())
            headers = (("Cache-Control", "private, no-cache"), ("ETag", etag(body)))
            self._fixed[name] = Reply(200, JSON, body, headers)
        return self._fixed[name]

    # ------------------------------------------------------------------ /api/v1

    def _symbols(self, _given: dict[str, Any], _form: str) -> Reply:
        return json_reply([{"venue": venue, "symbol": symbol} for venue, symbol in self._sources.pairs()])

    def _intervals(self, _given: dict[str, Any], _form: str) -> Reply:
        return self._kept("intervals", lambda: list(NAMES))

    def _metrics_schema(self, _given: dict[str, Any], _form: str) -> Reply:
        return self._kept("metrics_schema", metrics_schema)

    def _openapi(self, _given: dict[str, Any], _form: str) -> Reply:
        from wick.api.openapi import document  # a description that few ask for

        return self._kept("openapi", document)

    def _candles(self, given: dict[str, Any], form: str) -> Reply:
        pair = given["venue"], given["symbol"]
        if pair not in self._sources.pairs():
            raise RequestError("bad_symbol", "symbol", ":".join(pair), "a venue and symbol of /api/v1/symbols")
        return candles.page(given, self._sources.candles, form, self._sources.now_ms())

    def _snapshot(self, given: dict[str, Any], form: str) -> Reply:
        pairs = self._matching(given["pairs"])
        count, parts = 0, []
        head = {"time_ms": self._sources.now_ms()}
        for at in range(0, len(pairs), PAIRS_A_TURN):
            told = [self._told(pair, given["intervals"]) for pair in pairs[at : at + PAIRS_A_TURN]]
            known = [one for one in told if one is not None]
            if known:
                count += len(known)
                parts.append(FORMS[form].encode(known))
            give_way()
        return Reply(200, form, FORMS[form].join(head, "pairs", count, parts), (*NO_STORE, ("Vary", "Accept")))

    def _matching(self, text: str | None) -> Sequence[Pair]:
        """The pairs that a text names, in the session's words."""
        pairs = self._sources.pairs()
        if text is None:
            return pairs
        try:
            pattern: Pattern = parse_topics(f"ticker:{text}")
        except ProtocolError as error:
            raise RequestError("bad_pairs", "pairs", text, ", ".join(error.valid)) from None
        found = [pair for pair in pairs if pattern.of(*pair)]
        if not found and not pattern.is_open:
            raise RequestError("bad_pairs", "pairs", text, "pairs of /api/v1/symbols")
        return found

    def _told(self, pair: Pair, intervals: Iterable[str]) -> dict[str, Any] | None:
        """Without a switch to other greenlets: the head and the candles belong together."""
        state = self._sources.state(*pair)
        if state is None:
            return None
        live = {name: self._sources.live(*pair, NAMES.index(name)) for name in intervals}
        return {
            "venue": pair[0],
            "symbol": pair[1],
            "epoch": state.epoch,
            "seq": state.seq,
            "state": readable_head(state.head),
            "candles": {name: readable(row, COLUMNS) for name, row in live.items() if row is not None},
        }

    # ------------------------------------------------------------------ TradingView

    def _udf_config(self, _given: dict[str, Any], _form: str) -> Reply:
        return udf.config(self._sources.pairs())

    def _udf_symbols(self, given: dict[str, Any], _form: str) -> Reply:
        pair = udf.resolve(given["symbol"], self._sources.pairs())
        state = self._sources.state(*pair)
        return json_reply(udf.symbol_info(pair, None if state is None else state.head))

    def _udf_search(self, given: dict[str, Any], _form: str) -> Reply:
        return udf.search(given, self._sources.pairs())

    def _udf_history(self, given: dict[str, Any], _form: str) -> Reply:
        pair = udf.resolve(given["symbol"], self._sources.pairs())
        return udf.history(given, pair, self._sources.candles)

    def _udf_time(self, _given: dict[str, Any], _form: str) -> Reply:
        return udf.clock(self._sources.now_ms())

    # ------------------------------------------------------------------ operation

    def _healthz(self, _given: dict[str, Any], _form: str) -> Reply:
        state, age_ms, pairs, shards_waiting, silent = self._sources.health()
        return json_reply({
            "status": state, "age_ms": age_ms, "pairs": pairs, "shards_waiting": shards_waiting, "silent": silent,
        })  # fmt: skip

    def _readyz(self, _given: dict[str, Any], _form: str) -> Reply:
        reasons = list(unready(self._sources.health(), self._ready_ms))
        return json_reply({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    def _metrics(self, _given: dict[str, Any], form: str) -> Reply:
        return self._exporter.reply(self._sources.stats(), self._sources.now_ms() * 1_000_000, form)


def unready(health: Health, ready_ms: float) -> Iterable[str]:
    """Why a front should get no clients now."""
    if health.state != RUNNING:
        yield f"the front is {health.state}"
    if health.age_ms is None:
        yield "there is no data yet"
    elif health.age_ms > ready_ms:
        yield f"the newest data is {health.age_ms / 1000:.1f} s old (front.ready_s is {ready_ms / 1000:g})"
    if health.shards_waiting:
        yield f"{health.shards_waiting} shards wait for a snapshot"
    for worker in health.silent:
        yield f"{worker} is silent, its pairs stand still"


def readable_head(head: Sequence[int]) -> dict[str, Readable]:
    """A pair's head as people and other programs read it."""
    values = dict(zip(HEAD_FIELDS, head, strict=True))
    decimals = decimals_of(values["price_decimals"], values["quantity_decimals"])
    return {name: readable_value(value, kind, decimals) for (name, kind), value in zip(HEAD, head, strict=True)}


def metrics_schema() -> dict[str, list[dict[str, Any]]]:
    """What the numbers of a candle are. A field's `number` is 0 where it only goes with one of the 64 metrics."""
    names = ("number", "name", "unit", "definition", "n", "source")
    return {
        "fields": [{name: getattr(field, name) for name in names} for field in FIELDS],
        "patterns": [pattern._asdict() for pattern in pattern_table.PATTERNS],
    }
