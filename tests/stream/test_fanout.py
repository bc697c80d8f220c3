"""Fan-out: what is sent when, case by case. That it is always right is the law's part (test_fanout_law.py)."""

import pytest

from tests.stream.toy_fronts import INTERVAL, VENUE, Client, Front, Told, Worker
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS
from wick.stream import fanout
from wick.stream.cohorts import Slices
from wick.stream.fanout import encoded
from wick.stream.mirror import RECENT
from wick.wire.codec import unpack
from wick.wire.messages import Closes
from wick.wire.session import CloseCode, Kind, Topic, parse_topics

BTC, PEPE = f"ticker:{VENUE}:BTC-USDT", f"ticker:{VENUE}:PEPE-USDT"  # both in shard 0
CANDLES = f"candles:{VENUE}:BTC-USDT:1m"
TRADE = [("BTC-USDT", 0, 3, 1)]


class Scene:
    """A worker, a front that hears all of it at once, and clients that note the frames they get."""

    def __init__(self, clients: int = 1, slices: Slices | None = None) -> None:
        self.worker = Worker(0)
        self.front = Front([self.worker, Worker(1)], slices or Slices(1))
        self.fanout = self.front.fanout
        self.frames: list[tuple[Client, bytes]] = []
        send = self.front.send
        self.front.send = lambda client, data: (self.frames.append((client, data)), send(client, data))[1]
        self.clients = [Client(json=False, deflate=False) for _ in range(clients)]
        for client in self.clients:
            client.connect(self.front)
        self.front.hear(0)

    def subscribe(self, *texts: str) -> None:
        for client in self.clients:
            for text in texts:
                client.subscribe(text)
        self.flush()

    def change(self, *changes: tuple[str, int, int, int]) -> None:
        self.worker.change(list(changes))
        self.front.hear(0)

    def flush(self, beat: list | None = None) -> list[bytes]:
        """The distinct frames that are sent."""
        self.frames.clear()
        for band in self.fanout.slices:
            self.fanout.flush(band, beat)
        self.fanout.trim()
        return list({id(data): data for _, data in self.frames}.values())

    def told(self) -> list[list]:
        """The messages of the only frame of a flush."""
        [frame] = self.flush()
        message = unpack(frame[4 if frame[1] == 126 else 2 :])
        return message[1:] if message[0] == Kind.BATCH else [message]


def test_clients_with_the_same_topics_get_one_frame_that_is_made_once():
    scene = Scene(clients=3)
    scene.subscribe(BTC, PEPE)
    scene.change(*TRADE, ("PEPE-USDT", 0, 3, 1))
    assert len(scene.flush()) == 1
    assert {client for client, _ in scene.frames} == set(scene.clients)


@pytest.mark.parametrize("held", [0, fanout.HELD_BYTES])
def test_each_client_gets_the_frame_that_was_made_for_it_however_many_are_sent_at_once(monkeypatch, held):
    monkeypatch.setattr(fanout, "HELD_BYTES", held)
    scene = Scene(clients=4)
    texts = [(BTC,), (PEPE,), (BTC, PEPE), (BTC, CANDLES)]
    for client, its in zip(scene.clients, texts, strict=True):
        for text in its:
            client.subscribe(text)
    scene.flush()
    scene.change(*TRADE)
    before = scene.fanout.counters.deliveries, scene.fanout.counters.frames
    assert len(scene.flush()) == 3
    assert {client for client, _ in scene.frames} == {scene.clients[0], *scene.clients[2:]}
    assert (scene.fanout.counters.deliveries - before[0], scene.fanout.counters.frames - before[1]) == (3, 3)
    assert {len(data) for client, data in scene.frames if client is not scene.clients[3]} == {len(scene.frames[0][1])}


def test_clients_with_other_topics_hear_only_of_theirs():
    scene = Scene(clients=2)
    scene.clients[0].subscribe(BTC)
    scene.clients[1].subscribe(PEPE)
    scene.flush()
    scene.change(*TRADE)
    scene.flush()
    assert [client for client, _ in scene.frames] == scene.clients[:1]


def test_nothing_is_sent_where_nothing_is_new():
    scene = Scene()
    scene.subscribe(BTC)
    assert scene.flush() == []
    scene.change(("PEPE-USDT", 0, 3, 1))
    assert scene.flush() == []


def test_a_heartbeat_rides_along_with_news_and_goes_alone_without():
    scene = Scene()
    scene.subscribe(BTC)
    beat = [Kind.HEARTBEAT, 7, None]
    [alone] = scene.flush(beat)
    assert alone[2:] == encoded(beat, False)
    scene.change(*TRADE)
    [both] = scene.flush(beat)
    assert [one[0] for one in unpack(both[2:])[1:]] == [Kind.DIFF, Kind.HEARTBEAT]


