"""The simulated exchange's server: a venue's WebSocket and REST, and `/_faults`, on one port, from any source of data.

A *source* (the demo market, or recordings) knows the market; a *wire* writes as the venue does; the server owns
sockets, connections, limits and the clock. Nothing here needs monkey-patching: sockets and sleeps are gevent's own.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson
from gevent import sleep, socket, spawn
from gevent.event import AsyncResult
from gevent.server import StreamServer
from websockets.server import ServerProtocol

from wick.market.trades import Topic
from wick.sim import wires
from wick.sim.connection import Connection
from wick.sim.control import Control
from wick.sim.faults import Faults
from wick.sim.history import History
from wick.sim.http import HttpError, HttpRequest, RequestReader, response
from wick.sim.wires import Subscription, Turned, View, Wire

PULSE_S = 0.01
KEEP_S = 0.05  # how often connections are looked after
IDLE_HTTP_S = 60.0
MAX_MESSAGE = 128 * 1024
ATTEMPTS = 1000  # times of the latest connection attempts that are kept

_quiet = logging.getLogger("wick.sim.websockets")
_quiet.setLevel(logging.WARNING)  # the protocol logs a line a connection, which says nothing here


class Source(Protocol):
    """Where symbols and frames come from."""

    @property
    def view(self) -> View: ...  # from `start` on

    def start(self, server: "ExchangeServer") -> None: ...
    def pulse(self, now_ms: int) -> None: ...
    def subscribe(self, connection: Connection, subscriptions: Sequence[Subscription]) -> None: ...
    def unsubscribe(self, connection: Connection, subscriptions: Sequence[Subscription]) -> None: ...
    def joined(self, connection: Connection) -> None: ...
    def left(self, connection: Connection) -> None: ...
    def history(self, symbol: str) -> History: ...  # its trades; KeyError
    def fault(self, name: str, params: Mapping[str, Any]) -> None: ...  # one of the market, or "clear"; FaultError


class Window:
    """So much in any so many seconds."""

    def __init__(self, limit: tuple[int, float], monotonic: Callable[[], float]) -> None:
        self._most, self._seconds = limit
        self._monotonic = monotonic
        self._spent: deque[tuple[float, int]] = deque()
        self._total = 0

    @property
    def total(self) -> int:
        """What was spent, as of the last time that something was."""
        return self._total

    def take(self, amount: int = 1) -> bool:
        """Whether it is within the limit; what is beyond it counts as well."""
        now = self._monotonic()
        while self._spent and now - self._spent[0][0] >= self._seconds:
            self._total -= self._spent.popleft()[1]
        self._spent.append((now, amount))
        self._total += amount
        return self._total <= self._most

    def wait_s(self) -> float:
        """Until something of what was spent is forgotten."""
        return self._seconds - (self._monotonic() - self._spent[0][0]) if self._spent else 0.0


class ExchangeServer:
    """Listens from `start()` to `stop()`; `port` 0 takes a free one, then `port` says which.

    `wire`: the venue's; Binance spot's if none is given. `limits`: fields of `wires.Limits` that are to be others than
    the venue's own.
    """

    def __init__(
        self, source: Source, port: int = 0, host: str = "127.0.0.1", *, wire: Wire | None = None, seed: int = 1,
        queue_kb: int = 4096, ssl_context: Any = None, now_ns: Callable[[], int] = time.time_ns, **limits: Any,
    ) -> None:  # fmt: skip
        self.source, self.host, self.port = source, host, port
        self.wire = wire or wires.load("binance")
        self.limits = replace(self.wire.limits, **limits)
        self.queue_bytes = queue_kb * 1024
        self.log = logging.getLogger("wick.sim")
        self.faults = Faults(seed, self.wire.unchecked)
        self.counters: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.attempts: deque[int] = deque(maxlen=ATTEMPTS)  # their times in ms, by our clock
        self.skew_ms = 0
        self.monotonic = time.monotonic
        self.failed: AsyncResult = AsyncResult()  # holds the exception that ended the pulse
        # The exchange's clock: the wall clock at the start, then steady, so that time never goes back.
        self._wall_ms = now_ns() / 1e6 - time.monotonic() * 1e3
        self._connects = Window(self.limits.connects, self.monotonic)
        self._rest = Window(self.limits.rest, self.monotonic)
        self._ssl_context = ssl_context
        self._listener = StreamServer((host, port), self._serve, backlog=512)
        self._pulser: Any = None
        self._control = Control(self)

    def market_ms(self) -> int:
        """Our own time."""
        return int(self._wall_ms + time.monotonic() * 1e3)

    def now_ms(self) -> int:
        """What the exchange takes for the time."""
        return self.market_ms() + self.skew_ms

    def start(self) -> None:
        """Listen and begin. OSError when the port is taken."""
        self._listener.init_socket()  # first: a port that is taken is found out before anything is done
        self.port = self._listener.server_port
        self.source.start(self)
        self._listener.start()
        self._pulser = spawn(self._pulse)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Turn new clients away, close the others with 1001, and wait for them at most so long."""
        self._listener.close()
        if self._pulser is not None:
            self._pulser.kill()
        for connection in list(self.connections):
            connection.close(1001, "Going away")
        deadline = self.monotonic() + timeout_s
        while self.connections and self.monotonic() < deadline:
            sleep(0.01)
        for connection in list(self.connections):
            connection.cut()
        self._listener.stop(timeout=0.5)

    def _pulse(self) -> None:
        next_keep = 0.0
        try:
            while True:
                now_ms, now = self.market_ms(), self.monotonic()
                self.source.pulse(now_ms)
                if self.faults.held:
                    for target, frame in self.faults.release(now_ms):
                        target.deliver(frame)
                if now >= next_keep:
                    next_keep = now + KEEP_S
                    for connection in list(self.connections):
                        connection.keep(now)
                sleep(PULSE_S)
        except Exception as error:
            self.log.exception("the exchange has stopped: %s", error)
            self.failed.set_exception(error)

    def publish(self, target: Any, topic: Topic, payload: bytes) -> None:
        """Send a data frame to `target` (anything with `deliver`), past the faults that are on."""
        if self.faults.active:
            for frame in self.faults.filter(target, topic, payload, self.market_ms()):
                target.deliver(frame)
        else:
            target.deliver(payload)

    # ---- connections

    def _serve(self, sock: Any, _address: Any) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(IDLE_HTTP_S)
            if self._ssl_context is not None:
                sock = self._ssl_context.wrap_socket(sock, server_side=True)
            self._serve_http(sock)
        except OSError:
            pass  # the client has left, said nothing for a minute, or does not speak TLS as we do
        finally:
            sock.close()

    def _serve_http(self, sock: Any) -> None:
        reader = RequestReader(sock)
        try:
            while (request := reader.next()) is not None:
                if not self._control.is_asked(request) and self.faults.take("refuse", now_ms=self.market_ms()):
                    if request.upgrades:
                        self.attempts.append(self.market_ms())
                    return
                if request.upgrades:
                    self._serve_websocket(sock, request, reader.buffer)
                    return
                keep_alive = request.headers.get("connection", "").lower() != "close"
                status, body, headers = self._answer(request)
                sock.sendall(response(status, body, keep_alive=keep_alive, headers=headers))
                if not keep_alive:
                    return
        except HttpError as error:
            body = orjson.dumps({"code": -1000, "msg": str(error)})
            sock.sendall(response(error.status, body, keep_alive=False))

    def _serve_websocket(self, sock: Any, request: HttpRequest, received: bytes) -> None:
        self.attempts.append(self.market_ms())
        if not self._connects.take():
            self.counters["connects_over_limit"] += 1
            sock.sendall(response(429, self.wire.rest_error(429), keep_alive=False))
            return
        try:
            session = self.wire.session(request)
        except Turned as turned:
            sock.sendall(response(turned.status, turned.body, keep_alive=False))
            return
        protocol = ServerProtocol(max_size=MAX_MESSAGE, logger=_quiet)
        protocol.receive_data(request.raw)
        for handshake in protocol.events_received():
            protocol.send_response(protocol.accept(handshake))  # type: ignore[arg-type]
        if protocol.handshake_exc is not None or not protocol.accept_called:
            for data in protocol.data_to_send():
                sock.sendall(data)
            return
        sock.settimeout(None)
        connection = Connection(self, sock, protocol, session)
        self.connections.add(connection)
        self.counters["connections"] += 1
        try:
            self.source.joined(connection)
            connection.run(received)
        finally:
            self.connections.discard(connection)
            self.source.left(connection)

    # ---- HTTP

    def _answer(self, request: HttpRequest) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
        if self._control.is_asked(request):
            return (*self._control.answer(request), ())
        self.counters["rest_requests"] += 1
        if fault := self.faults.take("rest_error", path=request.path):
            return self._rest_refusal(fault["status"], fault["retry_after_s"])
        if not self._rest.take(self.wire.weight(request)):
            self.counters["rest_over_limit"] += 1
            return self._rest_refusal(429, int(self._rest.wait_s()) + 1)
        used = self.limits.used_header
        headers = ((used, str(self._rest.total)),) if used else ()
        return (*self.wire.rest(request, self.source.view, self.now_ms()), headers)

    def _rest_refusal(self, status: int, retry_after_s: int) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
        return status, self.wire.rest_error(status), (("Retry-After", str(retry_after_s)),)
