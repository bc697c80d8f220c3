"""What venues write alike: each reader against a plain way of saying the same."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ParseError
from wick.exchanges import Hole, _text
from wick.exchanges._text import DECIMALS, SECONDS, Names, check_numbers, levels, quote, rfc3339_ns, step
from wick.market.numbers import parse_decimal
from wick.market.trades import Trade

PLAIN = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
TEXTS = st.one_of(
    st.decimals("0", "99999999", places=8).map(str), st.integers(0, 10**21).map(str),
    st.text("0123456789.-e\n\"\\٣²,[] ", max_size=6), st.text(max_size=3),
)  # fmt: skip


def accepted(call):
    try:
        call()
    except ParseError:
        return False
    return True


@given(st.lists(TEXTS, max_size=8))
def test_numbers_looked_at_together_are_judged_as_each_alone(texts):
    assert accepted(lambda: check_numbers(texts, "x")) == all(PLAIN.fullmatch(text) for text in texts)


@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_the_one_that_is_wrong_is_named(texts):
    wrong = [text for text in texts if not PLAIN.fullmatch(text)]
    if wrong:
        with pytest.raises(ParseError) as caught:
            check_numbers(texts, "x")
        assert (caught.value.field, caught.value.value) == ("x", wrong[0])


@given(st.integers(1, 4), st.lists(st.lists(TEXTS, min_size=1, max_size=4), max_size=5))
def test_levels_are_rows_of_so_many_numbers(width, rows):
    fits = all(len(row) == width and all(PLAIN.fullmatch(text) for text in row) for row in rows)
    assert accepted(lambda: levels({"b": rows}, "b", width)) == fits


def test_levels_are_handed_on_as_they_came():
    rows = [["1.50", "0.00"], ["2", "7"]]
    assert levels({"b": rows}, "b") is rows
    deep: list = []
    for _ in range(1000):
        deep = [deep]
    for bad in (deep, [[1, 2]], [["1", None]], [{"1": 1, "2": 2}], {"1": "2"}, None, "12", [[10**30, "1"]]):
        with pytest.raises(ParseError):
            levels({"b": bad}, "b")


MOMENTS = st.datetimes(datetime(2009, 1, 1), datetime(2099, 12, 31, 23, 59, 59))


@given(MOMENTS, st.integers(1, 9), st.integers(0, 10**9 - 1))
def test_a_time_in_words_is_that_time(moment, digits, ns):
    fraction = f"{ns:09d}"[:digits]
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}Z"
    seconds = (moment.replace(microsecond=0, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert rfc3339_ns(text, "t") == seconds * 10**9 + int(fraction.ljust(9, "0"))


@given(st.one_of(st.text("0123456789-T:.Z", max_size=32), st.text(max_size=30), st.none(), st.integers()))
def test_any_other_text_is_a_parse_error_that_names_it(value):
    try:
        at_ns = rfc3339_ns(value, "t")
    except ParseError as error:
        assert (error.field, error.value) == ("t", value)
    else:
        assert at_ns > 0 and value.endswith("Z")


def test_memories_are_bounded_and_keep_nothing_that_is_wrong():
    def made(native):
        if not native.isalnum():
            raise ParseError("bad symbol", "s", native)
        return native.lower()

    names = Names(made)
    for number in range(20_000):
        assert names[f"A{number}"] == f"a{number}"
        DECIMALS[f"{number}.5"]
    for number in range(70_000):
        DECIMALS[f"{number}.25"]
    assert len(names) <= 16_384 and len(DECIMALS) <= 65_536
    for memory in (DECIMALS, SECONDS, names):
        with pytest.raises(ParseError):
            memory["1 2"]
        assert "1 2" not in memory
    begin = datetime(2024, 1, 1)
    for number in range(5_000):
        SECONDS[f"{begin + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}"]
    assert len(SECONDS) <= 4_096


@given(*[st.decimals("0", "9999999", places=6).map(str)] * 4)
def test_a_quote_has_common_units(bid, bid_size, ask, ask_size):
    made = quote("A-B", 7, *map(parse_decimal, (bid, bid_size, ask, ask_size)))
    for mantissa, decimals, text in (
        (made.bid, made.price_decimals, bid), (made.ask, made.price_decimals, ask),
        (made.bid_quantity, made.quantity_decimals, bid_size), (made.ask_quantity, made.quantity_decimals, ask_size),
    ):  # fmt: skip
        own, own_decimals = parse_decimal(text)
        assert mantissa * 10**own_decimals == own * 10**decimals


@pytest.mark.parametrize(
    ("row", "expected"),
    [({"t": "0.010"}, "0.010"), ({"t": "5"}, "5"), ({}, ""), ({"t": "0.00"}, ""), ({"t": "0"}, "")],
)
def test_a_step_is_as_the_venue_writes_it_or_unknown(row, expected):
    assert step(row, "t") == expected


@pytest.mark.parametrize("value", [None, 0.01, "-1", "x"])
def test_a_step_that_makes_no_sense_is_refused(value):
    with pytest.raises(ParseError):
        step({"t": value}, "t")


@given(st.lists(st.integers(0, 30)))
def test_a_holes_trades_are_each_once_by_rising_id(numbers):
    hole = Hole("A-B", 5, 20, 0, 1)
    trades = [Trade("A-B", 1, number, 1, 0, 1, 0, True) for number in numbers]
    found = [one.trade_id for one in _text.of_hole(hole, trades)]
    assert found == sorted({number for number in numbers if 5 <= number <= 20})
