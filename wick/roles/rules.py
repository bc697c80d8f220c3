"""By which rules candles are made, as the settings have it: the same for workers and for what is made of the past."""

from wick import exchanges
from wick.market.numbers import parse_decimal
from wick.ops.settings import Settings
from wick.stream.shard import CandleRules


def candle_rules(settings: Settings, venue: str) -> CandleRules:
    empty, own = settings["aggregator.empty"], exchanges.load(venue)
    return CandleRules(
        settings["aggregator.grace_ms"],
        settings["aggregator.history"],
        own.empty if empty == "venue" else empty,
        parse_decimal(settings["aggregator.large_notional"]),
        own.contiguous_ids,
    )
