"""The past of a pair in real stores: what comes is what a store in memory has, and to do it again changes nothing."""

from pathlib import Path
from typing import Any

import pytest

from tests.roles.past_venue import START_MS, SYMBOL, PastVenue
from tests.roles.test_first_start import enriched, found_of
from tests.roles.test_past import WHOLE, asked_of, filled, filling, venue
from tests.storage.candles import STORES
from wick.market.intervals import DAY, NAMES, by_name
from wick.market.schema import CANDLE_FIELDS, CLOSED, FOREIGN, REVISED, SUSPECT
from wick.market.stored import rounded
from wick.storage.batch import Batch
from wick.storage.store import INPUTS, open_store

pytestmark = pytest.mark.slow

FLAGS, REVISION = CANDLE_FIELDS.index("flags"), CANDLE_FIELDS.index("revision")


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'candles.sqlite'}"
    told: str = request.getfixturevalue(f"{request.param}_url")
    return told


@pytest.fixture
def store(url: str) -> Any:
    one = open_store(url)
    yield one
    one.close()


def rows(store: Any, name: str) -> list[Any]:
    return store.candles("binance", SYMBOL, name, 1_000)


def test_the_past_comes_into_every_store_beside_a_sink_and_again_changes_nothing(
    url: str, store: Any, tmp_path: Path
) -> None:
    sink = open_store(url)
    sink.take_over()
    one = filling(store, tmp_path)
    one.write(enriched(found_of(PastVenue(minutes=11), "1m")), {})
    assert {row[FLAGS] & FOREIGN for row in rows(store, "1m")} == {FOREIGN}
    one.from_rest(WHOLE, asked_of(venue()))
    expected = {
        name: [rounded(NAMES.index(name), row) for row in filled().candles("binance", SYMBOL, name, 1_000)]
        for name in NAMES
    }
    assert {name: rows(store, name) for name in NAMES} == expected
    assert one.is_done(WHOLE)
    one.from_rest(WHOLE, asked_of(venue()))
    assert {name: rows(store, name) for name in NAMES} == expected
    sink.write(Batch.of_rows([]), {"closes.00": (1, 1)})  # it is still the writer
    sink.close()


@pytest.mark.parametrize("venue_id", ["bybit", "kraken"])
def test_what_a_venue_does_not_tell_of_its_candles_is_unknown_in_every_store(store: Any, venue_id: str) -> None:
    made = enriched(found_of(PastVenue(venue_id, minutes=11), "1d", START_MS - 60 * DAY)).rows()
    made += enriched(found_of(PastVenue(venue_id, minutes=11), "1m")).rows()
    store.write(Batch.of_rows(made), {})
    for name in ("1d", "1m"):
        expected = [rounded(NAMES.index(name), row[3:]) for row in made if row[2] == name]
        assert rows(store, name) == expected
        told = dict(zip(CANDLE_FIELDS, expected[-1], strict=True))
        assert told["taker_buy_volume"] is told["taker_buy_quote_volume"] is told["delta"] is told["vpin_50"] is None
        assert (told["trade_count"] is None) == (told["avg_trade_size"] is None) == (venue_id == "bybit")
        assert (told["quote_volume"] is None) == (told["vwap"] is None) == (venue_id == "kraken")
        assert told["volume"] and told["first_trade_id"] == 0
        assert [one[INPUTS.index("taker_buy_volume")] for one in store.inputs("binance", SYMBOL, name, 3)] == [None] * 3
    assert not [one for one in store.verify() if one.bad]


def test_a_suspect_candle_is_mended_in_every_store(store: Any, tmp_path: Path) -> None:
    good = [["binance", SYMBOL, "1m", *row] for row in filled().candles("binance", SYMBOL, "1m", 1_000)]
    bad = list(good[4])
    bad[3 + FLAGS], bad[3 + REVISION] = CLOSED | SUSPECT | REVISED, 3
    bad[3 + CANDLE_FIELDS.index("ofi")] = 1.0
    store.write(Batch.of_rows([*good[:4], bad, *good[5:7], *good[8:]]), {})
    one = filling(store, tmp_path)
    gaps = one.gaps(WHOLE, [by_name("1m")])
    assert [gap.from_ms for gap in gaps] == [START_MS + 240_000]  # two minutes apart: in one go
    assert gaps[0].to_ms == START_MS + 480_000
    one.from_rest(gaps[0], asked_of(venue()))
    assert one.gaps(WHOLE, [by_name("1m")]) == []
    mended = rows(store, "1m")[4]
    assert (mended[REVISION], mended[FLAGS]) == (4, CLOSED | REVISED)
    assert mended[CANDLE_FIELDS.index("ofi")] == pytest.approx(1.0, rel=1e-3)
