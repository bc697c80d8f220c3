"""What is known to be missing: holes that are filled in pages while trade goes on, outages, gaps that stay.

The truth is always a pair that got every trade in time.
"""

import random
from functools import cache

import pytest

from wick.market.candles import PairCandles
from wick.market.schema import CANDLE_FIELDS, REVISED, SUSPECT
from wick.market.trades import Trade
from wick.wire.messages import pack_trade

MS = 1_000_000
START_MS = 1_723_161_600_000  # a midnight
EVERY_MS = 40
NOT_OF_THE_TRADES = ("revision", "flags")


@cache
def trade(number):
    """The venue's trade of that number: one every 40 ms."""
    chance = random.Random(number)
    price, size = chance.randint(9_000, 9_100), chance.randint(1, 99)
    at_ns = (START_MS + number * EVERY_MS) * MS
    return pack_trade(Trade("S", at_ns, number, price, 2, size, 3, chance.random() < 0.5), 0)


def trades(first, last):
    return b"".join(trade(number) for number in range(first, last + 1))


class Feed:
    """A pair that is told of trades, and of the clock each second; its rows as they stand, by interval and opening."""

    def __init__(self, **options):
        self.pair = PairCandles("v", "S", **{"grace_ms": 2_000, **options})
        self.rows = {}
        self.said = []

    def live(self, first, last, step=25):
        """The trades of these numbers as they come: a second's at a time."""
        for number in range(first, last + 1, step):
            end = min(number + step - 1, last)
            self.pair.take(trades(number, end))
            self.clock(START_MS + end * EVERY_MS)

    def clock(self, clock_ms):
        self.pair.advance(clock_ms)
        for interval, row in self.pair.drain_closed():
            named = dict(zip(CANDLE_FIELDS, row, strict=True))
            self.said.append((interval, named))
            self.rows[interval, named["open_time_ms"]] = named

    def flagged(self, flag, interval="15s"):
        """Which of the interval's closed candles, by number, have the flag."""
        found = [at for (name, at), row in self.rows.items() if name == interval and row["flags"] & flag]
        return sorted((at - START_MS) // 15_000 for at in found)

    @property
    def content(self):
        """The rows without how often they were said."""
        return {
            key: {name: value for name, value in row.items() if name not in NOT_OF_THE_TRADES} | {
                "flags": row["flags"] & ~REVISED
            }
            for key, row in self.rows.items()
        }  # fmt: skip


def undisturbed(last, **options):
    feed = Feed(**options)
    feed.live(1, last)
    return feed


def test_a_hole_makes_candles_suspect_and_what_fills_it_makes_them_as_if_it_had_come_in_time():
    feed = Feed()
    feed.live(1, 500)
    feed.live(701, 1_400)  # from 28 s on
    assert feed.pair.counters["missing"] == 200
    assert feed.flagged(SUSPECT) == [1]
    feed.pair.take(trades(501, 700))
    feed.live(1_401, 1_500)
    assert feed.flagged(SUSPECT) == []
    assert feed.flagged(REVISED) == [1, 2], "the day's running delta goes through the second too"
    assert feed.pair.counters["missing"] == 0
    assert feed.content == undisturbed(1_500).content


def test_a_hole_that_is_half_filled_stays_suspect():
    feed = Feed()
    feed.live(1, 500)
    feed.live(701, 1_400)
    feed.pair.take(trades(501, 600) + trades(602, 700))
    feed.live(1_401, 1_500)
    assert feed.pair.counters["missing"] == 1
    assert feed.flagged(SUSPECT) == [1]


def test_an_outage_without_a_hole_is_cleared_up_by_the_next_id():
    feed = Feed()
    feed.live(1, 700)  # to 28 s
    feed.pair.outage()
    for second in range(29, 50):
        feed.clock(START_MS + second * 1_000)
    assert feed.flagged(SUSPECT) == [1, 2], "nobody knows yet"
    late = b"".join([trade(number) for number in range(701, 1_250)])  # it only came late: nothing was missed
    feed.pair.take(late)
    feed.live(1_250, 2_000)
    assert feed.flagged(SUSPECT) == []
    assert feed.pair.counters["missing"] == 0
    assert feed.content == undisturbed(2_000).content


@pytest.mark.parametrize("leap", [1, 10**15])
def test_where_ids_are_the_feeds_own_a_leap_is_one_gap_and_its_candles_stay_suspect(leap):
    feed = Feed(contiguous=False)
    feed.live(1, 500)  # to 20 s
    feed.pair.outage()
    after = [pack_trade(Trade("S", (START_MS + n * EVERY_MS) * MS, n + leap, 9_000, 2, 1, 3, True), 0)
             for n in range(850, 3_100)]  # fmt: skip
    for n, one in enumerate(after, 850):  # from 34 s on
        feed.pair.take(one)
        if n % 25 == 0:
            feed.clock(START_MS + n * EVERY_MS)
    assert feed.pair.counters["missing"] == 1
    assert feed.flagged(SUSPECT) == [1, 2]
    assert {row["flags"] & SUSPECT for (name, at), row in feed.rows.items() if name == "1m"} == {SUSPECT, 0}
    assert len([at for name, at in feed.rows if name == "15s"]) == 8
    assert [row["revision"] for name, row in feed.said if name == "15s"] == [0] * 8, "nothing more is to be known"
    assert feed.pair.counters["duplicates"] == feed.pair.counters["late"] == 0


def test_where_ids_are_the_feeds_own_those_without_a_leap_are_whole_behind_an_outage_too():
    feed = Feed(contiguous=False)
    feed.live(1, 700)
    feed.pair.outage()
    feed.live(701, 2_000)
    assert feed.flagged(SUSPECT) == []
    assert feed.content == undisturbed(2_000).content


def test_a_trade_in_a_gap_that_stays_counts_once_and_clears_nothing():
    feed = Feed(contiguous=False)
    feed.live(1, 500)
    feed.live(502, 1_000)
    feed.pair.take(trade(501) + trade(501))
    feed.live(1_001, 1_500)
    assert feed.flagged(SUSPECT) == [1]
    counters = feed.pair.counters
    assert (counters["trades"], counters["duplicates"], counters["missing"]) == (1_500, 1, 1)


# ---------------------------------------------------------------------- backfill


def pages(first, last, size, newest_first):
    found = [(at, min(at + size - 1, last)) for at in range(first, last + 1, size)]
    return found[::-1] if newest_first else found


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("size", [7, 1_000])
def test_pages_of_old_trades_among_live_ones_end_in_the_same_candles(size, newest_first):
    """Two and a half minutes are missed, and come minutes later, page by page, each in a batch with live trades."""
    feed = Feed()
    feed.live(1, 1_000)
    feed.pair.outage()
    number = 4_751  # at 3 min 10 s, where it is back
    feed.live(number, number + 499)
    number += 500
    assert feed.pair.counters["missing"] == 3_750
    for first, last in pages(1_001, 4_750, size, newest_first):
        feed.pair.take(trades(number, number) + trades(first, last) + trades(number + 1, number + 1))
        number += 2
        if number % 50 < 2:
            feed.clock(START_MS + number * EVERY_MS)
    feed.live(number, number + 500)
    truth = undisturbed(number + 500)
    assert feed.pair.counters["missing"] == feed.pair.counters["too_late"] == 0
    assert feed.pair.counters["late"] == 3_750
    assert feed.flagged(SUSPECT) == [] and feed.flagged(REVISED)
    assert feed.content.keys() == truth.content.keys()
    assert feed.content == truth.content
    assert [list(group) for group in feed.pair.groups] == [list(group) for group in truth.pair.groups]


def test_what_is_older_than_the_history_is_counted_and_stays_suspect_and_longer_candles_are_right():
    feed = Feed(history=4)
    feed.live(1, 1_000)  # to 40 s
    feed.live(1_501, 6_000)  # from 1 min to 4 min: the 15 s of the hole have left the history
    feed.pair.take(trades(1_001, 1_500))
    feed.live(6_001, 9_000)
    truth = undisturbed(9_000).content
    assert (feed.pair.counters["too_late"], feed.pair.counters["missing"]) == (500, 0)
    assert feed.flagged(SUSPECT) == [2, 3, 4], "what was published of these is not whole, and says so"
    for key, row in feed.content.items():
        if key[0] != "15s" or (key[1] - START_MS) // 15_000 > 8:
            assert row == truth[key]


def test_a_page_of_old_trades_is_placed_once_for_every_15_s_of_it(monkeypatch):
    feed, placed = Feed(), []
    feed.live(1, 500)
    feed.live(2_001, 3_000)
    place = feed.pair._cascade.place
    monkeypatch.setattr(feed.pair._cascade, "place", lambda at_ms, part: placed.append(at_ms) or place(at_ms, part))
    feed.pair.take(trades(501, 1_499))
    assert len(placed) == 3, "15, 30 and 45 s"
