"""Books of a venue: whenever one is shown it is the venue's own at that update, and what is amiss is said once."""

import gzip
from fractions import Fraction
from pathlib import Path

import pytest

from tests.market.test_orderbook import KRAKEN_ASKS, KRAKEN_BIDS, KRAKEN_CHECKSUM, levels
from wick.errors import ParseError
from wick.exchanges import load
from wick.market.trades import BookDepth, DepthSnapshot, DepthUpdate, Levels, Quote
from wick.stream.books import AHEAD_NS, WAITING_LEVELS, Books

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance-spot"
X = "X-USD"
LIVE = {"live": 1, "syncing": 0, "broken": 0}
BROKEN = {"live": 0, "syncing": 0, "broken": 1}


def books_of(from_rest: bool = False, depth: int = 0, kept: int = 10) -> Books:
    books = Books(kept, from_rest, depth)
    books.add(X, "0.01", "")
    return books


def spot(first: int, last: int, bids: str = "", asks: str = "") -> DepthUpdate:
    """As Binance spot numbers them."""
    return DepthUpdate(X, 1_000 + last, first, last, levels(bids), levels(asks))


def chained(previous: int, last: int, bids: str = "", asks: str = "") -> DepthUpdate:
    """As USD-M futures and OKX do."""
    return DepthUpdate(X, 1_000 + last, 0, last, levels(bids), levels(asks), previous)


def plain(bids: str = "", asks: str = "", checksum: int = -1) -> DepthUpdate:
    """Without any number, as Coinbase and Kraken send them."""
    return DepthUpdate(X, 0, 0, 0, levels(bids), levels(asks), checksum=checksum)


def whole(last: int = 0, bids: str = "9 1", asks: str = "10 1", checksum: int = -1) -> DepthUpdate:
    """A snapshot of the stream."""
    return DepthUpdate(X, 0, 0, last, levels(bids), levels(asks), -1, checksum, True)


def rest(last: int, bids: str = "9 1", asks: str = "10 1") -> DepthSnapshot:
    return DepthSnapshot(last, levels(bids), levels(asks))


def live_from_rest() -> Books:
    """Stands at id 10: 9 1 | 10 1."""
    books = books_of(from_rest=True)
    books.take(spot(9, 10), 0, 1)
    assert books.broken.pop(X) == "new"
    books.put(X, rest(10), 1)
    assert books.states() == LIVE
    books.dirty.clear()
    return books


def shown(books: Books) -> tuple[Levels, Levels]:
    return books.top(X, 99)[2:]


# ---------------------------------------------------------------------- REST's snapshot and what waits for it


def test_a_new_book_asks_for_a_snapshot_when_its_stream_speaks_and_what_came_meanwhile_is_applied() -> None:
    books = books_of(from_rest=True)
    assert books.states() == {"live": 0, "syncing": 1, "broken": 0} and not books.broken
    books.take(spot(5, 7, "8 8"), 0, 1)
    books.take(spot(8, 10, "9 2"), 0, 1)
    books.take(spot(11, 12, "7 7"), 0, 1)
    assert books.broken == {X: "new"} and books.best(X) is None
    books.put(X, rest(9), 2)
    assert books.states() == LIVE and not books.broken and books.dirty == {X}
    assert books.top(X, 9) == (1_012, 12, levels("9 2 7 7"), levels("10 1"))
    assert books.best(X) == Quote(X, 12, 900, 2, 1000, 1, 2, 0)
    assert books.depth(X) == BookDepth(X, 12, 9, 1, 0, 0, 0)


def test_a_quiet_stream_that_is_known_to_be_open_need_not_speak_first() -> None:
    books = books_of(from_rest=True)
    books.put(X, rest(9), 1)
    assert not books.is_live(X)
    books.listens(X, 0)
    assert books.broken == {X: "new"}
    books.put(X, rest(9), 1)
    books.listens(X, 0)
    assert books.is_live(X) and not books.broken
    books.take(spot(10, 10, "8 1"), 0, 1)
    assert shown(books)[0] == levels("9 1 8 1")
    books.lost(0)
    assert not books.is_live(X)


