"""The simulated exchange over real sockets: Binance's streams, requests, pings, limits and REST."""

import json
import shutil
import socket
import ssl
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.sim.exchange_process import Exchange, StartExchange, take, wait_until
from wick.market.numbers import parse_decimal

TRADE_KEYS = ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
Levels = dict[str, str]


def test_a_raw_stream_carries_the_venues_trades_field_for_field(demo: Exchange):
    with demo.connect(path="/ws/btcusdt@trade") as client:
        trades = [json.loads(client.recv(timeout=30)) for _ in range(50)]
    for trade in trades:
        assert list(trade) == TRADE_KEYS
        assert (trade["e"], trade["s"], trade["M"]) == ("trade", "BTCUSDT", True)
        assert type(trade["m"]) is bool and 0 <= trade["E"] - trade["T"] <= 1
        assert all(len(trade[key].partition(".")[2]) == 8 and parse_decimal(trade[key])[0] > 0 for key in "pq")
    assert [trade["t"] for trade in trades] == list(range(trades[0]["t"], trades[0]["t"] + 50))


def test_trades_are_of_now(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        trade = take(client, 1)[0]
        assert abs(time.time() * 1000 - trade["T"]) < 1000


def test_combined_frames_name_their_stream(demo: Exchange):
    with demo.connect("btcusdt@trade", "ethusdt@bookTicker") as client:
        frames = [json.loads(client.recv(timeout=30)) for _ in range(100)]
    assert {frame["stream"] for frame in frames} == {"btcusdt@trade", "ethusdt@bookTicker"}
    assert all(list(frame) == ["stream", "data"] for frame in frames)
    quotes = [frame["data"] for frame in frames if frame["stream"] == "ethusdt@bookTicker"]
    assert all(list(quote) == ["u", "s", "b", "B", "a", "A"] for quote in quotes)
    assert all(float(quote["b"]) < float(quote["a"]) for quote in quotes)


def test_streams_are_subscribed_listed_and_unsubscribed_with_ids(demo: Exchange):
    def ask(method: str, request_id: Any, *params: str) -> Any:
        client.send(json.dumps({"method": method, "params": list(params), "id": request_id}))
        while "data" in (message := json.loads(client.recv(timeout=30))) and "result" not in message:
            pass
        return message

    with demo.connect(path="/stream") as client:
        assert ask("SUBSCRIBE", 1, "btcusdt@trade", "ethusdt@trade") == {"result": None, "id": 1}
        take(client, 5)
        assert ask("LIST_SUBSCRIPTIONS", "some-id") == {
            "result": ["btcusdt@trade", "ethusdt@trade"],
            "id": "some-id",
        }
        assert ask("UNSUBSCRIBE", None, "btcusdt@trade", "ethusdt@trade") == {"result": None, "id": None}
        with pytest.raises(TimeoutError):  # at 800 trades a second, 0.1 s of nothing is no accident
            client.recv(timeout=0.1)


def test_combined_can_be_switched_on_and_asked_for(demo: Exchange):
    with demo.connect(path="/ws") as client:
        client.send('{"method":"SET_PROPERTY","params":["combined",true],"id":1}')
        client.send('{"method":"GET_PROPERTY","params":["combined"],"id":2}')
        assert json.loads(client.recv(timeout=30)) == {"result": None, "id": 1}
        assert json.loads(client.recv(timeout=30)) == {"result": True, "id": 2}
        client.send('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":3}')
        assert json.loads(client.recv(timeout=30)) == {"result": None, "id": 3}
        assert json.loads(client.recv(timeout=30))["stream"] == "btcusdt@trade"


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("{nonsense", 3, "Invalid JSON"),
        ("[1]", 2, "expected an object"),
        ('{"id":1}', 2, "missing field `method`"),
        ('{"method":"BUY","id":1}', 2, "unknown variant `BUY`, expected one of `SUBSCRIBE`"),
        ('{"method":"SUBSCRIBE","params":["not a stream"],"id":1}', 2, "invalid stream"),
        ('{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}', 2, "expected a sequence"),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":1.5}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":"%s"}' % ("x" * 37), 2, "request ID must be"),
        ('{"method":"GET_PROPERTY","params":["speed"],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "expected Boolean"),
    ],
)
def test_a_wrong_request_is_answered_with_the_venues_error(demo: Exchange, message: str, code: int, text: str):
    with demo.connect(path="/ws") as client:
        client.send(message)
        error = json.loads(client.recv(timeout=30))["error"]
        assert error["code"] == code and text in error["msg"]
        client.send('{"method":"LIST_SUBSCRIPTIONS","id":2}')  # and the connection lives on
        assert json.loads(client.recv(timeout=30)) == {"result": [], "id": 2}


