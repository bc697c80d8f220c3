"""Reading recordings: containers whole and damaged, positions, and many files as one stream."""

import gzip
import random
import zipfile
from pathlib import Path

import pytest

from tests.cli.making import BASE_MS, capture, trade
from wick.errors import SettingError
from wick.storage import recordings
from wick.storage.recordings import Recording, files_of, find, merge

BASE_NS = BASE_MS * 1_000_000


class Told(list[tuple[str, str]]):
    """Collects faults."""

    def __call__(self, where: str, error: Exception) -> None:
        self.append((where, str(error)))


@pytest.fixture
def told() -> Told:
    return Told()


def frames(paths: list[Path], told: Told) -> list[bytes]:
    return [item for batch in merge(find(paths, told), told) for item in batch.items]


def numbered(count: int, start: int = 0) -> list[tuple[str, int]]:
    return [(f"frame-{n}", n) for n in range(start, start + count)]


def content(count: int) -> list[bytes]:
    return [f"frame-{n}".encode() for n in range(count)]


@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.slow), 7, 64, 1 << 18])
def read_bytes(request, monkeypatch) -> int:
    """Reading in pieces of any size gives the same."""
    monkeypatch.setattr(recordings, "READ_BYTES", request.param)
    monkeypatch.setattr(recordings, "BLOCK_BYTES", request.param * 3)
    return request.param


def test_plain_gzip_members_padding_and_zip_give_the_same_frames(tmp_path, told, read_bytes):
    plain = capture(tmp_path / "plain", *numbered(100)).read_bytes()
    (tmp_path / "gzip").write_bytes(gzip.compress(plain))
    middle = plain.index(b"frame-50") + 3
    (tmp_path / "members").write_bytes(gzip.compress(plain[:middle]) + gzip.compress(plain[middle:]))
    (tmp_path / "padded").write_bytes(gzip.compress(plain) + bytes(100))
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", plain)
    (tmp_path / "unended").write_bytes(plain.rstrip(b"\n"))
    (tmp_path / "windows").write_bytes(plain.replace(b"\n", b"\r\n"))
    (tmp_path / "windows-unended").write_bytes(plain.replace(b"\n", b"\r\n")[:-1])
    for path in sorted(tmp_path.iterdir()):
        assert frames([path], told) == content(100), path.name
    assert told == []


def test_a_zip_may_hold_several_recordings(tmp_path, told):
    with zipfile.ZipFile(tmp_path / "day.zip", "w") as archive:
        archive.writestr("b", capture(tmp_path / "b", *numbered(5, 5)).read_bytes())
        archive.writestr("a.gz", gzip.compress(capture(tmp_path / "a", *numbered(5)).read_bytes()))
    assert frames([tmp_path / "day.zip"], told) == content(10)


@pytest.mark.parametrize("cut", [0.3, 0.9, 0.999])
def test_a_gzip_that_is_cut_gives_every_whole_line_before_the_cut(cut, tmp_path, told, read_bytes):
    whole = gzip.compress(capture(tmp_path / "plain", *numbered(3_000)).read_bytes())
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * cut)])
    got = frames([path], told)
    assert got == content(len(got))
    assert told == [(f"{path}:{len(got) + 1}", "truncated gzip")]
    assert len(got) > 3_000 * cut * 0.8


def test_a_damaged_gzip_gives_every_line_before_the_damage(tmp_path, told, read_bytes):
    """Stored blocks, so that what precedes the damage is known to the byte."""
    whole = bytearray(gzip.compress(capture(tmp_path / "plain", *numbered(5_000)).read_bytes(), 0))
    second = whole.index(b"frame-2500\n")
    header = whole.index(b"\x00", second)  # of the next stored block
    whole[header] = 0x07  # a type of block that there is not
    path = tmp_path / "damaged"
    path.write_bytes(whole)
    got = frames([path], told)
    assert got == content(len(got))
    assert len(got) > 2_500
    ((where, what),) = told
    assert where == f"{path}:{len(got) + 1}"
    assert what.startswith("corrupt gzip")


