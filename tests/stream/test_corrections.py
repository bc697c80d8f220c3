"""A trade that comes late ends in the same metrics as one that came in time, in its candle and in all that follow."""

import random

import pytest

from tests.stream.market import MS, START_MS, VENUE, records_of, shown_live
from wick.market.intervals import INTERVALS
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


@pytest.mark.parametrize("empty", ["flat", pytest.param("omit", marks=pytest.mark.slow)])
def test_live_metrics_are_those_of_the_candle_if_it_closed_so(empty):
    """A trade at the opening of each candle, so all that is said of it live is what is said when it closes; also in the
    seconds in which the candle before it waits for late trades."""
    shard, chance, price = Shard(0, 1, {VENUE: CandleRules(empty=empty)}), random.Random(1), 10_000
    shown, closed = {}, {}
    start_ms = INTERVALS[0].open_ms(START_MS)
    for second in [15 * candle + passed for candle in range(40) for passed in (0, 1, 3)]:
        now_ms = start_ms + second * SECOND
        if second % 15 == 0:
            price += chance.randint(-30, 30)
            trade = Trade(
                "BTC-USDT", now_ms * MS, 1 + second // 15, price, 2, chance.randint(1, 900), 3, price % 2 == 0
            )
            shard.pair(VENUE, trade.symbol, start_ms).ticks(records_of(trade))
        shard.advance(VENUE, now_ms)
        told = shard.flush(now_ms * MS)
        before = shard.save()
        told += shown_live(shard, (VENUE, "BTC-USDT", 0))
        assert shard.save() == before, "nothing is committed"
        for topic, body in told:
            if not topic.startswith(b"diffs"):
                for _, _, interval, *row in Closes.unpack(body).rows:
                    values = dict(zip(CANDLE_FIELDS, row, strict=True))
                    seen = shown if topic.startswith(b"live") else closed
                    metrics = repr([values[name] for name in METRIC_FIELDS])
                    if interval == "15s":
                        seen.setdefault(values["open_time_ms"], set()).add(metrics)
    assert len(closed) == 39
    assert {opened: shown[opened] for opened in closed} == closed


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
