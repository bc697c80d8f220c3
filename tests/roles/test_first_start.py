"""Candles of the venue's own: what they say, and how a first start begins its metrics with them."""

from itertools import pairwise
from typing import Any

import pytest

from tests.roles.past_venue import START_MS, SYMBOL, PastVenue
from tests.roles.test_past import WHOLE, filled
from tests.storage.memory_store import MemoryStore
from wick.errors import StoreError
from wick.market import foreign
from wick.market.intervals import INTERVALS, by_name
from wick.market.rows import readable
from wick.market.schema import CANDLE_FIELDS, CLOSED, EMPTY, FOREIGN, Row
from wick.ops.settings import Settings
from wick.ops.symbols import Wanted
from wick.roles import first_start
from wick.roles.asking import AskError
from wick.roles.first_start import FirstStart
from wick.roles.venue_candles import Enriching, Found, fetch, offered
from wick.storage.batch import Batch

TOLD = ("open_time_ms", "close_time_ms", "open", "high", "low", "close", "volume", "quote_volume", "trade_count",
        "taker_buy_volume", "taker_buy_quote_volume", "delta", "vwap", "delta_ratio", "avg_trade_size")  # fmt: skip
FLAGS = CANDLE_FIELDS.index("flags")


def told(row: Row) -> dict[str, Any]:
    return {
        name: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        for name, value in readable(row, TOLD).items()
    }


def found_of(one: PastVenue, name: str, from_ms: int = WHOLE.from_ms, to_ms: int = WHOLE.to_ms) -> Found:
    interval = by_name(name)
    pages = fetch(one.venue, one, SYMBOL, [(interval, from_ms)], to_ms)  # type: ignore[arg-type]
    return Found(SYMBOL, interval, [row for page in pages for found in page for row in found.rows])


def enriched(*found: Found) -> Batch:
    return Enriching("binance", True).batch(found)


@pytest.mark.slow
def test_what_the_venue_says_of_its_candles_is_what_the_engine_makes_of_its_trades() -> None:
    venue = PastVenue(minutes=11)
    for name in ("15s", "30s", "1m", "3m", "5m"):
        ours = filled().candles("binance", SYMBOL, name, 1_000)
        theirs = enriched(found_of(venue, name)).rows()
        assert [told(row[3:]) for row in theirs] == [told(row) for row in ours]
        assert {row[3 + FLAGS] & ~EMPTY for row in theirs} == {CLOSED | FOREIGN}


@pytest.mark.slow
def test_a_foreign_candle_stands_below_one_of_our_own_and_fills_where_there_is_none() -> None:
    store, venue = MemoryStore(), PastVenue(minutes=11)
    ours = filled().candles("binance", SYMBOL, "1m", 4)
    store.write(Batch.of_rows([["binance", SYMBOL, "1m", *row] for row in ours]), {})
    store.write(enriched(found_of(venue, "1m")), {})
    rows = store.candles("binance", SYMBOL, "1m", 100)
    assert rows[-4:] == ours
    assert len(rows) == 11 and all(row[FLAGS] & FOREIGN for row in rows[:-4])
    store.write(
        Batch.of_rows([["binance", SYMBOL, "1m", *row] for row in filled().candles("binance", SYMBOL, "1m", 11)]), {}
    )
    assert not any(row[FLAGS] & FOREIGN for row in store.candles("binance", SYMBOL, "1m", 100))


def test_pages_follow_each_other_and_the_candle_that_has_not_ended_is_left_out() -> None:
    venue = PastVenue(minutes=11)
    venue.venue = type("Small", (type(venue.venue),), {"candles_a_page": 7})()
    found = found_of(venue, "1m", START_MS - 60_000 * 30, START_MS + 60_000 * 10 + 59_000)
    assert len(venue.asked) == 6
    assert [row[0] for row in found.rows] == [START_MS + 60_000 * at for at in range(-30, 10)]


def test_shorter_candles_are_put_together_where_all_of_them_are_there() -> None:
    one = foreign.Kline(0, (5, 0), (71, 1), (4, 0), (6, 0), (1, 1), (6, 1), 2, (0, 0), (0, 0))
    seconds = [one._replace(open_ms=at * 1_000, close=(at, 0)) for at in range(45) if at != 20]
    first, last = foreign.merged(seconds, foreign.SECONDS, by_name("15s"))
    assert (first.open_ms, last.open_ms) == (0, 30_000)
    assert first.close == (14, 0) and first.high == (71, 1) and first.trades == 30 and first.volume == (15, 1)


