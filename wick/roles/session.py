"""Sessions: what clients ask, and what they are answered. What they are told then is the fan-out's.

| what a client may | bound | above it |
|---|---|---|
| connect | front.max_clients, front.max_per_address, front.max_per_token | 1013 once the session is open; 429 before |
| send | front.client_messages_s, front.client_kb_s, ten seconds' worth at once | 3501 |
| send, with all of its address or token | as much as front.address_worth, front.token_worth of them | an error |
| send what makes no sense | MAX_BAD | 3500 |
| subscribe to | front.max_subscriptions; twice as many topics may be named in one request | an error |
| subscribe to, with all of its address or token | so too | an error |
| leave answers unread | front.client_queue_kb; it is not read meanwhile (`net.ws_server`) | 3008 |
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gevent

from wick.api.access import Access
from wick.api.routes import ROUTES
from wick.api.seats import Seat
from wick.errors import ProtocolError, WireError
from wick.net.allowance import Allowance
from wick.net.clock import now_ms, steady_ns
from wick.net.reader import give_way
from wick.net.ws_server import Client
from wick.ops.process import Stats
from wick.ops.settings import Settings
from wick.stream.cohorts import MAX_BAND
from wick.stream.frames import batch
from wick.wire.codec import pack, pack_json, unpack, unpack_json
from wick.wire.http import Reply
from wick.wire.http import Request as HttpRequest
from wick.wire.session import (
    HEARTBEAT_S,
    SUBPROTOCOLS,
    VERSION,
    CloseCode,
    Kind,
    Pattern,
    Request,
    Topic,
    Wanted,
    expand,
    parse_request,
    request_id,
)
from wick.wire.websocket import BINARY, TEXT, frame

if TYPE_CHECKING:
    from wick.net.ws_server import Server
    from wick.stream.fanout import Fanout

MAX_BAD = 20  # errors, then a client is told not to come back
MAX_GLOBS = 16  # that a client holds, or names in one request: each is held against all pairs, some 0.3 ms for 300
SHORT_BYTES = 4096  # of answers that front.client_queue_kb has room for whatever it is
RETRY_AFTER_MS = 500  # at a stop: clients come back within this time, each at a random moment
GOODBYE_S = 2.0  # how long a stop waits for clients to take their last message


class Session(Client):
    """A client's session: some slots, of which the fan-out keeps four."""

    __slots__ = ("bad", "behind", "cohort", "globs", "json", "place", "seat")

    bad: int  # errors so far
    json: bool  # its form; else msgpack
    seat: Seat | None  # None: it was turned away
    behind: Any
    cohort: Any
    globs: Any
    place: int


def _framed(messages: Sequence[list[Any]], json: bool) -> bytes:
    encode = pack_json if json else pack
    return frame(batch([encode(message) for message in messages], len(messages), json), TEXT if json else BINARY)


def _too_many_globs(wanted: Wanted) -> ProtocolError:
    return ProtocolError("too_many", "topics", wanted.text, "", (f"at most {MAX_GLOBS} globs",))


def _told(number: int | None, error: ProtocolError, topic: str | None) -> list[Any]:
    return [Kind.ERROR, number, error.code, error.field, error.value, error.message, list(error.valid), topic]


class _Known(Collection[tuple[str, str]]):
    """The pairs that are known now."""

    def __init__(self, fanout: "Fanout") -> None:
        self._fanout = fanout

    def __contains__(self, pair: object) -> bool:
        return self._fanout.knows(pair)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fanout.pairs())

    def __len__(self) -> int:
        return len(self._fanout.pairs())


