"""A shard and its readers: who joins by a snapshot at any moment holds what the shard published, bit for bit."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.market import MS, START_MS, SYMBOLS, VENUE, Market, Step, records_of, steps
from wick.errors import WireError
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, CLOSED, FORMED, FORMED_FIELDS, PLAIN, PRICE, REAL, UNKNOWN, VOLUME
from wick.market.trades import Quote, Trade
from wick.stream.mirror import RECENT, ShardMirror
from wick.stream.shard import CandleRules, Shard
from wick.wire.messages import Closes, Diffs, Snapshot

F = {name: index for index, name in enumerate(FORMED_FIELDS)}


def joined(market):
    """A mirror that starts from the shard's snapshot as it travels: packed and unpacked."""
    mirror = ShardMirror()
    mirror.restart(Snapshot.unpack(market.shard.snapshot().pack()))
    return mirror


def known(mirror, open_ms, pair=(VENUE, "BTC-USDT"), interval=0):
    """The row of the candle that opened then; None where the mirror has none."""
    return next((row for row in mirror.rows(*pair, interval) if row[0] == open_ms), None)


def tell(mirror, message):
    if isinstance(message, Diffs):
        list(mirror.apply(message))
    else:
        for venue, symbol, interval, *row in message.rows:
            mirror.close(venue, symbol, interval, row)


def run(market, plan, each_close=lambda mirror, message: None):
    """Play the plan; the mirrors that joined on the way, after a last step of the clock and a last flush."""
    mirrors = [joined(market)]
    for step in [*plan, Step("clock", "", 0, 0, 0, 0, 0), Step("flush", "", 0, 0, 0, 0, 0)]:
        if step.kind not in ("join", "flush"):
            market.take(step)
            continue
        for message in market.flush():
            for mirror in mirrors:
                if isinstance(message, Closes):
                    each_close(mirror, message)
                tell(mirror, message)
        if step.kind == "join":
            mirrors.append(joined(market))
    return mirrors


def values(row):
    """A row's values as the numbers that they stand for: decimals may have grown since it was published."""
    told = []
    for (_, kind), value in zip(FORMED, row, strict=False):
        if kind == REAL or value is None:
            told.append(value and float(f"{value:.12g}"))
        else:
            told.append(Fraction(value, 10 ** {PRICE: row[4], VOLUME: row[5], PLAIN: 0}.get(kind, row[4] + row[5])))
    return told


@given(steps(late=True), st.sampled_from([0, 2_000]))
def test_a_mirror_that_joined_at_any_moment_equals_the_published_state_bit_for_bit(plan, grace_ms):
    market = Market(grace_ms)
    for mirror in run(market, plan):
        assert mirror.names == {state.number: pair for pair, state in market.shard.pairs.items()}
        assert mirror.groups == {state.number: state.published for state in market.shard.pairs.values()}
        assert mirror.groups == {state.number: state.candles.groups for state in market.shard.pairs.values()}


@given(steps(late=True), st.sampled_from([0, 2_000]))
def test_a_mirror_keeps_the_newest_closed_candles_as_they_were_closed_or_revised(plan, grace_ms):
    market = Market(grace_ms)
    for mirror in run(market, plan):
        for pair, state in market.shard.pairs.items():
            assert all(len(mirror.rows(*pair, interval)) <= most for interval, most in enumerate(RECENT))
            for name, row in state.candles.recent(RECENT):
                if row[F["flags"]] & CLOSED:
                    kept = known(mirror, row[0], pair, NAMES.index(name))
                    ignored = ("price_decimals", "quantity_decimals", "flags")
                    assert [v for n, v in zip(F, values(kept), strict=True) if n not in ignored] == [
                        v for n, v in zip(F, values(row), strict=True) if n not in ignored
                    ]
                    assert kept[F["flags"]] == row[F["flags"]]


@given(steps(late=False))
def test_where_nothing_was_late_a_candle_that_is_over_shows_what_its_close_will_confirm(plan):
    # What the state tells: not the ids and the order flow, of which it has nothing.
    compared = [at for name, at in F.items() if at < F["first_trade_id"] and name != "flags"]
    seen = []

    def each_close(mirror, message):
        for venue, symbol, interval, *row in message.rows:
            provisional = known(mirror, row[0], (venue, symbol), NAMES.index(interval))
            if provisional is not None:
                assert [values(provisional)[i] for i in compared if i not in (4, 5)] == [
                    values(row)[i] for i in compared if i not in (4, 5)
                ]
                assert not provisional[F["flags"]] & CLOSED
                seen.append(row)

    run(Market(2_000), plan, each_close)


def test_a_candle_that_is_over_is_kept_until_its_close_comes():
    market = Market(2_000)
    mirror = joined(market)
    market.take(Step("trade", "BTC-USDT", 0, 0, 7, 0, 3))
    for message in market.flush():
        tell(mirror, message)
    market.take(Step("clock", "", 8_000, 0, 0, 0, 0))
    (diff,) = market.flush()
    tell(mirror, diff)
    provisional = known(mirror, START_MS - 7_000)
    assert [provisional[F[name]] for name in ("close", "volume", "trade_count")] == [7, 3, 1]
    market.take(Step("clock", "", 2_000, 0, 0, 0, 0))
    (close,) = market.flush()
    tell(mirror, close)
    closed = known(mirror, START_MS - 7_000)
    assert closed[F["flags"]] & CLOSED and closed[F["last_trade_id"]] == 1


