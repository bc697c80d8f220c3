"""The sink: closed candles from all workers into the store, in batches, each with the positions it reaches.

Not patched by gevent: a database driver waits for real. A hole in a stream is asked for again from the worker that
published it; a store that fails is tried again, while the rows wait (and past MOST_WAITING the oldest are let go
of, counted, so that memory stays bounded).
"""

import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

import zmq

from wick.errors import SettingError, StoreError, WireError
from wick.net import bus, endpoints
from wick.net.clock import now_ns
from wick.ops import logs
from wick.ops.process import ALREADY_RUNNING, AlreadyRunningError, Stats, hold_lock
from wick.ops.settings import Settings, exit_wrong, role_settings
from wick.storage import store
from wick.storage.sqlite import SqliteStore
from wick.stream.shards import SHARDS, worker_of
from wick.wire.codec import pack
from wick.wire.messages import Closes, Request, closes_topic, stats_topic

MS = 1_000_000
MOST_WAITING = 100_000  # rows of 2.4 KB; 300 pairs close about 40 a second, so 40 minutes of a store that is away
ASK_AGAIN_NS = 2_000 * MS
RETRY_NS = 1_000 * MS
STATS_EVERY_NS = 1_000 * MS

log = logging.getLogger("wick")


class Stream:
    """What is taken of one shard's closes; `asked_ns` while messages before the newest are missing."""

    def __init__(self, shard: int, epoch: int, seq: int) -> None:
        self.shard, self.epoch, self.seq = shard, epoch, seq
        self.asked_ns = 0
        self.waiting: dict[tuple[int, int], Closes] = {}  # beyond the hole


