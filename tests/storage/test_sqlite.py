"""The SQLite store: the same table whatever order rows come in, exact integers, all or nothing."""

import math
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import StoreError
from wick.market.rows import MAY_MISS, rank
from wick.market.schema import CANDLE, CANDLE_FIELDS, CLOSED, FLOW_FIELDS, METRIC_FIELDS, PARTIAL, PRICE, REAL, TURNOVER
from wick.market.schema import VOLUME as LOTS
from wick.storage.sqlite import INPUTS, VERSION, SqliteStore

F = {name: index for index, name in enumerate(CANDLE_FIELDS)}


def row(open_ms=0, symbol="BTC-USDT", interval="1m", **fields):
    values = dict.fromkeys(CANDLE_FIELDS, 0) | {"open_time_ms": open_ms, "close_time_ms": open_ms + 60_000} | fields
    return ["binance", symbol, interval, *values.values()]


def candles(store, **limits):
    return store.candles("binance", "BTC-USDT", "1m", **{"limit": 1000, **limits})


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "candles.sqlite")
    yield store
    store.close()


# Three candles, each in three revisions, as somebody saw them who came in the middle, and as somebody computed their
# metrics who had begun a minute or an hour before, had just begun (one metric is not defined yet), or computes none.
HISTORIES = (
    {"obv_anchor_ms": -60_000}, {"obv_anchor_ms": -3_600_000}, {"obv_anchor_ms": 0, "vpin_50": None},
    dict.fromkeys(METRIC_FIELDS),
)  # fmt: skip
VERSIONS = [
    row(open_ms, revision=revision, flags=1 | partial, trade_count=10 * revision + partial, **history)
    for open_ms in (0, 60_000, 120_000)
    for revision in range(3)
    for partial in (0, PARTIAL)
    for history in HISTORIES
]


@given(st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=30), st.data())
def test_any_order_and_repetition_of_revisions_ends_in_the_same_table(rows, data):
    store = SqliteStore(":memory:")
    shuffled = [*data.draw(st.permutations(rows)), *data.draw(st.lists(st.sampled_from(rows)))]
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        store.write(shuffled[:size], {})
        shuffled = shuffled[size:]
    best = {}
    for one in rows:
        values = one[3:]
        if values[0] not in best or rank(values) > rank(best[values[0]]):
            best[values[0]] = values
    assert candles(store) == [best[open_ms] for open_ms in sorted(best)]
    store.close()


def test_a_worker_that_begins_again_and_knows_less_does_not_take_away_what_is_known(store):
    known = row(rsi_14=50.0, patterns=b"\x05" + bytes(60), obv_anchor_ms=-6_000_000)
    cold = row(rsi_14=None, patterns=bytes(61), obv_anchor_ms=0)
    for other in (
        row(**dict.fromkeys(METRIC_FIELDS)),
        cold,
        row(rsi_14=51.0, patterns=bytes(61), obv_anchor_ms=-60_000),
    ):
        store.write([known], {})
        store.write([other], {})
        assert candles(store) == [known[3:]]


def test_a_revision_is_stored_also_where_its_metrics_are_not_known_they_would_be_those_of_another_candle(store):
    store.write([row(rsi_14=50.0)], {})
    corrected = row(revision=1, high=7, **dict.fromkeys(METRIC_FIELDS))
    store.write([corrected], {})
    assert candles(store) == [corrected[3:]]


def test_of_rows_that_know_the_same_the_later_stands(store):
    store.write([row(rsi_14=50.0)], {})
    store.write([row(rsi_14=51.0)], {})
    assert candles(store) == [row(rsi_14=51.0)[3:]]


def test_a_partial_candle_of_a_higher_revision_does_not_replace_a_complete_one(store):
    complete, partial = row(flags=1, trade_count=7), row(flags=1 | PARTIAL, revision=9)
    store.write([partial], {})
    store.write([complete], {})
    store.write([partial], {})
    assert candles(store) == [complete[3:]]


EXACT = [name for name, kind in CANDLE if kind in (PRICE, LOTS, TURNOVER)]
REALS = [name for name, kind in CANDLE if kind == REAL]


@given(st.lists(st.one_of(st.integers(), st.integers(-(2**200), 2**200)), min_size=len(EXACT), max_size=len(EXACT)))
def test_integers_of_any_size_come_back_exactly(numbers):
    store = SqliteStore(":memory:")
    written = row(**dict(zip(EXACT, numbers, strict=True)))
    store.write([written], {})
    assert candles(store) == [written[3:]]
    store.close()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=len(REALS), max_size=len(REALS)))
def test_ratios_come_back_as_the_very_same_floats(numbers):
    store = SqliteStore(":memory:")
    store.write([row(**dict(zip(REALS, numbers, strict=True)))], {})
    given_back = [candles(store)[0][F[name]] for name in REALS]
    assert [(value.hex(), type(value)) for value in given_back] == [(value.hex(), float) for value in numbers]
    store.close()


