"""One order book: the best levels of both sides as exact integers in arrays, and what is read off them. Pure.

A side is two arrays, key and quantity, with the best level at the end: most of what happens is near the best, so little
moves. A bid's key is its price, an ask's is minus its price: both sides are the same code. Prices and quantities are in
the book's own decimals, which grow when the venue writes finer ones.

A side knows its *edge*: all levels of the venue's book with a key from there on are in the arrays, what is beyond is
not known. What does not fit the limit is cut off and the edge moves in. A side that is whole has its edge at BOTTOM.
"""

from array import array
from bisect import bisect_left
from itertools import chain
from operator import itemgetter
from zlib import crc32

from wick.errors import ParseError
from wick.market.numbers import MAX_DECIMALS, MAX_MANTISSA, POW10, format_decimal
from wick.market.trades import BookDepth, Levels, Quote

BOTTOM = -MAX_MANTISSA - 1  # no key is smaller: an ask at a price that no int64 keeps is beyond any edge
TOP = 5  # levels that `BookDepth.bid_top` and `ask_top` sum up
CHECKED = 10  # levels a side that Kraken's checksum covers
Sums = tuple[int, int, int, int]
REMEMBERED = 8_192  # texts of one count of decimals (1.5 MB): prices and quantities come again and again


class _FinerError(Exception):
    """A number has more decimals than the book."""


class _Scaled(dict[str, int]):
    """What a text is in units of 10**-decimals; remembers. The venue has seen to it that it is a plain decimal."""

    def __init__(self, decimals: int) -> None:
        self.decimals = decimals

    def __missing__(self, text: str) -> int:
        point = text.find(".")
        finer = (len(text) - point - 1 if point >= 0 else 0) - self.decimals
        digits = text
        if finer > 0:
            if text[-finer:].strip("0"):
                raise _FinerError
            digits = text[:-finer]
        try:
            value = int(digits.replace(".", ""))
        except ValueError:
            raise ParseError("not a plain decimal", "levels", text) from None
        if finer < 0:
            value *= POW10[-finer]
        if len(self) >= REMEMBERED:
            self.clear()
        self[text] = value
        return value


_SCALED = tuple(_Scaled(decimals) for decimals in range(MAX_DECIMALS + 1))


def _packed(quantities: list[int]) -> "array[int] | list[int]":
    """As an array; as they are where one is too large for it: a meme coin's in units of 1e-8."""
    try:
        return array("q", quantities)
    except OverflowError:
        return quantities