def test_many_changes_within_a_window_are_one_diff():
    scene = Scene()
    scene.subscribe(BTC)
    before = scene.worker.seq
    for _ in range(20):
        scene.change(*TRADE)
    [[kind, _, seq, back, changes]] = scene.told()
    assert (kind, seq - back, changes) == (Kind.DIFF, before, [0, 1 << 3, 20])


def test_changes_are_not_merged_across_the_end_of_a_candle():
    scene = Scene()
    scene.change(("BTC-USDT", 1, 0, 1))
    scene.subscribe(CANDLES)
    for _ in range(9):
        scene.change(*TRADE)
    scene.change(("BTC-USDT", 1, 0, 1))
    for _ in range(9):
        scene.change(*TRADE)
    assert [one[0] for one in scene.told()] == [Kind.DIFF, Kind.DIFF]


def test_who_takes_no_data_is_sent_nothing_more_and_then_one_state():
    scene = Scene()
    scene.subscribe(BTC)
    [client] = scene.clients
    client.room = 3
    scene.change(*TRADE)
    scene.flush()
    for _ in range(20):
        scene.change(*TRADE)
        assert scene.flush() == []
    assert scene.fanout.counters.lagged == 1
    client.wake(None)
    scene.change(*TRADE)
    assert [one[0] for one in scene.told()] == [Kind.SNAPSHOT]
    scene.change(*TRADE)
    assert [one[0] for one in scene.told()] == [Kind.DIFF]


def test_who_subscribes_while_its_market_moves_is_told_one_state_and_is_in_step_at_its_first_flush():
    scene = Scene(clients=2)
    late = scene.clients[1]
    late.room = 3  # its answer does not fit, and the rest goes before the flush
    for client in scene.clients:
        scene.change(*TRADE)
        client.subscribe(BTC)
        scene.change(*TRADE)
    late.wake(None)
    scene.frames.clear()
    scene.flush()
    for client in scene.clients:
        messages = [unpack(frame[2:]) for one, frame in scene.frames if one is client]
        assert messages and all(part[0] == Kind.DIFF for [kind, *parts] in messages for part in (
            parts if kind == Kind.BATCH else [[kind]]
        ))  # fmt: skip
        assert client.cohort is not None


def test_who_took_a_frame_late_is_told_what_came_since_and_not_a_state():
    scene = Scene()
    scene.subscribe(BTC)
    [client] = scene.clients
    client.room = 3
    for _ in range(2):
        scene.change(*TRADE)
        scene.flush()
    client.wake(None)
    scene.change(*TRADE)
    assert [one[0] for one in scene.told()] == [Kind.DIFF, Kind.DIFF]
    assert client.cohort is not None


def test_states_are_told_a_piece_at_a_time(monkeypatch):
    monkeypatch.setattr(fanout, "TELL_BYTES", 1)
    scene = Scene()
    scene.change(*TRADE, ("PEPE-USDT", 0, 3, 1))
    [client] = scene.clients
    client.subscribe("ticker:*")
    assert sum(told.knows for told in client.told.values()) == 1
    scene.flush()
    assert sum(told.knows for told in client.told.values()) == 2


def test_a_client_that_cannot_be_told_all_that_it_missed_is_closed():
    scene = Scene()
    scene.change(("BTC-USDT", 1, 0, 1))
    scene.change(("BTC-USDT", 1, 0, 1))
    scene.subscribe(f"closes:{VENUE}:BTC-USDT:1m")
    [client] = scene.clients
    client.room = 0
    for value in range(10):
        scene.change(("BTC-USDT", 1, 0, 1))
        scene.worker.close("BTC-USDT", 1, value)
        scene.front.hear(0)
        scene.flush()
    client.wake(None)
    scene.flush()
    assert scene.front.cut == [(client, CloseCode.SLOW)]
    assert scene.fanout.counters.lost == 1


@pytest.mark.parametrize("text", [f"closes:{VENUE}:BTC-USDT:1m", "closes:*:1m"])
def test_who_has_just_subscribed_to_closes_is_not_held_to_what_closed_before_the_front_knew(text):
    scene = Scene()
    early, late = scene.clients[0], Client(json=False, deflate=False)
    early.subscribe(text)
    for _ in range(100):
        scene.worker.change([("BTC-USDT", 1, 0, 1)])
        scene.worker.close("BTC-USDT", 1, 5)
    closed = [[VENUE, symbol, NAMES[INTERVAL], *row] for symbol, row in scene.worker.closed]
    scene.fanout.restart(scene.worker.snapshot()._replace(recent=closed))  # more than a mirror keeps
    late.connect(scene.front)
    late.subscribe(text)
    scene.flush()
    assert not scene.front.cut and early.cohort is not None and late.cohort is not None


