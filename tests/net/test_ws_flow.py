"""What the server writes: to many at once, to who takes little, to who has just gone, and never to somebody else."""

import socket

import pytest

from tests.net.lean import Peer, head, masked, running
from wick.wire.websocket import BINARY, PING, TEXT, frame

BIG = frame(bytes(range(256)) * 1200, BINARY)  # more than the kernel takes for who does not read
NOTE = frame(b"note", TEXT)


@pytest.fixture
def server():
    with running(stall_s=20) as one:
        yield one


def join(server, count=1, **options):
    """Peers that are clients, with what the server has for them."""
    peers = []
    for _ in range(count):
        peer = Peer(server, **options)
        peer.upgrade()
        peers.append((peer, server.do(lambda: server.app.opened_ones[-1])))
    return peers


def slow(server):
    """A peer with hardly any buffer, and its client, which has taken a part of BIG."""
    ((peer, client),) = join(server, receive_bytes=4096)
    assert server.do(lambda: server.server.send(client, BIG)) is False
    assert 0 < client.due == len(client.rest) < len(BIG)
    return peer, client


def test_a_message_to_all_reaches_all_and_names_who_did_not_take_it(server):
    (one, a), (other, b) = join(server, 2)
    third, c = join(server, 1, receive_bytes=4096)[0]
    assert server.do(lambda: server.server.send_all([a, b, c], [NOTE] * 3)) == []
    assert server.do(lambda: server.server.send_all([c], [BIG])) == [c]
    assert server.do(lambda: server.server.send_all([a, b], [NOTE] * 2)) == []
    assert [one.frame(), one.frame(), other.frame(), other.frame()] == [(0x81, b"note")] * 4
    assert third.frame() == (0x81, b"note") and third.frame() == (0x82, BIG[10:])
    server.until(lambda: server.app.writables == 1)


def test_a_partial_write_is_finished_before_anything_else_pongs_too(server):
    peer, client = slow(server)
    peer.say(masked(PING, b"now"))
    assert server.do(lambda: server.server.send(client, NOTE)) is False
    assert [peer.frame() for _ in range(3)] == [(0x82, BIG[10:]), (0x81, b"note"), (0x8A, b"now")]
    assert server.do(lambda: (client.rest, client.due, client.inbox)) == (b"", 0, None)
    assert server.do(lambda: server.server._epoll.poll(0)) == []  # it is at peace again, not writable all the time


def test_a_pong_that_is_not_taken_is_told_for_nothing_may_be_sent_before_it(server):
    ((peer, client),) = join(server, receive_bytes=4096)
    send, server.server.send = server.server.send, lambda client, data: False  # as a full socket has it
    peer.say(masked(PING, b"a") + masked(PING, b"b"))
    server.until(lambda: server.app.stalled_ones == [client, client])
    server.server.send = send
    assert server.app.controls == 2


def test_who_does_not_take_answers_is_not_heard_until_it_does(server):
    (peer, _) = slow(server)
    peer.say(masked(TEXT, b"first") + masked(TEXT, b"second"))
    (other, _) = join(server)[0]
    other.say(masked(TEXT, b"x"))
    assert other.frame() == (0x81, b"x")
    assert server.app.messages == [b"x"]
    assert [peer.frame() for _ in range(3)] == [(0x82, BIG[10:]), (0x81, b"first"), (0x81, b"second")]


def test_what_a_client_asked_at_once_is_heard_one_by_one_as_it_takes_the_answers(server):
    ((peer, _),) = join(server, receive_bytes=4096)
    server.app.take = lambda client, data, is_text: server.server.send(client, BIG)
    peer.say(masked(TEXT, b"one") + masked(TEXT, b"two") + masked(TEXT, b"three"))
    server.until(lambda: server.app.messages)
    assert server.app.messages == [b"one"]
    assert peer.frame() == (0x82, BIG[10:])
    server.until(lambda: server.app.messages == [b"one", b"two"])
    assert [peer.frame(), peer.frame()] == [(0x82, BIG[10:])] * 2


def test_a_stalled_client_is_closed_with_3008_behind_the_frame_that_was_cut(server):
    peer, client = slow(server)
    server.do(lambda: server.server.send(client, BIG))
    server.pass_s(19.9)
    assert client.fd >= 0
    server.pass_s(0.2)
    server.until(lambda: server.app.closed_ones == [client])
    assert peer.frame() == (0x82, BIG[10:])  # and the other one never
    assert peer.close_code() == 3008 and peer.is_over()
    assert server.do(server.server.gauges)["stalled"] == 1


