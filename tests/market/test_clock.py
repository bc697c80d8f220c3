"""The estimate of the venue's time."""

from wick.market.clock import AGREE, WINDOW_NS, VenueClock

SECOND = 10**9
NOW = 1_800_000_000 * SECOND


def test_a_recorder_that_runs_behind_does_not_hold_the_clock_back():
    clock = VenueClock()
    clock.observe(NOW + 1_270_000_000, NOW)
    assert clock.at(NOW + SECOND) == NOW + SECOND + 1_270_000_000


def test_the_fastest_event_counts_and_a_slow_one_does_not_turn_the_clock_back():
    clock = VenueClock()
    clock.observe(NOW - 10, NOW)
    before = clock.at(NOW)
    clock.observe(NOW - 5 * SECOND, NOW + 1)
    assert clock.at(NOW + 1) == before + 1


def test_an_offset_that_no_longer_holds_is_forgotten_after_two_windows():
    clock = VenueClock()
    clock.observe(NOW + 5 * SECOND, NOW)
    for window in range(1, 4):
        clock.observe(NOW + window * WINDOW_NS, NOW + window * WINDOW_NS)
    later = NOW + 4 * WINDOW_NS
    assert clock.at(later) == later


def test_a_clock_of_ours_that_is_set_forward_does_not_take_the_venues_with_it():
    clock = VenueClock()
    clock.set_forward(SECOND)
    assert clock.at(NOW) == 0
    clock.observe(NOW - 10, NOW)
    hours = 5 * 3600 * SECOND
    clock.set_forward(hours)
    assert clock.at(NOW + hours) == NOW - 10
    assert clock.observe(NOW + SECOND - 5, NOW + SECOND + hours)
    assert clock.at(NOW + SECOND + hours) == NOW + SECOND - 5


def test_one_absurd_time_is_refused_and_changes_nothing():
    clock = VenueClock()
    assert clock.observe(NOW, NOW)
    assert not clock.observe(NOW + 365 * 86_400 * SECOND, NOW + 1)
    assert clock.at(NOW + 2) == NOW + 2


def test_many_that_agree_are_believed():
    clock = VenueClock()
    clock.observe(NOW, NOW)
    day = 86_400 * SECOND
    assert [clock.observe(NOW + day, NOW) for _ in range(AGREE)] == [False] * (AGREE - 1) + [True]
    assert clock.at(NOW) == NOW + day


def test_before_the_first_event_the_time_is_unknown():
    assert VenueClock().at(NOW) == 0
