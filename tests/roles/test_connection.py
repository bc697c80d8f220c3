"""Connections to an exchange over real sockets: spread, subscribed, watched, opened again, handed over."""

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import gevent
import pytest

from tests.roles.toy_venue import Exchange, Toy, exchange
from wick.market.trades import Event, Topic
from wick.roles import connection as module
from wick.roles.connection import Connection, Connections, Hooks, Patience

QUICK = {"silence_s": 30.0, "backoff_s": 0.05, "ack_s": 5.0, "refused_s": 60.0, "overlap_s": 0.02}


def topics(names: str, *channels: str) -> list[Topic]:
    return [Topic(name, channel) for name in names for channel in channels or ("trade",)]


def wait_for(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Let the connections work until `condition` holds."""
    with gevent.Timeout(timeout_s, AssertionError("it did not happen in time")):
        while not condition():
            gevent.sleep(0.002)


def aside(body: Callable[[], Any]) -> None:
    """Run what waits for the connections."""
    thread = threading.Thread(target=body)
    thread.start()
    wait_for(lambda: not thread.is_alive())


class Listener:
    """Connections to a toy exchange, and all that they told."""

    def __init__(self, there: Exchange, url: str, venue: Toy, **patience: float) -> None:
        self.there = there
        self.heard: list[tuple[str, int, int]] = []  # symbol, number, connection
        self.lines: dict[int, int] = {}
        self.counters: Counter[str] = Counter()
        self.attempts: list[float] = []
        self.opened: list[int] = []
        self.closed: dict[int, list[str]] = {}
        self.greenlets: list[gevent.Greenlet] = []
        self.failures: list[BaseException] = []
        self.room: Callable[[], None] = lambda: None
        self.take: Callable[[list[tuple[str, int]]], None] = lambda data: None
        self.venue = venue
        hooks = Hooks(self._take, self.opened.append, self._closed, self._room, self._count, self._spawn)
        self.connections = Connections(venue, url, hooks, Patience(**{**QUICK, **patience}))

    def _take(self, connection: Connection, messages: list[bytes], recv_ns: int) -> tuple[bool, list[Event]]:
        assert messages
        assert recv_ns > 10**18
        data, events = self.venue.take(messages)
        self.lines[connection.number] = connection.line
        self.heard += [(symbol, number, connection.number) for symbol, number in data]
        self.take(data)
        return bool(data), events

    def _room(self) -> None:
        self.room()

    def _closed(self, number: int, lost: tuple[Topic, ...]) -> None:
        assert number not in self.closed
        self.closed[number] = sorted(topic.symbol for topic in lost)

    def _count(self, name: str, amount: int = 1) -> None:
        self.counters[name] += amount
        if name == "attempts":
            self.attempts.append(time.monotonic())

    def _spawn(self, body: Callable[..., Any], *arguments: Any) -> Any:
        greenlet = gevent.spawn(body, *arguments)
        self.greenlets.append(greenlet)
        greenlet.link_exception(lambda failed: self.failures.append(failed.exception))
        return greenlet

    def listen(self, names: str, *channels: str) -> None:
        self.connections.add(topics(names, *channels))
        wait_for(lambda: all(map(self.connections.carries, topics(names, *channels))))

    def hear(self, *symbols: str) -> None:
        """Have each symbol's next number published, and wait for it."""
        for symbol in symbols:
            self.there.publish(symbol)
        wait_for(lambda: all(self.last(symbol) == self.there.published[symbol] for symbol in symbols))

    def last(self, symbol: str) -> int:
        return max((number for name, number, _ in self.heard if name == symbol), default=0)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Listener]]:
    """Makes listeners to one exchange; they are closed after the test, and no greenlet of theirs may have failed."""
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 0.01)
    made: list[Listener] = []

    def make(venue: Toy | None = None, **patience: float) -> Listener:
        made.append(Listener(there, url, venue or Toy(), **patience))
        return made[-1]

    with exchange() as (there, url):
        yield make
        for one in made:
            one.connections.close()
            assert sorted(one.opened) == sorted(one.closed)
            assert one.failures == []
            wait_for(lambda one=one: all(greenlet.dead for greenlet in one.greenlets))


# ---- topics over connections


def test_topics_are_spread_evenly_and_a_symbols_channels_share_a_connection(listener) -> None:
    one = listener(Toy(streams=4))
    one.listen("ABCDE", "trade", "depth")
    assert sorted("".join(sorted(symbols)) for symbols in one.there.streams.values()) == ["AD", "BE", "C"]
    one.hear(*"ABCDE")
    assert {one.lines[number] for _, _, number in one.heard} == {0, 1, 2}
    gauges = one.connections.gauges()
    assert gauges == {"open": 3, "wanted": 3, "topics": 10, "refused": 0, "oldest_s": 0}
    assert one.connections.settled
    assert one.counters == {"attempts": 3, "connections": 3}


