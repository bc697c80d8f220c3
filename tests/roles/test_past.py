"""The past of a pair through the engine: whole candles, those that a worker would have made, whatever was cut off."""

from copy import deepcopy
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.roles.past_venue import START_MS, SYMBOL, PastVenue
from tests.storage.memory_store import MemoryStore
from tests.stream.market import records_of
from wick import exchanges
from wick.errors import StoreError
from wick.market.intervals import by_name
from wick.market.schema import CANDLE_FIELDS, CLOSED, PARTIAL, REVISED, SUSPECT
from wick.ops.settings import Settings
from wick.roles.asking import AskError
from wick.roles.filling import Filling, Progress, Range, between
from wick.roles.past import Past
from wick.roles.past_trades import PastTrades
from wick.storage.batch import Batch
from wick.stream.shard import CandleRules, Shard, enrich

RULES = CandleRules()
END_MS = START_MS + 11 * 60_000
WHOLE = Range(START_MS, END_MS)
OPEN, FLAGS, REVISION, OFI = (3 + CANDLE_FIELDS.index(name) for name in ("open_time_ms", "flags", "revision", "ofi"))
RSI = 3 + CANDLE_FIELDS.index("rsi_14")


@cache
def venue() -> PastVenue:
    return PastVenue(minutes=11)


@cache
def live_rows() -> list[Any]:
    """What a worker makes of these trades that begins with the range: every 500 ms what came, and the clock."""
    shard = Shard(0, 1, {"binance": RULES})
    pair = shard.pair("binance", SYMBOL, START_MS)
    trades, made = [one for one in venue().trades if one.event_ns >= START_MS * 10**6], []
    at = 0
    for clock_ms in range(START_MS, END_MS + 2_001, 500):
        end = at
        while end < len(trades) and trades[end].event_ns // 10**6 < clock_ms:
            end += 1
        if end > at:
            pair.ticks(records_of(*trades[at:end]))
            at = end
        shard.advance("binance", clock_ms)
        for _ in enrich(shard.processor, [shard]):
            pass
        made += [Batch.of_closes([ready]) for ready in shard.ready]
        shard.ready = []
    return sorted(row for row in Batch.join(made).rows() if not row[FLAGS] & PARTIAL)


def from_the_one_before() -> list[Any]:
    trades = venue().trades
    return trades[next(at for at, one in enumerate(trades) if one.event_ns >= START_MS * 10**6) - 1 :]


def filling(store: MemoryStore, path: Any, symbol: str = SYMBOL, **settings: Any) -> Filling:
    values = {"core.data_dir": str(path), **{name.replace("_", ".", 1): value for name, value in settings.items()}}
    return Filling(Settings(values), exchanges.load("binance"), symbol, store, lambda _: None, lambda _: None)


def asked_of(one: PastVenue) -> PastTrades:
    return PastTrades(one.venue, SYMBOL, one)  # type: ignore[arg-type]


@cache
def filled() -> MemoryStore:
    store = MemoryStore()
    with TemporaryDirectory() as folder:
        filling(store, folder).from_rest(WHOLE, asked_of(venue()))
    return store


@pytest.fixture
def full() -> MemoryStore:
    return deepcopy(filled())


@pytest.mark.slow
def test_candles_of_the_past_are_bit_for_bit_those_that_a_worker_makes(full: MemoryStore) -> None:
    rows = live_rows()
    assert len(rows) == 44 + 22 + 11 + 3 + 2
    assert sorted(full.all()) == rows
    assert any(row[RSI] is not None for row in rows)


def test_a_range_begins_at_the_price_of_the_trade_before_it_and_ends_with_quiet_candles(tmp_path: Any) -> None:
    store = MemoryStore()
    wanted = Range(START_MS, START_MS + 120_000)
    before, first, *_ = [one._replace(price=60_001, price_decimals=0) for one in from_the_one_before()]
    late = first._replace(event_ns=(START_MS + 70_000) * 10**6, quantity=7, quantity_decimals=5, taker_buy=False)
    filling(store, tmp_path).fill(wanted, 0, lambda *_: [[before, late]])
    quiet, traded = store.candles("binance", SYMBOL, "1m", 10, fields=("open_time_ms", "close", "trade_count", "cvd"))
    assert quiet == [START_MS, 60_001, 0, 0]
    assert traded == [START_MS + 60_000, 60_001, 1, -7]


