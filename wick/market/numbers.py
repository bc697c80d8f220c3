"""Exact decimals as integers: a venue's text becomes (mantissa, decimals) and comes back as plain text.

Why not float64: 0.1 + 0.2 is not 0.3, and a day of PEPE (1e13 units) does not fit its 53 bits beside a step
of 1e-8. Python's integers have no such limit, so sums of any length stay exact.
"""

from wick.errors import ParseError

POW10 = tuple(10**n for n in range(40))

# A mantissa is sent in the int64 of a packed record.
MAX_MANTISSA = 2**63 - 1
MAX_DECIMALS = 30  # two numbers are put into common units by a factor of POW10


def parse_decimal(text: object, field: str = "number") -> tuple[int, int]:
    """`"61837.63000000"` -> `(6183763, 2)`: the value is mantissa / 10**decimals, without trailing zeros.

    Raises ParseError for anything but plain non-negative decimal digits (no sign, exponent, NaN, spaces), or
    more of them than an int64 keeps, or more than MAX_DECIMALS behind the point.
    """
    if type(text) is not str:
        raise ParseError("not a decimal string", field, text)
    whole, dot, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    digits = whole + fraction
    if not (digits.isdigit() and digits.isascii()) or not whole or (dot and text[-1] == "."):
        raise ParseError("not a plain decimal", field, text)
    if len(fraction) > MAX_DECIMALS or len(digits) > 400 or (mantissa := int(digits)) > MAX_MANTISSA:
        raise ParseError("more digits than wick keeps", field, text)
    return mantissa, len(fraction)


def format_decimal(mantissa: int, decimals: int) -> str:
    """`(6183763, 2)` -> `"61837.63"`: plain text without exponent or trailing zeros; the inverse of parse_decimal."""
    if decimals == 0:
        return str(mantissa)
    sign = "-" if mantissa < 0 else ""
    digits = str(abs(mantissa)).rjust(decimals + 1, "0")
    fraction = digits[-decimals:].rstrip("0")
    return f"{sign}{digits[:-decimals]}.{fraction}" if fraction else f"{sign}{digits[:-decimals]}"
