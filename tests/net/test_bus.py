"""The bus knows who listens, so that nobody works for a stream that nobody hears."""

import time
from contextlib import closing

import zmq

from tests.cli.live import data_dir
from wick.net import bus

__all__ = ["data_dir"]


def until(listeners: bus.Listeners, stream: bytes, wanted: bool) -> None:
    deadline = time.monotonic() + 30
    while listeners.to(stream) is not wanted:
        assert time.monotonic() < deadline, "not in time"
        listeners.update()
        time.sleep(0.005)


def test_a_publisher_knows_which_streams_are_heard_and_when_the_last_has_gone(data_dir):
    with closing(bus.publisher(data_dir, "feed-0", zmq.XPUB)) as socket:
        listeners = bus.Listeners(socket)
        assert not listeners.update() and not listeners.to(b"ticks.")
        first = bus.subscriber(data_dir, ["feed-0"], [b"ticks.binance.03", b"stats."])
        until(listeners, b"ticks.", True)
        until(listeners, b"stats.", True)
        assert not listeners.to(b"depth.")
        second = bus.subscriber(data_dir, ["feed-0"], [b""])
        until(listeners, b"depth.", True)
        first.close(linger=0)
        second.close(linger=0)
        for stream in (b"ticks.", b"depth.", b"stats."):
            until(listeners, stream, False)


def test_what_is_published_reaches_whoever_subscribed(data_dir):
    with closing(bus.publisher(data_dir, "feed-0", zmq.XPUB)) as socket:
        listeners = bus.Listeners(socket)
        with closing(bus.subscriber(data_dir, ["feed-0"], [b"stats."])) as reader:
            until(listeners, b"stats.", True)
            socket.send_multipart([b"ticks.binance.01", b"not asked for"])
            socket.send_multipart([b"stats.feed-0", b"body"])
            assert reader.poll(10_000)
            assert reader.recv_multipart() == [b"stats.feed-0", b"body"]
