"""The engine against the reference, whatever a venue does: every field of every candle of every interval."""

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, event, given, seed, settings
from hypothesis import strategies as st

from tests.market.reference import (
    CALENDAR,
    DAY,
    EMPTY,
    MS,
    SUSPECT,
    BookReference,
    Depth,
    Quote,
    Reference,
    bounds,
    difference,
)  # fmt: skip
from tests.market.streams import (
    BOUNDARIES,
    CLOCKS,
    GRACE_MS,
    WAYS,
    Stream,
    by_records,
    by_tuples,
    new_pair,
    pieces_of,
    play,
    streams,
    suspect_windows,
    trades_of,
    whole,
)  # fmt: skip
from wick.market import flow

LARGE = st.sampled_from([(100_000, 0), (1, 0), (1, 30), (12_345, 3), (10**30, 0)])


def check(stream, run, *, names=CALENDAR, grace_ms=GRACE_MS, **options):
    """After the last step of the clock: what was published last of each candle, and what is live, is the truth."""
    truth = Reference(stream.delivered, decimals=stream.quoted_decimals, **options)
    book = BookReference(stream.events, flat=options.get("empty") != "omit")
    until_ms = max(run.clock_ms, stream.quoted_ms)
    live = run.live()
    windows = suspect_windows(stream.delivered)
    decimals = truth.price_decimals, truth.quantity_decimals
    wrong = []
    for name in names:
        # Before the first trade that came nobody listened: what was quiet there has no candles.
        came_ms = stream.delivered[0][0] // MS
        candles = {
            open_ms: one
            for open_ms, one in truth.candles(name, until_ms).items()
            if one["close_time_ms"] > came_ms or not one["flags"] & EMPTY
        }
        closed = {open_ms for open_ms, one in candles.items() if one["close_time_ms"] + grace_ms <= run.clock_ms}
        got = {open_ms for n, open_ms in run.newest if n == name}
        shown = {open_ms for (n, open_ms), row in live.items() if n == name}
        if options.get("empty") == "omit":
            shown = {open_ms for open_ms in shown if live[name, open_ms]["trade_count"]}
        if got != closed:
            wrong.append(f"{name}: closed, and should not be: {got - closed}; not closed: {closed - got}")
        if shown != candles.keys() - closed:
            lacking = candles.keys() - closed - shown
            wrong.append(f"{name}: live, and should not be: {shown - candles.keys()}; not live: {lacking}")
        for open_ms in (got & closed) | (shown & candles.keys()):
            candle = candles[open_ms]
            row = run.newest.get((name, open_ms)) or live[name, open_ms]
            found = difference(row, candle, *decimals)
            flags = row["flags"] & ~16 & ~1
            if flags & ~SUSPECT != candle["flags"]:
                found.append(f"flags: {flags}, not {candle['flags']}")
            if open_ms in closed:
                found += book.difference(row)
                # What the clock stood at when it closed decides; neighbours in time leave no doubt.
                close_ms = candle["close_time_ms"]
                may = any(to >= open_ms and since < close_ms for since, to in windows)
                if flags & SUSPECT and not may:
                    found.append("suspect, with nothing missing there")
                if not flags & SUSPECT and truth.must_be_suspect(open_ms, close_ms):
                    found.append("not suspect, and ids are missing there")
            wrong += [f"{name} {open_ms}: {one}" for one in found]
    assert not wrong, "\n".join(wrong[:12])
    check_head(truth, run.pair, names)


