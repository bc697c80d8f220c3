"""The HTTP API without a front: what is served, in what form, for how long, and what is refused."""

import json
from urllib.parse import quote

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.asking import MINUTE, NOW_MS, PAIRS, Known, request, row
from wick.api.candles import CHUNK
from wick.api.pages import ROOT
from wick.api.replies import RequestError
from wick.api.routes import MAX_LIMIT, ROUTES
from wick.api.service import Health
from wick.market import schema
from wick.market.intervals import NAMES
from wick.market.rows import ALL_COLUMNS, COLUMNS
from wick.market.schema import CLOSED, PARTIAL, SUSPECT
from wick.metrics.pattern_table import PATTERNS
from wick.wire.codec import unpack

CANDLES = "/api/v1/candles?venue=binance&symbol=BTC-USDT&interval=1m"
FOUND = bytes([5, *bytes(59), 256 - 10])  # the first pattern +100, the last -200
OLD = [row(n * MINUTE) for n in range(10)]
OPENS = "&fields=open_time_ms"


def opens(known, target):
    status, answer = known.ask(target)
    assert status == 200, answer
    return [open_ms // MINUTE for (open_ms,) in answer["rows"]], answer["next"]


def caching(known, query=""):
    headers = dict(known.api().respond(request(CANDLES + query)).headers)
    return headers["Cache-Control"], "ETag" in headers


def error(answer):
    status, told = answer
    return status, told["error"]["field"]


# ---------------------------------------------------------------------- candles: what


def test_without_fields_a_candle_has_what_trades_and_quotes_make_of_it():
    status, answer = Known([row(rsi_14=50.0)]).ask(CANDLES)
    assert (status, answer["columns"]) == (200, list(COLUMNS))
    assert [len(one) for one in answer["rows"]] == [len(COLUMNS)]


def test_all_fields_are_those_and_the_metrics():
    known = Known([row(price_decimals=2, close=12345, rsi_14=61.5, bull=1, bear=2**60, patterns=FOUND)])
    _, answer = known.ask(CANDLES + "&fields=all")
    assert answer["columns"] == list(ALL_COLUMNS)
    candle = dict(zip(ALL_COLUMNS, answer["rows"][0], strict=True))
    assert candle["patterns"] == {PATTERNS[0].name: 100, PATTERNS[60].name: -200}
    assert {name: candle[name] for name in ("close", "rsi_14", "macd", "bull", "bear")} == {
        "close": "123.45", "rsi_14": 61.5, "macd": None, "bull": 1, "bear": str(2**60),
    }  # fmt: skip


def test_named_fields_come_alone_in_the_order_in_which_they_were_named_each_once():
    _, answer = Known([row(60_000, rsi_14=0.1)]).ask(CANDLES + "&fields=rsi_14,open_time_ms,rsi_14")
    assert (answer["columns"], answer["rows"]) == (["rsi_14", "open_time_ms"], [[0.1, 60_000]])


@pytest.mark.parametrize(
    "fields", ["rsi", "close,rsi", "close,", ",", "", "ALL", "all,close", "close, open", "price_decimals"]
)
def test_a_field_that_does_not_exist_is_refused(fields):
    assert error(Known([row()]).ask(f"{CANDLES}&fields={quote(fields)}")) == (400, "fields")


def test_a_float_is_served_as_the_shortest_text_that_is_that_float():
    _, answer = Known([row(rsi_14=0.1 + 0.2, macd=1e-300)]).ask(CANDLES + "&fields=rsi_14,macd")
    assert answer["rows"] == [[0.30000000000000004, 1e-300]]


@pytest.mark.parametrize("direction", ["", "&from=0"])
@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("form", ["json", "csv", "msgpack"])
def test_however_many_rows_there_are_all_are_served_in_order(count, form, direction):
    api = Known([row(n * MINUTE) for n in range(count)]).api()
    body = api.respond(request(f"{CANDLES}{OPENS}{direction}&format={form}")).body
    if form == "csv":
        found = [[int(line)] for line in body.decode().splitlines()[1:]]
    else:
        found = (json.loads if form == "json" else msgpack.unpackb)(body)["rows"]
    assert found == [[n * MINUTE] for n in range(count)]


# ---------------------------------------------------------------------- candles: pages


def test_without_times_the_newest_candles_are_served_and_the_next_page_leads_back():
    known = Known(OLD)
    first, link = opens(known, f"{CANDLES}{OPENS}&limit=4")
    second, link = opens(known, link)
    third, end = opens(known, link)
    assert (first, second, third, end) == ([6, 7, 8, 9], [2, 3, 4, 5], [0, 1], None)


def test_from_a_time_the_oldest_candles_are_served_and_the_next_page_leads_forward():
    known = Known(OLD)
    first, link = opens(known, f"{CANDLES}{OPENS}&limit=4&from={MINUTE}")
    second, link = opens(known, link)
    third, end = opens(known, link)
    assert (first, second, third, end) == ([1, 2, 3, 4], [5, 6, 7, 8], [9], None)


@given(
    st.lists(st.integers(0, 60), unique=True).map(sorted),
    st.integers(1, 20),
    st.none() | st.integers(0, 60),
    st.none() | st.integers(1, 61),
)
def test_all_pages_together_have_every_candle_between_the_times_once(minutes, limit, since, until):
    if since is not None and until is not None and since >= until:
        since = until - 1
    known = Known([row(minute * MINUTE) for minute in minutes])
    link = f"{CANDLES}{OPENS}&limit={limit}"
    link += f"&from={since * MINUTE}" if since is not None else ""
    link += f"&to={until * MINUTE}" if until is not None else ""
    pages = []
    while link is not None:
        found, link = opens(known, link)
        pages.append(found)
    if since is None:
        pages.reverse()
    assert all(len(one) <= limit for one in pages)
    wanted = [one for one in minutes if one >= (since or 0) and (until is None or one < until)]
    assert [one for page in pages for one in page] == wanted


def test_the_next_page_is_a_header_too_and_never_repeats_the_token():
    reply = Known(OLD).api().respond(request(f"{CANDLES}&limit=4&format=csv&fields=close,open&token=s3cret"))
    link = dict(reply.headers)["Link"]
    assert link == (
        "</api/v1/candles?venue=binance&symbol=BTC-USDT&interval=1m&limit=4&to=360000&fields=close,open&format=csv>; "
        'rel="next"'
    )


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "venue"), ("venue=binance", "symbol"), ("venue=binance&symbol=BTC-USDT", "interval"),
        ("venue=binance&symbol=BTC-USDT&interval=7m", "interval"), ("venue=binance&symbol=NO&interval=1m", "symbol"),
        ("venue=&symbol=BTC-USDT&interval=1m", "venue"), ("venue=binance&symbol=BTC%00&interval=1m", "symbol"),
        *((f"venue=binance&symbol=BTC-USDT&interval=1m&{name}={value}", name) for name, value in [
            ("limit", "0"), ("limit", MAX_LIMIT + 1), ("limit", "-1"), ("limit", "1e3"), ("limit", "9" * 5000),
            ("limit", "%D9%A3"), ("limit", ""), ("to", "now"), ("to", "9" * 30), ("to", ""), ("from", "-1"),
            ("from", "%C2%B2"), ("colour", "red"), ("fields", "close,rsi"), ("format", "xml"), ("format", ""),
        ]),
        ("venue=binance&symbol=BTC-USDT&interval=1m&from=60000&to=60000", "from"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_by_name_with_what_is_valid(query, field):
    status, answer = Known(OLD).ask(f"/api/v1/candles?{query}")
    told = answer["error"]
    assert (status, told["field"]) == (400, field)
    assert told.keys() == {"code", "field", "value", "message", "valid"}
    assert told["valid"] and len(told["value"]) <= 80


def test_nothing_that_was_asked_comes_back_as_a_tag():
    for target in ("/<script>x</script>", "/api/v1/candles?<b>=&", "/udf/symbols?symbol=<img>", f"{CANDLES}&to=<i>"):
        reply = Known().api().respond(request(target))
        assert reply.status in (400, 404)
        assert reply.content_type == "application/json"
        assert not set(b"<>&") & set(reply.body)


_TEXTS = st.text("bBTC-USDT:*,1m0é\x00<", max_size=8) | st.sampled_from(["binance", "BTC-USDT", "1m", "60000", "json"])


@given(
    st.sampled_from(ROUTES), st.data(), st.dictionaries(st.sampled_from(["accept", "if-none-match"]), _TEXTS),
)  # fmt: skip
def test_whatever_is_asked_is_answered_or_refused_by_name(route, data, headers):
    names = st.sampled_from([parameter.name for parameter in route.parameters] or ["x"])
    query = data.draw(st.dictionaries(names, _TEXTS))
    asked = request(route.path)._replace(query=query, headers={"host": "localhost"} | headers)
    reply = Known(OLD).api().respond(asked)
    assert reply.status in (200, 304, 400, 404, 406)
    if reply.status >= 400:
        told = json.loads(reply.body)
        assert told["errmsg"] if "s" in told else told["error"]["field"] in (*query, *missing(route), "Accept")


def missing(route):
    return [parameter.name for parameter in route.parameters if parameter.required]


# ---------------------------------------------------------------------- candles: form


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"), ("*/*", "application/json"), ("text/csv", "text/csv; charset=utf-8"),
        ("application/x-msgpack", "application/msgpack"), ("application/vnd.msgpack;q=0.5", "application/msgpack"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/json;q=0.1, text/csv;q=0.9", "text/csv; charset=utf-8"),
        ("application/*;q=0.2, text/*;q=0.1", "application/json"),
        ("*/*, application/json;q=0", "text/csv; charset=utf-8"),
        ("text/csv;q=x, application/msgpack;q=nan, */*;q=0.1", "application/json"),
    ],
)  # fmt: skip
def test_the_form_is_the_one_that_the_client_likes_best(accept, kind):
    reply = Known().api().respond(request(CANDLES, accept=accept))
    assert (reply.status, reply.content_type) == (200, kind)
    assert ("Vary", "Accept") in reply.headers