def test_what_a_venue_does_not_have_is_made_of_the_longest_that_fits() -> None:
    assert foreign.source("15s", ("1s", "1m")) == "1s"
    assert foreign.source("30m", ("1m", "5m", "15m", "1h")) == "15m"
    assert foreign.source("15s", ("1m",)) == ""
    venue = PastVenue("binance-usdm", minutes=1)
    assert [one.name for one in offered(venue.venue)] == [one.name for one in INTERVALS[2:]]
    with pytest.raises(AskError, match="valid is 1m, 3m"):
        found_of(venue, "15s")


@pytest.mark.slow
def test_behind_a_gap_metrics_begin_anew() -> None:
    found = found_of(PastVenue(minutes=11), "15s")
    rsi = 3 + CANDLE_FIELDS.index("rsi_14")
    whole = [row[rsi] for row in enriched(found).rows()]
    holed = [row[rsi] for row in enriched(found._replace(rows=found.rows[:20] + found.rows[21:])).rows()]
    assert whole[30] is not None and holed[29] is None and holed[:20] == whole[:20]
    bit_by_bit = Enriching("binance", True)
    parts = [found._replace(rows=found.rows[at : at + 7]) for at in range(0, 44, 7)]
    assert [row[rsi] for part in parts for row in bit_by_bit.batch([part]).rows()] == whole


# ---------------------------------------------------------------------- the first start


def begun(store: MemoryStore, venue: PastVenue, *, until: float = 1e7, count: int = 40) -> FirstStart:
    one = FirstStart(Settings({"aggregator.warmup": count}), venue.venue, store, lambda _: None, until)
    one.asking = venue  # type: ignore[assignment]
    return one


@pytest.mark.slow
def test_a_first_start_has_as_many_candles_of_each_interval_as_metrics_want() -> None:
    store, venue = MemoryStore(), PastVenue(minutes=11)
    one = begun(store, venue)
    one.run([SYMBOL], venue.now_ms + 4_000)
    assert one.done == [SYMBOL] and not one.reason
    for interval in INTERVALS:
        rows = store.inputs("binance", SYMBOL, interval.name, 1_000)
        assert len(rows) >= 39 and rows[-1][1] == interval.open_ms(venue.now_ms + 4_000)
        assert all(before[1] == after[0] for before, after in pairwise(rows))


@pytest.mark.slow
def test_the_next_start_asks_for_what_has_closed_since_and_for_nothing_else() -> None:
    store, venue = MemoryStore(), PastVenue(minutes=11)
    begun(store, venue).run([SYMBOL], venue.now_ms)
    venue.asked = []
    begun(store, venue).run([SYMBOL], venue.now_ms + 14_000)
    assert venue.asked == []
    venue.now_ms += 31_000
    begun(store, venue).run([SYMBOL], venue.now_ms)
    assert [path.partition("interval=")[2][:2] for path in venue.asked] == ["1s"]  # of both, once


def test_the_time_is_bounded_and_what_is_there_is_kept() -> None:
    store, venue = MemoryStore(), PastVenue(minutes=11)
    one = begun(store, venue, until=0)
    one.run([SYMBOL], venue.now_ms)
    assert "time" in one.reason and one.candles == 0


@pytest.mark.parametrize("fails", ["venue", "store"])
def test_a_start_goes_on_without_what_cannot_be_had(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def away(*_: object, **__: object) -> Any:
        if fails == "store":
            raise StoreError("no such store")
        return Closable()

    class Closable(MemoryStore):
        def close(self) -> None: ...

    def nobody(*_: object) -> Any:
        raise AskError("nobody is there")

    monkeypatch.setattr(first_start, "open_store", away)
    monkeypatch.setattr("wick.roles.asking.Asking.ask", nobody)
    said: list[str] = []
    settings = Settings({"feed.venues": ("binance",), "feed.symbols": ("BTCUSDT",), "core.data_dir": "/nowhere"})
    first_start.warm(settings, said.append, said.append, lambda _: None)
    assert "no such store" in said[-1] or "nobody is there" in said[-1]
    assert first_start.warm(Settings({"aggregator.warmup_s": 0}), said.append, said.append) is None


@pytest.mark.slow
def test_of_all_symbols_those_that_the_venue_lists() -> None:
    venue = PastVenue(minutes=1)
    assert begun(MemoryStore(), venue).symbols(Wanted(True, (), frozenset())) == [SYMBOL]
    assert begun(MemoryStore(), venue).symbols(Wanted(False, ("A-B",), frozenset())) == ["A-B"]