def test_a_connection_has_1024_streams_and_no_more(demo: Exchange):
    with demo.connect(path="/ws") as client:
        names = [f"x{number}@trade" for number in range(1025)]
        for request_id, params in ((1, names[:1024]), (2, names[1024:])):
            client.send(json.dumps({"method": "SUBSCRIBE", "params": params, "id": request_id}))
        assert json.loads(client.recv(timeout=30)) == {"result": None, "id": 1}
        assert "too many streams" in json.loads(client.recv(timeout=30))["error"]["msg"]


def test_more_than_five_messages_a_second_end_the_connection(demo: Exchange):
    with demo.connect(path="/ws") as client:
        for number in range(6):
            client.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(6):
                client.recv(timeout=30)
        assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize(
    ("path", "status"),
    [("/other", 404), ("/ws/no stream", 400), ("/stream?streams=btcusdt@trade&timeUnit=MICROSECOND", 400)],
)
def test_an_address_that_the_exchange_does_not_have_is_refused(demo: Exchange, path: str, status: int):
    with pytest.raises(InvalidStatus) as refused, demo.connect(path=path.replace(" ", "%20")):
        pass
    assert refused.value.response.status_code == status


def test_a_client_that_does_not_answer_pings_is_closed_and_one_that_does_is_not(start_exchange: StartExchange):
    exchange = start_exchange(options={"ping_s": 0.25, "pong_s": 0.5})
    key = b"dGhlIHNhbXBsZSBub25jZQ=="
    with exchange.connect(path="/ws") as polite, socket.create_connection(("127.0.0.1", exchange.port)) as rude:
        rude.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % key
        )
        rude.settimeout(30)
        received = b""
        while b"\x03\xf0" not in received:  # 1008, in a close frame
            data = rude.recv(4096)
            assert data, received
            received += data
        head, _, frames = received.partition(b"\r\n\r\n")
        assert b"101 Switching Protocols" in head
        assert frames.startswith(bytes((0x89, 13)))  # a ping, its payload the time in ms
        polite.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        assert json.loads(polite.recv(timeout=30)) == {"result": [], "id": 1}


def test_a_client_that_does_not_read_is_cut_and_counted_while_another_goes_on(start_exchange: StartExchange):
    exchange = start_exchange(demo={"count": 5, "rate": 20_000}, options={"queue_kb": 64})
    names = [f"{symbol}@{channel}" for symbol in ("btcusdt", "ethusdt") for channel in ("trade", "bookTicker")]
    with exchange.connect(*names, max_queue=1, close_timeout=0.1), exchange.connect("dogeusdt@trade") as reader:
        wait_until(lambda: exchange.counters().get("slow_clients_cut") == 1)
        ids = [trade["t"] for trade in take(reader, 500)]
    assert ids == list(range(ids[0], ids[0] + 500))
    assert "does not read" in exchange.log()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_the_exchange_can_speak_tls(tmp_path: Path, start_exchange: StartExchange):
    pem = tmp_path / "exchange.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    with pem.open("ab") as file:
        file.write((tmp_path / "cert.pem").read_bytes())
    exchange = start_exchange(demo={"count": 3, "rate": 1000}, certificate=str(pem))
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    trust.maximum_version = ssl.TLSVersion.TLSv1_2  # wick/client/blocking.py says why
    with connect(f"wss://127.0.0.1:{exchange.port}/ws/btcusdt@trade", ssl=trust, proxy=None, max_queue=None) as client:
        ids = [json.loads(client.recv(timeout=30))["t"] for _ in range(20)]
    assert ids == list(range(ids[0], ids[0] + 20))


# ---- REST


