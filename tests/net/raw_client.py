"""A client whose socket the test holds in its hands, and changes that are more than a slow one can take."""

import base64
import os
import socket
import struct
import time
from contextlib import contextmanager

from tests.net.front_process import wait_for
from tests.net.lean import masked
from wick.market.intervals import NAMES
from wick.stream import diffs
from wick.wire.codec import pack, unpack
from wick.wire.session import Kind
from wick.wire.websocket import BINARY

ACK, SNAPSHOT, DIFF, CLOSE = Kind.ACK, Kind.SNAPSHOT, Kind.DIFF, Kind.CLOSE
HUGE = 1 << 500
ROUNDS = 30  # 20 kB each, for who subscribes to all of a pair


class RawClient:
    """A client that reads only when it is told to: its own socket, small buffers, frames taken apart by hand."""

    def __init__(self, front, query=""):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(30)
        self.deadline = time.monotonic() + 60
        self.sock.connect(("127.0.0.1", front.port))
        self.buffer = b""
        self.handles, self.states, self.heard, self.answers = {}, {}, [], []
        self.rows = {}  # handle -> the rows that it was told, by open time
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET /ws{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.sock.recv(1)
        assert b" 101 " in head.partition(b"\r\n")[0]

    def say(self, *message):
        self.sock.sendall(masked(BINARY, pack(message)))

    def _exactly(self, size):
        while len(self.buffer) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def frame(self):
        first, size = self._exactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._exactly(8))
        return first & 15, self._exactly(size)

    def take(self):
        """Read one WebSocket message and apply what is in it by the protocol: every DIFF follows what is held."""
        assert time.monotonic() < self.deadline, f"not in time; heard {len(self.heard)} messages"
        opcode, data = self.frame()
        if opcode != BINARY:
            return []
        message = unpack(data)
        messages = message[1:] if message[0] == Kind.BATCH else [message]
        for one in messages:
            self._apply(*one)
        return messages

    def _apply(self, kind, *fields):
        self.heard.append(kind)
        if kind == ACK:
            self.answers.append(fields[0])
            self.handles.update({handle: topic for topic, handle, _ in fields[1]})
        elif kind == SNAPSHOT:
            handle, epoch, seq, groups, rows = fields
            assert handle in self.handles
            self.states[handle] = [epoch, seq, groups]
            self.rows.setdefault(handle, {}).update({row[0]: row for row in rows})
        elif kind == DIFF:
            handle, seq, back, changes = fields
            state = self.states[handle]
            assert seq - back == state[1], "a hole that no snapshot mended"
            diffs.apply(state[2], changes)
            state[1] = seq
        elif kind == CLOSE:
            handle, _, row = fields
            self.rows[handle][row[0]] = row

    def holds(self, worker, symbol):
        """Whether all that it knows of the pair is what the worker published."""
        state = worker.state(symbol)
        for handle, topic in self.handles.items():
            parts = topic.split(":")
            if parts[2] == symbol:
                groups = [state[0]] + ([state[NAMES.index(parts[3]) + 1]] if len(parts) == 4 else [])
                if handle not in self.states or self.states[handle][2] != groups:
                    return False
        return True

    def close(self):
        self.sock.close()


@contextmanager
def raw(front, query=""):
    one = RawClient(front, query)
    try:
        yield one
    finally:
        one.close()


def introduce(front, worker, symbol):
    def known():
        worker.publish(symbol, head=[len(front.ask("/api/v1/symbols")) + 1])
        return any(pair["symbol"] == symbol for pair in front.ask("/api/v1/symbols?token=s3cret"))

    wait_for(known, symbol)


def big(number):
    """States that differ from the one before in every field, by integers that fill a message."""
    value = number + (HUGE if number % 2 else -HUGE)
    return {"head": [value] * 12, **{f"g{group}": [0, *[value] * 8] for group in range(1, len(NAMES) + 1)}}


def flood(worker, symbol, other, meanwhile=lambda number: None):
    """More changes than the kernel's buffers take for who does not read; the longest that `other` waited for one."""
    worst_s = 0.0
    for number in range(ROUNDS):
        started = time.monotonic()
        meanwhile(number)
        worker.publish(symbol, **big(number))
        while not other.handles or not other.holds(worker, symbol):
            other.take()
        worst_s = max(worst_s, time.monotonic() - started)
    return worst_s
