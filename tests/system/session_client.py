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

HELLO, ACK, ERROR, SNAPSHOT, DIFF, CLOSE, HEARTBEAT, BYE, LIVE, BATCH = range(10)
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
        self.fronts: list[str] = []
        self.states: dict[str, list[list[int]]] = {}
        self.positions: dict[str, tuple[int, int]] = {}
        self.resumed: dict[str, bool] = {}  # what the newest ACK said of each topic
        self._connect()

    def _connect(self) -> None:
        self.socket = connect(
            f"ws://127.0.0.1:{self.port}/ws", subprotocols=[f"wick.v1.{self.form}"], max_queue=None, proxy=None,
            open_timeout=60,
        ).__enter__()  # fmt: skip
        self.handles: dict[int, str] = {}
        self.resumed.clear()
        known = [[topic, *self._position(topic)] for topic in self.positions]
        self.say([SUBSCRIBE, 1, [*known, *(topic for topic in self.topics if topic not in self.positions)]])

    def _position(self, topic: str) -> list[Any]:
        """As it is sent: in JSON what is beyond 2^53 is a text."""
        both = self.positions[topic]
        return [str(one) if self.form == "json" and one >= 1 << 53 else one for one in both]

    def say(self, message: list[Any]) -> None:
        if self.form == "json":
            self.socket.send(orjson.dumps(message).decode())
        else:
            self.socket.send(msgpack.packb(message))

    def follow(self, until: Any, timeout_s: float = 60.0) -> None:
        """Take messages until `until(self)`."""
        deadline = time.monotonic() + timeout_s
        while not until(self):
            left = deadline - time.monotonic()
            assert left > 0, f"not in time; kinds heard {self.kinds}, errors {self.errors}"
            with suppress(TimeoutError):
                self.take(self.socket.recv(timeout=min(left, 0.2)))

    def follow_through_restarts(self, until: Any, timeout_s: float = 60.0) -> None:
        """Like `follow`, and connects again as a browser does, from where it stands."""
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
            self._take(orjson.loads(data))
        else:
            self._take(msgpack.unpackb(data, ext_hook=_ext))

    def _take(self, message: list[Any]) -> None:
        kind, *fields = message
        if kind == BATCH:
            for one in fields:
                self._take(one)
            return
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind == HELLO:
            self.fronts.append(fields[2])
        elif kind == ACK:
            for topic, handle, resumed in fields[1]:
                self.handles[handle] = topic
                self.resumed[topic] = resumed
        elif kind == ERROR:
            self.errors.append(fields)
        elif kind == SNAPSHOT:
            handle, epoch, seq, groups, rows = fields
            topic = self.handles[handle]
            self.states[topic] = [[int(value) for value in group] for group in groups]  # in JSON big ones are texts
            self.positions[topic] = (int(epoch), seq)
            self.epochs.add(int(epoch))
            for row in rows:
                self._row(topic, row)
        elif kind == DIFF:
            handle, seq, back, changes = fields
            topic = self.handles[handle]
            epoch, position = self.positions[topic]
            assert seq - back == position, f"a hole in {topic}"
            self._apply(topic, changes)
            self.positions[topic] = (epoch, seq)
        elif kind == CLOSE:
            handle, seq, row = fields
            topic = self.handles[handle]
            self._row(topic, row)
            if topic.startswith("closes:"):
                self.positions[topic] = (self.positions[topic][0], seq)
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
