"""HTTP on the server's raw sockets: replies and the next request, and what is too long, too slow or no request."""

import threading

import gevent
import pytest

from tests.net.lean import Peer, head, running
from wick.net import visits
from wick.wire.http import MAX_HEAD_BYTES, Reply


@pytest.fixture
def server():
    with running() as one:
        yield one


def get(path="/x", extra="", method="GET", version="1.1"):
    return f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n{extra}\r\n".encode()


def test_a_connection_goes_on_from_one_request_to_the_next(server):
    with Peer(server) as peer:
        for number in range(3):
            peer.say(get(f"/{number}"))
            status, headers, body = peer.reply()
            assert (status, body) == (200, f"/{number}".encode())
            assert headers["Connection"] == "keep-alive" and headers["Date"].endswith(" GMT")


def test_requests_that_were_sent_together_are_answered_in_order(server):
    with Peer(server) as peer:
        peer.say(b"\r\n" + get("/a") + get("/b", method="HEAD") + get("/c") + head() + b"\x89\x80\0\0\0\0")
        assert peer.reply()[2] == b"/a"
        status, headers, _ = peer.reply(bodiless=True)
        assert (status, headers["Content-Length"]) == (200, "2")
        assert peer.reply()[2] == b"/c"
        assert "101" in peer.line_end() and peer.frame() == (0x8A, b"")


