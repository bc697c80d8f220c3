"""How a candle is kept: the columns that every store has of it, all integers, and the way there and back. Pure.

Exact fields stay exact. A REAL one is kept to so many decimals, or digits, or it is not kept at all because it follows
from what is: `rounded` tells what a store gives back. What follows from another field is kept as the difference to
that, nearly always 0: a column of zeros costs nothing where columns are compressed, and little where rows are.

| as | the integer |
|---|---|
| whole | the field itself |
| less | an exact field, less what it nearly always is |
| ratio, price, size | rounded to `n` decimals; of a price, or a size, beyond those that the candle's own have |
| digits | rounded to `n` + 1 binary digits: see `_to_digits`; not negative. `signed`: twice that, plus 1 below 0 |
| tick | a price that was whole ticks once, found again: exact |

NULL is what is not known. A number beyond its column's bytes is kept aside (`wide`), as text.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import exp, frexp, inf, isfinite, ldexp, log1p
from operator import sub, truediv
from sys import byteorder
from typing import Any, Final, NamedTuple

from wick.market.intervals import INTERVALS
from wick.market.rows import MAY_MISS
from wick.market.schema import CANDLE_FIELDS, METRIC_FIELDS, Row
from wick.metrics import pattern_table


class Column(NamedTuple):
    """A column of a store: `kind` is one of the table above, `n` its decimals or digits, `bytes` its width where it has
    one. `least`: the power of two below which digits are 0."""

    name: str
    kind: str = "whole"
    bytes: int = 8
    n: int = 0
    least: int = 0


WHOLE, LESS, RATIO, PRICE, SIZE, DIGITS, SIGNED, TICK = (
    "whole", "less", "ratio", "price", "size", "digits", "signed", "tick",
)  # fmt: skip

# After pair, interval and open_time_ms, which are the key. `unknown` has a bit for each of FOLLOWING whose value is not
# known although what it follows from is, and one for all metrics where nobody has computed them. `known`: how many
# fields the row knew of those that it may miss, for `rank`.
COLUMNS: Final = (
    Column("revision", bytes=4),
    Column("flags", bytes=2),
    Column("price_decimals", bytes=2),
    Column("quantity_decimals", bytes=2),
    Column("open"),
    Column("high"),
    Column("low"),
    Column("close"),
    Column("volume"),
    Column("quote_volume", LESS),
    Column("trade_count", bytes=4),
    Column("taker_buy_volume", LESS),
    Column("taker_buy_quote_volume", LESS),
    Column("close_time_ms", LESS),
    Column("first_trade_id", LESS),
    Column("last_trade_id"),
    Column("unknown", bytes=2),
    Column("known", bytes=2),
    Column("delta", LESS),
    Column("delta_max", LESS),
    Column("delta_min", LESS),
    Column("cvd"),
    Column("cvd_anchor_ms"),
    Column("max_trade_size"),
    Column("large_trade_volume"),
    Column("large_trade_delta"),
    Column("tick_rv", DIGITS, 4, 13, -40),
    Column("kyle_lambda", SIGNED, 4, 11, -100),
    Column("ofi", SIGNED, 4, 12, -40),
    Column("book_imbalance", RATIO, 4, 4),
    Column("quoted_spread_bps", DIGITS, 4, 13, -20),
    Column("effective_spread_bps", SIGNED, 4, 11, -20),
    Column("microprice_dev_bps", SIGNED, 4, 11, -20),
    Column("depth_imbalance_10bps", RATIO, 4, 4),
    Column("log_return", TICK),
    Column("amihud_20", DIGITS, 4, 13, -100),
    Column("vpin_50", RATIO, 4, 4),
    Column("rsi_14", RATIO, 4, 3),
    Column("macd", PRICE, 8, 2),
    Column("macd_signal", PRICE, 8, 2),
    Column("stoch_k", RATIO, 4, 3),
    Column("stoch_d", RATIO, 4, 3),
    Column("cci_20", RATIO, 4, 1),
    Column("roc_10", TICK),
    Column("mfi_14", RATIO, 4, 3),
    Column("adx_14", RATIO, 4, 3),
    Column("plus_di_14", RATIO, 4, 3),
    Column("minus_di_14", RATIO, 4, 3),
    Column("tsi_25_13", RATIO, 4, 3),
    Column("ultosc", RATIO, 4, 3),
    Column("sma_20", PRICE, 8, 2),
    Column("ema_20", PRICE, 8, 1),
    Column("ema_50", PRICE, 8, 1),
    Column("hma_16", PRICE, 8, 1),
    Column("kama_10", PRICE, 8, 1),
    Column("bb_bandwidth", DIGITS, 4, 13, -40),
    Column("donchian_upper_20", PRICE),
    Column("donchian_lower_20", PRICE),
    Column("atr_14", PRICE, 8, 2),
    Column("supertrend_10_3", PRICE, 8, 1),
    Column("psar", PRICE, 8, 1),
    Column("garman_klass_20", DIGITS, 4, 13, -40),
    Column("realized_vol_20", DIGITS, 4, 13, -40),
    Column("obv", SIGNED, 4, 14, -40),
    Column("cmf_20", RATIO, 4, 4),
    Column("obv_anchor_ms"),
)
STORED: Final = tuple(column.name for column in COLUMNS)
# The key and they, as many candles are held at once: what is as wide side by side, and of that what is computed alike.
_ALIKE: Final = (LESS, TICK, WHOLE, PRICE, SIZE, DIGITS, SIGNED, RATIO)
ORDER: Final = tuple(
    column.name
    for column in sorted(
        (Column("pair", bytes=4), Column("open_time_ms"), *COLUMNS),
        key=lambda column: (column.bytes, _ALIKE.index(column.kind), column.n),
    )
)
PATTERNS: Final = "patterns"  # one more, of bytes: see `fired`
FOLLOWING: Final = (
    "vwap", "delta_ratio", "avg_trade_size", "true_range", "body_ratio", "upper_wick_ratio", "lower_wick_ratio",
    "close_location", "bb_percent_b",
)  # fmt: skip
NO_METRICS: Final = 1 << len(FOLLOWING)  # in `unknown`

# Nominal lengths: months differ by days.
LENGTH_MS: Final = [interval.close_ms(interval.open_ms(0)) - interval.open_ms(0) for interval in INTERVALS]


Value = int | None
Values = Sequence[Any]  # of one field, or column, of many candles

_AT: Final = {name: at for at, name in enumerate(CANDLE_FIELDS)}
_KIND: Final = {column.name: column for column in COLUMNS}
TENS: Final = [float(10**power) for power in range(300)]

# What an exact field of kind `less` nearly always is, or is near to, of the names that follow. (`close_time_ms` is its
# interval's length behind the open.)
EXPECTED: Final[dict[str, tuple[Callable[..., int], tuple[str, ...]]]] = {
    "quote_volume": (lambda volume, high, low: volume * ((high + low) // 2), ("volume", "high", "low")),
    "taker_buy_volume": (lambda volume: volume // 2, ("volume",)),
    "taker_buy_quote_volume": (
        lambda bought, turnover, volume: bought * (turnover // volume) if volume else 0,
        ("taker_buy_volume", "quote_volume", "volume"),
    ),
    "first_trade_id": (lambda last, count: last - count + 1 if count else last, ("last_trade_id", "trade_count")),
    "delta": (lambda bought, volume: 2 * bought - volume, ("taker_buy_volume", "volume")),
    "delta_max": (lambda delta: max(delta or 0, 0), ("delta",)),
    "delta_min": (lambda delta: min(delta or 0, 0), ("delta",)),
}


# ---------------------------------------------------------------------- in


def put(interval: int, row: Row) -> list[Value]:
    """The values of COLUMNS of one row (CANDLE_FIELDS), of any size. `wick.storage.columns` does many at once."""
    told = dict(zip(CANDLE_FIELDS, row, strict=True))
    told = {name: value if type(value) is not float or isfinite(value) else None for name, value in told.items()}
    price, size = told["price_decimals"], told["quantity_decimals"]
    made: list[Value] = []
    for name, kind, _, n, least in COLUMNS:
        value = told.get(name)
        if name == "unknown":
            made.append(_unknown(told))
        elif name == "known":
            made.append(sum(told[other] is not None for other in MAY_MISS))
        elif value is None:
            made.append(None)
        elif kind == WHOLE:
            made.append(int(value))
        elif name == "close_time_ms":
            made.append(value - told["open_time_ms"] - LENGTH_MS[interval])
        elif kind == LESS:
            expected, of = EXPECTED[name]
            made.append(value - expected(*[told[other] for other in of]))
        elif kind == TICK:
            then = _then(name, told["close"], value)
            made.append(None if then is None else told["open"] - then)
        elif kind in (DIGITS, SIGNED):
            made.append(_to_digits(value, n, least, kind == SIGNED))
        else:
            scaled = value * TENS[n + {PRICE: price, SIZE: size}.get(kind, 0)]
            made.append(round(scaled) if isfinite(scaled) else None)
    return made


def _then(name: str, close: int, value: float) -> Value:
    """The earlier close that a return was made of."""
    try:
        then = close * exp(-value) if name == "log_return" else close / (1.0 + value / 100.0)
    except (OverflowError, ZeroDivisionError):
        return None
    return round(then) if 0.5 < then < 2.0**62 else None


MOST: Final = 2.0**996  # what is larger could be rounded to no number


def _to_digits(value: float, n: int, least: int, signed: bool) -> Value:
    """A power of two e and `n` digits m behind the first one, in one number that grows without a jump."""
    size = abs(value)
    if size > MOST or (size != value and not signed):
        return None
    f, e = frexp(size)
    code = max((e - least << n) + round(ldexp(f, n + 1)) - (1 << n) + 1, 0) if size else 0
    return 2 * code + (value < 0) if signed else code


def _unknown(told: dict[str, Any]) -> int:
    if told[PATTERNS] is None:
        bits = NO_METRICS
    else:
        bits = sum(1 << bit for bit, name in enumerate(FOLLOWING) if told[name] is None and name in OF_METRICS)
        if told["log_return"] is None:
            bits &= ~bit_of("true_range")
        if told["sma_20"] is None or told["bb_bandwidth"] is None:
            bits &= ~bit_of("bb_percent_b")
    if told["vwap"] is None and told["volume"]:
        bits |= bit_of("vwap")
    if told["delta_ratio"] is None and told["delta"] is not None:
        bits |= bit_of("delta_ratio")
    return bits | (bit_of("avg_trade_size") if told["avg_trade_size"] is None else 0)


OF_METRICS: Final = frozenset(METRIC_FIELDS)


def bit_of(name: str) -> int:
    return 1 << FOLLOWING.index(name)


# A byte a pattern that fires: 4 * number + 2 where its value is not the usual 5 + 1 where it is below 0.
_USUAL: Final = 5
OTHER: Final = [10 if "HIKKAKE" in name else 4 for name in pattern_table.NAMES]
_ODD: Final = 0xFF  # then all signed bytes follow as they are


def fired(found: bytes) -> bytes:
    """A row's patterns as a store keeps them: most candles have two or three of 61."""
    if found.count(0) == len(found):
        return b""
    made = bytearray()
    for number, value in enumerate(memoryview(found).cast("b")):
        if value:
            size = abs(value)
            if size not in (_USUAL, OTHER[number]):
                return bytes([_ODD]) + found
            made.append(4 * number + 2 * (size != _USUAL) + (value < 0))
    return bytes(made)


