"""One HTTP GET, for a venue's REST answers.

Redirects are not followed: that an address has moved is for a person to see.
"""

import http.client
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from wick import __version__
from wick.errors import WickError, shown
from wick.net.clock import steady_ns
from wick.net.dial import ProxyError, dial
from wick.net.limits import retry_after_s

TIMEOUT_S = 10.0  # for the next bytes
WHOLE_S = 60.0  # for all of them
MAX_BYTES = 64 * 1024 * 1024  # Binance's exchangeInfo is about 15 MB
READ_BYTES = 256 * 1024
# Coinbase refuses requests that name no client: https://docs.cdp.coinbase.com/exchange/docs/requests
HEADERS = {"User-Agent": f"wick/{__version__}", "Accept": "application/json", "Connection": "close"}


class FetchError(WickError):
    """The answer could not be had. `status`: HTTP's, where there was an answer; `retry_after_s`: where it told so."""

    def __init__(self, text: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


class Answer(NamedTuple):
    body: bytes
    headers: http.client.HTTPMessage


def get(url: str, context: ssl.SSLContext | None = None) -> bytes:
    """The body; FetchError with the reason otherwise. `context` checks the certificate (see `client_context`)."""
    return fetch(url, context).body


def fetch(url: str, context: ssl.SSLContext | None = None) -> Answer:
    """As `get`, with the headers."""
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{url}: neither http:// nor https://")
    connection = None
    try:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc.rpartition("@")[2], timeout=TIMEOUT_S)
        connection.sock = dial(url, context, TIMEOUT_S)
        connection.request("GET", parts._replace(scheme="", netloc="", fragment="").geturl() or "/", headers=HEADERS)
        with connection.getresponse() as answer:
            body = _body(answer, steady_ns() + round(WHOLE_S * 1e9))
    except (OSError, ValueError, ProxyError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: {error or type(error).__name__}") from error
    finally:
        if connection is not None:
            connection.close()
    if not 200 <= answer.status < 300:
        said = shown(body[:200].decode("utf-8", "replace"))
        text = f"{url}: HTTP {answer.status} {answer.reason}: {said}"
        raise FetchError(text, answer.status, retry_after_s(answer.getheader("Retry-After")))
    return Answer(body, answer.headers)


def _body(answer: http.client.HTTPResponse, until_ns: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := answer.read1(READ_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        if steady_ns() > until_ns:
            raise TimeoutError(f"not whole after {WHOLE_S:g} s")
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(pieces)
