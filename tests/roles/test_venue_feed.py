"""One venue of a feed in the test's own process: what it does about books, and about what goes quiet."""

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import orjson
import pytest

from wick import exchanges
from wick.market.trades import BookDepth, DepthSnapshot, Topic
from wick.net.fetch import FetchError
from wick.ops.settings import Settings
from wick.ops.symbols import Wanted
from wick.roles import bookkeeping, venue_feed
from wick.roles.bookkeeping import LATE_NS
from wick.roles.house import House
from wick.roles.venue_feed import VenueFeed
from wick.storage import listing
from wick.stream.shards import SHARDS, shard_of
from wick.stream.ticks import Ticks

SECOND = 10**9
NOW = 1_723_161_600 * SECOND
BTC, ETH = "BTC-USD", "ETH-USD"


class Lines:
    """Stands where the connections are."""

    def __init__(self) -> None:
        self.wanted: list[Topic] = []
        self.asked_again: list[Topic] = []
        self.down = False
        self.numbers = [1]

    def add(self, topics: list[Topic]) -> None:
        self.wanted += topics

    def drop(self, topics: list[Topic]) -> None:
        self.wanted = [one for one in self.wanted if one not in topics]

    def again(self, topics: list[Topic]) -> None:
        self.asked_again += topics

    def carries(self, topic: Topic) -> bool:
        return bool(self.carriers(topic))

    def carriers(self, topic: Topic) -> list[int]:
        return self.numbers if not self.down and topic in self.wanted else []


class Link:
    """Stands where a connection is."""

    def __init__(self, lines: Lines, number: int) -> None:
        self.lines, self.number = lines, number

    @property
    def topics(self) -> tuple[Topic, ...]:
        return tuple(self.lines.wanted)


