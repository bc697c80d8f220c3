"""One book: what is known of it is exact, and what is not known is never told."""

import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ParseError
from wick.market.orderbook import OrderBook
from wick.market.trades import BookDepth, Quote

# https://docs.kraken.com/api/docs/guides/spot-ws-book-v2: the guide's example, asks and bids as it has them.
KRAKEN_ASKS = """45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660
    45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827"""
KRAKEN_BIDS = """45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586
    45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238"""
KRAKEN_CHECKSUM = 3310070434
WHOLE = (True, True)
PART = (False, False)


def levels(text: str) -> list[list[str]]:
    words = text.split()
    return [[price, quantity] for price, quantity in zip(words[::2], words[1::2], strict=True)]


def book_of(bids: str, asks: str, limit: int = 10, whole: tuple[bool, bool] = WHOLE) -> OrderBook:
    book = OrderBook(limit)
    book.load(levels(bids), levels(asks), whole)
    return book


def ladder(best: int, step: int, count: int, quantity: str = "1") -> list[list[str]]:
    return [[str(best + place * step), quantity] for place in range(count)]


# ---------------------------------------------------------------------- Kraken's checksum


def test_kraken_s_documented_example_has_its_documented_checksum() -> None:
    book = OrderBook(10, True)
    book.load(levels(KRAKEN_BIDS), levels(KRAKEN_ASKS), WHOLE, written=True)
    assert book.checksum() == KRAKEN_CHECKSUM


def test_the_checksum_covers_the_ten_best_levels_only_and_a_removed_level_lets_the_next_one_in() -> None:
    book = OrderBook(100, True)
    book.load(levels(KRAKEN_BIDS + " 1.5 9.00000000"), levels(KRAKEN_ASKS), WHOLE, written=True)
    book.apply(levels("45283.6 2.00000000"), [])
    assert book.checksum() != KRAKEN_CHECKSUM
    book.apply(levels("45283.6 0"), [])
    assert book.checksum() == KRAKEN_CHECKSUM


def test_zeros_at_the_end_count_in_a_checksum_even_if_no_level_needs_the_digits() -> None:
    one, other = OrderBook(10, True), OrderBook(10, True)
    one.load(levels("1.0 2.50"), levels("2.0 1.00"), WHOLE, written=True)
    other.load(levels("1 2.5"), levels("2 1"), WHOLE, written=True)
    assert one.checksum() != other.checksum()
    assert not other.matches(one.checksum(), levels("1 2.5"), [])
    assert other.matches(one.checksum(), [], levels("2.0 1.00"))
    assert one.checksum() == other.checksum()


def test_a_book_that_knows_fewer_than_ten_levels_cannot_be_checked() -> None:
    book = book_of("9 1", "11 1", whole=(False, True))
    assert book.checksum() == -1


# ---------------------------------------------------------------------- levels


def test_levels_are_set_replaced_and_removed_and_removing_what_is_not_there_is_nothing() -> None:
    book = book_of("9.5 1 9 2", "10 3 10.5 4")
    book.apply(levels("9.5 0.25 9.25 7 8 0"), levels("10 0 11 1"))
    assert book.top(9) == (levels("9.5 0.25 9.25 7 9 2"), levels("10.5 4 11 1"))
    assert book.quote("X", 5) == Quote("X", 5, 950, 25, 1050, 400, 2, 2)


def test_a_price_that_comes_twice_in_one_message_is_what_it_was_last() -> None:
    book = book_of("9 1", "10 1")
    book.apply(levels("9 0 9 5 8 1 8 0"), [])
    assert book.top(9)[0] == levels("9 5")


def test_what_does_not_fit_is_cut_off_at_the_far_end_and_not_known_from_there_on() -> None:
    book = book_of("9 1 8 1 7 1", "10 1", limit=3)
    book.apply(levels("8.5 1"), [])
    assert book.top(9)[0] == levels("9 1 8.5 1 8 1")
    book.apply(levels("8.5 0 8 0 6 4 7 2"), [])  # 7 was cut off: who knows what is between
    assert book.top(9)[0] == levels("9 1")
    book.apply(levels("7.5 2"), [])
    assert book.top(9)[0] == levels("9 1 7.5 2")


def test_beyond_the_last_level_of_a_snapshot_that_is_not_the_whole_book_nothing_is_known() -> None:
    book = book_of("9 1 8 1", "10 1 11 1", whole=(False, True))
    book.apply(levels("7 5"), levels("12 5"))
    assert book.top(9) == (levels("9 1 8 1"), levels("10 1 11 1 12 5"))


def test_a_venue_that_keeps_to_the_limit_itself_tells_what_comes_into_view() -> None:
    book = OrderBook(2, rolls=True)
    book.load(levels("9 1 8 1"), levels("10 1 11 1"), WHOLE)
    book.apply(levels("8.5 1"), [])  # Kraken does not say that 8 went out of view
    assert book.top(9)[0] == levels("9 1 8.5 1")
    book.apply(levels("9 0 8 3"), [])
    assert book.top(9)[0] == levels("8.5 1 8 3") and book.fault() == "" and not book.is_shallow()


