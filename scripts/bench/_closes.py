"""Closes as workers publish them: 300 pairs in 32 shards, every 15 s those of all intervals that end then.

Prices are drawn (`_candles.py`), metrics and patterns are those of the real processor over them.
"""

from collections.abc import Iterator

import numpy as np
from _candles import taken
from numpy.typing import NDArray

from wick.market.blocks import EXACT, REALS, Block
from wick.market.history import cvd_anchor_ms
from wick.market.intervals import INTERVALS
from wick.market.schema import CLOSED, FORMED_FIELDS
from wick.metrics.processor import Processor
from wick.metrics.window import WARM
from wick.stream.shards import SHARDS, shard_of
from wick.wire.messages import Closes

VENUE = "binance"
STEP_MS = 15_000
DAY_MS = 86_400_000
BEGIN_MS = 1_719_792_000_000  # 2024-07-01 00:00, a Monday
MADE = 32  # candles a pair with metrics of their own; then they come again, at later times
NEVER_BELOW = [FORMED_FIELDS.index(name) - EXACT for name in ("tick_rv", "quoted_spread_bps")]
AT = {name: index for index, name in enumerate(FORMED_FIELDS)}


class Stream:
    """The closes of `pairs` pairs, instant after instant, without an end."""

    def __init__(self, pairs: int = 300, seed: int = 1) -> None:
        self.names = [f"S{number:03d}-USDT" for number in range(pairs)]
        shards = np.array([shard_of(VENUE, name) for name in self.names])
        self._own = {shard: np.flatnonzero(shards == shard) for shard in range(SHARDS) if (shards == shard).any()}
        self._random = np.random.default_rng(seed)
        self._made = self._metrics(taken(2 * WARM + MADE, pairs, seed))

    def _metrics(self, candles: NDArray[np.float64]) -> list[tuple[NDArray[np.int64], Block]]:
        """Rows of all pairs, with metrics, of MADE instants: the exact columns, and the block."""
        processor, pairs = Processor(), len(self.names)
        columns = np.array([processor.column(VENUE, name) for name in self.names])
        history = [candles[: 2 * WARM, :, pair].T.copy() for pair in range(pairs)]
        decimals = [np.repeat([[2], [3]], 2 * WARM, axis=1)] * pairs
        for _ in processor.learn(0, columns.tolist(), history, decimals, [0] * pairs):
            pass
        made = []
        for its in candles[2 * WARM :]:
            exact = self._exact(its)
            real = self._random.normal(0, 10, (pairs, REALS))
            real[:, [AT["book_imbalance"] - EXACT, AT["depth_imbalance_10bps"] - EXACT]] /= 100
            real[:, NEVER_BELOW] = abs(real[:, NEVER_BELOW])
            numbers = list(range(pairs))
            block = Block(numbers, [0] * pairs, exact.tobytes(), real.tobytes(), [])
            *_, [whole] = processor.run([(columns, block)])
            made.append((exact, whole))
        return made

    def _exact(self, its: NDArray[np.float64]) -> NDArray[np.int64]:
        """The exact fields, of a candle of each pair as a bank takes it."""
        time, open_, high, low, close, turnover, volume, delta = its.astype(np.int64)
        delta += (volume + delta) % 2  # bought and sold are whole lots
        count = self._random.integers(20, 2_000, len(time))
        values = {
            "open_time_ms": time, "close_time_ms": time + STEP_MS, "flags": CLOSED, "price_decimals": 2,
            "quantity_decimals": 3, "open": open_, "high": high, "low": low, "close": close, "volume": volume,
            "quote_volume": turnover, "trade_count": count, "taker_buy_volume": (volume + delta) // 2,
            "taker_buy_quote_volume": turnover // 2, "first_trade_id": 10**9, "last_trade_id": 10**9 + count,
            "delta": delta, "delta_max": np.maximum(delta, 0), "delta_min": np.minimum(delta, 0), "cvd": 3 * delta,
            "max_trade_size": volume // 9, "large_trade_volume": volume // 3,
            "large_trade_delta": delta // 3,
        }  # fmt: skip
        exact = np.zeros((len(time), EXACT), "<i8")
        for name, value in values.items():
            exact[:, AT[name]] = value
        return exact

    def instant(self, number: int) -> Iterator[tuple[int, list[list[object]]]]:
        """What closes at the end of the `number`-th 15 s: of each shard the block."""
        end_ms = BEGIN_MS + (number + 1) * STEP_MS
        ending = [at for at, one in enumerate(INTERVALS) if one.open_ms(end_ms) == end_ms]
        exact, whole = self._made[number % MADE]
        metrics, patterns = (
            np.frombuffer(data, np.uint8).reshape(len(self.names), -1) for data in (whole.metrics, whole.patterns)
        )
        real = np.frombuffer(whole.real, np.uint8).reshape(len(self.names), -1)
        for shard, own in self._own.items():
            rows = np.repeat(own, len(ending))
            columns = exact[rows].copy()
            opens = [INTERVALS[at].open_ms(end_ms - 1) for at in ending]
            anchors = [cvd_anchor_ms(at, open_ms, BEGIN_MS) for at, open_ms in zip(ending, opens, strict=True)]
            columns[:, AT["open_time_ms"]], columns[:, AT["cvd_anchor_ms"]] = opens * len(own), anchors * len(own)
            columns[:, AT["close_time_ms"]] = end_ms
            columns[:, AT["cvd_anchor_ms"]] = end_ms - STEP_MS - (end_ms - STEP_MS) % DAY_MS
            parts = (columns.tobytes(), real[rows].tobytes(), [], metrics[rows].tobytes(), patterns[rows].tobytes())
            pairs = np.repeat(np.arange(len(own)), len(ending)).tolist()
            yield shard, [[VENUE, [self.names[one] for one in own], pairs, ending * len(own), *parts]]

    def messages(self, instants: range, epoch: int = 1) -> Iterator[tuple[int, Closes]]:
        """(shard, message), each shard's numbered from 1."""
        for number in instants:
            for shard, blocks in self.instant(number):
                yield shard, Closes(epoch, number + 1, 0, blocks)
