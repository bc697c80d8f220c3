"""The session protocol between a front and its clients, version 1. Pure; `wick.wire.documents` makes docs of this.

Every message is an array whose first element is its kind. msgpack by default, JSON by subprotocol. A WebSocket message
is one of these, or a BATCH of them.
"""

from enum import IntEnum
from typing import Any, Final, NamedTuple

from wick.errors import ProtocolError
from wick.wire.topics import KINDS, Pattern, Topic, expand, parse_topics

__all__ = [
    "CLOSES", "HEARTBEAT_S", "KINDS", "MESSAGES", "REQUESTS", "STRUCTURES", "SUBPROTOCOLS", "VERSION",
    "CloseCode", "Declared", "Kind", "Part", "Pattern", "Request", "Topic", "Wanted",
    "expand", "parse_request", "parse_topics", "request_id",
]  # fmt: skip

VERSION: Final = 1
SUBPROTOCOLS: Final[tuple[str, ...]] = ("wick.v1.msgpack", "wick.v1.json")
HEARTBEAT_S: Final = 5


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
    """A field of a message: its name, its type, and what it means.

    A type is `int`, `bool`, `text`, `null`, `map`, `row` (the fields of CANDLE), `message` or the name of a structure;
    `[type, …]` is an array of any length; `a or b` is either.
    """

    name: str
    type: str
    meaning: str


class Declared(NamedTuple):
    """A message: its kind, who sends it, its fields after the kind, and what it is for."""

    kind: Kind
    sender: str
    parts: tuple[Part, ...]
    meaning: str


# Arrays of fixed length inside of messages.
STRUCTURES: Final = {
    "grant": (
        Part("topic", "text", "one concrete topic"),
        Part("handle", "int", "stands for it from now on"),
        Part("resumed", "bool",
             "nothing is missed since the position that was asked for; false without one, and for UNSUBSCRIBE"),
    ),
    "position": (
        Part("topic", "text", "one concrete topic"),
        Part("epoch", "int", "as SNAPSHOT or TRADES told it"),
        Part("seq", "int", "up to which the client has all"),
    ),
    "trade": (
        Part("id", "int", "the venue's, or the feed's own count where the venue does not number them"),
        Part("time_us", "int", "the venue's time"),
        Part("price", "int", "in units of 10^-price_decimals"),
        Part("quantity", "int", "in units of 10^-quantity_decimals"),
        Part("taker_is_buyer", "bool", "the taker lifted the ask"),
        Part("count", "int", "how many matches it stands for"),
    ),
    "level": (
        Part("price", "text", "a plain decimal"),
        Part("quantity", "text", "likewise"),
    ),
}  # fmt: skip

MESSAGES: Final = (
    Declared(Kind.HELLO, "front", (
        Part("version", "int", "of this protocol: 1"),
        Part("server_time_ms", "int", "the front's clock"),
        Part("front", "text", "which front this is, and since when: another one after a restart"),
        Part("limits", "map", "`subscriptions`, `message_bytes`, `messages_s`, `heartbeat_s`"),
    ), "The first message of a session."),
    Declared(Kind.ACK, "front", (
        Part("id", "int or null", "of the request; null: pairs that a glob matches have appeared"),
        Part("topics", "[grant, …]", "the concrete topics; for UNSUBSCRIBE those that were left"),
    ), "A request was taken; its errors come before it."),
    Declared(Kind.ERROR, "front", (
        Part("id", "int or null", "of the request, null where it cannot be told"),
        Part("code", "text", "what is wrong, for programs"),
        Part("field", "text", "where"),
        Part("value", "text", "what was given, shortened"),
        Part("message", "text", "what is wrong, for people"),
        Part("valid", "[text, …]", "what would be valid: choices, the nearest first, or one description"),
        Part("topic", "text or null", "the text of the request that it is about, as it was given; null: all of it"),
    ), "A request, or one topic of it, cannot be followed; the others are."),
    Declared(Kind.SNAPSHOT, "front", (
        Part("handle", "int", "the topic"),
        Part("epoch", "int", "the stream's epoch"),
        Part("seq", "int", "the position of this state in the stream"),
        Part("groups", "[[int, …], …]", "the whole state"),
        Part("rows", "[row, …]", "candles that are over, oldest first"),
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
        Part("messages", "message …", "each an array as here, in order"),
    ), "Several messages in one; the messages follow the kind, they are not in an array of their own."),
    Declared(Kind.TRADES, "front", (
        Part("handle", "int", "the topic"),
        Part("epoch", "int", "the stream's epoch"),
        Part("seq", "int", "the number of the last of these trades in the topic's stream"),
        Part("missed", "int", "how many between those told before and these are left out: the client was too slow"),
        Part("price_decimals", "int", "prices are in units of ten to the minus this"),
        Part("quantity_decimals", "int", "quantities likewise"),
        Part("trades", "[trade, …]", "in the order of receipt"),
    ), "Trades as the feed received them. Another epoch begins another count."),
    Declared(Kind.BOOK, "front", (
        Part("handle", "int", "the topic"),
        Part("seq", "int", "the venue's update id"),
        Part("time_us", "int", "the venue's time"),
        Part("bids", "[level, …]", "the best first"),
        Part("asks", "[level, …]", "the best first"),
    ), "The best levels of a book; the newest stands."),
    Declared(Kind.STATS, "front", (
        Part("handle", "int", "the topic"),
        Part("process", "text", "who says it"),
        Part("stats", "map", "what the process says of itself"),
    ), "Counters and gauges of a process, once a second."),
    Declared(Kind.SUBSCRIBE, "client", (
        Part("id", "int", "the client's own number for this request"),
        Part("topics", "[text or position, …]", "globs and lists as they are; with a position: go on from there"),
    ), "Answered by an ERROR for each entry that names no topic, one ACK, and what there is to tell of each topic."),
    Declared(Kind.UNSUBSCRIBE, "client", (
        Part("id", "int", "the client's own number for this request"),
        Part("topics", "[text, …]", "as they were subscribed to, globs and lists included"),
    ), "Answered by an ACK that lists the topics that were left."),
    Declared(Kind.PING, "client", (
        Part("id", "int", "the client's own number for this request"),
    ), "Answered by an ACK without topics."),
)  # fmt: skip


