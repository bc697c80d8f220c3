"""A worker that is killed at any moment, and whatever it then finds on its disk: the same rows, bit for bit."""

import os
import random
import shutil
import subprocess
import sys
from contextlib import closing, contextmanager

import gevent
import pytest

from tests.cli.live import data_dir
from tests.roles.worker import VENUE, Venue, logged, logging_to, session, working
from tests.storage.flushes import limited
from wick.net.clock import steady_ns
from wick.ops.process import ALREADY_RUNNING, AlreadyRunningError
from wick.roles import aggregator
from wick.storage import checkpoints
from wick.storage.checkpoints import passed, shard_directory
from wick.stream import saved
from wick.stream.following import ShardFollower
from wick.stream.shards import SHARDS, shard_of
from wick.wire.messages import Closes, Kept, Request, TickHeader, closes_topic

__all__ = ["data_dir"]

SEEDS = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(4)]
OTHER = "kraken"


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """No machine crashes here, and hundreds of checkpoints are written."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None)


def work(role):
    role._turn()
    role._flush()


def save(role, numbers=None):
    for number in role.owned if numbers is None else numbers:
        shard = role.shards[number]
        role.keeper.save_now(number, role.taken, role._note(shard), shard.save())


@contextmanager
def started(data_dir, **settings):
    """A worker that has come to where the log ends."""
    with working(data_dir, **settings) as (role, heard):
        role._replay(role._load())
        yield role, heard


def rows_of(heard):
    """Of each shard and venue what was published."""
    found = {}
    for topic, rows in heard.rows.items():
        for row in rows:
            found.setdefault((topic, row[0]), []).append(repr(row))
    return found


def undisturbed(data_dir, messages):
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        for message in messages:
            role._receive(message)
        work(role)
        told = rows_of(heard), {number: list(shard.pairs) for number, shard in role.shards.items()}
    shutil.rmtree(data_dir / "shards")
    return told


def is_slice(rows, of):
    return any(of[at : at + len(rows)] == rows for at in range(len(of) - len(rows) + 1))


def check(lives, expected):
    """Whatever each life of a worker has published is a run of what an undisturbed one did; none is missing."""
    for key, rows in expected.items():
        published, reached = [life.get(key, []) for life in lives], 0
        for own in published:
            assert is_slice(own, rows), "rows that nobody else published, or in another order"
            begin = next(at for at in range(len(rows) + 1) if rows[at : at + len(own)] == own)
            assert begin <= reached or not own, "a life begins behind where the one before it ended"
            reached = max(reached, begin + len(own))
        assert reached == len(rows), "what closed at the end is missing"
    assert not {key for life in lives for key in life} - expected.keys()


# ---------------------------------------------------------------------- the law


@pytest.mark.parametrize("seed", SEEDS)
def test_a_worker_that_is_killed_anywhere_publishes_the_same_rows(seed, data_dir):
    chance, venue = random.Random(seed), Venue()
    messages = session(seed, 50, venue)
    venue.begin_anew()  # the feed was killed too: the last of the first one's messages may be in the log only
    messages += session(seed + 100, 50, venue)
    expected, _ = undisturbed(data_dir, messages)
    lives, at = [], 0
    with logging_to(data_dir / "ticklog") as write:
        while at < len(messages):
            until = min(len(messages), at + chance.randint(1, 35))
            with started(data_dir) as (role, heard):
                for number in range(at, until):
                    write(messages[number])
                    if chance.random() < 0.9 or number + 1 == len(messages):  # the others are lost on their way
                        role._receive(messages[number])
                    if chance.random() < 0.3:
                        work(role)
                        if chance.random() < 0.4:
                            save(role, chance.sample(range(SHARDS), chance.randint(1, SHARDS)))
                at = until
                if at == len(messages):
                    work(role)
                lives.append(rows_of(heard))
                assert "lost_batches" not in role.stats.counters
    assert len(lives) > 2
    check(lives, expected)


@pytest.mark.slow
def test_shards_that_move_between_workers_go_on_where_they_were(data_dir):
    chance, venue = random.Random(1), Venue()
    messages = session(1, 40, venue)
    venue.begin_anew()
    messages += session(101, 40, venue)
    expected, _ = undisturbed(data_dir, messages)
    lives, at = [], 0
    with logging_to(data_dir / "ticklog") as write:
        for workers in (2, 1, 3, 4, 2):
            until = min(len(messages), at + len(messages) // 4)
            for message in messages[at:until]:
                write(message)
            at, life = until, {}
            for index in range(workers):
                with working(data_dir, index, aggregator__workers=workers) as (role, heard):
                    if until < len(messages) and chance.random() < 0.2:
                        continue  # it dies at once
                    role._replay(role._load())
                    work(role)
                    save(role, chance.sample(sorted(role.owned), chance.randint(0, len(role.owned))))
                    assert "lost_batches" not in role.stats.counters
                    life |= rows_of(heard)
            lives.append(life)
    check(lives, expected)


@pytest.mark.slow
def test_two_venues_of_one_shard_are_mended_in_the_order_of_the_log(data_dir):
    shard = shard_of(VENUE, "BTC-USDT")
    names = (f"C{number}-USDT" for number in range(10_000))
    same = [name for name in names if shard_of(OTHER, name) == shard][:3]
    both = [session(1, 40), session(2, 40, Venue(name=OTHER, symbols=same))]
    flushes = sorted((TickHeader.unpack(header).send_ns, header, records) for some in both for header, records in some)
    messages = []
    for block, (_, header, records) in enumerate(flushes, 1):
        told = TickHeader.unpack(header)._replace(block=block, before=block - 1)
        messages.append([told.pack(), records])
    expected, pairs = undisturbed(data_dir, messages)
    logged(data_dir / "ticklog", messages)
    with working(data_dir) as (role, heard):
        for message in [*messages[7:20], *messages[60:]]:
            role._receive(message)
        work(role)
        assert {number: list(one.pairs) for number, one in role.shards.items()} == pairs
        assert rows_of(heard) == expected
        assert role.stats.counters["holes"] >= 1 and "lost_batches" not in role.stats.counters


# ---------------------------------------------------------------------- what it finds on the disk


def lived(data_dir, messages):
    """A worker's life with two rounds of checkpoints, 1/3 and 2/3 through, killed at the end; its last epoch."""
    third = len(messages) // 3
    with logging_to(data_dir / "ticklog") as write, started(data_dir) as (role, heard):
        for at, message in enumerate(messages):
            write(message)
            role._receive(message)
            if at + 1 in (third, 2 * third):
                work(role)
                save(role)
        work(role)
        return rows_of(heard), max(shard.epoch for shard in role.shards.values())


