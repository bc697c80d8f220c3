#!/usr/bin/env python3
"""From a received frame to the book that it changes: messages and levels a second on one core, for every venue.

    taskset -c 0 .venv/bin/python scripts/bench/depth.py [--rounds 9]

wick's way is what the feed does: the venue's `take` of what a read of the socket gave, then `Books.take` of every
update, with all that it checks (order, crossing, Kraken's checksum). The recorded updates of Binance are every 100 ms,
with 36 levels on average; made-up ones change 1 to 5 levels near the best of one of 100 books, as every venue writes
them. The baseline is what one writes first: json.loads, Decimal, a dict a side whose best price is looked up after each
update; it checks the crossing only. The contenders take turns, the best of the rounds counts, in processor time.
Then: what it costs to ask a book for its sums and best prices, and the memory of 300 books of 1000 levels a side.
Prints tables, and appends a JSON line to scripts/bench/results.jsonl.
"""

import gc
import gzip
import json
import random
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import _common as common

from wick.exchanges import Venue, load
from wick.market.orderbook import OrderBook
from wick.market.trades import DepthSnapshot, DepthUpdate
from wick.stream.books import Books

LEVELS = 1000  # `feed.book_levels`
BOOKS = 100
MADE = 300  # levels a side of a made-up book; its wire shows the best 200
MESSAGES = 20_000
A_READ = 64  # messages
TARGET = 50_000  # levels a second
AIMS = {"small": ("messages", 50_000), "recorded": ("levels", 1_000_000)}
PAGE_MB = 4096 / 2**20
START_MS = 1_723_161_600_000


class Input(NamedTuple):
    """What is played: snapshots as the venue's REST or stream gives them, and the frames behind them."""

    venue: Venue
    symbols: list[str]
    snapshots: list[tuple[str, Any]]  # (symbol, DepthSnapshot), or ("", a frame)
    frames: list[bytes]
    levels: int


# ---------------------------------------------------------------------- what is played


def recorded() -> list[Input]:
    """The recordings that begin with a snapshot, as long as the market stays within it (1000 levels a side)."""
    found, venue = [], load("binance")
    for path in sorted(common.RECORDINGS.glob("*.gz")):
        with gzip.open(path) as file:
            frames = [line.rstrip(b"\n").partition(b" ")[2] for line in file]
        snapshots = [event for raw in frames if b"lastUpdateId" in raw[:40] for event in venue.parse(raw)]
        if not snapshots:
            continue
        (snapshot,) = snapshots
        depth = [raw for raw in frames if b"@depth" in raw[:60]]
        depth = [raw for raw in depth if only_update(venue, raw).last_update_id > snapshot.last_update_id]
        symbol = only_update(venue, depth[0]).symbol
        given = Input(venue, [symbol], [(symbol, snapshot)], depth, 0)
        books, levels, inside = begun(given), 0, []
        for raw in depth:
            update = only_update(venue, raw)
            books.take(update, 0, 1)
            if not books.is_live(symbol):
                break
            levels += len(update.bids) + len(update.asks)
            inside.append(raw)
        found.append(given._replace(frames=inside, levels=levels))
    return found


def only_update(venue: Venue, raw: bytes) -> DepthUpdate:
    (update,) = (event for event in venue.parse(raw) if isinstance(event, DepthUpdate))
    return update


Changes = tuple[list[tuple[int, int]], list[tuple[int, int]]]


