"""wick's Server in a thread of the test, its time in the test's hands, and peers that are plain sockets."""

import socket
import struct
import threading
from contextlib import contextmanager

import gevent

from wick.net.farewell import SWEEP_S
from wick.net.ws_server import Client, Server, listen
from wick.wire.http import Reply
from wick.wire.websocket import BINARY, TEXT, Deflater, frame

PATIENCE_S = 30
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455's own example, and what it answers
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Echo:
    """Answers each message with itself; keeps what it was told."""

    path = "/ws"
    prompt = frozenset({"/health"})
    subprotocols = ("b.v1", "a.v1")

    def __init__(self):
        self.opened_ones, self.closed_ones, self.messages, self.writables, self.asked = [], [], [], 0, []
        self.agreed, self.stalled_ones, self.controls = [], [], 0
        self.deflater = Deflater()
        self.answer = lambda request: Reply(200, "text/plain", request.target.encode())
        self.take = self.echo

    def refuse(self, request, address):
        self.asked.append((request, address))
        if request.headers.get("origin", "").startswith("http://evil"):
            return Reply(403, "text/plain", b"not from there")
        return None

    def opened(self, client, request, subprotocol, deflate):
        self.opened_ones.append(client)
        self.agreed.append((subprotocol, deflate))

    def message(self, client, data, is_text):
        self.messages.append(data)
        self.take(client, data, is_text)

    def echo(self, client, data, is_text):
        self.server.send(client, frame(data, TEXT if is_text else BINARY))

    def control(self, client):
        self.controls += 1

    def stalled(self, client):
        self.stalled_ones.append(client)

    def writable(self, client):
        self.writables += 1

    def closed(self, client):
        self.closed_ones.append(client)

    def respond(self, request):
        return self.answer(request)


class Running:
    """A server in a thread. What touches it is done there, by `do`; its sweeps are the test's, by `pass_s`."""

    def __init__(self, **options):
        self.app = Echo()
        self.sockets = []  # of the peers, closed in the end
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(options,))
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    def _run(self, options):
        self._hub = gevent.get_hub()
        listener = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.server = self.app.server = Server(listener, self.app, **({"client_type": Client} | options))
        draining, sweeping = self.server.start()
        sweeping.kill()
        self._over = gevent.event.Event()
        self._ready.set()
        self._over.wait(3600)  # with a timer of its own the hub has something to wait for, whatever the test stops
        self.failure = draining.exception
        self.server.shutdown()
        self._hub.destroy(destroy_loop=True)

    def do(self, work):
        """What `work()` gives, done between two turns of the server, like an application's call."""
        done, result = threading.Event(), []

        def body():
            try:
                result.append(work())
            except BaseException as error:
                result.append(error)
            done.set()

        self._hub.loop.run_callback_threadsafe(gevent.spawn, body)
        assert done.wait(PATIENCE_S)
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def pass_s(self, seconds):
        def body():
            for _ in range(round(seconds / SWEEP_S)):
                self.server.sweep()

        self.do(body)

    def until(self, probe):
        """Wait until `probe()` holds, asked in the server's thread."""
        for _ in range(PATIENCE_S * 1000):
            if self.do(probe):
                return
            threading.Event().wait(0.001)
        raise AssertionError("it did not come")

    def end(self):
        """The server ends all that it has."""
        self._hub.loop.run_callback_threadsafe(self._over.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self.failure is None, self.failure

    def stop(self):
        if self._thread.is_alive():
            self.end()
        for sock in self.sockets:
            sock.close()


@contextmanager
def running(**options):
    server = Running(**options)
    try:
        yield server
    finally:
        server.stop()


def head(path="/ws", extra="", key=KEY, version="13"):
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n{extra}\r\n"
    ).encode()


def masked(opcode, payload=b"", *, fin=True, rsv=0, mask=b"\x0a\x0b\x0c\x0d"):
    """A client's frame, by the book."""
    size = len(payload)
    first = (0x80 if fin else 0) | rsv | opcode
    if size < 126:
        start = bytes([first, 0x80 | size])
    elif size < 65536:
        start = bytes([first, 0x80 | 126]) + struct.pack(">H", size)
    else:
        start = bytes([first, 0x80 | 127]) + struct.pack(">Q", size)
    return start + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Peer:
    """The other end: a socket, and frames taken apart by hand."""

    def __init__(self, running, *, receive_bytes=0):
        self.running = running
        self.sock = socket.socket()
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        running.sockets.append(self.sock)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(("127.0.0.1", running.port))
        self.data = b""

    def say(self, data):
        self.sock.sendall(data)

    def exactly(self, size):
        while len(self.data) < size:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.data += more
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def line_end(self, end=b"\r\n\r\n"):
        text = b""
        while not text.endswith(end):
            text += self.exactly(1)
        return text.decode()

    def upgrade(self, **options):
        self.say(head(**options))
        answer = self.line_end()
        assert answer.startswith("HTTP/1.1 101 "), answer
        self.running.do(lambda: None)  # now the application knows of it, too
        return answer

    def reply(self, bodiless=False):
        """Status, headers and body of an HTTP reply."""
        status, *lines = self.line_end().split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        body = b"" if bodiless else self.exactly(int(headers.get("Content-Length", 0)))
        return int(status.split(" ")[1]), headers, body

    def frame(self):
        first, size = self.exactly(2)
        if size == 126:
            size = int.from_bytes(self.exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(self.exactly(8), "big")
        return first, self.exactly(size)

    def close_code(self):
        first, payload = self.frame()
        assert first == 0x88, (first, payload)
        return int.from_bytes(payload[:2], "big")

    def is_over(self):
        """Whether the other side has closed, in order; a reset raises."""
        return not self.data and self.sock.recv(1) == b""

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()
