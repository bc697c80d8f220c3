#!/usr/bin/env python3
"""What metrics and patterns of a closed candle cost, 300 streams at once, against TA-Lib's streams and talipp.

    .venv/bin/python scripts/bench/metrics.py [--rounds 15] [--quick]

A round is 8 candles of 300 warm streams, given to each contender in turns. `take` is Bank.take, as the worker calls it:
all that is computed of a candle. `patterns` are `patterns.columns` of the same candles, which `take` has within; the
difference of the two is what metrics cost, their rings and state included. `take, each begun at another time` has to
gather every stream's rows, where `take` finds them side by side. `peek` is what a live candle costs. `alone` are
streams taken one by one. As the worker does, it has malloc keep what is freed (wick.ops.process.keep_freed_memory);
`take, memory given back` is the same as `take` with glibc's thresholds as they are when a process starts.

The baseline is what there is to feed a candle at a time. TA-Lib: its stream objects, kept open (`update`), one for each
indicator that is a field of ours, and all 61 patterns; it has streams for all fields that talipp knows, so that nothing
is left for talipp to add. talipp, pure Python: all that it has of our fields, for a twentieth of the streams. What
nobody offers (amihud, vpin, Garman-Klass, shapes, ...) only wick computes: more work, not counted. TA-Lib's values have
to be ours. Processor time on one core, the best of the rounds.
"""

import ctypes
import time
from collections.abc import Callable
from typing import Any

import _common as common
import numpy as np
import talib
import talipp.indicators as talipp
from _candles import taken
from numpy.typing import NDArray
from talipp.ohlcv import OHLCV

from wick.metrics import patterns
from wick.metrics.bank import CLOSE, HIGH, LOW, OPEN, VOLUME, Bank
from wick.metrics.pattern_table import NAMES as PATTERNS
from wick.metrics.processor import Processor
from wick.metrics.table import NAMES
from wick.metrics.window import WARM
from wick.ops.process import keep_freed_memory

STREAMS, AN_EIGHTH, A_TWENTIETH = 300, 37, 15
CANDLES = 8  # a round
KNOWN = 2 * WARM + 40  # candles that a stream has before the first round
AHEAD = 31  # candles that the first of the streams that begun at other times has more than the last
TARGET_US, TARGET_BYTES, TARGET_TIMES = 4.0, 6 * 1024, 20

# TA-Lib's streams by what they are fed: parameters, and the fields that their outputs are (None: it is made otherwise).
TALIB: dict[str, list[tuple[str, tuple[float, ...], tuple[str | None, ...]]]] = {
    "c": [
        ("RSI", (14,), ("rsi_14",)),
        ("MACD", (12, 26, 9), ("macd", "macd_signal", None)),
        ("ROC", (10,), ("roc_10",)),
        ("TSI", (25, 13), ("tsi_25_13",)),
        ("SMA", (20,), ("sma_20",)),
        ("EMA", (20,), ("ema_20",)),
        ("EMA", (50,), ("ema_50",)),
        ("HMA", (16,), ("hma_16",)),
        ("KAMA", (10,), ("kama_10",)),
        ("BBANDS", (20, 2.0, 2.0, 0), (None, None, None)),  # of which bb_percent_b and bb_bandwidth are made
    ],
    "hl": [
        ("DONCHIAN", (20,), ("donchian_upper_20", None, "donchian_lower_20")),
        ("SAR", (0.02, 0.2), ("psar",)),
    ],
    "hlc": [
        ("TRANGE", (), ("true_range",)),
        ("STOCH", (14, 3, 0, 3, 0), ("stoch_k", "stoch_d")),
        ("CCI", (20,), ("cci_20",)),
        ("ADX", (14,), ("adx_14",)),
        ("PLUS_DI", (14,), ("plus_di_14",)),
        ("MINUS_DI", (14,), ("minus_di_14",)),
        ("ULTOSC", (7, 14, 28), ("ultosc",)),
        ("ATR", (14,), ("atr_14",)),
        ("SUPERTREND", (10, 3.0), (None, None)),  # the direction is an output of its own, not a sign
    ],
    "hlcv": [("MFI", (14,), ("mfi_14",)), ("CMF", (20,), ("cmf_20",))],
    "cv": [("OBV", (), ("obv",))],
}
PLACES = {"o": OPEN, "h": HIGH, "l": LOW, "c": CLOSE, "v": VOLUME}
OUTPUTS = [name for some in TALIB.values() for _, _, names in some for name in names]
TALIB_FIELDS = len([name for name in OUTPUTS if name]) + 3  # bb_percent_b, bb_bandwidth, supertrend_10_3
TALIPP: list[Callable[[], Any]] = [
    lambda: talipp.RSI(14), lambda: talipp.MACD(12, 26, 9), lambda: talipp.ROC(10), lambda: talipp.TSI(13, 25),
    lambda: talipp.SMA(20), lambda: talipp.EMA(20), lambda: talipp.EMA(50), lambda: talipp.HMA(16),
    lambda: talipp.KAMA(10, 2, 30), lambda: talipp.BB(20, 2),
]  # fmt: skip
TALIPP_OF_CANDLES: list[Callable[[], Any]] = [
    lambda: talipp.Stoch(14, 3), lambda: talipp.CCI(20), lambda: talipp.ADX(14, 14), lambda: talipp.UO(7, 14, 28),
    lambda: talipp.DonchianChannels(20), lambda: talipp.ATR(14), lambda: talipp.SuperTrend(10, 3),
    lambda: talipp.ParabolicSAR(0.02, 0.02, 0.2), talipp.OBV,
]  # fmt: skip

