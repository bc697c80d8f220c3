"""What every store does, whichever database is behind it: one suite over all of them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.candles import STORES, VERSIONS, F, made, row
from wick.errors import FencedError, StoreError
from wick.market.rows import MAY_MISS, rank
from wick.market.schema import CANDLE, CANDLE_FIELDS, CLOSED, EMPTY, FOREIGN, METRIC_FIELDS, PARTIAL, PLAIN, REAL
from wick.market.stored import rounded
from wick.storage.batch import Batch
from wick.storage.store import INPUTS, Store, open_store

Opened = Callable[..., Store]
DAY_MS = 86_400_000
MONTH_MS = 1_719_792_000_000  # where `made` begins: 2024-07-01, a Monday
EXACT = [name for name, kind in CANDLE[6:] if kind != REAL and name not in METRIC_FIELDS and kind != PLAIN]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, empty: Path) -> str:
    """The address of a store that is empty."""
    if request.param == "sqlite":
        path: Path = request.getfixturevalue("tmp_path") / "candles.sqlite"
        shutil.copy(empty, path)
        return f"sqlite:{path}"
    told: str = request.getfixturevalue(f"{request.param}_url")
    return told


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To make one takes as long as ten tests."""
    path = tmp_path_factory.mktemp("store") / "empty.sqlite"
    open_store(f"sqlite:{path}").close()
    return path


@pytest.fixture
def opened(url: str) -> Iterator[Opened]:
    made: list[Store] = []

    def again(read_only: bool = False) -> Store:
        made.append(open_store(url, read_only))
        return made[-1]

    yield again
    for one in made:
        one.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened()


def put(store: Store, *rows: list[Any], **positions: tuple[int, int]) -> None:
    store.write(Batch.of_rows(rows), positions)


def candles(store: Store, symbol: str = "BTC-USDT", interval: str = "1m", **limits: Any) -> list[list[Any]]:
    return store.candles("binance", symbol, interval, **{"limit": 1000, **limits})


def kept(one: list[Any]) -> list[Any]:
    """What a store gives back for this one."""
    return rounded(2, one[3:])


# ---------------------------------------------------------------------- which row stands


symbols = iter(f"S{number}-USDT" for number in range(10**9))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=30), data=st.data())
def test_any_order_and_repetition_of_revisions_ends_in_the_same_rows(store, versions, data):
    symbol = next(symbols)
    own = [[one[0], symbol, *one[2:]] for one in versions]
    shuffled = [*data.draw(st.permutations(own)), *data.draw(st.lists(st.sampled_from(own)))]
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        put(store, *shuffled[:size])
        shuffled = shuffled[size:]
    best = {}
    for one in own:
        if one[3] not in best or rank(one[3:]) > rank(best[one[3]][3:]):
            best[one[3]] = one
    assert candles(store, symbol) == [kept(best[open_ms]) for open_ms in sorted(best)]


def test_who_begins_again_and_knows_less_does_not_take_away_what_is_known(store):
    known = row(rsi_14=50.0, patterns=b"\x05" + bytes(60), obv_anchor_ms=-6_000_000)
    cold = row(rsi_14=None, obv_anchor_ms=0)
    put(store, known)
    for other in (row(**dict.fromkeys(METRIC_FIELDS)), cold, row(rsi_14=51.0, obv_anchor_ms=-60_000)):
        put(store, other)
        assert candles(store) == [kept(known)]


def test_a_revision_is_stored_also_where_its_metrics_are_not_known_they_would_be_those_of_another_candle(store):
    corrected = row(revision=1, high=7, **dict.fromkeys(METRIC_FIELDS))
    put(store, row(rsi_14=50.0))
    put(store, corrected)
    assert candles(store) == [kept(corrected)]


def test_of_rows_that_know_the_same_the_later_stands(store):
    put(store, row(rsi_14=50.0))
    put(store, row(rsi_14=51.0))
    assert candles(store) == [kept(row(rsi_14=51.0))]
    put(store, row(rsi_14=52.0), row(rsi_14=53.0))
    assert candles(store) == [kept(row(rsi_14=53.0))]


