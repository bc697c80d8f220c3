#!/usr/bin/env python3
"""How many recorded frames a second `wick candles` handles on one core, against a naive loop over the same files.

    .venv/bin/python scripts/bench/candles_offline.py [FILE ...] [--rounds 5] [--quick]

The naive loop is what one writes first: gzip, json.loads of every frame, Decimal, a dict of candles; it checks
nothing and merges nothing. Both make all twelve intervals, `wick candles` also once with --metrics; each round is a
process of its own (start-up included), the rounds take turns and the best counts.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import _common as common

TARGET = 100_000  # frames a second

WICK = "import sys; from wick.cli import main; sys.exit(main())"
LENGTHS = (15, 30, 60, 180, 300, 900, 1800, 3600, 14_400, 86_400, 604_800)


def naive(files: list[str]) -> None:
    """The baseline: candles by (symbol, length, open time)."""
    candles: dict[tuple[str, int | str, int], list[Decimal]] = {}
    for path in files:
        with gzip.open(path, "rt") as file:
            for line in file:
                data = json.loads(line.split(" ", 1)[1]).get("data", {})
                if data.get("e") != "trade":
                    continue
                price, quantity, seconds = Decimal(data["p"]), Decimal(data["q"]), data["T"] // 1000
                bought = Decimal(0) if data["m"] else quantity
                day = datetime.fromtimestamp(seconds, UTC)
                keys: list[tuple[str, int | str, int]] = [(data["s"], n, seconds // n) for n in LENGTHS]
                for key in [*keys, (data["s"], "1M", day.year * 12 + day.month)]:
                    candle = candles.get(key)
                    if candle is None:
                        candles[key] = [price, price, price, price, quantity, quantity * price, Decimal(1), bought]
                        continue
                    candle[1] = max(candle[1], price)
                    candle[2] = min(candle[2], price)
                    candle[3] = price
                    candle[4] += quantity
                    candle[5] += quantity * price
                    candle[6] += 1
                    candle[7] += bought
    for key in sorted(candles, key=str):
        print(*key, *candles[key], sep=",")


def measure(command: list[str]) -> dict[str, float]:
    """Seconds of wall clock and of processor, and peak memory, of a process (on our core: it inherits that)."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=common.ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:3]} ended with {process.returncode}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def frames(files: list[str]) -> int:
    count = 0
    for path in files:
        with gzip.open(path) as file:
            count += sum(1 for _ in file)
    return count


def main() -> None:
    parser = common.parser(__doc__, rounds=5)
    parser.add_argument("files", nargs="*", default=[str(path) for path in sorted(common.RECORDINGS.glob("*.gz"))])
    parser.add_argument("--naive", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    files = [str(Path(path).resolve()) for path in args.files]
    if args.naive:
        naive(files)
        return
    if args.quick:
        files = files[:1]
    if not files:
        raise SystemExit(f"no recordings in {common.RECORDINGS}: name some files")

    wick = [sys.executable, "-c", WICK, "candles", *files, "--interval", "all", "--format", "csv"]
    contenders = {
        "wick candles": wick,
        "with --metrics": [*wick, "--metrics"],
        "naive loop": [sys.executable, __file__, *files, "--naive"],
    }
    common.pin()
    turns = 1 if args.quick else args.rounds
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, command in contenders.items():
            rounds[name].append(measure(command))
    best = {name: min(some, key=lambda one: one["wall_s"]) for name, some in rounds.items()}
    count = frames(files)

    print(f"{count:,} frames, all twelve intervals, one core, best of {turns}, start-up included")
    common.table(
        ["", "frames/s", "wall s", "cpu s", "us/frame", "peak MB"],
        [
            (name, f"{count / one['wall_s']:,.0f}", f"{one['wall_s']:.2f}", f"{one['cpu_s']:.2f}",
             f"{one['wall_s'] / count * 1e6:.2f}", f"{one['peak_mb']:.0f}")
            for name, one in best.items()
        ],
    )  # fmt: skip
    common.finish(
        "candles_offline",
        args,
        {
            "frames": count, "rounds": turns,
            "frames_per_s": {name: round(count / one["wall_s"]) for name, one in best.items()}, "best": best,
        },
        [common.Target("frames a second", count / best["wick candles"]["wall_s"], TARGET, True)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
