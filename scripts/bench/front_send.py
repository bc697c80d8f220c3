#!/usr/bin/env python3
"""Processor time of a delivered frame: fan-out and server of the front, a C loop of send(2), and gevent-websocket.

    .venv/bin/python scripts/bench/front_send.py [--clients 10000] [--rounds 40] [--quick]

The front's own Fanout and Server in this process, on one core; the load generator (_load.c) is their clients, on the
other. A round: one after the other, with a rest until everything has been read,
- wick: all bands are flushed, after a trade in every pair: one frame a client, made and sent. What it takes to take
  the shards' messages before is told apart, and with it: it is a cost a pair (there are 300), whoever listens,
- C: `send` on the same sockets, in the same order, of as many frames as long as those, ready-made (_send.c),
- gevent-websocket 0.10.1: as many clients told about as many topics in as many bytes, by a process of its own on the
  same core, in three ways: `encoded`, what changed in its five topics packed for each client, and one `ws.send` (this
  is the work that wick does, and what its ratio is against); `topics`, a `ws.send` for each topic, packed once;
  `ready`, one `ws.send` of one ready-made message, which is no work but sending.
  Where WICK_BENCH_GEVENT_WEBSOCKET names a Python that has it:

    python3 -m venv /tmp/gw; /tmp/gw/bin/pip install gevent-websocket==0.10.1 msgpack
    export WICK_BENCH_GEVENT_WEBSOCKET=/tmp/gw/bin/python

Three rooms: all clients have the same five topics; 100 sets; every client has a set of its own. Time is what the kernel
charged the thread, what it does for `send` included; of each contender the median of the rounds.
"""

import ctypes
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import _common as common
import gevent
from _front import Market, sets
from _load import Load, library

from wick.net.ws_server import Client, Server, listen
from wick.stream.fanout import Fanout
from wick.stream.shards import SHARDS, shard_of
from wick.wire.codec import pack, unpack
from wick.wire.http import Reply, Request
from wick.wire.messages import Diffs
from wick.wire.session import Kind, parse_request, parse_topics
from wick.wire.websocket import BINARY, TEXT, frame

CLIENTS, TOPICS, PAIRS, ROUNDS = 10_000, 5, 300, 40
SHARED, DISTINCT, TIMES = 0.85, 0.75, 3.0
WAYS = ("encoded", "topics", "ready")  # of gevent-websocket
GEVENT_WEBSOCKET = "WICK_BENCH_GEVENT_WEBSOCKET"


class Session(Client):
    __slots__ = ("behind", "cohort", "globs", "place")


class App:
    """The least that a front does for its clients: they subscribe."""

    path, subprotocols = "/ws", ("wick.v1.msgpack",)
    prompt: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.server = Server(listen("127.0.0.1", 0), self, client_type=Session)
        self.fanout = Fanout(self.server, SHARDS, shard_of)
        self.market = Market(PAIRS, self._hear)
        self._said: list[list[bytes]] = []
        for shard in range(SHARDS):
            self.fanout.restart(self.market.snapshot(shard))

    def _hear(self, frames: list[bytes]) -> None:
        self._said.append(frames)

    def refuse(self, request: Request, address: str) -> Reply | None:
        return None

    def opened(self, client: Any, request: Request, subprotocol: str, deflate: bool) -> None:
        self.fanout.enter(client, json=False, deflate=False)

    def message(self, client: Any, data: bytes, is_text: bool) -> None:
        request = parse_request(unpack(data))
        acks = []
        for wanted in request.topics:
            [topic] = parse_topics(wanted.text).of(*wanted.text.split(":")[1:3])
            channel, resumed = self.fanout.subscribe(client, topic)
            acks.append([wanted.text, channel.handle, resumed])
        self.server.send(client, frame(pack([Kind.ACK, request.id, acks]), BINARY))
        self.fanout.tell(client)

    def control(self, client: Any) -> None:
        pass

    def stalled(self, client: Any) -> None:
        pass

    def writable(self, client: Any) -> None:
        self.fanout.writable(client)

    def closed(self, client: Any) -> None:
        self.fanout.leave(client)

    def respond(self, request: Request) -> Reply:
        raise NotImplementedError

    def flush(self) -> None:
        """What a whole window of the flusher does."""
        for bands in self.fanout.slices.bands:
            for band in bands:
                self.fanout.flush(band)
        self.fanout.trim()

    def trades(self) -> list[tuple[int, Diffs]]:
        """A trade in every pair, as a front finds it in its mailbox."""
        self._said.clear()
        for shard in self.market.shards:
            self.market.trade(shard)
        return [(int(topic.rpartition(b".")[2]), Diffs.unpack(body)) for topic, body in self._said]

    def take(self, messages: list[tuple[int, Diffs]]) -> None:
        for shard, message in messages:
            self.fanout.diffs(shard, message)


