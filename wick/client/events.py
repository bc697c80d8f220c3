"""What a session tells: small immutable events, in the order in which things happened. Pure.

Times are integers, ms (or us, where the name says so) since the epoch, UTC.
"""

from typing import Any, NamedTuple

from wick.client.views import Candle, Level, Ticker, Trade


class Connected(NamedTuple):
    """A front answered; what was wished for is being subscribed."""

    front: str  # which one, and since when: another text after its restart
    server_time_ms: int
    limits: dict[str, Any]  # what the front allows: subscriptions, message_bytes, messages_s, heartbeat_s


class Disconnected(NamedTuple):
    """The connection is gone, or could not be made. What is held stays, and grows old."""

    code: int | None  # the WebSocket's close code, or the HTTP status of a refusal; None: neither was told
    reason: str
    retry_ms: int | None  # the next attempt is made in so many ms; None: none is made, the iterator raises next


class Bye(NamedTuple):
    """The front is about to close the connection; the client comes back by itself."""

    close_code: int
    reason: str
    retry_after_ms: int  # at a random moment within this time


class Subscribed(NamedTuple):
    """The front took the topic; for a glob, one event for each pair that it matches, later ones included."""

    topic: str
    resumed: bool  # proven: nothing was missed since the connection before


class Unsubscribed(NamedTuple):
    """The topic is left; nothing more is said of it."""

    topic: str


class Snapshot(NamedTuple):
    """The whole state of a topic: at first, and whenever the front finds that simpler than changes."""

    topic: str
    ticker: Ticker | None  # of `ticker:` and `candles:` topics
    candle: Candle | None  # the live one of `candles:` topics; None before the first trade
    candles: list[Candle]  # that are over, oldest first: those that the front tells of, not all that the client holds


class Changed(NamedTuple):
    """The state of a `ticker:` or `candles:` topic moved on."""

    topic: str
    ticker: Ticker
    candle: Candle | None  # the live one of `candles:` topics
    ended: Candle | None  # the one that was live before, as it stood; its Closed comes a grace period later


class Closed(NamedTuple):
    """A candle is final. Said once a candle, and also of those that closed while the client was away."""

    topic: str
    candle: Candle


class Revised(NamedTuple):
    """A candle that was Closed is told otherwise: a late trade corrected it, or a worker began anew and knows less."""

    topic: str
    candle: Candle


class Live(NamedTuple):
    """The live candle of a `metrics:` topic with the metrics that it would have if it closed now."""

    topic: str
    candle: Candle


class Trades(NamedTuple):
    """Trades of a `trades:` topic, in the order of receipt."""

    topic: str
    trades: list[Trade]
    missed: int  # so many before these were left out, because this client was too slow


class Book(NamedTuple):
    """The best levels of a `book:` topic; the newest stands."""

    topic: str
    seq: int  # the venue's update id
    time_us: int  # the venue's time
    bids: list[Level]  # best first
    asks: list[Level]  # best first


class Stats(NamedTuple):
    """What a process of wick says of itself, once a second (the `stats` topic)."""

    topic: str
    process: str
    stats: dict[str, Any]


class Gap(NamedTuple):
    """Something of the topic may have been missed. Its state is right again with the Snapshot that follows.

    `reason`: `hole` (a message was lost; the client subscribes anew by itself), `unproven` (a reconnect that the front
    could not prove to be complete) or `slow` (trades were left out). Candles that closed unseen: `wick.client.history`
    from `since_ms`.
    """

    topic: str
    reason: str
    since_ms: int | None  # the open time of the first candle that may be missing; None: not a topic of candles
    missed: int | None  # how many trades; None: not known


class Stale(NamedTuple):
    """The newest data are old, or the front is silent (it is called anew then). Said once, until Fresh."""

    age_ms: int | None  # of the newest data; None: the front never had any


class Fresh(NamedTuple):
    """Data flow again, after a Stale."""

    age_ms: int


class Error(NamedTuple):
    """The front cannot follow a request, or one topic of it; the others go on."""

    code: str
    field: str
    value: Any  # what was given, shortened
    message: str
    valid: list[str]  # choices, the nearest first, or one description
    topic: str | None = None  # as it was subscribed to: it is not asked for again


Event = (
    Connected | Disconnected | Bye | Subscribed | Unsubscribed | Snapshot | Changed | Closed | Revised | Live | Trades
    | Book | Stats | Gap | Stale | Fresh | Error
)  # fmt: skip
