"""The feed: what venues send, as packed ticks: logged, then pushed to the workers, a message a venue, worker and flush.

A trade is never dropped silently. When a worker's queue is full the feed stops reading (TCP holds the venues back);
when that takes too long it goes on without that worker, which will find the batches in the tick log.
"""

import gc
import logging
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import zmq
from gevent.event import Event
from gevent.hub import signal as gevent_signal

from wick import exchanges
from wick.errors import SettingError, WickError, WireError
from wick.net import bus
from wick.net.clock import now_ns, steady_ns
from wick.ops import symbols
from wick.ops.setting import as_text
from wick.ops.settings import BY_NAME, Settings, load, split_options
from wick.roles.base import Role, run_role
from wick.roles.house import House
from wick.roles.venue_feed import VenueFeed
from wick.storage import checkpoints
from wick.storage.capture import Capture
from wick.storage.logwriter import FileLog, Limits
from wick.storage.ticklog import TickLog
from wick.stream.shards import SHARDS, shard_of
from wick.stream.tails import packed, rolled, unpacked
from wick.stream.ticks import Portion
from wick.wire.messages import TickHeader, book_frames, book_topic, ticks_topic

MS = 1_000_000
LISTEN_NS = 200 * MS  # between two looks at who taps
JUMP_NS = 500 * MS  # of the system's clock, between two flushes
BUFFER_BYTES = 32 * 1024 * 1024  # unsent ticks at which the feed stops reading
GARBAGE_OBJECTS = 100_000  # that outlive their making, before the collector looks at them

log = logging.getLogger("wick")


