"""Bybit's spot wire from the exchange's side, as its documentation and captures have it."""

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.sim.wire_bench import START_MS, Bench, apply, nonsense, parsed, sides, units
from wick.sim.wires import Turned
from wick.sim.wires.bybit import WIRE, trade_id

CONN = b"d9avrj8i70nu0j2a80n0-9cfc4"
TRADES = {"req_id": "t1", "op": "subscribe", "args": ["publicTrade.BTCUSDT", "publicTrade.ETHUSDT"]}
BOOK = {"op": "subscribe", "args": ["orderbook.200.BTCUSDT"]}
BEST = {"op": "subscribe", "args": ["orderbook.1.BTCUSDT"]}
PING = {"op": "ping"}


@pytest.fixture
def bench() -> Bench:
    return Bench(WIRE, "/v5/public/spot")


def refusal(bench: Bench, request: Any, refuse: bool = False) -> str:
    answer = bench.ask(request, refuse)
    (reply,) = parsed(answer.frames)
    assert reply["success"] is False and answer.refused and not answer.add
    return str(reply["ret_msg"])


def test_requests_are_answered_word_for_word(bench: Bench):
    (ack,) = bench.ask(TRADES).frames
    assert ack == b'{"success":true,"ret_msg":"subscribe","conn_id":"%b","req_id":"t1","op":"subscribe"}' % CONN
    (ack,) = bench.ask({"op": "unsubscribe", "args": TRADES["args"]}).frames
    assert ack == b'{"success":true,"ret_msg":"unsubscribe","conn_id":"%b","op":"unsubscribe"}' % CONN
    (pong,) = bench.ask(PING).frames
    assert pong == b'{"success":true,"ret_msg":"pong","conn_id":"%b","op":"ping"}' % CONN
    assert not bench.streams


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["publicTrade.BTCUSDT", "publicTrade.FOOBAR"], "Invalid symbol :[publicTrade.FOOBAR]"),
        (["orderbook.30.BTCUSDT"], "error:handler not found,topic:orderbook.30.BTCUSDT"),
        (["order"], "error:handler not found,topic:order"),
        ([f"publicTrade.{number}" for number in range(11)], "args size >10"),
        ([], "Params Error"),
        (["tickers." + "X" * 21_001], "Invalid symbol :[tickers." + "X" * 21_001 + "]"),
    ],
)
def test_one_wrong_topic_refuses_the_whole_request(bench: Bench, args: list[str], words: str):
    assert refusal(bench, {"op": "subscribe", "args": args}) == words
    assert not bench.streams


def test_a_topic_is_subscribed_once(bench: Bench):
    bench.subscribe(BOOK)
    again = {"op": "subscribe", "args": ["publicTrade.BTCUSDT", *BOOK["args"]]}
    assert refusal(bench, again) == "error:already subscribed,topic:orderbook.200.BTCUSDT"
    assert len(bench.streams) == 1


def test_what_is_no_request_is_refused(bench: Bench):
    assert refusal(bench, b"hello").startswith("Failed to decode incoming data")
    assert refusal(bench, {"op": "nope"}) == "error:invalid op"
    for message in nonsense([TRADES, BOOK, PING]):
        assert "success" in parsed(bench.ask(message).frames)[0]
        bench.session.asks(message)


def test_a_refused_subscription_adds_nothing(bench: Bench):
    assert bench.session.asks(json.dumps(BOOK).encode()) and not bench.session.asks(json.dumps(PING).encode())
    assert refusal(bench, BOOK, refuse=True) and not bench.streams


def test_trades_come_several_in_a_message_each_once(bench: Bench):
    bench.subscribe(TRADES)
    frames = parsed(bench.run(1000))
    assert list(frames[0]) == ["topic", "ts", "type", "data"] and frames[0]["type"] == "snapshot"
    assert list(frames[0]["data"][0]) == ["i", "T", "p", "v", "S", "seq", "s", "BT", "RPI"]
    assert max(len(frame["data"]) for frame in frames) > 1
    for name in ("BTCUSDT", "ETHUSDT"):
        rows = [row for frame in frames if frame["topic"] == f"publicTrade.{name}" for row in frame["data"]]
        told = [(row["i"], row["T"], units(row["p"]), units(row["v"]), row["S"]) for row in rows]
        assert told == [
            (
                trade_id(name, one.trade_id),
                one.time_ms,
                one.price,
                one.quantity,
                "Sell" if one.buyer_is_maker else "Buy",
            )
            for one in bench.traded[name]
        ]


def test_ids_of_trades_are_numbers_with_holes_or_uuids():
    numbers = [int(trade_id("BTCUSDT", number)) for number in range(10**9, 10**9 + 1000)]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    assert len(steps) > 1 and min(steps) > 0 and len(str(numbers[0])) == 19 and numbers[-1] < 2**63
    assert len({trade_id("ETHUSDT", number) for number in range(1000)}) == 1000
    assert [len(part) for part in trade_id("ETHUSDT", 5).split("-")] == [8, 4, 4, 4, 12]


