"""Where a new feed begins: what the one before had is known from the log, whenever it ended; what it missed shows."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wick.errors import WireError
from wick.market.trades import PastTrade, Quote, Trade
from wick.stream.continuity import RESTART_RUN, Contiguous, Tail
from wick.stream.tails import Tails, packed, rolled, unpacked
from wick.stream.ticks import REMEMBERED_NS, Ticks
from wick.wire.codec import pack
from wick.wire.messages import TickHeader

VENUE = "binance"
SYMBOLS = ("BTC-USDT", "ETH-USDT")
NOW = 1_723_161_600_000_000_000
MS = 1_000_000
IDS = st.lists(st.tuples(st.sampled_from(SYMBOLS), st.integers(1, 40)), max_size=8)


def trade(symbol, number, decimals=2):
    return Trade(symbol, NOW + number * MS, number, 7, decimals, 5, 3, True)


def flush(ticks, block):
    [portion] = ticks.portions(1, NOW + block * MS, 0) or [None]
    if portion is None:
        return []
    header = TickHeader(1, block, 0, VENUE, NOW + block * MS, NOW, portion.parts)
    return [(header, memoryview(portion.records))]


def known(tails):
    """But for when they were read."""
    return {symbol: tail._replace(read_ns=0) for symbol, tail in tails.pairs.items()}


def followed(ticks):
    """A feed that begins where that one has ended."""
    after = Ticks(VENUE, (), ticks._ids is Contiguous)
    after.recall(unpacked(packed({VENUE: ticks.tails(NOW)}))[VENUE], NOW)
    for symbol in SYMBOLS:
        after.add(symbol)
    return after


@given(st.lists(IDS, max_size=8), st.integers(0, 8), st.booleans())
@example([[("BTC-USDT", 5), ("BTC-USDT", 9)], [("BTC-USDT", 7)], [("BTC-USDT", 2)]], 1, True)
def test_tails_of_any_moment_and_the_flushes_since_are_the_tails_of_now(batches, begun, contiguous):
    ticks, tails, flushes = Ticks(VENUE, SYMBOLS, contiguous), {VENUE: Tails(contiguous, {})}, []
    for block, batch in enumerate(batches, 1):
        if block == begun:
            tails, flushes = unpacked(packed({VENUE: ticks.tails(NOW)})), []
        decimals = block % 4
        ticks.take([trade(symbol, number, decimals) for symbol, number in batch], NOW + block)
        ticks.take([Quote("ETH-USDT", 1, 1, 1, 2, 1, decimals, 5)], NOW + block)
        flushes += flush(ticks, block)
    now = ticks.tails(NOW)
    assert known(rolled(tails, flushes)[VENUE]) == known(now)
    after = followed(ticks)
    for number in range(1, 50 * contiguous):  # and it takes exactly what the one before would take
        for symbol in SYMBOLS:
            told = trade(symbol, number)
            assert after.mend([told], NOW) == ticks.mend([told], NOW)


def test_the_first_trade_of_a_new_feed_shows_what_was_traded_while_none_lived():
    ticks = Ticks(VENUE, SYMBOLS)
    ticks.take([trade("BTC-USDT", 5), trade("BTC-USDT", 6)], NOW)
    flush(ticks, 1)
    after = followed(ticks)
    assert after.next_hole(NOW) is None
    after.take([trade("BTC-USDT", 9), trade("ETH-USDT", 4)], NOW + 1)
    hole = after.next_hole(NOW + 2)
    assert hole[:3] == ("BTC-USDT", 7, 8) and hole.from_ns == NOW + 6 * MS
    assert after.mend([trade("BTC-USDT", number) for number in (6, 7, 8, 9)], NOW) == 2
    assert not after.is_holed("BTC-USDT") and not after.is_holed("ETH-USDT")


def test_holes_that_were_open_are_asked_for_by_the_next_feed_at_once():
    ticks = Ticks(VENUE, SYMBOLS)
    ticks.take([trade("BTC-USDT", 5), trade("BTC-USDT", 8)], NOW)
    flush(ticks, 1)
    assert followed(ticks).next_hole(NOW - 10**9)[:3] == ("BTC-USDT", 6, 7)


def test_what_was_seen_before_is_seen_once_also_when_a_venue_tells_it_again_to_the_next_feed():
    for contiguous in (True, False):
        ticks = Ticks(VENUE, SYMBOLS, contiguous)
        ticks.take([trade("BTC-USDT", 5), trade("BTC-USDT", 6)], NOW)
        flush(ticks, 1)
        after = followed(ticks)
        after.clock.observe(NOW, NOW)
        after.take([PastTrade(*trade("BTC-USDT", number)) for number in (4, 5, 6, 7)], NOW)
        assert after.trades == (2 if contiguous else 1)  # 4 was traded before, and never came


def test_numbers_of_our_own_go_on_behind_those_of_the_feed_before_also_where_the_clock_went_back():
    ticks = Ticks(VENUE, SYMBOLS, contiguous=False)
    ticks.take([trade("BTC-USDT", 5), trade("BTC-USDT", 6)], NOW)
    [(_, data)] = flush(ticks, 1)
    before = int.from_bytes(data[72:80], "little")
    for number, right in ((7, (NOW + 7 * MS) // 1_000), (-3_600_000, before + 2)):
        after = followed(ticks)
        after.take([trade("BTC-USDT", number)], NOW + number * MS)
        [(_, more)] = flush(after, 2)
        assert int.from_bytes(more[8:16], "little") == right


def test_a_numbering_that_began_anew_in_the_log_goes_on_from_there():
    ticks = Ticks(VENUE, SYMBOLS)
    ticks.take([trade("BTC-USDT", 500)], NOW)
    flushes = flush(ticks, 1)
    for number in range(RESTART_RUN + 5):
        ticks.take([trade("BTC-USDT", number)._replace(event_ns=NOW + 600 * MS + number)], NOW + 1)
    flushes += flush(ticks, 2)
    tail = rolled({VENUE: Tails(True, {})}, flushes)[VENUE].pairs["BTC-USDT"]
    assert tail.next_id == RESTART_RUN + 5 and tail.holes == []


def test_what_is_not_read_now_is_handed_on_for_a_day():
    ticks = Ticks(VENUE, SYMBOLS)
    ticks.take([trade("BTC-USDT", 5)], NOW)
    tails = ticks.tails(NOW)
    after = Ticks(VENUE, ())
    after.recall(tails, NOW + REMEMBERED_NS - 1)
    assert after.tails(NOW + REMEMBERED_NS) == tails
    after.recall(tails, NOW + REMEMBERED_NS)
    assert after.tails(NOW + REMEMBERED_NS).pairs == {}


@pytest.mark.parametrize(("days", "missing"), [(0, [(6, 8)]), (1, [])])
def test_a_pair_that_is_removed_and_added_again_goes_on_where_it_was_for_a_day(days, missing):
    ticks = Ticks(VENUE, SYMBOLS)
    ticks.take([trade("BTC-USDT", 5)], NOW)
    flush(ticks, 1)
    ticks.remove("BTC-USDT", NOW)
    assert ticks.tails(NOW).pairs["BTC-USDT"].next_id == 6
    ticks.add("BTC-USDT", NOW + days * REMEMBERED_NS)
    ticks.take([trade("BTC-USDT", 9)], NOW)
    hole = ticks.next_hole(NOW)
    assert [(one.first_id, one.last_id) for one in [hole] if one] == missing
    assert (ticks.take([PastTrade(*trade("BTC-USDT", 5))], NOW), ticks.trades) == ([], 3 if days else 2)


@pytest.mark.parametrize("wrong", [b"\xc1", pack([]), pack({"v": 1}), pack({"v": [True, {"s": [1]}]}),
                                   pack({"v": [True, {"s": [1, 1, 1, 1, 1, 1, [[1]]]}]}),
                                   pack({"v": [True, {"s": [1, 1, 1, 1, 1, "1", []]}]})])  # fmt: skip
def test_bytes_that_are_no_tails_are_a_wire_error(wrong):
    with pytest.raises(WireError):
        unpacked(wrong)


def test_tails_come_back_as_they_were():
    tails = {VENUE: Tails(True, {"BTC-USDT": Tail(9, 2, NOW, NOW, 2, 3, [[4, 5, 6, 7]])}), "okx": Tails(False, {})}
    assert unpacked(packed(tails)) == tails
