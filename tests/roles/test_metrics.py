"""Metrics in the real worker: they begin with the store's history, and live ones are shown while a front watches."""

import numpy as np
import pytest

from tests.cli.live import data_dir
from tests.roles.worker import START_MS, VENUE, Venue, working
from wick.market.intervals import INTERVALS, NAMES
from wick.market.schema import CANDLE_FIELDS, CLOSED, FLOW_FIELDS, METRIC_FIELDS
from wick.net.clock import steady_ns
from wick.roles import aggregator
from wick.storage.batch import Batch
from wick.storage.sqlite import SqliteStore
from wick.storage.ticklog import START
from wick.wire.messages import WATCH_S, Closes, Watch

__all__ = ["data_dir"]

F = {name: at for at, name in enumerate(CANDLE_FIELDS)}
MS = 1_000_000
SYMBOL = "BTC-USDT"
MINUTE = 60_000


def candle(interval, open_ms, price, volume=50):
    row = dict.fromkeys(CANDLE_FIELDS, 0) | dict.fromkeys((*FLOW_FIELDS, *METRIC_FIELDS)) | {
        "open_time_ms": open_ms, "close_time_ms": interval.close_ms(open_ms), "flags": CLOSED, "price_decimals": 2,
        "quantity_decimals": 3, "open": price - 3, "high": price + 5, "low": price - 7, "close": price,
        "volume": volume, "quote_volume": volume * price, "trade_count": 3, "taker_buy_volume": volume // 3,
    }  # fmt: skip
    return [VENUE, SYMBOL, interval.name, *row.values()]


def stored(data_dir, interval, count, until_ms):
    """A store with so many candles of the interval, the last of which ends at `until_ms`."""
    length = interval.close_ms(0)
    prices = 1_000 + np.random.default_rng(1).integers(-40, 41, count).cumsum()
    rows = [candle(interval, until_ms - length * (count - at), int(price)) for at, price in enumerate(prices)]
    store = SqliteStore(data_dir / "candles.sqlite")
    store.write(Batch.of_rows(rows), {})
    store.close()
    return rows


def minutes(venue, count):
    """Messages that carry the venue `count` minutes on, a trade in each, and past the last one's grace."""
    messages = []
    for at in range(count):
        venue.trade(price=1_000 + at)
        messages.append(venue.flush())
        venue.now_ms += MINUTE
    venue.now_ms += 3_000
    venue.trade(price=990)
    return [*messages, venue.flush()]


def published(role, heard, messages, name):
    for message in messages:
        role._receive(message)
        role._turn()
    role._flush()
    rows = [row for topic in heard.rows.values() for row in topic if row[:3] == [VENUE, SYMBOL, name]]
    return [dict(zip(CANDLE_FIELDS, row[3:], strict=True)) for row in rows]


@pytest.fixture
def at_noon(monkeypatch):
    """The worker starts at the moment from which the venue trades."""
    start_ms = START_MS // MINUTE * MINUTE
    monkeypatch.setattr(aggregator, "now_ns", lambda: start_ms * MS)
    return start_ms


def venue_at(start_ms):
    venue = Venue()
    venue.now_ms = start_ms
    return venue


@pytest.mark.slow
def test_metrics_begin_with_the_history_of_the_store(data_dir, at_noon):
    stored(data_dir, INTERVALS[NAMES.index("1m")], 300, at_noon)
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        role._warm(START)
        warm, *_ = published(role, heard, minutes(venue_at(at_noon), 2), "1m")
    assert warm["open_time_ms"] == at_noon
    missing = [name for name in METRIC_FIELDS if warm[name] is None]
    assert missing == [], "everything is defined from the first candle on"
    assert warm["obv_anchor_ms"] == at_noon - 300 * MINUTE
    assert min(990, 1_000) - 400 < warm["sma_20"] * 100 < 1_400


def test_a_worker_with_a_history_says_what_one_that_took_those_candles_would(data_dir, at_noon, tmp_path_factory):
    rows = stored(data_dir, INTERVALS[NAMES.index("1m")], 120, at_noon)
    with working(data_dir, ticklog__enabled=False, aggregator__warmup=70) as (role, heard):
        role._warm(START)
        ours, *_ = published(role, heard, minutes(venue_at(at_noon), 1), "1m")
    closes = [row[3 + F["close"]] for row in rows[-19:]] + [1_000]
    assert ours["sma_20"] == pytest.approx(sum(closes) / 20 / 100, rel=1e-12)
    assert ours["obv_anchor_ms"] == rows[-70][3]


@pytest.mark.slow
def test_a_history_that_does_not_reach_the_first_candle_is_not_used(data_dir, at_noon):
    stored(data_dir, INTERVALS[NAMES.index("1m")], 300, at_noon - MINUTE)
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        role._warm(START)
        cold, *_ = published(role, heard, minutes(venue_at(at_noon), 1), "1m")
    assert cold["rsi_14"] is None and cold["body_ratio"] is not None and cold["obv_anchor_ms"] == at_noon


