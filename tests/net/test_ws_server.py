"""The WebSocket server on raw sockets: what a client may and may not do, byte by byte, and what becomes of it."""

import socket
import zlib

import pytest

from tests.net.lean import ACCEPT, Peer, head, masked, running
from wick.wire.websocket import BINARY, CLOSE, CONTINUED, PING, PONG, TEXT, frame

MAX_BYTES = 4096


@pytest.fixture(scope="module")
def server():
    with running(max_message_bytes=MAX_BYTES) as one:
        yield one


@pytest.fixture
def peer(server):
    with Peer(server) as one:
        one.upgrade()
        yield one


def client_of(server):
    """The client that was opened last, as the server has it."""
    return server.do(lambda: server.app.opened_ones[-1])


# ---------------------------------------------------------------------- the handshake


def test_the_handshake_of_the_rfc_is_answered_as_there(server):
    with Peer(server) as peer:
        answer = peer.upgrade()
        assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n" in answer
        assert "Sec-WebSocket-Protocol" not in answer and "Extensions" not in answer


@pytest.mark.parametrize(
    ("request_head", "status"),
    [(head(version="8"), 426), (head(key="x"), 400), (head(key="AAAAAAAAAAAAAAAAAAAAAA=="[:-4]), 400),
     (head().replace(b"Sec-WebSocket-Key", b"X"), 400), (head().replace(b"Connection: Upgrade", b"Connection: x"), 400),
     (head().replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426), (head().replace(b"GET", b"HEAD"), 400),
     (head().replace(b"GET", b"POST"), 405), (head().replace(b"Host: localhost\r\n", b""), 400),
     (head(extra="Content-Length: 3\r\n"), 413), (head(extra="Sec-WebSocket-Protocol: c.v1\r\n"), 400),
     (head(extra="Origin: http://evil.example\r\n"), 403), (head(extra="A: 1\r\n B: folded\r\n"), 400),
     (head(extra="A : 1\r\n"), 400), (head().replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
     (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400)],
)  # fmt: skip
def test_a_handshake_that_is_none_is_refused_and_the_connection_closed(server, request_head, status):
    opened = len(server.app.opened_ones)
    with Peer(server) as peer:
        peer.say(request_head)
        assert peer.reply(bodiless=request_head.startswith(b"HEAD") and status == 200)[0] == status
        assert peer.is_over()
    assert len(server.app.opened_ones) == opened


def test_the_application_is_asked_before_anything_is_agreed_on(server):
    with Peer(server) as peer:
        peer.say(head(path="/ws?token=a%20b", extra="Authorization: Bearer x\r\n"))
        peer.line_end()
        server.do(lambda: None)
        request, address = server.app.asked[-1]
        assert (request.path, request.query, request.headers["authorization"]) == ("/ws", {"token": "a b"}, "Bearer x")
        assert address == "127.0.0.1" == client_of(server).address


def test_our_favourite_of_the_subprotocols_is_agreed_on(server):
    with Peer(server) as peer:
        assert "Sec-WebSocket-Protocol: b.v1\r\n" in peer.upgrade(extra="Sec-WebSocket-Protocol: x, a.v1 ,b.v1\r\n")
        assert server.app.agreed[-1] == ("b.v1", False)


def test_what_was_sent_behind_the_handshake_is_heard(server):
    with Peer(server) as peer:
        peer.say(head() + masked(TEXT, b"at once") + masked(PING, b"too"))
        assert "101" in peer.line_end()
        assert [peer.frame(), peer.frame()] == [(0x81, b"at once"), (0x8A, b"too")]


def test_bytes_that_come_one_by_one_are_the_same_bytes(server):
    with Peer(server) as peer:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head() + masked(TEXT, "ä€😀".encode()) + masked(CLOSE, b"\x03\xe8"):
            peer.say(bytes([byte]))
        peer.line_end()
        assert peer.frame() == (0x81, "ä€😀".encode())
        assert peer.close_code() == 1000 and peer.is_over()


# ---------------------------------------------------------------------- messages


def test_a_message_in_fragments_is_one_with_control_frames_in_between(server, peer):
    peer.say(masked(TEXT, b"a", fin=False) + masked(PING, b"?") + masked(0, b"b", fin=False) + masked(PONG, b"unasked"))
    peer.say(masked(PING) + masked(0, b"c"))
    assert [peer.frame() for _ in range(3)] == [(0x8A, b"?"), (0x8A, b""), (0x81, b"abc")]
    assert server.app.messages[-1] == b"abc"


def test_a_compressed_message_is_inflated_and_one_that_inflates_beyond_the_bound_is_1009(server):
    with Peer(server) as peer:
        answer = peer.upgrade(extra="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
        assert "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n" in answer
        assert server.app.agreed[-1] == ("", True)
        for size in (100, MAX_BYTES, MAX_BYTES + 1):
            packer = zlib.compressobj(wbits=-15)
            packed = packer.compress(b"x" * size) + packer.flush(zlib.Z_SYNC_FLUSH)
            peer.say(masked(TEXT, packed[:-4], rsv=0x40))
            if size <= MAX_BYTES:
                assert peer.frame() == (0x81, b"x" * size)
        assert peer.close_code() == 1009


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x01x", 1002),  # not masked
        (masked(3), 1002), (masked(11), 1002),  # opcodes that are none
        (masked(TEXT, rsv=0x40), 1002), (masked(TEXT, rsv=0x20), 1002), (masked(TEXT, rsv=0x10), 1002),
        (masked(PING, bytes(126)), 1002), (masked(PING, fin=False), 1002), (masked(CLOSE, b"\x03"), 1002),
        (masked(0, b"of nothing"), 1002), (masked(TEXT, fin=False) + masked(TEXT), 1002),
        (b"\x82\xfe\x00\x05", 1002), (b"\x82\xff" + bytes(6) + b"\xff\xff", 1002),  # longer than they need be
        (b"\x82\xff\xff" + bytes(7), 1002),
        (masked(CLOSE, b"\x03\xec"), 1002), (masked(CLOSE, b"\x03\xed"), 1002), (masked(CLOSE, b"\x03\xee"), 1002),
        (masked(CLOSE, b"\x03\xf7"), 1002), (masked(CLOSE, b"\x00\x00"), 1002), (masked(CLOSE, b"\x13\x88"), 1002),
        (masked(CLOSE, b"\x03\xe8\xff"), 1007), (masked(TEXT, b"\xff"), 1007), (masked(TEXT, b"\xed\xa0\x80"), 1007),
        (masked(TEXT, b"\xc3"), 1007), (masked(TEXT, b"\xf4", fin=False) + masked(0, b"\x90", fin=False), 1007),
        (masked(TEXT, b"\xff" * 100)[:7], 1007),  # its first byte is enough
        (masked(BINARY, bytes(MAX_BYTES + 1))[:8], 1009),  # so is the length
        (masked(BINARY, bytes(4000), fin=False) + masked(0, bytes(97))[:6], 1009),
        (masked(CLOSE, b"\x03\xe8"), 1000), (masked(CLOSE, b"\x03\xf2ok"), 1010), (masked(CLOSE, b"\x0f\xa0"), 4000),
    ],
)  # fmt: skip
def test_each_way_to_end_has_its_code(server, peer, sent, code):
    client = client_of(server)
    peer.say(sent)
    assert peer.close_code() == code
    assert peer.is_over()
    server.until(lambda: server.app.closed_ones.count(client) == 1 and client.fd == -1)


