"""The tick log: whole blocks come back in order, and no cut, flipped byte or full disk passes for data."""

import errno
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.market.trades import Trade
from wick.storage import ticklog
from wick.storage.logwriter import FileLog
from wick.storage.ticklog import SUFFIX, read
from wick.wire.messages import TickHeader, pack_trade

ALL = frozenset(range(32))
RECORD = pack_trade(Trade("BTC-USDT", 1, 2, 3, 4, 5, 6, True), 7)
LARGE = 10**9  # a segment that never fills
PLENTY = 10**12


def flush(*parts):
    """A flush of (shard, seq, count of records): its header, and the records in two pieces."""
    listed = [[shard, seq, False, ["BTC-USDT"] * bool(count), [count] * bool(count)] for shard, seq, count in parts]
    records = RECORD * sum(count for _, _, count in parts)
    middle = len(records) // 2
    block = max([seq for _, seq, _ in parts], default=1)
    return TickHeader(1, block, 0, "binance", 5, 6, listed), [records[:middle], records[middle:]]


def packed(header, records):
    return ticklog.block((header.epoch, header.block), header.pack(), records)


def batch(shard, seq, count=1):
    return flush((shard, seq, count))


def read_back(directory, shards=ALL):
    return [
        (part[0], part[1], bytes(some))
        for header, records in read(directory, frozenset(shards))
        for part, some in header.pieces(records)
    ]


def segments(directory):
    return sorted(directory.glob("*" + SUFFIX))


PARTS = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 3)), max_size=4, unique_by=lambda part: part[0])


@given(st.lists(PARTS, max_size=8), st.data())
def test_what_is_appended_is_read_back_shard_by_shard_in_order(tmp_path_factory, calls, data):
    directory = tmp_path_factory.mktemp("log")
    log = FileLog(directory, data.draw(st.sampled_from([100, 500, LARGE])), PLENTY)
    written, seq = [], 0
    for block, call in enumerate(calls, 1):
        parts = [(shard, seq := seq + 1, count) for shard, count in call]
        written += [(shard, number, RECORD * count) for shard, number, count in parts]
        header, records = flush(*parts)
        log.append(header._replace(block=block), records)
    log.close()
    assert log.failed == 0
    assert read_back(directory) == written
    for shards in [{shard} for shard, _, _ in written] + [set(range(0, 32, 2))]:
        assert read_back(directory, shards) == [one for one in written if one[0] in shards]


def test_a_flush_that_has_nothing_of_a_shard_is_passed_over_without_a_word(tmp_path):
    log = FileLog(tmp_path, LARGE, PLENTY)
    log.append(*flush((1, 1, 2), (2, 1, 0)))
    log.close()
    assert list(read(tmp_path, frozenset([3]))) == []
    [(header, records)] = read(tmp_path, frozenset([2]))
    assert header.parts == [[2, 1, False, [], []]] and bytes(records) == b""


def test_a_tail_cut_at_any_byte_gives_exactly_the_whole_blocks_before_it(tmp_path):
    log = FileLog(tmp_path, LARGE, PLENTY)
    ends = []
    for seq in range(1, 4):
        log.append(*batch(seq, seq))
        ends.append(segments(tmp_path)[0].stat().st_size)
    log.close()
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    for size in range(len(whole) + 1):
        segment.write_bytes(whole[:size])
        assert [seq for _, seq, _ in read_back(tmp_path)] == [n for n, end in enumerate(ends, 1) if end <= size]


def test_after_a_torn_segment_the_next_one_is_read(tmp_path):
    for number in (1, 2):
        log = FileLog(tmp_path, LARGE, PLENTY)
        log.append(*batch(0, 2 * number))
        log.append(*batch(0, 2 * number + 1))
        log.close()
    first, _ = segments(tmp_path)
    first.write_bytes(first.read_bytes()[:-1])
    assert [seq for _, seq, _ in read_back(tmp_path)] == [2, 4, 5]


def test_a_flipped_byte_anywhere_in_a_block_keeps_it_and_the_rest_of_its_segment_out(tmp_path):
    log = FileLog(tmp_path, LARGE, PLENTY)
    for seq in range(1, 4):
        log.append(*batch(5, seq))
    log.close()
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    size = len(whole) // 3
    for at in range(size, 2 * size):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        segment.write_bytes(damaged)
        assert read_back(tmp_path) == [(5, 1, RECORD)], f"byte {at}"


@pytest.mark.parametrize(
    "wrong", [(b"\xc1", [b""]), (batch(3, 1)[0].pack(), [RECORD * 2])], ids=["no header", "too much"]
)
def test_a_block_that_is_whole_but_makes_no_sense_ends_its_segment(tmp_path, wrong):
    segment = tmp_path / f"{1:020d}-{1:010d}{SUFFIX}"
    segment.write_bytes(ticklog.block((1, 1), *wrong) + packed(*batch(3, 1)))
    assert read_back(tmp_path) == []


