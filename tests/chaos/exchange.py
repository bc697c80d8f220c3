"""The simulated exchange of a chaos run, as a process. Its market follows from a number; what else it depends on (when
it began, when the process slept) is noted, so that the truth can be made anew (`truth.py`)."""

import json
import signal
import sys
from pathlib import Path

import gevent
from gevent.event import Event

from wick.ops import logs
from wick.sim.demo import Demo
from wick.sim.market import Market
from wick.sim.server import ExchangeServer

KEPT_S = 240  # how far back REST can tell trades: a real venue goes back for years, and its limits make a backfill slow


def run(port: int, seed: int, symbols: int, rate: float, notes: Path) -> int:
    logs.setup("exchange-0", "info")
    source = Demo(seed, symbols, rate, history=max(150_000, int(rate * KEPT_S)))
    server = ExchangeServer(source, port, seed=seed)
    with notes.open("a", buffering=1) as file:
        begun: list[Market] = []
        skip = Market.skip_to

        def skip_to(market: Market, now_ms: int) -> None:
            if begun:
                file.write(json.dumps({"at": market.time_ms, "skip": now_ms}) + "\n")
            skip(market, now_ms)

        Market.skip_to = skip_to  # type: ignore[method-assign]
        server.start()
        market = source.view.market
        begun.append(market)
        file.write(json.dumps({"seed": seed, "symbols": symbols, "rate": rate, "start": market.time_ms}) + "\n")
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, stop.set)
        server.failed.rawlink(lambda _: stop.set())
        stop.wait()
    failed = server.failed.ready()
    server.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    port, seed, symbols, rate, notes = sys.argv[1:]
    sys.exit(run(int(port), int(seed), int(symbols), float(rate), Path(notes)))
