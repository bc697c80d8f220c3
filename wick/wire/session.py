"""The session protocol between a front and its clients, version 1. Pure; `docs/protocol.md` explains it.

Every message is an array whose first element is its kind. msgpack by default, JSON by subprotocol.
"""

from enum import IntEnum
from typing import Any, NamedTuple

from wick.errors import ProtocolError
from wick.market.intervals import NAMES

VERSION = 1
SUBPROTOCOLS = ("wick.v1.msgpack", "wick.v1.json")
HEARTBEAT_S = 5
MAX_TOPIC = 200  # characters


class Kind(IntEnum):
    """The first element of a message."""

    HELLO = 0  # version, server_time_ms, limits
    ACK = 1  # id, [[topic, handle], ...]
    ERROR = 2  # id, code, field, value, message
    SNAPSHOT = 3  # handle, epoch, seq, [group, ...], [row, ...]
    DIFF = 4  # handle, epoch, prev_seq, seq, changes
    CLOSE = 5  # handle, row
    HEARTBEAT = 6  # server_time_ms, age_ms of the newest data
    BYE = 7  # close_code, reason, retry_after_ms
    LIVE = 8  # handle, row
    SUBSCRIBE = 16  # id, [topic, ...]
    UNSUBSCRIBE = 17  # id, [topic, ...]
    PING = 18  # id


REQUESTS = (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PING)


class CloseCode(IntEnum):
    """Beyond RFC 6455's own: 3000-3499 and 4000-4499 invite to connect again, 3500-3999 and 4500-4999 do not."""

    GOING_AWAY = 1001
    POLICY = 1008
    TOO_BIG = 1009
    SLOW = 3008
    BAD_REQUESTS = 3500


class Topic(NamedTuple):
    """What a client subscribes to. `interval` is the index in the interval table, -1 for a ticker."""

    kind: str
    venue: str
    symbol: str
    interval: int

    @property
    def text(self) -> str:
        tail = f":{NAMES[self.interval]}" if self.interval >= 0 else ""
        return f"{self.kind}:{self.venue}:{self.symbol}{tail}"

    @property
    def groups(self) -> dict[int, int]:
        """Which groups of a pair's state the topic shows, and as which of its own."""
        if self.kind == "metrics":
            return {}
        return {0: 0} if self.interval < 0 else {0: 0, self.interval + 1: 1}


class Request(NamedTuple):
    """A client's message: kind, its id, the topics."""

    kind: Kind
    id: int
    topics: list[str]


def parse_request(message: Any) -> Request:
    """Raises ProtocolError that names the field and what is valid."""
    if type(message) is not list or not message:
        raise ProtocolError("bad_message", "message", message, "valid is an array [kind, id, ...]")
    if type(message[0]) is not int or message[0] not in REQUESTS:
        raise ProtocolError("bad_kind", "kind", message[0], "valid is 16 subscribe, 17 unsubscribe, 18 ping")
    if len(message) < 2 or type(message[1]) is not int:
        raise ProtocolError("bad_id", "id", message[1:2], "valid is a whole number")
    topics = message[2] if len(message) > 2 else []
    if type(topics) is not list or any(type(topic) is not str for topic in topics):
        raise ProtocolError("bad_topics", "topics", topics, "valid is an array of texts")
    return Request(Kind(message[0]), message[1], topics)


def parse_topic(text: str) -> Topic:
    """`ticker:<venue>:<symbol or *>`, or `candles:` or `metrics:<venue>:<symbol>:<interval>`. Raises ProtocolError."""
    kind, *parts = text.split(":") if len(text) <= MAX_TOPIC else [""]
    if kind == "ticker" and len(parts) == 2 and all(parts):
        return Topic(kind, parts[0], parts[1], -1)
    if kind in ("candles", "metrics") and len(parts) == 3 and all(parts):
        if parts[2] not in NAMES:
            raise ProtocolError("bad_interval", "interval", parts[2], f"valid is one of {', '.join(NAMES)}")
        return Topic(kind, parts[0], parts[1], NAMES.index(parts[2]))
    raise ProtocolError(
        "bad_topic", "topic", text,
        "valid is ticker:<venue>:<symbol>, candles:<venue>:<symbol>:<interval> or metrics:<venue>:<symbol>:<interval>",
    )
