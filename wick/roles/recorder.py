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
from wick.net.fetch import FetchError
from wick.ops.settings import Settings
from wick.roles.connection import Connection, Connections, Hooks, Patience
from wick.roles.rest import Rest
from wick.storage.capture import Capture

FLUSH_EVERY_S = 0.25
AFTER_FAILURE_S = 1.0
NO_SUCH = 400  # HTTP: another try would not help
LIST_WEIGHT = 20  # Binance's; where requests count, one more or less does not matter
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
        self.context = client_context(settings["feed.ca_file"])
        self.ended = Event()
        self.failed: BaseException | None = None
        self.counters: dict[str, int] = {}
        self.capture = Capture(directory, venue_id, now_ns())
        self.rest = Rest(self.venue, settings["feed.rest_url"] or self.venue.rest_url, self.context, self._count)
        self.connections = Connections(
            self.venue,
            (settings["feed.ws_url"] or self.venue.ws_url).rstrip("/") + self.venue.ws_path,
            Hooks(take=self._take, closed=self._closed, count=self._count, spawn=self._spawn),
            Patience(silence_s=settings["feed.silence_s"], backoff_s=settings["feed.backoff_s"]),
            self.context,
        )
        self._waiting: dict[str, None] = {}  # whose book has to begin, now or again
        self._greenlets: list[Any] = []

    def choose(self, names: Sequence[str]) -> list[str]:
        """The symbols that are meant. WickError for one that the venue does not list."""
        listed = [one.symbol for one in self.venue.parse_symbols(self.rest.get(self.venue.symbols_path, LIST_WEIGHT))]
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
        self.connections.add([Topic(symbol, channel) for symbol in symbols for channel in self.channels])
        self._spawn(self._flush_forever)
        if self.venue.depth_from_rest and "depth" in self.channels:
            self._waiting.update(dict.fromkeys(symbols))
            self._spawn(self._snapshots)

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

    def _closed(self, number: int, topics: tuple[Topic, ...]) -> None:
        if self.venue.depth_from_rest:
            self._waiting.update({topic.symbol: None for topic in topics if topic.channel == "depth"})

    def _snapshots(self) -> None:
        """A book's beginning, for each symbol whose stream flows; forever, as a stream that was cut begins anew."""
        weight = self.venue.snapshot_weight(self.levels)
        while True:
            for symbol in [one for one in self._waiting if self.connections.carries(Topic(one, "depth"))]:
                del self._waiting[symbol]
                try:
                    body = self.rest.get(self.venue.snapshot_path(symbol, self.levels), weight)
                except FetchError as error:
                    self._count("snapshots_failed")
                    log.warning("no snapshot of %s: %s", symbol, error)
                    if error.status != NO_SUCH:
                        self._waiting[symbol] = None
                    gevent.sleep(AFTER_FAILURE_S)
                else:
                    self.capture.write(REST_LINE, now_ns(), [body])
            gevent.sleep(0.1)

    def _flush_forever(self) -> None:
        while True:
            gevent.sleep(FLUSH_EVERY_S)
            self.capture.flush(now_ns())

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
