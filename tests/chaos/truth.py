"""What the store must hold after a chaos run: the exchange's market made anew, and through the engine in one go.

Nothing of it went through a socket, a log, a checkpoint or a kill. Only two things are taken from what was stored: of
each pair the first trade that wick heard, and since when it listened.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wick.market.records import RECORD
from wick.market.schema import BOOK, CANDLE_FIELDS, REVISED
from wick.sim.market import Market, TradeEvent
from wick.sim.wires import load, symbols
from wick.sim.wires._text import decimals
from wick.stream.shard import CandleRules, Shard
from wick.wire.messages import Closes

VENUE = "binance"
STEP_MS = 1_000
PLACE = {name: at for at, name in enumerate(CANDLE_FIELDS)}
# What depends on when messages came: how often a candle was corrected, and what the book was.
FREE = frozenset(("revision", *(field.name for field in BOOK)))
Key = tuple[str, str, int]  # symbol, interval, open time
Rows = dict[Key, list[Any]]


@dataclass(frozen=True)
class Begin:
    """Of a pair: the first trade that was heard, and since when its candles are whole."""

    trade_id: int
    since_ms: int


def begins(stored: Rows) -> dict[str, Begin]:
    found: dict[str, tuple[int, Begin]] = {}
    for (symbol, interval, open_ms), row in stored.items():
        if interval == "15s" and (symbol not in found or open_ms < found[symbol][0]):
            found[symbol] = open_ms, Begin(row[PLACE["first_trade_id"]], row[PLACE["cvd_anchor_ms"]])
    return {symbol: begin for symbol, (_, begin) in found.items()}


class Truth:
    """The trades of an exchange, from its notes."""

    def __init__(self, notes: Path) -> None:
        first, *rest = [json.loads(line) for line in notes.read_text().splitlines()]
        self.start_ms = first["start"]
        self.ticks = 0  # trades and quotes so far
        self._skips = [(one["at"], one["skip"]) for one in rest]
        self._market = Market(first["seed"], first["symbols"], first["rate"], self.start_ms)
        listed = symbols(load(VENUE), self._market.listings)
        self.symbols = [f"{one.base}-{one.quote}" for one in listed]
        self._decimals = [(decimals(one.tick), decimals(one.lot)) for one in listed]

    def steps(self, until_ms: int) -> Iterator[tuple[int, dict[int, list[TradeEvent]]]]:
        """Each second of the market, and what was traded in it, by pair."""
        clock_ms = self.start_ms // STEP_MS * STEP_MS
        skips = list(self._skips)
        while clock_ms < until_ms:
            clock_ms += STEP_MS
            trades: dict[int, list[TradeEvent]] = {}
            events = []
            while skips and skips[0][0] < clock_ms:
                at_ms, to_ms = skips.pop(0)
                events += self._market.advance(at_ms)
                self._market.skip_to(to_ms)
            events += self._market.advance(clock_ms)
            self.ticks += len(events)
            for event in events:
                if isinstance(event, TradeEvent):
                    trades.setdefault(event.pair, []).append(event)
            yield clock_ms, trades

    def packed(self, pair: int, trades: list[TradeEvent]) -> bytes:
        prices, quantities = self._decimals[pair]
        columns = np.array([one[1:5] for one in trades], np.int64).T
        records = np.zeros(len(trades), RECORD)
        records["event_ns"] = records["recv_ns"] = columns[0] * 1_000_000
        records["id"] = columns[1]
        records["a"] = columns[2] // 10 ** (8 - prices)
        records["b"] = columns[3] // 10 ** (8 - quantities)
        records["c"] = 1
        records["price_decimals"], records["quantity_decimals"] = prices, quantities
        records["taker_buy"] = [not one.buyer_is_maker for one in trades]
        return records.tobytes()


def candles(truth: Truth, rules: CandleRules, heard: dict[str, Begin], until_ms: int) -> Rows:
    """Every candle that has closed by `until_ms`, of all intervals, with its metrics."""
    shard = Shard(0, 1, {VENUE: rules})
    numbers = {symbol: number for number, symbol in enumerate(truth.symbols)}
    rows: Rows = {}
    for clock_ms, trades in truth.steps(until_ms + rules.grace_ms + STEP_MS):
        for symbol, begin in heard.items():
            own = [one for one in trades.get(numbers[symbol], ()) if one.trade_id >= begin.trade_id]
            if own or begin.since_ms < clock_ms:
                state = shard.pair(VENUE, symbol, begin.since_ms)
                if own:
                    state.ticks(truth.packed(numbers[symbol], own))
        shard.advance(VENUE, clock_ms)
        for topic, body in shard.flush(clock_ms * 1_000_000):
            if topic.startswith(b"closes."):
                for _, symbol, interval, *row in Closes.unpack(body).rows:
                    rows[symbol, interval, row[0]] = row
    return {key: row for key, row in rows.items() if row[PLACE["close_time_ms"]] <= until_ms}


def differing(row: list[Any], right: list[Any]) -> list[str]:
    """The fields that are not as they must be, bit for bit."""
    wrong = []
    for name, here, there in zip(CANDLE_FIELDS, row, right, strict=True):
        if name == "flags":
            here, there = here & ~REVISED, there & ~REVISED
        if here != there and name not in FREE:
            wrong.append(name)
    return wrong
