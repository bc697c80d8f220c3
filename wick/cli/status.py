"""Show the state of every process of a running wick: state, rate, age of its newest data.

Each process says these things of itself once a second; one that says nothing is down. Behind them stands, for each
worker, its slowest shard: how long its ticks of the last second took from the venue to publication. --lag shows all
shards. The exit status is 0 where all processes run, 1 otherwise.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import zmq

from wick.errors import WickError
from wick.net import bus
from wick.net.clock import now_ns
from wick.ops.logs import escape
from wick.ops.settings import Settings, load
from wick.stream.stages import FIGURES, STAGES, Figures
from wick.wire.codec import unpack

HELP = "show the state, rate and age of data of every process"

WAIT_S = 2.5  # processes publish once a second
HEALTHY = ("running",)
COLUMNS = ("PROCESS", "STATE", "RATE", "AGE", "UPTIME", "PID", "DETAILS")
TROUBLE = (
    "lost", "dropped", "refused", "bad_", "failed", "holes", "held_back", "unknown", "over_limit", "flooding",
    "unread", "gaps", "checksums", "crossed", "overflow", "stale", "too_late", "failing", "_cut",
)  # fmt: skip
LAG_COLUMNS = ("WORKER", "SHARD", *[f"{stage.upper()} ms ({' / '.join(FIGURES)})" for stage in STAGES])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a process")
    parser.add_argument("--lag", action="store_true", help="also how long ticks take, stage by stage, of every shard")
    parser.add_argument("--data-dir", metavar="DIR", help="core.data_dir of the wick to look at")


def settings_of(args: argparse.Namespace) -> Settings:
    return load(["--core-data-dir", args.data_dir] if args.data_dir else [])


def expected(settings: Settings) -> list[str]:
    """The processes that should be there: those of the settings, and further fronts that have a socket."""
    run_dir = Path(settings["core.data_dir"]) / "run"
    if not run_dir.is_dir():
        raise WickError(f"no wick has run in {str(run_dir.parent)!r}: start one (scripts/run), or name its --data-dir")
    fronts = {"front-0", *(path.stem for path in run_dir.glob("front-*.pub"))}
    workers = [f"aggregator-{index}" for index in range(settings["aggregator.workers"])]
    return ["feed-0", *workers, *sorted(fronts), "sink-0"]


def collect(settings: Settings, names: list[str], wait_s: float = WAIT_S) -> dict[str, dict[str, Any]]:
    """The newest stats of each process that speaks within `wait_s`."""
    socket = bus.subscriber(settings["core.data_dir"], names, [b"stats."])
    heard: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + wait_s
    while len(heard) < len(names) and (left := deadline - time.monotonic()) > 0:
        if socket.poll(int(left * 1000) + 1, zmq.POLLIN):
            stats = unpack(socket.recv_multipart()[1])
            heard[stats["process"]] = stats
    socket.close(linger=0)
    return heard


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    names = expected(settings)
    heard = collect(settings, names)
    if args.json:
        for name in names:
            print(json.dumps(heard.get(name, {"process": name, "state": "down"})))
    else:
        _print_table([COLUMNS, *(_line(name, heard.get(name)) for name in names)])
        lags = {name: lag for name in names if (lag := heard.get(name, {}).get("gauges", {}).get("lag"))}
        for name, lag in lags.items():
            print(escape(_slowest(name, lag)))
        if args.lag:
            _print_table([LAG_COLUMNS, *(_lag_line(name, *one) for name, lag in lags.items() for one in lag.items())])
    return 0 if all(heard.get(name, {}).get("state") in HEALTHY for name in names) else 1


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _line(name: str, stats: dict[str, Any] | None) -> tuple[str, ...]:
    if stats is None:
        return (name, "down", "-", "-", "-", "-", "")
    age_ms = stats["age_ms"]
    if age_ms is not None:
        age_ms += (now_ns() - stats["time_ns"]) // 1_000_000
    details = flat({name: value for name, value in stats["gauges"].items() if name != "lag"})
    details |= {key: value for key, value in stats["counters"].items() if _is_trouble(key)}
    return (
        name,
        escape(stats["state"]),
        f"{stats['rate']:,.0f} {stats['unit']}/s",
        "-" if age_ms is None else f"{age_ms / 1000:.1f} s",
        _duration((stats["time_ns"] - stats["started_ns"]) // 10**9),
        str(stats["pid"]),
        escape(" ".join(f"{key}={value}" for key, value in details.items() if value)),
    )


def flat(gauges: dict[Any, Any], before: str = "") -> dict[str, Any]:
    """What a process says of itself without levels: `connections.open`; a list is its values, with commas."""
    found: dict[str, Any] = {}
    for key, value in gauges.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = ",".join(map(str, value)) if isinstance(value, list) else value
    return found


# ---------------------------------------------------------------------- lag


def _by_stage(figures: Figures) -> list[Figures]:
    width = len(FIGURES)
    return [figures[at : at + width] for at in range(0, width * len(STAGES), width)]


def _slowest(name: str, lag: dict[int, Figures]) -> str:
    """The shard that takes the longest, by what all but one of a hundred ticks take at each stage."""
    p99 = FIGURES.index("p99")
    worst = {shard: [one[p99] or 0 for one in _by_stage(figures)] for shard, figures in lag.items()}
    shard, times = max(worst.items(), key=lambda one: sum(one[1]))
    each = ", ".join(f"{stage} {time:.1f}" for stage, time in zip(STAGES, times, strict=True))
    return f"{name}: the slowest shard is {shard}, {sum(times):.1f} ms from the venue to publication (p99: {each})"


def _lag_line(name: str, shard: int, figures: Figures) -> tuple[str, ...]:
    cells = (["-" if time is None else f"{time:.1f}" for time in one] for one in _by_stage(figures))
    return (name, str(shard), *[" / ".join(cell) for cell in cells])


def _is_trouble(counter: str) -> bool:
    return any(word in counter for word in TROUBLE)


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"
