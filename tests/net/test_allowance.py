"""What a client may send: at a steady rate, with ten seconds' worth at once, whatever others do."""

from hypothesis import given
from hypothesis import strategies as st

from wick.net.allowance import Allowance

S = 1_000_000_000


def taken(allowance, fd, plan, start_ns=S):
    """How much was allowed of (wait, amount) after each other."""
    now_ns, total = start_ns, 0
    for wait_ns, amount in plan:
        now_ns += wait_ns
        total += amount if allowance.take(fd, amount, now_ns) else 0
    return total


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.integers(0, 5 * S), st.integers(1, 300)), max_size=60),
)
def test_nobody_uses_more_than_ten_seconds_worth_and_the_rate(a_second, plan):
    allowance = Allowance(a_second)
    allowance.begin(5)
    elapsed_s = sum(wait for wait, _ in plan) / S
    assert taken(allowance, 5, plan) <= a_second * (10 + elapsed_s) + 1


def test_ten_seconds_worth_may_come_at_once_and_then_one_at_a_time():
    allowance = Allowance(20)
    allowance.begin(3)
    assert taken(allowance, 3, [(0, 1)] * 300) == 200
    assert taken(allowance, 3, [(S // 20, 1)] * 50, start_ns=S) == 50
    assert not allowance.take(3, 1, S + 50 * S // 20)


def test_clients_do_not_share_it_and_a_new_one_owes_nothing():
    allowance = Allowance(1)
    for fd in (7, 2):
        allowance.begin(fd)
    assert taken(allowance, 7, [(0, 10), (0, 1)]) == 10
    assert taken(allowance, 2, [(0, 10)]) == 10
    allowance.begin(7)
    assert taken(allowance, 7, [(0, 10)]) == 10
