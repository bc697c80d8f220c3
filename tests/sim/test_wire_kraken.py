"""Kraken's wire from the exchange's side, as its documentation and captures have it: requests in, frames out."""

import json
import re
from typing import Any

import pytest

from tests.sim.wire_bench import START_MS, Bench, apply, nonsense, parsed, sides, units
from wick.sim.wires import Symbol, Turned
from wick.sim.wires.kraken import WIRE, checksum, rest_key

BOOK = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"], "depth": 25}}
TRADES = {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USDT"], "snapshot": True}, "req_id": 9}
PING = {"method": "ping", "req_id": 101}


@pytest.fixture
def bench() -> Bench:
    return Bench(WIRE, "/v2")


def answer(bench: Bench, request: Any, refuse: bool = False) -> list[Any]:
    return parsed(bench.ask(request, refuse).frames)


class Book:
    """A client's: applies, cuts, checks."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.texts: dict[tuple[str, int], tuple[str, str]] = {}

    def take(self, frame: Any) -> bool:
        """Whether the checksum is right afterwards."""
        data = frame["data"][0]
        if frame["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        for name, side in (("bids", self.bids), ("asks", self.asks)):
            levels = [(str(level["price"]), str(level["qty"])) for level in data[name]]
            apply(side, levels)
            self.texts |= {(name, units(price)): (price, quantity) for price, quantity in levels}
        bids, asks = (dict(side[: self.depth]) for side in sides(self.bids, self.asks))
        self.bids, self.asks = bids, asks
        best = {name: [self.texts[name, price] for price in side] for name, side in (("bids", bids), ("asks", asks))}
        return bool(checksum(best["asks"], best["bids"]) == data["checksum"])


def test_the_checksum_is_that_of_the_documentations_example():
    """https://docs.kraken.com/api/docs/guides/spot-ws-book-v2"""
    asks = """45285.2 0.00100000, 45286.4 1.54571953, 45286.6 1.54571109, 45289.6 1.54560911, 45290.2 0.15890660,
        45291.8 1.54553491, 45294.7 0.04454749, 45296.1 0.35380000, 45297.5 0.09945542, 45299.5 0.18772827"""
    bids = """45283.5 0.10000000, 45283.4 1.54582015, 45282.1 0.10000000, 45281.0 0.10000000, 45280.3 1.54592586,
        45279.0 0.07990000, 45277.6 0.03310103, 45277.5 0.30000000, 45277.3 1.54602737, 45276.6 0.15445238"""
    levels = [[tuple(level.split()) for level in side.split(",")] for side in (asks, bids)]
    assert checksum(*levels) == 3310070434
    deeper = [[*side, ("45000.0", "1.00000000")] for side in levels]
    assert checksum(*deeper) == 3310070434


def test_a_connection_begins_with_the_status(bench: Bench):
    (status,) = parsed(bench.session.greeting(START_MS).frames)
    assert (status["channel"], status["type"]) == ("status", "update")
    (data,) = status["data"]
    assert (data["system"], data["api_version"]) == ("online", "v2") and data["connection_id"] > 2**53


def test_every_symbol_of_a_request_gets_an_answer_of_its_own(bench: Bench):
    request = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT", "FOO/BAR", "ETH/USDT"]}}
    first, wrong, last = answer(bench, request | {"req_id": 3})
    assert first == {
        "method": "subscribe", "req_id": 3, "success": True,
        "result": {"channel": "book", "depth": 10, "snapshot": True, "symbol": "BTC/USDT"},
        "time_in": "2026-09-21T14:13:20.000000Z", "time_out": "2026-09-21T14:13:20.000045Z",
    }  # fmt: skip
    assert wrong["error"] == "Currency pair not supported FOO/BAR"
    assert (wrong["success"], wrong["symbol"], wrong["req_id"], "result" in wrong) == (False, "FOO/BAR", 3, False)
    assert last["result"]["symbol"] == "ETH/USDT"
    assert [stream.symbol for stream in bench.streams] == ["BTC/USDT", "ETH/USDT"]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"channel": "book", "symbol": ["BTC/USDT"], "depth": 27}, "Subscription depth not supported"),
        ({"channel": "book", "symbol": ["BTC/USDT"], "depth": [10]}, "Subscription depth not supported"),
        ({"channel": "books", "symbol": ["BTC/USDT"]}, "Channel field must be present and valid"),
        ({"channel": "trade"}, "Symbol(s) not found"),
    ],
)
def test_a_request_that_is_wrong_as_a_whole_gets_one_answer(bench: Bench, params: dict[str, Any], error: str):
    (reply,) = answer(bench, {"method": "subscribe", "params": params})
    assert (reply["error"], reply["success"], reply["method"]) == (error, False, "subscribe")
    assert not bench.streams


def test_a_stream_is_subscribed_once_and_a_book_in_one_depth(bench: Bench):
    bench.subscribe(BOOK)
    for depth in (25, 100):
        again = {"method": "subscribe", "params": BOOK["params"] | {"depth": depth}}
        assert answer(bench, again)[0]["error"] == "Already subscribed"
    assert len(bench.streams) == 1


