"""What the front only passes on: the feed's mirror, while somebody is subscribed to it, and the stats of all processes.

The feed makes its mirror only while someone listens, so nothing is asked of it that no client wants.
"""

import logging
from collections.abc import Callable
from typing import Any

import gevent
import zmq

from wick.errors import WireError
from wick.net import bus, endpoints
from wick.net.clock import now_ns
from wick.net.reader import Reader
from wick.stream.relays import Put, Relays

LOOK_S = 0.1  # between two looks at what is wanted
HWM = 1_000  # messages. On full: drop, which the relays notice

log = logging.getLogger("wick")


class Relay:
    """`run` is a greenlet's body, and `listen` another's."""

    def __init__(
        self, relays: Relays, put: Put, data_dir: str, count: Callable[[str], Any], clock: Callable[[], int] = now_ns
    ) -> None:
        self._relays, self._put, self._data_dir, self._count, self._clock = relays, put, data_dir, count, clock
        self._socket = bus.subscriber(data_dir, [], [b"stats."], HWM)
        self._reader = Reader(self._socket, self._take)
        self._processes: set[str] = set()
        self._streams: set[bytes] = set()
        self.run = self._reader.run

    def close(self) -> None:
        self._socket.close(linger=0)

    def listen(self) -> None:
        """Forever: follow what is wanted, and the processes that there are."""
        while True:
            self.look()
            gevent.sleep(LOOK_S)

    def look(self) -> None:
        for process in endpoints.publishers(self._data_dir) - self._processes:
            self._processes.add(process)
            self._socket.connect(endpoints.pub(self._data_dir, process))
        wanted = self._relays.wanted(self._clock())
        for stream in wanted - self._streams:
            self._socket.setsockopt(zmq.SUBSCRIBE, stream)
        for stream in self._streams - wanted:
            self._socket.setsockopt(zmq.UNSUBSCRIBE, stream)
        self._streams = wanted
        self._reader.kick()

    def _take(self, frames: list[bytes]) -> None:
        try:
            self._relays.take(frames, self._put)
        except (WireError, ValueError, LookupError, TypeError) as error:
            self._count("bad_messages")
            log.error("a message is not what it should be, it is left out: %s", error)
