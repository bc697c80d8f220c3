"""`wick doctor --live` and `wick record` against simulated exchanges of every venue, over TLS."""

import csv
import io
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest

from tests.system.venue import VenueRun, venue_run, wait_until
from wick import exchanges

pytestmark = pytest.mark.slow

SECONDS = "3"


Done = subprocess.CompletedProcess[str]
FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {  # by venue: what is done to it, and what the doctor finds wrong
    "binance": ("gap", {"trades": 4, "symbol": "BTCUSDT"}, "trades"),
    "coinbase": ("corrupt", {"frames": 5, "kind": "truncated"}, "messages"),
    "kraken": ("rest_error", {"requests": 1000, "status": 500}, "backfill"),
    "bybit": ("refuse_subscription", {"requests": 1000}, "subscriptions"),
}


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, VenueRun]]:
    """An exchange of each venue; no feed."""
    with ExitStack() as stack:
        found = {
            one: stack.enter_context(venue_run(one, {"symbols": 3, "rate": 200}, {"book_levels": 100}))
            for one in exchanges.ids()
        }
        for run in found.values():
            run.start_exchange()
        yield found


def each(runs: dict[str, VenueRun], function: Callable[[VenueRun], Done]) -> dict[str, Done]:
    """Of every venue, three at a time."""
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(runs, pool.map(function, runs.values()), strict=True))


@pytest.fixture(scope="module")
def looks(runs: dict[str, VenueRun]) -> dict[str, Done]:
    return each(runs, lambda run: run.wick("doctor", "--live", run.venue, "--seconds", SECONDS))


@pytest.fixture(scope="module")
def recorded(runs: dict[str, VenueRun]) -> dict[str, Done]:
    def record(run: VenueRun) -> Done:
        return run.wick("record", run.venue, "*", "--out", str(run.directory / "captures"), "--seconds", SECONDS)

    return each(runs, record)


@pytest.fixture(scope="module")
def looks_at_faults(runs: dict[str, VenueRun]) -> dict[str, Done]:
    def look(run: VenueRun) -> Done:
        fault, params, _ = FAULTS[run.venue]
        ended = threading.Event()

        def spoil() -> None:
            """In the middle of the look, again and again."""
            wait_until(lambda: ended.is_set() or run.get("/_faults")["connections"], 120, "the doctor")
            while not ended.wait(1.0):
                run.fault(fault, **params)

        if fault == "refuse_subscription":
            run.fault(fault, **params)
        with ThreadPoolExecutor(1) as pool:
            spoiling = pool.submit(spoil)
            done = run.wick("doctor", "--live", run.venue, "--seconds", "5")
            ended.set()
        spoiling.result()
        run.fault("clear")
        return done

    return each({venue: runs[venue] for venue in FAULTS}, look)


@pytest.mark.parametrize("venue_id", exchanges.ids())
def test_a_venue_that_is_as_it_should_be_is_found_so(looks: dict[str, Done], venue_id: str) -> None:
    done = looks[venue_id]
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.split()[:2] for line in done.stdout.splitlines()[1:]]
    expected = ["symbols", "connection", "subscriptions", "messages", "trades", "backfill", "books", "clock"]
    if not exchanges.load(venue_id).backfills:
        expected.remove("backfill")
    assert found == [["ok", what] for what in expected], done.stdout


@pytest.mark.parametrize("venue_id", exchanges.ids())
def test_what_was_recorded_becomes_the_candles_of_what_was_traded(
    runs: dict[str, VenueRun], recorded: dict[str, Done], venue_id: str
) -> None:
    run, venue, done = runs[venue_id], exchanges.load(venue_id), recorded[venue_id]
    assert done.returncode == 0, done.stdout + done.stderr
    files = map(str, (run.directory / "captures").iterdir())
    made = run.wick("candles", "--venue", venue_id, "--interval", "1d", "--format", "csv", *files)
    assert made.returncode == 0, made.stderr
    rows = {row["symbol"]: row for row in csv.DictReader(io.StringIO(made.stdout))}
    assert len(rows) == 3
    for native in run.get("/_truth")["symbols"]:
        row = rows[venue.symbol(native)]
        trades = run.truth(native)
        if venue.contiguous_ids:
            first, last = int(row["first_trade_id"]), int(row["last_trade_id"])
            meant = [one for one in trades if first <= int(one[0]) <= last]
            assert sum(Decimal(one[2]) for one in meant) == Decimal(row["volume"])
        else:
            assert 0 < Decimal(row["volume"]) < sum(Decimal(one[2]) for one in trades)


@pytest.mark.parametrize("venue_id", FAULTS)
def test_what_is_wrong_is_said(looks_at_faults: dict[str, Done], venue_id: str) -> None:
    done = looks_at_faults[venue_id]
    assert done.returncode == 1, done.stdout
    assert f"FAIL  {FAULTS[venue_id][2]}" in done.stdout, done.stdout


def test_a_certificate_of_somebody_else_is_not_accepted(runs: dict[str, VenueRun]) -> None:
    run, strange = runs["okx"], {"WICK_FEED_CA_FILE": str(runs["kraken"].directory / "ca.pem")}
    done = run.wick("doctor", "--live", "okx", "BTC-USDT", "--seconds", "1", **strange)
    assert done.returncode == 1
    assert "FAIL  connection" in done.stdout and "CERTIFICATE_VERIFY_FAILED" in done.stdout + done.stderr
    done = run.wick("record", "okx", "*", **strange)
    assert done.returncode == 1 and "CERTIFICATE_VERIFY_FAILED" in done.stderr
