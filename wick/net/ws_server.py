"""A server of HTTP and WebSocket for very many clients: raw descriptors in one epoll, one greenlet that drains it.

A client costs a small object: no greenlet, no socket object, no buffer while nothing waits. What belongs to HTTP is in
`visits`, what belongs to connections that end in `farewell`, the protocol in `wick.wire.websocket`.

| queue | bound | on full |
|---|---|---|
| what a client has not taken (`rest`) | the one who sends keeps to one frame; KEPT_BYTES | disconnect |
| a client with a rest | it is not read: who takes no answers cannot ask; `stall_s` without progress | drop it, 3008 |
| a message of a client | `max_message_bytes` | 1009 |
| silence of a client | a ping after `ping_s` | after twice that: disconnect |
| a message that is not whole | twice `ping_s` | 3008 |
| the kernel's, of a socket | UNSENT_BYTES not on their way, SEND_BYTES in all | the rest waits here |

The numbers of descriptors are the kernel's to give away again as soon as they are closed. So a client that has ended
has the number -1, to which nothing can be sent, and its end is told (`closed`) by the server's own greenlet only:
never inside a call of the application.
"""

import _socket
import logging
import os
import socket
from collections.abc import Collection, Sequence
from functools import lru_cache
from select import EPOLLIN, EPOLLOUT
from typing import Any, Protocol

import gevent
from gevent.monkey import get_original

from wick.errors import SettingError
from wick.net.farewell import SWEEP_S, Farewells, reset, sweeps
from wick.net.reader import give_way
from wick.net.visits import Visits
from wick.wire.http import Reply, Request
from wick.wire.session import CloseCode
from wick.wire.websocket import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Fault,
    Inbox,
    boundary,
    close_frame,
    frame,
    handshake,
    parse_close,
)

BACKLOG = 4096  # connections that the kernel keeps for us: a reconnecting crowd comes at once
EVENTS = 64  # handled before others have their turn: some 5 ms if all are handshakes
ACCEPTS = 32  # of them in one turn
MESSAGES = 4  # of a client in one turn: each may cost milliseconds, and a thousand fit into what is read at once
READ_BYTES = 64 * 1024
UNSENT_BYTES = 8 * 1024  # TCP_NOTSENT_LOWAT: no hidden queue of what has become old
SEND_BYTES = 64 * 1024  # SO_SNDBUF, of which the kernel takes twice: 20 Hz of 16 KB over a way of 200 ms
KEPT_BYTES = 1024 * 1024
VISIT_S = 5.0  # how often it is looked whether a client was silent

_PING = frame(b"", PING)
_STALLED = close_frame(CloseCode.SLOW, "too slow")
_NOBODY = (None, b"")
_FAILED = -1  # of a send: the client has ended, which the epoll says as well
_send = _socket.socket.send

_same = lru_cache(256)(str)  # one text for all from an address, such as a proxy; `intern` would keep each for ever
log = logging.getLogger("wick")