def test_topics_come_and_go_and_a_connection_that_carries_nothing_is_closed(listener) -> None:
    one = listener(Toy(streams=2))
    one.listen("AB")
    one.listen("CDA")
    assert len(one.there.streams) == 2
    one.connections.drop(topics("ABX"))
    wait_for(lambda: len(one.there.streams) == 1 and len(one.closed) == 1)
    assert one.there.closes == [(1000, "")]
    assert list(one.closed.values()) == [[]]
    one.connections.drop(topics("C"))
    wait_for(lambda: one.there.asked("unsubscribe") == [["C"]])
    one.hear("D")
    one.listen("E")
    assert [sorted(symbols) for symbols in one.there.streams.values()] == [["D", "E"]]
    one.listen("F")
    one.hear("D", "E")
    one.hear("F")
    assert one.lines[one.heard[-1][2]] == 0  # the place of the connection that is gone
    assert one.counters["disconnects"] == 0
    assert one.connections.topics == tuple(topics("DEF"))


def test_what_is_added_and_dropped_before_there_is_a_connection_counts_too(listener) -> None:
    one = listener()
    one.connections.add(topics("AB"))
    gevent.sleep(0)  # the line begins; its connection is being made
    gevent.sleep(0)
    one.connections.add(topics("C"))
    one.connections.drop(topics("A"))
    one.connections.again(topics("B"))
    wait_for(lambda: one.connections.settled)
    assert list(one.there.streams.values()) == [{"B", "C"}]
    one.connections.drop(topics("BC"))
    wait_for(lambda: not one.there.streams)


def test_again_unsubscribes_and_subscribes_what_is_carried(listener) -> None:
    one = listener()
    one.listen("AB")
    one.connections.again(topics("BX"))
    wait_for(lambda: one.there.asked("subscribe") == [["A", "B"], ["B"]])
    assert one.there.asked("unsubscribe") == [["B"]]
    wait_for(lambda: one.connections.carries(*topics("B")))


# ---- opened again


@pytest.mark.parametrize("end", ["cut", "close"])
def test_a_connection_that_ends_is_opened_again_with_all_its_topics(listener, end, caplog) -> None:
    one = listener()
    one.listen("AB")
    one.hear("A")
    aside(getattr(one.there, end))
    wait_for(lambda: len(one.opened) == 2 and one.connections.settled)
    one.hear("A", "B")
    assert one.closed == {1: ["A", "B"]}
    assert [number for _, _, number in one.heard] == [1, 2, 2]
    assert set(one.lines.values()) == {0}
    assert one.counters == {"attempts": 2, "connections": 2, "disconnects": 1}
    assert len(re.findall("disconnected: .*(1001 as told|reset|cut|EOF)", caplog.text)) == 1


def test_attempts_go_on_without_end_later_and_later_up_to_a_bound_until_there_is_data(listener, monkeypatch) -> None:
    bounds: list[float] = []

    def uniform(least: float, most: float) -> float:
        assert least == 0
        bounds.append(round(most, 3))
        return most / 100

    monkeypatch.setattr(module.random, "uniform", uniform)
    one = listener()
    one.there.refusing = 503
    one.connections.add(topics("A"))
    wait_for(lambda: len(one.there.attempts) >= 6)
    one.there.refusing = 0
    wait_for(lambda: one.connections.settled)
    failed = one.counters["failed_attempts"]
    assert bounds == [0.02, 0.04, *[0.05] * (failed - 2)]
    one.there.cut()  # subscribed, but there was no data: it failed as well
    wait_for(lambda: len(one.opened) == 2 and one.connections.settled)
    assert bounds[failed:] == [0.05]
    one.hear("A")
    one.there.cut()
    wait_for(lambda: len(one.opened) == 3)
    assert bounds[failed:] == [0.05, 0.01]


def test_nobody_there_is_counted_and_said_each_time(listener, caplog) -> None:
    one = listener()
    one.connections.url = "ws://127.0.0.1:1/"
    one.connections.add(topics("A"))
    wait_for(lambda: one.counters["failed_attempts"] == 3)
    assert one.counters["attempts"] in (3, 4)
    assert caplog.text.count("toy: line 0: cannot connect: ws://127.0.0.1:1/: ") == 3
    assert (one.opened, one.closed) == ([], {})


