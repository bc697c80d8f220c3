"""Candles of the past, from a front's HTTP API: what a chart begins with, and what fills a gap."""

import json
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

from wick.client._address import bearer, http_url
from wick.client.reconnect import ClientError
from wick.client.views import Candle

PATH: Final = "/api/v1/candles"
PAGE: Final = 1000  # candles a request
PAGE_BYTES: Final = 64 << 20  # of an answer; 1,000 candles with all fields take about 2 MB


def history(
    url: str,
    venue: str,
    symbol: str,
    interval: str,
    *,
    since_ms: int | None = None,
    to_ms: int | None = None,
    limit: int = 500,
    token: str | None = None,
    timeout_s: float = 10.0,
) -> list[Candle]:
    """Candles with their metrics, oldest first; the last may be the live one (`candle.closed` is False).

    `since_ms`, `to_ms`: those that open at or after, and before, these times (ms since the epoch, UTC). With `since_ms`
    the first `limit` from there, otherwise the newest `limit`. `url` and `token` as for `connect`; `timeout_s` of each
    of the requests, of 1,000 candles at most. Raises ClientError with the front's own words, or the network's.
    """
    query: dict[str, Any] = {"venue": venue, "symbol": symbol, "interval": interval, "fields": "all", "format": "json"}
    query |= {name: at for name, at in (("from", since_ms), ("to", to_ms)) if at is not None}
    candles: list[Candle] = []
    while len(candles) < limit:
        query["limit"] = min(PAGE, limit - len(candles))
        page = _get(http_url(url, PATH, urlencode(query)), token, timeout_s)
        try:
            found = [Candle.read(dict(zip(page["columns"], row, strict=True))) for row in page["rows"]]
            following = page["next"]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ClientError(f"the front's candles are not what they should be: {error}") from None
        candles = [*candles, *found] if since_ms is not None else [*found, *candles]
        if not following or not found:
            break
        query = {name: values[0] for name, values in parse_qs(urlsplit(following).query).items()}
    return candles


def _get(url: str, token: str | None, timeout_s: float) -> Any:
    try:
        with urlopen(Request(url, headers=bearer(token)), timeout=timeout_s) as answer:
            return json.loads(answer.read(PAGE_BYTES))
    except HTTPError as error:
        with error:
            raise ClientError(_said(error), error.code) from None
    except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
        raise ClientError(f"no answer from {url.partition('?')[0]}: {error}") from None


def _said(error: HTTPError) -> str:
    """The front's own words, where there are any."""
    try:
        return f"HTTP {error.code}: {json.loads(error.read(10_000))['error']['message']}"
    except (OSError, ValueError, LookupError, TypeError):
        return f"HTTP {error.code} {error.reason}"