class Sink:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data_dir: str = settings["core.data_dir"]
        self.workers: int = settings["aggregator.workers"]
        self.stats = Stats("sink-0", now_ns())
        self.store = SqliteStore(store.path_of(settings))
        self.rows: deque[list[Any]] = deque()
        self.positions: dict[str, tuple[int, int]] = {}
        written = self.store.positions()
        self.streams = [Stream(shard, *written.get(f"closes.{shard:02d}", (0, 0))) for shard in range(SHARDS)]
        self.pub = bus.publisher(self.data_dir, "sink-0")
        self.sub = bus.subscriber(self.data_dir, [f"aggregator-{i}" for i in range(self.workers)], [b"closes."])
        self.dealers = [bus.dealer(self.data_dir, worker) for worker in range(self.workers)]
        self.stopping = False
        self._oldest_ns = 0  # when the oldest row that waits arrived
        self._retry_ns = 0
        self._stats_ns = 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        poller = zmq.Poller()
        for socket in (self.sub, *self.dealers):
            poller.register(socket, zmq.POLLIN)
        for stream in self.streams:
            self._ask(stream)  # what was published while nobody listened
        self.stats.state = "running"
        tick_ms = min(100, self.settings["sink.batch_ms"])
        while not self.stopping:
            poller.poll(tick_ms)
            self._turn()
        self.stats.state = "stopping"
        self._turn()
        self._write(last=True)
        self.publish_stats()
        self.store.close()
        log.info("stopped counters=%s", self.stats.counters)
        if self.rows:
            log.error("%d rows could not be written", len(self.rows))
            return 1
        return 0

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _turn(self) -> None:
        bus.drain(self.sub, self._receive)
        for dealer in self.dealers:
            bus.drain(dealer, self._replayed)
        now = now_ns()
        for stream in self.streams:
            if stream.asked_ns and now - stream.asked_ns > ASK_AGAIN_NS:
                self._ask(stream)
        full = len(self.rows) >= self.settings["sink.batch_rows"]
        old = self.rows and now - self._oldest_ns >= self.settings["sink.batch_ms"] * MS
        if (full or old) and now >= self._retry_ns:
            self._write()
        if now - self._stats_ns >= STATS_EVERY_NS:
            self._stats_ns = now
            self.publish_stats()

    # ------------------------------------------------------------------ in

    def _receive(self, frames: list[bytes]) -> None:
        try:
            shard = int(frames[0].removeprefix(closes_topic(0)[:-2]))
            message = Closes.unpack(frames[1])
            stream = self.streams[shard]
        except (WireError, ValueError, IndexError) as error:
            self.stats.add("bad_messages")
            log.error("a message is not what it should be, it is left out: %s", error)
            return
        self._offer(stream, message)

    def _offer(self, stream: Stream, message: Closes) -> None:
        if message.epoch < stream.epoch or (message.epoch == stream.epoch and message.seq <= stream.seq):
            return
        expected = stream.seq + 1 if message.epoch == stream.epoch else 1
        if message.seq > expected:
            stream.waiting[message.epoch, message.seq] = message
            if not stream.asked_ns:
                self.stats.add("holes")
                self._ask(stream, message.epoch)
            return
        self._take(stream, message)

    def _take(self, stream: Stream, message: Closes) -> None:
        stream.epoch, stream.seq = message.epoch, message.seq
        if not self.rows:
            self._oldest_ns = now_ns()
        self.rows.extend(message.rows)
        self.stats.add("closes", len(message.rows))
        self.stats.newest_ns = now_ns()
        self.positions[f"closes.{stream.shard:02d}"] = (stream.epoch, stream.seq)
        while len(self.rows) > MOST_WAITING:
            self.rows.popleft()
            self.stats.add("rows_lost")

    def _ask(self, stream: Stream, epoch: int = 0) -> None:
        """Ask the worker for what follows our position (or, in a newer epoch, for all of it)."""
        newest = max((e for e, _ in stream.waiting), default=epoch) or stream.epoch
        after = stream.seq if newest == stream.epoch else 0
        stream.asked_ns = now_ns()
        request = Request("closes", stream.shard, newest, after).pack()
        bus.try_send(self.dealers[worker_of(stream.shard, self.workers)], [request])

    def _replayed(self, frames: list[bytes]) -> None:
        """The answer to `_ask`: messages in order; what it lacks is gone, and then we go on with what we have."""
        try:
            request = Request.unpack(frames[0])
            messages = [Closes.unpack(frame) for frame in frames[1:]]
            stream = self.streams[request.shard]
        except (WireError, IndexError) as error:
            self.stats.add("bad_messages")
            log.error("an answer is not what it should be: %s", error)
            return
        stream.asked_ns = 0
        kept, stream.waiting = stream.waiting, {}
        kept |= {(message.epoch, message.seq): message for message in messages}
        for position in sorted(kept):
            message = kept[position]
            if position > (stream.epoch, stream.seq):
                expected = stream.seq + 1 if message.epoch == stream.epoch else 1
                if message.seq > expected:
                    self.stats.add("messages_lost", message.seq - expected)
                    log.error("shard %d: closes %d to %d are gone", stream.shard, expected, message.seq - 1)
                self._take(stream, message)

    # ------------------------------------------------------------------ out

    def _write(self, last: bool = False) -> None:
        try:
            while self.rows or (last and self.positions):
                batch = [self.rows[i] for i in range(min(len(self.rows), self.settings["sink.batch_rows"]))]
                # Positions go with the last rows, so that a crash in between asks for all of them again.
                done = len(batch) == len(self.rows)
                started = now_ns()
                self.store.write(batch, self.positions if done else {})
                self.stats.add("rows", len(batch))
                self.stats.add("commits")
                self.stats.add("commit_us", (now_ns() - started) // 1000)
                for _ in batch:
                    self.rows.popleft()
                self.stats.state = "running"
                if done:
                    self.positions.clear()
                    return
        except StoreError as error:
            self.stats.add("failed_commits")
            self.stats.state = "store away"
            log.error("the store cannot be written, %d rows wait: %s", len(self.rows), error)
            self._retry_ns = now_ns() + RETRY_NS

    def publish_stats(self) -> None:
        message = self.stats.message(now_ns(), "rows", {"waiting_rows": len(self.rows)})
        self.pub.send_multipart([stats_topic("sink-0"), pack(message)])


def main(argv: Sequence[str]) -> int:
    settings, _ = role_settings("sink", argv)
    logs.setup("sink-0", settings["core.log_level"])
    try:
        lock = hold_lock(endpoints.run_dir(settings["core.data_dir"]), "sink-0")
        sink = Sink(settings)
    except AlreadyRunningError as error:
        print(f"sink-0: {error}", file=sys.stderr)
        return ALREADY_RUNNING
    except SettingError as error:
        exit_wrong("sink-0", error)
    except StoreError as error:
        log.critical("%s", error)
        return 1
    with lock:
        log.info("started pid=%d store=%s", os.getpid(), sink.store.path)
        return sink.run()
