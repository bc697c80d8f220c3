"""The WebSocket client against a real server, with and without TLS."""

import socket
import ssl
import threading
from contextlib import closing

import gevent
import gevent.socket
import pytest
import trustme
from websockets.sync.server import ServerConnection, serve

from tests.net.servers import echo, server
from wick.net import ws_client
from wick.net.ws_client import Disconnected, WebSocketClient


def receive_one(client: WebSocketClient) -> bytes:
    while True:
        for message in client.receive(30):
            return message


def test_what_is_sent_comes_back() -> None:
    with server(echo) as url:
        client = WebSocketClient(url)
        client.send(b'{"method":"SUBSCRIBE"}')
        assert receive_one(client) == b'{"method":"SUBSCRIBE"}'
        client.close()


def test_a_message_in_fragments_is_one_message() -> None:
    with server(lambda connection: (connection.send(iter(["ab", "cd", "e"])), connection.recv())) as url:
        client = WebSocketClient(url)
        assert receive_one(client) == b"abcde"
        client.close()


def test_a_certificate_that_the_authority_signed_is_accepted() -> None:
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(theirs)
    authority.configure_trust(ours)
    with server(echo, theirs) as url:
        client = WebSocketClient(url, ours)
        client.send(b"secret")
        assert receive_one(client) == b"secret"
        client.close()


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
def test_a_certificate_of_an_unknown_authority_or_another_name_is_refused(name: str) -> None:
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(name).configure_cert(theirs)
    if name != "localhost":
        authority.configure_trust(ours)
    with server(echo, theirs) as url, pytest.raises(Disconnected, match="CERTIFICATE_VERIFY_FAILED"):
        WebSocketClient(url, ours)


def test_pings_are_answered_and_give_no_message() -> None:
    answered = threading.Event()

    def ping(connection: ServerConnection) -> None:
        assert connection.ping().wait(30)
        answered.set()

    with server(ping) as url, closing(WebSocketClient(url)) as client:
        with pytest.raises(Disconnected):
            while True:
                assert client.receive(30) == []
        assert answered.wait(30)


@pytest.mark.slow
def test_silence_is_a_disconnection_that_says_so() -> None:
    with server(lambda connection: connection.recv()) as url:
        client = WebSocketClient(url)
        with pytest.raises(Disconnected, match=r"silent for 0\.2 s"):
            client.receive(0.2)
        client.close()


def test_a_close_of_the_server_is_a_disconnection_with_its_code() -> None:
    with (
        server(lambda connection: connection.close(1001, "24 h")) as url,
        closing(WebSocketClient(url)) as client,
        pytest.raises(Disconnected, match="1001"),
    ):
        while True:
            client.receive(30)


def test_nobody_at_the_address_is_a_disconnection_that_names_it() -> None:
    with pytest.raises(Disconnected, match=r"ws://127\.0\.0\.1:1/x"):
        WebSocketClient("ws://127.0.0.1:1/x")


def test_a_server_that_hangs_up_during_the_handshake_is_a_disconnection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Disconnected):
            WebSocketClient(f"ws://127.0.0.1:{listening.getsockname()[1]}/x")
        thread.join()


@pytest.mark.parametrize(("after", "expected"), [([], None), (["7"], 7.0), (["soon"], None), (["7", "8"], None)])
def test_an_answer_that_is_no_websocket_is_a_disconnection_that_says_what_came(
    after: list[str], expected: object
) -> None:
    def refuse(connection: ServerConnection, request: object) -> object:
        response = connection.respond(403, "no")
        for value in after:
            response.headers["Retry-After"] = value
        return response

    with serve(echo, "127.0.0.1", 0, process_request=refuse) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        with pytest.raises(Disconnected, match="403") as caught:
            WebSocketClient(f"ws://127.0.0.1:{listening.socket.getsockname()[1]}/x")
        assert (caught.value.status, caught.value.retry_after_s) == (403, expected)
        listening.shutdown()
        thread.join()


def test_greenlets_may_send_at_once_and_no_message_is_mixed_with_another() -> None:
    messages = [bytes([65 + n]) * 400_000 for n in range(8)]

    def slow(connection: ServerConnection) -> None:
        assert released.wait(30)
        arrived.extend(connection.recv().encode() for _ in messages)
        connection.recv()

    arrived: list[bytes] = []
    released = threading.Event()
    with server(slow) as url:
        client = WebSocketClient(url, connect=gevent.socket.create_connection)
        sending = [gevent.spawn(client.send, message) for message in messages]
        gevent.sleep(0)  # all have begun: what the kernel does not take, waits
        released.set()
        gevent.joinall(sending, timeout=30, raise_error=True)
        while len(arrived) < len(messages):
            gevent.sleep(0.001)
        client.close()
    assert arrived == messages


def test_who_is_killed_during_the_handshake_leaves_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/x"
        attempt = gevent.spawn(WebSocketClient, url, connect=gevent.socket.create_connection)
        while not attempt.dead:
            with gevent.Timeout(0.02, False):
                attempt.join()
            attempt.kill()
        with listening.accept()[0] as theirs:
            theirs.settimeout(30)
            assert theirs.recv(4096).startswith(b"GET /x")
            assert theirs.recv(4096) == b""


def test_a_server_that_pings_and_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws_client, "MAX_LEAVING", 10)

    def flood(connection: ServerConnection) -> None:
        connection.recv()  # pings that came with the handshake would be answered within it
        connection.socket.sendall(b"\x89\x02hi" * 20)
        ended.wait(30)

    ended = threading.Event()
    with server(flood) as url:
        client = WebSocketClient(url, connect=gevent.socket.create_connection)
        client.send(b"go")
        client._sending = True  # another greenlet waits for the socket
        with pytest.raises(Disconnected, match="does not read"):
            while True:
                client.receive(30)
        client.abort()
        ended.set()
