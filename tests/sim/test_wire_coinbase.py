"""Coinbase Exchange's wire from the exchange's side, as its documentation and captures have it."""

import json
import re
from typing import Any

import pytest

from tests.sim.wire_bench import START_MS, Bench, apply, nonsense, parsed, sides, units
from wick.sim.wires import Turned
from wick.sim.wires.coinbase import WIRE

BOTH = {"type": "subscribe", "product_ids": ["BTC-USDT", "ETH-USDT"], "channels": ["matches", "heartbeat"]}
BOOK = {"type": "subscribe", "channels": [{"name": "level2_batch", "product_ids": ["BTC-USDT"]}]}


@pytest.fixture
def bench() -> Bench:
    return Bench(WIRE, "/")


def test_the_answer_lists_all_that_is_subscribed_to_by_its_own_names(bench: Bench):
    bench.ask(BOTH)
    (reply,) = parsed(bench.ask(BOOK).frames)
    assert reply == {
        "type": "subscriptions",
        "channels": [
            {"name": "matches", "product_ids": ["BTC-USDT", "ETH-USDT"], "account_ids": None},
            {"name": "heartbeat", "product_ids": ["BTC-USDT", "ETH-USDT"], "account_ids": None},
            {"name": "level2_50", "product_ids": ["BTC-USDT"], "account_ids": None},
        ],
    }
    assert {(one.symbol, one.channel) for one in bench.streams if one.channel in ("trade", "depth")} == {
        ("BTC-USDT", "trade"), ("ETH-USDT", "trade"), ("BTC-USDT", "depth"),
    }  # fmt: skip


def test_unsubscribing_is_answered_with_what_is_left(bench: Bench):
    bench.ask(BOTH)
    (reply,) = parsed(bench.ask(BOTH | {"type": "unsubscribe", "channels": ["heartbeat"]}).frames)
    assert [channel["name"] for channel in reply["channels"]] == ["matches"]
    (reply,) = parsed(bench.ask({"type": "unsubscribe", "channels": ["matches"]}).frames)  # as a whole
    assert reply == {"type": "subscriptions", "channels": []}
    assert not bench.streams


def test_subscribing_twice_changes_nothing(bench: Bench):
    first, again = bench.ask(BOTH), bench.ask(BOTH)
    assert first.frames == again.frames and not again.add and not again.refused


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"product_ids": ["BTC-USDT", "FOO-BAR"]}, "FOO-BAR is not a valid product"),
        ({"channels": ["matches", "trades"]}, "trades is not a valid channel"),
        ({"product_ids": []}, "You need to specify at least one product ID for channel matches"),
        ({"channels": []}, "You must specify at least one channel"),
        ({"channels": ["level2"]}, "level2, level3, and full channels now require authentication."),
    ],
)
def test_a_wrong_request_is_refused_as_a_whole(bench: Bench, change: dict[str, Any], reason: str):
    answer = bench.ask(BOTH | change)
    assert parsed(answer.frames) == [{"type": "error", "message": "Failed to subscribe", "reason": reason}]
    assert answer.refused and not bench.streams


def test_bytes_that_are_no_request_get_an_error(bench: Bench):
    for message in nonsense([BOTH, BOOK, BOTH | {"type": "unsubscribe"}]):
        assert parsed(bench.ask(message).frames)[0]["type"] in ("error", "subscriptions")
        bench.session.asks(message)


def test_a_refused_subscription_adds_nothing(bench: Bench):
    assert bench.session.asks(json.dumps(BOTH).encode())
    assert not bench.session.asks(json.dumps(BOTH | {"type": "unsubscribe"}).encode())
    assert parsed(bench.ask(BOTH, refuse=True).frames)[0]["type"] == "error" and not bench.streams


def test_matches_begin_with_the_last_one_and_tell_the_makers_side(bench: Bench):
    bench.run(500)
    _, last, *_ = parsed(bench.subscribe(BOTH))
    before = len(bench.traded["BTC-USDT"])
    matches = [frame for frame in parsed(bench.run(1000)) if frame["product_id"] == "BTC-USDT"]
    assert list(last) == [
        "type", "trade_id", "maker_order_id", "taker_order_id", "side", "size", "price", "product_id", "sequence",
        "time",
    ]  # fmt: skip
    assert last["type"] == "last_match" and {frame["type"] for frame in matches} == {"match"}
    told = [(one["trade_id"], units(one["price"]), units(one["size"]), one["side"]) for one in (last, *matches)]
    truth = bench.traded["BTC-USDT"][before - 1 :]
    assert told == [(t.trade_id, t.price, t.quantity, "buy" if t.buyer_is_maker else "sell") for t in truth]
    assert all(re.fullmatch(r"2026-09-21T14:13:2\d\.\d{6}Z", match["time"]) for match in matches)
    numbers = [text for match in matches for text in (match["price"], match["size"])]
    assert not any(text.endswith("0") and "." in text for text in numbers)
    assert all(isinstance(match["sequence"], int) for match in matches)


