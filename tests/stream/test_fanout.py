"""Fan-out: whatever happens to shards and subscriptions, a client by the protocol holds the fan-out's state."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.market import SYMBOLS, VENUE, Market, Step, shown_live, steps
from wick.errors import ProtocolError
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, CLOSED
from wick.stream import diffs
from wick.stream.fanout import Fanout, Message
from wick.wire.messages import Closes, Diffs, Snapshot
from wick.wire.session import Kind, parse_topic

SHARD_OF = {symbol: number % 2 for number, symbol in enumerate(SYMBOLS)}
TRADE = Step("trade", "BTC-USDT", 0, 0, 7, 0, 3)


class Client:
    """A client by the protocol: it asks as a front does for it, and checks every sequence that it is told."""

    def __init__(self, fanout):
        self.fanout = fanout
        self.topics = set()
        self.handles = {}  # handle -> topic
        self.states = {}  # handle -> [epoch, seq, groups, rows by open time]
        self.heard = []

    def subscribe(self, text):
        topics = self.fanout.topics(text)
        if text.endswith(":*"):
            self.fanout.follow_all(self, text.split(":")[1])
        for channel in [self.fanout.subscribe(self, topic) for topic in topics]:
            self.handles[channel.handle] = channel.topic
            self.offer(self.fanout.snapshot(channel))

    def unsubscribe(self, text):
        if text.endswith(":*"):
            self.fanout.follow_all(self, text.split(":")[1], follow=False)
        for topic in self.fanout.topics(text):
            channel = self.fanout.unsubscribe(self, topic)
            if channel is not None:
                del self.handles[channel.handle], self.states[channel.handle]

    def offer(self, message):
        kind, *fields = deepcopy(message.fields)
        self.heard.append((kind, fields))
        if kind == Kind.ACK:
            number, (pair,) = fields
            assert number is None, "the front answers requests, the fan-out announces"
            self.handles[pair[1]] = parse_topic(pair[0])
        elif kind == Kind.SNAPSHOT:
            handle, epoch, seq, groups, rows = fields
            assert handle in self.handles, "a handle is announced before it is used"
            self.states[handle] = [epoch, seq, groups, {row[0]: row for row in rows}]
        elif kind == Kind.DIFF:
            handle, epoch, prev_seq, seq, changes = fields
            state = self.states[handle]
            assert (epoch, prev_seq) == (state[0], state[1])
            assert seq >= prev_seq
            diffs.apply(state[2], changes)
            state[1] = seq
        elif kind == Kind.LIVE:
            assert self.handles[fields[0]].kind == "metrics"
        else:
            assert kind == Kind.CLOSE
            handle, row = fields
            self.states[handle][3][row[0]] = row

    def check(self):
        assert set(self.handles.values()) == self.topics
        assert set(self.states) == set(self.handles)
        for handle, topic in self.handles.items():
            _, _, groups, rows = self.states[handle]
            state = self.fanout.state(topic.venue, topic.symbol)
            if state is None:
                assert not any(map(any, groups))
                continue
            assert groups == [state[group] for group in topic.groups]
            if topic.interval >= 0:
                for row in self.fanout.recent(topic.venue, topic.symbol, topic.interval):
                    assert not row[3] & CLOSED or rows[row[0]] == row


class World:
    """Two shards, a fan-out that follows them, and clients."""

    def __init__(self, clients=0):
        self.markets = [Market(500, epoch=1, number=number) for number in (0, 1)]
        self.fanout = Fanout(2, lambda _, symbol: SHARD_OF[symbol], [VENUE])
        self.clients = [Client(self.fanout) for _ in range(clients)]
        for number in (0, 1):
            self.resync(number)

    def resync(self, number):
        self.flush()
        self.fanout.restart(Snapshot.unpack(self.markets[number].shard.snapshot().pack()))

    def restart(self, number):
        """The worker of a shard starts anew and knows nothing."""
        old = self.markets[number]
        self.markets[number] = Market(500, epoch=old.shard.epoch + 1, number=number)
        self.markets[number].now_ms = old.now_ms
        self.resync(number)

    def take(self, step):
        self.markets[SHARD_OF[step.symbol]].take(step)

    def flush(self):
        for number, market in enumerate(self.markets):
            for message in market.flush():
                (self.fanout.diffs if isinstance(message, Diffs) else self.fanout.closes)(number, message)


TEXTS = [f"ticker:{VENUE}:*", *[f"ticker:{VENUE}:{s}" for s in SYMBOLS], *[f"candles:{VENUE}:{s}:15s" for s in SYMBOLS],
         f"candles:{VENUE}:BTC-USDT:1m"]  # fmt: skip
VERBS = st.sampled_from(["subscribe", "subscribe", "unsubscribe", "leave"])
ASKED = st.tuples(VERBS, st.integers(0, 2), st.sampled_from(TEXTS))
SHARDS_SAY = st.tuples(st.sampled_from(["restart", "resync"]), st.integers(0, 1))


@given(st.lists(st.one_of(steps(late=True, most=4), ASKED, SHARDS_SAY), max_size=25))
def test_clients_always_hold_the_state_of_the_fanout(plan):
    world = World(clients=3)
    for item in plan:
        if isinstance(item, list):
            for step in item:
                world.take(step)
            world.flush()
        elif item[0] in ("restart", "resync"):
            getattr(world, item[0])(item[1])
        else:
            verb, index, text = item
            client = world.clients[index]
            if verb == "leave":
                world.fanout.leave(client)
                world.clients[index] = Client(world.fanout)
            else:
                getattr(client, verb)(text)
        for client in world.clients:
            client.check()
        assert world.fanout.subscriptions == sum(len(client.topics) for client in world.clients)


def test_a_follower_of_all_tickers_hears_of_symbols_that_appear_later():
    world = World(clients=1)
    (client,) = world.clients
    client.subscribe(f"ticker:{VENUE}:*")
    assert client.heard == []
    world.take(TRADE)
    world.flush()
    (ack, number_and_pair), (snapshot, _) = client.heard[:2]
    assert (ack, number_and_pair[0], snapshot) == (Kind.ACK, None, Kind.SNAPSHOT)
    assert number_and_pair[1][0][0] == "ticker:binance:BTC-USDT"
    client.check()


def test_a_client_that_leaves_is_forgotten_with_the_tickers_that_appeared_later():
    world = World(clients=1)
    (client,) = world.clients
    client.subscribe(f"ticker:{VENUE}:*")
    world.take(TRADE)
    world.flush()
    assert world.fanout.subscriptions == 1
    world.fanout.leave(client)
    assert world.fanout.subscriptions == 0
    heard = len(client.heard)
    world.take(TRADE)
    world.take(TRADE._replace(symbol="ETH-USDT"))
    world.flush()
    assert len(client.heard) == heard


def test_who_has_unsubscribed_hears_nothing_more():
    world = World(clients=2)
    quiet, other = world.clients
    for client in world.clients:
        client.subscribe("candles:binance:BTC-USDT:15s")
    quiet.unsubscribe("candles:binance:BTC-USDT:15s")
    assert quiet.topics == set()
    heard = len(quiet.heard)
    for _ in range(5):
        world.take(TRADE._replace(after_ms=15_000))
        world.take(Step("clock", "BTC-USDT", 500, 0, 0, 0, 0))
        world.flush()
    world.restart(0)
    assert len(quiet.heard) == heard
    assert {kind for kind, _ in other.heard} == {Kind.SNAPSHOT, Kind.DIFF, Kind.CLOSE}


def test_a_client_hears_of_its_own_topics_only():
    world = World(clients=1)
    (client,) = world.clients
    client.subscribe("candles:binance:BTC-USDT:1w")
    heard = len(client.heard)
    world.take(TRADE._replace(symbol="PEPE-USDT"))  # of the same shard
    world.take(TRADE._replace(symbol="ETH-USDT"))
    world.flush()
    assert len(client.heard) == heard


def test_a_message_is_encoded_once_for_each_form():
    message = Message(Kind.BYE, 1, "x", 2)
    calls = []

    def encode(fields):
        calls.append(fields)
        return b"%d" % len(calls)

    assert [message.encoded(form, encode) for form in ("json", "msgpack", "json", "msgpack")] == [b"1", b"2"] * 2
    assert calls == [(Kind.BYE, 1, "x", 2)] * 2


def test_many_clients_get_the_very_same_message():
    world = World()
    offered = []

    class Recorder:
        def __init__(self):
            self.topics = set()

        def offer(self, message):
            offered.append(message)

    for _ in range(5):
        world.fanout.subscribe(Recorder(), parse_topic("ticker:binance:BTC-USDT"))
    world.take(TRADE)
    world.flush()
    assert len(offered) == 5 * len(set(map(id, offered))) > 0


@pytest.mark.parametrize(
    ("text", "field", "value", "valid"),
    [
        ("ticker:nowhere:BTC-USDT", "venue", "nowhere", "binance"),
        ("candles:binance:*:1m", "symbol", "*", "one symbol"),
        ("candles:binance:BTC-USDT:7m", "interval", "7m", ", ".join(NAMES)),
        ("trades:binance:BTC-USDT", "topic", "trades:binance:BTC-USDT", "ticker:<venue>:<symbol>"),
    ],
)
def test_an_error_names_the_field_and_what_is_valid(text, field, value, valid):
    with pytest.raises(ProtocolError) as caught:
        World().fanout.topics(text)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert valid in caught.value.message


def test_pairs_are_listed_in_order_and_a_restarted_worker_s_are_gone_until_they_come_again():
    world = World()
    for symbol in reversed(SYMBOLS):
        world.take(TRADE._replace(symbol=symbol))
    world.flush()
    assert world.fanout.pairs() == [(VENUE, symbol) for symbol in sorted(SYMBOLS)]
    world.restart(0)
    assert world.fanout.pairs() == [(VENUE, symbol) for symbol in sorted(SYMBOLS) if SHARD_OF[symbol] == 1]
    assert world.fanout.state(VENUE, "BTC-USDT") is None
    assert world.fanout.recent(VENUE, "BTC-USDT", 0) == []


# ---------------------------------------------------------------------- live metrics


def test_live_metrics_go_to_who_is_subscribed_to_them_and_the_worker_is_told_who_that_is():
    market, fanout = Market(), Fanout(2, lambda _, symbol: SHARD_OF.get(symbol, 0), [VENUE])
    market.take(TRADE)
    market.flush()
    fanout.restart(market.shard.snapshot()._replace(shard=SHARD_OF["BTC-USDT"]))
    watcher, other = Client(fanout), Client(fanout)
    watcher.subscribe(f"metrics:{VENUE}:BTC-USDT:1m")
    other.subscribe(f"candles:{VENUE}:BTC-USDT:1m")
    assert watcher.heard[0][0] == Kind.SNAPSHOT and watcher.heard[0][1][3:] == [[], []]
    watcher.subscribe(f"metrics:{VENUE}:NOBODY-KNOWS:1m")
    assert fanout.watched() == {SHARD_OF["BTC-USDT"]: [[VENUE, "BTC-USDT", NAMES.index("1m")]]}, (
        "no such pair is asked for"
    )

    topic, body = shown_live(market.shard, *[one for its in fanout.watched().values() for one in its])[0]
    heard = len(other.heard)
    fanout.live(Closes.unpack(body))
    (kind, (handle, row)) = watcher.heard[-1]
    assert topic == b"live.00" and kind == Kind.LIVE and watcher.handles[handle].kind == "metrics"
    known = dict(zip(CANDLE_FIELDS, row, strict=True))
    assert not known["flags"] & CLOSED and (known["close"], known["volume"]) == (7, 3)
    assert known["body_ratio"] == 0 and known["rsi_14"] is None and known["patterns"] == bytes(61)
    assert len(other.heard) == heard, "the candles' topic has nothing of it"

    watcher.unsubscribe(f"metrics:{VENUE}:BTC-USDT:1m")
    assert fanout.watched() == {}


def test_what_is_live_is_known_of_no_pair_that_has_not_traded():
    market = Market()
    assert shown_live(market.shard, (VENUE, "BTC-USDT", 0)) == []
    market.take(Step("quote", "BTC-USDT", 0, 0, 7, 0, 3))
    assert shown_live(market.shard, (VENUE, "BTC-USDT", 0), ("elsewhere", "BTC-USDT", 0)) == []
