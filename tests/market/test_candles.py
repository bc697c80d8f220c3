"""Candles, example by example: what the laws (test_flow_laws) say of any stream, of one that can be read."""

import pytest

from wick.market.candles import PairCandles
from wick.market.intervals import INTERVALS, NAMES, by_name
from wick.market.schema import CANDLE_FIELDS, Flag

MS = 1_000_000
START_MS = 1_723_161_585_000  # 2024-08-08 23:59:45 UTC: midnight is near
F = {name: index for index, name in enumerate(CANDLE_FIELDS)}


def trade(at_ms, trade_id, price, quantity=1, buy=True, count=1):
    return (at_ms * MS, trade_id, price, 0, quantity, 0, buy, count)


def engine_rows(pair, interval_name, into=None):
    """The newest revision of each candle: closed ones as published, then pending and live ones."""
    rows = into if into is not None else {}
    for name, row in [*pair.drain_closed(), *pair.live()]:
        if name == interval_name:
            rows[row[0]] = row[F["open"] :]
    return dict(sorted(rows.items()))


def test_a_trade_on_the_boundary_belongs_to_the_candle_that_opens():
    pair = PairCandles("v", "S")
    pair.trades([trade(START_MS + 14_999, 1, 10), trade(START_MS + 15_000, 2, 20)])
    pair.advance(START_MS + 30_000)
    rows = engine_rows(pair, "15s")
    assert [row[3] for row in rows.values()][:2] == [10, 20]


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_new_low_is_shown_at_once_also_where_a_doubled_trade_follows_it(again):
    pair = PairCandles("v", "S")
    pair.trades([trade(START_MS, 1, 10), trade(START_MS, 2, 12)])
    assert pair.groups[1][1:4] == [10, 12, 10]
    pair.trades([trade(START_MS, 3, 9), trade(START_MS, again, 9), trade(START_MS, again, 9)])
    assert pair.groups[1][1:4] == [10, 12, 9]


def test_midnight_the_first_of_the_month_closes_every_interval_that_ends_there():
    midnight = 1_725_148_800_000  # 2024-09-01, a Sunday: the week goes on
    pair = PairCandles("v", "S", grace_ms=1_000)
    pair.trades([trade(midnight - 1, 1, 10)])
    pair.advance(midnight + 999)
    assert pair.drain_closed() == []
    pair.advance(midnight + 1_000)
    assert [name for name, _ in pair.drain_closed()] == [name for name in NAMES if name != "1w"]


def test_a_quiet_pair_is_closed_by_the_clock_flat_at_its_last_price():
    pair = PairCandles("v", "S", grace_ms=0)
    pair.trades([trade(START_MS, 1, 10)])
    pair.advance(START_MS + 45_000)
    rows = [row for name, row in pair.drain_closed() if name == "15s"]
    assert [row[F["flags"]] for row in rows] == [Flag.CLOSED, Flag.CLOSED | Flag.EMPTY, Flag.CLOSED | Flag.EMPTY]
    assert [row[F["close"]] for row in rows] == [10, 10, 10]


def test_a_quiet_pair_leaves_nothing_where_empty_candles_are_omitted():
    pair = PairCandles("v", "S", grace_ms=0, empty="omit")
    pair.trades([trade(START_MS, 1, 10)])
    pair.advance(START_MS + 45_000)
    assert len([row for name, row in pair.drain_closed() if name == "15s"]) == 1


def test_an_outage_makes_no_flat_candles_since_nobody_saw_that_it_was_quiet():
    pair = PairCandles("v", "S", grace_ms=0)
    pair.trades([trade(START_MS, 1, 10)])
    pair.outage()
    pair.trades([trade(START_MS + 60_000, 2, 11)])
    pair.advance(START_MS + 75_000)
    rows = [row for name, row in pair.drain_closed() if name == "15s"]
    assert [row[0] for row in rows] == [START_MS, START_MS + 60_000]