def check_head(truth, pair, names):
    head, *groups = pair.groups
    p, q = truth.price_decimals, truth.quantity_decimals
    assert head[12:14] == [p, q]
    newest = truth.scaled[-1]
    last = max(truth.scaled, key=lambda trade: (bounds("15s", trade[0]), trade[1]))
    assert head[:3] == [last[2], newest[1], newest[0]]
    sizes = [t[3] for t in truth.scaled]
    assert head[3:8] == [
        sum(sizes), sum(t[2] * t[3] for t in truth.scaled), sum(t[5] for t in truth.scaled),
        sum(t[3] for t in truth.scaled if t[4]), sum(t[2] * t[3] for t in truth.scaled if t[4]),
    ]  # fmt: skip
    for name in names:
        group = groups[CALENDAR.index(name)]
        candle = truth.candles(name, pair.clock_ms).get(group[0])
        if candle is None:
            continue  # it is empty, and empty ones are omitted
        assert group[1:4] == [candle["open"], candle["high"], candle["low"]], name
        own = [total - at_open for total, at_open in zip(head[3:8], group[4:9], strict=True)]
        sums = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")
        assert own == [candle[field] for field in sums], name
        assert group[9] & EMPTY == candle["flags"] & EMPTY, name
    day = truth.candles("1d", pair.clock_ms).get(groups[9][0])
    assert day is None or head[14] == day["open"]


def ended(stream):
    """The stream, and the step of the clock that closes what it left open and issues what it left uncorrected."""
    return [*stream.events, ("clock", stream.end_ms)]


def tell(stream):
    event(f"late={stream.has_late()}")
    event(f"unordered={stream.has_unordered()}")


# ---------------------------------------------------------------------- the laws


@given(stream=streams(late=False, holes=False), empty=st.sampled_from(["flat", "omit"]), large=LARGE)
def test_trades_in_their_order_make_the_reference_candles(stream, empty, large):
    run = play(ended(stream), new_pair(empty=empty, large_notional=large))
    check(stream, run, empty=empty, large_notional=large)


@given(stream=streams(), empty=st.sampled_from(["flat", "omit"]), large=LARGE)
def test_late_doubled_shuffled_and_missing_trades_end_in_the_reference_candles(stream, empty, large):
    tell(stream)
    run = play(ended(stream), new_pair(empty=empty, large_notional=large))
    check(stream, run, empty=empty, large_notional=large)


@given(stream=streams(crossed=True, late=False, clocks=["follows", "stands"], sizes=["plain"]))
def test_15_s_pieces_and_then_numbers_decide_the_order_where_the_venues_times_contradict_them(stream):
    run = play(ended(stream), new_pair())
    check(stream, run)


def test_a_hole_before_a_newest_trade_of_the_candle_before_is_filled_where_it_belongs():
    ns = 1_723_117_635_000 * MS
    begun = [(ns, number, 1, 0, 1, 0, False, 1) for number in (1, 2)]
    crossed = (ns - 3 * MS, 6, 1, 0, 1, 0, False, 1)
    rest = [(ns, number, 1, 0, 1, 0, False, 1) for number in (*range(7, 19), 4)]
    stream = Stream([("trades", [*begun, crossed, *rest])], [*begun, crossed, *rest])
    check(stream, play(ended(stream), new_pair()))


@pytest.mark.slow
@given(stream=streams(begun=False, sizes=["plain"]))
def test_what_was_traded_before_the_first_that_came_is_put_before_it(stream):
    run = play(ended(stream), new_pair())
    check(stream, run)


@pytest.mark.slow
@given(stream=streams(gaps=["near"], sizes=["plain"]), grace_ms=st.sampled_from([0, 1, 500, 60_000, 3_600_000]))
def test_whatever_the_grace_the_candles_end_the_same(stream, grace_ms):
    end_ms = stream.end_ms + grace_ms
    run = play([*stream.events, ("clock", end_ms)], new_pair(grace_ms=grace_ms), grace_ms=grace_ms)
    check(stream, run, grace_ms=grace_ms)


