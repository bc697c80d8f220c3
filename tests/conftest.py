"""What every test relies on: no setting of the developer's own gets in, and the inner loop is quick."""

import gc
import os
from typing import Any

import pytest
from hypothesis import settings

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

STARTS_A_PROCESS = {"start_exchange", "two_symbols"}  # fixtures: a test that asks for one is slow


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