def _fewest(levels: int) -> int:
    """With fewer of them left than this, a side that once had so many is shallow."""
    return min(max(10, levels // 4), (levels + 1) // 2)


class Side:
    """The best `limit` levels of one side; `sign` is 1 for bids and -1 for asks.

    `rolls`: the venue itself keeps to the limit and tells what comes into view, so that nothing is ever missing. Then
    the edge stays where it is.
    """

    __slots__ = ("edge", "fewest", "keys", "limit", "quantities", "rolls", "sign")

    def __init__(self, sign: int, limit: int, rolls: bool) -> None:
        self.sign, self.limit, self.rolls = sign, limit, rolls
        self.keys = array("q")
        self.quantities: array[int] | list[int] = array("q")
        self.edge, self.fewest = BOTTOM, 0

    def clear(self) -> None:
        self.keys, self.quantities, self.edge, self.fewest = array("q"), array("q"), BOTTOM, 0

    def load(self, levels: Levels, whole: bool, prices: _Scaled, sizes: _Scaled) -> None:
        """Begin anew with all levels of a snapshot, in any order. `whole`: there is nothing beyond them."""
        if len(levels) > 2 * self.limit:
            # Coinbase sends the whole book, 50,000 levels: only the best of them are worth an exact number.
            latest = {level[0]: level for level in levels}.values()
            cheap = [(self.sign * _rough(level[0]), level) for level in latest if level[1].strip("0.")]
            cheap.sort(key=itemgetter(0), reverse=True)
            levels = [level for _, level in cheap[: 2 * self.limit]]
            whole = whole and (self.rolls or len(cheap) == len(levels))
        found = {self.sign * prices[level[0]]: sizes[level[1]] for level in levels}
        kept = sorted(item for item in found.items() if item[1] and item[0] >= BOTTOM)
        self.keys = array("q", [key for key, _ in kept])
        self.quantities = _packed([quantity for _, quantity in kept])
        self.edge = BOTTOM if whole or not kept else kept[0][0]
        self.fewest = _fewest(min(len(kept), self.limit))
        self._cut()

    def apply(self, levels: Levels, prices: _Scaled, sizes: _Scaled) -> None:
        """Set levels, or remove those without quantity; in their order, as a price may come twice (Kraken)."""
        keys, quantities, edge, sign = self.keys, self.quantities, self.edge, self.sign
        for level in levels:
            key = sign * prices[level[0]]
            if key < edge:
                continue
            quantity = sizes[level[1]]
            at = bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                if quantity:
                    quantities[at] = quantity
                else:
                    del keys[at], quantities[at]
            elif quantity:
                quantities.insert(at, quantity)
                keys.insert(at, key)
        if len(keys) > self.limit:
            self._cut()

    def _cut(self) -> None:
        over = len(self.keys) - self.limit
        if over > 0:
            if not self.rolls:
                self.edge, self.fewest = self.keys[over - 1] + 1, _fewest(self.limit)
            del self.keys[:over], self.quantities[:over]

    def restate(self, price_factor: int, quantity_factor: int) -> None:
        """In finer units. ParseError: a price has more digits than an int64 keeps."""
        try:
            self.keys = array("q", [key * price_factor for key in self.keys])
        except OverflowError:
            raise ParseError("more digits than wick keeps", "price", self.keys[0]) from None
        self.quantities = _packed([quantity * quantity_factor for quantity in self.quantities])
        if self.edge != BOTTOM:
            self.edge *= price_factor

    @property
    def known_from(self) -> int:
        """The smallest key from which on all levels are here, at this moment."""
        if self.rolls and len(self.keys) >= self.limit:
            return self.keys[0]
        return self.edge

    def best(self, count: int) -> list[tuple[int, int]]:
        """Prices and quantities, best first."""
        keys, quantities = self.keys[: -count - 1 : -1], self.quantities[: -count - 1 : -1]
        return [(self.sign * key, quantity) for key, quantity in zip(keys, quantities, strict=True)]

    def top(self) -> int:
        """The quantity of the TOP best levels, of all where there are no more; -1 where fewer are known."""
        return sum(self.quantities[-TOP:]) if len(self.keys) >= TOP or self.known_from == BOTTOM else -1

    def near(self, key: int) -> int:
        """The quantity of all levels from `key` on; -1 where not all are known."""
        return sum(self.quantities[bisect_left(self.keys, key) :]) if key >= self.known_from else -1


class OrderBook:
    """Both sides. The steps, where known, give the decimals to begin with.

    After ParseError the book is neither the old nor the new one: it has to be loaded.
    """

    __slots__ = ("_least", "_prices", "_sizes", "asks", "bids", "price_decimals", "quantity_decimals")

    def __init__(self, limit: int, rolls: bool = False, price_step: str = "", quantity_step: str = "") -> None:
        self.bids, self.asks = Side(1, limit, rolls), Side(-1, limit, rolls)
        steps = [[price_step, quantity_step]]
        self._least = _places(steps, 0, False), _places(steps, 1, False)
        self._set_decimals(*self._least)

    def load(self, bids: Levels, asks: Levels, whole: tuple[bool, bool], written: bool = False) -> None:
        """A snapshot; `whole`: there is nothing beyond its bids, its asks. ParseError.

        `written`: the decimals are those of the texts, whatever the steps are, zeros at the end too (see `checksum`).
        """
        # Nothing of the old book stays: one absurdly fine number would leave no room for any price ever after.
        self.bids.clear()
        self.asks.clear()
        self._set_decimals(*self._least)
        if written:
            price = max(_places(bids, 0, True), _places(asks, 0, True))
            self._set_decimals(price, max(_places(bids, 1, True), _places(asks, 1, True)))
        try:
            self._load(bids, asks, whole)
        except _FinerError:
            self._refine(bids, asks, False)
            self._load(bids, asks, whole)

    def _load(self, bids: Levels, asks: Levels, whole: tuple[bool, bool]) -> None:
        try:
            self.bids.load(bids, whole[0], self._prices, self._sizes)
            self.asks.load(asks, whole[1], self._prices, self._sizes)
        except OverflowError:
            raise ParseError("more digits than wick keeps", "price") from None

    def apply(self, bids: Levels, asks: Levels) -> None:
        """A change. ParseError.

        What fails midway is applied again from its start: a level says what it is now, not by how much it changed.
        """
        try:
            self._apply(self.bids, bids)
            self._apply(self.asks, asks)
        except _FinerError:
            self._refine(bids, asks, False)
            self._apply(self.bids, bids)
            self._apply(self.asks, asks)

    def _apply(self, side: Side, levels: Levels) -> None:
        if not levels:
            return
        try:
            side.apply(levels, self._prices, self._sizes)
        except OverflowError:
            side.quantities = [*side.quantities]
            try:
                side.apply(levels, self._prices, self._sizes)
            except OverflowError:
                raise ParseError("more digits than wick keeps", "price", levels[0][0]) from None

    def fault(self) -> str:
        """Why it cannot be shown: "crossed" (also if both sides have one best price), "bare" (all that was known of a
        side is gone), "": nothing is wrong.
        """
        bids, asks = self.bids, self.asks
        if bids.keys and asks.keys:
            return "crossed" if bids.keys[-1] >= -asks.keys[-1] else ""
        return "bare" if any(not side.keys and side.edge != BOTTOM for side in (bids, asks)) else ""

    def is_shallow(self) -> bool:
        """Few of the levels that were known are left; those that are left are right."""
        bids, asks = self.bids, self.asks
        if len(bids.keys) < bids.fewest and bids.edge != BOTTOM:
            return True
        return len(asks.keys) < asks.fewest and asks.edge != BOTTOM

    def checksum(self) -> int:
        """Kraken's: https://docs.kraken.com/api/docs/guides/spot-ws-book-v2; -1 where not enough levels are known.

        Ten best asks, then ten best bids, best first; price and quantity as they are written, without point and leading
        zeros: that is the integer's text, if the book's decimals are those of the texts.
        """
        bids, asks = self.bids, self.asks
        if any(len(side.keys) < CHECKED and side.known_from != BOTTOM for side in (bids, asks)):
            return -1
        best = slice(None, -CHECKED - 1, -1)
        numbers = [
            *chain.from_iterable(zip(asks.keys[best], asks.quantities[best], strict=True)),
            *chain.from_iterable(zip(bids.keys[best], bids.quantities[best], strict=True)),
        ]
        # One format for all is three times as fast as a text of each. An ask's key is minus its price.
        return crc32(("%d" * len(numbers) % tuple(numbers)).replace("-", "").encode())

    def matches(self, checksum: int, bids: Levels, asks: Levels) -> bool:
        """Whether the book behind this change has the checksum; also if there is none of what is known."""
        own = self.checksum()
        if own not in (checksum, -1):
            self._refine(bids, asks, True)  # perhaps the first levels with all decimals
            own = self.checksum()
        return own in (checksum, -1)

    def quote(self, symbol: str, update_id: int) -> Quote | None:
        """The best levels; None where a side is empty, or a quantity has more digits than a record keeps."""
        bids, asks = self.bids, self.asks
        if not bids.keys or not asks.keys:
            return None
        bid_quantity, ask_quantity = bids.quantities[-1], asks.quantities[-1]
        if bid_quantity > MAX_MANTISSA or ask_quantity > MAX_MANTISSA:
            return None
        return Quote(
            symbol, update_id, bids.keys[-1], bid_quantity, -asks.keys[-1], ask_quantity,
            self.price_decimals, self.quantity_decimals,
        )  # fmt: skip

    def depth(self, symbol: str, update_id: int) -> BookDepth:
        """The sums that the engine is told.

        A level is near if |price - mid| * 1000 <= mid: 10 basis points, both ends included; 2 * mid is an integer.
        Where an int64 does not keep a sum, all lose their last decimals.
        """
        bids, asks = self.bids, self.asks
        bid_near = ask_near = -1
        if bids.keys and asks.keys:
            twice_mid = bids.keys[-1] - asks.keys[-1]
            bid_near = bids.near(-(-999 * twice_mid // 2000))
            ask_near = asks.near(-(1001 * twice_mid // 2000))
        sums, decimals = (bids.top(), asks.top(), bid_near, ask_near), self.quantity_decimals
        if max(sums) > MAX_MANTISSA:
            sums, decimals = _fitting(sums, decimals)
        return BookDepth(symbol, update_id, *sums, decimals)

    def top(self, count: int) -> tuple[Levels, Levels]:
        """Bids and asks as texts [price, quantity], best first."""
        bids, asks = (
            [
                [format_decimal(price, self.price_decimals), format_decimal(quantity, self.quantity_decimals)]
                for price, quantity in side.best(count)
            ]
            for side in (self.bids, self.asks)
        )
        return bids, asks

    # ------------------------------------------------------------------ decimals

    def _set_decimals(self, price: int, quantity: int) -> None:
        if max(price, quantity) > MAX_DECIMALS:
            raise ParseError("more digits than wick keeps", "decimals", max(price, quantity))
        self.price_decimals, self.quantity_decimals = price, quantity
        self._prices, self._sizes = _SCALED[price], _SCALED[quantity]

    def _refine(self, bids: Levels, asks: Levels, written: bool) -> None:
        """Take on the decimals of these levels, where they are more than the book's."""
        price_before, quantity_before = self.price_decimals, self.quantity_decimals
        price = max(price_before, _places(bids, 0, written), _places(asks, 0, written))
        quantity = max(quantity_before, _places(bids, 1, written), _places(asks, 1, written))
        if price == price_before and quantity == quantity_before:
            return
        self._set_decimals(price, quantity)
        factors = POW10[price - price_before], POW10[quantity - quantity_before]
        self.bids.restate(*factors)
        self.asks.restate(*factors)


def _fitting(sums: Sums, decimals: int) -> tuple[Sums, int]:
    """In so few decimals that all fit an int64; what does not even without decimals is not known."""
    off = min(next(n for n, power in enumerate(POW10) if max(sums) < power * MAX_MANTISSA), decimals)
    a, b, c, d = (one if one < 0 else one // POW10[off] for one in sums)
    a, b, c, d = (one if one <= MAX_MANTISSA else -1 for one in (a, b, c, d))
    return (a, b, c, d), decimals - off


def _places(levels: Levels, field: int, written: bool) -> int:
    """The most decimals among them; `written`: trailing zeros count."""
    fractions = [level[field].partition(".")[2] for level in levels]
    return max([len(one if written else one.rstrip("0")) for one in fractions], default=0)


def _rough(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParseError("not a plain decimal", "price", text) from None