class Book:
    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.u = 0

    def take(self, frame: Any) -> None:
        data = frame["data"]
        if frame["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        else:
            assert data["u"] == self.u + 1
        self.u = data["u"]
        apply(self.bids, data["b"])
        apply(self.asks, data["a"])


@pytest.mark.parametrize("depth", [50, 200, 1000])
def test_a_client_that_applies_the_deltas_has_the_exchanges_book(bench: Bench, depth: int):
    book = Book()
    opening = parsed(bench.subscribe({"op": "subscribe", "args": [f"orderbook.{depth}.BTCUSDT"]})[1:])
    frames = opening + parsed(bench.run(1500))
    for frame in frames:
        book.take(frame)
    assert [frame["type"] for frame in frames] == ["snapshot"] + ["delta"] * (len(frames) - 1) and len(frames) > 10
    assert list(frames[1]) == ["topic", "ts", "type", "data", "cts"]
    assert list(frames[1]["data"]) == ["s", "b", "a", "u", "seq"]
    told = bench.view.told("BTCUSDT")
    assert sides(book.bids, book.asks) == (list(told.bids.items()), list(told.asks.items()))
    assert all(earlier["data"]["seq"] < later["data"]["seq"] for earlier, later in pairwise(frames))


def test_after_a_restart_of_the_service_the_book_begins_anew_with_one(bench: Bench):
    book = Book()
    for frame in parsed(bench.subscribe(BOOK)[1:] + bench.run(500)):
        book.take(frame)
    assert book.u > 2
    frames = parsed(bench.run(500, reset=["BTCUSDT"]))
    assert (frames[0]["type"], frames[0]["data"]["u"]) == ("snapshot", 1)
    for frame in frames:
        book.take(frame)
    told = bench.view.told("BTCUSDT")
    assert book.u == len(frames) and sides(book.bids, book.asks) == (list(told.bids.items()), list(told.asks.items()))


def test_the_best_prices_are_snapshots_that_are_told_again_when_nothing_changes(bench: Bench):
    frames = parsed(bench.subscribe(BEST)[1:] + bench.run(300))
    assert {frame["type"] for frame in frames} == {"snapshot"}
    assert all(len(frame["data"][side]) == 1 for frame in frames for side in "ba")
    quote = bench.view.quote("BTCUSDT")
    (price, size), last = frames[-1]["data"]["b"][0], frames[-1]["data"]
    assert (units(price), units(size), last["u"]) == (quote.bid, quote.bid_quantity, quote.update_id)
    assert not bench.session.heartbeat(bench.view, bench.now_ms)
    (again,) = parsed(bench.session.heartbeat(bench.view, bench.now_ms + 3000))
    assert again["data"] == last and WIRE.heartbeat_ms == 3000
    bench.run(200)
    assert not bench.session.heartbeat(bench.view, bench.now_ms)


def test_spot_is_the_only_address():
    with pytest.raises(Turned):
        Bench(WIRE, "/v5/public/linear")


# ---- REST


def test_instruments_have_their_steps(bench: Bench):
    _, body = bench.rest("/v5/market/instruments-info", category="spot")
    assert (body["retCode"], body["retMsg"]) == (0, "OK")
    listed = body["result"]["list"]
    assert [one["symbol"] for one in listed] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    symbol = bench.view.symbols()["BTCUSDT"]
    assert units(listed[0]["priceFilter"]["tickSize"]) == symbol.tick
    assert units(listed[0]["lotSizeFilter"]["basePrecision"]) == symbol.lot
    assert (listed[0]["baseCoin"], listed[0]["quoteCoin"], listed[0]["status"]) == ("BTC", "USDT", "Trading")


def test_recent_trades_come_newest_first_with_the_streams_ids(bench: Bench):
    bench.subscribe(TRADES)
    rows = [row for frame in parsed(bench.run(1000)) for row in frame["data"] if row["s"] == "ETHUSDT"]
    _, body = bench.rest("/v5/market/recent-trade", category="spot", symbol="ETHUSDT", limit="500")
    told = [(one["execId"], int(one["time"]), one["price"], one["size"], one["side"]) for one in body["result"]["list"]]
    assert told == [(row["i"], row["T"], row["p"], row["v"], row["S"]) for row in rows[::-1]][:60]


def test_rest_has_books_the_time_and_errors_with_status_200(bench: Bench):
    _, body = bench.rest("/v5/market/orderbook", category="spot", symbol="BTCUSDT", limit="3")
    assert len(body["result"]["b"]) == len(body["result"]["a"]) == 3
    assert bench.rest("/v5/market/time")[1]["result"]["timeNano"] == str(START_MS * 10**6)
    status, body = bench.rest("/v5/market/recent-trade", category="spot", symbol="FOOBAR")
    assert (status, body["retCode"], body["retMsg"]) == (200, 10001, "Not supported symbols")
    assert bench.rest("/v5/market/recent-trade", symbol="BTCUSDT")[1]["retMsg"] == "Illegal category"
    assert bench.rest("/v5/market/nothing")[0] == 404
    assert json.loads(WIRE.rest_error(429))["retCode"] == 10006
