"""What processes say of themselves, as Prometheus reads it: its own client's parsers are the judges."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.api.asking import Known, request
from wick.api.prometheus import SILENT_NS, Exporter
from wick.ops.process import Stats
from wick.stream.stages import FIGURES, STAGES

NOW_NS = Known().now_ms * 1_000_000
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PARSERS = {TEXT: parse_text, OPEN: parse_open}


def said(process, counters=(), gauges=(), state="running", ago_ns=0):
    stats = Stats(process, NOW_NS - 10**12)
    stats.state, stats.newest_ns = state, NOW_NS - ago_ns - 250_000_000
    stats.counters |= dict(counters)
    return stats.message(NOW_NS - ago_ns, "messages", dict(gauges))


def read(*stats, accept=TEXT):
    """Every sample by name and labels, and the type of each family."""
    known = Known()
    known.stats = stats
    reply = known.api().respond(request("/metrics", accept=accept))
    assert reply.status == 200
    families = list(PARSERS[reply.content_type](reply.body.decode()))
    values = {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}
    return values, {family.name: family.type for family in families}


def labels(**given):
    return frozenset(given.items())


@pytest.mark.parametrize("form", PARSERS)
def test_counters_and_gauges_have_the_process_as_label_and_its_role_in_their_name(form):
    values, types = read(
        said("feed-0", {"trades": 5}, {"connections": {"open": 2}}),
        said("front-1", {"messages": 2**60}, {"clients": 3, "note": "no number", "gone": None}),
        accept=form,
    )
    assert values["wick_feed_trades_total", labels(process="feed-0")] == 5
    assert values["wick_feed_connections_open", labels(process="feed-0")] == 2
    assert values["wick_front_messages_total", labels(process="front-1")] == 2**60
    assert values["wick_front_clients", labels(process="front-1")] == 3
    assert (types["wick_feed_trades"], types["wick_front_clients"]) == ("counter", "gauge")
    assert not [name for name in types if "note" in name or "gone" in name]


def test_every_name_begins_with_wick_and_every_counter_ends_with_total():
    values, types = read(said("feed-0", {"a.b": 1, "c": 2}, {"d": 3}), accept=OPEN)
    assert all(name.startswith("wick_") for name, _ in values)
    counters = {f"{name}_total" for name, kind in types.items() if kind == "counter"}
    assert {name for name, _ in values if name.endswith("_total")} == counters == {
        "wick_feed_venue_b_total", "wick_feed_c_total",
    }  # fmt: skip


def test_what_concerns_one_venue_has_the_venue_as_label():
    values, _ = read(said("feed-0", {"trades": 5, "kraken.trades": 2, "binance.trades": 3}, {"kraken.stale": 1}))
    assert values["wick_feed_venue_trades_total", labels(process="feed-0", venue="kraken")] == 2
    assert values["wick_feed_venue_stale", labels(process="feed-0", venue="kraken")] == 1
    assert values["wick_feed_trades_total", labels(process="feed-0")] == 5


def test_the_lag_of_every_shard_and_stage_is_told_in_seconds():
    figures = [float(n) if n != 4 else None for n in range(len(STAGES) * len(FIGURES))]
    values, _ = read(said("aggregator-0", (), {"lag": {3: figures}, "lag_ms": 2}))
    lags = {(dict(key)["stage"], dict(key)["figure"]): value for (name, key), value in values.items()
            if name == "wick_aggregator_lag_seconds"}  # fmt: skip
    assert len(lags) == len(figures) - 1
    assert lags["venue", "mean"] == 0 and lags["venue", "p99"] == 0.001 and lags["publish", "max"] == 0.011


def test_a_process_says_how_it_is():
    values, _ = read(said("sink-0", state="waiting", ago_ns=SILENT_NS - 1))
    assert values["wick_process_up", labels(process="sink-0")] == 1
    assert values["wick_process_state", labels(process="sink-0", state="waiting")] == 1
    assert values["wick_process_data_age_seconds", labels(process="sink-0")] == pytest.approx(5.25)
    assert values["wick_process_start_time_seconds", labels(process="sink-0")] == NOW_NS / 1e9 - 1000


@pytest.mark.parametrize("silent", [[said("feed-0", ago_ns=SILENT_NS)], []])
def test_a_process_that_has_spoken_and_is_silent_is_down_and_says_nothing_more(silent):
    exporter = Exporter()
    exporter.reply([said("feed-0", {"x": 1}), said("sink-0")], NOW_NS, TEXT)
    later = exporter.reply([said("sink-0"), *silent], NOW_NS, TEXT).body.decode()
    told = [one for family in parse_text(later) for one in family.samples if one.labels["process"] == "feed-0"]
    assert [(one.name, one.value) for one in told] == [("wick_process_up", 0)]


@pytest.mark.parametrize("form", PARSERS)
@given(st.text('ab"\\\n{}=, é.', max_size=9), st.sampled_from([3, 0.1, 2**70, math.nan, math.inf, True, None, "a"]))
@settings(max_examples=25)
def test_whatever_a_process_says_can_be_read(form, name, value):
    read(said(f"feed-{name}", {name: 3}, {name: value, "lag": {name: [1.0] * 12}}, state=name), accept=form)


@pytest.mark.parametrize(("accept", "form"), [
    ("", TEXT), ("*/*", TEXT), ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
    # what Prometheus 2.45 sends
    ("application/openmetrics-text;version=1.0.0;q=0.75,application/openmetrics-text;version=0.0.1;q=0.5,"
     "text/plain;version=0.0.4;q=0.4,*/*;q=0.1", OPEN),
])  # fmt: skip
def test_the_form_is_the_one_that_prometheus_prefers(accept, form):
    assert Known().api().respond(request("/metrics", accept=accept)).content_type == form


def test_a_counter_and_a_gauge_of_one_name_are_told_apart():
    values, types = read(said("feed-0", {"holes": 5}, {"holes": 2, "x_total": 1}), accept=OPEN)
    assert values["wick_feed_holes_total", labels(process="feed-0")] == 5
    assert values["wick_feed_holes_now", labels(process="feed-0")] == 2
    assert types["wick_feed_x_total_now"] == "gauge"


def test_before_anybody_has_spoken_there_is_nothing_to_read():
    assert read() == ({}, {})
    assert read(accept=OPEN) == ({}, {})
