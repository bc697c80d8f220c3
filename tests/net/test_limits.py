"""A venue's limits hold in any window of time, whoever asks, in the order of asking."""

from collections.abc import Generator
from heapq import heappop, heappush
from itertools import count

import pytest
from greenlet import greenlet
from hypothesis import given
from hypothesis import strategies as st

from wick.net.limits import Bucket

SECOND = 10**9


class Time:
    """A clock that moves when everyone sleeps; sleepers run as greenlets, and may wake late."""

    def __init__(self, late_ns: Generator[int] | None = None) -> None:
        self.ns = 5 * SECOND
        self._sleepers: list[tuple[int, int, greenlet]] = []
        self._order = count()
        self._late_ns = late_ns or (0 for _ in count())

    def now(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        until = self.ns + max(1, round(seconds * SECOND)) + next(self._late_ns)
        heappush(self._sleepers, (until, next(self._order), greenlet.getcurrent()))
        self._hub.switch()

    def run(self, *bodies: object) -> None:
        """Start all, in order, and let the time pass until they have ended."""
        self._hub = greenlet.getcurrent()
        for body in bodies:
            greenlet(body, self._hub).switch()
        while self._sleepers:
            until, _, sleeper = heappop(self._sleepers)
            self.ns = max(self.ns, until)
            sleeper.switch()


def most_in_any_window(grants: list[tuple[int, int]], window_ns: int) -> int:
    return max(sum(w for at, w in grants if start <= at < start + window_ns) for start, _ in grants)


@given(
    st.integers(1, 6),
    st.floats(0.001, 10),
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 8)), min_size=1, max_size=25),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), max_size=3),
    st.randoms(use_true_random=False),
)
def test_no_window_has_more_than_is_allowed_whatever_is_asked(limit, seconds, asked, pauses, random) -> None:
    time = Time(random.randrange(SECOND // 10) * random.randrange(2) for _ in count())
    bucket = Bucket(limit, seconds, now=time.now, sleep=time.sleep)
    arrived, served, grants = [], [], []
    forbidden: list[tuple[int, int]] = []

    def asker(number: int, at_s: float, weight: int) -> None:
        if at_s:
            time.sleep(at_s)
        arrived.append(number)
        bucket.wait(weight)
        served.append(number)
        grants.append((time.ns, min(weight, limit)))

    def pauser(at_s: float, for_s: float) -> None:
        if at_s:
            time.sleep(at_s)
        bucket.pause(for_s)
        forbidden.append((time.ns, time.ns + round(for_s * SECOND)))

    time.run(
        *(lambda n=n, at=at, w=w: asker(n, at, w) for n, (at, w) in enumerate(asked)),
        *(lambda at=at, s=s: pauser(at, s) for at, s in pauses),
    )
    assert most_in_any_window(grants, round(seconds * SECOND)) <= limit
    assert served == arrived  # first come, first served
    assert not any(begin < at < end for at, _ in grants for begin, end in forbidden)
    assert bucket.waiting == 0


def test_what_is_allowed_is_given_at_once_and_the_rest_as_soon_as_it_may() -> None:
    time = Time()
    bucket = Bucket(3, 2.0, now=time.now, sleep=time.sleep)
    at: list[int] = []

    def ask() -> None:
        bucket.wait()
        at.append((time.ns - 5 * SECOND) // SECOND)

    time.run(*[ask] * 8)
    assert at == [0, 0, 0, 2, 2, 2, 4, 4]


def test_a_pause_delays_those_who_wait_already_and_keeps_their_order() -> None:
    time = Time()
    bucket = Bucket(1, 1.0, now=time.now, sleep=time.sleep)
    at: list[tuple[str, int]] = []

    def ask(name: str) -> None:
        bucket.wait()
        at.append((name, (time.ns - 5 * SECOND) // SECOND))

    time.run(lambda: ask("a"), lambda: ask("b"), lambda: ask("c"), lambda: bucket.pause(10), lambda: ask("d"))
    assert at == [("a", 0), ("b", 10), ("c", 11), ("d", 12)]


def test_what_somebody_else_has_spent_counts_from_when_it_is_told() -> None:
    time = Time()
    bucket = Bucket(10, 2.0, now=time.now, sleep=time.sleep)
    at: list[float] = []

    def ask() -> None:
        bucket.wait(4)
        at.append((time.ns - 5 * SECOND) / SECOND)
        if len(at) == 1:
            time.sleep(0.5)
            bucket.spent(9)  # 4 of it are ours
            bucket.spent(3)

    time.run(ask, lambda: (time.sleep(1.0), ask()), lambda: (time.sleep(1.0), ask()))
    assert at == [0.0, 2.0, 2.5]


def test_what_is_spent_beyond_the_limit_blocks_no_longer_than_the_window() -> None:
    time = Time()
    bucket = Bucket(10, 2.0, now=time.now, sleep=time.sleep)
    bucket.spent(1_000)
    assert bucket.take(10) == 2.0
    time.ns += 2 * SECOND
    assert bucket.take(10) == 0.0


def test_who_wakes_late_keeps_his_place() -> None:
    time = Time(iter([SECOND // 2, *[0] * 1000]))  # the first sleeper
    bucket = Bucket(2, 1.0, now=time.now, sleep=lambda seconds: time.sleep(max(seconds, 0.01)))
    served: list[str] = []

    def ask(name: str) -> None:
        bucket.wait()
        served.append(name)

    time.run(*(lambda name=name: ask(name) for name in "abcd"))
    assert served == ["a", "b", "c", "d"]


def test_who_gives_up_waiting_leaves_his_place_to_the_next() -> None:
    time = Time()

    def sleep(seconds: float) -> None:
        if bucket.waiting == 1:
            raise InterruptedError
        time.sleep(seconds)

    bucket = Bucket(1, 1.0, now=time.now, sleep=sleep)

    def ask() -> None:
        bucket.wait()
        with pytest.raises(InterruptedError):
            bucket.wait()
        assert bucket.waiting == 0

    time.run(ask)


def test_who_does_not_want_to_wait_is_told_how_long_it_would_take() -> None:
    time = Time()
    bucket = Bucket(2, 1.0, now=time.now, sleep=time.sleep)
    assert [bucket.take(), bucket.take(), bucket.take(), bucket.take()] == [0.0, 0.0, 1.0, 1.0]
    time.ns += SECOND // 4
    assert bucket.take(2) == 0.75
    time.ns += 3 * SECOND // 4
    assert [bucket.take(2), bucket.take()] == [0.0, 1.0]
