"""Which shard a pair belongs to, and which worker owns a shard.

Law: `shard = fnv1a32(venue ":" symbol) % 32`; worker `i` of `N` owns the shards `s` with `s % N == i`.
Never the built-in `hash()`, which differs from process to process.
"""

from functools import lru_cache

SHARDS = 32


def fnv1a32(data: bytes) -> int:
    """The 32-bit FNV-1a hash (http://www.isthe.com/chongo/tech/comp/fnv/)."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


@lru_cache(maxsize=4_096)  # clients make names up, and each of these can be long
def shard_of(venue: str, symbol: str) -> int:
    return fnv1a32(f"{venue}:{symbol}".encode()) % SHARDS


def worker_of(shard: int, workers: int) -> int:
    return shard % workers


def shards_of(worker: int, workers: int) -> range:
    """The shards that worker `worker` of `workers` owns."""
    return range(worker, SHARDS, workers)
