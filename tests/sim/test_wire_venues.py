"""The two sides of a wire held against each other: what wick asks for and reads, what the exchange answers and sends.

Both were written from the venue's documentation, by different hands.
"""

import json
import shutil
import ssl
import subprocess
import time
import urllib.request
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.sync.client import connect

from tests.sim.exchange_process import StartExchange
from tests.sim.wire_bench import START_MS, Bench, apply, sides, units
from wick import exchanges
from wick.exchanges import Hole, Venue
from wick.market.trades import Ack, DepthUpdate, Event, LastTrade, Quote, Shutdown, Topic, Trade
from wick.sim import wires
from wick.sim.symbols import UNITS
from wick.sim.wires import bybit

VENUES = ("bybit", "coinbase", "kraken", "okx")


@pytest.fixture(params=VENUES)
def venue(request: pytest.FixtureRequest) -> Venue:
    return exchanges.load(request.param)


@pytest.fixture
def bench(venue: Venue) -> Bench:
    return Bench(wires.load(venue.id), venue.ws_path, rate=2000.0)


def subscribed(venue: Venue, bench: Bench, *channels: str) -> list[Event]:
    """Both symbols on these channels: what wick reads of all that the exchange says at once."""
    topics = [Topic(symbol, channel) for channel in channels for symbol in ("BTC-USDT", "ETH-USDT")]
    frames = [*bench.session.greeting(bench.now_ms).frames]
    for request in venue.subscribe(topics):
        frames += bench.subscribe(request.raw)
    return read(venue, frames)


def read(venue: Venue, frames: list[bytes]) -> list[Event]:
    """The same one by one and many at once."""
    events = [event for frame in frames for event in venue.parse(frame)]
    assert venue.take(frames) == events
    return events


def of(kind: type, events: list[Event], symbol: str) -> list[Any]:
    return [event for event in events if isinstance(event, kind) and event.symbol == symbol]  # type: ignore[attr-defined]


def in_units(number: int, decimals: int) -> int:
    return number * UNITS // 10**decimals


def test_every_subscription_is_accepted_and_acknowledged(venue: Venue, bench: Bench):
    events = subscribed(venue, bench, *venue.channels)
    asked = {Topic(symbol, channel) for channel in venue.channels for symbol in ("BTC-USDT", "ETH-USDT")}
    acks = [event for event in events if isinstance(event, Ack)]
    assert all(ack.error is None for ack in acks)
    requests = {request.id: request.topics for request in venue.subscribe(asked)}
    told = {topic for ack in acks for topic in ack.topics or requests[ack.request_id]}
    assert told == asked
    assert {(stream.symbol, stream.channel) for stream in bench.streams} >= {
        (venue.native(topic.symbol) if venue.id != "kraken" else topic.symbol.replace("-", "/"), topic.channel)
        for topic in asked
    }


def test_what_is_unsubscribed_is_silent(venue: Venue, bench: Bench):
    subscribed(venue, bench, *venue.channels)
    topics = [Topic(symbol, channel) for channel in venue.channels for symbol in ("BTC-USDT", "ETH-USDT")]
    for request in venue.unsubscribe(topics):
        answer = bench.ask(request.raw)
        assert not answer.refused and all(event.error is None for event in read(venue, list(answer.frames)))
    assert not bench.streams and not bench.run(500)


def test_every_trade_is_read_as_it_was_made(venue: Venue, bench: Bench):
    begun = subscribed(venue, bench, "trade")
    events = read(venue, bench.run(600))
    for name, symbol in zip(bench.view.names, ("BTC-USDT", "ETH-USDT"), strict=False):
        truth = bench.traded[name]
        if venue.id == "okx":  # a message for what a taker got at one price
            groups = [[*found] for _, found in groupby(truth, lambda t: (t.time_ms, t.price, t.buyer_is_maker))]
        else:
            groups = [[trade] for trade in truth]
        keys = [bybit.trade_id(name, group[-1].trade_id) for group in groups]
        trades = of(Trade, events, symbol)
        assert not of(Trade, begun, symbol)
        assert [
            (
                trade.event_ns // 10**6,
                in_units(trade.price, trade.price_decimals),
                in_units(trade.quantity, trade.quantity_decimals),
                trade.taker_buy,
                trade.matches,
            )
            for trade in trades
        ] == [
            (
                group[0].time_ms,
                group[0].price,
                sum(one.quantity for one in group),
                not group[0].buyer_is_maker,
                len(group),
            )
            for group in groups
        ]
        told = [trade.trade_id for trade in trades]
        if venue.id != "bybit":
            assert told == [group[-1].trade_id for group in groups]
        elif keys[0].isdigit():
            assert told == [int(key) for key in keys]
        else:
            assert len(set(told)) == len(set(keys))


