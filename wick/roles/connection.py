"""The WebSocket connections to one venue: opened, subscribed, watched, renewed. They know nothing of trades.

`Connections` spreads topics over lines; a `_Line` keeps one connection alive, and opens its successor before it has to
end; a `Connection` is one WebSocket, from its attempt to its end. Sockets, sleeps and greenlets are gevent's own.
"""

import logging
import math
import random
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.socket
from gevent.event import Event as Signal

from wick.exchanges import Venue
from wick.market.trades import Ack, Event, Shutdown, Topic
from wick.net.clock import now_ns, steady_ns
from wick.net.limits import Bucket
from wick.net.reader import give_way
from wick.net.ws_client import Disconnected, WebSocketClient
from wick.stream.plan import place
from wick.stream.subscriptions import Refusals, Subscriptions

S = 1_000_000_000
BACKOFF_FIRST_S = 0.5  # full jitter: the wait is random in [0, min(most, first * 2^n))
CONNECT_S = 30.0  # for name, TCP, proxy, TLS and handshake together
SPACING_S = 0.25  # between requests, where the limit is not tighter: a burst would arrive as one behind a slow packet
SLACK = 1.1  # a venue's time is taken for longer: it counts when messages arrive, we when they leave
PING_EARLY = 0.8  # of the time that the venue gives
RENEW_EARLY = (0.05, 0.10)  # of the lifetime that the venue gives; random, so that not all are renewed at once
YOUNG_S = 60.0  # who is to leave before has failed: else two dying servers would hand us to and fro
BUSY_NS = 10_000_000  # how long a flood may keep the other greenlets waiting
CLOSE_S = 2.0

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
    refused_s: float = 60.0  # until a refused topic is asked for again; doubles
    refused_most_s: float = 3600.0
    overlap_s: float = 2.0  # that a connection is kept once its successor is subscribed


class Connection:
    """One WebSocket, from the attempt to its end. What `take` gets as its first argument."""

    def __init__(self, line: "_Line", number: int, topics: Iterable[Topic]) -> None:
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
            self._settled_ns = 0
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
        gave_way_ns = before_ns = steady_ns()
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


class _Line:
    """Keeps one connection alive that carries `topics`, as long as there are any."""

    def __init__(self, group: "Connections", index: int, path: str, topics: Iterable[Topic]) -> None:
        self.group, self.index, self.path = group, index, path
        self.url = group.base + path
        self.topics = dict.fromkeys(topics)
        self._venue = group.venue.id
        self.current: Connection | None = None
        self.successor: Connection | None = None
        self.changed = Signal()
        self._failures = 0
        self._retry_ns = 0  # no attempt before
        self._greenlet = group.hooks.spawn(self._run)

    @property
    def connections(self) -> list[Connection]:
        return [one for one in (self.current, self.successor) if one is not None]

    def carries(self, topic: Topic) -> bool:
        return any(connection.carries(topic) for connection in self.connections)

    # ------------------------------------------------------------------ what the group tells it

    def add(self, topics: Sequence[Topic]) -> None:
        self.topics.update(dict.fromkeys(topics))
        for connection in self.connections:
            connection.add(topics)
        self.changed.set()

    def drop(self, topics: Sequence[Topic]) -> None:
        for topic in topics:
            self.topics.pop(topic, None)
        if self.topics:
            for connection in self.connections:
                connection.drop(topics)
        self.changed.set()

    def again(self, topics: Sequence[Topic]) -> None:
        for connection in self.connections:
            connection.again(topics)

    def stop(self) -> None:
        self._greenlet.kill(timeout=CLOSE_S)

    # ------------------------------------------------------------------ life

    def _run(self) -> None:
        try:
            while self.topics:
                self.changed.clear()
                wait_ns = self._step(steady_ns())
                self.changed.wait(wait_ns / S if wait_ns is not None else None)
        finally:
            for connection in self.connections:
                connection.close("it carries nothing any more")

    def _step(self, now: int) -> int | None:
        """Do what is to be done; how long until there may be more, None: until something changes."""
        if self.current is None:
            # A connection that nothing may be asked on would be closed by the venue.
            due = max(self._retry_ns, min(map(self.group.refusals.due_ns, self.topics)))
            if due > now:
                return due - now
            self.current = self._open()
            return None
        if self.successor is not None:
            return self._hand_over(now, self.current, self.successor)
        due = self._retry_ns if self.current.leaving else max(self.current.renew_ns, self._retry_ns)
        if not self.current.is_open or not (self.current.leaving or self.current.renew_ns):
            return None
        if due > now:
            return due - now
        log.info("%s: line %d: the successor of connection %d is opened", self._venue, self.index, self.current.number)
        self.successor = self._open()
        return None

    def _hand_over(self, now: int, old: Connection, new: Connection) -> int | None:
        """Let the old one go, a while after the new one can stand alone."""
        ready = new.ready_ns()
        if not ready:
            return None
        due = ready + round(self.group.patience.overlap_s * S)
        if due > now:
            return due - now
        self.current, self.successor = new, None
        self.group.hooks.count("handovers")
        log.info("%s: line %d: connection %d takes over from %d", self._venue, self.index, new.number, old.number)
        self._after(now, failed=old.leaving and now - old.opened_ns < YOUNG_S * S)
        old.close("handed over")
        return None

    def _open(self) -> Connection:
        return Connection(self, self.group.next_number(), self.topics)

    def ended(self, connection: Connection, was_open: bool) -> None:
        """A connection is over, for whatever reason; called by itself."""
        others = [one for one in self.connections if one is not connection]
        if connection in self.connections:
            now = steady_ns()
            self._after(now, failed=not connection.had_data)
            self.current, self.successor = (others[0] if others else None), None
        if was_open:
            lost = (t for t in connection.topics if t in self.topics and not any(one.carries(t) for one in others))
            self.group.hooks.closed(connection.number, tuple(lost))
        self.changed.set()

    def _after(self, now: int, failed: bool) -> None:
        """Say when the next attempt may be."""
        self._failures = self._failures + 1 if failed else 0
        most_s = min(self.group.patience.backoff_s, BACKOFF_FIRST_S * 2 ** min(self._failures, 16))
        self._retry_ns = now + round(random.uniform(0, most_s) * S)


