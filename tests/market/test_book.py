"""The book fields of a candle, example by example: what the laws (test_flow_laws) say of any stream."""

import pytest

from tests.market.reference import BOOK as NAMES
from tests.market.reference import Depth, Quote
from tests.market.streams import packed
from wick.market.candles import PairCandles
from wick.market.intervals import by_name
from wick.market.schema import CANDLE_FIELDS, Flag

MS = 1_000_000
START_MS = 1_723_161_600_000
NOTHING = dict.fromkeys(NAMES)


def new_pair(**options):
    """A pair whose first trade, of 1 at 100, comes at the start of a candle."""
    pair = PairCandles("v", "S", [by_name("15s"), by_name("30s")], **{"grace_ms": 0, **options})
    trade(pair, 0, 1, 100)
    return pair


def trade(pair, after_ms, trade_id, price, quantity=1, buy=True, decimals=0):
    pair.trades([((START_MS + after_ms) * MS, trade_id, price, decimals, quantity, decimals, buy, 1)])


def quote(pair, after_ms, bid, bid_quantity, ask, ask_quantity, decimals=0):
    pair.quote((START_MS + after_ms) * MS, bid, bid_quantity, ask, ask_quantity, decimals, decimals)


def depth(pair, after_ms, bid_top, ask_top, bid_near=-1, ask_near=-1):
    pair.depth((START_MS + after_ms) * MS, bid_top, ask_top, bid_near, ask_near)


def closed(pair, after_ms, interval="15s"):
    """The book's fields of what closes by then, and which revision and flags they are of."""
    pair.advance(START_MS + after_ms)
    rows = [dict(zip(CANDLE_FIELDS, row, strict=True)) for name, row in pair.drain_closed() if name == interval]
    return [{name: row[name] for name in (*NAMES, "revision", "flags")} for row in rows]


def test_without_a_quote_nothing_of_the_book_is_known():
    pair = new_pair()
    trade(pair, 1_000, 2, 101)
    [row] = closed(pair, 15_000)
    assert {name: row[name] for name in NAMES} == NOTHING


def test_the_spread_is_weighted_by_the_time_that_prices_stood():
    pair = new_pair()
    quote(pair, 3_000, 99, 5, 101, 5)  # 200 bps for 4 s
    quote(pair, 7_000, 199, 5, 201, 5)  # 100 bps for 8 s
    [row] = closed(pair, 15_000)
    assert row["quoted_spread_bps"] == pytest.approx((4 * 200 + 8 * 100) / 12, rel=1e-15)


def test_what_stands_at_a_boundary_counts_up_to_it_and_from_it_on():
    pair = new_pair()
    quote(pair, 9_000, 99, 5, 101, 5)
    trade(pair, 16_000, 2, 100)
    quote(pair, 20_000, 199, 5, 201, 5)
    first, second = closed(pair, 30_000)
    assert first["quoted_spread_bps"] == pytest.approx(200, rel=1e-15)
    assert second["quoted_spread_bps"] == pytest.approx((5 * 200 + 10 * 100) / 15, rel=1e-15)


@pytest.mark.parametrize(
    ("after", "ofi"),
    [
        ((99, 5, 101, 7), 0),
        ((99, 9, 101, 7), 4),  # more is bid
        ((99, 5, 101, 9), -2),  # more is offered
        ((100, 3, 101, 7), 3),  # a better bid brings all of it
        ((98, 3, 101, 7), -5),  # a worse one took all of the one before away
        ((99, 5, 100, 3), -3),
        ((99, 5, 102, 3), 7),
        ((98, 1, 100, 2), -5 - 2),
    ],
)
def test_order_flow_imbalance_is_that_of_cont_kukanov_and_stoikov(after, ofi):
    pair = new_pair()
    quote(pair, 1_000, 99, 5, 101, 7)
    quote(pair, 2_000, *after)
    [row] = closed(pair, 15_000)
    assert row["ofi"] == ofi


