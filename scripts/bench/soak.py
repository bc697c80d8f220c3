#!/usr/bin/env python3
"""A feed for an hour: what it takes of a core, and whether its memory grows.

    .venv/bin/python scripts/bench/soak.py [--minutes 60] [--venue binance] [--messages 2000]

The simulated exchange (its market's rate is tuned until the feed receives `--messages` a second: trades, quotes and
books of all symbols) and the real feed (services/feed.py), each a process of its own, over real sockets on loopback. A
worker's PULL socket is drained here. Each minute: messages a second, the feed's processor time, its resident memory.
Prints a line a minute, then plots, and appends a JSON line to scripts/bench/results.jsonl. The first tenth of the time
is warm-up: caches fill, books become deep. `flat`: a line through the later readings rises by less than 1 MB an hour,
or all of them lie within 1 MB.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _common as common
import numpy as np
from _feed import Running

CPU_SHARE, FLAT_MB = 0.08, 1.0
TUNE_S, TUNINGS = 8.0, 4


def tuned(args: Any, directory: Path) -> Running:
    """A run in which the feed gets about as many messages a second as asked for."""
    rate = args.messages / 4
    tunings = 1 if args.quick else TUNINGS
    for tuning in range(tunings):
        place = directory / str(tuning)
        place.mkdir()
        running = Running(place, args.venue, args.symbols, rate)
        deadline = time.monotonic() + 60
        while running.messages < args.messages and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(3)
        had = running.rate(2 if args.quick else TUNE_S)
        if abs(had - args.messages) < args.messages * 0.06 or tuning == tunings - 1:
            print(f"the market's rate is {rate:,.0f} trades/s: {had:,.0f} messages/s", flush=True)
            return running
        running.stop()
        rate *= args.messages / max(had, 1.0)
    raise AssertionError("unreachable")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--venue", default="binance")
    parser.add_argument("--messages", type=float, default=2000.0, help="a second (default 2000)")
    parser.add_argument("--symbols", type=int, default=100)
    args = parser.parse_args()
    if args.quick:
        args.minutes = 0.1
    every_s = min(60.0, args.minutes * 6)
    samples = []
    with TemporaryDirectory(prefix="wick-") as folder:
        running = tuned(args, Path(folder))
        try:
            began = time.monotonic()
            count = round(args.minutes * 60 / every_s)
            for number in range(1, count + 1):
                cpu, messages, at = common.cpu_ns(running.feed), running.messages, time.monotonic()
                time.sleep(max(0.0, began + number * every_s - time.monotonic()))
                took = time.monotonic() - at
                share = (common.cpu_ns(running.feed) - cpu) / 1e9 / took
                rate, resident = (running.messages - messages) / took, running.resident_mb()
                samples.append((rate, share, resident))
                minute = f"{number * every_s / 60:6.1f} min"
                print(f"{minute}  {rate:8,.0f} messages/s  {share:6.2%} of a core  {resident:7.2f} MB", flush=True)
            stats = running.stats
        finally:
            running.stop()
    rates, shares, resident = np.array(samples).T
    late = resident[len(resident) // 10 :]
    hours = np.arange(len(late)) * every_s / 3600
    slope = float(np.polyfit(hours, late, 1)[0]) if len(late) > 2 else 0.0
    spread = float(late.max() - late.min())
    step = max(1, len(samples) // 20)
    shown = [(f"{(at + 1) * every_s / 60:.0f} min", float(resident[at])) for at in range(0, len(samples), step)]
    common.bars("resident memory", shown, "MB")
    for_2000 = float(shares.mean() * args.messages / rates.mean())
    print(f"{rates.mean():,.0f} messages/s, {shares.mean():.2%} of a core; memory {late[0]:.2f} to {late[-1]:.2f} MB, ")
    print(f"  {slope:+.2f} MB an hour, all within {spread:.2f} MB; gauges {json.dumps(stats.get('gauges', {}))}")
    figures = {
        "venue": args.venue, "minutes": args.minutes, "messages_s": float(rates.mean()),
        "cpu_share": float(shares.mean()), "resident_mb": [value for _, value in shown], "slope_mb_h": slope,
        "spread_mb": spread,
    }  # fmt: skip
    targets = [
        common.Target(f"share of a core at {args.messages:,.0f} messages/s", for_2000, CPU_SHARE),
        common.Target("growth of memory, MB: the less of slope an hour and spread", min(abs(slope), spread), FLAT_MB),
    ]
    common.finish("soak", args, figures, targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
