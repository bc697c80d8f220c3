"""Show the state of every process of a running wick: state, rate, age of its newest data.

Each process says these things of itself once a second; one that says nothing is down. The exit status is 0 where all
of them run, 1 otherwise.
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
from wick.wire.codec import unpack

HELP = "show the state, rate and age of data of every process"

WAIT_S = 2.5  # processes publish once a second
HEALTHY = ("running",)
COLUMNS = ("PROCESS", "STATE", "RATE", "AGE", "UPTIME", "PID", "DETAILS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a process")
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
        rows = [COLUMNS, *(_line(name, heard.get(name)) for name in names)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(heard.get(name, {}).get("state") in HEALTHY for name in names) else 1


def _line(name: str, stats: dict[str, Any] | None) -> tuple[str, ...]:
    if stats is None:
        return (name, "down", "-", "-", "-", "-", "")
    age_ms = stats["age_ms"]
    if age_ms is not None:
        age_ms += (now_ns() - stats["time_ns"]) // 1_000_000
    details = {key: value for key, value in stats["gauges"].items() if value}
    details |= {key: value for key, value in stats["counters"].items() if _is_trouble(key) and value}
    return (
        name,
        escape(stats["state"]),
        f"{stats['rate']:,.0f} {stats['unit']}/s",
        "-" if age_ms is None else f"{age_ms / 1000:.1f} s",
        _duration((stats["time_ns"] - stats["started_ns"]) // 10**9),
        str(stats["pid"]),
        escape(" ".join(f"{key}={value}" for key, value in details.items())),
    )


def _is_trouble(counter: str) -> bool:
    words = (
        "lost",
        "dropped",
        "refused",
        "bad_",
        "failed",
        "holes",
        "held_back",
        "unknown",
        "over_limit",
        "lags",
        "merged",
    )
    return any(word in counter for word in words)


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"
