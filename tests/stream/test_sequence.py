"""Follower: whoever reads a stream through a network that drops, doubles and delays still ends at its state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.stream.sequence import MAX_WAITING, Follower


def standing_at(epoch, seq):
    follower = Follower()
    assert follower.restart(epoch, seq) == []
    return follower


def test_messages_in_order_apply_at_once():
    follower = standing_at(7, 3)
    assert all(follower.offer(7, seq, None) for seq in range(4, 50))
    assert (follower.epoch, follower.seq, follower.resyncs) == (7, 49, 0)


@pytest.mark.parametrize("epoch_and_seq", [(7, 3), (7, 1), (6, 4), (6, 900)], ids=["same", "old", "epoch", "far"])
def test_a_repeated_message_and_one_of_an_old_epoch_are_left_out_quietly(epoch_and_seq):
    follower = standing_at(7, 3)
    assert not follower.offer(*epoch_and_seq, None)
    assert (follower.wanted, follower.resyncs, follower.seq) == (False, 0, 3)
    assert follower.offer(7, 4, None)


@pytest.mark.parametrize("epoch_and_seq", [(7, 5), (7, 900), (8, 1), (8, 4)], ids=["gap", "far", "epoch", "epoch at 4"])
def test_a_gap_and_a_new_epoch_ask_for_exactly_one_snapshot(epoch_and_seq):
    follower = standing_at(7, 3)
    epoch, seq = epoch_and_seq
    for number in range(5):
        assert not follower.offer(epoch, seq + number, number)
        assert follower.wanted
    assert follower.resyncs == 1
    assert follower.restart(epoch, seq + 1) == [2, 3, 4]
    assert not follower.wanted
    assert follower.offer(epoch, seq + 5, None)
    assert follower.resyncs == 1


def test_a_snapshot_older_than_what_was_kept_asks_again():
    follower = standing_at(7, 3)
    follower.offer(7, 6, "six")
    assert follower.restart(7, 4) == []
    assert (follower.wanted, follower.resyncs) == (True, 2)
    assert follower.restart(7, 5) == ["six"], "what was kept is still there"


def test_what_arrives_before_the_first_snapshot_is_kept_within_a_bound():
    follower = Follower()
    for seq in range(1, MAX_WAITING + 11):
        assert not follower.offer(1, seq, seq)
    assert follower.restart(1, 10) == list(range(11, MAX_WAITING + 11))
    follower = Follower()
    for seq in range(1, MAX_WAITING + 11):
        follower.offer(1, seq, seq)
    assert follower.restart(1, 9) == [], "the tenth was dropped"
    assert follower.wanted


class Server:
    """Publishes (epoch, seq); its state is the list of all messages of its epoch."""

    def __init__(self):
        self.epoch, self.seq = 1, 0

    def publish(self):
        self.seq += 1
        return self.epoch, self.seq

    def restart(self):
        self.epoch, self.seq = self.epoch + 1, 0


class Reader:
    """A follower and the state it builds; asks at most once until it is answered."""

    def __init__(self):
        self.follower = Follower()
        self.state = None
        self.asked = 0

    def take(self, epoch, seq):
        if self.follower.offer(epoch, seq, (epoch, seq)):
            self.apply((epoch, seq))

    def answer(self, epoch, seq):
        self.state = (epoch, seq)
        for message in self.follower.restart(epoch, seq):
            self.apply(message)

    def apply(self, message):
        assert self.state == (message[0], message[1] - 1), "applied exactly once and in order"
        self.state = message


EVENTS = ["publish"] * 8 + ["drop", "double", "swap", "late", "restart", "snapshot", "snapshot"]
STEPS = st.lists(st.sampled_from(EVENTS), max_size=60)


@given(STEPS)
def test_a_reader_behind_any_network_applies_each_message_once_in_order_and_ends_at_the_server_s_state(steps):
    server, reader = Server(), Reader()
    delayed, snapshot = [], None
    for step in steps:
        if step == "restart":
            server.restart()
        elif step == "snapshot":
            # A snapshot travels on another socket: it is made now and arrives at the next such step.
            if snapshot is not None and reader.follower.wanted:
                reader.answer(*snapshot)
                snapshot = None
            elif snapshot is None and reader.follower.wanted:
                snapshot = (server.epoch, server.seq)
        elif step == "drop":
            server.publish()
        elif step == "double":
            message = server.publish()
            reader.take(*message)
            reader.take(*message)
        elif step == "swap":
            first, second = server.publish(), server.publish()
            reader.take(*second)
            reader.take(*first)
        elif step == "late":
            delayed.append(server.publish())
        else:
            reader.take(*server.publish())
            while delayed:
                reader.take(*delayed.pop())
    # Once the network behaves, one message shows every hole, and at most one more snapshot mends it.
    reader.take(*server.publish())
    if reader.follower.wanted:
        resyncs = reader.follower.resyncs
        reader.answer(server.epoch, server.seq)
        assert reader.follower.resyncs == resyncs
    assert reader.state == (server.epoch, server.seq)
    assert not reader.follower.wanted
