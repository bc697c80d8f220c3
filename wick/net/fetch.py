"""One HTTP GET, for a venue's REST answers."""

import http.client
import urllib.error
import urllib.request

from wick.errors import WickError

TIMEOUT_S = 10.0
MAX_BYTES = 64 * 1024 * 1024  # Binance's exchangeInfo is about 15 MB


class FetchError(WickError):
    """The answer could not be had."""


def get(url: str) -> bytes:
    """The body; FetchError with the reason otherwise."""
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{url}: neither http:// nor https://")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            body: bytes = answer.read(MAX_BYTES + 1)
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: {error}") from error
    if len(body) > MAX_BYTES:
        raise FetchError(f"{url}: more than {MAX_BYTES} bytes")
    return body
