"""What a candle knows of its trades, as accumulators that merge. Pure.

A *part* is a list of integers that says all about a run of trades: prices, sums and order flow. `merge(a, b)` is the
part of both runs, `a` before `b` in the venue's order. Merging is associative and exact, so trades may be put together
one by one, in columns, by 15 s pieces or around a hole that is filled later: the result is the same, bit for bit.

Why sums stay exact: everything is an integer, and Python's have no limit. Prices and sizes are the venue's own decimal
digits; products of integers are integers. The one irrational term, the squared log return, is a float64 made of
correctly rounded operations only (so a loop and numpy agree on every bit), cut to a multiple of 2^-104 before it is
added: a 1e-15th of the square that a move of one part in 1e8 makes.
"""

from collections.abc import Callable
from math import log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Part = list[int]
Column = NDArray[np.int64]

# KYLE: sum of price change * signed size; SQUARES: of size squared; RV: of squared log returns, in 2^-RV_BITS.
# Changes and returns are those between neighbours within the run. D_MAX, D_MIN: extremes of the running delta, from 0.
(
    FIRST_ID, LAST_ID, OPEN, HIGH, LOW, CLOSE, FIRST_SIGNED,
    VOLUME, QUOTE_VOLUME, COUNT, BUY_VOLUME, BUY_QUOTE_VOLUME,
    D_MAX, D_MIN, MAX_SIZE, LARGE, LARGE_BUY, RV, KYLE, SQUARES,
) = range(20)  # fmt: skip
WIDTH: Final = 20
SUMS: Final = slice(VOLUME, BUY_QUOTE_VOLUME + 1)  # what the head has running totals of

# Powers of ten that each gains when prices and sizes get one more decimal.
GAINS: Final = (
    (0, 0), (0, 0), (1, 0), (1, 0), (1, 0), (1, 0), (0, 1),
    (0, 1), (1, 1), (0, 0), (0, 1), (1, 1),
    (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 0), (1, 1), (0, 2),
)  # fmt: skip

RV_BITS: Final = 104
RV_UNIT: Final = 2.0**RV_BITS
_HIGH_BITS, _LOW_BITS = 58, 46  # a column adds a square in two integers, so that 2^16 of them fit
_HIGH_UNIT, _LOW_UNIT = 2.0**_HIGH_BITS, 2.0**_LOW_BITS
SMALL: Final = 1e-4  # the series below is good to 1e-12 for squares of half-returns up to this
SECOND_TERM, THIRD_TERM = 8 / 3, 92 / 45

_FIRST_HIGH, _SECOND_HIGH, _THIRD_HIGH = 4 * _HIGH_UNIT, SECOND_TERM * _HIGH_UNIT, THIRD_TERM * _HIGH_UNIT

EXACT_FLOAT: Final = 2**52  # the sum of two smaller integers is exact as a float64
INT64: Final = 2**63 - 1


def squared_return(before: int, after: int) -> int:
    """(ln after/before)^2 in 2^-RV_BITS.

    With r = (after - before) / (after + before) it is 4r^2 (1 + 2/3 r^2 + 23/45 r^4 + ...); large moves take the log.
    """
    if before <= 0 or after <= 0:
        return 0  # there is no such price, and no logarithm of it
    r = (after - before) / (after + before)
    s = r * r
    square = s * (4.0 + s * (SECOND_TERM + s * THIRD_TERM)) if s < SMALL else log(after / before) ** 2
    return int(square * RV_UNIT)


def of_trade(trade_id: int, price: int, size: int, buy: int, count: int, large_from: int) -> Part:
    """The part of one trade. `large_from`: the turnover from which it is a large one."""
    turnover = price * size
    bought, bought_for = (size, turnover) if buy else (0, 0)
    large, large_buy = (size, bought) if turnover >= large_from else (0, 0)
    signed = size if buy else -size
    return [
        trade_id, trade_id, price, price, price, price, signed, size, turnover, count, bought, bought_for,
        max(signed, 0), min(signed, 0), size, large, large_buy, 0, 0, size * size,
    ]  # fmt: skip


def merge(a: Part, b: Part) -> Part:
    """The part of `a`'s trades followed by `b`'s."""
    (
        a_first, _, a_open, a_high, a_low, a_close, a_signed, a_volume, a_quote, a_count, a_buy, a_buy_quote,
        a_dmax, a_dmin, a_size, a_large, a_large_buy, rv, kyle, a_squares,
    ) = a  # fmt: skip
    (
        _, b_last, b_open, b_high, b_low, b_close, b_signed, b_volume, b_quote, b_count, b_buy, b_buy_quote,
        b_dmax, b_dmin, b_size, b_large, b_large_buy, b_rv, b_kyle, b_squares,
    ) = b  # fmt: skip
    rv += b_rv
    kyle += b_kyle
    if a_close != b_open:
        rv += squared_return(a_close, b_open)
        kyle += (b_open - a_close) * b_signed
    delta = 2 * a_buy - a_volume
    b_dmax += delta
    b_dmin += delta
    return [
        a_first, b_last, a_open, a_high if a_high > b_high else b_high, a_low if a_low < b_low else b_low, b_close,
        a_signed, a_volume + b_volume, a_quote + b_quote, a_count + b_count, a_buy + b_buy, a_buy_quote + b_buy_quote,
        a_dmax if a_dmax > b_dmax else b_dmax, a_dmin if a_dmin < b_dmin else b_dmin,
        a_size if a_size > b_size else b_size, a_large + b_large, a_large_buy + b_large_buy, rv, kyle,
        a_squares + b_squares,
    ]  # fmt: skip


