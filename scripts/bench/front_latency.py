#!/usr/bin/env python3
"""From the moment at which a flush is due to the client that has read it: one front on one core, 20 times a second.

    .venv/bin/python scripts/bench/front_latency.py [--seconds 30] [--quick]

A real front process (with stamps: _stamped_front.py) on one core; a worker played here, and the load generator
(_load.c), on the other. Pairs trade 25 times a second, so that every window of 50 ms has news for every client. Clients
have five topics each, of 20 sets. The stamp is the moment at which the tick of the client's slice was due, so a flusher
that is late counts against itself; the end is the load generator's clock when it has the frame. What it takes of its
core is told: near 1 it is measured, and not the front.

Baseline: the same front with so few clients that nobody waits for others.
"""

import time
from typing import Any

import _common as common
from _front import Stage, Verdict, sets
from _load import Report

PAIRS, TOPICS, SETS, HZ, TRADES_HZ = 100, 5, 20, 20, 25
FEW = 100
ROOMS = ((3_000, 10.0), (5_000, 25.0))  # clients, ms of p99
PROGRAM = "scripts/bench/_stamped_front.py"
LEAST_HZ = 0.95 * HZ


def room(clients: int, seconds: float) -> dict[str, Any]:
    with Stage(PAIRS, program=PROGRAM, front_flush_ms=1000 // HZ) as stage:
        front, load = stage.front, stage.load
        stage.subscribe(sets(stage.market, clients, TOPICS, SETS))
        with stage.market.running(TRADES_HZ):
            before = load.open()
            time.sleep(min(seconds, 2.0))
            before |= load.report()
            cpu = front.cpu_s()
            report = stage.run(seconds)
            cpu = front.cpu_s() - cpu
        stage.quiet()
        verdict = Verdict(load, stage.market)
    if verdict.wrong:
        print(verdict)
    return figures(report, before, cpu) | {"clients": clients, "open": report["open"], "wrong": verdict.wrong}


def figures(report: Report, before: Report, cpu: float) -> dict[str, Any]:
    everyone, seconds = report["groups"][0], report["seconds"]
    return {
        "latency_ms": everyone["latency_ms"],
        "least_hz": everyone["least"] / seconds,
        "frames_s": report["frames"] / seconds,
        "core": cpu / seconds,
        "us_a_frame": cpu / max(report["frames"], 1) * 1e6,
        "load_core": (report["cpu_s"] - before["cpu_s"]) / seconds,
        "holes": report["holes"] + report["bad"],
    }


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    common.pin(1)
    seconds = 2.0 if args.quick else args.seconds
    sizes = [(100, 10.0), (200, 25.0)] if args.quick else list(ROOMS)
    rooms = [room(clients, seconds) for clients in (FEW if not args.quick else 20, *(size for size, _ in sizes))]
    common.table(
        ["clients", "p50, ms", "p90", "p99", "p99.9", "most", "frames/s", "fewest a client", "core", "load's core"],
        [
            (
                f"{one['clients']:,}",
                *(f"{one['latency_ms'].get(name, 0):.2f}" for name in ("p50", "p90", "p99", "p999", "most")),
                f"{one['frames_s']:,.0f}",
                f"{one['least_hz']:.1f}",
                f"{one['core']:.2f}",
                f"{one['load_core']:.2f}",
            )
            for one in rooms
        ],
    )
    targets = []
    for one, (clients, limit) in zip(rooms[1:], sizes, strict=True):
        targets += [
            common.Target(f"{clients:,} clients at {HZ} Hz: p99, ms", one["latency_ms"].get("p99", 1e9), limit),
            common.Target(f"{clients:,} clients: frames a second of each", one["least_hz"], LEAST_HZ, True),
        ]
    wrong = sum(one["wrong"] + one["holes"] + one["clients"] - one["open"] for one in rooms)
    targets.append(common.Target("wrong states, holes, lost clients", wrong, 0))
    common.finish("front_latency", args, {"seconds": seconds, "rooms": rooms}, targets)


if __name__ == "__main__":
    main()
