"""The front: mirrors every shard, answers HTTP, and tells WebSocket clients what changes.

Several front processes can share the port; each holds the whole state. A hole in a shard's streams, and a worker that
started anew, are mended by one snapshot from the worker, and then by one for every client concerned.
"""

import gc
import logging
from collections.abc import Sequence
from typing import Any

import gevent

from wick import exchanges
from wick.api.access import Access
from wick.api.history import History
from wick.api.service import Api, Health, Sources, State
from wick.errors import WireError
from wick.market.intervals import INTERVALS
from wick.market.schema import Row
from wick.net import bus
from wick.net.clock import now_ms, now_ns, steady_ns
from wick.net.flusher import Flusher
from wick.net.reader import Reader
from wick.net.ws_server import Server, listen
from wick.ops.process import allow_open_files, give_memory_back
from wick.ops.settings import Settings
from wick.roles.base import Role, run_role
from wick.roles.relay import Relay
from wick.roles.session import Session, Sessions
from wick.storage.store import path_of
from wick.stream.fanout import Fanout
from wick.stream.following import ShardFollower
from wick.stream.mirror import live_row
from wick.stream.relays import Relays
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.wire.http import Reply
from wick.wire.http import Request as HttpRequest
from wick.wire.messages import Closes, Diffs, Request, Snapshot, Watch
from wick.wire.session import Kind

MS = 1_000_000
ASK_AGAIN_NS = 1_000 * MS
OWN_FILES = 5_000  # descriptors beside those of clients: visits of HTTP, the bus, the store

log = logging.getLogger("wick")


