"""Packed ticks as commands show them: a topic, and what it says."""

from collections.abc import Iterator
from typing import Any

from wick.market.numbers import format_decimal
from wick.market.records import records
from wick.market.trades import DEPTH, QUOTE, TRADE
from wick.wire.messages import TickHeader

HELD = ("bid_top", "ask_top", "bid_near", "ask_near")  # of a BookDepth; -1: not known
Item = tuple[str, dict[str, Any]]  # topic, what it says


def ticks(header: TickHeader, data: bytes | memoryview, with_depths: bool = False) -> Iterator[Item]:
    """Each record of a flush: `trades.<venue>.<symbol>`, `quotes...`; and `depths...`, what is near the best prices."""
    rows = records(data, header).tolist()
    at = 0
    for seq, symbol, count in [(part[1], *pair) for part in header.parts for pair in zip(*part[3:], strict=True)]:
        for event_ns, number, a, b, c, d, recv_ns, prices, quantities, kind, taker_buy, _ in rows[at : at + count]:
            where = {"seq": seq, "recv_ns": recv_ns}
            if kind == TRADE:
                yield f"trades.{header.venue}.{symbol}", {
                    "event_ns": event_ns, "trade_id": number, "price": format_decimal(a, prices),
                    "quantity": format_decimal(b, quantities), "taker": "buy" if taker_buy else "sell", **where,
                }  # fmt: skip
            elif kind == QUOTE:
                yield f"quotes.{header.venue}.{symbol}", {
                    "update_id": number,
                    "bid": format_decimal(a, prices), "bid_quantity": format_decimal(c, quantities),
                    "ask": format_decimal(b, prices), "ask_quantity": format_decimal(d, quantities), **where,
                }  # fmt: skip
            elif kind == DEPTH and with_depths:
                held = zip(HELD, (a, b, c, d), strict=True)
                yield f"depths.{header.venue}.{symbol}", {
                    "event_ns": event_ns, "update_id": number,
                    **{name: format_decimal(one, quantities) if one >= 0 else None for name, one in held}, **where,
                }  # fmt: skip
        at += count