def test_a_gzip_with_a_wrong_checksum_or_something_after_it_gives_all_and_a_fault(tmp_path, told):
    whole = gzip.compress(capture(tmp_path / "plain", *numbered(50)).read_bytes())
    for name, data, reason in (
        ("sum", whole[:-8] + bytes(8), "corrupt gzip"),
        ("tail", whole + b"garbage", "trailing garbage"),
    ):
        (tmp_path / name).write_bytes(data)
        told.clear()
        assert frames([tmp_path / name], told) == content(50)
        assert len(told) == 1
        assert told[0][1].startswith(reason)


def test_an_endless_line_is_given_up(tmp_path, told, monkeypatch):
    monkeypatch.setattr(recordings, "MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr(recordings, "READ_BYTES", 100)
    path = capture(tmp_path / "a", *numbered(3))
    path.write_bytes(path.read_bytes() + b"x" * 5_000 + b"\n")
    assert frames([path], told) == content(3)
    assert told == [(f"{path}:4", "a line of more than 1000 bytes")]


def test_a_line_without_a_receive_time_costs_only_itself(tmp_path, told):
    path = capture(tmp_path / "a", *numbered(3))
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, b"\xffgarbage", b"", b"12x4 no", second, b"-1 no", b" " + first, third]))
    assert frames([path], told) == content(3)
    assert [where for where, _ in told] == [f"{path}:{number}" for number in (2, 4, 6, 7)]


def test_a_line_without_a_message_or_with_no_time_there_is_costs_only_itself(tmp_path, told):
    path = tmp_path / "odd"
    path.write_bytes(b"1 one\nno time here\n\n2\n12345678901234567890 long\n1723161585000000000 \n3 three\n")
    assert frames([path], told) == [b"one", b"three"]
    assert [where for where, _ in told] == [f"{path}:{number}" for number in (2, 4, 5, 6)]
    assert all(what.startswith("no receive time and message") for _, what in told)


def test_a_message_is_missing_among_lines_of_equal_shape(tmp_path, told):
    path = tmp_path / "a"
    path.write_bytes(b"1723161585000000000 one\n1723161585000000001 \n1723161585000000002 three\n")
    assert frames([path], told) == [b"one", b"three"]
    assert [where for where, _ in told] == [f"{path}:2"]


def test_a_file_that_is_gone_costs_only_itself(tmp_path, told):
    there = capture(tmp_path / "there", *numbered(1))
    assert frames([tmp_path / "gone.gz", there], told) == content(1)
    assert told == [(f"{tmp_path / 'gone.gz'}", "No such file or directory")]


def test_names_patterns_and_directories_stand_for_files(tmp_path):
    a, b = capture(tmp_path / "a.gz", *numbered(1)), capture(tmp_path / "b.gz", *numbered(1))
    assert files_of([str(tmp_path)]) == files_of([str(tmp_path / "*.gz")]) == [a, b]
    assert files_of([str(b), str(a), str(tmp_path)]) == [b, a]
    with pytest.raises(SettingError, match="nothing-here"):
        files_of([str(a), str(tmp_path / "nothing-here*")])


def test_a_recording_is_recognised_though_its_beginning_is_damaged(tmp_path, told):
    path = capture(tmp_path / "a", *numbered(3))
    path.write_bytes(b"\x00\x01 damaged\n" * 20 + path.read_bytes())
    assert frames([path], told) == content(3)
    assert len(told) == 20


def test_a_short_receive_time_is_a_time_too(tmp_path, told):
    (tmp_path / "a").write_text("1 one\n22 two\n333 three\n")
    assert frames([tmp_path / "a"], told) == [b"one", b"two", b"three"]
    assert told == []


