#!/usr/bin/env python3
"""How many clients one front holds, in how much memory, and what it takes of a core while all are told twice a second.

    .venv/bin/python scripts/bench/front_capacity.py [--clients 15000] [--minutes 10] [--quick]

A real front process on one core; a worker played here, and the load generator (_load.c), on the other. 300 pairs trade
twice a second, and front.flush_ms is 500: so every client, each with five topics (tickers and candles), is told twice a
second, evenly spread. Two rooms, one after the other: `distinct`, where every client has topics of its own (cohorts of
one: the hardest), for the minutes asked; and `shared`, where 100 sets are shared, for a tenth of that.

Private memory of a client: what the front's private memory (smaps_rollup) grew by from no client, with all pairs known
and trading, divided by the clients; what it is 10 s after all are subscribed, and the most it was. `memory` counts what
the kernel holds for the front's sockets too. At the end trading stops, and what every client holds must be the market's
state, bit for bit.

Baseline: the front without clients (its memory and processor time are told, and subtracted where it says so).
"""

import time
from typing import Any

import _common as common
from _front import Stage, Verdict, kernel_bytes, sets

CLIENTS, TOPICS, PAIRS, HZ, MINUTES = 15_000, 5, 300, 2, 10.0
SHARED_SETS = 100
LOAD = {"sources": 16}
LEAST_HZ, MOST_MB, MOST_BYTES = 0.95 * HZ, 45.0, 1024.0


def hold(clients: int, distinct: int, seconds: float, pairs: int) -> dict[str, Any]:
    with Stage(pairs, LOAD, front_flush_ms=1000 // HZ) as stage:
        front, load = stage.front, stage.load
        with stage.market.running(HZ):
            time.sleep(min(5.0, seconds))
            before, cpu = front.memory_kb(), front.cpu_s()
            idle_s = min(5.0, seconds)
            time.sleep(idle_s)
            idle = (front.cpu_s() - cpu) / idle_s
            stage.subscribe(sets(stage.market, clients, TOPICS, distinct))
            opened = load.open()
            time.sleep(min(10.0, seconds))
            settled = front.memory_kb()
            kernel = sum(kernel_bytes(front.port).values())
            most, deadline, cpu = settled, time.monotonic() + seconds, front.cpu_s()
            load.report()
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 5.0))
                most = {name: max(size, most[name]) for name, size in front.memory_kb().items()}
            report, cpu = load.report(), front.cpu_s() - cpu
        stage.quiet()
        verdict = Verdict(load, stage.market)
    if verdict.wrong:
        print(verdict)
    everyone, frames = report["groups"][0], max(report["frames"], 1)
    return {
        "clients": clients, "sets": distinct, "seconds": report["seconds"],
        "open": report["open"], "dropped": sum(report["closed"].values()) + clients - report["open"],
        "opened_s": opened["told_s"], "holes": report["holes"] + opened["holes"], "bad": report["bad"] + opened["bad"],
        "least_hz": everyone["least"] / report["seconds"], "most_hz": everyone["most"] / report["seconds"],
        "rss_mb": settled["rss"] / 1024, "most_rss_mb": most["rss"] / 1024, "empty_rss_mb": before["rss"] / 1024,
        "bytes_a_client": (settled["private"] - before["private"]) * 1024 / clients,
        "most_bytes_a_client": (most["private"] - before["private"]) * 1024 / clients,
        "kernel_bytes_a_client": kernel / clients,
        "core": cpu / report["seconds"], "idle_core": idle,
        "us_a_frame": cpu / frames * 1e6, "us_a_frame_without_idle": (cpu - idle * report["seconds"]) / frames * 1e6,
        "bytes_a_frame": report["bytes"] / frames, "load_core": load_core(report, opened),
        "wrong": verdict.wrong, "compared": verdict.subscriptions,
    }  # fmt: skip


def load_core(report: dict[str, Any], before: dict[str, Any]) -> float:
    """Of the load generator's core: above 0.9 it is what is measured."""
    return float((report["cpu_s"] - before["cpu_s"]) / report["seconds"])


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    args = parser.parse_args()
    common.pin(1)
    clients, seconds, pairs = (200, 2.0, 40) if args.quick else (args.clients, args.minutes * 60, PAIRS)
    rooms = {
        "distinct": hold(clients, clients, seconds, pairs),
        "shared": hold(clients, min(SHARED_SETS, clients), max(seconds / 10, 2.0), pairs),
    }
    lines = {
        "clients held, of": lambda room: f"{room['open']:,} / {room['clients']:,}",
        "for, s": lambda room: f"{room['seconds']:.0f}",
        "dropped": lambda room: room["dropped"],
        "all subscribed after, s": lambda room: f"{room['opened_s']:.1f}",
        "frames a second, fewest and most": lambda room: f"{room['least_hz']:.2f} {room['most_hz']:.2f}",
        "front, RSS, MB (most)": lambda room: f"{room['rss_mb']:.1f} ({room['most_rss_mb']:.1f})",
        "front without clients, MB": lambda room: f"{room['empty_rss_mb']:.1f}",
        "private bytes a client (most)": lambda room: (
            f"{room['bytes_a_client']:.0f} ({room['most_bytes_a_client']:.0f})"
        ),
        "queued in the kernel, bytes a client": lambda room: f"{room['kernel_bytes_a_client']:.0f}",
        "of a core (without clients)": lambda room: f"{room['core']:.2f} ({room['idle_core']:.2f})",
        "us of processor a frame": lambda room: f"{room['us_a_frame']:.2f}",
        "bytes a frame": lambda room: f"{room['bytes_a_frame']:.0f}",
        "load generator, of a core": lambda room: f"{room['load_core']:.2f}",
        "subscriptions that hold another state": lambda room: f"{room['wrong']} of {room['compared']:,}",
    }
    common.table(["", *rooms], [(name, *(line(room) for room in rooms.values())) for name, line in lines.items()])
    targets = []
    for name, room in rooms.items():
        targets += [
            common.Target(f"{name}: clients held", room["open"], clients, True),
            common.Target(f"{name}: dropped", room["dropped"], 0),
            common.Target(f"{name}: frames a second of each", room["least_hz"], LEAST_HZ, True),
            common.Target(f"{name}: RSS of the front, MB", room["most_rss_mb"], MOST_MB),
            common.Target(f"{name}: private bytes a client", room["bytes_a_client"], MOST_BYTES),
            common.Target(f"{name}: wrong states, holes, bad messages", room["wrong"] + room["holes"] + room["bad"], 0),
        ]
    common.finish("front_capacity", args, {"rooms": rooms}, targets)


if __name__ == "__main__":
    main()
