"""What a shard saves: every attribute that matters, for one version and one set of rules; all else is refused."""

from dataclasses import fields, replace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.market import MS, SYMBOLS, VENUE, Market, Step, records_of, steps
from wick.errors import StoreError
from wick.market.flow import GAINS
from wick.market.held import CVD, PART, Held
from wick.market.intervals import NAMES
from wick.market.schema import FORMED, HEAD, LIVE
from wick.market.state import Stateful
from wick.market.trades import Trade
from wick.metrics import table
from wick.stream import saved
from wick.stream.shard import CandleRules, Shard

RULES = {VENUE: CandleRules()}


class VenueWithHoles(Market):
    """A market whose trades are skipped, come later, and are missed: numbered by hand."""

    def miss(self, symbol, count=1):
        self._ids[symbol] += count

    def fill(self, symbol, back, at_ms):
        trade_id = max(1, self._ids[symbol] - back)
        trade = Trade(symbol, at_ms * MS, trade_id, 12_345, 2, 67, 3, bool(back & 1))
        self.pair(symbol).ticks(records_of(trade))


def played():
    """A shard in the middle of everything: late trades, a hole, an outage, quotes, books, rows nobody has taken yet."""
    market = VenueWithHoles()
    market.take(Step("trade", SYMBOLS[0], 0, 0, 100, 2, 7))
    market.take(Step("clock", "", 400_000, 0, 0, 0, 0))  # more quiet candles than are kept
    for symbol in SYMBOLS[:2]:
        for second in range(40):
            market.take(Step("trade", symbol, 1_000, 0, 100 + second, 2, 7))
            if second == 20:
                market.miss(symbol, 3)
                market.take(Step("trade", symbol, 0, 0, 10**15, 3, 10**15))
        market.take(Step("quote", symbol, 10, 0, 99, 2, 1))
        market.take(Step("depth", symbol, 10, 0, 99, 2, 1))
        market.take(Step("clock", "", 0, 0, 0, 0, 0))
        market.flush()
    market.fill(SYMBOLS[0], 2, market.now_ms - 70_000)
    market.take(Step("clock", "", 16_000, 0, 0, 0, 0))
    market.take(Step("trade", SYMBOLS[2], 1, 0, 5, 0, 5))
    market.pair(SYMBOLS[1]).candles.outage()
    market.shard.advance(VENUE, market.now_ms // 15_000 * 15_000 + 15_500)  # past a boundary, within its grace
    market.fill(SYMBOLS[0], 22, market.now_ms - 60_000)
    market.take(Step("trade", SYMBOLS[2], 16_000, 0, 5, 0, 5))
    assert market.pair(SYMBOLS[2]).candles.groups  # looked at, and so brought up to date
    return market.shard


def stateful_parts(shard):
    """All that remembers something."""
    lockstep = shard.locksteps[VENUE]
    of_pairs = [
        (pair, candles, candles.ids, candles.history, candles.book, candles.book.levels, candles._cascade)
        for pair in shard.pairs.values()
        for candles in [pair.candles]
    ]
    return [shard, lockstep, lockstep.held, *[part for parts in of_pairs for part in parts]]


def subclasses(of):
    return {one for child in of.__subclasses__() for one in {child, *subclasses(child)}}


# ---------------------------------------------------------------------- nothing is forgotten


def test_every_attribute_of_every_class_is_saved_or_given_to_it():
    parts = stateful_parts(played())
    assert {type(part) for part in parts} == subclasses(Stateful)
    for part in parts:
        kind = type(part)
        attributes = vars(part).keys() if hasattr(part, "__dict__") else kind.__slots__
        assert sorted(attributes) == sorted([*kind.STATE, *kind.GIVEN]), f"{kind.__name__}: see wick/market/state.py"


def test_every_attribute_is_the_same_again():
    shard = played()
    for before, after in zip(stateful_parts(shard), stateful_parts(Shard.load(shard.save(), RULES)), strict=True):
        for name in [*type(before).STATE, *type(before).GIVEN]:
            was, now = getattr(before, name), getattr(after, name)
            if "wick." in repr(was):  # other objects: the next test's
                assert type(now) is type(was) and repr(now).count("wick.") == repr(was).count("wick.")
            elif isinstance(was, np.ndarray):
                assert (now == was).all(), name
            else:
                assert repr(now) == repr(was), f"{type(before).__name__}.{name}"


def test_what_is_loaded_is_connected_as_what_was_saved():
    shard = Shard.load(played().save(), RULES)
    held = shard.locksteps[VENUE].held
    for pair in shard.pairs.values():
        candles = pair.candles
        assert pair.shard is shard and candles.lockstep is shard.locksteps[VENUE]
        assert candles.history.held is held and candles.history.ids is candles.ids
    assert [pair.symbol for pair in shard.locksteps[VENUE].pairs] == [symbol for _, symbol in shard.pairs]


def test_a_change_of_the_layout_is_a_new_version():
    layout = {kind.__name__: kind.STATE for kind in subclasses(Stateful)}
    rules = [field.name for field in fields(CandleRules)]
    metrics = [(field.name, one.state) for one in table.METRICS for field in one.fields]
    text = repr([sorted(layout.items()), NAMES, HEAD, LIVE, len(FORMED), GAINS, CVD, PART, rules, metrics])
    assert {saved.VERSION: crc32(text.encode())} == {4: 1617099748}, "raise saved.VERSION, then note the new sum here"


# ---------------------------------------------------------------------- it goes on


@st.composite
def disturbed(draw):
    """Steps of a market, with trades that are missed, come later, or were not listened to."""
    plan = draw(steps(late=True, most=25))
    kinds = st.sampled_from(["miss", "fill", "outage", "boundary"])
    more = draw(st.lists(st.tuples(st.integers(0, len(plan)), kinds, st.sampled_from(SYMBOLS), st.integers(0, 4))))
    for at, kind, symbol, count in more:
        plan.insert(at, (kind, symbol, count))
    return plan


def take(market, step):
    """One step; what a reader and a sink get of it."""
    if isinstance(step, Step):
        if step.kind == "flush":
            return market.shard.flush(1)
        market.take(step)
        return []
    kind, symbol, count = step
    if kind == "miss":
        market.miss(symbol, count)
    elif kind == "fill":
        market.fill(symbol, count, market.now_ms - 9_000 * count)
    elif kind == "outage":
        market.pair(symbol).candles.outage()
    else:
        market.take(Step("clock", "", 17_000 * (count + 1), 0, 0, 0, 0))
    return []


@pytest.mark.slow
@given(disturbed(), st.integers(0, 40))
def test_holes_outages_and_quotes_go_on_bit_for_bit(plan, at):
    undisturbed, market = VenueWithHoles(), VenueWithHoles()
    for number, step in enumerate([*plan, ("boundary", SYMBOLS[0], 4), Step("flush", "", 0, 0, 0, 0, 0)]):
        if number == min(at, len(plan)):
            market.shard = Shard.load(market.shard.save(), RULES)
        assert take(market, step) == take(undisturbed, step)
    assert market.shard.save() == undisturbed.shard.save()
    for pair, other in zip(market.shard.pairs.values(), undisturbed.shard.pairs.values(), strict=True):
        assert pair.candles.counters == other.candles.counters
        assert repr(pair.candles.live()) == repr(other.candles.live())


def test_a_saved_shard_holds_only_the_rows_that_are_in_use():
    shard, held = played(), Held(slots=1)
    rows = shard.locksteps[VENUE].held
    in_use = sum(min(count, rows.slots) for used in rows.used for count in used)
    packed = rows.state()[Held.STATE.index("rows")]
    assert len(packed) == in_use * rows.rows[0].nbytes < rows.rows.nbytes
    assert held.state()[Held.STATE.index("rows")] == b""


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [("grace_ms", 3_000), ("history", 17), ("empty", "omit"), ("large_notional", (5, 1)), ("contiguous", False)],
)
def test_other_rules_are_refused_by_name_and_values(field, value):
    other = replace(RULES[VENUE], **{field: value})
    with pytest.raises(StoreError) as refused:
        Shard.load(played().save(), {VENUE: other})
    for part in (field, VENUE, repr(value), repr(getattr(RULES[VENUE], field))):
        assert part in str(refused.value)


