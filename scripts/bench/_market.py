"""The market that the benchmarks trade: 300 pairs by Zipf's law, and the feed's messages that tell of it.

It is modelled on our recordings: two of three trades repeat the price, a seventh moves it by one step, the taker's
side stays for ten trades, two of three quantities have been seen before. Times are whole milliseconds, as Binance's.
With quotes, eight of ten pairs that trade in a flush have one in it, behind the trades, and one of ten has new prices.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.exchanges import load
from wick.market.records import RECORD
from wick.market.trades import QUOTE, TRADE
from wick.sim.symbols import listings
from wick.stream.shards import SHARDS, shard_of
from wick.wire.messages import TickHeader

MS, SECOND = 10**6, 10**9
VENUE = "binance"
FIRST_ID = 3_000_000_000
QUOTED, NEW_PRICES = 0.8, 0.1
CLOCK_NS = 250 * MS  # a shard without trades hears the clock so often (feed.clock_ms)

Integers = NDArray[np.int64]


class Ticks(NamedTuple):
    """Trades and quotes, grouped by pair as a batch holds them: number of the pair of each, and its RECORD."""

    pairs: Integers
    records: NDArray[np.void]


class Market:
    """Trades without end, the same ones for the same seed. Pairs of a shard have neighbouring numbers."""

    def __init__(self, pairs: int = 300, seed: int = 1, zipf: float = 1.0) -> None:
        self.random = np.random.default_rng(seed)
        self.symbol = load(VENUE).symbol
        ranks = {self.symbol(native): rank for rank, native in enumerate(natives(pairs), 1)}  # 1 is the most active
        self.names = sorted(ranks, key=lambda name: shard_of(VENUE, name))
        self.shards = [shard_of(VENUE, name) for name in self.names]
        weights = np.array([ranks[name] ** -zipf for name in self.names])
        self._borders = np.cumsum(weights / weights.sum())
        self._ids = np.full(pairs, FIRST_ID)
        self._prices = self.random.integers(10_000, 10_000_000, pairs)
        self._buying = self.random.integers(0, 2, pairs)
        self.price_decimals = self.random.integers(2, 7, pairs)
        self.quantity_decimals = self.random.integers(1, 6, pairs)
        self.has_quotes = False
        self._bids = self._prices.copy()
        self._lots = np.exp(self.random.normal(6, 2, 4096)).astype(np.int64) + 1  # quantities that come again

    def ticks(self, count: int, from_ns: int, to_ns: int) -> Ticks:
        """`count` trades in `[from_ns, to_ns)`."""
        random = self.random
        pairs = np.minimum(np.searchsorted(self._borders, random.random(count)), len(self.names) - 1)
        return self.of(np.sort(pairs), from_ns, to_ns)

    def of(self, pairs: Integers, from_ns: int, to_ns: int) -> Ticks:
        """Trades of these pairs (ascending)."""
        random, count = self.random, len(pairs)
        starts = np.searchsorted(pairs, pairs)  # where each one's pair begins
        place = np.arange(count) - starts
        moves = random.choice([0, 1, -1, 2, -2, 5, -5], count, p=[0.65, 0.075, 0.075, 0.06, 0.06, 0.04, 0.04])
        made = np.zeros(count, RECORD)
        # Any time within the span, ascending within a pair.
        times = from_ns + random.integers(0, max(1, to_ns - from_ns), count) // MS * MS
        made["event_ns"] = times[np.lexsort((times, pairs))]
        made["recv_ns"] = to_ns
        made["id"] = self._ids[pairs] + place
        made["a"] = np.maximum(self._prices[pairs] + _running(moves, starts), 1)
        seen_before = random.random(count) < 0.67
        fresh = np.exp(random.normal(6, 2, count)).astype(np.int64) + 1
        made["b"] = np.where(seen_before, self._lots[random.integers(0, len(self._lots), count)], fresh)
        made["c"] = 1
        made["price_decimals"], made["quantity_decimals"] = self.price_decimals[pairs], self.quantity_decimals[pairs]
        made["kind"] = TRADE
        made["taker_buy"] = self._buying[pairs] + _running(random.random(count) < 0.1, starts) & 1
        last = np.flatnonzero(np.diff(pairs, append=-1))  # the last of each pair
        self._ids[pairs[last]] = made["id"][last] + 1
        self._prices[pairs[last]], self._buying[pairs[last]] = made["a"][last], made["taker_buy"][last]
        return self._quoted(pairs, made, last) if self.has_quotes else Ticks(pairs, made)

    def _quoted(self, pairs: Integers, made: NDArray[np.void], last: Integers) -> Ticks:
        """With a quote behind some of the `last` trades."""
        random = self.random
        behind = last[random.random(len(last)) < QUOTED]
        quotes, of = made[behind], pairs[behind]
        moved = random.random(len(of)) < NEW_PRICES
        self._bids[of] = np.where(moved, np.maximum(quotes["a"] - random.integers(0, 2, len(of)), 1), self._bids[of])
        quotes["kind"], quotes["a"], quotes["b"] = QUOTE, self._bids[of], self._bids[of] + 1
        quotes["c"], quotes["d"] = self._lots[random.integers(0, len(self._lots), (2, len(of)))]
        return Ticks(np.insert(pairs, behind + 1, of), np.insert(made, behind + 1, quotes))

    def one_each(self, from_ns: int, to_ns: int, times: int = 1) -> Ticks:
        """`times` trades of every pair."""
        return self.of(np.repeat(np.arange(len(self.names)), times), from_ns, to_ns)


class Wire:
    """Makes of ticks the messages that the feed would send to its only worker."""

    def __init__(self, market: Market, epoch: int = 1) -> None:
        self.market, self.epoch, self.block = market, epoch, 0
        self._sequences = [0] * SHARDS
        self._heard_ns = [0] * SHARDS

    def all_hear(self) -> None:
        """The next message tells all shards the clock."""
        self._heard_ns = [0] * SHARDS

    def messages(self, ticks: Ticks | None, send_ns: int, clock_ns: int | None = None) -> list[list[bytes]]:
        """One flush of the feed: the ticks, and the clock for the shards that have not heard it for long."""
        clock_ns = send_ns if clock_ns is None else clock_ns
        runs: list[tuple[list[str], list[int]]] = [([], []) for _ in range(SHARDS)]
        if ticks is not None:
            starts = np.flatnonzero(np.diff(ticks.pairs, prepend=-1))
            counts = np.diff(starts, append=len(ticks.pairs))
            for pair, count in zip(ticks.pairs[starts].tolist(), counts.tolist(), strict=True):
                symbols, sizes = runs[self.market.shards[pair]]
                symbols.append(self.market.names[pair])
                sizes.append(count)
        records = ticks.records.tobytes() if ticks is not None else b""
        parts = []
        for shard, (symbols, sizes) in enumerate(runs):
            if symbols or clock_ns - self._heard_ns[shard] >= CLOCK_NS:
                self._sequences[shard] += 1
                self._heard_ns[shard] = clock_ns
                parts.append([shard, self._sequences[shard], False, symbols, sizes])
        if not parts:
            return []
        self.block += 1
        return [[TickHeader(self.epoch, self.block, self.block - 1, VENUE, send_ns, clock_ns, parts).pack(), records]]


def natives(pairs: int) -> list[str]:
    """The venue's names of the pairs, most active first."""
    return [one.symbol for one in listings(pairs)]


def _running(values: NDArray[np.generic], starts: Integers) -> Integers:
    """Sums up to and with each value, anew from each start."""
    total = np.cumsum(values, dtype=np.int64)
    return total - total[starts] + np.asarray(values, dtype=np.int64)[starts]


def decoded(market: Market, ticks: Ticks) -> list[tuple[str, int, float, float, bool]]:
    """The same ticks as the naive baseline likes them, in the order of time: as they came."""
    order = np.argsort(ticks.records["event_ns"], kind="stable")
    order = order[ticks.records["kind"][order] == TRADE]
    pairs, made = ticks.pairs[order], ticks.records[order]
    columns = (
        made["event_ns"] // MS,
        made["a"] * 10.0 ** -made["price_decimals"].astype(float),
        made["b"] * 10.0 ** -made["quantity_decimals"].astype(float),
        made["taker_buy"].astype(bool),
    )
    names = [market.names[pair] for pair in pairs.tolist()]
    return list(zip(names, *(column.tolist() for column in columns), strict=True))
