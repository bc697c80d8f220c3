"""What a sink has around it: workers with outboxes, played by the test, and a store that fails when it is told to."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.storage.candles import row
from wick.errors import FencedError, StoreAwayError
from wick.market.schema import METRIC_FIELDS
from wick.net import bus
from wick.storage.batch import Batch
from wick.storage.store import Position
from wick.stream.shards import shards_of
from wick.wire.messages import Closes, Kept, Request, closes_topic

PAGE_BYTES = 100_000


class Worker:
    """Publishes closes, and answers from its outbox when it is told to `serve`."""

    def __init__(self, data_dir: Path, index: int = 0, count: int = 1, epoch: int = 1) -> None:
        self.data_dir, self.index, self.count = data_dir, index, count
        self.outbox: dict[int, list[tuple[Position, bytes]]] = {shard: [] for shard in shards_of(index, count)}
        self.asked: list[Request] = []
        self.start(epoch)

    def start(self, epoch: int) -> None:
        """With a new epoch, which is announced in every shard."""
        self.pub, self.router = bus.publisher(self.data_dir, f"aggregator-{self.index}"), None
        self.router = bus.router(self.data_dir, self.index)
        self.epoch, self.seq = epoch, dict.fromkeys(self.outbox, 0)
        for shard in self.outbox:
            self.close_candles(shard)

    def kill(self) -> None:
        """What it has not sent is gone, and who asks gets no answer."""
        for socket in (self.pub, self.router):
            socket.close(linger=0)

    def close_candles(self, shard: int, *rows: list[Any], publish: bool = True) -> Position:
        self.seq[shard] += 1
        position = self.epoch, self.seq[shard]
        body = Closes.of_rows(*position, 0, list(rows)).pack()
        self.outbox[shard].append((position, body))
        if publish:
            self.pub.send_multipart([closes_topic(shard), body])
        return position

    def serve(self) -> None:
        if not self.router.closed:
            bus.drain(self.router, self._answer)

    def _answer(self, frames: list[bytes]) -> None:
        request = Request.unpack(frames[-1])
        self.asked.append(request)
        kept = self.outbox[request.shard]
        behind = [body for position, body in kept if position > (request.epoch, request.after)]
        page, size = 0, 0
        while page < len(behind) and size < PAGE_BYTES:
            size += len(behind[page])
            page += 1
        told = Kept(*(kept[0][0] + kept[-1][0] if kept else (0, 0, 0, 0)), page < len(behind))
        self.router.send_multipart([frames[0], frames[-1], told.pack(), *behind[:page]])


def candle(number: int, symbol: str = "BTC-USDT", **fields: Any) -> list[Any]:
    return row(60_000 * number, symbol, flags=1, trade_count=number, **dict.fromkeys(METRIC_FIELDS), **fields)


class FakeStore:
    """In memory. `trouble`: what every call raises; `hold`: a write waits while it is cleared."""

    address = "fake:store"

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.writes_fail: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.is_waiting = threading.Event()
        self.transactions: list[tuple[list[list[Any]], dict[str, Position]]] = []
        self.stands: dict[str, Position] = {}
        self.writers = self.failures = self.rests = 0
        self.compacted: list[Mapping[str, float]] = []
        self.steps: Callable[[], Iterator[str]] = lambda: iter(())
        self.is_closed = False

    def _check(self, *more: Exception | None) -> None:
        for trouble in (self.trouble, *more):
            if trouble:
                self.failures += 1
                raise trouble

    def open(self) -> "FakeStore":
        self._check()
        return self

    def take_over(self) -> int:
        self._check()
        self.writers += 1
        return self.writers

    def positions(self) -> dict[str, Position]:
        self._check()
        return dict(self.stands)

    def write(self, batch: Batch, positions: Mapping[str, Position]) -> None:
        if not self.go.is_set():
            self.is_waiting.set()
            assert self.go.wait(30)
        self._check(self.writes_fail)
        self.transactions.append((batch.rows(), dict(positions)))
        self.stands |= positions

    def rest(self) -> None:
        self._check()
        self.rests += 1

    def compact(self, keep_days: Mapping[str, float]) -> Iterator[str]:
        self.compacted.append(keep_days)
        return self.steps()

    def close(self) -> None:
        self.is_closed = True

    @property
    def rows(self) -> list[list[Any]]:
        """All that was written, in order."""
        return [one for rows, _ in list(self.transactions) for one in rows]


AWAY = StoreAwayError("fake:store: nobody answers")
FENCED = FencedError("fake:store: another writes")
