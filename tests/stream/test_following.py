"""A shard's two streams: they are mended together, and what waited is applied in the order in which it came."""

import pytest

from wick.stream.following import ShardFollower
from wick.wire.messages import Closes, Diffs, Snapshot


def diffs(seq, epoch=1):
    return Diffs(epoch, seq, 0, [], [])


def closes(seq, epoch=1):
    return Closes(epoch, seq, 0, [])


def snapshot(diffs_seq, closes_seq, epoch=1):
    return Snapshot(0, epoch, diffs_seq, closes_seq, [], [], [])


@pytest.fixture
def follower():
    following = ShardFollower()
    assert following.restart(snapshot(3, 1)) == [] and not following.wanted
    return following


def test_what_waited_for_the_snapshot_is_applied_in_the_order_of_arrival():
    following = ShardFollower()
    came = [diffs(3), closes(1), diffs(4), closes(2), closes(3), diffs(5)]
    assert [following.offer(message) for message in came] == [False] * 6
    assert following.restart(snapshot(3, 1)) == [diffs(4), closes(2), closes(3), diffs(5)]
    assert not following.wanted and following.offer(diffs(6)) and following.offer(closes(4))


@pytest.mark.parametrize("lost", [diffs(5), closes(3)], ids=["diffs", "closes"])
def test_a_hole_in_either_stream_wants_a_snapshot(follower, lost):
    assert not follower.offer(lost)
    assert follower.wanted and follower.resyncs == 1


def test_while_a_snapshot_is_asked_for_both_streams_wait(follower):
    follower.ask()
    assert not follower.offer(diffs(4)) and not follower.offer(closes(2)) and follower.wanted
    assert follower.restart(snapshot(4, 1)) == [closes(2)]


def test_a_worker_that_begins_anew_is_followed_from_its_snapshot(follower):
    assert not follower.offer(diffs(1, epoch=2)) and follower.wanted
    assert follower.restart(snapshot(0, 0, epoch=2)) == [diffs(1, epoch=2)]
    assert not follower.offer(diffs(4)), "of the worker before"
    assert not follower.wanted