class Walk:
    """Made-up books: prices in units of 0.01 around 1000.00, quantities in units of 0.0001."""

    def __init__(self) -> None:
        self.rng = random.Random(5)
        self.books = [self.book() for _ in range(BOOKS)]

    def book(self) -> tuple[dict[int, int], dict[int, int]]:
        bids, asks = ({100_000 + sign * (2 * at + 1): self.size() for at in range(MADE)} for sign in (-1, 1))
        return bids, asks

    def size(self) -> int:
        return round(self.rng.lognormvariate(8, 2)) + 1

    def change(self, at: int) -> Changes:
        """Half of them remove a level; the farther from the best, the rarer."""
        changes: Changes = ([], [])
        for _ in range(self.rng.randint(1, 5)):
            ask = self.rng.randint(0, 1)
            price = 100_000 + (1 if ask else -1) * (1 + min(int(self.rng.expovariate(1 / 60)), 300))
            quantity = 0 if price in self.books[at][ask] else self.size()
            changes[ask].append((price, quantity))
            if quantity:
                self.books[at][ask][price] = quantity
            else:
                del self.books[at][ask][price]
        return changes


def text(price: int, quantity: int, more: str = "") -> str:
    return f'["{price / 100:.2f}","{quantity / 10_000:.4f}"{more}]'


def side(levels: Iterable[tuple[int, int]], more: str = "") -> str:
    return "[" + ",".join(text(price, quantity, more) for price, quantity in levels) + "]"


def binance(at: int, number: int, changes: Changes, whole: bool) -> str:
    bids, asks = (side(one) for one in changes)
    return (
        f'{{"stream":"c{at}usdt@depth@100ms","data":{{"e":"depthUpdate","E":{START_MS + number},"s":"C{at}USDT",'
        f'"U":{number + 1},"u":{number + 1},"b":{bids},"a":{asks}}}}}'
    )


def bybit(at: int, number: int, changes: Changes, whole: bool) -> str:
    bids, asks = (side(one) for one in changes)
    return (
        f'{{"topic":"orderbook.200.C{at}USDT","ts":{START_MS + number},"type":"{"snapshot" if whole else "delta"}",'
        f'"data":{{"s":"C{at}USDT","b":{bids},"a":{asks},"u":{number + 1},"seq":{number + 7}}},"cts":{START_MS}}}'
    )


def okx(at: int, number: int, changes: Changes, whole: bool) -> str:
    bids, asks = (side(one, ',"0","1"') for one in changes)
    return (
        f'{{"arg":{{"channel":"books","instId":"C{at}-USDT"}},"action":"{"snapshot" if whole else "update"}","data":'
        f'[{{"asks":{asks},"bids":{bids},"ts":"{START_MS + number}","checksum":0,"seqId":{number + 1},'
        f'"prevSeqId":{-1 if whole else number}}}]}}'
    )


def coinbase(at: int, number: int, changes: Changes, whole: bool) -> str:
    when = f'"time":"2024-08-09T00:00:{number % 60:02}.000000Z"'
    if whole:
        bids, asks = (side(one) for one in changes)
        return f'{{"type":"snapshot","product_id":"C{at}-USD","bids":{bids},"asks":{asks},{when}}}'
    rows = [
        f'["{name}","{price / 100:.2f}","{quantity / 10_000:.4f}"]'
        for name, levels in zip(("buy", "sell"), changes, strict=True)
        for price, quantity in levels
    ]
    return f'{{"type":"l2update","product_id":"C{at}-USD","changes":[{",".join(rows)}],{when}}}'


class Kraken:
    """Its checksums need the book that the reader has."""

    def __init__(self) -> None:
        self.books = [OrderBook(LEVELS, rolls=True) for _ in range(BOOKS)]

    def __call__(self, at: int, number: int, changes: Changes, whole: bool) -> str:
        levels = [[[f"{price / 100:.2f}", f"{quantity / 10_000:.4f}"] for price, quantity in one] for one in changes]
        if whole:
            self.books[at].load(levels[0], levels[1], (True, True), written=True)
        else:
            self.books[at].apply(levels[0], levels[1])
        bids, asks = (
            "[" + ",".join(f'{{"price":{price},"qty":{quantity}}}' for price, quantity in one) + "]" for one in levels
        )
        return (
            f'{{"channel":"book","type":"{"snapshot" if whole else "update"}","data":[{{"symbol":"C{at}/USD",'
            f'"bids":{bids},"asks":{asks},"checksum":{self.books[at].checksum()},'
            f'"timestamp":"2024-08-09T00:00:{number % 60:02}.000000Z"}}]}}'
        )


