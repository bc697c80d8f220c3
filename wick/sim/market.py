"""The demo market: trades and best prices of many symbols as a function of (seed, symbols, rate, time). Pure.

The market moves in ticks of 10 ms since its start. A tick draws what happens in it from seeded generators
alone, so the same seed gives the same events whatever the steps in which it is asked, and whoever listens.

- Activity is Zipf's over the symbols, and it excites itself: a trade makes more trades likely, in its own
  symbol (fast) and in all others (slow). The share of trades that are born of others keeps the mean at
  `rate`.
- A fair price wanders without steps; the best bid and ask follow it in steps, and takers hit the side that it
  has moved to, so the taker's side goes with the moves. A trade takes from the best level, never more than is
  there.

Prices and quantities in events are integers of 1e-8.

A market that was stopped can go on where it stood (`saved`): then that and the time seed it as well.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from wick.sim.symbols import Listing, listings

TICK_MS = 10
QUOTES_PER_TRADE = 1.5  # changes of the best levels beside those that trades make
OWN, OWN_DECAY_S = 0.35, 0.5  # trades that a trade causes in its own symbol, and how soon
CROWD, CROWD_DECAY_S = 0.25, 3.0  # and in the whole market
DAILY_VOLATILITY = 0.03
# Back to the first price, in about a day: a demo that runs for weeks stays in sight of it.
PULL_PER_TICK = 1e-7
TRADE_DOLLARS, LEVEL_DOLLARS = 150.0, 4000.0

# Ids begin where a start at this time begins, and faster than any symbol of the demo trades: an exchange that
# is started again, and does not know where it stood, goes on with higher ids and is not taken for one that repeats old
# trades.
_IDS_SINCE_MS = 1_500_000_000_000
_TRADE_IDS_PER_S, _UPDATE_IDS_PER_S = 20_000.0, 200_000.0


class TradeEvent(NamedTuple):
    pair: int  # index of the symbol
    time_ms: int
    trade_id: int
    price: int
    quantity: int
    buyer_is_maker: bool


class QuoteEvent(NamedTuple):
    pair: int
    time_ms: int
    update_id: int
    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int


Event = TradeEvent | QuoteEvent


class Stand(NamedTuple):
    """Where a symbol's market stood when it was stopped."""

    symbol: str
    next_trade_id: int
    update_id: int
    bid: int
    ask: int
    bid_lots: int
    ask_lots: int
    fair: float


class Pair:
    """One symbol's best levels, in steps (`bid`, `ask`) and lots, and where its ids stand."""

    __slots__ = (
        "ask",
        "ask_lots",
        "bid",
        "bid_lots",
        "level_lots",
        "listing",
        "next_trade_id",
        "salt",
        "stride",
        "trade_lots",
        "update_id",
    )  # fmt: skip

    def __init__(self, listing: Listing, salt: int, share: float, start_ms: int) -> None:
        self.listing, self.salt = listing, salt
        lot_dollars = listing.dollars * listing.lot / 1e8
        self.trade_lots = TRADE_DOLLARS / lot_dollars
        self.level_lots = LEVEL_DOLLARS / lot_dollars
        steps = listing.price * 1e8 / listing.tick
        self.stride = max(1, round(steps * 2e-5))  # the steps between two levels of the deeper book
        self.bid = round(steps)
        self.ask = self.bid + 1
        self.bid_lots = self.ask_lots = max(1, round(self.level_lots))
        seconds = max(0, start_ms - _IDS_SINCE_MS) // 1000
        self.next_trade_id = 1 + int(seconds * (1 + _TRADE_IDS_PER_S * share))
        self.update_id = 1 + int(seconds * (10 + _UPDATE_IDS_PER_S * share))

    def resume(self, stand: Stand) -> None:
        _, self.next_trade_id, self.update_id, self.bid, self.ask, self.bid_lots, self.ask_lots, _ = stand

    def quote(self, index: int, time_ms: int) -> QuoteEvent:
        tick, lot = self.listing.tick, self.listing.lot
        bid, bid_quantity = self.bid * tick, self.bid_lots * lot
        return QuoteEvent(index, time_ms, self.update_id, bid, bid_quantity, self.ask * tick, self.ask_lots * lot)


