"""Metrics of rows at rest: the same as a worker's, whatever comes together in one call."""

import random

import numpy as np
import pytest

from tests.metrics.bars import Bars, random_walk, volume_spike
from wick.market.blocks import EXACT, Block
from wick.market.schema import CANDLE_FIELDS, CLOSED, FORMED_FIELDS, UNKNOWN, Row
from wick.metrics.processor import Processor
from wick.metrics.streams import Streams

REALS = len(FORMED_FIELDS) - EXACT


def rows_of(bars: Bars) -> list[Row]:
    """The candles as closed rows without metrics."""
    columns = {
        "open_time_ms": bars.open_ms, "open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close,
        "volume": bars.volume, "quote_volume": bars.quote_volume, "taker_buy_volume": bars.buy_volume,
    }  # fmt: skip
    made = []
    for at in range(len(bars)):
        values = {name: int(column[at]) for name, column in columns.items()}
        values |= {"price_decimals": bars.price_decimals, "quantity_decimals": bars.quantity_decimals, "flags": CLOSED}
        made.append([*[values.get(name, 0) for name in FORMED_FIELDS], *UNKNOWN])
    return made


def alone(rows: list[Row]) -> list[Row]:
    """The rows enriched one by one."""
    streams = Streams()
    return [streams.enrich(["A"], [row])[0] for row in rows]


WALK, SPIKED = rows_of(random_walk(120, 1)), rows_of(volume_spike(120, 2))


@pytest.fixture(scope="module")
def walked() -> list[Row]:
    return alone(WALK)


def test_they_are_what_a_worker_makes_of_the_same_candles_bit_for_bit(walked):
    processor = Processor()
    column = np.array([processor.column("binance", "A-B")])
    for row, enriched in zip(WALK, walked, strict=True):
        block = Block([0], [2], np.array(row[:EXACT]).tobytes(), bytes(8 * REALS), [])
        *_, ((closed,)) = processor.run([(column, block)])
        (made,) = closed.rows()
        assert made[len(FORMED_FIELDS) :] == enriched[len(FORMED_FIELDS) :]
        assert enriched[: len(FORMED_FIELDS)] == row[: len(FORMED_FIELDS)]


def test_it_does_not_matter_how_many_rows_of_which_streams_come_in_one_call(walked):
    expected = {"walk": walked, ("spike", "1m"): alone(SPIKED)}
    waiting = {"walk": list(WALK), ("spike", "1m"): list(SPIKED)}
    chance, streams, made = random.Random(3), Streams(), {key: [] for key in waiting}
    while any(waiting.values()):
        keys, rows = [], []
        for _ in range(chance.randrange(40)):
            key = chance.choice(list(waiting))
            if waiting[key]:
                keys.append(key)
                rows.append(waiting[key].pop(0))
        for key, row in zip(keys, streams.enrich(keys, rows), strict=True):
            made[key].append(row)
    assert made == expected


def test_a_candle_that_is_not_closed_gets_its_values_and_is_forgotten(walked):
    flags, streams = CANDLE_FIELDS.index("flags"), Streams()
    for row, enriched in zip(WALK[:60], walked, strict=False):
        live = [0 if at == flags else value for at, value in enumerate(row)]
        (told,) = streams.enrich(["A"], [live])
        other = [value * 3 if name == "volume" else value for name, value in zip(CANDLE_FIELDS, live, strict=True)]
        streams.enrich(["A"], [other])
        assert told[len(FORMED_FIELDS) :] == enriched[len(FORMED_FIELDS) :]
        assert streams.enrich(["A"], [row]) == [enriched]


def test_a_live_candle_may_come_with_the_closed_ones_before_it(walked):
    flags = CANDLE_FIELDS.index("flags")
    last = [0 if at == flags else value for at, value in enumerate(WALK[30])]
    made = Streams().enrich(["A"] * 31, [*WALK[:30], last])
    assert [row[len(FORMED_FIELDS) :] for row in made] == [row[len(FORMED_FIELDS) :] for row in walked[:31]]


def test_numbers_beyond_64_bits_are_taken():
    big = [
        value * 10**15 if name == "quote_volume" else value for name, value in zip(CANDLE_FIELDS, WALK[0], strict=True)
    ]
    assert max(big[:EXACT]) > 2**63
    (row,) = Streams().enrich(["A"], [big])
    assert row[: len(FORMED_FIELDS)] == big[: len(FORMED_FIELDS)]
    assert row[CANDLE_FIELDS.index("obv")] is not None


def test_of_nothing_comes_nothing():
    assert Streams().enrich([], []) == []
