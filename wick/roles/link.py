"""One WebSocket connection to a venue, from the attempt to its end: subscribed, answered, pinged, watched.

Sockets, sleeps and greenlets are gevent's own.
"""

import logging
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
from gevent.event import Event as Signal

from wick.market.trades import Ack, Event, Shutdown, Topic
from wick.net.clock import now_ns, steady_ns
from wick.net.limits import Bucket
from wick.net.reader import give_way
from wick.net.ws_client import Disconnected, WebSocketClient
from wick.stream.subscriptions import Subscriptions

if TYPE_CHECKING:
    from wick.roles.connection import Line

S = 1_000_000_000
CONNECT_S = 30.0  # for name, TCP, proxy, TLS and handshake together
SPACING_S = 0.25  # between requests, where the limit is not tighter: a burst would arrive as one behind a slow packet
SLACK = 1.1  # a venue's time is taken for longer: it counts when messages arrive, we when they leave
PING_EARLY = 0.8  # of the time that the venue gives
RENEW_EARLY = (0.05, 0.10)  # of the lifetime that the venue gives; random, so that not all are renewed at once
BUSY_NS = 10_000_000  # how long a flood may keep the other greenlets waiting
# A read costs as much as ten messages: where they come faster than this, they are read together.
GATHER_NS = 2_000_000
CLOSE_S = 2.0
TOO_MANY = (418, 429)  # HTTP: who goes on asking is banned for longer
BANNED_S = 60.0  # where the venue does not say for how long

log = logging.getLogger("wick")

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
    # (name, amount=1): attempts, failed_attempts, connections, disconnects, handovers, refused_requests, unanswered
    count: Callable[..., Any] = nothing
    spawn: Callable[..., Any] = gevent.spawn  # role.spawn: a failure of the greenlet is the role's


@dataclass(frozen=True)
class Patience:
    """How long is waited for what."""

    silence_s: float = 60.0  # feed.silence_s: without data
    backoff_s: float = 30.0  # feed.backoff_s: at most before the next attempt
    ack_s: float = 10.0  # for an answer to a request
    refused_s: float = 5.0  # until a refused topic is asked for again; doubles
    refused_most_s: float = 3600.0
    overlap_s: float = 2.0  # that a connection is kept once its successor is subscribed