def test_a_client_that_likes_none_of_the_forms_is_told_which_there_are():
    status, answer = Known().ask(CANDLES, accept="image/png")
    assert (status, answer["error"]["field"]) == (406, "Accept")
    assert "text/csv" in answer["error"]["valid"]


def test_the_named_form_wins_over_what_the_client_likes():
    assert Known().api().respond(request(CANDLES + "&format=csv", accept="image/png")).content_type[:8] == "text/csv"


def test_csv_has_a_line_of_names_and_nothing_where_nothing_is_known():
    known = Known([row(price_decimals=1, close=-15, patterns=FOUND), row(MINUTE, rsi_14=1e-05)])
    body = known.api().respond(request(CANDLES + "&fields=close,rsi_14,patterns&format=csv")).body
    patterns = f"{PATTERNS[0].name}=100 {PATTERNS[60].name}=-200"
    assert body.decode() == f"close,rsi_14,patterns\r\n-1.5,,{patterns}\r\n0,1e-05,\r\n"


def test_msgpack_says_what_json_says():
    known = Known([row(price_decimals=2, close=12345, rsi_14=0.1 + 0.2, patterns=FOUND)])
    packed = known.api().respond(request(CANDLES + "&fields=all&format=msgpack"))
    assert msgpack.unpackb(packed.body) == known.ask(CANDLES + "&fields=all")[1]