@pytest.mark.parametrize("seed", range(5))
def test_many_files_become_one_stream_whatever_their_order_and_the_size_of_blocks(seed, tmp_path, told, monkeypatch):
    chance = random.Random(seed)
    monkeypatch.setattr(recordings, "READ_BYTES", chance.choice([10, 100, 1_000, 100_000]))
    everything = numbered(2_000)
    paths = []
    for number in range(8):
        begin = chance.randrange(1_500)
        some = [entry for entry in everything[begin : begin + chance.randrange(500)] if chance.random() < 0.5]
        paths.append(capture(tmp_path / f"{number}", *some))
    expected = sorted(
        (int(line.split(b" ")[0]), path.name, line.split(b" ")[1])
        for path in paths
        for line in path.read_bytes().splitlines()
    )
    chance.shuffle(paths)
    assert frames(paths, told) == [frame for _, _, frame in expected]
    assert [what for _, what in told] == ["empty file"] * sum(not path.stat().st_size for path in paths)


def test_a_file_keeps_its_own_order_where_its_clock_steps_back(tmp_path, told):
    stepping = capture(tmp_path / "a", ("one", 10), ("two", 30), ("three", 20), ("four", 40))
    other = capture(tmp_path / "b", ("x", 15), ("y", 25), ("z", 35))
    assert frames([stepping, other], told) == [b"one", b"x", b"y", b"two", b"three", b"z", b"four"]


def test_every_entry_knows_its_file_and_line(tmp_path, told, monkeypatch):
    monkeypatch.setattr(recordings, "READ_BYTES", 50)
    a = capture(tmp_path / "a", *[(f"a-{n}", 2 * n) for n in range(1, 30)])
    b = capture(tmp_path / "b", *[(f"b-{n}", 3 * n) for n in range(1, 30)])
    for batch in merge(find([a, b], told), told):
        for index, item in enumerate(batch.items):
            name, _, number = item.decode().partition("-")
            assert batch.where(index) == f"{tmp_path / name}:{number}"
            assert batch.times_ns[index] == BASE_NS + int(number) * (2 if name == "a" else 3) * 1_000_000


def test_a_file_is_open_only_while_its_time_lasts(tmp_path, told, monkeypatch):
    """A year of daily captures needs no more files and memory than a day."""
    days = [capture(tmp_path / f"{day:03}", *numbered(5, day * 10)) for day in range(50)]
    began: list[str] = []
    lines = Recording.lines
    monkeypatch.setattr(Recording, "lines", lambda self, *rest: began.append(self.path.name) or lines(self, *rest))
    found = find(days, told)
    began.clear()
    stream = merge(found, told)
    for _ in range(10):
        next(stream)
    assert 10 <= len(began) <= 12
    stream.close()


def test_a_year_of_files_is_not_opened_at_once(tmp_path, told):
    days = [capture(tmp_path / f"{day:03}.gz", *numbered(1, day)) for day in range(300)]
    stream = merge(find(days, told), told)
    next(stream)
    open_files = [link for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(link.resolve())]
    assert len(open_files) <= 2
    assert sum(len(batch.items) for batch in stream) == 299


def test_the_meter_counts_every_byte_of_the_files(tmp_path, told):
    paths = [capture(tmp_path / "a", *numbered(500)), tmp_path / "b.gz"]
    paths[1].write_bytes(gzip.compress(paths[0].read_bytes()))
    read: list[int] = []
    for _ in merge(find(paths, told), told, read.append):
        pass
    total = sum(path.stat().st_size for path in paths)
    assert total <= sum(read) <= total + 2 * len(paths)


def test_a_dump_gives_trades_and_a_capture_frames(tmp_path, told):
    frame = capture(tmp_path / "a", trade(1, 0))
    rows = tmp_path / "BTCUSDT-trades-2024-08-09.csv"
    rows.write_text(f"5,1.5,2,3,{BASE_MS + 5},True,True\n")
    kinds = {recording.kind: recording for recording in find([frame, rows], told)}
    assert kinds.keys() == {"capture", "trades"}
    assert (kinds["trades"].native, kinds["trades"].since_ms) == ("BTCUSDT", BASE_MS)
    kinds["trades"].symbol = "BTC-USDT"
    first, second = [item for batch in merge(kinds.values(), told) for item in batch.items]
    assert first == trade(1, 0).encode()
    assert tuple(second) == ("BTC-USDT", BASE_NS + 5_000_000, 5, 15, 1, 2, 0, False, 1)