WRITERS: dict[str, Callable[[], Callable[[int, int, Changes, bool], str]]] = {
    "binance": lambda: binance, "coinbase": lambda: coinbase, "kraken": Kraken, "bybit": lambda: bybit,
    "okx": lambda: okx,
}  # fmt: skip


def made(venue_id: str, count: int) -> Input:
    venue, walk, write = load(venue_id), Walk(), WRITERS[venue_id]()
    shown: list[tuple[str, Any]] = []
    for at, book in enumerate(walk.books):
        bids, asks = sorted(book[0].items(), reverse=True)[:200], sorted(book[1].items())[:200]
        raw = write(at, 0, (bids, asks), True).encode()
        if venue.depth_from_rest:
            event = only_update(venue, raw)
            shown.append((event.symbol, DepthSnapshot(event.last_update_id, event.bids, event.asks)))
        else:
            shown.append(("", raw))
    numbers, frames, levels = [0] * BOOKS, [], 0
    for at in walk.rng.choices(range(BOOKS), [1 / (rank + 1) for rank in range(BOOKS)], k=count):
        numbers[at] += 1
        changes = walk.change(at)
        levels += len(changes[0]) + len(changes[1])
        frames.append(write(at, numbers[at], changes, False).encode())
    symbols = sorted({only_update(venue, raw).symbol for raw in frames})
    return Input(venue, symbols, shown, frames, levels)


# ---------------------------------------------------------------------- the contenders


def begun(given: Input) -> Books:
    """Books that are live, and stand before the first frame."""
    venue = given.venue
    books = Books(LEVELS, venue.depth_from_rest, venue.depth_levels)
    for symbol in given.symbols:
        books.add(symbol, "0.01000000", "")
        books.listens(symbol, 0)
    for symbol, one in given.snapshots:
        if symbol:
            books.put(symbol, one, 1)
        else:
            for event in venue.parse(one):
                books.take(event, 0, 1)
    return books


def wick(given: Input) -> float:
    books, venue = begun(given), given.venue
    reads = [given.frames[at : at + A_READ] for at in range(0, len(given.frames), A_READ)]
    start = time.process_time()
    for read in reads:
        for event in venue.take(read):
            books.take(event, 0, 1)
        books.dirty.clear()
    spent = time.process_time() - start
    if len(given.frames) != books.counters["updates"] or len(books.broken) > books.counters["shallow"]:
        raise SystemExit(f"not all was applied: {books.counters}")
    return spent


def parse_only(given: Input) -> float:
    reads = [given.frames[at : at + A_READ] for at in range(0, len(given.frames), A_READ)]
    start = time.process_time()
    for read in reads:
        given.venue.take(read)
    return time.process_time() - start


def naive(given: Input) -> float:
    """Binance only."""
    books: dict[str, tuple[dict[Decimal, Decimal], dict[Decimal, Decimal], list[int]]] = {}
    for symbol, one in given.snapshots:
        bids, asks = ({Decimal(level[0]): Decimal(level[1]) for level in some} for some in (one.bids, one.asks))
        books[given.venue.native(symbol)] = (bids, asks, [one.last_update_id])
    start = time.process_time()
    for raw in given.frames:
        data = json.loads(raw)["data"]
        bids, asks, last = books[data["s"]]
        if data["U"] > last[0] + 1:
            raise SystemExit("a gap")
        last[0] = data["u"]
        for book, levels in ((bids, data["b"]), (asks, data["a"])):
            for price, quantity in levels:
                size = Decimal(quantity)
                if size:
                    book[Decimal(price)] = size
                else:
                    book.pop(Decimal(price), None)
        if max(bids) >= min(asks):
            raise SystemExit("crossed")
    return time.process_time() - start


