"""What clients of one address, and of one token, have together: exactly counted, and given back by who leaves."""

from hypothesis import given
from hypothesis import strategies as st

from wick.api.seats import Seats
from wick.ops.settings import Settings

S = 1_000_000_000


def seats(**settings):
    values = {"front.client_messages_s": 2, "front.client_kb_s": 1, "front.max_subscriptions": 5}
    return Seats(Settings(values | {f"front.{name}": value for name, value in settings.items()}))


def sent(seat, times, size=1, now_ns=S):
    """Which field was too many of, message by message."""
    errors = [seat.send(size, now_ns) for _ in range(times)]
    return [None if error is None else (error.field, error.valid[0].rpartition(" ")[2]) for error in errors]


def test_a_token_has_its_rate_from_wherever_it_is_used():
    shared = seats(address_worth=10, token_worth=1)
    home, office = (shared.enter(address, "desk") for address in ("203.0.113.7", "203.0.113.8"))
    assert sent(home, 10) + sent(office, 11) == [None] * 20 + [("messages", "token")]
    assert sent(shared.enter("203.0.113.7", "other"), 20) == [None] * 20
    assert sent(office, 2, now_ns=S + S // 2) == [None, ("messages", "token")], "one more after half a second"


def test_an_address_that_floods_takes_nothing_from_its_token():
    shared = seats(address_worth=1, token_worth=2)
    home, office = (shared.enter(address, "desk") for address in ("203.0.113.7", "203.0.113.8"))
    assert sent(home, 100)[20:] == [("messages", "address")] * 80
    assert sent(office, 20) == [None] * 20


def test_who_is_on_this_machine_and_needs_no_token_has_no_bounds():
    seat = seats(address_worth=1, token_worth=1, max_per_address=1).enter("", "")
    assert sent(seat, 1_000, 10_000) == [None] * 1_000 and seat.hold(10**6) is None


def test_what_a_token_holds_is_bounded_for_all_addresses_and_an_error_takes_nothing():
    shared = seats(address_worth=1, token_worth=1)
    home, office = (shared.enter(address, "desk") for address in ("203.0.113.7", "203.0.113.8"))
    assert home.hold(5) is None
    error = office.hold(1)
    assert (error.code, error.field, error.value) == ("too_many", "topics", "1")
    assert error.valid == ("at most 5 topics for one token",)
    home.release(5)
    assert office.hold(5) is None and home.hold(1) is not None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 4)), max_size=40))
def test_whatever_is_held_and_given_back_is_counted_exactly(steps):
    shared, held = seats(address_worth=1, token_worth=2), {}
    for host, token, topics in steps:
        if (host, token) in held:
            seat, had = held.pop((host, token))
            seat.release(had)
            shared.leave(seat)
            continue
        seat = shared.enter(f"203.0.113.{host}", f"t{token}")
        of_address = sum(had for (one, _), (_, had) in held.items() if one == host)
        of_token = sum(had for (_, one), (_, had) in held.items() if one == token)
        fits = of_address + topics <= 5 and of_token + topics <= 10
        assert (seat.hold(topics) is None) is fits
        held[host, token] = seat, topics if fits else 0
    for seat, had in held.values():
        seat.release(had)
        shared.leave(seat)
    assert shared.counts() == {"addresses": 0, "tokens": 0}