def test_a_snapshot_that_is_older_than_what_waits_is_asked_for_again_and_the_next_one_fits() -> None:
    books = books_of(from_rest=True)
    books.take(spot(5, 7, "8 8"), 0, 1)
    books.broken.clear()
    books.put(X, rest(3), 1)
    assert books.broken == {X: "old"} and books.states()["live"] == 0
    books.broken.clear()
    books.put(X, rest(4), 1)  # it ends where what waits begins
    assert shown(books)[0] == levels("9 1 8 8")


def test_a_snapshot_of_futures_may_stand_between_two_updates_as_their_ids_are_not_contiguous() -> None:
    books = books_of(from_rest=True)
    books.take(chained(5, 9, "8 8"), 0, 1)
    books.take(chained(9, 20, "7 7"), 0, 1)
    books.put(X, rest(12), 1)
    assert shown(books)[0] == levels("9 1 7 7")
    books.take(chained(20, 31, "7 0"), 0, 1)
    assert shown(books)[0] == levels("9 1") and books.states() == LIVE


def test_a_gap_in_what_waits_is_asked_about_again_and_what_came_after_it_still_waits() -> None:
    books = books_of(from_rest=True)
    for first, last in ((5, 6), (9, 9), (10, 10)):
        books.take(spot(first, last, f"{last} 5"), 0, 1)
    books.broken.clear()
    books.put(X, rest(5, "1 1", "20 1"), 1)
    assert books.broken == {X: "gap"} and books.states() == BROKEN
    books.put(X, rest(8, "1 1", "20 1"), 1)
    assert shown(books)[0] == levels("10 5 9 5 1 1") and not books.broken


def test_what_waits_is_bounded_and_the_newest_of_it_is_kept() -> None:
    books = books_of(from_rest=True)
    many = " ".join(f"{price} 1" for price in range(1, 64))
    books.expect(X)
    for number in range(1, 101):
        books.take(spot(number, number, many, "70 1"), 0, 1)
    assert books.counters["overflow"] == 100 - WAITING_LEVELS // 65
    books.put(X, rest(30), 1)
    assert books.broken == {X: "old"}
    books.put(X, rest(37, "69 1", "70 2"), 1)
    assert books.best(X) == Quote(X, 100, 6900, 1, 7000, 1, 2, 0)


def test_while_rest_is_not_asked_little_waits_and_the_answer_fits_what_came_since_it_was() -> None:
    books = books_of(from_rest=True)
    many = " ".join(f"{price} 1" for price in range(1, 64))
    for number in range(1, 101):
        books.take(spot(number, number, many, "70 1"), 0, 1)
    assert books.counters["overflow"] == 0
    books.expect(X)
    for number in range(101, 151):
        books.take(spot(number, number, many, "70 1"), 0, 1)
    books.put(X, rest(101, "69 1", "70 2"), 1)
    assert books.best(X) == Quote(X, 150, 6900, 1, 7000, 1, 2, 0)


def test_a_snapshot_that_nobody_needs_changes_nothing() -> None:
    books = live_from_rest()
    books.put(X, rest(99, "1 1", "2 1"), 1)
    books.put("Y-USD", rest(99), 1)
    assert shown(books) == (levels("9 1"), levels("10 1"))


def test_where_rest_gave_as_many_levels_as_asked_for_nothing_is_known_beyond_them() -> None:
    for count, known in ((9, True), (10, False)):
        books = books_of(from_rest=True)
        books.take(spot(1, 1), 0, 1)
        books.put(X, rest(1, " ".join(f"{price} 1" for price in range(100, 100 - count, -1)), "101 1"), 1)
        books.take(spot(2, 2, "100 0 50 7"), 0, 1)
        assert (["50", "7"] in shown(books)[0]) is known


