"""One port for page, API and WebSocket: gevent's WSGI server, which hands upgraded connections over.

Where the server is bound to loopback, only requests that name a loopback host are answered: a web page elsewhere
whose name was made to point here (DNS rebinding) gets nothing.
"""

import hmac
import json
import logging
import socket
from collections.abc import Callable
from io import BufferedReader
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from gevent import pywsgi

from wick.errors import SettingError

BACKLOG = 1024
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")
SECURITY_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    # The chart library sets styles on its own elements, hence 'unsafe-inline' for styles only.
    (
        "Content-Security-Policy",
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
]

log = logging.getLogger("wick")


class Reply(NamedTuple):
    """What a route answers."""

    status: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: Any, status: str = "200 OK") -> Reply:
    return json_body(json.dumps(value, separators=(",", ":")).encode(), status)


def json_body(body: bytes, status: str = "200 OK") -> Reply:
    return Reply(status, "application/json", body, (("Cache-Control", "no-store"),))


def error_reply(status: str, code: str, field: str, message: str, valid: str = "") -> Reply:
    return json_reply({"error": {"code": code, "field": field, "message": message, "valid": valid}}, status)


Route = Callable[[str, dict[str, str]], Reply | None]
Upgrade = Callable[[socket.socket, BufferedReader, str, list[tuple[str, str]]], None]


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # "[" and the like: no address at all
        return urlsplit("")


class Access(NamedTuple):
    """Who may ask: the token ("" lets everybody), origins beside our own, whether only loopback names are served."""

    token: str
    origins: tuple[str, ...]
    loopback_only: bool

    def host(self, host: str) -> bool:
        return not self.loopback_only or _split(f"//{host}").hostname in LOOPBACK_NAMES

    def origin(self, origin: str, host: str) -> bool:
        """A browser says where its page came from; a program says nothing."""
        return not origin or origin in self.origins or _split(origin).netloc == host

    def allowed(self, query: dict[str, str], authorization: str) -> bool:
        if not self.token:
            return True
        given = query.get("token") or authorization.removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.token.encode())


def listen(host: str, port: int) -> socket.socket:
    """A socket that several front processes can share (SO_REUSEPORT). SettingError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise SettingError(
            f"front.port = {port} on {host} cannot be had: {error.strerror}; valid is a free port (--front-port N)"
        ) from error
    return sock


class Server(pywsgi.WSGIServer):
    """Asks `route(path, query)` for HTTP; hands WebSocket requests for `/ws` to `upgrade`."""

    def __init__(self, sock: socket.socket, access: Access, route: Route, upgrade: Upgrade) -> None:
        super().__init__(sock, self._application, log=None, error_log=log, handler_class=_Handler)
        self.access, self.route, self.upgrade = access, route, upgrade

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        reply = self.answer(environ)
        headers = [("Content-Type", reply.content_type), ("Content-Length", str(len(reply.body)))]
        start_response(reply.status, headers + list(reply.headers) + SECURITY_HEADERS)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else reply.body]

    def answer(self, environ: dict[str, Any]) -> Reply:
        path, query = environ["PATH_INFO"], dict(parse_qsl(environ["QUERY_STRING"]))
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return error_reply("405 Method Not Allowed", "bad_method", "method", environ["REQUEST_METHOD"], "GET, HEAD")
        refused = self.refusal(environ, path, query)
        if refused is not None:
            return refused
        reply = self.route(path, query) or error_reply("404 Not Found", "not_found", "path", path)
        known = environ.get("HTTP_IF_NONE_MATCH")
        if known and known == dict(reply.headers).get("ETag"):
            return reply._replace(status="304 Not Modified", body=b"")
        return reply

    def refusal(self, environ: dict[str, Any], path: str, query: dict[str, str]) -> Reply | None:
        """Why a request is not answered; None where it is. The page's own files hold no secret and ask for no token."""
        host = environ.get("HTTP_HOST", "")
        if not self.access.host(host):
            return error_reply("403 Forbidden", "bad_host", "Host", host, ", ".join(LOOPBACK_NAMES))
        private = path == "/ws" or path.startswith("/api/")
        if private and not self.access.allowed(query, environ.get("HTTP_AUTHORIZATION", "")):
            valid = "?token=… or Authorization: Bearer … with the value of front.token"
            return error_reply("401 Unauthorized", "bad_token", "token", "the token is missing or wrong", valid)
        origin = environ.get("HTTP_ORIGIN", "")
        if path == "/ws" and not self.access.origin(origin, host):
            valid = "the page's own, or one of front.origins"
            return error_reply("403 Forbidden", "bad_origin", "Origin", origin, valid)
        return None


class _Handler(pywsgi.WSGIHandler):
    """Turns off pywsgi's access log, and lets a WebSocket take the connection over."""

    server: Server

    def run_application(self) -> None:
        environ = self.environ
        upgrade = environ.get("HTTP_UPGRADE", "").lower() == "websocket" and environ["PATH_INFO"] == "/ws"
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        if not upgrade or self.server.refusal(environ, "/ws", query) is not None:
            super().run_application()
            return
        self.close_connection = True
        self.server.upgrade(self.socket, self.rfile, self.requestline, list(self.headers.items()))

    def log_request(self) -> None:
        log.debug("%s", self.requestline)
