"""Where the trades of every pair stood when a segment of the tick log began, and what its flushes have added. Pure.

A new feed begins with it: then its first trade of a pair shows what was traded while no feed lived.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from wick.errors import WireError, shown
from wick.market.records import records
from wick.market.trades import TRADE
from wick.stream.continuity import Contiguous, Numbers, Tail
from wick.wire.codec import pack, unpack
from wick.wire.messages import TickHeader

_TAIL = [int, int, int, int, int, int, list]


class Tails(NamedTuple):
    """Of one venue; `contiguous` as in Venue."""

    contiguous: bool
    pairs: dict[str, Tail]  # by symbol


def packed(tails: dict[str, Tails]) -> bytes:
    """By venue."""
    return pack(tails)


def unpacked(data: bytes | memoryview) -> dict[str, Tails]:
    """WireError where it is not what `packed` makes."""
    told = unpack(data)
    try:
        found = {
            venue: Tails(contiguous, {symbol: _tail(one) for symbol, one in pairs.items()})
            for venue, (contiguous, pairs) in told.items()
        }
    except (AttributeError, TypeError, ValueError):
        raise WireError(f"tails are not what they should be: {shown(told)}") from None
    return found


def _tail(fields: list[Any]) -> Tail:
    tail = Tail(*fields)
    if [type(one) for one in tail] != _TAIL or any([*map(type, hole)] != [int] * 4 for hole in tail.holes):
        raise TypeError
    return tail


def rolled(tails: dict[str, Tails], flushes: Iterable[tuple[TickHeader, memoryview]]) -> dict[str, Tails]:
    """What they have become with the flushes that the log has behind them."""
    ids: dict[tuple[str, str], Contiguous | Numbers] = {}
    decimals: dict[tuple[str, str], list[int]] = {}
    read_ns: dict[tuple[str, str], int] = {}
    for header, data in flushes:
        if header.venue not in tails:
            continue
        contiguous, pairs = tails[header.venue]
        table = records(data, header)
        columns = [table[name].tolist() for name in ("kind", "id", "event_ns", "price_decimals", "quantity_decimals")]
        rows = zip(*columns, strict=True)
        for _, _, _, symbols, counts in header.parts:
            for symbol, count in zip(symbols, counts, strict=True):
                pair = header.venue, symbol
                one = ids.get(pair)
                if one is None:
                    one = ids[pair] = Contiguous() if contiguous else Numbers()
                    decimals[pair] = [0, 0]
                    if symbol in pairs:
                        one.stand(pairs[symbol])
                        decimals[pair] = [pairs[symbol].price_decimals, pairs[symbol].quantity_decimals]
                most = decimals[pair]
                read_ns[pair] = header.send_ns
                for kind, trade_id, event_ns, prices, quantities in (next(rows) for _ in range(count)):
                    if prices > most[0]:
                        most[0] = prices
                    if quantities > most[1]:
                        most[1] = quantities
                    if kind == TRADE:
                        one.recall(trade_id, event_ns)
    found = {venue: Tails(told.contiguous, dict(told.pairs)) for venue, told in tails.items()}
    for (venue, symbol), one in ids.items():
        tail = one.tail(read_ns[venue, symbol], *decimals[venue, symbol])
        if tail is not None:
            found[venue].pairs[symbol] = tail
    return found
