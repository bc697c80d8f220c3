#!/usr/bin/env python3
"""How many trades a second the feed turns into packed records on one core, for every venue, against baselines.

    taskset -c 0 .venv/bin/python scripts/bench/feed_parse.py [--rounds 25]

wick's way is what the feed does with what a read of the socket gave it: trades in columns, and the venue's `take` for
the rest, then `Ticks` (validation, shard, clock, decimals, packing, gathering), and every few reads the messages for
two workers. The trades are those of the real recordings of Binance, alone and in the mixed stream, and made-up ones of
300 symbols as every venue writes them (_wires.py): one a message, and ten where the venue puts several into one.

Baselines. Binance: what one writes first (json.loads, Decimal, an object a trade; it checks nothing and packs
nothing), and one by one (`parse`, `pack_trade`). Every venue: cryptofeed's parser on the same frames, against wick's
columns alone, in the environment whose Python is named by WICK_BENCH_CRYPTOFEED:

    python3 -m venv /tmp/cryptofeed; /tmp/cryptofeed/bin/pip install "setuptools<72" wheel cython
    /tmp/cryptofeed/bin/pip install --no-build-isolation cryptofeed==2.4.1
    export WICK_BENCH_CRYPTOFEED=/tmp/cryptofeed/bin/python

cryptofeed's Coinbase speaks another wire than wick's, its Kraken an older one (without trade ids): it gets the same
trades so written. A last table: cutting messages out of WebSocket frames. The contenders take turns, processor time,
the best of the rounds counts. What wick remembers of decimals comes from the messages before the measured ones. Prints
tables, and appends a JSON line to scripts/bench/results.jsonl.
"""

import gc
import gzip
import json
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Self

import _common as common
from _wires import WIRES, frames
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from wick.exchanges import Venue, kraken, load
from wick.exchanges._columns import take
from wick.exchanges._text import DECIMALS
from wick.market.trades import Quote, Trade
from wick.net.ws_client import Inbox
from wick.roles.feed import GARBAGE_OBJECTS
from wick.stream.ticks import Ticks
from wick.wire.messages import TickHeader, pack_quote, pack_trade

TRADES = 20_000  # a round: short, so that some rounds are not disturbed on a machine that others use too
BEFORE = 4 * TRADES  # what wick has seen before
A_READ = 1_500  # trades: 256 kB
READS_A_FLUSH = 2  # at 300,000 trades a second and feed.batch_ms = 10
READ_BYTES = 256 * 1024
WORKERS = 2
TEN = 10  # trades a message, where a venue batches
BINANCE = load("binance")
TARGETS = {"binance": 300_000}
TARGET = 150_000  # of every other venue
TARGET_RATIO = 5.0  # times cryptofeed
CRYPTOFEED = "WICK_BENCH_CRYPTOFEED"

Contender = Callable[[list[bytes]], int]


# ---------------------------------------------------------------------- wick's ways


def reads(messages: list[bytes], each: int) -> list[list[bytes]]:
    a_read = A_READ // each
    return [messages[at : at + a_read] for at in range(0, len(messages), a_read)]


def feed_way(venue: Venue, symbols: list[str], each: int = 1) -> Contender:
    def run(messages: list[bytes]) -> int:
        ticks = Ticks(venue.id, symbols, venue.contiguous_ids)
        some = reads(messages, each)
        for number, read in enumerate(some, 1):
            recv_ns = time.time_ns()
            columns, events = take(venue, read)
            if columns is not None:
                ticks.take_columns(columns, recv_ns)
            ticks.take(events, recv_ns)
            if number % READS_A_FLUSH == 0 or number == len(some):
                clock_ns = ticks.clock.at(recv_ns)
                for portion in ticks.portions(WORKERS, recv_ns, recv_ns - 250_000_000):
                    TickHeader(1, 1, 0, venue.id, recv_ns, clock_ns, portion.parts).pack()
        return ticks.trades + ticks.quotes

    return run


def parse_alone(venue: Venue, each: int) -> Contender:
    def run(messages: list[bytes]) -> int:
        found = [take(venue, read) for read in reads(messages, each)]
        return sum(len(events) + (len(columns.ids) if columns is not None else 0) for columns, events in found)

    return run


def one_by_one(messages: list[bytes]) -> int:
    recv_ns = time.time_ns()
    for raw in messages:
        for event in BINANCE.parse(raw):
            if isinstance(event, Trade):
                pack_trade(event, recv_ns)
            elif isinstance(event, Quote):
                pack_quote(event, recv_ns)
    return len(messages)


