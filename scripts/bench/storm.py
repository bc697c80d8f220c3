#!/usr/bin/env python3
"""Twenty connections cut at once: are attempts spread, is the venue's limit kept, how soon is everything back?

    .venv/bin/python scripts/bench/storm.py [--venue binance --venue okx --venue coinbase] [--connections 20]

The simulated exchange and the real feed, each a process; feed.streams spreads the symbols over that many connections.
Every connection is cut at the same moment. The exchange tells when each attempt came, and counts those beyond the
venue's limit (it refuses them). `open`: all connections have their subscriptions accepted again. `mended`: every trade
that was missed has come over REST (on venues that have it). `books`: every book is valid again. The feed says so once a
second, so these are up to a second too long. Prints a table and a histogram of the attempts, and appends a JSON line to
scripts/bench/results.jsonl.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _common as common
from _feed import Running

from wick import exchanges

VENUES = ("binance", "coinbase", "okx")  # a wide limit, 8 a second, 3 a second
BACK_S = 15.0
BUCKETS = 12


def total(stats: dict[str, Any], name: str) -> int:
    """A gauge's or a counter's value."""
    found: int = stats.get("gauges", {}).get(name, stats.get("counters", {}).get(name, 0))
    return found


def until(running: Running, is_done: Any, timeout_s: float) -> float:
    """Seconds until the feed's own account says so; the timeout where it does not."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        if running.stats and is_done(running.stats):
            return time.monotonic() - began
        time.sleep(0.05)
    return timeout_s


def storm(venue_id: str, connections: int, rate: float) -> dict[str, Any]:
    """One venue: the figures."""
    venue = exchanges.load(venue_id)
    symbols, channels = connections * 3, len(venue.channels)
    with TemporaryDirectory(prefix="wick-") as folder:
        running = Running(Path(folder), venue_id, symbols, rate, FEED_STREAMS=3 * channels, FEED_BOOK_LEVELS=100)
        try:

            def is_whole(stats: dict[str, Any]) -> bool:
                return (
                    total(stats, "connections_open") == total(stats, "connections_wanted") >= connections
                    and total(stats, "books_live") == symbols
                )

            until(running, is_whole, 120)
            before = running.stats
            assert is_whole(before), f"{venue_id} did not start: {before}"
            running.ask("/_faults", {"fault": "cut"})
            cut_ms, cut_at = time.time() * 1000, running.stats["time_ns"]
            opened = total(before, "connections") + connections

            def is_open(stats: dict[str, Any]) -> bool:
                return total(stats, "connections") >= opened and total(stats, "connections_open") >= connections

            took = {"open": until(running, is_open, 60)}
            began = time.monotonic() - took["open"]
            until(running, lambda s: s["time_ns"] > cut_at + 2 * 10**9 and not total(s, "holes_open"), 60)
            took["mended"] = time.monotonic() - began
            until(running, is_whole, 60)
            took["books"] = time.monotonic() - began
            state, after = running.ask("/_faults"), running.stats
        finally:
            running.stop()
    attempts = sorted(at - cut_ms for at in state["attempts"] if at >= cut_ms)
    count, seconds = venue.limits.connects
    over = state["counters"].get("connects_over_limit", 0)
    print(f"\n{venue.title}: {len(attempts)} attempts, {count:g} in {seconds:g} s allowed, {over} beyond it")
    width = max(attempts[-1] / BUCKETS, 1.0)
    histogram = [sum(1 for at in attempts if int(at / width) == bucket) for bucket in range(BUCKETS)]
    common.bars("attempts", [(f"{bucket * width:.0f} ms", float(n)) for bucket, n in enumerate(histogram)], "")
    return {
        "connections": connections, "attempts": len(attempts), "over_limit": over,
        "spread_ms": attempts[-1] - attempts[0], "most_at_once": max(histogram), **took,
        "backfilled": total(after, "backfilled_trades") - total(before, "backfilled_trades"),
        "unmended": total(after, "unmended"),
    }  # fmt: skip


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--venue", action="append", choices=exchanges.ids())
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--rate", type=float, default=300.0, help="trades a second of the market")
    args = parser.parse_args()
    connections = 4 if args.quick else args.connections
    found = {one: storm(one, connections, args.rate) for one in args.venue or (VENUES[:1] if args.quick else VENUES)}
    print()
    names = ("attempts", "over_limit", "spread_ms", "open", "mended", "books", "backfilled", "unmended")
    common.table(["venue", *names], [[v, *[common.rounded(one[name]) for name in names]] for v, one in found.items()])
    common.finish(
        "storm", args, {"venues": found},
        [common.Target("attempts beyond a venue's limit", max(one["over_limit"] for one in found.values()), 0),
         common.Target("seconds until all data are back, backfilled",
                       max(max(one["open"], one["mended"]) for one in found.values()), BACK_S),
         common.Target("seconds until all books are valid", max(one["books"] for one in found.values()), BACK_S)],
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