def test_closes_are_owed_from_the_request_on_also_where_nothing_is_proven_of_the_time_before():
    scene = Scene()
    [client] = scene.clients
    closes = parse_topics(f"closes:{VENUE}:BTC-USDT:1m").single
    client.told[closes] = Told(epoch=99, seq=1)
    client.room = 0
    client.resume([closes])
    for _ in range(10):
        scene.worker.change([("BTC-USDT", 1, 0, 1)])
        scene.worker.close("BTC-USDT", 1, 7)
    scene.front.hear(0)
    client.wake(None)
    scene.flush()
    assert scene.front.cut == [(client, CloseCode.SLOW)]


def test_a_position_proves_nothing_where_more_has_closed_than_is_kept_and_in_another_epoch():
    scene = Scene()
    scene.change(("BTC-USDT", 1, 0, 1))
    topic = parse_topics(CANDLES).single
    [client] = scene.clients
    epoch, seq = scene.worker.epoch, scene.worker.seq

    def resumed(epoch: int) -> bool:
        return scene.fanout.subscribe(client, topic, (epoch, seq))[1]

    assert resumed(epoch)
    for _ in range(RECENT[topic.interval]):
        scene.change(("BTC-USDT", 1, 0, 1))
        assert resumed(epoch)
    scene.change(("BTC-USDT", 1, 0, 1))
    assert not resumed(epoch)
    scene.worker.restart(forgets=False)
    scene.front.hear(0)
    seq = scene.worker.seq
    assert not resumed(epoch)
    assert resumed(scene.worker.epoch)


def test_pairs_that_appear_are_announced_to_who_follows_a_glob_up_to_what_it_may_hold():
    scene = Scene()
    scene.fanout._max_topics = 1
    scene.subscribe("ticker:*")
    scene.change(*TRADE)
    ack, snapshot = scene.told()
    assert ack[:2] == [Kind.ACK, None]
    assert [text for text, _, _ in ack[2]] == [BTC]
    assert snapshot[0] == Kind.SNAPSHOT
    scene.change(("PEPE-USDT", 0, 3, 1))
    assert scene.flush() == []
    assert scene.fanout.counters.refused_topics == 1


def test_of_live_metrics_the_newest_row_counts_and_who_comes_gets_it_at_once():
    scene = Scene(clients=2)
    text = f"metrics:{VENUE}:BTC-USDT:{NAMES[INTERVAL]}"
    first, second = scene.clients
    scene.change(*TRADE)
    first.subscribe(text)
    scene.flush()
    assert scene.fanout.watched() == {0: [[VENUE, "BTC-USDT", INTERVAL]]}
    for value in (1, 2):
        row = [value, 5, 0, 0, *[1] * 21, *[None] * (len(CANDLE_FIELDS) - 25)]
        scene.fanout.live(Closes.of_rows(1, 0, 0, [[VENUE, "BTC-USDT", NAMES[INTERVAL], *row]]))
    assert [(kind, row[0]) for kind, _, row in scene.told()] == [(Kind.LIVE, 2)]
    second.subscribe(text)
    assert second.told == first.told
    first.disconnect()
    second.disconnect()
    assert scene.fanout.topics == {}
    assert scene.fanout.watched() == {}


def test_when_nobody_flushes_clients_get_states_and_what_is_kept_stays_bounded(monkeypatch):
    monkeypatch.setattr(fanout, "MAX_KEPT", 10)
    scene = Scene()
    scene.subscribe(BTC)
    for _ in range(25):
        scene.change(*TRADE)
        assert len(scene.fanout._log) <= 10
    assert scene.fanout.counters.overflows == 2
    assert [one[0] for one in scene.told()] == [Kind.SNAPSHOT]


@pytest.mark.parametrize("kind", ["ticker", "trades"])
def test_other_kinds_of_channels_can_be_added(kind):
    made = []

    def make(handle, topic):
        made.append(topic)
        return fanout.Channel(handle, topic)

    scene = Scene()
    scene.fanout._makers[kind] = make
    scene.fanout.subscribe(scene.clients[0], Topic(kind, VENUE, "BTC-USDT", -1))
    assert [topic.kind for topic in made] == [kind]
