"""OKX's spot wire from the exchange's side, as its documentation and captures have it."""

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.sim.wire_bench import START_MS, Bench, apply, nonsense, parsed, sides, units
from wick.sim.wires import Turned
from wick.sim.wires.okx import REQUESTS, WIRE

TRADES = {"id": "t1", "op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}
BOOK = {"op": "subscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]}
BEST = {"op": "subscribe", "args": [{"channel": "bbo-tbt", "instId": "BTC-USDT"}]}


@pytest.fixture
def bench() -> Bench:
    return Bench(WIRE, "/ws/v5/public", rate=3000.0)


def test_requests_are_answered_word_for_word(bench: Bench):
    assert bench.ask(b"ping").frames == [b"pong"]
    arg = b'"arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"'
    assert bench.ask(TRADES).frames == [b'{"id":"t1","event":"subscribe",%b}' % arg]
    assert bench.ask({"op": "unsubscribe", "args": TRADES["args"]}).frames == [b'{"event":"unsubscribe",%b}' % arg]
    assert not bench.streams


def test_every_argument_gets_an_answer_of_its_own(bench: Bench):
    wrong = [{"channel": "trades", "instId": "FOO-BAR"}, {"channel": "trade", "instId": "BTC-USDT"}, "trades"]
    answer = bench.ask({"id": "7", "op": "subscribe", "args": [*wrong, *BOOK["args"]]})
    *errors, ack = parsed(answer.frames)
    assert [(error["event"], error["code"], error["id"]) for error in errors] == [("error", "60018", "7")] * 3
    assert errors[0]["msg"].startswith("Wrong URL or channel:trades,instId:FOO-BAR doesn't exist.")
    assert (ack["event"], answer.refused, len(bench.streams)) == ("subscribe", True, 1)


def test_subscribing_twice_is_answered_and_changes_nothing(bench: Bench):
    bench.subscribe(BOOK)
    again = bench.ask(BOOK)
    assert parsed(again.frames)[0]["event"] == "subscribe" and not again.add and not again.refused


@pytest.mark.parametrize(
    "request_", [b"hello", {"op": "subscribe"}, {"op": "sub", "args": [{}]}, TRADES | {"id": "a-b"}, TRADES | {"id": 7}]
)
def test_what_is_no_request_is_invalid(bench: Bench, request_: Any):
    answer = bench.ask(request_)
    (error,) = parsed(answer.frames)
    assert (error["event"], error["code"], error["msg"][:17]) == ("error", "60012", "Invalid request: ")
    assert answer.refused and not bench.streams


def test_bytes_that_make_no_sense_get_an_event(bench: Bench):
    for message in nonsense([TRADES, BOOK, {"op": "unsubscribe", "args": BEST["args"]}]):
        assert all(frame["event"] for frame in parsed(bench.ask(message).frames))
        bench.session.asks(message)


def test_too_many_requests_in_an_hour_are_refused(bench: Bench):
    count, per_ms = REQUESTS
    for _ in range(count):
        assert not bench.ask(TRADES).refused
    assert parsed(bench.ask(TRADES).frames)[0]["code"] == "60014"
    assert bench.ask(b"ping").frames == [b"pong"]
    bench.now_ms += per_ms
    assert not bench.ask(TRADES).refused


def test_a_refused_subscription_adds_nothing(bench: Bench):
    assert bench.session.asks(json.dumps(BOOK).encode()) and not bench.session.asks(b"ping")
    (error,) = parsed(bench.ask(TRADES, refuse=True).frames)
    assert (error["event"], error["id"]) == ("error", "t1") and not bench.streams


def test_a_message_stands_for_some_trades_and_has_the_id_of_the_last(bench: Bench):
    bench.subscribe(TRADES)
    frames = parsed(bench.run(1000))
    rows = [row for frame in frames for row in frame["data"]]
    assert list(rows[0]) == ["instId", "tradeId", "px", "sz", "side", "ts", "count", "source", "seqId"]
    assert frames[0]["arg"] == TRADES["args"][0] and {len(frame["data"]) for frame in frames} == {1}
    assert {row["count"] for row in rows} > {"1"}
    truth = {trade.trade_id: trade for trade in bench.traded["BTC-USDT"]}
    next_id = min(truth)
    for row in rows:
        last, count = int(row["tradeId"]), int(row["count"])
        group = [truth[one] for one in range(next_id, last + 1)]
        next_id = last + 1
        assert len(group) == count and sum(one.quantity for one in group) == units(row["sz"])
        assert {(str(one.time_ms), one.price, one.buyer_is_maker) for one in group} == {
            (row["ts"], units(row["px"]), row["side"] == "sell")
        }
    assert next_id == max(truth) + 1


class Book:
    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.seq = 0

    def take(self, frame: Any) -> None:
        (data,) = frame["data"]
        if frame["action"] == "snapshot":
            assert data["prevSeqId"] == -1
            self.bids, self.asks = {}, {}
        else:
            assert data["prevSeqId"] == self.seq
        self.seq = data["seqId"]
        apply(self.bids, data["bids"])
        apply(self.asks, data["asks"])


def test_a_client_that_follows_the_chain_has_the_exchanges_book_also_after_a_reset(bench: Bench):
    book = Book()
    opening = parsed(bench.subscribe(BOOK)[1:])
    frames = opening + parsed(bench.run(1000)) + parsed(bench.run(1000, reset=["BTC-USDT"]))
    for frame in frames:
        book.take(frame)
    assert [frame["action"] for frame in frames] == ["snapshot"] + ["update"] * (len(frames) - 1) and len(frames) > 15
    assert list(frames[1]["data"][0]) == ["asks", "bids", "ts", "checksum", "prevSeqId", "seqId"]
    assert {frame["data"][0]["checksum"] for frame in frames} == {0}
    rows = [frame["data"][0] for frame in frames[1:]]
    assert sum(row["seqId"] < row["prevSeqId"] for row in rows) == 1  # the reset
    told = bench.view.told("BTC-USDT")
    assert sides(book.bids, book.asks) == (list(told.bids.items()), list(told.asks.items()))
    levels = [level for row in rows for side in ("asks", "bids") for level in row[side]]
    assert {len(level) for level in levels} == {4} and {level[2] for level in levels} == {"0"}
    assert all((level[1] == "0") == (level[3] == "0") for level in levels)


def test_a_book_in_which_nothing_happens_says_so(bench: Bench):
    book = Book()
    for frame in parsed(bench.subscribe(BOOK)[1:] + bench.run(200)):
        book.take(frame)
    assert not bench.session.heartbeat(bench.view, bench.now_ms)
    (alive,) = parsed(bench.session.heartbeat(bench.view, bench.now_ms))
    assert (alive["action"], alive["data"][0]["asks"], alive["data"][0]["bids"]) == ("update", [], [])
    before = book.seq
    book.take(alive)
    assert book.seq == before
    bench.run(200)
    assert not bench.session.heartbeat(bench.view, bench.now_ms)


def test_the_best_prices_are_those_of_the_market(bench: Bench):
    frames = parsed(bench.subscribe(BEST)[1:] + bench.run(300))
    quote, last = bench.view.quote("BTC-USDT"), frames[-1]["data"][0]
    assert list(last) == ["asks", "bids", "ts", "seqId"] and "action" not in frames[-1]
    assert [units(text) for text in last["bids"][0][:2]] == [quote.bid, quote.bid_quantity]
    assert [units(text) for text in last["asks"][0][:2]] == [quote.ask, quote.ask_quantity]
    assert all(earlier["data"][0]["seqId"] < later["data"][0]["seqId"] for earlier, later in pairwise(frames))


def test_a_service_upgrade_is_told_before():
    frame, _ = WIRE.shutdown(START_MS)
    assert frame == (
        b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. '
        b'Please reconnect.","connId":"a4d3ae55"}'
    )


def test_there_is_one_address():
    with pytest.raises(Turned):
        Bench(WIRE, "/ws/v5/business")


# ---- REST


def test_instruments_have_their_steps(bench: Bench):
    _, body = bench.rest("/api/v5/public/instruments", instType="SPOT")
    assert body["code"] == "0" and [one["instId"] for one in body["data"]] == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    symbol, told = bench.view.symbols()["BTC-USDT"], body["data"][0]
    assert (units(told["tickSz"]), units(told["lotSz"]), told["state"]) == (symbol.tick, symbol.lot, "live")


def test_trades_come_newest_first_one_by_one(bench: Bench):
    bench.run(1000)
    truth = bench.traded["BTC-USDT"]

    def page(what: str, **query: str) -> list[int]:
        return [
            int(one["tradeId"]) for one in bench.rest(f"/api/v5/market/{what}", instId="BTC-USDT", **query)[1]["data"]
        ]

    ids = [trade.trade_id for trade in truth]
    assert page("trades", limit="7") == ids[:-8:-1] and len(page("trades")) == 100
    assert page("history-trades", after=str(ids[20]), limit="5") == ids[19:14:-1]
    assert page("history-trades", after=str(ids[9]), before=str(ids[3])) == ids[8:3:-1]
    last = bench.rest("/api/v5/market/trades", instId="BTC-USDT", limit="1")[1]["data"][0]
    assert (units(last["px"]), units(last["sz"]), last["side"]) == (
        truth[-1].price, truth[-1].quantity, "sell" if truth[-1].buyer_is_maker else "buy",
    )  # fmt: skip


def test_rest_has_books_the_time_and_errors(bench: Bench):
    _, body = bench.rest("/api/v5/market/books", instId="BTC-USDT", sz="4")
    assert len(body["data"][0]["asks"]) == len(body["data"][0]["bids"]) == 4
    assert bench.rest("/api/v5/public/time")[1]["data"] == [{"ts": str(START_MS)}]
    status, body = bench.rest("/api/v5/market/trades", instId="FOO-BAR")
    assert (status, body["code"], body["data"]) == (200, "51001", [])
    assert bench.rest("/api/v5/market/trades")[0] == 400
    assert bench.rest("/api/v5/nothing")[0] == 404
    assert json.loads(WIRE.rest_error(429))["code"] == "50011"