def test_a_snapshot_may_come_in_any_order_with_empty_levels_and_far_more_than_is_kept() -> None:
    book = OrderBook(2)
    book.load(levels("1 1 9 1 3 1 8 1 2 1 10 0"), ladder(11, 1, 50)[::-1], WHOLE)
    assert book.top(9) == (levels("9 1 8 1"), levels("11 1 12 1"))
    book.apply(levels("3 7"), levels("13 7"))
    assert book.top(9) == (levels("9 1 8 1"), levels("11 1 12 1"))


def test_one_best_price_on_both_sides_is_a_cross() -> None:
    book = book_of("9 1", "10 1")
    assert book.fault() == ""
    book.apply(levels("10 1"), [])
    assert book.fault() == "crossed"
    book.apply(levels("10 0 9.99 1"), [])
    assert book.fault() == ""


def test_a_side_is_shallow_when_few_known_levels_are_left_and_bare_without_any() -> None:
    book = OrderBook(100)
    book.load(ladder(1000, -1, 100), ladder(1001, 1, 30), (False, True))
    book.apply([[str(1000 - place), "0"] for place in range(75)], ladder(1001, 1, 29, "0"))
    assert not book.is_shallow()  # 25 of 100, and the asks are whole: one is all that there is
    book.apply(levels("925 0"), [])
    assert book.is_shallow() and book.fault() == ""
    book.apply(ladder(924, -1, 24, "0"), [])
    assert book.fault() == "bare"


@pytest.mark.parametrize("limit", [1, 2, 5, 10, 40])
def test_a_small_book_is_not_shallow_to_begin_with(limit: int) -> None:
    book = OrderBook(limit)
    book.load(ladder(1000, -1, limit), ladder(1001, 1, limit), PART)
    assert not book.is_shallow()


# ---------------------------------------------------------------------- numbers


def test_decimals_begin_with_the_steps_and_grow_when_the_venue_writes_finer_numbers() -> None:
    book = OrderBook(10, False, "0.01000000", "1.00000000")
    book.load([["9.50000000", "3.00000000"]], [["10.00000000", "4.00000000"]], WHOLE)
    assert book.quote("X", 1) == Quote("X", 1, 950, 3, 1000, 4, 2, 0)
    book.apply([["9.505", "0.5"]], [])
    assert book.quote("X", 2) == Quote("X", 2, 9505, 5, 10000, 40, 3, 1)
    assert book.top(9) == (levels("9.505 0.5 9.5 3"), levels("10 4"))


def test_what_is_cut_off_stays_cut_off_when_decimals_grow() -> None:
    book = book_of("9 1 8 1", "10 1", whole=(False, True))
    book.apply(levels("8.75 1 7.99 1"), [])
    assert book.top(9)[0] == levels("9 1 8.75 1 8 1")


def test_a_quantity_beyond_an_int64_stays_exact() -> None:
    huge = "123456789012345678.12345678"
    book = book_of("9 1.00000001", "10 1")
    book.apply(levels(f"8 {huge} 7 1"), [])
    assert book.top(9)[0] == levels(f"9 1.00000001 8 {huge} 7 1")
    book.apply(levels("8 0"), [])
    assert book.top(9)[0] == levels("9 1.00000001 7 1")
    book.apply(levels(f"9 {huge}"), [])
    assert book.quote("X", 1) is None  # no record can carry it
    depth = book.depth("X", 1)
    assert Fraction(depth.bid_top, 10**depth.quantity_decimals) == pytest.approx(123456789012345679, rel=1e-15)
    assert depth.quantity_decimals < 8 and max(depth[2:6]) < 2**63
    book.load(levels(f"9 {huge}"), levels("10 1"), WHOLE)
    assert book.top(9) == (levels(f"9 {huge}"), levels("10 1"))


def test_a_sum_beyond_an_int64_without_any_decimals_is_not_known() -> None:
    book = book_of(f"9 {2**63 - 1} 8 1", "10 1")
    assert book.depth("X", 1) == BookDepth("X", 1, -1, 1, 0, 0, 0)


def test_an_absurd_ask_is_beyond_what_is_known_and_an_absurd_bid_is_refused() -> None:
    book = book_of("9.00000001 1", f"10 1 {10**15} 1")
    assert book.top(9)[1] == levels("10 1")
    with pytest.raises(ParseError):
        book.apply(levels(f"{10**15} 1"), [])
    with pytest.raises(ParseError):
        book.load(levels(f"9.00000001 1 {10**15} 1"), [], WHOLE)


