"""The client's side of the session protocol, without IO: data and times go in, events and data to send come out. Pure.

A shell makes the connection and the clock, nothing else:

- `opened`, then `receive` for each WebSocket message, `lost` or `refused` at the end, `tick` when `deadline_ms` is
  there. Those that give events are iterators: each event is told before the next message of a batch is applied.
- `outgoing` after every one of them: data to send. `closing`: the shell is to close the connection.
- `ended`: an error to raise instead of connecting again; otherwise connect at `deadline_ms`.

Times are whole milliseconds of any clock that never goes back.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from wick.client import reconnect
from wick.client.events import (
    Book,
    Bye,
    Connected,
    Disconnected,
    Error,
    Event,
    Fresh,
    Stale,
    Stats,
    Subscribed,
    Unsubscribed,
)
from wick.client.forms import MSGPACK, Form, Message
from wick.client.held import CAN_MISS, Held
from wick.client.reconnect import ClientError
from wick.client.views import Level
from wick.errors import ProtocolError, WireError, shown
from wick.wire.session import HEARTBEAT_S, KINDS, MESSAGES, VERSION, Kind, parse_topics

SILENT: Final = 3  # heartbeats that do not come until the connection counts as dead
MESSAGE_BYTES: Final = 65_536  # a front that does not say how long a request may be takes this
ENTRIES: Final = 500  # of a request: answers come in pieces, and a front checks a request in one go
POSITION_BYTES: Final = 32  # at most, beside a topic's text
DROPPED: Final = 4000  # the close code when the client gives a connection up: it does come back
BROKEN: Final = 1002


class Core:
    """One session over as many connections as it takes."""

    def __init__(
        self,
        topics: Iterable[str],
        form: Form = MSGPACK,
        *,
        keep_candles: int = 100,
        stale_after_ms: int = 15_000,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.topics: dict[str, Held] = {}  # concrete topics by text
        self.ended: ClientError | None = None
        self.closing: int | None = None  # with this code
        self.deadline_ms = 0  # when to connect, then when to `tick`
        self.is_stale = False
        self.counts = dict.fromkeys(("connections", "messages", "bytes", "gaps", "errors"), 0)
        self._wanted = dict.fromkeys(topics)  # texts, globs included, in the order in which they were asked for
        self._form, self._keep, self._stale_after_ms, self._chance = form, keep_candles, stale_after_ms, chance
        self._attempt = 0
        self._handles: dict[int, Held] = {}
        self._requests: dict[int, Kind] = {}
        self._next_id = 1
        self._out: list[Message] = []
        self._again: dict[str, None] = {}  # topics with a hole; asked for together, a front takes few requests a second
        self._limits: dict[str, Any] | None = None  # of the front; None: it has not said HELLO
        self._silence_ms = SILENT * HEARTBEAT_S * 1000
        self._heard_ms = 0
        self._new_ms: int | None = None  # when the newest data were new, by the last heartbeat
        self._why = ""  # it is being closed by us
        self._within_ms = 0  # a front that stops asked to come back within this time

    # ------------------------------------------------------------------ wishes

    def subscribe(self, topics: Iterable[str]) -> None:
        new = dict.fromkeys(topic for topic in topics if topic not in self._wanted)
        self._wanted.update(new)
        if self._limits is not None:
            self._ask(Kind.SUBSCRIBE, new)

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """As they were subscribed to, globs included."""
        left = [topic for topic in topics if topic in self._wanted]
        for topic in left:
            del self._wanted[topic]
        if self._limits is not None:
            self._ask(Kind.UNSUBSCRIBE, left)

    @property
    def wanted(self) -> list[str]:
        return list(self._wanted)

    def _wants(self, topic: str) -> bool:
        return any(_names(text, topic) for text in self._wanted)

    def age_ms(self, now_ms: int) -> int | None:
        """How old the newest data are, as the last heartbeat said, and the time since; None: not known."""
        return None if self._new_ms is None else max(0, now_ms - self._new_ms)

    def outgoing(self) -> list[bytes | str]:
        """What is to be sent now, each a WebSocket message; it is the shell's from here on."""
        again, self._again = self._again, {}
        self._ask(Kind.SUBSCRIBE, filter(self._wants, again))
        out, self._out = self._out, []
        return [self._form.encode(message) for message in out]

    # ------------------------------------------------------------------ the connection

    def opened(self, now_ms: int) -> None:
        """A WebSocket is open; the front speaks first."""
        self.counts["connections"] += 1
        self.deadline_ms = now_ms + self._silence_ms

    def receive(self, data: bytes | str, now_ms: int) -> Iterator[Event]:
        """A WebSocket message has come."""
        self._heard_ms, self.deadline_ms = now_ms, now_ms + self._silence_ms
        self.counts["messages"] += 1
        self.counts["bytes"] += len(data)
        try:
            message = self._form.decode(data)
            for one in message[1:] if message[0] == Kind.BATCH else (message,):
                yield from self._take(one)
        except (WireError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            # Nothing after a message that cannot be read can be trusted: start over, from fresh snapshots.
            for held in self.topics.values():
                held.forget()
            reason = f"the front sent a message that it should not: {shown(str(error))}"
            self.counts["errors"] += 1
            self.closing, self._why = BROKEN, reason
            yield Error("bad_message", "message", None, reason, [])

    def tick(self, now_ms: int) -> Iterator[Event]:
        """The deadline is there, or any other moment."""
        if self.closing is None and now_ms >= self.deadline_ms:
            self.closing, self._why = DROPPED, f"nothing came for {self._silence_ms / 1000:g} s"
            if not self.is_stale:
                self.is_stale = True
                yield Stale(self.age_ms(now_ms))

    def lost(self, now_ms: int, code: int | None, reason: str) -> Iterator[Event]:
        """The connection is closed; `code`: with which the front closed it, None where it did not."""
        if self.closing:
            code, reason = None, self._why
        yield self._over(now_ms, code, reason, comes_back=reconnect.invites(code))

    def refused(self, now_ms: int, status: int | None, reason: str, retry_after_ms: int = 0) -> Iterator[Event]:
        """No WebSocket came about; `status`: of the HTTP answer, None where there was none."""
        yield self._over(now_ms, status, reason, comes_back=reconnect.passes(status), after_ms=retry_after_ms)

    def _over(self, now_ms: int, code: int | None, reason: str, *, comes_back: bool, after_ms: int = 0) -> Event:
        for held in self.topics.values():
            held.in_step = False
        self._handles.clear()
        self._requests.clear()
        self._out.clear()
        self._again.clear()
        self._limits = self.closing = None
        if self.ended is None and not comes_back:
            self.ended = ClientError(reason, code)
        if self.ended:
            return Disconnected(code, reason, None)
        delay_ms = reconnect.delay_ms(self._attempt, self._chance(), within_ms=self._within_ms, after_ms=after_ms)
        self._attempt += 1
        self._within_ms = 0
        self.deadline_ms = now_ms + delay_ms
        return Disconnected(code, reason, delay_ms)

    # ------------------------------------------------------------------ requests

    def _ask(self, kind: Kind, topics: Iterable[str]) -> None:
        """Requests that a front takes: neither too long nor too many topics in one."""
        most = (self._limits or {}).get("message_bytes", MESSAGE_BYTES) // 2
        entries: list[Any] = []
        size = 0
        for topic in topics:
            held = self.topics.get(topic)
            position = held.position if held and kind == Kind.SUBSCRIBE else None
            length = len(topic.encode()) + POSITION_BYTES
            if entries and (size + length > most or len(entries) == ENTRIES):
                self._request(kind, entries)
                entries, size = [], 0
            entries.append([topic, *position] if position else topic)
            size += length
        if entries:
            self._request(kind, entries)

    def _request(self, kind: Kind, entries: list[Any]) -> None:
        self._requests[self._next_id] = kind
        self._out.append([int(kind), self._next_id, entries])
        self._next_id += 1

    # ------------------------------------------------------------------ messages

    def _take(self, message: Message) -> Iterator[Event]:
        kind, *fields = message
        if kind in _TAKE:  # kinds and fields that this version does not know are not for it
            yield from _TAKE[kind](self, *fields[: _PARTS[kind]])

    def _hello(self, version: int, server_time_ms: int, front: str, limits: dict[str, Any]) -> Iterator[Event]:
        if version != VERSION:
            self.ended = ClientError(
                f"the front speaks version {shown(version)} of the protocol, this client {VERSION}"
            )
            self.closing, self._why = BROKEN, str(self.ended)
            return
        self._limits = dict(limits)
        self._silence_ms = int(SILENT * 1000 * limits.get("heartbeat_s", HEARTBEAT_S))
        self.deadline_ms = self._heard_ms + self._silence_ms
        for topic in [topic for topic in self.topics if not self._wants(topic)]:
            del self.topics[topic]  # left while nobody could be told
        # First what is held, a glob's pairs among it, each from its position; then the globs find these there.
        self._ask(Kind.SUBSCRIBE, dict.fromkeys([*self.topics, *self._wanted]))
        yield Connected(front, server_time_ms, self._limits)

    def _ack(self, number: int | None, topics: list[list[Any]]) -> Iterator[Event]:
        kind = self._requests.pop(number, None) if number is not None else Kind.SUBSCRIBE
        again: list[str] = []
        for topic, handle, resumed in topics:
            if kind == Kind.UNSUBSCRIBE:
                if self._handles.pop(handle, None) is None:
                    continue
                if self._wants(topic):  # by another text, of which the front did not know that it names it too
                    again.append(topic)
                else:
                    del self.topics[topic]
                    yield Unsubscribed(topic)
                continue
            held = self.topics.get(topic) or self.topics.setdefault(topic, Held(topic, self._keep))
            is_new = handle not in self._handles
            self._handles[handle] = held
            yield Subscribed(topic, bool(resumed))
            if not is_new:
                continue
            held.in_step = bool(resumed)
            if held.told and not resumed and held.kind in CAN_MISS:
                self.counts["gaps"] += 1
                yield held.gap("unproven")
        self._ask(Kind.SUBSCRIBE, again)

    def _error(
        self, number: int | None, code: str, field: str, value: Any, message: str, valid: list[str], topic: str | None
    ) -> Iterator[Event]:
        self.counts["errors"] += 1
        self._wanted.pop(topic or "", None)
        if topic is None and code == "too_many" and number in self._requests:
            # Others have used up what our address or token may send, the request was not followed: come back with all.
            self.closing, self._why = DROPPED, f"{field}: {message}"
        yield Error(code, field, value, message, list(valid), topic)

    def _held(self, handle: int, message: str) -> Held | None:
        """Whom a message is for; None: for a topic that was left."""
        held = self._handles.get(handle)
        if held and message not in KINDS[held.kind].messages:
            raise WireError(f"a {message} of {held.topic}")
        return held

    def _snapshot(
        self, handle: int, epoch: int, seq: int, groups: list[list[int]], rows: list[list[Any]]
    ) -> Iterator[Event]:
        if held := self._held(handle, "SNAPSHOT"):
            yield from held.snapshot(epoch, seq, groups, rows)

    def _diff(self, handle: int, seq: int, back: int, changes: list[int]) -> Iterator[Event]:
        held = self._held(handle, "DIFF")
        if held and held.in_step:
            event = held.diff(seq, back, changes)
            if event is None:
                self.counts["gaps"] += 1
                self._again[held.topic] = None
            yield event or held.gap("hole")

    def _close(self, handle: int, seq: int, row: list[Any]) -> Iterator[Event]:
        held = self._held(handle, "CLOSE")
        if held and (event := held.close(seq, row)):
            yield event

    def _live(self, handle: int, row: list[Any]) -> Iterator[Event]:
        if held := self._held(handle, "LIVE"):
            yield held.live(row)

    def _trades(
        self, handle: int, epoch: int, seq: int, missed: int, prices: int, quantities: int, trades: list[list[Any]]
    ) -> Iterator[Event]:
        if held := self._held(handle, "TRADES"):
            yield from held.trades(epoch, seq, missed, [prices, quantities], trades)

    def _book(
        self, handle: int, seq: int, time_us: int, bids: list[list[Any]], asks: list[list[Any]]
    ) -> Iterator[Event]:
        if held := self._held(handle, "BOOK"):
            levels = [Level.of(*one) for one in bids], [Level.of(*one) for one in asks]
            held.book = Book(held.topic, seq, time_us, *levels)
            yield held.book

    def _stats(self, handle: int, process: str, stats: dict[str, Any]) -> Iterator[Event]:
        if held := self._held(handle, "STATS"):
            held.processes[process] = stats
            yield Stats(held.topic, process, stats)

    def _heartbeat(self, server_time_ms: int, age_ms: int | None) -> Iterator[Event]:
        self._attempt = 0  # who holds until its first heartbeat was not turned away
        self._new_ms = None if age_ms is None else self._heard_ms - age_ms
        if age_ms is not None and (age_ms > self._stale_after_ms) != self.is_stale:
            self.is_stale = not self.is_stale
            yield Stale(age_ms) if self.is_stale else Fresh(age_ms)

    def _bye(self, close_code: int, reason: str, retry_after_ms: int) -> Iterator[Event]:
        self._within_ms = retry_after_ms
        yield Bye(close_code, reason, retry_after_ms)


_PARTS: Final = {declared.kind: len(declared.parts) for declared in MESSAGES}
_TAKE: Final[dict[int, Callable[..., Iterator[Event]]]] = {
    Kind.HELLO: Core._hello,
    Kind.ACK: Core._ack,
    Kind.ERROR: Core._error,
    Kind.SNAPSHOT: Core._snapshot,
    Kind.DIFF: Core._diff,
    Kind.CLOSE: Core._close,
    Kind.HEARTBEAT: Core._heartbeat,
    Kind.BYE: Core._bye,
    Kind.LIVE: Core._live,
    Kind.TRADES: Core._trades,
    Kind.BOOK: Core._book,
    Kind.STATS: Core._stats,
}


def _names(text: str, topic: str) -> bool:
    """Whether a text that was subscribed to names this concrete topic."""
    try:
        pattern, single = parse_topics(text), parse_topics(topic).single
    except ProtocolError:
        return text == topic
    return single is not None and single.kind == pattern.kind and single in pattern.of(single.venue, single.symbol)
