"""Both shells against a real WebSocket server that cuts, stops, refuses and falls silent."""

import asyncio
import socket
import ssl
import threading

import pytest

from tests.client.front_server import OPEN, Line, playing
from tests.client.speaking import BTC, CANDLES, EPOCH, head, hello, row
from wick import client
from wick.client import reconnect
from wick.client.events import (
    Bye,
    Changed,
    Closed,
    Connected,
    Disconnected,
    Error,
    Gap,
    Snapshot,
    Stale,
    Subscribed,
    Unsubscribed,
)
from wick.wire.session import Kind


@pytest.fixture(autouse=True)
def comes_back_soon(monkeypatch):
    monkeypatch.setattr(reconnect, "FIRST_MS", 4)


class Blocking:
    """The shells, made alike for these tests: events until one of a type has come, and what is held then."""

    @staticmethod
    def follow(url, topics, until, **options):
        said = []
        with client.connect(url, topics, **options) as session:
            for event in session:
                said.append(event)
                if isinstance(event, until):
                    return said, dict(session.topics)
        return said, {}


class Asyncio:
    @staticmethod
    def follow(url, topics, until, **options):
        async def run():
            said = []
            async with client.connect_async(url, topics, **options) as session:
                async for event in session:
                    said.append(event)
                    if isinstance(event, until):
                        return said, dict(session.topics)
            return said, {}

        return asyncio.run(run())


both = pytest.mark.parametrize("shell", [Blocking, Asyncio], ids=["blocking", "asyncio"])
forms = pytest.mark.parametrize("form", ["msgpack", "json"])


def kinds(said):
    return [type(event) for event in said]


@both
@forms
def test_events_come_in_order_in_either_form(shell, form):
    def script(line: Line) -> None:
        line.shows_candles()
        line.says([Kind.BATCH, [Kind.DIFF, 1, 11, 1, [0, 1, 2**70]], [Kind.CLOSE, 1, 11, row(OPEN)]])
        line.stays()

    with playing(script) as front:
        said, held = shell.follow(front.url, [CANDLES], Closed, form=form)
    assert kinds(said) == [Connected, Subscribed, Snapshot, Changed, Closed]
    assert held[CANDLES].groups[0][0] == head()[0] + 2**70
    assert said[-1].candle.patterns == {"CDL2CROWS": 100, "CDL3INSIDE": -100}
    assert front.requests[0].path == "/ws"


@both
def test_permessage_deflate_is_offered_and_can_be_left(shell):
    with playing(Line.shows_candles, compression="deflate") as front:
        shell.follow(front.url, [CANDLES], Snapshot)
    with playing(Line.shows_candles, compression="deflate") as plain:
        shell.follow(plain.url, [CANDLES], Snapshot, compression=None)
    offers = [one.requests[0].headers.get("Sec-WebSocket-Extensions") for one in (front, plain)]
    assert "permessage-deflate" in offers[0] and offers[1] is None


@both
def test_after_a_cut_it_goes_on_from_where_it_was(shell):
    asked = []

    def first(line: Line) -> None:
        line.shows_candles()
        line.says([Kind.DIFF, 1, 11, 1, [0, 1, 50]])
        line.cut()

    def second(line: Line) -> None:
        asked.append(line.greets())
        line.says([Kind.ACK, 2, [[CANDLES, 5, True]]], [Kind.CLOSE, 5, 12, row(OPEN)])
        line.stays()

    with playing(first, second) as front:
        said, held = shell.follow(front.url, [CANDLES], Closed)
    assert kinds(said) == [Connected, Subscribed, Snapshot, Changed, Disconnected, Connected, Subscribed, Closed]
    assert asked == [[16, 2, [[CANDLES, EPOCH, 11]]]]
    assert held[CANDLES].groups[0][0] == head()[0] + 50