def test_attempts_keep_the_venues_limit(listener) -> None:
    one = listener(Toy(streams=1, connects=(3, 0.05)))
    one.listen("ABCDEFG")
    at = one.attempts
    assert all(later - earlier >= 0.05 for earlier, later in zip(at, at[3:], strict=False))


@pytest.mark.slow
def test_who_is_told_that_he_asks_too_often_asks_no_more_for_as_long_as_he_is_told(listener, monkeypatch) -> None:
    one = listener()
    pauses: list[float] = []
    monkeypatch.setattr(one.connections.attempts, "pause", pauses.append)
    for status, expected in ((503, []), (429, [1.0]), (418, [60.0])):
        del pauses[:]
        one.there.refusing = status
        one.connections.add(topics("A"))
        wait_for(lambda failed=one.counters["failed_attempts"] + 2: one.counters["failed_attempts"] >= failed)
        assert set(expected) <= set(pauses)


# ---- silence


@pytest.mark.parametrize("beats", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_connection_without_data_is_opened_anew_whatever_else_arrives(listener, beats, caplog) -> None:
    one = listener(silence_s=0.1)
    one.listen("A")
    one.hear("A")
    while len(one.opened) < 2:
        if beats:
            one.there.tell({"heartbeat": 1})
        gevent.sleep(0.01)
    assert "disconnected: no data for 0.1 s" in caplog.text
    assert one.counters["disconnects"] == 1
    wait_for(lambda: one.connections.settled)
    one.hear("A")


@pytest.mark.slow
def test_data_now_and_then_is_no_silence(listener) -> None:
    one = listener(silence_s=0.4)
    one.listen("A")
    for _ in range(5):
        gevent.sleep(0.1)
        one.hear("A")
    assert one.counters["disconnects"] == 0


@pytest.mark.slow
def test_while_we_have_no_room_the_venue_is_not_silent_and_nothing_is_read(listener) -> None:
    one = listener(silence_s=0.3)
    one.listen("A")
    room = gevent.event.Event()
    one.room = lambda: room.wait(30)
    one.hear("A")
    for _ in range(3):
        one.there.publish("A")
    gevent.sleep(0.4)
    assert one.last("A") == 1
    room.set()
    wait_for(lambda: one.last("A") == 4)
    room.clear()
    one.there.publish("A")
    gevent.sleep(0.4)
    one.there.tell({"heartbeat": 1})
    room.set()
    gevent.sleep(0.03)  # nothing else is to be read, but not for long
    assert one.counters["disconnects"] == 0


@pytest.mark.slow
def test_a_flood_lets_the_other_greenlets_live(listener) -> None:
    one = listener()
    one.listen("A")
    done, turns = threading.Event(), 0

    def flood() -> None:
        while not done.is_set():
            one.there.publish("A")

    flooding = threading.Thread(target=flood)
    one.take = lambda data: [number**7 for number in range(20_000)]  # slower than the flood: the socket is never empty
    flooding.start()
    try:
        with gevent.Timeout(30):
            while turns < 10:
                gevent.sleep(0.001)
                turns += 1
    finally:
        done.set()
        flooding.join()
    assert one.failures == []


# ---- answers


def test_a_request_that_gets_no_answer_is_repeated_and_then_the_connection_is_opened_anew(listener, caplog) -> None:
    one = listener(ack_s=0.05)
    one.there.ignored = {"B"}
    one.connections.add(topics("AB"))
    wait_for(lambda: len(one.opened) == 2)
    assert one.there.asked("subscribe")[:3] == [["A", "B"], ["A"], ["B"]]
    assert one.counters["unanswered"] == 3
    assert caplog.text.count("disconnected: 1 topics without an answer, twice") == 1
    one.there.ignored = set()
    wait_for(lambda: one.connections.settled)


@pytest.mark.slow
def test_a_topic_that_never_gets_an_answer_costs_the_others_no_data(listener) -> None:
    one = listener(ack_s=0.03)
    one.listen("A")
    one.there.ignored = {"B"}
    one.connections.add(topics("B"))
    while one.counters["handovers"] < 2 or not one.connections.settled:
        one.hear("A")
    assert one.counters["disconnects"] == 0
    assert one.counters["handovers"] == 2  # once it may be the connection's fault; twice it is the topic's
    assert {number for _, number, _ in one.heard} == set(range(1, one.there.published["A"] + 1))
    assert one.connections.gauges()["refused"] == 1


@pytest.mark.slow
def test_a_refused_topic_is_counted_named_and_asked_for_again_later(listener, caplog) -> None:
    one = listener(refused_s=0.02, refused_most_s=0.04)
    one.there.refused = {"B"}
    one.connections.add(topics("ABC"))
    wait_for(lambda: one.there.asked("subscribe").count(["B"]) == 4)
    assert one.connections.carries(*topics("A"))
    assert one.connections.carries(*topics("C"))
    assert one.counters["refused_requests"] >= 5
    assert re.search(r"toy refuses request \d+: no such stream B@trade\n", caplog.text)
    assert one.connections.gauges()["refused"] == 1
    one.there.refused = set()
    wait_for(lambda: one.connections.carries(*topics("B")))
    assert one.connections.gauges()["refused"] == 0
    assert one.counters["connections"] == 1


def test_a_refused_topic_that_is_dropped_is_forgotten(listener) -> None:
    one = listener()
    one.there.refused = {"B"}
    one.connections.add(topics("AB"))
    wait_for(lambda: one.connections.settled)
    one.connections.drop(topics("B"))
    assert one.connections.gauges()["refused"] == 0
    one.there.refused = set()
    one.listen("B")


@pytest.mark.slow
def test_where_everything_is_refused_no_connection_is_kept_open(listener) -> None:
    one = listener(silence_s=0.05, refused_s=0.6)
    one.there.refused = {"A"}
    one.connections.add(topics("A"))
    wait_for(lambda: one.counters["disconnects"] == 1)
    assert one.connections.gauges() == {"open": 0, "wanted": 1, "topics": 1, "refused": 1, "oldest_s": 0}
    gevent.sleep(0.05)
    assert one.counters["attempts"] == 1
    one.there.refused = set()
    wait_for(lambda: one.connections.settled)


# ---- pace


@pytest.mark.slow
def test_pings_are_sent_a_little_earlier_than_the_venue_wants(listener) -> None:
    one = listener(Toy(ping_s=0.2))
    one.listen("A")
    wait_for(lambda: len(one.there.asked("ping")) >= 6)
    at = [when for _, when, message in one.there.requests if message["op"] == "ping"]
    assert 0.14 < median(later - earlier for earlier, later in pairwise(at)) < 0.2  # one or two may be held up


@pytest.mark.slow
def test_requests_and_pings_together_keep_the_venues_limit(listener) -> None:
    one = listener(Toy(requests=(10, 0.5), ping_s=0.2))
    one.listen("A")
    for name in "BCDEFGHIJKLMN":
        one.connections.add(topics(name))
    one.connections.again(topics("A"))
    wait_for(lambda: one.connections.settled)
    at = [when for _, when, _ in one.there.requests]
    assert len(at) >= 16 + 2
    assert all(later - earlier > 0.4 for earlier, later in zip(at, at[10:], strict=False))  # one may have been held up


# ---- handing over


@pytest.fixture
def publisher(listener) -> Iterator[Callable[[Listener], None]]:
    """Publishes A, B and C in a thread, without a pause."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def publish(one: Listener) -> None:
        while not ended.wait(0.001):
            for name in "ABC":
                one.there.publish(name)

    def start(one: Listener) -> None:
        threads.append(threading.Thread(target=publish, args=[one]))
        threads[-1].start()

    start.stop = lambda: (ended.set(), [thread.join() for thread in threads])
    yield start
    start.stop()


def nothing_is_missing(one: Listener) -> None:
    for name in "ABC":
        wait_for(lambda name=name: one.last(name) == one.there.published[name])
        numbers = {number for symbol, number, _ in one.heard if symbol == name}
        assert numbers == set(range(min(numbers), one.there.published[name] + 1))


@pytest.mark.slow
def test_before_its_lifetime_is_over_a_connection_hands_over_and_nothing_is_missing(listener, publisher) -> None:
    one = listener(Toy(lifetime_s=0.1, streams=2))
    one.listen("ABC")
    publisher(one)
    wait_for(lambda: one.counters["handovers"] >= 3)
    publisher.stop()
    nothing_is_missing(one)
    assert one.counters["disconnects"] == 0
    assert set(map(tuple, one.closed.values())) == {()}
    assert set(one.lines.values()) == {0, 1}


def test_a_notice_of_shutdown_is_answered_by_a_successor_before_the_end(listener, publisher, caplog) -> None:
    one = listener()
    one.listen("ABC")
    publisher(one)
    wait_for(lambda: one.last("C") > 10)
    (old,) = one.there.streams
    one.there.tell({"shutdown": 1})
    one.there.tell({"shutdown": 1})
    wait_for(lambda: old not in one.there.streams)
    publisher.stop()
    nothing_is_missing(one)
    assert one.counters == {"attempts": 2, "connections": 2, "handovers": 1}
    assert one.closed == {1: []}
    assert caplog.text.count("about to close") == 1


def test_a_successor_that_fails_leaves_the_old_connection_as_it_is(listener, publisher) -> None:
    one = listener()
    one.listen("ABC")
    publisher(one)
    wait_for(lambda: one.last("C") > 10)
    one.there.refusing = 503
    one.there.tell({"shutdown": 1})
    wait_for(lambda: one.counters["failed_attempts"] == 3)
    assert one.connections.gauges()["open"] == 1
    one.there.refusing = 0
    wait_for(lambda: one.counters["handovers"] == 1)
    publisher.stop()
    nothing_is_missing(one)
    assert one.counters["disconnects"] == 0


def test_the_successor_of_a_connection_that_ends_meanwhile_takes_its_place(listener) -> None:
    one = listener(overlap_s=60.0)
    one.listen("ABC")
    one.hear(*"ABC")
    (old,) = one.there.streams
    one.there.refused = {"C"}
    one.there.tell({"shutdown": 1})
    wait_for(lambda: one.connections.gauges()["open"] == 2 and len(one.there.streams) == 2)
    wait_for(lambda: sum(len(names) for names in one.there.streams.values()) == 5)
    wait_for(lambda: one.connections.gauges()["refused"] == 1)  # until then C may still come
    aside(old.close)
    wait_for(lambda: one.closed == {1: ["C"]})  # what the successor does not carry is not listened to
    one.there.refused = set()
    one.hear("A", "B")
    assert one.counters["attempts"] == 2


@pytest.mark.slow
def test_a_successor_without_data_is_only_trusted_after_a_while(listener) -> None:
    one = listener(ack_s=0.4)
    one.listen("A")
    one.hear("A")
    one.there.tell({"shutdown": 1})
    wait_for(lambda: len(one.there.streams) == 2 and all(one.there.streams.values()))
    gevent.sleep(0.1)
    assert one.counters["handovers"] == 0
    wait_for(lambda: one.counters["handovers"] == 1)


@pytest.mark.slow
def test_what_changes_during_a_handover_holds_for_both(listener) -> None:
    one = listener(overlap_s=0.5)
    one.listen("AB")
    one.hear(*"AB")
    one.there.tell({"shutdown": 1})
    wait_for(lambda: [{"A", "B"}] * 2 == list(one.there.streams.values()))
    one.connections.add(topics("C"))
    one.connections.drop(topics("A"))
    wait_for(lambda: [{"B", "C"}] * 2 == list(one.there.streams.values()))
    one.hear("B")
    wait_for(lambda: one.counters["handovers"] == 1)
    one.hear("B", "C")


def test_servers_that_all_say_goodbye_are_not_run_through(listener, monkeypatch) -> None:
    bounds: list[float] = []
    monkeypatch.setattr(module.random, "uniform", lambda least, most: bounds.append(most) or 0.0)
    one = listener(overlap_s=0.0)
    one.listen("A")
    for times in range(1, 4):
        one.hear("A")
        one.there.tell({"shutdown": 1})
        wait_for(lambda times=times: one.connections.gauges()["open"] == 2 or one.counters["handovers"] == times)
        while one.counters["handovers"] < times:
            one.hear("A")
        wait_for(lambda: len(one.there.streams) == 1)
    assert bounds == [0.02, 0.04, 0.05]


# ---- failures


def test_an_error_in_what_takes_the_data_is_the_owners_and_not_hidden(listener) -> None:
    one = listener()
    one.listen("A")

    def fail(data: list) -> None:
        raise ZeroDivisionError

    one.take = fail
    one.there.publish("A")
    wait_for(lambda: one.failures)
    assert [type(error) for error in one.failures] == [ZeroDivisionError]
    one.failures.clear()
    one.take = lambda data: None


@pytest.mark.slow
def test_closing_says_goodbye_and_what_is_unfinished_is_left(listener) -> None:
    one = listener(Toy(streams=1))
    one.listen("AB")
    one.there.refusing = 503
    one.connections.add(topics("C"))
    wait_for(lambda: one.counters["failed_attempts"] > 1)
    one.connections.close()
    wait_for(lambda: not one.there.streams)
    assert one.there.closes == [(1000, "")] * 2
    attempts = len(one.there.attempts)
    gevent.sleep(0.1)
    assert len(one.there.attempts) == attempts
    assert one.connections.gauges() == {"open": 0, "wanted": 0, "topics": 0, "refused": 0, "oldest_s": 0}


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wick")
