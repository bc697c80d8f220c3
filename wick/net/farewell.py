"""Connections that end: the last bytes go out, our side is closed, and what still comes is read and dropped.

A socket that is closed while bytes wait to be read answers with a reset, which overtakes our last words. Hence half a
close first, then the end of the other side, or LINGER_S: whatever comes first. A connection whose last words cannot be
sent is reset, so that the kernel keeps nothing for it.
"""

import _socket
import os
import socket
import struct
from select import EPOLLIN, EPOLLOUT
from typing import Any

from wick.wire.websocket import CLOSE, Fault, Inbox

SWEEP_S = 0.1  # all deadlines of the server are counted in sweeps of so long
LINGER_S = 2.0  # how long who was told goodbye has to take it and to answer
READ_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops what is unsent


def sweeps(seconds: float) -> int:
    """A time in sweeps, at least one."""
    return max(1, round(seconds / SWEEP_S))


def reset(fd: int) -> None:
    """Close the connection; the kernel forgets what it still holds for it."""
    sock = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    finally:
        sock.close()


def half_close(fd: int) -> None:
    """Say that nothing more comes from us."""
    sock = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has gone
    finally:
        sock.detach()


class _Farewell:
    __slots__ = ("deadline", "inbox", "rest")

    def __init__(self, rest: bytes, inbox: Inbox | None, deadline: int) -> None:
        self.rest, self.inbox, self.deadline = rest, inbox, deadline


class Farewells:
    """All that end, by descriptor. They are in `epoll` already; it is told what is waited for."""

    def __init__(self, epoll: Any) -> None:
        self._epoll = epoll
        self._all: dict[int, _Farewell] = {}  # in the order of their deadlines
        self._now = 0  # in sweeps

    def __contains__(self, fd: int) -> bool:
        return fd in self._all

    def __len__(self) -> int:
        return len(self._all)

    def add(self, fd: int, rest: bytes, inbox: Inbox | None) -> None:
        """Send `rest`; with an `inbox` the other side's close frame is waited for before ours is over."""
        self._all[fd] = _Farewell(rest, inbox, self._now + sweeps(LINGER_S))
        self._epoll.modify(fd, EPOLLOUT if rest else EPOLLIN)
        self._speak(fd)

    def ready(self, fd: int) -> None:
        if self._all[fd].rest:
            self._speak(fd)
        else:
            self._hear(fd)

    def sweep(self, now: int) -> None:
        self._now = now
        for fd, one in list(self._all.items()):
            if one.deadline > now:
                return
            if one.rest:
                del self._all[fd]
                reset(fd)
            else:
                self._end(fd)

    def close(self) -> None:
        for fd in list(self._all):
            self._end(fd)

    def _speak(self, fd: int) -> None:
        one = self._all[fd]
        if one.rest:
            try:
                one.rest = one.rest[os.write(fd, one.rest) :]
            except BlockingIOError:
                return
            except OSError:
                self._end(fd)
                return
            if one.rest:
                return
            self._epoll.modify(fd, EPOLLIN)
        if one.inbox is None or _says_close(one.inbox, b""):
            one.inbox = None
            half_close(fd)

    def _hear(self, fd: int) -> None:
        one = self._all[fd]
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(fd)
        elif one.inbox is not None and _says_close(one.inbox, data):
            one.inbox = None
            half_close(fd)

    def _end(self, fd: int) -> None:
        del self._all[fd]
        os.close(fd)


def _says_close(inbox: Inbox, data: bytes) -> bool:
    inbox.feed(data)
    try:
        while (one := inbox.next()) is not None:
            if one[0] == CLOSE:
                return True
    except Fault:
        return True
    return False
