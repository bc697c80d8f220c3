"""What both shells do alike: the address, the token, the offer of subprotocols, and what a failed attempt means."""

from typing import Any, Final, NamedTuple

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from wick.client._address import bearer, websocket_url
from wick.client.forms import FORMS, Form
from wick.client.reconnect import ClientError

MAX_MESSAGE_BYTES: Final = 64 << 20  # at midnight on the 1st a glob's twelve candles a pair close in one message
OPEN_S: Final = 10.0
CLOSE_S: Final = 1.0  # a front that is gone answers no close; the connection is dropped then

# What an attempt may fail with; anything else is our own fault and ends the program. ConnectionClosed: by a front that
# ended after it had taken the connection, before it had read the request.
FAILURES: Final = (OSError, InvalidHandshake, ConnectionClosed, TimeoutError, EOFError)


class Dial(NamedTuple):
    """Whom to call and how."""

    url: str
    form: Form
    headers: dict[str, str]
    options: dict[str, Any]

    @classmethod
    def to(cls, url: str, form: str, token: str | None, options: dict[str, Any]) -> "Dial":
        """Raises ClientError for a url or form that is none."""
        if form not in FORMS:
            raise ClientError(f"form = {form!r} is wrong: valid is {' or '.join(FORMS)}")
        return cls(websocket_url(url), FORMS[form], bearer(token), options)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `connect`, in both of the library's clients."""
        return {
            "subprotocols": [self.form.subprotocol],
            "additional_headers": self.headers,
            "max_size": MAX_MESSAGE_BYTES,
            "open_timeout": OPEN_S,
            "close_timeout": CLOSE_S,
            "ping_interval": None,  # the front's heartbeats tell that it lives
            **self.options,
        }


def close_of(code: int | None, reason: str | None) -> tuple[int | None, str]:
    """How a connection ended: the close code that was sent, where one was (RFC 6455 section 7.1.5), and a reason."""
    if code is None or code in (1005, 1006):
        return None, "the connection was lost"
    return int(code), reason or f"closed with {int(code)}"


def failure(error: Exception) -> tuple[int | None, str, int]:
    """What a failed attempt says: the HTTP status where there was one, a reason, and Retry-After in ms (0: none)."""
    if not isinstance(error, InvalidStatus):
        return None, str(error) or type(error).__name__, 0
    response = error.response
    after = response.headers.get("Retry-After", "")
    said = (response.body or b"")[:500].decode(errors="replace").strip()
    reason = f"HTTP {response.status_code} {response.reason_phrase}"
    return response.status_code, f"{reason}: {said}" if said else reason, int(after) * 1000 if after.isdigit() else 0