def delta(part: Part) -> int:
    """Taker buy volume less taker sell volume."""
    return 2 * part[BUY_VOLUME] - part[VOLUME]


# The bare ufuncs: half of what the methods cost on a few hundred numbers.
_most, _least, _sum, _running = np.maximum.reduce, np.minimum.reduce, np.add.reduce, np.add.accumulate


def of_columns(table: Column, large_from: int) -> Part | None:
    """The part of trades in `columns`, alike and in their order. None where 64 bits might not hold a sum."""
    ids, price, size, count = table[1], table[2], table[3], table[4]
    n = len(ids)
    highest, largest, most = _most(table[2:5], 1).tolist()
    lowest = int(_least(price))
    if lowest <= 0 or highest >= EXACT_FLOAT or n >= 1 << 16 or max(highest * largest, most) * n > INT64:
        return None
    buy = table[7] >> 24
    turnover, bought = price * size, size * buy
    signed = bought + bought
    signed -= size
    rv = kyle = 0
    first, last = int(price[0]), int(price[-1])
    if highest != lowest:
        kyle = int((price[1:] - price[:-1]) @ signed[1:])
        rv = _squared_returns(price)
    running = _running(signed)
    squares = int(size @ size) if largest * largest * n <= INT64 else sum([one * one for one in size.tolist()])
    large = large_buy = 0
    if highest * largest >= large_from:
        is_large = turnover >= large_from
        large, large_buy = int(size @ is_large), int(bought @ is_large)
    return [
        int(ids[0]), int(ids[-1]), first, highest, lowest, last, int(signed[0]),
        int(_sum(size)), int(_sum(turnover)), int(_sum(count)), int(_sum(bought)), int(turnover @ buy),
        max(int(_most(running)), 0), min(int(_least(running)), 0), largest, large, large_buy, rv, kyle, squares,
    ]  # fmt: skip


def running_flows(table: Column) -> Column:
    """Sums of size, signed size and signed turnover up to and with each trade of `of_columns`, which fit if its do."""
    price, size = table[2], table[3]
    sums = np.empty((3, len(size)), np.int64)
    sums[0] = size
    np.multiply(size, (table[7] >> 23 & 2) - 1, out=sums[1])
    np.multiply(sums[1], price, out=sums[2])
    return _running(sums, 1)


def _squared_returns(price: Column) -> int:
    exact = price.astype(np.float64)
    after, before = exact[1:], exact[:-1]
    s = after - before
    s /= after + before
    s *= s
    rv = 0
    if _most(s) >= SMALL:
        for index in np.flatnonzero(s >= SMALL).tolist():
            rv += squared_return(int(price[index]), int(price[index + 1]))
        s = s[s < SMALL]
    # The same series, times a power of two, which changes no digit of it.
    scaled = s * _THIRD_HIGH
    scaled += _SECOND_HIGH
    scaled *= s
    scaled += _FIRST_HIGH
    scaled *= s
    high = scaled.astype(np.int64)
    scaled -= high
    scaled *= _LOW_UNIT
    return rv + (int(_sum(high)) << _LOW_BITS) + int(_sum(scaled.astype(np.int64)))


# ---------------------------------------------------------------------- runs with holes

Chain = list[Part]  # parts in the venue's order, apart where ids between them may still come


def join(chain: Chain, more: Chain, is_open: Callable[[int, int], bool]) -> Chain:
    """Both chains as one. `is_open(a, b)`: whether ids between a and b may still come."""
    if not chain or not more:
        return chain or more
    if is_open(chain[-1][LAST_ID], more[0][FIRST_ID]):
        return chain + more
    return [*chain[:-1], merge(chain[-1], more[0]), *more[1:]]


def insert(chain: Chain, part: Part, is_open: Callable[[int, int], bool]) -> Chain:
    """The chain with a run of trades put where its ids say; parts that nothing can come between any more are merged."""
    at = len(chain)
    while at and chain[at - 1][FIRST_ID] > part[FIRST_ID]:
        at -= 1
    joined: Chain = []
    for one in [*chain[:at], part, *chain[at:]]:
        joined = join(joined, [one], is_open)
    return joined


def whole(chain: Chain) -> Part:
    """The part of a chain that is not empty, as far as it is known."""
    total = chain[0]
    for part in chain[1:]:
        total = merge(total, part)
    return total


def rescale(part: Part, more_price: int, more_size: int) -> Part:
    """The same values with that many more decimals."""
    return [
        value * 10 ** (price * more_price + size * more_size) for value, (price, size) in zip(part, GAINS, strict=True)
    ]


def columns(buffer: Any) -> Column:
    """Packed records as eight contiguous int64 columns: event_ns, id, a, b, c, d, recv_ns, and the small fields."""
    table: Column = np.frombuffer(buffer, dtype="<i8").reshape(-1, 8).T.copy()
    return table
