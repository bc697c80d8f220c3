"""Raw capture files as lines: `<receive time, ns> <raw message>`, gzip or plain, of any size and number.

A damaged file gives what can be read of it, and says where it is damaged.
"""

import heapq
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wick.errors import SettingError

_PIECE = 64 * 1024
_MAX_LINE = 16 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


class Line(NamedTuple):
    recv_ns: int
    file: int  # index among the files
    number: int  # of the line, from 1
    raw: bytes


# Called with the file, the position in it, and what is wrong.
Complain = Callable[[Path, str, str], None]


def find_files(names: Sequence[str]) -> list[Path]:
    """The files that names, patterns (`day/*.gz`) and directories stand for; SettingError for none."""
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


def merged(paths: Sequence[Path], complain: Complain) -> Iterator[Line]:
    """The lines of all files by receive time; a file's own order stays, even where its clock stepped back.

    A file is opened when its first line's turn comes: a year of daily files takes no more than a day's.
    """
    waiting = deque(sorted((_begin(path), index) for index, path in enumerate(paths)))
    ready: list[tuple[int, int, Line, Iterator[Line]]] = []
    while waiting or ready:
        while waiting and (not ready or waiting[0][0] <= ready[0][0]):
            index = waiting.popleft()[1]
            lines = _lines(paths[index], index, complain)
            if (line := next(lines, None)) is not None:
                heapq.heappush(ready, (line.recv_ns, index, line, lines))
        if not ready:
            return
        _, index, line, lines = ready[0]
        yield line
        if (line := next(lines, None)) is not None:
            heapq.heapreplace(ready, (line.recv_ns, index, line, lines))
        else:
            heapq.heappop(ready)


def _begin(path: Path) -> int:
    """The receive time of a file's first line; 0 where there is none."""
    return next((line.recv_ns for line in _lines(path, 0, lambda *_: None)), 0)


def _lines(path: Path, index: int, complain: Complain) -> Iterator[Line]:
    number = 0
    try:
        for number, line in enumerate(_split(_pieces(path)), start=1):
            stamp, _, raw = line.rstrip(b"\r").partition(b" ")
            if stamp.isdigit() and len(stamp) <= 19 and raw:
                yield Line(int(stamp), index, number, raw)
            elif line.strip():
                complain(path, f"line {number}", f"no receive time and message: {line[:60]!r}")
    except (OSError, EOFError, zlib.error) as error:
        complain(path, f"after line {number}", f"the rest cannot be read: {error}")


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Lines. What an error leaves of the last one is no line."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > _MAX_LINE:
            raise EOFError(f"a line is longer than {_MAX_LINE} bytes")
    if rest:
        yield rest


def _pieces(path: Path) -> Iterator[bytes]:
    """The file's content in pieces. EOFError after the last one if the gzip stream ends too early."""
    with path.open("rb") as file:
        data = file.read(_PIECE)
        if not data.startswith(_GZIP_MAGIC):
            while data:
                yield data
                data = file.read(_PIECE)
            return
        inflate = zlib.decompressobj(wbits=31)
        while data:
            if piece := inflate.decompress(data, _PIECE * 16):
                yield piece
            left = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            data = left or file.read(_PIECE)
            if inflate.eof and data:  # gzip files may be put one after another
                inflate = zlib.decompressobj(wbits=31)
        if not inflate.eof:
            raise EOFError("the gzip stream is cut off")
