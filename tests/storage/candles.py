"""Candles for tests of stores: rows with zeros where nothing else is told, and many versions of a few."""

from typing import Any

from wick.market.schema import CANDLE_FIELDS, FOREIGN, METRIC_FIELDS, PARTIAL
from wick.metrics.pattern_table import masks

F = {name: index for index, name in enumerate(CANDLE_FIELDS)}


def row(
    open_ms: int = 0, symbol: str = "BTC-USDT", interval: str = "1m", venue: str = "binance", **fields: Any
) -> list[Any]:
    """[venue, symbol, interval, *CANDLE_FIELDS]; the masks are those of `patterns`."""
    values: dict[str, Any] = dict.fromkeys(CANDLE_FIELDS, 0) | {"patterns": bytes(61)}
    values |= {"open_time_ms": open_ms, "close_time_ms": open_ms + 60_000} | fields
    if values["patterns"] is not None:
        values["bull"], values["bear"] = masks(values["patterns"])
    return [venue, symbol, interval, *values.values()]


# Three candles, each in three revisions, as somebody saw them who came in the middle, as the venue gave them, and as
# somebody computed their metrics who had begun a minute or an hour before, had just begun (one metric is not defined
# yet), or computes none.
HISTORIES: tuple[dict[str, Any], ...] = (
    {"obv_anchor_ms": -60_000}, {"obv_anchor_ms": -3_600_000}, {"obv_anchor_ms": 0, "vpin_50": None},
    dict.fromkeys(METRIC_FIELDS),
)  # fmt: skip
VERSIONS = [
    row(open_ms, revision=revision, flags=1 | flag, trade_count=10 * revision + flag, **history)
    for open_ms in (0, 60_000, 120_000)
    for revision in range(3)
    for flag in (0, PARTIAL, FOREIGN)
    for history in HISTORIES
]
