"""A candle history through the real metric state, candle by candle, as a worker takes it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wick.metrics.bank import TAKEN, Bank
from wick.metrics.table import NAMES

DEPTH = 19


def taken(bars: Any) -> NDArray[np.float64]:
    """The bars as a bank takes them, (TAKEN, bars)."""
    fields = (bars.open_ms, bars.open, bars.high, bars.low, bars.close, bars.quote_volume, bars.volume)
    rows = [np.array(field, np.float64) for field in fields]
    rows.append(2.0 * np.array(bars.buy_volume, np.float64) - rows[-1])
    assert len(rows) == TAKEN
    return np.stack(rows)


def enriched(bars: Any) -> dict[str, NDArray[np.float64]]:
    """Field name -> value of each bar, real units, NaN before it is defined."""
    bank, candles = Bank(DEPTH), taken(bars)
    bank.widen(1)
    decimals = np.array([[bars.price_decimals], [bars.quantity_decimals]])
    column = np.zeros(1, np.intp)
    values = [bank.take(column, candles[:, [at]], decimals)[0] for at in range(candles.shape[1])]
    return dict(zip(NAMES, np.concatenate(values, axis=1), strict=True))