@pytest.mark.parametrize("text", ["", "x", "1e5", "x1", "0." + "0" * 40 + "1", "9" * 5000])
def test_what_is_no_number_raises_the_parse_error(text: str) -> None:
    for level in ([text, "1"], ["1", text]):
        with pytest.raises(ParseError):
            book_of("9 1", "10 1").apply([level], [])
        with pytest.raises(ParseError):
            OrderBook(9).load([level], [], WHOLE)
    with pytest.raises(ParseError):
        OrderBook(2).load([[text, "1"]] * 9, [], WHOLE)


# ---------------------------------------------------------------------- what is read off


def test_near_is_within_ten_basis_points_of_the_mid_both_ends_included() -> None:
    # The mid is 1000, ten basis points of it are 1.
    book = book_of("999.5 1 999 2 998.99 4", "1000.5 8 1001 16 1001.01 32")
    assert book.depth("X", 3) == BookDepth("X", 3, 7, 56, 3, 24, 0)


def test_near_is_not_known_where_the_book_is_cut_off_nearer() -> None:
    assert book_of("999.5 1", "1000.5 8 1002 1", whole=PART).depth("X", 3) == BookDepth("X", 3, -1, -1, -1, 8, 0)
    rolling = OrderBook(2, rolls=True)
    rolling.load(levels("999.5 1 999.4 1"), levels("1000.5 1"), WHOLE)
    assert rolling.depth("X", 3) == BookDepth("X", 3, -1, 1, -1, 1, 0)


def test_top_is_of_the_five_best_levels() -> None:
    book = OrderBook(10)
    book.load(ladder(1000, -1, 7), ladder(1001, 1, 4, "2"), PART)
    assert book.depth("X", 1)[2:4] == (5, -1)


def test_a_book_with_an_empty_side_has_no_quote_and_nothing_near() -> None:
    book = book_of("", "10 1")
    assert book.fault() == "" and book.quote("X", 1) is None
    assert book.depth("X", 1) == BookDepth("X", 1, 0, 1, -1, -1, 0)


# ---------------------------------------------------------------------- laws

prices = st.integers(1, 40).map(str)
quantities = st.sampled_from(["0", "0.00", "1", "2.5", "0.125", "3.00"])
some = st.lists(st.tuples(prices, quantities).map(list), max_size=12)
changes = st.lists(some, max_size=12)


def plain(book: dict[str, Fraction], some: list[list[str]]) -> None:
    for price, quantity in some:
        book[price] = Fraction(quantity)


def best_first(book: dict[str, Fraction], sign: int) -> list[tuple[int, Fraction]]:
    return sorted(((int(price), size) for price, size in book.items() if size), key=lambda one: -sign * one[0])


@given(some, changes, st.integers(1, 12), st.booleans())
def test_what_a_book_knows_is_the_best_part_of_the_whole_book(
    first: list[list[str]], later: list[list[list[str]]], limit: int, ask: bool
) -> None:
    """A side alone, so that nothing crosses."""
    book, whole, sign = OrderBook(limit), dict[str, Fraction](), -1 if ask else 1
    plain(whole, first)
    always_fitted = len(best_first(whole, sign)) <= limit
    book.load(*(([], first) if ask else (first, [])), WHOLE)
    for change in later:
        plain(whole, change)
        book.apply(*(([], change) if ask else (change, [])))
        shown = [(int(price), Fraction(quantity)) for price, quantity in book.top(99)[ask]]
        right = best_first(whole, sign)
        always_fitted &= len(right) <= limit
        assert shown == (right if always_fitted else right[: len(shown)]) and len(shown) <= limit


@given(some, changes, st.integers(1, 12))
def test_a_rolling_book_always_has_all_that_is_in_view(
    first: list[list[str]], later: list[list[list[str]]], limit: int
) -> None:
    whole: dict[str, Fraction] = {}
    plain(whole, first)
    book, before = OrderBook(limit, rolls=True), best_first(whole, 1)[:limit]
    book.load([[str(price), str(float(size))] for price, size in before], [], WHOLE)
    for change in later:
        plain(whole, change)
        now = best_first(whole, 1)[:limit]
        told = [[str(price), str(float(size))] for price, size in now if (price, size) not in before]
        gone = [[str(price), "0"] for price, _ in before if not whole[str(price)]]  # not what went out of view
        book.apply(gone + told, [])
        assert [(int(price), Fraction(quantity)) for price, quantity in book.top(99)[0]] == now
        before = now


def test_a_side_of_a_thousand_levels_takes_no_more_than_its_arrays() -> None:
    book = OrderBook(1000)
    book.load(ladder(100_000, -1, 1000), ladder(100_001, 1, 1000), WHOLE)
    for turn in range(3000):
        book.apply([[str(100_000 - turn * 7 % 1500), str(turn % 3)]], [])
    assert sys.getsizeof(book.bids.keys) + sys.getsizeof(book.bids.quantities) < 18_500
