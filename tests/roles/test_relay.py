"""The front's ear, over real sockets: it hears the feed's mirror while somebody is subscribed to it, and only then."""

import time
from contextlib import closing, suppress

import gevent
import pytest
import zmq
from websockets.sync.client import connect

from tests.cli.live import data_dir
from tests.net.front_process import running, wait_for
from tests.stream.test_relays import BOOK, SHARD, SYMBOL, TRADES, VENUE, World, numbers, stats, ticks, trade
from wick.net import bus
from wick.roles.relay import Relay
from wick.wire.codec import pack, unpack
from wick.wire.messages import book_frames
from wick.wire.session import Kind, Topic

__all__ = ["data_dir"]


def until(happened):
    with gevent.Timeout(30, AssertionError("it did not happen in time")):
        while not happened():
            gevent.sleep(0.002)


class Feed:
    """What a feed publishes, and who listens."""

    def __init__(self, data_dir, process="feed-0"):
        self.socket = bus.publisher(data_dir, process, zmq.XPUB)
        self.listeners = bus.Listeners(self.socket)

    def is_heard(self, stream):
        self.listeners.update()
        return self.listeners.to(stream)

    def say(self, frames):
        self.socket.send_multipart(frames)

    def close(self):
        self.socket.close(linger=0)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def bad():
    return []


@pytest.fixture
def relay(data_dir, world, bad, monkeypatch):
    monkeypatch.setattr("wick.roles.relay.LOOK_S", 0.005)
    relay = Relay(world.relays, world.fanout.put, str(data_dir), bad.append, clock=lambda: relay.now_ns)
    relay.now_ns = time.time_ns()
    greenlets = [gevent.spawn(relay.run), gevent.spawn(relay.listen)]
    yield relay
    gevent.killall(greenlets)
    relay.close()


def test_the_feed_is_listened_to_while_somebody_is_subscribed(data_dir, world, relay):
    with closing(Feed(data_dir)) as feed:
        until(lambda: feed.is_heard(b"stats."))
        assert not feed.is_heard(b"ticks.") and not feed.is_heard(b"book.")
        trades, book = world.client(TRADES), world.client(BOOK)
        until(lambda: feed.is_heard(b"ticks.binance.%02d" % SHARD) and feed.is_heard(b"book.binance.%02d" % SHARD))
        assert not feed.is_heard(b"ticks.binance.%02d" % ((SHARD + 1) % 32))
        feed.say(ticks(1, trade(1), trade(2)))
        feed.say(book_frames(VENUE, SHARD, SYMBOL, 12_345, 5, [["1.5", "2"]], []))
        until(lambda: world.flush() or (len(trades.said) > 1 and book.said))
        assert numbers(trades) == [1, 2]
        assert book.said[-1][2:] == [5, 12, [["1.5", "2"]], []]
        for client in (trades, book):
            world.fanout.leave(client)
        until(lambda: not feed.is_heard(b"book."))
        relay.now_ns += 60 * 10**9
        until(lambda: not feed.is_heard(b"ticks."))


def test_processes_are_joined_as_they_appear(data_dir, world, relay):
    client = world.client(Topic("stats", "", "", -1))
    for process in ("feed-0", "front-3"):
        with closing(Feed(data_dir, process)) as other:
            until(lambda other=other: other.is_heard(b"stats."))
            other.say(stats(process, relay.now_ns))
            until(lambda process=process: process in world.relays.processes)
    world.flush()
    assert [said[:1] + said[2:3] for said in client.said] == [[Kind.STATS, "feed-0"], [Kind.STATS, "front-3"]]


def test_a_feed_that_starts_anew_is_heard_again_in_a_new_epoch(data_dir, world, relay):
    client = world.client(TRADES)
    for epoch in (7, 8):
        with closing(Feed(data_dir)) as feed:
            until(lambda feed=feed: feed.is_heard(b"ticks."))
            feed.say(ticks(5, trade(epoch), epoch=epoch))
            until(lambda epoch=epoch: world.flush() or epoch in numbers(client))
    assert len({said[2] for said in client.said}) == 2


def test_what_makes_no_sense_is_counted_and_left_out(data_dir, world, relay, bad):
    client = world.client(TRADES)
    with closing(Feed(data_dir)) as feed:
        until(lambda: feed.is_heard(b"ticks."))
        feed.say([*ticks(1, trade(1))[:2], b"short"])
        feed.say(ticks(1, trade(1)))
        until(lambda: world.flush() or 1 in numbers(client))
    assert bad == ["bad_messages"]


class Caller:
    """A client of a real front; `said` is all that it was told, by kind."""

    def __init__(self, front, topics):
        connecting = connect(front.url, subprotocols=["wick.v1.msgpack"], compression=None, proxy=None)
        self._socket = connecting.__enter__()
        self.said = {kind: [] for kind in Kind}
        self._take(self._socket.recv(30))
        self._socket.send(pack([Kind.SUBSCRIBE, 1, topics]))
        while not self.said[Kind.ACK]:
            self._take(self._socket.recv(30))
        self.resumed = [resumed for _, _, resumed in self.said[Kind.ACK][0][2]]

    def _take(self, data):
        message = unpack(data)
        for one in message[1:] if message[0] == Kind.BATCH else [message]:
            self.said[Kind(one[0])].append(one)

    def hear(self, happened):
        deadline = time.monotonic() + 60
        while not happened(self.said):
            assert time.monotonic() < deadline, self.said
            with suppress(TimeoutError):
                self._take(self._socket.recv(0.1))

    def close(self):
        self._socket.close()


@pytest.mark.slow
def test_clients_of_a_front_get_trades_books_and_stats_and_go_on_when_they_come_back():
    with running() as (front, _), closing(Feed(front.data_dir)) as feed:
        with closing(Caller(front, [TRADES.text, BOOK.text, "stats"])) as caller:
            wait_for(lambda: feed.is_heard(ticks(1)[0]) and feed.is_heard(b"book.binance."), "a listener")
            feed.say(ticks(1, trade(1), trade(2)))
            feed.say(book_frames(VENUE, SHARD, SYMBOL, 12_345, 5, [["1.5", "2"]], []))
            caller.hear(lambda said: len(said[Kind.TRADES]) > 1 and said[Kind.BOOK] and said[Kind.STATS])
            assert caller.said[Kind.BOOK][0][2:] == [5, 12, [["1.5", "2"]], []]
            assert caller.said[Kind.STATS][0][2] == "front-0"
            told = caller.said[Kind.TRADES]
        feed.say(ticks(2, trade(3)))
        with closing(Caller(front, [[TRADES.text, *told[-1][2:4]]])) as caller:
            assert caller.resumed == [True]
            feed.say(ticks(3, trade(4)))
            caller.hear(lambda said: said[Kind.TRADES] and said[Kind.TRADES][-1][3] == 4)
            told += caller.said[Kind.TRADES]
        assert [row[0] for message in told for row in message[7]] == [1, 2, 3, 4]