def damage(path, at=-100):
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)


def newest(data_dir, shard):
    return max(shard_directory(data_dir, shard).glob("*.checkpoint"))


BUSY = shard_of(VENUE, "BTC-USDT")
FOUND = {
    "both checkpoints": lambda _: None,
    "a torn one": lambda directory: damage(newest(directory, BUSY)),
    "a file that is empty": lambda directory: newest(directory, BUSY).write_bytes(b""),
    "none of one shard": lambda directory: shutil.rmtree(shard_directory(directory, BUSY)),
    "none": lambda directory: shutil.rmtree(directory / "shards"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOUND)
def test_what_is_missing_torn_or_damaged_is_replaced_by_an_older_one_and_a_longer_replay(kind, data_dir):
    messages = session(3, 30)
    expected, _ = undisturbed(data_dir, messages)
    first, _ = lived(data_dir, messages)
    FOUND[kind](data_dir)
    with started(data_dir) as (role, heard):
        work(role)
        check([first, rows_of(heard)], expected)
        assert role.taken == (7, len(messages))
        everything, least = ticks_in(messages), ticks_in(messages[2 * (len(messages) // 3) :])
        taken = role.stats.counters["ticks"]
        if kind == "both checkpoints":
            assert taken == least
        elif kind == "none":
            assert taken == everything
        else:
            assert least < taken < everything, "one shard reads more of the log"


def ticks_in(messages):
    return sum(TickHeader.unpack(header).total for header, _ in messages)


@pytest.mark.slow
def test_checkpoints_of_another_version_or_by_other_rules_are_refused_and_said(data_dir, monkeypatch, caplog):
    messages = session(4, 40)
    expected, _ = undisturbed(data_dir, messages)
    first, _ = lived(data_dir, messages)
    monkeypatch.setattr(saved, "VERSION", saved.VERSION + 1)
    with started(data_dir) as (role, heard):
        work(role)
        check([first, rows_of(heard)], expected)
        assert role.stats.counters["refused_checkpoints"] == SHARDS
        assert f"version {saved.VERSION - 1}, not {saved.VERSION}" in caplog.text
    monkeypatch.undo()
    caplog.clear()
    with started(data_dir, aggregator__grace_ms=1) as (role, _):
        assert role.stats.counters["refused_checkpoints"] and "grace_ms" in caplog.text


@pytest.mark.slow
def test_each_start_is_a_later_epoch_that_is_announced_and_sequences_begin_anew(data_dir, monkeypatch):
    messages = session(5, 20)
    _, epoch = lived(data_dir, messages)
    monkeypatch.setattr("wick.roles.aggregator.now_ns", lambda: 5)  # the clock was set back
    for _ in range(3):
        with started(data_dir) as (_, heard):
            closes = [Closes.unpack(body) for topic, body in heard.messages if topic == b"closes.%02d" % BUSY]
            assert closes[0].epoch == epoch + 1 and closes[0].blocks == []
            assert [message.seq for message in closes] == list(range(1, len(closes) + 1))
            epoch += 1


@pytest.mark.slow
def test_what_a_sink_asks_for_comes_in_order_across_epochs(data_dir):
    messages = session(6, 40)
    lived(data_dir, messages)
    answers = []
    with started(data_dir) as (role, _):
        role.router.close(linger=0)
        role.router = type("Router", (), {"send_multipart": lambda _, frames, *more: answers.append(frames),
                                          "close": lambda *_, **__: None})()  # fmt: skip
        role._answer([b"sink", Request("closes", BUSY, 0, 0).pack()])
        _, asked, kept, *packed = answers.pop()
        found = [Closes.unpack(one) for one in packed]
        told = Kept.unpack(kept)
        places = [(one.epoch, one.seq) for one in found]
        assert Request.unpack(asked).shard == BUSY and places == sorted(places) and len({e for e, _ in places}) == 2
        assert told == Kept(*places[0], *places[-1], False)
        middle = places[len(places) // 2]
        role._answer([b"sink", Request("closes", BUSY, *middle).pack()])
        assert answers.pop()[3:] == packed[len(places) // 2 + 1 :]


def test_nobody_else_writes_the_files_of_a_shard(data_dir):
    with working(data_dir), pytest.raises(AlreadyRunningError, match="still writes"):
        checkpoints.hold(shard_directory(data_dir, 0))
    checkpoints.hold(shard_directory(data_dir, 0)).close()


@pytest.mark.slow
def test_what_the_log_may_let_go_of_is_what_all_checkpoints_but_the_newest_have_passed(data_dir):
    messages = session(7, 40)
    assert passed(data_dir) is None
    lived(data_dir, messages)
    third = len(messages) // 3
    position = passed(data_dir)
    assert position == (7, third)
    shutil.rmtree(shard_directory(data_dir, 3))
    assert passed(data_dir) is None


# ---------------------------------------------------------------------- a worker at work


def saved_all(role):
    """Save as the worker does, after flushes, until every shard has had its turn."""
    role.keeper.every_ns = 1
    until = steady_ns() + 60 * 10**9
    while role.stats.counters.get("checkpoints", 0) < SHARDS:
        role._save()
        gevent.sleep(0.001)
        assert steady_ns() < until
    role.keeper.wait()


@pytest.mark.slow
def test_shards_are_saved_in_turn_by_a_native_thread(data_dir):
    messages = session(8, 20)
    with working(data_dir) as (role, _):
        role._load()
        for message in messages:
            role._receive(message)
        work(role)
        saved_all(role)
        expected = {number: shard.save() for number, shard in role.shards.items()}
        assert role.keeper.gauges() == {"outbox_waiting": 0, "outbox_lost": 0, "outbox_cut": 0, "checkpoint_age_s": 0}
    with working(data_dir) as (role, _):
        assert role._load() == (7, len(messages))
        found = {number: next(one.load()).state for number, one in role.keeper._checkpoints.items()}
        assert found == expected


@pytest.mark.slow
def test_a_replay_that_takes_long_tells_how_far_it_is(data_dir, monkeypatch, caplog):
    monkeypatch.setattr(aggregator, "REPLAYED_NS", 0)
    monkeypatch.setattr(aggregator, "LONG_NS", 0)
    caplog.set_level("INFO")
    messages, states = session(10, 10), []
    logged(data_dir / "ticklog", messages)
    monkeypatch.setattr(aggregator, "now_ns", lambda: TickHeader.unpack(messages[-1][0]).send_ns)
    with working(data_dir) as (role, _):
        monkeypatch.setattr(role, "_breathe", lambda *_: states.append(role.stats.state))
        role._replay(role._load())
        work(role)
        assert role.gauges()["lag"] == {}, "what was read again took no time"
    told = [int(state.split()[1]) for state in states if state.startswith("replaying ")]
    assert len(told) >= len(messages) and told == sorted(told) and told[0] < told[-1] <= 99
    assert "replaying the log: " in caplog.text and " a second" in caplog.text


@pytest.mark.slow
def test_who_followed_a_killed_worker_finds_the_next_one_though_nothing_happens(data_dir, monkeypatch):
    monkeypatch.setattr(aggregator, "BEGUN_S", 0)
    follower = ShardFollower()

    def hear(role, heard):
        """Only now: what the worker said at its start nobody heard."""
        role._tell_begun()
        begun = [Closes.unpack(body) for topic, body in heard.messages if topic == closes_topic(BUSY)]
        return [follower.offer(message) for message in begun[-aggregator.BEGUN_TIMES :]]

    logged(data_dir / "ticklog", session(13, 12))
    for _ in range(2):
        with started(data_dir) as (role, heard):
            work(role)
            assert not any(hear(role, heard)) and follower.wanted, "it asks for a snapshot"
            follower.restart(role.shards[BUSY].snapshot())
            assert not any(hear(role, heard)) and not follower.wanted, "once"


def test_a_log_whose_beginning_is_gone_has_lost_nothing_of_a_worker_that_never_had_it(data_dir):
    messages = session(12, 12)
    logged(data_dir / "ticklog", messages[5:])
    with started(data_dir) as (role, _):
        assert role.stats.counters["ticks"] == ticks_in(messages[5:]) and "lost_batches" not in role.stats.counters
        pushed = TickHeader.unpack(messages[-1][0])
        parts = [[shard, seq + 2, *rest] for shard, seq, *rest in pushed.parts]
        role._receive(
            [pushed._replace(block=pushed.block + 2, before=pushed.block + 1, parts=parts).pack(), messages[-1][1]]
        )
        assert role.stats.counters["lost_batches"] == len(parts)


@pytest.mark.slow
def test_a_worker_that_failed_saves_nothing_of_it(data_dir):
    messages = session(11, 6)
    with working(data_dir) as (role, _):
        role._load()
        role._is_live, role._code = True, 1
        role._receive(messages[0])
        role.drain()
    assert not list((data_dir / "shards").glob("*/*.checkpoint"))


@pytest.mark.slow
def test_a_disk_that_takes_no_checkpoint_is_an_alarm_and_tried_again(data_dir, monkeypatch, caplog):
    caplog.set_level("INFO")
    messages = session(9, 20)
    with working(data_dir) as (role, _):
        role._load()
        for message in messages:
            role._receive(message)
        work(role)
        with monkeypatch.context() as full:
            full.setattr(
                checkpoints, "_write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
            )
            save(role, [BUSY, BUSY])
        assert role.stats.counters["failed_checkpoints"] == 2 and "checkpoints" not in role.stats.counters
        assert caplog.text.count("cannot be saved, the checkpoint before it stays") == 1
        save(role)
        assert role.stats.counters["checkpoints"] == SHARDS and "saved again" in caplog.text


def test_a_shard_that_cannot_be_saved_keeps_no_other_from_it(data_dir, monkeypatch):
    bad = shard_directory(data_dir, 5)
    with working(data_dir, aggregator__checkpoint_s=32.0) as (role, _):
        write = checkpoints.Checkpoints.write
        monkeypatch.setattr(
            checkpoints.Checkpoints, "write",
            lambda own, *given: write(own, *given) if own.directory != bad else (_ for _ in ()).throw(OSError(5, "no")),
        )  # fmt: skip
        for _ in range(2 * SHARDS):
            role.keeper._due_ns = 0
            role._save()
            role.keeper.wait()
        assert role.stats.counters["failed_checkpoints"] == 2
        assert role.stats.counters["checkpoints"] == 2 * (SHARDS - 1)


def test_a_worker_that_starts_on_a_full_disk_saves_all_its_shards_when_there_is_room(data_dir, caplog):
    with working(data_dir) as (role, _):
        with limited(0):
            role._load()
            save(role, [5, 6])
        assert role.stats.counters["failed_checkpoints"] == 2
        assert caplog.text.count(f"{shard_directory(data_dir, 5)} cannot be written") == 1
        save(role)
        assert role.stats.counters["checkpoints"] == SHARDS
        assert all(outbox.page((0, 0)).messages for outbox in role.keeper.outboxes.values())


@pytest.mark.slow
def test_a_worker_whose_shards_another_one_still_writes_ends_with_3_and_names_it(data_dir):
    options = ["--core-data-dir", str(data_dir), "--aggregator-workers", "1"]
    with closing(checkpoints.hold(shard_directory(data_dir, 5))):
        ended = subprocess.run(
            [sys.executable, "services/aggregator.py", *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == ALREADY_RUNNING
    assert f"another worker (process {os.getpid()}) still writes" in ended.stderr
