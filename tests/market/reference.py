"""Candles worked out slowly and obviously, from the definitions alone: nothing of the engine is used here.

All trades of a pair in a list, each id once, in the order of ids; the trades of an interval are those with an opening
in common. Integers are Python's, so exact; the few real numbers are fractions up to one last division or logarithm.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

MS = 1_000_000
Trade = tuple[int, int, int, int, int, int, bool, int]


class Quote(NamedTuple):
    """Best bid and ask, at a time of their own."""

    at_ns: int
    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int
    price_decimals: int
    quantity_decimals: int


class Depth(NamedTuple):
    """What a book holds of bids and asks, in its best levels and near the mid, at a time; -1 is not known."""

    at_ns: int
    bid_top: int
    ask_top: int
    bid_near: int
    ask_near: int
    quantity_decimals: int = 0


SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
LENGTHS = {
    "15s": 15 * SECOND, "30s": 30 * SECOND, "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE,
    "30m": 30 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY,
}  # fmt: skip
CALENDAR = (*LENGTHS, "1w", "1M")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLOSED, EMPTY, PARTIAL, SUSPECT, REVISED = 1, 2, 4, 8, 16
RV_BITS = 104  # a squared return is cut to a multiple of 2^-RV_BITS: part of its definition (wick/market/flow.py)

PRICES = ("open", "high", "low", "close")
VOLUMES = (
    "volume", "taker_buy_volume", "delta", "delta_max", "delta_min", "cvd", "max_trade_size",
    "large_trade_volume", "large_trade_delta",
)  # fmt: skip
TURNOVERS = ("quote_volume", "taker_buy_quote_volume")
PLAIN = ("open_time_ms", "close_time_ms", "trade_count", "first_trade_id", "last_trade_id", "cvd_anchor_ms")
REALS = ("vwap", "delta_ratio", "avg_trade_size", "tick_rv", "kyle_lambda")
OF_QUOTES = ("ofi", "quoted_spread_bps", "effective_spread_bps", "microprice_dev_bps")
OF_LEVELS = ("book_imbalance", "depth_imbalance_10bps")
BOOK = (*OF_QUOTES, *OF_LEVELS)
EXACT = (*PLAIN, *PRICES, *VOLUMES, *TURNOVERS)


def bounds(name: str, t_ms: int) -> tuple[int, int]:
    """Opening and close of the candle that holds an instant, by the calendar of the standard library."""
    if name in LENGTHS:
        open_ms = t_ms // LENGTHS[name] * LENGTHS[name]
        return open_ms, open_ms + LENGTHS[name]
    day = (EPOCH + timedelta(milliseconds=t_ms)).replace(hour=0, minute=0, second=0, microsecond=0)
    if name == "1w":
        monday = day - timedelta(days=day.weekday())
        return _ms(monday), _ms(monday + timedelta(days=7))
    first = day.replace(day=1)
    after = first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)
    return _ms(first), _ms(after)


def _ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def in_order(trades: Iterable[Trade]) -> list[Trade]:
    """Each id once (as it came first), in the venue's own order."""
    first: dict[int, Trade] = {}
    for trade in trades:
        first.setdefault(trade[1], trade)
    return sorted(first.values(), key=lambda trade: trade[1])


