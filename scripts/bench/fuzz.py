#!/usr/bin/env python3
"""A million mutated frames a venue: nothing but counted errors, no hang, and good frames in their midst come out right.

    .venv/bin/python scripts/bench/fuzz.py [--frames 1000000] [--venue kraken] [--seed 1]

The frames are those of the venue's simulated exchange: acknowledgements, snapshots, trades, quotes, books, heartbeats.
Each is broken in one of a dozen ways (cut, bits flipped, bytes put in, taken out or doubled, numbers replaced by absurd
ones, values by other types, two frames run together, deep nesting, and several of these). They go through all that
stands behind the socket: the venue's `take`, `Ticks`, `Books`, in batches as a read gives them. Every eighth frame is
good: what comes out of it has to equal what comes out of it alone. Now and then a thousand trades come at once, one of
twenty broken, as in a flood: columns have to make of them what is made of them one by one. Anything raised that is no
ParseError ends the run with the frame that did it. Appends a JSON line to scripts/bench/results.jsonl.
"""

import random
import re
import time
from collections import Counter
from itertools import islice
from typing import Any

import _common as common
from _frames import START_MS, session

from wick import exchanges
from wick.errors import ParseError
from wick.exchanges import Refused, Venue
from wick.exchanges._columns import take
from wick.market.trades import DepthUpdate, Quote, Trade
from wick.stream.books import Books
from wick.stream.ticks import Ticks

CORPUS, BATCH, GOOD_EVERY = 4_000, 64, 8
FLOOD, FLOOD_EVERY, FLOOD_BROKEN = 1_000, 50, 0.05  # a read in a flood: trades go through columns
HANG_S = 2.0  # for a batch, which takes a millisecond: the machine may have other things to do
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_VALUE = re.compile(rb'"[^"]*"|-?\d+(?:\.\d+)?|true|false|null')
ABSURD = (
    b"-1", b"0", b"1e400", b"1e-400", b"-0.0", b"NaN", b"Infinity", b"99999999999999999999999999", b"1.5e3", b"0x10",
    b"9223372036854775808", b"9223372036854775807", b".5", b"5.", b"00.1", b"1_000", b"0." + b"1" * 60,
)  # fmt: skip
TYPES = (
    b"null", b"{}", b"[]", b"true", b'""', b'"abc"', b"-1", b"1.5", b"[[]]", b'{"a":1}', b'"\\ud800"', b'"\xff"',
    b'"1970-01-01T00:00:00Z"', b'"2024-13-45T99:99:99.999999Z"', b'"9999-12-31T23:59:59.999999999Z"',
)  # fmt: skip


