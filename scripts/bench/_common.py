"""What the benchmarks share: command line, machine, processor time, tables, verdicts, and the record of results.

Whoever imports it gets the wick of this tree, also where another one is installed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT.parent / "shared" / "data" / "binance-spot"
RESULTS = Path(__file__).with_name("results.jsonl")
BAR = 48  # characters of the longest bar of a plot

sys.path.insert(0, str(ROOT))


# ---------------------------------------------------------------------- the command line


def parser(doc: str | None, rounds: int = 0) -> argparse.ArgumentParser:
    """The options that all have; `rounds` is the default of `--rounds`, 0 where there are none."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="small numbers: shows that it works, its figures say little")
    made.add_argument("--results", type=Path, help=f"where the JSON line goes (default {RESULTS.name}; quick: nowhere)")
    if rounds:
        made.add_argument("--rounds", type=int, default=rounds, help=f"rounds, taken in turns (default {rounds})")
    return made


# ---------------------------------------------------------------------- the machine


def pin(core: int = 0) -> None:
    """This process, and what it starts, on one core (the `core`-th of those that we may use)."""
    os.sched_setaffinity(0, {cores()[core % len(cores())]})


def pin_process(pid: int, core: int) -> None:
    os.sched_setaffinity(pid, {cores()[core % len(cores())]})


_CORES = sorted(os.sched_getaffinity(0))


def cores() -> list[int]:
    """The cores that we may use, as it was at the start."""
    return _CORES


def cpu_ns(pid: int) -> int:
    """Processor time of a process, all its threads, user and system, to the nanosecond (Linux: its CPU clock)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


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


# ---------------------------------------------------------------------- what is printed


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they need to be; the first to the left, the numbers to the right."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))


def bars(title: str, points: Iterable[tuple[object, float]], unit: str) -> None:
    """A plot as text: one bar a point, from zero."""
    some = list(points)
    most = max((value for _, value in some), default=0) or 1
    print(f"{title} ({unit})")
    for label, value in some:
        print(f"{label!s:>10} {value:10,.2f} {'#' * round(value / most * BAR)}")


class Target(NamedTuple):
    """A figure that is asked for: `limit` is the most (or with `at_least` the least) that it may be."""

    what: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def finish(name: str, args: argparse.Namespace, figures: dict[str, Any], targets: Sequence[Target]) -> None:
    """Say which targets are met, and append the run to the record."""
    for target in targets:
        sign, verdict = (">=" if target.at_least else "<="), ("met" if target.met else "MISSED")
        print(f"target: {target.what} {sign} {target.limit:,g}: {target.value:,.4g}, {verdict}")
    path = args.results or (None if args.quick else RESULTS)
    if path is None:
        return
    record = {
        "bench": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else ""),
        "machine": machine(),
        **({"quick": True} if args.quick else {}),
        "targets": {one.what: {"value": rounded(one.value), "limit": one.limit, "met": one.met} for one in targets},
        **rounded(figures),
    }
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def rounded(value: Any) -> Any:
    """Floats to four significant digits, wherever they stand."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return value
