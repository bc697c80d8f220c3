"""How the metrics of a worker begin: with what the store has of the candles before those that are about to come."""

import logging
from collections.abc import Callable, Mapping, Set
from typing import Any

from wick.errors import StoreError
from wick.market.intervals import INTERVALS, NAMES
from wick.metrics.processor import Processor, history_of
from wick.net.clock import steady_ns
from wick.ops.settings import Settings
from wick.storage.store import Store, open_store, path_of, url_of
from wick.stream.shard import CandleRules
from wick.stream.shards import shard_of

Pair = tuple[str, str]  # venue, symbol

log = logging.getLogger("wick")


def warm(
    settings: Settings,
    processor: Processor,
    rules: Mapping[str, CandleRules],
    shards: Set[int],
    saved: Set[Pair],
    first_ms: int,
    breathe: Callable[[], Any],
) -> None:
    """For the pairs of these shards but those that were saved; `first_ms`: when what is about to come begins. A store
    that cannot be read is said: then they begin without."""
    url, started, taken = url_of(settings), steady_ns(), 0
    if url.startswith("sqlite:") and not path_of(settings).exists():
        return
    try:
        store = open_store(url, read_only=True)
        pairs = [
            (venue, symbol)
            for venue, symbol in store.symbols()
            if venue in rules and shard_of(venue, symbol) in shards and (venue, symbol) not in saved
        ]
        for index, interval in enumerate(INTERVALS if pairs else ()):
            before_ms, most = interval.open_ms(first_ms), settings["aggregator.warmup"]
            taken += _learn(store, processor, rules, pairs, index, before_ms, most, breathe)
            log.info("metrics of %s have their history, %d candles so far", interval.name, taken)
        store.close()
    except StoreError as error:
        log.error("the metrics begin without a history: %s", error)
        return
    log.info("warmed %d pairs with %d candles in %d ms", len(pairs), taken, (steady_ns() - started) // 1_000_000)


def _learn(
    store: Store,
    processor: Processor,
    rules: Mapping[str, CandleRules],
    pairs: list[Pair],
    index: int,
    before_ms: int,
    most: int,
    breathe: Callable[[], Any],
) -> int:
    """The candles of an interval; how many there were."""
    columns, histories, decimals, next_ms = [], [], [], []
    for venue, symbol in pairs:
        breathe()
        rows = store.inputs(venue, symbol, NAMES[index], most, before_ms)
        is_flat = rules[venue].empty == "flat"
        history = history_of(rows, contiguous=is_flat)
        if history is not None:
            columns.append(processor.column(venue, symbol))
            histories.append(history.candles)
            decimals.append(history.decimals)
            next_ms.append(history.close_ms if is_flat else 0)
    for _ in processor.learn(index, columns, histories, decimals, next_ms):
        breathe()
    return sum(one.shape[1] for one in histories)