@pytest.mark.parametrize("no_market", [(102, 5, 101, 5), (0, 0, 101, 5), (99, 5, 101, 0), (0, 0, 0, 0)])
def test_a_crossed_or_one_sided_quote_leaves_none_standing(no_market):
    pair = new_pair()
    quote(pair, 1_000, 99, 5, 101, 5)
    quote(pair, 2_000, *no_market)
    trade(pair, 3_000, 2, 150)
    quote(pair, 14_000, 199, 4, 201, 4)
    [first] = closed(pair, 15_000)
    assert first["quoted_spread_bps"] == pytest.approx((200 + 100) / 2, rel=1e-15)
    assert (first["ofi"], first["effective_spread_bps"], first["microprice_dev_bps"]) == (0, None, 0)
    quote(pair, 15_000, *no_market)
    trade(pair, 20_000, 3, 150)
    [second] = closed(pair, 30_000)
    assert {name: second[name] for name in NAMES} == NOTHING


def test_a_locked_market_has_a_spread_of_nothing():
    pair = new_pair()
    quote(pair, 1_000, 100, 5, 100, 5)
    [row] = closed(pair, 15_000)
    assert row["quoted_spread_bps"] == 0


def test_a_trade_pays_by_the_newest_quote_before_it():
    pair = new_pair()
    trade(pair, 500, 2, 500)  # before any quote
    quote(pair, 1_000, 99, 5, 101, 5)
    trade(pair, 2_000, 3, 101, quantity=3)  # 200 bps of 3
    trade(pair, 2_000, 4, 100, quantity=1, buy=False)  # at the mid
    quote(pair, 3_000, 199, 5, 201, 5)
    trade(pair, 4_000, 5, 199, quantity=4, buy=False)  # 100 bps of 4
    [row] = closed(pair, 15_000)
    assert row["effective_spread_bps"] == pytest.approx((3 * 200 + 4 * 100) / 8, rel=1e-15)


def test_the_microprice_leans_to_the_side_on_which_less_is():
    pair = new_pair()
    quote(pair, 1_000, 99, 3, 101, 1)
    [row] = closed(pair, 15_000)
    assert row["microprice_dev_bps"] == pytest.approx(((99 * 1 + 101 * 3) / 4 - 100) / 100 * 1e4, rel=1e-15)


def test_a_quiet_candle_has_the_book_that_stood_and_no_effective_spread():
    pair = new_pair()
    quote(pair, 1_000, 99, 3, 101, 1)
    _, *quiet = closed(pair, 60_000)
    assert [row["flags"] & Flag.EMPTY for row in quiet] == [Flag.EMPTY] * 3
    for row in quiet:
        assert (row["ofi"], row["effective_spread_bps"], row["microprice_dev_bps"]) == (0, None, 50)
        assert row["quoted_spread_bps"] == pytest.approx(200, rel=1e-15)


def test_a_candle_in_which_only_quotes_came_has_their_imbalance():
    pair = new_pair()
    quote(pair, 1_000, 99, 5, 101, 5)
    quote(pair, 16_000, 99, 9, 101, 5)
    _, row = closed(pair, 30_000)
    assert row["flags"] & Flag.EMPTY and row["ofi"] == 4


def test_quotes_count_from_the_first_trade_on():
    pair = PairCandles("v", "S", [by_name("15s")], grace_ms=0)
    quote(pair, -60_000, 49, 5, 51, 5)
    quote(pair, -50_000, 99, 5, 101, 5)
    trade(pair, 5_000, 1, 101)
    quote(pair, 10_000, 199, 5, 201, 5)
    [row] = closed(pair, 15_000)
    assert row["quoted_spread_bps"] == pytest.approx((200 + 100) / 2, rel=1e-15)
    assert row["ofi"] == 5 + 5
    assert row["effective_spread_bps"] == pytest.approx(200, rel=1e-15)