class Desk:
    """Coinbase (or another) with two symbols, and the clock in the test's hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, venue: str = "coinbase", **settings: Any) -> None:
        self.now_ns = NOW
        self.slow_ns = 0  # what every look at the clock takes
        self.counts: dict[str, int] = {}
        self.shown: list[tuple[str, Any]] = []
        monkeypatch.setattr(venue_feed, "client_context", lambda _: None)  # to read certificates takes long
        monkeypatch.setattr(venue_feed, "now_ns", lambda: self.now_ns)
        monkeypatch.setattr(bookkeeping, "now_ns", lambda: self.now_ns)
        monkeypatch.setattr(bookkeeping, "steady_ns", self._steady)
        house = House(
            spawn=lambda *_: None, count=self._count, room=lambda: None, heard=lambda _: None,
            show=lambda venue, symbol, top: self.shown.append((symbol, top)), recorder=None,
        )  # fmt: skip
        given = {name.replace("__", "."): value for name, value in settings.items()}
        self.feed = VenueFeed(exchanges.load(venue), Settings(given), house)
        self.lines = self.feed.connections = self.feed.books._connections = Lines()  # type: ignore[assignment]
        self.link = Link(self.lines, 1)
        self.feed._read_these([BTC, ETH])

    def _count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def _steady(self) -> int:
        self.now_ns += self.slow_ns
        return self.now_ns

    def hear(self, *messages: dict[str, Any], number: int = 1) -> bool:
        raws = [orjson.dumps({"time": "2024-08-09T00:00:00.000000Z"} | one) for one in messages]
        return self.feed._take(Link(self.lines, number), raws, self.now_ns)[0]  # type: ignore[arg-type]

    def book(self, symbol: str, bid: str = "10.00", ask: str = "11.00") -> dict[str, Any]:
        return {"type": "snapshot", "product_id": symbol, "bids": [[bid, "2"]], "asks": [[ask, "3"]]}

    def change(self, symbol: str, side: str, price: str, size: str = "1") -> dict[str, Any]:
        return {"type": "l2update", "product_id": symbol, "changes": [[side, price, size]]}

    def trade(self, symbol: str, number: int) -> dict[str, Any]:
        return {
            "type": "match", "trade_id": number, "side": "sell", "size": "1.5", "price": "10.50", "product_id": symbol
        }  # fmt: skip

    def resynced(self, seconds: float = 0.0) -> list[Topic]:
        """What is subscribed to anew, so much later."""
        self.now_ns += round(seconds * SECOND)
        self.lines.asked_again.clear()
        self.feed.books.resync()
        return list(self.lines.asked_again)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a feed keeps in its data directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    yield Desk(monkeypatch)


def test_a_book_that_breaks_is_asked_for_alone_and_less_and_less_often(desk: Desk) -> None:
    desk.hear(desk.book(BTC), desk.book(ETH))
    assert desk.resynced() == []
    asked = []
    for second in range(40):
        desk.hear(desk.book(BTC), desk.change(BTC, "buy", "12.00"))
        if desk.resynced(1):
            assert desk.lines.asked_again == [Topic(BTC, "depth")]
            asked.append(second)
    assert [after - before for before, after in pairwise(asked)] == [1, 2, 4, 8, 16]
    assert desk.counts["resyncs: crossed"] == len(asked)
    assert desk.feed.books.books.is_live(ETH)


def test_a_book_whose_snapshot_does_not_come_is_asked_for_again(desk: Desk) -> None:
    desk.hear(desk.change(BTC, "buy", "10.00"))
    for later_ns in (0, LATE_NS - 1):
        desk.feed.books.notice_late(NOW + later_ns)
        assert desk.resynced() == []
    desk.feed.books.notice_late(NOW + LATE_NS)
    assert desk.resynced() == [Topic(BTC, "depth")]
    desk.hear(desk.book(BTC))
    desk.feed.books.notice_late(NOW + 9 * LATE_NS)
    assert desk.resynced(100) == []


def test_a_quiet_book_of_rest_begins_without_an_update_and_is_handed_over_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch, "binance")
    keeper = desk.feed.books
    keeper.resync()
    assert not keeper._asking, "no stream is known to be open"
    keeper.notice_late(NOW)
    keeper.resync()
    assert list(keeper._asking) == [BTC, ETH] or list(keeper._asking) == [ETH, BTC]
    for symbol in (BTC, ETH):
        keeper.books.put(symbol, DepthSnapshot(7, [["10", "1"]], [["11", "1"]]), NOW)
    desk.lines.numbers = [1, 2]
    desk.feed._closed(1, ())
    assert keeper.books.is_live(BTC) and keeper.books.is_live(ETH)
    desk.lines.numbers = []
    desk.feed._closed(2, ())
    assert not keeper.books.is_live(BTC) and not keeper.books.broken


@pytest.mark.parametrize(("channels", "read"), [
    (("trade", "quote"), ("trade", "depth")), (("quote",), ("depth",)), (("trade",), ("trade",)),
])  # fmt: skip
def test_where_only_books_tell_the_best_prices_they_are_read_for_them(
    monkeypatch: pytest.MonkeyPatch, channels: tuple[str, ...], read: tuple[str, ...]
) -> None:
    desk = Desk(monkeypatch, feed__channels=channels)
    assert desk.lines.wanted == [Topic(symbol, channel) for symbol in (BTC, ETH) for channel in read]


def test_a_lost_book_waits_for_the_next_connection_and_what_is_lost_is_an_outage(desk: Desk) -> None:
    desk.hear(desk.book(BTC), desk.trade(BTC, 7))
    desk.feed.ticks.portions(1, NOW, 0)
    desk.feed._closed(1, tuple(desk.lines.wanted))
    assert desk.resynced() == [] and not desk.feed.is_connected
    assert desk.hear(desk.trade(BTC, 8), number=2)
    [portion] = desk.feed.ticks.portions(1, NOW, 0)
    assert [part[2] for part in portion.parts] == [True] and desk.feed.is_connected


def test_a_connection_that_only_had_books_is_no_outage_of_trades(desk: Desk) -> None:
    desk.hear(desk.trade(BTC, 7))
    desk.feed.ticks.portions(1, NOW, 0)
    desk.feed._closed(1, (Topic(BTC, "depth"), Topic(BTC, "quote")))
    desk.hear(desk.trade(BTC, 8))
    [portion] = desk.feed.ticks.portions(1, NOW, 0)
    assert [part[2] for part in portion.parts] == [False]


def test_what_books_take_too_long_for_waits_and_is_conflated(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    symbols = [f"C{n:02d}-USD" for n in range(40)]
    desk.feed._read_these(symbols)
    told: list[BookDepth] = []
    monkeypatch.setattr(Ticks, "book", lambda _, depth, quote, recv_ns: told.append(depth))
    desk.hear(*[desk.book(symbol) for symbol in symbols])
    desk.slow_ns = bookkeeping.AT_ONCE_NS
    for _ in range(3):
        desk.feed.books.tell(desk.feed.ticks, ())
        busy = told[0].symbol
        desk.hear(*[desk.change(busy, "buy", price) for price in ("10.50", "10.60")])
    assert desk.counts["books_put_off"] > 0
    order = [one.symbol for one in told]
    assert sorted(order[:40]) == symbols, "who waits longest is next"
    assert order[40:] == [busy], "and what changed twice meanwhile is told once"


def test_who_taps_is_shown_the_best_levels(desk: Desk) -> None:
    desk.hear(desk.book(BTC))
    desk.feed.books.tell(desk.feed.ticks, range(SHARDS))
    [(symbol, (_, _, bids, asks))] = desk.shown
    assert (symbol, bids, asks) == (BTC, [["10", "2"]], [["11", "3"]])
    desk.feed.books.tell(desk.feed.ticks, range(SHARDS))
    assert len(desk.shown) == 1


def test_of_a_shard_that_nobody_taps_no_book_is_written_down(desk: Desk) -> None:
    mine = shard_of("coinbase", BTC)
    desk.hear(desk.book(BTC))
    desk.feed.books.tell(desk.feed.ticks, {mine + 1})
    assert desk.shown == []


def test_who_begins_to_tap_is_shown_the_books_as_they_are(desk: Desk) -> None:
    desk.hear(desk.book(BTC))
    desk.feed.books.tell(desk.feed.ticks, ())
    desk.feed.books.show({shard_of("coinbase", ETH)} - {shard_of("coinbase", BTC)})
    assert desk.shown == []
    desk.feed.books.show(range(SHARDS))
    assert [symbol for symbol, _ in desk.shown] == [BTC], "ETH has no book yet"


def test_a_quiet_symbol_is_subscribed_to_anew_while_its_connection_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, feed__stale_s=10.0)
    asked = []
    for second in range(0, 200, 2):
        now = desk.now_ns = NOW + second * SECOND
        desk.hear(desk.trade(ETH, second))
        desk.feed.ticks.portions(1, now, 0)
        desk.lines.asked_again.clear()
        desk.feed._renew_stale(now)
        if desk.lines.asked_again:
            assert {topic.symbol for topic in desk.lines.asked_again} == {BTC}
            asked.append(second)
    assert asked == [10, 20, 40, 80, 160] and desk.feed.stale == 1
    desk.lines.down = True
    desk.lines.asked_again.clear()
    desk.feed._renew_stale(NOW + 10_000 * SECOND)
    assert desk.feed.stale == 2 and not desk.lines.asked_again


def test_what_is_traded_while_a_quiet_symbol_is_subscribed_to_anew_is_a_gap_where_ids_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch, "bybit", feed__stale_s=10.0)
    ids = desk.feed.ticks._pairs[BTC].ids
    assert ids.take(70, NOW, NOW) + 1 == ids.take(80, NOW, NOW)
    desk.feed._renew_stale(NOW + 10 * SECOND)
    assert ids.take(80, NOW, NOW) == -1 and ids.take(90, NOW, NOW) == NOW // 1000 + 3


@pytest.mark.parametrize("jump", [3600, -3600])
def test_when_the_clock_is_set_no_symbol_is_silent_for_that_and_those_that_are_still_show(
    monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    desk = Desk(monkeypatch, feed__stale_s=10.0)
    desk.hear(desk.trade(BTC, 1))
    desk.feed.ticks.portions(1, NOW, 0)
    desk.feed._looked = (NOW, 0)
    at_ns = NOW + jump * SECOND
    desk.feed._look(at_ns + SECOND, SECOND)
    assert desk.feed.stale == 0 and not desk.lines.asked_again
    desk.feed._look(at_ns + 11 * SECOND, 11 * SECOND)
    assert desk.feed.stale == 2 and desk.lines.asked_again


def test_a_connection_without_trades_does_not_say_that_they_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, "binance-usdm")
    everything = desk.lines.wanted
    trades = [one for one in everything if one.channel == "trade"]
    desk.lines.wanted = [one for one in everything if one.channel != "trade"]
    desk.feed._closed(1, tuple(trades))
    desk.hear({"result": None, "id": 1}, number=2)
    assert desk.feed._away == {BTC, ETH}
    desk.lines.wanted = trades
    desk.hear({"result": None, "id": 1}, number=3)
    assert not desk.feed._away


def test_symbols_that_a_venue_does_not_list_today_are_read_when_it_does_and_none_is_dropped_by_its_mood(
    monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    monkeypatch.setattr(venue_feed, "RELIST_S", 0.001)
    monkeypatch.setattr(venue_feed, "UNLISTED_S", 0.001)
    monkeypatch.setattr(venue_feed.random, "uniform", lambda low, _: low)
    trading: list[str] = [BTC]
    asked = 0

    def get(path: str, weight: int) -> bytes:
        nonlocal asked
        asked += 1
        return orjson.dumps([
            {"id": one, "status": "online", "quote_increment": "0.01", "base_increment": "0.1"} for one in trading
        ])  # fmt: skip

    def looked() -> None:
        before = asked
        with gevent.Timeout(30):
            while asked < before + 8:
                gevent.sleep(0.001)

    monkeypatch.setattr(desk.feed._rest, "get", get)
    desk.feed._read_these([])
    managing = gevent.spawn(desk.feed._manage)
    desk.feed.want(Wanted(False, (BTC, ETH), frozenset()))
    looked()
    assert list(desk.feed._since_ns) == [BTC]
    trading.clear()  # maintenance
    looked()
    assert list(desk.feed._since_ns) == [BTC]
    trading[:] = [ETH]
    with gevent.Timeout(30):
        while len(desk.feed._since_ns) < 2:
            gevent.sleep(0.001)
    assert {topic.symbol for topic in desk.lines.wanted} == {BTC, ETH}
    managing.kill()


def test_a_feed_that_begins_while_rest_turns_it_away_goes_by_what_the_venue_listed_before(
    monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    told = [{"id": BTC, "status": "online", "quote_increment": "0.01", "base_increment": "0.1"}]
    monkeypatch.setattr(desk.feed._rest, "get", lambda path, weight: orjson.dumps(told))
    everything = desk.feed._wanted = Wanted(True, (), frozenset())
    assert desk.feed._choose(everything) == [BTC]

    def refuse(path: str, weight: int) -> bytes:
        raise FetchError("too many requests", 429)

    following = Desk(monkeypatch)
    monkeypatch.setattr(following.feed._rest, "get", refuse)
    following.feed._wanted = everything
    assert following.feed._choose(everything) == [BTC]
    assert following.feed._instruments == desk.feed._instruments
    assert following.feed._relist_s(everything) == venue_feed.UNLISTED_S


@pytest.mark.parametrize("damaged", [b"", b"\xc1", b"\x91\x01", b"\x91\x94\x01\x01\x01\x01"])
def test_a_listing_that_is_damaged_is_none(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "kraken").write_bytes(damaged)
    assert listing.load(tmp_path / "kraken") == []


def test_where_nothing_trades_while_we_start_the_named_symbols_are_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    monkeypatch.setattr(venue_feed.random, "uniform", lambda low, _: low)
    monkeypatch.setattr(desk.feed._rest, "get", lambda path, weight: b"[]")
    wanted = desk.feed._wanted = Wanted(False, (BTC,), frozenset())
    assert desk.feed._choose(wanted) == [BTC]


def test_frames_of_a_symbol_that_has_just_been_removed_are_no_news(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.hear(desk.book(BTC), desk.trade(BTC, 1))
    desk.feed._read_these([ETH])
    assert {topic.symbol for topic in desk.lines.wanted} == {ETH}
    with caplog.at_level(logging.WARNING):
        desk.hear(desk.change(BTC, "buy", "10.00"), desk.trade(BTC, 2), desk.book(BTC))
    assert desk.counts["unwanted"] == 1 and "refused" not in desk.counts and not caplog.records
    assert desk.feed.books.books.states() == {"live": 0, "syncing": 1, "broken": 0}


def test_broken_frames_are_counted_all_and_named_a_few_a_second(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        desk.feed._take(desk.link, [b"{"] * 100, NOW)  # type: ignore[arg-type]
    assert desk.counts["refused"] == 100 and len(caplog.records) == venue_feed.LOGGED_A_SECOND
    assert "frame 1 of connection 1 is left out" in caplog.text


def test_everything_is_recorded_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    desk = Desk(monkeypatch)
    written: list[Any] = []

    class Recorder:
        def write(self, number: int, recv_ns: int, messages: list[bytes]) -> None:
            written.append((number, recv_ns, messages))

        def end(self, number: int) -> None:
            written.append(number)

    object.__setattr__(desk.feed.house, "recorder", Recorder())
    desk.feed._take(desk.link, [b"{", b"[]"], NOW)  # type: ignore[arg-type]
    desk.feed._closed(1, ())
    assert written == [(1, NOW, [b"{", b"[]"]), 1]


def test_a_flood_is_taken_as_it_is_in_small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    match = (
        b'{"type":"match","trade_id":%d,"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8","taker_order_id":'
        b'"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"sell","size":"1.50","price":"10.5%d","product_id":"%b",'
        b'"sequence":50,"time":"2024-08-09T00:00:00.%06dZ"}'
    )
    messages = [orjson.dumps(Desk(monkeypatch).book(BTC))]
    messages += [
        match % (1 + number // 2, number % 10, (BTC, ETH)[number % 2].encode(), number) for number in range(800)
    ]
    for place in (5, 300, 301, 702):
        messages[place] = b"{"
    messages[400] = orjson.dumps(Desk(monkeypatch).change(BTC, "buy", "10.10") | {"time": "2024-08-09T00:00:00Z"})
    messages[500] = messages[500].replace(b'"1.50"', b'"1.123456789"')
    found = []
    for size in (len(messages), 50):
        desk = Desk(monkeypatch)
        for at in range(0, len(messages), size):
            desk.feed._take(desk.link, messages[at : at + size], NOW)  # type: ignore[arg-type]
        pairs = {symbol: (bytes(pair.trades), pair.ids.holes) for symbol, pair in desk.feed.ticks._pairs.items()}
        found.append((desk.counts, desk.feed.ticks.trades, pairs, desk.feed.books.books.states()))
        assert desk.counts["trades"] == 795 and desk.counts["refused"] == 4
    assert found[0][2].keys() == found[1][2].keys() and found[0][0] == found[1][0]
    assert found[0][1:] == found[1][1:]
