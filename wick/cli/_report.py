"""What commands say on standard error: progress while it is a terminal, and faults with their positions."""

import sys
import time
from collections import Counter
from collections.abc import Callable

from wick.errors import ParseError
from wick.ops.logs import escape

TOLD_A_REASON = 1_000  # faults of one kind that are named one by one; the rest is counted
EVERY_S = 0.2  # between two looks of the progress line


class StatusLine:
    """A line on standard error that is rewritten in place. Silent where that is no terminal."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self._there = False

    def show(self, text: str) -> None:
        if self.shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._there = True

    def clear(self) -> None:
        """Take the line away, before something else is written."""
        if self._there:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._there = False


class Progress(StatusLine):
    """How far reading is: bytes of the total, entries, speed, time left."""

    def __init__(self, what: str, total_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.what, self.total_bytes, self._clock = what, total_bytes, clock
        self._bytes = self._count = 0
        self._started = self._next = clock()

    def read(self, count: int) -> None:
        """`count` more bytes were read."""
        self._bytes += count

    def step(self, count: int) -> None:
        """`count` more entries were done."""
        self._count += count
        if self.shown and (now := self._clock()) >= self._next:
            self._next = now + EVERY_S
            self.show(self.text(now))

    def text(self, now: float) -> str:
        elapsed = max(now - self._started, 1e-9)
        done = min(self._bytes / self.total_bytes, 1.0) if self.total_bytes else 1.0
        left = elapsed * (1 - done) / done if done else 0.0
        size = f"{self._bytes / 1e6:.1f} of {self.total_bytes / 1e6:.1f} MB"
        return (
            f"{done:4.0%}  {size}  {self._count:,} {self.what}  {self._count / elapsed:,.0f}/s"
            f"  {int(left) // 60}:{int(left) % 60:02d} left"
        )


class Faults:
    """Everything in the input that could not be used: named where it stands, counted by reason."""

    def __init__(self, command: str, status: StatusLine | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._command, self._status = command, status or StatusLine()

    def add(self, where: str, error: ParseError) -> None:
        self.counts[error.reason] += 1
        if self.counts[error.reason] <= TOLD_A_REASON:
            self.say(f"{where}: {error}")

    def say(self, text: str) -> None:
        """A line on standard error."""
        self._status.clear()
        print(escape(text), file=sys.stderr)

    def summary(self) -> None:
        """The counts, where there is anything to count."""
        if total := self.counts.total():
            kinds = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.most_common())
            unnamed = sum(max(0, count - TOLD_A_REASON) for count in self.counts.values())
            rest = f"; {unnamed:,} of them not named above" if unnamed else ""
            self.say(f"wick {self._command}: {total:,} could not be used: {kinds}{rest}")
