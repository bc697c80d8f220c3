#!/usr/bin/env python3
"""What the 61 candle patterns of a closed candle cost, 300 streams at once or one alone, against TA-Lib's streams.

    .venv/bin/python scripts/bench/patterns.py [--rounds 15] [--quick]

300 streams of drawn candles, in whole ticks. A round is some candles of all of them, given to each contender in turns:
`columns` gets the last candles of all streams, once a candle, `one` those of each stream. TA-Lib has two ways to do it
live: `talib.stream.CDL…` opened on the last candles each time, and 61 of them kept for each stream, which are told the
new candle (`update`); the faster one is the baseline. Opening them takes so long that it gets an eighth of the streams.
All have to say the same. Processor time on one core, the best of the rounds.
"""

import time
from collections.abc import Callable

import _common as common
import numpy as np
import talib
from _candles import drawn
from numpy.typing import NDArray

from wick.metrics.pattern_table import NAMES
from wick.metrics.patterns import ROWS, columns, one

STREAMS, AN_EIGHTH = 300, 37
CANDLES = 8  # a round
KNOWN = ROWS + 15  # candles that a stream has before the first round
TARGET_US, TARGET_ONE_US, TARGET_TIMES = 1.5, 6.0, 20

Said = NDArray[np.int8]  # (candles, 61, streams)


class Contenders:
    """All of them on the same market; each is given the candles `start` … `end` and gives what it says of them."""

    def __init__(self, candles: int) -> None:
        self.prices = drawn(candles, STREAMS)
        self.lists = [column.T.tolist() for column in self.prices]
        self.rows = np.stack(self.prices, axis=2).tolist()  # candle, stream, price
        self.by_stream = [np.ascontiguousarray(column.T) for column in self.prices]
        self.opened = [getattr(talib.stream, name) for name in NAMES]
        self.kept = [
            [opened(*(column[stream, :KNOWN] for column in self.by_stream)).update for opened in self.opened]
            for stream in range(STREAMS)
        ]

    def columns(self, start: int, end: int) -> Said:
        said = []
        for at in range(start, end):
            window = slice(at + 1 - ROWS, at + 1)
            said.append(columns(*(column[window] for column in self.prices), np.full(STREAMS, at + 1)))
        return np.array(said)

    def one(self, start: int, end: int) -> Said:
        said = []
        for at in range(start, end):
            window = slice(at + 1 - ROWS, at + 1)
            for o, h, l, c in zip(*self.lists, strict=True):  # noqa: E741
                said.append(one(o[window], h[window], l[window], c[window], at + 1))
        found = np.frombuffer(b"".join(said), np.int8)
        return found.reshape(end - start, STREAMS, -1).transpose(0, 2, 1)

    def keeping(self, start: int, end: int) -> Said:
        said = [
            [update(o, h, l, c) for update in updates]
            for at in range(start, end)
            for updates, (o, h, l, c) in zip(self.kept, self.rows[at], strict=True)  # noqa: E741
        ]
        return np.array(said).reshape(end - start, STREAMS, -1).transpose(0, 2, 1) // 20

    def opening(self, start: int, end: int) -> Said:
        said = []
        for at in range(start, end):
            window = slice(at + 1 - KNOWN, at + 1)
            for stream in range(AN_EIGHTH):
                last = [column[stream, window] for column in self.by_stream]
                said.append([opened(*last).value for opened in self.opened])
        return np.array(said).reshape(end - start, AN_EIGHTH, -1).transpose(0, 2, 1) // 20


def main() -> None:
    args = common.parser(__doc__, rounds=15).parse_args()
    rounds = 2 if args.quick else args.rounds
    common.pin()
    contenders = Contenders(KNOWN + rounds * CANDLES)
    ways: dict[str, tuple[Callable[[int, int], Said], int]] = {
        "columns, 300 streams": (contenders.columns, STREAMS),
        "one": (contenders.one, STREAMS),
        "TA-Lib streams, kept": (contenders.keeping, STREAMS),
        "TA-Lib streams, opened": (contenders.opening, AN_EIGHTH),
    }
    best = dict.fromkeys(ways, float("inf"))
    found = 0
    for number in range(rounds):
        start = KNOWN + number * CANDLES
        expected: Said | None = None
        for name, (way, streams) in ways.items():
            began = time.process_time_ns()
            said = way(start, start + CANDLES)
            best[name] = min(best[name], (time.process_time_ns() - began) / 1e3 / (CANDLES * streams))
            expected = said if expected is None else expected
            if not np.array_equal(said, expected[:, :, :streams]):
                raise SystemExit(f"{name} says something else")
        found += np.count_nonzero(expected)

    baseline = min(value for name, value in best.items() if name.startswith("TA-Lib"))
    candles = rounds * CANDLES * STREAMS
    print(f"{len(NAMES)} patterns of {candles:,} candles, {found / candles:.1f} found in each, best of {rounds} rounds")
    common.table(
        ["", "us a candle", "times TA-Lib"],
        [(name, f"{value:.2f}", f"{baseline / value:.1f}") for name, value in best.items()],
    )
    common.finish(
        "patterns",
        args,
        {"candles": candles, "rounds": rounds, "us_a_candle": best},
        [
            common.Target("us a candle in columns of 300", best["columns, 300 streams"], TARGET_US),
            common.Target("us a candle alone", best["one"], TARGET_ONE_US),
            common.Target("times faster than TA-Lib", baseline / best["columns, 300 streams"], TARGET_TIMES, True),
        ],
    )


if __name__ == "__main__":
    main()
