"""The feed: one venue's WebSocket to batches of packed ticks, logged, then pushed to the workers.

A trade is never dropped silently. When a worker's queue is full the feed stops reading (TCP holds the venue back);
when that takes too long it goes on without that worker, which will find the batches in the tick log.
"""

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from wick import exchanges
from wick.errors import ParseError
from wick.market.clock import VenueClock
from wick.market.trades import Ack, DepthUpdate, Quote, Shutdown, Trade
from wick.net import bus
from wick.net.clock import now_ns
from wick.net.fetch import FetchError, get
from wick.net.ws_client import Disconnected, WebSocketClient
from wick.ops.settings import Settings
from wick.roles.base import Role, run_role
from wick.storage.ticklog import TickLog
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.wire.messages import TickHeader, depth_frames, pack_quote, pack_trade

MS = 1_000_000
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.5, 30.0  # full jitter: the wait is random in [0, min(most, first * 2^n))
REQUESTS_A_SECOND = 4  # Binance cuts a connection that sends more than 5
BUFFER_BYTES = 32 * 1024 * 1024  # unsent ticks at which the feed stops reading
LOGGED_A_SECOND = 5  # parse errors that are named in the log; all are counted
LISTED_TRIES = 3

log = logging.getLogger("wick")


class Feed(Role):
    """One venue (`feed.venue`)."""

    name = "feed"
    main_counter = "trades"

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        self.venue = exchanges.load(settings["feed.venue"])
        self.ws_url = (settings["feed.ws_url"] or self.venue.ws_url).rstrip("/") + self.venue.ws_path
        self.rest_url = (settings["feed.rest_url"] or self.venue.rest_url).rstrip("/")
        self.symbols: dict[str, int] = {}  # symbol -> shard
        self.clock = VenueClock()
        self.epoch = now_ns()
        self.sequences = [0] * SHARDS
        self.sent_ns = [0] * SHARDS
        self.outages = set(range(SHARDS))  # shards whose next batch says that we did not listen before it
        self.trades: list[dict[str, list[bytes]]] = [{} for _ in range(SHARDS)]
        self.quotes: list[dict[str, bytes]] = [{} for _ in range(SHARDS)]
        self.buffered = 0
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
            "symbols": len(self.symbols),
            "buffered_bytes": self.buffered,
            "stalled_workers": len(self.stalled),
            "ticklog_failed": failed,
        }

    # ------------------------------------------------------------------ in

    def _choose_symbols(self) -> None:
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
        self.symbols = {self.venue.symbol(name): 0 for name in names}
        self.symbols = {symbol: shard_of(self.venue.id, symbol) for symbol in self.symbols}

    def _listen_forever(self) -> None:
        self.stats.state = "connecting"
        self._choose_symbols()
        if not self.symbols:
            log.critical("there is no symbol to read: set feed.symbols to symbols that %s lists", self.venue.id)
            self.stop(2)
            return
        failures = 0
        while True:
            try:
                self.stats.state = "connecting"
                client = WebSocketClient(self.ws_url)
            except Disconnected as error:
                log.warning("cannot connect: %s", error)
            else:
                log.info("connected url=%s symbols=%d", self.ws_url, len(self.symbols))
                self.stats.add("connections")
                try:
                    failures = self._listen(client, failures)
                except Disconnected as error:
                    log.warning("disconnected: %s", error)
                finally:
                    client.close()
                    self.connected = False
                    self.outages = set(range(SHARDS))
            failures += 1
            wait_s = _backoff_s(failures)
            log.info("connecting again in %.2f s", wait_s)
            gevent.sleep(wait_s)

    def _listen(self, client: WebSocketClient, failures: int) -> int:
        """Read one connection until it ends; -1 where data came (the next backoff starts anew), else `failures`."""
        asking = self.spawn(self._subscribe, client)
        silence_s = self.settings["feed.silence_s"]
        frame = 0
        try:
            while True:
                try:
                    messages = client.receive(silence_s)
                except Disconnected as error:
                    log.warning("disconnected: %s", error)
                    return -1 if self.connected else failures
                recv_ns = now_ns()
                for raw in messages:
                    frame += 1
                    if self._message(raw, recv_ns, frame):
                        return -1
                while self.buffered > BUFFER_BYTES:
                    self.stats.add("held_back")
                    self.room.clear()
                    self.room.wait(1.0)
        finally:
            asking.kill()

    def _subscribe(self, client: WebSocketClient) -> None:
        for request in self.venue.subscribe(self.symbols, self.settings["feed.channels"]):
            try:
                client.send(request)
            except Disconnected:
                return  # the reader sees it too
            gevent.sleep(1 / REQUESTS_A_SECOND)

    def _message(self, raw: bytes, recv_ns: int, frame: int) -> bool:
        """Take one message; true where the venue asks us to connect again."""
        self.stats.add("messages")
        try:
            events = self.venue.parse(raw)
        except ParseError as error:
            self._refuse(error, frame)
            return False
        for event in events:
            if isinstance(event, Trade):
                shard = self.symbols.get(event.symbol)
                if shard is None:
                    self._refuse(ParseError("unknown symbol", "s", event.symbol), frame)
                elif not self.clock.observe(event.event_ns, recv_ns):
                    self._refuse(ParseError("absurd time", "T", event.event_ns), frame)
                else:
                    record = pack_trade(event, recv_ns)
                    self.trades[shard].setdefault(event.symbol, []).append(record)
                    self.buffered += len(record)
                    self.stats.add("trades")
                    self._heard(recv_ns)
            elif isinstance(event, Quote):
                shard = self.symbols.get(event.symbol)
                if shard is None:
                    self._refuse(ParseError("unknown symbol", "s", event.symbol), frame)
                else:
                    self.quotes[shard][event.symbol] = pack_quote(event, recv_ns)
                    self.stats.add("quotes")
                    self._heard(recv_ns)
            elif isinstance(event, DepthUpdate):
                self.pub.send_multipart(depth_frames(self.venue.id, shard_of(self.venue.id, event.symbol), event))
                self.stats.add("depth_updates")
                self._heard(recv_ns)
            elif isinstance(event, Ack):
                if event.error is not None:
                    self.stats.add("refused_requests")
                    log.error("%s refused request %s: %s", self.venue.id, event.request_id, event.error)
            elif isinstance(event, Shutdown):
                log.warning("%s is about to close the connection", self.venue.id)
                return True
        return False

    def _heard(self, recv_ns: int) -> None:
        self.stats.newest_ns = recv_ns
        if not self.connected:
            self.connected = True
            self.stats.state = "running"

    def _refuse(self, error: ParseError, frame: int) -> None:
        self.stats.add("refused")
        self.stats.add("refused: " + error.reason)
        second = now_ns() // 10**9
        count = self._logged[1] + 1 if self._logged[0] == second else 1
        self._logged = (second, count)
        if count <= LOGGED_A_SECOND:
            log.warning("frame %d of this connection is left out: %s", frame, error)

    # ------------------------------------------------------------------ out

    def _flush_forever(self) -> None:
        every_s = self.settings["feed.batch_ms"] / 1000
        while True:
            gevent.sleep(every_s)
            self._flush()

    def _flush(self) -> None:
        """One batch for each shard that has ticks, or that has not heard the clock for `feed.clock_ms`."""
        now = now_ns()
        # While nobody listens, the venue's time is not known to have brought nothing.
        clock_ns = self.clock.at(now) if self.connected else 0
        clock_due = now - self.settings["feed.clock_ms"] * MS
        batches: list[tuple[int, bytes, bytes]] = []
        topics: list[bytes] = []
        for shard in range(SHARDS):
            trades, quotes = self.trades[shard], self.quotes[shard]
            if not trades and not quotes and not (clock_ns and self.sent_ns[shard] <= clock_due):
                continue
            for symbol, quote in quotes.items():
                trades.setdefault(symbol, []).append(quote)
            self.sequences[shard] += 1
            self.sent_ns[shard] = now
            header = TickHeader(
                self.epoch, self.venue.id, shard, self.sequences[shard], now, clock_ns, shard in self.outages,
                [[symbol, len(records)] for symbol, records in trades.items()],
            )  # fmt: skip
            batches.append((shard, header.pack(), b"".join([r for records in trades.values() for r in records])))
            topics.append(header.topic)
            self.outages.discard(shard)
            self.trades[shard], self.quotes[shard] = {}, {}
        if not batches:
            return
        self.buffered = 0
        if self.log_file is not None:
            self.log_file.append(batches, now)
        for topic, (shard, header_bytes, records) in zip(topics, batches, strict=True):
            self.pub.send_multipart([topic, header_bytes, records])
            self._push(worker_of(shard, len(self.pushes)), [header_bytes, records])
        self.stats.add("batches", len(batches))
        self.room.set()

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
