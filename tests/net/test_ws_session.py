"""WebSocket on a real front: who is let in, what is agreed on, and answers to whatever a client may say."""

import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from tests.net.front_process import PAGE_ORIGIN
from tests.net.raw_client import raw
from wick.wire.codec import pack, unpack, unpack_json
from wick.wire.session import SUBPROTOCOLS, Kind

ACK, ERROR = Kind.ACK, Kind.ERROR


def client(front, **options):
    return connect(front.url, compression=None, proxy=None, **{"open_timeout": 30, **options})


def told(connection, kind, decode=unpack):
    """The next message of a kind."""
    while True:
        message = decode(connection.recv(timeout=30))
        for one in message[1:] if message[0] == Kind.BATCH else [message]:
            if one[0] == kind:
                return one


# ---------------------------------------------------------------------- the handshake


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(None, None), (["wick.v1.json"], "wick.v1.json"), (["x", "wick.v1.json"], "wick.v1.json"),
     (["wick.v1.json", "wick.v1.msgpack"], "wick.v1.msgpack")],
)  # fmt: skip
def test_a_subprotocol_is_agreed_on_and_spoken(front, offered, chosen):
    with client(front, subprotocols=offered) as connection:
        assert connection.subprotocol == chosen
        first = connection.recv(timeout=30)
        assert isinstance(first, str) == (chosen == "wick.v1.json")
        kind, version, _, _, limits = (unpack_json if isinstance(first, str) else unpack)(first)
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
        connection.recv(timeout=30)
        with pytest.raises(ConnectionClosed) as caught:
            connection.send(bytes(size))
            connection.recv(timeout=30)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


def test_a_fragmented_message_beyond_the_bound_closes_the_connection_with_1009(front):
    with client(front) as connection:
        connection.recv(timeout=30)
        with pytest.raises(ConnectionClosed) as caught:
            connection.send(bytes(1000) for _ in range(6))
            connection.recv(timeout=30)
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
        assert connection.ping(b"here").wait(30)


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
                connection.recv(timeout=30)
        assert caught.value.rcvd.code == 3500


def test_a_connection_that_we_close_is_over_without_waiting_for_a_timeout(front):
    with client(front) as connection:
        started = time.monotonic()
        with pytest.raises(ConnectionClosed):
            for _ in range(100):
                connection.send(b"\xc1")
                connection.recv(timeout=30)
    assert time.monotonic() - started < 1.5