def test_segments_follow_one_another_by_size(tmp_path):
    size = len(packed(*batch(0, 1)))
    log = FileLog(tmp_path, 3 * size, PLENTY)
    for seq in range(1, 8):
        log.append(*batch(0, seq))
    log.close()
    assert [segment.stat().st_size // size for segment in segments(tmp_path)] == [3, 3, 1]
    assert [seq for _, seq, _ in read_back(tmp_path)] == list(range(1, 8))


def test_the_oldest_segments_make_way_within_the_budget(tmp_path):
    size = len(packed(*batch(0, 1)))
    log = FileLog(tmp_path, 2 * size, 6 * size)
    for seq in range(1, 30):
        log.append(*batch(0, seq))
        assert sum(segment.stat().st_size for segment in segments(tmp_path)) <= 6 * size
    log.close()
    kept = [seq for _, seq, _ in read_back(tmp_path)]
    assert kept == list(range(kept[0], 30)) and len(kept) >= 4


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.data())
def test_a_reader_gets_what_comes_behind_a_position_and_nothing_else(tmp_path_factory, epochs, data):
    directory = tmp_path_factory.mktemp("log")
    log = FileLog(directory, data.draw(st.sampled_from([100, 300, LARGE])), PLENTY)
    written = []
    for epoch in sorted(epochs):
        block = written[-1][1] + data.draw(st.integers(1, 3)) if written and written[-1][0] == epoch else 1
        if written and written[-1][0] != epoch:
            log.close()
        header, records = batch(0, 1)
        log.append(header._replace(epoch=epoch, block=block), records)
        written.append((epoch, block))
    log.close()
    after = (data.draw(st.integers(0, 4)), data.draw(st.integers(0, 13)))
    found = [(header.epoch, header.block) for header, _ in read(directory, ALL, after)]
    assert found == [position for position in written if position > after]
    assert ticklog.positions(directory) == (written[0], written[-1])


class FullDisk(io.BytesIO):
    """Takes some bytes, and then no more."""

    def __init__(self, target, room, error):
        super().__init__()
        self._target, self._room, self._error = target, room, error

    def write(self, data):
        if len(data) > self._room and self._error:
            raise OSError(self._error, "no")
        taken = data[: self._room]
        self._room -= len(taken)
        return self._target.write(taken)

    def close(self):
        self._target.close()
        super().close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, 0], ids=["full", "broken", "a part taken"])
@pytest.mark.parametrize("whole", [0, 1, 2])
def test_a_full_disk_is_counted_and_stops_nobody_and_later_a_new_segment_begins(tmp_path, error, whole):
    size = len(packed(*batch(0, 1)))
    log = FileLog(tmp_path, LARGE, PLENTY)
    for seq in range(1, whole + 1):
        log.append(*batch(0, seq))
    if log._file is None:
        log._rotate((1, 1))
    log._file = FullDisk(log._file, size // 2, error)
    log.append(*batch(0, 8))
    assert log.failed == 1
    log.append(*batch(0, 10))
    log.append(*batch(0, 11))
    log.close()
    assert log.failed == 1
    assert [seq for _, seq, _ in read_back(tmp_path)] == [*range(1, whole + 1), 10, 11]
    assert len(segments(tmp_path)) == (2 if whole else 1)


def test_a_disk_that_stays_full_is_not_littered_with_segments(tmp_path, monkeypatch):
    log = FileLog(tmp_path, LARGE, PLENTY)
    log.append(*batch(0, 1))
    rotate = log._rotate

    def full(position):
        rotate(position)
        log._file = FullDisk(log._file, 10, errno.ENOSPC)

    log.close()
    monkeypatch.setattr(log, "_rotate", full)
    for now_ns in range(2, 40):
        log.append(*batch(0, now_ns))
    assert log.failed == 38
    assert len(segments(tmp_path)) == 1
    monkeypatch.undo()
    log.append(*batch(0, 99))
    log.close()
    assert [seq for _, seq, _ in read_back(tmp_path)] == [1, 99]


def test_a_directory_that_went_away_is_counted_and_stops_nobody(tmp_path):
    log = FileLog(tmp_path / "log", LARGE, PLENTY)
    (tmp_path / "log").rmdir()
    log.append(*batch(0, 1))
    assert log.failed == 1
    (tmp_path / "log").mkdir()
    log.append(*batch(0, 2))
    log.close()
    assert [seq for _, seq, _ in read_back(tmp_path / "log")] == [2]


def test_only_its_owner_may_enter_the_directory(tmp_path):
    FileLog(tmp_path / "log", LARGE, PLENTY)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"zz{SUFFIX}").write_text("mine too")
    log = FileLog(tmp_path, 1, 2)
    for seq in range(1, 9):
        log.append(*batch(0, seq))
    log.close()
    assert (tmp_path / "notes.txt").read_text() == "mine" and (tmp_path / f"zz{SUFFIX}").exists()
    assert read_back(tmp_path)[-1][1] == 8