def test_an_integer_of_any_size_is_the_session_s_own_in_msgpack():
    known = Known([row(bull=2**63, bear=2**70)])
    body = known.api().respond(request(CANDLES + "&fields=bull,bear&format=msgpack")).body
    assert unpack(body)["rows"] == [[2**63, 2**70]]


# ---------------------------------------------------------------------- candles: how long they may be kept


def test_what_closed_long_ago_may_be_kept_and_what_is_live_may_not():
    settled = ("private, max-age=3600", True)
    asked = ("private, no-cache", True)
    known = Known(OLD)
    assert caching(known, f"&to={10 * MINUTE}") == settled
    assert caching(known, f"&limit=3&from={MINUTE}") == settled, "the next page begins where this one ends"
    assert caching(known) == caching(known, f"&from={MINUTE}") == asked, "a newer one may come"
    assert caching(known, f"&to={NOW_MS + 1}") == asked
    known.rows = [*OLD, row(10 * MINUTE, flags=0)]
    assert caching(known, f"&to={11 * MINUTE}") == ("no-store", False)
    assert caching(Known()) == ("no-store", False)


@pytest.mark.parametrize("flags", [CLOSED | PARTIAL, CLOSED | SUSPECT])
def test_what_a_better_candle_may_replace_is_asked_about_again(flags):
    assert caching(Known([*OLD[:-1], row(9 * MINUTE, flags=flags)]), f"&to={10 * MINUTE}")[0] == "private, no-cache"


