"""When to come back: which ends of a connection invite to, and after how long. Pure."""

from typing import Final

from wick.errors import WickError

FIRST_MS: Final = 500
CAP_MS: Final = 30_000
LONGEST_MS: Final = 300_000  # that a front can ask for

# Our messages were at fault, or we are not wanted: the next time would end alike (docs/protocol.md).
_AT_FAULT: Final = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
# Of the HTTP statuses below 500 those that pass: timeout, too early, too many requests (RFC 9110, RFC 8470, RFC 6585).
_PASSING: Final = frozenset({408, 425, 429})


class ClientError(WickError):
    """A session has ended and will not go on by itself. `code`: the close code or HTTP status, where there was one."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


def invites(close_code: int | None) -> bool:
    """Whether to connect again after this close code; None: the connection was lost without one."""
    if close_code is None:
        return True
    return not (close_code in _AT_FAULT or 3500 <= close_code < 4000 or 4500 <= close_code < 5000)


def passes(status: int | None) -> bool:
    """Whether to try again after this HTTP status; None: there was no HTTP answer at all."""
    return status is None or status >= 500 or status in _PASSING


def delay_ms(attempt: int, chance: float, *, within_ms: int = 0, after_ms: int = 0) -> int:
    """How long to wait before attempt number `attempt` (from 0); `chance` is random in [0, 1).

    Full jitter under a capped exponential (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/):
    a crowd that lost its front together does not come back together. `within_ms`: a front that stops asked for this
    instead. `after_ms`: it asked for no attempt before (HTTP's Retry-After).
    """
    ceiling = within_ms or min(CAP_MS, FIRST_MS << min(attempt, 10))
    return min(after_ms, LONGEST_MS) + int(chance * ceiling)
