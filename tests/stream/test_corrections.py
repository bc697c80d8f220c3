"""A trade that comes late ends in the same metrics as one that came in time, in its candle and in all that follow."""

import random

import pytest

from tests.stream.market import MS, START_MS, VENUE, records_of
from wick.market.schema import CANDLE_FIELDS, METRIC_FIELDS
from wick.market.trades import Trade
from wick.stream.shard import CandleRules, Shard
from wick.wire.messages import Closes

SYMBOLS = ("BTC-USDT", "ETH-USDT")
COMPARED = ("open", "high", "low", "close", "volume", "cvd", *METRIC_FIELDS)
SECOND = 1_000


def drawn(seed, seconds, empty):
    """Trades of both pairs, in the order of time; with `omit` there are quiet minutes."""
    chance, trades = random.Random(seed), []
    for symbol in SYMBOLS:
        price, number = 10_000, 0
        for second in range(seconds):
            if chance.random() < (0.5 if empty == "flat" or second // 60 % 3 else 0.02):
                price = max(100, price + chance.randint(-30, 30))
                number += 1
                at_ns = (START_MS + second * SECOND) * MS
                trades.append(Trade(symbol, at_ns, number, price, 2, chance.randint(1, 900), 3, price % 2 == 0))
    return sorted(trades, key=lambda trade: trade.event_ns)


def published(trades, late, seconds, empty):
    """The newest revision of every candle, where the trades of `late` come so many seconds after their time."""
    shard = Shard(0, 1, {VENUE: CandleRules(empty=empty)})
    arrivals = sorted(trades, key=lambda trade: trade.event_ns // MS + late.get(trade, 0) * SECOND)
    newest, revisions = {}, 0
    for second in range(seconds + 70):
        now_ms = START_MS + second * SECOND
        while arrivals and arrivals[0].event_ns // MS + late.get(arrivals[0], 0) * SECOND <= now_ms:
            trade = arrivals.pop(0)
            shard.pair(VENUE, trade.symbol, START_MS).ticks(records_of(trade))
        shard.advance(VENUE, now_ms)
        for topic, body in shard.flush(now_ms * MS):
            if topic.startswith(b"closes"):
                for _, symbol, interval, *row in Closes.unpack(body).rows:
                    values = dict(zip(CANDLE_FIELDS, row, strict=True))
                    revisions += values["revision"] > 0
                    newest[symbol, interval, values["open_time_ms"]] = {name: values[name] for name in COMPARED}
    return newest, revisions


@pytest.mark.parametrize("empty", ["flat", "omit"])
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 9))])
def test_late_trades_leave_no_trace_in_the_metrics(seed, empty):
    seconds = 400
    trades = drawn(seed, seconds, empty)
    chance = random.Random(-seed)
    in_the_middle = [trade for trade in trades if trade.trade_id > 3 and trade.event_ns < (START_MS + 390_000) * MS]
    late = {trade: chance.choice([5, 17, 40, 65]) for trade in chance.sample(in_the_middle, 6)}
    expected, none = published(trades, {}, seconds, empty)
    told, revisions = published(trades, late, seconds, empty)
    assert none == 0 and revisions > 0
    assert told.keys() == expected.keys()
    for candle, values in expected.items():
        assert repr(told[candle]) == repr(values), candle