class CLoop:
    """Frames as long as those that the clients of `app` are sent, as text: the load generator only counts them. Clients
    that share a frame there share one here; who has one of its own there has its own memory here."""

    def __init__(self, app: App) -> None:
        loop = library("_send.c")
        if loop is None:
            raise SystemExit("there is no C compiler, so there is nothing to compare with; valid is one named by CC")
        told: dict[int, bytes] = {}
        send_all = app.server.send_all

        def noted(clients: Sequence[Any], frames: Sequence[bytes]) -> list[Any]:
            told.update(zip([client.fd for client in clients], frames, strict=True))
            return send_all(clients, frames)

        app.server.send_all = noted
        app.take(app.trades())
        app.flush()
        del app.server.send_all
        lengths = [len(data) for data in told.values()]
        count = len(lengths)
        self.mean = sum(lengths) / count
        texts = {id(data): _text(len(data)) for data in told.values()}
        self._arguments = (
            (ctypes.c_int * count)(*told),
            (ctypes.c_char_p * count)(*[texts[id(data)] for data in told.values()]),
            (ctypes.c_size_t * count)(*lengths),
            count,
        )
        self._send = loop.send_each

    def send(self) -> None:
        if failed := self._send(*self._arguments):
            raise SystemExit(f"{failed} sends failed")


def _text(length: int) -> bytes:
    made = frame(bytes(length - 2), TEXT)
    return made if len(made) == length else frame(bytes(length - 4), TEXT)


class GeventWebSocket:
    """Its server as a process, and clients of it."""

    def __init__(self, python: str, clients: int) -> None:
        script = Path(__file__).with_name("_gevent_websocket.py")
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        common.pin_process(self._process.pid, 0)
        self.load = Load(self._answer()["port"], subprotocol="", core=common.cores()[-1], rest=gevent.sleep)
        for _ in range(clients):
            self.load.add([])
        self.load.open()

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer

    def tell(self, way: str, size: int) -> float:
        """Nanoseconds a client, told about its topics in messages of so many bytes."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"way": way, "topics": TOPICS, "size": size}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["ns"] / answer["clients"]

    def close(self) -> None:
        self.load.close()
        self._process.kill()


@contextmanager
def gevent_websocket(clients: int) -> Iterator[GeventWebSocket | None]:
    python = os.environ.get(GEVENT_WEBSOCKET)
    if not python:
        print(f"{GEVENT_WEBSOCKET} names no Python: without gevent-websocket")
        yield None
        return
    server = GeventWebSocket(python, clients)
    try:
        yield server
    finally:
        server.close()


def timed(body: Callable[[], Any]) -> float:
    """Nanoseconds of the thread's processor time."""
    began = time.thread_time_ns()
    body()
    return time.thread_time_ns() - began


def read_all(load: Load, frames: int) -> None:
    """Until the clients have read so many frames since the last report."""
    report = load.until(lambda report: report["frames"] >= frames, "the clients have read what was sent")
    if report["frames"] != frames or report["holes"] or report["bad"]:
        raise SystemExit(f"{frames} frames were sent; the clients say {report}")


