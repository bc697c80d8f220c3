"""Candles that are over, from a front's HTTP API: what a chart begins with, and what fills a gap."""

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from wick.client._dial import websocket_url
from wick.client.reconnect import ClientError
from wick.client.views import Candle
from wick.market.rows import fired_bytes
