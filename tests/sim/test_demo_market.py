"""The demo market: repeatable, contiguous, plausible. No sockets, no clock."""

from itertools import pairwise
from statistics import correlation

import pytest

from wick.sim import wires
from wick.sim.book import DepthFeed, book
from wick.sim.market import Event, Market, QuoteEvent, TradeEvent
from wick.sim.symbols import listings
from wick.sim.view import MarketView

START_MS = 1_732_000_000_000


def run(seed: int, steps: list[int], rate: float = 2000.0) -> list[Event]:
    market = Market(seed, 30, rate, START_MS)
    now, events = START_MS, []
    for step in steps:
        now += step
        events += market.advance(now)
    return events


@pytest.fixture(scope="module")
def whole() -> list[Event]:
    """3 s in one step."""
    return run(7, [3000])


@pytest.fixture(scope="module")
def minute() -> list[Event]:
    """60 s of 100 symbols at 400 trades a second."""
    return Market(1, 100, 400.0, START_MS).advance(START_MS + 60_000)


def trades_of(events: list[Event]) -> list[TradeEvent]:
    return [event for event in events if isinstance(event, TradeEvent)]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_events(whole: list[Event]):
    assert run(7, [3000]) == whole != run(8, [3000])


@pytest.mark.parametrize("steps", [[1] * 3000, [37] * 81 + [3], [9, 2, 989, 2000], [10] * 300])
def test_the_size_of_the_steps_changes_nothing(steps: list[int], whole: list[Event]):
    assert run(7, steps) == whole


def test_reading_books_changes_no_event(whole: list[Event]):
    market = Market(7, 30, 2000.0, START_MS)
    pair, events = market.pairs[0], []
    feed = DepthFeed(pair)
    for now in range(START_MS + 100, START_MS + 3001, 100):
        events += market.advance(now)
        feed.update(book(pair))
        feed.snapshot()
    assert events == whole


def test_trade_ids_of_a_symbol_have_no_hole(minute: list[Event]):
    last: dict[int, int] = {}
    for trade in trades_of(minute):
        assert trade.trade_id == last.get(trade.pair, trade.trade_id - 1) + 1
        last[trade.pair] = trade.trade_id
    assert len(last) == 100


def test_times_never_go_back_and_lie_within_what_was_asked(minute: list[Event]):
    times = [event.time_ms for event in minute]
    assert times == sorted(times)
    assert times[0] >= START_MS and times[-1] < START_MS + 60_000


@pytest.mark.slow
def test_the_mean_rate_is_the_one_asked_for():
    trades = trades_of(Market(1, 300, 400.0, START_MS).advance(START_MS + 60_000))
    assert 370 < len(trades) / 60 < 430