class Feed(Role):
    """All venues of `feed.venues`."""

    name = "feed"
    main_counter = "trades"
    pub_kind = zmq.XPUB  # the mirror is for taps, and works while there is one
    read_settings: Callable[[], Settings] = staticmethod(load)  # as they are now: on SIGHUP

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        wanted = symbols.wanted(settings)
        self.log_file = self._open_log(Path(self.data_dir))
        # Workers take what is newer: had the clock been set back since the last process, they would take nothing. There
        # may be no log, and then their checkpoints tell.
        newest = self.log_file.newest[0] if self.log_file else 0
        self.epoch = max(now_ns(), newest + 1, checkpoints.newest_epoch(Path(self.data_dir)) + 1)
        self.block = 0  # the number of the newest flush
        self.flushed_ns, self.listened_ns = now_ns(), 0
        self._has_given_up = False
        self._ahead_ns = now_ns() - steady_ns()
        self.listeners = bus.Listeners(self.pub)
        self.ticks_tapped: dict[str, frozenset[int]] = {}  # of each venue the shards whose mirror is listened to
        self.books_tapped: dict[str, frozenset[int]] = {}
        self._room = Event()
        self.captures: dict[str, Capture] = {}
        self.venues: dict[str, VenueFeed] = {}
        for venue_id in settings["feed.venues"]:
            try:
                self.venues[venue_id] = VenueFeed(exchanges.load(venue_id), settings, self._house(venue_id))
            except WickError as error:  # of the certificates
                raise SettingError(f"feed.ca_file = {settings['feed.ca_file']!r} is wrong: {error}") from None
            self.venues[venue_id].want(wanted[venue_id])
        workers: int = settings["aggregator.workers"]
        self.pushes = [bus.push(self.data_dir, worker, settings["feed.push_hwm"]) for worker in range(workers)]
        self._blocks = [0] * workers  # the newest block that had something for each
        self.stalled: set[int] = set()
        if self.log_file is not None:
            self._recall(self.log_file)

    def _open_log(self, data_dir: Path) -> TickLog | None:
        told = self.settings
        if not told["ticklog.enabled"]:
            return None
        limits = Limits(
            told["ticklog.segment_mb"] * 1_000_000, told["ticklog.budget_mb"] * 1_000_000,
            round(told["ticklog.keep_s"] * 1e9), told["ticklog.commit_ms"] / 1000,
        )  # fmt: skip
        return FileLog(data_dir / "ticklog", limits, partial(checkpoints.passed, data_dir))

    def _recall(self, log_file: TickLog) -> None:
        """Begin where the feed before us ended: what was traded since shows as a hole at each pair's first trade."""
        started = steady_ns()
        data, flushes = log_file.last()
        try:
            tails = rolled(unpacked(data), flushes) if data else {}
        except WireError as error:
            log.error("the tick log does not say what the feed before had, what came since is missed: %s", error)
            tails = {}
        for venue_id, venue in self.venues.items():
            if venue_id in tails:
                venue.ticks.recall(tails[venue_id], self.epoch)
        count = sum(len(one.pairs) for one in tails.values())
        if count:
            log.info("the log tells where %d pairs ended, in %d ms", count, (steady_ns() - started) // MS)
        self._begin_segment(log_file)

    def _house(self, venue_id: str) -> House:
        several = len(self.settings["feed.venues"]) > 1
        if directory := self.settings["feed.record"]:
            self.captures[venue_id] = Capture(directory, venue_id, self.epoch)
        return House(
            self.spawn, partial(self._count, f"{venue_id}.") if several else self.stats.add, self._wait_for_room,
            self._heard, self._show_book, self.captures.get(venue_id),
        )  # fmt: skip

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        # What a read leaves behind has no cycles: to look for some every 700 objects costs a tenth of the throughput.
        gc.freeze()
        gc.set_threshold(GARBAGE_OBJECTS)
        gevent_signal(signal.SIGHUP, self._read_again)
        self.stats.state = "connecting"
        for venue in self.venues.values():
            venue.start()
        self.spawn(self._need_symbols)
        self.spawn(self._flush_forever)

    def _need_symbols(self) -> None:
        for venue in self.venues.values():
            venue.chosen.wait()
        if not any(len(venue.ticks) for venue in self.venues.values()):
            names = ", ".join(self.venues)
            log.critical("there is no symbol to read: set feed.symbols to symbols that %s lists", names)
            self.stop(2)

    def _read_again(self) -> None:
        """SIGHUP: other symbols. What makes no sense is said, and changes nothing."""
        try:
            settings = self.read_settings()
            wanted = symbols.wanted(settings)
        except SettingError as error:
            log.error("the symbols stay as they are: %s", error)
            return
        if set(wanted) != set(self.venues):
            log.warning("feed.venues has changed: that needs a new start of the feed")
        for venue_id, venue in self.venues.items():
            if venue_id in wanted:
                venue.want(wanted[venue_id])

    def drain(self) -> None:
        for venue in self.venues.values():
            venue.connections.close()
            venue.books.tell(venue.ticks, ())
        self._flush(at_end=True)
        for capture in self.captures.values():
            capture.close()
        if self.log_file is not None:
            self.log_file.close()
        for socket in self.pushes:
            socket.close()

    def gauges(self) -> dict[str, Any]:
        own: dict[str, Any] = {"buffered_bytes": self._unsent_bytes, "stalled_workers": len(self.stalled)}
        if self.log_file is not None:
            own |= self.log_file.gauges()
        several = len(self.venues) > 1
        if several:
            own["symbols"] = sum(len(venue.ticks) for venue in self.venues.values())
        for venue_id, venue in self.venues.items():
            told = venue.gauges()
            if capture := self.captures.get(venue_id):
                told |= {"recorded": capture.messages, "not_recorded": capture.lost}
            prefix = f"{venue_id}." if several else ""
            own |= {prefix + name: value for name, value in told.items()}
            self.stats.counters |= {prefix + name: value for name, value in venue.books.counters().items()}
        return own

    # ------------------------------------------------------------------ in: what venues call

    def _count(self, prefix: str, name: str, amount: int = 1) -> None:
        self.stats.add(name, amount)
        self.stats.add(prefix + name, amount)

    def _heard(self, recv_ns: int) -> None:
        self.stats.newest_ns = recv_ns

    @property
    def _unsent_bytes(self) -> int:
        return sum(venue.ticks.unsent_bytes for venue in self.venues.values())

    def _wait_for_room(self) -> None:
        while self._unsent_bytes > BUFFER_BYTES:
            self.stats.add("held_back")
            self._room.clear()
            self._room.wait(1.0)

    # ------------------------------------------------------------------ out

    def _flush_forever(self) -> None:
        every_s = self.settings["feed.batch_ms"] / 1000
        while True:
            gevent.sleep(every_s)
            self._flush()

    def _flush(self, at_end: bool = False) -> None:
        """For each venue one message for each worker that has ticks, or has not heard the clock for `feed.clock_ms`."""
        if self._has_given_up:
            return
        self._notice_jump()
        self.flushed_ns = now_ns()
        if abs(self.flushed_ns - self.listened_ns) > LISTEN_NS:
            self.listened_ns = self.flushed_ns
            if self.listeners.update():
                self._notice_taps()
        connected, made = False, []
        # Nothing else runs in between: all that has been taken is in the log when it says where the pairs stand.
        for venue in self.venues.values():
            connected = connected or venue.is_connected
            made += self._log_venue(venue, listening=venue.is_connected and not at_end)
        if self.log_file is not None and self.log_file.is_due(self.flushed_ns):
            self._begin_segment(self.log_file)
        for header, portion in made:
            self._send(header, portion)
        if not at_end:
            self.stats.state = "running" if connected else "connecting"
            for venue_id, venue in self.venues.items():
                venue.books.tell(venue.ticks, self.books_tapped.get(venue_id, ()))
        for capture in self.captures.values():
            capture.flush(self.flushed_ns)
        self._room.set()

    def _notice_taps(self) -> None:
        for venue_id, venue in self.venues.items():
            before = self.books_tapped.get(venue_id, frozenset())
            self.ticks_tapped[venue_id] = self._tapped(ticks_topic, venue_id)
            self.books_tapped[venue_id] = self._tapped(book_topic, venue_id)
            venue.books.show(self.books_tapped[venue_id] - before)

    def _tapped(self, topic_of: Callable[[str, int], bytes], venue: str) -> frozenset[int]:
        """The shards whose stream someone hears."""
        return frozenset(shard for shard in range(SHARDS) if self.listeners.to(topic_of(venue, shard)))

    def _notice_jump(self) -> None:
        """A clock of ours that is set forward must not take the venues' time with it: candles would close too early."""
        ahead_ns = now_ns() - steady_ns()
        jump_ns, self._ahead_ns = ahead_ns - self._ahead_ns, ahead_ns
        if abs(jump_ns) > JUMP_NS:
            self.stats.add("clock_jumps")
            log.warning("the system's clock has been set by %+.1f s", jump_ns / 1e9)
        if jump_ns > JUMP_NS:
            for venue in self.venues.values():
                venue.ticks.clock.set_forward(jump_ns)

    def _log_venue(self, venue: VenueFeed, listening: bool) -> list[tuple[TickHeader, Portion]]:
        """Let go of what has come, into the log; and what each worker is to get of it."""
        now, ticks = now_ns(), venue.ticks
        # While nobody listens, the venue's time is not known to have brought nothing.
        clock_ns = ticks.clock.at(now) if listening else 0
        clock_due_ns = now - self.settings["feed.clock_ms"] * MS if clock_ns else 0
        portions = ticks.portions(len(self.pushes), now, clock_due_ns)
        if not portions:
            return []
        self.block += 1
        header = TickHeader(self.epoch, self.block, 0, venue.venue.id, now, clock_ns, [])
        if self.log_file is not None:
            whole = header._replace(parts=[part for portion in portions for part in portion.parts])
            is_logged = self.log_file.append(whole, [portion.records for portion in portions])
            if not is_logged and self.settings["ticklog.on_error"] == "stop":
                return self._give_up()
        self.stats.add("batches", len(portions))
        made = []
        for portion in portions:
            before, self._blocks[portion.worker] = self._blocks[portion.worker], self.block
            made.append((header._replace(before=before, parts=portion.parts), portion))
        return made

    def _give_up(self) -> list[tuple[TickHeader, Portion]]:
        """What is not in the log goes to nobody: the next feed sees in it where this one ended, and asks for more."""
        if not self._has_given_up:
            self._has_given_up = True
            log.critical("ticklog.on_error is stop: the process ends")
            self.stop(1)
        return []

    def _begin_segment(self, log_file: TickLog) -> None:
        tails = {venue_id: venue.ticks.tails(self.flushed_ns) for venue_id, venue in self.venues.items()}
        log_file.begin((self.epoch, self.block + 1), packed(tails), self.flushed_ns)

    def _send(self, header: TickHeader, portion: Portion) -> None:
        if tapped := self.ticks_tapped.get(header.venue):
            for part, records in header.pieces(portion.records):
                if part[0] in tapped:
                    alone = header._replace(parts=[part])
                    self.pub.send_multipart([ticks_topic(header.venue, part[0]), alone.pack(), bytes(records)])
        self._push(portion.worker, [header.pack(), portion.records])

    def _show_book(self, venue_id: str, symbol: str, top: tuple[int, int, Any, Any]) -> None:
        self.pub.send_multipart(book_frames(venue_id, shard_of(venue_id, symbol), symbol, *top))

    def _push(self, worker: int, frames: list[bytes]) -> None:
        socket = self.pushes[worker]
        deadline = 0
        while not bus.try_send(socket, frames):
            now = steady_ns()
            deadline = deadline or now + self.settings["feed.push_wait_ms"] * MS
            if worker in self.stalled or now >= deadline:
                if worker not in self.stalled:
                    log.error("worker %d does not read: going on, it will find the batches in the log", worker)
                self.stalled.add(worker)
                self.stats.add("push_dropped")
                return
            gevent.sleep(0.002)
        self.stalled.discard(worker)


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something that it could change
    Feed.read_settings = staticmethod(partial(_settings_of, argv))
    return run_role(Feed, argv)


def _settings_of(argv: Sequence[str]) -> Settings:
    options, _ = split_options(argv)
    return load([f"{BY_NAME[name].option}={as_text(value)}" for name, value in options.items()])
