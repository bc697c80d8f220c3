"""Slow clients: whatever they miss and whenever they read, one message a channel brings them to the state."""

from collections import deque
from functools import reduce
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.market import SYMBOLS, VENUE, Step, steps
from tests.stream.test_fanout import SHARD_OF, TEXTS, TRADE, Client, World
from wick.market.intervals import NAMES
from wick.stream import diffs
from wick.stream.owed import Owed
from wick.wire.session import Kind


class SlowClient(Client):
    """A client with a queue, which takes no more when it is `full`; the test reads for it."""

    def __init__(self, fanout):
        super().__init__(fanout)
        self.queue = deque()
        self.owed = Owed(fanout)
        self.full = False
        self.missed = {}  # handle -> the changes of the DIFFs that it has missed so far
        self.merged = 0

    def offer(self, message):
        channel = message.channel
        if channel is None or not (self.full or channel in self.owed.channels):
            self.queue.append(message)
            return
        self.owed.miss(message, channel)
        if message.fields[0] == Kind.DIFF:
            self.missed.setdefault(channel.handle, []).append(message.fields[-1])

    def unsubscribe(self, text):
        self.read()
        for topic in self.fanout.topics(text):
            for channel in [channel for channel in self.fanout._channels.values() if channel.topic == topic]:
                self.owed.forget(channel)
        super().unsubscribe(text)

    def read(self, most=1_000_000):
        """Take what is queued, then at most so many of what is owed."""
        while self.queue:
            super().offer(self.queue.popleft())
        while most and (message := self.owed.next()) is not None:
            most -= 1
            self.take(message)

    def take(self, message):
        missed = self.missed.pop(message.channel.handle, [])
        if message.fields[0] == Kind.DIFF:
            changes = message.fields[-1]
            assert changes == reduce(diffs.merge, missed), "it is the merge of all that were missed"
            assert len(changes) < sum(map(len, self.states[message.channel.handle][2])), "and smaller than the state"
            self.merged += 1
        super().offer(message)


def stalled(*texts):
    """A world with a trade in every pair, and a client that has read all of it and then stops."""
    world = World()
    client = SlowClient(world.fanout)
    for symbol in SYMBOLS:
        world.take(TRADE._replace(symbol=symbol))
    world.flush()
    for text in texts:
        client.subscribe(text)
    client.read()
    client.full = True
    client.heard.clear()
    return world, client


def trade(world, price=7, symbol="BTC-USDT", after_ms=0):
    world.take(TRADE._replace(symbol=symbol, price=price, after_ms=after_ms))
    world.flush()


SLOW = st.tuples(st.sampled_from(["stall", "wake", "read one", "read"]), st.integers(0, 2))
ASKED = st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), st.integers(0, 2), st.sampled_from(TEXTS))
SHARDS_SAY = st.tuples(st.sampled_from(["restart", "resync"]), st.integers(0, 1))
QUICK = Step("trade", "BTC-USDT", 40, 0, 8, 0, 3)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(steps(late=True, most=3), st.just([QUICK]), SLOW, ASKED, SHARDS_SAY), max_size=40))
def test_slow_clients_end_with_the_state_whenever_they_stall_and_read(plan):
    world = World()
    clients = world.clients = [SlowClient(world.fanout) for _ in range(3)]
    for client, text in product(clients[:2], TEXTS):
        client.subscribe(text)
    for item in plan:
        if isinstance(item, list):
            for step in item:
                world.take(step)
            world.flush()
        elif item[0] in ("restart", "resync"):
            getattr(world, item[0])(item[1])
        elif item[0] in ("subscribe", "unsubscribe"):
            getattr(clients[item[1]], item[0])(item[2])
        else:
            client = clients[item[1]]
            client.full = item[0] != "wake" and (client.full or item[0] == "stall")
            if item[0] != "stall":
                client.read(1 if item[0] == "read one" else 1_000_000)
        for client in clients:
            assert len(client.owed.channels) <= len(client.topics)
    for client in clients:
        client.read()
        client.check()


