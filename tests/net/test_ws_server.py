"""The WebSocket server on a real front: handshakes, bounds, slow clients; nobody delays anybody else."""

import base64
import os
import socket
import struct
import time
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from tests.net.front_process import PAGE_ORIGIN, wait_for
from wick.market.intervals import NAMES
from wick.stream import diffs
from wick.wire.codec import pack, unpack, unpack_json
from wick.wire.session import SUBPROTOCOLS, Kind

ACK, ERROR, SNAPSHOT, DIFF = Kind.ACK, Kind.ERROR, Kind.SNAPSHOT, Kind.DIFF
HUGE = 1 << 500
ROUNDS = 600  # 20 kB each, for who subscribes to all of a pair


def client(front, **options):
    return connect(front.url, compression=None, proxy=None, **{"open_timeout": 5, **options})


def told(connection, kind, decode=unpack):
    """The next message of a kind."""
    while True:
        message = decode(connection.recv(timeout=5))
        if message[0] == kind:
            return message


class RawClient:
    """A client that reads only when it is told to: its own socket, small buffers, frames taken apart by hand."""

    def __init__(self, front, query=""):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(10)
        self.deadline = time.monotonic() + 20
        self.sock.connect(("127.0.0.1", front.port))
        self.buffer = b""
        self.handles, self.states, self.heard, self.answers = {}, {}, [], []
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET /ws{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.sock.recv(1)
        assert b" 101 " in head.partition(b"\r\n")[0]

    def say(self, *message):
        self.sock.sendall(Frame(Opcode.BINARY, pack(message)).serialize(mask=True))

    def _exactly(self, size):
        while len(self.buffer) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def frame(self):
        first, size = self._exactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._exactly(8))
        return first & 15, self._exactly(size)

    def take(self):
        """Read one message and apply it by the protocol: every DIFF follows what is held."""
        assert time.monotonic() < self.deadline, f"not in time; heard {len(self.heard)} messages"
        opcode, data = self.frame()
        if opcode != Opcode.BINARY:
            return None
        kind, *fields = unpack(data)
        self.heard.append(kind)
        if kind == ACK:
            self.answers.append(fields[0])
            self.handles.update({handle: topic for topic, handle in fields[1]})
        elif kind == SNAPSHOT:
            handle, epoch, seq, groups, _ = fields
            assert handle in self.handles
            self.states[handle] = [epoch, seq, groups]
        elif kind == DIFF:
            handle, epoch, prev_seq, seq, changes = fields
            state = self.states[handle]
            assert (epoch, prev_seq) == (state[0], state[1]), "a hole that no snapshot mended"
            diffs.apply(state[2], changes)
            state[1] = seq
        return kind, fields

    def holds(self, worker, symbol):
        """Whether all that it knows of the pair is what the worker published."""
        state = worker.state(symbol)
        for handle, topic in self.handles.items():
            parts = topic.split(":")
            if parts[2] == symbol:
                groups = [state[0]] + ([state[NAMES.index(parts[3]) + 1]] if len(parts) == 4 else [])
                if handle not in self.states or self.states[handle][2] != groups:
                    return False
        return True

    def close(self):
        self.sock.close()


@contextmanager
def raw(front, query=""):
    one = RawClient(front, query)
    try:
        yield one
    finally:
        one.close()


def introduce(front, worker, symbol):
    def known():
        worker.publish(symbol, head=[len(front.ask("/api/v1/symbols")) + 1])
        return any(pair["symbol"] == symbol for pair in front.ask("/api/v1/symbols?token=s3cret"))

    wait_for(known, symbol)


def big(number):
    """States that differ from the one before in every field, by integers that fill a message."""
    value = number + (HUGE if number % 2 else -HUGE)
    return {"head": [value] * 12, **{f"g{group}": [0, *[value] * 8] for group in range(1, len(NAMES) + 1)}}


def flood(worker, symbol, other, meanwhile=lambda number: None):
    """More changes than the kernel's buffers take for who does not read; the longest that `other` waited for one."""
    worst_s = 0.0
    for number in range(ROUNDS):
        started = time.monotonic()
        meanwhile(number)
        worker.publish(symbol, **big(number))
        while not other.handles or not other.holds(worker, symbol):
            other.take()
        worst_s = max(worst_s, time.monotonic() - started)
    return worst_s


