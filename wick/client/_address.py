"""What a front's address is for WebSocket and HTTP, and how a token is presented. Pure."""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

from wick.client.reconnect import ClientError

_SECURE: Final = {"ws": False, "http": False, "wss": True, "https": True}


def websocket_url(url: str) -> str:
    """`http://host:8765`, `ws://host:8765` and the whole `ws://host:8765/ws` mean the same. Raises ClientError."""
    return _with(url, ("ws", "wss"), "/ws")


def http_url(url: str, path: str, query: str) -> str:
    """That path of the same front."""
    parts = urlsplit(_with(url, ("http", "https"), "/ws"))
    base = parts.path.removesuffix("/ws")  # a proxy may have put the front below a path of its own
    return urlunsplit((parts.scheme, parts.netloc, base + path, query, ""))


def bearer(token: str | None) -> dict[str, str]:
    """The header that presents a token (RFC 6750)."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def _with(url: str, schemes: tuple[str, str], path: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _SECURE or not parts.hostname:
        raise ClientError(f"url = {url!r} is wrong: valid is ws://<host>:<port>, or wss:, http:, https:")
    return urlunsplit((schemes[_SECURE[parts.scheme]], parts.netloc, parts.path.rstrip("/") or path, parts.query, ""))
