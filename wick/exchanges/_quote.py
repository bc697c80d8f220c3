"""The best bid and ask of a book's levels. Pure."""

from wick.exchanges import _text as text
from wick.exchanges._text import DECIMALS
from wick.market.trades import Levels, Quote

_NOTHING = [["0", "0"]]


def best(symbol: str, update_id: int, bids: Levels, asks: Levels) -> Quote:
    """Of levels that are checked, best first; a side without any is 0. ParseError for more digits than wick keeps."""
    bid, bid_size, *_ = (bids or _NOTHING)[0]
    ask, ask_size, *_ = (asks or _NOTHING)[0]
    return text.quote(symbol, update_id, DECIMALS[bid], DECIMALS[bid_size], DECIMALS[ask], DECIMALS[ask_size])
