"""Both shells on a real front: subscribed, cut off, taken over by another front, told of a restarted worker."""

import asyncio
import signal

import pytest

from tests.client.speaking import MINUTE, row
from tests.net.front_process import fronts_running, running, wait_for
from wick import client
from wick.client import reconnect
from wick.client.events import (
    Changed,
    Closed,
    Connected,
    Disconnected,
    Error,
    Gap,
    Revised,
    Snapshot,
    Subscribed,
    Unsubscribed,
)
from wick.market.schema import FORMED_FIELDS
from wick.stream.shards import SHARDS

pytestmark = pytest.mark.slow

BTC, ETH = "ticker:binance:BTC-USDT", "ticker:binance:ETH-USDT"
CANDLES = "candles:binance:BTC-USDT:1m"
OPEN = 1_763_900_040_000
FORMED = len(FORMED_FIELDS)


def head(price, **_):
    return [price, 7, OPEN + 5, 100_000, 0, 3, 0, 0, 0, 0, 0, 0, 2, 5, 0]


def live(open_ms):
    return [open_ms, 9_000_000, 9_000_000, 9_000_000, 0, 0, 0, 0, 0, 0]


def has_all_shards(front):
    stats = front.stats()
    return stats and stats["counters"].get("snapshots", 0) >= SHARDS


def until(session, wanted, limit_s=60.0):
    """Events up to the first that `wanted` says yes to."""
    said = []
    while True:
        event = session.receive(limit_s)
        assert event is not None, said
        assert not isinstance(event, Error), event
        said.append(event)
        if wanted(event):
            return said


def price(topic, wanted):
    return lambda event: (
        isinstance(event, Changed | Snapshot) and event.topic == topic and str(event.ticker.last_price) == wanted
    )


@pytest.fixture(autouse=True)
def comes_back_soon(monkeypatch):
    monkeypatch.setattr(reconnect, "FIRST_MS", 50)


@pytest.mark.parametrize("form", ["msgpack", "json"])
def test_a_glob_is_followed_pairs_that_appear_later_included(form):
    with running() as (front, worker):
        worker.publish("BTC-USDT", head=head(9_000_000))
        with client.connect(front.url, ["ticker:*"], form=form) as session:
            until(session, price(BTC, "90000"))
            worker.publish("BTC-USDT", head=head(2**70))
            until(session, price(BTC, "11805916207174113034.24"))
            worker.publish("ETH-USDT", head=head(300_000))
            said = until(session, price(ETH, "3000"))
            assert Subscribed(ETH, resumed=False) in said
            assert session.topics[ETH].groups == worker.state("ETH-USDT")[:1]
            session.unsubscribe("ticker:*")
            until(session, lambda event: event == Unsubscribed(ETH))
            assert session.topics == {}


def test_candles_close_and_are_revised_and_history_agrees():
    with running() as (front, worker):
        worker.publish("BTC-USDT", head=head(9_000_000), g3=live(OPEN))
        with client.connect(front.url, [CANDLES, "closes:*:1m"]) as session:
            until(session, lambda event: isinstance(event, Snapshot) and event.topic == CANDLES and event.candle)
            worker.publish("BTC-USDT", head=head(9_000_100), g3=live(OPEN + MINUTE))
            (*_, changed) = until(session, lambda event: isinstance(event, Changed) and event.ended)
            assert changed.ended.open_time_ms == OPEN and changed.candle.open_time_ms == OPEN + MINUTE
            worker.close_candle("BTC-USDT", "1m", row(OPEN)[:FORMED])
            (*_, closed) = until(session, lambda event: isinstance(event, Closed) and event.topic == CANDLES)
            worker.close_candle("BTC-USDT", "1m", row(OPEN, 9_000_051, revision=1)[:FORMED])
            (*_, revised) = until(session, lambda event: isinstance(event, Revised) and event.topic == CANDLES)
        stored, *_ = client.history(front.url, "binance", "BTC-USDT", "1m", since_ms=OPEN)
        assert str(closed.candle.close) == "90000.5" and str(revised.candle.close) == "90000.51"
        names = ("open_time_ms", "open", "high", "low", "close", "volume", "revision", "flags", "vwap")
        assert stored.text(*names) == revised.candle.text(*names)


