"""WebSocket connections of clients: the handshake, a bounded outbox with one writer, whole messages in.

The framing is `websockets`' sans-IO core. What a client is sent was framed once, for all who get it: frames from a
server are unmasked, so the bytes are the same for everybody.

| queue | bound | on full |
|---|---|---|
| outbox of a client | `max_outbox_bytes`, and one message | it is `full`: its owner keeps back what can wait |
| answers beyond that | KEPT_BYTES | the connection ends |

It is `full` also while its socket takes nothing. What was kept back then is asked for piece by piece, by `more`, when
the socket takes data again: it is as new as the moment in which it is sent. A client that takes nothing for `stall_s`
is closed with 3008.
"""

import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from io import BufferedReader

import gevent
from gevent.event import Event
from websockets.exceptions import NegotiationError, WebSocketException
from websockets.frames import Close, Frame, Opcode
from websockets.frames import CloseCode as ProtocolCloseCode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from wick.wire.session import SUBPROTOCOLS, CloseCode

READ_BYTES = 64 * 1024
IDLE_S = 60.0  # a client that gives no sign of life, not even a pong, for this long is gone
BATCH_BYTES = 64 * 1024  # frames written in one call
BATCH_FRAMES = 64  # and how many of them are made for it: 30 us each, while all others wait
UNSENT_BYTES = 64 * 1024  # what the kernel takes beyond what is on its way: no hidden queue of what has become old
KEPT_BYTES = 1024 * 1024  # answers that wait for a client which asks, and does not read
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops what is unsent
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


def _close_frame(code: int, reason: str) -> bytes:
    return Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False)


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
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._protocol = ServerProtocol(max_size=max_message_bytes, select_subprotocol=_choose)
        self._max_outbox_bytes, self._stall_s = max_outbox_bytes, stall_s
        self._outbox: deque[bytes] = deque()  # frames
        self._outbox_bytes = 0
        self._parts: list[bytes] = []
        self._text = False  # whether the parts are of a text message
        self._wake = Event()
        self.full = False  # whether the client takes less than it is sent
        self._closing: bytes | None = None
        self._over = False  # nothing more will be read
        self._cut = False  # the last frame was written in part
        self._more: Callable[[], bytes | None] = lambda: None
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
        """Queue one framed message; where it is `full`, only what cannot wait."""
        if self._closing is not None or self._over:
            return
        if self._outbox_bytes > self._max_outbox_bytes + KEPT_BYTES:
            log.warning("a client asks and does not read the answers: its connection is closed")
            self._abort()
            return
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        if self._outbox_bytes >= self._max_outbox_bytes:
            self.full = True
        self._wake.set()

    def wake(self) -> None:
        """`more` has something to give."""
        self._wake.set()

    def ping(self) -> None:
        """Ask for a sign of life; without one for IDLE_S the connection ends."""
        if self._protocol.state is State.OPEN and self._closing is None:
            self._protocol.send_ping(b"")
            self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Send what is queued, then say goodbye."""
        if self._closing is None:
            self._closing = _close_frame(code, reason[:120])
            self._wake.set()

    def _next(self) -> list[bytes]:
        """What to write in one call: the protocol's own frames (pongs, its close), the queue, what was kept back."""
        parts = [data for data in self._protocol.data_to_send() if data]
        if self._over or self._protocol.state is not State.OPEN:
            return parts
        size = sum(map(len, parts))
        while self._outbox and size < BATCH_BYTES:
            data = self._outbox.popleft()
            self._outbox_bytes -= len(data)
            parts.append(data)
            size += len(data)
        room = BATCH_FRAMES
        while self._closing is None and size < BATCH_BYTES and room and (more := self._more()) is not None:
            parts.append(more)
            size += len(more)
            room -= 1
        return parts

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self.full = True  # for who comes to see it: another greenlet runs only while this one waits for the socket
            with gevent.Timeout(self._stall_s, TimeoutError):
                sent = self._socket.send(view)
            self.full = self._outbox_bytes >= self._max_outbox_bytes
            view = view[sent:]
            self._cut = bool(view)
            self.sent_bytes += sent

    def _write_forever(self) -> None:
        """The only writer of the socket."""
        while True:
            self._wake.wait()
            self._wake.clear()
            while parts := self._next():
                data = b"".join(parts)
                self._write_all(data)
                if len(data) >= BATCH_BYTES or len(parts) >= BATCH_FRAMES:
                    gevent.sleep(0)  # a socket that takes everything at once must not keep the others waiting
            if self._over or self._protocol.state is not State.OPEN:
                return
            if self._closing is not None:
                self._write_all(self._closing)
                gevent.sleep(LINGER_S)
                self._shutdown()  # it does not answer the goodbye
                return

    def _write(self) -> None:
        try:
            self._write_forever()
        except TimeoutError:
            log.warning("a client took nothing for %g s: its connection is closed", self._stall_s)
            self._abort()
        except OSError:
            self._shutdown()

    def _abort(self) -> None:
        """End the connection of a client that takes nothing; the kernel lets go of what it still holds for it."""
        self._over = True
        # The code can reach it only if its buffer has room again, and no other frame was cut before it.
        goodbye = b"" if self._cut else _close_frame(CloseCode.SLOW, "too slow")
        try:
            self._socket.settimeout(0)
            told = bool(goodbye) and self._socket.send(goodbye) == len(goodbye)
        except OSError:
            told = False
        if not told:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._shutdown()

    def _shutdown(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # ------------------------------------------------------------------ in

    def messages(self, take: Callable[[bytes], None], more: Callable[[], bytes | None] = lambda: None) -> None:
        """Hand each whole message to `take`, until the connection ends. `more` gives what was kept back, or None."""
        self._more = more
        writer = gevent.spawn(self._write)
        try:
            while self._protocol.state is State.OPEN and not self._over:
                data = self._rfile.read1(READ_BYTES)
                if not data:
                    break
                self._protocol.receive_data(data)
                for event in self._protocol.events_received():
                    if isinstance(event, Frame) and self._closing is None and not self._over:
                        self._collect(event, take)
                self._wake.set()
        except TimeoutError:
            pass  # no sign of life
        except (OSError, WebSocketException, ValueError):
            pass
        finally:
            aborted, self._over = self._over, True
            self._finish(writer, aborted)

    def _collect(self, event: Frame, take: Callable[[bytes], None]) -> None:
        if event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if event.opcode is not Opcode.CONT:
            self._text = event.opcode is Opcode.TEXT
        self._parts.append(bytes(event.data))
        if event.fin:
            whole = b"".join(self._parts)
            self._parts.clear()
            if self._text and not _is_utf8(whole):
                self._protocol.fail(ProtocolCloseCode.INVALID_DATA, "a text is not UTF-8")
                return
            take(whole)

    def _finish(self, writer: "gevent.Greenlet[..., None]", aborted: bool) -> None:
        try:
            if self._closing is None and not aborted:
                # The protocol's answer to the client's close, or to its mistake (1002, 1007, 1009), may be unsent.
                self._wake.set()
                writer.join(LINGER_S)
                self._socket.shutdown(socket.SHUT_WR)
                # What still arrives is read: the kernel would answer it with a reset that overtakes our last frame.
                self._socket.settimeout(LINGER_S)
                with gevent.Timeout(LINGER_S, False):
                    while self._socket.recv(READ_BYTES):
                        pass
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            writer.kill()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
