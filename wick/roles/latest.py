"""Keeps the latest state in Redis or Valkey: follows the workers as a front does, and writes what has changed.

A thread of the sink, with sockets of its own: a Redis that hangs keeps no candle from the store, and a store that hangs
keeps nothing from Redis. While Redis is away the mirrors here go on; when it is back everything is written anew.
"""

import logging
import random
import threading
from collections.abc import Iterator
from typing import Any

from wick.errors import StoreAwayError
from wick.market.intervals import NAMES
from wick.net import bus
from wick.net.clock import now_ns, steady_ns
from wick.ops.process import Stats
from wick.ops.settings import Settings
from wick.roles.following import Following
from wick.storage.latest import Latest, RedisLatest, read_shard
from wick.stream import latest as values
from wick.stream.mirror import ShardMirror
from wick.stream.shards import SHARDS, worker_of
from wick.wire.messages import Closes, Diffs, Snapshot

MS = 1_000_000
TURN_S = 0.25  # between two looks at what the workers say
RETRY_MS = (250, 5_000)  # until the next attempt: doubles from the one to the other, each a little different
RENEW_NS = 10_000 * MS  # between two shards that are written whole, in case that Redis has lost some of it by itself
WRITE_BYTES = 1 << 18  # of closed candles at once, of which a new month has 13 MB: 0.2 s at 10 Mbit/s
# How long the keys of a pair stay that no worker has any more: if it comes back, each of them is written before.
GONE_S = 40 * 86_400

log = logging.getLogger("wick")


def latest_of(settings: Settings, stats: Stats) -> "LatestState | None":
    """None where no Redis is named. SettingError where the address is none."""
    url: str = settings["redis.url"]
    return LatestState(settings, stats, RedisLatest(url)) if url else None