def best_of(rounds: int, run: Callable[[Input], float], given: list[Input]) -> float:
    return min(sum(run(one) for one in given) for _ in range(rounds))


# ---------------------------------------------------------------------- one book, and many


def asked(given: Input, rounds: int) -> dict[str, float]:
    """Microseconds to ask a full book for what a flush tells the engine."""
    books, symbol = begun(given), given.symbols[0]
    found = {}
    for name, ask in (("depth", books.depth), ("best", books.best)):
        spent = []
        for _ in range(rounds):
            start = time.process_time()
            for _ in range(1000):
                ask(symbol)
            spent.append(time.process_time() - start)
        found[name] = min(spent) * 1e3
    return found


def resident_mb(symbols: int) -> float:
    """What so many full books take."""

    def now() -> float:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB

    books = Books(LEVELS, True, 0)
    levels = [[[f"{1000 + sign * at / 100:.2f}", f"{at}.5"] for at in range(1, LEVELS + 1)] for sign in (-1, 1)]
    before = now()
    for number in range(symbols):
        books.add(f"C{number}", "0.01", "0.1")
        books.listens(f"C{number}", 0)
        books.put(f"C{number}", DepthSnapshot(1, levels[0], levels[1]), 1)
    return now() - before


def main() -> None:
    args = common.parser(__doc__, rounds=9).parse_args()
    rounds, count = (1, 2_000) if args.quick else (args.rounds, MESSAGES)
    common.pin()
    memory = resident_mb(30 if args.quick else 300)  # first, as freed memory would be used again

    inputs = {f"{venue_id}, small": [made(venue_id, count)] for venue_id in WRITERS}
    real = recorded()
    if real:
        inputs["binance, recorded"] = real[:1] if args.quick else real
    gc.freeze()
    figures: dict[str, Any] = {}
    rows = []
    for title, given in inputs.items():
        messages = sum(len(one.frames) for one in given)
        levels = sum(one.levels for one in given)
        spent = best_of(rounds, wick, given)
        parsing = best_of(rounds, parse_only, given)
        first = best_of(rounds, naive, given) if title.startswith("binance") else 0.0
        figures[title] = {
            "messages_a_second": messages / spent, "levels_a_second": levels / spent,
            "levels_a_message": levels / messages, "us_parse": parsing / messages * 1e6,
            "us_apply": (spent - parsing) / messages * 1e6, **({"times_naive": first / spent} if first else {}),
        }  # fmt: skip
        rows.append(
            (
                title, f"{levels / messages:.1f}", f"{messages / spent:,.0f}", f"{levels / spent:,.0f}",
                f"{parsing / messages * 1e6:.1f}", f"{(spent - parsing) / messages * 1e6:.1f}",
                f"{first / spent:.1f}" if first else "",
            )
        )  # fmt: skip
    common.table(["updates", "levels", "messages/s", "levels/s", "us to parse", "us to apply", "times naive"], rows)
    costs = asked(real[0], rounds) if real else asked(inputs["binance, small"][0], rounds)
    print(f"\none book: {costs['depth']:.1f} us for its sums, {costs['best']:.1f} us for its best prices")
    print(f"{30 if args.quick else 300} books of {LEVELS} levels a side: {memory:.1f} MB")
    for title, one in figures.items():
        what, aim = AIMS[title.partition(", ")[2]]
        print(f"aim: {title}, {what}/s {one[f'{what}_a_second']:,.0f} of {aim:,}")
    common.finish(
        "depth",
        args,
        {"rounds": rounds, "inputs": figures, "us_to_ask": costs, "books_mb": memory},
        [
            common.Target(f"{title}: levels applied a second", one["levels_a_second"], TARGET, at_least=True)
            for title, one in figures.items()
        ],
    )


if __name__ == "__main__":
    main()