TALIPP_FIELDS = 25

Said = NDArray[np.float64] | NDArray[np.int8] | None  # of the last candle of the round: (fields, streams)


class Contenders:
    """All of them on the same market; each is given the candles `start` … `end`."""

    def __init__(self, candles: int) -> None:
        self.candles = taken(candles, STREAMS)
        self.decimals = np.zeros((2, STREAMS), np.int64)  # so that values are in ticks and lots, as TA-Lib's
        self.columns = np.arange(STREAMS)
        depth = Processor().depth
        self.bank, self.other = Bank(depth), Bank(depth)
        self.single = Bank(depth)
        for bank in (self.bank, self.other, self.single):
            bank.widen(STREAMS)
            ahead = AHEAD if bank is self.other else 0
            for at in range(KNOWN):
                some = np.flatnonzero(self.columns % (AHEAD + 1) + at >= ahead)
                bank.take(some, self.candles[at][:, some], self.decimals[:, some])
        self.prices = [np.ascontiguousarray(self.candles[:, field]) for field in (OPEN, HIGH, LOW, CLOSE)]
        known = np.ascontiguousarray(self.candles[:KNOWN].transpose(2, 1, 0))
        self.rows = self.candles.transpose(0, 2, 1).tolist()  # candle, stream, field
        self.kept = [
            [
                [
                    getattr(talib.stream, name)(*(own[PLACES[one]] for one in fed), *parameters).update
                    for name, parameters, _ in some
                ]
                for fed, some in TALIB.items()
            ]
            for own in known
        ]
        self.kept_patterns = [
            [getattr(talib.stream, name)(*(own[field] for field in (OPEN, HIGH, LOW, CLOSE))).update
             for name in PATTERNS]
            for own in known
        ]  # fmt: skip
        self.of_closes = [[make() for make in TALIPP] for _ in range(A_TWENTIETH)]
        self.of_candles = [[make() for make in TALIPP_OF_CANDLES] for _ in range(A_TWENTIETH)]
        self.talipp(0, KNOWN)

    def take(self, start: int, end: int) -> Said:
        for at in range(start, end):
            values, _ = self.bank.take(self.columns, self.candles[at], self.decimals)
        return values

    def apart(self, start: int, end: int) -> Said:
        for at in range(start, end):
            self.other.take(self.columns, self.candles[at], self.decimals)
        return None

    def peek(self, start: int, end: int) -> Said:
        for _ in range(start, end):
            values, _ = self.bank.peek(self.columns, self.candles[start], self.decimals)
        return values

    def alone(self, start: int, end: int) -> Said:
        for at in range(start, end):
            for stream in range(AN_EIGHTH):
                one = slice(stream, stream + 1)
                self.single.take(self.columns[one], self.candles[at][:, one], self.decimals[:, one])
        return None

    def patterns(self, start: int, end: int) -> Said:
        for at in range(start, end):
            window = slice(at + 1 - patterns.ROWS, at + 1)
            found = patterns.columns(*(column[window] for column in self.prices), np.full(STREAMS, at + 1))
        return found

    def talib_metrics(self, start: int, end: int) -> Said:
        for at in range(start, end):
            said = []
            for (of_c, of_hl, of_hlc, of_hlcv, of_cv), row in zip(self.kept, self.rows[at], strict=True):
                _, _, h, l, c, _, v, _ = row  # noqa: E741
                said.append((
                    [update(c) for update in of_c], [update(h, l) for update in of_hl],
                    [update(h, l, c) for update in of_hlc], [update(h, l, c, v) for update in of_hlcv],
                    [update(c, v) for update in of_cv],
                ))  # fmt: skip
        return np.array([np.hstack([value for some in own for value in some]) for own in said]).T

    def talib_patterns(self, start: int, end: int) -> Said:
        for at in range(start, end):
            said = []
            for updates, row in zip(self.kept_patterns, self.rows[at], strict=True):
                _, o, h, l, c, *_ = row  # noqa: E741
                said.append([update(o, h, l, c) for update in updates])
        return (np.array(said).T // 20).astype(np.int8)

    def talipp(self, start: int, end: int) -> Said:
        for at in range(start, end):
            for closes, candles, row in zip(self.of_closes, self.of_candles, self.rows[at], strict=False):
                _, o, h, l, c, _, v, _ = row  # noqa: E741
                for one in closes:
                    one.add(c)
                candle = OHLCV(o, h, l, c, v)
                for one in candles:
                    one.add(candle)
        return None


def check(said: dict[str, Said]) -> None:
    """Who computes the same has to say the same."""
    mine = np.array([said["take"][NAMES.index(name)] for name in OUTPUTS if name])
    others = said["TA-Lib streams: metrics"][[at for at, name in enumerate(OUTPUTS) if name]]
    wrong = ~np.isclose(others, mine, rtol=1e-7, atol=1e-7).all(axis=1)
    if wrong.any():
        raise SystemExit(f"TA-Lib says something else: {np.array([name for name in OUTPUTS if name])[wrong]}")
    if not np.array_equal(said["patterns"], said["TA-Lib streams: patterns"]):
        raise SystemExit("TA-Lib finds other patterns")


def give_memory_back() -> bool:
    """Set malloc's thresholds to what they are when a process starts; false where it is not glibc's."""
    libc, of_trim, of_map, initial = ctypes.CDLL(None), -1, -3, 128 << 10
    return hasattr(libc, "mallopt") and bool(libc.mallopt(of_map, initial) and libc.mallopt(of_trim, initial))


def main() -> None:
    args = common.parser(__doc__, rounds=15).parse_args()
    rounds = 2 if args.quick else args.rounds
    common.pin()
    keep_freed_memory()
    contenders = Contenders(KNOWN + 2 * rounds * CANDLES)
    ways: dict[str, tuple[Callable[[int, int], Said], int]] = {
        "peek": (contenders.peek, STREAMS),
        "take": (contenders.take, STREAMS),
        "patterns": (contenders.patterns, STREAMS),
        "take, each begun at another time": (contenders.apart, STREAMS),
        "alone": (contenders.alone, AN_EIGHTH),
        "TA-Lib streams: metrics": (contenders.talib_metrics, STREAMS),
        "TA-Lib streams: patterns": (contenders.talib_patterns, STREAMS),
        "talipp": (contenders.talipp, A_TWENTIETH),
    }
    best: dict[str, float] = {}

    def measure(name: str, number: int, label: str) -> Said:
        way, streams = ways[name]
        start = KNOWN + number * CANDLES
        began = time.process_time_ns()
        said = way(start, start + CANDLES)
        took_us = (time.process_time_ns() - began) / 1e3 / (CANDLES * streams)
        best[label] = min(best.get(label, took_us), took_us)
        return said

    for number in range(rounds):
        check({name: measure(name, number, name) for name in ways})
    best["metrics: take less patterns"] = best["take"] - best["patterns"]
    if give_memory_back():
        for number in range(rounds, 2 * rounds):
            measure("take", number, "take, memory given back")

    metrics, own = best["metrics: take less patterns"], best["patterns"]
    times = {
        "metrics": best["TA-Lib streams: metrics"] / metrics,
        "patterns": best["TA-Lib streams: patterns"] / own,
        "metrics, talipp": best["talipp"] / metrics,
        "both": (best["TA-Lib streams: metrics"] + best["TA-Lib streams: patterns"]) / best["take"],
    }
    size = sum(array.nbytes for array in contenders.bank._arrays) / len(contenders.bank.count)
    handles = sum(len(some) for some in TALIB.values())
    print(f"{len(NAMES)} fields and {len(PATTERNS)} patterns of {rounds * CANDLES * STREAMS:,} candles")
    print(
        f"TA-Lib: {handles} streams for {TALIB_FIELDS} of the fields; talipp: {TALIPP_FIELDS}; best of {rounds} rounds"
    )
    common.table(["", "us a candle"], [(name, f"{value:.2f}") for name, value in best.items()])
    print(f"bytes of state a stream: {size:,.0f}")
    print(", ".join(f"{name}: {value:.1f} times faster" for name, value in times.items()))
    common.finish(
        "metrics",
        args,
        {"rounds": rounds, "us_a_candle": best, "times_faster": times},
        [
            common.Target("us a candle for the metrics of 300", metrics, TARGET_US),
            common.Target("bytes of state a stream", size, TARGET_BYTES),
            common.Target("times faster than TA-Lib's streams, metrics", times["metrics"], TARGET_TIMES, True),
            common.Target("times faster than TA-Lib's streams, patterns", times["patterns"], TARGET_TIMES, True),
            common.Target("times faster than talipp, metrics", times["metrics, talipp"], TARGET_TIMES, True),
        ],
    )


if __name__ == "__main__":
    main()