def test_rest_has_ping_time_and_exchange_info(demo: Exchange):
    assert demo.get("/api/v3/ping") == {}
    assert abs(demo.get("/api/v3/time")["serverTime"] - time.time() * 1000) < 1000
    symbols = demo.get("/api/v3/exchangeInfo")["symbols"]
    assert len(symbols) == 20
    bitcoin = symbols[0]
    assert (bitcoin["symbol"], bitcoin["status"]) == ("BTCUSDT", "TRADING")
    assert (bitcoin["baseAsset"], bitcoin["quoteAsset"]) == ("BTC", "USDT")
    filters = {entry["filterType"]: entry for entry in bitcoin["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert [s["symbol"] for s in demo.get("/api/v3/exchangeInfo?symbol=ETHUSDT")["symbols"]] == ["ETHUSDT"]
    two = demo.get("/api/v3/exchangeInfo?symbols=%5B%22ETHUSDT%22,%22BTCUSDT%22%5D")["symbols"]
    assert [entry["symbol"] for entry in two] == ["ETHUSDT", "BTCUSDT"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v3/depth?symbol=NOPE", 400, -1121),
        ("/api/v3/depth?symbol=btcusdt", 400, -1121),
        ("/api/v3/exchangeInfo?symbol=NOPE", 400, -1121),
        ("/api/v3/exchangeInfo?symbols=%5B", 400, -1100),
        ("/api/v3/trades", 400, -1102),
        ("/api/v3/trades?symbol=BTCUSDT&limit=-5", 400, -1100),
        ("/api/v3/trades?symbol=BTCUSDT&limit=0", 400, -1130),
        ("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=x", 400, -1100),
        ("/api/v3/nothing", 404, -1000),
    ],
)
def test_a_wrong_rest_request_gets_the_venues_error_body(demo: Exchange, path: str, status: int, code: int):
    got, body, _ = demo.refused(path)
    assert (got, body["code"]) == (status, code)
    assert body["msg"]


@pytest.mark.slow
def test_what_was_streamed_can_be_had_over_rest(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        trades = take(client, 100)
    rest = demo.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={trades[0]['t']}&limit=100")
    assert [[t["id"], t["price"], t["qty"], t["time"], t["isBuyerMaker"]] for t in rest] == [
        [t["t"], t["p"], t["q"], t["T"], t["m"]] for t in trades
    ]
    assert all(abs(float(t["quoteQty"]) - float(t["price"]) * float(t["qty"])) < 1e-6 for t in rest)
    latest = demo.get("/api/v3/trades?symbol=BTCUSDT&limit=10")
    assert len(latest) == 10 and latest[-1]["id"] >= trades[-1]["t"]


def test_bytes_that_are_no_request_are_answered_and_cost_only_their_sender(demo: Exchange):
    for raw, status in ((b"\x16\x03\x01 nonsense\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431"),
                        (b"POST /_faults HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413")):  # fmt: skip
        with socket.create_connection(("127.0.0.1", demo.port), timeout=30) as sock:
            sock.sendall(raw)
            assert sock.recv(100).startswith(b"HTTP/1.1 " + status)
    assert demo.get("/api/v3/ping") == {}


# ---- books


def apply(book: tuple[Levels, Levels], update: Any) -> None:
    for side, changes in zip(book, (update["b"], update["a"]), strict=True):
        for price, quantity in changes:
            if float(quantity) == 0:
                side.pop(price, None)
            else:
                side[price] = quantity


@pytest.mark.slow
def test_snapshots_and_depth_updates_join_by_the_venues_rules_wherever_one_begins(demo: Exchange):
    def snapshot() -> tuple[int, tuple[Levels, Levels]]:
        body = demo.get("/api/v3/depth?symbol=BTCUSDT&limit=1000")
        return body["lastUpdateId"], (dict(body["bids"]), dict(body["asks"]))

    with demo.connect("btcusdt@depth@100ms") as client:
        updates = take(client, 2)
        books = [snapshot()]
        updates += take(client, 4)
        books.append(snapshot())
        updates += take(client, 3)
        while updates[-1]["u"] <= books[1][0]:
            updates += take(client, 1)
    assert all(after["U"] == before["u"] + 1 for before, after in pairwise(updates))
    ends = []
    for last_id, book in books:
        assert last_id >= updates[0]["U"]
        rest = [update for update in updates if update["u"] > last_id]
        assert rest[0]["U"] <= last_id + 1
        for update in rest:
            apply(book, update)
            bids, asks = book
            assert max(map(float, bids)) < min(map(float, asks))
        ends.append(book)
    assert ends[0] == ends[1]


def test_a_depth_limit_cuts_both_sides(demo: Exchange):
    body = demo.get("/api/v3/depth?symbol=BTCUSDT&limit=5")
    assert len(body["bids"]) == len(body["asks"]) == 5
    bids, asks = ([float(price) for price, _ in body[side]] for side in ("bids", "asks"))
    assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
