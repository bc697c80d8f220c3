"""The sink: closed candles from all workers into the store, in batches, each with the positions that it reaches.

Not patched by gevent: a database driver waits for real, in a thread of its own (`roles.writing`). This is the loop: it
reads what is published, a shard at a time (`roles.inflow`), asks the workers' outboxes for what is missing, a few pages
at a time, and says once a second how it goes. Nobody upstream waits for it. Where a Redis is named, a thread of its own
keeps the latest state there (`roles.latest`).
"""

import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from wick.errors import SettingError, WireError
from wick.net import bus, endpoints
from wick.net.clock import now_ns, steady_ns
from wick.ops import logs
from wick.ops.process import ALREADY_RUNNING, AlreadyRunningError, Stats, hold_lock
from wick.ops.settings import Settings, exit_wrong, role_settings
from wick.roles.inflow import NOTHING, Inflow
from wick.roles.latest import latest_of
from wick.roles.writing import Backlog, Writer, stream_of
from wick.storage.keeping import keep_days
from wick.storage.store import Store, open_store, url_of
from wick.stream.shards import SHARDS, worker_of
from wick.wire.codec import pack, unpack
from wick.wire.messages import Closes, Kept, Request, closes_topic, cut_page, stats_topic, unpack_page

MS, S = 1_000_000, 1_000_000_000
TICK_MS = 50
PAGES = 2  # questions to a worker at a time: an answer is a page of about 1 MB, which it reads from its disk
UNANSWERED_NS = 2 * S, 60 * S  # then a question is asked again: at first, and at last of a worker that hangs
QUIET_NS = 20 * S  # of a shard of which nothing was heard for so long the outbox is asked: its last word may be lost
STATS_EVERY_NS = 1 * S
PROGRESS_NS = 5 * S  # between two lines about a long way to catch up
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
STOP_WAIT_S = 3.0  # for the last transaction; supervisord waits 15

log = logging.getLogger("wick")


class Link:
    """Questions to one worker: as many as it may have at a time, and what became of them."""

    def __init__(self, data_dir: str, worker: int) -> None:
        self.dealer = bus.dealer(data_dir, worker)
        self.asked: dict[int, int] = {}  # by shard: when (steady ns)
        self._wait_ns = UNANSWERED_NS[0]

    def ask(self, stream: Inflow, now_ns: int) -> None:
        if len(self.asked) < PAGES:
            if bus.try_send(self.dealer, [stream.ask().pack()]):
                self.asked[stream.shard] = now_ns
            else:
                stream.unanswered()

    def answered(self, shard: int) -> None:
        self.asked.pop(shard, None)
        self._wait_ns = UNANSWERED_NS[0]

    def overdue(self, now_ns: int) -> list[int]:
        """The shards whose questions were not answered in time; a worker that hangs gets ever fewer."""
        shards = [shard for shard, at in self.asked.items() if now_ns - at > self._wait_ns]
        for shard in shards:
            del self.asked[shard]
            self._wait_ns = min(2 * self._wait_ns, UNANSWERED_NS[1])
        return shards


