"""The tick log's form: whole blocks come back in order, and no cut and no flipped byte passes for data."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.flushes import ALL, LARGE, RECORD, batch, flush, packed, put, read_back, segments, written
from wick.storage import ticklog
from wick.storage.ticklog import SUFFIX, TAILS, read

PARTS = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 3)), max_size=4, unique_by=lambda part: part[0])


@given(st.lists(PARTS, max_size=8), st.sampled_from([100, 500, LARGE]))
def test_what_is_appended_is_read_back_shard_by_shard_in_order(tmp_path_factory, calls, segment_bytes):
    directory = tmp_path_factory.mktemp("log")
    told, seq = [], 0
    with written(directory, segment_bytes) as log:
        for block, call in enumerate(calls, 1):
            parts = [(shard, seq := seq + 1, count) for shard, count in call]
            told += [(shard, number, RECORD * count) for shard, number, count in parts]
            assert put(log, *flush(*parts, block=block))
    assert read_back(directory) == told == read_back(directory, None)
    for shards in [{shard} for shard, _, _ in told] + [set(range(0, 32, 2))]:
        assert read_back(directory, shards) == [one for one in told if one[0] in shards]


def test_a_flush_that_has_nothing_of_a_shard_is_passed_over_without_a_word(tmp_path):
    with written(tmp_path) as log:
        put(log, *flush((1, 1, 2), (2, 1, 0)))
    assert list(read(tmp_path, frozenset([3]))) == []
    [(header, records)] = read(tmp_path, frozenset([2]))
    assert header.parts == [[2, 1, False, [], []]] and bytes(records) == b""


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.data())
def test_a_reader_gets_what_comes_behind_a_position_and_nothing_else(tmp_path_factory, epochs, data):
    directory = tmp_path_factory.mktemp("log")
    told = []
    for epoch in sorted(set(epochs)):
        block = 0
        with written(directory, data.draw(st.sampled_from([100, 300, LARGE]))) as log:
            for _ in range(epochs.count(epoch)):
                block += data.draw(st.integers(1, 3))
                header, records = batch(0, 1)
                put(log, header._replace(epoch=epoch, block=block), records)
                told.append((epoch, block))
            assert log.newest == told[-1]
    after = (data.draw(st.integers(0, 4)), data.draw(st.integers(0, 13)))
    found = [(header.epoch, header.block) for header, _ in read(directory, ALL, after)]
    assert found == [position for position in told if position > after]
    assert ticklog.positions(directory) == (told[0], told[-1])


def test_an_empty_log_has_no_positions_and_no_tails(tmp_path):
    assert ticklog.positions(tmp_path) is None
    assert ticklog.last(tmp_path)[0] == b""


def test_the_newest_tails_come_with_all_flushes_since_and_no_other(tmp_path):
    with written(tmp_path) as log:
        for block in range(1, 8):
            if block in (1, 3, 5):
                log.begin((1, block), b"before %d" % block, 5)
            log.append(*batch(0, block))
    tails, flushes = ticklog.last(tmp_path)
    assert tails == b"before 5" and [header.block for header, _ in flushes] == [5, 6, 7]
    newest = segments(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes().replace(b"before", b"befoer"))
    tails, flushes = ticklog.last(tmp_path)
    assert tails == b"before 3" and [header.block for header, _ in flushes] == [3, 4, 5, 6, 7]


def test_a_tail_cut_at_any_byte_gives_exactly_the_whole_blocks_before_it(tmp_path):
    ends = []
    with written(tmp_path) as log:
        for seq in range(1, 4):
            put(log, *batch(seq, seq))
            ends.append(segments(tmp_path)[0].stat().st_size)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    for size in range(len(whole) + 1):
        segment.write_bytes(whole[:size])
        assert [seq for _, seq, _ in read_back(tmp_path)] == [n for n, end in enumerate(ends, 1) if end <= size]


def test_after_a_torn_segment_the_next_one_is_read(tmp_path):
    for number in (1, 2):
        with written(tmp_path) as log:
            put(log, *batch(0, 2 * number))
            put(log, *batch(0, 2 * number + 1))
    first, _ = segments(tmp_path)
    first.write_bytes(first.read_bytes()[:-1])
    assert [seq for _, seq, _ in read_back(tmp_path)] == [2, 4, 5]


def test_a_segment_that_the_disk_does_not_give_back_is_said_and_left_out(tmp_path, monkeypatch, caplog):
    with written(tmp_path, 1) as log:
        for seq in (1, 2, 3):
            put(log, *batch(0, seq))
    bad, read_bytes = segments(tmp_path)[1], Path.read_bytes

    def failing(path):
        if path == bad:
            raise OSError(5, "Input/output error")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert [seq for _, seq, _ in read_back(tmp_path)] == [1, 3]
    assert f"{bad.name} cannot be read, it is left out" in caplog.text


def test_a_flipped_byte_anywhere_in_a_block_keeps_that_block_out_and_no_other(tmp_path):
    with written(tmp_path) as log:
        for seq in range(1, 4):
            put(log, *batch(5, seq))
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    size = len(packed(*batch(5, 1)))
    for at in range(len(whole) - 2 * size, len(whole) - size):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        segment.write_bytes(damaged)
        assert read_back(tmp_path) == [(5, 1, RECORD), (5, 3, RECORD)], f"byte {at}"


@pytest.mark.parametrize("wrong", [(b"\xc1", [b""]), (batch(3, 1)[0].pack(), [RECORD * 2])], ids=["no header", "long"])
def test_a_block_that_is_whole_but_makes_no_sense_is_left_out(tmp_path, wrong):
    segment = tmp_path / f"{1:020d}-{1:010d}{SUFFIX}"
    segment.write_bytes(ticklog.block((1, 1), *wrong) + packed(*batch(3, 2)))
    assert read_back(tmp_path) == [(3, 2, RECORD)]


@given(st.binary(max_size=300), st.lists(st.integers(0, 200), max_size=3))
def test_no_bytes_at_all_make_a_reader_fail(tmp_path_factory, noise, cuts):
    directory = tmp_path_factory.mktemp("log")
    data = ticklog.block((1, 1), b"", [b"tails"], TAILS) + packed(*batch(3, 2)) + packed(*batch(4, 3))
    for at in cuts:
        data = data[:at] + noise + data[at:]
    (directory / f"{1:020d}-{1:010d}{SUFFIX}").write_bytes(data)
    found = read_back(directory)
    assert found == [one for one in [(3, 2, RECORD), (4, 3, RECORD)] if one in found]
    ticklog.last(directory)
    ticklog.positions(directory)
