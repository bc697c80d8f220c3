"""A ZeroMQ socket under gevent: a plain socket, drained under one hub watcher on its descriptor.

`zmq.green` costs four times as much a message. One greenlet owns a socket's reading.
"""

from collections.abc import Callable
from typing import Any

import gevent
import zmq
from gevent.event import Event

from wick.net import bus

RECHECK_S = 1.0  # a lost edge of ZeroMQ's descriptor can delay a message by this, never lose it


def give_way() -> None:
    """Let sockets, timers and the other greenlets have their turn, in a greenlet that is never out of work.

    A timer of its own does that: `sleep(0)` starves timers in a flood, `idle()` waits for whoever else has work.
    """
    gevent.sleep(1e-6)


class Reader:
    """Drains one socket in one greenlet, woken by the hub's watcher on the socket's descriptor.

    `handle(frames)` takes each message; `after()` runs when the socket is empty or the budget is used. The
    descriptor is edge-triggered: whoever sends on the same socket from elsewhere calls `kick`.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], handle: Callable[[list[bytes]], Any], after: Callable[[], Any] | None = None
    ) -> None:
        self._socket, self._handle, self._after = socket, handle, after
        self._ready = Event()
        self._watcher = gevent.get_hub().loop.io(socket.getsockopt(zmq.FD), 1)

    def kick(self) -> None:
        self._ready.set()

    def run(self) -> None:
        """Forever; a greenlet's body."""
        socket, handle, after = self._socket, self._handle, self._after
        self._watcher.start(self._ready.set)
        try:
            while True:
                self._ready.clear()
                taken = bus.drain(socket, handle)
                if after is not None and taken:
                    after()
                if taken == bus.DRAIN_BUDGET or int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                    give_way()
                else:
                    self._ready.wait(RECHECK_S)
        finally:
            self._watcher.stop()
            self._watcher.close()