class Connections:
    """All connections to one venue, in one process.

    Topics are spread evenly over as few connections as `venue.limits.streams` allows, those of a symbol on the same
    one. `add`, `drop` and `again` never block: what they ask for is done at the venue's pace.
    """

    def __init__(
        self, venue: Venue, url: str, hooks: Hooks, patience: Patience, context: ssl.SSLContext | None = None
    ) -> None:
        """`url`: the whole address (base and `ws_path`). `context`: see `dial.client_context`."""
        self.venue, self.url, self.hooks, self.patience, self.context = venue, url, hooks, patience, context
        self.refusals = Refusals(round(patience.refused_s * S), round(patience.refused_most_s * S))
        count, seconds = venue.limits.connects
        self.attempts = Bucket(count, seconds * SLACK, sleep=gevent.sleep)
        self.base = url.removesuffix(venue.ws_path)  # some channels may have a path of their own
        self._lines: list[_Line] = []
        self._homes: dict[Topic, _Line] = {}
        self._number = 0

    def add(self, topics: Iterable[Topic]) -> None:
        """Carry these too; those that are carried already stay as they are."""
        by_path: dict[str, list[Topic]] = {}
        for topic in topics:
            by_path.setdefault(self.venue.path(topic.channel), []).append(topic)
        for path, some in by_path.items():
            known = [line for line in self._lines if line.path == path]
            gets = place([line.topics for line in known], some, self.venue.limits.streams)
            for line, got in zip(known, gets, strict=False):
                if got:
                    line.add(got)
                    self._homes.update(dict.fromkeys(got, line))
            for got in gets[len(known) :]:
                taken = {other.index for other in self._lines}
                line = _Line(self, next(index for index in range(len(taken) + 1) if index not in taken), path, got)
                self._lines.append(line)
                self._homes.update(dict.fromkeys(got, line))

    def drop(self, topics: Iterable[Topic]) -> None:
        """Carry these no more; a connection that carries nothing is closed."""
        for line, gone in self._by_line(topics):
            line.drop(gone)
            self.refusals.forget(gone)
            for topic in gone:
                del self._homes[topic]
        self._lines = [line for line in self._lines if line.topics]

    def again(self, topics: Iterable[Topic]) -> None:
        """Unsubscribe and subscribe these: for a new snapshot, or where a stream has gone quiet."""
        for line, some in self._by_line(topics):
            line.again(some)

    def close(self) -> None:
        """End all connections, politely; blocks for a moment."""
        open_ones = [connection for line in self._lines for connection in line.connections]
        for line in self._lines:
            line.stop()
        for connection in open_ones:
            connection.join()
        self._lines, self._homes = [], {}

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All that are wanted."""
        return tuple(self._homes)

    @property
    def settled(self) -> bool:
        """Whether every topic has been answered for on an open connection: accepted or refused."""
        return all(line.current is not None and line.current.settled for line in self._lines)

    def carries(self, topic: Topic) -> bool:
        """Whether an open connection has it, accepted by the venue."""
        return topic in self._homes and self._homes[topic].carries(topic)

    def gauges(self) -> dict[str, Any]:
        """{"open": connections, "wanted": lines, "topics": wanted, "refused": topics, "oldest_s": of a connection}."""
        now = steady_ns()
        opened = [one.opened_ns for line in self._lines for one in line.connections if one.is_open]
        return {
            "open": len(opened),
            "wanted": len(self._lines),
            "topics": len(self._homes),
            "refused": len(self.refusals),
            "oldest_s": (now - min(opened)) // S if opened else 0,
        }

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def _by_line(self, topics: Iterable[Topic]) -> list[tuple[_Line, list[Topic]]]:
        lines: dict[int, tuple[_Line, list[Topic]]] = {}
        for topic in dict.fromkeys(topics):
            if (line := self._homes.get(topic)) is not None:
                lines.setdefault(line.index, (line, []))[1].append(topic)
        return list(lines.values())