def test_a_close_without_a_code_is_answered_without_one(peer):
    peer.say(masked(CLOSE))
    assert peer.frame() == (0x88, b"") and peer.is_over()


def test_a_message_as_long_as_the_bound_is_taken(peer):
    peer.say(masked(BINARY, bytes(MAX_BYTES)))
    assert peer.frame() == (0x82, bytes(MAX_BYTES))


def test_what_comes_behind_a_close_or_a_fault_is_not_heard(server, peer):
    heard = len(server.app.messages)
    peer.say(masked(CLOSE, b"\x03\xe8") + masked(TEXT, b"too late"))
    assert peer.close_code() == 1000 and peer.is_over()
    assert len(server.app.messages) == heard


# ---------------------------------------------------------------------- the end


def test_a_goodbye_of_ours_waits_for_the_client_s(server, peer):
    client = client_of(server)
    server.do(lambda: server.server.close(client, 3500, "x" * 200))
    code, reason = (payload := peer.frame()[1])[:2], payload[2:]
    assert (int.from_bytes(code, "big"), reason) == (3500, b"x" * 123)
    assert client.fd == -1 and not server.do(lambda: server.server.send(client, frame(b"", TEXT)))
    peer.say(masked(TEXT, b"on its way already"))
    server.pass_s(1)
    peer.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.sock.recv(1)
    peer.sock.settimeout(10)
    peer.say(masked(CLOSE, b"\x0d\xac"))
    assert peer.is_over()
    peer.sock.close()
    server.until(lambda: server.app.closed_ones.count(client) == 1 and not server.server.gauges()["farewells"])


def test_who_does_not_answer_a_goodbye_is_left_alone_soon(server, peer):
    client = client_of(server)
    server.do(lambda: server.server.close(client, 1001, "the front stops"))
    assert peer.close_code() == 1001
    server.pass_s(2.5)
    assert peer.is_over() and server.do(lambda: server.server.gauges()["farewells"]) == 0


def test_a_client_that_vanishes_is_noticed_once(server, peer):
    client = client_of(server)
    peer.reset()
    server.until(lambda: client.fd == -1)
    assert server.do(lambda: server.app.closed_ones.count(client)) == 1


def test_a_message_that_does_not_end_is_not_waited_for():
    """However often a byte of it comes: what has come is held."""
    with running(ping_s=2) as server, Peer(server) as peer:
        peer.upgrade()
        client = client_of(server)
        peer.say(masked(TEXT, b"x", fin=False))
        for _ in range(3):
            server.pass_s(1)
            seen = client.seen
            peer.say(masked(CONTINUED, b"y", fin=False))
            server.until(lambda seen=seen: client.seen > seen)
        server.pass_s(2.5)
        assert peer.close_code() == 3008
        assert server.do(server.server.gauges)["slow_messages"] == 1


def test_who_was_silent_is_pinged_and_who_does_not_answer_is_given_up():
    with running(ping_s=2) as server, Peer(server) as alive, Peer(server) as dead:
        alive.upgrade()
        client = client_of(server)
        dead.upgrade()
        server.pass_s(2.5)
        assert alive.frame() == dead.frame() == (0x89, b"")
        seen = client.seen
        alive.say(masked(PONG))
        server.until(lambda: client.seen > seen)
        server.pass_s(2)
        gauges = server.do(server.server.gauges)
        assert (gauges["clients"], gauges["silent"]) == (1, 1)
        with pytest.raises(EOFError):
            while True:
                dead.frame()
        alive.say(masked(TEXT, b"here"))
        while (told := alive.frame()) != (0x81, b"here"):
            assert told == (0x89, b"")
