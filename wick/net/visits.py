"""Connections that speak HTTP: as all do at first. A head is read, bounded in size and time; a reply is written.

| queue | bound | on full |
|---|---|---|
| connections that are no clients | MAX_VISITS | who is silent for EVICT_S makes room, or the kernel keeps the new |
| a request's head | MAX_HEAD_BYTES, HEAD_S from its beginning | 431 or 408, and the connection ends |
| requests that are being answered | ANSWERS, and one of `prompt` | the others wait, their connections are not read |
| replies that are not taken yet | MAX_UNSENT_BYTES of all | no further request is answered |
| one of them | STALL_S without progress | the connection is reset |
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from select import EPOLLIN, EPOLLOUT
from typing import Any, Protocol

import gevent

from wick.net.farewell import Farewells, reset, sweeps
from wick.net.reader import give_way
from wick.wire.http import MAX_HEAD_BYTES, Refusal, Reply, Request, parse_head, reply_bytes
from wick.wire.websocket import is_upgrade

MAX_VISITS = 4096
EVICT_S = 1.0  # the time that a crowd's handshakes take: who is silent for longer is not waiting for us
HEAD_S = 10.0
STALL_S = 20.0
ANSWERS = 16
MAX_UNSENT_BYTES = 16 * 1024 * 1024
READ_BYTES = 16 * 1024  # what a browser sends with its head, and what a client may have sent behind it

log = logging.getLogger("wick")


class Routes(Protocol):
    """Who is asked what to answer."""

    path: str
    prompt: frozenset[str]  # paths whose answers wait for nothing, and are not to wait for others

    def refuse(self, request: Request, address: str) -> Reply | None: ...

    def respond(self, request: Request) -> Reply: ...


class _Visit:
    __slots__ = ("address", "answering", "data", "deadline", "fd", "goes_on", "rest")

    def __init__(self, fd: int, address: str, deadline: int) -> None:
        self.fd, self.address, self.deadline = fd, address, deadline
        self.data = b""  # what has come of the next head
        self.rest = memoryview(b"")  # what has not been sent of a reply
        self.goes_on = True  # after that reply
        self.answering = False  # its descriptor is not watched


_Asked = deque[tuple[_Visit, Request, bool]]


def http_date() -> str:
    """RFC 9110, 5.6.7; wick leaves the locale alone, so the names are English."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


