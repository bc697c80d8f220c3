"""A venue's own candles into the store, as FOREIGN rows: history at once, though without what single trades tell."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from wick.exchanges import Venue
from wick.market import foreign
from wick.market.intervals import INTERVALS, Interval
from wick.market.schema import CANDLE_FIELDS, Row
from wick.metrics.streams import Streams
from wick.roles.asking import AskError, Asking
from wick.storage.batch import Batch

_CLOSE = CANDLE_FIELDS.index("close_time_ms")


class Found(NamedTuple):
    """Closed candles of a pair and an interval, FORMED rows by time."""

    symbol: str
    interval: Interval
    rows: list[Row]


def offered(venue: Venue) -> list[Interval]:
    """Those of ours that can be had of the venue."""
    return [one for one in INTERVALS if foreign.source(one.name, venue.candles)]


def fetch(venue: Venue, asking: Asking, symbol: str, interval: Interval, from_ms: int, to_ms: int) -> Found:
    """What has opened since `from_ms` and closed by `to_ms`. AskError."""
    made_of = foreign.source(interval.name, venue.candles)
    if not made_of:
        have = ", ".join(one.name for one in offered(venue)) or "none"
        raise AskError(f"{venue.title} has no candles of {interval.name}: valid is {have}")
    klines = [*_pages(venue, asking, symbol, made_of, from_ms, to_ms)]
    whole = klines if made_of == interval.name else [*foreign.merged(klines, made_of, interval)]
    closed = [one for one in whole if one.open_ms >= from_ms and interval.close_ms(one.open_ms) <= to_ms]
    return Found(symbol, interval, foreign.rows(closed, interval))


def _pages(venue: Venue, asking: Asking, symbol: str, name: str, from_ms: int, to_ms: int) -> Iterator[foreign.Kline]:
    at_ms, most = from_ms, venue.candles_a_page
    while at_ms < to_ms:
        count = min(most, (to_ms - at_ms) // foreign.length_ms(name) + 1)
        path, weight = venue.candles_path(symbol, name, at_ms, count), venue.candles_weight(count)
        page = [one for one in asking.ask(path, weight, venue.parse_candles) if one.open_ms >= at_ms]
        yield from (one for one in page if one.open_ms < to_ms)
        if not page:
            return
        at_ms = page[-1].open_ms + 1


def enriched(venue: str, found: Iterable[Found], is_flat: bool) -> Batch:
    """The rows with metrics, each stream's from its first row on. `is_flat`: what is behind a gap begins anew."""
    keys: list[tuple[str, str, int]] = []
    rows: list[Row] = []
    for symbol, interval, own in found:
        part = 0
        for before, row in pairwise([None, *own]):
            assert row is not None
            if is_flat and before is not None and before[_CLOSE] != row[0]:
                part += 1
            keys.append((symbol, interval.name, part))
            rows.append(row)
    made = Streams().enrich(keys, rows)
    return Batch.of_rows([[venue, symbol, name, *row] for (symbol, name, _), row in zip(keys, made, strict=True)])