def symbols_of(venue: Venue, messages: list[bytes]) -> list[str]:
    return sorted({event.symbol for event in venue.take(messages) if isinstance(event, Trade | Quote)})


# ---------------------------------------------------------------------- the others' ways


@dataclass
class NaiveTrade:
    symbol: str
    price: Decimal
    quantity: Decimal
    time_ms: int
    trade_id: int
    maker_buy: bool


def naive(messages: list[bytes]) -> int:
    for raw in messages:
        data = json.loads(raw).get("data", {})
        if data.get("e") == "trade":
            NaiveTrade(data["s"], Decimal(data["p"]), Decimal(data["q"]), data["T"], data["t"], data["m"])
    return len(messages)


class Cryptofeed:
    """Its process, which parses when it is told to, on the core that we are on."""

    def __init__(self, python: str) -> None:
        script = str(Path(__file__).with_name("_cryptofeed.py"))
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, script, str(GARBAGE_OBJECTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seconds(self, exchange: str, file: Path, trades: int) -> float:
        """What it takes for the file's frames."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps({"exchange": exchange, "file": str(file)}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline() or '{"trades": "none, it has ended"}')
        if answer["trades"] != trades:
            raise SystemExit(f"cryptofeed found {answer['trades']} of {trades} trades of {exchange}")
        return float(answer["seconds"])


# ---------------------------------------------------------------------- input


def recorded() -> list[bytes]:
    messages = []
    for path in sorted(common.RECORDINGS.glob("*.gz")):
        with gzip.open(path) as file:
            messages += [line.rstrip(b"\n").partition(b" ")[2] for line in file]
    return messages


def protocol() -> ClientProtocol:
    return ClientProtocol(parse_uri("ws://localhost/"), max_size=1 << 24, state=State.OPEN)


def by_protocol(reads: list[bytes]) -> int:
    core, count = protocol(), 0
    for data in reads:
        core.receive_data(data)
        count += len([bytes(event.data) for event in core.events_received()])  # type: ignore[union-attr]
    return count


def by_inbox(reads: list[bytes]) -> int:
    inbox = Inbox(protocol())
    return sum(len(inbox.take(data)) for data in reads)


def sockets_reads(messages: list[bytes]) -> list[bytes]:
    """The messages as the reads of a socket."""
    stream = b"".join([b"\x81\x7e" + struct.pack("!H", len(raw)) + raw for raw in messages])
    return [stream[at : at + READ_BYTES] for at in range(0, len(stream), READ_BYTES)]


# ---------------------------------------------------------------------- measured


def timed(run: Contender, given: list[bytes], venue: Venue, before: Sequence[bytes]) -> float:
    DECIMALS.clear()
    kraken._DECIMALS.clear()
    venue.take(before)
    take(venue, before[-A_READ:])
    began = time.process_time()
    run(given)
    return time.process_time() - began


def best_of(
    rounds: int, contenders: dict[str, Contender], given: list[bytes], venue: Venue, before: Sequence[bytes] = ()
) -> dict[str, float]:
    """Processor seconds, the best of each contender's rounds."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            best[name] = min(best[name], timed(run, given, venue, before))
    return best


def against_naive(rounds: int) -> dict[str, dict[str, int]]:
    """Binance's recordings, and made-up trades: messages a second."""
    mixed = recorded()
    inputs = {
        "recorded trades": [raw for raw in mixed if b'"e":"trade"' in raw],
        "recorded, mixed": mixed[: TRADES + BEFORE],
        "generated, 300 symbols": frames(WIRES["binance"].ours, TRADES + BEFORE),
    }
    found = {}
    print(f"{'binance':24}{'how':>14}{'a second':>12}{'us each':>9}{'times naive':>13}")
    for title, stream in inputs.items():
        if not stream:
            print(f"{title:24}{'no recordings in ' + str(common.RECORDINGS)}")
            continue
        before, messages = stream[:-TRADES], stream[-TRADES:]
        contenders = {
            "naive": naive, "one by one": one_by_one, "wick": feed_way(BINANCE, symbols_of(BINANCE, messages)),
        }  # fmt: skip
        best = best_of(rounds, contenders, messages, BINANCE, before)
        found[title] = {name: round(len(messages) / seconds) for name, seconds in best.items()}
        for name, seconds in best.items():
            each, ratio = seconds / len(messages) * 1e6, best["naive"] / seconds
            print(f"{title:24}{name:>14}{len(messages) / seconds:12,.0f}{each:9.2f}{ratio:13.1f}")
    return found


def every_venue(rounds: int) -> dict[str, int]:
    """Made-up trades to packed records: trades a second, by "venue, trades a message"."""
    found = {}
    print(f"\n{'to packed records':24}{'a message':>14}{'a second':>12}{'us each':>9}")
    for venue_id, wire in WIRES.items():
        venue = load(venue_id)
        for each in (1, TEN) if wire.batches else (1,):
            stream = frames(wire.ours, TRADES + BEFORE, each)
            before, messages = stream[: -TRADES // each], stream[-TRADES // each :]
            run = feed_way(venue, symbols_of(venue, messages), each)
            seconds = best_of(rounds, {"wick": run}, messages, venue, before)["wick"]
            found[f"{venue_id}, {each}"] = round(TRADES / seconds)
            print(f"{venue_id:24}{each:14}{TRADES / seconds:12,.0f}{seconds / TRADES * 1e6:9.2f}")
    return found


def against_cryptofeed(rounds: int, python: str) -> dict[str, dict[str, float]]:
    """Frames to events, and to cryptofeed's trades: trades a second of both, in turns."""
    found = {}
    print(f"\n{'parser alone':24}{'a message':>14}{'cryptofeed':>12}{'wick':>12}{'times':>8}")
    with tempfile.TemporaryDirectory() as folder, Cryptofeed(python) as theirs:
        for venue_id, wire in WIRES.items():
            venue = load(venue_id)
            for each in (1, TEN) if wire.batches else (1,):
                stream = frames(wire.compared, TRADES + BEFORE, each)
                before, messages = stream[: -TRADES // each], stream[-TRADES // each :]
                file = Path(folder) / f"{venue_id}.{each}"
                file.write_bytes(b"\n".join(frames(wire.theirs, TRADES + BEFORE, each)[-TRADES // each :]))
                run, their_best, our_best = parse_alone(venue, each), float("inf"), float("inf")
                for _ in range(rounds):
                    their_best = min(their_best, theirs.seconds(wire.exchange, file, TRADES))
                    our_best = min(our_best, timed(run, messages, venue, before))
                title, a_second = f"{venue_id}, {each}", (TRADES / their_best, TRADES / our_best)
                found[title] = {"cryptofeed": a_second[0], "wick": a_second[1], "times": their_best / our_best}
                figures = f"{a_second[0]:12,.0f}{a_second[1]:12,.0f}{their_best / our_best:8.1f}"
                print(f"{venue_id:24}{each:14}{figures}{'  ' + wire.note if wire.note else ''}")
    return found


def main() -> None:
    args = common.parser(__doc__, rounds=25).parse_args()
    rounds = 1 if args.quick else args.rounds
    common.pin()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)  # as the feed does; for everybody here

    binance = against_naive(rounds)
    venues = every_venue(rounds)
    python = os.environ.get(CRYPTOFEED, "")
    ratios = against_cryptofeed(rounds, python) if python else {}
    if not python:
        print(f"\nnot against cryptofeed: {CRYPTOFEED} names no Python that has it (see --help for how to make one)")

    given = sockets_reads(frames(WIRES["binance"].ours, TRADES))
    best = best_of(rounds, {"websockets": by_protocol, "wick": by_inbox}, given, BINANCE)
    print()
    for name, seconds in best.items():
        print(f"{'websocket frames':24}{name:>14}{TRADES / seconds:12,.0f}{seconds / TRADES * 1e6:9.2f}")

    targets = [
        common.Target(f"{title} a second", binance[title]["wick"], TARGETS["binance"], at_least=True)
        for title in ("recorded trades", "generated, 300 symbols")
        if title in binance
    ]
    targets += [
        common.Target(f"{title} a message, a second", rate, TARGETS.get(title.partition(",")[0], TARGET), at_least=True)
        for title, rate in venues.items()
    ]
    targets += [
        common.Target(f"{title} a message, times cryptofeed", one["times"], TARGET_RATIO, at_least=True)
        for title, one in ratios.items()
    ]
    figures = {
        "messages": TRADES,
        "rounds": rounds,
        "a_second": {**binance, "websocket frames": {name: round(TRADES / seconds) for name, seconds in best.items()}},
        "to_records": venues,
        "parsers": ratios,
    }
    common.finish("feed_parse", args, figures, targets)


if __name__ == "__main__":
    main()
