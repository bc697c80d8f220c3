"""Decimal text to integers and back, against `decimal`."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ParseError
from wick.market.numbers import format_decimal, parse_decimal

NINES = ("9" * 19, "9" * 5000)
TEXTS = st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9})?", fullmatch=True)


@given(TEXTS)
def test_a_number_is_kept_to_the_last_digit(text):
    mantissa, decimals = parse_decimal(text)
    assert Decimal(mantissa).scaleb(-decimals) == Decimal(text)


@given(TEXTS)
def test_a_number_comes_back_plain_and_without_trailing_zeros(text):
    shown = format_decimal(*parse_decimal(text))
    assert Decimal(shown) == Decimal(text)
    assert "e" not in shown.lower() and not (("." in shown) and shown.endswith(("0", ".")))


@pytest.mark.parametrize("shown", [(0, 0, "0"), (5, 3, "0.005"), (-5, 1, "-0.5"), (100, 2, "1"), (120, 2, "1.2")])
def test_numbers_are_shown(shown):
    assert format_decimal(*shown[:2]) == shown[2]


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".5", "-1", "+1", "1e4", "1e400", "NaN", "Infinity", " 1", "1 ", "1_0", "٣", "1.2.3", *NINES],
)
def test_anything_but_a_plain_decimal_is_an_error(text):
    with pytest.raises(ParseError):
        parse_decimal(text)


@pytest.mark.parametrize("value", [None, 1, 1.5, ["1"], b"1"])
def test_anything_but_a_text_is_an_error_that_names_the_field(value):
    with pytest.raises(ParseError, match="in p:"):
        parse_decimal(value, "p")
