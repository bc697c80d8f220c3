"""The interval table against the calendar of the standard library."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.market.intervals import INTERVALS, NAMES, by_name

TIMES = st.datetimes(datetime(2009, 1, 1), datetime(2099, 1, 1)).map(
    lambda t: int(t.replace(tzinfo=UTC).timestamp() * 1000)
)


def utc(ms):
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.mark.parametrize("interval", INTERVALS, ids=NAMES)
@given(t_ms=TIMES)
def test_a_candle_holds_the_instant_that_it_is_asked_for(interval, t_ms):
    open_ms = interval.open_ms(t_ms)
    assert open_ms <= t_ms < interval.close_ms(open_ms)


@pytest.mark.parametrize("interval", INTERVALS, ids=NAMES)
@given(t_ms=TIMES)
def test_candles_follow_each_other_without_gap_or_overlap(interval, t_ms):
    open_ms = interval.open_ms(t_ms)
    close_ms = interval.close_ms(open_ms)
    assert interval.open_ms(close_ms) == close_ms
    assert interval.open_ms(close_ms - 1) == open_ms


@given(t_ms=TIMES)
def test_weeks_open_on_monday_and_months_on_the_first(t_ms):
    week, month = utc(by_name("1w").open_ms(t_ms)), utc(by_name("1M").open_ms(t_ms))
    assert (week.weekday(), week.hour, week.minute, week.second) == (0, 0, 0, 0)
    assert utc(t_ms) - week < timedelta(days=7)
    assert (month.day, month.hour, month.year, month.month) == (1, 0, utc(t_ms).year, utc(t_ms).month)


def test_february_of_a_leap_year_has_29_days():
    month = by_name("1M")
    open_ms = month.open_ms(int(datetime(2024, 2, 15, tzinfo=UTC).timestamp()) * 1000)
    assert month.close_ms(open_ms) - open_ms == 29 * 86_400_000


def test_an_unknown_interval_is_an_error_that_names_the_valid_ones():
    with pytest.raises(KeyError, match="'2m' is not one of 15s, 30s, 1m"):
        by_name("2m")
