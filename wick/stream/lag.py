"""How long ticks take from the venue to publication, stage by stage and shard by shard. Pure.

| stage | from | to |
|---|---|---|
| venue | the venue's time of a trade | its arrival at the feed (two clocks: below 0 where ours is behind) |
| feed | its arrival | the feed sends the batch that it is in |
| queue | that | the worker has read the batch |
| publish | that | the worker has published what it changed |

Samples, so that it costs a few microseconds a message and nothing a tick: of each message about SAMPLES records, evenly
spread; of the last stage the oldest message of each publication. They are kept until somebody asks, MOST at most; then
no more are taken.
"""

from collections import deque
from itertools import accumulate
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.market.records import RECORD
from wick.market.trades import TRADE
from wick.stream.stages import FIGURES, Figures
from wick.wire.messages import TickHeader

SAMPLES: Final = 128
MOST: Final = 65_536

_WORDS = RECORD.itemsize // 8
_COLUMNS = [0, 6, 7]  # of those: event_ns, recv_ns, and the small fields
_KIND_SHIFT = 16


class Lags:
    """The samples of one worker since they were last asked for."""

    def __init__(self) -> None:
        self._sampled: list[tuple[list[list[Any]], int, NDArray[np.int64], int, int]] = []
        self._count = 0
        self._waiting: dict[int, int] = {}  # shard -> when the oldest that is not published yet was taken
        self._published: dict[int, deque[int]] = {}

    def sample(self, header: TickHeader, frame: bytes | memoryview, taken_ns: int) -> None:
        """A message that was read at that time."""
        table = np.frombuffer(frame, "<i8").reshape(-1, _WORDS)
        if not len(table) or self._count >= MOST:
            return
        step = len(table) // SAMPLES + 1
        rows = table[::step, _COLUMNS]
        self._count += len(rows)
        self._sampled.append((header.parts, step, rows, header.send_ns, taken_ns))

    def took(self, shard: int, taken_ns: int) -> None:
        """There is something to publish of what was read at that time."""
        self._waiting.setdefault(shard, taken_ns)

    def published(self, shard: int, now_ns: int) -> None:
        taken_ns = self._waiting.pop(shard, None)
        if taken_ns is not None:
            self._published.setdefault(shard, deque(maxlen=SAMPLES)).append(now_ns - taken_ns)

    def told(self) -> dict[int, Figures]:
        """By shard, what was sampled since the last time."""
        sampled, self._sampled, self._count = self._sampled, [], 0
        published, self._published = self._published, {}
        shards: NDArray[np.int64] = np.empty(0, np.int64)
        times: NDArray[np.int64] = np.empty((0, 4), np.int64)
        if sampled:
            shards = np.concatenate([_shards(parts, step, len(rows)) for parts, step, rows, _, _ in sampled])
            times = np.concatenate([_stages(rows, send_ns, taken_ns) for *_, rows, send_ns, taken_ns in sampled])
        found: dict[int, Figures] = {}
        for shard in sorted({*shards.tolist(), *published}):
            own = times[shards == shard]
            of_trades = own[own[:, 3] == TRADE, 0]
            last = np.array(published.get(shard, ()), np.int64)
            found[shard] = [*_figures(of_trades), *_figures(own[:, 1]), *_figures(own[:, 2]), *_figures(last)]
        return found


def _shards(parts: list[list[Any]], step: int, count: int) -> NDArray[np.int64]:
    """The shard of each sampled record: they come in the order of the parts."""
    ends = list(accumulate([sum(part[4]) for part in parts]))
    numbers = np.array([part[0] for part in parts], np.int64)
    return numbers[np.searchsorted(ends, step * np.arange(count), side="right")]


def _stages(rows: NDArray[np.int64], send_ns: int, taken_ns: int) -> NDArray[np.int64]:
    """Of each sample the first three stages, in ns, and its kind."""
    event_ns, recv_ns, small = rows.T
    queue = np.full(len(rows), taken_ns - send_ns)
    return np.stack([recv_ns - event_ns, send_ns - recv_ns, queue, small >> _KIND_SHIFT & 0xFF], axis=1)


def _figures(times_ns: NDArray[np.int64]) -> Figures:
    if not len(times_ns):
        return [None] * len(FIGURES)
    ordered = np.sort(times_ns)
    p99 = ordered[ceil(0.99 * len(ordered)) - 1]
    return [round(float(value) / 1e6, 2) for value in (ordered.mean(), p99, ordered[-1])]
