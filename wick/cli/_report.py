"""What commands say on standard error: progress while it is a terminal, and faults with their positions."""

import sys
import time
from collections import Counter
from collections.abc import Callable

from wick.errors import ParseError

TOLD_A_REASON = 1_000  # faults of one kind that are named one by one; the rest is counted
EVERY_S = 0.2  # between two looks of the progress line


def printable(text: str) -> str:
    """Text from files and venues, safe for a terminal: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Progress:
    """One line that is rewritten in place: bytes read of the total, speed, time left. Only for a terminal."""

    def __init__(self, what: str, total_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.total_bytes, self._clock = what, total_bytes, clock
        self.shown = sys.stderr.isatty()
        self._bytes = self._count = 0
        self._started = self._next = clock()
        self._line = False

    def read(self, count: int) -> None:
        """`count` more bytes were read."""
        self._bytes += count

    def step(self, count: int) -> None:
        """`count` more entries were done."""
        self._count += count
        if self.shown and (now := self._clock()) >= self._next:
            self._next = now + EVERY_S
            print(f"\r\x1b[K{self.text(now)}", end="", file=sys.stderr, flush=True)
            self._line = True

    def text(self, now: float) -> str:
        elapsed = max(now - self._started, 1e-9)
        done = min(self._bytes / self.total_bytes, 1.0) if self.total_bytes else 1.0
        left = elapsed * (1 - done) / done if done else 0.0
        size = f"{self._bytes / 1e6:.1f} of {self.total_bytes / 1e6:.1f} MB"
        return (
            f"{done:4.0%}  {size}  {self._count:,} {self.what}  {self._count / elapsed:,.0f}/s"
            f"  {int(left) // 60}:{int(left) % 60:02d} left"
        )

    def clear(self) -> None:
        """Take the line away, before something else is written."""
        if self._line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._line = False


class Faults:
    """Everything in the input that could not be used: named where it stands, counted by reason."""

    def __init__(self, command: str, progress: Progress) -> None:
        self.counts: Counter[str] = Counter()
        self._command, self._progress = command, progress

    def add(self, where: str, error: ParseError) -> None:
        self.counts[error.reason] += 1
        if self.counts[error.reason] <= TOLD_A_REASON:
            self.say(f"{where}: {error}")

    def say(self, text: str) -> None:
        """A line on standard error."""
        self._progress.clear()
        print(printable(text), file=sys.stderr)

    def summary(self) -> None:
        """The counts, where there is anything to count."""
        if total := self.counts.total():
            kinds = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.most_common())
            unnamed = sum(max(0, count - TOLD_A_REASON) for count in self.counts.values())
            rest = f"; {unnamed:,} of them not named above" if unnamed else ""
            self.say(f"wick {self._command}: {total:,} could not be used: {kinds}{rest}")