@pytest.mark.parametrize(
    ("request_head", "status"),
    [(get(method="POST"), 405), (get(method="BREW"), 405), (get(extra="Content-Length: 5\r\n"), 413),
     (get(extra="Transfer-Encoding: chunked\r\n"), 413), (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET /\r\n\r\n", 400),
     (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400), (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
     (get("/%ff"), 400), (get("/%00"), 400), (get("*"), 400), (get("/ws"), 426),
     (get("/" + "x" * MAX_HEAD_BYTES), 431), (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000, 431)],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_connection_closed(server, request_head, status):
    with Peer(server) as peer:
        peer.say(request_head)
        code, headers, _ = peer.reply()
        assert (code, headers["Connection"]) == (status, "close") and peer.is_over()


@pytest.mark.parametrize(
    ("request_head", "goes_on"),
    [(get(extra="Connection: close\r\n"), False), (get(version="1.0"), False),
     (get(version="1.0", extra="Connection: keep-alive\r\n"), True), (get(extra="Content-Length: 0\r\n"), True)],
)  # fmt: skip
def test_a_connection_ends_where_the_client_wants_it_to(server, request_head, goes_on):
    with Peer(server) as peer:
        peer.say(request_head)
        status, headers, _ = peer.reply()
        assert (status, headers["Connection"]) == (200, "keep-alive" if goes_on else "close")
        if not goes_on:
            assert peer.is_over()


def test_a_head_that_comes_slowly_is_given_up_and_one_that_does_not_come_at_all(server):
    with Peer(server) as slow, Peer(server) as silent, Peer(server) as used:
        used.say(get())
        used.reply()
        slow.say(get()[:-2])
        server.until(lambda: server.server.gauges()["visits"] == 3)
        for _ in range(9):
            server.pass_s(1)
            slow.say(b"A: b\r\n")  # a byte now and then is no excuse
        server.pass_s(1.1)
        assert slow.reply()[0] == 408 and slow.is_over()
        assert silent.is_over() and used.is_over()
        assert server.do(server.server.gauges)["timeouts"] == 3


def test_empty_lines_before_a_head_are_not_gathered(server):
    with Peer(server) as peer:
        for _ in range(20):
            peer.say(b"\r\n" * 5000)
        peer.say(get())
        assert peer.reply()[0] == 200
        server.do(lambda: None)
        peer.say(b"\r\n" * 5000)
        server.until(lambda: server.server._visits.counts["requests"] == 1)
        server.until(lambda: all(not visit.data for visit in server.server._visits._all.values()))


def test_connections_that_say_nothing_for_a_while_give_their_place_to_new_ones(server, monkeypatch):
    monkeypatch.setattr(visits, "MAX_VISITS", 3)
    silent = [Peer(server) for _ in range(3)]
    server.until(lambda: server.server.gauges()["visits"] == 3)
    server.pass_s(visits.EVICT_S)
    with Peer(server) as late:
        late.say(get())
        assert late.reply()[0] == 200
        assert silent[0].is_over() and server.do(server.server.gauges)["evicted"] == 1


def test_who_comes_in_a_crowd_waits_with_the_kernel_and_nobody_is_turned_away(server, monkeypatch):
    monkeypatch.setattr(visits, "MAX_VISITS", 3)
    crowd = [Peer(server) for _ in range(12)]
    server.until(lambda: server.server.gauges()["visits"] == 3)
    for peer in crowd:
        peer.upgrade()
    assert server.do(server.server.gauges)["evicted"] == 0


def test_answers_that_take_long_hold_up_neither_clients_nor_more_than_a_few(server):
    going, running_now, most = gevent.event.Event(), [], []

    def answer(request):
        running_now.append(request)
        most.append(len(running_now))
        going.wait()
        running_now.remove(request)
        return Reply(200, "text/plain", request.target.encode())

    server.app.answer = answer
    waiting = [Peer(server) for _ in range(20)]
    for number, peer in enumerate(waiting):
        peer.say(get(f"/{number}"))
    server.until(lambda: len(running_now) == visits.ANSWERS)
    with Peer(server) as client:
        client.upgrade()
        client.say(b"\x81\x82\0\0\0\0hi")
        assert client.frame() == (0x81, b"hi")
    server.do(going.set)
    assert sorted(peer.reply()[2] for peer in waiting) == sorted(f"/{number}".encode() for number in range(20))
    assert max(most) == visits.ANSWERS


def test_the_health_is_told_whatever_else_is_asked_for(server):
    going = gevent.event.Event()

    def answer(request):
        if request.path != "/health":
            going.wait()
        return Reply(200, "text/plain", b"")

    server.app.answer = answer
    waiting = [Peer(server) for _ in range(visits.ANSWERS + 2)]
    for peer in waiting:
        peer.say(get())
    with Peer(server) as asker:
        asker.say(get("/health") * 3)
        assert [asker.reply()[0] for _ in range(3)] == [200] * 3
    server.do(going.set)
    assert {peer.reply()[0] for peer in waiting} == {200}


def test_who_leaves_before_the_answer_is_forgotten(server):
    going = gevent.event.Event()
    server.app.answer = lambda request: (going.wait(), Reply(200, "text/plain", b""))[1]
    peer = Peer(server)
    peer.say(get())
    server.until(lambda: server.app.asked)
    peer.reset()
    server.pass_s(60)  # while it is answered, no deadline
    assert server.do(server.server.gauges)["visits"] == 1
    server.do(going.set)
    server.until(lambda: server.server.gauges()["visits"] == 0)


def test_a_long_reply_is_sent_as_it_is_taken_and_dropped_where_it_is_not(server):
    body = bytes(range(256)) * 2_000
    server.app.answer = lambda request: Reply(200, "application/octet-stream", body)
    with Peer(server) as peer, Peer(server, receive_bytes=4096) as stuck:
        stuck.say(get())
        peer.say(get())
        assert peer.reply()[2] == body
        server.pass_s(15)
        assert server.do(server.server.gauges)["visits"] == 1  # the other one had nothing more to ask
        server.pass_s(5.1)
        assert server.do(server.server.gauges)["visits"] == 0
        with pytest.raises(ConnectionResetError):
            while stuck.sock.recv(65536):
                pass


def test_replies_that_nobody_takes_keep_no_more_than_their_bound(server, monkeypatch):
    monkeypatch.setattr(visits, "MAX_UNSENT_BYTES", 1_000_000)
    server.app.answer = lambda request: Reply(200, "text/plain", bytes(900_000))
    stuck = [Peer(server, receive_bytes=4096) for _ in range(6)]
    for number, peer in enumerate(stuck, 1):  # they are answered in this order
        peer.say(get())
        server.until(lambda number=number: len(server.app.asked) == number)
    assert server.do(lambda: server.server.gauges()["unsent_bytes"]) < 1_900_000
    for peer in stuck:
        assert len(peer.reply()[2]) == 900_000


def test_a_route_that_fails_is_a_500_and_the_server_goes_on(server, caplog):
    def fail(request):
        raise RuntimeError("a route's mistake")

    server.app.answer = fail
    with Peer(server) as peer:
        peer.say(get("/broken"))
        assert peer.reply()[0] == 500 and peer.is_over()
    assert "a route's mistake" in caplog.text
    server.app.answer = lambda request: Reply(304, "text/plain", b"", (("ETag", '"1"'),))
    with Peer(server) as peer:
        peer.say(get())
        status, headers, _ = peer.reply(bodiless=True)
        assert (status, headers["ETag"], "Content-Length" in headers) == (304, '"1"', False)


def test_where_descriptors_are_out_connections_wait_for_the_next_sweep(server):
    listener, failed = server.server._listener, threading.Event()

    class Broken:
        def __getattr__(self, name):
            return getattr(listener, name)

        def _accept(self):
            failed.set()
            raise OSError(24, "Too many open files")

    server.do(lambda: setattr(server.server, "_listener", Broken()))
    with Peer(server) as peer:
        peer.say(get())
        assert failed.wait(30)
        server.do(lambda: setattr(server.server, "_listener", listener))
        server.pass_s(0.1)
        assert peer.reply()[0] == 200
        assert server.do(server.server.gauges)["failed_accepts"] == 1
