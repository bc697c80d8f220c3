"""Runs a simulated exchange for a test, with what no setting offers (short pings, small queues); port on stdout.

pytest is not patched and gevent needs a hub of its own, so the server lives in a process of its own.
"""

import json
import logging
import signal
import sys
from pathlib import Path

import gevent
from gevent.event import Event
from gevent.ssl import PROTOCOL_TLS_SERVER, SSLContext

from wick.sim import wires
from wick.sim.demo import Demo
from wick.sim.recordings import Recordings
from wick.sim.server import ExchangeServer


def main() -> None:
    asked = json.loads(sys.argv[1])
    logging.basicConfig(level="INFO", stream=sys.stderr)
    if "files" in asked:
        source = Recordings([Path(name) for name in asked["files"]], asked.get("speed"))
    else:
        source = Demo(**asked.get("demo", {}))
    tls = None
    if "certificate" in asked:
        tls = SSLContext(PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(asked["certificate"])
    wire = wires.load(asked.get("venue", "binance"))
    server = ExchangeServer(source, wire=wire, ssl_context=tls, **asked.get("options", {}))
    stop = Event()
    gevent.signal_handler(signal.SIGTERM, stop.set)
    server.start()
    print(server.port, flush=True)
    server.failed.rawlink(lambda _: stop.set())
    stop.wait()
    server.stop()


main()
