"""The rows that a mirror keeps: bounded, as they came, and stamped so that who stands at a position lacks nothing."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from tests.stream.market import VENUE
from wick.market.schema import CANDLE_FIELDS, CLOSED, METRICS, PATTERNS, STATE_WIDTHS
from wick.stream import diffs
from wick.stream.mirror import RECENT, Ring, ShardMirror
from wick.wire.messages import Diffs, Snapshot

PAIR = (VENUE, "BTC-USDT")
MOST = RECENT[0]
ZERO = [[0] * width for width in STATE_WIDTHS]


def row(open_ms, revision=0, **fields):
    named = dict.fromkeys(CANDLE_FIELDS, 0) | {"open_time_ms": open_ms, "revision": revision, "flags": CLOSED}
    return [*(named | dict.fromkeys([name for name, kind in METRICS if kind == PATTERNS]) | fields).values()]


def snapshot(seq, rows=(), epoch=1):
    recent = [[*PAIR, "15s", *one] for one in rows]
    return Snapshot(0, epoch, seq, 0, [[0, *PAIR]], [[0, *diffs.make(ZERO, ZERO)]], recent)


def mirror_at(seq, rows=()):
    mirror = ShardMirror()
    mirror.restart(snapshot(seq, rows))
    return mirror


def opened(rows):
    return [one[0] for one in rows]


@given(
    st.lists(
        st.one_of(st.integers(), st.integers(-(2**90), 2**90), st.floats(allow_nan=False), st.none(), st.binary()),
        max_size=80,
    )
)
def test_a_row_comes_back_as_it_was_kept(values):
    ring = Ring(0, MOST)
    kept = [15_000, 30_000, 0, CLOSED, *values, inf]
    ring.keep(1, kept)
    (back,) = ring.rows(0)
    assert back == kept == ring.find(15_000) and list(map(type, back)) == list(map(type, kept))
    assert ring.find(0) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=60), st.integers(0, 200))
def test_from_reach_on_no_row_is_missed_by_whoever_asks_since_its_position(plan, since):
    ring, newest, stamp = Ring(0, MOST), {}, 0
    for wait, number in plan:
        stamp += wait
        ring.keep(stamp, row(number * 1000, revision=stamp))
        newest[number * 1000] = stamp
    rows = ring.rows(since)
    assert opened(rows) == sorted(opened(rows)) and len(rows) <= MOST
    wanted = {open_ms: taken for open_ms, taken in newest.items() if taken >= since}
    told = {one[0]: one[2] for one in rows}
    assert told.items() <= wanted.items()
    if since >= ring.reach:
        assert told == wanted
    assert ring.reach <= stamp + 1


def test_a_late_revision_of_an_old_candle_stays_while_newer_candles_go():
    mirror = mirror_at(0)
    for seq in range(1, MOST + 1):
        list(mirror.apply(Diffs(1, seq, 0, [], [])))
        mirror.close(*PAIR, "15s", row(seq * 15_000))
    mirror.close(*PAIR, "15s", row(15_000, revision=1))
    mirror.close(*PAIR, "15s", row(15_000 * (MOST + 1)))
    assert opened(mirror.rows(*PAIR, 0)) == [15_000, *range(45_000, 15_000 * (MOST + 2), 15_000)]
    assert mirror.reach(*PAIR, 0) == 3, "the candle that was taken at 2 is gone"
    assert mirror.reach(*PAIR, 1) == 0, "another interval's rows are all there"


def test_rows_of_a_snapshot_are_stamped_with_its_position_and_nothing_reaches_behind_it():
    mirror = mirror_at(40, [row(0), row(15_000)])
    assert (mirror.epoch, mirror.seq, mirror.reach(*PAIR, 0)) == (1, 40, 40)
    assert opened(mirror.rows(*PAIR, 0, since=40)) == [0, 15_000] and mirror.rows(*PAIR, 0, since=41) == []
    list(mirror.apply(Diffs(1, 41, 0, [], [])))
    mirror.close(*PAIR, "15s", row(30_000))
    assert opened(mirror.rows(*PAIR, 0, since=41)) == [30_000]


def test_a_candle_that_rolls_is_stamped_with_the_diff_that_says_so():
    mirror = mirror_at(4)
    live = [list(group) for group in ZERO]
    live[1][:5] = [15_000, 7, 9, 6, 2]
    ((_, *_),) = mirror.apply(Diffs(1, 5, 0, [], [[0, *diffs.make(ZERO, live)]]))
    rolled = [list(group) for group in live]
    rolled[1][0] = 30_000
    list(mirror.apply(Diffs(1, 6, 0, [], [[0, *diffs.make(live, rolled)]])))
    assert opened(mirror.rows(*PAIR, 0, since=6)) == [15_000] and mirror.rows(*PAIR, 0, since=7) == []
    assert mirror.state(*PAIR) == rolled


def test_of_a_pair_that_nobody_has_named_nothing_is_known():
    mirror = mirror_at(4)
    assert mirror.state(VENUE, "NO-SUCH") is None and mirror.rows(VENUE, "NO-SUCH", 0) == []
    list(mirror.apply(Diffs(1, 5, 0, [[1, VENUE, "ETH-USDT"]], [])))
    assert mirror.state(VENUE, "ETH-USDT") == ZERO and mirror.rows(VENUE, "ETH-USDT", 0) == []


def test_a_snapshot_of_another_worker_forgets_the_pairs_before_it():
    mirror = mirror_at(4, [row(0)])
    mirror.restart(Snapshot(0, 2, 1, 0, [[0, VENUE, "ETH-USDT"]], [[0, *diffs.make(ZERO, ZERO)]], []))
    assert mirror.state(*PAIR) is None and mirror.rows(*PAIR, 0) == [] and mirror.epoch == 2
