"""What a connection asks for, and what it makes of the answers, whatever kind of venue gives them."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.exchanges import Request
from wick.market.trades import Ack, Topic
from wick.stream.subscriptions import MOST_ENDING, NEVER, Refusals, Subscriptions

SECOND = 10**9
ACK = 10 * SECOND
A, B, C, D = (Topic(name, "trade") for name in "ABCD")


class Asked:
    """A venue whose frames are their own meaning."""

    per_request = 3

    def _requests(self, what: str, topics: Iterable[Topic], first_id: int) -> list[Request]:
        topics = tuple(topics)
        chunks = [topics[at : at + self.per_request] for at in range(0, len(topics), self.per_request)]
        return [Request(f"{what} {n}".encode(), n, chunk) for n, chunk in enumerate(chunks, first_id)]

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("unsubscribe", topics, first_id)


def refusals() -> Refusals:
    return Refusals(60 * SECOND, 3600 * SECOND)


def asking(*topics: Topic, known: Refusals | None = None, now: int = 0) -> Subscriptions:
    return Subscriptions(Asked(), topics, refusals() if known is None else known, ACK, now)


def sent(subscriptions: Subscriptions, now: int = 0) -> list[Request]:
    requests = []
    while subscriptions.waiting:
        requests.append(subscriptions.next(now))
    return requests


def words(requests: list[Request]) -> list[str]:
    return [f"{one.raw.split()[0].decode()} {''.join(topic.symbol for topic in one.topics)}" for one in requests]


def test_every_request_that_is_accepted_settles_its_topics() -> None:
    one = asking(A, B, C, D)
    assert words(sent(one)) == ["subscribe ABC", "subscribe D"]
    one.answer(Ack(1, None), 0)
    assert one.accepted == {A, B, C}
    assert not one.settled
    one.answer(Ack(2, None), 0)
    assert one.accepted == {A, B, C, D}
    assert one.settled
    assert one.due_ns() == NEVER


def test_topics_that_are_answered_one_by_one_settle_one_by_one() -> None:
    one = asking(A, B, C)
    sent(one)
    one.answer(Ack(1, None, (B,)), 0)
    assert one.accepted == {B}
    assert one.answer(Ack(1, "no such", (A,)), 0) == (A,)
    one.answer(Ack(None, None, (B, C, D)), 0)  # a list of all that is subscribed, as Coinbase gives it
    assert one.accepted == {B, C}
    assert one.settled


def test_a_request_that_is_refused_as_a_whole_is_halved_until_the_culprit_is_found() -> None:
    one = asking(A, B, C)
    sent(one)
    assert one.answer(Ack(1, "invalid"), 0) == ()
    assert words(sent(one)) == ["subscribe A", "subscribe BC"]
    one.answer(Ack(2, None), 0)
    one.answer(Ack(3, "invalid"), 0)
    assert words(sent(one)) == ["subscribe B", "subscribe C"]
    one.answer(Ack(4, None), 0)
    assert one.answer(Ack(5, "invalid"), 0) == (C,)
    assert one.accepted == {A, B}
    assert one.settled


def test_a_refused_topic_is_asked_for_again_later_and_later() -> None:
    known = refusals()
    one = asking(A, B, known=known)
    sent(one)
    one.answer(Ack(1, None, (B,)), 0)
    one.answer(Ack(1, "no", (A,)), 0)
    now, waits = 0, []
    for number in range(2, 10):
        waits.append((one.due_ns() - now) // SECOND)
        now = one.due_ns()
        one.check(now - 1)
        assert not one.waiting
        one.check(now)
        assert words(sent(one, now)) == ["subscribe A"]
        one.answer(Ack(number, "no"), now)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    now = one.due_ns()
    one.check(now)
    sent(one, now)
    one.answer(Ack(10, None), now)
    assert one.accepted == {A, B}
    assert len(known) == 0


def test_the_next_connection_remembers_what_was_refused() -> None:
    known = refusals()
    first = asking(A, known=known)
    sent(first)
    first.answer(Ack(1, "no"), 0)
    second = asking(A, B, known=known, now=SECOND)
    assert words(sent(second)) == ["subscribe B"]
    assert second.due_ns() == min(ACK, 60 * SECOND)
    second.answer(Ack(1, None), SECOND)
    assert second.due_ns() == 60 * SECOND


def test_what_is_not_answered_is_asked_once_more_and_then_given_up() -> None:
    known = refusals()
    one = asking(A, B, C, D, known=known)
    sent(one)
    one.answer(Ack(2, None), 0)
    one.answer(Ack(1, None, (A,)), 0)
    assert one.check(ACK - 1) == ([], [])
    assert one.check(ACK) == ([B, C], [])
    assert words(sent(one, ACK)) == ["subscribe B", "subscribe C"]
    assert one.check(2 * ACK) == ([], [B, C])
    assert one.check(3 * ACK) == ([], [])
    assert not one.waiting
    assert one.due_ns() == NEVER
    # The next connection asks at once; where it gets no answer either, it is the topics' fault.
    two = asking(A, B, known=known, now=3 * ACK)
    assert words(sent(two, 3 * ACK)) == ["subscribe AB"]
    two.answer(Ack(1, None, (A,)), 3 * ACK)
    two.check(4 * ACK)
    sent(two, 4 * ACK)
    assert two.check(5 * ACK) == ([], [B])
    three = asking(A, B, known=known, now=5 * ACK)
    assert words(sent(three, 5 * ACK)) == ["subscribe A"]
    assert three.due_ns() == min(5 * ACK + 60 * SECOND, 6 * ACK)


def test_a_connection_that_answers_nothing_at_all_says_nothing_about_its_topics() -> None:
    known = refusals()
    one = asking(A, known=known)
    sent(one)
    one.check(ACK)
    sent(one, ACK)
    assert one.check(2 * ACK) == ([], [A])
    assert len(known) == 0


def test_an_answer_that_comes_late_is_as_good() -> None:
    one = asking(A, B)
    sent(one)
    one.check(ACK)
    sent(one, ACK)
    one.answer(Ack(1, None), ACK + 1)  # to the first request, not to the second
    assert one.accepted == {A, B}
    assert one.settled
    one.answer(Ack(2, "already subscribed"), ACK + 2)
    one.answer(Ack(3, "already subscribed", (B,)), ACK + 2)
    assert one.accepted == {A, B}
    assert one.settled


def test_again_is_an_end_and_a_beginning_in_order() -> None:
    one = asking(A, B)
    one.again([A])  # is being asked for as it is
    assert words(sent(one)) == ["subscribe AB"]
    one.answer(Ack(1, None), 0)
    one.again([A, A])
    one.again([A])
    assert one.accepted == {B}
    assert words(sent(one)) == ["unsubscribe A", "subscribe A"]
    one.answer(Ack(2, None, (A,)), 0)  # the answer to the end is none to the beginning
    assert one.accepted == {B}
    one.answer(Ack(3, None, (A,)), 0)
    assert one.accepted == {A, B}


def test_what_is_dropped_is_ended_and_its_answers_are_nobodys() -> None:
    one = asking(A, B)
    sent(one)
    one.drop([A, C])
    one.answer(Ack(1, None), 0)
    assert one.accepted == {B}
    assert words(sent(one)) == ["unsubscribe A"]
    assert one.settled
    one.drop([B])
    assert words(sent(one)) == ["unsubscribe B"]
    assert not one.wanted
    assert one.answer(Ack(3, "not subscribed"), 0) == ()


def test_a_refused_topic_that_is_dropped_is_neither_ended_nor_asked_for_again() -> None:
    one = asking(A)
    sent(one)
    one.answer(Ack(1, "no"), 0)
    one.drop([A])
    assert sent(one) == []
    assert one.due_ns() == NEVER


def test_what_is_dropped_and_added_before_it_was_sent_ends_up_subscribed() -> None:
    one = asking(A)
    one.drop([A])
    one.add([A], 0)
    assert words(sent(one)) == ["subscribe A", "unsubscribe A", "subscribe A"]
    one.answer(Ack(3, None), 0)
    assert one.accepted == {A}
    assert one.settled


def test_what_was_accepted_before_it_was_ended_has_to_be_accepted_anew() -> None:
    one = asking(A)
    one.drop([A])
    one.add([A], 0)
    one.next(0)
    one.answer(Ack(1, None), 0)
    assert one.accepted == {A}
    one.next(0)
    assert not one.accepted
    one.next(0)
    one.answer(Ack(1, None), 0)
    assert not one.accepted
    one.answer(Ack(3, None), 0)
    assert one.accepted == {A}


def test_ends_that_are_never_answered_are_not_remembered_for_ever() -> None:
    one = asking(A)
    for number in range(1, 2 * MOST_ENDING, 2):
        sent(one)
        one.answer(Ack(number, None), 0)
        one.again([A])
    assert one.accepted == set()
    assert len(one._ending) <= MOST_ENDING


def test_an_error_that_names_nothing_concerns_the_request_that_waits_longest() -> None:
    one = asking(A, B, C, D)
    sent(one)
    one.answer(Ack(None, "bad product"), 0)
    assert words(sent(one)) == ["subscribe A", "subscribe BC"]


@pytest.mark.parametrize("request_id", [None, 99, "1", [], {}, 1.5, -1])
def test_an_answer_to_nothing_changes_nothing(request_id: object) -> None:
    one = asking(A)
    assert one.answer(Ack(request_id, None), 0) == ()
    sent(one)
    assert one.answer(Ack(request_id, None), 0) == ()
    assert not one.accepted
    assert not one.settled


NAMES = "ABCDEFGHIJKLM"


@given(
    st.sampled_from(["whole", "each", "list", "silent about bad ones", "errors without an id"]),
    st.sets(st.sampled_from(NAMES)),
    st.lists(st.tuples(st.sampled_from(["add", "drop", "again"]), st.sets(st.sampled_from(NAMES)))),
    st.integers(0, 2**32),
)
def test_in_the_end_the_venue_sends_what_is_wanted_but_for_what_it_refuses(kind, bad, changes, seed) -> None:
    """Venues of every kind, requests and answers that overlap at random: what it subscribes is what we believe."""
    chance = random.Random(seed)
    wanted: set[Topic] = set()
    theirs: set[Topic] = set()
    one, now, answers = asking(), 0, []

    def venue_takes(request: Request) -> list[Ack]:
        named = None if kind == "errors without an id" else request.id
        if request.raw.startswith(b"un"):
            theirs.difference_update(request.topics)
            return [Ack(request.id, None)] if kind != "list" else [Ack(None, None, tuple(theirs))]
        wrong = [topic for topic in request.topics if topic.symbol in bad]
        fine = [topic for topic in request.topics if topic.symbol not in bad]
        if kind in ("whole", "errors without an id") and wrong:
            return [Ack(named, "invalid")]
        theirs.update(fine)
        if kind == "each":
            return [Ack(request.id, "no" if topic in wrong else None, (topic,)) for topic in request.topics]
        if kind == "list":
            return [Ack(None, None, tuple(theirs)), *(Ack(request.id, "no", (topic,)) for topic in wrong)]
        return [Ack(request.id, None, tuple(fine))] if fine or kind == "whole" else []

    rounds = 0
    while changes or one.waiting or answers or rounds < 3:
        if not (changes or one.waiting or answers):
            rounds += 1  # an answer that names nothing may have been taken for another's: that heals
            now = max(now, one.due_ns() if one.due_ns() < NEVER else 0)
        now += SECOND // 1000
        what = chance.choice(["change", "send", "answer"])
        if what == "change" and changes:
            change, names = changes.pop()
            topics = [Topic(name, "trade") for name in sorted(names)]
            if change == "add":
                wanted.update(topics)
                one.add(topics, now)
            elif change == "drop":
                wanted.difference_update(topics)
                one.drop(topics)
            else:
                one.again(topics)
        elif what == "send" and one.waiting:
            answers += venue_takes(one.next(now))
        elif what == "answer" and answers:
            one.answer(answers.pop(0), now)
        one.check(now)
    assert set(one.wanted) == wanted
    assert {topic for topic in wanted if topic.symbol not in bad} <= one.accepted <= wanted
    assert one.accepted <= theirs
    assert one.accepted == theirs or kind == "errors without an id"
    assert one.settled or kind == "silent about bad ones"