def test_all_that_was_missed_is_one_diff_a_channel_from_what_is_held_to_what_is():
    topics = [f"ticker:{VENUE}:BTC-USDT", f"candles:{VENUE}:BTC-USDT:1w", f"ticker:{VENUE}:ETH-USDT"]
    world, client = stalled(*topics)
    held = {handle: state[1] for handle, state in client.states.items()}
    for price in range(5, 25):
        trade(world, price, "BTC-USDT")
        trade(world, price, "ETH-USDT")
    assert not client.queue and len(client.owed.channels) == len(topics)
    client.read()
    client.check()
    assert [kind for kind, _ in client.heard] == [Kind.DIFF] * len(topics)
    assert {handle: prev_seq for _, (handle, _, prev_seq, _, _) in client.heard} == held
    assert len({handle for _, (handle, *_) in client.heard}) == len(topics)


def test_clients_that_stop_at_the_same_point_wake_to_the_very_same_message():
    world, first = stalled("ticker:binance:BTC-USDT")
    second, later = SlowClient(world.fanout), SlowClient(world.fanout)
    for client in (second, later):
        client.subscribe("ticker:binance:BTC-USDT")
        client.read()
    second.full = True
    trade(world, 8)
    later.read()
    later.full = True
    trade(world, 9)
    one, same, other = first.owed.next(), second.owed.next(), later.owed.next()
    assert one is same and one is not other
    assert one.fields[0] == other.fields[0] == Kind.DIFF


def test_who_missed_the_same_but_wakes_later_gets_what_came_since_as_well():
    world, first = stalled("ticker:binance:BTC-USDT")
    second = SlowClient(world.fanout)
    second.subscribe("ticker:binance:BTC-USDT")
    second.read()
    second.full = True
    for client in (first, second):
        trade(world, 8)
        trade(world, 9)
        client.full = False
        client.read()
        client.check()
        assert client.merged == 1


def test_a_channel_whose_candle_ended_meanwhile_gets_its_state_and_the_others_a_diff():
    topics = [f"candles:binance:BTC-USDT:{name}" for name in NAMES]
    world, client = stalled(*topics)  # at 23:59:52 on a Thursday
    trade(world, 8, after_ms=9_000)
    client.read()
    client.check()
    told = {client.handles[fields[0]].interval: kind for kind, fields in client.heard}
    assert told == {index: Kind.DIFF if name in ("1w", "1M") else Kind.SNAPSHOT for index, name in enumerate(NAMES)}


def test_a_close_that_was_missed_is_among_the_rows_of_the_state():
    world, client = stalled()
    trade(world, 8, after_ms=9_000)
    client.full = False
    client.subscribe("candles:binance:BTC-USDT:15s")
    client.read()
    client.full = True
    client.heard.clear()
    world.take(Step("clock", "BTC-USDT", 2_000, 0, 0, 0, 0))
    world.flush()
    assert len(client.owed.channels) == 1 and client.heard == []
    client.read()
    client.check()
    ((kind, (_, _, _, _, rows)),) = client.heard
    assert kind == Kind.SNAPSHOT and [row[0] for row in rows if row[3] & 1]


def test_a_worker_that_starts_anew_leaves_nothing_to_merge():
    world, client = stalled("ticker:binance:BTC-USDT")
    trade(world, 8)
    world.restart(SHARD_OF["BTC-USDT"])
    trade(world, 9)
    client.read()
    client.check()
    assert [kind for kind, _ in client.heard] == [Kind.SNAPSHOT]


def test_what_changed_and_changed_back_still_moves_the_client_to_the_newest_sequence():
    world, client = stalled("ticker:binance:BTC-USDT")
    client.full = False
    for prices in ([7], [8, 7], [9]):
        for price in prices:
            world.take(Step("quote", "BTC-USDT", 0, 0, price, 0, 3))
            world.flush()
            client.full = True
        client.read()
        client.full = prices == [7]
    client.check()
    changes = [fields[-1] for _, fields in client.heard]
    assert len(changes) == 3 and changes[1] == []
