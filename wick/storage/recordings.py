"""Reading recordings: raw captures and trade dumps, as one stream in the order of time.

A capture has one line a received message: `<receive time, ns> <the message as received>`. A trade dump is a
CSV (see `dumps`). Either may be plain, gzip or zip: the content tells, not the name. Lines end with LF or CRLF.
Whatever cannot be read is told as a fault with its position (`file:line`) and the rest goes on. Nothing is held
but a block of each file that is being read, so the length of the input does not matter.

Order: each file keeps its own; files are merged by the largest time seen so far in each. Equal times go by
path, so the order in which files are named does not matter.
"""

import io
import os
import re
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wick.errors import ParseError, SettingError
from wick.market.trades import Trade
from wick.storage import dumps

READ_BYTES = 1 << 18  # compressed bytes a read
BLOCK_BYTES = 1 << 20  # decompressed bytes a block, at most
MAX_LINE_BYTES = 1 << 24  # a depth snapshot of 5,000 levels has 0.3 MB; unbounded, a line could take it all
STAMP_DIGITS = 19  # of nanoseconds since the epoch, from 2001 to 2286; other lengths are read, but slower
SNIFF_LINES = 50  # a file whose first lines are damaged is still recognised

_CAPTURE_LINE = re.compile(rb"([0-9]{1,19}) (?=.)", re.DOTALL)

Fault = Callable[[str, ParseError], None]  # told where (`file:line`) and what
Meter = Callable[[int], None]  # told how many bytes were read from a file
Item = bytes | Trade  # a capture's frame, a dump's trade
Lines = Generator[tuple[int, list[bytes]], None, None]  # (number of the first line, whole lines)


class Block(NamedTuple):
    """Consecutive entries of one file: line numbers, times (ns: received, or traded in a dump), items."""

    lines: Sequence[int]
    times_ns: list[int]
    items: Sequence[Item]


class Damaged(Exception):
    """A container ends or breaks here: what came before it is good."""


# ---------------------------------------------------------------------- containers


class _MeteredFile(io.FileIO):
    """A file that tells how much was read from it."""

    meter: Meter | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        if self.meter:
            self.meter(len(data))
        return data