def test_what_is_not_known_and_what_is_no_number_comes_back_as_none(store):
    store.write([row(**dict.fromkeys(MAY_MISS)), row(60_000, **dict.fromkeys(REALS, math.nan), delta=-3)], {})
    unknown, odd = candles(store)
    assert [name for name in CANDLE_FIELDS if unknown[F[name]] is None] == list(MAY_MISS)
    assert [name for name in CANDLE_FIELDS if odd[F[name]] is None] == REALS
    assert odd[F["delta"]] == -3


def test_what_may_be_missing_is_order_flow_metrics_and_every_real_number():
    assert {*MAY_MISS} == {*FLOW_FIELDS, *METRIC_FIELDS, *REALS}


@pytest.mark.parametrize("name", [name for name in CANDLE_FIELDS if name not in MAY_MISS])
def test_what_every_candle_has_cannot_be_missing(store, name):
    with pytest.raises(StoreError, match=name):
        store.write([row(**{name: None})], {})


def test_patterns_and_masks_come_back_as_they_were(store):
    found = bytes(range(200, 256)) + bytes(5)
    store.write([row(patterns=found, bull=2**60 + 1, bear=2**61 - 1)], {})
    back = candles(store)[0]
    assert [back[F[name]] for name in ("patterns", "bull", "bear")] == [found, 2**60 + 1, 2**61 - 1]


def test_a_revision_replaces_the_order_flow_too_even_by_nothing(store):
    store.write([row(delta=5, vwap=1.5, cvd=2**70)], {})
    store.write([row(revision=1, delta=-6, vwap=None, cvd=-(2**70))], {})
    assert [candles(store)[0][F[name]] for name in ("delta", "vwap", "cvd")] == [-6, None, -(2**70)]


@pytest.mark.parametrize("edge", [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30])
def test_at_the_edge_of_64_bits_nothing_is_rounded(store, edge):
    store.write([row(quote_volume=edge, trade_count=1)], {})
    assert candles(store)[0][F["quote_volume"]] == edge


def test_rows_and_positions_are_written_in_one_transaction(store):
    store.write([row()], {"closes.01": (5, 1)})
    with pytest.raises(StoreError, match=r"candles\.sqlite"):
        store.write([row(60_000), row(120_000)[:-1]], {"closes.01": (5, 2)})
    assert [one[0] for one in candles(store)] == [0]
    assert store.positions() == {"closes.01": (5, 1)}
    store.write([row(60_000)], {"closes.01": (5, 2), "closes.02": (6, 1)})
    assert store.positions() == {"closes.01": (5, 2), "closes.02": (6, 1)}


def test_a_position_that_cannot_be_written_takes_its_rows_back(store):
    with pytest.raises(StoreError):
        store.write([row()], {"closes.01": (5, None)})
    assert candles(store) == [] and store.positions() == {}


def test_a_failing_source_of_rows_leaves_nothing_behind_and_the_store_usable(store):
    def rows():
        yield row()
        raise RuntimeError("the source fails")

    with pytest.raises(RuntimeError):
        store.write(rows(), {"closes.01": (5, 1)})
    assert candles(store) == []
    store.write([row()], {})
    assert len(candles(store)) == 1


def test_the_view_gives_the_numbers_that_the_integers_stand_for(tmp_path, store):
    store.write(
        [row(price_decimals=2, quantity_decimals=5, open=6183763, high=6183764, low=1, close=6183763, volume=378826,
             quote_volume=10**25 + 1, trade_count=3, taker_buy_volume=1, taker_buy_quote_volume=12, delta=-378824,
             cvd=-(10**25), cvd_anchor_ms=7, delta_max=None, vwap=61837.634, kyle_lambda=-0.5, tick_rv=math.nan,
             rsi_14=61.5, macd=None, bull=2**60, patterns=bytes(61))],
        {},
    )  # fmt: skip
    with sqlite3.connect(tmp_path / "candles.sqlite") as db:
        db.row_factory = sqlite3.Row
        shown = dict(db.execute("SELECT * FROM candles_float").fetchone())
    db.close()
    exact = {"open": 61837.63, "high": 61837.64, "low": 0.01, "close": 61837.63, "volume": 3.78826,
             "quote_volume": 1e18, "taker_buy_volume": 1e-5, "taker_buy_quote_volume": 1.2e-6, "delta": -3.78824,
             "cvd": -1e20, "vwap": 61837.634, "kyle_lambda": -0.5}  # fmt: skip
    assert {name: shown[name] for name in exact} == pytest.approx(exact, rel=1e-15)
    assert (shown["trade_count"], shown["symbol"], shown["close_time_ms"]) == (3, "BTC-USDT", 60_000)
    assert (shown["cvd_anchor_ms"], shown["delta_max"], shown["tick_rv"]) == (7, None, None)
    assert [shown[name] for name in ("rsi_14", "macd", "bull", "patterns")] == [61.5, None, 2**60, bytes(61)]
    assert [*shown] == ["venue", "symbol", "interval", *CANDLE_FIELDS]


