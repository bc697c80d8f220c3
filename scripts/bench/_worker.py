"""An aggregator worker inside the benchmark's own process: the real role, handed messages instead of reading a socket.

What is left out is the read from the PULL socket (about 5 us a message); its PUB socket is there and is written to.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import gevent

from wick.market.schema import HEAD_FIELDS
from wick.net import bus, endpoints
from wick.net.clock import steady_ns
from wick.ops.settings import Settings
from wick.roles.aggregator import Aggregator

COUNT = HEAD_FIELDS.index("trade_count")


class Worker(Aggregator):
    """The role without its greenlets: what they would do, `take` and `flush` do."""

    def spawn(self, body: Callable[..., Any], *arguments: Any) -> Any:
        """Nothing starts by itself."""

    def take(self, messages: list[list[bytes]]) -> None:
        """What the socket's reader does with what it finds."""
        for at in range(0, len(messages), bus.DRAIN_BUDGET):
            for frames in messages[at : at + bus.DRAIN_BUDGET]:
                self._receive(frames)
            gevent.sleep(0)

    def turn(self) -> None:
        """The first half of what the flush timer does: the actors that have something to do do it."""
        self._breathed_ns = steady_ns()
        self._turn()

    def publish(self) -> None:
        """The other half."""
        self._flush()

    def flush(self) -> None:
        self.turn()
        self.publish()

    def totals(self) -> int:
        """Trades in the candles: what must be equal to what was handed over."""
        return sum(
            int(state.candles.groups[0][COUNT]) for shard in self.shards.values() for state in shard.pairs.values()
        )

    def close(self) -> None:
        self.keeper.close()
        for socket in (self.pub, self.pull, self.router):
            socket.close(linger=0)


@contextmanager
def worker(**settings: Any) -> Iterator[Worker]:
    """The only worker, of all shards; without a tick log, which only its start and a hole would read."""
    logging.getLogger("wick").setLevel(logging.CRITICAL)
    with TemporaryDirectory(prefix="wb-") as folder:
        endpoints.run_dir(folder)
        own = {"core.data_dir": folder, "aggregator.workers": 1, "ticklog.enabled": False}
        made = Worker(Settings(own | settings), 0)
        made.start()
        made._begin()
        try:
            yield made
        finally:
            made.close()
            gc.unfreeze()