def test_a_stalled_client_that_cannot_even_be_told_is_reset(server):
    peer, _ = slow(server)
    server.pass_s(22.5)
    with pytest.raises(ConnectionResetError):
        while peer.sock.recv(65536):
            pass
    assert server.do(server.server.gauges)["farewells"] == 0


def test_a_client_that_takes_a_little_now_and_then_is_not_stalled(server):
    peer, client = slow(server)
    for _ in range(3):
        server.pass_s(15)
        waiting = len(client.rest)
        while len(client.rest) == waiting:
            peer.data += peer.sock.recv(4096)
            server.do(lambda: None)
    assert peer.frame() == (0x82, BIG[10:]) and client.fd >= 0


def test_a_goodbye_goes_behind_what_waits(server):
    peer, client = slow(server)
    server.do(lambda: server.server.close(client, 1001, "bye"))
    assert peer.frame() == (0x82, BIG[10:]) and peer.close_code() == 1001


def test_who_is_sent_more_and_more_and_takes_none_is_reset(server):
    peer, client = slow(server)
    for _ in range(4):
        server.do(lambda: server.server.send(client, BIG))
    assert client.fd == -1 and server.do(server.server.gauges)["flooded"] == 1
    with pytest.raises(ConnectionResetError):
        while peer.sock.recv(65536):
            pass


def test_clients_that_die_in_the_middle_of_a_flush_hold_nobody_up(server):
    both = join(server, 6)
    clients = [client for _, client in both]
    dead = clients[1:5:2]

    def flush():
        for peer, client in both:
            if client in dead:
                peer.reset()
        late = server.server.send_all(clients, [NOTE] * 6)
        assert not server.app.closed_ones  # not while somebody may still hold them
        return late

    assert server.do(flush) == dead
    assert [peer.frame() for peer, client in both if client not in dead] == [(0x81, b"note")] * 4
    server.until(lambda: sorted(map(id, server.app.closed_ones)) == sorted(map(id, dead)))


def test_a_bulk_write_never_reaches_whoever_has_the_number_next(server):
    ((leaving, gone), (staying, client)) = join(server, 2)
    number = gone.fd
    leaving.reset()
    server.until(lambda: gone.fd == -1)
    ((heir, new),) = join(server)
    assert new.fd == number
    assert server.do(lambda: server.server.send_all([gone, client], [NOTE] * 2)) == [gone]
    assert server.do(lambda: server.server.send(gone, NOTE)) is False
    server.do(lambda: server.server.close(gone, 1001, "once more"))
    assert staying.frame() == (0x81, b"note")
    assert server.do(lambda: server.server.send(new, frame(b"the first", TEXT)))
    assert heir.frame() == (0x81, b"the first")


def test_a_client_that_is_closed_in_its_own_message_hears_no_more(server):
    ((peer, _),) = join(server)
    server.app.take = lambda client, data, is_text: server.server.close(client, 3500, "no")
    peer.say(masked(TEXT, b"one") + masked(TEXT, b"two"))
    assert peer.close_code() == 3500
    assert server.app.messages == [b"one"]


def test_a_client_with_much_to_say_lets_the_others_speak_in_between(server):
    (loud, _), (quiet, _) = join(server, 2)
    turns = []
    server.app.take = lambda client, data, is_text: turns.append(server._hub.loop.now()) if data != b"x" else None
    loud.say(masked(TEXT, b"m") * 100)
    server.until(lambda: len(server.app.messages) == 100)
    assert len(set(turns)) > 5
    quiet.say(masked(TEXT, b"x"))
    server.until(lambda: len(server.app.messages) == 101)
    assert server.do(lambda: (server.server._more, server.server._epoll.poll(0))) == ({}, [])


def test_what_an_application_says_when_a_client_opens_is_its_first_frame(server):
    opened = server.app.opened
    server.app.opened = lambda client, *rest: (opened(client, *rest), server.server.send(client, NOTE))
    with Peer(server) as peer:
        peer.say(head() + masked(TEXT, b"early"))
        peer.line_end()
        assert [peer.frame(), peer.frame()] == [(0x81, b"note"), (0x81, b"early")]


def test_a_front_that_stops_takes_nobody_new_and_ends_those_it_has(server):
    ((peer, client),) = join(server)
    server.do(server.server.stop_accepting)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    server.end()
    assert peer.is_over() and server.app.closed_ones == [client]