def test_a_late_trade_and_its_revision_leave_the_book_as_it_was():
    pair = new_pair()
    quote(pair, 1_000, 99, 5, 101, 7)
    trade(pair, 2_000, 2, 101)
    trade(pair, 16_000, 4, 101)
    [before] = closed(pair, 16_000)
    trade(pair, 3_000, 3, 500)
    [revised] = closed(pair, 17_000)
    assert (before["revision"], revised["revision"]) == (0, 1)
    assert [revised[name] for name in NAMES] == [before[name] for name in NAMES]
    [next_one] = closed(pair, 30_000)
    assert next_one["effective_spread_bps"] == pytest.approx(200, rel=1e-15)


def test_a_candle_that_a_late_trade_made_knows_nothing_of_the_book():
    pair = new_pair(empty="omit")
    quote(pair, 1_000, 99, 5, 101, 7)
    trade(pair, 46_000, 3, 101)
    closed(pair, 47_000)
    trade(pair, 20_000, 2, 101)
    row, _, _ = closed(pair, 60_000)  # the first one is revised, for nothing is missing any more
    assert {name: row[name] for name in NAMES} == NOTHING


def test_behind_an_outage_no_quote_stands_until_the_next_comes():
    pair = new_pair()
    quote(pair, 1_000, 99, 5, 101, 7)
    trade(pair, 4_000, 2, 101)
    pair.outage()
    trade(pair, 5_000, 3, 500)
    quote(pair, 9_000, 199, 50, 201, 70)
    [row] = closed(pair, 15_000)
    assert row["quoted_spread_bps"] == pytest.approx((3 * 200 + 6 * 100) / 9, rel=1e-15)
    assert row["effective_spread_bps"] == pytest.approx(200, rel=1e-15)
    assert row["ofi"] == 0, "what happened between the two nobody knows"
    pair.outage()
    trade(pair, 20_000, 4, 100)
    [row] = closed(pair, 30_000)
    assert {name: row[name] for name in NAMES} == NOTHING


@pytest.mark.parametrize("way", ["quote", "clock"])
def test_a_quote_ends_a_candle_as_the_clock_does(way):
    pair = new_pair()
    quote(pair, 1_000, 99, 5, 101, 5)
    if way == "clock":
        pair.advance(START_MS + 15_000)
    quote(pair, 15_000, 199, 5, 201, 5)
    first, second = closed(pair, 30_000)
    assert first["quoted_spread_bps"] == pytest.approx(200, rel=1e-15)
    assert (first["ofi"], second["ofi"]) == (0, 10)
    assert second["quoted_spread_bps"] == pytest.approx(100, rel=1e-15)


def test_a_quote_whose_time_has_passed_stands_from_the_opening():
    pair = new_pair()
    trade(pair, 15_000, 2, 100)
    quote(pair, 14_000, 99, 5, 101, 5)
    quote(pair, 20_000, 199, 5, 201, 5)
    quote(pair, 17_000, 99, 5, 101, 5)  # from 20 s on
    _, row = closed(pair, 30_000)
    assert row["quoted_spread_bps"] == pytest.approx(200, rel=1e-15)


def test_more_decimals_change_nothing_of_the_book():
    rows = []
    for decimals in (0, 3):
        pair, unit = new_pair(), 10**decimals
        quote(pair, 1_000, 99, 5, 101, 7)
        trade(pair, 2_000, 2, 101, quantity=3)
        quote(pair, 3_000, 100 * unit, 6 * unit, 102 * unit, 7 * unit, decimals)
        trade(pair, 4_000, 3, 102 * unit, unit, decimals=decimals)
        quote(pair, 5_000, 97, 5, 103, 7)
        rows.append([{name: row[name] for name in NAMES} for row in closed(pair, 30_000)])
    assert rows[0] == rows[1] and rows[0][0]["ofi"] == 6 + 7 - 6 + 7