def test_no_snapshot_is_taken_while_changes_of_a_boundary_wait_for_their_message():
    market = Market()
    market.take(Step("trade", "BTC-USDT", 7_000, 0, 8, 0, 1))
    market.take(Step("trade", "BTC-USDT", 1_000, 0, 9, 0, 1))  # rolls: the trade before it waits for the flush
    with pytest.raises(AssertionError):
        market.shard.snapshot()
    market.flush()
    assert market.shard.snapshot().diffs_seq == 1


def test_a_pair_unseen_at_the_snapshot_arrives_later_with_its_name():
    market = Market()
    market.take(Step("trade", "BTC-USDT", 0, 0, 7, 0, 3))
    market.flush()
    mirror = joined(market)
    market.take(Step("trade", "ETH-USDT", 0, 0, 5, 1, 3))
    assert mirror.names == {0: (VENUE, "BTC-USDT")}
    (message,) = market.flush()
    assert message.pairs == [[1, VENUE, "ETH-USDT"]]
    tell(mirror, message)
    assert mirror.names == {0: (VENUE, "BTC-USDT"), 1: (VENUE, "ETH-USDT")}
    assert mirror.groups[1] == market.shard.pairs[VENUE, "ETH-USDT"].candles.groups


def test_nothing_new_publishes_nothing():
    market = Market()
    assert market.flush() == []
    market.take(Step("trade", "BTC-USDT", 0, 0, 7, 0, 3))
    assert [message.seq for message in market.flush()] == [1]
    assert market.flush() == []
    market.take(Step("clock", "", 1, 0, 0, 0, 0))
    assert market.flush() == [], "a step of the clock within the candle changes nothing"


def test_the_sequences_of_both_streams_grow_by_one():
    market = Market(0)
    published = []
    for _ in range(20):
        market.take(Step("trade", "BTC-USDT", 5_000, 0, 7, 0, 3))
        market.take(Step("clock", "", 0, 0, 0, 0, 0))
        published += market.flush()
    for kind in (Diffs, Closes):
        sequences = [message.seq for message in published if isinstance(message, kind)]
        assert sequences == list(range(1, len(sequences) + 1)) and len(sequences) > 5


def test_trades_and_quotes_of_one_run_are_both_taken():
    shard = Shard(0, 1, {VENUE: CandleRules()})
    trade = Trade("BTC-USDT", START_MS * MS, 9, 100, 1, 5, 0, True)
    old, new = (Quote("BTC-USDT", number, 99 + number, 2, 110, 3, 1, 0) for number in (0, 1))
    state = shard.pair(VENUE, "BTC-USDT", START_MS)
    state.ticks(records_of(trade, old, new))
    assert state.candles.groups[0][:2] == [100, 9]
    assert state.candles.groups[0][8:12] == [100, 2, 110, 3], "the newest quote"


@pytest.mark.parametrize(
    "entries", [[[1, 0, 1, 5]], [[0, 99, 1, 5]], [[0, 13, 1, 5]], [[0, 0, 1 << 15, 5]], [[0, 1]]],
    ids=["pair", "group far off", "group just off", "field", "torn"],
)  # fmt: skip
def test_a_diff_of_what_the_mirror_does_not_have_is_a_wire_error(entries):
    market = Market()
    market.take(Step("trade", "BTC-USDT", 0, 0, 7, 0, 3))
    market.flush()
    mirror = joined(market)
    with pytest.raises(WireError):
        list(mirror.apply(Diffs(1, 2, 0, [], entries)))


def test_the_symbols_of_the_market_are_distinct_pairs():
    market = Market()
    numbers = {market.pair(symbol).number for symbol in SYMBOLS}
    assert len(numbers) == len(SYMBOLS)
    assert market.pair(SYMBOLS[0]) is market.pair(SYMBOLS[0])


def test_after_a_new_snapshot_a_mirror_still_knows_the_metrics_that_it_heard_of():
    market = Market(0)
    market.take(Step("trade", "BTC-USDT", 0, 0, 7, 0, 3))
    market.flush()
    mirror = joined(market)
    market.take(Step("clock", "", 8_000, 0, 0, 0, 0))
    for message in market.flush():
        tell(mirror, message)
    heard = known(mirror, START_MS - 7_000)
    assert heard[CANDLE_FIELDS.index("body_ratio")] == 0.0
    mirror.restart(market.shard.snapshot())
    assert known(mirror, START_MS - 7_000) == heard
    other = joined(market)
    assert known(other, START_MS - 7_000)[CANDLE_FIELDS.index("body_ratio")] is None


def test_a_worker_that_begins_again_takes_nothing_away_of_what_a_mirror_knows():
    market = Market(0)
    market.take(Step("trade", "BTC-USDT", 0, 0, 7, 0, 3))
    market.take(Step("clock", "", 8_000, 0, 0, 0, 0))
    (closes,) = [message for message in market.flush() if isinstance(message, Closes)]
    mirror = ShardMirror()
    venue, symbol, interval, *row = closes.rows[0]
    emptier = [*row[: len(FORMED)], *UNKNOWN]
    assert mirror.close(venue, symbol, interval, row) == row
    assert mirror.close(venue, symbol, interval, emptier) == row
    corrected = [*emptier[: F["revision"]], 1, *emptier[F["revision"] + 1 :]]
    assert mirror.close(venue, symbol, interval, corrected) == corrected, "a later revision stands, whatever it lacks"