def test_a_heartbeat_a_product_names_its_last_trade(bench: Bench):
    bench.ask(BOTH)
    silent = parsed(bench.session.heartbeat(bench.view, bench.now_ms))
    assert [beat["last_trade_id"] for beat in silent] == [0, 0]
    frames = parsed(bench.run(500))
    beats = {beat["product_id"]: beat for beat in parsed(bench.session.heartbeat(bench.view, bench.now_ms))}
    assert list(beats["BTC-USDT"]) == ["type", "last_trade_id", "product_id", "sequence", "time"]
    for product, beat in beats.items():
        last = [frame for frame in frames if frame["product_id"] == product][-1]
        assert (beat["last_trade_id"], beat["sequence"]) == (last["trade_id"], last["sequence"])
    assert (WIRE.heartbeat_ms, WIRE.depth_ms) == (1000, 50)


def test_a_client_that_applies_the_changes_has_the_exchanges_book(bench: Bench):
    _, snapshot = parsed(bench.subscribe(BOOK))
    assert list(snapshot) == ["type", "product_id", "asks", "bids"]
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    apply(bids, snapshot["bids"])
    apply(asks, snapshot["asks"])
    updates = parsed(bench.run(2000))
    assert {update["type"] for update in updates} == {"l2update"} and len(updates) > 10
    for update in updates:
        for side, price, size in update["changes"]:
            apply(bids if side == "buy" else asks, [(price, size)])
    told = bench.view.told("BTC-USDT")
    assert sides(bids, asks) == (list(told.bids.items()), list(told.asks.items()))
    assert all(len(size.partition(".")[2]) == 8 for update in updates for _, _, size in update["changes"])
    assert "0.00000000" in {size for update in updates for _, _, size in update["changes"]}


def test_there_is_one_address_and_little_time_to_subscribe():
    with pytest.raises(Turned):
        Bench(WIRE, "/ws")
    assert WIRE.limits.first_s == 5


# ---- REST


def test_products_have_their_steps(bench: Bench):
    status, products = bench.rest("/products")
    assert status == 200 and [product["id"] for product in products] == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    symbol = bench.view.symbols()["BTC-USDT"]
    assert units(products[0]["quote_increment"]) == symbol.tick and units(products[0]["base_increment"]) == symbol.lot
    assert bench.rest("/products/BTC-USDT") == (200, products[0])


def test_trades_come_newest_first_between_two_ids(bench: Bench):
    bench.subscribe(BOTH)
    streamed = {frame["trade_id"]: frame for frame in parsed(bench.run(1000)) if frame["product_id"] == "BTC-USDT"}
    ids = sorted(streamed)
    _, latest = bench.rest("/products/BTC-USDT/trades", limit="10")
    assert [trade["trade_id"] for trade in latest] == ids[:-11:-1]
    assert all((one["time"], one["side"]) == (streamed[one["trade_id"]]["time"], streamed[one["trade_id"]]["side"])
               for one in latest)  # fmt: skip
    assert all(len(one[name].partition(".")[2]) == 8 for one in latest for name in ("price", "size"))

    def page(**query: str) -> list[int]:
        return [trade["trade_id"] for trade in bench.rest("/products/BTC-USDT/trades", **query)[1]]

    assert page(after=str(ids[20]), limit="5") == ids[19:14:-1]
    assert page(before=str(ids[20]), limit="5") == ids[:-6:-1]  # the newest of those that are newer
    assert page(before=str(ids[2]), after=str(ids[8])) == ids[7:2:-1]


def test_rest_has_books_the_time_and_errors(bench: Bench):
    _, body = bench.rest("/products/BTC-USDT/book", level="2")
    told = bench.view.snapshot("BTC-USDT")
    assert [[units(price), units(size)] for price, size, _ in body["bids"]] == [list(one) for one in told.bids.items()]
    assert len(bench.rest("/products/BTC-USDT/book")[1]["asks"]) == 1
    assert bench.rest("/time")[1]["epoch"] == f"{START_MS / 1000}"
    assert bench.rest("/products/FOO-BAR/trades") == (404, {"message": "NotFound"})
    assert bench.rest("/products/BTC-USDT/trades", limit="x")[0] == 400
    assert json.loads(WIRE.rest_error(429)) == {"message": "Public rate limit exceeded"}
