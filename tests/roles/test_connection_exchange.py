"""Connections to the simulated Binance, with the real venue's frames: faults, a storm, TLS."""

import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import gevent.ssl
import pytest
import trustme

from tests.sim.exchange_process import Exchange
from wick.exchanges import Refused
from wick.exchanges.binance import Binance
from wick.market.trades import Ack, Event, Shutdown, Topic, Trade
from wick.net.fetch import get
from wick.roles.connection import Connection, Connections, Hooks, Patience

pytestmark = pytest.mark.slow


class Feed:
    """Listens to every symbol of the exchange; remembers the trades, and when its attempts were."""

    def __init__(
        self, exchange: Exchange, scheme: str = "ws", context: ssl.SSLContext | None = None, silence_s: float = 20.0,
        **limits: Any,
    ) -> None:  # fmt: skip
        self.venue = Binance()
        self.venue.limits = replace(self.venue.limits, **limits)
        self.counters: Counter[str] = Counter()
        self.attempts: list[float] = []
        self.trades: dict[str, list[int]] = {}
        self.newest: dict[int, float] = {}  # when a line last had a trade
        self.lost: list[tuple[Topic, ...]] = []
        hooks = Hooks(self._take, closed=lambda _, topics: self.lost.append(topics), count=self._count)
        url = f"{scheme}://localhost:{exchange.port}{self.venue.ws_path}"
        self.connections = Connections(self.venue, url, hooks, Patience(silence_s=silence_s), context)
        self.rest_url = url.replace("ws", "http", 1).removesuffix(self.venue.ws_path)

    def _count(self, name: str, amount: int = 1) -> None:
        self.counters[name] += amount
        if name == "attempts":
            self.attempts.append(time.monotonic())

    def _take(self, connection: Connection, messages: list[bytes], recv_ns: int) -> tuple[bool, list[Event]]:
        events = self.venue.take(messages)
        assert not any(isinstance(event, Refused) for event in events)
        for event in events:
            if isinstance(event, Trade):
                self.trades.setdefault(event.symbol, []).append(event.trade_id)
                self.newest[connection.line] = time.monotonic()
        return any(not isinstance(event, Ack | Shutdown) for event in events), events

    def listen(self, *channels: str, rest: ssl.SSLContext | None = None) -> None:
        listed = self.venue.parse_symbols(get(self.rest_url + self.venue.symbols_path, rest))
        topics = [Topic(instrument.symbol, channel) for instrument in listed for channel in channels]
        self.connections.add(topics)
        self.until(lambda: all(map(self.connections.carries, topics)))

    def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
        with gevent.Timeout(timeout_s, AssertionError("it did not happen in time")):
            while not condition():
                gevent.sleep(0.005)

    def fresh(self, since: float) -> bool:
        """Whether every line has had a trade since then."""
        return len(self.newest) == self.connections.gauges()["wanted"] and min(self.newest.values()) > since


@pytest.fixture
def feeds(tmp_path: Path) -> Iterator[Callable[..., tuple[Exchange, Feed]]]:
    """Starts an exchange (with a certificate, where one is given) and a feed."""
    started: list[tuple[Exchange, Feed]] = []

    def start(certificate: Path | None = None, rate: int = 1000, options: dict[str, Any] | None = None, **of_feed: Any):
        asked: dict[str, Any] = {"demo": {"seed": 3, "count": 20, "rate": rate}, "options": options or {}}
        if certificate is not None:
            asked["certificate"] = str(certificate)
        exchange = Exchange(tmp_path / "log", **asked)
        started.append((exchange, Feed(exchange, **of_feed)))
        return started[-1]

    yield start
    for exchange, feed in started:
        feed.connections.close()
        exchange.stop()


def no_trade_is_missing(feed: Feed) -> None:
    """One that came by a successor may be here before those that its predecessor has still to bring."""
    feed.until(lambda: all(set(range(ids[0], max(ids) + 1)) == set(ids) for ids in feed.trades.values()))


