"""Binance's two wires against what wick reads of them: spot, and USD-M futures where they differ. No sockets."""

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.sim.wire_bench import Bench, apply, sides
from wick import exchanges
from wick.exchanges import Hole, Venue
from wick.market.trades import Ack, DepthUpdate, Quote, Topic, Trade
from wick.sim import wires
from wick.sim.http import HttpRequest
from wick.sim.symbols import UNITS
from wick.sim.wires import Turned

BTC = "BTC-USDT"


@pytest.fixture(params=["binance", "binance-usdm"])
def venue(request: pytest.FixtureRequest) -> Venue:
    return exchanges.load(request.param)


def bench_at(venue: Venue, channel: str) -> Bench:
    """A client that is subscribed to both symbols' channel, at the path where the venue has it."""
    bench = Bench(wires.load(venue.id), venue.path(channel), rate=2000.0)
    for request in venue.subscribe([Topic(BTC, channel), Topic("ETH-USDT", channel)]):
        (answer,) = bench.subscribe(request.raw)
        assert venue.parse(answer) == [Ack(request.id, None)]
    return bench


def read(venue: Venue, frames: list[bytes], kind: type, symbol: str = BTC) -> list[Any]:
    return [one for frame in frames for one in venue.parse(frame) if isinstance(one, kind) and one.symbol == symbol]


def units(number: int, decimals: int) -> int:
    return number * UNITS // 10**decimals


def exact(trade: Trade) -> tuple[object, ...]:
    price, quantity = units(trade.price, trade.price_decimals), units(trade.quantity, trade.quantity_decimals)
    return trade.trade_id, trade.event_ns // 10**6, price, quantity, not trade.taker_buy


def test_every_trade_is_read_as_it_was_made_by_contiguous_ids(venue: Venue):
    bench = bench_at(venue, "trade")
    trades = read(venue, bench.run(1000), Trade)
    assert [exact(trade) for trade in trades] == [
        (one.trade_id, one.time_ms, one.price, one.quantity, one.buyer_is_maker) for one in bench.traded["BTCUSDT"]
    ]
    assert len(trades) > 100 and all(after.trade_id == before.trade_id + 1 for before, after in pairwise(trades))
    stands_for = {trade.matches for trade in trades}
    assert stands_for == ({1} if venue.id == "binance" else {1, 2, 3})


def test_best_prices_are_read_as_they_are(venue: Venue):
    bench = bench_at(venue, "quote")
    last, told = read(venue, bench.run(500), Quote)[-1], bench.view.quote("BTCUSDT")
    assert (units(last.bid, last.price_decimals), units(last.ask, last.price_decimals)) == (told.bid, told.ask)
    assert (last.update_id, units(last.bid_quantity, last.quantity_decimals)) == (told.update_id, told.bid_quantity)


def test_updates_follow_each_other_and_a_snapshot_joins_them(venue: Venue):
    bench = bench_at(venue, "depth")
    frames = bench.run(330)  # between two updates
    path, _, query = venue.snapshot_path(BTC, 1000).partition("?")
    status, body = bench.rest_bytes(path, **dict(part.split("=") for part in query.split("&")))
    snapshot = venue.parse_snapshot(body)
    updates = read(venue, frames + bench.run(770), DepthUpdate)
    for before, after in pairwise(updates):
        assert after.previous_update_id in (-1, before.last_update_id)
        assert after.first_update_id == before.last_update_id + 1
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    apply(bids, snapshot.bids)
    apply(asks, snapshot.asks)
    later = [update for update in updates if update.last_update_id > snapshot.last_update_id]
    assert status == 200 and later[0].first_update_id <= snapshot.last_update_id < later[0].last_update_id
    for update in later:
        apply(bids, update.bids)
        apply(asks, update.asks)
    told = bench.view.told("BTCUSDT")
    assert sides(bids, asks) == (list(told.bids.items()), list(told.asks.items()))


def test_a_reset_of_the_sequence_is_a_gap_and_rest_goes_on_from_there(venue: Venue):
    bench = bench_at(venue, "depth")
    last = read(venue, bench.run(300), DepthUpdate)[-1]
    first, second = read(venue, bench.run(200, reset=["BTCUSDT"]), DepthUpdate)
    assert first.first_update_id > last.last_update_id + 1
    assert first.previous_update_id in (-1, first.first_update_id - 1)
    assert second.first_update_id == first.last_update_id + 1
    path, _, query = venue.snapshot_path(BTC, 100).partition("?")
    _, body = bench.rest_bytes(path, **dict(part.split("=") for part in query.split("&")))
    assert venue.parse_snapshot(body).last_update_id == second.last_update_id


