"""The WebSocket connections to one venue: spread, opened, renewed. They know nothing of trades.

`Connections` spreads topics over lines; a `Line` keeps one connection alive, and opens its successor before it has to
end; a `Connection` (in `link`) is one WebSocket, from its attempt to its end.
"""

import logging
import random
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import gevent
from gevent.event import Event as Signal

from wick.exchanges import Venue
from wick.market.trades import Topic
from wick.net.clock import steady_ns
from wick.net.limits import Bucket
from wick.roles.link import CLOSE_S, SLACK, Connection, Heard, Hooks, Patience, S
from wick.stream.plan import place
from wick.stream.subscriptions import Refusals

__all__ = ["Connection", "Connections", "Heard", "Hooks", "Line", "Patience"]

BACKOFF_FIRST_S = 0.5  # full jitter: the wait is random in [0, min(most, first * 2^n))
YOUNG_S = 60.0  # who is to leave before has failed: else two dying servers would hand us to and fro

log = logging.getLogger("wick")


class Line:
    """Keeps one connection alive that carries `topics`, as long as there are any."""

    def __init__(self, group: "Connections", index: int, path: str, topics: Iterable[Topic]) -> None:
        self.group, self.index, self.path = group, index, path
        self.topics = dict.fromkeys(topics)
        self._venue = group.venue.id
        self.current: Connection | None = None
        self.successor: Connection | None = None
        self.changed = Signal()
        self._failures = 0
        self._retry_ns = 0  # no attempt before
        self._greenlet = group.hooks.spawn(self._run)

    @property
    def url(self) -> str:
        return self.group.url.removesuffix(self.group.venue.ws_path) + self.path

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
        self._take_over(old, new)
        self._after(now, failed=old.leaving and now - old.opened_ns < YOUNG_S * S)
        old.close("handed over")
        return None

    def _take_over(self, old: Connection, new: Connection) -> None:
        self.current, self.successor = new, None
        self.group.hooks.count("handovers")
        log.info("%s: line %d: connection %d takes over from %d", self._venue, self.index, new.number, old.number)

    def _open(self) -> Connection:
        return Connection(self, self.group.next_number(), self.topics)

    def ended(self, connection: Connection, was_open: bool) -> None:
        """A connection is over, for whatever reason; called by itself."""
        others = [one for one in self.connections if one is not connection]
        if connection in self.connections:
            now = steady_ns()
            self._after(now, failed=not connection.had_data)
            if connection is self.current and self.successor is not None:
                self._take_over(connection, self.successor)
            else:
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
        self,
        venue: Venue,
        url: str,
        hooks: Hooks,
        patience: Patience,
        context: ssl.SSLContext | None = None,
        most_streams: int = 0,
    ) -> None:
        """`url`: the whole address, base and `ws_path`; a channel may have another path there.

        `context`: see `dial.client_context`. `most_streams`: a connection; 0: as many as the venue allows.
        """
        self.venue, self.url, self.hooks, self.patience, self.context = venue, url, hooks, patience, context
        self.refusals = Refusals(round(patience.refused_s * S), round(patience.refused_most_s * S))
        self._most = min(most_streams or venue.limits.streams, venue.limits.streams)
        count, seconds = venue.limits.connects
        self.attempts = Bucket(count, seconds * SLACK, sleep=gevent.sleep)
        self._lines: list[Line] = []
        self._homes: dict[Topic, Line] = {}
        self._number = 0

    def add(self, topics: Iterable[Topic]) -> None:
        """Carry these too; those that are carried already stay as they are."""
        by_path: dict[str, list[Topic]] = {}
        for topic in topics:
            by_path.setdefault(self.venue.path(topic.channel), []).append(topic)
        for path, some in by_path.items():
            known = [line for line in self._lines if line.path == path]
            gets = place([line.topics for line in known], some, self._most)
            for line, got in zip(known, gets, strict=False):
                if got:
                    line.add(got)
                    self._homes.update(dict.fromkeys(got, line))
            for got in gets[len(known) :]:
                taken = {other.index for other in self._lines}
                line = Line(self, next(index for index in range(len(taken) + 1) if index not in taken), path, got)
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
        return bool(self.carriers(topic))

    def carriers(self, topic: Topic) -> list[int]:
        """The numbers of the open connections that have it: two while one hands over to the other."""
        line = self._homes.get(topic)
        return [one.number for one in line.connections if one.carries(topic)] if line is not None else []

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

    def _by_line(self, topics: Iterable[Topic]) -> list[tuple[Line, list[Topic]]]:
        lines: dict[int, tuple[Line, list[Topic]]] = {}
        for topic in dict.fromkeys(topics):
            if (line := self._homes.get(topic)) is not None:
                lines.setdefault(line.index, (line, []))[1].append(topic)
        return list(lines.values())
