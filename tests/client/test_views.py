"""What events carry: exact decimals by name, and the same candle over HTTP."""

import copy
import json
import pickle
import subprocess
import sys
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.client.speaking import CANDLES, MINUTE, head, live, row
from wick import client
from wick.client._address import http_url, websocket_url
from wick.client.held import Held
from wick.market.rows import ALL_COLUMNS, readable
from wick.market.schema import CANDLE_FIELDS, HEAD_FIELDS

OPEN = 1_763_900_040_000
ROOT = Path(client.__file__).parents[2]


def test_fields_are_read_by_name_and_decimals_are_exact():
    ticker = client.Ticker([2**70, *head()[1:]])
    assert ticker.last_price == Decimal("11805916207174113034.24")
    assert ticker["volume"] == Decimal(1) and ticker.last_trade_id == 7
    assert client.Candle(row(OPEN)).vwap == 90_000.25
    assert client.Candle(row(OPEN)).rsi_14 is None


def test_every_field_of_the_schema_can_be_read():
    candle, ticker = client.Candle(row(OPEN)), client.Ticker(head())
    assert {name: getattr(candle, name) for name in CANDLE_FIELDS}.keys() <= {*dir(candle)}
    assert {name: getattr(ticker, name) for name in HEAD_FIELDS}.keys() <= {*dir(ticker)}


def test_a_field_that_there_is_not_is_an_error_that_says_where_they_are_listed():
    with pytest.raises(AttributeError, match=r"Candle has no field 'rsi'; docs/units.md"):
        _ = client.Candle(row(OPEN)).rsi
    with pytest.raises(KeyError):
        client.Ticker(head())["rsi"]


def test_flags_are_read_by_name():
    candle = client.Candle(row(OPEN, revision=2, flags=1 | 8 | 16))
    assert candle.closed and candle.revised and candle.flag_names == ["closed", "suspect", "revised"]


def test_the_live_candle_is_made_of_the_state_and_knows_no_more():
    candle = client.Candle.live(head(9_000_010), live(OPEN), 2)
    assert (candle.open_time_ms, candle.close_time_ms) == (OPEN, OPEN + MINUTE)
    assert (candle.open, candle.close, candle.volume) == (Decimal(90_000), Decimal("90000.1"), Decimal("0.5"))
    assert candle.trade_count == 2 and candle.delta is None and not candle.closed
    assert client.Candle.live(head(), [0] * 10, 2) is None


def test_views_are_values():
    candle = client.Candle(row(OPEN))
    assert candle == client.Candle(row(OPEN)) and hash(candle) == hash(client.Candle(row(OPEN)))
    assert candle != client.Candle(row(OPEN + 1)) and candle != row(OPEN)
    assert pickle.loads(pickle.dumps(candle)) == copy.deepcopy(candle) == candle
    assert "close=90000.5" in repr(candle) and "rsi_14" not in repr(candle)


def test_texts_are_those_of_the_http_api():
    assert client.Candle(row(OPEN)).text() == readable(row(OPEN))
    assert client.Candle(row(OPEN)).text("close", "vwap") == {"close": "90000.5", "vwap": 90_000.25}


def test_a_candle_read_from_texts_says_what_they_say():
    whole = row(OPEN)
    whole[CANDLE_FIELDS.index("delta_min")] = -2_000
    whole[CANDLE_FIELDS.index("bull")] = 2**60 + 1
    texts = readable(whole, ALL_COLUMNS) | {"bull": str(2**60 + 1)}
    candle = client.Candle.read(texts)
    assert candle.text(*ALL_COLUMNS) == readable(whole, ALL_COLUMNS)
    assert candle.delta_min == Decimal("-0.02")


def test_a_topic_that_nothing_is_known_of_has_nothing():
    held = Held(CANDLES, keep=5)
    assert (held.ticker, held.candle, held.candles, held.position) == (None, None, [], None)


