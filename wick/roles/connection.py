"""The WebSocket connections to one venue: opened, subscribed, watched, renewed. They know nothing of trades.

`Connections` spreads topics over lines; a `Line` keeps one connection alive, and opens its successor before it has to
end; a `Connection` is one WebSocket, from its attempt to its end. All sockets, sleeps and greenlets are gevent's own.
"""

import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from wick.exchanges import Venue
from wick.market.trades import Event, Topic

Heard = tuple[bool, Sequence[Event]]  # whether there was data, and the Acks and Shutdowns (others are passed over)


def nothing(*_: Any) -> None:
    """The hook of who does not want to know."""


@dataclass(frozen=True)
class Hooks:
    """What a user of connections gives and is told. All are called in the connections' greenlets."""

    # (connection, messages, recv_ns): takes what arrived, at least one message. Parses it (venue.take), and gives back
    # whether anything of it was data (heartbeats, acks, pongs are none) and the list of its Acks and Shutdowns.
    take: Callable[["Connection", list[bytes], int], Heard]
    opened: Callable[[int], Any] = nothing  # (number): connected, before anything is subscribed
    # (number, topics): that connection is over; topics: those of its that no other connection carries (none after a
    # handover). Once for each `opened`.
    closed: Callable[[int, tuple[Topic, ...]], Any] = nothing
    room: Callable[[], Any] = nothing  # called after each `take`; blocks while there is no room for more
    # (name, amount=1): attempts, connections, disconnects, handovers, requests, refused_requests, unanswered, ...
    count: Callable[..., Any] = nothing
    spawn: Callable[..., Any] = gevent.spawn  # role.spawn: a failure of the greenlet is the role's


@dataclass(frozen=True)
class Patience:
    """How long is waited for what."""

    silence_s: float = 60.0  # feed.silence_s: without data
    backoff_s: float = 30.0  # feed.backoff_s: at most before the next attempt
    ack_s: float = 10.0  # for an answer to a request
    refused_s: float = 60.0  # until a refused topic is asked for again; doubles
    refused_most_s: float = 3600.0
    overlap_s: float = 2.0  # that a connection is kept once its successor is subscribed


class Connection:
    """One WebSocket, from the attempt to its end. What `take` gets as its first argument."""

    number: int  # the n-th attempt of its `Connections`, from 1: never used again. The `source` of books
    line: int  # which of the venue's lines it serves, from 0: lives on in the connection that follows
    venue: Venue
    opened_ns: int

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Those that it is to carry, accepted by the venue or not yet."""
        raise NotImplementedError

    def carries(self, topic: Topic) -> bool:
        """Whether the venue has accepted it on this connection."""
        raise NotImplementedError


class Connections:
    """All connections to one venue, in one process.

    Topics are spread evenly over as few connections as `venue.limits.streams` allows, those of a symbol on the same
    one. `add`, `drop` and `again` never block: what they ask for is done at the venue's pace.
    """

    def __init__(
        self, venue: Venue, url: str, hooks: Hooks, patience: Patience, context: ssl.SSLContext | None = None
    ) -> None:
        """`url`: the whole address (base and path). `context`: see `ws_client.client_context`."""

    def add(self, topics: Iterable[Topic]) -> None:
        """Carry these too; those that are carried already stay as they are."""

    def drop(self, topics: Iterable[Topic]) -> None:
        """Carry these no more; a connection that carries nothing is closed."""

    def again(self, topics: Iterable[Topic]) -> None:
        """Unsubscribe and subscribe these: for a new snapshot, or where a stream has gone quiet."""

    def close(self) -> None:
        """End all connections, politely; what is added later is not carried."""

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All that are wanted."""
        raise NotImplementedError

    @property
    def settled(self) -> bool:
        """Whether every topic has been answered for on an open connection: accepted or refused."""
        raise NotImplementedError

    def carries(self, topic: Topic) -> bool:
        """Whether an open connection has it, accepted by the venue."""
        raise NotImplementedError

    def gauges(self) -> dict[str, Any]:
        """{"open": connections, "wanted": lines, "topics": wanted, "refused": topics, "oldest_s": of a connection}."""
        raise NotImplementedError
