"""Exchanges for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.exchange_process import Exchange, StartExchange


@pytest.fixture
def start_exchange(tmp_path: Path) -> Iterator[StartExchange]:
    """A function that starts an exchange; all of them are stopped after the test."""
    running: list[Exchange] = []

    def start(**asked: Any) -> Exchange:
        running.append(Exchange(tmp_path / f"exchange-{len(running)}.log", **asked))
        return running[-1]

    yield start
    for exchange in running:
        exchange.stop()


@pytest.fixture(scope="session")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    exchange = Exchange(tmp_path_factory.mktemp("demo") / "log", demo={"seed": 3, "count": 20, "rate": 2000})
    yield exchange
    assert exchange.stop() == 0


@pytest.fixture
def demo(_demo: Exchange) -> Iterator[Exchange]:
    """A busy demo market of 20 symbols, without faults; BTCUSDT has about 550 trades a second."""
    _demo.fault("clear")
    yield _demo
    _demo.fault("clear")