@pytest.mark.parametrize("lesser", [PARTIAL, FOREIGN])
def test_a_complete_candle_of_our_own_stands_whatever_the_revision_of_another(store, lesser):
    complete, other = row(flags=CLOSED, trade_count=7), row(flags=CLOSED | lesser, revision=9)
    for one in (other, complete, other):
        put(store, one)
    assert candles(store) == [kept(complete)]


# ---------------------------------------------------------------------- what is given back


def test_candles_come_back_exact_and_their_real_numbers_as_the_stored_form_has_them(store):
    told = made(120)
    put(store, *told)
    assert candles(store) == [kept(one) for one in told]
    for one, own in zip(candles(store), told, strict=True):
        exact = [at for at, (_, kind) in enumerate(CANDLE) if kind != REAL]
        assert [one[at] for at in exact] == [own[3 + at] for at in exact]


def test_what_was_given_back_is_given_back_the_same_when_it_is_written_again(store):
    put(store, *made(60))
    first = candles(store)
    put(store, *[["binance", "COPY-USDT", "1m", *one] for one in first])
    assert candles(store, "COPY-USDT") == first


def test_single_fields_are_those_of_the_whole_row(store):
    put(store, *made(60))
    whole = candles(store)
    for name in CANDLE_FIELDS:
        assert candles(store, fields=[name]) == [[one[F[name]]] for one in whole], name
    some = ["vwap", "open_time_ms", "bear", "close"]
    assert candles(store, fields=some, limit=2) == [[one[F[name]] for name in some] for one in whole[-2:]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(), st.integers(-(2**200), 2**200)), min_size=len(EXACT), max_size=len(EXACT)))
def test_integers_of_any_size_come_back_exactly(store, numbers):
    symbol = next(symbols)
    written = row(symbol=symbol, **dict(zip(EXACT, numbers, strict=True)))
    put(store, written)
    (told,) = candles(store, symbol)
    assert [told[F[name]] for name in EXACT] == numbers
    assert candles(store, symbol) == [kept(written)]


def test_more_bought_than_traded_is_nonsense_that_comes_back_exactly(store):
    written = row(volume=2, quote_volume=-515849, taker_buy_volume=53639849007589)  # their product has 65 bits
    put(store, written)
    assert candles(store) == [kept(written)]


def test_what_is_not_known_and_what_is_no_number_comes_back_as_none(store):
    reals = [name for name, kind in CANDLE if kind == REAL]
    put(store, row(**dict.fromkeys(MAY_MISS)), row(60_000, **dict.fromkeys(reals, float("nan")), delta=-3))
    unknown, odd = candles(store)
    assert [name for name in CANDLE_FIELDS if unknown[F[name]] is None] == list(MAY_MISS)
    assert [name for name in CANDLE_FIELDS if odd[F[name]] is None] == reals
    assert odd[F["delta"]] == -3


def test_decimals_may_grow_from_one_candle_to_the_next(store):
    told = [row(0, price_decimals=2, close=5, sma_20=0.05), row(60_000, price_decimals=4, close=500, sma_20=0.0512)]
    put(store, *told)
    assert candles(store) == [kept(one) for one in told]
    assert candles(store, fields=["sma_20"]) == [[0.05], [0.0512]]


@given(st.binary(min_size=61, max_size=61))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_patterns_of_any_value_come_back_exactly(store, patterns):
    symbol = next(symbols)
    put(store, row(symbol=symbol, patterns=patterns))
    assert candles(store, symbol, fields=["patterns"]) == [[patterns]]


def test_every_interval_has_its_own_candles_months_of_any_length_too(store):
    january, february = 1_704_067_200_000, 1_706_745_600_000
    put(store, row(interval="15s"), row(january, interval="1M", close_time_ms=february))
    assert [one[:2] for one in candles(store, interval="1M")] == [[january, february]]
    assert len(candles(store, interval="15s")) == 1 and candles(store) == []


# ---------------------------------------------------------------------- which rows are given


