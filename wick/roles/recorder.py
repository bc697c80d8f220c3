"""The connections to one venue, written down as raw captures. Wiring only; `wick record` runs it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from wick import exchanges
from wick.errors import ParseError, SettingError, WickError
from wick.market.trades import Ack, DepthUpdate, Quote, Shutdown, Topic, Trade
from wick.net.clock import now_ns
from wick.net.dial import client_context
from wick.net.fetch import get
from wick.net.limits import Bucket
from wick.ops.settings import Settings
from wick.roles.connection import Connection, Connections, Hooks, Patience
from wick.storage.capture import Capture

FLUSH_EVERY_S = 0.25
REST_LINE = 0  # the number of the file for REST's answers; connections count from 1

log = logging.getLogger("wick")


class Recorder:
    """The connections to one venue, written down."""

    def __init__(self, venue_id: str, settings: Settings, directory: Path) -> None:
        self.venue = exchanges.load(venue_id)
        self.channels = [one for one in settings["feed.channels"] if one in self.venue.channels]
        if "quote" in settings["feed.channels"] and "quote" not in self.venue.channels and "depth" not in self.channels:
            self.channels.append("depth")
        self.levels: int = settings["feed.book_levels"]
        self.rest_url: str = (settings["feed.rest_url"] or self.venue.rest_url).rstrip("/")
        self.context = client_context(settings["feed.ca_file"])
        self.ended = Event()
        self.failed: BaseException | None = None
        self.counters: dict[str, int] = {}
        self.capture = Capture(directory, venue_id, now_ns())
        self.rest = Bucket(*self.venue.limits.rest)
        self.connections = Connections(
            self.venue,
            (settings["feed.ws_url"] or self.venue.ws_url).rstrip("/") + self.venue.ws_path,
            Hooks(take=self._take, opened=self._opened, count=self._count, spawn=self._spawn),
            Patience(silence_s=settings["feed.silence_s"], backoff_s=settings["feed.backoff_s"]),
            self.context,
        )
        self._symbols: list[str] = []
        self._greenlets: list[Any] = []

    def choose(self, names: Sequence[str]) -> list[str]:
        """The symbols that are meant. WickError for one that the venue does not list."""
        listed = [one.symbol for one in self.venue.parse_symbols(self._get(self.venue.symbols_path))]
        if "*" in names:
            return listed
        try:
            symbols = list(dict.fromkeys(self.venue.symbol(name.upper()) for name in names))
        except ParseError as error:
            raise SettingError(f"SYMBOL is wrong: {error}") from None
        if unknown := [symbol for symbol in symbols if symbol not in listed]:
            raise WickError(f"{self.venue.id} does not list {', '.join(unknown)}")
        return symbols

    def start(self, symbols: list[str]) -> None:
        self._symbols = symbols
        self.connections.add([Topic(symbol, channel) for symbol in symbols for channel in self.channels])
        self._spawn(self._flush_forever)

    def close(self) -> None:
        self.connections.close()
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        self.capture.close()

    def state(self) -> str:
        capture, gauges = self.capture, self.connections.gauges()
        lost = f", {capture.lost:,} lost" if capture.lost else ""
        return (
            f"{capture.messages:,} messages, {capture.written_bytes / 1e6:,.1f} MB{lost}, "
            f"{gauges['open']} of {gauges['wanted']} connections"
        )

    # ------------------------------------------------------------------ hooks

    def _take(self, connection: Connection, messages: list[bytes], recv_ns: int) -> tuple[bool, list[Any]]:
        self.capture.write(connection.line + 1, recv_ns, messages)
        events = self.venue.take(messages)
        is_data = any(isinstance(event, Trade | Quote | DepthUpdate) for event in events)
        return is_data, [event for event in events if isinstance(event, Ack | Shutdown)]

    def _opened(self, number: int) -> None:
        if self.venue.depth_from_rest and "depth" in self.channels:
            self._spawn(self._snapshots)

    def _snapshots(self) -> None:
        """A book's beginning, for each symbol whose stream flows."""
        waiting = list(self._symbols)
        while waiting:
            ready = [symbol for symbol in waiting if self.connections.carries(Topic(symbol, "depth"))]
            waiting = [symbol for symbol in waiting if symbol not in ready]
            for symbol in ready:
                try:
                    body = self._get(self.venue.snapshot_path(symbol, self.levels), self.venue.snapshot_weight)
                except WickError as error:
                    self._count("snapshots_failed")
                    log.warning("no snapshot of %s: %s", symbol, error)
                else:
                    self.capture.write(REST_LINE, now_ns(), [body])
            gevent.sleep(0.1)

    def _flush_forever(self) -> None:
        while True:
            gevent.sleep(FLUSH_EVERY_S)
            self.capture.flush(now_ns())

    def _get(self, path: str, weight: int = 1) -> bytes:
        self.rest.wait(weight)
        return get(self.rest_url + path, self.context)

    def _count(self, name: str, amount: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + amount

    def _spawn(self, function: Any, *args: Any) -> Any:
        greenlet = gevent.spawn(function, *args)
        greenlet.link_exception(self._broke)
        self._greenlets = [*(one for one in self._greenlets if not one.dead), greenlet]
        return greenlet

    def _broke(self, greenlet: Any) -> None:
        self.failed = greenlet.exception
        self.ended.set()