def test_activity_falls_over_the_symbols_and_comes_in_bursts(minute: list[Event]):
    trades = trades_of(minute)
    counts = [sum(trade.pair == pair for trade in trades) for pair in range(100)]
    assert counts[0] > 1.5 * counts[1] > 2 * counts[5] > 4 * counts[50] > 0
    per_second = [0] * 60
    for trade in trades:
        per_second[(trade.time_ms - START_MS) // 1000] += 1
    mean = len(trades) / 60
    variance = sum((count - mean) ** 2 for count in per_second) / 60
    assert variance > 1.7 * mean  # independent trades would have variance = mean


def test_a_trade_happens_at_the_best_price_and_takes_no_more_than_is_there(minute: list[Event]):
    best: dict[int, QuoteEvent] = {}
    checked = 0
    for event in minute:
        if isinstance(event, QuoteEvent):
            best[event.pair] = event
        elif (quote := best.get(event.pair)) is not None:
            sold = event.buyer_is_maker
            assert event.price == (quote.bid if sold else quote.ask)
            assert 0 < event.quantity <= (quote.bid_quantity if sold else quote.ask_quantity)
            checked += 1
    assert checked > 20_000


def test_quotes_are_never_crossed_and_their_ids_grow(minute: list[Event]):
    last: dict[int, int] = {}
    for quote in (event for event in minute if isinstance(event, QuoteEvent)):
        assert 0 < quote.bid < quote.ask
        assert quote.bid_quantity > 0 and quote.ask_quantity > 0
        assert quote.update_id > last.get(quote.pair, 0)
        last[quote.pair] = quote.update_id


def test_prices_and_quantities_keep_to_the_steps_of_exchange_info(minute: list[Event]):
    listed = listings(100)
    for trade in trades_of(minute):
        assert trade.price % listed[trade.pair].tick == 0
        assert trade.quantity % listed[trade.pair].lot == 0


def test_takers_buy_in_the_seconds_in_which_the_price_rises(minute: list[Event]):
    for pair in (0, 1, 5):
        seconds: dict[int, list[TradeEvent]] = {}
        for trade in trades_of(minute):
            if trade.pair == pair:
                seconds.setdefault(trade.time_ms // 1000, []).append(trade)
        moves = [after[-1].price - before[-1].price for before, after in pairwise(seconds.values())]
        bought = [sum(not t.buyer_is_maker for t in trades) / len(trades) for trades in seconds.values()]
        assert correlation(moves, bought[1:]) > 0.15


@pytest.mark.slow
def test_an_exchange_that_starts_again_goes_on_with_higher_ids():
    first = Market(1, 10, 5000.0, START_MS)
    last = {trade.pair: trade.trade_id for trade in trades_of(first.advance(START_MS + 5_000))}
    again = Market(1, 10, 5000.0, START_MS + 5_000)
    for trade in trades_of(again.advance(START_MS + 6_000)):
        assert trade.trade_id > last.get(trade.pair, 0)


def test_a_market_that_was_stopped_goes_on_where_it_stood_and_does_not_repeat_itself():
    first = Market(1, 10, 1000.0, START_MS)
    before = trades_of(first.advance(START_MS + 2_000))
    stands = first.stands()
    later_ms = START_MS + 60_000
    again = Market(1, 10, 1000.0, later_ms, reversed(stands))
    assert again.stands() == stands
    after = trades_of(again.advance(later_ms + 2_000))
    last = {trade.pair: trade for trade in before}
    assert len(last) == 10
    for trade in after:
        if trade.pair in last and trade.trade_id == last[trade.pair].trade_id + 1:
            assert trade.price == pytest.approx(last[trade.pair].price, rel=0.01)
            del last[trade.pair]
    assert not last, "of each pair the next trade has the next id"
    assert [trade.quantity for trade in after[:50]] != [trade.quantity for trade in before[:50]]


def test_a_market_that_slept_makes_nothing_up():
    market = Market(1, 10, 1000.0, START_MS)
    market.skip_to(START_MS + 3_600_000)
    events = market.advance(START_MS + 3_601_000)
    assert events[0].time_ms >= START_MS + 3_600_000
    assert 500 < len(trades_of(events)) < 1500


@pytest.mark.parametrize("count", [1, 300, 5000])
def test_symbols_are_distinct_and_have_steps_fit_for_their_price(count: int):
    listed = listings(count)
    assert len({listing.symbol for listing in listed}) == count
    assert all(listing.price * 1e8 / listing.tick >= 80 for listing in listed)
    assert [listing.symbol for listing in listed[:3]] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"][:count]


def test_too_many_symbols_are_refused_with_the_number_there_is():
    with pytest.raises(ValueError, match="lists 1 to 6"):
        listings(100_000)


@pytest.mark.slow
def test_a_book_kept_by_binances_rules_is_the_markets_own():
    market = Market(5, 3, 1000.0, START_MS)
    for index, pair in enumerate(market.pairs):
        feed = DepthFeed(pair)
        now = market.time_ms
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        snapshot_id = None
        for round_ in range(60):
            market.advance(now := now + 100 - 30)
            if round_ % 20 == 7:  # a snapshot between two updates, taken over as a whole
                snapshot = feed.snapshot()
                bids, asks, snapshot_id = dict(snapshot.bids), dict(snapshot.asks), snapshot.update_id
            market.advance(now := now + 30)
            if not feed.changed:
                continue
            update = feed.update(book(pair))
            if snapshot_id is None or update.last_id <= snapshot_id:
                continue
            assert update.first_id <= snapshot_id + 1
            for side, changes in ((bids, update.bids), (asks, update.asks)):
                for price, quantity in changes.items():
                    side.pop(price, None) if quantity == 0 else side.update({price: quantity})
            snapshot_id = update.last_id
            own = book(pair)
            assert (bids, asks, snapshot_id) == (own.bids, own.asks, own.update_id)
            assert update.book == feed.told == own._replace(number=update.number)
            assert max(bids) < min(asks)
        assert snapshot_id is not None, index


def test_ids_of_a_book_never_come_again_whoever_leaves_and_joins():
    wire, market = wires.load("binance"), Market(5, 3, 1000.0, START_MS)
    view = MarketView(wire, market)
    view.listen("BTCUSDT")
    view.advance(START_MS + 100)
    ((_, update),) = view.updates({0: wire.reset_shift})
    view.leave("BTCUSDT")
    assert view.snapshot("BTCUSDT").update_id == view.told("BTCUSDT").update_id == update.last_id
    view.listen("BTCUSDT")
    ((_, same),) = view.restated()
    assert same.first_id == same.last_id == update.last_id + 1 and same.book.bids == update.book.bids


def test_a_books_best_levels_are_the_last_quote():
    market = Market(5, 5, 1000.0, START_MS)
    last = {event.pair: event for event in market.advance(START_MS + 2000) if isinstance(event, QuoteEvent)}
    for index, quote in last.items():
        own = book(market.pairs[index])
        assert max(own.bids.items()) == (quote.bid, quote.bid_quantity)
        assert min(own.asks.items()) == (quote.ask, quote.ask_quantity)
        assert own.update_id == quote.update_id
        assert len(own.bids) >= 20 and len(own.asks) >= 20
        assert all(a > b for a, b in pairwise(own.bids)) and all(a < b for a, b in pairwise(own.asks))
