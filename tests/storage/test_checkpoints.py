"""Checkpoints on the disk: what comes back is what was written last, or, where that is torn, what was before."""

import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.flushes import limited
from wick.ops.process import AlreadyRunningError, hold_lock
from wick.storage import checkpoints as module
from wick.storage.checkpoints import PAGE, Checkpoint, Checkpoints, hold, newest_epoch, passed, shard_directory
from wick.stream.shards import SHARDS

BASE = random.Random(1).randbytes(200 * PAGE + 17)


@pytest.fixture(autouse=True)
def small_states(monkeypatch):
    """The states here are small: their generations are worth a rename."""
    monkeypatch.setattr(module, "LEAST", 0)
    monkeypatch.setattr(module, "MOST", 2)


def changed(state, chance, pages=3):
    data = bytearray(state)
    for _ in range(pages):
        data[chance.randrange(len(data))] ^= 1 + chance.randrange(255)
    return bytes(data)


def history(count, seed=1):
    """States of a shard, each a little other than the one before; some longer or shorter."""
    chance, state = random.Random(seed), BASE
    for number in range(1, count + 1):
        state = changed(state, chance)
        if chance.random() < 0.2:
            state = state[: -chance.randint(1, 2_000)] + chance.randbytes(chance.randint(0, 3_000))
        yield Checkpoint((7, number), b"note %d" % number, state)


def files(directory):
    return sorted(directory.glob("*.checkpoint"))


@pytest.mark.slow
def test_the_newest_comes_back_whoever_reads_it(tmp_path):
    writer = Checkpoints(tmp_path)
    for one in history(150):
        writer.write(*one)
        assert next(Checkpoints(tmp_path).load()) == one
    assert len(files(tmp_path)) == 2 and int(files(tmp_path)[-1].stem) > 2


@pytest.mark.slow
def test_only_what_has_changed_is_written_until_that_is_as_much_as_the_state(tmp_path):
    writer, chance, state, written = Checkpoints(tmp_path), random.Random(1), BASE, []
    for number in range(200):
        state = changed(state, chance)
        written.append(writer.write((7, number), b"", state))
    small = [one.bytes for one in written if not one.is_whole]
    assert max(small) < 4 * (PAGE + 4) + 60 and written[0].is_whole
    assert sum(one.is_whole for one in written) in (3, 4)
    assert sum(path.stat().st_size for path in files(tmp_path)) < 4 * len(BASE)


def test_a_writer_goes_on_with_what_it_wrote_itself_only(tmp_path):
    first = Checkpoints(tmp_path)
    assert first.write((1, 1), b"", BASE).is_whole and not first.write((1, 2), b"", BASE).is_whole
    assert Checkpoints(tmp_path).write((1, 3), b"", BASE).is_whole


