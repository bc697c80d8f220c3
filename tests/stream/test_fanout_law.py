"""The law of the fan-out: at any moment a client holds the state that the server had at the client's sequence, bit for
bit, and nothing that closed is missed; whatever happens to subscriptions, sockets, fronts and workers."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.stream.toy_fronts import SHARDS, SYMBOLS, VENUE, Client, Front, Worker, shard_of
from wick.market.schema import STATE_WIDTHS
from wick.stream import fanout
from wick.stream.cohorts import Slices

TEXTS = (
    *[f"{kind}:{VENUE}:{symbol}{tail}" for symbol in SYMBOLS for kind, tail in
      (("ticker", ""), ("candles", ":1m"), ("closes", ":1m"))],
    "ticker:*", "closes:*:1m", "candles:*:1m", f"candles:{VENUE}:{SYMBOLS[0]},{SYMBOLS[1]}:1m",
)  # fmt: skip
shards = st.integers(0, SHARDS - 1)
fronts = st.integers(0, 1)
FORMS = (0, 0, 0, 1, 2, 3)  # of the clients: some can share a cohort
clients = st.integers(0, len(FORMS) - 1)
rooms = st.one_of(st.integers(0, 40), st.integers(0, 3_000))
deltas = st.one_of(st.integers(-3, 3), st.sampled_from([2**70, -(2**60)]))


class Fronts(RuleBasedStateMachine):
    """Two workers, two fronts, clients in every form."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = [Worker(number) for number in range(SHARDS)]
        self.fronts = [Front(self.workers, Slices(2, most=2, run=1)) for _ in range(2)]
        self.clients = [Client(json=bool(form & 1), deflate=form > 1) for form in FORMS]

    @initialize(
        tell=st.sampled_from([1, 300, 65_536]),
        kept=st.sampled_from([5, 65_536, 65_536]),
        texts=st.lists(st.sampled_from(TEXTS), min_size=len(FORMS), max_size=len(FORMS)),
    )
    def begin(self, tell: int, kept: int, texts: list[str]) -> None:
        fanout.TELL_BYTES = fanout.BAND_BYTES = tell
        fanout.MAX_KEPT = kept
        for symbol in SYMBOLS[:2]:
            self.roll(symbol, 3)
        for front in range(2):
            self.window(front)
        for number, (client, text) in enumerate(zip(self.clients, texts, strict=True)):
            client.connect(self.fronts[number // 4])
            client.subscribe(text)

    def teardown(self) -> None:
        fanout.TELL_BYTES, fanout.BAND_BYTES, fanout.MAX_KEPT = 65_536, 1 << 20, 65_536

    # ------------------------------------------------------------------ workers and fronts

    @rule(shard=shards, data=st.data())
    def change(self, shard: int, data: Any) -> None:
        own = [symbol for symbol in SYMBOLS if shard_of(VENUE, symbol) == shard]
        change = st.tuples(st.sampled_from(own), st.integers(0, 1), st.integers(0, 8), deltas)
        self.workers[shard].change(data.draw(st.lists(change, min_size=1, max_size=3)))

    @rule(symbol=st.sampled_from(SYMBOLS), back=st.integers(1, 12), value=st.integers(0, 9))
    def close(self, symbol: str, back: int, value: int) -> None:
        self.workers[shard_of(VENUE, symbol)].close(symbol, back, value)

    @rule(symbol=st.sampled_from(SYMBOLS), value=st.integers(0, 9))
    def correct_many(self, symbol: str, value: int) -> None:
        for back in range(1, 13):
            self.workers[shard_of(VENUE, symbol)].close(symbol, back, value)

    @rule(symbol=st.sampled_from(SYMBOLS), count=st.integers(1, 12))
    def roll(self, symbol: str, count: int) -> None:
        for number in range(count):
            self.workers[shard_of(VENUE, symbol)].change([(symbol, 1, 0, number + 1)])

    @rule(shard=shards, forgets=st.booleans())
    def restart(self, shard: int, forgets: bool) -> None:
        self.workers[shard].restart(forgets=forgets)

    @rule(front=fronts, shard=shards, most=st.integers(1, 5))
    def hear(self, front: int, shard: int, most: int) -> None:
        self.fronts[front].hear(shard, most)

    @rule(front=fronts, shard=shards)
    def hear_all(self, front: int, shard: int) -> None:
        self.fronts[front].hear(shard)

    @rule(front=fronts, shard=shards)
    def miss(self, front: int, shard: int) -> None:
        self.fronts[front].miss(shard)

    @rule(front=fronts)
    def window(self, front: int) -> None:
        """What there is to hear is heard, and all slices have their turn."""
        for shard in range(SHARDS):
            self.fronts[front].hear(shard)
        for number in range(1, 3):
            self.fronts[front].flush(number)

    @rule(symbol=st.sampled_from(SYMBOLS), front=fronts)
    def close_and_flush(self, symbol: str, front: int) -> None:
        self.roll(symbol, 1)
        self.close(symbol, 1, 7)
        self.window(front)

    @rule(front=fronts, number=st.integers(0, 5))
    def flush(self, front: int, number: int) -> None:
        self.fronts[front].flush(number)

    # ------------------------------------------------------------------ clients

    @rule(client=clients, front=fronts)
    def connect(self, client: int, front: int) -> None:
        if self.clients[client].front is None:
            self.clients[client].connect(self.fronts[front])
            self.clients[client].resume(list(self.clients[client].told))

    @rule(client=clients, front=fronts)
    def move(self, client: int, front: int) -> None:
        """It loses its connection, and goes on at another one from where it stood."""
        one = self.clients[client]
        if one.front is not None:
            one.disconnect()
            one.connect(self.fronts[front])
            one.resume(list(one.told))

    @rule(client=clients)
    def cut(self, client: int) -> None:
        if self.clients[client].front is not None:
            self.clients[client].disconnect()

    @rule(client=clients, text=st.sampled_from(TEXTS))
    def subscribe(self, client: int, text: str) -> None:
        if self.clients[client].front is not None:
            self.clients[client].subscribe(text)

    @rule(client=clients, text=st.sampled_from(TEXTS))
    def subscribe_between_flushes(self, client: int, text: str) -> None:
        one = self.clients[client]
        if one.front is not None:
            for symbol in SYMBOLS:
                self.workers[shard_of(VENUE, symbol)].change([(symbol, 0, 0, 1)])
            for shard in range(SHARDS):
                one.front.hear(shard)
            one.subscribe(text)

    @rule(client=clients, data=st.data())
    def unsubscribe(self, client: int, data: Any) -> None:
        one = self.clients[client]
        if one.front is not None and one.told:
            one.unsubscribe(data.draw(st.sampled_from(sorted(one.told))))

    @rule(client=clients, room=rooms)
    def stall(self, client: int, room: int) -> None:
        """From some byte on its socket takes nothing."""
        if self.clients[client].front is not None and not self.clients[client].rest:
            self.clients[client].room = room

    @rule(client=clients, room=st.one_of(st.none(), st.none(), rooms))
    def wake(self, client: int, room: int | None) -> None:
        if self.clients[client].front is not None:
            self.clients[client].wake(room)

    @rule(client=clients, room=rooms, symbol=st.sampled_from(SYMBOLS), count=st.integers(1, 12))
    def sleep(self, client: int, room: int, symbol: str, count: int) -> None:
        """It stalls while candles close, one a window."""
        one = self.clients[client]
        if one.front is not None:
            self.stall(client, room)
            for _ in range(count):
                self.close_and_flush(symbol, self.fronts.index(one.front))

    @rule(front=fronts)
    def settle(self, front: int) -> None:
        """All is heard, all sockets take data, all slices are flushed: whoever is connected is in step."""
        one = self.fronts[front]
        for shard in range(SHARDS):
            one.hear(shard)
        mine = [client for client in self.clients if client.front is one]
        for client in mine:
            client.wake(None)
        for number in range(200):
            one.flush(number)
            if number > 3 and all(client.cohort or one.has_cut(client) for client in mine):
                break
        for client in mine:
            if not one.has_cut(client):
                assert client.cohort is not None
                assert not client.rest
                assert client.cohort.band.told == one.fanout.number
                self._lacks_nothing(client)

    def _lacks_nothing(self, client: Client) -> None:
        front = client.front
        assert {one.topic for one in front.fanout.channels_of(client)} == set(client.told)
        client.claim()
        for topic, told in client.told.items():
            assert told.knows
            if topic.kind == "candles":
                for row in front.fanout.recent(topic.venue, topic.symbol, topic.interval):
                    assert told.rows[row[0]] == row
            if topic.interval >= 0:
                shard = shard_of(topic.venue, topic.symbol)
                closed = self.workers[shard].closed[client.since[topic] : front.closes[shard]]
                for open_ms, row in {row[0]: row for symbol, row in closed if symbol == topic.symbol}.items():
                    assert told.rows[open_ms] == row

    # ------------------------------------------------------------------ at any moment

    @invariant()
    def clients_hold_the_servers_state(self) -> None:
        for client in self.clients:
            client.claim()
            for topic, told in client.told.items():
                if told.knows:
                    shard = shard_of(topic.venue, topic.symbol)
                    state = self.workers[shard].states[told.epoch, told.seq].get(topic.symbol)
                    zeros = [[0] * width for width in STATE_WIDTHS]
                    assert told.groups == [(state or zeros)[number] for number in topic.groups]

    @invariant()
    def every_client_has_one_place(self) -> None:
        for client in self.clients:
            if client.front is not None:
                assert (client.cohort is None) != (client.behind is None)
                if client.cohort is not None:
                    assert list(client.cohort)[client.place] is client
        for front in self.fronts:
            users: dict[Any, int] = {}
            for client in self.clients:
                if client.front is front:
                    for channel in front.fanout.channels_of(client):
                        users[channel] = users.get(channel, 0) + 1
            assert users == {channel: channel.users for channel in front.fanout.topics.values()}


def test_a_client_holds_the_servers_state_at_its_sequence_and_misses_no_close() -> None:
    run_state_machine_as_test(
        Fronts, settings=settings(stateful_step_count=30, suppress_health_check=list(HealthCheck))
    )


@pytest.mark.slow
def test_the_same_in_long_runs() -> None:
    most = max(300, settings.default.max_examples)
    run_state_machine_as_test(
        Fronts,
        settings=settings(max_examples=most, stateful_step_count=80, suppress_health_check=list(HealthCheck)),
    )