@pytest.mark.parametrize(("next_id", "flags"), [(3, Flag.CLOSED | Flag.SUSPECT), (2, Flag.CLOSED | Flag.REVISED)])
def test_a_candle_that_an_outage_cut_is_suspect_until_the_next_id_shows_that_nothing_was_missed(next_id, flags):
    pair = PairCandles("v", "S", grace_ms=0)
    pair.trades([trade(START_MS, 1, 10)])
    pair.advance(START_MS + 1_000)
    pair.outage()
    pair.advance(START_MS + 20_000)
    [row] = [row for name, row in pair.drain_closed() if name == "15s"]
    assert row[F["flags"]] == Flag.CLOSED | Flag.SUSPECT
    pair.trades([trade(START_MS + 21_000, next_id, 10)])
    pair.advance(START_MS + 21_000)
    row = [row for name, row in pair.drain_closed() if name == "15s"][-1] if next_id == 2 else row
    assert row[F["flags"]] == flags
    pair.advance(START_MS + 30_000)
    [after] = [row for name, row in pair.drain_closed() if name == "15s"]
    assert after[F["flags"]] == (Flag.CLOSED if next_id == 2 else Flag.CLOSED | Flag.SUSPECT)


def test_a_late_trade_moves_the_flat_candles_behind_it():
    pair = PairCandles("v", "S", grace_ms=0)
    pair.trades([trade(START_MS, 1, 10)])
    pair.advance(START_MS + 45_000)
    pair.drain_closed()
    pair.trades([trade(START_MS + 14_000, 2, 12)])
    pair.advance(START_MS + 45_001)
    revised = {row[0]: row for name, row in pair.drain_closed() if name == "15s"}
    assert [row[F["close"]] for row in revised.values()] == [12, 12, 12]
    assert {row[F["revision"]] for row in revised.values()} == {1}
    assert all(row[F["flags"]] & Flag.REVISED for row in revised.values())
    assert engine_rows(pair, "15s")[START_MS + 45_000][:4] == [12, 12, 12, 12]


def test_a_trade_older_than_the_history_is_counted_and_still_reaches_the_longer_candles():
    pair = PairCandles("v", "S", grace_ms=0, history=2)
    pair.trades([trade(START_MS, 5, 10)])
    pair.advance(START_MS + 600_000)
    pair.drain_closed()
    pair.trades([trade(START_MS + 1, 4, 10, quantity=7)])
    assert pair.counters["too_late"] == 1
    month = dict(pair.live())["1M"]
    assert month[F["volume"]] == 8 and month[F["trade_count"]] == 2


def test_ids_that_are_missing_make_their_candle_suspect_until_they_come():
    pair = PairCandles("v", "S", grace_ms=0)
    pair.trades([trade(START_MS, 1, 10), trade(START_MS + 5_000, 4, 10)])
    pair.advance(START_MS + 15_000)
    [row] = [row for name, row in pair.drain_closed() if name == "15s"]
    assert row[F["flags"]] == Flag.CLOSED | Flag.SUSPECT and pair.counters["missing"] == 2
    pair.trades([trade(START_MS + 1_000, 2, 10), trade(START_MS + 2_000, 3, 10)])
    pair.advance(START_MS + 15_001)
    *_, row = [row for name, row in pair.drain_closed() if name == "15s"]
    assert row[F["flags"]] == Flag.CLOSED | Flag.REVISED and pair.counters["missing"] == 0


