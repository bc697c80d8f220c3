"""Requests to the API without a front, and what it knows."""

import json
from urllib.parse import parse_qsl, urlsplit

from wick.api.service import Api, Health, Sources, State
from wick.market import schema
from wick.market.schema import CANDLE_FIELDS, CLOSED, HEAD_FIELDS
from wick.wire.http import Request

NOW_MS = 1_735_689_600_000  # 2025-01-01
MINUTE = 60_000
PAIRS = [("binance", "BTC-USDT"), ("binance", "ETH-USDT"), ("kraken", "BTC-USD")]
HEAD = dict.fromkeys(HEAD_FIELDS, 0) | {"last_price": 12345, "volume": 1500, "price_decimals": 2,
                                        "quantity_decimals": 3}  # fmt: skip


def request(target, **headers):
    parts = urlsplit(target)
    headers = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", parts.path, dict(parse_qsl(parts.query, True)), {"host": "localhost"} | headers, target)


def row(open_ms=0, length_ms=MINUTE, **others):
    values = dict.fromkeys(CANDLE_FIELDS) | dict.fromkeys(schema.FORMED_FIELDS, 0)
    own = {"open_time_ms": open_ms, "close_time_ms": open_ms + length_ms, "flags": CLOSED}
    return list((values | own | others).values())


class Known:
    """What the API answers from: rows of every pair and interval, and the rest as a front would have it."""

    def __init__(self, rows=()):
        self.rows, self.now_ms, self.asked = list(rows), NOW_MS, []
        self.health = Health("running", 40, len(PAIRS), 0)
        self.stats, self.live = [], None
        self.failure = None

    def candles(self, venue, symbol, interval, window):
        self.asked.append((venue, symbol, interval, window))
        if self.failure is not None:
            raise self.failure
        return window.of(self.rows)

    def api(self, **options):
        sources = Sources(
            pairs=lambda: PAIRS,
            state=lambda venue, symbol: State(7, 42, [*HEAD.values()]) if venue == "binance" else None,
            live=lambda *_: self.live,
            candles=self.candles,
            health=lambda: self.health,
            stats=lambda: self.stats,
            now_ms=lambda: self.now_ms,
        )
        return Api(sources, 10, **options)

    def ask(self, target, **headers):
        """The status and the decoded answer."""
        reply = self.api().respond(request(target, **headers))
        return reply.status, json.loads(reply.body)
