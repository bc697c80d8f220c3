"""Closes that a sink may ask for again: whatever the disk does, in order, bounded, and what is gone is told."""

import os
import shutil
import subprocess
import sys
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.flushes import limited
from wick.storage import outbox as module
from wick.storage.outbox import Outbox
from wick.wire.messages import Kept

MB = 1 << 20
ROOM = 64 * MB


def body(epoch, seq, size=20):
    return b"%d.%d" % (epoch, seq) + bytes(size)


def filled(directory, epochs=(5,), each=4, size=20, budget=ROOM):
    outbox = Outbox(directory, budget)
    for epoch in epochs:
        for seq in range(1, each + 1):
            outbox.append(epoch, seq, body(epoch, seq, size))
    return outbox


def places(messages):
    return [tuple(int(number) for number in one.rstrip(b"\0").split(b".")) for one in messages]


def all_of(outbox, after=(0, 0)):
    """Page by page."""
    found = []
    while True:
        kept, messages = outbox.page(after)
        found += places(messages)
        if not kept.more:
            return found
        after = found[-1]


def reread(directory, budget=ROOM):
    """What another process finds."""
    with closing(Outbox(directory, budget)) as outbox:
        return all_of(outbox)


def test_after_any_position_what_follows_comes_across_epochs_and_restarts(tmp_path):
    filled(tmp_path, epochs=(5, 7)).close()
    every = [(epoch, seq) for epoch in (5, 7) for seq in (1, 2, 3, 4)]
    for outbox in (Outbox(tmp_path, ROOM), Outbox(tmp_path, ROOM)):
        for after in [(0, 0), *every, (6, 3), (8, 0)]:
            assert all_of(outbox, after) == [place for place in every if place > after]
        assert outbox.newest == (7, 4)
        assert outbox.page((5, 2)).kept == Kept(5, 1, 7, 4, False)
        outbox.close()


def test_an_empty_one_has_nothing(tmp_path):
    outbox = Outbox(tmp_path, ROOM)
    assert outbox.page((3, 3)) == (Kept(0, 0, 0, 0, False), [])
    outbox.close()
    assert list(tmp_path.iterdir()) == []