class Market:
    """The events of `count` symbols from `start_ms` on, `rate` trades a second over all on average."""

    def __init__(
        self, seed: int = 1, count: int = 300, rate: float = 400.0, start_ms: int = 0, saved: Iterable[Stand] = ()
    ) -> None:
        self.listings = listings(count)
        self._time_ms = start_ms
        shares = 1.0 / np.arange(1, count + 1)
        shares /= shares.sum()
        stands = {stand.symbol: stand for stand in saved}
        seeds = np.random.SeedSequence([seed, start_ms] if stands else seed).spawn(4)
        vectors, uniforms, normals, salts = (np.random.default_rng(each) for each in seeds)
        self._rng = vectors
        self._uniform = _pool(uniforms.random)
        self._normal = _pool(normals.standard_normal)
        self.pairs = [
            Pair(listing, salt, share, start_ms)
            for listing, salt, share in zip(
                self.listings, salts.integers(1 << 62, size=count).tolist(), shares.tolist(), strict=True
            )
        ]
        self._mean = shares * rate * TICK_MS / 1000  # trades a tick
        self._born_alone = self._mean * (1 - OWN - CROWD)
        self.shares = shares
        self._own = self._mean * OWN
        self._crowd = float(self._mean.sum()) * CROWD
        self._own_decay = math.exp(-TICK_MS / 1000 / OWN_DECAY_S)
        self._crowd_decay = math.exp(-TICK_MS / 1000 / CROWD_DECAY_S)
        self._fair = np.array([pair.bid + 0.5 for pair in self.pairs])
        self._anchor = self._fair.copy()
        self._sigma = self._anchor * DAILY_VOLATILITY / math.sqrt(86_400_000 / TICK_MS)
        for index, pair in enumerate(self.pairs):
            if stand := stands.get(pair.listing.symbol):
                pair.resume(stand)
                self._fair[index] = stand.fair

    def stands(self) -> list[Stand]:
        """What a later market is to begin with."""
        return [
            Stand(pair.listing.symbol, pair.next_trade_id, pair.update_id, pair.bid, pair.ask, pair.bid_lots,
                  pair.ask_lots, fair)
            for pair, fair in zip(self.pairs, self._fair.tolist(), strict=True)
        ]  # fmt: skip

    @property
    def time_ms(self) -> int:
        """Where the market stands: the end of its last tick."""
        return self._time_ms

    def advance(self, now_ms: int) -> list[Event]:
        """Everything that happened since the last call, up to the last tick that has ended at `now_ms`."""
        events: list[Event] = []
        while self._time_ms + TICK_MS <= now_ms:
            self._tick(events)
        return events

    def skip_to(self, now_ms: int) -> None:
        """The market slept until `now_ms`: its next tick begins there."""
        self._time_ms = max(self._time_ms, now_ms)

    def _tick(self, events: list[Event]) -> None:
        expected = self._born_alone + self._own + self.shares * self._crowd
        trades = self._rng.poisson(expected)
        quotes = self._rng.poisson(expected * QUOTES_PER_TRADE)
        self._own = self._own * self._own_decay + trades * (OWN * (1 - self._own_decay))
        self._crowd = self._crowd * self._crowd_decay + int(trades.sum()) * CROWD * (1 - self._crowd_decay)
        # Busy symbols move more: the variance goes with the activity.
        noise = self._rng.standard_normal(len(self.pairs)) * np.sqrt(expected / self._mean)
        self._fair += self._sigma * noise + (self._anchor - self._fair) * PULL_PER_TICK
        np.maximum(self._fair, self._anchor * 0.2, out=self._fair)

        active = np.flatnonzero(trades + quotes)
        rows = zip(active.tolist(), trades[active].tolist(), quotes[active].tolist(), strict=True)
        for place, (index, trade_count, quote_count) in enumerate(rows):
            time_ms = self._time_ms + place * TICK_MS // len(active)
            pair, fair = self.pairs[index], float(self._fair[index])
            for _ in range(quote_count):
                self._requote(pair, fair)
                events.append(pair.quote(index, time_ms))
            for _ in range(trade_count):
                events.append(self._trade(index, pair, fair, time_ms))
                events.append(pair.quote(index, time_ms))
        self._time_ms += TICK_MS

    def _requote(self, pair: Pair, fair: float) -> None:
        """Makers change the best levels: now and then the price, mostly only how much is there."""
        choice = next(self._uniform)
        if choice < 0.35:
            spread = 1 + int(-math.log1p(-next(self._uniform)) * 0.6)
            pair.bid = max(1, int(fair) - spread // 2)
            pair.ask = pair.bid + spread
            pair.bid_lots, pair.ask_lots = self._lots(pair.level_lots), self._lots(pair.level_lots)
        elif choice < 0.675:
            pair.bid_lots = self._lots(pair.level_lots)
        else:
            pair.ask_lots = self._lots(pair.level_lots)
        pair.update_id += 1 + int(next(self._uniform) * 3)

    def _trade(self, index: int, pair: Pair, fair: float, time_ms: int) -> TradeEvent:
        lean = math.tanh((fair - (pair.bid + pair.ask) / 2) / pair.stride)
        taker_buys = next(self._uniform) < 0.5 + 0.35 * lean
        wanted = self._lots(pair.trade_lots)
        if taker_buys:
            price, lots = pair.ask, min(wanted, pair.ask_lots)
            pair.ask_lots -= lots
        else:
            price, lots = pair.bid, min(wanted, pair.bid_lots)
            pair.bid_lots -= lots
        if not pair.ask_lots or not pair.bid_lots:
            self._break_through(index, pair, taker_buys)
        pair.update_id += 1
        tick, lot = pair.listing.tick, pair.listing.lot
        trade = TradeEvent(index, time_ms, pair.next_trade_id, price * tick, lots * lot, not taker_buys)
        pair.next_trade_id += 1
        return trade

    def _break_through(self, index: int, pair: Pair, upwards: bool) -> None:
        """A best level is used up: its side steps back, the other may follow, the fair price learns."""
        step = 1 + int(next(self._uniform) * pair.stride)
        follows = next(self._uniform) < 0.5
        if upwards:
            pair.ask += step
            pair.ask_lots = self._lots(pair.level_lots)
            if follows:
                pair.bid = pair.ask - 1
                pair.bid_lots = self._lots(pair.level_lots)
        else:
            pair.bid = max(1, pair.bid - step)
            pair.bid_lots = self._lots(pair.level_lots)
            if follows:
                pair.ask = pair.bid + 1
                pair.ask_lots = self._lots(pair.level_lots)
        self._fair[index] += 0.3 * (step if upwards else -step)

    def _lots(self, typical: float) -> int:
        return max(1, int(typical * math.exp(next(self._normal) * 1.2)))


def _pool(draw: Callable[[int], np.ndarray]) -> Iterator[float]:
    """Single numbers, drawn by the thousand: a call of the generator each would cost ten times as much."""
    while True:
        yield from draw(4096).tolist()
