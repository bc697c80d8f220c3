#!/usr/bin/env python3
"""How many received messages a second the feed turns into packed records on one core, against two baselines.

    taskset -c 0 .venv/bin/python scripts/bench/feed_parse.py [--rounds 25]

wick's way is what the feed does with what a read of the socket gave it: the venue's `take`, then `Ticks` (validation,
shard, clock, decimals, packing, gathering), and every few reads the messages for two workers. The baselines: what one
writes first (json.loads, Decimal, an object a trade; it checks nothing and packs nothing), and one by one (`parse`,
`pack_trade`). The messages are those of the real recordings, trades alone and the mixed stream, and a generated stream
of trades of 300 symbols. A last table: cutting messages out of WebSocket frames. The contenders take turns, the best of
the rounds counts. What wick remembers of decimals comes from the messages before the measured ones. Prints tables, and
appends a JSON line to scripts/bench/results.jsonl.
"""

import gc
import gzip
import json
import random
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import _common as common
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from wick.exchanges import load
from wick.exchanges.binance import _DECIMALS
from wick.market.trades import Quote, Trade
from wick.net.ws_client import Inbox
from wick.roles.feed import GARBAGE_OBJECTS
from wick.stream.ticks import Ticks
from wick.wire.messages import TickHeader, pack_quote, pack_trade

MESSAGES = 20_000  # a round: short, so that some rounds are not disturbed on a machine that others use too
A_READ = 1_500  # messages: 256 kB of trades
READS_A_FLUSH = 2  # at 300,000 trades a second and feed.batch_ms = 10
READ_BYTES = 256 * 1024
WORKERS = 2
VENUE = load("binance")
TARGETS = {"recorded trades": 300_000, "generated, 300 symbols": 300_000}


def recorded() -> list[bytes]:
    messages = []
    for path in sorted(common.RECORDINGS.glob("*.gz")):
        with gzip.open(path) as file:
            messages += [line.rstrip(b"\n").partition(b" ")[2] for line in file]
    return messages


def generated(count: int = MESSAGES, symbols: int = 300, seed: int = 1) -> list[bytes]:
    """Trades as Binance sends them: prices walk by ticks of 1 to 8 decimals, sizes vary, a few pairs trade most."""
    rng = random.Random(seed)
    names = [f"C{rank:03d}USDT" for rank in range(symbols)]
    weights = [1 / (rank + 1) for rank in range(symbols)]
    decimals = [rng.randint(1, 7) for _ in names]
    ticks = [rng.randint(1_000, 1_000_000) for _ in names]
    ids = [rng.randrange(10**9) for _ in names]
    messages = []
    for number, at in enumerate(rng.choices(range(symbols), weights, k=count)):
        ticks[at] += rng.choice((-1, 0, 0, 0, 1))
        ids[at] += 1
        time_ms = 1_723_161_600_000 + number // 300
        price = f"{Decimal(ticks[at]).scaleb(-decimals[at]):.8f}"
        quantity = f"{round(rng.lognormvariate(0, 2), rng.choice((0, 1, 2, 5))) or 1:.8f}"
        messages.append(
            b'{"stream":"%s@trade","data":{"e":"trade","E":%d,"s":"%s","t":%d,"p":"%s","q":"%s","T":%d,"m":%s,"M":true}}'
            % (
                names[at].lower().encode(), time_ms + 1, names[at].encode(), ids[at], price.encode(), quantity.encode(),
                time_ms, rng.choice((b"true", b"false")),
            )
        )  # fmt: skip
    return messages


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


def one_by_one(messages: list[bytes]) -> int:
    recv_ns = time.time_ns()
    for raw in messages:
        for event in VENUE.parse(raw):
            if isinstance(event, Trade):
                pack_trade(event, recv_ns)
            elif isinstance(event, Quote):
                pack_quote(event, recv_ns)
    return len(messages)


def feed_way(symbols: list[str]) -> Callable[[list[bytes]], int]:
    def run(messages: list[bytes]) -> int:
        ticks = Ticks(VENUE.id, symbols)
        for number, at in enumerate(range(0, len(messages), A_READ), 1):
            recv_ns = time.time_ns()
            ticks.take(VENUE.take(messages[at : at + A_READ]), recv_ns)
            if number % READS_A_FLUSH == 0 or at + A_READ >= len(messages):
                clock_ns = ticks.clock.at(recv_ns)
                for portion in ticks.portions(WORKERS, recv_ns, recv_ns - 250_000_000):
                    TickHeader(1, VENUE.id, recv_ns, clock_ns, portion.parts).pack()
        return ticks.trades + ticks.quotes

    return run


def frames_of(messages: list[bytes]) -> list[bytes]:
    """The messages as the reads of a socket."""
    stream = b"".join([b"\x81\x7e" + struct.pack("!H", len(raw)) + raw for raw in messages])
    return [stream[at : at + READ_BYTES] for at in range(0, len(stream), READ_BYTES)]


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


def best_of(
    rounds: int, contenders: dict[str, Callable[[list[bytes]], int]], given: list[bytes], before: Sequence[bytes] = ()
) -> dict[str, float]:
    """Seconds, the best of each contender's rounds."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            _DECIMALS.clear()
            VENUE.take(before)
            began = time.perf_counter()
            run(given)
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def main() -> None:
    args = common.parser(__doc__, rounds=25).parse_args()
    rounds = 2 if args.quick else args.rounds
    common.pin()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)  # as the feed does; for everybody here

    mixed = recorded()
    trades = [raw for raw in mixed if b'"e":"trade"' in raw]
    inputs = {
        "recorded trades": trades,
        "recorded, mixed": mixed[: 5 * MESSAGES],
        "generated, 300 symbols": generated(5 * MESSAGES),
    }
    results: dict[str, dict[str, float]] = {}
    print(f"{'messages':24}{'how':>14}{'a second':>12}{'us each':>9}{'times naive':>13}")
    for title, stream in inputs.items():
        if not stream:
            print(f"{title:24}{'no recordings in ' + str(common.RECORDINGS)}")
            continue
        before, messages = stream[:-MESSAGES], stream[-MESSAGES:]
        symbols = sorted({event.symbol for one in VENUE.take(messages) if isinstance(event := one, Trade | Quote)})
        contenders = {"naive": naive, "one by one": one_by_one, "wick": feed_way(symbols)}
        best = best_of(rounds, contenders, messages, before)
        results[title] = {name: round(len(messages) / seconds) for name, seconds in best.items()}
        for name, seconds in best.items():
            each, ratio = seconds / len(messages) * 1e6, best["naive"] / seconds
            print(f"{title:24}{name:>14}{len(messages) / seconds:12,.0f}{each:9.2f}{ratio:13.1f}")
    reads = frames_of(inputs["generated, 300 symbols"][:MESSAGES])
    best = best_of(rounds, {"websockets": by_protocol, "wick": by_inbox}, reads)
    results["websocket frames"] = {name: round(MESSAGES / seconds) for name, seconds in best.items()}
    for name, seconds in best.items():
        print(f"{'websocket frames':24}{name:>14}{MESSAGES / seconds:12,.0f}{seconds / MESSAGES * 1e6:9.2f}")

    targets = [
        common.Target(f"{title} a second", results[title]["wick"], TARGETS[title], at_least=True)
        for title in results
        if title in TARGETS
    ]
    common.finish("feed_parse", args, {"messages": MESSAGES, "rounds": rounds, "a_second": results}, targets)


if __name__ == "__main__":
    main()
