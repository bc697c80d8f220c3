"""A venue's REST: asked within its limits, and left alone for as long as it wants."""

import random
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from wick.exchanges import Venue
from wick.net.fetch import FetchError, fetch
from wick.net.limits import Bucket

TOO_MANY = (418, 429)  # Binance: 418 is the ban of who did not heed 429
OURS = 0.8  # of what the venue allows our address: who else asks from there is not to be turned away for us
PAUSE_FIRST_S, PAUSE_MOST_S = 1.0, 60.0  # where it does not say for how long


class Rest:
    """All that a feed asks of one venue goes through here, one after the other where the limit is near."""

    def __init__(
        self, venue: Venue, url: str, context: ssl.SSLContext | None, count: Callable[..., Any],
        turn: AbstractContextManager[object] = nullcontext(),  # noqa: B008  (it has no state)
        share: float = OURS,
    ) -> None:  # fmt: skip
        """`turn`: a lock, where threads ask: the one that waits for the limit keeps the others waiting behind it.

        `share`: of what the venue allows.
        """
        self.url = url.rstrip("/")
        most, window_s = venue.limits.rest
        self._used_header = venue.limits.used_header
        self._others = round(most * (OURS - share))  # may use so much without its being ours
        self._bucket = Bucket(max(1, round(most * share)), window_s)
        self._context, self._count, self._turn = context, count, turn
        self._limited = 0  # times in a row that we were turned away

    def get(self, path: str, weight: int) -> bytes:
        """The answer's body; FetchError. Waits for as long as the venue's limits want it."""
        with self._turn:
            self._bucket.wait(weight)
        self._count("rest_requests")
        try:
            answer = fetch(self.url + path, self._context)
        except FetchError as error:
            self._count("rest_failed")
            if error.status in TOO_MANY:
                self.turned_away(error.retry_after_s)
            raise
        self._limited = 0
        if self._used_header:
            self._learn(answer.headers.get(self._used_header, ""))
        return answer.body

    def _learn(self, used: str) -> None:
        """From the first answer, what was used up before us, by the process that we are started again for too.

        Later ones tell of our own requests, in other windows than ours: heeding those would only make us slower.
        """
        self._used_header = ""
        if used.isascii() and used.isdigit():
            self._bucket.spent(int(used) - self._others)

    def turned_away(self, seconds: float | None = None) -> None:
        """The venue wants to be left alone, for so long if it says so."""
        self._count("rest_turned_away")
        own_s = min(PAUSE_MOST_S, PAUSE_FIRST_S * 2 ** min(self._limited, 10)) * random.uniform(0.5, 1)
        self._limited += 1
        self._bucket.pause(own_s if seconds is None else seconds)
