"""Which shard a pair belongs to, and which worker owns it: fixed for ever, the same in every process."""

import subprocess
import sys

import pytest

from wick.stream.shards import SHARDS, fnv1a32, shard_of, shards_of, worker_of


@pytest.mark.parametrize(("data", "value"), [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_the_hash_is_fnv_1a(data, value):
    assert fnv1a32(data) == value


def test_a_pair_s_shard_is_the_hash_of_venue_and_symbol():
    assert shard_of("binance", "BTC-USDT") == fnv1a32(b"binance:BTC-USDT") % SHARDS
    assert shard_of("binance", "币安-USDT") == fnv1a32("binance:币安-USDT".encode()) % SHARDS


def test_another_process_with_another_hash_seed_agrees():
    code = "from wick.stream.shards import shard_of; print(shard_of('binance', 'ETH-USDT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == shard_of("binance", "ETH-USDT")


@pytest.mark.parametrize("workers", range(1, SHARDS + 1))
def test_every_shard_is_owned_by_exactly_one_worker(workers):
    owned = [shard for worker in range(workers) for shard in shards_of(worker, workers)]
    assert sorted(owned) == list(range(SHARDS))
    assert all(worker_of(s, workers) == w for w in range(workers) for s in shards_of(w, workers))
