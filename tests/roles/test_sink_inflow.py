"""The inflow of a shard's closes: everything that the outbox has, once, in order, whatever is lost on the way."""

from hypothesis import given
from hypothesis import strategies as st

from wick.ops.process import Stats
from wick.roles.inflow import AHEAD_BYTES, Inflow
from wick.wire.messages import Closes, Kept


class World:
    """A worker that publishes into its outbox, a wire that loses, and who follows. `room`: how many more fit."""

    def __init__(self, at=(0, 0)):
        self.stats = Stats("sink-0", 0)
        self.taken = []
        self.room = None
        self.inflow = Inflow(3, self._put, self.stats)
        self.inflow.begin(at)
        self.outbox = []
        self.published = []
        self.question = None

    def _put(self, shard, message, size):
        assert shard == 3
        if self.room == 0:
            return False
        self.room = None if self.room is None else self.room - 1
        self.taken.append((message.epoch, message.seq))
        return True

    def publish(self, epoch, seq, arrives=True, stored=True, size=1):
        self.published.append((epoch, seq))
        if stored:
            self.outbox.append((epoch, seq))
        if arrives:
            self.inflow.offer(Closes(epoch, seq, 0, []), size)

    def ask(self):
        if self.inflow.wants:
            self.question = self.inflow.ask()

    def answer(self, page=1000):
        """The outbox's answer to the newest question."""
        if self.question is None:
            return
        after = self.question.epoch, self.question.after
        behind = [one for one in self.outbox if one > after]
        # The newest that it was given, whether the disk took it or not.
        ends = [*self.outbox[0], *self.published[-1]] if self.outbox else [0, 0, 0, 0]
        kept = Kept(*ends, len(behind) > page)
        self.inflow.answer(self.question, kept, [(Closes(*one, 0, []), 1) for one in behind[:page]])
        self.question = None

    def settle(self):
        for _ in range(1000):
            if not self.inflow.behind:
                return
            self.inflow.unanswered()
            self.ask()
            self.answer()
        raise AssertionError("it asks for ever")

    @property
    def lost(self):
        return self.stats.counters.get("messages_lost", 0)


def followed(*numbers, at=(5, 0)):
    """Who has taken these of epoch 5, and is not behind."""
    world = World(at)
    for number in numbers:
        world.publish(5, number)
    world.settle()
    world.taken.clear()
    return world


def test_the_next_message_is_taken_and_one_that_was_taken_is_not_taken_again():
    world = followed(1, 2)
    world.publish(5, 3)
    world.publish(5, 3)
    assert world.taken == [(5, 3)] and not world.inflow.wants


def test_a_hole_is_asked_for_and_what_came_behind_it_waits_for_the_answer():
    world = followed(1, 2)
    world.publish(5, 3, arrives=False)
    world.publish(5, 4)
    assert world.taken == [] and world.inflow.wants and world.inflow.lacking == 2
    world.ask()
    world.publish(5, 5)
    assert not world.inflow.wants, "one question at a time"
    world.answer()
    assert world.taken == [(5, 3), (5, 4), (5, 5)] and not world.inflow.behind and world.lost == 0


def test_a_new_epoch_first_asks_for_the_end_of_the_one_before():
    world = followed(1, 2)
    world.publish(5, 3, arrives=False)
    world.publish(6, 1)
    world.settle()
    assert world.taken == [(5, 3), (6, 1)] and world.lost == 0


def test_the_first_message_again_tells_of_what_an_epoch_has_closed_before_it_was_heard():
    world = followed(1, 2)
    for number in (1, 2, 3):
        world.publish(6, number, arrives=False)
    first = Closes(6, 1, 0, [])
    world.inflow.offer(first, 1)
    world.settle()
    world.inflow.offer(first, 1)
    assert world.taken == [(6, 1), (6, 2), (6, 3)] and not world.inflow.behind and world.lost == 0


def test_pages_are_asked_for_until_there_are_no_more():
    world = World()
    for number in range(1, 8):
        world.publish(5, number, arrives=False)
    questions = 0
    while world.inflow.wants:
        questions += 1
        world.ask()
        world.answer(page=3)
    assert world.taken == [(5, number) for number in range(1, 8)] and questions == 3


def test_what_the_outbox_has_no_more_is_counted_and_the_rest_is_taken():
    world = followed(1, 2)
    for number in range(3, 10):
        world.publish(5, number, arrives=number == 9)
    del world.outbox[:6]
    world.settle()
    assert world.taken == [(5, 7), (5, 8), (5, 9)] and world.lost == 4


def test_where_the_outbox_begins_in_a_later_epoch_something_may_be_gone_and_that_is_said():
    world = followed(1, 2)
    world.outbox.clear()
    world.publish(7, 1)
    world.settle()
    assert world.taken == [(7, 1)] and world.lost == 1


