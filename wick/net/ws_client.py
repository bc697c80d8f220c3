"""A WebSocket client connection: TLS, bounds, pings answered. The protocol is `websockets`' sans-IO core.

An exchange sends a flood of small whole messages: these are cut out of the received bytes here, at a fraction of the
core's cost. All else (handshake, control frames, fragments, large messages, whatever is wrong) is the core's to judge.

Blocking calls on an ordinary socket, so that it serves under gevent (patched) and in a plain process alike.
"""

import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from wick.errors import WickError
from wick.net.dial import ProxyError, dial
from wick.net.limits import retry_after_s

CONNECT_TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # a depth snapshot of 5,000 levels is about 0.4 MB
MAX_LEAVING = 1024  # frames, of a server that does not read
READ_BYTES = 256 * 1024
WHOLE_TEXT, WHOLE_BINARY = 0x81, 0x82  # the first byte of a frame that is a whole message


class Disconnected(WickError):
    """The connection could not be made, or is over; the text says how.

    `status`: HTTP's, where the handshake was answered with one; `retry_after_s`: where that told so.
    """

    status: int | None = None
    retry_after_s: float | None = None


class Inbox:
    """Takes the messages out of the bytes that arrive on an open connection."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._kept = b""  # a frame that is not yet whole, or its header
        self._owed = 0  # bytes that the protocol has yet to get of the frame that it is at
        self._parts: list[bytes] = []  # of a message in fragments

    def take(self, data: bytes) -> list[bytes]:
        """The messages that are whole with `data`, the next bytes."""
        messages: list[bytes] = []
        if self._kept:
            data, self._kept = self._kept + data, b""
        at, arrived = 0, len(data)
        while at < arrived:
            size = self._owed
            if self._protocol.state is not State.OPEN:
                size = arrived - at
            elif not size:
                if not self._parts:
                    at = _cut(data, at, messages)
                size, plain = _measure(data, at)
                if not size or (plain and not self._parts):
                    self._kept = data[at:]
                    break
            self._protocol.receive_data(data[at : at + size])
            self._owed = max(0, at + size - arrived)
            at += size
            self._collect(messages)
        return messages

    def end(self) -> None:
        """No more bytes will come."""
        if self._kept:
            self._protocol.receive_data(self._kept)
        self._protocol.receive_eof()

    def _collect(self, messages: list[bytes]) -> None:
        for event in self._protocol.events_received():
            if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            if event.fin and not self._parts:
                messages.append(bytes(event.data))
                continue
            self._parts.append(bytes(event.data))
            if event.fin:
                messages.append(b"".join(self._parts))
                self._parts.clear()


def _cut(data: bytes, at: int, messages: list[bytes]) -> int:
    """Take the whole plain messages that stand at `at`; where the next frame begins.

    A plain message is one frame of less than 64 kB, text or binary, not masked, no reserved bit: the protocol has
    nothing to object to.
    """
    arrived = len(data)
    while at + 1 < arrived and (data[at] == WHOLE_TEXT or data[at] == WHOLE_BINARY):
        begin, size = at + 2, data[at + 1]
        if size >= 126:
            if size > 126 or begin + 2 > arrived:
                break
            size = data[begin] << 8 | data[begin + 1]
            begin += 2
        end = begin + size
        if end > arrived:
            break
        messages.append(data[begin:end])
        at = end
    return at


def _measure(data: bytes, at: int) -> tuple[int, bool]:
    """The size of the frame at `at` (0 where its header is not all there), and whether it is a plain message."""
    head = data[at : at + 10]
    if len(head) < 2:
        return 0, False
    size = head[1] & 127
    plain = head[0] in (WHOLE_TEXT, WHOLE_BINARY) and head[1] <= 126
    if size < 126:
        return 2 + size, plain
    length = 2 if size == 126 else 8
    if len(head) < 2 + length:
        return 0, False
    return 2 + length + int.from_bytes(head[2 : 2 + length], "big"), plain


def _refusal(url: str, why: Exception | None) -> Disconnected:
    error = Disconnected(f"{url}: refused the handshake: {why or 'closed during the handshake'}")
    if isinstance(why, InvalidStatus):
        error.status = why.response.status_code
        try:
            error.retry_after_s = retry_after_s(why.response.headers.get("Retry-After"))
        except LookupError:  # several of them
            pass
    return error


class WebSocketClient:
    """One connection. `receive` gives whole messages; every failure is a Disconnected.

    One greenlet may receive while others send. `context` checks the certificate (see `dial.client_context`);
    `connect` is `socket.create_connection`, or gevent's where nothing is patched.
    """

    def __init__(
        self, url: str, context: ssl.SSLContext | None = None, subprotocols: Sequence[str] = (),
        connect: Callable[..., Any] = socket.create_connection,
    ) -> None:  # fmt: skip
        self.url = url
        self._leaving: deque[bytes] = deque()
        self._sending = False
        try:
            wanted = [Subprotocol(name) for name in subprotocols] or None
            self._protocol = ClientProtocol(parse_uri(url), subprotocols=wanted, max_size=MAX_MESSAGE_BYTES)
            self._socket = dial(url, context, CONNECT_TIMEOUT_S, connect)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._protocol.send_request(self._protocol.connect())
            self._flush()
            self._inbox = Inbox(self._protocol)
            self._early = self._inbox.take(self._handshake())
            self._flush()
            # A close frame that came together with the answer is for `receive` to tell.
            if self._protocol.state is not State.OPEN and self._protocol.close_rcvd is None:
                raise _refusal(url, self._protocol.handshake_exc)
        except (OSError, WebSocketException, ProxyError, ValueError) as error:
            self.abort()
            raise Disconnected(f"{url}: {error or type(error).__name__}") from error
        except Disconnected:
            self.abort()
            raise

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol

    def send(self, message: bytes, binary: bool = False) -> None:
        try:
            (self._protocol.send_binary if binary else self._protocol.send_text)(message)
            self._flush()
        except (OSError, WebSocketException) as error:
            raise Disconnected(f"{self.url}: {error or type(error).__name__}") from error

    def receive(self, timeout_s: float) -> list[bytes]:
        """Messages that have arrived; waits for something, be it a ping (then the list is empty).

        Raises Disconnected where nothing at all came for `timeout_s`, or where the connection is over.
        """
        messages, self._early = self._early, []
        try:
            self._socket.settimeout(timeout_s)
            if not messages and self._protocol.state is State.OPEN:
                messages = self._read()
        except TimeoutError:
            raise Disconnected(f"{self.url}: silent for {timeout_s:g} s") from None
        except (OSError, WebSocketException) as error:
            raise Disconnected(f"{self.url}: {error or type(error).__name__}") from error
        if not messages and self._protocol.state is not State.OPEN:
            close = self._protocol.close_rcvd
            said = f"the server closed with {close.code} {close.reason}".rstrip() if close else "the connection was cut"
            raise Disconnected(f"{self.url}: {said}")
        return messages

    def close(self) -> None:
        """Say goodbye, without waiting for the answer."""
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
                self._flush()
        except (OSError, WebSocketException):
            pass
        self.abort()

    def abort(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()

    def _handshake(self) -> bytes:
        """Read the answer to our request, line by line; the bytes that came after it."""
        data, at = b"", 0
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            if at == len(data):
                data, at = self._socket.recv(READ_BYTES), 0
                if not data:
                    self._protocol.receive_eof()
                    break
            end = data.find(b"\n", at) + 1 or len(data)
            self._protocol.receive_data(data[at:end])
            at = end
        return data[at:]

    def _read(self) -> list[bytes]:
        data = self._socket.recv(READ_BYTES)
        messages: list[bytes] = []
        if data:
            messages = self._inbox.take(data)
        else:
            self._inbox.end()
        self._flush()
        return messages

    def _flush(self) -> None:
        self._leaving += filter(None, self._protocol.data_to_send())
        if self._sending:  # another greenlet waits for the socket: it sends this after its own
            if len(self._leaving) > MAX_LEAVING:
                raise OSError("the server asks and does not read the answers")
            return
        self._sending = True
        try:
            while self._leaving:
                self._socket.sendall(self._leaving.popleft())
        finally:
            self._sending = False