# ---------------------------------------------------------------------- the handshake


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(None, None), (["wick.v1.json"], "wick.v1.json"), (["x", "wick.v1.json"], "wick.v1.json"),
     (["wick.v1.json", "wick.v1.msgpack"], "wick.v1.msgpack")],
)  # fmt: skip
def test_a_subprotocol_is_agreed_on_and_spoken(front, offered, chosen):
    with client(front, subprotocols=offered) as connection:
        assert connection.subprotocol == chosen
        first = connection.recv(timeout=5)
        assert isinstance(first, str) == (chosen == "wick.v1.json")
        kind, version, _, limits = (unpack_json if isinstance(first, str) else unpack)(first)
        assert (kind, version, limits["message_bytes"]) == (Kind.HELLO, 1, 4096)


def status(front, **options):
    with pytest.raises(InvalidStatus) as caught, client(front, **options):
        pass
    return caught.value.response.status_code, caught.value.response.body


def test_unknown_subprotocols_are_refused_with_those_that_are_known(front):
    code, body = status(front, subprotocols=["wick.v9.xml"])
    assert code == 400 and all(name.encode() in body for name in SUBPROTOCOLS)


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1.evil.example", "null", "http://[", "x"])
def test_another_page_s_script_is_refused(front, origin):
    assert status(front, origin=origin)[0] == 403


def test_our_own_page_and_named_ones_are_welcome(front):
    for origin in (f"http://127.0.0.1:{front.port}", PAGE_ORIGIN):
        with client(front, origin=origin) as connection:
            assert told(connection, Kind.HELLO)


