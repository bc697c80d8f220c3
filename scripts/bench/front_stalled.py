#!/usr/bin/env python3
"""One client in ten stops reading: what the others notice, what it costs to keep them, and whether they wake up right.

    .venv/bin/python scripts/bench/front_stalled.py [--clients 3000] [--seconds 15] [--rounds 3] [--quick]

A real front process (with stamps: _stamped_front.py) on one core; a worker played here, and the load generator
(_load.c), on the other; everything moves 20 times a second, clients have five topics each, of 100 sets. A round: so
many seconds with all awake; a tenth stops reading, with receive buffers as small as the kernel lets them be, until its
queues are full; as many seconds so, and candles close twice; then they read again. Baseline: the same clients, healthy
ones only, in the seconds before. The p99 is of the time from the flush to the client, as in front_latency.py; of the
rounds the median of (stalled / before) counts.

Memory of a stalled client: what the front's private memory grew by while they were stalled, and what the kernel holds
for the front's sockets then (sock_diag: queues with their overhead), divided by the stalled. The front would cut them
off after front.client_stall_s (20 s); here it is told to be patient.

Resynced right: no DIFF starts where its client does not stand, and when trading stops every client, stalled before or
not, holds the market's state bit for bit, and every candle that closed meanwhile.
"""

import time
from statistics import median
from typing import Any

import _common as common
from _front import KNOWN_INTERVALS, Stage, Verdict, kernel_bytes, sets

CLIENTS, TOPICS, PAIRS, SETS, HZ, TRADES_HZ = 3_000, 5, 100, 100, 20, 25
EVERY = 10  # is stalled
RECEIVE_BUFFER = 2048
PROGRAM = "scripts/bench/_stamped_front.py"
RATIO, MOST_BYTES = 1.10, 20_480
FULL_S, PATIENCE_S = 2.0, 600


def until_full(stage: Stage) -> None:
    """Until the kernel's queues of the front's sockets grow no more."""
    before = -1
    while (now := sum(kernel_bytes(stage.front.port).values())) > before * 1.02:
        before = now
        time.sleep(FULL_S)


def round_of(stage: Stage, seconds: float) -> dict[str, Any]:
    load, front = stage.load, stage.front
    awake = stage.run(seconds)
    memory = front.memory_kb()["private"]
    load.stall()
    time.sleep(FULL_S)
    until_full(stage)
    report = stage.run(seconds)
    grown = (front.memory_kb()["private"] - memory) * 1024
    kernel = sum(kernel_bytes(front.port).values())
    for interval in KNOWN_INTERVALS * 2:
        stage.market.close_candles(interval)
    stalled = report["groups"][1]["open"]
    load.report()
    load.wake()
    time.sleep(2.0)
    woken = load.report()
    before, after = (one["groups"][0]["latency_ms"].get("p99", 1e9) for one in (awake, report))
    return {
        "stalled": stalled, "p99_ms": before, "p99_stalled_ms": after, "ratio": after / before,
        "front_bytes": grown / stalled, "kernel_bytes": kernel / stalled, "bytes": (grown + kernel) / stalled,
        "frames_while_stalled": report["groups"][1]["most"], "snapshots": woken["messages"].get("snapshot", 0),
        "trouble": sum(
            one["holes"] + one["bad"] + sum(one["closed"].values()) for one in (awake, report, woken)
        ),
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, rounds=3)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=15.0)
    args = parser.parse_args()
    common.pin(1)
    clients, seconds, count = (100, 1.0, 1) if args.quick else (args.clients, args.seconds, args.rounds)
    settings = {"front_flush_ms": 1000 // HZ, "front_client_stall_s": PATIENCE_S}
    with Stage(PAIRS, {"receive_buffer": RECEIVE_BUFFER}, program=PROGRAM, **settings) as stage:
        wanted = sets(stage.market, clients, TOPICS, min(SETS, clients))
        stage.subscribe(wanted, lambda number: int(number % EVERY == 0))
        with stage.market.running(TRADES_HZ):
            stage.load.open()
            time.sleep(min(seconds, 2.0))
            rounds = [round_of(stage, seconds) for _ in range(count)]
        stage.quiet()
        verdict = Verdict(stage.load, stage.market, closes=True)
    print(f"{clients:,} clients at {HZ} Hz, {rounds[0]['stalled']} of them stalled; {verdict}")
    common.table(
        ["round", "p99 before, ms", "p99, ms", "ratio", "front, bytes a stalled", "kernel, bytes", "snapshots after"],
        [
            (
                number + 1,
                f"{one['p99_ms']:.2f}",
                f"{one['p99_stalled_ms']:.2f}",
                f"{one['ratio']:.2f}",
                f"{one['front_bytes']:,.0f}",
                f"{one['kernel_bytes']:,.0f}",
                one["snapshots"],
            )
            for number, one in enumerate(rounds)
        ],
    )
    most = max(one["bytes"] for one in rounds)
    wrong = verdict.wrong + sum(one["trouble"] for one in rounds)
    common.finish(
        "front_stalled",
        args,
        {"clients": clients, "rounds": rounds, "compared": verdict.subscriptions, "wrong": verdict.wrong},
        [
            common.Target("p99 of the others, times that before", median(one["ratio"] for one in rounds), RATIO),
            common.Target("bytes of a stalled client, kernel included", most, MOST_BYTES),
            common.Target("wrong states, holes, lost candles or clients", wrong, 0),
        ],
    )


if __name__ == "__main__":
    main()