@both
def test_a_front_that_stops_is_called_again(shell):
    def stops(line: Line) -> None:
        line.shows_candles()
        line.says([Kind.BYE, 1001, "the front stops", 5])
        line.socket.close(1001, "the front stops")

    with playing(stops, Line.shows_candles) as front:
        said, _ = shell.follow(front.url, [CANDLES], Gap)
    assert kinds(said)[2:] == [Snapshot, Bye, Disconnected, Connected, Subscribed, Gap]
    assert said[4] == Disconnected(1001, "the front stops", said[4].retry_ms) and said[4].retry_ms <= 5


@both
def test_a_front_that_does_not_want_it_ends_the_session(shell):
    def refuses(line: Line) -> None:
        line.socket.close(3500, "too many bad requests")

    with playing(refuses) as front, pytest.raises(client.ClientError, match="too many bad requests") as ended:
        shell.follow(front.url, [BTC], ())
    assert ended.value.code == 3500 and len(front.requests) == 1


@both
def test_a_wrong_token_ends_the_session_and_a_right_one_is_presented(shell):
    refused = playing(refusals=((401, "a token is required"),))
    with refused as front, pytest.raises(client.ClientError, match="a token is required") as ended:
        shell.follow(front.url, [BTC], (), token="wrong")
    assert ended.value.code == 401
    assert front.requests[0].headers["Authorization"] == "Bearer wrong"
    assert "wrong" not in front.requests[0].path


@both
def test_a_front_that_is_full_is_tried_again(shell):
    with playing(Line.shows_candles, refusals=((503, "full"), (429, "too many"))) as front:
        said, _ = shell.follow(front.url, [CANDLES], Snapshot)
    assert [event.code for event in said if isinstance(event, Disconnected)] == [503, 429]


@both
def test_no_front_at_all_is_told_and_tried_again(shell):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{nobody.getsockname()[1]}"
        said, _ = shell.follow(url, [BTC], Disconnected)
    assert said[0].code is None and said[0].retry_ms is not None and said[0].reason


@both
def test_a_front_that_hangs_up_before_it_is_asked_for_anything_is_tried_again(shell):
    here, there = socket.socketpair()
    there.close()
    with here:
        said, _ = shell.follow("ws://localhost", [BTC], Disconnected, sock=here)
    assert said[0].code is None and said[0].retry_ms is not None and said[0].reason


@both
def test_a_front_that_falls_silent_is_left_and_called_again(shell):
    def silent(line: Line) -> None:
        line.greets(heartbeat_s=0.02)
        line.stays()

    with playing(silent, Line.shows_candles) as front:
        said, _ = shell.follow(front.url, [CANDLES], Snapshot)
    assert kinds(said) == [Connected, Stale, Disconnected, Connected, Subscribed, Snapshot]


@both
def test_what_cannot_be_read_is_told_and_the_connection_made_anew(shell):
    def babbles(line: Line) -> None:
        line.shows_candles()
        line.says([Kind.ACK, None, [["é" * 300, 7, False]]])
        line.stays()

    with playing(babbles, Line.shows_candles) as front:
        said, _ = shell.follow(front.url, [CANDLES], Gap)
    assert kinds(said)[3:] == [Error, Disconnected, Connected, Subscribed, Gap]


def test_a_blocking_session_waits_no_longer_than_it_is_told():
    with playing(Line.shows_candles) as front, client.connect(front.url, [CANDLES]) as session:
        said = [session.receive(5.0) for _ in range(3)]
        assert kinds(said) == [Connected, Subscribed, Snapshot]
    with playing(lambda line: line.stays()) as front, client.connect(front.url) as session:
        assert session.receive(0.01) is None
        assert session.receive(0) is None
        assert session.age_ms is None


def test_an_iteration_that_was_left_goes_on_with_the_next_event():
    with playing(Line.shows_candles) as front, client.connect(front.url, [CANDLES]) as session:
        for event in session:
            assert isinstance(event, Connected)
            break
        assert isinstance(next(session), Subscribed)