def test_a_storm_of_reconnects_keeps_the_limit_and_is_over_soon(feeds) -> None:
    """20 connections are cut at once: the attempts are spread, none too many, and all data are back in time."""
    exchange, feed = feeds(streams=3, connects=(10, 1.0))
    feed.listen("trade", "quote", "depth")
    assert feed.connections.gauges()["open"] == 20
    feed.until(lambda: feed.fresh(0))
    gevent.sleep(1.2)
    del feed.attempts[:]
    cut_at = time.monotonic()
    gevent.get_hub().threadpool.apply(exchange.fault, ("cut",))
    feed.until(lambda: feed.counters["disconnects"] == 20 and feed.connections.settled and feed.fresh(cut_at + 0.1))
    took_s = time.monotonic() - cut_at
    at = feed.attempts
    assert len(at) == 20
    # What was allowed at one moment is noted at the next: this process may have had no turn in between.
    assert all(later - earlier >= 0.9 for earlier, later in zip(at, at[10:], strict=False))
    assert at[9] - at[0] > 0.02  # those that were free to go at once did not
    assert took_s < 30
    assert exchange.counters().get("rate_limited", 0) == 0
    print(f"all data back after {took_s:.1f} s")


@pytest.mark.parametrize(("fault", "disconnects"), [("shutdown", 0), ("close", 3), ("cut", 3)])
def test_an_announced_end_loses_nothing_and_a_sudden_one_is_told(feeds, fault: str, disconnects: int) -> None:
    exchange, feed = feeds(streams=7)
    feed.listen("trade")
    feed.until(lambda: feed.fresh(0))
    since = time.monotonic()
    params = {"after_s": 5.0} if fault == "shutdown" else {}
    gevent.get_hub().threadpool.apply(exchange.fault, (fault,), params)
    feed.until(lambda: feed.counters["connections"] == 6 and feed.connections.gauges()["open"] == 3)
    feed.until(lambda: feed.connections.settled and feed.fresh(since + 0.5))
    assert feed.counters["disconnects"] == disconnects
    if fault == "shutdown":
        assert feed.counters["handovers"] == 3
        assert feed.lost == [()] * 3
        no_trade_is_missing(feed)
    else:
        assert sum(map(len, feed.lost)) == 20


def test_lifetimes_pass_and_no_trade_is_missing(feeds) -> None:
    _, feed = feeds(streams=10, lifetime_s=3.0, options={"lifetime_s": 3.0})
    feed.listen("trade", "depth")
    # 2 s of overlap are more than what is left of so short a life: the old one is ended by the exchange, after the
    # successor is there.
    feed.until(lambda: feed.counters["handovers"] >= 4)
    no_trade_is_missing(feed)
    assert set(feed.lost) <= {()}


def test_half_open_connections_are_found(feeds) -> None:
    exchange, feed = feeds(streams=10, silence_s=1.0)
    feed.listen("trade")
    feed.until(lambda: feed.fresh(0))
    since = time.monotonic()
    gevent.get_hub().threadpool.apply(exchange.fault, ("silence",), {"seconds": 60.0})
    feed.until(lambda: feed.counters["disconnects"] >= 2 and feed.fresh(since + 1.0))


def test_the_exchanges_certificate_is_checked(feeds, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    trusting = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    exchange, feed = feeds(tmp_path / "server.pem", scheme="wss", context=trusting)
    ordinary = ssl.create_default_context()
    authority.configure_trust(ordinary)
    feed.listen("trade", rest=ordinary)
    feed.until(lambda: feed.fresh(0))
    strict = Feed(exchange, "wss", gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    strict.connections.add([Topic("BTC-USDT", "trade")])
    feed.until(lambda: strict.counters["failed_attempts"] == 2)
    assert strict.counters["connections"] == 0
    strict.connections.close()