@pytest.mark.parametrize("host", ["evil.example", "["])
def test_a_name_that_was_made_to_point_here_is_refused(front, host):
    request = (
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", front.port), 5) as sock:
        sock.sendall(request.encode())
        assert b" 403 " in sock.recv(4096).partition(b"\r\n")[0]


def test_the_right_token_is_let_in_and_no_other(strict):
    front, _ = strict
    assert status(front)[0] == 401
    assert status(front, additional_headers={"Authorization": "Bearer nonsense"})[0] == 401
    with client(front, additional_headers={"Authorization": "Bearer s3cret"}) as connection:
        assert told(connection, Kind.HELLO)
    with connect(front.url + "?token=s3cret", compression=None, proxy=None) as connection:
        assert told(connection, Kind.HELLO)


@pytest.mark.parametrize(
    "lines",
    ["", "Connection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
     "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 7",
     "Connection: \xff\xfe\r\nX-\xe4: \xff"],
    ids=["no key", "bad key", "old version", "bytes that are no text"],
)  # fmt: skip
def test_a_handshake_that_is_none_is_refused_and_the_front_goes_on(front, lines):
    with socket.create_connection(("127.0.0.1", front.port), 5) as sock:
        sock.sendall(f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n{lines}\r\n\r\n".encode("latin-1"))
        assert sock.recv(4096)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 426", b"")
    assert front.get("/healthz")[0] == 200


# ---------------------------------------------------------------------- messages


@pytest.mark.parametrize("size", [4097, 200_000, 3_000_000])
def test_a_message_beyond_the_bound_closes_the_connection_with_1009(front, size):
    with client(front) as connection:
        connection.recv(timeout=5)
        with pytest.raises(ConnectionClosed) as caught:
            connection.send(bytes(size))
            connection.recv(timeout=5)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


def test_a_fragmented_message_beyond_the_bound_closes_the_connection_with_1009(front):
    with client(front) as connection:
        connection.recv(timeout=5)
        with pytest.raises(ConnectionClosed) as caught:
            connection.send(bytes(1000) for _ in range(6))
            connection.recv(timeout=5)
        assert caught.value.rcvd.code == 1009


def test_a_text_that_is_not_utf_8_closes_the_connection_with_1007(front):
    with raw(front) as one:
        one.frame()
        one.sock.sendall(Frame(Opcode.TEXT, b'[16,1,["\xff\xfe"]]').serialize(mask=True))
        opcode, data = one.frame()
        assert (opcode, int.from_bytes(data[:2], "big")) == (Opcode.CLOSE, 1007)


@pytest.mark.parametrize(
    "frame",
    [b"\x83\x80\0\0\0\0", b"\x02\x80\0\0\0\0\x02\x80\0\0\0\0", b"\x82\x00", b"\xf2\x80\0\0\0\0"],
    ids=["opcode", "fragment", "unmasked", "reserved bits"],
)
def test_a_frame_against_the_rules_closes_the_connection_with_1002(front, frame):
    with raw(front) as one:
        one.frame()
        one.sock.sendall(frame)
        opcode, data = one.frame()
        assert (opcode, int.from_bytes(data[:2], "big")) == (Opcode.CLOSE, 1002)


def test_a_ping_is_answered_with_its_own_payload(front):
    with client(front) as connection:
        assert connection.ping(b"here").wait(5)


def test_a_request_in_pieces_is_one_request(front):
    with client(front) as connection:
        message = pack([18, 77])
        connection.send(iter([message[:1], message[1:2], message[2:]]))
        assert told(connection, ACK) == [ACK, 77, []]


@pytest.mark.parametrize(
    ("subprotocol", "message", "field"),
    [("wick.v1.msgpack", b"\xc1", "message"), ("wick.v1.json", "{", "message"), ("wick.v1.json", "[99,1]", "kind"),
     ("wick.v1.json", '[16,1,["ticker:nowhere:X"]]', "venue"), ("wick.v1.msgpack", b"\x91" * 1000 + b"\xc0", "kind")],
)  # fmt: skip
def test_a_bad_request_is_answered_with_what_is_valid(front, subprotocol, message, field):
    with client(front, subprotocols=[subprotocol]) as connection:
        connection.send(message)
        decode = unpack_json if subprotocol.endswith("json") else unpack
        error = told(connection, ERROR, decode)
        assert (error[3], "valid is" in error[5] or "not " in error[5]) == (field, True)


def test_after_many_bad_requests_a_client_is_told_not_to_come_back(front):
    with client(front) as connection:
        with pytest.raises(ConnectionClosed) as caught:
            for _ in range(100):
                connection.send(b"\xc1")
                connection.recv(timeout=5)
        assert caught.value.rcvd.code == 3500


def test_a_connection_that_we_close_is_over_without_waiting_for_a_timeout(front):
    with client(front) as connection:
        started = time.monotonic()
        with pytest.raises(ConnectionClosed):
            for _ in range(100):
                connection.send(b"\xc1")
                connection.recv(timeout=5)
    assert time.monotonic() - started < 1.5


# ---------------------------------------------------------------------- slow clients


def test_a_client_that_stops_reading_is_conflated_and_delays_nobody(front, worker):
    introduce(front, worker, "SLOW-USDT")
    topics = ["ticker:binance:SLOW-USDT", *[f"candles:binance:SLOW-USDT:{name}" for name in NAMES]]
    with raw(front) as slow, raw(front) as other:
        slow.say(16, 1, topics)
        other.say(16, 1, topics[:1])
        while not slow.holds(worker, "SLOW-USDT") or len(slow.handles) < len(topics):
            slow.take()
        assert flood(worker, "SLOW-USDT", other) < 1.0
        assert other.heard.count(DIFF) >= ROUNDS - 1
        # It wakes: what the kernel still had, then states instead of the diffs that were left out.
        before = len(slow.heard)
        while not slow.holds(worker, "SLOW-USDT"):
            slow.take()
        caught_up = slow.heard[before:]
        assert caught_up.count(DIFF) + caught_up.count(SNAPSHOT) < ROUNDS * len(topics) / 2
        assert caught_up.count(SNAPSHOT) >= len(topics)
        # And it is a client like any other again.
        worker.publish("SLOW-USDT", head=[7])
        while not slow.holds(worker, "SLOW-USDT"):
            slow.take()


def test_what_does_not_fit_a_client_s_queue_reaches_it_all_the_same_and_holds_nobody_up(front, worker):
    introduce(front, worker, "WIDE-USDT")
    worker.publish("WIDE-USDT", **big(1))
    topics = ["ticker:binance:WIDE-USDT", *[f"candles:binance:WIDE-USDT:{name}" for name in NAMES]]
    with raw(front) as wide:
        wide.say(16, 1, topics)  # 13 snapshots of 1.7 kB each, into 16 kB
        while len(wide.handles) < len(topics) or not wide.holds(worker, "WIDE-USDT"):
            wide.take()
        spent = front.cpu_s()
        assert front.get("/healthz")[0] == 200
        for number in range(20):
            worker.publish("WIDE-USDT", **big(number))
            while not wide.holds(worker, "WIDE-USDT"):
                wide.take()
        assert front.cpu_s() - spent < 2.0


def test_a_client_that_stops_reading_still_gets_every_answer_in_order(front, worker):
    introduce(front, worker, "DEAF-USDT")
    with raw(front) as deaf, raw(front) as other:
        first = [f"candles:binance:DEAF-USDT:{name}" for name in NAMES]
        deaf.say(16, 1, first)
        other.say(16, 1, first[:1])
        while len(deaf.handles) < len(first) or not deaf.holds(worker, "DEAF-USDT"):
            deaf.take()
        flood(worker, "DEAF-USDT", other, lambda number: deaf.say(18, number))
        deaf.say(16, ROUNDS, ["ticker:binance:DEAF-USDT"])
        while len(deaf.handles) < len(first) + 1 or not deaf.holds(worker, "DEAF-USDT"):
            deaf.take()
        assert deaf.answers == [1, *range(ROUNDS), ROUNDS]


def test_a_client_that_takes_nothing_for_too_long_is_closed(strict):
    front, worker = strict
    introduce(front, worker, "STALL-USDT")
    with raw(front, "?token=s3cret") as stalled:
        stalled.say(16, 1, [f"candles:binance:STALL-USDT:{name}" for name in NAMES])
        while len(stalled.handles) < len(NAMES):
            stalled.take()
        with raw(front, "?token=s3cret") as other:
            other.say(16, 1, ["ticker:binance:STALL-USDT"])
            flood(worker, "STALL-USDT", other)
        wait_for(lambda: "took nothing for" in front.log(), "the end of the connection")
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                stalled.frame()
    with raw(front, "?token=s3cret") as again:
        assert again.take()[0] == Kind.HELLO


def test_a_client_that_asks_and_never_reads_the_answers_is_cut_off(front):
    texts = [f"ticker:binance:ASKED{number}-USDT" for number in range(120)]
    with raw(front) as one:
        with pytest.raises(ConnectionError):
            for number in range(10_000):
                one.say(16, number, texts)
        assert front.log().count("asks and does not read") == 1


def test_what_is_published_while_a_snapshot_is_on_its_way_is_not_taken_back_by_it(front, worker):
    introduce(front, worker, "RACE-USDT")
    introduce(front, worker, "PACE-USDT")  # of another shard: it tells how far the front has come
    with raw(front) as one:
        one.say(16, 1, ["ticker:binance:RACE-USDT", "ticker:binance:PACE-USDT"])
        while len(one.states) < 2 or not one.holds(worker, "RACE-USDT") or not one.holds(worker, "PACE-USDT"):
            one.take()
        asked = worker.asked
        worker.answering.clear()
        worker.lose_closes("RACE-USDT")
        worker.close_candle("RACE-USDT", "1m", [0] * 17)
        wait_for(lambda: worker.asked > asked, "the question")
        worker.publish("RACE-USDT", head=[4242])
        worker.publish("PACE-USDT", head=[4242])
        while not one.holds(worker, "PACE-USDT"):
            one.take()
        worker.answering.set()
        known = one.heard.count(SNAPSHOT)
        while one.heard.count(SNAPSHOT) == known or not one.holds(worker, "RACE-USDT"):
            one.take()


def test_a_worker_that_starts_anew_is_followed_from_a_snapshot(front, worker):
    introduce(front, worker, "ANEW-USDT")
    with raw(front) as one:
        one.say(16, 1, ["ticker:binance:ANEW-USDT"])
        while not one.handles or not one.holds(worker, "ANEW-USDT"):
            one.take()
        worker.restart()
        worker.publish("ANEW-USDT", head=[42])
        while not one.holds(worker, "ANEW-USDT"):
            one.take()
        (state,) = one.states.values()
        assert state[0] == worker.epoch
        assert one.heard.count(SNAPSHOT) >= 2
