"""A venue's own candles into the store, as FOREIGN rows: history at once, though without what single trades tell."""

from collections.abc import Iterable, Iterator, Sequence
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
    venue: Venue, asking: Asking, symbol: str, wanted: Iterable[tuple[Interval, int]], to_ms: int
) -> Iterator[list[Found]]:
    """Those that open at the time beside their interval or later, and have closed by `to_ms`: page by page, those of an
    interval by time. What several intervals are made of is asked for once. AskError."""
    by_source: dict[str, list[_Making]] = {}
    for interval, from_ms in wanted:
        made_of = foreign.source(interval.name, venue.candles)
        if not made_of:
            have = ", ".join(one.name for one in offered(venue)) or "none"
            raise AskError(f"{venue.title} has no candles of {interval.name}: valid is {have}")
        making = _Making(interval, made_of, from_ms, to_ms, venue.empty == "flat")
        by_source.setdefault(made_of, []).append(making)
    for made_of, some in by_source.items():
        for page in _pages(venue, asking, symbol, made_of, min(one.from_ms for one in some), to_ms):
            yield [Found(symbol, one.interval, one.rows(page)) for one in some]
        yield [Found(symbol, one.interval, one.last()) for one in some]


class _Making:
    """Candles of an interval, made of those of a venue as they come."""

    def __init__(self, interval: Interval, made_of: str, from_ms: int, to_ms: int, has_quiet: bool) -> None:
        self.interval, self.from_ms = interval, from_ms
        self._made_of, self._to_ms, self._has_quiet = made_of, to_ms, has_quiet
        self._parts: list[foreign.Kline] = []  # of the newest one, of which more may come

    def rows(self, page: list[foreign.Kline]) -> list[Row]:
        if not page:
            return []
        parts = self._parts + page
        newest_ms = self.interval.open_ms(parts[-1].open_ms)
        self._parts = [one for one in parts if one.open_ms >= newest_ms]
        return self._made(parts[: len(parts) - len(self._parts)])

    def last(self) -> list[Row]:
        return self._made(self._parts)

    def _made(self, parts: Sequence[foreign.Kline]) -> list[Row]:
        made = foreign.merged(parts, self._made_of, self.interval, self._has_quiet)
        wanted = [
            one for one in made if one.open_ms >= self.from_ms and self.interval.close_ms(one.open_ms) <= self._to_ms
        ]
        return foreign.rows(wanted, self.interval)


def _pages(
    venue: Venue, asking: Asking, symbol: str, name: str, from_ms: int, to_ms: int
) -> Iterator[list[foreign.Kline]]:
    """The venue's candles that open at `from_ms` or later and have closed by `to_ms`, by time."""
    length_ms = foreign.length_ms(name)

    def ask(at_ms: int, before_ms: int) -> list[foreign.Kline]:
        count = max(1, min(venue.candles_a_page, (before_ms - at_ms) // length_ms))
        path, weight = venue.candles_path(symbol, name, at_ms, count), venue.candles_weight(count)
        page = [one for one in asking.ask(path, weight, venue.parse_candles) if one.open_ms >= at_ms]
        if any(foreign.open_ms(name, one.open_ms) != one.open_ms for one in page):
            raise AskError(f"{venue.title} has candles of {name} that do not begin when ours do")
        return page

    at_ms = foreign.open_ms(name, from_ms)
    if at_ms < from_ms:
        at_ms = foreign.end_ms(name, at_ms, 1)
    while foreign.end_ms(name, at_ms, 1) <= to_ms:
        count = max(1, min(venue.candles_a_page, (to_ms - at_ms) // length_ms))
        end_ms = foreign.end_ms(name, at_ms, count)
        page = ask(at_ms, to_ms)
        # One that gives fewer than it is taken for gives the newest of them (others: later ones, from its first on).
        while venue.empty == "flat" and page and at_ms < page[0].open_ms and page[-1].open_ms < end_ms:
            before = [one for one in ask(at_ms, page[0].open_ms) if one.open_ms < page[0].open_ms]
            if not before:
                break
            page = before + page
        yield [one for one in page if foreign.end_ms(name, one.open_ms, 1) <= to_ms]
        at_ms = max(end_ms, foreign.end_ms(name, page[-1].open_ms, 1) if page else 0)


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