def test_a_venue_without_rules_is_refused_one_without_pairs_does_not_matter():
    with pytest.raises(StoreError, match=VENUE):
        Shard.load(played().save(), {"other": CandleRules()})
    data = played().save()
    assert Shard.load(data, {**RULES, "other": CandleRules(grace_ms=1)}).save() == data


def test_another_version_is_refused():
    data = played().save()
    with pytest.raises(StoreError, match=f"version {saved.VERSION + 1}, not {saved.VERSION}"):
        Shard.load((saved.VERSION + 1).to_bytes(4, "little") + data[4:], RULES)


SAVED = played().save()


@given(st.integers(0, len(SAVED) - 1))
def test_torn_bytes_are_refused(length):
    with pytest.raises(StoreError):
        Shard.load(SAVED[:length], RULES)


@given(st.integers(0, len(SAVED) - 1), st.integers(1, 255))
def test_damaged_bytes_are_refused(at, bits):
    with pytest.raises(StoreError):
        Shard.load(SAVED[:at] + bytes([SAVED[at] ^ bits]) + SAVED[at + 1 :], RULES)


def content():
    return saved.unpack(SAVED)


def cut_rows(content, blobs):
    """Fewer rows than there are candles."""
    return content, [*blobs[:-1], blobs[-1][: len(blobs[-1]) // 2]]


@pytest.mark.parametrize(
    "change",
    [
        lambda c, b: (None, b),
        lambda c, b: (c[:-1], b),
        lambda c, b: ([*c[:-1], c[-1][:-1]], b),
        lambda c, b: ([*c[:3], c[3][:-1], *c[4:]], b),
        lambda c, b: ([*c[:2], {VENUE: [1]}, *c[3:]], b),
        lambda c, b: (c, b[:-1]),
        lambda c, b: (c, b[1:]),
        lambda c, b: (c, []),
        cut_rows,
    ],
)
def test_whole_bytes_with_another_content_are_refused(change):
    assert Shard.load(saved.pack(*content()), RULES).save() == SAVED
    with pytest.raises(StoreError):
        Shard.load(saved.pack(*change(*content())), RULES)


def test_the_played_shard_is_in_the_middle_of_everything():
    """What the tests above rely on."""
    shard = played()
    lockstep, first, second = shard.locksteps[VENUE], *[shard.pairs[VENUE, name].candles for name in SYMBOLS[:2]]
    assert shard.entries and shard.dirty and shard._new
    assert lockstep.closed and lockstep.held.pending and lockstep.held.big
    assert first.counters["late"] and first.counters["missing"] and any(first._cascade.chains)
    assert first.history._touched and first.history._apart and first.history.recheck
    assert second.history.blind_ns is not None
    assert shard.pairs[VENUE, SYMBOLS[2]].candles._segment
