#!/usr/bin/env python3
"""The tick log at 100,000 ticks/s: processor time as a share of a core, and how long until a flush is on the disk.

    .venv/bin/python scripts/bench/ticklog.py [--seconds 20] [--rate 100000] [--directory DIR] [--rounds 2] [--quick]

A flush of 300 pairs' ticks every 20 ms, as the feed makes it, paced by the wall clock; the process counts with all
its threads. `commits` is the log as it is by default (ticklog.commit_ms 10), with segments of 8 MB that begin with the
tails of 300 pairs, and old ones that go; `no commits` leaves the disk to the system; `no log` is the loop that makes
and paces the flushes, which is taken off the other two. Durable: from the call of append() to the end of the fdatasync
that began after it, of every flush. Then the log is read back: all of it, and what 2 of 32 shards have of the last
second.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import _common as common
from _market import MS, SECOND, VENUE, Market, Wire

from wick.storage import ticklog
from wick.storage.logwriter import FileLog, Limits
from wick.stream.continuity import Tail
from wick.stream.shards import shards_of
from wick.stream.tails import Tails, packed
from wick.wire.messages import TickHeader

TARGET_CORE, TARGET_DURABLE_MS = 15.0, 25.0
EVERY_NS = 20 * MS  # feed.batch_ms
SEGMENT, BUDGET = 8_000_000, 128_000_000
COMMIT_S = 0.01
MADE = 50  # flushes that are made beforehand, and come again
VARIANTS = ("no log", "no commits", "commits")


class Synced:
    """Stands before os.fdatasync: when each flush that was written before it was on the disk."""

    def __init__(self) -> None:
        self.began_ns: list[int] = []  # of each append, in order
        self.took_ns: list[int] = []
        self.syncs: list[int] = []
        self._fdatasync = os.fdatasync

    def __enter__(self) -> "Synced":
        os.fdatasync = self
        return self

    def __exit__(self, *_: object) -> None:
        os.fdatasync = self._fdatasync

    def __call__(self, file: int) -> None:
        count, began = len(self.began_ns), time.monotonic_ns()
        self._fdatasync(file)
        ended = time.monotonic_ns()
        self.syncs.append(ended - began)
        self.took_ns += [ended - one for one in self.began_ns[len(self.took_ns) : count]]


def flushes(rate: int) -> tuple[list[tuple[TickHeader, list[bytes]]], bytes]:
    """Some flushes of that rate, and the tails of all pairs."""
    market = Market()
    wire, count = Wire(market), rate * EVERY_NS // SECOND
    made = []
    for number in range(MADE):
        now = number * EVERY_NS
        [[header, records]] = wire.messages(market.ticks(count, now, now + EVERY_NS), now)
        made.append((TickHeader.unpack(header), [records]))
    tail = Tail(3_000_000_000, 1, 1_700_000_000 * SECOND, 1_700_000_000 * SECOND, 2, 5, [])
    return made, packed({VENUE: Tails(True, dict.fromkeys(market.names, tail))})


def paced(made: list[tuple[TickHeader, list[bytes]]], seconds: float, take: Callable[..., Any]) -> float:
    """Call `take` for every flush when it is due; the share of a core, in percent."""
    began, cpu = time.monotonic_ns(), time.process_time_ns()
    count = round(seconds * SECOND / EVERY_NS)
    for number in range(count):
        header, records = made[number % MADE]
        due = began + number * EVERY_NS
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        take(header._replace(block=number + 1, send_ns=time.time_ns()), records)
    return 100 * (time.process_time_ns() - cpu) / (time.monotonic_ns() - began)


def one(variant: str, directory: Path, made: Any, tails: bytes, seconds: float) -> tuple[float, Synced, int]:
    """The share, what was synced, and flushes that were not logged."""
    with Synced() as synced:
        if variant == "no log":
            return paced(made, seconds, lambda *_: None), synced, 0
        limits = Limits(SEGMENT, BUDGET, commit_s=COMMIT_S if variant == "commits" else 0)
        log = FileLog(directory, limits)
        log.begin((1, 1), tails, time.time_ns())

        def take(header: TickHeader, records: list[bytes]) -> None:
            synced.began_ns.append(time.monotonic_ns())
            log.append(header, records)
            if log.is_due(header.send_ns):
                log.begin((1, header.block + 1), tails, header.send_ns)

        share = paced(made, seconds, take)
        log.close()
        return share, synced, log.failed


def read_back(directory: Path, rate: int) -> dict[str, float]:
    began = time.perf_counter_ns()
    count = sum(header.total for header, _ in ticklog.read(directory, None))
    whole_ns = time.perf_counter_ns() - began
    _, (epoch, newest) = ticklog.positions(directory) or ((0, 0), (0, 0))
    began = time.perf_counter_ns()
    part = sum(
        header.total
        for header, _ in ticklog.read(directory, frozenset(shards_of(0, 16)), (epoch, newest - SECOND // EVERY_NS))
    )
    return {
        "read_ticks_s": count * SECOND / whole_ns, "read_ticks": count,
        "last_second_ms": (time.perf_counter_ns() - began) / MS, "last_second_share": part / rate,
    }  # fmt: skip


def at(values: list[int], share: float) -> float:
    """In milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] / MS


