"""A venue's own candles into the store, as FOREIGN rows: history at once, though without what single trades tell."""

from collections.abc import Iterable, Iterator
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


def fetch(
    venue: Venue, asking: Asking, symbol: str, interval: Interval, from_ms: int, before_ms: int, closed_ms: int
) -> Found:
    """Those that open in [from, before) and have closed by `closed_ms`. AskError."""
    made_of = foreign.source(interval.name, venue.candles)
    if not made_of:
        have = ", ".join(one.name for one in offered(venue)) or "none"
        raise AskError(f"{venue.title} has no candles of {interval.name}: valid is {have}")
    if made_of == interval.name:
        klines = [*_pages(venue, asking, symbol, made_of, from_ms, before_ms)]
    else:
        until_ms = interval.close_ms(interval.open_ms(before_ms - 1))
        parts = _pages(venue, asking, symbol, made_of, from_ms, min(until_ms, closed_ms))
        klines = [*foreign.merged(parts, made_of, interval)]
    wanted = [
        one for one in klines if from_ms <= one.open_ms < before_ms and interval.close_ms(one.open_ms) <= closed_ms
    ]
    return Found(symbol, interval, foreign.rows(wanted, interval))


def _pages(
    venue: Venue, asking: Asking, symbol: str, name: str, from_ms: int, before_ms: int
) -> Iterator[foreign.Kline]:
    at_ms, most, length_ms = from_ms, venue.candles_a_page, foreign.length_ms(name)
    while at_ms < before_ms:
        count = min(most, (before_ms - at_ms) // length_ms + 1)  # one more than needed, for what calendars do
        path, weight = venue.candles_path(symbol, name, at_ms, count), venue.candles_weight(count)
        page = [one for one in asking.ask(path, weight, venue.parse_candles) if one.open_ms >= at_ms]
        yield from (one for one in page if one.open_ms < before_ms)
        if len(page) < count:
            return  # there are no more
        at_ms = page[-1].open_ms + 1


class Enriching:
    """Metrics for the rows of a venue, each stream's from its first row on; those of a stream come by time.

    `is_flat`: the venue has candles for quiet periods too, so what is behind a gap begins anew.
    """

    def __init__(self, venue: str, is_flat: bool) -> None:
        self._venue, self._is_flat = venue, is_flat
        self._streams = Streams()
        self._parts: dict[tuple[str, str], tuple[int, int]] = {}  # which part of a stream goes on, and from when on

    def batch(self, found: Iterable[Found]) -> Batch:
        keys: list[tuple[str, str, int]] = []
        rows: list[Row] = []
        for symbol, interval, own in found:
            part, next_ms = self._parts.get((symbol, interval.name), (0, 0))
            for row in own:
                if self._is_flat and next_ms != row[0]:
                    part += 1
                next_ms = row[_CLOSE]
                keys.append((symbol, interval.name, part))
                rows.append(row)
            self._parts[symbol, interval.name] = part, next_ms
        made = self._streams.enrich(keys, rows)
        named = zip(keys, made, strict=True)
        return Batch.of_rows([[self._venue, symbol, name, *row] for (symbol, name, _), row in named])
