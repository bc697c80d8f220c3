"""A worker in the test's own process: what a feed sends it, and what it publishes."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wick.market.trades import Quote, Trade
from wick.ops.settings import Settings
from wick.roles.aggregator import Aggregator
from wick.storage.logwriter import FileLog, Limits
from wick.stream.ticks import Ticks
from wick.wire.messages import Closes, TickHeader

MS = 1_000_000
CLOCK_NS = 250 * MS  # how often a shard without ticks is told the time
VENUE = "binance"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "PEPE-USDT", "SOL-USDT", "DOGE-USDT")
START_MS = 1_723_161_592_000  # 2024-08-08 23:59:52 UTC: every interval but week and month rolls in 8 s

Message = list[bytes]


class Heard:
    """Stands where a worker's PUB socket is: everything that was published, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send_multipart(self, frames: Message) -> None:
        self.messages.append(frames)

    def close(self) -> None:
        pass

    @property
    def rows(self) -> dict[bytes, list[Any]]:
        """Of each shard all closed and revised rows, in the order in which they were published."""
        found: dict[bytes, list[Any]] = {}
        for topic, body in self.messages:
            if topic.startswith(b"closes."):
                found.setdefault(topic, []).extend(Closes.unpack(body).rows)
        return {topic: rows for topic, rows in sorted(found.items()) if rows}


@contextmanager
def working(data_dir: Path, index: int = 0, **settings: Any) -> Iterator[tuple[Aggregator, Heard]]:
    """A worker of that directory, by default the only one, not started: who tests it says when it reads, works and
    publishes."""
    given = {name.replace("__", "."): value for name, value in settings.items()}
    # A short history: corrected candles are taken again, and the sessions here correct many.
    own = {"core.data_dir": str(data_dir), "aggregator.workers": 1, "aggregator.history": 6}
    role = Aggregator(Settings(own | given), index)
    role.pub.close(linger=0)
    role.pub = heard = Heard()  # type: ignore[assignment]
    try:
        yield role, heard
    finally:
        role._greenlets.kill()
        role.keeper.close()
        role.pull.close(linger=0)
        role.router.close(linger=0)


class Venue:
    """A feed's flushes, as it sends them: `flush` is one message of what was traded since the last."""

    def __init__(self, epoch: int = 7, name: str = VENUE, symbols: Sequence[str] = SYMBOLS) -> None:
        self.epoch, self.name, self.symbols = epoch, name, symbols
        self.ticks, self.now_ms = Ticks(name, symbols), START_MS
        self.block = 0
        self.ids = dict.fromkeys(symbols, 0)

    def begin_anew(self) -> None:
        """The feed is another process: it has heard nothing so far."""
        self.epoch, self.block, self.ticks = self.epoch + 1, 0, Ticks(self.name, self.symbols)

    def trade(self, symbol: str = "BTC-USDT", price: int = 10, size: int = 1, late_ms: int = 0, skip: int = 0) -> None:
        self.ids[symbol] += 1 + skip
        event_ns = (self.now_ms - late_ms) * MS
        trade = Trade(symbol, event_ns, self.ids[symbol], price, 2, size, 3, bool(price & 1))
        self.ticks.take([trade], self.now_ms * MS)

    def quote(self, symbol: str, price: int) -> None:
        self.ticks.take([Quote(symbol, 1, price, 1, price + 1, 1, 2, 3)], self.now_ms * MS)

    def flushes(self) -> list[Message]:
        """None where there is nothing to tell."""
        now_ns = self.now_ms * MS
        return [
            [self._header(now_ns, portion.parts), portion.records]
            for portion in self.ticks.portions(1, now_ns, now_ns - CLOCK_NS)
        ]

    def _header(self, now_ns: int, parts: list[Any]) -> bytes:
        self.block += 1
        clock_ns = self.ticks.clock.at(now_ns)
        return TickHeader(self.epoch, self.block, self.block - 1, self.name, now_ns, clock_ns, parts).pack()

    def flush(self) -> Message:
        (message,) = self.flushes()
        return message


def session(seed: int, flushes: int = 120, venue: Venue | None = None) -> list[Message]:
    """What a feed sends in some minutes: late trades, holes, quotes, outages, clocks without a tick."""
    chance, venue = random.Random(seed), venue or Venue()
    messages = []
    for _ in range(flushes):
        venue.now_ms += chance.choice((10, 40, 250, 900, 4_000))
        for _ in range(chance.choice((0, 1, 3, 30))):
            symbol = chance.choice(venue.symbols)
            if chance.random() < 0.2:
                venue.quote(symbol, chance.randint(1, 999))
            else:
                late_ms = chance.choice((0, 0, 0, 0, 600, 20_000, 70_000))
                skip = chance.choice((0, 0, 0, 0, 0, 0, 2))
                venue.trade(symbol, chance.randint(1, 999), chance.randint(1, 999), late_ms, skip)
        if chance.random() < 0.04:
            venue.ticks.outage()
        messages += venue.flushes()
    venue.now_ms += 90_000
    venue.trade(venue.symbols[0])
    return [*messages, venue.flush()]


@contextmanager
def logging_to(directory: Path) -> Iterator[Callable[[Message], None]]:
    """Writes a message to the tick log, as the feed does before it sends it."""
    log = FileLog(directory, Limits(1 << 20, 1 << 24))

    def write(message: Message) -> None:
        header = TickHeader.unpack(message[0])
        if log.is_due(header.send_ns):
            log.begin((header.epoch, header.block), b"", header.send_ns)
        log.append(header, [message[1]])

    yield write
    log.close()
    assert not log.failed


def logged(directory: Path, messages: Iterable[Message]) -> None:
    """All of them in a tick log."""
    with logging_to(directory) as write:
        for message in messages:
            write(message)
