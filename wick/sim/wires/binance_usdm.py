"""Binance USD-M futures' wire, from the exchange's side: where it differs from spot's. Pure.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures (websocket-market-streams, market-data).
An aggregate stands for one to three matches here, so that `f` and `l` say something. Numbers are written with the
decimals of their step, not with eight.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import orjson

from wick.market.intervals import NAMES
from wick.sim.book import DepthUpdate
from wick.sim.http import HttpRequest
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.wires import Limits, Symbol, View
from wick.sim.wires._text import decimals, stepped
from wick.sim.wires.binance import Binance, limit_of, listed, number_of, wrapped

MAX_DEPTH, MAX_TRADES, MAX_KLINES = 1000, 1000, 1500


def first_match(aggregate_id: int) -> int:
    """The id of an aggregate's first match; the next aggregate's is one to three above it."""
    return 2 * aggregate_id + (aggregate_id % 3 == 0)


class BinanceUsdm(Binance):
    id = "binance-usdm"
    limits = Limits(
        messages=(10, 1.0), connects=(300, 300.0), rest=(2400, 60.0), used_header="x-mbx-used-weight-1m",
        lifetime_s=86_400.0, ping_s=180.0, pong_s=600.0,
    )  # fmt: skip
    channels: Mapping[str, str] = {
        "aggTrade": "trade", "trade": "trade", "bookTicker": "quote", "depth@100ms": "depth"
    }  # fmt: skip
    root = "/fapi/v1"
    # The other channels are acknowledged there and never sent, since 2026-04-23:
    # https://github.com/binance/binance-futures-connector-python/issues/261
    paths: Mapping[str, tuple[str, ...]] = {"/public": ("quote", "depth"), "/market": ("trade",)}

    def at(self, path: str) -> tuple[Mapping[str, str], str]:
        for prefix, kinds in self.paths.items():
            if path.startswith(f"{prefix}/"):
                there = {name: channel for name, channel in self.channels.items() if channel in kinds}
                return there, path.removeprefix(prefix)
        return self.channels, path

    # ---- frames

    def trade(self, symbol: Symbol, kind: str, trade: TradeEvent) -> bytes:
        common = (stepped(trade.price, symbol.tick).encode(), stepped(trade.quantity, symbol.lot).encode())
        maker = b"true" if trade.buyer_is_maker else b"false"
        name = symbol.native.encode()
        if kind == "trade":
            return b'{"e":"trade","E":%d,"T":%d,"s":"%b","t":%d,"p":"%b","q":"%b","X":"MARKET","m":%b}' % (
                trade.time_ms + 1, trade.time_ms, name, trade.trade_id, *common, maker,
            )  # fmt: skip
        return b'{"e":"aggTrade","E":%d,"s":"%b","a":%d,"p":"%b","q":"%b","f":%d,"l":%d,"T":%d,"m":%b}' % (
            trade.time_ms + 1, name, trade.trade_id, *common, first_match(trade.trade_id),
            first_match(trade.trade_id + 1) - 1, trade.time_ms, maker,
        )  # fmt: skip

    def quote(self, symbol: Symbol, form: Hashable, quote: QuoteEvent, now_ms: int) -> Sequence[bytes]:
        tick, lot = symbol.tick, symbol.lot
        payload = b'{"e":"bookTicker","u":%d,"s":"%b","b":"%b","B":"%b","a":"%b","A":"%b","T":%d,"E":%d}' % (
            quote.update_id, symbol.native.encode(), stepped(quote.bid, tick).encode(),
            stepped(quote.bid_quantity, lot).encode(), stepped(quote.ask, tick).encode(),
            stepped(quote.ask_quantity, lot).encode(), quote.time_ms, quote.time_ms + 1,
        )  # fmt: skip
        return [wrapped(form, payload)]

    def depth(self, symbol: Symbol, form: Hashable, update: DepthUpdate, now_ms: int) -> Sequence[bytes]:
        bids = _levels(dict(sorted(update.bids.items(), reverse=True)), symbol)
        asks = _levels(dict(sorted(update.asks.items())), symbol)
        # A reset is a gap: what comes before the new ids is nothing that was told.
        payload = b'{"e":"depthUpdate","E":%d,"T":%d,"s":"%b","U":%d,"u":%d,"pu":%d,"b":%b,"a":%b}' % (
            now_ms, now_ms - 1, symbol.native.encode(), update.first_id, update.last_id, update.first_id - 1, bids,
            asks,
        )  # fmt: skip
        return [wrapped(form, payload)]

    def shutdown(self, now_ms: int) -> tuple[bytes, int]:
        return b"", 1012  # serverShutdown is documented for spot alone

    # ---- REST

    def weight(self, request: HttpRequest) -> int:
        match request.path.removeprefix(f"{self.root}/"):
            case "depth":
                limit = request.query.get("limit", "500")
                return {"5": 2, "10": 2, "20": 2, "50": 2, "100": 5, "500": 10}.get(limit, 20)
            case "aggTrades" | "historicalTrades":
                return 20
            case "trades":
                return 5
            case "klines":
                asked = request.query.get("limit", "500")
                count = int(asked) if re.fullmatch(r"[0-9]{1,9}", asked, re.ASCII) else 500
                return 1 if count < 100 else 2 if count < 500 else 5 if count <= 1000 else 10
        return 1

    def matches(self, trade: TradeEvent) -> int:
        return first_match(trade.trade_id + 1) - first_match(trade.trade_id)

    def body(self, name: str, request: HttpRequest, view: View, now_ms: int) -> bytes:
        query = request.query
        match name:
            case "ping" | "time":
                return super().body(name, request, view, now_ms)
            case "exchangeInfo":
                body = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": []}
                return orjson.dumps({**body, "symbols": [_info(symbol) for symbol in view.symbols().values()]})
            case "depth":
                symbol, book = self.book(query, view, 500, MAX_DEPTH)
                return b'{"lastUpdateId":%d,"E":%d,"T":%d,"bids":%b,"asks":%b}' % (
                    book.update_id, now_ms, now_ms - 1, _levels(book.bids, symbol), _levels(book.asks, symbol),
                )  # fmt: skip
            case "aggTrades":
                symbol, limit = listed(query, view), limit_of(query, 500, MAX_TRADES)
                if "fromId" in query:
                    trades = view.trades_from(symbol.native, number_of(query, "fromId", 0), limit)
                elif "startTime" in query:
                    trades = view.trades_since(symbol.native, number_of(query, "startTime", 0), limit)
                else:
                    trades = view.trades(symbol.native, limit)
                return orjson.dumps([_aggregate(symbol, trade) for trade in trades])
            case "klines":
                return self.klines(query, view, now_ms, MAX_KLINES, NAMES[2:])  # from a minute on
        raise self.no_path(request)


def _levels(side: Mapping[int, int], symbol: Symbol) -> bytes:
    tick, lot = symbol.tick, symbol.lot
    pairs = [f'["{stepped(price, tick)}","{stepped(quantity, lot)}"]' for price, quantity in side.items()]
    return f"[{','.join(pairs)}]".encode()


def _aggregate(symbol: Symbol, trade: TradeEvent) -> dict[str, Any]:
    return {
        "a": trade.trade_id, "p": stepped(trade.price, symbol.tick), "q": stepped(trade.quantity, symbol.lot),
        "f": first_match(trade.trade_id), "l": first_match(trade.trade_id + 1) - 1, "T": trade.time_ms,
        "m": trade.buyer_is_maker,
    }  # fmt: skip


def _info(symbol: Symbol) -> dict[str, Any]:
    tick, lot = stepped(symbol.tick, symbol.tick), stepped(symbol.lot, symbol.lot)
    return {
        "symbol": symbol.native, "pair": symbol.native, "contractType": "PERPETUAL", "status": "TRADING",
        "baseAsset": symbol.base, "quoteAsset": symbol.quote, "marginAsset": symbol.quote,
        "pricePrecision": decimals(symbol.tick), "quantityPrecision": decimals(symbol.lot),
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "100000000", "stepSize": lot},
        ],
    }  # fmt: skip


WIRE = BinanceUsdm()
