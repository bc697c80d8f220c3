"""The asyncio shell: a session to iterate over, on the `websockets` package's asyncio client."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from wick.client._dial import FAILURES, Dial, close_of, failure
from wick.client.core import Core
from wick.client.events import Event
from wick.client.held import Held


def connect_async(
    url: str = "ws://127.0.0.1:8765",
    topics: Iterable[str] = (),
    *,
    token: str | None = None,
    form: str = "msgpack",
    keep_candles: int = 100,
    stale_after_s: float = 15.0,
    **options: Any,
) -> "AsyncSession":
    """As `wick.client.connect`, to be used in an `async with` and iterated over by `async for`."""
    dial = Dial.to(url, form, token, options)
    core = Core(topics, dial.form, keep_candles=keep_candles, stale_after_ms=int(stale_after_s * 1000))
    return AsyncSession(dial, core)


class AsyncSession:
    """An asynchronous iterator of events, for one task; others may subscribe, unsubscribe and close.

    A cancelled wait loses nothing: the next one goes on where it was. Otherwise as `wick.client.Session`.
    """

    def __init__(self, dial: Dial, core: Core) -> None:
        self._dial, self._core = dial, core
        self._socket: ClientConnection | None = None
        self._events: Iterator[Event] = iter(())
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises ClientError when the session has ended for good."""
        event = await self._next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def receive(self, timeout_s: float | None = None) -> Event | None:
        """The next event; None: none came in time, or the session is closed. Raises ClientError as above."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._next()
        except TimeoutError:
            return None

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

    async def subscribe(self, *topics: str) -> None:
        """More topics. Name many in one call: a front takes few requests a second (`front.client_messages_s`)."""
        self._core.subscribe(topics)
        await self._send()

    async def unsubscribe(self, *topics: str) -> None:
        """Fewer topics, written as they were subscribed to."""
        self._core.unsubscribe(topics)
        await self._send()

    async def close(self) -> None:
        """Ends the session and the iteration over it; more than once is harmless."""
        self._closed.set()
        if socket := self._socket:
            await socket.close()

    # ------------------------------------------------------------------ one step after the other

    async def _next(self) -> Event | None:
        while not self.closed:
            for event in self._events:
                return event
            if self._core.ended:
                raise self._core.ended
            self._events = await self._step()
        return None

    async def _step(self) -> Iterator[Event]:
        """Connects, or waits for a message."""
        core, now = self._core, _now_ms()
        wait_s = max(0, core.deadline_ms - now) / 1000
        if self._socket is None:
            if wait_s:
                await self._wait_closed(wait_s)
                return iter(())
            return await self._open()
        if core.closing:
            await self._socket.close(core.closing)
            return self._lost()
        await self._send()
        try:
            async with asyncio.timeout(wait_s):
                data = await self._socket.recv()
        except TimeoutError:
            return core.tick(_now_ms())
        except ConnectionClosed:
            return self._lost()
        return core.receive(data, _now_ms())

    async def _wait_closed(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._closed.wait()
        except TimeoutError:
            pass

    async def _open(self) -> Iterator[Event]:
        try:
            socket = await open_websocket(self._dial.url, **self._dial.arguments)
        except FAILURES as error:
            return self._core.refused(_now_ms(), *failure(error))
        self._socket = socket
        if self.closed:  # meanwhile, by another task
            await socket.close()
        self._core.opened(_now_ms())
        return iter(())

    def _lost(self) -> Iterator[Event]:
        socket, self._socket = self._socket, None
        assert socket
        return self._core.lost(_now_ms(), *close_of(socket.close_code, socket.close_reason))

    async def _send(self) -> None:
        if self._socket is None:
            return
        try:
            for data in self._core.outgoing():
                await self._socket.send(data)
        except ConnectionClosed:
            pass  # the next `recv` says so, and what was asked for is asked for again


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
