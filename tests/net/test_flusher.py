"""The flusher: a slice a tick, on time; late ticks are skipped; it gives way; heartbeats ride along."""

from itertools import pairwise
from typing import Any

from wick.net.flusher import Flusher
from wick.stream.cohorts import MAX_BAND, Band
from wick.stream.fanout import Counters

MS = 1_000_000


class Fanout:
    """Two slices; it notes what is flushed and when, and a flush takes as long as it is told."""

    def __init__(self, *sizes: list[int]) -> None:
        self.slices, self.counters = self, Counters()
        self.bands = [[_band(size) for size in its] for its in sizes]
        self.now = 0
        self.takes_ms: float = 0
        self.done: list[Any] = []

    def flush(self, band: Band, beat: Any) -> int:
        self.now += int(self.takes_ms * MS)
        self.done.append((band.clients, beat))
        return band.clients

    def trim(self) -> None:
        self.done.append("trim")


def _band(size: int) -> Band:
    band = Band(0)
    band.clients = size
    return band


def _flusher(fanout: Fanout, rest: Any = None) -> Flusher:
    fanout.done.clear()
    return Flusher(fanout, 50, lambda: ["beat"], clock=lambda: fanout.now, rest=rest or (lambda: None))


def test_each_tick_flushes_one_slice_and_what_all_have_been_told_is_forgotten_once_a_window():
    fanout = Fanout([1, 2], [3])
    flusher = _flusher(fanout)
    assert flusher.tick() == 25 * MS
    assert fanout.done == [(1, None), (2, None)]
    fanout.now += 25 * MS
    flusher.tick()
    assert fanout.done[2:] == [(3, None), "trim"]


def test_the_time_that_a_flush_takes_is_not_added_to_the_window():
    fanout = Fanout([1], [1])
    flusher = _flusher(fanout)
    fanout.takes_ms = 10
    assert flusher.tick() == 15 * MS


def test_late_ticks_are_skipped_and_the_slices_keep_their_turns():
    fanout = Fanout([1], [2])
    flusher = _flusher(fanout)
    fanout.takes_ms = 140
    assert flusher.tick() == -15 * MS  # of the five that were due meanwhile, the last
    assert flusher.skipped == 4
    fanout.takes_ms = 0
    flusher.tick()
    assert [one for one in fanout.done if one != "trim"] == [(1, None), (2, None)]
    gauges = flusher.gauges()
    assert (gauges["flush_skipped"], gauges["flush_late_us"]) == (4, 15_000)
    assert flusher.gauges()["flush_late_us"] == 0


def test_it_gives_way_before_it_has_told_more_than_512_clients_in_a_row():
    fanout = Fanout([MAX_BAND, 200, 300, 13], [])
    _flusher(fanout, rest=lambda: fanout.done.append("gave way")).tick()
    assert fanout.done == [(MAX_BAND, None), "gave way", (200, None), (300, None), "gave way", (13, None)]


def test_a_band_that_goes_while_others_have_their_turn_is_no_harm():
    fanout = Fanout([MAX_BAND, 2], [])
    _flusher(fanout, rest=fanout.bands[0].pop).tick()
    assert [size for size, _ in fanout.done] == [MAX_BAND, 2]


def test_a_heartbeat_goes_with_a_flush_every_five_seconds():
    fanout = Fanout([1], [])
    flusher = _flusher(fanout)
    beats = []
    for _ in range(4 * 60 * 5):
        flusher.tick()
        fanout.now += 25 * MS
        beats += [fanout.now // MS for one in fanout.done if one == (1, ["beat"])]
        fanout.done.clear()
    assert [later - earlier for earlier, later in pairwise(beats)] == [5000] * (len(beats) - 1)
    assert len(beats) == 5
