"""What a feed has received and not yet sent: packed records by pair, and the sequences of its shards. Pure.

A trade is taken once, whichever way it comes and how often (see `continuity`). A pair's prices and quantities are
scaled to the most decimals that it has shown so far, so that they soon are constant: a worker is faster where they
are. A number that would not fit an int64 then keeps its own decimals.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from wick.errors import ParseError
from wick.exchanges import Hole, Refused
from wick.exchanges._columns import TradeColumns
from wick.exchanges._cursor import Ints
from wick.market.clock import SANE_NS, VenueClock
from wick.market.numbers import MAX_DECIMALS, MAX_MANTISSA, POW10
from wick.market.records import RECORD
from wick.market.trades import TRADE, BookDepth, Event, LastTrade, PastTrade, Quote, Trade
from wick.stream.continuity import Contiguous, Numbers, Tail
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.stream.tails import Tails
from wick.wire.messages import pack_depth, pack_quote, pack_record

TAIL_NS = 2 * 10**9  # a trade that the venue has told of, and that has not come for so long, is missing
SET_BACK_NS = 60 * 10**9  # no hole waits so long before it is asked for
ASKED = 1_000  # ids: holes within so many are asked for at once, no venue gives more in one answer
REMEMBERED_NS = 86_400 * 10**9  # what was missed of a pair for longer is left to `wick backfill`
MAX_EARLY = 65_536  # past trades that wait for the first live one; on full: the oldest is let go


class _Pair:
    """A pair's unsent trades, packed, and the newest unsent of its quotes and of what its book holds."""

    __slots__ = (
        "counted", "data_ns", "depth", "depth_ns", "ids", "price_decimals", "quantity_decimals", "quote", "quote_ns",
        "shard", "symbol", "trades",
    )  # fmt: skip

    def __init__(self, symbol: str, shard: int, ids: Contiguous | Numbers) -> None:
        self.symbol, self.shard, self.ids = symbol, shard, ids
        self.trades = bytearray()
        self.quote: Quote | None = None
        self.depth: BookDepth | None = None
        self.quote_ns = self.depth_ns = 0  # when they were received
        self.data_ns = 0  # when something was last sent
        self.counted = False  # trades of it have been sent
        self.price_decimals = self.quantity_decimals = 0

    def stand(self, tail: Tail) -> None:
        """Go on where whoever read it before us ended."""
        self.ids.stand(tail)
        self.counted = True
        self.price_decimals, self.quantity_decimals = tail.price_decimals, tail.quantity_decimals

    @property
    def is_empty(self) -> bool:
        return not self.trades and self.quote is None and self.depth is None

    def take(self, clock: VenueClock) -> tuple[int, bytearray]:
        """How many records there are, and they: trades, quote, depth (these with the venue's time of their receipt)."""
        records, self.trades = self.trades, bytearray()
        self.counted |= bool(records)
        if self.quote is not None:
            records += pack_quote(self._scaled(self.quote), self.quote_ns, clock.of(self.quote_ns))
            self.quote = None
        if self.depth is not None:
            records += pack_depth(self._deep(self.depth), self.depth_ns, clock.of(self.depth_ns), self.price_decimals)
            self.depth = None
        return len(records) // RECORD.itemsize, records

    def add(self, trade: Trade, trade_id: int, recv_ns: int) -> None:
        """One trade, whatever its decimals."""
        _, event_ns, _, price, decimals, quantity, quantity_decimals, taker_buy, matches = trade
        self.price_decimals = max(self.price_decimals, decimals)
        self.quantity_decimals = max(self.quantity_decimals, quantity_decimals)
        if (scaled := price * POW10[self.price_decimals - decimals]) <= MAX_MANTISSA:
            price, decimals = scaled, self.price_decimals
        if (scaled := quantity * POW10[self.quantity_decimals - quantity_decimals]) <= MAX_MANTISSA:
            quantity, quantity_decimals = scaled, self.quantity_decimals
        self.trades += pack_record(
            event_ns, trade_id, price, quantity, matches, 0, recv_ns, decimals, quantity_decimals, TRADE, taker_buy, 0
        )

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

    def _deep(self, depth: BookDepth) -> BookDepth:
        self.quantity_decimals = max(self.quantity_decimals, depth.quantity_decimals)
        factor = POW10[self.quantity_decimals - depth.quantity_decimals]
        if max(depth[2:6]) * factor > MAX_MANTISSA:
            return depth
        # -1 is no quantity but says that it is not known
        scaled = [amount * factor if amount > 0 else amount for amount in depth[2:6]]
        return BookDepth._make((*depth[:2], *scaled, self.quantity_decimals))


