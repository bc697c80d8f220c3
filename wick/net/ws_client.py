"""A WebSocket client connection: TLS, bounds, pings answered. The framing is `websockets`' sans-IO core.

Blocking calls on an ordinary socket, so that it serves under gevent (patched) and in a plain process alike.
"""

import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from wick.errors import WickError

CONNECT_TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # a depth snapshot of 5,000 levels is about 0.4 MB
READ_BYTES = 256 * 1024


class Disconnected(WickError):
    """The connection could not be made, or is over; the text says how."""


class WebSocketClient:
    """One connection. `receive` gives whole messages; every failure is a Disconnected."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None, subprotocols: Sequence[str] = ()) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        self.url = url
        self._parts: list[bytes] = []
        try:
            wanted = [Subprotocol(name) for name in subprotocols] or None
            self._protocol = ClientProtocol(parse_uri(url), subprotocols=wanted, max_size=MAX_MESSAGE_BYTES)
            self._socket = socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S)
            if secure:
                context = context or ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._protocol.send_request(self._protocol.connect())
            self._flush()
            while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
                self._read()
            # A close frame that came together with the answer is for `receive` to tell.
            if self._protocol.state is not State.OPEN and self._protocol.close_rcvd is None:
                why = self._protocol.handshake_exc or "closed during the handshake"
                raise Disconnected(f"{url}: refused the handshake: {why}")
        except (OSError, WebSocketException, ValueError) as error:
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
        messages: list[bytes] = []
        try:
            self._socket.settimeout(timeout_s)
            self._collect(messages)  # what came together with the handshake
            if not messages:
                self._read()
                self._collect(messages)
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

    def _read(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._flush()

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

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)
