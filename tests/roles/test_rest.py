"""A venue's REST is asked within its limits, and left alone when it wants to be."""

from http.client import HTTPMessage as Message
from typing import Any

import pytest

from wick import exchanges
from wick.net.fetch import Answer, FetchError
from wick.roles import rest
from wick.roles.rest import PAUSE_MOST_S, Rest


class Log:
    """Stands where the limit and the network are: what was waited for, paused and asked, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, Any]] = []
        self.error: FetchError | None = None
        monkeypatch.setattr(rest, "Bucket", lambda count, seconds: self)
        monkeypatch.setattr(rest, "fetch", self._fetch)
        self.headers = Message()
        self.rest = self.asking(0.8)

    def asking(self, share: float) -> Rest:
        return Rest(exchanges.load("binance"), "http://there/", None, lambda *_: None, share=share)

    def wait(self, weight: int) -> None:
        self.done.append(("waited", weight))

    def pause(self, seconds: float) -> None:
        self.done.append(("paused", seconds))

    def spent(self, weight: int) -> None:
        self.done.append(("spent", weight))

    def _fetch(self, url: str, context: object) -> Answer:
        self.done.append(("asked", url))
        if self.error is not None:
            raise self.error
        return Answer(b"{}", self.headers)

    def pauses(self, times: int, error: FetchError) -> list[float]:
        self.error = error
        self.done.clear()
        for _ in range(times):
            with pytest.raises(FetchError):
                self.rest.get("/a", 1)
        return [value for what, value in self.done if what == "paused"]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(monkeypatch)


def test_a_request_waits_for_its_weight(log: Log) -> None:
    assert log.rest.get("/api", 25) == b"{}"
    assert log.done == [("waited", 25), ("asked", "http://there/api")]


def test_what_was_used_before_us_is_learnt_from_the_first_answer(log: Log) -> None:
    log.headers["x-mbx-used-weight-1m"] = "4000"
    for _ in range(2):
        log.rest.get("/api", 25)
    assert [value for what, value in log.done if what == "spent"] == [4000]


def test_who_takes_a_part_of_what_is_allowed_leaves_the_rest_to_the_others(log: Log) -> None:
    log.headers["x-mbx-used-weight-1m"] = "4000"
    log.asking(0.2).get("/api", 25)  # 3,600 of the 4,800 are the others'
    assert [value for what, value in log.done if what == "spent"] == [400]


@pytest.mark.parametrize("said", ["", "many", "-1", "\u0664"])
def test_an_answer_that_does_not_say_what_was_used_teaches_nothing(log: Log, said: str) -> None:
    log.headers["x-mbx-used-weight-1m"] = said
    log.rest.get("/api", 25)
    assert [what for what, _ in log.done] == ["waited", "asked"]


def test_who_is_told_to_wait_waits_as_long_as_he_is_told(log: Log) -> None:
    assert log.pauses(2, FetchError("no", 429, 7.0)) == [7.0, 7.0]
    assert log.pauses(1, FetchError("no", 418, 86_400.0)) == [86_400.0]


def test_who_is_turned_away_without_a_word_waits_longer_and_longer_until_he_is_answered(log: Log) -> None:
    pauses = log.pauses(12, FetchError("no", 429))
    for times, pause in enumerate(pauses):
        assert min(2**times, PAUSE_MOST_S) / 2 <= pause <= min(2**times, PAUSE_MOST_S)
    log.error = None
    log.rest.get("/a", 1)
    assert log.pauses(1, FetchError("no", 429))[0] <= 1


def test_other_failures_are_the_asker_s(log: Log) -> None:
    assert log.pauses(3, FetchError("no", 500)) == log.pauses(1, FetchError("no route")) == []