def test_a_live_candle_shows_the_book_so_far():
    pair = new_pair()
    quote(pair, 1_000, 99, 3, 101, 1)
    trade(pair, 5_000, 2, 101)
    row = dict(zip(CANDLE_FIELDS, dict(pair.live())["15s"], strict=True))
    assert row["quoted_spread_bps"] == row["effective_spread_bps"] == pytest.approx(200, rel=1e-15)
    assert (row["ofi"], row["microprice_dev_bps"]) == (0, 50)


# ---------------------------------------------------------------------- the levels


def test_the_imbalance_of_the_best_levels_is_weighted_by_the_time_in_which_it_was_known():
    pair = new_pair()
    depth(pair, 3_000, 3, 1)  # 1/2 for 4 s
    depth(pair, 7_000, 1, 4)  # -3/5 for 5 s
    depth(pair, 12_000, -1, -1)
    [row] = closed(pair, 15_000)
    assert row["book_imbalance"] == pytest.approx((4 * 0.5 - 5 * 0.6) / 9, rel=1e-15)


def test_the_imbalance_near_the_mid_is_what_stands_at_the_end():
    pair = new_pair()
    depth(pair, 3_000, -1, -1, 9, 1)
    depth(pair, 7_000, -1, -1, 3, 1)
    depth(pair, 15_000, -1, -1, 1, 3)
    first, second = closed(pair, 30_000)
    assert (first["depth_imbalance_10bps"], second["depth_imbalance_10bps"]) == (0.5, -0.5)
    assert first["book_imbalance"] is None, "each of the two is known or not by itself"


def test_what_levels_held_at_a_boundary_counts_up_to_it_and_from_it_on():
    pair = new_pair()
    depth(pair, 9_000, 1, 0)
    trade(pair, 16_000, 2, 100)
    depth(pair, 20_000, 0, 1)
    first, second = closed(pair, 30_000)
    assert first["book_imbalance"] == 1
    assert second["book_imbalance"] == pytest.approx((5 - 10) / 15, rel=1e-15)


@pytest.mark.parametrize("unknown", [(-1, -1, -1, -1), (5, -1, 5, -1), (-1, 5, -1, 5)])
def test_behind_what_is_not_known_of_a_book_nothing_stands(unknown):
    pair = new_pair()
    depth(pair, 1_000, 3, 1, 3, 1)
    depth(pair, 2_000, *unknown)
    first, second = closed(pair, 30_000)
    assert (first["book_imbalance"], first["depth_imbalance_10bps"]) == (0.5, None)
    assert {name: second[name] for name in NAMES} == NOTHING


def test_an_empty_side_is_known_and_two_of_them_are_in_balance():
    pair = new_pair()
    depth(pair, 0, 0, 5, 7, 0)
    depth(pair, 15_000, 0, 0, 0, 0)
    first, second = closed(pair, 30_000)
    assert (first["book_imbalance"], first["depth_imbalance_10bps"]) == (-1, 1)
    assert (second["book_imbalance"], second["depth_imbalance_10bps"]) == (0, 0)


def test_behind_an_outage_no_levels_stand_until_the_next_come():
    pair = new_pair()
    depth(pair, 1_000, 3, 1, 3, 1)
    trade(pair, 4_000, 2, 101)
    pair.outage()
    depth(pair, 9_000, 1, 1, 1, 1)
    pair.outage()
    trade(pair, 16_000, 3, 101)
    [row] = closed(pair, 29_000)
    assert (row["book_imbalance"], row["depth_imbalance_10bps"]) == (0.5, None)


def test_a_quiet_candle_has_the_levels_that_stood():
    pair = new_pair()
    depth(pair, 1_000, 3, 1, 1, 3)
    _, *quiet = closed(pair, 60_000)
    assert [row["flags"] & Flag.EMPTY for row in quiet] == [Flag.EMPTY] * 3
    assert [(row["book_imbalance"], row["depth_imbalance_10bps"]) for row in quiet] == [(0.5, -0.5)] * 3