# The largest number that so many more decimals leave in an int64.
_MOST = np.array([MAX_MANTISSA // POW10[more] for more in range(MAX_DECIMALS + 1)])
_POW10 = np.array([min(POW10[more], MAX_MANTISSA) for more in range(MAX_DECIMALS + 1)])


def _in(numbers: Ints, decimals: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """The numbers with the decimals that are wanted, where they fit so, and those that they have."""
    more = wanted - decimals
    if not more.any():
        return numbers, decimals
    fits = numbers <= _MOST[more]
    return np.where(fits, numbers * _POW10[more], numbers), np.where(fits, wanted, decimals)


def _packed(columns: TradeColumns, before: Ints, prices: Ints, quantities: Ints, recv_ns: int) -> bytes:
    """The records: a trade's number is its place, and what `before` says; its decimals are to be those, if they can."""
    records = np.zeros(len(before), RECORD)
    records["event_ns"], records["recv_ns"], records["c"] = columns.event_ns, recv_ns, columns.matches
    records["id"] = np.arange(len(before)) + before
    records["a"], records["price_decimals"] = _in(columns.price, columns.price_decimals, prices)
    records["b"], records["quantity_decimals"] = _in(columns.quantity, columns.quantity_decimals, quantities)
    records["kind"], records["taker_buy"] = TRADE, columns.taker_buy
    return records.tobytes()


class Portion(NamedTuple):
    """A worker's share of a flush: `parts` as in TickHeader, and the records, in their order."""

    worker: int
    parts: list[list[Any]]
    records: bytes


class Ticks:
    """The unsent ticks of one venue's pairs, and which of their trades are missing."""

    def __init__(self, venue: str, symbols: Iterable[str], contiguous: bool = True) -> None:
        self.venue = venue
        self._ids = Contiguous if contiguous else Numbers
        self._pairs: dict[str, _Pair] = {}
        self._touched: list[_Pair] = []  # that have something to send
        self._sequences = [0] * SHARDS
        self._sent_ns = [0] * SHARDS
        self._outages = set(range(SHARDS))  # shards whose next part says that we did not listen before it
        self._holed: dict[str, _Pair] = {}  # that may miss trades; who was asked about last is last
        self._left: dict[str, Tail] = {}  # by whoever read before us, of pairs that are not read yet, or no more
        self._told: dict[str, tuple[int, int]] = {}  # the newest trade by the venue's word, and when it said so
        self._early: deque[tuple[PastTrade, int]] = deque(maxlen=MAX_EARLY)
        self.clock = VenueClock()
        self.trades = self.quotes = self.duplicates = 0  # taken so far, and trades that came again
        self.unsent_bytes = 0  # of trades; of quotes and depths there is one a pair
        for symbol in symbols:
            self.add(symbol)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._pairs

    def data_ns(self, symbol: str) -> int:
        """When a flush last had something of it; 0: none had."""
        pair = self._pairs.get(symbol)
        return pair.data_ns if pair is not None else 0

    def add(self, symbol: str, now_ns: int = 0) -> None:
        if symbol in self._pairs:
            return
        pair = self._pairs[symbol] = _Pair(symbol, shard_of(self.venue, symbol), self._ids())
        tail = self._left.pop(symbol, None)
        if tail is not None and now_ns - tail.read_ns < REMEMBERED_NS:
            pair.stand(tail)
            if pair.ids.holes:
                self._holed[symbol] = pair

    def recall(self, tails: Tails, now_ns: int) -> None:
        """Go on where whoever read before us ended, of the pairs that will be added."""
        if tails.contiguous is (self._ids is Contiguous):
            self._left = {symbol: tail for symbol, tail in tails.pairs.items() if now_ns - tail.read_ns < REMEMBERED_NS}

    def tails(self, now_ns: int) -> Tails:
        """Where every pair stands, with all that has been taken; so let go of that first."""
        found = dict(self._left)
        for symbol, pair in self._pairs.items():
            tail = pair.ids.tail(now_ns, pair.price_decimals, pair.quantity_decimals)
            if tail is not None:
                found[symbol] = tail
        return Tails(self._ids is Contiguous, found)

    def remove(self, symbol: str, now_ns: int) -> None:
        """What has been taken is still sent. Should it be added again, it goes on where it is now."""
        pair = self._pairs.pop(symbol, None)
        tail = pair.ids.tail(now_ns, pair.price_decimals, pair.quantity_decimals) if pair is not None else None
        if tail is not None:
            self._left[symbol] = tail
        self._holed.pop(symbol, None)
        self._told.pop(symbol, None)

    def outage(self, symbols: Iterable[str] | None = None) -> None:
        """We do not listen for a while, to these symbols or to any."""
        concerned = set(self._pairs if symbols is None else symbols)
        self.doubt(concerned)
        self._outages.update(pair.shard for symbol, pair in self._pairs.items() if symbol in concerned)
        if symbols is None:
            self._outages.update(range(SHARDS))

    def doubt(self, symbols: Iterable[str]) -> None:
        """Something that came of these could not be read: where ids do not tell what is missing, something is."""
        for symbol in symbols:
            if symbol in self._pairs:
                self._pairs[symbol].ids.skip()

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
                        pair.ids.skip()
                        left.append(ParseError("absurd time", "T", event_ns))
                        continue
                ids = pair.ids
                if trade_id == ids.next_id:
                    ids.next_id = trade_id + 1
                    if event_ns > ids.newest_ns:
                        ids.newest_ns = event_ns
                else:
                    trade_id = ids.take(trade_id, event_ns, recv_ns)
                    if trade_id < 0:
                        self.duplicates += 1
                        continue
                    if ids.holes:
                        self._holed.setdefault(symbol, pair)
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
                if not records and pair.quote is None and pair.depth is None:
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
                if pair.is_empty:
                    touched.append(pair)
                pair.quote, pair.quote_ns = event, recv_ns
                quotes += 1
            elif type(event) is PastTrade:
                self._early.append((event, recv_ns))
            elif type(event) is LastTrade:
                self._hear(event, recv_ns)
            else:
                left.append(event)
        if newest_ns:
            self.clock.observe(newest_ns, recv_ns)
        self.trades += trades
        self.quotes += quotes
        self.unsent_bytes += trades * RECORD.itemsize
        if self._early and self.clock.at(recv_ns):
            left += self._take_past()
        return left

    def take_columns(self, columns: TradeColumns, recv_ns: int) -> list[Event | Refused | ParseError]:
        """As `take`, of trades in columns. A pair's trades that do not simply follow are taken one by one."""
        if not len(columns.ids):
            return []
        earliest, latest = self.clock.plain(recv_ns)
        if not earliest <= int(columns.event_ns.min()) <= int(columns.event_ns.max()) <= latest:
            return self.take(columns.trades(), recv_ns)
        # Runs: a pair's trades, in order.
        columns = columns.of(np.argsort(columns.codes.astype(np.int16), kind="stable"))
        starts = np.flatnonzero(np.diff(columns.codes, prepend=-1))
        counts = np.diff(starts, append=len(columns.ids))
        follows = np.diff(columns.ids, prepend=0) == 1
        follows[starts] = True
        runs = zip(
            columns.codes[starts].tolist(), starts.tolist(), (starts + counts).tolist(), columns.ids[starts].tolist(),
            np.logical_and.reduceat(follows, starts).tolist(), columns.event_ns[starts].tolist(),
            np.maximum.reduceat(columns.event_ns, starts).tolist(),
            np.maximum.reduceat(columns.price_decimals, starts).tolist(),
            np.maximum.reduceat(columns.quantity_decimals, starts).tolist(), strict=True,
        )  # fmt: skip
        keys: list[int] = columns.ids.tolist() if self._ids is Numbers else []
        symbols = columns.symbols
        taken: list[tuple[_Pair, int, int]] = []  # and the bytes of its records
        told: list[int] = []  # of each run: what makes a place the trade's id, and the decimals
        others: list[int] = []  # codes
        newest_ns = 0
        for code, start, end, trade_id, follow, first_ns, last_ns, price_decimals, quantity_decimals in runs:
            pair = self._pairs.get(symbols[code])
            number = -1
            if pair is not None:
                ids = pair.ids
                if isinstance(ids, Numbers):
                    number = ids.run(keys[start:end], first_ns, last_ns)
                elif follow and trade_id == ids.next_id:
                    number, ids.next_id = trade_id, trade_id + end - start
                    if last_ns > ids.newest_ns:
                        ids.newest_ns = last_ns
            if pair is None or number < 0:
                others.append(code)
                told += 0, 0, 0
                continue
            if price_decimals > pair.price_decimals:
                pair.price_decimals = price_decimals
            if quantity_decimals > pair.quantity_decimals:
                pair.quantity_decimals = quantity_decimals
            newest_ns = max(newest_ns, last_ns)
            taken.append((pair, start * RECORD.itemsize, end * RECORD.itemsize))
            told += number - start, pair.price_decimals, pair.quantity_decimals
        before, prices, quantities = np.array(told).reshape(-1, 3).repeat(counts, axis=0).T
        records = _packed(columns, before, prices, quantities, recv_ns)
        touched, size = self._touched, 0
        for pair, begin, end in taken:
            if not pair.trades and pair.quote is None and pair.depth is None:
                touched.append(pair)
            pair.trades += records[begin:end]
            size += end - begin
        self.unsent_bytes += size
        self.trades += size // RECORD.itemsize
        if taken:
            self.clock.observe(newest_ns, recv_ns)
        return self.take(columns.of(np.isin(columns.codes, others)).trades(), recv_ns) if others else []

    def book(self, depth: BookDepth, quote: Quote | None, recv_ns: int) -> None:
        """What a book holds, and its best prices where nothing else tells them: the newest of a flush are sent."""
        pair = self._pairs.get(depth.symbol)
        if pair is None:
            return
        if pair.is_empty:
            self._touched.append(pair)
        pair.depth, pair.depth_ns = depth, recv_ns
        if quote is not None:
            pair.quote, pair.quote_ns = quote, recv_ns
            self.quotes += 1

    # ------------------------------------------------------------------ what is missing

    def mend(self, trades: Iterable[Trade], recv_ns: int) -> int:
        """Take of these what is missing, and nothing else; how many that was. The clock does not hear of them."""
        count = 0
        for trade in trades:
            pair = self._pairs.get(trade.symbol)
            if pair is not None and isinstance(pair.ids, Contiguous) and pair.ids.fill(trade.trade_id, trade.event_ns):
                self._append(pair, trade, trade.trade_id, recv_ns)
                count += 1
        return count

    def next_hole(self, noticed_by_ns: int) -> Hole | None:
        """The oldest hole of some symbol, of each in its turn, and small ones behind it together with it.

        None that was noticed later than `noticed_by_ns`, unless it is far later: then the clock has been set back.
        """
        for symbol in list(self._holed):
            pair = self._holed.pop(symbol)
            if pair.ids.holes:
                self._holed[symbol] = pair
                old = [hole for hole in pair.ids.holes if not 0 < hole.since_ns - noticed_by_ns < SET_BACK_NS]
                if old:
                    first = old[0]
                    last = max((hole for hole in old if hole.last_id - first.first_id < ASKED), default=first)
                    return Hole(symbol, first.first_id, last.last_id, first.from_ns, last.to_ns)
        return None

    def is_holed(self, symbol: str) -> bool:
        """Whether trades of it are missing that may still come."""
        return symbol in self._holed and bool(self._holed[symbol].ids.holes)

    def missing(self, hole: Hole) -> int:
        """How many of its trades have not come by now."""
        pair = self._pairs.get(hole.symbol)
        if pair is None:
            return 0
        spans = [(max(one.first_id, hole.first_id), min(one.last_id, hole.last_id)) for one in pair.ids.holes]
        return sum(last - first + 1 for first, last in spans if first <= last)

    def give_up(self, hole: Hole) -> int:
        """Its trades are not to be had: nobody asks for them any more. How many are missing for good."""
        pair = self._pairs.get(hole.symbol)
        if pair is None or not isinstance(pair.ids, Contiguous):
            return 0
        return pair.ids.give_up(hole.first_id, hole.last_id)

    def notice_tails(self, now_ns: int) -> None:
        """What the venue said was traded, and did not come, is missing."""
        for symbol, (trade_id, told_ns) in list(self._told.items()):
            if not 0 <= now_ns - told_ns < TAIL_NS:  # told later than now: the clock has been set back
                del self._told[symbol]
                pair = self._pairs[symbol]
                assert isinstance(pair.ids, Contiguous)
                pair.ids.expect(trade_id, self.clock.of(told_ns), now_ns)
                if pair.ids.holes:
                    self._holed.setdefault(symbol, pair)

    def renumbered(self) -> list[str]:
        """The symbols whose trades are numbered anew since this was last asked."""
        found = []
        for symbol, pair in self._pairs.items():
            if pair.ids.restarts:
                pair.ids.restarts = 0
                found.append(symbol)
        return found

    def gauges(self) -> dict[str, int]:
        """Holes that are open, and trades that are missing for good."""
        return {
            "holes_open": sum(len(pair.ids.holes) for pair in self._holed.values()),
            "lost_trades": sum(pair.ids.given_up for pair in self._pairs.values()),
        }

    def _hear(self, event: LastTrade, recv_ns: int) -> None:
        """Keep the venue's oldest word that is not fulfilled yet."""
        pair = self._pairs.get(event.symbol)
        if pair is None or not 0 <= pair.ids.next_id <= event.trade_id:
            self._told.pop(event.symbol, None)
        elif event.symbol not in self._told or self._told[event.symbol][0] < pair.ids.next_id:
            self._told[event.symbol] = (event.trade_id, recv_ns)

    def _take_past(self) -> list[Event | Refused | ParseError]:
        """Take what venues tell again. What is older than any candle that was begun only tells which ids there were;
        but what was traded while we did not listen counts, however long that was.
        """
        early, self._early = self._early, deque(maxlen=MAX_EARLY)
        left: list[Event | Refused | ParseError] = []
        for event, recv_ns in early:
            pair = self._pairs.get(event.symbol)
            if pair is None:
                left.append(ParseError("unknown symbol", "s", event.symbol))
                continue
            trade_id = pair.ids.admit(event.trade_id, event.event_ns, recv_ns)
            if pair.ids.holes:
                self._holed.setdefault(event.symbol, pair)
            if trade_id < 0:
                self.duplicates += 1
            elif pair.counted or abs(event.event_ns - self.clock.of(recv_ns)) <= SANE_NS:
                self._append(pair, event, trade_id, recv_ns)
        return left

    def _append(self, pair: _Pair, trade: Trade, trade_id: int, recv_ns: int) -> None:
        if pair.is_empty:
            self._touched.append(pair)
        pair.add(trade, trade_id, recv_ns)
        self.trades += 1
        self.unsent_bytes += RECORD.itemsize

    # ------------------------------------------------------------------ out

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
            # Sent later than now: the clock has been set back.
            if not pairs and (not clock_due_ns or clock_due_ns < self._sent_ns[shard] <= now_ns):
                continue
            parts, records = shares.setdefault(worker_of(shard, workers), ([], []))
            counts = []
            for pair in pairs:
                pair.data_ns = now_ns
                count, packed = pair.take(self.clock)
                counts.append(count)
                records.append(packed)
            self._sequences[shard] += 1
            self._sent_ns[shard] = now_ns
            outage = shard in self._outages
            parts.append([shard, self._sequences[shard], outage, [pair.symbol for pair in pairs], counts])
            self._outages.discard(shard)
        return [Portion(worker, parts, b"".join(records)) for worker, (parts, records) in shares.items()]
