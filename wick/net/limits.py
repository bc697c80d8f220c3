"""What a venue allows in a time: whoever asks for more waits his turn. For greenlets of one thread."""

import time
from collections import deque
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from wick.net.clock import now_ns, steady_ns

# Binance bans for 2 minutes to 3 days: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
MOST_RETRY_AFTER_S = 3 * 86_400.0


class Bucket:
    """Never more than `count` in any time of `seconds` (half open). Who asks first goes first.

    `sleep` lets the others run: `gevent.sleep`, or `time.sleep` where it is patched.
    """

    def __init__(
        self, count: int, seconds: float, *, now: Callable[[], int] = steady_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self._count, self._window_ns = count, round(seconds * 1e9)
        self._now, self._sleep = now, sleep
        self._granted: deque[tuple[int, int]] = deque()  # (when, weight), oldest first: those of the last `seconds`
        self._waiting: deque[tuple[object, int]] = deque()  # (whose, weight), in the order of asking
        self._paused_until = 0

    def wait(self, weight: int = 1) -> None:
        """Return when so much more is allowed. A weight above `count` counts as `count`."""
        turn = (object(), min(weight, self._count))
        self._waiting.append(turn)
        try:
            # Whoever sleeps may wake late, and a pause may come meanwhile: what is due is worked out anew.
            while (left_ns := self._left_ns(turn)) > 0:
                self._sleep(left_ns / 1e9)
            self._granted.append((self._now(), turn[1]))
        finally:
            self._waiting.remove(turn)

    def take(self, weight: int = 1) -> float:
        """0.0, and so much is granted; else the seconds after which to ask again. For who has other things to do."""
        turn = (object(), min(weight, self._count))
        self._waiting.append(turn)
        left_ns = self._left_ns(turn)
        self._waiting.pop()
        if not left_ns:
            self._granted.append((self._now(), turn[1]))
        return left_ns / 1e9

    def spent(self, weight: int) -> None:
        """The venue says that so much is used up: what we have not used ourselves counts from now on as well."""
        now = self._now()
        own = sum(used for when, used in self._granted if when > now - self._window_ns)
        more = min(weight, self._count) - own
        if more > 0:
            self._granted.append((now, more))

    def pause(self, seconds: float) -> None:
        """Allow nothing for so long: the venue asked for it (429, 418)."""
        self._paused_until = max(self._paused_until, self._now() + round(seconds * 1e9))

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _left_ns(self, turn: tuple[object, int]) -> int:
        """How long until this one's turn, if all before it go as early as they may."""
        now = self._now()
        granted = self._granted
        while granted and granted[0][0] <= now - self._window_ns:
            granted.popleft()
        running, used = deque(granted), sum(weight for _, weight in granted)
        at = max(now, self._paused_until)
        for other in self._waiting:
            while used + other[1] > self._count:
                when, weight = running.popleft()
                used -= weight
                at = max(at, when + self._window_ns)
            if other is turn:
                return at - now or int(other is not self._waiting[0])  # never before the one who is first
            running.append((at, other[1]))
            used += other[1]
        raise AssertionError("it waits, so it is among those who wait")


def retry_after_s(value: str | None) -> float | None:
    """What the header Retry-After says: seconds, or a date (RFC 9110, 10.2.3); None where it is neither."""
    if value is None:
        return None
    try:
        after_s = float(value)
    except ValueError:
        try:
            after_s = parsedate_to_datetime(value).timestamp() - now_ns() / 1e9
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, after_s), MOST_RETRY_AFTER_S)