@pytest.mark.parametrize("way", ["depth", "clock"])
def test_depth_ends_a_candle_as_the_clock_does(way):
    pair = new_pair()
    depth(pair, 0, 3, 1)
    if way == "clock":
        pair.advance(START_MS + 15_000)
    depth(pair, 15_000, 1, 3)
    first, second = closed(pair, 30_000)
    assert (first["book_imbalance"], second["book_imbalance"]) == (0.5, -0.5)


def test_levels_count_from_the_first_trade_on_and_from_their_opening_where_their_time_has_passed():
    pair = PairCandles("v", "S", [by_name("15s")], grace_ms=0)
    depth(pair, -60_000, 1, 3)
    depth(pair, -50_000, 3, 1)
    trade(pair, 5_000, 1, 101)
    depth(pair, 10_000, 1, 3)
    [row] = closed(pair, 15_000)
    assert row["book_imbalance"] == 0
    depth(pair, 14_000, 1, 0)
    depth(pair, 20_000, 0, 1)
    depth(pair, 17_000, 1, 0)  # from 20 s on
    [row] = closed(pair, 30_000)
    assert row["book_imbalance"] == 1


def test_levels_and_quotes_leave_each_others_times_alone():
    pair = new_pair()
    quote(pair, 9_000, 99, 5, 101, 5)
    depth(pair, 3_000, 3, 1)
    depth(pair, 14_000, 1, 1)
    quote(pair, 12_000, 199, 5, 201, 5)
    [row] = closed(pair, 15_000)
    assert row["book_imbalance"] == pytest.approx(11 * 0.5 / 12, rel=1e-15)
    assert row["quoted_spread_bps"] == pytest.approx((3 * 200 + 3 * 100) / 6, rel=1e-15)


def test_more_decimals_change_nothing_of_the_levels():
    pair = new_pair()
    depth(pair, 0, 3, 1, 1, 3)
    trade(pair, 5_000, 2, 101_000, 1_000, decimals=3)
    [row] = closed(pair, 15_000)
    assert (row["book_imbalance"], row["depth_imbalance_10bps"]) == (0.5, -0.5)


def test_a_live_candle_shows_the_levels_so_far():
    pair = new_pair()
    depth(pair, 1_000, 3, 1, 1, 3)
    trade(pair, 5_000, 2, 101)
    row = dict(zip(CANDLE_FIELDS, dict(pair.live())["15s"], strict=True))
    assert (row["book_imbalance"], row["depth_imbalance_10bps"]) == (0.5, -0.5)


# ---------------------------------------------------------------------- many records at a time


def taken(records, size):
    """The book's fields of the candles of 30 s of these records, handed over so many at a time."""
    pair = new_pair()
    for at in range(0, len(records), size):
        pair.take(packed(records[at : at + size]))
    return closed(pair, 30_000)


@pytest.mark.parametrize("ends", ["trade", "quote", "depth"])
def test_in_columns_too_it_is_known_what_came_before_a_boundary_and_what_behind(ends):
    def at(after_ms):
        return (START_MS + after_ms) * MS

    last = {
        "trade": (at(15_001), 101, 100, 0, 1, 0, True, 1),
        "quote": Quote(at(15_001), 99, 5, 101, 5, 0, 0),
        "depth": Depth(at(15_001), 9, 1, 9, 1),
    }[ends]
    first_id = 102 if ends == "trade" else 101
    records = [
        *[(at(number), number, 100, 0, 1, 0, True, 1) for number in range(2, 101)],
        Quote(at(14_000), 99, 5, 101, 5, 0, 0), Depth(at(14_000), 3, 1, 3, 1),
        last,
        Quote(at(14_950), 99, 9, 101, 5, 0, 0), Depth(at(14_950), 1, 3, 1, 3),
        *[(at(15_100 + number), first_id + number, 100, 0, 1, 0, True, 1) for number in range(100)],
    ]  # fmt: skip
    one_by_one = taken(records, 1)
    assert [row["ofi"] for row in one_by_one] == [0, 4]
    assert [row["depth_imbalance_10bps"] for row in one_by_one] == [0.5, -0.5]
    assert taken(records, len(records)) == one_by_one