def test_a_hole_filled_by_trades_of_which_one_has_more_decimals_ends_with_the_last_trade():
    ns = 1_723_117_635_000 * MS
    begun = [(ns, number, 1, 0, 1, 0, False, 1) for number in (1, 2, 5)]
    filled = [(ns, 3, 1, 0, 1, 0, False, 1), (ns, 4, 1, 0, 1, 1, False, 1)]
    stream = Stream([("trades", begun), ("clock", ns // MS + 700), ("trades", filled)], [*begun, *filled])
    check(stream, play(ended(stream), new_pair()))


@given(stream=streams(gaps=["days"], sizes=["plain", "large"], most=12, jump_ms=40 * DAY, holes=False, late=False))
def test_days_of_silence_and_clocks_that_jump_by_weeks_leave_whole_calendars(stream):
    """Of the intervals whose flat candles can be counted: days, weeks and months."""
    names = ["1d", "1w", "1M"]
    run = play(ended(stream), new_pair(names, history=900))
    run.newest = {key: row for key, row in run.newest.items() if key[0] in names}
    check(stream, run, names=names)


@given(
    stream=streams(),
    size=st.sampled_from([1, 2, 5, 40]),
    way=st.sampled_from(WAYS),
    empty=st.sampled_from(["flat", "omit"]),
)
def test_pieces_of_any_size_by_either_way_say_the_same_bit_for_bit(stream, size, way, empty):
    one = play(ended(stream), new_pair(empty=empty), cut=pieces_of(size), way=way)
    all_at_once = play(ended(stream), new_pair(empty=empty), cut=whole, way=by_records)
    same(one, all_at_once)


@pytest.mark.slow
@given(stream=streams(most=15), chance=st.randoms(use_true_random=False))
def test_the_order_of_arrival_between_two_steps_of_the_clock_changes_no_candle(stream, chance):
    shuffled = [("trades", stream.delivered[:1])]  # what came before the first is another matter
    shuffled += [
        (kind, chance.sample(value, len(value)) if kind == "trades" else value) for kind, value in stream.events
    ]
    other = Stream(shuffled)
    other.delivered = trades_of(other.records)
    check(other, play(ended(other), new_pair()))


@given(stream=streams(holes=False, late=False), order=st.randoms(use_true_random=False), step=st.integers(1, 30))
def test_missing_trades_come_back_in_any_order_and_chunks(stream, order, step):
    """All but the first and the last are lost, the candles close without them, then they are fetched."""
    first, *lost = sorted({t[1]: t for t in stream.delivered}.values(), key=lambda t: t[1])
    last = lost.pop() if lost else first
    order.shuffle(lost)
    clock = stream.end_ms
    events = [("trades", [first]), ("clock", first[0] // MS), ("trades", [last]), ("clock", clock)]
    for at in range(0, len(lost), step):
        clock += 1
        events += [("trades", lost[at : at + step]), ("clock", clock)]
    come = Stream(events, [first, last, *lost])
    run = play(ended(come), new_pair())
    assert run.pair.counters["missing"] == 0
    check(come, run)


def same(one, other):
    for number, (a, b) in enumerate(zip(one.said, other.said, strict=True)):
        assert repr(a) == repr(b), f"moment {number} of {len(one.said)}"


# ---------------------------------------------------------------------- thousands at a time: columns


def busy(
    seed,
    *,
    count=6_000,
    price=10**6,
    quantity=10**5,
    spread=1_000,
    begin=None,
    mischief=0.0,
    step_ms=40,
    decimals=(2, 3),
    quoted=0.3,
):
    """`count` trades of a busy pair over a few minutes, in runs between steps of the clock, some mischievous.

    `quoted`: so many quotes a trade come among them, most at the same prices, and half as many depths.
    """
    chance, about = random.Random(seed), random.Random(f"{seed} quotes")
    bid, ask = price, price + 1
    at_ms = begin if begin is not None else chance.choice(sorted(BOUNDARIES.values())) - 120_000
    arrivals = []
    for number in range(count):
        at_ms += chance.choice((0, 0, 0, step_ms, 2 * step_ms))
        price = min(max(1, price + chance.randint(-spread, spread)), 2**63 - 1)
        trade = (at_ms * MS, 77 + number, price, decimals[0], chance.randint(1, quantity), decimals[1],
                 chance.random() < 0.5, 1)  # fmt: skip
        if chance.random() < mischief:
            what = chance.choice(("late", "very late", "twice", "lost"))
            arrivals += {
                "late": [(at_ms + 1_500, trade)], "very late": [(at_ms + 100_000, trade)],
                "twice": [(at_ms, trade), (at_ms + 1_000, trade)], "lost": [],
            }[what]  # fmt: skip
        else:
            arrivals.append((at_ms, trade))
        if about.random() < quoted:
            if about.random() < 0.2:
                bid = max(min(price, 2**63 - 9) - about.choice((0, 1, 3)), 0)
                ask = bid + about.choice((0, 1, 1, 2, -1 if bid else 0))
            sizes = [about.choice((0, 1, 1, 1, 1)) * about.randint(1, quantity) for _ in "ba"]
            off_ms = about.choice((0, 0, 0, 3, -2, 700, -9_000))
            quote = Quote((at_ms + off_ms) * MS, bid, sizes[0], ask, sizes[1], *decimals)
            arrivals.append((at_ms, quote))
        if about.random() < quoted / 2:
            sizes = [about.choice((-1, 1, 1, 1)) * about.randint(1, quantity) for _ in "baba"]
            off_ms = about.choice((0, 0, 3, -2, 700))
            arrivals.append((at_ms, Depth((at_ms + off_ms) * MS, *sizes, about.randint(0, 8))))
    arrivals.sort(key=lambda one: one[0])
    events = []
    clock = 0
    for arrival_ms, trade in arrivals:
        if arrival_ms > clock + 20_000:
            clock = arrival_ms
            events += [("clock", clock), ("trades", [])]
        events[-1][1].append(trade)
    return Stream(events, trades_of(one for _, one in arrivals))


HUGE = {"price": 2**63 - 10**6, "quantity": 2**63 - 1, "spread": 10**5}
PEPE = {"price": 1_234, "quantity": 10**15, "spread": 3, "decimals": (8, 2)}
BITCOIN = {"price": 6_183_763_00000000, "quantity": 10**8, "spread": 10**6, "decimals": (8, 8)}


@pytest.mark.slow
@pytest.mark.parametrize("mischief", [0.0, 0.004, pytest.param(0.2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [{}, HUGE, PEPE, BITCOIN], ids=["plain", "huge", "pepe", "bitcoin"])
def test_thousands_of_trades_at_a_time_make_the_reference_candles_too(kind, mischief):
    stream = busy(f"{kind}{mischief}", count=2_000, mischief=mischief, **kind)
    check(stream, play(ended(stream), new_pair(), look=False))


@pytest.mark.parametrize("mischief", [0.0, 0.01, pytest.param(0.2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [{}, HUGE, PEPE], ids=["plain", "huge", "pepe"])
def test_thousands_at_a_time_or_one_by_one_say_the_same_bit_for_bit(kind, mischief):
    stream = busy(f"split{kind}{mischief}", count=2_000, mischief=mischief, **kind)
    whole_runs = play(ended(stream), new_pair())
    for size, way in ((1, by_tuples), (33, by_records), (64, by_records), (300, by_tuples)):
        same(play(ended(stream), new_pair(), cut=pieces_of(size), way=way), whole_runs)


@given(seed=st.integers(0, 10**9), size=st.integers(1, 500), mischief=st.sampled_from([0.0, 0.003, 0.05, 0.5]))
@settings(max_examples=settings.default.max_examples // 5)
def test_busy_streams_may_be_cut_anywhere(seed, size, mischief):
    kind = random.Random(seed).choice([{}, HUGE, PEPE, BITCOIN])
    stream = busy(seed, count=900, mischief=mischief, step_ms=100, **kind)
    run = play(ended(stream), new_pair(), cut=pieces_of(size))
    same(run, play(ended(stream), new_pair()))
    check(stream, run)


# ---------------------------------------------------------------------- the streams are what they claim to be

CLAIMS = {
    "late": lambda s: s.has_late(),
    "unordered": lambda s: s.has_unordered(),
    "doubled": lambda s: len({t[1] for t in s.delivered}) < len(s.delivered),
    "missing": lambda s: Reference(s.delivered).missing > 0,
    "ties in time": lambda s: len({t[0] for t in s.delivered}) < len({t[1] for t in s.delivered}),
    "decimals vary": lambda s: len({(t[3], t[5]) for t in s.delivered}) > 1,
    "clock goes back": lambda s: any(a > b for a, b in pairwise([ms for kind, ms in s.events if kind == "clock"])),
    "clock never moves": lambda s: all(kind != "clock" for kind, _ in s.events) and len(s.delivered) > 3,
    "clock is hours ahead": lambda s: s.end_ms > max(t[0] for t in s.delivered) // MS + 3_600_000,
    "near 2**63": lambda s: max(t[2] for t in s.delivered) > 2**62 and len(s.delivered) > 3,
    "quotes": lambda s: any(isinstance(one, Quote) for one in s.records),
    "a quote behind another at its prices": lambda s: any(
        isinstance(a, Quote) and isinstance(b, Quote) and a[1::2] == b[1::2] for a, b in pairwise(s.records)
    ),
    "a quote ahead of its trades": lambda s: s.quoted_ms > max(t[0] for t in s.delivered) // MS + 15_000,
    "depth": lambda s: any(isinstance(one, Depth) and min(one) > 0 for one in s.records),
    "depth that is not known": lambda s: any(isinstance(one, Depth) and -1 in one for one in s.records),
    "depth ahead of its trades": lambda s: any(
        isinstance(one, Depth) and one.at_ns > max(t[0] for t in s.delivered) + 15_000 * MS for one in s.records
    ),
    "no market": lambda s: any(
        isinstance(one, Quote) and (not min(one[1:5]) or one.bid > one.ask) for one in s.records
    ),
    "every number of the book": lambda s: any(
        None not in BookReference(s.events).candle(*bounds("15s", t[0] // MS)).values() for t in s.delivered
    ),
    "quiet": lambda s: any(b[0] - a[0] > 300_000 * MS for a, b in pairwise(Reference(s.delivered).trades)),
    **{f"{name} ends": lambda s, name=name: len({bounds(name, t[0] // MS)[0] for t in s.delivered}) > 1
       for name in CALENDAR},
}  # fmt: skip


@pytest.mark.slow
def test_the_generated_streams_have_what_the_laws_are_about():
    lacking = dict(CLAIMS)

    @seed(1)
    @settings(max_examples=400, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(streams())
    def look(stream):
        for name in [name for name, claim in lacking.items() if claim(stream)]:
            del lacking[name]

    look()
    assert not lacking.keys()


def test_a_clock_of_every_style_and_boundaries_of_every_kind_are_drawn():
    assert len(CLOCKS) == 5 and len(set(BOUNDARIES.values())) == len(BOUNDARIES) == 15
    assert all(bounds("15s", at_ms)[0] == at_ms for at_ms in BOUNDARIES.values())


def test_many_trades_at_a_time_go_through_columns_and_few_do_not(monkeypatch):
    runs = []
    of_columns = flow.of_columns
    counted = lambda table, *more: runs.append(table.shape[1]) or of_columns(table, *more)  # noqa: E731
    monkeypatch.setattr(flow, "of_columns", counted)
    stream = busy(1, count=2_000, mischief=0.004)
    play(stream.events, new_pair(), look=False)
    assert sum(runs) > 1_000
    runs.clear()
    play(stream.events, new_pair(), look=False, cut=pieces_of(2))
    assert runs == []