def test_a_book_is_unsubscribed_with_its_depth(bench: Bench):
    bench.subscribe(BOOK)
    wrong = {"method": "unsubscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"]}}
    assert answer(bench, wrong)[0]["error"] == "Subscription Not Found"
    (reply,) = answer(bench, BOOK | {"method": "unsubscribe"})
    assert (reply["success"], reply["method"]) == (True, "unsubscribe")
    assert not bench.streams and not bench.run(300)


def test_ping_is_answered_and_what_is_no_request_is_refused(bench: Bench):
    (pong,) = answer(bench, PING)
    assert (pong["method"], pong["req_id"]) == ("pong", 101)
    for message in nonsense([BOOK, TRADES, PING]):
        assert all(isinstance(json.loads(frame), dict) for frame in bench.ask(message).frames)
        bench.session.asks(message)


def test_a_refused_subscription_adds_nothing(bench: Bench):
    assert bench.session.asks(json.dumps(BOOK).encode()) and not bench.session.asks(json.dumps(PING).encode())
    (reply,) = answer(bench, TRADES, refuse=True)
    assert (reply["success"], reply["req_id"]) == (False, 9) and not bench.streams


def test_trades_begin_with_the_last_fifty_and_none_is_lost_or_twice(bench: Bench):
    bench.run(1000)
    _, snapshot = parsed(bench.subscribe(TRADES))
    before = len(bench.traded["BTC/USDT"])
    assert before > 50 and (snapshot["type"], len(snapshot["data"])) == ("snapshot", 50)
    updates = [row for frame in parsed(bench.run(1000)) for row in frame["data"]]
    rows = [*snapshot["data"], *updates]
    told = [(row["trade_id"], units(row["price"]), units(row["qty"]), row["side"]) for row in rows]
    truth = bench.traded["BTC/USDT"][before - 50 :]
    assert told == [(t.trade_id, t.price, t.quantity, "sell" if t.buyer_is_maker else "buy") for t in truth]
    assert list(rows[0]) == ["symbol", "side", "price", "qty", "ord_type", "trade_id", "timestamp"]
    assert all(re.fullmatch(r"2026-09-21T14:13:2\d\.\d{6}Z", row["timestamp"]) for row in rows)
    assert [row["timestamp"] for row in rows] == sorted({row["timestamp"] for row in rows})


def test_several_trades_come_in_one_message(bench: Bench):
    bench.subscribe(TRADES)
    assert max(len(frame["data"]) for frame in parsed(bench.run(1000))) > 1


def test_a_snapshot_may_be_newest_first_and_tells_the_same_times(bench: Bench):
    bench.run(1000)
    _, usual = parsed(bench.subscribe(TRADES))
    bench.view.newest_first = True
    bench.ask(TRADES | {"method": "unsubscribe"})
    _, turned = parsed(bench.subscribe(TRADES))
    assert turned["data"] == usual["data"][::-1]


@pytest.mark.parametrize("depth", [10, 25, 100, 500, 1000])
def test_a_client_that_cuts_its_book_has_every_checksum_right_and_the_exchanges_book(bench: Bench, depth: int):
    request = {"method": "subscribe", "params": BOOK["params"] | {"depth": depth}}
    book = Book(depth)
    frames = [*bench.subscribe(request)[1:], *bench.run(1200)]
    assert all(book.take(frame) for frame in parsed(frames)) and len(frames) > 10
    told = bench.view.told("BTC/USDT")
    assert sides(book.bids, book.asks) == (list(told.bids.items())[:depth], list(told.asks.items())[:depth])
    assert json.loads(frames[0])["type"] == "snapshot"


def test_a_client_that_does_not_cut_its_book_is_found_out(bench: Bench):
    book = Book(10)
    frames = parsed([*bench.subscribe({**BOOK, "params": BOOK["params"] | {"depth": 10}})[1:], *bench.run(2500)])
    assert book.take(frames[0])
    book.depth = 10_000
    assert not all(book.take(frame) for frame in frames[1:])