def test_at_the_end_of_the_input_what_has_ended_closes_without_grace_and_the_rest_stays_live():
    pair = PairCandles("binance", "BTC-USDT", [by_name("15s"), by_name("1m")], grace_ms=2_000)
    pair.trades([trade(START_MS - 30_000, 1, 100), trade(START_MS, 2, 110), trade(START_MS + 5_000, 5, 120)])
    pair.advance(START_MS + 14_999)
    pair.drain_closed()
    pair.finish(START_MS + 15_000)  # midnight
    closed = {(name, row[0]): row for name, row in pair.drain_closed()}
    assert closed.keys() == {("15s", START_MS), ("1m", START_MS - 45_000)}
    assert [row[F["close"]] for row in closed.values()] == [120, 120]
    assert {row[F["flags"]] for row in closed.values()} == {Flag.CLOSED | Flag.SUSPECT}  # 3 and 4 are missing
    assert [(name, row[0], row[F["flags"]]) for name, row in pair.live()] == [
        ("15s", START_MS + 15_000, Flag.EMPTY),
        ("1m", START_MS + 15_000, Flag.EMPTY),
    ]
    pair.finish(START_MS + 15_000)
    assert pair.drain_closed() == []


def test_the_end_of_the_input_rolls_a_pair_whose_only_trade_came_behind_the_clock():
    pair = PairCandles("binance", "BTC-USDT", [by_name("15s")], empty="omit")
    pair.advance(START_MS + 20_000)
    pair.trades([trade(START_MS, 1, 100)])
    pair.finish(START_MS + 20_000)
    assert [(row[0], row[F["flags"]]) for _, row in pair.drain_closed()] == [(START_MS, Flag.CLOSED)]


def test_a_candle_that_opened_before_we_listened_is_partial():
    pair = PairCandles("v", "S", since_ms=START_MS + 1)
    pair.trades([trade(START_MS + 1_000, 1, 10), trade(START_MS + 15_000, 2, 10)])
    flags = {row[0]: row[F["flags"]] for name, row in pair.live() if name == "15s"}
    assert flags == {START_MS: Flag.PARTIAL, START_MS + 15_000: 0}


def test_sums_stay_exact_beyond_64_bits():
    pair = PairCandles("v", "S")
    size = 9_000_000_000_000_000_000  # near the most that a record holds
    pair.trades([(START_MS * MS + i, i + 1, 10**15 + i, 8, size, 8, True, 1) for i in range(50)])
    row = dict(pair.live())["1d"]
    assert row[F["volume"]] == 50 * size
    assert row[F["quote_volume"]] == sum((10**15 + i) * size for i in range(50))


def test_more_decimals_restate_everything_before_them():
    pair = PairCandles("v", "S", grace_ms=0)
    pair.trades([(START_MS * MS, 1, 5, 0, 3, 0, True, 1)])
    pair.advance(START_MS + 15_000)
    pair.quote((START_MS + 15_500) * MS, 5, 1, 6, 1, 0, 0)
    pair.trades([((START_MS + 16_000) * MS, 2, 525, 2, 1, 3, False, 1)])
    assert pair.groups[0][8:12] == [500, 1000, 600, 1000]
    row = dict(pair.live())["1w"]
    assert row[F["price_decimals"]] == 2 and row[F["quantity_decimals"]] == 3
    assert row[F["open"] : F["quote_volume"] + 1] == [500, 525, 500, 525, 3001, 500 * 3000 + 525]


def test_an_aggregate_counts_as_the_trades_it_stands_for():
    pair = PairCandles("v", "S")
    pair.trades([trade(START_MS, 1, 10, count=5), trade(START_MS, 2, 10)])
    assert dict(pair.live())["1m"][F["trade_count"]] == 6


@pytest.mark.parametrize("interval", INTERVALS, ids=NAMES)
def test_a_pair_says_when_the_clock_next_matters(interval):
    pair = PairCandles("v", "S", [interval], grace_ms=500)
    pair.trades([trade(START_MS, 1, 10)])
    close_ms = interval.close_ms(interval.open_ms(START_MS))
    assert START_MS < pair.due_ms <= close_ms
    pair.advance(close_ms - 1)
    assert pair.due_ms == close_ms
    pair.advance(close_ms)
    assert pair.due_ms == close_ms + 500
