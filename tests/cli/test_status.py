"""wick status: what it says of processes that run, that are in trouble, and that are not there."""

import argparse
import json
from functools import partial

import pytest

from tests.cli.live import data_dir, publishing
from wick.cli import main, status
from wick.net.clock import now_ns
from wick.ops.process import Stats
from wick.wire.codec import pack
from wick.wire.messages import stats_topic

__all__ = ["data_dir"]

PROCESSES = ("feed-0", "aggregator-0", "front-0", "sink-0")
S = 10**9


def sample(process="feed-0", state="running", counters=(), gauges=None, **fields):
    now = now_ns()
    stats = Stats(process, now - 3_725 * S)
    stats.state = state
    for name, amount in dict(counters).items():
        stats.add(name, amount)
    return {**stats.message(now, "trades", gauges or {}), **fields}


def told(process):
    return [[stats_topic(process), pack(sample(process, counters={"trades": 7}))]]


@pytest.fixture
def quick(monkeypatch):
    """Who has not spoken for a moment is down."""
    monkeypatch.setattr(status, "collect", partial(status.collect, wait_s=1.0))


def test_every_running_process_is_a_line(data_dir, capsys):
    with publishing(data_dir, told, *PROCESSES):
        assert main(["status"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == list(status.COLUMNS)
    assert [line.split()[:2] for line in lines] == [[name, "running"] for name in PROCESSES]


def test_with_json_every_process_is_an_object(data_dir, capsys):
    with publishing(data_dir, told, *PROCESSES):
        assert main(["status", "--json", "--data-dir", str(data_dir)]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["process"] for one in said] == list(PROCESSES)
    assert all(one["counters"] == {"trades": 7} for one in said)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_process_that_says_nothing_is_down_and_the_exit_status_says_so(data_dir, capsys):
    with publishing(data_dir, told, "feed-0", "sink-0"):
        assert main(["status"]) == 1
    states = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert states == {"feed-0": "running", "aggregator-0": "down", "front-0": "down", "sink-0": "running"}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_where_nothing_runs_everything_is_down(data_dir, capsys):
    assert main(["status", "--json"]) == 1
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said == [{"process": name, "state": "down"} for name in PROCESSES]


@pytest.mark.usefixtures("quick")
def test_a_process_that_runs_but_waits_is_not_healthy(data_dir):
    def make(process):
        return [[stats_topic(process), pack(sample(process, "store away" if process == "sink-0" else "running"))]]

    with publishing(data_dir, make, *PROCESSES):
        assert main(["status"]) == 1


def test_further_fronts_are_expected_where_they_have_a_socket(data_dir):
    (data_dir / "run" / "front-3.pub").touch()
    settings = status.settings_of(argparse.Namespace(data_dir=None))
    assert status.expected(settings) == ["feed-0", "aggregator-0", "front-0", "front-3", "sink-0"]


def test_a_line_tells_rate_age_and_uptime():
    line = status._line("feed-0", sample(rate=1234.5, age_ms=2_500, pid=77))
    assert line[:2] == ("feed-0", "running")
    assert line[2] == "1,234 trades/s"
    assert line[3] in ("2.5 s", "2.6 s")
    assert line[4:6] == ("1h02m", "77")


def test_without_data_there_is_no_age():
    assert status._line("feed-0", sample(age_ms=None))[3] == "-"


def test_details_are_the_gauges_and_the_counters_of_trouble():
    gauges, counters = {"symbols": 300, "stalled_workers": 0}, {"trades": 5, "messages_lost": 2, "bad_batches": 0}
    assert status._line("feed-0", sample(gauges=gauges, counters=counters))[6] == "symbols=300 messages_lost=2"


def test_gauges_within_gauges_are_told_one_by_one():
    gauges = {"books": {"live": 9, "broken": 0, "by_venue": {"kraken": 4}}, "holes": 0, "urls": ["a", "b"], "stale": 2}
    assert status._line("feed-0", sample(gauges=gauges))[6] == "books.live=9 books.by_venue.kraken=4 urls=a,b stale=2"


LAG = {3: [1.0, 2.0, 3.0, *[10.0] * 3, *[0.5] * 3, *[40.0] * 3], 19: [80.0, 90.5, 99.0, *[10.0] * 6, None, None, None]}


def told_with_lag(process):
    gauges = {"pairs": 2, "lag": LAG} if process == "aggregator-0" else {}
    return [[stats_topic(process), pack(sample(process, gauges=gauges))]]


def test_the_slowest_shard_of_every_worker_is_named(data_dir, capsys):
    with publishing(data_dir, told_with_lag, *PROCESSES):
        assert main(["status"]) == 0
    *_, details, _, _, line = capsys.readouterr().out.splitlines()
    assert details.endswith("pairs=2")
    assert line == (
        "aggregator-0: the slowest shard is 19, 110.5 ms from the venue to publication "
        "(p99: venue 90.5, feed 10.0, queue 10.0, publish 0.0)"
    )


def test_with_lag_every_shard_is_a_line_with_its_stages(data_dir, capsys):
    with publishing(data_dir, told_with_lag, *PROCESSES):
        assert main(["status", "--lag"]) == 0
    *_, header, first, second = capsys.readouterr().out.splitlines()
    assert header.startswith("WORKER") and "VENUE ms (mean / p99 / max)" in header
    assert first.split()[:7] == ["aggregator-0", "3", "1.0", "/", "2.0", "/", "3.0"]
    assert second.split()[:2] == ["aggregator-0", "19"] and second.endswith("- / - / -")


def test_what_a_process_says_cannot_drive_the_terminal():
    line = status._line("feed-0", sample(state="run\x1b[2Jning\n", gauges={"a\x07b": 1}))
    assert not any(ord(sign) < 32 for cell in line for sign in cell)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0m00s"), (59, "0m59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90_061, "25h01m")],
)
def test_durations_are_short(seconds, text):
    assert status._duration(seconds) == text