class Connection:
    """One WebSocket, from the attempt to its end. What `take` gets as its first argument."""

    def __init__(self, line: "Line", number: int, topics: Iterable[Topic]) -> None:
        group = line.group
        self.number = number  # the n-th attempt of its `Connections`, from 1: never used again. The `source` of books
        self.line = line.index  # which of the venue's lines it serves, from 0: lives on in the connection that follows
        self.venue = group.venue
        self.opened_ns = 0  # 0 until it is connected; steady
        self.renew_ns = 0  # when its successor is due; 0: never
        self.over = False
        self.leaving = False  # the venue says that it is about to end, or does not answer: a successor is wanted
        self.had_data = False
        self._group, self._line = group, line
        self._wanted = tuple(topics)
        self._asking: Subscriptions | None = None
        self._settled_ns = 0
        self._client: WebSocketClient | None = None
        self._reason = ""
        self._work = Signal()
        self._running = False
        self._greenlet = group.hooks.spawn(self._run)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Those that it is to carry, accepted by the venue or not yet."""
        return tuple(self._asking.wanted) if self._asking is not None else self._wanted

    @property
    def is_open(self) -> bool:
        return bool(self.opened_ns) and not self.over

    @property
    def settled(self) -> bool:
        """Every topic is accepted or refused."""
        return self.is_open and self._asking is not None and self._asking.settled

    def carries(self, topic: Topic) -> bool:
        """Whether the venue has accepted it on this connection."""
        return self.is_open and self._asking is not None and topic in self._asking.accepted

    def ready_ns(self) -> int:
        """When it can stand alone; 0: not yet known. Settled, and with data, unless there is none for a while."""
        if not self.settled:
            return 0
        self._settled_ns = self._settled_ns or steady_ns()
        return self._settled_ns + (0 if self.had_data else round(self._group.patience.ack_s * S))

    # ------------------------------------------------------------------ what the line tells it

    def add(self, topics: Sequence[Topic]) -> None:
        if self._asking is not None:
            self._asking.add(topics, steady_ns())
            self._work.set()
        else:
            self._wanted += tuple(topics)

    def drop(self, topics: Sequence[Topic]) -> None:
        if self._asking is not None:
            self._asking.drop(topics)
            self._work.set()
        else:
            self._wanted = tuple(topic for topic in self._wanted if topic not in topics)

    def again(self, topics: Sequence[Topic]) -> None:
        if self._asking is not None:
            self._asking.again(topics)
            self._work.set()

    def close(self, why: str) -> None:
        """End it politely, soon."""
        self._reason = self._reason or why
        if self._running:
            self._greenlet.kill(block=False)
        else:
            self.over = True

    def join(self) -> None:
        self._greenlet.join(CLOSE_S)

    # ------------------------------------------------------------------ life

    def _run(self) -> None:
        if self.over:
            return
        self._running = True
        try:
            self._client = self._connect()
            self._live(self._client)
        except Disconnected as error:
            name, what = ("disconnects", "disconnected") if self.opened_ns else ("failed_attempts", "cannot connect")
            self._group.hooks.count(name)
            log.warning("%s: line %d: %s: %s", self.venue.id, self.line, what, self._reason or error)
            if error.status in TOO_MANY:
                self._group.attempts.pause(BANNED_S if error.retry_after_s is None else error.retry_after_s)
        finally:
            if self._client is not None:
                self._client.close()
            was_open, self.over = self.is_open, True
            self._line.ended(self, was_open)

    def _connect(self) -> WebSocketClient:
        group = self._group
        group.attempts.wait()
        group.hooks.count("attempts")
        with gevent.Timeout(CONNECT_S, Disconnected(f"{self._line.url}: not connected after {CONNECT_S:g} s")):
            return WebSocketClient(self._line.url, group.context, connect=gevent.socket.create_connection)

    def _live(self, client: WebSocketClient) -> None:
        group, now = self._group, steady_ns()
        self.opened_ns = now
        if lifetime_s := self.venue.limits.lifetime_s:
            self.renew_ns = now + round(lifetime_s * (1 - random.uniform(*RENEW_EARLY)) * S)
        group.hooks.count("connections")
        log.info("%s: line %d: connected url=%s topics=%d", self.venue.id, self.line, self._line.url, len(self._wanted))
        group.hooks.opened(self.number)
        ack_ns = round(group.patience.ack_s * S)
        self._asking = Subscriptions(self.venue, self._wanted, group.refusals, ack_ns, now)
        self._line.changed.set()
        writer = group.hooks.spawn(self._write, client, self._asking)
        try:
            self._read(client, self._asking)
        finally:
            writer.kill(block=False)

    def _read(self, client: WebSocketClient, asking: Subscriptions) -> None:
        take, room = self._group.hooks.take, self._group.hooks.room
        silence_ns = round(self._group.patience.silence_s * S)
        quiet_ns = 0  # waited for data, in vain; what `room` takes is not the venue's silence
        gave_way_ns = before_ns = read_ns = steady_ns()
        while True:
            try:
                messages = client.receive(max(0.001, (silence_ns - quiet_ns) / S))
            except Disconnected:
                if quiet_ns + steady_ns() - before_ns >= silence_ns:
                    self._reason = self._reason or f"no data for {self._group.patience.silence_s:g} s"
                raise
            recv_ns, after_ns = now_ns(), steady_ns()
            quiet_ns += after_ns - before_ns
            before_ns = after_ns
            if messages:
                data, events = take(self, messages, recv_ns)
                if data:
                    quiet_ns = 0
                    if not self.had_data:
                        self.had_data = True
                        self._line.changed.set()
                for event in events:
                    if type(event) is Ack:
                        self._answered(asking, event)
                    elif type(event) is Shutdown:
                        self._leave("the venue is about to close it")
                room()
                before_ns = steady_ns()
            if quiet_ns >= silence_ns:
                raise Disconnected(f"no data for {self._group.patience.silence_s:g} s")
            if before_ns - gave_way_ns > BUSY_NS:
                give_way()  # in a flood the socket is never empty
                gave_way_ns = before_ns = steady_ns()
            elif after_ns - read_ns < GATHER_NS:
                gevent.sleep(GATHER_NS / S)
            read_ns = after_ns

    def _leave(self, why: str) -> None:
        if not self.leaving:
            self.leaving = True
            log.warning("%s: line %d: %s: another one is opened", self.venue.id, self.line, why)
            self._line.changed.set()

    # ------------------------------------------------------------------ asking

    def _answered(self, asking: Subscriptions, ack: Ack) -> None:
        refused = asking.answer(ack, steady_ns())
        if ack.error is not None:
            self._group.hooks.count("refused_requests")
            log.error(
                "%s refuses request %s: %s%s", self.venue.id, ack.request_id, ack.error,
                "".join(f" {topic.symbol}@{topic.channel}" for topic in refused),
            )  # fmt: skip
        self._work.set()
        self._line.changed.set()

    def _write(self, client: WebSocketClient, asking: Subscriptions) -> None:
        """Send requests and pings at the venue's pace, until the connection ends."""
        (count, seconds), ping_s = self.venue.limits.requests, self.venue.limits.ping_s * PING_EARLY
        # What is not a request counts too: our pings, and the pongs that the venue's pings get.
        others = 1 + (math.ceil(seconds / ping_s) if ping_s else 0)
        limit = Bucket(max(1, count - others), seconds * SLACK, sleep=gevent.sleep)
        spacing_s = min(SPACING_S, seconds / count)
        ping_ns = steady_ns() + round(ping_s * S)
        try:
            while True:
                now = steady_ns()
                self._check(asking, now)
                if ping_s and now >= ping_ns:
                    client.send(self.venue.ping())
                    ping_ns = now + round(ping_s * S)
                wait_s = (min(asking.due_ns(), ping_ns if ping_s else asking.due_ns()) - now) / S
                if asking.waiting:
                    if not (left_s := limit.take()):
                        client.send(asking.next(now).raw)
                        gevent.sleep(spacing_s)
                        continue
                    wait_s = min(wait_s, left_s)
                self._work.wait(wait_s)
                self._work.clear()
        except Disconnected as error:
            # The reader sees it too, but for a frame that got stuck half way: then it would wait for more.
            self._reason = self._reason or str(error)
            client.abort()

    def _check(self, asking: Subscriptions, now: int) -> None:
        late, silent = asking.check(now)
        if late:
            self._group.hooks.count("unanswered", len(late))
            log.warning("%s: line %d: %d topics without an answer: asked again", self.venue.id, self.line, len(late))
        if silent:
            self._group.hooks.count("unanswered", len(silent))
            why = f"{len(silent)} topics without an answer, twice"
            if not self.had_data:
                raise Disconnected(why)
            self._leave(why)