@pytest.mark.slow
@given(cut=st.integers(1, 8), size=st.integers(100, 2_000))
def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_been(cut: int, size: int) -> None:
    trades = from_the_one_before()
    pages = [trades[at : at + size] for at in range(0, len(trades), size)]
    past = Past("binance", SYMBOL, RULES, START_MS)
    made = []
    for number, page in enumerate(pages):
        past.take(page)
        made.append(past.drain())
        if number == cut:
            past, beside = Past.load(past.save([7, number]), "binance", SYMBOL, RULES, START_MS)
            assert beside == [7, number]
    past.finish(END_MS)
    made.append(past.drain())
    assert sorted(Batch.join(made).rows()) == live_rows()


def test_what_was_begun_by_other_rules_is_not_gone_on_with() -> None:
    data = Past("binance", SYMBOL, RULES, START_MS).save(None)
    with pytest.raises(StoreError, match="other rules"):
        Past.load(data, "binance", SYMBOL, CandleRules(empty="omit"), START_MS)


@pytest.mark.slow
def test_the_same_command_goes_on_where_nobody_answered_any_more(
    full: MemoryStore, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wick.roles.filling.COMMIT_ROWS", 1)
    store, away = MemoryStore(), PastVenue(minutes=11)
    away.fails_at = 5
    one = filling(store, tmp_path / "other")
    with pytest.raises(AskError):
        one.from_rest(WHOLE, asked_of(away))
    assert 0 < len(store.all()) < len(full.all())
    first_part, away.asked, away.fails_at = len(store.all()), [], 0
    progress = one.from_rest(WHOLE, asked_of(away))
    assert "fromId=" in away.asked[3]
    assert progress.candles < len(full.all()) and first_part  # the rest only
    assert store.all() == full.all()
    assert one.is_done(WHOLE)
    assert not one.path.exists()


@pytest.mark.slow
def test_to_do_it_again_changes_nothing(full: MemoryStore, tmp_path: Any) -> None:
    before = full.all()
    one = filling(full, tmp_path)
    assert one.is_done(WHOLE) and not one.is_done(Range(START_MS, END_MS + 1))
    one.from_rest(WHOLE, asked_of(venue()))
    assert full.all() == before


@pytest.mark.slow
def test_a_store_that_is_away_for_a_moment_is_waited_for(full: MemoryStore, tmp_path: Any) -> None:
    store = MemoryStore()
    store.away = 3
    filling(store, tmp_path / "other").from_rest(WHOLE, asked_of(venue()))
    assert store.all() == full.all()


@pytest.mark.slow
def test_metrics_begin_with_the_candles_that_are_stored(full: MemoryStore, tmp_path: Any) -> None:
    store = MemoryStore()
    later = Range(START_MS + 300_000, END_MS)
    early = [row for row in full.all() if row[OPEN + 1] <= later.from_ms]
    store.write(Batch.of_rows(early), {})
    filling(store, tmp_path / "other").from_rest(later, asked_of(venue()))
    ours = [row for row in store.all() if row[2] == "15s" and row[OPEN] >= later.from_ms]
    theirs = [row for row in full.all() if row[2] == "15s" and row[OPEN] >= later.from_ms]
    assert [row[RSI] for row in ours] == pytest.approx([row[RSI] for row in theirs])
    assert None not in [row[RSI] for row in ours]


@pytest.mark.slow
def test_a_candle_that_opened_before_the_range_is_left_out(full: MemoryStore, tmp_path: Any) -> None:
    store = MemoryStore()
    later = Range(START_MS + 70_000, END_MS)
    filling(store, tmp_path / "other").from_rest(later, asked_of(venue()))
    assert {row[OPEN] for row in store.all() if row[2] == "5m"} == {START_MS + 300_000}
    assert not any(row[FLAGS] & PARTIAL for row in store.all())


def changed(row: Any, **fields: Any) -> Any:
    row = list(row)
    for name, value in fields.items():
        row[3 + CANDLE_FIELDS.index(name)] = value
    return row


@pytest.mark.slow
def test_what_live_candles_know_of_the_book_stays_known(full: MemoryStore, tmp_path: Any) -> None:
    lived = changed(full.all()[0], ofi=1.5, rsi_14=None, patterns=None, revision=2, flags=CLOSED | REVISED)
    bare = changed(full.all()[1], ofi=2.5, patterns=None)
    store = MemoryStore()
    store.write(Batch.of_rows([lived, bare]), {})
    filling(store, tmp_path / "other").from_rest(WHOLE, asked_of(venue()))
    assert store.all()[0][REVISION] == 2  # the later revision stands
    assert store.all()[1] == changed(full.all()[1], ofi=2.5)  # the metrics are new, the book is not


@pytest.mark.slow
def test_a_suspect_candle_gets_its_next_revision_and_a_gap_is_found(full: MemoryStore, tmp_path: Any) -> None:
    good = full.all()
    store = MemoryStore()
    minute = [row for row in good if row[2] == "1m"]
    suspect = changed(minute[2], flags=CLOSED | SUSPECT | REVISED, revision=4, volume=1, ofi=3.0)
    store.write(Batch.of_rows([suspect if row is minute[2] else row for row in good if row is not minute[9]]), {})
    one = filling(store, tmp_path / "other")
    gaps = one.gaps(WHOLE, [by_name("1m"), by_name("5m")])
    assert gaps == [Range(minute[2][OPEN], minute[3][OPEN]), Range(minute[9][OPEN], minute[10][OPEN])]
    for gap in gaps:
        one.from_rest(gap, asked_of(venue()))
    assert one.gaps(WHOLE, [by_name("1m"), by_name("5m")]) == []
    mended = next(row for row in store.all() if row[2] == "1m" and row[OPEN] == minute[2][OPEN])
    assert mended[REVISION] == 5 and mended[FLAGS] == CLOSED | REVISED and mended[OFI] == 3.0
    assert mended[FLAGS + 3 :][:10] == minute[2][FLAGS + 3 :][:10]


def test_an_empty_store_is_one_gap(tmp_path: Any) -> None:
    assert filling(MemoryStore(), tmp_path).gaps(WHOLE, [by_name("1m"), by_name("1h")]) == [WHOLE]


@given(first=st.integers(0, 40), begin=st.integers(0, 40), length=st.integers(1, 40), size=st.integers(1, 9))
def test_of_a_dump_the_trades_of_the_range_and_the_one_before(first: int, begin: int, length: int, size: int) -> None:
    trades = [one._replace(trade_id=at, event_ns=at * 10) for at, one in enumerate(venue().trades[:40])]
    pages = [trades[at : at + size] for at in range(0, 40, size)]
    found = [one for page in between(pages, first, begin * 10, (begin + length) * 10) for one in page]
    inside = [one for one in trades[first:] if begin <= one.trade_id < begin + length]
    before = trades[first:begin][-1:]
    assert found in ([*before, *inside], [] if not inside else None)


@pytest.mark.parametrize("venue_id", ["binance", "binance-usdm", "coinbase", "kraken"])
def test_the_first_trade_of_a_moment_is_found_at_every_venue_that_has_past_trades(venue_id: str) -> None:
    one = PastVenue(venue_id, minutes=1)
    symbol = next(iter(one.view.symbols()))
    kept = one.view.trades_from(symbol, 0, 10**6)
    trades = PastTrades(one.venue, one.venue.symbol(symbol), one)  # type: ignore[arg-type]
    for wanted in (kept[3], kept[len(kept) // 2], kept[-1]):
        first = next(trade for trade in kept if trade.time_ms >= wanted.time_ms)
        assert trades.first(wanted.time_ms * 10**6) == first.trade_id
    assert trades.first((kept[-1].time_ms + 1) * 10**6) is None
    found = [
        trade.trade_id
        for page in trades.pages(kept[1].trade_id, kept[1].time_ms * 10**6, 2**62, None)
        for trade in page
    ]
    assert found == [trade.trade_id for trade in kept[1:]]


def test_a_venue_that_has_no_past_trades_is_said() -> None:
    with pytest.raises(AskError, match="--candles"):
        PastTrades(exchanges.load("okx"), SYMBOL, None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_venue_that_keeps_few_trades_gives_no_candle_that_is_only_said_to_be_whole(tmp_path: Any) -> None:
    store, few = MemoryStore(), PastVenue(minutes=11)
    early = Range(START_MS - 60_000, END_MS)  # half a minute before the first trade that there is
    filling(store, tmp_path).from_rest(early, asked_of(few))
    opens = [row[0] for row in store.candles("binance", SYMBOL, "15s", 1_000)]
    assert opens[0] == START_MS - 15_000
    assert store.candles("binance", SYMBOL, "1m", 1, oldest=True, fields=("open_time_ms",)) == [[START_MS]]


@pytest.mark.slow
def test_progress_tells_time_trades_and_candles(tmp_path: Any) -> None:
    told: list[Progress] = []
    one = Filling(
        Settings({"core.data_dir": str(tmp_path)}), venue().venue, SYMBOL, MemoryStore(), told.append, lambda _: None
    )
    last = one.from_rest(WHOLE, asked_of(venue()))
    assert [one.at_ms for one in told] == sorted(one.at_ms for one in told)
    assert last.at_ms == END_MS and last.candles == 82 and last.trades == told[-1].trades
