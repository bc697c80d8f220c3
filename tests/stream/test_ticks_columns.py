"""Trades that are taken in columns leave a feed's unsent ticks as those do that are taken one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.test_ticks import NOW, SYMBOLS, TRADES, in_units, sent
from wick.errors import ParseError
from wick.exchanges._columns import TradeColumns
from wick.market.trades import BookDepth, Trade
from wick.stream.continuity import KEYS
from wick.stream.ticks import Ticks

FIRST = Trade("BTC-USDT", NOW, 100, 1, 0, 1, 0, True)


def columns_of(trades):
    symbols = sorted({trade.symbol for trade in trades})
    numbers = [[symbols.index(trade.symbol), *trade[1:]] for trade in trades]
    codes, event_ns, ids, price, decimals, quantity, more, buys, matches = np.array(numbers, np.int64).reshape(-1, 9).T
    return TradeColumns(
        symbols, np.arange(len(trades)), codes, event_ns, ids, price, decimals, quantity, more, buys == 1, matches
    )


def state(ticks):
    """What is known of every pair."""
    return {
        symbol: (pair.ids.next_id, pair.ids.newest_ns, pair.ids.holes, pair.price_decimals, pair.quantity_decimals)
        for symbol, pair in ticks._pairs.items()
    }


def rows(ticks):
    """What is sent, by pair; with numbers that no longer tell which decimals they had."""
    found = {}
    for _, _, _, runs in sent(ticks):
        for row in in_units(runs):
            found.setdefault(row[0], []).append(row)
    return found


# Mostly the next id of the symbol, as it should be; else a hole, one that came before, another numbering.
STEPS = st.sampled_from([1] * 40 + [0, 2, 5, -1, -3, 10**7, -(10**7)])
BATCHES = st.lists(
    st.tuples(
        st.lists(st.tuples(TRADES, STEPS), max_size=12), st.integers(0, 40 * 10**9), st.booleans(), st.booleans()
    ),
    max_size=6,
)


@pytest.mark.parametrize("contiguous", [True, False])
@given(BATCHES)
def test_they_are_counted_sent_and_missed_as_if_each_were_taken_by_itself(contiguous, batches):
    ours, right = Ticks("binance", SYMBOLS, contiguous), Ticks("binance", SYMBOLS, contiguous)
    newest, recv_ns = dict.fromkeys([*SYMBOLS, "GONE-USDT"], 10**9), NOW
    for drawn, after_ns, flush, calm in batches:
        recv_ns += after_ns
        trades = []
        for trade, step in drawn:
            newest[trade.symbol] = abs(newest[trade.symbol] + step)
            event_ns = recv_ns - trade.event_ns % 10**9 if calm else trade.event_ns
            trades.append(trade._replace(trade_id=newest[trade.symbol], event_ns=event_ns))
        # Each pair by itself: what one's times say of the clock is not to depend on the others'.
        trades.sort(key=lambda trade: trade.symbol)
        left, expected = ours.take_columns(columns_of(trades), recv_ns), right.take(trades, recv_ns)
        assert sorted(map(repr, left)) == sorted(map(repr, expected))
        assert (ours.trades, ours.duplicates, ours.unsent_bytes) == (right.trades, right.duplicates, right.unsent_bytes)
        assert state(ours) == state(right)
        assert ours.gauges() == right.gauges()
        assert ours.clock.at(recv_ns) == right.clock.at(recv_ns)
        if flush:
            assert rows(ours) == rows(right)
    assert rows(ours) == rows(right)


def test_a_pair_whose_ids_do_not_follow_is_taken_one_by_one_and_the_others_are_not_disturbed():
    ticks = Ticks("binance", SYMBOLS)
    eth = FIRST._replace(symbol="ETH-USDT", trade_id=7)
    ticks.take([FIRST, eth], NOW)
    numbers = [101, 102, 105, 102, 103]
    trades = [FIRST._replace(trade_id=number) for number in numbers] + [eth._replace(trade_id=8 + n) for n in range(3)]
    gone = FIRST._replace(symbol="GONE-USDT")
    left = ticks.take_columns(columns_of([*trades, gone]), NOW)
    assert [(one.reason, one.value) for one in left if isinstance(one, ParseError)] == [("unknown symbol", "GONE-USDT")]
    assert (ticks.trades, ticks.duplicates) == (9, 1)
    hole = ticks.next_hole(NOW)
    assert hole is not None and (hole.symbol, hole.first_id, hole.last_id) == ("BTC-USDT", 104, 104)
    ids = {symbol: [row[3] for row in found] for symbol, found in rows(ticks).items()}
    assert ids == {"BTC-USDT": [100, 101, 102, 105, 103], "ETH-USDT": [7, 8, 9, 10]}


def test_what_does_not_fit_with_more_decimals_keeps_its_own():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([FIRST], NOW)
    huge = FIRST._replace(trade_id=101, price=2**63 - 1, quantity=2**62)
    fine = FIRST._replace(trade_id=102, price=5, price_decimals=30, quantity=3, quantity_decimals=1)
    ticks.take_columns(columns_of([huge, fine]), NOW)
    _, (_, second), (_, third) = sent(ticks)[0][3]
    assert (second[2], second[3], second[7], second[8]) == (2**63 - 1, 2**62, 0, 0)
    assert (third[2], third[3], third[7], third[8]) == (5, 3, 30, 1)


def test_a_book_beside_them_is_sent_once():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([FIRST], NOW)
    sent(ticks)
    ticks.book(BookDepth("BTC-USDT", 5, 1, 2, 3, 4, 0), None, NOW)
    ticks.take_columns(columns_of([FIRST._replace(trade_id=101 + n) for n in range(3)]), NOW)
    ((_, _, _, runs),) = sent(ticks)
    assert [row[9] for _, row in runs] == [0, 0, 0, 2]


def test_keys_that_came_before_are_known_over_many_columns():
    ticks = Ticks("okx", SYMBOLS, contiguous=False)
    ticks.take([FIRST], NOW)
    for start in range(0, 2 * KEYS, 1_000):
        ticks.take_columns(columns_of([FIRST._replace(trade_id=10**6 + start + n) for n in range(1_000)]), NOW)
    assert (ticks.trades, ticks.duplicates) == (9_001, 0)
    again = [FIRST._replace(trade_id=10**6 + start) for start in range(9_000 - KEYS, 9_001)]
    ticks.take_columns(columns_of(again), NOW)
    assert (ticks.trades, ticks.duplicates) == (9_002, KEYS)
    numbers = [row[3] for row in rows(ticks)["BTC-USDT"]]
    assert numbers == [*range(NOW // 1_000, NOW // 1_000 + 9_002)]


def test_nothing_is_nothing():
    ticks = Ticks("binance", SYMBOLS)
    assert ticks.take_columns(columns_of([]), NOW) == []
    assert ticks.trades == 0 and sent(ticks) == []
