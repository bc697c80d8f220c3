#!/usr/bin/env python3
"""cryptofeed's parsers, in an environment of their own, for feed_parse.py: wick is not imported here.

    PYTHON_WITH_CRYPTOFEED _cryptofeed.py GARBAGE_OBJECTS    told on stdin what to do, a JSON line each; answers so

{"exchange", "file"}: parse the file's frames, a line each; the answer: {"seconds", "trades"}. The most direct call that
there is: the exchange's message_handler, awaited for each frame, with a callback that counts. No sockets; the symbols
are set beforehand. Its own json is used (yapic), its trades are those of its compiled types.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

from cryptofeed.callback import TradeCallback
from cryptofeed.defines import BYBIT, COINBASE, KRAKEN, OKX, TRADES
from cryptofeed.exchanges import EXCHANGE_MAP
from cryptofeed.symbols import Symbols

PAIRS = 300
WRITTEN = {BYBIT: "{}/{}", COINBASE: "{}-{}", OKX: "{}-{}", KRAKEN: "{}/{}"}  # its names for the symbols; else "{}{}"


class Spot:
    """What a handler asks of a connection."""

    address = "wss://localhost/v5/public/spot"
    uuid = "bench"


class Parser:
    """One exchange of cryptofeed, and how many trades its callback got."""

    def __init__(self, exchange: str) -> None:
        written = WRITTEN.get(exchange, "{}{}")
        names = {f"C{pair:03}-USDT": written.format(f"C{pair:03}", "USDT") for pair in range(PAIRS)}
        Symbols.set(exchange, names, {"instrument_type": dict.fromkeys(names, "spot")})
        self.trades = 0
        feed = EXCHANGE_MAP[exchange](
            symbols=["C000-USDT"], channels=[TRADES], callbacks={TRADES: TradeCallback(self._count)}
        )
        self._handle = feed.message_handler

    async def _count(self, trade: object, receipt_timestamp: float) -> None:
        self.trades += 1

    async def parse(self, frames: list[str]) -> float:
        handle, connection = self._handle, Spot()
        began = time.perf_counter()
        for frame in frames:
            await handle(frame, connection, began)
        return time.perf_counter() - began


def main() -> None:
    parsers: dict[str, Parser] = {}
    read: dict[str, list[str]] = {}
    gc.freeze()
    gc.set_threshold(int(sys.argv[1]))
    for line in sys.stdin:
        asked = json.loads(line)
        exchange, file = asked["exchange"], asked["file"]
        if exchange not in parsers:
            parsers[exchange] = Parser(exchange)
        if file not in read:
            read = {file: Path(file).read_text().splitlines()}
        parser = parsers[exchange]
        parser.trades = 0
        gc.collect()
        seconds = asyncio.run(parser.parse(read[file]))
        print(json.dumps({"seconds": seconds, "trades": parser.trades}), flush=True)


if __name__ == "__main__":
    main()