def listen(host: str, port: int) -> socket.socket:
    """A socket that several front processes can share (SO_REUSEPORT). SettingError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise SettingError(
            f"front.port = {port} on {host} cannot be had: {error.strerror}; valid is a free port (--front-port N)"
        ) from error
    return sock


class Client(_socket.socket):
    """One WebSocket connection. A subclass adds slots of its own; all but `fd` and `address` are the server's.

    It is the interpreter's own socket, not one that holds one: a third of the memory, and its `send` is C's.
    """

    __slots__ = ("address", "due", "inbox", "inflate", "rest", "seen")

    fd = property(_socket.socket.fileno)  # -1: it has ended

    def __init__(self, family: int, fd: int, address: str, inflate: bool, seen: int) -> None:
        super().__init__(family, socket.SOCK_STREAM, 0, fd)
        self.setblocking(False)
        self.address = address
        self.rest = b""  # what was sent and not taken
        self.due = 0  # how much of it belongs to a frame whose beginning was taken
        self.inbox: Inbox | None = None  # while something of a message has come
        self.inflate = inflate
        self.seen = seen  # the sweep in which it was heard


class Application(Protocol):
    """What the server serves. Only `respond` may wait."""

    path: str
    prompt: frozenset[str]  # other paths, of which `respond` waits for nothing: the health of the process
    subprotocols: tuple[str, ...]

    def refuse(self, request: Request, address: str) -> Reply | None:
        """Asked for each request, handshakes among them: why it is not answered."""

    def opened(self, client: Any, request: Request, subprotocol: str, deflate: bool) -> None:
        """`deflate`: it may be sent what a Deflater made."""

    def message(self, client: Any, data: bytes, is_text: bool) -> None: ...

    def control(self, client: Any) -> None:
        """A ping or a pong of its; the server answers, unless the client is closed here."""

    def stalled(self, client: Any) -> None:
        """It has a rest of what the server itself has sent."""

    def writable(self, client: Any) -> None:
        """Its rest is gone."""

    def closed(self, client: Any) -> None:
        """It has ended: exactly once for each that was opened. It is in `clients` no more."""

    def respond(self, request: Request) -> Reply: ...


class Server:
    """Serves `app` on `listener`, which it takes over."""

    def __init__(
        self,
        listener: socket.socket,
        app: Application,
        *,
        client_type: type[Client] = Client,
        max_message_bytes: int = 65536,
        deflate: bool = True,
        stall_s: float = 20.0,
        ping_s: float = 30.0,
        send_bytes: int = SEND_BYTES,
    ) -> None:
        self._app, self._client_type = app, client_type
        self._max_message_bytes, self._deflate = max_message_bytes, deflate
        self._stall, self._silence = sweeps(stall_s), sweeps(ping_s)
        for level, option, value in (  # whoever is accepted inherits them (tcp(7), socket(7))
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES),
            (socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes),
        ):
            listener.setsockopt(level, option, value)
        self._listener: Any = _socket.socket(listener.family, listener.type, listener.proto, listener.detach())
        self._listener.setblocking(False)
        self._epoll = get_original("select", "epoll")()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # wakes the greenlet that drains
        self._epoll.register(self._bell, EPOLLIN)
        self.clients: dict[int, Client] = {}
        self._farewells = Farewells(self._epoll)
        self._visits = Visits(self._epoll, app, self._farewells, self._upgrade)
        self._waiting: dict[Client, int] = {}  # clients with a rest, and the sweep of their last progress, in its order
        self._unsaid: tuple[Client | None, bytes] = _NOBODY
        self._gone: list[Client] = []  # their end has not been told
        self._more: dict[Client, None] = {}  # have messages in their inbox that had no turn yet; not read meanwhile
        self._now = 0  # in sweeps: a process that was stopped for a while does not hold it against its clients
        self._to_visit: list[int] = []
        self._accepting = self._crowded = False  # crowded: who connects waits with the kernel until there is room
        self._greenlets: list[Any] = []
        self.counts = {
            "opened": 0,
            "closed": 0,
            "stalled": 0,
            "silent": 0,
            "slow_messages": 0,
            "faults": 0,
            "flooded": 0,
            "failed_accepts": 0,
        }

    # ------------------------------------------------------------------ life

    def start(self) -> list[Any]:
        """Its greenlets; if one of them fails, the server is of no use any more."""
        self._watch_listener()
        self._greenlets = [gevent.spawn(self._drain_forever), gevent.spawn(self._sweep_forever)]
        return self._greenlets

    def stop_accepting(self) -> None:
        """Who connects from now on is somebody else's, or refused."""
        self._accepting = self._crowded = False
        self._listener.close()

    def shutdown(self) -> None:
        """End everything that is left, without a word."""
        gevent.killall(self._greenlets)
        self._listener.close()
        for client in list(self.clients.values()):
            os.close(self._take_away(client))
        self._tell_gone()
        self._visits.close()
        self._farewells.close()
        self._epoll.close()
        os.close(self._bell)

    def gauges(self) -> dict[str, int]:
        return {
            **self.counts,
            **self._visits.counts,
            "clients": len(self.clients),
            "waiting": len(self._waiting),
            "visits": len(self._visits),
            "unsent_bytes": self._visits.unsent_bytes,
            "farewells": len(self._farewells),
        }

    # ------------------------------------------------------------------ out

    def send(self, client: Client, data: bytes) -> bool:
        """Send framed bytes behind what waits. False: some of it waits now, or the client has ended."""
        if client is self._unsaid[0]:
            data = self._take_unsaid(client) + data
        if client.rest:
            if len(client.rest) + len(data) > KEPT_BYTES:
                self.counts["flooded"] += 1
                reset(self._take_away(client))
            else:
                client.rest += data
            return False
        try:
            sent = client.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False  # the epoll says so as well, and there its end is seen to
        if sent == len(data):
            return True
        self._keep(client, data, sent)
        return False

    def _take_unsaid(self, client: Client) -> bytes:
        """The answer to the handshake of who has just been opened."""
        whose, reply = self._unsaid
        if whose is not client:
            return b""
        self._unsaid = _NOBODY
        return reply

    def send_all(self, clients: Sequence[Client], frames: Sequence[bytes]) -> list[Client]:
        """Send each of these clients, who have no rest, its framed bytes. Who did not take all, or has ended, is
        returned."""
        sends = map(_send, clients, frames)  # no loop of Python's: it would take as long as all else but the kernel
        sent: list[int] = []
        while True:
            try:
                sent.extend(sends)  # as far as it goes: what it has got before an error it keeps
                break
            except BlockingIOError:
                sent.append(0)
            except OSError:
                sent.append(_FAILED)
        if sent == [*map(len, frames)]:
            return []
        late: list[Client] = []
        for client, data, taken in zip(clients, frames, sent, strict=True):
            if taken != len(data):
                late.append(client)
                if taken != _FAILED:
                    self._keep(client, data, taken)
        return late

    def _keep(self, client: Client, data: bytes, sent: int) -> None:
        client.rest, client.due = data[sent:], boundary(data, 0, sent) - sent
        self._waiting[client] = self._now
        self._epoll.modify(client.fd, EPOLLOUT)

    def close(self, client: Client, code: int, reason: str) -> None:
        """Say goodbye behind what waits. The client has ended with this; its connection has LINGER_S for its part."""
        if client.fd >= 0:
            inbox = client.inbox or self._inbox(client)
            self._part(client, close_frame(code, reason), inbox)

    # ------------------------------------------------------------------ events

    def _drain_forever(self) -> None:
        hub = gevent.get_hub()
        watcher = hub.loop.io(self._epoll.fileno(), 1)
        try:
            while True:
                events = self._epoll.poll(0, EVENTS)
                for fd, mask in events:
                    self._handle(fd, mask)
                more, self._more = self._more, {}
                for client in more:
                    if client.fd >= 0 and not client.rest:
                        self._take(client, b"")
                self._tell_gone()
                if self._crowded and not self._visits.is_full:
                    self._watch_listener()
                if len(events) == EVENTS or self._more:
                    give_way()
                else:
                    hub.wait(watcher)
        finally:
            watcher.close()

    def _handle(self, fd: int, mask: int) -> None:
        client = self.clients.get(fd)
        if client is not None:
            if client.rest:
                self._resume(client)
            elif client not in self._more:
                self._hear(client)
        elif fd in self._visits:
            self._visits.ready(fd)
        elif fd in self._farewells:
            self._farewells.ready(fd)
        elif fd == self._bell:
            os.eventfd_read(self._bell)
        elif self._accepting:
            self._accept()

    def _accept(self) -> None:
        if not self._visits.make_room():
            self._crowded = True
            self._leave_listener()
            return
        for number in range(ACCEPTS):
            if number and self._visits.is_full:
                return
            try:
                fd, address = self._listener._accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors, no memory: it is tried again with the next sweep
                self.counts["failed_accepts"] += 1
                log.error("nobody can be accepted: %s", error)
                self._leave_listener()
                return
            os.set_blocking(fd, False)
            self._visits.add(fd, _same(address[0]))

    def _upgrade(self, fd: int, address: str, request: Request, data: bytes) -> None:
        agreed = handshake(request, self._app.subprotocols, self._deflate)
        client = self.clients[fd] = self._client_type(self._listener.family, fd, address, agreed.inflate, self._now)
        self.counts["opened"] += 1
        self._unsaid = (client, agreed.reply)  # what the application says first goes with it
        self._app.opened(client, request, agreed.subprotocol, agreed.deflate)
        if client is self._unsaid[0]:
            self.send(client, b"")
        if data:
            self._take(client, data)

    def _hear(self, client: Client) -> None:
        try:
            data = os.read(client.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(client, data)
        else:
            os.close(self._take_away(client))

    def _resume(self, client: Client) -> None:
        """Send more of what waits; when it is gone, the client is heard again."""
        try:
            sent = client.send(client.rest)
        except BlockingIOError:
            return
        except OSError:
            os.close(self._take_away(client))
            return
        client.due = boundary(client.rest, client.due, sent) - sent
        client.rest = client.rest[sent:]
        del self._waiting[client]
        if client.rest:
            self._waiting[client] = self._now
            return
        self._epoll.modify(client.fd, EPOLLIN)
        self._app.writable(client)
        if client.inbox is not None and not client.rest:
            client.inbox.began = self._now
            self._take(client, b"")

    def _take(self, client: Client, data: bytes) -> None:
        """Bytes that a client sent, or that waited because it took nothing."""
        client.seen = self._now
        inbox = client.inbox = client.inbox or self._inbox(client)
        inbox.feed(data)
        left = MESSAGES
        try:
            while client.fd >= 0 and not client.rest:
                if not left:
                    self._wake(self._more)
                    self._more[client] = None
                    break
                left -= 1
                one = inbox.next()
                if one is None:
                    break
                opcode, payload = one
                if opcode < CLOSE:
                    self._app.message(client, payload, opcode == TEXT)
                    inbox.began = self._now
                elif opcode == CLOSE:
                    self._part(client, close_frame(parse_close(payload).code), None)
                else:
                    self._app.control(client)
                    if opcode == PING and client.fd >= 0:
                        self._say(client, frame(payload, PONG))
        except Fault as fault:
            self.counts["faults"] += 1
            self._part(client, close_frame(fault.code, fault.reason), None)
        if inbox.idle or client.fd < 0:
            client.inbox = None

    def _inbox(self, client: Client) -> Inbox:
        inbox = Inbox(self._max_message_bytes, client.inflate)
        inbox.began = self._now
        return inbox

    def _say(self, client: Client, data: bytes) -> None:
        """Words of our own: the application must not send before all of them are gone."""
        if not self.send(client, data):
            self._app.stalled(client)

    # ------------------------------------------------------------------ the end

    def _take_away(self, client: Client) -> int:
        """End a client; its descriptor is the caller's to close."""
        fd = client.detach()
        del self.clients[fd]
        self._waiting.pop(client, None)
        client.rest, client.inbox = b"", None
        self.counts["closed"] += 1
        self._wake(self._gone)
        self._gone.append(client)
        return fd

    def _wake(self, waiting: Collection[Client]) -> None:
        """Somebody waits for the greenlet that drains; where others do already, it knows."""
        if not waiting:
            os.eventfd_write(self._bell, 1)

    def _part(self, client: Client, goodbye: bytes, inbox: Inbox | None) -> None:
        rest = self._take_unsaid(client) + client.rest
        self._farewells.add(self._take_away(client), rest + goodbye, inbox)

    def _tell_gone(self) -> None:
        while self._gone:
            gone, self._gone = self._gone, []
            for client in gone:
                self._app.closed(client)

    # ------------------------------------------------------------------ time

    def _sweep_forever(self) -> None:
        while True:
            gevent.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """What time brings about; every SWEEP_S."""
        self._now += 1
        self._visits.sweep(self._now)
        self._farewells.sweep(self._now)
        self._sweep_waiting()
        self._sweep_silent()
        if not self._accepting and self._listener.fileno() >= 0:
            self._watch_listener()

    def _watch_listener(self) -> None:
        self._epoll.register(self._listener.fileno(), EPOLLIN)
        self._accepting, self._crowded = True, False

    def _leave_listener(self) -> None:
        self._epoll.unregister(self._listener.fileno())
        self._accepting = False

    def _sweep_waiting(self) -> None:
        for client, since in list(self._waiting.items()):
            if self._now - since < self._stall:
                return
            self._cut_off(client)

    def _cut_off(self, client: Client) -> None:
        """A client that takes nothing: it is told so in case it wakes, and nothing else of what waits."""
        self.counts["stalled"] += 1
        goodbye = client.rest[: client.due] + _STALLED
        self._farewells.add(self._take_away(client), goodbye, None)

    def _sweep_silent(self) -> None:
        """Ping who was silent for long, and give up who has not answered. All are looked at within VISIT_S."""
        if not self._to_visit:
            self._to_visit = list(self.clients)
            self._a_sweep = -(-len(self._to_visit) // sweeps(min(VISIT_S, self._silence * SWEEP_S / 4)))
        some, self._to_visit = self._to_visit[: self._a_sweep], self._to_visit[self._a_sweep :]
        for fd in some:
            client = self.clients.get(fd)
            if client is None or client.rest:
                continue
            silent = self._now - client.seen
            if client.inbox is not None and self._now - client.inbox.began >= 2 * self._silence:
                self.counts["slow_messages"] += 1
                self.close(client, CloseCode.SLOW, "a message that takes too long")
            elif silent >= 2 * self._silence:
                self.counts["silent"] += 1
                os.close(self._take_away(client))
            elif silent >= self._silence:
                self._say(client, _PING)
