"""A whole wick on a simulated exchange, followed through every kind of topic, also while processes are killed."""

import json
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.browser.system import running
from wick import client
from wick.client import reconnect
from wick.client.events import Book, Changed, Closed, Disconnected, Error, Gap, Live, Snapshot, Stats, Trades

pytestmark = pytest.mark.slow

ROOT = Path(client.__file__).parents[2]
PAIR = "binance:BTC-USDT"
KINDS = [
    f"ticker:{PAIR}", f"candles:{PAIR}:15s", "closes:*:15s", f"metrics:{PAIR}:1m", f"trades:{PAIR}",
    f"book:{PAIR}", "stats",
]  # fmt: skip


def heard(session, wanted, limit_s=120.0):
    """All events until `wanted(events)`."""
    said, deadline = [], time.monotonic() + limit_s
    while not wanted(said):
        assert time.monotonic() < deadline, (said[-5:], session.counts)
        if event := session.receive(1.0):
            assert not isinstance(event, Error), event
            said.append(event)
    return said


def test_every_kind_of_topic_says_what_the_others_say():
    with running(EXCHANGE_SYMBOLS=6, EXCHANGE_RATE=200, FEED_CHANNELS="trade,quote,depth") as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        with client.connect(wick.address, KINDS) as session:
            kinds = {Snapshot, Changed, Closed, Live, Trades, Book, Stats}
            closed_on = lambda said: {e.topic for e in said if isinstance(e, Closed) and PAIR in e.topic}  # noqa: E731
            said = heard(session, lambda said: kinds <= {type(e) for e in said} and len(closed_on(said)) == 2)

            numbers = [trade.id for event in said if isinstance(event, Trades) for trade in event.trades]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "each trade once, in order"
            assert not any(isinstance(event, Gap) for event in said)
            book = next(event for event in reversed(said) if isinstance(event, Book))
            assert book.bids[0].price < book.asks[0].price
            assert {e.process for e in said if isinstance(e, Stats)} >= {"feed-0", "front-0"}

            one, other = [
                next(e.candle for e in said if isinstance(e, Closed) and e.topic == f"{kind}:{PAIR}:15s")
                for kind in ("candles", "closes")
            ]
            assert one == other and one.closed and one.low <= one.close <= one.high
            stored, *_ = client.history(wick.address, *PAIR.split(":"), "15s", since_ms=one.open_time_ms, limit=1)
            if stored.revision == one.revision:
                assert stored.text("close", "volume", "delta", "flags") == one.text("close", "volume", "delta", "flags")
            trades = {t.id: t for e in said if isinstance(e, Trades) for t in e.trades}
            inside = range(one.first_trade_id, one.last_trade_id + 1)
            if all(number in trades for number in inside):
                assert sum((trades[n].quantity for n in inside), Decimal(0)) == one.volume

            # While the front hears the feed's trades in any case.
            watched = subprocess.run(
                [sys.executable, "-m", "wick", "watch", *KINDS, "--json", "--count", "40", "--url", wick.address],
                cwd=ROOT, env=wick.env, capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            assert {json.loads(line)["event"] for line in watched.stdout.splitlines()} >= {
                "connected",
                "snapshot",
                "trades",
            }


def test_candles_follow_one_another_through_killed_processes(monkeypatch):
    monkeypatch.setattr(reconnect, "FIRST_MS", 50)
    topic = f"candles:{PAIR}:15s"
    with running(EXCHANGE_SYMBOLS=4, EXCHANGE_RATE=100) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        with client.connect(wick.address, [topic]) as session:
            closes = lambda said: any(isinstance(event, Closed) for event in said)  # noqa: E731
            said = heard(session, lambda said: any(isinstance(event, Changed) for event in said))
            wick.kill("front-0")
            wick.start("front")
            said += heard(session, closes)
            assert any(isinstance(event, Disconnected) for event in said)
            for index in range(2):
                wick.kill(f"aggregator-{index}")
                wick.start("aggregator", index, 2)
            said += heard(session, closes)
            opens = [event.candle.open_time_ms for event in said if isinstance(event, Closed)]
            assert opens == [opens[0] + n * 15_000 for n in range(len(opens))], "each candle once, none missing"
            held = session.topics[topic]
            assert [at for at in sorted(held.rows) if held.rows[at][3] & 1][-1] == opens[-1]
