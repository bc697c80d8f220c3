"""The best bid and ask of a book's best levels, in common units. Pure."""

from wick.errors import ParseError
from wick.exchanges._text import DECIMALS
from wick.market.numbers import MAX_MANTISSA, POW10
from wick.market.trades import Levels, Quote

_NOTHING = (0, 0), (0, 0)


def quote(symbol: str, update_id: int, bids: Levels, asks: Levels) -> Quote:
    """Of levels that are checked, best first; a side without any is 0. ParseError for more digits than wick keeps."""
    (bid, bid_decimals), (bid_size, b_decimals) = map(DECIMALS.__getitem__, bids[0][:2]) if bids else _NOTHING
    (ask, ask_decimals), (ask_size, a_decimals) = map(DECIMALS.__getitem__, asks[0][:2]) if asks else _NOTHING
    prices, sizes = max(bid_decimals, ask_decimals), max(b_decimals, a_decimals)
    bid *= POW10[prices - bid_decimals]
    ask *= POW10[prices - ask_decimals]
    bid_size *= POW10[sizes - b_decimals]
    ask_size *= POW10[sizes - a_decimals]
    if max(bid, ask, bid_size, ask_size) > MAX_MANTISSA:
        raise ParseError("more digits than wick keeps", "levels", [bids[:1], asks[:1]])
    return Quote(symbol, update_id, bid, bid_size, ask, ask_size, prices, sizes)