def test_the_newest_candles_before_a_time_are_given_oldest_first(store):
    store.write([row(number * 60_000) for number in (3, 0, 4, 1, 2)], {})
    store.write([row(0, symbol="ETH-USDT"), row(0, interval="5m")], {})
    assert [one[0] // 60_000 for one in candles(store)] == [0, 1, 2, 3, 4]
    assert [one[0] // 60_000 for one in candles(store, limit=2)] == [3, 4]
    assert [one[0] // 60_000 for one in candles(store, limit=2, before_ms=180_000)] == [1, 2]
    assert [one[0] // 60_000 for one in candles(store, before_ms=180_001)] == [0, 1, 2, 3]
    assert candles(store, before_ms=0) == []


# ---------------------------------------------------------------------- what metrics begin with


def inputs(store, **limits):
    return store.inputs("binance", "BTC-USDT", "1m", **{"limit": 1000, **limits})


def test_what_metrics_are_made_of_is_given_of_the_newest_closed_candles_oldest_first(store):
    whole = [
        row(n * 60_000, flags=CLOSED, **{name: 100 * n + at for at, name in enumerate(INPUTS[2:])}) for n in range(5)
    ]
    store.write([*whole, row(300_000, flags=0), row(0, symbol="ETH-USDT", flags=CLOSED)], {})
    told = [tuple(one[3 + F[name]] for name in INPUTS) for one in whole]
    assert inputs(store) == told
    assert inputs(store, limit=2) == told[3:]
    assert inputs(store, limit=2, before_ms=180_000) == told[1:3]
    assert inputs(store, before_ms=0) == []


def test_integers_of_any_size_are_integers_among_them(store):
    store.write([row(flags=CLOSED, quote_volume=10**30), row(60_000, flags=CLOSED, quote_volume=5)], {})
    assert [one[INPUTS.index("quote_volume")] for one in inputs(store)] == [10**30, 5]
    assert {type(value) for one in inputs(store) for value in one} == {int}


def test_the_primary_key_finds_them(tmp_path, store):
    from wick.storage.sqlite import _INPUTS

    with sqlite3.connect(tmp_path / "candles.sqlite") as db:
        plan = [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {_INPUTS}", ("a", "b", "c", 0, 1))]
    db.close()
    (only,) = plan  # no sort
    assert "USING PRIMARY KEY (venue=? AND symbol=? AND interval=? AND open_time_ms<?)" in only


def test_a_failure_names_the_file(store, tmp_path):
    store.close()
    with pytest.raises(StoreError, match=r"candles\.sqlite"):
        inputs(store)


def test_the_pairs_that_have_candles_are_listed(store):
    store.write([row(interval="15s"), row(15_000, interval="15s"), row(symbol="ETH-USDT", interval="15s")], {})
    assert sorted(store.symbols()) == [("binance", "BTC-USDT"), ("binance", "ETH-USDT")]


def test_a_reader_sees_whole_transactions_while_the_store_is_written(tmp_path, store):
    store.write([row()], {})
    reader = SqliteStore(tmp_path / "candles.sqlite", read_only=True)

    def rows():
        yield row(60_000)
        assert len(candles(reader)) == 1, "what is not committed yet"
        yield row(120_000)

    store.write(rows(), {})
    assert len(candles(reader)) == 3
    with pytest.raises(StoreError, match="readonly"):
        reader.write([row()], {})
    reader.close()


def test_what_was_written_is_there_after_a_restart(tmp_path, store):
    store.write([row()], {"closes.01": (5, 1)})
    store.close()
    again = SqliteStore(tmp_path / "candles.sqlite")
    assert (len(candles(again)), again.positions()) == (1, {"closes.01": (5, 1)})
    again.close()


@pytest.mark.parametrize("other", [VERSION - 1, VERSION + 1])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_of_another_version_is_an_error_and_stays_as_it_is(tmp_path, store, read_only, other):
    store.close()
    path = tmp_path / "candles.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {other}")
    db.close()
    before = path.read_bytes()
    for _ in range(2):
        said = rf"candles\.sqlite.*version {other}, this wick writes version {VERSION}; move the file away"
        with pytest.raises(StoreError, match=said):
            SqliteStore(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("damage", [b"no database at all, but some text" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, damage, read_only):
    path = tmp_path / "candles.sqlite"
    path.write_bytes(damage)
    with pytest.raises(StoreError, match=r"candles\.sqlite"):
        SqliteStore(path, read_only=read_only)
    assert path.read_bytes() == damage


def test_a_page_that_is_damaged_later_is_an_error_that_names_the_file(tmp_path, store):
    store.write([row(number * 60_000) for number in range(500)], {})
    store.close()
    path = tmp_path / "candles.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xee" * (len(data) - 4096)
    path.write_bytes(data)
    broken = SqliteStore(path, read_only=True)
    with pytest.raises(StoreError, match=r"candles\.sqlite"):
        candles(broken)
    with pytest.raises(StoreError, match=r"candles\.sqlite"):
        broken.positions()
    broken.close()


def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "candles.sqlite"):
        with pytest.raises(StoreError, match=path.name):
            SqliteStore(path)
    with pytest.raises(StoreError, match="missing"):
        SqliteStore(Path(tmp_path / "missing.sqlite"), read_only=True)
    assert not (tmp_path / "missing.sqlite").exists()
