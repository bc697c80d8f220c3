"""A question to a venue's REST that is worth repeating: what fails for now is asked again, what is refused is not."""

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from wick.errors import ParseError, WickError
from wick.exchanges import NOT_NOW, REFUSED, Venue
from wick.net.dial import client_context
from wick.net.fetch import FetchError
from wick.ops.settings import Settings
from wick.roles.rest import Rest

TRIES = 6
BESIDE = 0.5  # of what the venue allows: a feed may be asking too
WAIT_S, WAIT_MOST_S = 1.0, 30.0
REFUSALS = range(400, 500)  # statuses that say that the request is wrong; but for those that say "not now"
LATER = (403, 408, 418, 425, 429)

log = logging.getLogger("wick")
Answer = TypeVar("Answer")


class AskError(WickError):
    """The venue does not give what is asked for. `is_away`: it has not answered at all."""

    def __init__(self, text: str, is_away: bool = False) -> None:
        super().__init__(text)
        self.is_away = is_away


class Asking:
    """One venue's REST, for threads too. `tries` for each question, with waits between that grow."""

    def __init__(
        self, venue: Venue, settings: Settings, tries: int = TRIES, share: float = BESIDE,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        # The settings' address is of the one exchange in `feed.venues`, a simulated one perhaps.
        is_its = settings["feed.venues"] == (venue.id,)
        url = (settings["feed.rest_url"] if is_its else "") or venue.rest_url
        self.counts: dict[str, int] = {}
        turn: AbstractContextManager[object] = threading.Lock()
        self._rest = Rest(venue, url, client_context(settings["feed.ca_file"]), self._count, turn, share)
        self._venue, self._tries, self._sleep = venue, tries, sleep

    def _count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def ask(self, path: str, weight: int, parse: Callable[[bytes], Answer]) -> Answer:
        """The parsed answer. AskError where there is none."""
        for left in reversed(range(self._tries)):
            try:
                return parse(self._rest.get(path, weight))
            except FetchError as error:
                if error.status in REFUSALS and error.status not in LATER:
                    raise AskError(f"{self._venue.id} refuses: {error}") from error
                if not left:
                    raise AskError(str(error), is_away=error.status is None) from error
                reason = str(error)
            except ParseError as error:
                if error.reason == REFUSED:
                    raise AskError(f"{self._venue.id} refuses: {error}") from error
                if error.reason == NOT_NOW:
                    self._rest.turned_away()
                if not left:
                    raise AskError(f"{self._venue.id} answers nonsense: {error}") from error
                reason = str(error)
            log.warning("asking again: %s", reason)
            tried = self._tries - 1 - left
            self._sleep(min(WAIT_MOST_S, WAIT_S * 2**tried) * random.uniform(0.5, 1))
        raise AssertionError("it is asked at least once")
