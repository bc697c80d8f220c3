"""Batches in the columns that a store keeps (`market.stored`), all candles at once."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.market.blocks import EXACT
from wick.market.schema import FORMED_FIELDS
from wick.market.stored import (
    _OTHER,
    COLUMNS,
    DIGITS,
    FOLLOWING,
    LENGTH_MS,
    NO_METRICS,
    PRICE,
    SIGNED,
    SIZE,
    STORED,
    TENS,
    TICK,
    WHOLE,
    fired,
    put,
)
from wick.metrics.fields import NAMES as METRIC_NAMES
from wick.storage.batch import MISSING, Batch

Integers, Floats, Bits = NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]

_EXACT = {name: at for at, name in enumerate(FORMED_FIELDS[:EXACT])}
_REAL = {name: at for at, name in enumerate(FORMED_FIELDS[EXACT:])}
_METRIC = {name: at for at, name in enumerate(METRIC_NAMES)}
_TENS = np.array(TENS)
_LENGTHS = np.array(LENGTH_MS, np.int64)
_MOST = [2 ** (8 * column.bytes - 1) - 1 for column in COLUMNS]
_SAFE = 2.0**61  # so that what is made of such numbers stays within 64 bits


class Columns(NamedTuple):
    """`values`: a row a column of COLUMNS, a column a candle; what is not known, or is in `wide`, is in `null`, and 0."""

    values: Integers  # (COLUMNS, n)
    null: Bits  # (COLUMNS, n)
    patterns: list[bytes | None]
    wide: dict[int, dict[str, int]]  # by candle and column: numbers that the column cannot hold


def of(batch: Batch) -> Columns:
    """What is kept of a batch's candles."""
    n = batch.n
    values, null = np.zeros((len(COLUMNS), n), np.int64), np.zeros((len(COLUMNS), n), np.bool_)
    wide: dict[int, dict[str, int]] = {}
    exact = {name: batch.exact[:, at] for name, at in _EXACT.items()}
    turnover = np.abs(exact["high"].astype(np.float64)) + np.abs(exact["low"])
    turnover *= np.maximum(np.abs(exact["volume"]), np.abs(exact["taker_buy_volume"]))
    slow = (turnover >= _SAFE) | (np.abs(batch.exact.astype(np.float64) * (batch.exact != MISSING)) >= _SAFE).any(
        axis=1
    )
    slow[list(batch.big)] = True
    with np.errstate(all="ignore"):
        for at, column in enumerate(COLUMNS):
            values[at], null[at] = _column(column.name, column.kind, column.n, batch, exact)
    over = (values > np.array(_MOST)[:, None]) | (values < -np.array(_MOST)[:, None])
    slow |= over.any(axis=0)
    places = np.nonzero(slow)[0].tolist()
    for place, row in zip(places, batch.take(places).rows(), strict=True):
        for at, value in enumerate(put(int(batch.interval[place]), row[3:])):
            null[at, place] = value is None
            if value is not None and abs(value) > _MOST[at]:
                wide.setdefault(place, {})[STORED[at]] = value
                null[at, place] = True
            values[at, place] = 0 if null[at, place] else value
    values[null] = 0
    return Columns(values, null, _patterns(batch), wide)


def _column(name: str, kind: str, n: int, batch: Batch, exact: dict[str, Integers]) -> tuple[Any, Any]:
    if name == "unknown":
        return _unknown(batch, exact), False
    if name in exact:
        own = exact[name]
        return (own if kind == WHOLE else own - _expected(name, batch, exact)), own == MISSING
    own = batch.real[:, _REAL[name]] if name in _REAL else batch.metrics[:, _METRIC[name]]
    if kind == TICK:
        close = exact["close"]
        then = np.rint(close * np.exp(-own) if name == "log_return" else close / (1.0 + own / 100.0))
        wrong = ~((then > 0.5) & (then < _SAFE))
        return exact["open"] - np.where(wrong, 0, then).astype(np.int64), wrong
    if kind in (DIGITS, SIGNED):
        return _digits(own, n, kind == SIGNED)
    if kind in (PRICE, SIZE):
        own = own * _TENS[n + exact["price_decimals" if kind == PRICE else "quantity_decimals"]]
    elif kind != WHOLE:
        own = own * TENS[n]
    wrong = ~np.isfinite(own)
    # Beyond int64 a cast would give anything: it stays beyond, and the slow way takes the candle.
    return np.clip(np.rint(np.where(wrong, 0.0, own)), -(2.0**63), 2.0**63 - 1024).astype(np.int64), wrong