def test_a_hole_is_filled_over_rest_with_the_very_trades(venue: Venue):
    bench = bench_at(venue, "trade")
    before, *missing, after = read(venue, bench.run(1000), Trade)[10:101]
    hole = Hole(BTC, missing[0].trade_id, missing[-1].trade_id, before.event_ns, after.event_ns)
    path, _, query = venue.backfill_path(hole).partition("?")
    status, body = bench.rest_bytes(path, **dict(part.split("=") for part in query.split("&")))
    assert status == 200
    assert venue.parse_backfill(hole, body) == missing


def test_what_is_listed_is_read_with_its_steps(venue: Venue):
    bench = Bench(wires.load(venue.id), venue.ws_path)
    _, body = bench.rest_bytes(venue.symbols_path.partition("?")[0])
    listed = list(bench.view.symbols().values())
    assert [
        (one.native, one.symbol, round(float(one.price_step) * UNITS), round(float(one.quantity_step) * UNITS))
        for one in venue.parse_symbols(body)
    ] == [(one.native, f"{one.base}-{one.quote}", one.tick, one.lot) for one in listed]


def test_a_refused_request_says_so_and_adds_nothing(venue: Venue):
    bench = Bench(wires.load(venue.id), venue.ws_path)
    (request,) = venue.subscribe([Topic(BTC, "depth")])
    assert bench.session.asks(request.raw) and not bench.session.asks(b'{"method":"LIST_SUBSCRIPTIONS","id":1}')
    answer = bench.ask(request.raw, refuse=True)
    (ack,) = venue.parse(answer.frames[0])
    assert ack.request_id == request.id and ack.error and not bench.streams


def test_what_is_unsubscribed_is_silent(venue: Venue):
    bench = bench_at(venue, "depth")
    for request in venue.unsubscribe([Topic(BTC, "depth"), Topic("ETH-USDT", "depth")]):
        bench.ask(request.raw)
    assert not bench.streams and not bench.run(300)


def test_a_combined_stream_goes_on_raw_when_the_client_says_so():
    bench = bench_at(exchanges.load("binance"), "depth")
    assert all(b'"stream"' in frame for frame in bench.run(200))
    bench.ask({"method": "SET_PROPERTY", "params": ["combined", False], "id": 9})
    after = bench.run(200)
    assert after and not any(b'"stream"' in frame for frame in after)
    assert len(bench.streams) == 2


def test_futures_write_numbers_with_the_decimals_of_their_step():
    bench = bench_at(exchanges.load("binance-usdm"), "trade")
    for frame in bench.run(300):
        trade = json.loads(frame)["data"]
        assert list(trade) == ["e", "E", "s", "a", "p", "q", "f", "l", "T", "m"]
        symbol = bench.view.symbols()[trade["s"]]
        for text, step in ((trade["p"], symbol.tick), (trade["q"], symbol.lot)):
            assert step * 10 ** len(text.partition(".")[2]) == UNITS


def test_futures_keep_best_prices_and_trades_at_paths_of_their_own():
    wire = wires.load("binance-usdm")
    asked = [{"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade", "btcusdt@depth@100ms"], "id": 1}]
    for path, there in (("/market/stream", "trade"), ("/public/stream", "depth")):
        bench = Bench(wire, path)
        bench.ask(asked[0])
        assert [stream.channel for stream in bench.streams if not stream.channel.startswith("@")] == [there]


def test_an_address_that_is_not_there_is_turned_away(venue: Venue):
    with pytest.raises(Turned) as turned:
        wires.load(venue.id).session(HttpRequest("GET", "/v2", {}, {}, b"", b""))
    assert turned.value.status == 404


@pytest.mark.parametrize(
    ("venue_id", "path", "query", "weight"),
    [
        ("binance", "/api/v3/depth", {"limit": "1000"}, 50),
        ("binance", "/api/v3/depth", {"limit": "x"}, 5),
        ("binance", "/api/v3/historicalTrades", {}, 25),
        ("binance", "/api/v3/time", {}, 1),
        ("binance-usdm", "/fapi/v1/depth", {"limit": "1000"}, 20),
        ("binance-usdm", "/fapi/v1/aggTrades", {}, 20),
    ],
)
def test_requests_cost_what_the_venue_says(venue_id: str, path: str, query: dict[str, str], weight: int):
    assert wires.load(venue_id).weight(HttpRequest("GET", path, query, {}, b"", b"")) == weight


def test_a_venue_that_is_not_there_is_named_with_those_that_are():
    assert {"binance", "binance-usdm", "bybit", "coinbase", "kraken", "okx"} == set(wires.ids())
    with pytest.raises(KeyError, match="'mtgox' is not one of binance, "):
        wires.load("mtgox")
