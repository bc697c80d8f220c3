"""Serve raw captures as if they were the exchange, over WebSocket and REST on loopback.

Each client gets the frames of the streams that it asks for, from the first one on, in the order of receipt and
byte for byte, at the recorded pace times SPEED (or as fast as it reads). Ctrl-C ends it.
"""

import argparse
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wick.cli._report import Faults, StatusLine
from wick.errors import WickError

if TYPE_CHECKING:
    from wick.market.trades import Topic
    from wick.ops.settings import Settings
    from wick.sim.recordings import Recordings
    from wick.sim.server import ExchangeServer

NAME = "replay"
HELP = "serve raw captures as if they were the exchange"

SHOW_EVERY_S = 0.5
PORT_TAKEN = 3  # the exit status of every process of wick that cannot have its port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="raw captures, gzip or plain")
    parser.add_argument("--venue", metavar="V", help="the exchange that they are of (default: exchange.venue, binance)")
    parser.add_argument("--speed", metavar="N|max", help="times the recorded pace (default: exchange.speed, 1)")
    parser.add_argument("--port", metavar="N", help="0 takes a free one (default: exchange.port)")


def run(args: argparse.Namespace) -> int:
    from wick.cli import DONE, FAILED

    settings = _settings(args)
    paths = _captures(args.files)

    import gevent
    from gevent.event import Event

    from wick.ops.logs import setup
    from wick.sim.recordings import Recordings

    setup("replay", settings["core.log_level"])
    speed = settings["exchange.speed"]
    source = Recordings(paths, None if speed == "max" else float(speed))
    sent: Counter[Any] = Counter()
    server = _server(source, 0 if args.port == "0" else settings["exchange.port"], settings, sent)
    try:
        server.start()
    except OSError as error:
        print(f"wick replay: port {server.port}: {error.strerror}; --port takes another", file=sys.stderr)
        return PORT_TAKEN
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    server.failed.rawlink(lambda _: stop.set())
    # Who waits for this line can connect when it is there.
    print(f"ws://{server.host}:{server.port}", flush=True)
    status = StatusLine()
    while not stop.wait(SHOW_EVERY_S):
        status.show(_state(server, source, sent))
    status.clear()
    failed = server.failed.ready()
    server.stop()
    return FAILED if failed else DONE


def _settings(args: argparse.Namespace) -> "Settings":
    """The settings in force with what was given here on top: their table says what is valid."""
    from wick.ops import settings

    given = []
    if args.speed is not None:
        given += ["--exchange-speed", args.speed]
    if args.venue is not None:
        given += ["--exchange-venue", args.venue]
    if args.port not in (None, "0"):
        given += ["--exchange-port", args.port]
    return settings.load(given)


def _captures(files: list[str]) -> list[Path]:
    """The files, once it is clear that all of them can be played. A damaged place inside does no harm."""
    from wick.storage import recordings

    faults = Faults("replay")
    found = recordings.find(files, faults.add)
    for recording in found:
        if recording.kind != "capture":
            faults.say(f"{recording.name}: a dump of {recording.kind} has no frames to serve; only captures have")
            faults.counts["not served"] += 1
    if faults.counts:
        raise WickError("nothing is served")
    return [recording.path for recording in found]


def _server(source: "Recordings", port: int, settings: "Settings", sent: Counter[Any]) -> "ExchangeServer":
    from wick.sim import wires
    from wick.sim.server import ExchangeServer

    class CountingServer(ExchangeServer):
        """The simulated exchange, which counts in `sent` what each client was sent."""

        def publish(self, target: Any, topic: "Topic", payload: bytes) -> None:
            sent[target] += 1
            super().publish(target, topic, payload)

    wire = wires.load(settings["exchange.venue"])
    return CountingServer(source, port, wire=wire, seed=settings["exchange.seed"])


def _state(server: "ExchangeServer", source: "Recordings", sent: Counter[Any]) -> str:
    """How far the clients are, the slowest of them first."""
    for gone in sent.keys() - server.connections:
        del sent[gone]
    if not server.connections:
        return f"{source.frames.total():,} frames, no client"
    parts = []
    for connection in server.connections:
        total = sum(source.frames[topic] for topic in connection.topics)
        parts.append((min(sent[connection] / total, 1.0) if total else 1.0, sent[connection], total))
    share, done, total = min(parts)
    return f"{len(parts)} clients, the slowest at {share:.0%} ({done:,} of {total:,} frames)"
