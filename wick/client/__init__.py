"""The public Python client of a front: live tickers, candles, trades and books that survive lost connections.

    with wick.client.connect("ws://127.0.0.1:8765", topics=["candles:binance:BTC-USDT:1m"]) as session:
        for event in session:
            match event:
                case wick.client.Closed(topic, candle):
                    print(topic, candle.close, candle.rsi_14)

docs/client.md is the guide. `core` is the session without IO, `blocking` and `aio` are thin shells around it. Needs
the packages `websockets` and `msgpack`, and loads neither gevent, zmq nor numpy.
"""

from typing import TYPE_CHECKING, Any

from wick.client.events import (
    Book,
    Bye,
    Changed,
    Closed,
    Connected,
    Disconnected,
    Error,
    Event,
    Fresh,
    Gap,
    Live,
    Revised,
    Snapshot,
    Stale,
    Stats,
    Subscribed,
    Trades,
    Unsubscribed,
)
from wick.client.held import Held
from wick.client.reconnect import ClientError
from wick.client.views import Candle, Level, Ticker, Trade

if TYPE_CHECKING:
    from wick.client.aio import AsyncSession, connect_async
    from wick.client.blocking import Session, connect
    from wick.client.http import history

__all__ = [
    "AsyncSession", "Book", "Bye", "Candle", "Changed", "ClientError", "Closed", "Connected", "Disconnected", "Error",
    "Event", "Fresh", "Gap", "Held", "Level", "Live", "Revised", "Session", "Snapshot", "Stale", "Stats", "Subscribed",
    "Ticker", "Trade", "Trades", "Unsubscribed", "connect", "connect_async", "history",
]  # fmt: skip

# Loaded when they are first asked for (PEP 562): who iterates needs no asyncio, who uses asyncio no threads.
_LATER = {
    "AsyncSession": "aio",
    "Session": "blocking",
    "connect": "blocking",
    "connect_async": "aio",
    "history": "http",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
