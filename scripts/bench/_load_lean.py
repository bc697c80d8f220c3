#!/usr/bin/env python3
"""What _load.c does, where there is no compiler: the same lines in, the same lines out, some twenty times slower.

Its percentiles are of all values, not of buckets; whose state is distinct it says like the other one.
"""

import errno
import json
import os
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from wick.errors import WireError
from wick.stream import diffs
from wick.wire.codec import pack, unpack
from wick.wire.session import Kind

GROUPS, WIDTH = 2, 16
READ_BYTES, EVENTS = 1 << 18, 512
OFF, CONNECTING, SHAKING, OPEN = range(4)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
COMPRESSED = 0x40
COUNTS = ("frames", "bytes", "holes", "bad", "resumed", "fresh", "failed")
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class Sub:
    """A client's topic."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.handle = self.epoch = self.seq = 0
        self.known = self.acked = self.told = False
        self.groups: list[list[int]] = []
        self.rows: dict[int, bytes] = {}


class Client:
    """A connection, or one to be made."""

    def __init__(self, number: int, group: int, subs: list[Sub]) -> None:
        self.number, self.group, self.subs = number, group, subs
        self.state, self.frames, self.rest = OFF, 0, b""
        self.stamp = 0
        self.socket: Any = None

    def has(self, what: str) -> bool:
        return self.state == OPEN and all(getattr(sub, what) for sub in self.subs)


class Load:
    """All of them."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.topics: list[str] = []
        self.by_fd: dict[int, Client] = {}
        self.epoll = select.epoll()
        self.waiting: list[Client] = []
        self.at_once = self.under_way = 0
        self.opened_at = self.acked_at = self.told_at = self.reported_at = time.monotonic()
        self.clear()

    def clear(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()
        self.latency: list[list[int]] = [[], []]

    # ------------------------------------------------------------------ connections

    def connect(self) -> None:
        while self.waiting and self.under_way < self.at_once:
            client = self.waiting.pop()
            client.socket = sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if client.group and self.buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
            sock.bind((f"127.0.0.{2 + client.number % self.sources}", 0))
            client.state, client.rest, client.stamp = CONNECTING, b"", 0
            self.by_fd[sock.fileno()] = client
            self.under_way += 1
            failed = sock.connect_ex(self.address)
            if failed not in (0, errno.EINPROGRESS):
                self.leave(client, 0)
            else:
                self.epoll.register(sock, select.EPOLLOUT)

    def leave(self, client: Client, code: int) -> None:
        if client.state == OPEN:
            self.closed[code] += 1
        else:
            self.under_way -= 1
            self.counts["failed"] += 1
        del self.by_fd[client.socket.fileno()]
        client.socket.close()
        client.state = OFF

    def ready(self, client: Client, events: int) -> None:
        try:
            if client.state == CONNECTING:
                client.socket.sendall(self.upgrade)
                client.state = SHAKING
                self.epoll.modify(client.socket, select.EPOLLIN)
            elif events & select.EPOLLIN:
                data = client.socket.recv(READ_BYTES)
                self.counts["bytes"] += len(data)
                if data:
                    self.take(client, client.rest + data)
                else:
                    self.leave(client, 1006)
            else:
                self.leave(client, 1006)
        except BlockingIOError:
            pass
        except OSError:
            self.leave(client, 1006)

    def say(self, client: Client, opcode: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes([0x80 | opcode, 0x80 | size]) if size < 126 else struct.pack(">BBH", 0x80 | opcode, 0xFE, size)
        client.socket.sendall(head + bytes(4) + payload)

    def take(self, client: Client, data: bytes) -> None:
        now = time.monotonic_ns()
        if client.state == SHAKING:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                client.rest = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.leave(client, 0)
                return
            client.state = OPEN
            self.under_way -= 1
            self.subscribe(client)
        at = 0
        while client.state == OPEN and len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size > 125:
                width = 2 if size == 126 else 8
                if len(data) < start + width:
                    break
                size, start = int.from_bytes(data[start : start + width], "big"), start + width
            if len(data) < start + size:
                break
            self.frame(client, data[at], data[start : start + size], now)
            at = start + size
        client.rest = data[at:]

    def frame(self, client: Client, first: int, payload: bytes, now: int) -> None:
        opcode = first & 15
        if opcode in (TEXT, BINARY):
            client.frames += 1
            self.counts["frames"] += 1
            if client.stamp:
                self.latency[client.group].append(now - client.stamp)
                client.stamp = 0
            if opcode == BINARY and not first & COMPRESSED and client.subs:
                try:
                    self.message(client, unpack(payload))
                except (WireError, ValueError, TypeError, IndexError, StopIteration):
                    self.counts["bad"] += 1
        elif opcode == PONG and len(payload) == 8:
            [client.stamp] = struct.unpack("<Q", payload)
        elif opcode == PING:
            self.say(client, PONG, payload)
        elif opcode == CLOSE:
            self.leave(client, int.from_bytes(payload[:2], "big") if payload else 1005)

    # ------------------------------------------------------------------ the session

    def subscribe(self, client: Client) -> None:
        entries: list[Any] = []
        for sub in client.subs:
            sub.acked = sub.told = False
            entries.append([sub.topic, sub.epoch, sub.seq] if sub.known else sub.topic)
        if entries:
            self.say(client, BINARY, pack([Kind.SUBSCRIBE, 1, entries]))

    def message(self, client: Client, message: list[Any]) -> None:
        kind, *fields = message
        self.kinds[Kind(kind).name.lower()] += 1
        if kind == Kind.BATCH:
            for one in fields:
                self.message(client, one)
        elif kind == Kind.ACK:
            for topic, handle, resumed in fields[1]:
                sub = next(sub for sub in client.subs if sub.topic == topic and not sub.acked)
                sub.handle, sub.acked = handle, True
                sub.known = sub.known and resumed
                self.counts["resumed" if resumed else "fresh"] += 1
            if client.has("acked"):
                self.acked_at = time.monotonic()
        elif kind in (Kind.SNAPSHOT, Kind.DIFF, Kind.CLOSE):
            sub = next(sub for sub in client.subs if sub.acked and sub.handle == fields[0])
            if self.news(sub, kind, fields[1:]) and not sub.told:
                sub.told = True
                if client.has("told"):
                    self.told_at = time.monotonic()

    def news(self, sub: Sub, kind: int, fields: Sequence[Any]) -> bool:
        if kind == Kind.SNAPSHOT:
            sub.epoch, sub.seq, groups, rows = fields
            sub.groups, sub.known = groups, True
            sub.rows |= {row[0]: pack(row) for row in rows}
        elif kind == Kind.CLOSE:
            sub.rows[fields[1][0]] = pack(fields[1])
        else:
            seq, back, changes = fields
            if not sub.known or seq - back != sub.seq:
                self.counts["holes"] += 1
                sub.known = False
                return False
            sub.seq = seq
            diffs.apply(sub.groups, changes)
        return True

    # ------------------------------------------------------------------ commands

    def command(self, line: str) -> Any:
        """What is answered, if anything."""
        name, _, rest = line.partition(" ")
        if name == "server":
            host, port, sources, subprotocol, deflate, buffer = rest.split()
            self.address, self.sources, self.buffer = (host, int(port)), int(sources), int(buffer)
            lines = [f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade"]
            lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
            lines += [f"Sec-WebSocket-Protocol: {subprotocol}"] * (subprotocol != "-")
            lines += ["Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"] * int(deflate)
            self.upgrade = "\r\n".join([*lines, "\r\n"]).encode()
        elif name == "topic":
            self.topics.append(rest)
        elif name == "client":
            group, *topics = map(int, rest.split())
            self.clients.append(Client(len(self.clients), group, [Sub(self.topics[topic]) for topic in topics]))
        else:
            return {"open": self.open, "again": self.again, "stall": self.stall, "wake": self.wake, "cut": self.cut,
                    "report": self.report, "states": self.states}[name](*map(int, rest.split()))  # fmt: skip
        return None

    def open(self, at_once: int) -> dict[str, Any]:
        self.at_once = at_once
        self.opened_at = self.acked_at = self.told_at = time.monotonic()
        return self.again()

    def again(self) -> dict[str, Any]:
        self.waiting = [client for client in reversed(self.clients) if client.state == OFF]
        return {}

    def stall(self, events: int = 0) -> dict[str, Any]:
        for client in self.clients:
            if client.group and client.state == OPEN:
                self.epoll.modify(client.socket, events)
        return {}

    def wake(self) -> dict[str, Any]:
        return self.stall(select.EPOLLIN)

    def cut(self) -> dict[str, Any]:
        for client in self.clients:
            if client.state != OFF:
                self.leave(client, 1000)
        return {}

    def report(self) -> dict[str, Any]:
        at = time.monotonic()
        groups = []
        for group in range(2):
            counts = [client.frames for client in self.clients if client.group == group and client.state == OPEN]
            ages = sorted(self.latency[group])
            shares = {name: ages[int(share * (len(ages) - 1))] / 1e6 for name, share in SHARES.items() if ages}
            latency = {"count": len(ages), **shares, "most": max(ages, default=0) / 1e6}
            groups.append(
                {
                    "open": len(counts),
                    "least": min(counts, default=0),
                    "most": max(counts, default=0),
                    "latency_ms": latency,
                }
            )
        told = {
            "seconds": at - self.reported_at, "cpu_s": time.process_time(), "clients": len(self.clients),
            "open": sum(client.state == OPEN for client in self.clients),
            "acked": sum(client.has("acked") for client in self.clients),
            "told": sum(client.has("told") for client in self.clients),
            "acked_s": self.acked_at - self.opened_at, "told_s": self.told_at - self.opened_at,
            **{name: self.counts[name] for name in COUNTS},
            "messages": self.kinds, "closed": self.closed, "groups": groups,
        }  # fmt: skip
        for client in self.clients:
            client.frames = 0
        self.clear()
        self.reported_at = at
        return told

    def states(self) -> dict[str, Any]:
        distinct: dict[str, Counter[tuple[Any, ...]]] = {topic: Counter() for topic in self.topics}
        for client in self.clients:
            for sub in client.subs:
                groups = [*sub.groups, *([[]] * (GROUPS - len(sub.groups)))]
                fields = tuple(value for group in groups for value in (*group, *[0] * (WIDTH - len(group))))
                rows = (len(sub.rows), min(sub.rows, default=0), max(sub.rows, default=0))
                content = hash(tuple(sorted(sub.rows.items())))
                distinct[sub.topic][int(sub.known), sub.epoch, sub.seq, fields, rows, content] += 1
        return {topic: [[count, *one[:-1]] for one, count in its.items()] for topic, its in distinct.items()}

    def run(self) -> None:
        commands = sys.stdin.fileno()
        os.set_blocking(commands, False)
        self.epoll.register(commands, select.EPOLLIN)
        waiting = b""
        while True:
            for fd, events in self.epoll.poll(maxevents=EVENTS):
                if fd in self.by_fd:
                    self.ready(self.by_fd[fd], events)
                elif fd == commands:
                    data = os.read(commands, READ_BYTES)
                    if not data:
                        return
                    *lines, waiting = (waiting + data).split(b"\n")
                    for line in lines:
                        if (answer := self.command(line.decode())) is not None:
                            print(json.dumps(answer), flush=True)
            self.connect()


if __name__ == "__main__":
    Load().run()