def test_a_snapshot_of_a_round_number_of_levels_may_have_been_cut_off_by_the_venue() -> None:
    books = books_of(from_rest=True, kept=5000)
    books.take(spot(1, 1), 0, 1)
    books.put(X, rest(1, " ".join(f"{price} 1" for price in range(2000, 1000, -1)), "2001 1"), 1)
    books.take(spot(2, 2, "2000 0 50 7", "3000 7"), 0, 1)
    assert ["50", "7"] not in shown(books)[0] and ["3000", "7"] in shown(books)[1]


# ---------------------------------------------------------------------- one update after the other


@pytest.mark.parametrize("update", [spot(12, 12), chained(11, 12)])
def test_a_gap_breaks_the_book_once_and_it_is_shown_no_more(update: DepthUpdate) -> None:
    books = live_from_rest()
    books.take(update, 0, 1)
    assert books.broken == {X: "gap"} and books.states() == BROKEN and books.dirty == {X}
    assert books.best(X) is None and books.top(X, 9) == (0, 0, [], [])
    assert books.depth(X) == BookDepth(X, 0, -1, -1, -1, -1, 0)
    books.broken.clear()
    books.take(spot(13, 13), 0, 1)
    books.take(spot(15, 15), 0, 1)
    assert not books.broken and books.counters["gaps"] == 1
    books.put(X, rest(14), 1)
    assert books.states() == LIVE


@pytest.mark.parametrize("again", [spot(9, 10, "5 5"), spot(3, 4, "5 5"), chained(7, 10, "5 5")])
def test_what_the_book_has_seen_is_ignored(again: DepthUpdate) -> None:
    books = live_from_rest()
    books.take(again, 0, 1)
    assert shown(books)[0] == levels("9 1") and books.counters["duplicates"] == 1 and not books.dirty


def test_an_update_that_overlaps_what_the_book_has_seen_is_applied() -> None:
    books = live_from_rest()
    books.take(spot(8, 12, "9 3"), 0, 1)
    assert books.best(X) == Quote(X, 12, 900, 3, 1000, 1, 2, 0)


def test_an_update_that_tells_which_one_it_follows_is_not_applied_in_the_middle() -> None:
    books = books_of(depth=400, kept=400)
    books.take(whole(10), 0, 1)
    books.take(chained(8, 12, "9 3"), 0, 1)
    assert books.broken == {X: "gap"}


def test_ids_that_begin_anew_are_noticed_and_the_next_snapshot_is_of_the_new_ones() -> None:
    books = live_from_rest()
    books.take(spot(1, 2), 0, 1)
    assert not books.broken
    books.take(spot(3, 3), 0, 1)
    assert books.broken == {X: "reset"}
    books.take(spot(4, 4, "8 1"), 0, 1)
    books.put(X, rest(3), 1)
    assert shown(books)[0] == levels("9 1 8 1") and books.states() == LIVE


def test_ids_that_begin_anew_while_a_snapshot_is_awaited_do_not_stand_in_its_way() -> None:
    books = books_of(from_rest=True)
    for update in (spot(100, 101), spot(1, 2), spot(3, 4, "8 1")):
        books.take(update, 0, 1)
    books.put(X, rest(2), 1)
    assert shown(books)[0] == levels("9 1 8 1")


def test_okx_says_itself_that_ids_begin_anew_and_repeats_its_id_to_keep_alive() -> None:
    books = books_of(depth=400, kept=400)
    books.take(whole(50), 0, 1)
    for update in (chained(50, 50), chained(50, 3, "8 1"), chained(3, 7, "7 1")):
        books.take(update, 0, 1)
    assert shown(books)[0] == levels("9 1 8 1 7 1") and books.states() == LIVE


def test_a_snapshot_of_the_stream_replaces_the_book_whatever_there_was() -> None:
    books = books_of(depth=200)
    books.take(spot(6, 6), 0, 1)
    assert books.states()["live"] == 0 and not books.broken  # the stream sends it without being asked
    books.take(whole(5), 0, 1)
    books.take(spot(6, 6, "8 1"), 0, 1)
    books.take(whole(1, "5 5", "6 6"), 0, 1)  # Bybit: its service began anew
    books.take(spot(2, 2, "4 4"), 0, 1)
    assert shown(books) == (levels("5 5 4 4"), levels("6 6"))


