#!/usr/bin/env python3
"""All clients lose their connection in one moment and come back in another: how long until all are resumed.

    .venv/bin/python scripts/bench/front_reconnect.py [--clients 7000] [--rounds 3] [--quick]

A real front process on one core; a worker played here, and the load generator (_load.c), on the other; 300 pairs trade
ten times a second, clients have five topics each, of 100 sets. Two ways to lose a connection, in turns: `cut`, the
network drops all at once; `killed`, the front gets SIGKILL, and another one, on the same port, is there. Clients are
away for a second, in which candles close and trading goes on; then all connect in the same instant, no jitter, with
their positions; who is turned away tries again at once. Counted until the last has been told a state of, or a change
to, each of its topics.

Nothing missed: every topic is ACKed as resumed, no DIFF starts where its client does not stand, and when trading stops
every client holds the market's state bit for bit and every candle that closed before, meanwhile or after.

Baseline: the same clients connecting for the first time, without a position, in the same run (also all at once).
"""

import time
from statistics import median
from typing import Any

import _common as common
from _front import KNOWN_INTERVALS, Stage, Verdict, sets

CLIENTS, TOPICS, PAIRS, HZ, AWAY_S = 7_000, 5, 300, 10, 1.0
SETS = 100
MOST_S = 3.0


def close_candles(stage: Stage) -> None:
    for interval in KNOWN_INTERVALS:
        stage.market.close_candles(interval)


def round_of(way: str, clients: int, pairs: int) -> dict[str, Any]:
    with Stage(pairs) as stage:
        load = stage.load
        stage.subscribe(sets(stage.market, clients, TOPICS, min(SETS, clients)))
        with stage.market.running(HZ):
            first = load.open(at_once=clients)
            close_candles(stage)
            time.sleep(0.5)
            if way == "killed":
                other = stage.start_front()
                time.sleep(AWAY_S)  # it shares the port: what is asked there, either may answer
                stage.front.kill()
                stage.ready(other)
            else:
                load.cut()
            load.until(lambda report: report["open"] == 0, "all are gone")
            time.sleep(AWAY_S)
            close_candles(stage)
            back = load.open(at_once=clients)
            time.sleep(0.5)
            close_candles(stage)
            after = stage.run(0.5)
        stage.quiet()
        verdict = Verdict(load, stage.market, closes=True)
    if verdict.wrong:
        print(verdict)
    return {
        "way": way, "first_s": first["told_s"], "subscribed_s": back["acked_s"], "resumed_s": back["told_s"],
        "open": after["open"], "resumed": back["resumed"], "not_resumed": back["fresh"],
        "turned_away": back["failed"], "lost": sum(after["closed"].values()), "holes": back["holes"] + after["holes"],
        "bad": back["bad"] + after["bad"], "wrong": verdict.wrong, "compared": verdict.subscriptions,
        "bytes_a_client": back["bytes"] / clients,
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, rounds=3)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    args = parser.parse_args()
    common.pin(1)
    clients, pairs, count = (200, 40, 1) if args.quick else (args.clients, PAIRS, args.rounds)
    rounds = [round_of(way, clients, pairs) for _ in range(count) for way in ("cut", "killed")]
    print(f"{clients:,} clients, {TOPICS} topics each, away for {AWAY_S:g} s")
    common.table(
        ["", "first time, s", "subscribed, s", "resumed, s", "turned away", "topics resumed", "not", "wrong"],
        [
            (one["way"], f"{one['first_s']:.2f}", f"{one['subscribed_s']:.2f}", f"{one['resumed_s']:.2f}",
             one["turned_away"], f"{one['resumed']:,}", one["not_resumed"], f"{one['wrong']} of {one['compared']:,}")
            for one in rounds
        ],
    )  # fmt: skip
    missed = sum(one["not_resumed"] + one["holes"] + one["bad"] + one["wrong"] + one["lost"] for one in rounds)
    slowest_s = max(one["resumed_s"] for one in rounds)
    figures = {
        "clients": clients,
        "rounds": rounds,
        "median_s": {way: median(one["resumed_s"] for one in rounds if one["way"] == way) for way in ("cut", "killed")},
    }
    common.finish(
        "front_reconnect",
        args,
        figures,
        [
            common.Target("s until all are resumed, the slowest round", slowest_s, MOST_S),
            common.Target("clients back, the fewest", min(one["open"] for one in rounds), clients, True),
            common.Target("topics not resumed, holes, wrong states, lost candles", missed, 0),
        ],
    )


if __name__ == "__main__":
    main()