def test_a_blocking_session_can_be_closed_by_another_thread():
    def script(line: Line) -> None:
        line.shows_candles()
        line.stays()

    with playing(script) as front, client.connect(front.url, [CANDLES]) as session:
        for event in session:
            if isinstance(event, Snapshot):
                threading.Thread(target=session.close).start()
        assert session.closed and session.receive(1) is None


def test_a_session_that_waits_to_come_back_can_be_closed(monkeypatch):
    monkeypatch.setattr(reconnect, "FIRST_MS", 60_000)
    with playing(refusals=((503, "full"),)) as front, client.connect(front.url, [BTC]) as session:
        for event in session:
            assert isinstance(event, Disconnected)
            threading.Thread(target=session.close).start()
        assert session.closed


def subscribes_later(line: Line) -> None:
    line.says(hello())
    _, number, (topic,) = line.hears()
    line.says([Kind.ACK, number, [[topic, 1, False]]])
    _, number, _ = line.hears()
    line.says([Kind.ACK, number, [[topic, 1, False]]])
    line.stays()


def test_topics_come_and_go_in_a_blocking_session():
    with playing(subscribes_later) as front, client.connect(front.url) as session:
        assert isinstance(next(session), Connected)
        session.subscribe(BTC)
        assert next(session) == Subscribed(BTC, resumed=False)
        assert list(session.topics) == [BTC]
        session.unsubscribe(BTC)
        assert next(session) == Unsubscribed(BTC)
        assert session.topics == {}
        assert session.counts["connections"] == 1


def test_topics_come_and_go_in_an_asyncio_session_and_a_cancelled_wait_loses_nothing():
    async def run(url):
        async with client.connect_async(url) as session:
            assert isinstance(await anext(session), Connected)
            assert await session.receive(0.01) is None
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(session), 0.01)
            await session.subscribe(BTC)
            assert await anext(session) == Subscribed(BTC, resumed=False)
            await session.unsubscribe(BTC)
            assert await session.receive(5) == Unsubscribed(BTC)
            assert session.counts["connections"] == 1 and session.age_ms is None
        assert session.closed and await session.receive(1) is None

    with playing(subscribes_later) as front:
        asyncio.run(run(front.url))


def test_an_asyncio_session_can_be_closed_by_another_task():
    async def run(url):
        async with client.connect_async(url, [CANDLES]) as session:
            async for event in session:
                if isinstance(event, Snapshot):
                    closing = asyncio.create_task(session.close())
            await closing

    def script(line: Line) -> None:
        line.shows_candles()
        line.stays()

    with playing(script) as front:
        asyncio.run(run(front.url))


def test_a_state_is_as_of_the_event_that_was_given_last():
    def script(line: Line) -> None:
        line.shows_candles()
        line.says([Kind.BATCH, *[[Kind.DIFF, 1, 11 + n, 1, [0, 1, 1]] for n in range(5)]])
        line.stays()

    with playing(script) as front, client.connect(front.url, [CANDLES]) as session:
        changes = (event for event in session if isinstance(event, Changed))
        for n in range(5):
            assert next(changes).ticker == session.topics[CANDLES].ticker
            assert session.topics[CANDLES].seq == 11 + n


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://host", "ws://", "ws:///ws", ""])
def test_a_url_that_is_none_is_an_error_at_once(url):
    with pytest.raises(client.ClientError, match="valid is ws://"):
        client.connect(url)


def test_a_form_that_there_is_not_is_an_error_at_once():
    with pytest.raises(client.ClientError, match="msgpack or json"):
        client.connect(form="xml")


def test_the_threads_of_a_blocking_session_speak_tls_1_2_where_nothing_else_is_asked_for():
    own = ssl.create_default_context()
    assert client.connect("wss://front")._dial.options["ssl"].maximum_version is ssl.TLSVersion.TLSv1_2
    assert client.connect("wss://front", ssl=own)._dial.options["ssl"] is own
    assert "ssl" not in client.connect("ws://front")._dial.options
