"""When bands are flushed: a slice each tenth of the window, in one greenlet that gives way between bands.

A tick that comes too late is not made up for: the slices keep their order, and their windows become longer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gevent

from wick.net.clock import steady_ns
from wick.net.reader import give_way
from wick.stream.cohorts import MAX_BAND
from wick.stream.fanout import Fanout
from wick.wire.session import HEARTBEAT_S

MS = 1_000_000


class Flusher:
    """`beat` makes the fields of a HEARTBEAT of now: it rides along with news, and goes alone where all is quiet."""

    def __init__(
        self,
        fanout: Fanout,
        window_ms: float,
        beat: Callable[[], Sequence[Any]],
        *,
        clock: Callable[[], int] = steady_ns,
        rest: Callable[[], None] = give_way,
    ) -> None:
        self._fanout, self._beat, self._clock, self._rest = fanout, beat, clock, rest
        self.step_ns = int(window_ms * MS) // len(fanout.slices.bands)
        self._slice = 0
        self._due_ns = clock()
        self.ticks = self.skipped = 0  # ticks that were not made, because one before took too long
        self.late_ns = 0  # the most that a tick was late, since it was last asked for

    def run(self) -> None:
        """Forever; a greenlet's body."""
        while True:
            wait_ns = self.tick()
            if wait_ns > 0:
                gevent.sleep(wait_ns / 1e9)
            else:
                self._rest()

    def tick(self) -> int:
        """Flush the next slice; how long until the one after it is due."""
        began = self._clock()
        late = began - self._due_ns
        self.late_ns = max(self.late_ns, late)
        self._flush(self._fanout.slices.bands[self._slice], began)
        self.ticks += 1
        self._slice += 1
        if self._slice == len(self._fanout.slices.bands):
            self._slice = 0
            self._fanout.trim()
        now = self._clock()
        self._due_ns += self.step_ns
        if missed := max(0, now - self._due_ns) // self.step_ns:
            self.skipped += missed
            self._due_ns += missed * self.step_ns
        return self._due_ns - now

    def _flush(self, bands: Sequence[Any], now_ns: int) -> None:
        sent = 0
        for band in list(bands):
            if sent + band.clients > MAX_BAND:
                self._rest()
                sent = 0
            beat = None
            if now_ns >= band.beat_ns:
                beat = self._beat() if band.beat_ns else None
                band.beat_ns = now_ns + HEARTBEAT_S * 1000 * MS
            sent += self._fanout.flush(band, beat)

    def gauges(self) -> dict[str, int]:
        """For the process's stats; what is asked for here begins anew."""
        late, self.late_ns = self.late_ns, 0
        return {**vars(self._fanout.counters), "flush_skipped": self.skipped, "flush_late_us": late // 1000}
