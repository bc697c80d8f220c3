"""A client that knows nothing but the session protocol: it applies snapshots, diffs and closes, and keeps candles.

Written from docs/protocol.md, not from the server's code, so that both cannot be wrong in the same way.
"""

import time
from contextlib import suppress
from typing import Any

import msgpack
import orjson
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

HELLO, ACK, ERROR, SNAPSHOT, DIFF, CLOSE, HEARTBEAT, BYE, LIVE = range(9)
SUBSCRIBE, UNSUBSCRIBE, PING = 16, 17, 18
INTERVALS = ["15s", "30s", "1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "1M"]


def _ext(code: int, data: bytes) -> int:
    assert code == 1
    return int.from_bytes(data, "big", signed=True)


class SessionClient:
    """Subscribes to topics and follows them. `rows` and `closed` hold candles by topic and open time."""

    def __init__(self, port: int, topics: list[str], form: str = "msgpack") -> None:
        self.form, self.topics, self.port = form, topics, port
        self.rows: dict[str, dict[int, list[Any]]] = {topic: {} for topic in topics}
        self.closed: dict[str, dict[int, list[Any]]] = {topic: {} for topic in topics}
        self.told_live: dict[str, list[list[Any]]] = {topic: [] for topic in topics}
        self.kinds: dict[int, int] = {}
        self.errors: list[list[Any]] = []
        self.epochs: set[int] = set()
        self._connect()

    def _connect(self) -> None:
        self.socket = connect(
            f"ws://127.0.0.1:{self.port}/ws", subprotocols=[f"wick.v1.{self.form}"],
            compression=None, max_queue=None, proxy=None,
        ).__enter__()  # fmt: skip
        self.handles: dict[int, str] = {}
        self.states: dict[str, list[list[int]]] = {}
        self.positions: dict[str, tuple[int, int]] = {}
        self.say([SUBSCRIBE, 1, self.topics])

    def say(self, message: list[Any]) -> None:
        if self.form == "json":
            self.socket.send(orjson.dumps(message).decode())
        else:
            self.socket.send(msgpack.packb(message))

    def follow(self, until: Any, timeout_s: float = 30.0) -> None:
        """Take messages until `until(self)`."""
        deadline = time.monotonic() + timeout_s
        while not until(self):
            left = deadline - time.monotonic()
            assert left > 0, f"not in time; kinds heard {self.kinds}, errors {self.errors}"
            with suppress(TimeoutError):
                self.take(self.socket.recv(timeout=min(left, 0.2)))

    def follow_through_restarts(self, until: Any, timeout_s: float = 30.0) -> None:
        """Like `follow`, and connects again as a browser does."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.follow(until, max(0.1, deadline - time.monotonic()))
                return
            except (ConnectionClosed, OSError):
                assert time.monotonic() < deadline, "the front did not come back"
                with suppress(OSError, ConnectionClosed):
                    self._connect()

    def take(self, data: bytes | str) -> None:
        if self.form == "json":
            message = orjson.loads(data)
        else:
            message = msgpack.unpackb(data, ext_hook=_ext)
        kind, *fields = message
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind == ACK:
            for topic, handle in fields[1]:
                self.handles[handle] = topic
        elif kind == ERROR:
            self.errors.append(fields)
        elif kind == SNAPSHOT:
            handle, epoch, seq, groups, rows = fields
            topic = self.handles[handle]
            self.states[topic], self.positions[topic] = groups, (epoch, seq)
            self.epochs.add(epoch)
            for row in rows:
                self._row(topic, row)
        elif kind == DIFF:
            handle, epoch, prev_seq, seq, changes = fields
            topic = self.handles[handle]
            assert self.positions[topic] == (epoch, prev_seq), f"a hole in {topic}"
            self._apply(topic, changes)
            self.positions[topic] = (epoch, seq)
        elif kind == CLOSE:
            self._row(self.handles[fields[0]], fields[1])

        elif kind == LIVE:
            self.told_live[self.handles[fields[0]]].append(fields[1])

    def _row(self, topic: str, row: list[Any]) -> None:
        row = [None if value != value else value for value in row]  # NaN, which JSON and the store do not have
        if self.form == "json":  # which has texts for integers that are too big, and an array for bytes
            row = [int(value) if isinstance(value, str) else value for value in row]
            row = [bytes(one & 255 for one in value) if isinstance(value, list) else value for value in row]
        self.rows.setdefault(topic, {})[row[0]] = row
        if row[3] & 1:
            self.closed.setdefault(topic, {})[row[0]] = row

    def _apply(self, topic: str, changes: list[int]) -> None:
        groups = self.states[topic]
        at = 0
        while at < len(changes):
            number, mask = changes[at : at + 2]
            at += 2
            for bit in range(mask.bit_length()):
                if mask >> bit & 1:
                    groups[number][bit] += int(changes[at])
                    at += 1

    def trades(self, topic: str) -> int:
        """Trades since the epoch began."""
        return self.states[topic][0][5] if topic in self.states else 0

    def live(self, topic: str) -> list[int]:
        """The live candle: open time, open, high, low, close, volume, quote volume, count, two of taker buys."""
        head, candle = self.states[topic]
        volumes = [head[3 + k] - candle[4 + k] for k in range(5)]
        return [*candle[:4], head[0], *volumes]

    def close(self) -> None:
        self.socket.close()