def main() -> None:
    parser = common.parser(__doc__, rounds=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, help="on the disk that is to be measured (default: ./var or here)")
    args = parser.parse_args()
    seconds, rounds = (1.0, 1) if args.quick else (args.seconds, args.rounds)
    made, tails = flushes(args.rate)
    shares: dict[str, list[float]] = {name: [] for name in VARIANTS}
    took: list[int] = []
    syncs: list[int] = []
    with TemporaryDirectory(dir=args.directory or common.ROOT) as folder:
        for number in range(rounds):
            for variant in VARIANTS:
                directory = Path(folder) / f"{number}-{variant}"
                share, synced, failed = one(variant, directory, made, tails, seconds)
                assert not failed, f"{failed} flushes are not in the log"
                shares[variant].append(share)
                if variant == "commits":
                    took += synced.took_ns
                    syncs += synced.syncs
        size = len(ticklog.block((1, 1), made[0][0].pack(), made[0][1]))
        told = read_back(directory, args.rate)
    base = median(shares["no log"])
    own = {name: median(shares[name]) - base for name in VARIANTS[1:]}
    common.table(
        ["", "% of a core", "of it the log"],
        [[name, f"{median(shares[name]):.1f}", f"{own.get(name, 0):.1f}"] for name in VARIANTS],
    )
    durable = {"p50": at(took, 0.5), "p99": at(took, 0.99), "max": at(took, 1)}
    print(f"a flush: {size:,} bytes, {args.rate * EVERY_NS // SECOND:,} ticks; {len(took):,} flushes made durable")
    print("append to durable, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in durable.items()))
    a_second = len(syncs) / rounds / seconds
    print(f"fdatasync, ms: p50 {at(syncs, 0.5):.1f}, p99 {at(syncs, 0.99):.1f}; {a_second:.0f} a second")
    print(
        f"read back: {told['read_ticks_s'] / 1e6:.1f} million ticks/s; two shards' part of the last second in "
        f"{told['last_second_ms']:.1f} ms"
    )
    common.finish(
        "ticklog",
        args,
        {
            "rate": args.rate, "seconds": seconds, "shares": shares, "durable_ms": durable, "flush_bytes": size,
            "fdatasync_ms": {"p50": at(syncs, 0.5), "p99": at(syncs, 0.99)}, **told,
        },
        [
            common.Target("% of a core for the tick log with commits", own["commits"], TARGET_CORE),
            common.Target("append to durable, p99 in ms", durable["p99"], TARGET_DURABLE_MS),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
