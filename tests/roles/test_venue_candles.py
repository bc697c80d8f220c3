"""Venues' own candles, over their simulated wires: they are those of the trades, and what is not told is unknown."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.roles.past_venue import START_MS, SYMBOL, PastVenue
from tests.roles.test_first_start import begun, enriched, found_of
from tests.roles.test_past import filled
from tests.storage.memory_store import MemoryStore
from wick.market import foreign
from wick.market.intervals import DAY, MINUTE, by_name
from wick.market.rows import readable
from wick.market.schema import CANDLE_FIELDS, EMPTY, FORMED_FIELDS, Row
from wick.metrics.bank import CLOSE as LAST_PRICE
from wick.metrics.bank import DELTA
from wick.metrics.processor import history_of
from wick.ops.settings import Settings
from wick.roles import first_start
from wick.roles.asking import AskError, Asking
from wick.roles.rest import OURS
from wick.roles.venue_candles import fetch, offered
from wick.sim.wires import okx

TAKERS = {"taker_buy_volume", "taker_buy_quote_volume", "delta", "delta_ratio"}
COUNT, TURNOVER = {"trade_count", "avg_trade_size"}, {"quote_volume", "vwap"}
UNTOLD = {
    "bybit": TAKERS | COUNT, "coinbase": TAKERS | COUNT | TURNOVER, "kraken": TAKERS | TURNOVER, "okx": TAKERS | COUNT,
}  # fmt: skip
ALL = ("open_time_ms", "close_time_ms", "open", "high", "low", "close", "volume", *sorted(TAKERS | COUNT | TURNOVER))
SIX = [by_name(name) for name in ("1m", "3m", "5m", "15m", "30m", "1h")]
FLAGS, CLOSE, VOLUME, TRADES = (
    CANDLE_FIELDS.index(name) for name in ("flags", "close_time_ms", "volume", "trade_count")
)

every = pytest.mark.parametrize("name", UNTOLD)


def told(row: Row, names: Any) -> dict[str, Any]:
    known = {name: value for name, value in readable(row, names).items() if value is not None}
    return {
        name: pytest.approx(value, rel=1e-12) if isinstance(value, float) else Decimal(value)  # type: ignore[arg-type]
        for name, value in known.items()
    }


def small(one: PastVenue, page: int = 7) -> PastVenue:
    one.venue = type("Small", (type(one.venue),), {"candles_a_page": page})()
    return one


@every
@pytest.mark.slow
def test_what_the_venue_says_of_its_candles_is_what_the_engine_makes_of_its_trades(name: str) -> None:
    venue = PastVenue(name, minutes=11)
    has_quiet = venue.venue.empty == "flat"
    for interval in offered(venue.venue):
        if interval.close_ms(0) > 5 * MINUTE:
            break
        ours = [row for row in filled().candles("binance", SYMBOL, interval.name, 99) if has_quiet or row[VOLUME]]
        theirs = found_of(venue, interval.name).rows
        known = [one for one in ALL if one not in UNTOLD[name]]
        theirs = [[*row, *[None] * (len(CANDLE_FIELDS) - len(row))] for row in theirs]
        assert [told(row, known) for row in theirs] == [told(row, known) for row in ours] != []
        assert not any(told(row, UNTOLD[name]) for row in theirs)
        assert all(bool(row[FLAGS] & EMPTY) == (not row[VOLUME]) for row in theirs)


@every
def test_pages_follow_each_other_and_the_candle_that_runs_is_left_out(name: str) -> None:
    venue = small(PastVenue(name, minutes=11))
    opens = [row[0] for row in found_of(venue, "1m", START_MS - 29 * MINUTE - 1, START_MS + 10 * MINUTE + 59_000).rows]
    expected = [START_MS + at * MINUTE for at in range(-29, 10)]
    assert opens == [at for at in expected if at in opens] and opens[0] == expected[0] and opens[-1] == expected[-1]
    if venue.venue.empty == "flat":
        assert opens == expected
    assert len(venue.asked) == (1 if name == "kraken" else 6)


def test_one_that_gives_fewer_than_it_is_taken_for_is_asked_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(okx, "_MAX_CANDLES", 3)
    venue = small(PastVenue("okx", minutes=11))
    opens = [row[0] for row in found_of(venue, "1m", START_MS, START_MS + 10 * MINUTE).rows]
    assert opens == [START_MS + at * MINUTE for at in range(10)]


def test_of_kraken_there_are_the_newest_720_and_one_question_tells() -> None:
    venue = PastVenue("kraken", minutes=11)
    rows = found_of(venue, "1m", START_MS - DAY, venue.now_ms).rows
    assert (len(rows), rows[-1][CLOSE], len(venue.asked)) == (720, venue.now_ms, 1)
    assert found_of(venue, "1m", START_MS - 2 * DAY, START_MS - DAY).rows == []


@every
def test_weeks_begin_on_mondays_and_months_on_the_first_wherever_they_are_made_of(name: str) -> None:
    venue, to_ms = PastVenue(name, minutes=1), START_MS + 59_000
    days, weeks, months = (found_of(venue, one, START_MS - 150 * DAY, to_ms).rows for one in ("1d", "1w", "1M"))
    volumes = {row[0]: row[VOLUME] for row in days}
    assert {datetime.fromtimestamp(row[0] / 1000, UTC).isoweekday() for row in weeks} == {1} and len(weeks) == 20
    assert [datetime.fromtimestamp(row[0] / 1000, UTC).strftime("%d %b") for row in months] == [
        "01 Apr", "01 May", "01 Jun", "01 Jul",
    ]  # fmt: skip
    for row in weeks if "1M" in venue.venue.candles else (*weeks, *months):
        assert row[VOLUME] == sum(volumes[at] for at in range(row[0], row[CLOSE], DAY))


def test_what_several_intervals_are_made_of_is_asked_for_once() -> None:
    venue = PastVenue("coinbase", minutes=11)
    asked = [(one, START_MS - 3_600_000) for one in SIX]
    found = Counter[str]()
    for page in fetch(venue.venue, venue, SYMBOL, asked, START_MS):  # type: ignore[arg-type]
        found.update({one.interval.name: len(one.rows) for one in page})
    assert found == {"1m": 60, "3m": 20, "5m": 12, "15m": 4, "30m": 2, "1h": 1}
    assert [path.partition("granularity=")[2].partition("&")[0] for path in venue.asked] == ["60", "300", "900", "3600"]


def test_where_there_are_no_quiet_candles_a_longer_one_needs_no_more_than_one_part() -> None:
    one = foreign.Kline(0, (5, 0), (7, 0), (4, 0), (6, 0), (1, 1))
    parts = [one, one._replace(open_ms=2 * MINUTE), one._replace(open_ms=4 * MINUTE)]
    assert list(foreign.merged(parts, "1m", by_name("3m"))) == []
    first, second = foreign.merged(parts, "1m", by_name("3m"), has_quiet=False)
    assert (first.volume, second.open_ms, second.volume) == ((2, 1), 3 * MINUTE, (1, 1))
    assert first.trades is first.quote_volume is first.taker_buy_volume is None


def test_candles_that_do_not_begin_when_ours_do_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = PastVenue("okx", minutes=1)
    monkeypatch.setattr("wick.exchanges.okx.CANDLES", {"1d": "1Dutc"})
    shifted = type("Shifted", (type(venue.venue),), {"parse_candles": lambda _, raw: [foreign.Kline(
        START_MS - 28_800_000, (1, 0), (1, 0), (1, 0), (1, 0), (1, 0))]})  # fmt: skip
    venue.venue = shifted()
    with pytest.raises(AskError, match="OKX spot has candles of 1d that do not begin when ours do"):
        found_of(venue, "1d", START_MS - 2 * DAY, START_MS)


@every
@pytest.mark.slow
def test_metrics_of_what_is_not_told_are_unknown_and_all_others_are_there(name: str) -> None:
    (*_, last) = (row[3:] for row in enriched(found_of(PastVenue(name, minutes=1), "1d", START_MS - 99 * DAY)).rows())
    lacks = {field for field, value in zip(CANDLE_FIELDS, last, strict=True) if value is None} - {*FORMED_FIELDS}
    assert lacks == {"vpin_50"} | ({"amihud_20"} if "quote_volume" in UNTOLD[name] else set())


@pytest.mark.slow
def test_metrics_know_again_as_soon_as_their_window_is_known() -> None:
    vpin = 3 + CANDLE_FIELDS.index("vpin_50")
    known, unknown = (
        found_of(PastVenue(name, minutes=11), "1m", START_MS - 60 * MINUTE) for name in ("binance", "bybit")
    )
    mixed = enriched(known._replace(rows=unknown.rows[:15] + known.rows[15:])).rows()
    assert [row[vpin] for row in mixed[:64]] == [None] * 64
    assert [row[vpin] for row in mixed[64:]] == [row[vpin] for row in enriched(known).rows()[64:]]
    assert None not in [row[vpin] for row in mixed[64:]]


@every
@pytest.mark.slow
def test_a_worker_warms_its_metrics_with_them(name: str) -> None:
    store, venue = MemoryStore(), PastVenue(name, minutes=11)
    one = begun(store, venue)
    one.run([SYMBOL], venue.now_ms)
    assert one.done == [SYMBOL] and not one.reason
    for interval in offered(venue.venue):
        history = history_of(store.inputs(name, SYMBOL, interval.name, 99), venue.venue.empty == "flat")
        assert history is not None and history.close_ms == interval.open_ms(venue.now_ms)
        assert history.candles.shape[1] >= (23 if interval.name == "1M" else 30)
        assert np.isnan(history.candles[DELTA]).all() and not np.isnan(history.candles[: LAST_PRICE + 1]).any()


@pytest.mark.parametrize(("name", "share"), [("binance", first_start.SHARE), ("kraken", OURS)])
def test_a_first_start_takes_all_of_a_limit_that_is_free_again_before_the_feed(
    monkeypatch: pytest.MonkeyPatch, name: str, share: float
) -> None:
    asked: dict[str, float] = {}
    monkeypatch.setattr(first_start, "Asking", lambda *_, **words: asked.update(words))
    first_start.FirstStart(Settings({}), PastVenue(name, 0.1).venue, None, print, 0.0)  # type: ignore[arg-type]
    assert asked["share"] == share


@pytest.mark.parametrize(("name", "answer"), [
    ("bybit", b'{"retCode":10001,"retMsg":"Not supported symbols","result":{}}'),
    ("okx", b'{"code":"51001","msg":"no such instrument","data":[]}'),
    ("kraken", b'{"error":["EQuery:Unknown asset pair"]}'),
])  # fmt: skip
def test_what_is_refused_with_status_200_is_not_asked_for_again(name: str, answer: bytes) -> None:
    venue, asked = PastVenue(name, 0.1).venue, list[str]()
    asking = Asking(venue, Settings({}), sleep=lambda _: pytest.fail("it is asked again"))
    asking._rest.get = lambda path, _: asked.append(path) or answer  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(AskError, match=f"{name} refuses"):
        list(fetch(venue, asking, "FOO-BAR", [(by_name("1h"), START_MS)], START_MS + DAY))
    assert len(asked) == 1


def test_the_candles_of_a_page_follow_each_other() -> None:
    rows = found_of(small(PastVenue("bybit", minutes=11), 4), "3m", START_MS, START_MS + 9 * MINUTE).rows
    assert len(rows) == 3 and all(one[CLOSE] == other[0] for one, other in pairwise(rows))