def test_a_killed_front_is_replaced_by_another_and_nothing_is_missed():
    with fronts_running(2) as (fronts, worker):
        worker.publish("BTC-USDT", head=head(9_000_000), g3=live(OPEN))
        wait_for(lambda: all(has_all_shards(front) for front in fronts), "the shards")
        with client.connect(fronts[0].url, [BTC, CANDLES]) as session:
            said = until(session, lambda event: isinstance(event, Snapshot) and event.topic == CANDLES and event.candle)
            name = next(event.front for event in said if isinstance(event, Connected))
            mine = next(front for front in fronts if name.startswith(f"front-{front.index}"))
            mine.end(signal.SIGKILL)
            worker.publish("BTC-USDT", head=head(9_000_100), g3=live(OPEN + MINUTE))
            worker.close_candle("BTC-USDT", "1m", row(OPEN)[:FORMED])
            said = until(session, lambda event: isinstance(event, Closed) and event.topic == CANDLES)
            if not any(price(CANDLES, "90001")(event) for event in said):
                said += until(session, price(CANDLES, "90001"))
            assert session.topics[CANDLES].groups[0] == worker.state("BTC-USDT")[0]
            assert sum(isinstance(event, Disconnected) for event in said) >= 1
            resumed = [event for event in said if isinstance(event, Subscribed) and event.topic == CANDLES]
            assert resumed[-1].resumed and not any(isinstance(event, Gap) for event in said)


def test_a_front_that_stops_says_when_to_come_back():
    with fronts_running(2) as (fronts, worker):
        wait_for(lambda: all(has_all_shards(front) for front in fronts), "the shards")
        worker.publish("BTC-USDT", head=head(9_000_000))
        with client.connect(fronts[0].url, [BTC]) as session:
            said = until(session, price(BTC, "90000"))
            name = next(event.front for event in said if isinstance(event, Connected))
            next(front for front in fronts if name.startswith(f"front-{front.index}")).end()
            said = until(session, lambda event: isinstance(event, Connected))
            assert [type(event).__name__ for event in said if not isinstance(event, Changed)][:2] == [
                "Bye",
                "Disconnected",
            ]


def test_a_worker_that_begins_anew_is_a_new_snapshot():
    with running() as (front, worker):
        worker.publish("BTC-USDT", head=head(9_000_000))
        with client.connect(front.url, [BTC]) as session:
            until(session, price(BTC, "90000"))
            worker.restart()
            worker.publish("BTC-USDT", head=head(5))
            until(session, price(BTC, "0.05"))
            assert session.topics[BTC].epoch == 2


def test_the_asyncio_shell_follows_a_front_too_with_its_token():
    async def run(url):
        async with client.connect_async(url, [BTC], token="secret") as session:
            async for event in session:
                if isinstance(event, Snapshot | Changed) and event.ticker.last_price:
                    return event.ticker.text("last_price")
            return None

    with running(FRONT_TOKEN="secret") as (front, worker):
        worker.publish("BTC-USDT", head=head(9_000_000))
        assert asyncio.run(run(front.url)) == {"last_price": "90000"}
        refused = client.connect(front.url, [BTC], token="wrong")
        with refused as session, pytest.raises(client.ClientError, match="401"):
            list(session)


def test_errors_of_the_front_name_what_is_valid():
    with running() as (front, worker):
        worker.publish("BTC-USDT", head=head(9_000_000))
        with client.connect(front.url, ["tikcer:binance:BTC-USDT", BTC]) as session:
            error = next(event for event in session if isinstance(event, Error))
            assert error.topic == "tikcer:binance:BTC-USDT" and error.valid[0] == "ticker"
            assert session.wanted == [BTC]