def _expected(name: str, batch: Batch, exact: dict[str, Integers]) -> Any:
    """`stored.EXPECTED` in arrays."""
    if name == "close_time_ms":
        return exact["open_time_ms"] + _LENGTHS[batch.interval]
    if name == "quote_volume":
        return exact["volume"] * ((exact["high"] + exact["low"]) // 2)
    if name == "taker_buy_volume":
        return exact["volume"] // 2
    if name == "taker_buy_quote_volume":
        volume = exact["volume"]
        return exact["taker_buy_volume"] * np.where(
            volume == 0, 0, exact["quote_volume"] // np.where(volume == 0, 1, volume)
        )
    if name == "first_trade_id":
        return exact["last_trade_id"] - np.maximum(exact["trade_count"] - 1, 0)
    if name == "delta":
        return 2 * exact["taker_buy_volume"] - exact["volume"]
    delta = np.where(exact["delta"] == MISSING, 0, exact["delta"])
    return np.maximum(delta, 0) if name == "delta_max" else np.minimum(delta, 0)


def _digits(own: Floats, floor_at: int, signed: bool) -> tuple[Integers, Bits]:
    """`stored._to_digits` in arrays."""
    size = np.abs(own)
    wrong = ~np.isfinite(own) if signed else ~(np.isfinite(own) & (size == own))
    some = ~wrong & (size * TENS[floor_at] >= 1.0)
    size = np.where(some, size, 1.0)
    power = np.floor(np.log10(size)).astype(np.int64)
    m = _mantissa(size, power)
    power -= m < 10_000
    m = _mantissa(size, power)
    power += m >= 100_000
    m = np.maximum(_mantissa(size, power), 10_000.0)
    code = np.where(some, (power + floor_at) * 90_000 + m.astype(np.int64) - 9_999, 0)
    return (2 * code + (own < 0) if signed else code), wrong


def _mantissa(size: Floats, power: Integers) -> Floats:
    down = power <= 4
    return np.rint(
        np.where(down, size * _TENS[np.where(down, 4 - power, 0)], size / _TENS[np.where(down, 0, power - 4)])
    )


def _unknown(batch: Batch, exact: dict[str, Integers]) -> Integers:
    """`stored._unknown` in arrays."""
    lacks = np.isnan(batch.real) | np.isinf(batch.real)
    metric = ~np.isfinite(batch.metrics)
    told = {
        "vwap": lacks[:, _REAL["vwap"]] & (exact["volume"] != 0),
        "delta_ratio": lacks[:, _REAL["delta_ratio"]] & (exact["delta"] != MISSING),
        "avg_trade_size": lacks[:, _REAL["avg_trade_size"]],
    }
    for name in FOLLOWING[3:]:
        told[name] = metric[:, _METRIC[name]] & batch.known
    told["true_range"] &= ~metric[:, _METRIC["log_return"]]
    told["bb_percent_b"] &= ~metric[:, _METRIC["sma_20"]] & ~metric[:, _METRIC["bb_bandwidth"]]
    bits = np.where(batch.known, 0, NO_METRICS)
    for bit, name in enumerate(FOLLOWING):
        bits |= told[name].astype(np.int64) << bit
    return bits


_OTHERS = np.array(_OTHER)


def _patterns(batch: Batch) -> list[bytes | None]:
    """`stored.fired` of each candle; None where nobody has computed them."""
    rows, numbers = np.nonzero(batch.patterns)
    values = batch.patterns[rows, numbers].astype(np.int64)
    sizes = np.abs(values)
    codes = (4 * numbers + 2 * (sizes != 5) + (values < 0)).astype(np.uint8).tobytes()
    ends = np.cumsum(np.bincount(rows, minlength=batch.n)).tolist()
    made: list[bytes | None] = [codes[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    for place in {*rows[(sizes != 5) & (sizes != _OTHERS[numbers])].tolist()}:
        made[place] = fired(batch.patterns[place].tobytes())
    for place in np.nonzero(~batch.known)[0].tolist():
        made[place] = None
    return made