@pytest.mark.parametrize(("length_ms", "closed_ago_ms", "is_kept"), [
    (MINUTE, 16 * MINUTE, False), (MINUTE, 16 * MINUTE + 1, True), (1000, 10 * MINUTE, False),
    (1000, 10 * MINUTE + 1, True),
])  # fmt: skip
def test_a_candle_that_a_late_trade_can_still_correct_is_asked_about_again(length_ms, closed_ago_ms, is_kept):
    known = Known([row(NOW_MS - closed_ago_ms - length_ms, length_ms)])
    assert ("max-age" in caching(known, f"&to={NOW_MS}")[0]) is is_kept


def test_a_client_that_has_the_page_is_told_so():
    known = Known(OLD)
    first = known.api().respond(request(CANDLES))
    tag = dict(first.headers)["ETag"]
    for has in (tag, f'"old", W/{tag}', "*"):
        again = known.api().respond(request(CANDLES, if_none_match=has))
        assert (again.status, again.body, dict(again.headers)["ETag"]) == (304, b"", tag)
    known.rows = OLD[1:]
    assert known.api().respond(request(CANDLES, if_none_match=tag)).status == 200
    assert known.api().respond(request(CANDLES + "&format=csv", if_none_match=tag)).status == 200


# ---------------------------------------------------------------------- the rest of /api/v1


def test_pairs_and_intervals_are_listed():
    assert Known().ask("/api/v1/symbols")[1] == [{"venue": venue, "symbol": symbol} for venue, symbol in PAIRS]
    assert Known().ask("/api/v1/intervals") == (200, list(NAMES))
    assert error(Known().ask("/api/v1/symbols?venue=binance")) == (400, "venue")


def test_the_metrics_schema_says_of_every_metric_and_pattern_what_it_is():
    _, answer = Known().ask("/api/v1/metrics-schema")
    assert [field["name"] for field in answer["fields"]] == [field.name for field in schema.FIELDS]
    rsi = next(field for field in answer["fields"] if field["name"] == "rsi_14")
    assert rsi.keys() == {"number", "name", "unit", "definition", "n", "source"}
    assert (rsi["number"], rsi["n"], rsi["source"]) == (36, 15, "TA-Lib RSI(14)")
    assert [pattern["name"] for pattern in answer["patterns"]] == [pattern.name for pattern in PATTERNS]
    assert answer["patterns"][60].keys() == {"number", "name", "title", "definition", "lookback"}


def test_a_snapshot_has_the_states_of_all_pairs_that_have_one_with_their_positions():
    status, answer = Known().ask("/api/v1/snapshot")
    assert (status, answer["time_ms"]) == (200, NOW_MS)
    assert [(pair["venue"], pair["symbol"]) for pair in answer["pairs"]] == PAIRS[:2]
    pair = answer["pairs"][0]
    assert (pair["epoch"], pair["seq"], pair["candles"]) == (7, 42, {})
    assert (pair["state"]["last_price"], pair["state"]["volume"]) == ("123.45", "1.5")


def test_a_snapshot_has_the_live_candles_that_are_asked_for():
    known = Known()
    known.live = row(NOW_MS, flags=0, price_decimals=2, close=100)
    _, answer = known.ask("/api/v1/snapshot?pairs=*:ETH-*&intervals=1m,1h")
    (pair,) = answer["pairs"]
    assert (pair["symbol"], [*pair["candles"]]) == ("ETH-USDT", ["1m", "1h"])
    assert [*pair["candles"]["1m"]] == list(COLUMNS)
    assert pair["candles"]["1m"]["close"] == "1"
    packed = known.api().respond(request("/api/v1/snapshot?pairs=*:ETH-*&intervals=1m,1h&format=msgpack"))
    assert msgpack.unpackb(packed.body) == answer


@pytest.mark.parametrize(("pairs", "field"), [
    ("binance", "pairs"), ("", "pairs"), ("binance:", "pairs"), ("binance:NO-SUCH", "pairs"), ("a:b:c", "pairs"),
    ("x" * 901, "pairs"), ("binance:*&intervals=7m", "intervals"), ("binance:*&format=csv", "format"),
])  # fmt: skip
def test_a_snapshot_of_what_is_not_there_is_refused(pairs, field):
    assert error(Known().ask(f"/api/v1/snapshot?pairs={pairs}")) == (400, field)