class Visits:
    """All visits, by descriptor. `upgrade` takes over who asked for a WebSocket, with the bytes behind the head."""

    def __init__(
        self,
        epoll: Any,
        routes: Routes,
        farewells: Farewells,
        upgrade: Callable[[int, str, Request, bytes], None],
    ) -> None:
        self._epoll = epoll
        self._routes, self._farewells, self._upgrade = routes, farewells, upgrade
        self._all: dict[int, _Visit] = {}
        self._now = 0  # in sweeps
        self._asked: _Asked = deque()
        self._prompt: _Asked = deque()
        self._greenlets: set[Any] = set()
        self._prompter: Any = None  # one more of them
        self.unsent_bytes = 0  # of all replies
        self.head_s = HEAD_S
        self.counts = {"requests": 0, "refused": 0, "evicted": 0, "timeouts": 0}

    def __contains__(self, fd: int) -> bool:
        return fd in self._all

    def __len__(self) -> int:
        return len(self._all)

    @property
    def is_full(self) -> bool:
        return len(self._all) >= MAX_VISITS

    def make_room(self) -> bool:
        """Whether there is room for one more. The first in the order is the one that has been silent for longest."""
        if not self.is_full:
            return True
        latest = self._now + sweeps(self.head_s) - sweeps(EVICT_S)
        visit = next((one for one in self._all.values() if not one.answering and not one.rest), None)
        if visit is None or visit.deadline > latest:
            return False
        self.counts["evicted"] += 1
        self._end(visit)
        return True

    def add(self, fd: int, address: str) -> None:
        """A connection that was just accepted; what it said already is heard at once."""
        self._all[fd] = visit = _Visit(fd, address, self._now + sweeps(self.head_s))
        self._epoll.register(fd, EPOLLIN)
        self._hear(visit)

    def ready(self, fd: int) -> None:
        visit = self._all[fd]
        if visit.rest:
            self._speak(visit)
        else:
            self._hear(visit)

    def sweep(self, now: int) -> None:
        self._now = now
        for visit in [one for one in self._all.values() if one.deadline <= now and not one.answering]:
            self.counts["timeouts"] += 1
            if visit.rest:
                self._end(visit, reset)
            elif visit.data:
                self._refuse(visit, Refusal(408, f"the head of a request takes at most {self.head_s:g} s"))
            else:
                self._end(visit)

    def close(self) -> None:
        gevent.killall([*self._greenlets, *filter(None, [self._prompter])])
        for visit in list(self._all.values()):
            self._end(visit)

    # ------------------------------------------------------------------ in

    def _hear(self, visit: _Visit) -> None:
        try:
            data = os.read(visit.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(visit)
            return
        visit.data += data
        self._look(visit)

    def _look(self, visit: _Visit) -> None:
        """Take the head that has come, if it is whole."""
        data = visit.data = visit.data.lstrip(b"\r\n")  # RFC 9112, 2.2: an empty line before it is ignored
        if not data:
            return
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        if end < 4:
            if len(data) >= MAX_HEAD_BYTES:
                self._refuse(visit, Refusal(431, f"the head of a request has at most {MAX_HEAD_BYTES} bytes"))
            return
        head, visit.data = data[:end], data[end:]
        try:
            request, goes_on = parse_head(head)
            self._take(visit, request, goes_on)
        except Refusal as refusal:
            self._refuse(visit, refusal)

    def _take(self, visit: _Visit, request: Request, goes_on: bool) -> None:
        self.counts["requests"] += 1
        refused = self._routes.refuse(request, visit.address)
        if refused is not None:
            self.counts["refused"] += 1
            self._reply(visit, refused, False, request.method == "HEAD")
        elif request.path != self._routes.path:
            self._epoll.unregister(visit.fd)  # not read, and no news of it until it has its answer
            visit.answering = True
            asked = self._prompt if request.path in self._routes.prompt else self._asked
            asked.append((visit, request, goes_on))
            self._start_answer()
        elif not is_upgrade(request):
            raise Refusal(426, f"{request.path} is a WebSocket", ("Upgrade", "websocket"))
        else:
            self._upgrade(visit.fd, visit.address, request, visit.data)
            del self._all[visit.fd]

    def _refuse(self, visit: _Visit, refusal: Refusal) -> None:
        self.counts["refused"] += 1
        self._reply(visit, refusal.reply, False, False)

    # ------------------------------------------------------------------ out

    def _start_answer(self) -> None:
        if self._prompt and not self._prompter:
            self._prompter = gevent.spawn(self._answer, self._prompt)
        if self._asked and len(self._greenlets) < ANSWERS and self.unsent_bytes < MAX_UNSENT_BYTES:
            greenlet = gevent.spawn(self._answer, self._asked)
            self._greenlets.add(greenlet)
            greenlet.link(self._greenlets.discard)

    def _answer(self, asked: _Asked) -> None:
        """Answer whoever asked, until nobody waits; the body of a greenlet."""
        while asked and (asked is self._prompt or self.unsent_bytes < MAX_UNSENT_BYTES):
            visit, request, goes_on = asked.popleft()
            try:
                reply = self._routes.respond(request)
                data = reply_bytes(reply, http_date(), goes_on=goes_on, head_only=request.method == "HEAD")
            except Exception:
                log.exception("%s %s could not be answered", request.method, request.path)
                goes_on = False
                data = reply_bytes(Reply(500, "text/plain; charset=utf-8", b""), http_date(), goes_on=False)
            visit.answering = False
            self._epoll.register(visit.fd, EPOLLIN)
            self._send(visit, data, goes_on)
            give_way()  # most answers wait for nothing, and a thousand may be asked for

    def _reply(self, visit: _Visit, reply: Reply, goes_on: bool, head_only: bool) -> None:
        self._send(visit, reply_bytes(reply, http_date(), goes_on=goes_on, head_only=head_only), goes_on)

    def _send(self, visit: _Visit, data: bytes, goes_on: bool) -> None:
        visit.rest, visit.goes_on = memoryview(data), goes_on
        visit.deadline = self._now + sweeps(STALL_S)  # the answer may have taken longer than a head may
        self.unsent_bytes += len(data)
        self._speak(visit)
        if visit.rest and visit.fd in self._all:
            self._epoll.modify(visit.fd, EPOLLOUT)

    def _speak(self, visit: _Visit) -> None:
        try:
            sent = os.write(visit.fd, visit.rest)
        except BlockingIOError:
            return
        except OSError:
            self._end(visit)
            return
        visit.rest = visit.rest[sent:]
        self.unsent_bytes -= sent
        self._start_answer()
        if visit.rest:
            visit.deadline = self._now + sweeps(STALL_S)
        elif visit.goes_on:
            self._epoll.modify(visit.fd, EPOLLIN)
            self._all[visit.fd] = self._all.pop(visit.fd)  # the order is that of the last request's end
            visit.deadline = self._now + sweeps(self.head_s)
            self._look(visit)
        else:
            del self._all[visit.fd]
            self._farewells.add(visit.fd, b"", None)

    def _end(self, visit: _Visit, close: Callable[[int], None] = os.close) -> None:
        del self._all[visit.fd]
        self.unsent_bytes -= len(visit.rest)
        visit.rest = memoryview(b"")
        close(visit.fd)
        self._start_answer()