def _read(file: BinaryIO) -> Iterator[bytes]:
    try:
        while data := file.read(READ_BYTES):
            yield data
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damaged(f"corrupt zip ({error})") from None


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Every byte that can be had, also before a cut or a damaged place; members may follow each other."""
    inflate, fresh, members = zlib.decompressobj(wbits=31), True, 0
    for chunk in chunks:
        while chunk:
            if members and fresh and not (chunk := chunk.lstrip(b"\0")):
                break  # gzip pads with zeros, as tapes did
            before = inflate.copy()
            try:
                data = inflate.decompress(chunk, BLOCK_BYTES)
            except zlib.error as error:
                yield _salvage(before, chunk)
                reason = "trailing garbage after gzip" if members and fresh else f"corrupt gzip ({error})"
                raise Damaged(reason) from None
            fresh = False
            if data:
                yield data
            chunk = inflate.unconsumed_tail
            if inflate.eof:
                chunk = inflate.unused_data
                inflate, fresh, members = zlib.decompressobj(wbits=31), True, members + 1
    if not fresh:
        if data := inflate.flush():
            yield data
        raise Damaged("truncated gzip")


def _salvage(inflate: "zlib._Decompress", chunk: bytes) -> bytes:
    """What `chunk` gives before its damaged place: an error loses the output of its whole call."""
    data = bytearray()
    try:
        for at in range(len(chunk)):
            data += inflate.decompress(chunk[at : at + 1])
    except zlib.error:
        pass
    return bytes(data)


def _lines(chunks: Iterable[bytes]) -> Lines:
    """The bytes as lines; the part of a line at a damaged end is dropped with it."""
    number, rest = 1, b""
    try:
        for chunk in chunks:
            text = rest + chunk
            if b"\r" in text:
                text = text.replace(b"\r\n", b"\n")
            lines = text.split(b"\n")
            rest = lines.pop()
            if lines:
                yield number, lines
                number += len(lines)
            elif len(rest) > MAX_LINE_BYTES:
                raise Damaged(f"a line of more than {MAX_LINE_BYTES} bytes")
    except Damaged as error:
        raise Damaged(number, str(error)) from None
    if rest:
        yield number, [rest.removesuffix(b"\r")]


# ---------------------------------------------------------------------- one file


class Recording:
    """One file, or one member of a zip: what it holds, and its entries block by block.

    Resource handling: a file is open only while its lines or blocks are iterated.
    """

    def __init__(self, path: Path, member: str = "") -> None:
        self.path, self.member = path, member
        self.name = f"{path}/{member}" if member else str(path)
        self.layout: dumps.Layout | None = None  # of a dump's columns; None for a capture
        self.symbol = ""  # of a dump: the name that its trades get
        # What a dump's name says: the venue's symbol, and since when all its trades are there.
        self.native, self.since_ms = dumps.in_name(Path(member or path).name)
        self.first_ns = 0  # time of the first entry, 0 where its first lines do not tell

    def __repr__(self) -> str:
        return f"Recording({self.name})"

    @property
    def kind(self) -> str:
        return self.layout.kind if self.layout else "capture"

    def lines(self, meter: Meter | None = None) -> Lines:
        with _MeteredFile(self.path) as file:
            file.meter = meter
            if not self.member:
                yield from self._decoded(file)
                return
            with zipfile.ZipFile(file) as archive, archive.open(self.member) as inner:
                yield from self._decoded(inner)  # type: ignore[arg-type]

    def _decoded(self, file: BinaryIO) -> Lines:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        chunks = _read(file)
        yield from _lines(_gunzip(chunks) if zipped else chunks)

    def sniff(self) -> None:
        """Find out what it holds. Raises ParseError where it is neither a capture nor a trade dump."""
        head: list[bytes] = []
        damage = "empty file"
        try:
            with closing(self.lines()) as blocks:
                for _, block in blocks:
                    head += block[:SNIFF_LINES]
                    if len(head) >= SNIFF_LINES:
                        break
        except Damaged as error:
            damage = str(error.args[-1])  # blocks() tells it in full, after what precedes it
        if not head:
            raise ParseError(damage)
        for line in head:
            if match := _CAPTURE_LINE.match(line):
                self.first_ns = int(match[1])
                return
            self.layout = dumps.recognise(line)
            if self.layout:
                self.first_ns = self.layout.look(head)
                return
        raise ParseError("neither a raw capture nor a Binance trade dump", "", head[0][:60])

    def blocks(self, fault: Fault, meter: Meter | None = None) -> Generator[Block, None, None]:
        """Its entries. Faults are told and left out."""
        lines = self.lines(meter)
        try:
            for first, block in lines:
                if self.layout:
                    yield Block(*self.layout.trades(self.symbol, first, block, self._told(fault)))
                else:
                    yield self._frames(first, block, fault)
        except Damaged as error:
            line, reason = error.args
            fault(f"{self.name}:{line}", ParseError(reason))
        except (OSError, zipfile.BadZipFile) as error:
            fault(self.name, ParseError(str(error)))
        finally:
            lines.close()

    def _told(self, fault: Fault) -> Callable[[int, ParseError], None]:
        return lambda line, error: fault(f"{self.name}:{line}", error)

    def _frames(self, first: int, lines: list[bytes], fault: Fault) -> Block:
        stamps = [line[: STAMP_DIGITS + 1] for line in lines]
        joined = b"".join(stamps)
        # One look at all stamps of a block: a regular expression a line would cost as much as the merge.
        if (
            joined[STAMP_DIGITS :: STAMP_DIGITS + 1] == b" " * len(lines)
            and len(joined) == len(lines) * (STAMP_DIGITS + 1)
            and joined.count(b" ") == len(lines)
            and joined.replace(b" ", b"").isdigit()
        ):
            frames = [line[STAMP_DIGITS + 1 :] for line in lines]
            if all(frames):
                return Block(range(first, first + len(lines)), list(map(int, stamps)), frames)
        numbers: list[int] = []
        times: list[int] = []
        frames = []
        for number, line in enumerate(lines, first):
            if match := _CAPTURE_LINE.match(line):
                numbers.append(number)
                times.append(int(match[1]))
                frames.append(line[match.end() :])
            elif line.strip():
                fault(f"{self.name}:{number}", ParseError("no receive time and message", "", line[:40]))
        return Block(numbers, times, frames)


def files_of(names: Iterable[str]) -> list[Path]:
    """The files that names, patterns (`day/*.gz`) and directories stand for; SettingError where one stands for none."""
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = [entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith(".")]
        elif path.is_file():
            found = [path]
        else:
            found = [entry for entry in path.parent.glob(path.name) if entry.is_file()]
        if not found:
            raise SettingError(f"exchange.files: {name!r} is wrong: valid is a capture file, a directory, or a pattern")
        paths += sorted(found)
    return list(dict.fromkeys(paths))


def find(paths: Iterable[str | os.PathLike[str]], fault: Fault) -> list[Recording]:
    """The recordings in these files, in the order of their paths; files that hold none are told as faults."""
    found = []
    for path in sorted({Path(path) for path in paths}):
        for recording in _members(path, fault):
            try:
                recording.sniff()
            except (ParseError, OSError, zipfile.BadZipFile, RuntimeError) as error:
                # RuntimeError and its kin are zipfile's word for an encrypted member or an unknown method.
                fault(f"{recording.name}:1", _as_parse_error(error))
            else:
                found.append(recording)
    return found


def _members(path: Path, fault: Fault) -> list[Recording]:
    try:
        with path.open("rb") as file:
            if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
                return [Recording(path)]
            with zipfile.ZipFile(file) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        fault(str(path), _as_parse_error(error))
        return []
    if not names:
        fault(str(path), ParseError("empty zip"))
    return [Recording(path, name) for name in sorted(names)]


def _as_parse_error(error: Exception) -> ParseError:
    if isinstance(error, ParseError):
        return error
    return ParseError((isinstance(error, OSError) and error.strerror) or str(error))


# ---------------------------------------------------------------------- many files as one stream


class Batch(NamedTuple):
    """Entries of several recordings in the order of time."""

    times_ns: list[int]
    items: list[Item]
    order: Sequence[int]  # position of each entry in the segments laid end to end
    starts: list[int]  # where each segment begins
    segments: list[tuple[Recording, Sequence[int]]]  # recording, line numbers

    def place(self, index: int) -> tuple[Recording, int]:
        """The recording of an entry, and its line."""
        position = self.order[index]
        segment = bisect_right(self.starts, position) - 1
        recording, lines = self.segments[segment]
        return recording, lines[position - self.starts[segment]]

    def where(self, index: int) -> str:
        """`file:line` of an entry."""
        recording, line = self.place(index)
        return f"{recording.name}:{line}"


class _Cursor:
    """A recording that is being read, and the part of its current block that has not been taken."""

    __slots__ = ("at", "block", "blocks", "highest", "keys", "recording")

    def __init__(self, recording: Recording, fault: Fault, meter: Meter | None) -> None:
        self.recording, self.blocks = recording, recording.blocks(fault, meter)
        self.highest = 0
        self.next_block()

    def next_block(self) -> None:
        """`keys` is empty only at the end."""
        self.at, self.keys = 0, []
        for block in self.blocks:
            if block.times_ns:
                # The largest time so far: a frame that is out of order in its file stays where it is.
                self.keys = list(accumulate(block.times_ns, max, initial=self.highest))[1:]
                self.block, self.highest = block, self.keys[-1]
                return


def merge(recordings: Iterable[Recording], fault: Fault, meter: Meter | None = None) -> Iterator[Batch]:
    """All entries of `recordings` in the order of time, in batches; a file is opened when its time comes."""
    waiting = sorted(recordings, key=lambda r: (r.first_ns, r.name), reverse=True)
    active: list[_Cursor] = []
    try:
        while waiting or active:
            bound = min((cursor.highest for cursor in active), default=None)
            if waiting and (bound is None or waiting[-1].first_ns <= bound):
                active.append(_Cursor(waiting.pop(), fault, meter))
                active = sorted((c for c in active if c.keys), key=lambda c: c.recording.name)
                continue
            assert bound is not None
            yield _take(active, bound)
            for cursor in active:
                if cursor.at == len(cursor.keys):
                    cursor.next_block()
            active = [cursor for cursor in active if cursor.keys]
    finally:
        for cursor in active:
            cursor.blocks.close()


def _take(active: list[_Cursor], bound: int) -> Batch:
    """Everything up to `bound`: no file can still bring anything older."""
    keys: list[int] = []
    times: list[int] = []
    items: list[Item] = []
    starts: list[int] = []
    segments: list[tuple[Recording, Sequence[int]]] = []
    for cursor in active:
        start, end = cursor.at, bisect_right(cursor.keys, bound, cursor.at)
        if start == end:
            continue
        cursor.at = end
        starts.append(len(items))
        segments.append((cursor.recording, cursor.block.lines[start:end]))
        keys += cursor.keys[start:end]
        times += cursor.block.times_ns[start:end]
        items += cursor.block.items[start:end]
    if len(segments) == 1:
        return Batch(times, items, range(len(items)), starts, segments)
    order = sorted(range(len(items)), key=keys.__getitem__)
    return Batch([times[i] for i in order], [items[i] for i in order], order, starts, segments)
