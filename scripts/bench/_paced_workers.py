"""The workers of ticks_paced.py that are not wick's own: `python _paced_workers.py silent | instrumented | ...`.

`silent` is the aggregator, which publishes nothing but its stats.
`instrumented` is the aggregator, whose stats also say how long its actors' drains took. `reading` takes messages from
the socket, as the aggregator does, and drops them: what the wake-ups cost alone. `naive` is what one writes
first: a green socket that brings a msgpack map a tick, a queue and a greenlet a pair, twelve candle objects.
"""

# ruff: noqa: E402 (gevent has to patch before anything else is imported)

from gevent import monkey

monkey.patch_all()

import signal
import sys
from time import perf_counter_ns
from typing import Any

import _common  # noqa: F401 (it brings the wick of this tree)
import gevent
import msgpack
import zmq.green as zmq
from _naive import Pair
from gevent.event import Event
from gevent.queue import Queue

from wick.net import bus, endpoints
from wick.net.reader import Reader
from wick.ops.settings import role_settings
from wick.roles.actors import Actor
from wick.roles.aggregator import Aggregator
from wick.roles.base import run_role


class Silent(Aggregator):
    def _flush(self) -> None:
        """Nothing is made, nothing is sent."""


class Instrumented(Aggregator):
    """The gauges `actor_ns` and `drains`: time within Actor._drain since the start, and how many there were."""

    spent_ns = drains = 0

    def gauges(self) -> dict[str, Any]:
        return {**super().gauges(), "actor_ns": self.spent_ns, "drains": self.drains}


def instrumented(arguments: list[str]) -> int:
    plain = Actor._drain

    def drain(self: Actor) -> None:
        began = perf_counter_ns()
        plain(self)
        Instrumented.spent_ns += perf_counter_ns() - began
        Instrumented.drains += 1

    Actor._drain = drain  # type: ignore[method-assign]
    return run_role(Instrumented, arguments)


def silent(arguments: list[str]) -> int:
    return run_role(Silent, arguments)


class NaiveActor:
    def __init__(self) -> None:
        self.queue: Queue = Queue(10_000)
        self.pair = Pair([])

    def run(self) -> None:
        while True:
            tick = self.queue.get()
            self.pair.update(tick["time"], tick["price"], tick["quantity"], tick["taker_buy"])


def until_terminated() -> int:
    stopping = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    stopping.wait()
    return 0


def reading(arguments: list[str]) -> int:
    settings, index = role_settings("aggregator", arguments)
    socket = bus.pull(settings["core.data_dir"], index, settings["feed.push_hwm"])
    gevent.spawn(Reader(socket, lambda frames: None).run)
    return until_terminated()


def naive(arguments: list[str]) -> int:
    settings, index = role_settings("aggregator", arguments)
    socket = zmq.Context().socket(zmq.PULL)
    socket.bind(endpoints.ticks(settings["core.data_dir"], index))
    actors: dict[str, NaiveActor] = {}

    def read() -> None:
        while True:
            tick = msgpack.unpackb(socket.recv())
            actor = actors.get(tick["symbol"])
            if actor is None:
                actor = actors[tick["symbol"]] = NaiveActor()
                gevent.spawn(actor.run)
            actor.queue.put(tick)

    gevent.spawn(read)
    return until_terminated()


if __name__ == "__main__":
    workers = {"silent": silent, "instrumented": instrumented, "reading": reading, "naive": naive}
    sys.exit(workers[sys.argv[1]](sys.argv[2:]))
