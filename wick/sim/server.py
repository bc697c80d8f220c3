"""The simulated exchange's server: WebSocket, REST and `/_faults` on one port, from any source of data.

A *source* (the demo market, or recordings) knows symbols and makes frames; the server owns sockets,
connections and the clock. Nothing here needs monkey-patching: sockets and sleeps are gevent's own.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import orjson
from gevent import sleep, socket, spawn
from gevent.event import AsyncResult
from gevent.server import StreamServer
from websockets.server import ServerProtocol

from wick.sim import faults as fault_table
from wick.sim import wire
from wick.sim.connection import Connection
from wick.sim.faults import FaultError, Faults
from wick.sim.http import HttpError, HttpRequest, RequestReader, response
from wick.sim.rest import answer

PULSE_S = 0.01
KEEP_S = 0.05  # how often connections are looked after
IDLE_HTTP_S = 60.0
MAX_MESSAGE = 128 * 1024

_quiet = logging.getLogger("wick.sim.websockets")
_quiet.setLevel(logging.WARNING)  # the protocol logs a line a connection, which says nothing here


class Source(Protocol):
    """Where symbols and frames come from."""

    def symbols(self) -> dict[str, dict[str, Any]]: ...  # exchangeInfo's entries by symbol
    def depth(self, symbol: str, limit: int) -> bytes: ...
    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[dict[str, Any]]: ...
    def start(self, server: "ExchangeServer") -> None: ...
    def pulse(self, now_ms: int) -> None: ...
    def subscribe(self, connection: Connection, streams: list[str]) -> None: ...
    def unsubscribe(self, connection: Connection, streams: list[str]) -> None: ...
    def joined(self, connection: Connection) -> None: ...
    def left(self, connection: Connection) -> None: ...


class ExchangeServer:
    """Listens from `start()` to `stop()`; `port` 0 takes a free one, then `port` says which."""

    def __init__(
        self, source: Source, port: int = 0, host: str = "127.0.0.1", *, seed: int = 1, ping_s: float = 20.0,
        pong_s: float = 60.0, lifetime_s: float = 86_400.0, queue_kb: int = 4096, messages_per_s: int = 5,
        ssl_context: Any = None, now_ns: Callable[[], int] = time.time_ns,
    ) -> None:  # fmt: skip
        self.source, self.host, self.port = source, host, port
        self.ping_s, self.pong_s, self.lifetime_s = ping_s, pong_s, lifetime_s
        self.queue_bytes, self.messages_per_s = queue_kb * 1024, messages_per_s
        self.log = logging.getLogger("wick.sim")
        self.faults = Faults(seed)
        self.counters: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.monotonic = time.monotonic
        self.failed: AsyncResult = AsyncResult()  # holds the exception that ended the pulse
        # The exchange's clock: the wall clock at the start, then steady, so that time never goes back.
        self._wall_ms = now_ns() / 1e6 - time.monotonic() * 1e3
        self._refuse_until = 0.0
        self._rest_errors = {"requests": 0, "status": 429, "retry_after_s": 1}
        tls = {"ssl_context": ssl_context} if ssl_context else {}
        self._listener = StreamServer((host, port), self._serve, backlog=512, **tls)
        self._pulser: Any = None

    def now_ms(self) -> int:
        return int(self._wall_ms + time.monotonic() * 1e3)

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
                now_ms, now = self.now_ms(), self.monotonic()
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

    def publish(self, target: Any, stream: str, payload: bytes) -> None:
        """Send a data frame to `target` (anything with `deliver`), past the faults that are on."""
        if self.faults.active:
            for frame in self.faults.filter(target, stream, payload, self.now_ms()):
                target.deliver(frame)
        else:
            target.deliver(payload)

    # ---- connections

    def _serve(self, sock: Any, _address: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(IDLE_HTTP_S)
        reader = RequestReader(sock)
        try:
            while (request := reader.next()) is not None:
                if self.monotonic() < self._refuse_until and request.path != "/_faults":
                    self.counters["refused"] += 1
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
        except OSError:
            pass  # the client has left, or said nothing for a minute

    def _serve_websocket(self, sock: Any, request: HttpRequest, received: bytes) -> None:
        try:
            combined, streams = _streams_of(request)
        except HttpError as error:
            body = orjson.dumps({"code": -1100, "msg": str(error)})
            sock.sendall(response(error.status, body, keep_alive=False))
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
        connection = Connection(self, sock, protocol, combined)
        self.connections.add(connection)
        self.counters["connections"] += 1
        try:
            self.source.joined(connection)
            connection.subscribe(streams)
            connection.run(received)
        finally:
            self.connections.discard(connection)
            self.source.left(connection)

    # ---- HTTP

    def _answer(self, request: HttpRequest) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
        if request.path == "/_faults":
            return (*self._answer_faults(request), ())
        self.counters["rest_requests"] += 1
        if self._rest_errors["requests"]:
            self._rest_errors["requests"] -= 1
            self.counters["rest_error"] += 1
            body = orjson.dumps({"code": -1003, "msg": "Too many requests."})
            return (
                self._rest_errors["status"],
                body,
                (("Retry-After", str(self._rest_errors["retry_after_s"])),),
            )
        return (*answer(self.source, request, self.now_ms()), ())

    def _answer_faults(self, request: HttpRequest) -> tuple[int, bytes]:
        if request.method == "POST":
            try:
                state = self.switch(orjson.loads(request.body))
            except orjson.JSONDecodeError as error:
                return 400, orjson.dumps({"error": {"field": "", "message": f"invalid JSON: {error}"}})
            except FaultError as error:
                detail = {"field": error.field, "message": error.message, "valid": str(error.valid)}
                return 400, orjson.dumps({"error": detail})
            return 200, orjson.dumps(state)
        return 200, orjson.dumps({**self.state(), "faults": fault_table.table()})

    def state(self) -> dict[str, Any]:
        """Counters of what was done, and what the faults have still to do."""
        return {
            "connections": len(self.connections),
            "counters": {**self.counters, **self.faults.counters},
            "pending": self.faults.pending(),
        }

    # ---- faults

    def switch(self, request: object) -> dict[str, Any]:
        """Switch a fault on: `{"fault": "gap", "symbol": "BTCUSDT"}`; FaultError if there is none such."""
        fault, params = fault_table.checked(request)
        if "symbol" in params and params["symbol"] not in self.source.symbols():
            raise FaultError("symbol", f"{params['symbol']!r} is not listed", "a symbol of exchangeInfo")
        self.log.info("fault %s %s", fault.name, params)
        if fault.of_connections:
            getattr(self, f"_{fault.name}")(**params)
        else:
            self.faults.switch(fault.name, params, self.now_ms())
            if fault.name == "clear":
                self._refuse_until, self._rest_errors["requests"] = 0.0, 0
                for connection in self.connections:
                    connection.silence(0)
        return self.state()

    def _cut(self, reset: bool) -> None:
        for connection in list(self.connections):
            connection.cut(reset)
            self.counters["cut"] += 1

    def _silence(self, seconds: float) -> None:
        for connection in self.connections:
            connection.silence(seconds)
            self.counters["silence"] += 1

    def _close(self, after_s: float, code: int) -> None:
        spawn(self._close_later, list(self.connections), after_s, code)

    def _shutdown(self, after_s: float) -> None:
        for connection in self.connections:
            connection.deliver(wire.shutdown_event(self.now_ms()))
        spawn(self._close_later, list(self.connections), after_s, 1001)

    def _close_later(self, connections: list[Connection], after_s: float, code: int) -> None:
        sleep(after_s)
        for connection in connections:
            connection.close(code, "Forced by a fault")
            self.counters["close"] += 1

    def _refuse(self, seconds: float) -> None:
        self._refuse_until = self.monotonic() + seconds

    def _rest_error(self, **params: int) -> None:
        self._rest_errors = params


def _streams_of(request: HttpRequest) -> tuple[bool, list[str]]:
    """Whether the address asks for combined frames, and the streams that it names."""
    if request.query.get("timeUnit", "MILLISECOND").upper() != "MILLISECOND":
        raise HttpError(400, "timeUnit: this exchange has MILLISECOND only")
    path = request.path.rstrip("/")
    if path == "/stream":
        combined, names = True, request.query.get("streams", "")
    elif path == "/ws" or path.startswith("/ws/"):
        combined, names = False, path[4:]
    else:
        raise HttpError(404, "the addresses are /ws, /ws/<stream> and /stream?streams=<stream>/<stream>")
    streams = [name for name in names.split("/") if name]
    if not all(wire.is_stream(name) for name in streams):
        raise HttpError(400, "a stream's name is malformed")
    if len(streams) > wire.MAX_STREAMS:
        raise HttpError(400, f"a connection has at most {wire.MAX_STREAMS} streams")
    return combined, streams
