"""Slow clients of a real front, and workers that fail: nobody delays anybody else, and all end at the state."""

from itertools import count

import pytest

from tests.net.front_process import wait_for
from tests.net.raw_client import DIFF, HUGE, ROUNDS, SNAPSHOT, big, flood, introduce, raw
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE, FORMED_FIELDS, UNKNOWN
from wick.wire.session import Kind


def given_up(front):
    """How many clients the front has given up, as `wick status` reads it."""
    said = front.stats()
    return said and said["gauges"]["stalled"]


def topics_of(symbol):
    return [f"ticker:binance:{symbol}", *[f"candles:binance:{symbol}:{name}" for name in NAMES]]


def test_a_client_that_stops_reading_delays_nobody_and_wakes_to_the_state(front, worker):
    introduce(front, worker, "SLOW-USDT")
    topics = topics_of("SLOW-USDT")
    with raw(front) as slow, raw(front) as other:
        slow.say(16, 1, topics)
        other.say(16, 1, topics[:1])
        while len(slow.handles) < len(topics) or not slow.holds(worker, "SLOW-USDT"):
            slow.take()
        before = len(slow.heard)
        assert flood(worker, "SLOW-USDT", other) < 5.0, "far from the 20 s after which a client is given up"
        assert other.heard.count(DIFF) >= ROUNDS - 1
        # It wakes: what the kernel still had, then the state.
        while not slow.holds(worker, "SLOW-USDT"):
            slow.take()
        assert len(slow.heard[before:]) < ROUNDS * len(topics) / 2
        # And it is a client like any other again.
        numbers = count()

        def is_in_step():
            known = slow.heard.count(SNAPSHOT)
            worker.publish("SLOW-USDT", head=[next(numbers)])
            while not slow.holds(worker, "SLOW-USDT"):
                slow.take()
            return slow.heard.count(SNAPSHOT) == known

        wait_for(is_in_step, "a change without a snapshot")


def test_a_candle_that_closes_while_a_client_does_not_read_is_in_the_state_that_it_wakes_to(front, worker):
    introduce(front, worker, "SHUT-USDT")
    topics = topics_of("SHUT-USDT")
    row = [1_723_161_600_000, *[HUGE] * (len(FORMED_FIELDS) - 1), *UNKNOWN]

    def close(number):
        if number == ROUNDS - 1:
            worker.close_candle("SHUT-USDT", "1m", row)

    with raw(front) as slow, raw(front) as other:
        slow.say(16, 1, topics)
        other.say(16, 1, topics[:1])
        while len(slow.handles) < len(topics) or not slow.holds(worker, "SHUT-USDT"):
            slow.take()
        flood(worker, "SHUT-USDT", other, close)
        (shut,) = [handle for handle, topic in slow.handles.items() if topic.endswith(":1m")]
        while not slow.holds(worker, "SHUT-USDT") or row[0] not in slow.rows[shut]:
            slow.take()
        assert slow.rows[shut][row[0]] == row
        assert Kind.CLOSE not in slow.heard  # it came with the state


def test_what_does_not_fit_a_client_s_queue_reaches_it_all_the_same_and_holds_nobody_up(front, worker):
    introduce(front, worker, "WIDE-USDT")
    worker.publish("WIDE-USDT", **big(1))
    topics = topics_of("WIDE-USDT")
    with raw(front) as wide:
        wide.say(16, 1, topics)  # 13 snapshots of 1.7 kB each, into 16 kB
        while len(wide.handles) < len(topics) or not wide.holds(worker, "WIDE-USDT"):
            wide.take()
        spent = front.cpu_s()
        assert front.get("/healthz")[0] == 200
        for number in range(20):
            worker.publish("WIDE-USDT", **big(number))
            while not wide.holds(worker, "WIDE-USDT"):
                wide.take()
        assert front.cpu_s() - spent < 2.0


def test_a_client_that_stops_reading_still_gets_every_answer_in_order(front, worker):
    introduce(front, worker, "DEAF-USDT")
    with raw(front) as deaf, raw(front) as other:
        first = [f"candles:binance:DEAF-USDT:{name}" for name in NAMES]
        deaf.say(16, 1, first)
        other.say(16, 1, first[:1])
        while len(deaf.handles) < len(first) or not deaf.holds(worker, "DEAF-USDT"):
            deaf.take()
        flood(worker, "DEAF-USDT", other, lambda number: number % 5 or deaf.say(18, number))
        deaf.say(16, ROUNDS, ["ticker:binance:DEAF-USDT"])
        while len(deaf.handles) < len(first) + 1 or not deaf.holds(worker, "DEAF-USDT"):
            deaf.take()
        assert deaf.answers == [1, *range(0, ROUNDS, 5), ROUNDS]


@pytest.mark.slow
def test_a_client_that_takes_nothing_for_too_long_is_closed(strict):
    front, worker = strict
    introduce(front, worker, "STALL-USDT")
    with raw(front, "?token=s3cret") as stalled:
        stalled.say(16, 1, [f"candles:binance:STALL-USDT:{name}" for name in NAMES])
        while len(stalled.handles) < len(NAMES):
            stalled.take()
        with raw(front, "?token=s3cret") as other:
            other.say(16, 1, ["ticker:binance:STALL-USDT"])
            flood(worker, "STALL-USDT", other)
        wait_for(lambda: given_up(front), "the end of the connection")
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                stalled.frame()
    with raw(front, "?token=s3cret") as again:
        assert again.take()[0][0] == Kind.HELLO


def test_what_is_published_while_a_snapshot_is_on_its_way_is_not_taken_back_by_it(front, worker):
    introduce(front, worker, "RACE-USDT")
    introduce(front, worker, "PACE-USDT")  # of another shard: it tells how far the front has come
    with raw(front) as one:
        one.say(16, 1, ["ticker:binance:RACE-USDT", "ticker:binance:PACE-USDT"])
        while len(one.states) < 2 or not one.holds(worker, "RACE-USDT") or not one.holds(worker, "PACE-USDT"):
            one.take()
        asked = worker.asked
        worker.answering.clear()
        worker.lose_closes("RACE-USDT")
        worker.close_candle("RACE-USDT", "1m", [0] * len(CANDLE))
        wait_for(lambda: worker.asked > asked, "the question")
        worker.publish("RACE-USDT", head=[4242])
        worker.publish("PACE-USDT", head=[4242])
        while not one.holds(worker, "PACE-USDT"):
            one.take()
        worker.answering.set()
        known = one.heard.count(SNAPSHOT)
        while one.heard.count(SNAPSHOT) == known or not one.holds(worker, "RACE-USDT"):
            one.take()


def test_a_worker_that_starts_anew_is_followed_from_a_snapshot(front, worker):
    introduce(front, worker, "ANEW-USDT")
    with raw(front) as one:
        one.say(16, 1, ["ticker:binance:ANEW-USDT"])
        while not one.handles or not one.holds(worker, "ANEW-USDT"):
            one.take()
        worker.restart()
        worker.publish("ANEW-USDT", head=[42])
        while not one.holds(worker, "ANEW-USDT"):
            one.take()
        (state,) = one.states.values()
        assert state[0] == worker.epoch
        assert one.heard.count(SNAPSHOT) >= 2