@pytest.mark.slow
@settings(max_examples=max(20, settings.default.max_examples))
@given(data=st.data())
def test_torn_anywhere_an_older_one_is_there(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("shard")
    writer, all_of_it = Checkpoints(directory), list(history(9))
    ends = []
    for one in all_of_it:
        writer.write(*one)
        ends.append((files(directory)[-1], files(directory)[-1].stat().st_size))
    newest = files(directory)[-1]
    cut = data.draw(st.integers(0, newest.stat().st_size))
    os.truncate(newest, cut)
    whole = [one for one, (path, end) in zip(all_of_it, ends, strict=True) if path != newest or end <= cut]
    found = list(Checkpoints(directory).load())
    assert found[:1] == whole[-1:]


def test_a_damaged_generation_falls_back_to_the_one_before_and_says_so(tmp_path, caplog):
    writer, before = Checkpoints(tmp_path), []
    while len(files(tmp_path)) < 2:
        before.append(Checkpoint((7, len(before) + 1), b"n", changed(BASE, random.Random(len(before)), 90)))
        writer.write(*before[-1])
    newest = files(tmp_path)[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert list(Checkpoints(tmp_path).load()) == [before[-2]]
    assert "torn or damaged at byte 0" in caplog.text


def test_what_was_damaged_since_is_not_gone_on_with(tmp_path):
    writer = Checkpoints(tmp_path)
    writer.write((1, 1), b"", BASE)
    files(tmp_path)[0].write_bytes(b"something else")
    assert writer.write((1, 2), b"n", BASE).is_whole
    assert next(Checkpoints(tmp_path).load()) == Checkpoint((1, 2), b"n", BASE)
    files(tmp_path)[-1].unlink()
    files(tmp_path)[-1].unlink()
    assert writer.write((1, 3), b"n", BASE).is_whole


@pytest.mark.parametrize("goes_wrong", ["a whole one", "changes"])
def test_a_disk_that_is_full_leaves_the_older_ones_and_it_goes_on_when_there_is_room(goes_wrong, tmp_path, monkeypatch):
    writer, one = Checkpoints(tmp_path), Checkpoint((1, 1), b"", BASE)
    writer.write(*one)
    other = bytes(len(BASE)) if goes_wrong == "a whole one" else changed(BASE, random.Random(1))
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                writer.write((1, 2), b"", bytes(len(BASE)) if goes_wrong == "a whole one" else other)
            assert one in [*Checkpoints(tmp_path).load(), one][:2]
    assert not list(tmp_path.glob("*.part"))
    assert writer.write((1, 3), b"", other).is_whole, "after a failure nobody knows what the disk has of the file"
    assert next(Checkpoints(tmp_path).load()) == Checkpoint((1, 3), b"", other)


def test_a_generation_that_cannot_be_read_is_passed_over_by_all_who_ask(tmp_path, monkeypatch):
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None)
    for shard in range(SHARDS):
        Checkpoints(shard_directory(tmp_path, shard)).write((1, 1), b"", b"state")
        Checkpoints(shard_directory(tmp_path, shard)).write((2, 2), b"", b"state")
    bad, opened = files(shard_directory(tmp_path, 3))[-1], Path.open

    def failing(path, *mode, **others):
        if path == bad:
            raise OSError(5, "Input/output error")
        return opened(path, *mode, **others)

    monkeypatch.setattr(Path, "open", failing)
    assert (passed(tmp_path), newest_epoch(tmp_path)) == ((1, 1), 2)
    assert [one.position for one in Checkpoints(shard_directory(tmp_path, 3)).load()] == [(1, 1)]


def test_a_damaged_head_makes_no_feed_newer_than_all_that_can_be(tmp_path):
    Checkpoints(shard_directory(tmp_path, 3)).write((7, 1), b"", b"state")
    [path] = files(shard_directory(tmp_path, 3))
    data = bytearray(path.read_bytes())
    data[8:16] = b"\xff" * 8
    path.write_bytes(data)
    assert newest_epoch(tmp_path) == 0


def test_a_directory_that_somebody_deleted_is_made_again(tmp_path):
    writer = Checkpoints(tmp_path / "shard")
    writer.write((1, 1), b"", BASE)
    shutil.rmtree(tmp_path / "shard")
    assert writer.write((1, 2), b"", BASE).is_whole
    assert [one.position for one in Checkpoints(tmp_path / "shard").load()] == [(1, 2)]


def test_a_full_disk_keeps_nobody_from_holding_a_shard_or_a_place(tmp_path):
    with limited(0), closing(hold(tmp_path / "shard")), closing(hold_lock(tmp_path, "worker-0")):
        with pytest.raises(AlreadyRunningError):
            hold(tmp_path / "shard")
        with pytest.raises(AlreadyRunningError):
            hold_lock(tmp_path, "worker-0")


def test_what_was_not_finished_is_removed(tmp_path):
    (tmp_path / "000000000009.part").write_bytes(b"half")
    assert list(Checkpoints(tmp_path).load()) == [] and list(tmp_path.iterdir()) == []


def test_what_the_log_is_still_needed_for_is_what_the_last_checkpoint_but_one_of_any_shard_has_not_passed(tmp_path):
    for shard in range(SHARDS):
        assert passed(tmp_path) is None
        Checkpoints(shard_directory(tmp_path, shard)).write((7, 100 + shard), b"note", BASE)
    assert passed(tmp_path) == (7, 100)
    first = Checkpoints(shard_directory(tmp_path, 0))
    assert first.write((7, 500), b"", BASE).is_whole
    assert passed(tmp_path) == (7, 100), "of the generation before"
    assert not first.write((7, 501), b"", BASE).is_whole
    assert passed(tmp_path) == (7, 101), "the other shards'"
    os.truncate(files(shard_directory(tmp_path, 0))[-1], 1_000)
    assert passed(tmp_path) == (7, 100)
