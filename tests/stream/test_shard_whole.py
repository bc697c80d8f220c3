"""A shard as a whole: its pairs do not touch each other, and it may be saved and loaded at any moment."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.market.reference import MS
from tests.market.streams import BOUNDARIES, GRACE_MS, new_pair, packed, play, streams
from wick.market.lockstep import Lockstep
from wick.market.schema import FORMED_FIELDS, STATE_WIDTHS
from wick.stream.diffs import apply
from wick.stream.shard import CandleRules, Shard
from wick.wire.messages import Closes, Diffs

HISTORY = 60  # more than a stream here has pending; corrected candles are taken again, so it is no more
# A step of a shard with closes costs a millisecond.
FEW = settings(max_examples=max(3, settings.default.max_examples // 5))
# Trades of a pair, and how far its clock may jump: the inner loop is content with less.
MOST, JUMP_MS = (12, 7_200_000) if settings.default.max_examples > 6 else (6, 900_000)
RULES = {"v": CandleRules(grace_ms=GRACE_MS, history=HISTORY)}
SYMBOLS = ("BTC-USDT", "ETH-USDT", "PEPE-USDT")


@st.composite
def markets(draw, *, most=MOST):
    """What arrives for several pairs of one venue: (symbol, trades), steps of the clock that they share, flushes."""
    around = draw(st.sampled_from(sorted(BOUNDARIES)))
    some = streams(around=[around], most=most, gaps=["near"], jump_ms=JUMP_MS)
    of_pairs = [draw(some) for _ in range(draw(st.integers(1, 3)))]
    chance, clock, events = draw(st.randoms(use_true_random=False)), 0, []
    waiting = [(symbol, list(stream.events)) for symbol, stream in zip(SYMBOLS, of_pairs, strict=False)]
    while waiting:
        at = chance.randrange(len(waiting))
        symbol, own = waiting[at]
        if not own:
            del waiting[at]
            continue
        kind, value = own.pop(0)
        if kind == "trades":
            events.append((symbol, value))
        elif value > clock:
            clock = value
            events.append(("clock", clock))
        if chance.random() < 0.3:
            events.append(("flush", None))
    return [*events, ("clock", max([clock, *[one.end_ms for one in of_pairs]])), ("flush", None)]


def step(shard, event):
    """One step of the shard; what it publishes, as bytes."""
    kind, value = event
    if kind == "clock":
        shard.advance("v", value)
    elif kind == "flush":
        return shard.flush(1)
    else:
        shard.pair("v", kind, 0).ticks(packed(value))
    return []


def run(shard, events):
    return [step(shard, event) for event in events]


def unpacked(messages):
    kinds = {b"diffs": Diffs, b"closes": Closes}
    return [kinds[bytes(topic).partition(b".")[0]].unpack(body) for some in messages for topic, body in some]


@pytest.mark.slow
@FEW
@given(markets())
def test_a_pair_closes_in_its_shard_what_it_closes_alone(events):
    published = [
        row for one in unpacked(run(Shard(0, 1, RULES), events)) if isinstance(one, Closes) for row in one.rows
    ]
    for symbol in {kind for kind, _ in events if kind in SYMBOLS}:
        own = [("trades" if kind == symbol else kind, value) for kind, value in events if kind in (symbol, "clock")]
        pair = new_pair(lockstep=Lockstep(GRACE_MS, HISTORY, follows=True))
        alone = play(own, pair, look=False).published
        width = 3 + len(FORMED_FIELDS)
        together = [(row[2], row[3:width]) for row in published if row[1] == symbol]
        assert repr(together) == repr([(name, list(row.values())[: len(FORMED_FIELDS)]) for name, row in alone])


@pytest.mark.slow
@FEW
@given(markets(), st.integers(1, 5))
def test_ticks_may_be_cut_anywhere_between_two_messages(events, size):
    cut = [
        (kind, value[at : at + size]) if kind in SYMBOLS else (kind, value)
        for kind, value in events
        for at in (range(0, len(value), size) if kind in SYMBOLS else (0,))
    ]
    whole, pieces = run(Shard(0, 1, RULES), events), run(Shard(0, 1, RULES), cut)
    assert [some for some in pieces if some] == [some for some in whole if some]


def test_decimals_that_come_behind_a_boundary_are_not_told_before_it():
    """In one run of many trades: what the candle was is published in the decimals that it had."""
    start_ns = 1_735_689_600_000 * MS  # 2025-01-01 00:00 UTC
    trades = [(start_ns + at * 250 * MS, 1 + at, 100 + at, 0, 3, 0, True, 1) for at in range(80)]
    trades[70] = (*trades[70][:2], 1_705, 1, *trades[70][4:])
    cut = [("BTC-USDT", trades[:40]), ("BTC-USDT", trades[40:]), ("flush", None)]
    whole = [("BTC-USDT", trades), ("flush", None)]
    told = unpacked(run(Shard(0, 1, RULES), whole))
    assert told == unpacked(run(Shard(0, 1, RULES), cut)) and len(told[0].entries) == 3


@pytest.mark.slow
@FEW
@given(markets(), st.data())
def test_a_run_that_is_saved_and_loaded_anywhere_goes_on_bit_for_bit(events, data):
    at = data.draw(st.integers(0, len(events)))
    shard = Shard(0, 1, RULES)
    run(shard, events[:at])
    saved = shard.save()
    assert isinstance(saved, bytes)
    loaded = Shard.load(saved, RULES)
    assert run(loaded, events[at:]) == run(shard, events[at:])
    assert loaded.snapshot().pack() == shard.snapshot().pack()


@given(markets(most=5))
@settings(max_examples=max(2, settings.default.max_examples // 3))  # it saves and loads after every step
def test_saving_changes_nothing_and_may_be_done_after_every_step(events):
    undisturbed, shard = Shard(0, 1, RULES), Shard(0, 1, RULES)
    for event in events:
        expected, got = step(undisturbed, event), step(shard, event)
        assert got == expected
        again = shard.save()
        shard = Shard.load(shard.save(), RULES)
        assert shard.save() == again, "what is loaded is what was saved"
    assert shard.snapshot().pack() == undisturbed.snapshot().pack()


def test_a_new_epoch_begins_with_a_snapshot_of_what_was_published_and_with_what_was_not():
    shard, at = Shard(0, 7, RULES), BOUNDARIES["1h"]
    shard.pair("v", "BTC-USDT", 0).ticks(packed([(at * MS, 1, 10, 0, 1, 0, True, 1)]))
    shard.advance("v", at + 60_000)
    undisturbed = Shard.load(shard.save(), RULES)
    expected = unpacked([undisturbed.flush(1)])[1].rows
    again = Shard.load(shard.save(), RULES)
    [told] = unpacked([[again.begin(8, 5)]])
    assert told == Closes(8, 1, 5, [])
    snapshot = again.snapshot()
    assert (snapshot.epoch, snapshot.diffs_seq, snapshot.closes_seq) == (8, 0, 1)
    diffs, closes = unpacked([again.flush(1)])
    assert (diffs.epoch, diffs.seq, closes.epoch, closes.seq) == (8, 1, 8, 2) and closes.rows == expected
    groups = [[0] * width for width in STATE_WIDTHS]
    for _, *changes in [*snapshot.entries, *diffs.entries]:
        apply(groups, changes)
    assert groups == shard.pairs["v", "BTC-USDT"].candles.groups
