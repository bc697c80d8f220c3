"""HTTP on a real front: who is answered, with what, and what is refused."""

import json
import math
import socket
import time

import pytest

from tests.net.front_process import PAGE_ORIGIN, ROOT, wait_for
from wick.market.numbers import format_decimal
from wick.market.rows import ALL_COLUMNS, COLUMNS, MAY_MISS
from wick.market.schema import BOOK as BOOK_FIELDS
from wick.market.schema import CANDLE_FIELDS, FLOW_FIELDS
from wick.stream.relays import SILENT_NS

WEB = ROOT / "wick" / "web"


def error(answer):
    status, _, body = answer
    return status, json.loads(body)["error"]["field"]


def raw(front, request: bytes) -> bytes:
    """The first bytes that are answered to a request as it is."""
    with socket.create_connection(("127.0.0.1", front.port), 5) as sock:
        sock.sendall(request)
        return sock.recv(65536)


def test_the_page_is_served(front):
    status, headers, body = front.get("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body == (WEB / "index.html").read_bytes()


def test_a_browser_that_has_the_file_is_told_so(front):
    _, headers, body = front.get("/static/app.js")
    status, again, nothing = front.get("/static/app.js", If_None_Match=headers["etag"])
    assert (status, nothing, again["etag"]) == (304, b"", headers["etag"])
    assert front.get("/static/app.js", If_None_Match='"old"')[::2] == (200, body)


def test_every_answer_says_what_a_browser_may_do_with_it(front):
    for path in ("/", "/healthz", "/nowhere", "/api/v1/candles"):
        headers = front.get(path)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["/static/../../setup.cfg", "/static/%2e%2e/%2e%2e/setup.cfg", "/static/..%2f..%2fsetup.cfg", "/../setup.cfg",
     "/static//etc/passwd", "//etc/passwd", "/static/%252e%252e/setup.cfg", "/setup.cfg", "/static/..%5csetup.cfg"],
)  # fmt: skip
def test_only_listed_paths_are_served(front, path):
    status, _, body = front.get(path)
    assert status == 404
    assert b"[metadata]" not in body and b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(front, method):
    status, headers, _ = front.get("/", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_a_head_request_has_the_headers_only(front):
    status, headers, body = front.get("/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) == (WEB / "index.html").stat().st_size


@pytest.mark.parametrize("path", ["/healthz", "/", "/api/v1/symbols"])
def test_another_name_for_this_machine_is_refused(front, path):
    assert error(front.get(path, Host="evil.example")) == (403, "Host")
    assert front.get(path, Host="localhost")[0] == 200


def test_a_request_without_a_name_is_refused(front):
    assert b" 403 " in raw(front, b"GET /healthz HTTP/1.0\r\n\r\n").partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "request_bytes",
    [b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
     b"GET /\xff\xfe?x=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /static/app.js%00 HTTP/1.1\r\nHost: a\r\n\r\n",
     b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_front_goes_on(front, request_bytes):
    assert raw(front, request_bytes).startswith(b"HTTP/1.1 4") and front.get("/healthz")[0] == 200


def test_a_header_that_is_no_text_changes_nothing(front):
    answer = raw(front, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: \xff\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_the_token_opens_the_api_and_nothing_else_does(strict):
    front, _ = strict
    assert error(front.get("/api/v1/symbols")) == (401, "token")
    assert error(front.get("/api/v1/symbols?token=wrong")) == (401, "token")
    assert error(front.get("/api/v1/symbols?token=")) == (401, "token")
    assert error(front.get("/api/v1/symbols", Authorization="Bearer wrong")) == (401, "token")
    assert error(front.get("/api/v1/symbols", Authorization="Bearer s3cre\xff")) == (401, "token")
    assert front.get("/api/v1/symbols?token=s3cret")[0] == 200
    assert front.get("/api/v1/symbols", Authorization="Bearer s3cret")[0] == 200


def test_the_page_and_the_health_need_no_token(strict):
    front, _ = strict
    assert front.get("/")[0] == front.get("/healthz")[0] == 200


def test_the_token_is_in_no_log(strict):
    front, _ = strict
    front.get("/api/v1/symbols?token=s3cret")
    assert "s3cret" not in front.log()


def test_everything_that_is_not_public_wants_the_token(strict):
    front, _ = strict
    for path in ("/metrics", "/udf/config", "/api/v1/openapi.json", "/nowhere"):
        assert error(front.get(path)) == (401, "token")


def test_pairs_are_listed_as_they_appear(front, worker):
    def listed():
        worker.publish("LIST-USDT", head=[len(front.ask("/api/v1/symbols")) + 1])
        return {"venue": "binance", "symbol": "LIST-USDT"} in front.ask("/api/v1/symbols")

    wait_for(listed, "the symbol")
    assert front.ask("/udf/symbols?symbol=list-usdt")["ticker"] == "binance:LIST-USDT"


def test_a_wrong_parameter_is_refused_by_name(front):
    assert error(front.get("/api/v1/candles?venue=binance&symbol=NO&interval=7m")) == (400, "interval")


def test_a_snapshot_has_the_position_that_a_session_can_go_on_from(front, worker):
    def told():
        worker.publish("SNAP-USDT", head=[12345, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3])
        return front.ask("/api/v1/snapshot?pairs=binance:SNAP-*").get("pairs")

    (pair,) = wait_for(told, "the pair")
    assert (pair["epoch"], pair["state"]["last_price"]) == (worker.epoch, "123.45")
    assert pair["seq"] > 0


def test_a_front_that_is_fed_is_ready(front, worker):
    def ready():
        worker.say(0)
        worker.publish("READY-USDT", head=[int(front.ask("/healthz")["age_ms"] or 0)])
        return front.get("/readyz")[0] == 200

    wait_for(ready, "readiness")


def test_a_front_with_a_worker_that_has_fallen_silent_is_not_ready_until_it_speaks(front, worker):
    def reasons():
        worker.publish("READY-USDT", head=[int(front.ask("/healthz")["age_ms"] or 0)])
        return front.ask("/readyz")["reasons"]

    said = [-1.0]

    def silent():
        if time.monotonic() - said[0] > 0.3:  # it may not be heard yet; and until the front looks it is one that speaks
            worker.say(SILENT_NS)
            said[0] = time.monotonic()
        told = front.ask("/healthz")["silent"], reasons()
        return told == (["aggregator-0"], ["aggregator-0 is silent, its pairs stand still"])

    def heard():
        worker.say(0)
        return reasons() == []

    wait_for(silent, "the silence")
    wait_for(heard, "readiness")


def test_the_live_candle_is_served_in_plain_decimals(front, worker):
    opened = 1_723_161_600_000

    def served():
        worker.publish(
            "LIVE-USDT",
            head=[6183763, 9, opened, 500, 30918815, 3, 200, 12367526, 0, 0, 0, 0, 2, 3],
            g3=[opened, 6183700, 6183800, 6183600, 100, 6183763, 1, 0, 0, 0],
        )
        answer = front.ask("/api/v1/candles?venue=binance&symbol=LIVE-USDT&interval=1m")
        return answer if "rows" in answer else None

    answer = wait_for(served, "the candle")
    (row,) = answer["rows"]
    candle = dict(zip(answer["columns"], row, strict=True))
    assert list(candle) == list(COLUMNS)
    assert {name for name, value in candle.items() if value is None} == {*COLUMNS} & {*MAY_MISS}, "diffs do not tell"
    assert {name: value for name, value in candle.items() if value is not None} == {
        "open_time_ms": opened, "close_time_ms": opened + 60_000, "open": "61837", "high": "61838", "low": "61836",
        "close": "61837.63", "volume": "0.4", "quote_volume": "247.35052", "trade_count": 2, "taker_buy_volume": "0.2",
        "taker_buy_quote_volume": "123.67526", "flags": 0, "revision": 0, "first_trade_id": 0, "last_trade_id": 0,
    }  # fmt: skip
    assert front.ask(f"/api/v1/candles?venue=binance&symbol=LIVE-USDT&interval=1m&to={opened}")["rows"] == []


def test_a_closed_candle_is_served_with_its_order_flow_and_null_where_there_is_no_number(front, worker):
    opened = 1_723_161_600_000
    row = dict.fromkeys(CANDLE_FIELDS, 0) | {
        "open_time_ms": opened, "close_time_ms": opened + 60_000, "flags": 1, "price_decimals": 2,
        "quantity_decimals": 3, "volume": 5000, "delta": -1500, "delta_min": -2**70, "cvd": 2**70, "vwap": math.nan,
        "cvd_anchor_ms": opened, "delta_ratio": -0.3, "tick_rv": 1e-05, "kyle_lambda": -2.5,
    }  # fmt: skip

    def served():
        worker.publish("FLOW-USDT", head=[1, 1])
        worker.close_candle("FLOW-USDT", "1m", list(row.values()))
        answer = front.ask("/api/v1/candles?venue=binance&symbol=FLOW-USDT&interval=1m")
        return answer if answer.get("rows") else None

    answer = wait_for(served, "the candle")
    candle = dict(zip(answer["columns"], answer["rows"][0], strict=True))
    assert {name: candle[name] for name in FLOW_FIELDS} == {
        "delta": "-1.5", "delta_max": "0", "delta_min": format_decimal(-2**70, 3), "cvd": format_decimal(2**70, 3),
        "cvd_anchor_ms": opened, "max_trade_size": "0", "large_trade_volume": "0", "large_trade_delta": "0",
        "vwap": None, "delta_ratio": -0.3, "avg_trade_size": 0, "tick_rv": 1e-05, "kyle_lambda": -2.5,
        **{field.name: 0 for field in BOOK_FIELDS},
    }  # fmt: skip


def test_all_fields_are_served_to_who_asks_for_them(front, worker):
    opened = 1_723_161_600_000

    def served():
        worker.publish("FULL-USDT", head=[1, 1], g3=[opened])
        answer = front.ask("/api/v1/candles?venue=binance&symbol=FULL-USDT&interval=1m&fields=all")
        return answer if answer.get("rows") else None

    assert wait_for(served, "the candle")["columns"] == list(ALL_COLUMNS)


def test_the_page_of_a_named_origin_is_no_reason_to_answer_another_host(front):
    assert error(front.get("/healthz", Host="evil.example", Origin=PAGE_ORIGIN)) == (403, "Host")