def test_numbers_have_all_their_decimals(bench: Bench):
    raw = bench.subscribe(BOOK)[1].decode()
    tick, lot = bench.view.symbols()["BTC/USDT"][3:]
    price, quantity = (len(str(10**8 // step)) - 1 for step in (tick, lot))
    assert re.search(rf'"price":\d+\.\d{{{price}}},"qty":\d+\.\d{{{quantity}}}}}', raw)
    assert all(len(text.partition(".")[2]) == price for text in re.findall(r'"price":([\d.]+)', raw))
    updates = b"".join(bench.run(2000)).decode()
    assert f'"qty":0.{"0" * quantity}}}' in updates


def test_a_wrong_checksum_is_wrong_once_and_the_book_stays_right(bench: Bench):
    book = Book(25)
    assert book.take(parsed(bench.subscribe(BOOK)[1:])[0])
    checks = [book.take(frame) for frame in parsed(bench.run(1000, wrong_checksum=True))]
    assert checks[0] is False and all(checks[1:])


def test_best_prices_come_as_a_ticker_that_follows_them(bench: Bench):
    params = {"channel": "ticker", "symbol": ["ETH/USDT"], "event_trigger": "bbo"}
    frames = parsed(bench.subscribe({"method": "subscribe", "params": params})[1:] + bench.run(500))
    assert [frame["type"] for frame in frames[:2]] == ["snapshot", "update"]
    last, told = frames[-1]["data"][0], bench.view.quote("ETH/USDT")
    assert (units(last["bid"]), units(last["ask_qty"])) == (told.bid, told.ask_quantity)
    bench.subscribe({"method": "subscribe", "params": {"channel": "ticker", "symbol": ["BTC/USDT"]}})
    assert all(frame["data"][0]["symbol"] == "ETH/USDT" for frame in parsed(bench.run(200)))


def test_heartbeats_come_to_who_has_subscribed(bench: Bench):
    assert not bench.session.heartbeat(bench.view, bench.now_ms)
    bench.ask(TRADES)
    assert parsed(bench.session.heartbeat(bench.view, bench.now_ms)) == [{"channel": "heartbeat"}]
    assert WIRE.heartbeat_ms == 1000


def test_a_shutdown_is_told_as_maintenance():
    frame, code = WIRE.shutdown(START_MS)
    assert json.loads(frame)["data"][0]["system"] == "maintenance" and code == 1012


def test_there_is_one_address():
    with pytest.raises(Turned):
        Bench(WIRE, "/v1")


# ---- REST


def test_pairs_have_their_old_names_and_steps(bench: Bench):
    status, body = bench.rest("/0/public/AssetPairs")
    assert (status, body["error"], list(body["result"])) == (200, [], ["XBTUSDT", "ETHUSDT", "SOLUSDT"])
    pair = body["result"]["XBTUSDT"]
    assert (pair["wsname"], pair["altname"], pair["base"], pair["quote"]) == ("XBT/USDT", "XBTUSDT", "XXBT", "USDT")
    symbol = bench.view.symbols()["BTC/USDT"]
    assert units(pair["tick_size"]) == symbol.tick and 10 ** (8 - pair["lot_decimals"]) == symbol.lot
    _, new = bench.rest("/0/public/AssetPairs", assetVersion="1", pair="BTC/USDT")
    assert list(new["result"]) == ["BTC/USDT"] and new["result"]["BTC/USDT"]["wsname"] == "BTC/USDT"


@pytest.mark.parametrize(
    ("base", "quote", "key"),
    [("BTC", "USD", "XXBTZUSD"), ("ETH", "BTC", "XETHXXBT"), ("DOGE", "USD", "XDGUSD"), ("SOL", "BTC", "SOLXBT")],
)
def test_old_assets_carry_their_class_in_a_pairs_key(base: str, quote: str, key: str):
    assert rest_key(Symbol(f"{base}/{quote}", base, quote, 1, 1)) == key


def test_trades_after_a_time_are_paged_without_a_hole(bench: Bench):
    bench.run(2000)
    truth = bench.traded["BTC/USDT"]
    rows: list[Any] = []
    since = str((START_MS - 1) * 10**6)
    while (page := bench.rest("/0/public/Trades", pair="XBTUSDT", since=since, count="37")[1]["result"])["XBTUSDT"]:
        rows += page["XBTUSDT"]
        since = page["last"]
    assert [row[6] for row in rows] == [trade.trade_id for trade in truth]
    assert [(units(row[0]), units(row[1]), row[3]) for row in rows] == [
        (trade.price, trade.quantity, "s" if trade.buyer_is_maker else "b") for trade in truth
    ]
    times = [str(row[2]) for row in rows]
    assert len(set(times)) == len(times) and int(times[-1].replace(".", "")) * 1000 == int(since)


def test_rest_and_stream_tell_the_same_times(bench: Bench):
    bench.subscribe(TRADES)
    streamed = {row["trade_id"]: row["timestamp"] for frame in parsed(bench.run(1000)) for row in frame["data"]}
    _, body = bench.rest("/0/public/Trades", pair="BTC/USDT", since=str(START_MS // 1000 - 1))
    told = {row[6]: row[2].partition(".")[2] for row in body["result"]["XBTUSDT"]}
    assert told == {trade_id: time[20:26] for trade_id, time in streamed.items()}


def test_rest_has_books_the_time_and_errors_with_status_200(bench: Bench):
    _, body = bench.rest("/0/public/Depth", pair="XBTUSDT", count="5")
    assert {len(side) for side in body["result"]["XBTUSDT"].values()} == {5}
    assert bench.rest("/0/public/Time")[1]["result"]["unixtime"] == START_MS // 1000
    assert bench.rest("/0/public/Trades", pair="FOOBAR") == (200, {"error": ["EQuery:Unknown asset pair"]})
    assert bench.rest("/0/public/Trades") == (200, {"error": ["EGeneral:Invalid arguments"]})
    assert bench.rest("/0/public/Trades", pair="XBTUSDT", since="x")[1] == {"error": ["EGeneral:Invalid arguments"]}
    assert bench.rest("/0/private/Balance")[0] == 404
    assert json.loads(WIRE.rest_error(429)) == {"error": ["EGeneral:Too many requests"]}
