"""Batches in the columns that a store keeps (`market.stored`), all candles at once."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wick.market.blocks import EXACT
from wick.market.schema import FORMED_FIELDS
from wick.market.stored import (
    COLUMNS,
    DIGITS,
    FOLLOWING,
    LENGTH_MS,
    MOST,
    NO_METRICS,
    OTHER,
    PRICE,
    SIGNED,
    SIZE,
    STORED,
    TENS,
    TICK,
    WHOLE,
    Column,
    fired,
    put,
)
from wick.metrics.fields import NAMES as METRIC_NAMES
from wick.storage.batch import MISSING, PATTERNS, Batch

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bits: TypeAlias = NDArray[np.bool_]

_EXACT = {name: at for at, name in enumerate(FORMED_FIELDS[:EXACT])}
_REAL = {name: at for at, name in enumerate(FORMED_FIELDS[EXACT:])}
_METRIC = {name: at for at, name in enumerate(METRIC_NAMES)}
_TENS = np.array(TENS)
_LENGTHS = np.array(LENGTH_MS, np.int64)
_MOST = [2 ** min(8 * column.bytes - 1, 62) - 1 for column in COLUMNS]
_MOSTS = np.array(_MOST)[:, None]
_SAFE = 2.0**61  # so that what is made of such numbers stays within 64 bits


class Columns(NamedTuple):
    """`values`: a row a column of COLUMNS, a column a candle; 0 and in `null` is what is not known, or in `wide`."""

    values: Integers  # (COLUMNS, n)
    null: Bits  # (COLUMNS, n)
    patterns: list[bytes | None]
    wide: dict[int, dict[str, int]]  # by candle and column: numbers that the column cannot hold


def of(batch: Batch) -> Columns:
    """What is kept of a batch's candles."""
    n = batch.n
    values, null = np.zeros((len(COLUMNS), n), np.int64), np.zeros((len(COLUMNS), n), np.bool_)
    wide: dict[int, dict[str, int]] = {}
    # A row a field, as they are taken: a stride costs more than the copy.
    whole, reals = np.ascontiguousarray(batch.exact.T), np.ascontiguousarray(batch.real.T)
    metrics = np.ascontiguousarray(batch.metrics.T)
    exact = {name: whole[at] for name, at in _EXACT.items()}
    real = {name: reals[at] for name, at in _REAL.items()} | {name: metrics[at] for name, at in _METRIC.items()}
    turnover = np.abs(exact["high"].astype(np.float64)) + np.abs(exact["low"])
    turnover *= np.maximum(np.abs(exact["volume"]), np.abs(exact["taker_buy_volume"]))
    slow = (turnover >= _SAFE) | (np.abs(whole) >= _SAFE).any(axis=0)  # (of MISSING this is below 0)
    slow[list(batch.big)] = True
    with np.errstate(all="ignore"):
        for at, column in enumerate(COLUMNS):
            values[at], null[at] = _column(column, batch, exact, real)
    slow |= (np.abs(values) > _MOSTS).any(axis=0)
    places = np.nonzero(slow)[0].tolist()
    for place, row in zip(places, batch.take(places).rows(), strict=True):
        for at, value in enumerate(put(int(batch.interval[place]), row[3:])):
            fits = value is not None and abs(value) <= _MOST[at]
            null[at, place] = not fits
            if value is not None and fits:
                values[at, place] = value
            elif value is not None:
                wide.setdefault(place, {})[STORED[at]] = value
    np.copyto(values, 0, where=null)
    return Columns(values, null, _patterns(batch), wide)


def _column(column: Column, batch: Batch, exact: dict[str, Integers], real: dict[str, Floats]) -> tuple[Any, Any]:
    name, kind, _, n, _ = column
    if name == "unknown":
        return _unknown(batch, exact, real), False
    if name == "known":
        return batch.knows(), False
    if name in exact:
        told = exact[name]
        return (told if kind == WHOLE else told - _expected(name, batch, exact)), told == MISSING
    own = real[name]
    if kind == TICK:
        close = exact["close"]
        then = np.rint(close * np.exp(-own) if name == "log_return" else close / (1.0 + own / 100.0))
        wrong = ~((then > 0.5) & (then < _SAFE))
        return exact["open"] - np.where(wrong, 0, then).astype(np.int64), wrong
    if kind in (DIGITS, SIGNED):
        return _digits(own, column.n, column.least, kind == SIGNED)
    if kind in (PRICE, SIZE):
        own = own * _TENS[n + exact["price_decimals" if kind == PRICE else "quantity_decimals"]]
    elif kind != WHOLE:
        own = own * TENS[n]
    wrong = ~np.isfinite(own)
    # Beyond int64 a cast would give anything: it stays beyond, and the slow way takes the candle.
    return np.clip(np.rint(np.where(wrong, 0.0, own)), -(2.0**62), 2.0**62).astype(np.int64), wrong


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


def _digits(own: Floats, n: int, least: int, signed: bool) -> tuple[Integers, Bits]:
    """`stored._to_digits` in arrays."""
    wrong = ~(np.abs(own) <= MOST) if signed else ~((own >= 0.0) & (own <= MOST))
    f, e = np.frexp(np.where(wrong, 0.0, np.abs(own)))
    m = np.rint(np.ldexp(f, n + 1)).astype(np.int64)
    code = np.where(f == 0.0, 0, np.maximum((e.astype(np.int64) - least << n) + m - (1 << n) + 1, 0))
    return (2 * code + (own < 0.0) if signed else code), wrong


def _unknown(batch: Batch, exact: dict[str, Integers], real: dict[str, Floats]) -> Integers:
    """`stored._unknown` in arrays."""
    told = {name: ~np.isfinite(real[name]) for name in FOLLOWING}
    told["vwap"] &= exact["volume"] != 0
    told["delta_ratio"] &= exact["delta"] != MISSING
    for name in FOLLOWING[3:]:
        told[name] &= batch.known
    told["true_range"] &= np.isfinite(real["log_return"])
    told["bb_percent_b"] &= np.isfinite(real["sma_20"]) & np.isfinite(real["bb_bandwidth"])
    bits = np.where(batch.known, 0, NO_METRICS)
    for bit, name in enumerate(FOLLOWING):
        bits |= told[name].astype(np.int64) << bit
    return bits


_OTHERS = np.array(OTHER)


def _patterns(batch: Batch) -> list[bytes | None]:
    """`stored.fired` of each candle; None where nobody has computed them."""
    rows, numbers = np.divmod(np.flatnonzero(batch.patterns.ravel() != 0), PATTERNS)
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