def test_a_crossed_book_breaks_alone() -> None:
    books = books_of()
    books.add("Y-USD", "", "")
    books.take(whole(), 0, 1)
    books.take(whole()._replace(symbol="Y-USD"), 0, 1)
    books.take(plain("11 1"), 0, 1)
    assert books.broken == {X: "crossed"} and books.states() == {"live": 1, "syncing": 0, "broken": 1}
    books.broken.clear()
    books.take(whole(0, "10 1", "10 1"), 0, 1)
    assert books.broken == {X: "crossed"}
    books.take(whole(), 0, 1)
    assert not books.broken and books.best(X) is not None


def test_the_update_that_crossed_waits_for_a_snapshot_that_may_be_older() -> None:
    books = live_from_rest()
    books.take(spot(11, 11, "10.5 1"), 0, 1)
    assert books.broken == {X: "crossed"}
    books.put(X, rest(10, "9 1", "11 1"), 1)
    assert books.top(X, 9)[1:] == (11, levels("10.5 1 9 1"), levels("11 1"))


def test_a_cross_within_one_message_is_none() -> None:
    books = live_from_rest()
    books.take(spot(11, 11, "10 2", "10 0 10.5 1"), 0, 1)
    assert shown(books) == (levels("10 2 9 1"), levels("10.5 1"))


def test_a_wrong_checksum_breaks_the_book_and_a_right_one_does_not() -> None:
    books = books_of(depth=10)
    books.take(whole(0, KRAKEN_BIDS, KRAKEN_ASKS, KRAKEN_CHECKSUM), 0, 1)
    assert books.states() == LIVE
    books.take(plain("45283.5 0.20000000", "", KRAKEN_CHECKSUM), 0, 1)
    assert books.broken == {X: "checksum"} and books.counters["checksums"] == 1
    books.take(whole(0, KRAKEN_BIDS, KRAKEN_ASKS, KRAKEN_CHECKSUM + 1), 0, 1)
    assert books.states() == BROKEN
    books.take(whole(0, KRAKEN_BIDS, KRAKEN_ASKS, KRAKEN_CHECKSUM), 0, 1)
    books.take(plain("45283.5 0.10000000", "", KRAKEN_CHECKSUM), 0, 1)
    assert books.states() == LIVE


def test_a_shallow_book_asks_for_more_and_is_live_until_that_comes_or_nothing_is_left() -> None:
    books = books_of(from_rest=True)
    books.take(spot(1, 1), 0, 1)
    ten = " ".join(f"{price} 1" for price in range(100, 90, -1))
    books.put(X, rest(1, ten, "101 1"), 1)
    books.take(spot(2, 2, "100 0 99 0 98 0 97 0 96 0 95 0"), 0, 1)
    assert books.broken == {X: "shallow"} and books.states() == LIVE
    books.broken.clear()
    books.take(spot(3, 3, "94 0"), 0, 1)
    assert not books.broken and shown(books)[0] == levels("93 1 92 1 91 1")
    books.put(X, rest(2, "94 1 93 1 92 1 91 1 90 1", "101 1"), 1)
    assert shown(books)[0] == levels("93 1 92 1 91 1 90 1") and books.states() == LIVE


def test_a_book_of_which_no_level_is_known_any_more_is_broken() -> None:
    books = books_of(from_rest=True)
    books.take(spot(1, 1), 0, 1)
    books.put(X, rest(1, " ".join(f"{price} 1" for price in range(100, 90, -1)), "101 1"), 1)
    books.take(spot(2, 2, " ".join(f"{price} 0" for price in range(100, 90, -1))), 0, 1)
    assert books.broken == {X: "bare"} and books.states() == BROKEN


def test_an_update_that_makes_no_sense_raises_and_breaks_its_book() -> None:
    for update in (spot(11, 11, "8 1 nonsense 2"), whole(11, "8 nonsense")):
        books = live_from_rest()
        with pytest.raises(ParseError):
            books.take(update, 0, 1)
        assert books.broken == {X: "corrupt"} and books.best(X) is None


