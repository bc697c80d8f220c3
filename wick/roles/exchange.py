"""The exchange role: a venue simulated on loopback, from the demo market or from recordings. Wiring only."""

import errno
import gc
import logging
import signal
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.ssl import PROTOCOL_TLS_SERVER, SSLContext

from wick.errors import SettingError
from wick.ops.logs import setup
from wick.ops.settings import Settings, exit_wrong, role_settings
from wick.sim import wires
from wick.sim.demo import Demo
from wick.sim.recordings import Recordings
from wick.sim.server import ExchangeServer, Source
from wick.storage.recordings import files_of

log = logging.getLogger("wick.exchange")


def main(argv: list[str]) -> int:
    """Run until SIGTERM or SIGINT. 0: drained, 1: failed, 2: wrong settings, 3: the port is taken."""
    settings, index = role_settings("exchange", argv)
    setup(f"exchange-{index}", settings["core.log_level"])
    try:
        saved = Path(settings["core.data_dir"]) / f"exchange-{settings['exchange.venue']}.json"
        source, tls = _source(settings, saved), _tls(settings)
    except SettingError as error:
        exit_wrong("exchange", error)
    wire = wires.load(settings["exchange.venue"])
    server = ExchangeServer(
        source, settings["exchange.port"], wire=wire, seed=settings["exchange.seed"], ssl_context=tls
    )
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    try:
        server.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        log.error("port %d is in use: stop what holds it, or choose another with --exchange-port", server.port)
        return 3
    gc.collect()
    gc.freeze()  # the symbols live as long as the process: nothing to look through again and again
    scheme, symbols = "wss" if tls else "ws", len(source.view.symbols())
    log.info("listening url=%s://%s:%d symbols=%d venue=%s", scheme, server.host, server.port, symbols, wire.id)
    saved.unlink(missing_ok=True)  # whoever comes after one that was killed is not to give ids out again
    server.failed.rawlink(lambda _: stop.set())
    stop.wait()
    failed = server.failed.ready()
    server.stop()
    if isinstance(source, Demo):
        try:
            saved.write_bytes(source.save())
        except OSError as error:
            log.warning("the next one begins anew, this market is not saved: %s", error)
    log.info("stopped %s", " ".join(f"{name}={count}" for name, count in sorted(server.counters.items())))
    return 1 if failed else 0


def _source(settings: Settings, saved: Path) -> Source:
    files = settings["exchange.files"]
    if files:
        speed = settings["exchange.speed"]
        return Recordings(files_of(files), None if speed == "max" else float(speed))
    market = settings["exchange.seed"], settings["exchange.symbols"], settings["exchange.rate"]
    try:
        return Demo(*market, saved=saved.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("the market begins anew: %s cannot be read: %s", saved, error)
    return Demo(*market)


def _tls(settings: Settings) -> Any:
    """The context of exchange.certificate; None without one."""
    file = settings["exchange.certificate"]
    if not file:
        return None
    context = SSLContext(PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(file)
    except OSError as error:  # SSLError is one
        valid = "valid is a PEM file with a certificate and its key"
        raise SettingError(f"exchange.certificate = {file!r} cannot be used: {error}; {valid}") from error
    return context


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