def test_pages_are_bounded_and_say_that_there_is_more(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAGE_BYTES", 1_000)
    outbox = filled(tmp_path, each=20, size=300)
    kept, messages = outbox.page((5, 4))
    assert places(messages) == [(5, 5), (5, 6), (5, 7)] and kept == Kept(5, 1, 5, 20, True)
    outbox.append(5, 21, body(5, 21, 5_000))
    assert places(outbox.page((5, 20)).messages) == [(5, 21)], "one at least"
    assert all_of(outbox) == [(5, seq) for seq in range(1, 22)]
    outbox.close()


def test_the_oldest_make_way_and_the_budget_is_kept(tmp_path):
    outbox = filled(tmp_path, each=300, size=1_000, budget=100_000)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 70_000 < size <= 100_000 and outbox.cut > 0
    found = all_of(outbox)
    first = found[0][1]
    assert first > 1 and found == [(5, seq) for seq in range(first, 301)]
    assert outbox.page((5, 3)).kept == Kept(5, first, 5, 300, False), "a sink sees that something is gone"
    outbox.close()


@pytest.mark.slow
@given(data=st.data())
def test_whatever_a_crash_tears_off_the_end_the_rest_is_there_and_it_goes_on(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("outbox")
    filled(directory, each=6).close()
    [segment] = directory.iterdir()
    whole = segment.stat().st_size
    left = data.draw(st.integers(0, whole))
    os.truncate(segment, left)
    outbox = Outbox(directory, ROOM)
    count = left * 6 // whole
    assert all_of(outbox) == [(5, seq) for seq in range(1, count + 1)]
    assert outbox.newest == ((5, count) if count else (0, 0))
    outbox.append(9, 1, body(9, 1))
    assert all_of(outbox) == [*[(5, seq) for seq in range(1, count + 1)], (9, 1)]
    outbox.close()


def test_a_damaged_segment_loses_its_rest_and_says_so(tmp_path, caplog):
    filled(tmp_path, each=60, size=1_000, budget=200_000).close()
    first, *_ = sorted(tmp_path.iterdir())
    data = bytearray(first.read_bytes())
    data[2_500] ^= 1
    first.write_bytes(data)
    found = reread(tmp_path, 200_000)
    assert found[:2] == [(5, 1), (5, 2)] and found[2][1] > 3 and found[-1] == (5, 60)
    assert "damaged at byte" in caplog.text


class Full:
    """A file on a disk that takes only so many bytes more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        taken = min(len(data), self.room)
        self.room -= taken
        if data and not taken:
            raise OSError(28, "No space left on device")
        return self.file.write(data[:taken])

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_what_a_full_disk_does_not_take_waits_in_memory_and_is_written_when_it_has_room(tmp_path, monkeypatch, caplog):
    outbox = filled(tmp_path)
    caplog.set_level("INFO")
    outbox._file = Full(outbox._file, 30)
    outbox.append(5, 5, body(5, 5))
    assert outbox.waiting == 1 and "messages wait in memory" in caplog.text
    with monkeypatch.context() as full:
        full.setattr(type(tmp_path), "open", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
        outbox.append(5, 6, body(5, 6))
    assert outbox.waiting == 2
    assert all_of(outbox) == [(5, seq) for seq in range(1, 7)], "and is there for who asks"
    with pytest.raises(OSError, match="2 messages are not written"):
        outbox.sync()
    outbox.append(5, 7, body(5, 7))
    assert outbox.waiting == outbox.lost == 0 and "written again" in caplog.text
    outbox.sync()
    outbox.close()
    assert reread(tmp_path) == [(5, seq) for seq in range(1, 8)]


def test_what_waits_is_bounded_and_what_is_let_go_of_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 10_000)
    outbox = Outbox(tmp_path / "gone", ROOM)
    (tmp_path / "gone").rmdir()
    (tmp_path / "gone").write_text("no directory any more")
    for seq in range(1, 31):
        outbox.append(5, seq, body(5, seq, 1_000))
    assert outbox.lost == 30 - outbox.waiting > 0 and 8 <= outbox.waiting <= 10
    assert all_of(outbox) == [(5, seq) for seq in range(31 - outbox.waiting, 31)]


def test_after_a_failed_fsync_the_segment_is_written_anew(tmp_path, monkeypatch):
    outbox = filled(tmp_path)
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            outbox.sync()
    [segment] = tmp_path.iterdir()
    before = segment.stat().st_ino
    outbox.append(5, 5, body(5, 5))
    outbox.sync()
    assert segment.stat().st_ino != before, "no second fsync says that all is well"
    assert all_of(outbox) == [(5, seq) for seq in range(1, 6)]
    outbox.close()


def test_what_is_appended_after_a_segment_was_written_anew_is_in_a_file_that_is_there(tmp_path, monkeypatch):
    outbox = filled(tmp_path)
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            outbox.sync()
    outbox.sync()
    outbox.append(5, 5, body(5, 5))
    assert all_of(outbox) == [(5, seq) for seq in range(1, 6)]
    outbox.close()
    assert reread(tmp_path) == [(5, seq) for seq in range(1, 6)]


def test_a_segment_stays_as_it_is_where_the_disk_has_no_room_to_write_it_anew(tmp_path, monkeypatch):
    outbox = filled(tmp_path)
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            outbox.sync()
    with limited(100), pytest.raises(OSError, match="only a part"):
        outbox.sync()
    outbox.close()
    assert reread(tmp_path) == [(5, seq) for seq in range(1, 5)]
    assert len([*tmp_path.iterdir()]) == 1, "the beginning of the other one is gone"


def test_until_the_directory_is_synced_nothing_is(tmp_path, monkeypatch):
    outbox = filled(tmp_path)
    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output"):
                outbox.sync()
    outbox.sync()
    outbox.close()


def test_what_a_killed_process_left_unsynced_is_synced_with_what_follows(tmp_path, monkeypatch):
    filled(tmp_path, each=60, size=1_000, budget=200_000).close()
    outbox, synced = Outbox(tmp_path, 200_000), []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file).st_ino))
    outbox.sync()
    assert sorted(synced) == sorted(path.stat().st_ino for path in tmp_path.iterdir()) and len(synced) > 1
    outbox.close()


def test_a_segment_that_cannot_be_read_stops_nobody_and_what_follows_is_newer(tmp_path, monkeypatch, caplog):
    filled(tmp_path).close()
    with monkeypatch.context() as failing:
        failing.setattr(type(tmp_path), "read_bytes", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        outbox = Outbox(tmp_path, ROOM)
    assert outbox.newest == (5, 1) and "cannot be read: [Errno 5]" in caplog.text
    outbox.append(6, 1, body(6, 1))
    assert all_of(outbox) == [(5, 1), (5, 2), (5, 3), (5, 4), (6, 1)]
    outbox.close()


def test_what_follows_a_directory_that_somebody_deleted_is_written_to_a_new_one(tmp_path):
    outbox = filled(tmp_path / "shard")
    shutil.rmtree(tmp_path / "shard")
    for seq in (5, 6):
        outbox.append(5, seq, body(5, seq))
    outbox.sync()
    assert outbox.waiting == 0 and all_of(outbox) == [(5, 5), (5, 6)]
    outbox.close()
    assert reread(tmp_path / "shard") == [(5, 5), (5, 6)]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from wick.storage.outbox import Outbox
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
outbox = Outbox(Path(sys.argv[1]), 1 << 26)
for seq in range(1, 31):
    outbox.append(5, seq, b"5.%d" % seq + bytes(1_000))
print(outbox.waiting, outbox.lost)
"""


@pytest.mark.slow
def test_a_real_limit_of_the_system_ends_a_segment_and_loses_nothing(tmp_path):
    """A file of 5,000 bytes takes four messages and a torn one: that is cut, another segment follows."""
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    waiting, lost = map(int, told.stdout.split())
    assert lost == 0
    assert reread(tmp_path) == [(5, seq) for seq in range(1, 31 - waiting)]
