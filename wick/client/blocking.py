"""The blocking shell: a session to iterate over, on the `websockets` package's threading client."""

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from wick.client._dial import FAILURES, Dial, close_of, failure
from wick.client.core import Core
from wick.client.events import Event
from wick.client.held import Held


def connect(
    url: str = "ws://127.0.0.1:8765",
    topics: Iterable[str] = (),
    *,
    token: str | None = None,
    form: str = "msgpack",
    keep_candles: int = 100,
    stale_after_s: float = 15.0,
    **options: Any,
) -> "Session":
    """A session with a front, to be used in a `with` and iterated over.

    `token`: where the front wants one. `form`: `msgpack` or `json`. `keep_candles`: closed candles that are held of
    each topic. `stale_after_s`: data older than this are announced by a Stale. `options` go to the `websockets`
    package's `connect`: `ssl`, `proxy`, `compression=None` (without it permessage-deflate is offered), ...

    Error handling: an interrupted connection is told as Disconnected and made anew, going on from where it was.
    ClientError is raised by the iterator where that has no sense (a wrong token), and here for impossible arguments.
    """
    dial = Dial.to(url, form, token, options)
    if dial.url.startswith("wss:") and dial.options.get("ssl") is None:
        dial = dial._replace(options={**dial.options, "ssl": _tls()})
    return Session(dial, Core(topics, dial.form, keep_candles=keep_candles, stale_after_ms=int(stale_after_s * 1000)))


def _tls() -> ssl.SSLContext:
    """The package's client reads and writes in two threads, and `ssl` locks neither: the tickets of TLS 1.3, read while
    the request is written, broke one handshake of 30 (https://github.com/python/cpython/issues/151508)."""
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


class Session:
    """An iterator of events. It belongs to one thread; only `close` may be called from another one.

    Resource handling: leaving the `with` (or `close`) closes the connection. The websockets package's thread reads at
    most 16 messages ahead: while nobody iterates, the front conflates, and after `front.client_stall_s` hangs up.
    """

    def __init__(self, dial: Dial, core: Core) -> None:
        self._dial, self._core = dial, core
        self._socket: ClientConnection | None = None
        self._events: Iterator[Event] = iter(())
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """The next event; waits for it. Raises ClientError when the session has ended for good."""
        event = self._next(None)
        if event is None:
            raise StopIteration
        return event

    def receive(self, timeout_s: float | None = None) -> Event | None:
        """The next event; None: none came in time, or the session is closed. Raises ClientError as above."""
        return self._next(timeout_s)

    @property
    def topics(self) -> dict[str, Held]:
        """What is held of each concrete topic, as of the event that was given last."""
        return self._core.topics

    @property
    def wanted(self) -> list[str]:
        """What was subscribed to, globs included; without what an Error said to name nothing."""
        return self._core.wanted

    @property
    def counts(self) -> dict[str, int]:
        """Since the beginning: connections, messages, bytes, gaps, errors."""
        return dict(self._core.counts)

    @property
    def age_ms(self) -> int | None:
        """How old the front's newest data are: as its last heartbeat said, and the time since. None: not known."""
        return self._core.age_ms(_now_ms())

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def subscribe(self, *topics: str) -> None:
        """More topics. Name many in one call: a front takes few requests a second (`front.client_messages_s`)."""
        self._core.subscribe(topics)
        self._send()

    def unsubscribe(self, *topics: str) -> None:
        """Fewer topics, written as they were subscribed to."""
        self._core.unsubscribe(topics)
        self._send()

    def close(self) -> None:
        """Ends the session and the iteration over it; more than once is harmless."""
        self._closed.set()
        if socket := self._socket:
            socket.close()

    # ------------------------------------------------------------------ one step after the other

    def _next(self, timeout_s: float | None) -> Event | None:
        until = None if timeout_s is None else _now_ms() + int(timeout_s * 1000)
        while not self.closed:
            for event in self._events:
                return event
            if self._core.ended:
                raise self._core.ended
            left_ms = None if until is None else until - _now_ms()
            self._events = self._step(left_ms)
            if left_ms is not None and left_ms <= 0:
                return next(self._events, None)
        return None

    def _step(self, left_ms: int | None) -> Iterator[Event]:
        """Connects, or waits for a message, for no longer than that."""
        core, now = self._core, _now_ms()
        wait_ms = max(0, core.deadline_ms - now)
        wait_ms = wait_ms if left_ms is None else min(wait_ms, max(0, left_ms))
        if self._socket is None:
            if now < core.deadline_ms:
                self._closed.wait(wait_ms / 1000)
                return iter(())
            return self._open()
        if core.closing:
            self._socket.close(core.closing)
            return self._lost()
        self._send()
        try:
            data = self._socket.recv(timeout=wait_ms / 1000)
        except TimeoutError:
            return core.tick(_now_ms())
        except ConnectionClosed:
            return self._lost()
        return core.receive(data, _now_ms())

    def _open(self) -> Iterator[Event]:
        try:
            # Entered by hand: the connection lives longer than this call. `close` is its other end.
            socket = open_websocket(self._dial.url, **self._dial.arguments).__enter__()
        except FAILURES as error:
            return self._core.refused(_now_ms(), *failure(error))
        self._socket = socket
        if self.closed:  # meanwhile, by another thread
            socket.close()
        self._core.opened(_now_ms())
        return iter(())

    def _lost(self) -> Iterator[Event]:
        socket, self._socket = self._socket, None
        assert socket
        return self._core.lost(_now_ms(), *close_of(socket.close_code, socket.close_reason))

    def _send(self) -> None:
        if self._socket is None:
            return
        try:
            for data in self._core.outgoing():
                self._socket.send(data)
        except ConnectionClosed:
            pass  # the next `recv` says so, and what was asked for is asked for again


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
