"""A feed's unsent ticks: what was received comes out, once, in order, and digit for digit."""

from fractions import Fraction
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ParseError
from wick.exchanges import Hole, Refused
from wick.market.clock import SANE_NS, VenueClock
from wick.market.records import records
from wick.market.trades import DEPTH, QUOTE, TRADE, Ack, BookDepth, LastTrade, PastTrade, Quote, Trade
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.stream.ticks import ASKED, TAIL_NS, Ticks
from wick.wire.messages import TickHeader

SYMBOLS = ("BTC-USDT", "ETH-USDT", "PEPE-USDT")
NOW = 1_723_161_600_000_000_000
MANTISSAS = st.one_of(st.integers(1, 10**6), st.integers(1, 2**63 - 1))
DECIMALS = st.integers(0, 30)
NAMES = st.sampled_from([*SYMBOLS, "GONE-USDT"])
TIMES = st.one_of(
    st.integers(NOW - 10**9, NOW + 10**9),
    st.integers(NOW - 3 * SANE_NS, NOW + 3 * SANE_NS),
    st.sampled_from([n * SANE_NS // 2 + NOW + d for n in range(-4, 5) for d in (-1, 0, 1)]),
)
TRADES = st.builds(
    Trade, NAMES, TIMES, st.just(0), MANTISSAS, DECIMALS, MANTISSAS, DECIMALS, st.booleans(),
    st.integers(1, 9),
)  # fmt: skip
QUOTES = st.builds(
    Quote, NAMES, st.integers(0, 2**63 - 1), MANTISSAS, MANTISSAS, MANTISSAS, MANTISSAS, DECIMALS, DECIMALS
)
OTHERS = st.sampled_from([Ack(1, None), Refused(3, ParseError("corrupt frame"))])
EVENTS = st.lists(st.one_of(TRADES, TRADES, QUOTES, OTHERS), max_size=10)
BATCHES = st.lists(st.tuples(EVENTS, st.integers(0, 40 * 10**9), st.booleans()), max_size=6)


IDS = count(7)


def trade(symbol="BTC-USDT", price=1, decimals=0, quantity=1, quantity_decimals=0, event_ns=NOW, trade_id=None):
    """One that has not come before, unless it is told which."""
    number = next(IDS) if trade_id is None else trade_id
    return Trade(symbol, event_ns, number, price, decimals, quantity, quantity_decimals, True)


def sent(ticks, workers=2, now_ns=NOW, clock_due_ns=0):
    """What the portions hold: (shard, seq, outage, [(symbol, row)]) by part."""
    found = []
    for worker, parts, packed in ticks.portions(workers, now_ns, clock_due_ns):
        header = TickHeader.unpack(TickHeader(1, 1, 0, "binance", 1, 1, parts).pack())
        rows = iter(records(packed, header).tolist())
        for shard, seq, outage, symbols, counts in header.parts:
            assert worker_of(shard, workers) == worker
            runs = [(name, next(rows)) for name, count in zip(symbols, counts, strict=True) for _ in range(count)]
            found.append((shard, seq, outage, runs))
    return found


def test_a_clock_that_was_set_back_makes_neither_the_beat_nor_a_hole_wait():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([trade(trade_id=1), trade(trade_id=5)], NOW)
    ticks.portions(2, NOW, NOW - 1)
    earlier = NOW - 3600 * 10**9
    assert len(sent(ticks, 2, earlier, earlier - 1)) == SHARDS
    assert sent(ticks, 2, earlier, earlier - 1) == []
    assert ticks.next_hole(earlier).first_id == 2
    ticks.take([LastTrade("BTC-USDT", 9)], NOW)
    ticks.notice_tails(earlier)
    assert ticks.next_hole(NOW).last_id == 9


def in_units(rows):
    """The rows with prices and quantities as exact numbers."""
    for symbol, (event_ns, number, a, b, c, d, recv_ns, prices, quantities, kind, buy, _) in rows:
        p, q = Fraction(1, 10**prices), Fraction(1, 10**quantities)
        numbers = (a * p, b * q, c) if kind == TRADE else (a * p, b * p, c * q, d * q)
        yield symbol, kind, event_ns, number, recv_ns, buy, *numbers


@given(BATCHES, st.integers(1, 4))
def test_what_is_received_is_sent_once_in_order_and_to_the_last_digit(batches, workers):
    """Against the simplest way: one by one, each with its own decimals. Here no trade comes twice."""
    ticks, clock, ids = Ticks("binance", SYMBOLS), VenueClock(), count(1)
    got, right, quotes, recv_ns = [], [], {}, NOW
    for drawn, after_ns, flush in batches:
        recv_ns += after_ns
        events = [one._replace(trade_id=next(ids)) if isinstance(one, Trade) else one for one in drawn]
        left, expected = ticks.take(events, recv_ns), []
        for event in events:
            if not isinstance(event, Trade | Quote):
                expected.append(event)
            elif event.symbol not in SYMBOLS:
                expected.append(("unknown symbol", "s", event.symbol))
            elif isinstance(event, Quote):
                quotes[event.symbol] = (event, recv_ns)
            elif not clock.observe(event.event_ns, recv_ns):
                expected.append(("absurd time", "T", event.event_ns))
            else:
                price = Fraction(event.price, 10**event.price_decimals)
                quantity = Fraction(event.quantity, 10**event.quantity_decimals)
                taken = (event.symbol, TRADE, event.event_ns, event.trade_id, recv_ns, int(event.taker_buy))
                right.append((*taken, price, quantity, event.matches))
        assert [(e.reason, e.field, e.value) if isinstance(e, ParseError) else e for e in left] == expected
        assert ticks.clock.at(recv_ns) == clock.at(recv_ns)
        if flush:
            got += [row for _, _, _, rows in sent(ticks, workers) for row in in_units(rows)]
            for event, at_ns in quotes.values():
                p, q = Fraction(1, 10**event.price_decimals), Fraction(1, 10**event.quantity_decimals)
                right.append(
                    (event.symbol, QUOTE, clock.of(at_ns), event.update_id, at_ns, 0, event.bid * p, event.ask * p,
                     event.bid_quantity * q, event.ask_quantity * q)
                )  # fmt: skip
            quotes.clear()
            assert ticks.unsent_bytes == 0
    got += [row for _, _, _, rows in sent(ticks, workers) for row in in_units(rows) if row[1] == TRADE]
    for symbol in SYMBOLS:
        assert [row for row in got if row[0] == symbol] == [row for row in right if row[0] == symbol]


def test_a_pair_s_decimals_are_the_most_that_it_has_shown():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([trade(price=15, decimals=1, quantity=5), trade(price=2, quantity=25, quantity_decimals=2)], NOW)
    ticks.take([trade(price=1234, decimals=3), trade(price=3), Quote("BTC-USDT", 1, 7, 1, 8, 2, 0, 0)], NOW)
    [(_, _, _, rows)] = sent(ticks)
    assert [(row[2], row[7], row[3], row[8]) for _, row in rows] == [
        (15, 1, 5, 0), (20, 1, 25, 2), (1234, 3, 100, 2), (3000, 3, 100, 2), (7000, 3, 8000, 2),
    ]  # fmt: skip
    ticks.take([Quote("BTC-USDT", 1, 7, 1, 8, 2, 4, 0)], NOW)
    sent(ticks)
    ticks.take([trade(price=3), trade("ETH-USDT", price=3)], NOW)
    assert sorted((name, row[2], row[7]) for part in sent(ticks) for name, row in part[3]) == [
        ("BTC-USDT", 30_000, 4), ("ETH-USDT", 3, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(("mantissa", "stays"), [(922_337_203_685_477_580, False), (922_337_203_685_477_581, True)])
def test_a_number_that_would_not_fit_keeps_its_own_decimals(mantissa, stays):
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([trade(price=11, decimals=1, quantity=11, quantity_decimals=1)], NOW)
    ticks.take([trade(price=mantissa, quantity=mantissa), Quote("BTC-USDT", 1, 1, 1, mantissa, mantissa, 0, 0)], NOW)
    [(_, _, _, [_, (_, one), (_, quote)])] = sent(ticks)
    right = (mantissa, 0) if stays else (mantissa * 10, 1)
    assert (one[2], one[7]) == (one[3], one[8]) == right
    assert (quote[3], quote[7]) == (quote[5], quote[8]) == right


def test_of_the_quotes_of_a_flush_the_newest_is_sent_behind_the_trades():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([Quote("BTC-USDT", n, 1, 1, 2, 2, 0, 0) for n in (1, 2)], NOW)
    ticks.take([trade(trade_id=7), Quote("BTC-USDT", 3, 1, 1, 2, 2, 0, 0)], NOW + 1)
    [(_, _, _, rows)] = sent(ticks)
    assert [(row[9], row[1], row[6]) for _, row in rows] == [(TRADE, 7, NOW + 1), (QUOTE, 3, NOW + 1)]
    assert sent(ticks) == []
    assert (ticks.trades, ticks.quotes) == (1, 3)


def test_a_shard_s_sequence_grows_by_one_a_part_and_its_first_part_tells_of_an_outage():
    ticks = Ticks("binance", SYMBOLS)
    shard = shard_of("binance", "BTC-USDT")
    told = []
    for outage in (False, False, True, False):
        if outage:
            ticks.outage()
        ticks.take([trade()], NOW)
        [(number, seq, said, _)] = sent(ticks)
        assert number == shard
        told.append((seq, said))
    assert told == [(1, True), (2, False), (3, True), (4, False)]


def test_a_shard_without_ticks_hears_the_clock_when_it_is_due_and_all_in_one_message_a_worker():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([trade()], NOW)
    busy = shard_of("binance", "BTC-USDT")
    sent(ticks, now_ns=NOW)
    portions = ticks.portions(2, NOW + 5, NOW - 1)
    assert sorted(part[0] for portion in portions for part in portion.parts) == sorted(set(range(SHARDS)) - {busy})
    assert len(portions) == 2 and all(part[3:] == [[], []] for portion in portions for part in portion.parts)
    assert ticks.portions(2, NOW + 6, NOW - 1) == []
    assert [part[0] for portion in ticks.portions(2, NOW + 7, NOW) for part in portion.parts] == [busy]


def test_unsent_trades_are_counted_in_bytes():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([trade(), trade(), trade("GONE-USDT")], NOW)
    assert ticks.unsent_bytes == 128


def ids_of(ticks):
    """The ids of the trades that are sent now, in order."""
    return [row[1] for part in sent(ticks) for _, row in part[3] if row[9] == TRADE]


def at(number, kind=Trade, **changes):
    """The trade of that id, a second behind the one before."""
    return kind(*trade(trade_id=number, event_ns=NOW + number * 10**9)._replace(**changes))


def test_a_trade_that_comes_again_is_dropped_and_counted():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([at(1), at(2), at(1)], NOW)
    ticks.take([at(2), at(4), at(3), at(4)], NOW)
    assert ids_of(ticks) == [1, 2, 4, 3]
    assert (ticks.trades, ticks.duplicates) == (4, 3)


def test_holes_are_told_the_oldest_of_each_symbol_in_turn_once_they_are_old_enough():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([at(1), at(4), at(8)], NOW)
    ticks.take([at(1, symbol="ETH-USDT"), at(9 + ASKED, symbol="ETH-USDT"), at(11 + ASKED, symbol="ETH-USDT")], NOW + 5)
    assert ticks.next_hole(NOW - 1) is None
    small = Hole("BTC-USDT", 2, 7, NOW + 10**9, NOW + 8 * 10**9)  # both of its holes at once
    assert [ticks.next_hole(NOW), ticks.next_hole(NOW)] == [small, small]
    assert [ticks.next_hole(NOW + 5).symbol for _ in range(4)] == ["ETH-USDT", "BTC-USDT"] * 2
    hole = ticks.next_hole(NOW + 5)
    assert (hole.first_id, hole.last_id) == (2, 8 + ASKED)
    assert ticks.missing(small) == 5
    assert ticks.give_up(hole) == ASKED + 7
    assert ticks.gauges() == {"holes_open": 3, "lost_trades": ASKED + 7}


def test_only_what_is_missing_is_mended_and_the_clock_does_not_hear_of_it():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([at(1), at(5)], NOW)
    before = ticks.clock.at(NOW)
    old = NOW - 50 * SANE_NS
    assert ticks.mend([at(n, event_ns=old) for n in (0, 1, 2, 3, 5, 6)], NOW) == 2
    assert ticks.mend([at(3), at(4), at(4, symbol="GONE-USDT")], NOW) == 1
    assert ids_of(ticks) == [1, 5, 2, 3, 4]
    assert ticks.clock.at(NOW) == before and not ticks.is_holed("BTC-USDT")
    assert ticks.next_hole(NOW) is None


def test_what_the_venue_says_was_traded_and_does_not_come_is_missing():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([at(1), LastTrade("BTC-USDT", 1), LastTrade("ETH-USDT", 5), LastTrade("GONE-USDT", 5)], NOW)
    ticks.take([LastTrade("BTC-USDT", 3)], NOW)
    ticks.take([LastTrade("BTC-USDT", 4)], NOW + 10**9)
    ticks.notice_tails(NOW + TAIL_NS - 1)
    assert ticks.next_hole(NOW + 2 * TAIL_NS) is None
    ticks.notice_tails(NOW + TAIL_NS)
    hole = ticks.next_hole(NOW + TAIL_NS)
    assert hole[:3] == ("BTC-USDT", 2, 3)
    ticks.take([at(2), at(3), at(4)], NOW + TAIL_NS)
    assert ids_of(ticks) == [1, 2, 3, 4]


def test_what_comes_in_time_was_never_missing():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([at(1), LastTrade("BTC-USDT", 3)], NOW)
    ticks.take([at(2), at(3), LastTrade("BTC-USDT", 3)], NOW + 1)
    ticks.notice_tails(NOW + 2 * TAIL_NS)
    assert ticks.next_hole(NOW + 2 * TAIL_NS) is None


def test_past_trades_wait_for_the_venue_s_time_fill_what_was_missed_and_do_not_move_the_clock():
    ticks = Ticks("kraken", SYMBOLS)
    ticks.take([at(n, PastTrade, event_ns=NOW - n) for n in (4, 5, 6)], NOW)
    assert ids_of(ticks) == [] and ticks.clock.at(NOW) == 0
    ticks.take([at(9, event_ns=NOW)], NOW)
    assert ids_of(ticks) == [9, 4, 5, 6] and ticks.clock.at(NOW) == NOW
    assert ticks.next_hole(NOW)[1:3] == (7, 8)
    ticks.take([at(n, PastTrade, event_ns=NOW - 2) for n in (5, 6, 7, 8)], NOW)
    assert ticks.next_hole(NOW) is None and ticks.duplicates == 2 and ids_of(ticks) == [7, 8]
    assert ticks.take([at(10, event_ns=NOW)], NOW) == []


def test_what_was_traded_hours_before_we_came_only_tells_ids_but_while_we_were_away_it_counts():
    ticks = Ticks("kraken", SYMBOLS)
    ticks.take([at(1, PastTrade, event_ns=NOW - 9 * SANE_NS), at(2, event_ns=NOW)], NOW)
    assert ids_of(ticks) == [2] and ticks.next_hole(NOW) is None
    later = NOW + 9 * SANE_NS
    ticks.take([at(n, PastTrade, event_ns=NOW + n * SANE_NS) for n in (2, 3, 4)], later)
    ticks.take([at(5, event_ns=later)], later)
    assert sorted(ids_of(ticks)) == [3, 4, 5] and ticks.next_hole(later) is None


def test_without_contiguous_ids_trades_get_numbers_and_an_outage_leaves_one_out():
    ticks = Ticks("bybit", SYMBOLS, contiguous=False)
    ticks.take([at(2**62 + n, event_ns=NOW) for n in (1, 0, 1)], NOW)
    ticks.outage(["BTC-USDT"])
    ticks.take([at(3)], NOW)
    first, second, third = ids_of(ticks)
    assert (second, third) == (first + 1, first + 3)
    assert ticks.duplicates == 1 and ticks.next_hole(NOW) is None


def test_without_contiguous_ids_whatever_could_not_be_read_leaves_a_number_out_too():
    ticks = Ticks("bybit", SYMBOLS, contiguous=False)
    ticks.take([at(1)], NOW)
    ticks.doubt(["BTC-USDT", "GONE-USDT"])
    ticks.take([at(2)], NOW)
    assert len(ticks.take([at(3, event_ns=NOW + 50 * SANE_NS)], NOW)) == 1
    ticks.take([at(4)], NOW)
    first, second, third = ids_of(ticks)
    assert (second, third) == (first + 2, first + 4)
    assert not any(said for _, _, said, _ in sent(ticks))


def test_an_outage_concerns_the_shards_of_the_symbols():
    ticks = Ticks("binance", SYMBOLS)
    everything = [trade(symbol) for symbol in SYMBOLS]
    ticks.take(everything, NOW)
    sent(ticks)
    ticks.outage(["ETH-USDT", "GONE-USDT"])
    ticks.take([trade(symbol) for symbol in SYMBOLS], NOW)
    concerned = shard_of("binance", "ETH-USDT")
    assert {shard: said for shard, _, said, _ in sent(ticks)} == {
        shard_of("binance", symbol): shard_of("binance", symbol) == concerned for symbol in SYMBOLS
    }


def test_symbols_come_and_go_and_what_was_taken_is_still_sent():
    ticks = Ticks("binance", ["BTC-USDT"])
    ticks.add("ETH-USDT")
    ticks.add("BTC-USDT")
    ticks.take([at(1), at(1, symbol="ETH-USDT")], NOW)
    ticks.remove("ETH-USDT", 0)
    [refused] = ticks.take([at(2, symbol="ETH-USDT"), at(2)], NOW)
    assert (refused.reason, refused.value) == ("unknown symbol", "ETH-USDT")
    assert sorted(ids_of(ticks)) == [1, 1, 2]
    assert "ETH-USDT" not in ticks and len(ticks) == 1


def test_of_the_books_of_a_flush_the_newest_comes_behind_trades_and_quote_in_the_pair_s_decimals():
    ticks = Ticks("binance", SYMBOLS)
    ticks.book(BookDepth("BTC-USDT", 1, 9, 9, 9, 9, 1), None, NOW)
    ticks.book(BookDepth("BTC-USDT", 2, 5, 6, -1, 0, 1), Quote("BTC-USDT", 2, 1, 1, 2, 2, 0, 0), NOW + 1)
    ticks.book(BookDepth("GONE-USDT", 2, 5, 6, -1, 0, 1), None, NOW + 1)
    ticks.take([trade(quantity=25, quantity_decimals=2)], NOW + 2)
    [(_, _, _, rows)] = sent(ticks)
    assert [row[9] for _, row in rows] == [TRADE, QUOTE, DEPTH]
    deep = rows[2][1]
    assert deep[1:6] == (2, 50, 60, -1, 0) and (deep[6], deep[8]) == (NOW + 1, 2)
    assert sent(ticks) == []
    assert ticks.data_ns("BTC-USDT") == NOW and ticks.data_ns("GONE-USDT") == 0


def test_a_book_of_more_than_fits_keeps_its_own_decimals():
    ticks = Ticks("binance", SYMBOLS)
    ticks.take([trade(quantity=25, quantity_decimals=2)], NOW)
    ticks.book(BookDepth("BTC-USDT", 2, 2**62, 6, -1, 0, 1), None, NOW)
    [(_, _, _, [_, (_, deep)])] = sent(ticks)
    assert deep[2:6] == (2**62, 6, -1, 0) and deep[8] == 1
