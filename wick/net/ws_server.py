"""WebSocket connections of clients: the handshake, a bounded outbox with one writer, whole messages in.

The framing is `websockets`' sans-IO core. What a client is sent was framed once, for all who get it: frames from a
server are unmasked, so the bytes are the same for everybody.

| queue | bound | on full |
|---|---|---|
| outbox of a client | `max_outbox_bytes` | conflate: it is emptied, and nothing more is queued |

Once the socket of a conflated client takes data again, `catch_up` sends new snapshots. A client that takes nothing
for `stall_s` is closed with 3008.
"""

import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from io import BufferedReader

import gevent
from gevent.event import Event
from websockets.exceptions import NegotiationError, WebSocketException
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from wick.wire.session import SUBPROTOCOLS, CloseCode

READ_BYTES = 64 * 1024
IDLE_S = 60.0  # a client that gives no sign of life, not even a pong, for this long is gone
BATCH_BYTES = 64 * 1024  # frames written in one call
LINGER_S = 2.0  # how long a closing client has for the close handshake

log = logging.getLogger("wick")


def _choose(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    if not offered:
        return None
    for known in SUBPROTOCOLS:
        if known in offered:
            return Subprotocol(known)
    raise NegotiationError(f"invalid subprotocol; valid is one of {', '.join(SUBPROTOCOLS)}")


def frame(payload: bytes, binary: bool) -> bytes:
    """A whole message as the bytes of one server frame."""
    return Frame(Opcode.BINARY if binary else Opcode.TEXT, payload).serialize(mask=False)


class Connection:
    """One client's connection. `send` queues framed bytes; `messages` gives what the client says."""

    def __init__(
        self,
        sock: socket.socket,
        rfile: BufferedReader,
        *,
        max_message_bytes: int,
        max_outbox_bytes: int,
        stall_s: float,
    ) -> None:
        self._socket, self._rfile = sock, rfile
        self._protocol = ServerProtocol(max_size=max_message_bytes, select_subprotocol=_choose)
        self._max_outbox_bytes, self._stall_s = max_outbox_bytes, stall_s
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._parts: list[bytes] = []
        self._wake = Event()
        self._closing: bytes | None = None
        self.lagging = False
        self.lags = 0
        self.sent_bytes = 0

    # ------------------------------------------------------------------ handshake

    def accept(self, request_line: str, headers: list[tuple[str, str]]) -> bool:
        """Answer the client's opening request; false where it was refused (the answer has been sent)."""
        opening = [request_line.strip(), *(f"{name}: {value}" for name, value in headers), "", ""]
        self._protocol.receive_data("\r\n".join(opening).encode("latin-1"))
        try:
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    self._protocol.send_response(self._protocol.accept(event))
            self._socket.settimeout(IDLE_S)
            self._socket.sendall(b"".join(self._protocol.data_to_send()))
        except (OSError, WebSocketException):
            return False
        return self._protocol.state is State.OPEN

    @property
    def subprotocol(self) -> str:
        """The one that was agreed on; the first of SUBPROTOCOLS for a client that offered none."""
        return self._protocol.subprotocol or SUBPROTOCOLS[0]

    # ------------------------------------------------------------------ out

    def send(self, data: bytes) -> None:
        """Queue one framed message. A slow client's queue is conflated, never waited for."""
        if self.lagging or self._closing is not None:
            return
        if self._outbox_bytes + len(data) > self._max_outbox_bytes:
            self.lagging = True
            self.lags += 1
            self._outbox.clear()
            self._outbox_bytes = 0
            return
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        self._wake.set()

    def ping(self) -> None:
        """Ask for a sign of life; without one for IDLE_S the connection ends."""
        if self._protocol.state is State.OPEN and self._closing is None:
            self._protocol.send_ping(b"")
            self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Send what is queued, then say goodbye."""
        if self._closing is None:
            self._closing = Frame(Opcode.CLOSE, Close(code, reason[:120]).serialize()).serialize(mask=False)
            self._wake.set()

    def _write_forever(self, catch_up: Callable[[], None]) -> None:
        """The only writer of the socket: queued frames in large calls, then the protocol's own (pongs, close)."""
        while True:
            self._wake.wait()
            self._wake.clear()
            while True:
                parts = list(self._protocol.data_to_send())
                size = sum(map(len, parts))
                while self._outbox and size < BATCH_BYTES:
                    data = self._outbox.popleft()
                    self._outbox_bytes -= len(data)
                    parts.append(data)
                    size += len(data)
                if not size:
                    break
                with gevent.Timeout(self._stall_s, TimeoutError):
                    self._socket.sendall(b"".join(parts))
                self.sent_bytes += size
            if self.lagging and self._closing is None:
                self.lagging = False
                catch_up()
            if self._closing is not None and not self._outbox:
                self._socket.sendall(self._closing)
                self._socket.settimeout(LINGER_S)
                return

    def _write(self, catch_up: Callable[[], None]) -> None:
        try:
            self._write_forever(catch_up)
        except TimeoutError:
            log.warning("a client took nothing for %g s: its connection is closed", self._stall_s)
            self._abort(CloseCode.SLOW)
        except OSError:
            self._abort(None)

    def _abort(self, code: CloseCode | None) -> None:
        # A stalled client cannot be written to; it learns the code only if its buffer has room for the frame.
        if code is not None:
            try:
                self._socket.settimeout(0)
                self._socket.send(Frame(Opcode.CLOSE, Close(code, "too slow").serialize()).serialize(mask=False))
            except OSError:
                pass
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # ------------------------------------------------------------------ in

    def messages(self, take: Callable[[bytes], None], catch_up: Callable[[], None]) -> None:
        """Hand each whole message to `take`, until the connection ends; `catch_up` follows a lag."""
        writer = gevent.spawn(self._write, catch_up)
        try:
            while self._protocol.state is State.OPEN or self._closing is not None:
                data = self._rfile.read1(READ_BYTES)
                if not data:
                    break
                self._protocol.receive_data(data)
                for event in self._protocol.events_received():
                    if isinstance(event, Frame) and self._closing is None:
                        self._collect(event, take)
                self._wake.set()
        except TimeoutError:
            pass  # no sign of life, or no answer to our close
        except (OSError, WebSocketException, ValueError):
            pass
        finally:
            self._finish(writer)

    def _collect(self, event: Frame, take: Callable[[bytes], None]) -> None:
        if event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._parts.append(bytes(event.data))
        if event.fin:
            whole = b"".join(self._parts)
            self._parts.clear()
            take(whole)

    def _finish(self, writer: "gevent.Greenlet[..., None]") -> None:
        # The protocol's answer to the client's close, or to its mistake (1002, 1007, 1009), may still be unsent.
        writer.kill()
        try:
            self._socket.settimeout(LINGER_S)
            rest = b"".join(self._protocol.data_to_send())
            if rest:
                self._socket.sendall(rest)
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
