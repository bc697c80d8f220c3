"""Sessions without sockets: what a client may ask, what it is answered, and where it is told to go."""

import json

import pytest

from wick.api.access import Access
from wick.market.schema import STATE_WIDTHS
from wick.ops.process import Stats
from wick.ops.settings import Settings
from wick.roles.session import MAX_BAD, MAX_GLOBS, Session, Sessions
from wick.stream import diffs
from wick.stream.fanout import Fanout
from wick.stream.shards import SHARDS, shard_of
from wick.wire.codec import pack
from wick.wire.http import Request
from wick.wire.messages import Snapshot
from wick.wire.session import CloseCode, Kind
from wick.wire.websocket import TEXT

HELLO, ACK, ERROR, SNAPSHOT, BATCH = Kind.HELLO, Kind.ACK, Kind.ERROR, Kind.SNAPSHOT, Kind.BATCH
REMOTE = "203.0.113.7"
PAIRS = [("binance", f"{name}-USDT") for name in ("BTC", "ETH", "SOL", "DOGE")]
REQUEST = Request("GET", "/ws", {}, {"host": "localhost"}, "/ws")


class Guest(Session):
    """A client without a connection."""

    __slots__ = ("fd",)

    def __init__(self, fd):
        self.fd, self.address, self.rest = fd, "127.0.0.1", b""


class Line:
    """Where the server is: what clients were sent, and with what they were closed."""

    def __init__(self):
        self.clients, self.told, self.codes, self.full = {}, {}, {}, set()

    def send(self, client, data):
        self.told[client] += unframed(data)
        return client not in self.full

    def send_all(self, clients, frames):
        return [client for client, data in zip(clients, frames, strict=True) if not self.send(client, data)]

    def close(self, client, code, reason):
        self.codes.setdefault(client, code)
        self.clients.pop(client.fd, None)


def unframed(data):
    """The messages of one JSON frame."""
    assert data[0] & 15 == TEXT
    size, at = data[1], 2
    if size > 125:
        at = 4 if size == 126 else 10
        size = int.from_bytes(data[2:at], "big")
    assert len(data) == at + size
    message = json.loads(data[at:])
    return message[1:] if message[0] == BATCH else [message]


class World:
    def __init__(self, **settings):
        given = {name.replace("__", "."): value for name, value in settings.items()}
        self.settings = Settings({"front.max_subscriptions": 10} | given)
        self.access, self.stats, self.line = Access(self.settings), Stats("front-0", 1), Line()
        self.sessions = Sessions(self.settings, "front-0-1", self.access, ("binance",), self.stats, lambda _: None)
        self.fanout = Fanout(self.line, SHARDS, shard_of, max_topics=10, admit=self.sessions.admit)
        self.sessions.attach(self.line, self.fanout)
        zero = [[0] * width for width in STATE_WIDTHS]
        for shard in {shard_of(*pair) for pair in PAIRS}:
            names = [pair for pair in PAIRS if shard_of(*pair) == shard]
            pairs = [[number, *pair] for number, pair in enumerate(names)]
            entries = [[number, *diffs.make(zero, zero)] for number in range(len(names))]
            self.fanout.restart(Snapshot(shard, 1, 1, 0, pairs, entries, []))

    def connect(self, fd=5, address="127.0.0.1"):
        client = self.line.clients[fd] = Guest(fd)
        client.address = address
        self.line.told[client] = []
        self.sessions.opened(client, REQUEST, "wick.v1.json", False)
        return client

    def say(self, client, *message):
        """The answers to one message."""
        before = len(self.line.told[client])
        self.sessions.message(client, json.dumps(message).encode(), True)
        return self.line.told[client][before:]

    def leave(self, client):
        self.line.clients.pop(client.fd, None)
        self.sessions.closed(client)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def client(world):
    return world.connect()


def kinds(messages):
    return [message[0] for message in messages]


def test_the_first_word_says_who_speaks_and_what_is_allowed(world, client):
    [(kind, version, _, front, limits)] = world.line.told[client]
    assert (kind, version, front) == (HELLO, 1, "front-0-1")
    assert limits == {"subscriptions": 10, "message_bytes": 65536, "messages_s": 20, "heartbeat_s": 5}


