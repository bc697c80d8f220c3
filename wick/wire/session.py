"""The session protocol between a front and its clients, version 1. Pure; `docs/protocol.md` is made from this.

Every message is an array whose first element is its kind. msgpack by default, JSON by subprotocol. A WebSocket message
is one of these, or a BATCH of them.
"""

from enum import IntEnum
from typing import Any, Final, NamedTuple

from wick.errors import ProtocolError
from wick.market.intervals import NAMES

VERSION: Final = 1
SUBPROTOCOLS: Final = ("wick.v1.msgpack", "wick.v1.json")
HEARTBEAT_S: Final = 5
MAX_TOPIC: Final = 200  # characters


class Kind(IntEnum):
    """The first element of a message."""

    HELLO = 0
    ACK = 1
    ERROR = 2
    SNAPSHOT = 3
    DIFF = 4
    CLOSE = 5
    HEARTBEAT = 6
    BYE = 7
    LIVE = 8
    BATCH = 9
    TRADES = 10
    BOOK = 11
    STATS = 12
    SUBSCRIBE = 16
    UNSUBSCRIBE = 17
    PING = 18


class Part(NamedTuple):
    """A field of a message: its name, its type as the documents write it, and what it means."""

    name: str
    type: str
    meaning: str


class Declared(NamedTuple):
    """A message: its kind, who sends it, its fields after the kind, and what it is for."""

    kind: Kind
    sender: str
    parts: tuple[Part, ...]
    meaning: str


MESSAGES: Final = (
    Declared(Kind.HELLO, "front", (
        Part("version", "int", "of this protocol: 1"),
        Part("server_time_ms", "int", "the front's clock"),
        Part("front", "text", "which front this is, and since when: another one after a restart"),
        Part("limits", "map", "`subscriptions`, `message_bytes`, `messages_s`, `heartbeat_s`"),
    ), "The first message of a session."),
    Declared(Kind.ACK, "front", (
        Part("id", "int or null", "of the request; null: pairs that a glob matches have appeared"),
        Part("topics", "[[topic, handle, resumed], …]",
             "each concrete topic with its handle, the integer that stands for it from now on; `resumed`: nothing was "
             "missed since the position that was asked for (false without one; the same for UNSUBSCRIBE)"),
    ), "A request was taken; its errors come before it."),
    Declared(Kind.ERROR, "front", (
        Part("id", "int or null", "of the request, null where it cannot be told"),
        Part("code", "text", "what is wrong, for programs"),
        Part("field", "text", "where"),
        Part("value", "any", "what was given, shortened"),
        Part("message", "text", "what is wrong, for people"),
        Part("valid", "[text, …]", "what would be valid: choices, or one description"),
    ), "A request, or one topic of it, cannot be followed; the others are."),
    Declared(Kind.SNAPSHOT, "front", (
        Part("handle", "int", "the topic"),
        Part("epoch", "int", "the stream's epoch"),
        Part("seq", "int", "the position of this state in the stream"),
        Part("groups", "[[int, …], …]", "the whole state"),
        Part("rows", "[row, …]", "candles (trades, for a trades topic) that are over, oldest first"),
    ), "The state as of a position. It replaces the groups; its rows are added by their open time."),
    Declared(Kind.DIFF, "front", (
        Part("handle", "int", "the topic"),
        Part("seq", "int", "the position that it leads to"),
        Part("back", "int", "it starts from position seq - back"),
        Part("changes", "[int, …]", "what changed (see State)"),
    ), "Changes of a state; it applies where seq - back is the client's position of the topic."),
    Declared(Kind.CLOSE, "front", (
        Part("handle", "int", "the topic"),
        Part("seq", "int", "the position at which it closed; it moves the position of a closes topic"),
        Part("row", "row", "the candle"),
    ), "A candle closed, or was revised."),
    Declared(Kind.HEARTBEAT, "front", (
        Part("server_time_ms", "int", "the front's clock"),
        Part("age_ms", "int or null", "how old the newest data is; null: none yet"),
    ), "Every `heartbeat_s`."),
    Declared(Kind.BYE, "front", (
        Part("close_code", "int", "with which the connection is closed next"),
        Part("reason", "text", "for people"),
        Part("retry_after_ms", "int", "connect again at a random moment within this time"),
    ), "The front stops."),
    Declared(Kind.LIVE, "front", (
        Part("handle", "int", "the topic"),
        Part("row", "row", "the candle as it would be if it closed now"),
    ), "A live candle with its metrics."),
    Declared(Kind.BATCH, "front", (
        Part("messages", "message, …", "each an array as here, in order"),
    ), "Several messages in one; the messages follow the kind, they are not in an array of their own."),
    Declared(Kind.TRADES, "front", (
        Part("handle", "int", "the topic"),
        Part("epoch", "int", "the stream's epoch"),
        Part("seq", "int", "the number of the last of these trades in the topic's stream"),
        Part("missed", "int", "how many before these were left out, because the client was too slow"),
        Part("price_decimals", "int", "prices are in units of ten to the minus this"),
        Part("quantity_decimals", "int", "quantities likewise"),
        Part("trades", "[[id, time_us, price, quantity, taker_is_buyer, count], …]", "in the order of receipt"),
    ), "Trades as the feed received them."),
    Declared(Kind.BOOK, "front", (
        Part("handle", "int", "the topic"),
        Part("seq", "int", "the venue's update id"),
        Part("time_us", "int", "the venue's time"),
        Part("bids", "[[price, quantity], …]", "decimal texts, best first"),
        Part("asks", "[[price, quantity], …]", "decimal texts, best first"),
    ), "The best levels of a book; the newest stands."),
    Declared(Kind.STATS, "front", (
        Part("handle", "int", "the topic"),
        Part("process", "text", "who says it"),
        Part("stats", "map", "what the process says of itself"),
    ), "Counters and gauges of a process, once a second."),
    Declared(Kind.SUBSCRIBE, "client", (
        Part("id", "int", "the client's own number for this request"),
        Part("topics", "[topic or [topic, epoch, seq], …]", "with a position: resume from there"),
    ), "Answered by an ERROR for each entry that names no topic, one ACK, and each topic's state."),
    Declared(Kind.UNSUBSCRIBE, "client", (
        Part("id", "int", "the client's own number for this request"),
        Part("topics", "[topic, …]", "as they were subscribed to, globs included"),
    ), "Answered by an ACK that lists the topics that were left."),
    Declared(Kind.PING, "client", (
        Part("id", "int", "the client's own number for this request"),
    ), "Answered by an ACK without topics."),
)  # fmt: skip


REQUESTS: Final = (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PING)


class CloseCode(IntEnum):
    """Beyond RFC 6455's own: 3000-3499 and 4000-4499 invite to connect again, 3500-3999 and 4500-4999 do not."""

    GOING_AWAY = 1001
    POLICY = 1008
    TOO_BIG = 1009
    TRY_LATER = 1013
    SLOW = 3008
    BAD_REQUESTS = 3500
    TOO_MANY_MESSAGES = 3501


class Topic(NamedTuple):
    """One concrete topic. `interval`: the index in the interval table, -1 where the kind has none; `stats` has neither
    venue nor symbol."""

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
