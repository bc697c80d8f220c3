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

from wick.market.trades import Topic
from wick.sim.wires import Answer, Session, Subscription

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

    def __init__(self, server: "ExchangeServer", sock: Any, protocol: ServerProtocol, session: Session) -> None:
        self.session = session
        self.subscriptions: dict[Subscription, None] = {}
        self.topics: set[Topic] = set()  # of these
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
        self._limits = server.limits
        self._inbound: deque[float] = deque(maxlen=server.limits.messages[0])
        self._fragments: list[bytes] = []
        self._pinged_at = self._beat_at = self._active_at = self.opened_at
        self._unanswered: dict[bytes, float] = {}

    # ---- out

    def send(self, data: bytes) -> None:
        """Queue encoded bytes. A client that does not read is cut when its queue is full."""
        if self.closed or self._silent_until is not None:
            return
        # What is there already counts, not this: one huge frame (a fault) may be sent to who reads.
        if self.queued > self._server.queue_bytes:
            self._server.counters["slow_clients_cut"] += 1
            self._server.log.warning("cut a client that does not read queued_bytes=%d", self.queued)
            self.cut()
            return
        self._queue.append(data)
        self.queued += len(data)
        self._wake.set()

    def send_frame(self, frame: bytes) -> None:
        """Queue an encoded data frame, unless the close frame has gone before."""
        if self._closing_at is None:
            self._active_at = self._server.monotonic()
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
                    # TCP's own: that of a TLS socket ends reading as well.
                    socket.socket.shutdown(self._sock, socket.SHUT_WR)
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
        self.follow(self.session.greeting(self._server.now_ms()))
        data = received
        try:
            while not self.closed:
                if data:
                    self._protocol.receive_data(data)
                    for frame in self._protocol.events_received():
                        self._on_frame(frame)
                    self._flush_protocol()
                data = self._read()
                if not data:
                    break
        finally:
            self.cut()
            writer.join()

    def _read(self) -> bytes:
        try:
            data: bytes = self._sock.recv(65536)
            return data
        except (OSError, ValueError):  # the client has left, or we have: a TLS socket that is closed says ValueError
            return b""

    def _on_frame(self, frame: Any) -> None:
        if not isinstance(frame, Frame) or frame.opcode is Opcode.CLOSE or self._silent_until is not None:
            return
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(frame.data))
            if not frame.fin:
                return
        now = self._active_at = self._server.monotonic()
        if len(self._inbound) == self._inbound.maxlen and now - self._inbound[0] < self._limits.messages[1]:
            self._server.counters["rate_limited"] += 1
            self.close(1008, "Too many requests")
            return
        self._inbound.append(now)
        if frame.opcode is Opcode.PONG:
            self._unanswered.pop(bytes(frame.data), None)
        elif frame.opcode is not Opcode.PING:
            message, self._fragments = b"".join(self._fragments), []
            self._receive(message)

    def _receive(self, message: bytes) -> None:
        faults, view = self._server.faults, self._server.source.view
        refused = faults.take("refuse_subscription") if faults.active and self.session.asks(message) else None
        answer = self.session.receive(message, view, self._server.now_ms(), refused is not None)
        if refused is not None and not refused["answered"]:
            return
        if answer.refused and refused is None:
            self._server.counters["wrong_requests"] += 1
        self.follow(answer)

    def follow(self, answer: Answer) -> None:
        for frame in answer.frames:
            self.deliver(frame)
        if answer.add or answer.remove:
            # What stays in another form is added first: nothing is missed in between.
            self.subscriptions.update(dict.fromkeys(answer.add))
            self._server.source.subscribe(self, answer.add)
            for gone in answer.remove:
                self.subscriptions.pop(gone, None)
            self._server.source.unsubscribe(self, answer.remove)
            self.topics = {Topic(symbol, channel) for symbol, channel, _ in self.subscriptions}
            self.subscribed_at = self._server.monotonic()
        if answer.close is not None:
            self.close(*answer.close)

    # ---- pings, faults, the end

    def keep(self, now: float) -> None:
        """What time asks for; called several times a second."""
        if self._silent_until is not None and now >= self._silent_until:
            self.speak()
        if self._closing_at is not None:
            if now - self._closing_at > CLOSE_TIMEOUT_S:
                self.cut()
            return
        limits, wire, age = self._limits, self._server.wire, now - self.opened_at
        oldest = next(iter(self._unanswered.values()), now)
        if now - oldest >= limits.pong_s and self._silent_until is None:
            self._end("no_pong", 1008, "Pong timeout")
        elif limits.lifetime_s and age >= limits.lifetime_s:
            self._end("lifetime", *wire.lifetime_close)
        elif limits.idle_s and now - self._active_at >= limits.idle_s:
            self._end("idle", 1008, "Nothing was sent for too long")
        elif limits.first_s and age >= limits.first_s and not self.subscribed_at:
            self._end("idle", 1008, "No subscription in time")
        else:
            self._ping_and_beat(now)

    def _end(self, counter: str, code: int, reason: str) -> None:
        self._server.counters[counter] += 1
        self.close(code, reason)

    def _ping_and_beat(self, now: float) -> None:
        if self._silent_until is not None or self._protocol.state is not State.OPEN:
            return
        if self._limits.ping_s and now - self._pinged_at >= self._limits.ping_s:
            self._pinged_at = now
            payload = str(self._server.now_ms()).encode()
            self._unanswered[payload] = now
            self._protocol.send_ping(payload)
            self._flush_protocol()
        period = self._server.wire.heartbeat_ms / 1000
        if period and now - self._beat_at >= period:
            self._beat_at = max(self._beat_at + period, now - period)  # a late one does not delay the next
            for frame in self.session.heartbeat(self._server.source.view, self._server.now_ms()):
                self.deliver(frame)

    def silence(self, seconds: float) -> None:
        """Half-open: what would be sent is lost, what is received is ignored."""
        self._silent_until = self._server.monotonic() + seconds

    def speak(self) -> None:
        """The silence, if there is one, is over."""
        self._silent_until = None
        self._room.set()

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