def test_a_pattern_that_nothing_matches_is_an_empty_snapshot():
    assert Known().ask("/api/v1/snapshot?pairs=*:XRP-*")[1]["pairs"] == []


# ---------------------------------------------------------------------- operation


def test_a_living_process_is_healthy_whatever_it_lacks():
    known = Known()
    known.health = Health("waiting", None, 0, 32)
    assert known.ask("/healthz") == (
        200, {"status": "waiting", "age_ms": None, "pairs": 0, "shards_waiting": 32, "silent": []},
    )  # fmt: skip


@pytest.mark.parametrize(("health", "reasons"), [
    (Health("running", 10_000, 3, 0), []),
    (Health("running", 10_001, 3, 0), ["the newest data is 10.0 s old (front.ready_s is 10)"]),
    (Health("waiting", None, 0, 32),
     ["the front is waiting", "there is no data yet", "32 shards wait for a snapshot"]),
    (Health("stopping", 5, 3, 0), ["the front is stopping"]),
    (Health("running", 5, 3, 0, ["aggregator-1"]), ["aggregator-1 is silent, its pairs stand still"]),
])  # fmt: skip
def test_a_front_is_ready_while_it_is_fed(health, reasons):
    known = Known()
    known.health = health
    assert known.ask("/readyz") == (503 if reasons else 200, {"ready": not reasons, "reasons": reasons})


# ---------------------------------------------------------------------- the page, and all answers


def test_the_page_and_its_files_are_served():
    api = Known().api()
    assert api.respond(request("/")).body == (ROOT / "index.html").read_bytes()
    for path in ROOT.rglob("*.js"):
        reply = api.respond(request(f"/static/{path.relative_to(ROOT).as_posix()}"))
        assert (reply.status, reply.content_type) == (200, "text/javascript; charset=utf-8")
        assert reply.body == path.read_bytes()


def test_every_kind_of_file_of_the_page_has_its_type():
    api = Known().api()
    kinds = {path.suffix for path in ROOT.rglob("*") if path.is_file() and path.suffix != ".py"}
    for path in ROOT.rglob("*"):
        if path.is_file() and path.suffix in kinds - {"", ".txt", ".md"}:
            kind = api.respond(request(f"/static/{path.relative_to(ROOT).as_posix()}")).content_type
            assert not kind.startswith("text/plain"), path


@pytest.mark.parametrize(
    "path",
    ["/static/../../setup.cfg", "/../setup.cfg", "/static//etc/passwd", "//etc/passwd", "/static/....//setup.cfg",
     "/static/app.js\x00", "/static/", "/static", "/setup.cfg", "/api/v1/nothing", "/static/app.js/", "", "*",
     "/static/..\\..\\setup.cfg", "/static/./app.js", "/STATIC/app.js", "/static/web/app.js", "/healthz/",
     "/api/v1/candles/", "/udf", "/static/vendor", "/static/%2e%2e/setup.cfg"],
)  # fmt: skip
def test_only_listed_paths_are_served(path):
    asked = request("/")._replace(path=path, target=path)
    reply = Known().api().respond(asked)
    assert (reply.status, json.loads(reply.body)["error"]["field"]) == (404, "path")


@pytest.mark.parametrize("path", ["/", "/nowhere", *(route.path for route in ROUTES)])
def test_every_answer_says_what_a_browser_may_do_with_it(path):
    headers = dict(Known().api().respond(request(path)).headers)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"]


# ---------------------------------------------------------------------- a store that fails


def test_candles_that_cannot_be_read_are_no_page_with_fewer_rows():
    known = Known([row(n * MINUTE) for n in range(200)])
    known.failure = RequestError("unreadable_store", "candles", "", "to ask again", 503, "they cannot be read")
    reply = known.api().respond(request("/api/v1/candles?venue=binance&symbol=BTC-USDT&interval=1m"))
    headers, error = dict(reply.headers), json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["field"]) == (503, "unreadable_store", "candles")
    assert int(headers["Retry-After"]) > 0 and headers["Cache-Control"] == "no-store" and "ETag" not in headers
