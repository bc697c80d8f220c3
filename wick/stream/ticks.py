"""What a feed has received and not yet sent: packed records by pair, and the sequences of its shards. Pure.

A pair's prices and quantities are scaled to the most decimals that it has shown so far, so that they soon are constant:
a worker is faster where they are. A number that would not fit an int64 then keeps its own decimals.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from wick.errors import ParseError
from wick.exchanges import Refused
from wick.market.clock import VenueClock
from wick.market.numbers import MAX_MANTISSA, POW10
from wick.market.trades import RECORD, TRADE, Event, Quote, Trade
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.wire.messages import pack_quote, pack_record


class _Pair:
    """A pair's unsent trades, packed, and its newest unsent quote."""

    __slots__ = ("price_decimals", "quantity_decimals", "quote", "quote_ns", "shard", "symbol", "trades")

    def __init__(self, symbol: str, shard: int) -> None:
        self.symbol, self.shard = symbol, shard
        self.trades = bytearray()
        self.quote: Quote | None = None
        self.quote_ns = 0  # when it was received
        self.price_decimals = self.quantity_decimals = 0

    def take(self, clock: VenueClock) -> tuple[int, bytearray]:
        """How many records there are, and they: trades, then the quote, with the venue's time of its receipt."""
        records, self.trades = self.trades, bytearray()
        if self.quote is not None:
            records += pack_quote(self._scaled(self.quote), self.quote_ns, clock.of(self.quote_ns))
            self.quote = None
        return len(records) // RECORD.itemsize, records

    def _scaled(self, quote: Quote) -> Quote:
        symbol, update_id, bid, bid_quantity, ask, ask_quantity, prices, quantities = quote
        self.price_decimals = max(self.price_decimals, prices)
        self.quantity_decimals = max(self.quantity_decimals, quantities)
        factor = POW10[self.price_decimals - prices]
        if max(bid, ask) * factor <= MAX_MANTISSA:
            bid, ask, prices = bid * factor, ask * factor, self.price_decimals
        factor = POW10[self.quantity_decimals - quantities]
        if max(bid_quantity, ask_quantity) * factor <= MAX_MANTISSA:
            bid_quantity, ask_quantity = bid_quantity * factor, ask_quantity * factor
            quantities = self.quantity_decimals
        return Quote(symbol, update_id, bid, bid_quantity, ask, ask_quantity, prices, quantities)


class Portion(NamedTuple):
    """A worker's share of a flush: `parts` as in TickHeader, and the records, in their order."""

    worker: int
    parts: list[list[Any]]
    records: bytes


class Ticks:
    """The unsent ticks of one venue's pairs."""

    def __init__(self, venue: str, symbols: Iterable[str]) -> None:
        self._pairs = {symbol: _Pair(symbol, shard_of(venue, symbol)) for symbol in symbols}
        self._touched: list[_Pair] = []  # that have something to send
        self._sequences = [0] * SHARDS
        self._sent_ns = [0] * SHARDS
        self._outages = set(range(SHARDS))  # shards whose next part says that we did not listen before it
        self.clock = VenueClock()
        self.trades = self.quotes = 0  # taken so far
        self.unsent_bytes = 0  # of trades; of quotes there is one a pair

    def __len__(self) -> int:
        return len(self._pairs)

    def outage(self) -> None:
        """We do not listen for a while."""
        self._outages.update(range(SHARDS))

    def take(self, events: Iterable[Event | Refused], recv_ns: int) -> list[Event | Refused | ParseError]:
        """Take the trades and quotes that came at `recv_ns`. What is neither, and what is refused, is given back."""
        pairs, touched, pack, most = self._pairs, self._touched, pack_record, MAX_MANTISSA
        left: list[Event | Refused | ParseError] = []
        earliest, latest = self.clock.plain(recv_ns)
        newest_ns = trades = quotes = 0
        for event in events:
            if type(event) is Trade:
                symbol, event_ns, trade_id, price, decimals, quantity, quantity_decimals, taker_buy, matches = event
                pair = pairs.get(symbol)
                if pair is None:
                    left.append(ParseError("unknown symbol", "s", symbol))
                    continue
                if earliest <= event_ns <= latest:
                    if event_ns > newest_ns:
                        newest_ns = event_ns
                else:
                    if newest_ns:
                        self.clock.observe(newest_ns, recv_ns)
                        newest_ns = 0
                    believed = self.clock.observe(event_ns, recv_ns)
                    earliest, latest = self.clock.plain(recv_ns)
                    if not believed:
                        left.append(ParseError("absurd time", "T", event_ns))
                        continue
                if decimals != pair.price_decimals:
                    if decimals > pair.price_decimals:
                        pair.price_decimals = decimals
                    elif (scaled := price * POW10[pair.price_decimals - decimals]) <= most:
                        price, decimals = scaled, pair.price_decimals
                if quantity_decimals != pair.quantity_decimals:
                    if quantity_decimals > pair.quantity_decimals:
                        pair.quantity_decimals = quantity_decimals
                    elif (scaled := quantity * POW10[pair.quantity_decimals - quantity_decimals]) <= most:
                        quantity, quantity_decimals = scaled, pair.quantity_decimals
                records = pair.trades
                if not records and pair.quote is None:
                    touched.append(pair)
                records += pack(
                    event_ns, trade_id, price, quantity, matches, 0, recv_ns,
                    decimals, quantity_decimals, TRADE, taker_buy, 0,
                )  # fmt: skip
                trades += 1
            elif type(event) is Quote:
                pair = pairs.get(event[0])
                if pair is None:
                    left.append(ParseError("unknown symbol", "s", event[0]))
                    continue
                if pair.quote is None and not pair.trades:
                    touched.append(pair)
                pair.quote, pair.quote_ns = event, recv_ns
                quotes += 1
            else:
                left.append(event)
        if newest_ns:
            self.clock.observe(newest_ns, recv_ns)
        self.trades += trades
        self.quotes += quotes
        self.unsent_bytes += trades * RECORD.itemsize
        return left

    def portions(self, workers: int, now_ns: int, clock_due_ns: int) -> list[Portion]:
        """Let go of everything: a portion for each worker that has some of it.

        A shard that has nothing, and was sent nothing since `clock_due_ns`, has a part without symbols; no such part is
        made where that is 0.
        """
        by_shard: dict[int, list[_Pair]] = {}
        for pair in self._touched:
            by_shard.setdefault(pair.shard, []).append(pair)
        self._touched.clear()
        self.unsent_bytes = 0
        shares: dict[int, tuple[list[list[Any]], list[bytearray]]] = {}
        for shard in range(SHARDS):
            pairs = by_shard.get(shard, [])
            if not pairs and (not clock_due_ns or self._sent_ns[shard] > clock_due_ns):
                continue
            parts, records = shares.setdefault(worker_of(shard, workers), ([], []))
            counts = []
            for pair in pairs:
                count, packed = pair.take(self.clock)
                counts.append(count)
                records.append(packed)
            self._sequences[shard] += 1
            self._sent_ns[shard] = now_ns
            outage = shard in self._outages
            parts.append([shard, self._sequences[shard], outage, [pair.symbol for pair in pairs], counts])
            self._outages.discard(shard)
        return [Portion(worker, parts, b"".join(records)) for worker, (parts, records) in shares.items()]