def mutated(frame: bytes, other: bytes, rng: random.Random) -> bytes:
    """The frame, broken in some way. It may still be a good one."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(frame) + 1)
        way = rng.randrange(12)
        if way == 0:
            frame = frame[:at]
        elif way == 1:
            frame = frame[at:]
        elif way == 2:
            data = bytearray(frame or b" ")
            for _ in range(rng.choice((1, 3, 20))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            frame = bytes(data)
        elif way == 3:
            frame = frame[:at] + rng.randbytes(rng.choice((1, 2, 50))) + frame[at:]
        elif way == 4:
            frame = frame[:at] + frame[at + rng.choice((1, 2, 30)) :]
        elif way == 5:
            frame = frame[:at] + frame[at : at + 40] + frame[at:]
        elif way == 6:
            frame = _replaced(frame, _NUMBER, ABSURD, rng)
        elif way == 7:
            frame = _replaced(frame, _VALUE, TYPES, rng)
        elif way == 8:
            frame = frame[:at] + other
        elif way == 9:
            frame = frame[:at] + rng.choice((b"[", b"{", b'{"a":')) * rng.choice((3, 2000)) + frame[at:]
        elif way == 10:
            frame = frame.replace(rng.choice((b",", b":", b'"', b"}", b"]")), rng.choice((b"", b",", b'"', b"[")), 1)
        else:
            frame = frame[:at] + rng.choice((b"\x00", b"\n", b"\xc3\x28", b"\xef\xbb\xbf")) + frame[at:]
    return frame


def _replaced(frame: bytes, pattern: re.Pattern[bytes], values: tuple[bytes, ...], rng: random.Random) -> bytes:
    found = list(pattern.finditer(frame))
    if not found:
        return frame
    one = rng.choice(found)
    return frame[: one.start()] + rng.choice(values) + frame[one.end() :]


def fuzz(venue: Venue, count: int, seed: int) -> dict[str, Any]:
    """Run so many frames; the counts. AssertionError, with the frame, where something is not as it has to be."""
    rng = random.Random(f"{venue.id} {seed}")
    corpus = list(islice(session(venue.id, count=4, seed=seed, channels=exchanges.CHANNELS), CORPUS))
    alone = [venue.take([frame]) for frame in corpus]
    assert not any(isinstance(event, Refused) for events in alone for event in events), "a good frame is refused"
    trades = [f for f, events in zip(corpus, alone, strict=True) if events and all(type(e) is Trade for e in events)]
    symbols = {event.symbol for events in alone for event in events if isinstance(event, Trade)}
    reasons: Counter[str] = Counter()
    ticks, books = _fresh(venue, symbols)
    slowest_s, recv_ns, accepted = 0.0, START_MS * 1_000_000, 0
    for start in range(0, count, BATCH):
        picks = [rng.randrange(len(corpus)) for _ in range(BATCH)]
        frames = [
            corpus[pick] if at % GOOD_EVERY == 0 else mutated(corpus[pick], rng.choice(corpus), rng)
            for at, pick in enumerate(picks)
        ]
        began = time.perf_counter()
        try:
            taken = venue.take(frames)
            recv_ns += 1_000_000
            for event in ticks.take(taken, recv_ns):
                if isinstance(event, Refused):
                    reasons[event.error.reason] += 1
                elif isinstance(event, ParseError):
                    reasons[event.reason] += 1
                elif isinstance(event, DepthUpdate) and event.symbol in symbols:
                    _apply(books, event, recv_ns, reasons)
            ticks.portions(1, recv_ns, 0)
        except Exception:
            print(f"the batch of frame {start} of {venue.id}, seed {seed}:")
            for frame in frames:
                print(f"  {frame!r}")
            raise
        took = time.perf_counter() - began
        slowest_s = max(slowest_s, took)
        assert took < HANG_S, f"{took:.1f} s for {frames!r}"
        accepted += sum(isinstance(event, Trade | Quote | DepthUpdate) for event in taken)
        _check_good(venue, frames, picks, alone)
        if start // BATCH % FLOOD_EVERY == 0:
            _check_flood(venue, trades, rng, symbols)
        if start // BATCH % 100 == 99:
            ticks, books = _fresh(venue, symbols)  # what has come through must not make all the rest strange
    return {"frames": count, "refused": sum(reasons.values()), "reasons": len(reasons), "events": accepted,
            "slowest_batch_ms": slowest_s * 1000}  # fmt: skip


def _check_good(venue: Venue, frames: list[bytes], picks: list[int], alone: list[list[Any]]) -> None:
    """Each good frame, taken behind broken ones, gives what it gives alone."""
    for at in range(0, len(frames), GOOD_EVERY):
        before = frames[max(0, at - GOOD_EVERY + 1) : at]
        expected = alone[picks[at]]
        got = venue.take([*before, frames[at]])
        assert got[len(got) - len(expected) :] == expected, f"{frames[at]!r} behind {before!r} gives {got}"


def _check_flood(venue: Venue, trades: list[bytes], rng: random.Random, symbols: set[str]) -> None:
    """Columns make of many trades, some of them broken, what is made of them one by one."""
    frames = [rng.choice(trades) for _ in range(FLOOD)]
    for at in rng.sample(range(FLOOD), int(FLOOD * FLOOD_BROKEN)):
        frames[at] = mutated(frames[at], rng.choice(trades), rng)
    columns, rest = take(venue, frames)
    one_by_one = venue.take(frames)
    both = [*(columns.trades() if columns else ()), *rest]
    for kind in (Trade, Refused):
        expected = Counter(map(repr, (event for event in one_by_one if isinstance(event, kind))))
        assert Counter(map(repr, (event for event in both if isinstance(event, kind)))) == expected
    if columns is not None:
        Ticks(venue.id, symbols, venue.contiguous_ids).take_columns(columns, START_MS * 1_000_000)


def _fresh(venue: Venue, symbols: set[str]) -> tuple[Ticks, Books]:
    ticks = Ticks(venue.id, symbols, venue.contiguous_ids)
    books = Books(100, venue.depth_from_rest, venue.depth_levels)
    for symbol in symbols:
        books.add(symbol, "", "")
    return ticks, books


def _apply(books: Books, update: DepthUpdate, recv_ns: int, reasons: Counter[str]) -> None:
    try:
        books.take(update, 1, recv_ns)
    except ParseError as error:
        reasons[error.reason] += 1
    for symbol in list(books.broken):
        del books.broken[symbol]
    for symbol in list(books.dirty):
        books.best(symbol), books.depth(symbol), books.top(symbol, 5)
    books.dirty.clear()


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="a venue (default 1,000,000)")
    parser.add_argument("--venue", action="append", choices=exchanges.ids())
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    count = 1_280 if args.quick else args.frames
    found = {}
    for venue_id in args.venue or exchanges.ids():
        began = time.perf_counter()
        found[venue_id] = fuzz(exchanges.load(venue_id), count, args.seed)
        print(f"{venue_id}: {found[venue_id]}, {time.perf_counter() - began:.0f} s", flush=True)
    least = min(one["frames"] for one in found.values())
    worst = max(one["slowest_batch_ms"] for one in found.values())
    common.finish(
        "fuzz", args, {"venues": found, "seed": args.seed},
        [common.Target("mutated frames of each venue without a failure", least, count, at_least=True),
         common.Target("slowest batch of 64 frames, ms", worst, HANG_S * 1000)],
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
