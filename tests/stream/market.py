"""Ticks for the tests of streams: a market of few pairs, and what it does, as hypothesis strategies."""

from typing import NamedTuple

from hypothesis import strategies as st

from wick.market.trades import BookDepth, Quote, Trade
from wick.stream.shard import CandleRules, Shard, live
from wick.wire.messages import Closes, Diffs, pack_depth, pack_quote, pack_trade

MS = 1_000_000
START_MS = 1_723_161_592_000  # 2024-08-08 23:59:52 UTC: every interval but week and month rolls in 8 s
VENUE = "binance"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "PEPE-USDT")


class Step(NamedTuple):
    """A trade, a quote or the depth of a pair, or a step of the venue's clock, some time after the step before."""

    kind: str
    symbol: str
    after_ms: int
    late_ms: int
    price: int
    decimals: int
    quantity: int


def steps(*, late: bool, most: int = 40) -> st.SearchStrategy[list[Step]]:
    return st.lists(
        st.builds(
            Step,
            st.sampled_from(["trade", "trade", "trade", "quote", "depth", "clock", "flush", "join"]),
            st.sampled_from(SYMBOLS),
            st.one_of(st.integers(0, 900), st.integers(0, 20_000), st.just(8_000)),
            st.sampled_from([0, 0, 0, 500, 5_000, 40_000]) if late else st.just(0),
            st.one_of(st.integers(1, 9), st.integers(1, 10**15)),
            st.integers(0, 3),
            st.integers(1, 10**15),
        ),
        max_size=most,
    )


def records_of(*events: Trade | Quote, at_ms: int = 0) -> bytes:
    """Packed; quotes come at `at_ms`."""
    return b"".join(pack_trade(e, e.event_ns) if isinstance(e, Trade) else pack_quote(e, at_ms * MS) for e in events)


def shown_live(shard, *streams):
    """The messages with the live candles of these streams."""
    messages = []
    for messages in live(shard.processor, [(shard, streams)], 1):  # noqa: B007  (the last one)
        pass
    return messages


class Market:
    """Feeds a shard step by step, with contiguous trade ids, and hands on what it publishes."""

    def __init__(self, grace_ms: int = 2_000, epoch: int = 1, number: int = 0) -> None:
        self.shard = Shard(number, epoch, {VENUE: CandleRules(grace_ms=grace_ms)})
        self.now_ms = START_MS
        self._ids = dict.fromkeys(SYMBOLS, 0)

    def take(self, step: Step) -> None:
        self.now_ms += step.after_ms
        if step.kind == "trade":
            self._ids[step.symbol] += 1
            event_ns = (self.now_ms - step.late_ms) * MS
            buy = bool(step.price & 1)
            trade = Trade(
                step.symbol, event_ns, self._ids[step.symbol], step.price, step.decimals, step.quantity, 2, buy
            )
            self.pair(step.symbol).ticks(records_of(trade))
        elif step.kind == "quote":
            quote = Quote(step.symbol, 1, step.price, step.quantity, step.price + 1, 5, step.decimals, 2)
            self.pair(step.symbol).ticks(records_of(quote, at_ms=self.now_ms - step.late_ms))
        elif step.kind == "depth":
            depth = BookDepth(step.symbol, 1, step.price, step.quantity, step.decimals - 1, 5, 2)
            self.pair(step.symbol).ticks(pack_depth(depth, 0, (self.now_ms - step.late_ms) * MS, step.decimals))
        elif step.kind == "clock":
            self.shard.advance(VENUE, self.now_ms)

    def pair(self, symbol: str):
        return self.shard.pair(VENUE, symbol, self.now_ms)

    def flush(self) -> list[Diffs | Closes]:
        """What the shard publishes now, as a reader unpacks it."""
        kinds = {b"diffs": Diffs, b"closes": Closes}
        return [kinds[topic.partition(b".")[0]].unpack(body) for topic, body in self.shard.flush(self.now_ms * MS)]
