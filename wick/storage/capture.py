"""Writing raw captures: `<receive time, ns> <the message as received>`, gzip, a file a connection and UTC day.

What was written is readable at any moment, and after a crash: every FLUSH_S the compressor gives out all that it holds,
so at most that much is lost. A process never goes on in a file of another one (a torn end in its midst would hide what
follows). A disk that is full or fails is counted and said once; a new file is tried a while later. `recordings` reads.
"""

import logging
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

FLUSH_S = 1
RETRY_S = 60
LEVEL = 3  # a third faster than 6, for a file that is a tenth larger
DAY_NS = 86_400 * 10**9
SECOND_NS = 10**9

log = logging.getLogger("wick")


class Capture:
    """The captures of one venue. `number` is a connection's, 0 is for REST's answers."""

    def __init__(self, directory: str | Path, venue: str, now_ns: int) -> None:
        self._directory, self._venue = Path(directory), venue
        self._files: dict[int, _File] = {}
        self._flushed_ns = now_ns
        self._retry_ns = 0
        self.messages = self.lost = self.written_bytes = 0

    def write(self, number: int, recv_ns: int, messages: list[bytes]) -> None:
        """Take what a connection received at `recv_ns`. Never raises: what cannot be written is counted in `lost`."""
        file = self._files.get(number)
        if file is None or recv_ns // DAY_NS != file.day:
            file = self._open(number, recv_ns)
            if file is None:
                self.lost += len(messages)
                return
        stamp = b"%d " % recv_ns
        lines = stamp + (b"\n" + stamp).join(messages) + b"\n"
        if lines.count(b"\n") != len(messages) or b"\r" in lines:
            # A line is a message: breaks within one (JSON allows them between its tokens) become blanks.
            lines = b"".join([stamp + one.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n" for one in messages])
        self.messages += len(messages)
        file.held += len(messages)
        try:
            self.written_bytes += file.write(lines)
        except OSError as error:
            self._give_up(number, error, recv_ns)

    def flush(self, now_ns: int) -> None:
        """Bring to the disk what is older than FLUSH_S; cheap where there is nothing to do."""
        if 0 <= now_ns - self._flushed_ns < FLUSH_S * SECOND_NS:  # less than 0: the clock has been set back
            return
        self._flushed_ns = now_ns
        for number, file in list(self._files.items()):
            try:
                self.written_bytes += file.flush()
            except OSError as error:
                self._give_up(number, error, now_ns)

    def end(self, number: int) -> None:
        """That connection is over."""
        file = self._files.pop(number, None)
        if file is not None:
            try:
                self.written_bytes += file.close()
            except OSError as error:
                self._failed(error)

    def close(self) -> None:
        for number in list(self._files):
            self.end(number)

    def _open(self, number: int, now_ns: int) -> "_File | None":
        self.end(number)
        if 0 < self._retry_ns - now_ns <= RETRY_S * SECOND_NS:
            return None
        at = datetime.fromtimestamp(now_ns // SECOND_NS, UTC)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            again = 0
            while True:
                name = f"{self._venue}_{at:%Y%m%d_%H%M%S}_{number}{f'.{again}' if again else ''}.gz"
                try:
                    file = self._files[number] = _File(self._directory / name, now_ns // DAY_NS)
                    return file
                except FileExistsError:
                    again += 1
        except OSError as error:
            self._failed(error)
            self._retry_ns = now_ns + RETRY_S * SECOND_NS
            return None

    def _give_up(self, number: int, error: OSError, now_ns: int) -> None:
        self._failed(error)
        file = self._files.pop(number)
        self.messages -= file.held
        self.lost += file.held
        file.abandon()
        self._retry_ns = now_ns + RETRY_S * SECOND_NS

    def _failed(self, error: OSError) -> None:
        log.error("cannot record into %s: %s; trying again in %d s", self._directory, error.strerror or error, RETRY_S)


class _File:
    """One gzip file that is being written."""

    def __init__(self, path: Path, day: int) -> None:
        self.day = day
        self._file: BinaryIO = path.open("xb", buffering=0)
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)  # 31: with gzip's head and end
        self.held = 0  # messages that may be on the disk in part, or not at all

    def write(self, data: bytes) -> int:
        return self._put(self._deflate.compress(data))

    def flush(self) -> int:
        if not self.held:
            return 0
        written = self._put(self._deflate.flush(zlib.Z_SYNC_FLUSH))
        self.held = 0
        return written

    def close(self) -> int:
        try:
            return self._put(self._deflate.flush())
        finally:
            self._file.close()

    def abandon(self) -> None:
        self._file.close()

    def _put(self, data: bytes) -> int:
        view = memoryview(data)
        while view:  # an unbuffered write may take a part only
            view = view[self._file.write(view) or 0 :]
        return len(data)
