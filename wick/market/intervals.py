"""The interval table: adding an interval is one line in `INTERVALS`.

A candle covers `[open, close)` in event time, UTC. Fixed lengths count from the Unix epoch, except that weeks
open on Monday (1970-01-01 was a Thursday); months follow the calendar. All times are integer milliseconds.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
FIRST_MONDAY_MS = 4 * DAY


class Interval(NamedTuple):
    """One row of the table: its name, and where the candle that holds an instant opens and closes (ms).

    `parts` names the shorter interval whose candles it is put together from: each of its boundaries is one of theirs.
    """

    name: str
    parts: str
    open_ms: Callable[[int], int]
    close_ms: Callable[[int], int]


def _fixed(name: str, parts: str, length_ms: int, origin_ms: int = 0) -> Interval:
    return Interval(name, parts, lambda t: t - (t - origin_ms) % length_ms, lambda open_ms: open_ms + length_ms)


def _month_open(t_ms: int) -> int:
    day = datetime.fromtimestamp(t_ms // 1000, UTC)
    return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1000


def _month_close(open_ms: int) -> int:
    # The 1st plus 32 days is always in the next month.
    return _month_open(open_ms + 32 * DAY)


INTERVALS: tuple[Interval, ...] = (
    _fixed("15s", "", 15 * SECOND),
    _fixed("30s", "15s", 30 * SECOND),
    _fixed("1m", "30s", MINUTE),
    _fixed("3m", "1m", 3 * MINUTE),
    _fixed("5m", "1m", 5 * MINUTE),
    _fixed("15m", "5m", 15 * MINUTE),
    _fixed("30m", "15m", 30 * MINUTE),
    _fixed("1h", "30m", HOUR),
    _fixed("4h", "1h", 4 * HOUR),
    _fixed("1d", "4h", DAY),
    _fixed("1w", "1d", WEEK, FIRST_MONDAY_MS),
    Interval("1M", "1d", _month_open, _month_close),
)

NAMES: tuple[str, ...] = tuple(interval.name for interval in INTERVALS)
_BY_NAME = {interval.name: interval for interval in INTERVALS}


def by_name(name: str) -> Interval:
    """The interval called `name`; KeyError names the valid ones."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise KeyError(f"interval {name!r} is not one of {', '.join(NAMES)}") from None


@lru_cache(maxsize=64)
def _bounds(first: int) -> tuple[list[int], list[int]]:
    opens = [interval.open_ms(first) for interval in INTERVALS]
    return opens, [interval.close_ms(at) for interval, at in zip(INTERVALS, opens, strict=True)]


def bounds(t_ms: int) -> tuple[list[int], list[int]]:
    """Where the candles of all intervals that hold an instant open and close; remembered, for who asks in a crowd."""
    return _bounds(INTERVALS[0].open_ms(t_ms))