class LatestState:
    """`start` it in a thread, or call `turn` in one's own; `close` in the end."""

    def __init__(self, settings: Settings, stats: Stats, latest: Latest) -> None:
        self._latest, self._stats = latest, stats
        self._flush_ns: int = settings["redis.flush_ms"] * MS
        data_dir, workers = settings["core.data_dir"], settings["aggregator.workers"]
        self._sub = bus.subscriber(data_dir, [f"aggregator-{i}" for i in range(workers)], [b"diffs.", b"closes."])
        self._dealers = [bus.dealer(data_dir, worker) for worker in range(workers)]
        self.shards = Shards()
        self._following = Following(self.shards, self._ask, lambda name: stats.add(f"latest_{name}"))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="latest", daemon=True)
        self.failed = False  # by a fault of ours, not of Redis: the process is to end
        self._is_known = False  # whether what Redis has has been read
        self._is_filled = False  # whether it has all that is not dirty
        self._flushed_ns = self._renewed_ns = self._retry_ns = self._away_ns = 0
        self._renewed = 0  # shards, one after the other
        self._failures = 0

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """What is dirty is written once more."""
        if self._thread.ident is not None:
            self._stopping.set()
            self._thread.join()
        self._sub.close(linger=0)
        for dealer in self._dealers:
            dealer.close(linger=0)
        self._latest.close()

    def gauges(self) -> dict[str, Any]:
        away_ns = self._away_ns
        return {"redis_away_s": 1 + (steady_ns() - away_ns) // (1000 * MS) if away_ns else 0}

    def _run(self) -> None:
        try:
            while not self._stopping.wait(min(TURN_S, self._flush_ns / 1e9)):
                self.turn(steady_ns())
            self._retry_ns = self._flushed_ns = 0
            self.turn(steady_ns())
        except Exception:
            log.critical("the latest state cannot be followed any more: the process ends", exc_info=True)
            self.failed = True

    def turn(self, now: int) -> None:
        """Take what the workers have said; write it when it is time. `now` is of the clock that never jumps."""
        bus.drain(self._sub, self._following.take, bus.PUB_HWM)
        for dealer in self._dealers:
            bus.drain(dealer, self._following.answer)
        self._following.ask_again()
        if now - self._flushed_ns >= self._flush_ns and now >= self._retry_ns:
            self._flushed_ns = now
            if now - self._renewed_ns >= RENEW_NS:
                self._renewed_ns, self._renewed = now, (self._renewed + 1) % SHARDS
                self.shards.renew(self._renewed)
            self._flush(now)

    def _ask(self, shard: int, request: bytes) -> bool:
        return bus.try_send(self._dealers[worker_of(shard, len(self._dealers))], [request])

    # ------------------------------------------------------------------ to Redis

    def _flush(self, now: int) -> None:
        try:
            if not self._is_filled:
                self._begin()
                self._is_filled = True
            self._write()
        except StoreAwayError as error:
            self._is_filled = False
            self._stats.add("failed_redis_writes")
            if not self._away_ns:
                self._away_ns = now
                log.error("the latest state is not written: %s", error)
            most = min(RETRY_MS[0] << min(self._failures, 16), RETRY_MS[1])
            self._retry_ns = now + int(most * random.uniform(0.5, 1) * MS)
            self._failures += 1
            return
        if self._away_ns:
            log.info("the latest state is written again after %.1f s: %s", (now - self._away_ns) / 1e9,
                     self._latest.address)  # fmt: skip
        self._away_ns = self._failures = 0

    def _begin(self) -> None:
        """What is there may be of another sink: what it knows of candles is kept, and the rest is written anew."""
        if not self._is_known:
            for shard in range(SHARDS):
                stored = read_shard(self._latest, shard)
                if stored is not None:
                    self.shards.remember(stored.snapshot)
            self._is_known = True
        for shard in range(SHARDS):
            self.shards.renew(shard)

    def _write(self) -> None:
        if self.shards.is_clean:
            return
        started = steady_ns()
        self._latest.write(self.shards.states())
        size = 0
        some: dict[bytes, bytes] = {}
        for key, value in self.shards.closed():
            some[key] = value
            size += len(value)
            if size > WRITE_BYTES:
                self._latest.write(some)
                some, size = {}, 0
        self._latest.write(some)
        gone = self.shards.gone()
        if gone:
            self._latest.expire(gone, GONE_S)
        self.shards.written()
        self._stats.add("redis_writes")
        self._stats.add("redis_us", (steady_ns() - started) // 1000)


class Shards:
    """All shards' mirrors, and what of them is to be written."""

    def __init__(self) -> None:
        self.mirrors = [ShardMirror() for _ in range(SHARDS)]
        self._times_ms = [0] * SHARDS
        self._parts: list[dict[int, values.PairParts]] = [{} for _ in range(SHARDS)]
        self._pairs = [b""] * SHARDS  # packed; blank: they have changed
        self._dirty: set[int] = set()
        self._changed: list[dict[int, int]] = [{} for _ in range(SHARDS)]  # the groups of a pair, a bit each
        self._closed: dict[tuple[int, str, str, int], None] = {}  # shard, venue, symbol, interval
        self._gone: dict[values.Pair, None] = {}

    # ------------------------------------------------------------------ what the workers say

    def restart(self, snapshot: Snapshot) -> None:
        before = {*self.mirrors[snapshot.shard].names.values()}
        self.mirrors[snapshot.shard].restart(snapshot)
        self._times_ms[snapshot.shard] = now_ns() // MS
        self._gone |= dict.fromkeys(before)
        self.renew(snapshot.shard)

    def diffs(self, shard: int, message: Diffs) -> None:
        changed = self._changed[shard]
        if message.pairs:
            self._pairs[shard] = b""
            changed.update(dict.fromkeys([number for number, _, _ in message.pairs], 0))
        for number, changes in self.mirrors[shard].apply(message):
            groups, at = 0, 0
            while at < len(changes):
                groups |= 1 << changes[at]
                at += 2 + changes[at + 1].bit_count()
            changed[number] = changed.get(number, 0) | groups
        self._times_ms[shard] = message.publish_ns // MS
        self._dirty.add(shard)

    def closes(self, shard: int, message: Closes) -> None:
        for venue, symbol, interval, *row in message.rows:
            self.mirrors[shard].close(venue, symbol, interval, row)
            self._closed[shard, venue, symbol, NAMES.index(interval)] = None

    # ------------------------------------------------------------------ what is written

    def remember(self, snapshot: Snapshot) -> None:
        """Of what Redis has: the metrics of candles that a worker does not keep, and pairs that nobody has."""
        mirror = self.mirrors[snapshot.shard]
        if not mirror.epoch:
            mirror.restart(snapshot)  # until the worker is heard
            return
        for venue, symbol, interval, *row in snapshot.recent:
            mirror.improve(venue, symbol, interval, row)
        self._gone |= {(venue, symbol): None for _, venue, symbol in snapshot.pairs}

    def renew(self, shard: int) -> None:
        """Write all of it, if its worker has been heard."""
        if not self._times_ms[shard]:
            return
        mirror = self.mirrors[shard]
        self._pairs[shard] = b""
        self._dirty.add(shard)
        self._parts[shard] = {}
        self._changed[shard] = dict.fromkeys(mirror.names, -1)
        for venue, symbol in mirror.names.values():
            for interval in range(len(NAMES)):
                self._closed[shard, venue, symbol, interval] = None

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._dirty or self._closed or self._gone)

    def states(self) -> dict[bytes, bytes]:
        """Of the shards and pairs that have changed."""
        found: dict[bytes, bytes] = {}
        for shard in self._dirty:
            mirror, parts, time_ms = self.mirrors[shard], self._parts[shard], self._times_ms[shard]
            where = values.position(mirror.epoch, mirror.seq, time_ms)
            for number, groups in self._changed[shard].items():
                state = mirror.groups[number]
                part = parts.get(number)
                if part is None:
                    part = parts[number] = values.PairParts(mirror.names[number], state)
                elif groups > 1:
                    part.candles(state, groups)
                found[part.key] = part.value(where, state[0])
            pairs = self._pairs[shard] = self._pairs[shard] or values.shard_pairs(mirror)
            found[values.shard_key(shard)] = values.shard_value(mirror, time_ms, pairs)
        return found

    def closed(self) -> Iterator[tuple[bytes, bytes]]:
        """Of the intervals of pairs in which a candle has closed."""
        for shard, venue, symbol, interval in self._closed:
            rows = self.mirrors[shard].packed(venue, symbol, interval)
            if rows:
                name = NAMES[interval]
                yield values.closed_key(venue, symbol, name), values.closed_value((venue, symbol), name, rows)

    def gone(self) -> list[bytes]:
        """The keys of pairs that no worker has any more."""
        there = {pair for mirror in self.mirrors for pair in mirror.names.values()}
        return [key for pair in self._gone if pair not in there for key in values.keys_of(pair)]

    def written(self) -> None:
        for shard in self._dirty:
            self._changed[shard].clear()
        self._dirty.clear()
        self._closed.clear()
        self._gone.clear()