def kept(updates: list[DepthUpdate]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The book after these; each has to follow the one before."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    last_id = -1
    for update in updates:
        if update.is_snapshot:
            bids, asks = {}, {}
        elif update.previous_update_id >= 0:
            assert update.previous_update_id == last_id
        elif update.first_update_id:
            assert update.first_update_id == last_id + 1
        last_id = update.last_update_id
        apply(bids, update.bids)
        apply(asks, update.asks)
    return sides(bids, asks)


def test_the_book_that_wick_reads_is_the_exchanges(venue: Venue, bench: Bench):
    begun = subscribed(venue, bench, "depth")
    events = [*begun, *read(venue, bench.run(600))]
    for name, symbol in zip(bench.view.names, ("BTC-USDT", "ETH-USDT"), strict=False):
        updates, told = of(DepthUpdate, events, symbol), bench.view.told(name)
        assert len(updates) > 5 and kept(updates) == (list(told.bids.items()), list(told.asks.items()))


@pytest.mark.parametrize("venue", ["bybit", "okx"], indirect=True)
def test_a_reset_of_the_sequence_is_followed_by_what_wick_can_apply(venue: Venue, bench: Bench):
    subscribed(venue, bench, "depth")
    before = of(DepthUpdate, read(venue, bench.run(300)), "BTC-USDT")[-1]
    first, second, *_ = of(DepthUpdate, read(venue, bench.run(500, reset=[bench.view.names[0]])), "BTC-USDT")
    assert first.last_update_id < before.last_update_id
    assert first.is_snapshot or first.previous_update_id == before.last_update_id
    assert second.previous_update_id == first.last_update_id or second.first_update_id == first.last_update_id + 1


@pytest.mark.parametrize("venue", ["bybit", "okx"], indirect=True)
def test_best_prices_are_read_as_they_are(venue: Venue, bench: Bench):
    events = [*subscribed(venue, bench, "quote"), *read(venue, bench.run(500))]
    for name, symbol in zip(bench.view.names, ("BTC-USDT", "ETH-USDT"), strict=False):
        last, told = of(Quote, events, symbol)[-1], bench.view.quote(name)
        assert (in_units(last.bid, last.price_decimals), in_units(last.ask, last.price_decimals)) == (
            told.bid,
            told.ask,
        )
        assert in_units(last.bid_quantity, last.quantity_decimals) == told.bid_quantity
        assert last.update_id == told.update_id


def test_heartbeats_pings_and_notices_are_understood(venue: Venue, bench: Bench):
    subscribed(venue, bench, *venue.channels)
    bench.run(300)
    beats = [*bench.session.heartbeat(bench.view, bench.now_ms), *bench.session.heartbeat(bench.view, bench.now_ms)]
    assert beats and all(not isinstance(event, Ack | Trade) for event in read(venue, beats))
    if venue.id == "coinbase":
        newest = {one.symbol: one.trade_id for one in read(venue, beats) if isinstance(one, LastTrade)}
        assert newest == {name: bench.traded[name][-1].trade_id for name in ("BTC-USDT", "ETH-USDT")}
    if venue.ping():
        assert read(venue, list(bench.ask(venue.ping()).frames)) == []
    notice, _ = bench.wire.shutdown(bench.now_ms)
    if notice:
        assert all(isinstance(event, Shutdown) for event in venue.parse(notice))


def test_what_is_not_listed_is_refused_by_name(venue: Venue, bench: Bench):
    wrong = Topic("NOPE-USDT", "trade")
    for request in venue.subscribe([wrong]):
        acks = read(venue, list(bench.ask(request.raw).frames))
        assert all(isinstance(ack, Ack) and ack.error for ack in acks)
        assert all(wrong in ack.topics or ack.request_id == request.id for ack in acks)


def test_a_refused_request_is_seen_as_refused(venue: Venue, bench: Bench):
    (request,) = venue.subscribe([Topic("BTC-USDT", "trade")])
    assert bench.session.asks(request.raw) and not bench.session.asks(venue.ping())
    acks = read(venue, list(bench.ask(request.raw, refuse=True).frames))
    assert acks and all(isinstance(ack, Ack) and ack.error for ack in acks) and not bench.streams


def test_what_is_listed_is_read_with_its_steps(venue: Venue, bench: Bench):
    path, _, query = venue.symbols_path.partition("?")
    _, body = bench.rest_bytes(path, **dict(part.split("=") for part in query.split("&") if part))
    found = venue.parse_symbols(body)
    listed = list(bench.view.symbols().values())
    assert [(one.symbol, units(one.price_step), units(one.quantity_step)) for one in found] == [
        (f"{one.base}-{one.quote}", one.tick, one.lot) for one in listed
    ]


@pytest.mark.parametrize("venue", ["coinbase", "kraken"], indirect=True)
def test_a_hole_is_filled_over_rest_with_the_very_trades(venue: Venue, bench: Bench):
    subscribed(venue, bench, "trade")
    trades = of(Trade, read(venue, bench.run(600)), "BTC-USDT")
    before, *missing, after = trades[20:141]
    hole = Hole("BTC-USDT", missing[0].trade_id, missing[-1].trade_id, before.event_ns, after.event_ns)
    path, _, query = venue.backfill_path(hole).partition("?")
    status, body = bench.rest_bytes(path, **dict(part.split("=") for part in query.split("&")))
    filled = venue.parse_backfill(hole, body)
    assert status == 200 and [_exact(trade) for trade in filled] == [_exact(trade) for trade in missing]
    assert before.event_ns > START_MS * 10**6


def _exact(trade: Trade) -> tuple[object, ...]:
    price, quantity = in_units(trade.price, trade.price_decimals), in_units(trade.quantity, trade.quantity_decimals)
    return trade.symbol, trade.event_ns, trade.trade_id, price, quantity, trade.taker_buy


# ---- over real sockets


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One file with key and certificate, for the exchange; one with the certificate, to trust."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    both, trusted = folder / "exchange.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(both), "-out", str(trusted)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    both.write_bytes(both.read_bytes() + trusted.read_bytes())
    return both, trusted


@pytest.mark.slow
def test_over_tls_wick_reads_all_trades_and_the_same_book(
    venue: Venue, start_exchange: StartExchange, certificate: tuple[Path, Path]
):
    both, trusted = certificate
    trust = ssl.create_default_context(cafile=str(trusted))
    trust.maximum_version = ssl.TLSVersion.TLSv1_2  # wick/client/blocking.py says why
    exchange = start_exchange(venue=venue.id, demo={"count": 3, "rate": 600}, certificate=str(both))
    address = f"127.0.0.1:{exchange.port}"

    def ask(path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"https://{address}{path}", body, timeout=30, context=trust) as answer:
            return json.load(answer)

    events: list[Event] = []
    with connect(f"wss://{address}{venue.ws_path}", ssl=trust, proxy=None, max_queue=None) as client:
        for request in venue.subscribe([Topic("BTC-USDT", "trade"), Topic("BTC-USDT", "depth")]):
            client.send(request.raw.decode())

        def receive(timeout_s: float = 30.0) -> bool:
            """Whether the frame tells of the market."""
            told = venue.parse(client.recv(timeout=timeout_s, decode=False))
            events.extend(told)
            return any(
                isinstance(event, Trade) or (isinstance(event, DepthUpdate) and (event.bids or event.asks))
                for event in told
            )

        while len(of(Trade, events, "BTC-USDT")) < 200:
            receive()
        ask("/_faults", json.dumps({"fault": "freeze", "seconds": 30}).encode())
        native = next(name for name in ask("/_truth")["symbols"] if venue.symbol(name).replace("/", "-") == "BTC-USDT")
        truth = ask(f"/_truth?symbol={quote(native)}")["trades"]
        book = [
            [[units(price), units(size)] for price, size in side]
            for side in map(ask(f"/_book?symbol={quote(native)}").get, ("bids", "asks"))
        ]

        def told() -> Any:
            """The trades with their times, and the book."""
            trades = [
                (
                    in_units(one.price, one.price_decimals),
                    in_units(one.quantity, one.quantity_decimals),
                    one.event_ns // 10**6,
                )
                for one in of(Trade, events, "BTC-USDT")
            ]
            return trades, [[list(level) for level in side] for side in kept(of(DepthUpdate, events, "BTC-USDT"))]

        right = [(units(price), units(size), time_ms) for _, price, size, _, time_ms in truth]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and ((now := told())[0][-1] != right[-1] or now[1] != book):
            with suppress(TimeoutError):
                receive(0.5)
    trades, books = told()
    assert trades == right[-len(trades) :] and books == book
    if venue.id != "bybit":
        ids = [one.trade_id for one in of(Trade, events, "BTC-USDT")]
        assert ids == [row[0] for row in truth[-len(ids) :]]