def test_errors_come_before_the_ack_and_disturb_nothing_else(world, client):
    wanted = [
        "ticker:binance:BTC-USDT",
        "candles:binance:BTC-USDT:9m",
        "ticker:nowhere:X",
        "closes:binance:ETH-USDT:1h",
    ]
    answers = world.say(client, 16, 7, wanted)
    assert kinds(answers) == [ERROR, ERROR, ACK, SNAPSHOT, SNAPSHOT]
    assert [(error[2], error[7]) for error in answers[:2]] == [("bad_interval", wanted[1]), ("bad_venue", wanted[2])]
    assert all(error[1] == 7 and error[6] for error in answers[:2])
    assert answers[2] == [ACK, 7, [[wanted[0], 1, False], ["closes:binance:ETH-USDT:1h", 2, False]]]


def test_a_glob_names_the_known_pairs_and_is_taken_back_by_the_same_words(world, client):
    answers = world.say(client, 16, 1, ["ticker:*"])
    assert [topic for topic, _, _ in answers[0][2]] == [f"ticker:{venue}:{symbol}" for venue, symbol in sorted(PAIRS)]
    [(_, number, left)] = world.say(client, 17, 2, ["ticker:*"])
    assert number == 2 and len(left) == len(PAIRS) and world.fanout.subscriptions == 0 and client.globs == ()


def test_nobody_holds_more_topics_than_are_allowed(world, client):
    world.say(client, 16, 1, ["candles:*:BTC-USDT:15s,30s,1m,3m,5m,15m,30m,1h"])
    answers = world.say(client, 16, 2, ["ticker:*", "ticker:binance:BTC-USDT,ETH-USDT", "closes:binance:BTC-USDT:1m"])
    assert [answer[:2] for answer in answers[:3]] == [[ERROR, 2], [ERROR, 2], [ACK, 2]]
    assert answers[0][2] == "too_many" and answers[0][6] == ["at most 2 topics more"]
    assert [topic for topic, *_ in answers[2][2]] == ["ticker:binance:BTC-USDT", "ticker:binance:ETH-USDT"]
    assert world.fanout.subscriptions == 10
    again = world.say(client, 16, 3, ["ticker:binance:BTC-USDT"])
    assert kinds(again) == [ACK, SNAPSHOT], "what is held already takes no room"


def test_a_glob_that_names_what_is_held_already_takes_nothing_from_it(world, client):
    resuming = [["ticker:binance:BTC-USDT", 1, 1], "ticker:binance:*"]
    answers = world.say(client, 16, 1, resuming)
    assert kinds(answers) == [ACK, *[SNAPSHOT] * len(PAIRS)]
    held = ["ticker:binance:BTC-USDT", 1, True]
    assert [entry for entry in answers[0][2] if entry[0] == held[0]] == [held, held]
    assert kinds(world.say(client, 16, 2, ["ticker:*"])) == [ACK], "nothing begins anew"


def test_globs_are_bounded_in_a_request_and_for_a_client_even_where_they_match_nothing(world, client):
    globs = [f"ticker:binance:*{number}" for number in range(MAX_GLOBS + 1)]
    *errors, ack = world.say(client, 16, 1, globs)
    assert [(error[2], error[-1]) for error in errors] == [("too_many", globs[-1])]
    assert ack == [ACK, 1, []] and len(client.globs) == MAX_GLOBS
    error, _ = world.say(client, 16, 2, ["ticker:binance:*x"])
    assert error[2] == "too_many" and f"at most {MAX_GLOBS} globs" in error[6]
    world.say(client, 17, 3, globs[:1])
    assert world.say(client, 16, 4, ["ticker:binance:*x"]) == [[ACK, 4, []]]


def test_what_one_request_names_is_bounded(world, client):
    named = ["candles:*:1m"] * 5 + ["ticker:*"]
    answers = world.say(client, 16, 1, named)
    assert kinds(answers[:2]) == [ERROR, ACK] and answers[0][7] == "ticker:*"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", "bad_message"),
        (b"[99]", "bad_kind"),
        (b"[16]", "bad_id"),
        (b"[16,3]", "bad_topics"),
        (b"7", "bad_message"),
    ],
)
def test_what_is_no_request_is_answered_with_what_would_be_one(world, client, message, code):
    world.sessions.message(client, message, True)
    error = world.line.told[client][-1]
    assert error[:3] == [ERROR, 3 if message == b"[16,3]" else None, code] and error[5]
    assert world.say(client, 18, 4) == [[ACK, 4, []]]


