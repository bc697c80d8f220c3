"""The bus between wick's processes: where each socket lives, how it is opened, how it is drained.

All sockets are ipc files in `<data_dir>/run`, a directory that only its owner can enter: nothing is reachable
from another account or machine. Bounds, and what happens at them:

| queue | bound | on full |
|---|---|---|
| PUSH, feed to a worker | feed.push_hwm messages, one a flush | block up to feed.push_wait_ms, then drop |
| PUB, any process to a reader | PUB_HWM messages | drop |
| ROUTER, DEALER | RPC_HWM messages | drop |

Nothing that was dropped goes unseen: a worker finds the hole in the sequence and reads the tick log, a reader of a
PUB finds it and asks for a snapshot, and who had no answer asks again.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import zmq

from wick.net import endpoints

PUB_HWM = 20_000  # 32 shards x 20 flushes a second: half a minute of a worker's messages
RPC_HWM = 1_000
DRAIN_BUDGET = 256  # messages taken before other greenlets get their turn
LINGER_MS = 1_000  # how long a closing socket may still deliver

_context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()


def _open(kind: int, hwm: int) -> zmq.Socket[bytes]:
    socket = _context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    return socket


def publisher(data_dir: str | Path, process: str, kind: int = zmq.PUB) -> zmq.Socket[bytes]:
    """The PUB socket of a process; anyone who may enter the directory can subscribe. XPUB: see `Listeners`."""
    socket = _open(kind, PUB_HWM)
    socket.bind(endpoints.pub(data_dir, process))
    return socket


class Listeners:
    """Who subscribes to an XPUB socket: so that nobody works for a stream that nobody hears."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._topics: set[bytes] = set()

    def to(self, stream: bytes) -> bool:
        """Whether someone hears topics that begin with `stream`."""
        return any(topic.startswith(stream) or stream.startswith(topic) for topic in self._topics)

    def update(self) -> bool:
        """Take notice of who has come and gone; whether it was anyone.

        The socket tells of a topic's first subscriber and of the departure of its last.
        """
        return bool(drain(self._socket, self._notice))

    def _notice(self, frames: list[bytes]) -> None:
        sign, topic = frames[0][:1], frames[0][1:]
        if sign == b"\x01":
            self._topics.add(topic)
        elif sign == b"\x00":
            self._topics.discard(topic)


def subscriber(
    data_dir: str | Path, processes: Iterable[str], topics: Iterable[bytes], hwm: int = PUB_HWM
) -> zmq.Socket[bytes]:
    """A SUB socket on several processes; those that are not up yet are joined when they are."""
    socket = _open(zmq.SUB, hwm)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    for process in processes:
        socket.connect(endpoints.pub(data_dir, process))
    return socket


def push(data_dir: str | Path, worker: int, hwm: int) -> zmq.Socket[bytes]:
    socket = _open(zmq.PUSH, hwm)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.connect(endpoints.ticks(data_dir, worker))
    return socket


def pull(data_dir: str | Path, worker: int, hwm: int) -> zmq.Socket[bytes]:
    socket = _open(zmq.PULL, hwm)
    socket.bind(endpoints.ticks(data_dir, worker))
    return socket


def router(data_dir: str | Path, worker: int) -> zmq.Socket[bytes]:
    socket = _open(zmq.ROUTER, RPC_HWM)
    socket.bind(endpoints.rpc(data_dir, worker))
    return socket


def dealer(data_dir: str | Path, worker: int) -> zmq.Socket[bytes]:
    """Questions are for who is there: a worker that comes back after an hour is not to answer an hour's questions."""
    socket = _open(zmq.DEALER, RPC_HWM)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.connect(endpoints.rpc(data_dir, worker))
    return socket


def drain(socket: zmq.Socket[bytes], handle: Callable[[list[bytes]], Any], budget: int = DRAIN_BUDGET) -> int:
    """Hand over what has arrived, at most `budget` messages; how many it was."""
    for taken in range(budget):
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return taken
        handle(frames)
    return budget


def try_send(socket: zmq.Socket[bytes], frames: list[bytes]) -> bool:
    """Send without waiting; false where the queue is full, or (from a dealer) nobody is there."""
    try:
        socket.send_multipart(frames, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True
