"""Who writes the tick log: one at a time, within the budget, on to the disk, and what it does where that fails."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.storage.flushes import LARGE, PLENTY, batch, limited, packed, put, read_back, segments, written
from wick.ops.process import AlreadyRunningError
from wick.storage import committer, ticklog
from wick.storage.logwriter import RETRY_NS, SEGMENT_NS, FileLog, Limits
from wick.storage.ticklog import SUFFIX, TAILS

SIZE = len(packed(*batch(0, 1)))
HEAD = len(ticklog.block((1, 1), b"", [b""], TAILS))  # what a segment begins with


def at(now_ns, seq):
    header, records = batch(0, seq)
    return header._replace(send_ns=now_ns), records


def seqs(directory):
    return [seq for _, seq, _ in read_back(directory)]


def is_locked(directory):
    try:
        FileLog(directory, Limits(LARGE, PLENTY)).close()
    except AlreadyRunningError:
        return True
    return False


# ---------------------------------------------------------------------- one writer


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    with written(tmp_path) as log:
        put(log, *batch(0, 1))
        with pytest.raises(AlreadyRunningError, match="another feed writes the tick log in"):
            FileLog(tmp_path, Limits(LARGE, PLENTY))
        assert put(log, *batch(0, 2))
    with written(tmp_path) as log:
        put(log, *batch(0, 3))
    assert seqs(tmp_path) == [1, 2, 3]


def test_only_its_owner_may_enter_the_directory(tmp_path):
    with written(tmp_path / "log"):
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


def test_other_files_are_left_alone(tmp_path):
    for name in ("notes.txt", f"zz{SUFFIX}", f"{1:020d}-{1:010d}x{SUFFIX}"):
        (tmp_path / name).write_text("mine")
    with written(tmp_path, 1, 2) as log:
        for seq in range(1, 9):
            put(log, *batch(0, seq))
    assert len([path for path in tmp_path.iterdir() if path.read_text(errors="replace") == "mine"]) == 3
    assert seqs(tmp_path)[-1] == 8


# ---------------------------------------------------------------------- what the one before has left


def test_a_torn_end_is_cut_off_and_the_newest_position_is_that_of_the_last_whole_block(tmp_path):
    with written(tmp_path) as log:
        for seq in (1, 2, 3):
            put(log, *batch(0, seq))
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    for size in [0, 1, HEAD - 1, HEAD, HEAD + 1, *range(len(whole) - SIZE - 1, len(whole), 9)]:
        segment.write_bytes(whole[:size])
        with written(tmp_path) as log:
            count = max(0, (size - HEAD) // SIZE)
            assert log.newest == (1, count), size
            assert segment.stat().st_size == (HEAD + count * SIZE if size >= HEAD else 0)


def test_zeros_that_a_crash_of_the_machine_left_at_the_end_are_cut_off_but_not_what_follows_damage(tmp_path):
    with written(tmp_path) as log:
        for seq in (1, 2, 3):
            put(log, *batch(0, seq))
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    damaged = bytearray(whole)
    damaged[HEAD + SIZE + 9] ^= 1
    segment.write_bytes(damaged + bytes(5000))
    with written(tmp_path) as log:
        assert log.newest == (1, 3)
    assert segment.read_bytes() == damaged and seqs(tmp_path) == [1, 3]


def test_a_segment_that_never_got_a_flush_goes_when_the_next_begins_and_its_tails_are_there_until_then(tmp_path):
    with written(tmp_path) as log:
        log.begin((7, 1), b"all that is known", 5)
        # as a killed process leaves it
        content = segments(tmp_path)[0].read_bytes()
        name = segments(tmp_path)[0].name
    assert segments(tmp_path) == []
    (tmp_path / name).write_bytes(content)
    with written(tmp_path) as log:
        assert log.newest == (7, 0) and log.last()[0] == b"all that is known"
        log.begin((8, 1), b"the same", 6)
        assert [path.name[:20] for path in segments(tmp_path)] == [f"{8:020d}"]


# ---------------------------------------------------------------------- segments


def test_segments_follow_one_another_by_size(tmp_path):
    with written(tmp_path, HEAD + 3 * SIZE) as log:
        for seq in range(1, 8):
            put(log, *batch(0, seq))
    assert [(segment.stat().st_size - HEAD) // SIZE for segment in segments(tmp_path)] == [3, 3, 1]
    assert seqs(tmp_path) == list(range(1, 8))


def test_a_segment_ends_when_it_is_old_also_by_a_clock_that_was_set_back(tmp_path):
    with written(tmp_path) as log:
        for now_ns in (10**18, 10**18 + SEGMENT_NS - 1, 10**18 + SEGMENT_NS, 5):
            put(log, *at(now_ns, log.newest[1] + 1))
    assert len(segments(tmp_path)) == 3


def test_the_oldest_segments_make_way_within_the_budget_and_those_still_needed_are_counted(tmp_path, caplog):
    passed = [None]
    each = HEAD + 2 * SIZE
    with written(tmp_path, each, 3 * each, passed=lambda: passed[0]) as log:
        for seq in range(1, 30):
            put(log, *batch(0, seq))
            assert sum(segment.stat().st_size for segment in segments(tmp_path)) <= 3 * each
            assert log.gauges()["ticklog_bytes"] == sum(one.stat().st_size for one in segments(tmp_path))
        assert log.cut == 0
        passed[0] = (1, 24)
        for seq in range(30, 33):
            put(log, *batch(0, seq))
        assert log.cut == 1 and "which a worker that starts now would still read" in caplog.text
    assert seqs(tmp_path) == list(range(27, 33))


def test_a_segment_goes_when_all_readers_have_passed_it_and_it_has_been_kept_long_enough(tmp_path):
    passed = [(1, 3)]
    limits = Limits(HEAD + 2 * SIZE, PLENTY, keep_ns=10**11)
    log = FileLog(tmp_path, limits, lambda: passed[0])
    for seq in range(1, 8):
        put(log, *at(seq, seq))
    assert seqs(tmp_path) == list(range(1, 8))  # none is old
    put(log, *at(10**11 + 5, 8))
    put(log, *at(10**11 + 5, 9))
    assert seqs(tmp_path) == list(range(3, 10))  # 1 and 2 are passed, 3 is, but 4 is not
    passed[0] = (1, 4)
    put(log, *at(10**11 + 5, 10))
    put(log, *at(10**11 + 5, 11))
    assert seqs(tmp_path) == list(range(5, 12))
    log.close()


# ---------------------------------------------------------------------- disks that are full or fail


@pytest.mark.parametrize("room", [SIZE // 2, 0, 2 * SIZE - 5])
def test_a_full_disk_stops_nobody_leaves_nothing_torn_and_is_tried_again_every_second(tmp_path, room, caplog):
    now, size = 10**18, len(packed(*at(10**18, 1)))
    with written(tmp_path) as log:
        put(log, *at(now, 1))
        with limited(HEAD + size + room):
            results = [put(log, *at(now + 1, 2)), put(log, *at(now + 2, 3)), put(log, *at(now + 3, 4))]
        whole = room // size
        assert results == [True] * whole + [False] * (3 - whole) and log.failed == 3 - whole
        assert segments(tmp_path)[0].stat().st_size == HEAD + (1 + whole) * size
        assert log.is_failing and log.gauges()["ticklog_failing"] == 1
        assert put(log, *at(now + RETRY_NS, 5)) and not log.is_failing
    assert seqs(tmp_path) == [*range(1, 2 + whole), 5]
    assert caplog.text.count("cannot be written") == 1 and f"; {3 - whole} flushes are not in it" in caplog.text


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    (tmp_path / "disk").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "disk")]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here; the others of these tests limit the size of files instead")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_a_disk_that_is_really_full_costs_flushes_and_nothing_else_and_is_used_again_when_there_is_room(small_disk):
    directory, ballast, now = small_disk / "log", small_disk / "ballast", 10**18
    ballast.write_bytes(bytes(700_000))
    log = FileLog(directory, Limits(100_000, PLENTY, commit_s=0.001))
    kept = [seq for seq in range(1, 5_000) if put(log, *at(now + seq, seq))]
    assert kept == list(range(1, len(kept) + 1)) and 1000 < len(kept) < 4_000 and log.is_failing
    assert seqs(directory) == kept
    assert not put(log, *at(now + 2 * RETRY_NS, 5_000)), "it is full still"
    ballast.unlink()
    assert put(log, *at(now + 4 * RETRY_NS, 5_001)) and not log.is_failing
    log.close()
    assert seqs(directory) == [*kept, 5_001]
    with written(directory) as again:
        assert again.newest == (1, 5_001)


def test_a_disk_that_stays_full_is_not_littered_with_segments(tmp_path):
    with written(tmp_path) as log:
        put(log, *at(0, 1))
        with limited(HEAD - 1):
            for seq in range(2, 40):
                assert not put(log, *at(seq * RETRY_NS, seq))
        with limited(HEAD + SIZE - 1):  # room for what a segment begins with, and not for a flush
            for seq in range(40, 80):
                assert not put(log, *at(seq * RETRY_NS, seq))
        assert len(segments(tmp_path)) == 1 and log.failed == 78
        assert put(log, *at(99 * RETRY_NS, 99))
    assert seqs(tmp_path) == [1, 99]


def test_on_a_full_disk_what_nobody_needs_goes_before_its_time(tmp_path, monkeypatch):
    limits = Limits(HEAD + 2 * SIZE, PLENTY, keep_ns=10**18)
    log = FileLog(tmp_path, limits, lambda: (1, 4))
    for seq in range(1, 7):
        put(log, *batch(0, seq))
    create = log._create

    def full(position, tails):
        if len(segments(tmp_path)) > 2:
            raise OSError(errno.ENOSPC, "no space left on device")
        create(position, tails)

    monkeypatch.setattr(log, "_create", full)
    assert put(log, *batch(0, 7))
    log.close()
    assert seqs(tmp_path) == [5, 6, 7] and log.cut == 0


def test_a_directory_that_went_away_is_counted_and_made_again(tmp_path):
    with written(tmp_path / "log") as log:
        (tmp_path / "log").rmdir()
        assert not put(log, *at(0, 1))
        assert put(log, *at(RETRY_NS, 2))
        assert is_locked(tmp_path / "log")
    assert seqs(tmp_path / "log") == [2]


def test_a_log_that_somebody_deletes_is_written_to_a_new_directory_within_a_second(tmp_path):
    with written(tmp_path / "log") as log:
        assert put(log, *at(0, 1))
        shutil.rmtree(tmp_path / "log")
        assert not put(log, *at(1, 2)) and log.is_failing
        assert put(log, *at(1 + RETRY_NS, 3))
    assert seqs(tmp_path / "log") == [3]


# ---------------------------------------------------------------------- on to the disk


class Disk:
    """Stands where the system's calls are: what was synced, and a failure on command."""

    def __init__(self, monkeypatch):
        self.synced, self.error = [], None
        self._fdatasync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)

    def fdatasync(self, file):
        if self.error is not None:
            raise self.error
        name, size = Path(f"/proc/self/fd/{file}").readlink().name, os.fstat(file).st_size
        self._fdatasync(file)
        self.synced.append((name, size))


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_is_appended_is_on_the_disk_a_commit_later(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    log = FileLog(tmp_path, Limits(LARGE, PLENTY, commit_s=0.001))
    put(log, *batch(0, 1))
    until(lambda: disk.synced and disk.synced[-1][1] == HEAD + SIZE)
    until(lambda: not log.committer.waiting_ns and log.committer.commits)
    put(log, *batch(0, 2))
    until(lambda: disk.synced[-1][1] == HEAD + 2 * SIZE)
    log.close()
    assert log.committer.error is None


def test_the_end_does_not_wait_for_the_next_commit(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    log = FileLog(tmp_path, Limits(LARGE, PLENTY, commit_s=60.0))
    for seq in (1, 2):
        put(log, *batch(0, seq))
        until(lambda: disk.synced)
    log.close()
    assert disk.synced[-1][1] == HEAD + 2 * SIZE


def test_a_segment_is_on_the_disk_whole_when_the_log_has_gone_on_to_the_next(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    log = FileLog(tmp_path, Limits(HEAD + 2 * SIZE, PLENTY, commit_s=0.001))
    for seq in range(1, 12):
        put(log, *batch(0, seq))
    log.close()
    last = dict(disk.synced)
    assert last == {segment.name: segment.stat().st_size for segment in segments(tmp_path)}


def test_what_a_killed_writer_had_no_time_to_sync_is_on_the_disk_before_tails_are_made_of_it(tmp_path, monkeypatch):
    with written(tmp_path) as log:
        for seq in (1, 2):
            put(log, *batch(0, seq))
    (segment,) = segments(tmp_path)
    disk = Disk(monkeypatch)
    FileLog(tmp_path, Limits(LARGE, PLENTY)).close()
    assert disk.synced == [(segment.name, HEAD + 2 * SIZE)]


def test_a_sync_that_fails_ends_its_segment_and_is_never_tried_again_on_it(tmp_path, monkeypatch, caplog):
    disk = Disk(monkeypatch)
    log = FileLog(tmp_path, Limits(LARGE, PLENTY, commit_s=0.001))
    put(log, *at(0, 1))
    disk.error = OSError(errno.EIO, "the disk is broken")
    put(log, *at(1, 2))
    until(lambda: log.committer.error)
    disk.error, disk.synced = None, []
    (failed,) = segments(tmp_path)
    assert not put(log, *at(2, 3)) and log.is_failing
    assert put(log, *at(RETRY_NS, 4))
    log.close()
    assert "the disk is broken" in caplog.text
    assert failed.name not in dict(disk.synced) and len(disk.synced) >= 1
    assert seqs(tmp_path) == [1, 2, 4]


def test_without_commits_nothing_is_synced(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    with written(tmp_path) as log:
        put(log, *batch(0, 1))
    assert disk.synced == []


def test_a_thread_that_dies_is_an_alarm(tmp_path, monkeypatch):
    monkeypatch.setattr(committer.Committer, "_sync", lambda *_: 1 // 0)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    log = FileLog(tmp_path, Limits(LARGE, PLENTY, commit_s=0.001))
    put(log, *at(0, 1))
    until(lambda: log.committer.error)
    assert not put(log, *at(1, 2)) and log.is_failing
    log.close()


@pytest.mark.slow
@pytest.mark.parametrize("segment_flushes", [2, 1000])
def test_after_a_crash_of_the_machine_the_log_is_what_was_written_up_to_some_moment(
    tmp_path, monkeypatch, segment_flushes
):
    """Whatever was not synced is gone: names of files, and bytes of them. What is left has no hole."""
    durable, named, moments = {}, set(), []
    fdatasync, fsync = os.fdatasync, os.fsync

    def sync_data(file):
        path, size = Path(f"/proc/self/fd/{file}").readlink(), os.fstat(file).st_size
        fdatasync(file)
        durable[path.name] = size
        moments.append({name: durable.get(name, 0) for name in named})

    def sync_names(file):
        names = {path.name for path in segments(tmp_path)}
        fsync(file)
        named.update(names)
        moments.append({name: durable.get(name, 0) for name in named})

    monkeypatch.setattr(os, "fdatasync", sync_data)
    monkeypatch.setattr(os, "fsync", sync_names)
    log = FileLog(tmp_path, Limits(HEAD + segment_flushes * SIZE, PLENTY, commit_s=0.0005))
    for seq in range(1, 101):
        put(log, *batch(0, seq))
        if seq % 7 == 0:
            until(lambda: not log.committer.waiting_ns)
    log.close()
    whole = {path.name: path.read_bytes() for path in segments(tmp_path)}
    newest = 0
    for number, moment in enumerate(moments):
        after = tmp_path / f"after-{number}"
        after.mkdir()
        for name, size in moment.items():
            (after / name).write_bytes(whole[name][:size])
        found = seqs(after)
        assert found == list(range(1, len(found) + 1)) and len(found) >= newest
        newest = len(found)
    assert newest == 100 and len(moments) > 10


# ---------------------------------------------------------------------- killed

WRITER = """
import sys
from pathlib import Path
from tests.storage.flushes import batch, put, LARGE, PLENTY
from wick.storage.logwriter import FileLog, Limits
log = FileLog(Path(sys.argv[1]), Limits(20_000, PLENTY, commit_s=0.01))
epoch, seq = log.newest[0] + 1, int(sys.argv[2])
while True:
    seq += 1
    header, records = batch(0, seq, 7)
    put(log, header._replace(epoch=epoch), records)
    print(seq, flush=True)
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_loses_nothing_that_it_has_appended(tmp_path):
    newest = 0
    for turn in range(6):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(newest)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        told = [int(process.stdout.readline()) for _ in range(20 + 31 * turn)]
        process.kill()
        told += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.wait()
        process.stdout.close()
        assert told[0] == newest + 1
        found = seqs(tmp_path)
        assert found[: told[-1]] == list(range(1, told[-1] + 1)) and len(found) <= told[-1] + 1
        newest = found[-1]
        assert not is_locked(tmp_path)