def test_after_too_many_bad_requests_a_client_is_told_not_to_come_back(world, client):
    world.say(client, 16, 1, ["nothing"] * (MAX_BAD - 1))
    assert client not in world.line.codes
    answers = world.say(client, 16, 1, ["nothing"] * 50)
    assert kinds(answers) == [ERROR, ACK] and world.line.codes[client] == CloseCode.BAD_REQUESTS


def test_ten_seconds_worth_of_messages_may_come_at_once_and_no_more():
    world = World(front__client_messages_s=2)
    client = world.connect()
    for number in range(20):
        world.say(client, 18, number)
    assert client not in world.line.codes
    world.say(client, 18, 20)
    assert world.line.codes[client] == CloseCode.TOO_MANY_MESSAGES


def test_pings_and_pongs_count_as_messages():
    world = World(front__client_messages_s=2)
    client = world.connect()
    for _ in range(20):
        world.sessions.control(client)
    assert world.line.codes == {}
    world.sessions.control(client)
    assert world.line.codes == {client: CloseCode.TOO_MANY_MESSAGES}


def test_so_it_is_with_bytes():
    world = World(front__client_kb_s=1)
    client = world.connect()
    world.say(client, 16, 1, ["x" * 10_000])
    assert client not in world.line.codes
    world.say(client, 16, 1, ["x" * 1_000])
    assert world.line.codes[client] == CloseCode.TOO_MANY_MESSAGES


def test_an_address_that_floods_is_answered_with_errors_and_others_are_served():
    world = World(front__client_messages_s=2, front__address_worth=1)
    one, two = (world.connect(fd, REMOTE) for fd in (5, 6))
    other, local = world.connect(7, "203.0.113.8"), world.connect(8)
    for number in range(20):  # ten seconds' worth of one client
        assert world.say((one, two)[number % 2], 18, number) == [[ACK, number, []]]
    for number in range(5):
        [error] = world.say(one, 16, number, ["ticker:*"])
        assert error[:4] == [ERROR, number, "too_many", "messages"]
        assert error[6] == ["at most 2 a second for one address"]
    assert world.fanout.subscriptions == 0 and one.bad == 0 and world.line.codes == {}
    assert world.stats.counters["limited_requests"] == 5
    for client in (other, local):
        assert world.say(client, 18, 1) == [[ACK, 1, []]]
    for number in range(10):
        world.say(one, 18, number)
    assert world.line.codes == {one: CloseCode.TOO_MANY_MESSAGES}, "its own rate still holds"


def test_so_it_is_with_the_bytes_of_an_address():
    world = World(front__client_kb_s=1, front__address_worth=1)
    one, two = (world.connect(fd, REMOTE) for fd in (5, 6))
    world.say(one, 18, "x" * 9_000)
    [error] = world.say(two, 18, "x" * 9_000)
    assert error[1:4] == [None, "too_many", "bytes"] and world.line.codes == {}
    assert world.say(two, 18, 2) == [[ACK, 2, []]], "what is not followed is not paid for"


def test_pings_of_an_address_count_too():
    world = World(front__client_messages_s=2, front__address_worth=1)
    one, two = (world.connect(fd, REMOTE) for fd in (5, 6))
    for _ in range(20):
        world.sessions.control(one)
    assert kinds(world.say(two, 18, 1)) == [ERROR]