def test_an_outbox_that_was_not_written_costs_what_was_missed_and_nothing_that_came():
    world = followed(1, 2)
    for number in (3, 4, 5, 6):
        world.publish(5, number, arrives=number not in (3, 4), stored=False)
    world.settle()
    assert world.taken == [(5, 5), (5, 6)] and world.lost == 2
    world.publish(5, 7, stored=False)
    assert world.taken[-1] == (5, 7)


def test_without_room_it_stands_and_asks_for_the_rest_when_there_is_room():
    world = followed(1, 2)
    world.room = 1
    for number in (3, 4, 5):
        world.publish(5, number)
    assert world.taken == [(5, 3)] and world.inflow.at == (5, 3) and world.inflow.wants
    world.ask()
    world.answer()
    assert world.taken == [(5, 3)] and world.inflow.wants, "there is no room yet"
    world.room = None
    world.settle()
    assert world.taken == [(5, 3), (5, 4), (5, 5)] and world.lost == 0


def test_what_waits_behind_a_hole_is_bounded_in_bytes_and_asked_for_beyond():
    world = followed(1, 2)
    world.publish(5, 3, arrives=False)
    for number in range(4, 10):
        world.publish(5, number, size=AHEAD_BYTES // 2)
    world.settle()
    assert world.taken == [(5, number) for number in range(3, 10)] and world.lost == 0


def test_an_answer_to_an_older_question_is_left_out():
    world = followed(1)
    world.publish(5, 2, arrives=False)
    world.publish(5, 3)
    world.ask()
    late = world.question
    world.inflow.unanswered()
    world.settle()
    taken = list(world.taken)
    world.inflow.answer(late, Kept(5, 1, 5, 9, False), [(Closes(5, 9, 0, []), 1)])
    assert world.taken == taken and world.lost == 0


def test_the_late_answer_to_the_question_before_says_nothing_of_what_was_published_since():
    world = followed(1)
    world.publish(5, 2, arrives=False)
    world.publish(5, 3)
    world.ask()
    late = world.question, Kept(5, 1, 5, 3, False), [(Closes(5, number, 0, []), 1) for number in (2, 3)]
    world.inflow.unanswered()
    world.publish(5, 4, size=AHEAD_BYTES + 1)
    world.publish(5, 5)
    world.ask()
    world.inflow.answer(*late)
    world.settle()
    assert world.taken == [(5, 2), (5, 3), (5, 4), (5, 5)] and world.lost == 0


def test_an_orphans_message_of_an_older_epoch_changes_nothing():
    world = followed(1)
    world.publish(5, 2)
    world.inflow.offer(Closes(4, 9, 0, []), 1)
    world.settle()
    assert world.taken == [(5, 2)] and world.inflow.at == (5, 2)


def test_a_stream_that_begins_anew_in_an_older_epoch_is_taken_from_its_beginning():
    world = followed(1, 2)
    world.outbox.clear()
    world.publish(2, 1)
    world.publish(2, 2)
    world.settle()
    assert world.taken == [(2, 1), (2, 2)] and world.inflow.at == (2, 2) and world.lost == 0


STEPS = st.one_of(
    st.tuples(st.just("publish"), st.booleans()),
    st.tuples(st.just("epoch"), st.booleans()),
    st.tuples(st.just("ask"), st.none()),
    st.tuples(st.just("answer"), st.integers(1, 4)),
    st.tuples(st.just("unanswered"), st.none()),
    st.tuples(st.just("room"), st.sampled_from((0, 1, 3, None))),
    st.tuples(st.just("evict"), st.integers(1, 3)),
    st.tuples(st.just("restart"), st.integers(0, 5)),
)


@given(st.lists(STEPS, max_size=40), st.booleans())
def test_everything_is_taken_once_and_in_order_and_what_is_missing_is_counted(steps, may_evict):
    world, epoch, seq, evicted = World(), 1, 0, 0
    for what, value in steps:
        if what == "publish":
            seq += 1
            world.publish(epoch, seq, arrives=value)
        elif what == "epoch":
            epoch, seq = epoch + 1, 1
            world.publish(epoch, seq, arrives=value)
        elif what == "ask":
            world.ask()
        elif what == "answer":
            world.answer(value)
        elif what == "unanswered":
            world.inflow.unanswered()
        elif what == "room":
            world.room = value
        elif what == "evict" and may_evict:
            evicted += len(world.outbox[:value])
            del world.outbox[:value]
        elif what == "restart" and value < len(world.taken):
            # Killed, with less written than taken: the store stands at what is written.
            del world.taken[len(world.taken) - value :]
            world.inflow.begin(world.taken[-1] if world.taken else (0, 0))
    world.room = None
    world.publish(epoch, seq + 1)
    world.settle()
    assert world.taken == sorted(set(world.taken)), "once, in order"
    missing = set(world.published) - set(world.taken)
    assert world.inflow.at == world.published[-1]
    assert bool(missing) <= bool(evicted)
    if not evicted:
        assert world.taken == world.published and world.lost == 0
    elif missing - {one for one in world.published if one[0] < world.taken[0][0]}:
        assert world.lost > 0
