"""Faults of the market, of streams and of requests, the exchange's own limits, and the truth to check against."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.sim.exchange_process import Exchange, StartExchange, take, take_until, wait_until

DEPTH, TRADE = "btcusdt@depth@100ms", "btcusdt@trade"
SUBSCRIBE = '{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":7}'


def holes(updates: list[Any]) -> list[tuple[int, int]]:
    return [(before["u"], after["U"]) for before, after in pairwise(updates) if after["U"] != before["u"] + 1]


def wrong(exchange: Exchange, **fault: Any) -> dict[str, str]:
    """What is said of a fault that cannot be."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        exchange.fault(fault.pop("name"), **fault)
    with caught.value as error:
        assert error.code == 400
        return json.load(error)["error"]


def ended(client: ClientConnection) -> ConnectionClosed:
    """Read until the end."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            client.recv(timeout=30)
    return closed.value


# ---- the truth


def test_the_truth_is_what_the_stream_has_told(demo: Exchange):
    with demo.connect(TRADE) as client:
        trades = take(client, 50)
    first = trades[0]["t"]
    truth = demo.get(f"/_truth?symbol=BTCUSDT&from_id={first}&limit=50")
    told = [[t["t"], t["p"], t["q"], "sell" if t["m"] else "buy", t["T"]] for t in trades]
    assert truth["trades"] == told
    assert truth["first_id"] <= first and truth["last_id"] >= trades[-1]["t"]
    every = demo.get("/_truth")["symbols"]
    assert list(every)[:2] == ["BTCUSDT", "ETHUSDT"] and every["BTCUSDT"][0] == truth["first_id"]


@pytest.mark.parametrize("query", ["?symbol=NOPE", "?symbol=BTCUSDT&from_id=-1", "?symbol=BTCUSDT&limit=x"])
def test_a_wrong_question_after_the_truth_says_what_is_wrong(demo: Exchange, query: str):
    status, body, _ = demo.refused(f"/_truth{query}")
    assert status == 400 and body["error"]["field"] in query


@pytest.mark.slow
def test_in_a_frozen_market_books_only_repeat_themselves_and_rest_tells_the_same(demo: Exchange):
    with demo.connect(DEPTH, TRADE) as client:
        take(client, 5)
        demo.fault("freeze", seconds=60)
        frames = take_until(client, lambda seen: len(seen) > 1 and _repeats(*seen[-2:]), more=0)
        book, rest = demo.get("/_book?symbol=BTCUSDT"), demo.get("/api/v3/depth?symbol=BTCUSDT&limit=1000")
        assert frames[-1]["e"] == "depthUpdate" and frames[-1]["U"] == frames[-1]["u"] == book["update_id"]
        assert frames[-1]["b"] == book["bids"][:1] and frames[-1]["a"] == []
        assert rest == {"lastUpdateId": book["update_id"], "bids": book["bids"], "asks": book["asks"]}
        demo.fault("clear")
        went_on = take_until(client, lambda seen: any(one["e"] == "depthUpdate" for one in seen))
    assert next(one for one in went_on if one["e"] == "depthUpdate")["U"] == book["update_id"] + 1


def _repeats(before: Any, after: Any) -> bool:
    return before["e"] == after["e"] == "depthUpdate" and before["b"] == after["b"]


# ---- books and clocks


@pytest.mark.slow
def test_left_out_updates_of_a_book_are_a_hole_in_its_ids(demo: Exchange):
    with demo.connect(DEPTH, close_timeout=0.1) as client:
        updates = take(client, 1)
        demo.fault("depth_gap", symbol="BTCUSDT", updates=2)
        while not holes(updates):
            updates += take(client, 1)
        assert demo.counters()["depth_gap"] >= 2


def test_a_reset_sequence_is_a_gap_that_rest_knows_of(demo: Exchange):
    with demo.connect(DEPTH) as client:
        updates = take(client, 1)
        demo.fault("sequence_reset", symbol="BTCUSDT")
        while not holes(updates):
            updates += take(client, 1)
        (last, first), rest = holes(updates)[0], demo.get("/api/v3/depth?symbol=BTCUSDT")
    assert first - last == 1001 and rest["lastUpdateId"] >= first


@pytest.mark.slow
def test_a_crossed_update_crosses_the_book_and_the_exchanges_own_stays_right(demo: Exchange):
    with demo.connect(DEPTH) as client:
        updates = take(client, 1)
        rest = demo.get("/api/v3/depth?symbol=BTCUSDT&limit=1000")
        sides = [{float(price): float(quantity) for price, quantity in rest[side]} for side in ("bids", "asks")]
        demo.fault("crossed", symbol="BTCUSDT")
        deadline = time.monotonic() + 5
        while max(sides[0]) < min(sides[1]):
            assert time.monotonic() < deadline, "it was not crossed"
            updates = [update for update in take(client, 1) if update["u"] > rest["lastUpdateId"]]
            for side, changes in [
                (at, update[name]) for update in updates for at, name in zip(sides, "ba", strict=True)
            ]:
                side.update({float(price): float(quantity) for price, quantity in changes})
                for price in [price for price, quantity in side.items() if not quantity]:
                    del side[price]
        book = demo.get("/_book?symbol=BTCUSDT")
    assert float(book["bids"][0][0]) < float(book["asks"][0][0])
    assert demo.counters()["crossed"] >= 1


@pytest.mark.slow
def test_a_skewed_clock_is_seen_in_every_time_and_in_the_truth(demo: Exchange):
    with demo.connect(TRADE, DEPTH) as client:
        take(client, 3)
        demo.fault("clock_skew", skew_ms=-60_000)
        frames = take_until(client, lambda seen: any(_late_by(one) > 50_000 for one in seen), more=100)
        late = [_late_by(one) for one in frames[-50:]]
        assert min(late) > 59_000
        assert 59_000 < time.time() * 1000 - demo.get("/api/v3/time")["serverTime"] < 61_000
        trade = next(one for one in reversed(frames) if one["e"] == "trade")
        (told,) = demo.get(f"/_truth?symbol=BTCUSDT&from_id={trade['t']}&limit=1")["trades"]
        assert told[4] == trade["T"]
        (rest,) = demo.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={trade['t']}&limit=1")
        assert rest["time"] == trade["T"]
        demo.fault("clear")
        take_until(client, lambda seen: any(_late_by(one) < 1_000 for one in seen))


def _late_by(message: Any) -> float:
    return time.time() * 1000 - message["E"]


def test_an_oversized_frame_is_larger_than_anything_and_the_next_is_as_ever(demo: Exchange):
    with demo.connect(TRADE, max_size=None) as client:
        take(client, 1)
        demo.fault("oversized", channel="trade", size=2_000_000)
        frames = [client.recv(timeout=30)]
        while len(frames[-1]) < 2_000_000:
            frames.append(client.recv(timeout=30))
        assert len(client.recv(timeout=30)) < 1000
    ids = [json.loads(frame)["data"]["t"] for frame in frames]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


# ---- requests and connections


def test_refused_requests_get_the_venues_error_as_often_as_asked(demo: Exchange):
    with demo.connect(path="/ws") as client:
        demo.fault("refuse_subscription", requests=1)
        client.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        assert json.loads(client.recv(timeout=30)) == {"result": [], "id": 1}  # that asks for no stream
        client.send(SUBSCRIBE)
        refused = json.loads(client.recv(timeout=30))
        assert refused["id"] == 7 and refused["error"]["msg"]
        client.send(SUBSCRIBE)
        assert json.loads(client.recv(timeout=30)) == {"result": None, "id": 7}
        assert json.loads(client.recv(timeout=30))["e"] == "trade"


def test_requests_may_stay_unanswered(demo: Exchange):
    with demo.connect(path="/ws") as client:
        demo.fault("refuse_subscription", requests=1, answered=False)
        client.send(SUBSCRIBE)
        client.send('{"method":"LIST_SUBSCRIPTIONS","id":2}')
        assert json.loads(client.recv(timeout=30)) == {"result": [], "id": 2}


@pytest.mark.slow
def test_a_cut_of_one_symbol_leaves_the_others_connections(demo: Exchange):
    with demo.connect(TRADE) as cut, demo.connect("ethusdt@trade") as other, demo.connect(DEPTH) as books:
        take(cut, 1), take(other, 1), take(books, 1)
        demo.fault("cut", symbol="BTCUSDT", channel="trade")
        assert ended(cut).rcvd is None
        assert take(books, 2) and take(other, 100)


def test_rest_errors_keep_to_their_paths(demo: Exchange):
    demo.fault("rest_error", requests=1, status=503, retry_after_s=0, path="*/depth")
    assert demo.get("/api/v3/ping") == {}
    status, body, _ = demo.refused("/api/v3/depth?symbol=BTCUSDT")
    assert status == 503 and body["code"] == -1001
    assert demo.get("/api/v3/depth?symbol=BTCUSDT&limit=5")


def test_what_the_venue_cannot_have_is_refused(demo: Exchange):
    assert "binance has no wrong_checksum" in wrong(demo, name="wrong_checksum")["message"]
    assert wrong(demo, name="duplicate", symbol="btcusdt")["field"] == "symbol"


# ---- limits


@pytest.mark.slow
def test_attempts_beyond_the_limit_are_turned_away_counted_and_their_times_told(start_exchange: StartExchange):
    exchange = start_exchange(demo={"count": 3, "rate": 100}, options={"connects": [2, 1.5], "rest": [100, 1.0]})
    began = time.time() * 1000
    for _ in range(2):
        with exchange.connect(TRADE):
            pass
    with pytest.raises(InvalidStatus) as refused, exchange.connect(TRADE):
        pass
    assert refused.value.response.status_code == 429
    state = exchange.get("/_faults")
    assert state["counters"]["connects_over_limit"] == 1
    assert len(state["attempts"]) == 3 and all(began - 50 <= at <= time.time() * 1000 for at in state["attempts"])

    asked = f"http://127.0.0.1:{exchange.port}/api/v3/depth?symbol=BTCUSDT&limit=1000"
    with urllib.request.urlopen(asked, timeout=5) as answer:
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "50"
    status, body, headers = exchange.refused("/api/v3/depth?symbol=BTCUSDT&limit=5000")
    assert (status, body["code"]) == (429, -1003) and int(headers["Retry-After"]) in (1, 2)
    wait_until(lambda: _answers(exchange, "/api/v3/ping"))
    assert exchange.counters()["rest_over_limit"] >= 1


def _answers(exchange: Exchange, path: str) -> bool:
    try:
        return exchange.get(path) == {}
    except urllib.error.HTTPError as error:
        error.close()
        return False


@pytest.mark.slow
def test_a_connection_ends_with_its_lifetime(start_exchange: StartExchange):
    exchange = start_exchange(demo={"count": 3, "rate": 100}, options={"lifetime_s": 0.4})
    with exchange.connect(TRADE) as client:
        started = time.monotonic()
        closed = ended(client)
    assert closed.rcvd.code == 1001 and "24 hours" in closed.rcvd.reason
    assert time.monotonic() - started < 20


# ---- another venue


@pytest.fixture(scope="module")
def kraken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    folder = tmp_path_factory.mktemp("kraken")
    exchange = Exchange(
        folder / "log", venue="kraken", demo={"count": 3, "rate": 500}, options={"first_s": 1.5, "idle_s": 60}
    )
    yield exchange
    assert exchange.stop() == 0


def asks_for(channel: str, **more: Any) -> str:
    return json.dumps({"method": "subscribe", "params": {"channel": channel, "symbol": ["BTC/USDT"], **more}})


def of(client: ClientConnection, channel: str, kind: str) -> Any:
    """The next frame of a channel and type."""
    while (frame := json.loads(client.recv(timeout=30))).get("channel") != channel or frame.get("type") != kind:
        pass
    return frame


@pytest.mark.slow
def test_another_venue_speaks_its_own_wire_with_its_own_names(kraken: Exchange):
    with kraken.connect(path="/v2") as client:
        assert of(client, "status", "update")
        client.send(asks_for("trade"))
        snapshot, trades = of(client, "trade", "snapshot")["data"], of(client, "trade", "update")["data"]
        assert len(snapshot) <= 50 and trades[0]["trade_id"] == snapshot[-1]["trade_id"] + 1
        while json.loads(client.recv(timeout=30)) != {"channel": "heartbeat"}:
            pass
    truth = kraken.get(f"/_truth?symbol=BTC/USDT&from_id={trades[0]['trade_id']}&limit=1")["trades"][0]
    assert float(truth[1]) == trades[0]["price"]


@pytest.mark.slow
def test_snapshots_of_trades_may_be_newest_first(kraken: Exchange):
    with kraken.connect(path="/v2") as client:
        kraken.fault("newest_first", symbol="BTC/USDT")
        client.send(asks_for("trade"))
        ids = [trade["trade_id"] for trade in of(client, "trade", "snapshot")["data"]]
    assert ids == sorted(ids, reverse=True) and len(ids) > 1


@pytest.mark.slow
def test_who_asks_for_nothing_in_time_is_closed(kraken: Exchange):
    with kraken.connect(path="/v2") as client:
        assert ended(client).rcvd.code == 1008


@pytest.mark.slow
def test_a_server_that_goes_down_without_a_word_of_its_venue_ends_with_1012(kraken: Exchange):
    with kraken.connect(path="/v2") as client:
        client.send(asks_for("book", depth=10))
        of(client, "book", "snapshot")
        kraken.fault("shutdown", after_s=0)
        assert ended(client).rcvd.code == 1012