def test_a_history_that_does_not_reach_the_live_candle_is_not_shown(data_dir, at_noon):
    hour_ms = INTERVALS[NAMES.index("1h")].open_ms(at_noon)
    stored(data_dir, INTERVALS[NAMES.index("1m")], 40, at_noon)
    stored(data_dir, INTERVALS[NAMES.index("1h")], 40, hour_ms - 60 * MINUTE)
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        role._warm(START)
        venue = venue_at(at_noon)
        venue.trade()
        published(role, heard, [venue.flush()], "1m")
        watching(role, (VENUE, SYMBOL, NAMES.index("1m")), (VENUE, SYMBOL, NAMES.index("1h")))
        minute, hour = (dict(zip(CANDLE_FIELDS, row[3:], strict=True)) for row in live_rows(role, heard))
    assert minute["rsi_14"] is not None
    assert hour["rsi_14"] is None and hour["obv_anchor_ms"] == hour_ms


def test_of_a_history_with_a_hole_what_is_after_it_counts(data_dir, at_noon):
    interval = INTERVALS[NAMES.index("1m")]
    stored(data_dir, interval, 200, at_noon - 31 * MINUTE)
    stored(data_dir, interval, 30, at_noon)
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        role._warm(START)
        first, *_ = published(role, heard, minutes(venue_at(at_noon), 1), "1m")
    assert first["sma_20"] is not None and first["ema_50"] is None


def test_a_store_that_cannot_be_read_leaves_the_metrics_cold_and_the_worker_alive(data_dir, at_noon, caplog):
    (data_dir / "candles.sqlite").write_bytes(b"this is no database" * 100)
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        role._warm(START)
        first, *_ = published(role, heard, minutes(venue_at(at_noon), 1), "1m")
    assert "begin without a history" in caplog.text and first["rsi_14"] is None


# ---------------------------------------------------------------------- live metrics


def watching(role, *streams):
    role._answer([b"front", Watch([list(one) for one in streams]).pack()])


def live_rows(role, heard):
    heard.messages.clear()
    role._live_ns = 0
    role._show_live()
    return [row for topic, body in heard.messages for row in Closes.unpack(body).rows if topic.startswith(b"live.")]


@pytest.mark.slow
def test_live_metrics_are_published_while_a_front_watches_and_leave_nothing_behind(data_dir):
    plain = minutes(venue_at(START_MS // MINUTE * MINUTE), 20)
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        undisturbed = published(role, heard, plain, "1m")
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        closed = []
        for message in plain:
            role._receive(message)
            role._turn()
            watching(role, (VENUE, SYMBOL, NAMES.index("1m")), (VENUE, SYMBOL, 0), (VENUE, "NOT-THERE", 0))
            role._flush()
            closed += [row for topic in heard.rows.values() for row in topic if row[2] == "1m"]
            shown = live_rows(role, heard)
            assert [row[2] for row in shown] == ["1m", "15s"] and not any(row[3 + F["flags"]] & CLOSED for row in shown)
        assert shown[0][3 + F["rsi_14"]] is not None
    assert repr([row[3:] for row in closed]) == repr([list(row.values()) for row in undisturbed])


def test_who_is_not_heard_of_any_more_is_forgotten(data_dir, monkeypatch):
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        published(role, heard, minutes(venue_at(START_MS), 1), "1m")
        watching(role, (VENUE, SYMBOL, 0))
        assert len(live_rows(role, heard)) == 1
        later = steady_ns() + (WATCH_S + 1) * 10**9
        monkeypatch.setattr(aggregator, "steady_ns", lambda: later)
        assert live_rows(role, heard) == [] and not role.watches
        watching(role, (VENUE, SYMBOL, 0))
        watching(role)
        assert not role.watches, "who watches nothing says so"


def test_no_live_metrics_are_made_where_the_setting_says_so(data_dir):
    with working(data_dir, ticklog__enabled=False, aggregator__live_hz=0) as (role, heard):
        published(role, heard, minutes(venue_at(START_MS), 1), "1m")
        watching(role, (VENUE, SYMBOL, 0))
        assert live_rows(role, heard) == []


@pytest.mark.parametrize("body", [b"\x91\x91\x93\xa1v\xa1s\x0c", b"\x91\x91\x92\xa1v\xa1s", b"\x91\x05", b"\x91"])
def test_a_watch_that_is_none_is_refused_and_counted(body, data_dir):
    with working(data_dir, ticklog__enabled=False) as (role, _):
        role._answer([b"front", body])
        assert role.stats.counters["bad_requests"] == 1 and not role.watches