REQUESTS: Final = (Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PING)


class CloseCode(IntEnum):
    """With which a front closes a connection. 3000-3499 and 4000-4499 invite to connect again, 3500-3999 and 4500-4999
    do not."""

    GOING_AWAY = 1001
    PROTOCOL = 1002
    UNSUPPORTED = 1003
    BAD_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    TRY_LATER = 1013
    SLOW = 3008
    BAD_REQUESTS = 3500
    TOO_MANY_MESSAGES = 3501


# What each means, and whether to connect again.
CLOSES: Final = (
    (CloseCode.GOING_AWAY, "the front stops (BYE says so before)", "yes, after a random part of retry_after_ms"),
    (CloseCode.PROTOCOL, "the client broke the WebSocket protocol", "when mended"),
    (CloseCode.UNSUPPORTED, "a kind of frame that the session does not take", "when mended"),
    (CloseCode.BAD_DATA, "text that is not UTF-8, or data that does not inflate", "when mended"),
    (CloseCode.POLICY, "what is asked for is not allowed", "no"),
    (CloseCode.TOO_BIG, "a message above `front.max_message_kb`", "no"),
    (CloseCode.TRY_LATER, "as many clients as there may be are connected", "later"),
    (CloseCode.SLOW, "the client took nothing for `front.client_stall_s` (it may see 1006 instead: what is full takes "
                     "no close frame either), lacks more candles than are kept, or takes a minute for one message",
     "yes"),
    (CloseCode.BAD_REQUESTS, "too many bad requests", "no"),
    (CloseCode.TOO_MANY_MESSAGES, "more than `front.client_messages_s`, with pings and pongs, or `front.client_kb_s`",
     "no"),
)  # fmt: skip


class Wanted(NamedTuple):
    """An entry of a request: what it names, and the position (epoch, seq) from which to go on, where it has one."""

    text: str
    position: tuple[int, int] | None = None

    def pattern(self, venues: tuple[str, ...] = ()) -> Pattern:
        """What it names. Raises ProtocolError, as for a position of several topics: each has its own."""
        pattern = parse_topics(self.text, venues)
        if self.position is not None and (pattern.single is None or not KINDS[pattern.kind].resumes):
            resuming = ", ".join(kind.name for kind in KINDS.values() if kind.resumes)
            raise ProtocolError("bad_position", "topic", self.text, "", (f"one topic with a position ({resuming})",))
        return pattern


class Request(NamedTuple):
    """A client's message: kind, its id, what it names."""

    kind: Kind
    id: int
    topics: list[Wanted]


def request_id(message: Any) -> int | None:
    """The id of what should be a request, for the answer; None where it cannot be told."""
    has_one = type(message) is list and len(message) > 1 and type(message[1]) is int
    return message[1] if has_one else None


def parse_request(message: Any) -> Request:
    """Raises ProtocolError that names the field and what is valid."""
    if type(message) is not list or not message:
        raise ProtocolError("bad_message", "message", message, "", ("an array [kind, id, …]",))
    if type(message[0]) is not int or message[0] not in REQUESTS:
        kinds = tuple(f"{kind.value} {kind.name}" for kind in REQUESTS)
        raise ProtocolError("bad_kind", "kind", message[0], "", kinds)
    if request_id(message) is None:
        raise ProtocolError("bad_id", "id", message[1:2], "", ("a whole number",))
    kind, entries = Kind(message[0]), message[2] if len(message) > 2 else []
    if type(entries) is not list or (kind != Kind.PING and len(message) < 3):
        raise ProtocolError("bad_topics", "topics", message[2:3], "", ("an array of topics",))
    return Request(kind, message[1], [_wanted(kind, entry) for entry in entries])


def _wanted(kind: Kind, entry: Any) -> Wanted:
    if type(entry) is str:
        return Wanted(entry)
    if kind != Kind.SUBSCRIBE or type(entry) is not list or len(entry) != 3 or type(entry[0]) is not str:
        either = " or [topic, epoch, seq]" if kind == Kind.SUBSCRIBE else ""
        raise ProtocolError("bad_topics", "topics", entry, "", (f"an array of topics, each a text{either}",))
    return Wanted(entry[0], (_position(entry, 1), _position(entry, 2)))


def _position(entry: list[Any], place: int) -> int:
    """In JSON what is beyond 2^53 is a decimal text; an epoch is."""
    value = entry[place]
    if type(value) is str and len(value) <= 20 and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ProtocolError("bad_position", ("epoch", "seq")[place - 1], value, "", ("a whole number from 0, as told",))
    return value
