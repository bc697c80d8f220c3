"""Flushes for tests of the tick log, a log to put them into, and a disk that has no room."""

import resource
import signal
from contextlib import closing, contextmanager

from wick.market.trades import Trade
from wick.storage import ticklog
from wick.storage.logwriter import FileLog, Limits
from wick.storage.ticklog import SUFFIX, read
from wick.wire.messages import TickHeader, pack_trade

ALL = frozenset(range(32))
RECORD = pack_trade(Trade("BTC-USDT", 1, 2, 3, 4, 5, 6, True), 7)
LARGE = 10**9  # a segment that never fills
PLENTY = 10**12


def flush(*parts, block=0):
    """A flush of (shard, seq, count of records): its header, and the records in two pieces."""
    listed = [[shard, seq, False, ["BTC-USDT"] * bool(count), [count] * bool(count)] for shard, seq, count in parts]
    records = RECORD * sum(count for _, _, count in parts)
    middle = len(records) // 2
    number = block or max([seq for _, seq, _ in parts], default=1)
    return TickHeader(1, number, 0, "binance", 5, 6, listed), [records[:middle], records[middle:]]


def batch(shard, seq, count=1):
    return flush((shard, seq, count))


def packed(header, records):
    return ticklog.block((header.epoch, header.block), header.pack(), records)


@contextmanager
def written(directory, segment_bytes=LARGE, budget_bytes=PLENTY, **others):
    with closing(FileLog(directory, Limits(segment_bytes, budget_bytes), **others)) as log:
        yield log


def put(log, header, records):
    """As the feed does it: a new segment where it is time, between two flushes."""
    if log.is_due(header.send_ns):
        log.begin((header.epoch, header.block), b"", header.send_ns)
    return log.append(header, records)


def read_back(directory, shards=ALL):
    return [
        (part[0], part[1], bytes(some))
        for header, records in read(directory, shards if shards is None else frozenset(shards))
        for part, some in header.pieces(records)
    ]


def segments(directory):
    return sorted(directory.glob("*" + SUFFIX))


@contextmanager
def limited(size):
    """No file of this process may grow beyond that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