def test_a_number_that_is_too_fine_to_keep_breaks_its_book_until_the_next_snapshot_and_no_longer() -> None:
    books = live_from_rest()
    with pytest.raises(ParseError, match="more digits"):
        books.take(spot(11, 11, "9.0000000000000000001 1"), 0, 2)
    assert books.broken.pop(X) == "corrupt"
    books.put(X, rest(11, "9.1 1", "10.12345 1"), 3)
    assert books.states() == LIVE and shown(books) == ([["9.1", "1"]], [["10.12345", "1"]])


def test_a_symbol_that_was_never_added_or_was_removed_is_counted_only() -> None:
    books = live_from_rest()
    books.add(X, "", "")
    assert books.states() == LIVE
    books.remove(X)
    books.take(spot(11, 11), 0, 1)
    assert books.states() == {"live": 0, "syncing": 0, "broken": 0} and books.counters["unknown"] == 1
    assert not books.dirty and not books.broken and books.best(X) is None


# ---------------------------------------------------------------------- several connections


def test_two_connections_deliver_one_book_and_when_one_is_lost_the_other_goes_on() -> None:
    books = live_from_rest()
    books.take(spot(12, 12, "5 5"), 1, 1)  # ahead of the owner: no gap
    books.take(spot(11, 11, "8 1"), 0, 1)
    books.take(spot(11, 12, "8 1 7 1"), 1, 1)  # cut differently
    books.take(spot(12, 12, "7 1"), 0, 1)
    assert shown(books)[0] == levels("9 1 8 1 7 1")
    books.lost(0)
    books.take(spot(13, 13, "6 1"), 1, 1)
    assert books.states() == LIVE and not books.broken and shown(books)[0] == levels("9 1 8 1 7 1 6 1")
    books.take(spot(15, 15), 1, 1)
    assert books.broken == {X: "gap"}


def test_a_successor_that_is_late_repeats_what_the_book_has_seen_and_goes_on() -> None:
    books = live_from_rest()
    for number in range(11, 15):
        books.take(spot(number, number, f"8 {number}"), 0, 1)
    books.take(spot(10, 11), 1, 1)
    books.lost(0)
    for number in range(12, 16):
        books.take(spot(number, number, f"8 {number}"), 1, 1)
    assert shown(books)[0] == levels("9 1 8 15") and not books.broken


def test_a_successor_that_is_ahead_does_not_make_the_owner_s_ids_begin_anew() -> None:
    books = live_from_rest()
    for source in (1, 0):
        for last in (11, 12, 13):
            books.take(spot(last, last, f"{last - 5} 1"), source, last)
    assert books.states() == LIVE and not books.broken
    assert books.counters["updates"] == 3 and books.counters["duplicates"] == 3


def test_a_successor_that_is_subscribed_takes_over_a_quiet_book_too() -> None:
    books = live_from_rest()
    books.listens(X, 1)
    books.lost(0)
    assert books.is_live(X) and not books.broken
    books.take(spot(11, 11, "8 1"), 1, 1)
    assert shown(books)[0] == levels("9 1 8 1")
    books.lost(1)
    assert not books.is_live(X)


def test_losing_the_connection_that_is_not_the_owner_changes_nothing() -> None:
    books = live_from_rest()
    books.take(spot(10, 10), 1, 1)
    books.lost(1)
    assert books.states() == LIVE
    books.lost(0)
    assert books.states()["live"] == 0


def test_an_owner_that_fell_silent_does_not_hide_the_gap_of_its_successor() -> None:
    books = live_from_rest()
    books.take(spot(20, 20), 1, 1)
    books.take(spot(21, 21), 1, 1 + AHEAD_NS)
    assert not books.broken
    books.take(spot(22, 22), 1, 2 + AHEAD_NS)
    assert books.broken == {X: "gap"}


