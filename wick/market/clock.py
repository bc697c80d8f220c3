"""The venue's clock, estimated from the times that it stamps on its events. Pure.

Candles close by the venue's time, and a recorder's clock may be seconds off it (a capture of ours runs 1.27 s
behind). `event_ns - recv_ns` of the event that travelled fastest is the best estimate of the offset, so the
clock is our own plus the largest offset of the last minute. It errs late by the shortest latency, never early.
"""

WINDOW_NS = 30 * 10**9  # the offset is the largest of the current and the previous window
SANE_NS = 3600 * 10**9  # an event that is further from the clock than this is absurd, unless many agree
UNKNOWN = -(2**63)
AGREE = 50  # consecutive absurd times that agree make the new truth (a recording's next day)


class VenueClock:
    """Feed it every (event time, receive time); ask it for the venue's time. It never runs backwards."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._offset = self._previous = UNKNOWN
        self._window_end = 0
        self._absurd = 0

    def observe(self, event_ns: int, recv_ns: int) -> bool:
        """Take one event; false where its time is absurd (the event is not to be used)."""
        offset = event_ns - recv_ns
        best = max(self._offset, self._previous)
        if best > UNKNOWN and abs(offset - best) > SANE_NS:
            self._absurd += 1
            if self._absurd < AGREE:
                return False
            self._offset = self._previous = offset
        self._absurd = 0
        if recv_ns >= self._window_end:
            self._previous, self._offset = self._offset, offset
            self._window_end = recv_ns + WINDOW_NS
        elif offset > self._offset:
            self._offset = offset
        return True

    def set_forward(self, by_ns: int) -> None:
        """Our own clock has been set forward: it is ahead of the venue's by so much more, until an event says less."""
        if self._offset > UNKNOWN:
            self._offset -= by_ns
        if self._previous > UNKNOWN:
            self._previous -= by_ns
        self._window_end += by_ns

    def plain(self, recv_ns: int) -> tuple[int, int]:
        """The earliest and latest event time of which any number, in any order, are taken at `recv_ns`.

        To observe the latest of them is then to observe them all. (Two offsets within half of SANE_NS of the best are
        within SANE_NS of each other, whichever of them becomes the best.) None are before the first event.
        """
        best = max(self._offset, self._previous)
        if best == UNKNOWN:
            return 1, 0
        return recv_ns + best - SANE_NS // 2, recv_ns + best + SANE_NS // 2

    def of(self, recv_ns: int) -> int:
        """The best estimate of the venue's time when ours is, or was, `recv_ns`; that itself before the first event."""
        best = max(self._offset, self._previous)
        return recv_ns + best if best > UNKNOWN else recv_ns

    def at(self, recv_ns: int) -> int:
        """The venue's time (ns) when ours is `recv_ns`; 0 before the first event."""
        best = max(self._offset, self._previous)
        if best > UNKNOWN:
            self.now_ns = max(self.now_ns, recv_ns + best)
        return self.now_ns
