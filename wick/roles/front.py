"""The front: mirrors every shard, answers HTTP, and tells WebSocket clients what changes.

Several front processes can share the port; each holds the whole state. A hole in a shard's streams, and a worker that
started anew, are mended by one snapshot from the worker, and then by one for every client concerned.
"""

import gc
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent

from wick import exchanges
from wick.api.access import Access
from wick.api.history import History, Standing
from wick.api.service import Api, Health, Sources, State
from wick.errors import StoreAwayError, WireError
from wick.market.intervals import INTERVALS
from wick.market.schema import Row
from wick.net import bus
from wick.net.clock import now_ms, now_ns
from wick.net.flusher import Flusher
from wick.net.reader import Reader
from wick.net.ws_server import Server, listen
from wick.ops.process import allow_open_files, give_memory_back
from wick.ops.settings import Settings
from wick.roles.base import Role, run_role
from wick.roles.following import Following
from wick.roles.relay import Relay
from wick.roles.session import Session, Sessions
from wick.storage.store import url_of
from wick.stream.fanout import Fanout
from wick.stream.mirror import live_row
from wick.stream.relays import Relays
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.wire.http import Reply
from wick.wire.http import Request as HttpRequest
from wick.wire.messages import Closes, Watch
from wick.wire.session import Kind

if TYPE_CHECKING:
    from wick.storage.latest import Latest, StoredShard

MS = 1_000_000
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
        self.following = Following(self.fanout, self._ask, self.stats.add)
        self.relay = Relay(self.relays, self.fanout.put, self.data_dir, self.stats.add)
        self.sessions.attach(self.server, self.fanout)
        self.flusher = Flusher(self.fanout, settings["front.flush_ms"], self._beat)
        self.latest = _latest(settings["redis.url"])
        failed = partial(self.stats.add, "failed_reads")
        self.history = History(url_of(settings), self._recent, self._live, self._standing, failed)
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
        if self.latest is not None:
            self.spawn(self._boot, self.latest)
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
            "resyncs": self.following.resyncs,
        }

    # ------------------------------------------------------------------ what is known

    def health(self) -> Health:
        workers = [f"aggregator-{worker}" for worker in range(len(self.dealers))]
        silent = [worker for worker in workers if worker in self.relays.silent]
        return Health(self.stats.state, self._age_ms(), len(self.fanout.pairs()), self.following.waiting, silent)

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

    def _recent(self, venue: str, symbol: str, interval: int, since: int) -> list[Row]:
        return self.fanout.mirrors[shard_of(venue, symbol)].rows(venue, symbol, interval, since)

    def _standing(self, venue: str, symbol: str, interval: int) -> Standing:
        mirror = self.fanout.mirrors[shard_of(venue, symbol)]
        return Standing(mirror.epoch, mirror.seq, mirror.reach(venue, symbol, interval))

    def _stats(self) -> list[dict[str, Any]]:
        return list(self.relays.processes.values())

    def _respond(self, request: HttpRequest) -> Reply:
        return self.access.shared(self.api.respond(request), request)

    # ------------------------------------------------------------------ from the workers

    def _receive(self, frames: list[bytes]) -> None:
        if frames[0].startswith(b"live."):
            self._live_rows(frames)
            return
        applied = self.following.take(frames)
        if applied is not None:
            self.stats.state = "running"
        if applied:
            self.stats.newest_ns = now_ns()  # of what clients are told: what cannot be followed is not new to them

    def _live_rows(self, frames: list[bytes]) -> None:
        try:
            self.fanout.live(Closes.unpack(frames[1]))
        except (WireError, LookupError) as error:
            self.stats.add("bad_messages")
            log.error("live metrics are not what they should be, they are left out: %s", error)

    def _ask(self, shard: int, request: bytes) -> bool:
        worker = worker_of(shard, len(self.dealers))
        is_sent = bus.try_send(self.dealers[worker], [request])
        self.readers[worker].kick()
        return is_sent

    def _ask_forever(self) -> None:
        while True:
            self.following.ask_again()
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
        snapshot = self.following.answer(frames)
        if snapshot is not None and snapshot.pairs:
            self.stats.state = "running"

    # ------------------------------------------------------------------ before the workers are heard

    def _boot(self, latest: "Latest") -> None:
        """Begin with what Redis has, as old as it is: what a worker tells replaces it. Redis may start when we do."""
        trouble = self._take_stored(latest)
        if trouble is not None:
            log.warning("nothing to begin with until Redis or a worker answers: %s", trouble)
        while trouble is not None:
            gevent.sleep(1)
            trouble = self._take_stored(latest)
        latest.close()

    def _take_stored(self, latest: "Latest") -> StoreAwayError | None:
        """Of the shards whose workers have not been heard."""
        threads = gevent.get_hub().threadpool
        for shard, mirror in enumerate(self.fanout.mirrors):
            stored = None if mirror.epoch else threads.apply(_stored, (latest, shard))
            if isinstance(stored, StoreAwayError):
                return stored
            if stored is not None and not mirror.epoch:  # the worker may have been quicker
                self.fanout.restart(stored.snapshot)
                self.stats.newest_ns = max(self.stats.newest_ns, stored.time_ms * MS)
                self.stats.add("booted_pairs", len(stored.snapshot.pairs))
                if self.stats.state == "waiting":
                    self.stats.state = "stale"
        return None


def _latest(url: str) -> "Latest | None":
    if not url:
        return None
    from wick.storage.latest import RedisLatest  # of no use to a front without one

    return RedisLatest(url)


def _stored(latest: "Latest", shard: int) -> "StoredShard | StoreAwayError | None":
    """Given back, not raised: gevent would write what is raised in its threads to stderr."""
    from wick.storage.latest import read_shard

    try:
        return read_shard(latest, shard)
    except StoreAwayError as error:
        return error


def main(argv: Sequence[str]) -> int:
    return run_role(Front, argv)
