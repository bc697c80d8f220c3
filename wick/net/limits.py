"""What a venue allows in a time: whoever asks for more waits his turn."""

import time
from collections import deque
from collections.abc import Callable

from wick.net.clock import steady_ns


class Bucket:
    """Never more than `count` in any time of `seconds`. Who asks first goes first.

    `sleep` lets others run: `gevent.sleep`, or the patched `time.sleep`.
    """

    def __init__(
        self, count: int, seconds: float, *, now: Callable[[], int] = steady_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self._count, self._window_ns = count, round(seconds * 1e9)
        self._now, self._sleep = now, sleep
        self._granted: deque[tuple[int, int]] = deque()  # (when, weight) within the window, oldest first
        self._waiting: list[list[int]] = []  # [weight] each, in the order of asking
        self._paused_until = 0

    def wait(self, weight: int = 1) -> None:
        """Return when so much more is allowed. What is more than `count` counts as `count`."""
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        """Allow nothing for so long (the venue said so: 429, 418)."""
        raise NotImplementedError