def test_a_lost_book_of_rest_is_asked_for_when_its_stream_speaks_again() -> None:
    books = live_from_rest()
    books.lost(0)
    assert books.states() == {"live": 0, "syncing": 1, "broken": 0} and books.dirty == {X} and not books.broken
    books.put(X, rest(15), 1)  # asked for before: it might be older than the stream's first word
    assert books.best(X) is None
    books.take(spot(21, 22, "8 1"), 1, 1)
    assert books.broken == {X: "lost"}
    books.put(X, rest(21), 1)
    assert shown(books)[0] == levels("9 1 8 1")


def test_a_lost_book_of_the_stream_is_broken_until_the_next_snapshot() -> None:
    books = books_of()
    books.take(whole(), 0, 1)
    books.lost(0)
    assert books.broken == {X: "lost"} and books.states() == BROKEN
    books.take(plain("8 1"), 1, 1)
    assert books.best(X) is None
    books.take(whole(), 1, 1)
    assert books.states() == LIVE and not books.broken


def test_without_ids_only_the_owner_counts_and_a_snapshot_makes_its_sender_the_owner() -> None:
    books = books_of()
    books.take(whole(), 0, 1)
    books.take(plain("8 1"), 1, 1)
    assert shown(books)[0] == levels("9 1") and books.counters["foreign"] == 1
    books.take(whole(0, "7 1"), 1, 1)
    books.take(plain("8 1"), 0, 1)
    books.take(plain("6 1"), 1, 1)
    assert shown(books)[0] == levels("7 1 6 1")
    books.lost(1)
    assert books.broken == {X: "lost"}  # what connection 0 told meanwhile was not listened to


def test_without_ids_a_connection_that_is_no_owner_any_more_may_go() -> None:
    books = books_of()
    books.take(whole(), 0, 1)
    books.take(whole(), 1, 1)
    books.lost(0)
    assert books.states() == LIVE


def test_a_successor_whose_snapshot_is_behind_leaves_no_gap() -> None:
    books = books_of(depth=200)
    books.take(whole(10), 0, 1)
    books.take(spot(11, 11, "8 1"), 0, 1)
    books.take(whole(10), 1, 1)
    books.take(spot(12, 12, "7 1"), 0, 1)
    books.take(spot(11, 11, "8 1"), 1, 1)
    books.take(spot(12, 12, "7 1"), 1, 1)
    assert shown(books)[0] == levels("9 1 8 1 7 1") and not books.broken


# ---------------------------------------------------------------------- real recordings


@pytest.mark.slow
@pytest.mark.parametrize("native", ["BTCUSDT", "ETHUSDT"])
def test_a_recorded_book_agrees_with_the_recorded_best_prices_at_every_common_id(native: str) -> None:
    """Both are told by Binance on their own; also after a resync, of which the recording has no snapshot."""
    venue, seen, compared = load("binance"), dict[int, Quote](), 0
    symbol = venue.symbol(native)
    books = Books(1000, True, 0)
    books.add(symbol, "0.01000000", "0.00001000")
    for path in sorted(RECORDINGS.glob(f"spot_{native.lower()}_*.gz")) or [pytest.skip("no recordings here")]:
        with gzip.open(path) as lines:
            for line in lines:
                recv_ns, _, raw = line.partition(b" ")
                for event in venue.parse(raw.strip()):
                    if type(event) is Quote:
                        seen[event.update_id] = event
                    elif type(event) is DepthSnapshot:
                        assert books.broken.pop(symbol) == "new"
                        books.put(symbol, event, int(recv_ns))
                        assert books.states() == LIVE
                    elif type(event) is DepthUpdate:
                        books.take(event, 0, int(recv_ns))
                        best = books.best(symbol)
                        if best is not None and (quote := seen.get(best.update_id)):
                            assert in_units(best) == in_units(quote)
                            compared += 1
                        seen.clear()
    assert compared > 400 and not books.counters["crossed"] and not books.counters["gaps"]


def in_units(quote: Quote) -> list[Fraction]:
    prices, sizes = 10**quote.price_decimals, 10**quote.quantity_decimals
    return [
        Fraction(quote.bid, prices), Fraction(quote.ask, prices),
        Fraction(quote.bid_quantity, sizes), Fraction(quote.ask_quantity, sizes),
    ]  # fmt: skip