def test_the_newest_candles_before_a_time_are_given_oldest_first(store):
    put(store, *[row(number * 60_000) for number in (3, 0, 4, 1, 2)])
    put(store, row(0, symbol="ETH-USDT"), row(0, interval="5m"))

    def minutes(**limits: Any) -> list[int]:
        return [one[0] // 60_000 for one in candles(store, **limits)]

    assert minutes() == [0, 1, 2, 3, 4]
    assert minutes(limit=2) == [3, 4]
    assert minutes(limit=2, before_ms=180_000) == [1, 2]
    assert minutes(before_ms=180_001) == [0, 1, 2, 3]
    assert minutes(before_ms=0) == []
    assert minutes(from_ms=60_000, before_ms=240_000) == [1, 2, 3]
    assert minutes(limit=2, from_ms=60_000, oldest=True) == [1, 2]
    assert store.candles("binance", "NONE-USDT", "1m", 10) == []


def test_what_metrics_are_made_of_is_given_of_the_newest_closed_candles_oldest_first(store):
    whole = [
        row(n * 60_000, flags=CLOSED, **{name: 100 * n + at for at, name in enumerate(INPUTS[4:])}) for n in range(5)
    ]
    put(store, *whole, row(300_000, flags=0), row(0, symbol="ETH-USDT", flags=CLOSED))
    told = [tuple(one[3 + F[name]] for name in INPUTS) for one in whole]

    def inputs(**limits: int) -> list[tuple[int, ...]]:
        return store.inputs("binance", "BTC-USDT", "1m", **{"limit": 1000, **limits})

    assert inputs() == told
    assert inputs(limit=2) == told[3:]
    assert inputs(limit=2, before_ms=180_000) == told[1:3]
    assert inputs(before_ms=0) == []
    put(store, row(flags=CLOSED, symbol="HUGE-USDT", quote_volume=10**30))
    (huge,) = store.inputs("binance", "HUGE-USDT", "1m", 5)
    assert huge[INPUTS.index("quote_volume")] == 10**30


def test_the_pairs_that_have_candles_are_listed_in_order(store):
    assert store.symbols() == []
    put(store, row(interval="15s"), row(15_000, interval="15s"), row(symbol="ETH-USDT", interval="1M"), row(venue="a"))
    assert store.symbols() == [("a", "BTC-USDT"), ("binance", "BTC-USDT"), ("binance", "ETH-USDT")]


# ---------------------------------------------------------------------- writers


def test_candles_and_positions_are_written_together_or_not_at_all(store):
    put(store, row(), **{"closes.01": (5, 1)})
    put(store, **{"closes.01": (5, 2), "closes.02": (7, 1)})
    assert store.positions() == {"closes.01": (5, 2), "closes.02": (7, 1)}
    with pytest.raises(StoreError):
        store.write(Batch.of_rows([row(60_000)]), {"closes.01": (5, None)})  # type: ignore[dict-item]
    assert len(candles(store)) == 1 and store.positions()["closes.01"] == (5, 2)
    put(store, row(60_000))
    assert len(candles(store)) == 2


def test_who_takes_over_keeps_out_who_wrote_before(opened):
    first, second = opened(), opened()
    assert first.take_over() < second.take_over()
    put(second, row(), **{"closes.01": (1, 1)})
    with pytest.raises(FencedError):
        put(first, row(60_000), **{"closes.01": (1, 2)})
    assert len(candles(second)) == 1 and second.positions() == {"closes.01": (1, 1)}
    assert first.take_over() > 0
    put(first, row(60_000))
    assert len(candles(second)) == 2


def test_who_never_took_over_writes_beside_the_writer(opened):
    sink, backfill = opened(), opened()
    sink.take_over()
    put(backfill, row())
    put(sink, row(60_000))
    assert len(candles(sink)) == 2


def test_a_reader_sees_what_is_committed_and_cannot_write(opened):
    store = opened()
    put(store, row())
    reader = opened(read_only=True)
    assert candles(reader) == candles(store)
    put(store, row(60_000), row(symbol="NEW-USDT"))
    assert len(candles(reader)) == 2 and len(candles(reader, "NEW-USDT")) == 1
    with pytest.raises(StoreError):
        put(reader, row(120_000))
    assert len(candles(reader)) == 2


def test_what_was_written_is_there_after_a_restart(opened):
    store = opened()
    put(store, row(), **{"closes.01": (5, 1)})
    number = store.take_over()
    store.close()
    again = opened()
    assert (len(candles(again)), again.positions()) == (1, {"closes.01": (5, 1)})
    assert again.take_over() > number


# ---------------------------------------------------------------------- for operators


def test_status_tells_what_is_stored(store):
    put(store, row(0, flags=1), row(60_000, flags=1), row(60_000, symbol="ETH-USDT", flags=1), **{"closes.01": (5, 1)})
    told = store.status()
    assert told["intervals"] == {"1m": {"rows": 3, "oldest_ms": 0, "newest_ms": 60_000}}
    assert told["positions"] == {"closes.01": (5, 1)}
    assert told["kind"] and told["version"] and told["bytes"] > 0


def test_verify_finds_nothing_wrong_in_candles_of_the_engine(store):
    put(store, *made(60))
    assert [finding.text for finding in store.verify() if finding.bad] == []


@pytest.mark.parametrize(
    "wrong", [{"high": 1}, {"taker_buy_volume": 10**9}, {"quote_volume": 1}, {"flags": 0}, {"delta": 77}]
)
def test_verify_names_a_candle_that_cannot_be(store, wrong):
    told = [list(one) for one in made(10)]
    for name, value in wrong.items():
        told[5][3 + F[name]] = value
    put(store, *told)
    bad = [finding.text for finding in store.verify() if finding.bad]
    assert f"binance BTC-USDT 1m {MONTH_MS + 300_000}: " in bad[0] and "1 of 10 candles" in bad[-1]


def test_verify_names_a_candle_that_is_not_the_sum_of_its_parts_and_counts_gaps(store):
    halves = made(4, interval="30s")
    first, second = (one[3:] for one in halves[:2])
    told = dict(zip(CANDLE_FIELDS, first, strict=True)) | {
        "close_time_ms": second[1], "close": second[F["close"]], "high": max(first[F["high"]], second[F["high"]]),
        "low": min(first[F["low"]], second[F["low"]]),
    }  # fmt: skip
    for name in ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume", "delta"):
        told[name] = first[F[name]] + second[F[name]]
    whole = ["binance", "BTC-USDT", "1m", *told.values()]
    put(store, *halves[:2], whole, halves[3])
    findings = list(store.verify())
    assert [finding.text for finding in findings if finding.bad] == []
    (gap,) = [finding for finding in findings if finding.mend]
    assert "30s 1" in gap.text and gap.mend == "wick backfill --gaps binance BTC-USDT"
    told["trade_count"] += 1
    told["revision"] = 1
    put(store, ["binance", "BTC-USDT", "1m", *told.values()])
    (bad, _) = [finding.text for finding in store.verify() if finding.bad]
    assert f"1m {MONTH_MS}: trade_count" in bad


def test_verify_knows_that_a_flat_part_stands_at_a_price_that_the_whole_never_had(store):
    traded, flat = (one[3:] for one in made(2, interval="30s"))
    assert flat[F["flags"]] & EMPTY
    told = dict(zip(CANDLE_FIELDS, flat, strict=True))
    told |= dict.fromkeys(("open", "high", "low", "close"), traded[F["high"]] + 5)
    whole = dict(zip(CANDLE_FIELDS, traded, strict=True)) | {"close_time_ms": flat[F["close_time_ms"]]}
    rows = [["30s", *told.values()], ["30s", *traded], ["1m", *whole.values()]]
    put(store, *(["binance", "BTC-USDT", *row] for row in rows))
    assert [finding.text for finding in store.verify() if finding.bad] == []


def test_compact_deletes_what_is_older_than_it_is_to_be_kept(store):
    import time

    now = time.time_ns() // 10**6
    old, new = (now - 31 * DAY_MS) // 60_000 * 60_000, (now - 29 * DAY_MS) // 60_000 * 60_000
    put(store, row(old), row(new), row(old, symbol="ETH-USDT"), row(old // 300_000 * 300_000, interval="5m"))
    steps = list(store.compact({"1m": 30.0}))
    assert steps and all(type(step) is str for step in steps)
    assert [one[0] for one in candles(store)] == [new] and candles(store, "ETH-USDT") == []
    assert len(candles(store, interval="5m")) == 1


def test_a_store_can_be_written_between_two_steps_of_compact(store):
    put(store, *[row(number * 60_000) for number in range(10)])
    for number, _ in enumerate(store.compact({"1m": 1.0})):
        put(store, row(symbol=f"BETWEEN{number}-USDT", interval="5m"))
    assert candles(store) == [] and len(candles(store, "BETWEEN0-USDT", "5m")) == 1
