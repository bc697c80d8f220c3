"""One WebSocket client of the simulated exchange: its subscriptions, its bounded queue, its pings.

The handshake, control frames and checks are websockets' sans-IO protocol; data frames are encoded once for
all clients and go around it. One greenlet reads, one writes; everything that is sent goes through one queue,
so frames never interleave.
"""

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from gevent import sleep, socket, spawn
from gevent.event import Event
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from wick.sim import wire

if TYPE_CHECKING:
    from wick.sim.server import ExchangeServer

HIGH_WATER = 256 * 1024  # a recording's player waits above this
CLOSE_TIMEOUT_S = 5.0


def text_frame(payload: bytes) -> bytes:
    """A server's text frame: not masked, not compressed, one piece."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return struct.pack(">BBH", 0x81, 126, size) + payload
    return struct.pack(">BBQ", 0x81, 127, size) + payload


class Connection:
    """A client from its handshake to its end."""

    def __init__(self, server: "ExchangeServer", sock: Any, protocol: ServerProtocol, combined: bool) -> None:
        self.combined = combined
        self.streams: dict[str, None] = {}
        self.subscribed_at = 0.0  # when it last changed its subscriptions
        self.opened_at = server.monotonic()
        self.closed = False
        self.queued = 0  # bytes
        self._server, self._sock, self._protocol = server, sock, protocol
        self._queue: list[bytes] = []
        self._wake, self._room = Event(), Event()
        self._end_after_queue = False
        self._closing_at: float | None = None
        self._silent_until: float | None = None
        self._inbound: deque[float] = deque(maxlen=server.messages_per_s)
        self._fragments: list[bytes] = []
        self._pinged_at = self.opened_at
        self._unanswered: dict[bytes, float] = {}

    # ---- out

    def send(self, data: bytes) -> None:
        """Queue encoded bytes. A client that does not read is cut when its queue is full."""
        if self.closed or self._silent_until is not None:
            return
        self._queue.append(data)
        self.queued += len(data)
        if self.queued > self._server.queue_bytes:
            self._server.counters["slow_clients_cut"] += 1
            self._server.log.warning("cut a client that does not read queued_bytes=%d", self.queued)
            self.cut()
            return
        self._wake.set()

    def send_frame(self, frame: bytes) -> None:
        """Queue an encoded data frame, unless the close frame has gone before."""
        if self._closing_at is None:
            self.send(frame)

    def deliver(self, payload: bytes) -> None:
        """Send a data frame as it is."""
        self.send_frame(text_frame(payload))

    def wait_for_room(self) -> None:
        """Block until the client has read most of what is queued (and no silence is on)."""
        while not self.closed and (self.queued > HIGH_WATER or self._silent_until is not None):
            self._room.clear()
            self._room.wait()

    def _write(self) -> None:
        try:
            while not self.closed:
                self._wake.wait()
                self._wake.clear()
                while self._silent_until is not None and not self.closed:
                    sleep(0.01)  # what was queued before the silence goes out after it
                data, self._queue = b"".join(self._queue), []
                if data:
                    self._sock.sendall(data)
                self.queued -= len(data)
                if self.queued <= HIGH_WATER // 2:
                    self._room.set()
                if self._end_after_queue and not self._queue:
                    self._sock.shutdown(socket.SHUT_WR)
                    return
        except OSError:
            self.cut()

    def _flush_protocol(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.send(data)
            else:  # the protocol's sign for "no more after this"
                self._end_after_queue = True
                self._closing_at = self._closing_at or self._server.monotonic()
                self._wake.set()

    # ---- in

    def run(self, received: bytes) -> None:
        """Serve until the connection has ended; `received` came after the handshake's head."""
        writer = spawn(self._write)
        self._flush_protocol()
        try:
            data = received
            while not self.closed:
                if data:
                    self._protocol.receive_data(data)
                    for frame in self._protocol.events_received():
                        self._on_frame(frame)
                    self._flush_protocol()
                data = self._sock.recv(65536)
                if not data:
                    break
        except OSError:
            pass
        finally:
            self.cut()
            writer.join()

    def _on_frame(self, frame: Any) -> None:
        if not isinstance(frame, Frame) or frame.opcode is Opcode.CLOSE or self._silent_until is not None:
            return
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(frame.data))
            if not frame.fin:
                return
        now = self._server.monotonic()
        if len(self._inbound) == self._inbound.maxlen and now - self._inbound[0] < 1:
            self._server.counters["rate_limited"] += 1
            self.close(1008, "Too many requests")
            return
        self._inbound.append(now)
        if frame.opcode is Opcode.PONG:
            self._unanswered.pop(bytes(frame.data), None)
        elif frame.opcode is not Opcode.PING:
            message, self._fragments = b"".join(self._fragments), []
            self.deliver(self._answer(message))

    def _answer(self, message: bytes) -> bytes:
        try:
            method, params, request_id = wire.parse_request(message)
            if method == "SUBSCRIBE":
                if len(self.streams.keys() | set(params)) > wire.MAX_STREAMS:
                    raise wire.RequestError(2, "Invalid request: too many streams", request_id)
                self.subscribe(params)
            elif method == "UNSUBSCRIBE":
                self._server.source.unsubscribe(self, [name for name in params if name in self.streams])
                for name in params:
                    self.streams.pop(name, None)
            elif method == "LIST_SUBSCRIPTIONS":
                return wire.result(list(self.streams), request_id)
            elif method == "SET_PROPERTY":
                self.combined = params[1]
            else:
                return wire.result(self.combined, request_id)
            return wire.result(None, request_id)
        except wire.RequestError as error:
            self._server.counters["wrong_requests"] += 1
            return error.frame

    def subscribe(self, names: list[str]) -> None:
        new = [name for name in dict.fromkeys(names) if name not in self.streams]
        self.streams.update(dict.fromkeys(new))
        self.subscribed_at = self._server.monotonic()
        self._server.source.subscribe(self, new)

    # ---- pings, faults, the end

    def keep(self, now: float) -> None:
        """What time asks for; called several times a second."""
        if self._silent_until is not None and now >= self._silent_until:
            self._silent_until = None
            self._room.set()
        if self._closing_at is not None:
            if now - self._closing_at > CLOSE_TIMEOUT_S:
                self.cut()
            return
        oldest = next(iter(self._unanswered.values()), now)
        if now - oldest >= self._server.pong_s and self._silent_until is None:
            self._server.counters["no_pong"] += 1
            self.close(1008, "Pong timeout")
        elif now - self.opened_at >= self._server.lifetime_s:
            self.close(1001, "The connection is 24 hours old")
        elif now - self._pinged_at >= self._server.ping_s:
            self._pinged_at = now
            if self._silent_until is None and self._protocol.state is State.OPEN:
                payload = str(self._server.now_ms()).encode()
                self._unanswered[payload] = now
                self._protocol.send_ping(payload)
                self._flush_protocol()

    def silence(self, seconds: float) -> None:
        """Half-open: what would be sent is lost, what is received is ignored."""
        self._silent_until = self._server.monotonic() + seconds

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the connection ends when the client answers, or after CLOSE_TIMEOUT_S."""
        if self._closing_at is None and self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush_protocol()
            self._closing_at = self._server.monotonic()

    def cut(self, reset: bool = False) -> None:
        """End the TCP connection at once, without a close frame; with `reset` it ends with RST, not FIN."""
        if self.closed:
            return
        self.closed = True
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()
        self._wake.set()
        self._room.set()