class Front(Role):
    """Front `index`; `front.port` is shared by all of them."""

    name = "front"
    main_counter = "messages"

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        workers: int = settings["aggregator.workers"]
        topics = [b"diffs.", b"closes.", b"live."]
        self.sub = bus.subscriber(self.data_dir, [f"aggregator-{i}" for i in range(workers)], topics)
        self.dealers = [bus.dealer(self.data_dir, worker) for worker in range(workers)]
        self.readers = [Reader(dealer, self._restart) for dealer in self.dealers]
        self.followers = [ShardFollower() for _ in range(SHARDS)]
        self.asked_ns = [0] * SHARDS
        self.access = Access(settings)
        venues = exchanges.ids()
        self.sessions = Sessions(
            settings, f"{self.process}-{self.stats.started_ns}", self.access, venues, self.stats, self._respond
        )
        self.server = Server(
            listen(settings["front.host"], settings["front.port"]),
            self.sessions,
            client_type=Session,
            max_message_bytes=settings["front.max_message_kb"] * 1024,
            deflate=settings["front.deflate"],
            stall_s=settings["front.client_stall_s"],
        )
        self.relays = Relays(self.stats.started_ns)
        self.fanout = Fanout(
            self.server,
            SHARDS,
            shard_of,
            max_topics=settings["front.max_subscriptions"],
            kinds=self.relays.kinds,
            admit=self.sessions.admit,
        )
        self.relay = Relay(self.relays, self.fanout.put, self.data_dir, self.stats.add)
        self.sessions.attach(self.server, self.fanout)
        self.flusher = Flusher(self.fanout, settings["front.flush_ms"], self._beat)
        store = path_of(settings)
        self.history = History(store, self.fanout.recent, self._live, lambda: self.stats.add("failed_reads"))
        sources = Sources(
            self.fanout.pairs, self._state, self._live, self.history.read, self.health, self._stats, now_ms
        )
        self.api = Api(sources, settings["front.ready_s"])

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        self.stats.state = "waiting"
        self._allow_clients()
        # A full collection would look at every client: 15,000 take 50 ms. What ends leaves no cycles but young ones.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 1_000_000)
        give_memory_back()
        self.spawn(Reader(self.sub, self._receive).run)
        for reader in self.readers:
            self.spawn(reader.run)
        self.spawn(self._ask_forever)
        self.spawn(self._watch_forever)
        self.spawn(self.relay.run)
        self.spawn(self.relay.listen)
        self.spawn(self.flusher.run)
        for greenlet in self.server.start():
            greenlet.link_exception(self._failed)
        log.info("listening on %s:%d", self.settings["front.host"], self.settings["front.port"])

    def _allow_clients(self) -> None:
        """Each holds a descriptor. With fewer than are wanted the front runs too: it accepts no more then."""
        wanted = self.settings["front.max_clients"] + OWN_FILES
        allowed = allow_open_files(wanted)
        if allowed < wanted:
            log.warning(
                "front.max_clients = %d needs %d open files, the system allows %d: raise its hard limit (ulimit -Hn)",
                wanted - OWN_FILES, wanted, allowed,
            )  # fmt: skip

    def drain(self) -> None:
        self.server.stop_accepting()
        self.sessions.goodbye()
        self.server.shutdown()
        self.relay.close()

    def gauges(self) -> dict[str, Any]:
        return {
            **self.server.gauges(),
            **self.fanout.gauges(),
            **self.flusher.gauges(),
            **self.access.counts(),
            "pairs": len(self.fanout.pairs()),
            "trade_restarts": self.relays.restarts,
            "resyncs": sum(follower.resyncs for follower in self.followers),
        }

    # ------------------------------------------------------------------ what is known

    def health(self) -> Health:
        waiting = sum(follower.wanted for follower in self.followers)
        return Health(self.stats.state, self._age_ms(), len(self.fanout.pairs()), waiting)

    def _age_ms(self) -> int | None:
        return max(0, now_ns() - self.stats.newest_ns) // MS if self.stats.newest_ns else None

    def _beat(self) -> list[Any]:
        return [Kind.HEARTBEAT, now_ms(), self._age_ms()]

    def _state(self, venue: str, symbol: str) -> State | None:
        mirror = self.fanout.mirrors[shard_of(venue, symbol)]
        groups = mirror.state(venue, symbol)
        return None if groups is None else State(mirror.epoch, mirror.seq, groups[0])

    def _live(self, venue: str, symbol: str, interval: int) -> Row | None:
        groups = self.fanout.state(venue, symbol)
        if groups is None or not groups[interval + 1][0]:
            return None
        return live_row(groups[0], groups[interval + 1], INTERVALS[interval].close_ms(groups[interval + 1][0]))

    def _stats(self) -> list[dict[str, Any]]:
        return list(self.relays.processes.values())

    def _respond(self, request: HttpRequest) -> Reply:
        return self.access.shared(self.api.respond(request), request)

    # ------------------------------------------------------------------ from the workers

    def _receive(self, frames: list[bytes]) -> None:
        try:
            stream, _, shard_text = frames[0].partition(b".")
            if stream == b"live":
                self.fanout.live(Closes.unpack(frames[1]))
                return
            shard = int(shard_text)
            message: Diffs | Closes = (Diffs if stream == b"diffs" else Closes).unpack(frames[1])
            follower = self.followers[shard]
        except (WireError, ValueError, LookupError) as error:
            self.stats.add("bad_messages")
            log.error("a message is not what it should be, it is left out: %s", error)
            return
        self.stats.add("messages")
        self.stats.state = "running"
        if follower.offer(message):
            self.stats.newest_ns = now_ns()  # of what clients are told: what cannot be followed is not new to them
            self._apply(shard, message)
        elif follower.wanted:
            self._ask(shard)

    def _apply(self, shard: int, message: Diffs | Closes) -> None:
        try:
            if isinstance(message, Diffs):
                self.fanout.diffs(shard, message)
            else:
                self.fanout.closes(shard, message)
        except WireError as error:
            log.error("shard %d cannot be followed, asking for a snapshot: %s", shard, error)
            self._ask(shard)

    def _ask(self, shard: int) -> None:
        """Ask for a snapshot, once until it comes or is overdue."""
        self.followers[shard].ask()
        now = steady_ns()
        if not self.asked_ns[shard] or now - self.asked_ns[shard] >= ASK_AGAIN_NS:
            self.asked_ns[shard] = now
            worker = worker_of(shard, len(self.dealers))
            bus.try_send(self.dealers[worker], [Request("snapshot", shard, 0, 0).pack()])
            self.readers[worker].kick()

    def _ask_forever(self) -> None:
        while True:
            for shard, follower in enumerate(self.followers):
                if follower.wanted:
                    self._ask(shard)
            gevent.sleep(0.25)

    def _watch_forever(self) -> None:
        """Tell the workers, every second, whose live metrics are wanted here; they forget it soon."""
        told: set[int] = set()
        while True:
            streams: dict[int, list[list[Any]]] = {}
            for shard, its in self.fanout.watched().items():
                streams.setdefault(worker_of(shard, len(self.dealers)), []).extend(its)
            for worker in {*streams, *told}:
                bus.try_send(self.dealers[worker], [Watch(streams.get(worker, [])).pack()])
            told = {*streams}
            gevent.sleep(1)

    def _restart(self, frames: list[bytes]) -> None:
        """A worker's snapshot."""
        try:
            snapshot = Snapshot.unpack(frames[1])
            follower = self.followers[snapshot.shard]
        except (WireError, LookupError, TypeError) as error:
            self.stats.add("bad_messages")
            log.error("an answer is not what it should be: %s", error)
            return
        if not follower.wanted:
            return  # asked twice: this is the later answer
        self.stats.add("snapshots")
        if snapshot.pairs:
            self.stats.state = "running"
        self.asked_ns[snapshot.shard] = 0
        self.fanout.restart(snapshot)
        for message in follower.restart(snapshot):
            self._apply(snapshot.shard, message)


def main(argv: Sequence[str]) -> int:
    return run_role(Front, argv)
