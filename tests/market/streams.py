"""What a venue may do to us, as hypothesis strategies, and a player that hands it to the engine and notes what it says.

A *stream* is what arrives, in the order of arrival: runs of trades, quotes and depth, steps of the venue's clock,
outages. Trades are numbered by the venue; they come late, doubled, in another order, with holes that are filled later
or never. Quotes are one-sided and crossed now and then, and their times are off; what a book holds is not always known.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import dropwhile, groupby, pairwise
from typing import Any

from hypothesis import strategies as st

from tests.market.reference import CLOSED, MS, REVISED, Depth, Quote, Trade, bounds
from wick.market import trades as market_trades
from wick.market.candles import PairCandles
from wick.market.intervals import INTERVALS, by_name
from wick.market.schema import CANDLE_FIELDS
from wick.wire.messages import pack_depth, pack_quote, pack_trade

GRACE_MS = 2_000
HISTORY = 1_600  # more candles of 15 s than any stream here has


def _at(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1_000  # type: ignore[misc,arg-type]


BOUNDARIES = {
    "15s": _at(2024, 8, 8, 11, 47, 15), "1m": _at(2024, 8, 8, 11, 47), "5m": _at(2024, 8, 8, 11, 50),
    "1h": _at(2024, 8, 8, 13), "4h": _at(2024, 8, 8, 12), "midnight": _at(2024, 8, 9), "Monday": _at(2024, 8, 12),
    "the 1st": _at(2024, 9, 1), "the 1st, a Monday": _at(2024, 7, 1), "year": _at(2025, 1, 1),
    "28 February, no leap year": _at(2023, 3, 1), "into 29 February": _at(2024, 2, 29),
    "out of 29 February": _at(2024, 3, 1), "28 February 2100": _at(2100, 3, 1), "1970": 86_400_000,
}  # fmt: skip

Of_Book = Quote | Depth
Event = tuple[str, Any]  # ("trades", [trade, quote or depth, ...]) | ("clock", ms) | ("outage", None)


@dataclass
class Stream:
    """What arrives, and what the trades of it are."""

    events: list[Event]
    delivered: list[Trade] = field(default_factory=list)  # in the order of arrival, doubled ones too

    @property
    def end_ms(self) -> int:
        """A moment when the last trade's grace is over, and later than every step of the clock."""
        clock = max([ms for kind, ms in self.events if kind == "clock"], default=0)
        return max(clock, self.quoted_ms, max((t[0] // MS for t in self.delivered), default=0)) + GRACE_MS + 1

    @property
    def records(self) -> Iterator[Any]:
        return (one for kind, value in self.events if kind == "trades" for one in value)

    @property
    def quoted_ms(self) -> int:
        """The latest time of a quote or depth that came behind a trade."""
        behind = dropwhile(lambda one: isinstance(one, Of_Book), self.records)
        return max([one.at_ns // MS for one in behind if isinstance(one, Of_Book)], default=0)

    @property
    def quoted_decimals(self) -> tuple[int, int]:
        """The most decimals that prices and quantities of quotes have."""
        quotes = [one for one in self.records if isinstance(one, Quote)]
        return max([one[5] for one in quotes], default=0), max([one[6] for one in quotes], default=0)

    def has_late(self, grace_ms: int = GRACE_MS) -> bool:
        """Whether a trade came when a candle of it had been closed."""
        return any(bounds("15s", t[0] // MS)[1] + grace_ms <= clock for clock, t in self._with_clock())

    def has_unordered(self) -> bool:
        ids = [t[1] for t in self.delivered]
        return any(after < before for before, after in pairwise(ids))

    def _with_clock(self) -> Iterator[tuple[int, Trade]]:
        clock = 0
        for kind, value in self.events:
            if kind == "clock":
                clock = max(clock, value)
            elif kind == "trades":
                yield from ((clock, trade) for trade in trades_of(value))


def trades_of(records: Iterable[Trade | Of_Book]) -> list[Trade]:
    return [one for one in records if not isinstance(one, Of_Book)]


GAPS = {
    "near": st.one_of(st.sampled_from([0, 0, 1]), st.integers(0, 400), st.integers(0, 20_000)),
    "quiet": st.one_of(st.integers(0, 20_000), st.integers(60_000, 1_000_000)),
    "days": st.one_of(st.integers(0, 3_600_000), st.integers(0, 40 * 86_400_000)),
}
SIZES = {
    "plain": (st.integers(1, 50), st.integers(1, 10**6)),
    "same": (st.just(7), st.just(3)),
    "nothing": (st.integers(0, 2), st.integers(0, 2)),
    # A day of PEPE is 1e13 units, BTC has steps of 1e-8.
    "large": (st.integers(1, 10**15), st.integers(1, 10**15)),
    "near": (st.integers(6_183_763_00000000, 6_183_763_00000000 + 9), st.integers(1, 10**8)),
    "edge": (st.integers(2**63 - 9, 2**63 - 1), st.integers(2**63 - 9, 2**63 - 1)),
}
CLOCKS = ("follows", "timer", "jumps", "stands", "shakes")


@st.composite
def streams(
    draw: Any,
    *,
    late: bool = True,
    holes: bool = True,
    crossed: bool = False,
    begun: bool = True,
    gaps: Iterable[str] = ("near", "quiet"),
    sizes: Iterable[str] = tuple(SIZES),
    clocks: Iterable[str] = CLOCKS,
    around: Iterable[str] = tuple(BOUNDARIES),
    most: int = 30,
    jump_ms: int = 7_200_000,
    quotes: bool = True,
) -> Stream:
    """`crossed`: a trade may be older than the one numbered before it. `begun`: the first trade comes first."""
    begin = BOUNDARIES[draw(st.sampled_from(sorted(around)))] - draw(st.sampled_from([0, 1, 999, 16_000, 70_000]))
    gap, (price, quantity) = GAPS[draw(st.sampled_from(sorted(gaps)))], SIZES[draw(st.sampled_from(sorted(sizes)))]
    decimals = draw(st.sampled_from([(0, 0), (2, 5), (8, 8)]))
    more = st.integers(0, 2) if draw(st.booleans()) else st.just(0)
    delay = st.just(0)
    if late:
        delay = st.sampled_from([0, 0, 0, 0, 700, 1_900, 2_001, 16_000, 90_000, 400_000])
    skip = st.sampled_from([0, 0, 0, 0, 1, 3]) if holes else st.just(0)
    steps = draw(
        st.lists(
            st.tuples(
                gap, price, quantity, st.booleans(), st.sampled_from([1, 1, 5]), delay, st.sampled_from([1, 1, 1, 2]),
                skip, st.sampled_from([0, 0, 3] if crossed else [0]), more, more,
            ),
            min_size=1, max_size=most,
        )
    )  # fmt: skip
    at_ms, trade_id = begin, draw(st.sampled_from([1, 1_000, 2**62]))
    arrivals: list[tuple[int, int, Trade]] = []
    nanoseconds = st.sampled_from([0, 0, 999_999]) if crossed else st.just(0)
    for after, p, q, buy, count, wait, copies, skipped, back, more_p, more_q in steps:
        before, at_ms = at_ms, at_ms + after
        units = p, decimals[0] + more_p, q, decimals[1] + more_q
        for hidden_ms in sorted(draw(st.integers(before, at_ms)) for _ in range(skipped)):
            comes = draw(st.sampled_from([None, 0, 500, 30_000, 300_000]))
            hidden = (hidden_ms * MS + draw(nanoseconds), trade_id, *units, draw(st.booleans()), count)
            if comes is not None:
                arrivals.append((at_ms + comes, draw(st.integers(0, 99)), hidden))
            trade_id += 1
        trade = ((at_ms - back) * MS + draw(nanoseconds), trade_id, *units, buy, count)
        arrivals += [(at_ms + wait + extra * 3_000, 50, trade) for extra in range(copies)]
        trade_id += 1
    arrivals.sort(key=lambda one: one[:2])
    if begun:
        first = min((trade for *_, trade in arrivals), key=lambda trade: trade[1])
        arrivals = [(first[0] // MS, 0, first), *[one for one in arrivals if one[0] >= first[0] // MS]]
    delivered = [trade for *_, trade in arrivals]
    if quotes and draw(st.booleans()):
        arrivals = _with_quotes(draw(QUOTES), arrivals)
    if quotes and draw(st.booleans()):
        arrivals = _with_depth(draw(DEPTHS), arrivals)
    return Stream(_with_clock(draw, arrivals, draw(st.sampled_from(sorted(clocks))), jump_ms), delivered)


# Of each quote: before which arrival it comes (of a hundred), how many there are, how its time is off, its prices and
# quantities by the trade that comes before it.
QUOTES = st.lists(
    st.tuples(
        st.integers(0, 99), st.sampled_from([1, 1, 3]), st.sampled_from([0, 0, 1, 250, -1, -20_000, 5_000, 31_000]),
        st.sampled_from([0, 0, 0, 1, 2, -2]), st.sampled_from([1, 1, 1, 0, 2]), st.integers(0, 9), st.integers(1, 9),
        st.sampled_from([0, 0, 0, 1]),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


def _with_quotes(drawn: list[tuple[int, ...]], arrivals: list[Any]) -> list[Any]:
    """The arrivals with quotes among them: some repeat the prices of the one before, a few are no market."""
    places = [(at * (len(arrivals) + 1) // 100, *what) for at, *what in sorted(drawn)]
    made: list[Any] = []
    for place, (at_ms, _, trade) in enumerate([*arrivals, arrivals[-1]]):
        for where, copies, off_ms, below, above, bid_quantity, ask_quantity, more in places:
            if where == place:
                unit, price, quantity = 10**more, min(trade[2], 2**59), min(trade[4], 2**60)
                quote = Quote(
                    max(0, at_ms + off_ms) * MS,
                    max(0, price - below) * unit,
                    bid_quantity * quantity // 9,
                    (price + above) * unit,
                    ask_quantity * quantity // 9,
                    trade[3] + more,
                    trade[5],
                )
                made += [(at_ms, 0, quote._replace(bid_quantity=quote.bid_quantity + n)) for n in range(copies)]
        if place < len(arrivals):
            made.append(arrivals[place])
    return made


# Of each: before which arrival it comes (of a hundred), how its time is off, the four quantities, and their decimals.
DEPTHS = st.lists(
    st.tuples(
        st.integers(0, 99), st.sampled_from([0, 0, 1, 250, -1, -20_000, 5_000, 31_000]),
        *[st.one_of(st.sampled_from([-1, 0]), st.integers(0, 10**6), st.integers(0, 2**63 - 1))] * 4,
        st.integers(0, 18),
    ),
    min_size=1, max_size=15,
)  # fmt: skip


def _with_depth(drawn: list[tuple[int, ...]], arrivals: list[Any]) -> list[Any]:
    """The arrivals with what a book holds among them."""
    made = list(arrivals)
    for at, off_ms, *what in sorted(drawn, reverse=True):
        place = at * (len(arrivals) + 1) // 100
        at_ms = arrivals[min(place, len(arrivals) - 1)][0]
        made.insert(place, (at_ms, 0, Depth(max(0, at_ms + off_ms) * MS, *what)))
    return made


def _with_clock(draw: Any, arrivals: list[tuple[int, int, Any]], style: str, jump_ms: int) -> list[Event]:
    events: list[Event] = []
    clock = arrivals[0][0] // 5_000 * 5_000
    jumps_at = draw(st.integers(0, len(arrivals) - 1)) if style == "jumps" else -1
    for number, (at_ms, _, trade) in enumerate(arrivals):
        if style in ("follows", "jumps", "shakes") and at_ms > clock:
            clock = at_ms
            events.append(("clock", clock + (draw(st.sampled_from([0, -10_000, -1])) if style == "shakes" else 0)))
        elif style == "timer" and at_ms >= clock + 5_000:
            clock = at_ms // 5_000 * 5_000
            events.append(("clock", clock))
        if number == jumps_at:
            clock += draw(st.sampled_from([1, 15_000, 600_000, jump_ms]))
            events.append(("clock", clock))
        if events and events[-1][0] == "trades":
            events[-1][1].append(trade)
        else:
            events.append(("trades", [trade]))
    return events


# ---------------------------------------------------------------------- playing


Records = list[Trade | Of_Book]


def packed(records: Iterable[Trade | Of_Book]) -> bytes:
    return b"".join(
        pack_quote(market_trades.Quote("S", 7, *one[1:]), 5, one.at_ns) if isinstance(one, Quote)
        else pack_depth(market_trades.BookDepth("S", 7, *one[1:]), 5, one.at_ns, 3) if isinstance(one, Depth)
        else pack_trade(market_trades.Trade("S", *one), one[0] + 5)
        for one in records
    )  # fmt: skip


def by_tuples(pair: PairCandles, records: Records) -> None:
    for kind, some in groupby(records, type):
        if kind is Quote:
            for quote in some:
                pair.quote(*quote)
        elif kind is Depth:
            for depth in some:
                pair.depth(*depth[:5])
        else:
            pair.trades(some)


def by_records(pair: PairCandles, records: Records) -> None:
    pair.take(packed(records))


def by_view(pair: PairCandles, records: Records) -> None:
    pair.take(memoryview(b"\x00" * 64 + packed(records))[64:])


Way = Callable[[PairCandles, Records], None]
WAYS: tuple[Way, ...] = (by_tuples, by_records, by_view)


def pieces_of(size: int) -> Callable[[Records], list[Records]]:
    return lambda records: [records[at : at + size] for at in range(0, len(records), size)]


def whole(records: Records) -> list[Records]:
    return [records]


def new_pair(names: Iterable[str] = (), **options: Any) -> PairCandles:
    intervals = [by_name(name) for name in names] or list(INTERVALS)
    return PairCandles("v", "S", intervals, **{"grace_ms": GRACE_MS, "history": HISTORY, **options})


@dataclass
class Run:
    """What the engine said: every row as it was published, and the newest one of each candle."""

    pair: PairCandles
    said: list[Any] = field(default_factory=list)  # whatever can be seen from outside, moment by moment
    newest: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    published: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    clock_ms: int = 0

    def live(self) -> dict[tuple[str, int], dict[str, Any]]:
        rows = [(name, named(row)) for name, row in self.pair.live()]
        found = {(name, row["open_time_ms"]): row for name, row in rows}
        assert len(found) == len(rows), "a candle is shown once"
        assert not any(row["flags"] & CLOSED for row in found.values())
        return found

    def drain(self, grace_ms: int) -> None:
        rows = self.pair.drain_closed()
        self.said.append(rows)
        for name, values in rows:
            row = named(values)
            key = name, row["open_time_ms"]
            before = self.newest.get(key)
            assert row["flags"] & CLOSED
            assert row["close_time_ms"] + grace_ms <= self.clock_ms, "a candle closes when its grace is over"
            assert row["revision"] == (before["revision"] + 1 if before else 0), f"each revision once, in order: {key}"
            assert bool(row["flags"] & REVISED) == bool(row["revision"])
            self.newest[key] = row
            self.published.append((name, row))


def named(row: list[Any]) -> dict[str, Any]:
    return dict(zip(CANDLE_FIELDS, row, strict=True))


def play(
    events: list[Event],
    pair: PairCandles,
    *,
    cut: Callable[[Records], list[Records]] = whole,
    way: Way = by_records,
    grace_ms: int = GRACE_MS,
    look: bool = True,
) -> Run:
    """Hand the stream to the engine, each run of records cut into pieces, and look at all that it shows after each."""
    run = Run(pair)
    for kind, value in events:
        if kind == "trades":
            for piece in cut(value):
                way(pair, piece)
            if look:
                rows = pair.live(), pair.recent([3] * len(INTERVALS))
                run.said.append([[list(group) for group in pair.groups], pair.counters, *rows])
        elif kind == "clock":
            run.clock_ms = max(run.clock_ms, value)
            pair.advance(value)
            run.drain(grace_ms)
        else:
            pair.outage()
    return run


def suspect_windows(delivered: list[Trade]) -> list[tuple[int, int]]:
    """For ids still missing: the times (ms) between which we saw that they were, generously."""
    present = {t[1] for t in delivered}
    found, highest, lowest = [], None, None
    for trade in delivered:
        if lowest is None or trade[1] < lowest[1]:
            # What lies below the first that came is known to be missing once something before it comes.
            if lowest is not None and lowest[1] - trade[1] - 1 > sum(trade[1] < one < lowest[1] for one in present):
                found.append((min(lowest[0], trade[0]) // MS, max(lowest[0], trade[0]) // MS))
            lowest = trade
        if highest is not None and trade[1] > highest[1] + 1:
            lacking = trade[1] - highest[1] - 1 - sum(highest[1] < number < trade[1] for number in present)
            if lacking:
                found.append((min(highest[0], trade[0]) // MS, max(highest[0], trade[0]) // MS))
        if highest is None or trade[1] > highest[1]:
            highest = trade
    return found