@pytest.mark.parametrize(
    ("given", "websocket", "http"),
    [
        ("ws://h:1", "ws://h:1/ws", "http://h:1/a?q"),
        ("http://h:1/", "ws://h:1/ws", "http://h:1/a?q"),
        ("https://h", "wss://h/ws", "https://h/a?q"),
        ("wss://h/below/ws", "wss://h/below/ws", "https://h/below/a?q"),
    ],
)
def test_an_address_serves_both_ways(given, websocket, http):
    assert websocket_url(given) == websocket
    assert http_url(given, "/a", "q") == http


# ---------------------------------------------------------------------- history


class Api(BaseHTTPRequestHandler):
    """`/api/v1/candles` as wick/api/candles.py answers it, in pages of two."""

    asked: ClassVar[list] = []
    rows: ClassVar[list] = [row(OPEN + n * MINUTE, close=9_000_000 + n) for n in range(5)]

    def do_GET(self):
        path, query = urlsplit(self.path)[2:4]
        given = {name: values[0] for name, values in parse_qs(query).items()}
        type(self).asked.append((path, given, self.headers.get("Authorization")))
        if given["venue"] != "binance":
            return self.reply(404, {"error": {"code": "unknown", "message": "no venue 'x'; valid is binance"}})
        limit, since = min(2, int(given["limit"])), given.get("from")
        rows = [one for one in self.rows if int(since or 0) <= one[0] < int(given.get("to", 2**53))]
        page = rows[:limit] if since else rows[-limit:]
        following = None
        if len(rows) > limit:
            following = f"{path}?{query}&" + (f"from={page[-1][0] + 1}" if since else f"to={page[0][0]}")
            following = (
                following.replace(f"from={since}&", "") if since else following.replace(f"to={given.get('to')}&", "")
            )
        shown = [list(readable(one, ALL_COLUMNS).values()) for one in page]
        return self.reply(200, {"columns": ALL_COLUMNS, "rows": shown, "next": following})

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def api():
    Api.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"ws://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_history_since_a_gap_is_read_page_by_page(api):
    candles = client.history(api, "binance", "BTC-USDT", "1m", since_ms=OPEN + MINUTE, token="secret")
    assert [candle.open_time_ms for candle in candles] == [OPEN + n * MINUTE for n in (1, 2, 3, 4)]
    assert candles[-1].close == Decimal("90000.04")
    assert [path for path, *_ in Api.asked] == ["/api/v1/candles"] * 2
    assert {token for *_, token in Api.asked} == {"Bearer secret"}


def test_history_without_a_beginning_is_the_newest_candles(api):
    candles = client.history(api, "binance", "BTC-USDT", "1m", limit=3)
    assert [candle.open_time_ms for candle in candles] == [OPEN + n * MINUTE for n in (2, 3, 4)]


def test_history_tells_an_error_in_the_fronts_own_words(api):
    with pytest.raises(client.ClientError, match="no venue 'x'; valid is binance") as error:
        client.history(api, "x", "BTC-USDT", "1m")
    assert error.value.code == 404


def test_history_without_a_front_is_an_error_that_repeats_no_token():
    with pytest.raises(client.ClientError, match=r"no answer from http://127\.0\.0\.1:9/api/v1/candles: ") as error:
        client.history("ws://127.0.0.1:9", "binance", "BTC-USDT", "1m", token="secret")
    assert "secret" not in str(error.value)


# ---------------------------------------------------------------------- what it costs to import


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import wick.client", {"websockets", "asyncio", "orjson", "ssl", "urllib.request"}),
        ("import wick.client; wick.client.connect", {"orjson"}),
        ("import wick.client; wick.client.connect_async", {"orjson"}),
        ("import wick.client; wick.client.history", {"websockets", "asyncio", "orjson"}),
    ],
    ids=["import", "blocking", "asyncio", "history"],
)
def test_the_client_loads_little(code, more):
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {*done.stdout.split()}
    assert not {name for name in loaded if name.split(".")[0] in {"numpy", "gevent", "zmq", "greenlet"} or name in more}


def test_what_there_is_not_is_an_error_like_any_other():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = client.nothing
    assert all(hasattr(client, name) for name in client.__all__)
