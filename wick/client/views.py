"""What a client's events carry, readable by name: tickers, candles, trades, levels of a book. Pure.

The fields and their kinds are those of `wick.market.schema` (docs/units.md). Prices, volumes and turnovers are exact
Decimals; ratios and metrics are floats; ids, counts, times (ms since the epoch, UTC) and flags are integers.
None: not known, not defined yet, or there is none.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any, ClassVar, NamedTuple, Self

from wick.market.intervals import INTERVALS
from wick.market.numbers import format_decimal
from wick.market.rows import Readable, decimals_of, fired, flag_names, readable_value
from wick.market.schema import (
    CANDLE,
    CLOSED,
    FORMED,
    HEAD,
    LIVE,
    PATTERNS,
    PLAIN,
    PRICE,
    REAL,
    REVISED,
    TURNOVER,
    VOLUME,
)
from wick.metrics import pattern_table

_AFTER_VOLUMES = [name for name, _ in CANDLE].index("first_trade_id")
_UNKNOWN = (None,) * (len(CANDLE) - _AFTER_VOLUMES)
_H = {name: at for at, (name, _) in enumerate(HEAD)}
_L = {name: at for at, (name, _) in enumerate(LIVE)}
_SUMS = [(_H[name.removesuffix("0")], _L[name]) for name in _L if name.endswith("0")]  # as they stand in CANDLE
assert [HEAD[at][0] for at, _ in _SUMS] == [name for name, _ in FORMED[10:_AFTER_VOLUMES]]


def _places(fields: tuple[tuple[str, str], ...]) -> dict[str, tuple[int, str]]:
    return {name: (at, kind) for at, (name, kind) in enumerate(fields)}


class Record:
    """Values with named fields: `record.last_price`, `record["last_price"]`, `record.text()`. It never changes."""

    __slots__ = ("values",)
    _AT: ClassVar[dict[str, tuple[int, str]]] = {}
    values: tuple[Any, ...]  # as they came: see the table of the kind's fields in docs/units.md

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = tuple(values)

    @property
    def _decimals(self) -> dict[str, int]:
        return decimals_of(self.values[self._AT["price_decimals"][0]], self.values[self._AT["quantity_decimals"][0]])

    def __getitem__(self, name: str) -> Any:
        at, kind = self._AT[name]
        value = self.values[at]
        if value is None or kind == PLAIN:
            return value
        if kind == REAL:
            return value if isfinite(value) else None
        return fired(value) if kind == PATTERNS else Decimal(format_decimal(value, self._decimals[kind]))

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"a {type(self).__name__} has no field {name!r}; docs/units.md lists them") from None

    def text(self, *names: str) -> dict[str, Readable]:
        """These fields (without names: all) as the HTTP API writes them: decimals as plain texts, for JSON."""
        decimals = self._decimals
        places = [(name, *self._AT[name]) for name in names or self._AT]
        return {name: readable_value(self.values[at], kind, decimals) for name, at, kind in places}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.values == self.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._AT]

    def __repr__(self) -> str:
        known = {name: value for name, value in self.text().items() if value is not None}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in known.items())})"


class Ticker(Record):
    """A pair's head: last price, running totals of the stream's epoch, best quotes. Fields: HEAD in docs/units.md."""

    __slots__ = ()
    _AT = _places(HEAD)


class Candle(Record):
    """A candle, live or closed. Fields: CANDLE in docs/units.md.

    A live one, which the client makes of the state, has None in order flow, metrics and patterns: they come with the
    close, or with a `metrics:` topic.
    """

    __slots__ = ()
    _AT = _places(CANDLE)

    @classmethod
    def live(cls, head: Sequence[int], live: Sequence[int], interval: int) -> Self | None:
        """The live candle of a state; None before the first trade."""
        if not live[_L["open_time_ms"]]:
            return None
        return cls((
            live[_L["open_time_ms"]], INTERVALS[interval].close_ms(live[_L["open_time_ms"]]), 0, live[_L["flags"]],
            head[_H["price_decimals"]], head[_H["quantity_decimals"]],
            live[_L["open"]], live[_L["high"]], live[_L["low"]], head[_H["last_price"]],
            *[head[total] - live[opening] for total, opening in _SUMS], *_UNKNOWN,
        ))  # fmt: skip

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Self:
        """From fields by name as `text` gives them and the HTTP API writes them; what is not among them is not known.

        Their decimals are as many as the texts need, which may be fewer than the pair has: compare fields, not values.
        """
        longest = dict.fromkeys((PRICE, VOLUME, TURNOVER), 0)
        for name, kind in CANDLE:
            if kind in longest:
                longest[kind] = max(longest[kind], len((fields.get(name) or "").partition(".")[2]))
        prices = longest[PRICE]
        decimals = decimals_of(prices, max(longest[VOLUME], longest[TURNOVER] - prices))
        known = {**fields, "price_decimals": prices, "quantity_decimals": decimals[VOLUME]}
        return cls([_value(known.get(name), kind, decimals) for name, kind in CANDLE])

    @property
    def closed(self) -> bool:
        """Final, until a late trade revises it."""
        return bool(self.values[3] & CLOSED)

    @property
    def revised(self) -> bool:
        """Corrected after it had closed."""
        return bool(self.values[3] & REVISED)

    @property
    def flag_names(self) -> list[str]:
        """Of `closed`, `empty`, `partial`, `suspect`, `revised` those that hold."""
        return flag_names(self.values[3])


def _value(read: Any, kind: str, decimals: dict[str, int]) -> Any:
    """A field as on the wire, from what a reader of the HTTP API sees."""
    if read is None:
        return None
    if kind == PATTERNS:
        return bytes([read.get(name, 0) // 20 & 255 for name in pattern_table.NAMES])
    if kind == REAL:
        return float(read)
    if kind == PLAIN:
        return int(read)  # a text where JSON cannot hold it
    whole, _, fraction = read.partition(".")
    return int(whole + fraction.ljust(decimals[kind], "0"))


class Trade(NamedTuple):
    """A trade as the feed received it; `fills`: how many the venue put together in it."""

    id: int
    time_us: int
    price: Decimal
    quantity: Decimal
    taker_is_buyer: bool
    fills: int

    @classmethod
    def of(cls, values: Sequence[Any], price_decimals: int, quantity_decimals: int) -> Self:
        number, time_us, price, quantity, taker_is_buyer, fills = values
        return cls(
            number, time_us, Decimal(format_decimal(price, price_decimals)),
            Decimal(format_decimal(quantity, quantity_decimals)), bool(taker_is_buyer), fills,
        )  # fmt: skip


class Level(NamedTuple):
    """One price of a book, and what stands there."""

    price: Decimal
    quantity: Decimal

    @classmethod
    def of(cls, price: str, quantity: str) -> Self:
        return cls(Decimal(price), Decimal(quantity))
