"""How long ticks take, stage by stage and shard by shard: each stage from its own two times, nothing without end."""

import pytest

from wick.market.trades import BookDepth, Quote, Trade
from wick.stream.lag import MOST, SAMPLES, Lags
from wick.stream.stages import FIGURES, STAGES
from wick.wire.messages import TickHeader, pack_depth, pack_quote, pack_trade

MS = 1_000_000
NOW = 1_723_161_592_000 * MS


def trade(venue_ms, feed_ms=10):
    """A trade that came `venue_ms` after it was made, `feed_ms` before it is sent: now."""
    recv_ns = NOW - feed_ms * MS
    return pack_trade(Trade("S", recv_ns - int(venue_ms * MS), 1, 1, 0, 1, 0, True), recv_ns)


def message(*parts):
    """What a feed sends now: of each shard its records."""
    made = [[shard, 1, False, ["S"] * bool(records), [len(records)] * bool(records)] for shard, records in parts]
    frame = b"".join(record for _, records in parts for record in records)
    return TickHeader(1, 1, 0, "v", NOW, NOW, made), frame


def told(lags):
    """By shard and stage."""
    width = len(FIGURES)
    return {
        shard: {stage: figures[at * width : (at + 1) * width] for at, stage in enumerate(STAGES)}
        for shard, figures in lags.told().items()
    }


def test_each_stage_is_between_its_own_two_times():
    lags = Lags()
    lags.sample(*message((7, [trade(80, feed_ms=15)])), NOW + 3 * MS)
    lags.took(7, NOW + 3 * MS)
    lags.published(7, NOW + 45 * MS)
    assert told(lags) == {7: {"venue": [80] * 3, "feed": [15] * 3, "queue": [3] * 3, "publish": [42] * 3}}
    assert told(lags) == {}, "each second by itself"


def test_shards_are_told_apart():
    lags = Lags()
    lags.sample(*message((3, [trade(1), trade(3)]), (4, []), (5, [trade(50)])), NOW)
    lags.sample(*message((3, [trade(20)])), NOW)
    found = told(lags)
    assert found.keys() == {3, 5}
    assert found[3]["venue"] == [8, 20, 20] and found[5]["venue"] == [50, 50, 50]


def test_of_many_the_mean_all_but_one_of_a_hundred_and_the_most():
    lags = Lags()
    for venue_ms in range(1, 201):
        lags.sample(*message((1, [trade(venue_ms)])), NOW)
    assert told(lags)[1]["venue"] == [100.5, 198, 200]


def test_the_venue_is_told_of_trades_only_for_quotes_are_stamped_here():
    quote = pack_quote(Quote("S", 1, 1, 1, 1, 1, 0, 0), NOW - 4 * MS)
    depth = pack_depth(BookDepth("S", 1, 1, 1, 1, 1, 0), NOW - 4 * MS, NOW - 900 * MS, 0)
    lags = Lags()
    lags.sample(*message((1, [trade(70), quote, depth]), (2, [quote])), NOW)
    found = told(lags)
    assert found[1]["venue"] == [70] * 3 and found[1]["feed"] == [6, 10, 10]
    assert found[2]["venue"] == [None] * 3 and found[2]["feed"] == [4] * 3


def test_a_clock_of_ours_that_is_behind_the_venues_shows_as_less_than_nothing():
    lags = Lags()
    lags.sample(*message((1, [trade(-1_270)])), NOW)
    assert told(lags)[1]["venue"] == [-1_270] * 3


def test_publication_is_measured_from_the_oldest_that_waited_for_it():
    lags = Lags()
    lags.took(1, NOW)
    lags.took(1, NOW + 40 * MS)
    lags.published(1, NOW + 50 * MS)
    lags.published(1, NOW + 60 * MS)
    lags.published(2, NOW + 60 * MS)
    assert told(lags) == {1: {**dict.fromkeys(STAGES[:3], [None] * 3), "publish": [50] * 3}}


@pytest.mark.parametrize("count", [1, SAMPLES, 10 * SAMPLES])
def test_of_a_large_message_some_are_looked_at_from_its_beginning_to_its_end(count):
    lags = Lags()
    lags.sample(*message((1, [trade(1)] * count), (2, [trade(2)] * count)), NOW)
    assert lags._count <= SAMPLES + 1
    assert told(lags)[1]["venue"] == [1] * 3
    lags.sample(*message((1, [trade(1)] * count), (2, [trade(2)] * count)), NOW)
    assert told(lags)[2]["venue"] == [2] * 3


def test_while_nobody_asks_no_more_than_so_many_are_kept():
    lags, (header, frame) = Lags(), message((1, [trade(1)] * SAMPLES))
    for _ in range(2 * MOST // SAMPLES):
        lags.sample(header, frame, NOW)
        lags.took(1, NOW)
        lags.published(1, NOW)
    assert lags._count <= MOST + SAMPLES
    assert len(lags._sampled) <= MOST // SAMPLES * 2 and len(lags._published[1]) == SAMPLES
    assert told(lags) and lags._count == 0
