"""A recorder beside its connections: which snapshots of books it asks REST for, and when."""

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from wick.market.trades import Topic
from wick.net.fetch import FetchError
from wick.ops.settings import Settings
from wick.roles import recorder as module
from wick.roles.recorder import NO_SUCH, Recorder

BTC, ETH = "BTC-USDT", "ETH-USDT"


class Desk:
    """A recorder of Binance that runs, an exchange's REST, and streams that are up or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        monkeypatch.setattr(module, "client_context", lambda _: None)
        monkeypatch.setattr(module, "AFTER_FAILURE_S", 0.001)
        self.up: set[str] = set()
        self.asked: list[str] = []
        self.fails: dict[str, int | None] = {}
        self.recorder = Recorder("binance", Settings({}), directory)
        monkeypatch.setattr(self.recorder.connections, "add", lambda topics: None)
        monkeypatch.setattr(self.recorder.connections, "carries", lambda topic: topic.symbol in self.up)
        monkeypatch.setattr(self.recorder.rest, "get", self.get)
        self.recorder.start([BTC, ETH])

    def get(self, path: str, weight: int) -> bytes:
        symbol = BTC if "BTC" in path else ETH
        self.asked.append(symbol)
        if symbol in self.fails:
            raise FetchError("no", self.fails[symbol])
        return b"{}"

    def until(self, *asked: str) -> None:
        with gevent.Timeout(30, AssertionError(self.asked)):
            while self.asked[: len(asked)] != list(asked):
                gevent.sleep(0.002)

    def idle(self) -> bool:
        return not self.recorder._waiting


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(monkeypatch, tmp_path)
    yield desk
    desk.recorder.close()


@pytest.mark.slow
def test_a_book_is_asked_for_when_its_stream_flows_and_again_only_when_that_was_cut(desk: Desk) -> None:
    desk.up = {BTC}
    desk.until(BTC)
    desk.up = {BTC, ETH}
    desk.until(BTC, ETH)
    desk.recorder._closed(1, ())  # handed over
    desk.recorder._closed(2, (Topic(ETH, "depth"), Topic(BTC, "trade")))
    desk.until(BTC, ETH, ETH)
    assert desk.idle()


@pytest.mark.slow
@pytest.mark.parametrize("status", [None, pytest.param(429, marks=pytest.mark.slow), 500])
def test_a_book_that_rest_does_not_give_now_is_asked_for_again(desk: Desk, status: int | None) -> None:
    desk.fails[BTC] = status
    desk.up = {BTC}
    desk.until(BTC, BTC)
    desk.fails.clear()
    with gevent.Timeout(30):
        while BTC in desk.recorder._waiting:
            gevent.sleep(0.002)
    assert desk.recorder.counters["snapshots_failed"] >= 2


def test_a_book_that_is_none_is_not_asked_for_for_ever(desk: Desk) -> None:
    desk.fails[BTC] = NO_SUCH
    desk.up = {BTC, ETH}
    desk.until(BTC, ETH)
    assert desk.idle() and desk.recorder.counters["snapshots_failed"] == 1