class Sink:
    def __init__(self, settings: Settings, open_it: Callable[[], Store]) -> None:
        data_dir, workers = settings["core.data_dir"], settings["aggregator.workers"]
        self.stats = Stats("sink-0", now_ns())
        self.backlog = Backlog(settings["sink.batch_rows"], settings["sink.batch_ms"])
        self.writer = Writer(open_it, self.backlog, self.stats, keep_days(settings))
        self.streams = [Inflow(shard, self.backlog.put, self.stats) for shard in range(SHARDS)]
        self.pub = bus.publisher(data_dir, "sink-0")
        self.sub = bus.subscriber(data_dir, [f"aggregator-{i}" for i in range(workers)], [b"closes."])
        self.links = [Link(data_dir, worker) for worker in range(workers)]
        self.latest = latest_of(settings, self.stats)
        self._poller = zmq.Poller()
        for socket in (self.sub, *[link.dealer for link in self.links]):
            self._poller.register(socket, zmq.POLLIN)
        self._heard_ns = [0] * SHARDS  # when something last came of each (steady)
        self._next = 0  # the stream that is asked for first
        self._stopping = False
        self._stats_ns = self._progress_ns = 0
        self._behind_since_ns = self._behind_rows = 0

    def run(self) -> int:
        """Until `stop`, or until the store's thread has failed; the exit code."""
        self.writer.start()
        if self.latest:
            self.latest.start()
        while not (self._stopping or self.has_failed):
            self.wait()
            self.turn()
        return self.run_to_end()

    def run_to_end(self) -> int:
        """Take what has come, write it, and end; the exit code."""
        self.turn()
        self.stats.state = "stopping"
        self.writer.stop(STOP_WAIT_S)
        self._publish_stats()
        log.info("stopped counters=%s", self.stats.counters)
        if self.backlog.rows:
            log.warning("%d rows are not written: they wait in the workers' outboxes", self.backlog.rows)
        return 1 if self.has_failed else 0

    @property
    def has_failed(self) -> bool:
        """Whether a thread has ended by a failure; it has said why."""
        return bool(self.writer.failed or (self.latest and self.latest.failed))

    def close(self) -> None:
        if self.latest:
            self.latest.close()
        for socket in (self.pub, self.sub, *[link.dealer for link in self.links]):
            socket.close()

    def stop(self, *_: object) -> None:
        self._stopping = True

    def wait(self) -> None:
        self._poller.poll(TICK_MS)

    def turn(self) -> None:
        """Take what has come, ask for what is missing."""
        begun = self.writer.begun()
        if begun is not None:
            for stream in self.streams:
                stream.begin(begun.get(stream_of(stream.shard), NOTHING))
            self.backlog.open()
        for link in self.links:  # first: what is published meanwhile follows an answer
            bus.drain(link.dealer, self._answered)
        bus.drain(self.sub, self._receive)
        now = steady_ns()
        for link in self.links:
            for shard in link.overdue(now):
                self.streams[shard].unanswered()
        if self.backlog.is_open and self.backlog.has_room:
            self._ask(now)
        self._tell(now)

    # ------------------------------------------------------------------ in

    def _receive(self, frames: list[bytes]) -> None:
        try:
            shard = int(frames[0].removeprefix(closes_topic(0)[:-2]))
            message = Closes.unpack(frames[1])
            stream = self.streams[shard]
        except (WireError, ValueError, IndexError) as error:
            self.stats.add("bad_messages")
            log.error("a message is not what it should be, it is asked for again: %s", error)
            return
        self.stats.newest_ns = now_ns()
        self._heard_ns[shard] = steady_ns()
        stream.offer(message, len(frames[1]))

    def _ask(self, now: int) -> None:
        """Ask for what streams want, as far as the workers may be asked; each has its turn."""
        for shard, heard_ns in enumerate(self._heard_ns):
            if now - heard_ns > QUIET_NS:
                self._heard_ns[shard] = now
                self.streams[shard].behind = True
        first = self._next
        for shard in [*range(first, SHARDS), *range(first)]:
            if self.streams[shard].wants:
                self._next = (shard + 1) % SHARDS
                self.links[worker_of(shard, len(self.links))].ask(self.streams[shard], now)

    def _answered(self, frames: list[bytes]) -> None:
        try:
            request = Request.unpack(frames[0])
            kept = Kept.unpack(frames[1])
            page = self._page(frames[2], frames[3])
            stream = self.streams[request.shard]
        except (WireError, IndexError) as error:
            self.stats.add("bad_messages")
            log.error("an answer is not what it should be: %s", error)
            return
        self.links[worker_of(request.shard, len(self.links))].answered(request.shard)
        stream.answer(request, kept, page)

    def _page(self, lengths: bytes, body: bytes) -> list[tuple[Closes, int]]:
        """The messages of an answer. One that cannot be read any more stands there without its candles."""
        try:
            return unpack_page(lengths, body)
        except WireError:
            return [self._kept(frame) for frame in cut_page(lengths, body)]

    def _kept(self, frame: memoryview) -> tuple[Closes, int]:
        try:
            return Closes.unpack(frame), len(frame)
        except WireError as error:
            self.stats.add("messages_lost")
            log.error("closes of an outbox cannot be read, their candles are lost: %s", error)
        try:
            epoch, seq, *_ = unpack(frame)
            return Closes(int(epoch), int(seq), 0, []), 0
        except (WireError, TypeError, ValueError):
            return Closes(0, 0, 0, []), 0  # nobody knows which it was: the next shows the hole

    # ------------------------------------------------------------------ what is said

    def _tell(self, now: int) -> None:
        rows = self.stats.counters.get("rows", 0)
        behind = self.backlog.is_open and any(stream.behind for stream in self.streams)
        if not behind:
            if self._progress_ns:
                took_s = (now - self._behind_since_ns) / S
                log.info("caught up: %d rows in %.1f s", rows - self._behind_rows, took_s)
            self._behind_since_ns = self._progress_ns = 0
        elif not self._behind_since_ns:
            self._behind_since_ns, self._behind_rows = now, rows
        if self.writer.trouble:
            self.stats.state = self.writer.trouble.state
        elif not self.backlog.is_open:
            self.stats.state = "starting"
        elif behind and now - self._behind_since_ns > S:
            self.stats.state = "catching up"
            if now - self._progress_ns > PROGRESS_NS:
                self._progress_ns = now
                done, left = rows - self._behind_rows, sum(stream.lacking for stream in self.streams)
                log.info("catching up: %d rows written, %d wait, %d messages to come", done, self.backlog.rows, left)
        else:
            self.stats.state = "running"
        if now - self._stats_ns >= STATS_EVERY_NS:
            self._stats_ns = now
            self._publish_stats()

    def gauges(self) -> dict[str, Any]:
        trouble = self.writer.trouble
        return {
            "waiting_rows": self.backlog.rows,
            "waiting_kb": self.backlog.bytes >> 10,
            "lacking_messages": sum(stream.lacking for stream in self.streams),
            "commit_ms": self.writer.commit_us / 1000,
            "store_away_s": (steady_ns() - trouble.since_ns) // S if trouble else 0,
            **(self.latest.gauges() if self.latest else {}),
        }

    def _publish_stats(self) -> None:
        message = self.stats.message(now_ns(), "rows", self.gauges())
        self.pub.send_multipart([stats_topic("sink-0"), pack(message)])


def tune_memory() -> None:
    """Messages that wait are many, and have no cycles. And the memory that one batch needs the next one needs again:
    given back meanwhile, it would come page by page, which takes a third as long as all the work (mallopt(3) of glibc;
    elsewhere this stays as it is)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1_000_000)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(M_MMAP_THRESHOLD, 32 << 20)
    mallopt(M_TRIM_THRESHOLD, 64 << 20)


def main(argv: Sequence[str]) -> int:
    settings, _ = role_settings("sink", argv)
    logs.setup("sink-0", settings["core.log_level"])
    try:
        lock = hold_lock(endpoints.run_dir(settings["core.data_dir"]), "sink-0")
        sink = Sink(settings, lambda: open_store(url_of(settings)))
    except AlreadyRunningError as error:
        print(f"sink-0: {error}", file=sys.stderr)
        return ALREADY_RUNNING
    except SettingError as error:
        exit_wrong("sink-0", error)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, sink.stop)
    with lock:
        log.info("started pid=%d", os.getpid())
        tune_memory()
        code = sink.run()
        sink.close()
        return code
