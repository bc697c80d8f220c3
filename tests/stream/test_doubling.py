"""What does not help is done less and less often."""

from wick.stream.doubling import Doubling


def test_each_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    waits, now, done = Doubling(10, 60), 0, []
    while now < 300:
        if waits.is_due("a", now):
            waits.done("a", now)
            done.append(now)
        now += 1
    assert done == [0, 10, 30, 70, 130, 190, 250]


def test_a_clock_that_was_set_back_does_not_make_anything_wait() -> None:
    waits = Doubling(10, 60)
    waits.done("a", 3600)
    assert waits.is_due("a", 100)
    waits.done("a", 100)
    assert not waits.is_due("a", 119) and waits.is_due("a", 120)


def test_after_a_calm_it_begins_anew_and_keys_do_not_disturb_each_other() -> None:
    waits = Doubling(10, 60)
    waits.done("a", 0)
    waits.done("a", 10)
    assert not waits.is_due("a", 29) and waits.is_due("b", 11)
    waits.done("a", 30 + 20)
    assert waits.is_due("a", 60) and not waits.is_due("a", 59)
    waits.done("a", 60)
    assert not waits.is_due("a", 79)
    waits.forget("a")
    assert waits.is_due("a", 61)
