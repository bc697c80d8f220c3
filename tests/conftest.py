"""What every test relies on: no setting of the developer's own gets in, and the inner loop is quick."""

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.servers.postgres import NoServerError, Postgres, database
from tests.servers.redis import Redis
from tests.servers.timescale import Timescale, has_timescale

for name in [name for name in os.environ if name.startswith("WICK_") and not name.startswith("WICK_TEST_")]:
    del os.environ[name]

# How hard the properties search: a little with every `pytest -q`, more in scripts/test (HYPOTHESIS_PROFILE=full).
settings.register_profile("inner", max_examples=6, deadline=None)
# The gate says the same of the same code, every time; the others look for new examples.
settings.register_profile("full", max_examples=16, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=2_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "inner"))

# Collection makes objects that stay: to look through them again and again took 1 s of it, and 6 s of a run.
gc.disable()

STARTS_A_PROCESS = {
    "start_exchange",
    "two_symbols",
    "postgres",
    "postgres_url",
    "timescale_url",
}  # fixtures: a test that asks for one is slow


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STARTS_A_PROCESS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 50, 100)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What a test has to say beside that it passed: `record_property("said", ...)`."""
    for report in [one for some in terminalreporter.stats.values() for one in some]:
        for name, value in getattr(report, "user_properties", ()):
            if name == "said" and report.when == "call":
                terminalreporter.write_line(value)


# Real servers, started once when the first test asks. WICK_TEST_DSN has the tests use another PostgreSQL or
# TimescaleDB instead, in databases that they make there and drop; only what kills a server starts its own.


def _server(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that a test may stop, kill and start."""
    server = _server(Postgres)
    yield server
    server.close()


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a new database."""
    given = os.environ.get("WICK_TEST_DSN")
    with database(given or request.getfixturevalue("postgres").url("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis or Valkey that a test may hang, kill and start."""
    server = _server(Redis)
    yield server
    server.close()


@pytest.fixture(scope="session")
def _timescale() -> Iterator[Timescale]:
    server = _server(Timescale)
    yield server
    server.close()


@pytest.fixture
def timescale_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a database with the TimescaleDB extension and nothing else."""
    given = os.environ.get("WICK_TEST_DSN")
    if given and has_timescale(given):
        with database(given) as url:
            yield url
        return
    server = request.getfixturevalue("_timescale")
    server.clear()
    yield server.url
