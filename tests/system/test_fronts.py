"""Several fronts on one port: when one is killed, its clients go on at another from where they stood."""

import signal

import pytest

from tests.net.front_process import fronts_running, wait_for
from tests.system.session_client import SessionClient
from wick.market.schema import CANDLE_FIELDS, CLOSED, FORMED_FIELDS
from wick.stream.shards import SHARDS

pytestmark = pytest.mark.slow

SYMBOLS = ("BTC-USDT", "ETH-USDT")
TOPICS = [f"{kind}:binance:{symbol}{rest}" for symbol in SYMBOLS for kind, rest in (
    ("ticker", ""), ("candles", ":15s"), ("candles", ":1m"), ("closes", ":15s"))]  # fmt: skip
MOST = 60  # clients: the kernel deals them out by their ports
OPEN_MS = 1_723_161_600_000


def publish(worker, number):
    for symbol in SYMBOLS:
        worker.publish(symbol, head=[number, 2**70 + number], g1=[OPEN_MS, number, number], g3=[OPEN_MS, number])


def close(worker, number):
    named = dict.fromkeys(FORMED_FIELDS, number) | {"open_time_ms": OPEN_MS + 15_000 * number, "flags": CLOSED}
    for symbol in SYMBOLS:
        worker.close_candle(symbol, "15s", [*named.values(), *[None] * (len(CANDLE_FIELDS) - len(named))])


def snapshots(front):
    """How many shards a front has heard of: it says so once a second, the port may be another's."""
    return (front.stats() or {"counters": {}})["counters"].get("snapshots", 0)


def holds(client, worker, closes):
    """All that the worker has published, and each of these candles."""
    for topic in TOPICS:
        kind, _, symbol, *interval = topic.split(":")
        state = worker.state(symbol)
        groups = [state[0], *[state[{"15s": 1, "1m": 3}[name]] for name in interval]] if kind != "closes" else []
        told = {OPEN_MS + 15_000 * number for number in closes} if interval == ["15s"] else set()
        if client.states.get(topic) != groups or not told <= client.closed[topic].keys():
            return False
    return True


def test_clients_of_a_front_that_is_killed_resume_at_the_other_and_miss_nothing():
    with fronts_running(2) as (fronts, worker):
        wait_for(lambda: all(snapshots(front) >= SHARDS for front in fronts), "the shards")
        publish(worker, 1)
        close(worker, 1)
        clients = []
        at = lambda index: [one for one in clients if one.fronts[-1].startswith(f"front-{index}-")]  # noqa: E731
        while len(clients) < 6 or not (at(0) and at(1)):
            assert len(clients) < MOST
            clients.append(SessionClient(fronts[0].port, TOPICS, ("msgpack", "json")[len(clients) % 2]))
            clients[-1].follow(lambda one: holds(one, worker, [1]))
        publish(worker, 2)
        close(worker, 2)
        for client in clients:
            client.follow(lambda one: holds(one, worker, [1, 2]))
        moving = at(0)

        fronts[0].end(signal.SIGKILL)
        for number in (3, 4):
            publish(worker, number)
            close(worker, number)
        for client in clients:
            client.follow_through_restarts(lambda one: holds(one, worker, [1, 2, 3, 4]))
        assert at(1) == clients and all(len(client.fronts) == 2 for client in moving)
        assert all(client.resumed == dict.fromkeys(TOPICS, True) for client in moving), "proven: nothing was missed"
        assert all(client.errors == [] and client.epochs == {1} for client in clients)
        for client in clients:
            client.close()


def test_a_front_that_begins_again_has_the_state_and_takes_clients_back():
    with fronts_running(1) as ([front], worker):
        publish(worker, 1)
        client = SessionClient(front.port, TOPICS)
        client.follow(lambda one: holds(one, worker, []))
        front.process.kill()
        front.process.wait()
        publish(worker, 2)
        front.process = type(front)(front.data_dir, {}, port=front.port).process
        client.follow_through_restarts(lambda one: holds(one, worker, []))
        assert len({*client.fronts}) == 2 and client.errors == []
        client.close()
