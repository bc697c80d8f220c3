"""Missing trades are asked for over REST: page by page, patiently, and given up when nobody has them."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from wick import exchanges
from wick.market.records import records
from wick.market.trades import Trade
from wick.net.fetch import FetchError
from wick.roles import backfill
from wick.roles.backfill import ALONE_NS, SETTLE_NS, TRIES, Backfill
from wick.stream.ticks import Ticks
from wick.wire.messages import TickHeader

NOW = 1_723_161_600_000_000_000
SECOND = 10**9
BINANCE = exchanges.load("binance")


class Desk:
    """A feed's ticks, an exchange's REST, and what stands between them; the time is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, asks: bool = True) -> None:
        self.now_ns = NOW
        monkeypatch.setattr(backfill, "now_ns", lambda: self.now_ns)
        self.ticks = Ticks("binance", ["BTC-USDT", "ETH-USDT"])
        self.paths: list[str] = []
        self.counts: dict[str, int] = {}
        self.answer: Callable[[str, int, int], Any] = self.all_of_them
        self.backfill = Backfill(BINANCE, self.ticks, self if asks else None, self.count)  # type: ignore[arg-type]

    def count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def get(self, path: str, weight: int) -> bytes:
        """Stands where REST is."""
        assert weight == BINANCE.backfill_weight
        self.paths.append(path)
        asked = {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}
        return orjson.dumps(self.answer(asked["symbol"], int(asked["fromId"]), int(asked["limit"])))

    def all_of_them(self, symbol: str, first: int, limit: int) -> list[dict[str, Any]]:
        return [
            {"id": one, "price": "1.5", "qty": "2", "time": NOW // 10**6 + one, "isBuyerMaker": True}
            for one in range(first, first + min(limit, 1000))
        ]

    def trade(self, *numbers: int, symbol: str = "BTC-USDT") -> None:
        some = [Trade(symbol, NOW + one * 10**6, one, 15, 1, 2, 0, False) for one in numbers]
        self.ticks.take(some, self.now_ns)

    def after(self, seconds: float) -> bool:
        """Whether there was something to do, so much later."""
        self.now_ns += round(seconds * SECOND)
        worked = False
        while self.backfill.step(self.now_ns):
            worked = True
        return worked

    def ids(self) -> list[int]:
        found = []
        for _, parts, packed in self.ticks.portions(1, NOW, 0):
            found += records(packed, TickHeader(1, 1, 0, "binance", 1, 1, parts))["id"].tolist()
        return found


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_a_hole_is_left_alone_for_a_moment_then_asked_for_until_it_is_closed(desk: Desk) -> None:
    desk.trade(1, 3002)
    assert not desk.after(SETTLE_NS / SECOND / 2) and desk.paths == []
    assert desk.after(1)
    assert [path.partition("fromId=")[2] for path in desk.paths] == [
        "2&limit=1000",
        "1002&limit=1000",
        "2002&limit=1000",
    ]
    assert sorted(desk.ids()) == list(range(1, 3003))
    assert desk.counts == {"holes": 1, "mended": 1, "backfilled_trades": 3000}
    assert not desk.after(100)


def test_what_comes_by_itself_is_not_asked_for(desk: Desk) -> None:
    desk.trade(1, 4, 3, 2)
    assert not desk.after(10) and desk.paths == [] and desk.counts == {}


def test_symbols_take_turns(desk: Desk) -> None:
    desk.trade(1, 2500)
    desk.trade(1, 2500, symbol="ETH-USDT")
    desk.after(1)
    assert ["BTC" in path for path in desk.paths] == [True, False] * 3
    assert desk.counts["mended"] == 2


def test_small_holes_beside_each_other_are_asked_for_together(desk: Desk) -> None:
    desk.trade(*range(1, 400, 3))
    desk.after(1)
    assert len(desk.paths) == 1 and len(desk.ids()) == 397


def test_what_the_exchange_does_not_have_is_given_up_after_some_tries(desk: Desk) -> None:
    desk.trade(1, 4)
    desk.answer = lambda symbol, first, limit: []
    for _ in range(100):
        desk.after(1)
    assert len(desk.paths) == TRIES
    assert desk.counts == {"holes": 1, "unmended": 1, "backfilled_trades": 0}
    assert desk.ticks.gauges() == {"holes_open": 0, "lost_trades": 2}
    desk.answer = desk.all_of_them
    desk.trade(7)
    desk.after(1)
    assert desk.counts["mended"] == 1 and sorted(desk.ids()) == [1, 4, 5, 6, 7]


@pytest.mark.parametrize("status", [None, 403, 429, 418, 500, 503])
def test_a_server_that_cannot_answer_now_is_asked_again_for_as_long_as_it_takes(desk: Desk, status: int | None) -> None:
    def fails(*_: Any) -> None:
        raise FetchError("no", status, 1.0)

    desk.trade(1, 4)
    desk.answer = fails
    for _ in range(600):
        desk.after(1)
    assert 10 < len(desk.paths) < 20, "a minute apart in the end"
    desk.answer = desk.all_of_them
    desk.after(61)
    assert desk.counts["mended"] == 1 and sorted(desk.ids()) == [1, 2, 3, 4]


def test_answers_that_make_no_sense_are_borne_for_most_of_an_hour(desk: Desk) -> None:
    desk.trade(1, 4)
    desk.answer = lambda *_: {"code": 1}
    for _ in range(1800):
        desk.after(1)
    assert desk.counts == {"holes": 1}
    desk.answer = desk.all_of_them
    desk.after(61)
    assert desk.counts["mended"] == 1 and sorted(desk.ids()) == [1, 2, 3, 4]
    desk.trade(7)
    desk.answer = lambda *_: {"code": 1}
    for _ in range(4000):
        desk.after(1)
    assert desk.counts["unmended"] == 1


def test_a_request_that_is_refused_is_given_up(desk: Desk) -> None:
    def refuses(symbol: str, first: int, limit: int) -> Any:
        raise FetchError("no such symbol", 400)

    desk.trade(1, 4)
    desk.trade(1, 3, symbol="ETH-USDT")
    desk.answer = refuses
    for _ in range(100):
        desk.after(1)
    assert len(desk.paths) == 2 * TRIES
    assert desk.counts == {"holes": 2, "unmended": 2}


def test_without_backfill_a_hole_is_given_up_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, asks=False)
    desk.trade(1, 4)
    assert not desk.after(ALONE_NS / SECOND - 1)
    assert desk.after(1.1)
    assert desk.counts == {"holes": 1, "unmended": 1}


def test_a_symbol_that_is_removed_is_not_asked_for_any_more(desk: Desk) -> None:
    desk.trade(1, 4)
    desk.answer = lambda symbol, first, limit: []
    desk.after(1)
    desk.ticks.remove("BTC-USDT", NOW)
    assert not desk.after(100) and len(desk.paths) == 1