class Reference:
    """The truth about a pair's trades, in `price_decimals` and `quantity_decimals`: the most that there are."""

    def __init__(
        self,
        trades: Iterable[Trade],
        *,
        large_notional: tuple[int, int] = (100_000, 0),
        since_ms: int = 0,
        empty: str = "flat",
        decimals: tuple[int, int] = (0, 0),
    ) -> None:
        kept = in_order(trades)
        self.trades = kept
        self.price_decimals = p = max([decimals[0], *[t[3] for t in kept]])
        self.quantity_decimals = q = max([decimals[1], *[t[5] for t in kept]])
        self.large_notional, self.since_ms, self.empty = large_notional, since_ms, empty
        # (ms, id, price, quantity, buy, count) in common units
        self.scaled = [(t[0] // MS, t[1], t[2] * 10 ** (p - t[3]), t[4] * 10 ** (q - t[5]), t[6], t[7]) for t in kept]
        self.last_ms = max((t[0] for t in self.scaled), default=0)

    def candles(self, name: str, until_ms: int) -> dict[int, dict[str, Any]]:
        """All candles by opening, from the first trade's to the one that holds `until_ms` (or the last trade)."""
        groups: dict[int, list[Any]] = {}
        # By pieces of 15 s, then by ids: the same as by ids alone where a venue's times never fall as its ids grow.
        for trade in sorted(self.scaled, key=lambda trade: bounds("15s", trade[0])):
            groups.setdefault(bounds(name, trade[0])[0], []).append(trade)
        if not groups:
            return {}
        found = {}
        open_ms, close_ms = bounds(name, min(groups) if groups else until_ms)
        price = 0
        while open_ms <= max(until_ms, self.last_ms):
            group = groups.get(open_ms, [])
            if group or self.empty == "flat":
                found[open_ms] = self._candle(name, open_ms, close_ms, group, price)
                price = found[open_ms]["close"]
            open_ms, close_ms = bounds(name, close_ms)
        self._add_cvd(name, found)
        return found

    def _candle(self, name: str, open_ms: int, close_ms: int, group: list[Any], price_before: int) -> dict[str, Any]:
        prices = [t[2] for t in group]
        sizes = [t[3] for t in group]
        signed = [t[3] if t[4] else -t[3] for t in group]
        running = [sum(signed[: n + 1]) for n in range(len(group))] if len(group) < 200 else _running(signed)
        turnovers = [t[2] * t[3] for t in group]
        theta, theta_decimals = self.large_notional
        decimals = self.price_decimals + self.quantity_decimals
        large = [turnover * 10**theta_decimals >= theta * 10**decimals for turnover in turnovers]
        volume, quote_volume, count = sum(sizes), sum(turnovers), sum(t[5] for t in group)
        price_unit, size_unit = 10**self.price_decimals, 10**self.quantity_decimals
        steps = list(zip(prices, prices[1:], signed[1:], strict=False))
        moved = sum((after - before) * size for before, after, size in steps)
        squares = sum(size * size for size in sizes)
        return {
            "open_time_ms": open_ms,
            "close_time_ms": close_ms,
            "open": prices[0] if group else price_before,
            "high": max(prices, default=price_before),
            "low": min(prices, default=price_before),
            "close": prices[-1] if group else price_before,
            "volume": volume,
            "quote_volume": quote_volume,
            "trade_count": count,
            "taker_buy_volume": sum(t[3] for t in group if t[4]),
            "taker_buy_quote_volume": sum(t[2] * t[3] for t in group if t[4]),
            "first_trade_id": group[0][1] if group else 0,
            "last_trade_id": group[-1][1] if group else 0,
            "delta": sum(signed),
            "delta_max": max([0, *running]),
            "delta_min": min([0, *running]),
            "max_trade_size": max(sizes, default=0),
            "large_trade_volume": sum(size for size, is_large in zip(sizes, large, strict=True) if is_large),
            "large_trade_delta": sum(size for size, is_large in zip(signed, large, strict=True) if is_large),
            "vwap": float(Fraction(quote_volume, volume) / price_unit) if volume else None,
            "delta_ratio": float(Fraction(sum(signed), volume)) if volume else 0.0,
            "avg_trade_size": float(Fraction(volume, count * size_unit)) if count else 0.0,
            "tick_rv": math.sqrt(math.fsum(_log(before, after) ** 2 for before, after, _ in steps)),
            "kyle_lambda": float(Fraction(moved * size_unit, squares * price_unit)) if squares else 0.0,
            # What a real number may be off beside its last digits: where the terms of kyle_lambda nearly cancel, and by
            # steps of price so small that their squares are not much above 2^-RV_BITS, to which each is cut.
            "slack": {
                "kyle_lambda": 1e-15 * float(Fraction(sum(abs((b - a) * s) for a, b, s in steps), squares or 1))
                * size_unit / price_unit,
                "tick_rv": math.sqrt(len(steps)) * 2.0 ** -(RV_BITS / 2),
            },
            "flags": (0 if group else EMPTY) | (PARTIAL if open_ms < self.since_ms else 0),
        }  # fmt: skip

    def _add_cvd(self, name: str, candles: dict[int, dict[str, Any]]) -> None:
        of_day: dict[int, list[Any]] = {}
        for trade in self.scaled:
            of_day.setdefault(trade[0] // DAY, []).append(trade)
        for open_ms, candle in candles.items():
            if name in ("1d", "1w", "1M"):
                candle["cvd"], candle["cvd_anchor_ms"] = candle["delta"], max(open_ms, self.since_ms)
                continue
            before_close = [t for t in of_day.get(open_ms // DAY, []) if t[0] < candle["close_time_ms"]]
            candle["cvd"] = sum(t[3] if t[4] else -t[3] for t in before_close)
            candle["cvd_anchor_ms"] = max(open_ms // DAY * DAY, self.since_ms)

    # ------------------------------------------------------------------ what is missing

    @property
    def missing(self) -> int:
        ids = [t[1] for t in self.scaled]
        return ids[-1] - ids[0] + 1 - len(ids) if ids else 0

    def must_be_suspect(self, open_ms: int, close_ms: int) -> bool:
        """Whether ids are missing whose neighbours leave no doubt that they may have been traded in this candle."""
        for before, after in zip(self.scaled, self.scaled[1:], strict=False):
            if after[1] - before[1] > 1 and after[0] >= open_ms and before[0] < close_ms:
                return True
        return False


def _running(values: list[int]) -> list[int]:
    total, found = 0, []
    for value in values:
        total += value
        found.append(total)
    return found


def _log(before: int, after: int) -> float:
    """ln(after/before) to the last bits, for neighbours too: log1p of an exact ratio. A price of 0 has none: 0."""
    if not before or not after:
        return 0.0
    ratio = Fraction(after - before, before)
    return math.log1p(float(ratio)) if abs(ratio) < Fraction(1, 2) else math.log(after) - math.log(before)


def difference(row: dict[str, Any], candle: dict[str, Any], price_decimals: int, quantity_decimals: int) -> list[str]:
    """Where a row as published differs from the reference's candle, which is in these decimals; flags aside."""
    p, q = 10 ** (price_decimals - row["price_decimals"]), 10 ** (quantity_decimals - row["quantity_decimals"])
    scale = dict.fromkeys(PRICES, p) | dict.fromkeys(VOLUMES, q) | dict.fromkeys(TURNOVERS, p * q)
    wrong = []
    for field in EXACT:
        got = row[field]
        if type(got) is not int or got * scale.get(field, 1) != candle[field]:
            wrong.append(f"{field}: {got!r}, not {Fraction(candle[field], 1) / scale.get(field, 1)}")
    for field in REALS:
        got, true = row[field], candle[field]
        slack = candle["slack"].get(field, 0.0)
        if true is None:
            same = got is None
        else:
            same = isinstance(got, float) and abs(got - true) <= 1e-9 * abs(true) + slack
        if not same:
            wrong.append(f"{field}: {got!r}, not {true!r}")
    return wrong


# ---------------------------------------------------------------------- the book


class _Best(NamedTuple):
    """A quote that counts, in whole units."""

    bid: Fraction
    bid_quantity: Fraction
    ask: Fraction
    ask_quantity: Fraction

    @property
    def mid(self) -> Fraction:
        return (self.bid + self.ask) / 2

    @property
    def weighted_mid(self) -> Fraction:
        return (self.bid * self.ask_quantity + self.ask * self.bid_quantity) / (self.bid_quantity + self.ask_quantity)


def _imbalance(bid: int, ask: int) -> Fraction:
    return Fraction(bid - ask, bid + ask) if bid + ask else Fraction(0)


_NO_DEPTH = Depth(0, -1, -1, -1, -1)


class BookReference:
    """What quotes and levels say of candles: by the definitions, from all that came, in the order in which it came.

    Noted is what stood from when to when, and each imbalance and each trade with the opening of the 15 s candle that
    was live when it came; a candle's numbers are then those of what lies in it.
    """

    def __init__(self, events: Iterable[tuple[str, Any]], *, flat: bool = True) -> None:
        self.spans: list[tuple[int, int, Fraction]] = []  # ns, ns, quoted spread
        self.imbalances: list[tuple[int, Fraction]] = []
        self.paid: list[tuple[int, Fraction, Fraction]] = []  # opening, effective spread, size
        self.left: list[tuple[int, _Best | None]] = []  # what stood from then on
        self.held: list[tuple[int, int | None, Depth]] = [(0, None, _NO_DEPTH)]  # from when (ns), until when, what
        self.near: list[tuple[int, Depth]] = []  # opening, and what was near the mid from then on
        self.traded: set[int] = set()  # the 15 s candles of trades that were not late
        self.all_quiet_is_held = flat
        self.begun_ms = 0
        self._open_ms: int | None = None
        self._stands: _Best | None = None
        self._since_ns = self._last_ns = 0
        self._newest_id = -1
        self._ids: set[int] = set()
        for kind, value in events:
            if kind == "clock":
                self._reach(value)
            elif kind == "outage":
                self.all_quiet_is_held = False
                self._end(max(self._since_ns, self._last_ns))
                self._leave(None)
                self._depth(_NO_DEPTH._replace(at_ns=self._last_ns))
            else:
                for one in value:
                    if isinstance(one, Quote):
                        self._quote(one)
                    elif isinstance(one, Depth):
                        self._reach(one.at_ns // MS)
                        self._depth(one)
                    elif one[1] not in self._ids:
                        self._trade(one)
        self._end(2**63)

    def _reach(self, at_ms: int) -> None:
        if self._open_ms is not None and at_ms >= bounds("15s", self._open_ms)[1]:
            self._open_ms = bounds("15s", at_ms)[0]

    def _trade(self, trade: Trade) -> None:
        at_ns, number, price, price_decimals, quantity, quantity_decimals, buy, _ = trade
        if self._open_ms is None:
            self._open_ms = self.begun_ms = bounds("15s", at_ns // MS)[0]
            self._since_ns = at_ns // MS * MS
            self.spans, self.imbalances = [], []
            self.held = [(self._since_ns, None, self.held[-1][2])]
        self._reach(at_ns // MS)
        if number > self._newest_id:
            self._newest_id, self._last_ns = number, at_ns
        self._ids.add(number)
        if at_ns // MS < self._open_ms:
            return
        self.traded.add(self._open_ms)
        if self._stands:
            mid, side = self._stands.mid, 1 if buy else -1
            spread = 2 * side * (Fraction(price, 10**price_decimals) - mid) / mid * 10_000
            self.paid.append((self._open_ms, spread, Fraction(quantity, 10**quantity_decimals)))

    def _quote(self, quote: Quote) -> None:
        self._reach(quote.at_ns // MS)
        p, q = 10**quote.price_decimals, 10**quote.quantity_decimals
        best, was = None, self._stands
        if min(quote[1:5]) > 0 and quote.bid <= quote.ask:
            best = _Best(
                Fraction(quote.bid, p), Fraction(quote.bid_quantity, q),
                Fraction(quote.ask, p), Fraction(quote.ask_quantity, q),
            )  # fmt: skip
        if was and best:
            e = (best.bid >= was.bid) * best.bid_quantity - (best.bid <= was.bid) * was.bid_quantity
            e -= (best.ask <= was.ask) * best.ask_quantity - (best.ask >= was.ask) * was.ask_quantity
            self.imbalances.append((self._open_ms or 0, e))
        if (was and (was.bid, was.ask)) != (best and (best.bid, best.ask)):
            self._end(quote.at_ns)
        self._leave(best)

    def _depth(self, depth: Depth) -> None:
        from_ns, _, before = self.held.pop()
        at_ns = max(depth.at_ns, from_ns, (self._open_ms or 0) * MS)
        self.held += [(from_ns, at_ns, before), (at_ns, None, depth)]
        self.near.append((self._open_ms or 0, depth))

    def _end(self, at_ns: int) -> None:
        """What stands stands until then, or what comes stands from then on; but never from before what was before."""
        at_ns = max(at_ns, self._since_ns, (self._open_ms or 0) * MS)
        if self._stands:
            spread = (self._stands.ask - self._stands.bid) / self._stands.mid * 10_000
            self.spans.append((self._since_ns, at_ns, spread))
        self._since_ns = at_ns

    def _leave(self, best: _Best | None) -> None:
        self._stands = best
        self.left.append((self._open_ms or 0, best))

    def candle(self, open_ms: int, close_ms: int) -> dict[str, float | None]:
        """The numbers of the candle `[open_ms, close_ms)` when it has ended."""
        times = [
            (max(0, min(to_ns, close_ms * MS) - max(from_ns, open_ms * MS)), spread)
            for from_ns, to_ns, spread in self.spans
        ]
        time = sum(stood for stood, _ in times)
        paid = [(spread, size) for at_ms, spread, size in self.paid if open_ms <= at_ms < close_ms]
        volume = sum(size for _, size in paid)
        imbalance = sum(e for at_ms, e in self.imbalances if open_ms <= at_ms < close_ms)
        last = [best for at_ms, best in self.left if at_ms < close_ms][-1:]
        best = last[0] if last else None
        tops = [
            (max(0, min(to_ns or 2**63, close_ms * MS) - max(from_ns, open_ms * MS)), _imbalance(*one[1:3]))
            for from_ns, to_ns, one in self.held if min(one[1:3]) >= 0
        ]  # fmt: skip
        known = sum(stood for stood, _ in tops)
        [near] = [one for at_ms, one in self.near if at_ms < close_ms][-1:] or [None]
        return {
            "book_imbalance": float(sum(stood * part for stood, part in tops) / known) if known else None,
            "depth_imbalance_10bps": float(_imbalance(*near[3:5])) if near and min(near[3:5]) >= 0 else None,
            "ofi": float(imbalance) if time else None,
            "quoted_spread_bps": float(sum(stood * spread for stood, spread in times) / time) if time else None,
            "effective_spread_bps": float(sum(spread * size for spread, size in paid) / volume) if volume else None,
            "microprice_dev_bps": float((best.weighted_mid - best.mid) / best.mid * 10_000) if best else None,
        }

    def difference(self, row: dict[str, Any]) -> list[str]:
        """Where a row of a candle that has ended differs."""
        got = {name: row[name] for name in BOOK}
        true = self.candle(row["open_time_ms"], row["close_time_ms"])
        open_ms, close_ms = row["open_time_ms"], row["close_time_ms"]
        was_held = close_ms > self.begun_ms and self.all_quiet_is_held
        if not was_held and not any(open_ms <= at_ms < close_ms for at_ms in self.traded) and {*got.values()} == {None}:
            return []  # a late trade has made it where there was none
        return [
            f"{name}: {got[name]!r}, not {true[name]!r}"
            for name in got
            if (got[name] is None) != (true[name] is None)
            or (true[name] is not None and not math.isclose(got[name], true[name], rel_tol=1e-9, abs_tol=1e-15))
        ]