def test_the_clients_of_an_address_hold_so_many_topics_together():
    world = World(front__address_worth=1)
    one, two = (world.connect(fd, REMOTE) for fd in (5, 6))
    world.say(one, 16, 1, ["candles:*:1m,5m"])
    answers = world.say(two, 16, 2, ["ticker:*", "ticker:binance:BTC-USDT", "closes:*:1h"])
    assert [(answer[0], answer[2], answer[7]) for answer in answers[:2]] == [
        (ERROR, "too_many", "ticker:*"), (ERROR, "too_many", "closes:*:1h"),
    ]  # fmt: skip
    assert answers[0][3:5] == ["topics", "4"] and answers[0][6] == ["at most 10 topics for one address"]
    assert answers[2] == [ACK, 2, [["ticker:binance:BTC-USDT", answers[2][2][0][1], False]]]
    assert two.bad == 0 and two.globs == () and world.stats.counters["limited_requests"] == 2
    assert kinds(world.say(world.connect(7, "203.0.113.8"), 16, 3, ["candles:*:1m,5m"]))[0] == ACK
    world.say(one, 17, 4, ["candles:*:5m", "candles:binance:BTC-USDT:5m"])
    assert kinds(world.say(two, 16, 5, ["ticker:*"]))[0] == ACK
    world.leave(one)
    assert kinds(world.say(two, 16, 6, ["candles:*:15s"]))[0] == ACK
    world.leave(two)
    assert world.say(world.connect(5, REMOTE), 16, 1, ["candles:*:1m,5m"])[0][0] == ACK, "nothing is left of them"


def test_a_pair_that_appears_is_not_given_to_whose_address_is_full():
    world = World(front__address_worth=1)
    one, two = (world.connect(fd, REMOTE) for fd in (5, 6))
    world.say(one, 16, 1, ["ticker:*"])
    world.say(two, 16, 1, ["candles:*:1m", "closes:binance:BTC-USDT:1m"])
    shard = shard_of("binance", "NEW-USDT")
    zero = [[0] * width for width in STATE_WIDTHS]
    news = Snapshot(shard, 2, 1, 0, [[0, "binance", "NEW-USDT"]], [[0, *diffs.make(zero, zero)]], [])
    world.fanout.restart(news)
    assert (world.fanout.subscriptions, world.fanout.counters.refused_topics) == (10, 1)
    world.leave(one)
    world.leave(two)
    assert world.fanout.subscriptions == 0 and world.access.counts() == {"addresses": 0, "tokens": 0}


def test_a_frame_of_the_other_form_ends_the_session(world, client):
    world.sessions.message(client, pack([18, 1]), False)
    assert world.line.codes[client] == CloseCode.UNSUPPORTED


def test_who_comes_when_the_house_is_full_is_turned_away_and_leaves_no_trace():
    world = World(front__max_clients=1)
    first, second = world.connect(5), world.connect(6)
    assert world.line.codes == {second: CloseCode.TRY_LATER} and world.line.told[second] == []
    world.leave(second)
    world.leave(first)
    assert world.access.counts() == {"addresses": 0, "tokens": 0}
    assert kinds(world.line.told[world.connect(5)]) == [HELLO]


def test_who_does_not_take_an_answer_is_told_the_rest_when_it_takes_data_again(world, client):
    world.line.full.add(client)
    assert kinds(world.say(client, 16, 1, ["ticker:binance:BTC-USDT"])) == [ACK, SNAPSHOT]
    assert client.cohort is None
    world.line.full.clear()
    world.sessions.writable(client)
    world.fanout.flush(client.behind.band)
    assert kinds(world.line.told[client]) == [HELLO, ACK, SNAPSHOT] and client.cohort is not None


def test_answers_that_nobody_reads_are_bounded():
    world = World(front__client_queue_kb=4)
    client = world.connect()
    client.rest = bytes(4096)
    world.line.full.add(client)
    world.say(client, 18, 1)
    assert client not in world.line.codes
    client.rest += b"."
    world.say(client, 18, 2)
    assert world.line.codes[client] == CloseCode.SLOW


def test_who_leaves_gives_back_all_that_it_held(world, client):
    world.say(client, 16, 1, ["ticker:*", "candles:*:1m"])
    assert world.fanout.subscriptions == 8 and world.access.counts()["addresses"] == 1
    world.leave(client)
    assert world.fanout.subscriptions == 0 and world.access.counts()["addresses"] == 0


def test_a_request_that_access_refuses_is_counted(world):
    reply = world.sessions.refuse(REQUEST._replace(headers={"host": "evil.example"}), "127.0.0.1")
    assert reply is not None and reply.status == 403 and world.stats.counters["refused_requests"] == 1
    assert world.sessions.refuse(REQUEST, "127.0.0.1") is None
