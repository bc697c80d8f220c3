#!/usr/bin/env python3
"""How many recorded frames a second `wick candles` handles on one core, against a naive loop over the same files.

    .venv/bin/python scripts/bench/candles_offline.py [FILE ...] [--rounds 5]

The naive loop is what one writes first: gzip, json.loads of every frame, Decimal, a dict of candles; it checks
nothing and merges nothing. Both make all twelve intervals, each round is a process of its own (start-up included),
the rounds take turns and the best counts. Prints a table, and appends a JSON line to scripts/bench/results.jsonl.
"""

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT.parent / "shared" / "data" / "binance-spot"
RESULTS = Path(__file__).with_name("results.jsonl")
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
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
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


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def machine() -> str:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=[str(path) for path in sorted(RECORDINGS.glob("*.gz"))])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--naive", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    files = [str(Path(path).resolve()) for path in args.files]
    if args.naive:
        naive(files)
        return
    if not files:
        raise SystemExit(f"no recordings in {RECORDINGS}: name some files")

    contenders = {
        "wick candles": [sys.executable, "-c", WICK, "candles", *files, "--interval", "all", "--format", "csv"],
        "naive loop": [sys.executable, __file__, *files, "--naive"],
    }
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, command in contenders.items():
            rounds[name].append(measure(command))
    best = {name: min(some, key=lambda one: one["wall_s"]) for name, some in rounds.items()}
    count = frames(files)

    print(f"{count:,} frames, all twelve intervals, one core, best of {args.rounds}, start-up included")
    print(f"{'':14}{'frames/s':>12}{'wall s':>9}{'cpu s':>8}{'us/frame':>10}{'peak MB':>9}")
    for name, one in best.items():
        rate, each = count / one["wall_s"], one["wall_s"] / count * 1e6
        print(f"{name:14}{rate:12,.0f}{one['wall_s']:9.2f}{one['cpu_s']:8.2f}{each:10.2f}{one['peak_mb']:9.0f}")
    rate = count / best["wick candles"]["wall_s"]
    ratio = best["naive loop"]["wall_s"] / best["wick candles"]["wall_s"]
    print(f"{ratio:.2f} times the naive loop; target {TARGET:,} frames/s: {'met' if rate >= TARGET else 'MISSED'}")

    figures = {name: {key: round(value, 3) for key, value in one.items()} for name, one in best.items()}
    record = {
        "bench": "candles_offline",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else ""),
        "machine": machine(),
        "frames": count,
        "rounds": args.rounds,
        "frames_per_s": {name: round(count / one["wall_s"]) for name, one in best.items()},
        "best": figures,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
