"""The feed: one venue's WebSocket to packed ticks, logged, then pushed to the workers: a flush is a message a worker.

A trade is never dropped silently. When a worker's queue is full the feed stops reading (TCP holds the venue back);
when that takes too long it goes on without that worker, which will find the batches in the tick log.
"""

import gc
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
import zmq
from gevent.event import Event

from wick import exchanges
from wick.errors import ParseError
from wick.exchanges import Refused
from wick.market.trades import Ack, DepthUpdate, Shutdown
from wick.net import bus
from wick.net.clock import now_ns
from wick.net.fetch import FetchError, get
from wick.net.reader import give_way
from wick.net.ws_client import Disconnected, WebSocketClient
from wick.ops.settings import Settings
from wick.roles.base import Role, run_role
from wick.storage.ticklog import TickLog
from wick.stream.shards import shard_of
from wick.stream.ticks import Portion, Ticks
from wick.wire.messages import TickHeader, depth_frames, ticks_topic

MS = 1_000_000
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.5, 30.0  # full jitter: the wait is random in [0, min(most, first * 2^n))
REQUESTS_A_SECOND = 4  # Binance cuts a connection that sends more than 5
BUFFER_BYTES = 32 * 1024 * 1024  # unsent ticks at which the feed stops reading
LOGGED_A_SECOND = 5  # parse errors that are named in the log; all are counted
LISTED_TRIES = 3
GARBAGE_OBJECTS = 100_000  # that outlive their making, before the collector looks at them

log = logging.getLogger("wick")