class Sessions:
    """The application that the server serves. `respond` answers what is no WebSocket; `front` names this process.

    `attach` comes before the first client.
    """

    path = "/ws"
    prompt = frozenset(route.path for route in ROUTES if route.is_public)
    subprotocols: tuple[str, ...] = SUBPROTOCOLS

    def __init__(
        self,
        settings: Settings,
        front: str,
        access: Access,
        venues: tuple[str, ...],
        stats: Stats,
        respond: Callable[[HttpRequest], Reply],
    ) -> None:
        self._front, self._access, self._venues, self._stats, self.respond = front, access, venues, stats, respond
        self._most_clients: int = settings["front.max_clients"]
        self._most_topics: int = settings["front.max_subscriptions"]
        self._messages = Allowance(settings["front.client_messages_s"])
        self._bytes = Allowance(settings["front.client_kb_s"] * 1024)
        self._most_unread: int = settings["front.client_queue_kb"] * 1024
        self._limits = {
            "subscriptions": self._most_topics,
            "message_bytes": settings["front.max_message_kb"] * 1024,
            "messages_s": settings["front.client_messages_s"],
            "heartbeat_s": HEARTBEAT_S,
        }

    def attach(self, server: "Server", fanout: "Fanout") -> None:
        self._server, self._fanout, self._known = server, fanout, _Known(fanout)

    # ------------------------------------------------------------------ what the server tells

    def refuse(self, request: HttpRequest, address: str) -> Reply | None:
        refusal = self._access.refuse(request, address)
        if refusal is not None:
            self._stats.add("refused_requests")
        return refusal

    def opened(self, client: Session, request: HttpRequest, subprotocol: str, deflate: bool) -> None:
        client.seat = None
        if len(self._server.clients) > self._most_clients:
            self._stats.add("refused_clients")
            self._server.close(client, CloseCode.TRY_LATER, "too many clients")
            return
        client.seat = self._access.enter(request, client.address)
        client.bad, client.json = 0, subprotocol.endswith(".json")
        self._messages.begin(client.fd)
        self._bytes.begin(client.fd)
        self._fanout.enter(client, json=client.json, deflate=deflate)
        self._stats.add("connections")
        self._say(client, [Kind.HELLO, VERSION, now_ms(), self._front, self._limits])

    def message(self, client: Session, data: bytes, is_text: bool) -> None:
        now_ns = steady_ns()
        if not (self._messages.take(client.fd, 1, now_ns) and self._bytes.take(client.fd, len(data), now_ns)):
            self._flooded(client)
        elif is_text != client.json:
            self._server.close(client, CloseCode.UNSUPPORTED, "a text is JSON, and only JSON")
        else:
            assert client.seat is not None
            self._stats.add("requests")
            self._take(client, data, client.seat.send(len(data), now_ns))

    def control(self, client: Session) -> None:
        """It counts as a message: eleven thousand fit into what the server reads at once."""
        now_ns = steady_ns()
        if not self._messages.take(client.fd, 1, now_ns):
            self._flooded(client)
        elif client.seat is not None:
            client.seat.send(0, now_ns)

    def _flooded(self, client: Session) -> None:
        self._stats.add("flooding_clients")
        self._server.close(client, CloseCode.TOO_MANY_MESSAGES, "too many messages, or bytes")

    def stalled(self, client: Session) -> None:
        self._fanout.stalled(client)

    def writable(self, client: Session) -> None:
        self._fanout.writable(client)

    def closed(self, client: Session) -> None:
        if client.seat is not None:
            client.seat.release(len(self._fanout.channels_of(client)))
            self._fanout.leave(client)
            self._access.leave(client.seat)

    def admit(self, client: Session) -> bool:
        """Whether a client may have a topic more, which the fan-out then gives it: of a pair that is new."""
        return client.seat is not None and client.seat.hold(1) is None

    # ------------------------------------------------------------------ requests

    def _take(self, client: Session, data: bytes, limit: ProtocolError | None) -> None:
        """A message, which is not followed where a limit that it shares with others is reached."""
        message = None
        try:
            message = (unpack_json if client.json else unpack)(data)
            if limit is not None:
                self._say(client, self._limited(request_id(message), limit, None))
                return
            request = parse_request(message)
        except ProtocolError as error:
            self._say(client, self._error(client, request_id(message), error, None))
        except WireError as error:
            wrong = ProtocolError("bad_message", "message", data[:40], str(error))
            self._say(client, self._error(client, None, wrong, None))
        else:
            if request.kind == Kind.SUBSCRIBE:
                self._subscribe(client, request)
            elif request.kind == Kind.UNSUBSCRIBE:
                self._unsubscribe(client, request)
            else:
                self._say(client, [Kind.ACK, request.id, []])
        if client.bad >= MAX_BAD:
            self._server.close(client, CloseCode.BAD_REQUESTS, "too many bad requests")

    def _subscribe(self, client: Session, request: Request) -> None:
        fanout, seat = self._fanout, client.seat
        assert seat is not None
        held = {channel.topic for channel in fanout.channels_of(client)}
        answers: list[list[Any]] = []
        told = []
        for wanted, pattern, topics in self._named(client, request, answers):
            new = {topic for topic in topics if topic not in held}
            is_single = pattern.single is not None
            is_open = not is_single and pattern.is_open
            if (room := self._most_topics - len(held)) < len(new):
                error = ProtocolError("too_many", "topics", len(new), "", (f"at most {room} topics more",))
                answers.append(self._error(client, request.id, error, wanted.text))
                continue
            if is_open and pattern not in client.globs and len(client.globs) >= MAX_GLOBS:
                answers.append(self._error(client, request.id, _too_many_globs(wanted), wanted.text))
                continue
            if (limit := seat.hold(len(new))) is not None:
                answers.append(self._limited(request.id, limit, wanted.text))
                continue
            held.update(new)
            if is_open:
                fanout.follow(client, pattern)
            for topic in topics:
                if is_single or topic in new:
                    channel, resumed = fanout.subscribe(client, topic, wanted.position)
                else:  # who resumes names its topics with their positions, and its globs: those are held by now
                    channel, resumed = fanout.topics[topic], True
                told.append([topic.text, channel.handle, resumed])
        self._answer(client, *answers, [Kind.ACK, request.id, told])

    def _unsubscribe(self, client: Session, request: Request) -> None:
        answers: list[list[Any]] = []
        told = []
        for _, pattern, topics in self._named(client, request, answers):
            if pattern.is_open:
                self._fanout.unfollow(client, pattern)
            left = [self._fanout.unsubscribe(client, topic) for topic in topics]
            told += [[channel.topic.text, channel.handle, False] for channel in left if channel is not None]
        assert client.seat is not None
        client.seat.release(len(told))
        self._answer(client, *answers, [Kind.ACK, request.id, told])

    def _named(
        self, client: Session, request: Request, answers: list[list[Any]]
    ) -> Iterator[tuple[Wanted, Pattern, list[Topic]]]:
        """What each entry of the request names; errors go to the answers. All of them name a bounded number."""
        room, globs = 2 * self._most_topics, MAX_GLOBS
        for wanted in request.topics:
            if client.bad >= MAX_BAD:
                return
            try:
                pattern = wanted.pattern(self._venues)
                single = pattern.single
                if single in self._fanout.topics and room > 0:  # mostly: others have it, so it is spelt right
                    topics = [single]
                else:
                    globs -= pattern.is_open
                    if globs < 0:
                        raise _too_many_globs(wanted)
                    topics = expand(pattern, self._known, max(room, 0))
            except ProtocolError as error:
                answers.append(self._error(client, request.id, error, wanted.text))
            else:
                room -= len(topics)
                yield wanted, pattern, topics

    def _error(self, client: Session, number: int | None, error: ProtocolError, topic: str | None) -> list[Any]:
        client.bad += 1
        self._stats.add("bad_requests")
        return _told(number, error, topic)

    def _limited(self, number: int | None, limit: ProtocolError, topic: str | None) -> list[Any]:
        """No fault of the client's: others have taken what it lacks."""
        self._stats.add("limited_requests")
        return _told(number, limit, topic)

    # ------------------------------------------------------------------ answers

    def _answer(self, client: Session, *messages: list[Any]) -> None:
        """Answer a request, and tell what there is to tell then; in one frame, where the answer is short."""
        encode = pack_json if client.json else pack
        parts = [encode(message) for message in messages]
        if sum(map(len, parts)) > SHORT_BYTES:
            self._say(client, *messages)
            parts = []
        self._fanout.tell(client, parts)

    def _say(self, client: Session, *messages: list[Any]) -> None:
        if not self._server.send(client, _framed(messages, client.json)):
            self._fanout.stalled(client)
            if len(client.rest) > self._most_unread:
                self._stats.add("unread_clients")
                self._server.close(client, CloseCode.SLOW, "the answers are not read")

    def goodbye(self) -> None:
        """Tell all clients that the front stops, and wait a while until they have taken it."""
        bye = [Kind.BYE, CloseCode.GOING_AWAY, "the front stops", RETRY_AFTER_MS]
        frames = [_framed([bye], json) for json in (False, True)]
        for number, client in enumerate(list(self._server.clients.values()), 1):
            if isinstance(client, Session) and client.seat is not None:
                self._server.send(client, frames[client.json])
                self._server.close(client, CloseCode.GOING_AWAY, "the front stops")
            if not number % MAX_BAND:
                give_way()
        with gevent.Timeout(GOODBYE_S, False):
            while self._server.gauges()["farewells"]:
                gevent.sleep(0.01)