@lru_cache(maxsize=4096)  # most are one of a few hundred
def found(kept: bytes) -> tuple[bytes, int, int]:
    """The other way, and the masks of the bullish and the bearish ones."""
    if kept[:1] == bytes([_ODD]):
        made = bytearray(kept[1:])
    else:
        made = bytearray(len(pattern_table.NAMES))
        for code in kept:
            number, other = code >> 2, code & 2
            size = OTHER[number] if other else _USUAL
            made[number] = 256 - size if code & 1 else size
    return bytes(made), *pattern_table.masks(bytes(made))


# ---------------------------------------------------------------------- out

OPEN, WIDE = "open_time_ms", "wide"
_DERIVED: Final[dict[str, tuple[str, ...]]] = {
    "vwap": ("quote_volume", "volume", "price_decimals"),
    "delta_ratio": ("delta", "volume"),
    "avg_trade_size": ("volume", "trade_count", "quantity_decimals"),
    "true_range": ("log_return", "open", "high", "low", "price_decimals"),
    "body_ratio": ("open", "high", "low", "close"),
    "upper_wick_ratio": ("open", "high", "low", "close"),
    "lower_wick_ratio": ("open", "high", "low", "close"),
    "close_location": ("open", "high", "low", "close"),
    "bb_percent_b": ("close", "sma_20", "bb_bandwidth"),
    "bull": (PATTERNS,),
    "bear": (PATTERNS,),
}


