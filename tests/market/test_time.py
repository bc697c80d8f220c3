"""Calendars and clocks: every kind of boundary, clocks that jump, stand or go back, outages, trades out of time."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.market.reference import (
    CALENDAR,
    CLOSED,
    DAY,
    EMPTY,
    HOUR,
    MINUTE,
    MS,
    PARTIAL,
    REVISED,
    SUSPECT,
    Reference,
    bounds,
)  # fmt: skip
from tests.market.streams import (
    BOUNDARIES,
    GRACE_MS,
    HISTORY,
    Stream,
    named,
    new_pair,
    play,
    streams,
)  # fmt: skip
from tests.market.test_flow_laws import check, ended, same
from wick.market.intervals import INTERVALS

T0 = 1_723_117_620_000  # 2024-08-08 11:47:00 UTC


def trade(at_ms, trade_id, price=10, quantity=1, buy=True):
    return (at_ms * MS, trade_id, price, 0, quantity, 0, buy, 1)


def arriving(*events):
    """Trades and (integers) steps of the clock, in the order in which they come."""
    listed = [("clock", one) if isinstance(one, int) else ("trades", [one]) for one in events]
    return Stream(listed, [one for one in events if not isinstance(one, int)])


def closed(pair, name="15s"):
    return [row for n, row in ((n, named(row)) for n, row in pair.drain_closed()) if n == name]


# ---------------------------------------------------------------------- calendars


@pytest.mark.parametrize("interval", INTERVALS, ids=CALENDAR)
@given(
    t_ms=st.one_of(st.integers(0, 4_200_000_000_000), st.sampled_from(sorted(BOUNDARIES.values()))),
    step=st.integers(-1, 1),
)
def test_the_table_of_intervals_is_the_calendar(interval, t_ms, step):
    open_ms, close_ms = bounds(interval.name, t_ms + step)
    assert (interval.open_ms(t_ms + step), interval.close_ms(open_ms)) == (open_ms, close_ms)


@pytest.mark.parametrize(
    ("day", "length"),
    [((2023, 2), 28), ((2024, 2), 29), ((2000, 2), 29), ((2100, 2), 28), ((2024, 4), 30), ((2024, 12), 31)],
)
def test_a_month_is_as_long_as_it_is(day, length):
    at = int(datetime(*day, 15, tzinfo=UTC).timestamp()) * 1_000
    open_ms, close_ms = bounds("1M", at)
    assert close_ms - open_ms == length * DAY
    pair = new_pair(["1d", "1M"], grace_ms=0)
    pair.trades([trade(open_ms, 1), trade(close_ms - 1, 2), trade(close_ms, 3)])
    pair.advance(close_ms)
    rows = [(name, row) for name, row in ((name, named(row)) for name, row in pair.drain_closed())]
    assert [row["trade_count"] for name, row in rows if name == "1M"] == [2]
    assert len([row for name, row in rows if name == "1d"]) == length


@pytest.mark.parametrize("kind", sorted(BOUNDARIES))
def test_the_last_millisecond_and_the_first_are_two_candles_of_whatever_ends_there(kind):
    at = BOUNDARIES[kind]
    ends = [name for name in CALENDAR if bounds(name, at)[0] == at]
    stream = arriving(at - 1, trade(at - 1, 1), at, trade(at, 2), at + 15_000 + GRACE_MS)
    run = play(stream.events, new_pair())
    assert [name for name, row in run.published if row["trade_count"] and row["close_time_ms"] == at] == ends
    check(stream, run)


def test_the_cvd_begins_anew_at_midnight_and_with_each_day_week_and_month():
    midnight = BOUNDARIES["the 1st, a Monday"]
    stream = arriving(
        trade(midnight - 40_000, 1, quantity=5),
        trade(midnight - 1, 2, quantity=2, buy=False),
        trade(midnight, 3, quantity=7),
        trade(midnight + 20_000, 4, quantity=1, buy=False),
        midnight + 35_000,
    )
    run = play(stream.events, new_pair())
    cvds = [row["cvd"] for name, row in run.published if name == "15s"]
    assert cvds == [5, 5, 3, 7, 6]
    assert [row["cvd"] for name, row in run.published if name in ("1d", "1w", "1M")] == [3, 3, 3]
    assert {
        row["cvd_anchor_ms"] for name, row in run.published if name == "15s" and row["open_time_ms"] >= midnight
    } == {midnight}
    check(stream, run)


@pytest.mark.slow
def test_the_cvd_is_anchored_at_midnight_or_at_the_moment_from_which_we_listened_if_that_is_later():
    pair, midnight = new_pair(since_ms=T0 - 7_001), T0 // DAY * DAY
    pair.trades([trade(T0, 1)])
    assert {named(row)["cvd_anchor_ms"] for _, row in pair.live()} == {T0 - 7_001}
    pair.trades([trade(T0 + DAY, 2)])
    rows = {name: named(row) for name, row in pair.live()}
    anchors = {name: row["cvd_anchor_ms"] for name, row in rows.items()}
    assert anchors.pop("1w") == anchors.pop("1M") == T0 - 7_001
    assert set(anchors.values()) == {midnight + DAY}


def test_a_late_trade_moves_the_cvd_of_every_candle_of_its_day_after_it_and_of_no_other_day():
    midnight = BOUNDARIES["midnight"]
    stream = arriving(
        trade(midnight - 60_000, 1), trade(midnight - 1_000, 3), trade(midnight + 1_000, 4), midnight + 40_000,
        trade(midnight - 50_000, 2, quantity=100), midnight + 40_001,
    )  # fmt: skip
    run = play(stream.events, new_pair())
    revised = {
        row["open_time_ms"] - midnight: row["cvd"] for name, row in run.published if name == "15s" and row["revision"]
    }
    assert revised == {-60_000: 101, -45_000: 101, -30_000: 101, -15_000: 102}
    check(stream, run)


# ---------------------------------------------------------------------- clocks


def test_a_clock_that_goes_back_or_stands_changes_nothing():
    pair, undisturbed = new_pair(), new_pair()
    for clock in (T0, T0 + 20_000):
        for one in (pair, undisturbed):
            one.advance(clock)
            one.trades([trade(clock, 1 + (clock > T0))])
        for again in (clock, clock - 1, clock - 15_000, 0, -5):
            pair.advance(again)
    assert repr((pair.groups, pair.live(), pair.clock_ms)) == repr(
        (undisturbed.groups, undisturbed.live(), T0 + 20_000)
    )
    rows = pair.drain_closed()
    assert rows and repr(rows) == repr(undisturbed.drain_closed())


@pytest.mark.slow
@given(stream=streams(clocks=["shakes"]))
def test_steps_back_are_as_if_they_had_not_been(stream):
    clock, forward = -1, []
    for kind, value in stream.events:
        if kind != "clock" or value > clock:
            forward.append((kind, value))
        clock = max(clock, value) if kind == "clock" else clock
    shaken, straight = play(ended(stream), new_pair()), play([*forward, ("clock", stream.end_ms)], new_pair())
    rows = [[row for row in run.published if not row[1]["revision"]] for run in (shaken, straight)]
    assert repr(rows[0]) == repr(rows[1])
    check(stream, shaken)


@pytest.mark.parametrize("ahead_ms", [18_000, HOUR, pytest.param(5 * HOUR, marks=pytest.mark.slow)])
def test_a_clock_that_jumps_ahead_closes_flat_candles_and_the_trades_of_that_time_correct_them(ahead_ms):
    trades = [
        trade(T0 + 4_000 * number, 1 + number, 10 + number % 7, 1 + number, bool(number % 3)) for number in range(40)
    ]
    stream = arriving(*trades[:3], T0 + ahead_ms, *trades[3:], T0 + ahead_ms + 1)
    run = play(ended(stream), new_pair())
    assert any(row["revision"] for _, row in run.published)
    check(stream, run)


def test_however_many_late_trades_come_a_candle_is_corrected_once_at_the_next_step_of_the_clock():
    pair = new_pair(grace_ms=0)
    pair.trades([trade(T0, 1)])
    pair.advance(T0 + 20_000)
    assert len(closed(pair)) == 1
    pair.trades([trade(T0 + number, number) for number in range(2, 500)])
    pair.trades([trade(T0 + 600, 500)])
    assert pair.drain_closed() == []
    pair.advance(T0 + 20_001)
    [row] = closed(pair)
    assert (row["revision"], row["flags"], row["trade_count"]) == (1, CLOSED | REVISED, 500)
    pair.trades([trade(T0 + number, number) for number in range(2, 500)])
    pair.advance(T0 + 20_002)
    assert pair.drain_closed() == [] and pair.counters["duplicates"] == 498


def test_nothing_closes_before_its_grace_is_over_and_everything_does_then():
    pair = new_pair()
    pair.trades([trade(T0, 1)])
    pair.advance(T0 + 15_000 + GRACE_MS - 1)
    assert pair.drain_closed() == []
    pair.trades([trade(T0 + 14_999, 2, 12)])  # within its grace
    pair.advance(T0 + 15_000 + GRACE_MS)
    [row] = closed(pair)
    assert (row["close"], row["revision"], row["flags"]) == (12, 0, CLOSED)


# ---------------------------------------------------------------------- times that contradict the numbers


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (0, 2, 1, 3), (1, 3, 0, 2)])
@pytest.mark.parametrize("hole", [0, 1])
def test_a_trade_a_little_older_than_the_one_numbered_before_it_goes_into_its_own_candle_in_the_numbers_order(
    order, hole
):
    trades = [
        trade(T0 + 100, 1, 10, 3),
        trade(T0 + 15_001, 2, 11, 5, buy=False),
        trade(T0 + 14_999, 3 + hole, 12, 7),
        trade(T0 + 15_300, 4 + hole, 9, 2, buy=False),
    ]
    stream = arriving(*[trades[number] for number in order])
    check(stream, play(ended(stream), new_pair()))


def test_a_newest_trade_that_belongs_into_the_candle_before_leaves_no_trace_in_the_live_one():
    pair = new_pair()
    pair.trades([trade(T0 + 15_001, 1, 10)])
    pair.trades([trade(T0 + 14_999, 2, 20, buy=False)])
    before, live = [named(row) for name, row in pair.live() if name == "15s"]
    assert [before[f] for f in ("open", "volume", "first_trade_id", "last_trade_id")] == [20, 1, 2, 2]
    assert [live[f] for f in ("open", "volume", "first_trade_id", "last_trade_id")] == [10, 1, 1, 1]


def test_flat_candles_stand_at_the_close_of_the_candle_before_them():
    stream = arriving(trade(T0, 1, 10), trade(T0 + 15_001, 2, 11), trade(T0 + 14_999, 3, 12), T0 + 60_000)
    run = play(ended(stream), new_pair())
    assert [row["close"] for name, row in run.published if name == "15s"] == [12, 11, 11, 11]


# ---------------------------------------------------------------------- outages and starts


@given(stream=streams(sizes=["plain"]), data=st.data())
def test_outages_invent_nothing_and_lose_nothing_of_what_came(stream, data):
    events = list(stream.events)
    for _ in range(data.draw(st.integers(1, 3))):
        events.insert(data.draw(st.integers(0, len(events))), ("outage", None))
    run = play([*events, ("clock", stream.end_ms)], new_pair())
    truth, live = Reference(stream.delivered), run.live()
    for name in CALENDAR:
        candles = truth.candles(name, run.clock_ms)
        rows = {open_ms: row for (n, open_ms), row in {**live, **run.newest}.items() if n == name}
        for open_ms, candle in candles.items():
            if candle["trade_count"]:
                row = rows[open_ms]
                fields = ("open", "high", "low", "close", "trade_count", "first_trade_id", "last_trade_id", "cvd")
                scale = {"cvd": 10 ** (truth.quantity_decimals - row["quantity_decimals"])}
                scale |= dict.fromkeys(
                    ("open", "high", "low", "close"), 10 ** (truth.price_decimals - row["price_decimals"])
                )
                assert [row[f] * scale.get(f, 1) for f in fields] == [candle[f] for f in fields], (name, open_ms)
        for open_ms, row in rows.items():
            if open_ms not in candles or not candles[open_ms]["trade_count"]:
                assert row["flags"] & EMPTY and row["volume"] == 0


@given(stream=streams(sizes=["plain"]), data=st.data(), size=st.integers(1, 9))
def test_outages_are_steps_of_the_stream_too(stream, data, size):
    events = list(stream.events)
    events.insert(data.draw(st.integers(0, len(events))), ("outage", None))
    cut = lambda trades: [trades[at : at + size] for at in range(0, len(trades), size)]  # noqa: E731
    same(
        play(ended(Stream(events, stream.delivered)), new_pair(), cut=cut),
        play(ended(Stream(events, stream.delivered)), new_pair()),
    )


@pytest.mark.slow
@given(stream=streams(sizes=["plain"]), at=st.integers(-40_000, 40_000))
def test_candles_that_opened_before_we_listened_are_partial_in_every_interval(stream, at):
    since_ms = stream.delivered[0][0] // MS + at
    check(stream, play(ended(stream), new_pair(since_ms=since_ms)), since_ms=since_ms)


def test_a_trade_older_than_the_first_that_came_gets_its_candle_and_no_flat_ones_behind_it():
    stream = arriving(trade(T0 + 60_000, 2), T0 + 60_500, trade(T0, 1, 12), T0 + 80_000)
    run = play(ended(stream), new_pair())
    rows = [(row["open_time_ms"] - T0, row["close"]) for name, row in run.published if name == "15s"]
    assert rows == [(0, 12), (60_000, 10)]
    check(stream, run)


def test_ids_that_are_missing_before_the_first_that_came_make_their_candle_suspect_too():
    stream = arriving(trade(T0 + 8_000, 4), trade(T0 + 2_000, 1), T0 + 30_000)
    check(stream, play(ended(stream), new_pair()))


def test_a_hole_over_a_border_makes_both_sides_suspect_until_it_is_filled():
    pair = new_pair(grace_ms=0)
    pair.trades([trade(T0 + 14_000, 1), trade(T0 + 16_000, 4)])
    pair.advance(T0 + 30_000)
    assert [row["flags"] for row in closed(pair)] == [CLOSED | SUSPECT] * 2
    pair.trades([trade(T0 + 14_500, 2)])
    pair.advance(T0 + 30_001)
    assert [row["flags"] for row in closed(pair)] == [CLOSED | SUSPECT | REVISED] * len([1, 1])
    pair.trades([trade(T0 + 14_600, 3)])
    pair.advance(T0 + 30_002)
    assert sorted(row["open_time_ms"] - T0 for row in closed(pair)) == [0, 15_000]
    recent = [named(row) for name, row in pair.recent([2] * len(INTERVALS)) if name == "15s"]
    newest = {row["open_time_ms"] - T0: row for row in recent}
    assert {row["flags"] for row in newest.values()} == {CLOSED | REVISED}


def test_a_trade_too_late_for_its_candle_is_counted_and_moves_no_flat_one_behind_it_either():
    pair = new_pair(history=4, grace_ms=0)
    pair.trades([trade(T0, 1, 10)])
    pair.advance(T0 + 10 * MINUTE)
    closed(pair)
    pair.trades([trade(T0 + 5_000, 2, 12)])
    pair.advance(T0 + 10 * MINUTE + 1)
    assert pair.counters["too_late"] == 1
    assert [named(row)["close"] for name, row in pair.recent([3] * len(INTERVALS)) if name == "15s"] == [10] * 3
    revised = [(name, named(row)) for name, row in pair.drain_closed()]
    assert "15s" in {name for name, _ in revised}, "its volume is in the day's CVD all the same"
    assert {row["cvd"] for _, row in revised} == {2}
    assert dict(pair.live())["1h"][9] == 12, "the longer candles, which still hold its time, have it"


@pytest.mark.parametrize("trades", [[(0, 1), (5, 1)], [(0, 1), (0, 2), (7, 3)], [(5, 0), (5, 0)]], ids=str)
def test_prices_and_sizes_of_nothing_do_no_harm(trades):
    """A venue's text may say 0: it is a number like any other, if a strange one."""
    pair = new_pair(grace_ms=0)
    pair.trades([trade(T0 + number, 1 + number, price, size) for number, (price, size) in enumerate(trades)])
    pair.advance(T0 + 15_000)
    [row] = closed(pair)
    assert row["trade_count"] == len(trades) and row["volume"] == sum(size for _, size in trades)


def test_what_is_held_is_enough_for_the_streams_of_these_tests():
    assert HISTORY * 15_000 > 5 * HOUR + 40 * MINUTE and PARTIAL == 4