def room(app: App, clients: int, distinct: int, rounds: int, rival: GeventWebSocket | None) -> dict[str, float]:
    """Nanoseconds a frame of each contender."""
    port = app.server._listener.getsockname()[1]
    with Load(port, core=common.cores()[-1], rest=gevent.sleep) as load:
        for topics in sets(app.market, clients, TOPICS, distinct):
            load.add(topics)
        load.open()
        gevent.sleep(0.1)
        app.flush()  # all are in step from here on
        gevent.sleep(0.1)
        load.report()
        baseline = CLoop(app)
        read_all(load, clients)
        spent: dict[str, list[float]] = {name: [] for name in ("wick", "take", "C", *WAYS)}

        def wick(messages: list[tuple[int, Diffs]]) -> None:
            spent["take"].append(timed(lambda: app.take(messages)) / clients)
            spent["wick"].append(timed(app.flush) / clients)

        def c_loop(_: object) -> None:
            spent["C"].append(timed(baseline.send) / clients)

        trades = [app.trades() for _ in range(rounds)]  # not in between: it would leave the caches to wick cold
        for number, messages in enumerate(trades):
            for contender in (wick, c_loop) if number % 2 else (c_loop, wick):
                contender(messages)
                read_all(load, clients)
            for way in WAYS if rival else ():
                spent[way].append(rival.tell(way, round(baseline.mean / TOPICS)))
                read_all(rival.load, clients * (TOPICS if way == "topics" else 1))
        figures = {name: median(some) for name, some in spent.items() if some}
        rounds_of = list(zip(spent["C"], spent["wick"], spent["take"], strict=True))
        figures["speed"] = median(c / ours for c, ours, _ in rounds_of)
        figures["speed_with_taking"] = median(c / (ours + taken) for c, ours, taken in rounds_of)
        figures["bytes"] = baseline.mean
    while app.server.clients:
        gevent.sleep(0.01)
    return figures


def main() -> None:
    parser = common.parser(__doc__, rounds=ROUNDS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    args = parser.parse_args()
    common.pin(0)
    clients, rounds = (100, 3) if args.quick else (args.clients, args.rounds)
    app = App()
    for greenlet in app.server.start():
        greenlet.link_exception(lambda _: os._exit(1))  # gevent has said why
    with gevent_websocket(clients) as rival:
        rooms = {
            name: room(app, clients, distinct, rounds, rival)
            for name, distinct in (("one set", 1), ("100 sets", min(100, clients)), ("distinct sets", clients))
        }
    app.server.shutdown()
    print(f"{clients:,} clients, {TOPICS} topics each, us of processor a frame, median of {rounds} rounds")
    header = ["", "bytes", "wick", "taking", "C", "of C's speed", "with taking"]
    header += [f"gw, {way}" for way in WAYS if rival]
    lines = []
    for name, one in rooms.items():
        ours = [f"{one[who] / 1e3:.2f}" for who in ("wick", "take", "C")]
        theirs = [f"{one[way] / 1e3:.2f} ({one[way] / one['wick']:.1f}x)" for way in WAYS if rival]
        speeds = [f"{one[which]:.2f}" for which in ("speed", "speed_with_taking")]
        lines.append([name, f"{one['bytes']:.0f}", *ours, *speeds, *theirs])
    common.table(header, lines)
    targets = [
        common.Target("shared frames: of a C loop's speed", rooms["one set"]["speed"], SHARED, True),
        common.Target("distinct sets: of a C loop's speed", rooms["distinct sets"]["speed"], DISTINCT, True),
    ]
    if rival:
        shared = rooms["one set"]
        ratio = shared["encoded"] / shared["wick"]
        targets.append(common.Target("times gevent-websocket's deliveries a core", ratio, TIMES, True))
    common.finish("front_send", args, {"clients": clients, "rounds": rounds, "rooms_ns": rooms}, targets)


if __name__ == "__main__":
    main()