@lru_cache(maxsize=64)
def _needs(names: tuple[str, ...]) -> tuple[str, ...]:
    asked: dict[str, None] = {OPEN: None}
    stack = [*names]
    while stack:
        name = stack.pop()
        if name in asked:
            continue
        if name in _DERIVED:
            stack += [*_DERIVED[name], "unknown"]
            if name not in _KIND:
                continue
        asked[name] = None
        if name in EXPECTED:
            stack += EXPECTED[name][1]
        elif name in _KIND:
            stack += {TICK: ("open", "close"), PRICE: ("price_decimals",), SIZE: ("quantity_decimals",)}.get(
                _KIND[name].kind, ()
            )
    order = (OPEN, *STORED, PATTERNS)
    return (*(name for name in order if name in asked), WIDE)


def needs(names: Iterable[str]) -> tuple[str, ...]:
    """What a store has to be asked for, to tell these fields: names of COLUMNS, the time, patterns, and `wide`."""
    return _needs(tuple(names))


class Reader:
    """Fields of candles of one interval, from what `needs` names, a sequence each (`wide`: None or a dict, seldom).
    `made`: fields that a store has ready; `closes`, where it keeps what is of kind `price` less the close."""

    def __init__(
        self, interval: int, told: dict[str, Values], made: dict[str, Values] | None = None,
        closes: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self._length = LENGTH_MS[interval]
        self._told = told
        self._bases: dict[int, list[int]] | None = None if closes is None else {0: [*closes]}
        self._thens: dict[str, Values] = {}
        self._made: dict[str, Values] = made or {}
        if any(told[WIDE]):
            for name in told:
                if name not in (OPEN, WIDE, PATTERNS):
                    own = zip(told[name], told[WIDE], strict=True)
                    told[name] = [int(wide[name]) if wide and name in wide else value for value, wide in own]
        self._price = self._one("price_decimals")
        self._size = self._one("quantity_decimals")
        unknown = self._told.get("unknown", ())
        self._unknown = unknown if any(unknown) else None

    def _one(self, name: str) -> int | None:
        """The decimals that all the candles have, if they do."""
        values = {*self._told.get(name, ())}
        return next(iter(values)) if len(values) == 1 else None

    def rows(self, names: Sequence[str] = CANDLE_FIELDS) -> list[Row]:
        if not self._told[OPEN]:
            return []
        return list(map(list, zip(*[self.field(name) for name in names], strict=True)))

    def field(self, name: str) -> Values:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._field(name)
        return made

    def _field(self, name: str) -> Values:
        if name in (PATTERNS, "bull", "bear"):
            kept = self._told[PATTERNS]
            none = None, None, None
            told = [none if one is None else found(one) for one in kept] if None in kept else map(found, kept)
            parts = zip(*told, strict=True) if kept else ((), (), ())
            self._made |= zip((PATTERNS, "bull", "bear"), parts, strict=True)
            return self._made[name]
        if name == OPEN:
            return self._told[OPEN]
        column = _KIND.get(name)
        if column is None:
            return self._following(name)
        kept, kind = self._told[name], column.kind
        if kind == WHOLE:
            return kept
        if kind == LESS:
            return self._more(name, kept)
        if kind == TICK:
            return self._returns(name)
        if kind in (DIGITS, SIGNED):
            return of_digits(kept, column.n, column.least, kind == SIGNED)
        return self._scaled(kept, kind, column.n)

    def _more(self, name: str, kept: Values) -> Values:
        if name == "close_time_ms":
            length = self._length
            return [open_ms + length + more for open_ms, more in zip(self._told[OPEN], kept, strict=True)]
        expected, of = EXPECTED[name]
        told = [self.field(other) for other in of]
        try:  # nearly always all is known
            return _EXPECTED[name](kept, *told)
        except TypeError:
            pairs = zip(kept, *told, strict=True)
            return [None if more is None else more + expected(*own) for more, *own in pairs]

    def _scaled(self, kept: Values, kind: str, n: int) -> Values:
        """Divided, so that it is the number nearest to those decimals."""
        if kind == RATIO:
            own: int | None = 0
        else:
            own = self._price if kind == PRICE else self._size
        if own is not None:
            ten = TENS[n + own]
            try:  # nearly always all is known
                if kind == PRICE and self._bases is not None:
                    return [(value + more) / ten for value, more in zip(kept, self._base(n), strict=True)]
                return [value / ten for value in kept]
            except TypeError:
                pass
        if kind == PRICE:
            kept = self._whole(kept, n)
        if own is not None:
            return [None if value is None else value / ten for value in kept]
        decimals = self._told["price_decimals" if kind == PRICE else "quantity_decimals"]
        return [None if value is None else value / TENS[n + more] for value, more in zip(kept, decimals, strict=True)]

    def _base(self, n: int) -> list[int]:
        """The closes, to `n` decimals more."""
        assert self._bases is not None
        made = self._bases.get(n)
        if made is None:
            ten = 10**n
            made = self._bases[n] = [close * ten for close in self._bases[0]]
        return made

    def _whole(self, kept: Values, n: int) -> Values:
        if self._bases is None:
            return kept
        return [None if value is None else value + more for value, more in zip(kept, self._base(n), strict=True)]

    def _then(self, name: str) -> Values:
        """The earlier close."""
        then = self._thens.get(name)
        if then is None:
            gaps, opens = self._told[name], self.field("open")
            try:
                then = list(map(sub, opens, gaps))
            except TypeError:
                then = [None if gap is None else open_ - gap for open_, gap in zip(opens, gaps, strict=True)]
            self._thens[name] = then
        return then

    def _returns(self, name: str) -> Values:
        close, then = self.field("close"), self._then(name)
        try:
            pairs = zip(close, then, strict=True)
            if name == "log_return":
                return [log1p((now - before) / before) for now, before in pairs]
            return [100.0 * (now - before) / before for now, before in pairs]
        except TypeError:
            pairs = zip(close, then, strict=True)
            if name == "log_return":
                return [None if before is None else log1p((now - before) / before) for now, before in pairs]
            return [None if before is None else 100.0 * (now - before) / before for now, before in pairs]

    def _following(self, name: str) -> Values:
        """A field that is not kept."""
        made = self._formula(name)
        if self._unknown is None:
            return made
        bit = bit_of(name) | (NO_METRICS if name in OF_METRICS else 0)
        return [None if bits & bit else value for value, bits in zip(made, self._unknown, strict=True)]

    def _formula(self, name: str) -> Values:
        if name == "vwap":
            turnover, volume = self.field("quote_volume"), self.field("volume")
            return self._shown(_quotients(turnover, volume, None), "price_decimals", self._price)
        if name == "delta_ratio":
            return _quotients(self.field("delta"), self.field("volume"), 0.0)
        if name == "avg_trade_size":
            sizes = _quotients(self.field("volume"), self.field("trade_count"), 0.0)
            return self._shown(sizes, "quantity_decimals", self._size)
        if name == "true_range":
            ranges = zip(self.field("high"), self.field("low"), self._then("log_return"), strict=True)
            told = [
                None if then is None else (high if high > then else then) - (low if low < then else then)
                for high, low, then in ranges
            ]
            return self._shown(told, "price_decimals", self._price)
        if name == "bb_percent_b":
            means = self._whole(self._told["sma_20"], _KIND["sma_20"].n)
            return _percents(self.field("close"), means, self.field("bb_bandwidth"))
        height = self._made.get("height")
        if height is None:
            height = self._made["height"] = list(map(sub, self.field("high"), self.field("low")))
        part, flat = _SHAPES[name]
        parts = part(*[self.field(price) for price in ("open", "high", "low", "close")])
        return _quotients(list(parts), height, flat)

    def _shown(self, values: Values, decimals: str, own: int | None) -> Values:
        """In whole units."""
        if own is not None:
            ten = TENS[own]
            try:
                return [value / ten for value in values]
            except TypeError:
                pass
        told = zip(values, self._told[decimals], strict=True)
        return [None if value is None else value / TENS[more] for value, more in told]


def _quotients(above: Values, below: Values, none: float | None) -> Values:
    """`none` where it is 0 that is divided by."""
    try:
        return list(map(truediv, above, below))
    except (TypeError, ZeroDivisionError):
        told = zip(above, below, strict=True)
        return [None if one is None else one / other if other else none for one, other in told]


# `EXPECTED` of many at once, with what is kept, where all is known.
_EXPECTED: Final[dict[str, Callable[..., list[int]]]] = {
    "quote_volume": lambda kept, volume, high, low: [
        size * ((top + bottom) // 2) + more for more, size, top, bottom in zip(kept, volume, high, low, strict=True)],
    "taker_buy_volume": lambda kept, volume: [size // 2 + more for more, size in zip(kept, volume, strict=True)],
    "taker_buy_quote_volume": lambda kept, bought, turnover, volume: [
        own * (money // size) + more if size else more
        for more, own, money, size in zip(kept, bought, turnover, volume, strict=True)],
    "first_trade_id": lambda kept, last, count: [
        own - trades + 1 + more if trades else own + more for more, own, trades in zip(kept, last, count, strict=True)],
    "delta": lambda kept, bought, volume: [
        2 * own - size + more for more, own, size in zip(kept, bought, volume, strict=True)],
    "delta_max": lambda kept, delta: [(own if own > 0 else 0) + more for more, own in zip(kept, delta, strict=True)],
    "delta_min": lambda kept, delta: [(own if own < 0 else 0) + more for more, own in zip(kept, delta, strict=True)],
}  # fmt: skip


# Of open, high, low, close: parts of the candles' heights, and what is said of a candle without any.
_SHAPES: Final[dict[str, tuple[Callable[[Values, Values, Values, Values], Iterable[int]], float]]] = {
    "body_ratio": (lambda o, high, low, c: map(sub, c, o), 0.0),
    "upper_wick_ratio": (lambda o, high, low, c: [
        h - (one if one > other else other) for h, one, other in zip(high, o, c, strict=True)], 0.0),
    "lower_wick_ratio": (lambda o, high, low, c: [
        (one if one < other else other) - below for below, one, other in zip(low, o, c, strict=True)], 0.0),
    "close_location": (lambda o, high, low, c: map(sub, c, low), 0.5),
}  # fmt: skip


def _percents(close: Values, means: Values, widths: Values) -> Values:
    """%b; means are in hundredths of a tick."""
    told = zip(close, means, widths, strict=True)
    try:
        made = [(now - (mean := hundredths / 100.0)) / (width * mean) + 0.5 for now, hundredths, width in told]
        if isfinite(sum(made)):
            return made
    except (TypeError, ZeroDivisionError):
        pass
    return [
        None if hundredths is None or width is None else _percent_b(now, hundredths / 100.0, width)
        for now, hundredths, width in zip(close, means, widths, strict=True)
    ]


def _percent_b(close: int, mean: float, bandwidth: float) -> float | None:
    band = bandwidth * mean
    if not band:
        return 0.0
    share = (close - mean) / band + 0.5 if isfinite(band) else inf
    return share if isfinite(share) else None


def of_digits(codes: Values, n: int, least: int, signed: bool) -> Values:
    """What comes out is put together from its bits, as float64 has them. All at once, in one integer with 64 bits for
    each value: none reaches into the next."""
    try:
        data = array("Q", codes).tobytes()
    except TypeError:
        told = iter(of_digits([code for code in codes if code is not None], n, least, signed))
        return [None if code is None else next(told) for code in codes]
    bits, shift, first = int.from_bytes(data, byteorder), 52 - n, (least + 1022 << n) - 1
    if signed:
        signs = bits & _each(len(codes), 1)
        bits = ((bits ^ signs) + _each(len(codes), 2 * first) << shift - 1) | signs << 63
    else:
        bits = bits + _each(len(codes), first) << shift
    values: Values = array("d", bits.to_bytes(len(data), byteorder)).tolist()
    if 0 in codes or (signed and 1 in codes):
        values = [value if code > signed else 0.0 for value, code in zip(values, codes, strict=True)]
    return values


@lru_cache(maxsize=64)
def _each(count: int, value: int) -> int:
    """The value in each of so many times 64 bits."""
    return int.from_bytes(array("Q", [value] * count).tobytes(), byteorder)


def rounded(interval: int, row: Row) -> Row:
    """What a store gives back for this row (CANDLE_FIELDS)."""
    told: dict[str, Values] = {name: (value,) for name, value in zip(STORED, put(interval, row), strict=True)}
    patterns = row[_AT[PATTERNS]]
    told |= {OPEN: (row[0],), WIDE: (None,), PATTERNS: (None if patterns is None else fired(patterns),)}
    return Reader(interval, told).rows()[0]