class Feed(Role):
    """One venue (`feed.venue`)."""

    name = "feed"
    main_counter = "trades"
    pub_kind = zmq.XPUB  # the mirror is for taps, and works while there is one

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        self.venue = exchanges.load(settings["feed.venue"])
        self.ws_url = (settings["feed.ws_url"] or self.venue.ws_url).rstrip("/") + self.venue.ws_path
        self.rest_url = (settings["feed.rest_url"] or self.venue.rest_url).rstrip("/")
        self.ticks = Ticks(self.venue.id, ())
        self.epoch = now_ns()
        self.flushed_ns = 0
        self.listeners = bus.Listeners(self.pub)
        self.ticks_tapped = self.depth_tapped = False
        self.room = Event()
        self.connected = False
        workers: int = settings["aggregator.workers"]
        self.pushes = [bus.push(self.data_dir, worker, settings["feed.push_hwm"]) for worker in range(workers)]
        self.stalled: set[int] = set()
        self.log_file: TickLog | None = None
        if settings["ticklog.enabled"]:
            self.log_file = TickLog(
                Path(self.data_dir) / "ticklog",
                settings["ticklog.segment_mb"] * 1_000_000,
                settings["ticklog.budget_mb"] * 1_000_000,
            )
        self._logged = (0, 0)  # (second, parse errors named in it)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        # What a read leaves behind has no cycles: to look for some every 700 objects costs a tenth of the throughput.
        gc.freeze()
        gc.set_threshold(GARBAGE_OBJECTS)
        self.spawn(self._listen_forever)
        self.spawn(self._flush_forever)

    def drain(self) -> None:
        self.connected = False
        self._flush()
        if self.log_file is not None:
            self.log_file.close()
        for socket in self.pushes:
            socket.close()

    def gauges(self) -> dict[str, Any]:
        failed = self.log_file.failed if self.log_file is not None else 0
        return {
            "symbols": len(self.ticks),
            "buffered_bytes": self.ticks.unsent_bytes,
            "stalled_workers": len(self.stalled),
            "ticklog_failed": failed,
        }

    # ------------------------------------------------------------------ in

    def _choose_symbols(self) -> list[str]:
        """The configured symbols that the venue lists; `*` is all of them. Keeps asking where it has to know."""
        wanted = self.settings["feed.symbols"]
        tries = 0
        listed: list[str] | None = None
        while listed is None and ("*" in wanted or tries < LISTED_TRIES):
            tries += 1
            try:
                listed = self.venue.parse_symbols(get(self.rest_url + self.venue.symbols_path))
            except (FetchError, ParseError) as error:
                log.warning("cannot ask which symbols trade: %s", error)
                gevent.sleep(_backoff_s(tries))
        if "*" in wanted and listed is not None:
            names = listed
        else:
            names = [self.venue.native(name) for name in wanted]
            known = set(listed if listed is not None else names)
            for name in sorted(set(names) - known):
                self.stats.add("unknown_symbols")
                log.error("feed.symbols = %r: %s does not list it, it is left out", name, self.venue.id)
            names = [name for name in names if name in known]
        most = self.venue.max_streams // len(self.settings["feed.channels"])
        if len(names) > most:
            log.error("%d symbols are more than one connection carries: the first %d are read", len(names), most)
            self.stats.add("symbols_over_limit", len(names) - most)
            names = names[:most]
        return list(dict.fromkeys(self.venue.symbol(name) for name in names))

    def _listen_forever(self) -> None:
        self.stats.state = "connecting"
        symbols = self._choose_symbols()
        if not symbols:
            log.critical("there is no symbol to read: set feed.symbols to symbols that %s lists", self.venue.id)
            self.stop(2)
            return
        self.ticks = Ticks(self.venue.id, symbols)
        failures = 0
        while True:
            try:
                self.stats.state = "connecting"
                client = WebSocketClient(self.ws_url)
            except Disconnected as error:
                log.warning("cannot connect: %s", error)
            else:
                log.info("connected url=%s symbols=%d", self.ws_url, len(symbols))
                self.stats.add("connections")
                try:
                    failures = self._listen(client, symbols, failures)
                except Disconnected as error:
                    log.warning("disconnected: %s", error)
                finally:
                    client.close()
                    self.connected = False
                    self.ticks.outage()
            failures += 1
            wait_s = _backoff_s(failures)
            log.info("connecting again in %.2f s", wait_s)
            gevent.sleep(wait_s)

    def _listen(self, client: WebSocketClient, symbols: list[str], failures: int) -> int:
        """Read one connection until it ends; -1 where data came (the next backoff starts anew), else `failures`."""
        asking = self.spawn(self._subscribe, client, symbols)
        silence_s = self.settings["feed.silence_s"]
        batch_ns = self.settings["feed.batch_ms"] * MS
        before = 0  # messages of this connection
        try:
            while True:
                try:
                    messages = client.receive(silence_s)
                except Disconnected as error:
                    log.warning("disconnected: %s", error)
                    return -1 if self.connected else failures
                recv_ns = now_ns()
                if self._take(messages, recv_ns, before):
                    return -1
                before += len(messages)
                while self.ticks.unsent_bytes > BUFFER_BYTES:
                    self.stats.add("held_back")
                    self.room.clear()
                    self.room.wait(1.0)
                if recv_ns - self.flushed_ns > batch_ns:
                    give_way()  # in a flood the socket is never empty
        finally:
            asking.kill()

    def _subscribe(self, client: WebSocketClient, symbols: list[str]) -> None:
        for request in self.venue.subscribe(symbols, self.settings["feed.channels"]):
            try:
                client.send(request)
            except Disconnected:
                return  # the reader sees it too
            gevent.sleep(1 / REQUESTS_A_SECOND)

    def _take(self, messages: list[bytes], recv_ns: int, before: int) -> bool:
        """Take what has arrived, after `before` messages; true where the venue asks us to connect again."""
        ticks = self.ticks
        trades, quotes, depths, over = ticks.trades, ticks.quotes, 0, False
        for other in ticks.take(self.venue.take(messages), recv_ns):
            if isinstance(other, Refused):
                self._refuse(other.error, f"frame {before + other.place + 1} of this connection")
            elif isinstance(other, ParseError):
                self._refuse(other, "an event")
            elif isinstance(other, DepthUpdate):
                depths += 1
                if self.depth_tapped:
                    self.pub.send_multipart(depth_frames(self.venue.id, shard_of(self.venue.id, other.symbol), other))
            elif isinstance(other, Ack):
                if other.error is not None:
                    self.stats.add("refused_requests")
                    log.error("%s refused request %s: %s", self.venue.id, other.request_id, other.error)
            elif isinstance(other, Shutdown):
                log.warning("%s is about to close the connection", self.venue.id)
                over = True
        trades, quotes = ticks.trades - trades, ticks.quotes - quotes
        for name, count in (
            ("messages", len(messages)), ("trades", trades), ("quotes", quotes), ("depth_updates", depths)
        ):  # fmt: skip
            if count:
                self.stats.add(name, count)
        if trades or quotes or depths:
            self.stats.newest_ns = recv_ns
            if not self.connected:
                self.connected = True
                self.stats.state = "running"
        return over

    def _refuse(self, error: ParseError, what: str) -> None:
        self.stats.add("refused")
        self.stats.add("refused: " + error.reason)
        second = now_ns() // 10**9
        count = self._logged[1] + 1 if self._logged[0] == second else 1
        self._logged = (second, count)
        if count <= LOGGED_A_SECOND:
            log.warning("%s is left out: %s", what, error)

    # ------------------------------------------------------------------ out

    def _flush_forever(self) -> None:
        every_s = self.settings["feed.batch_ms"] / 1000
        while True:
            gevent.sleep(every_s)
            self._flush()

    def _flush(self) -> None:
        """One message for each worker that has ticks, or has not heard the clock for `feed.clock_ms`."""
        if self.listeners.update():
            self.ticks_tapped, self.depth_tapped = self.listeners.to(b"ticks."), self.listeners.to(b"depth.")
        self.flushed_ns = now = now_ns()
        # While nobody listens, the venue's time is not known to have brought nothing.
        clock_ns = self.ticks.clock.at(now) if self.connected else 0
        clock_due_ns = now - self.settings["feed.clock_ms"] * MS if clock_ns else 0
        portions = self.ticks.portions(len(self.pushes), now, clock_due_ns)
        if not portions:
            return
        header = TickHeader(self.epoch, self.venue.id, now, clock_ns, [])
        if self.log_file is not None:
            whole = header._replace(parts=[part for portion in portions for part in portion.parts])
            self.log_file.append(whole.pack(), [portion.records for portion in portions], now)
        for portion in portions:
            self._send(header._replace(parts=portion.parts), portion)
        self.stats.add("batches", len(portions))
        self.room.set()

    def _send(self, header: TickHeader, portion: Portion) -> None:
        if self.ticks_tapped:
            for part, records in header.pieces(portion.records):
                alone = header._replace(parts=[part])
                self.pub.send_multipart([ticks_topic(header.venue, part[0]), alone.pack(), bytes(records)])
        self._push(portion.worker, [header.pack(), portion.records])

    def _push(self, worker: int, frames: list[bytes]) -> None:
        socket = self.pushes[worker]
        deadline = 0
        while not bus.try_send(socket, frames):
            now = now_ns()
            deadline = deadline or now + self.settings["feed.push_wait_ms"] * MS
            if worker in self.stalled or now >= deadline:
                if worker not in self.stalled:
                    log.error("worker %d does not read: going on, it will find the batches in the log", worker)
                self.stalled.add(worker)
                self.stats.add("push_dropped")
                return
            gevent.sleep(0.002)
        self.stalled.discard(worker)


def _backoff_s(failures: int) -> float:
    return random.uniform(0, min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(failures, 10)))


def main(argv: Sequence[str]) -> int:
    return run_role(Feed, argv)
