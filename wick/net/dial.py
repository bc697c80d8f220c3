"""Reaching a host: directly or through the proxy that the environment names; TLS with verified certificates.

HTTPS_PROXY (for https and wss), HTTP_PROXY (http, ws), ALL_PROXY and NO_PROXY, in either case, as urllib reads them.
The proxy is asked for a tunnel (CONNECT). What is on this machine is never reached through a proxy, as in Go's
net/http (https://pkg.go.dev/net/http#ProxyFromEnvironment). Blocking calls on ordinary sockets.
"""

import io
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from wick.errors import WickError

PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
SECURE = ("https", "wss")
MAX_HEAD_BYTES = 16 * 1024  # of a proxy's answer
READ_BYTES = 64 * 1024


class ProxyError(WickError):
    """The environment names a proxy that cannot be used, or it does not let us through."""


def client_context(ca_file: str = "") -> ssl.SSLContext:
    """What checks certificates: by `ca_file` (PEM), or by the system's authorities. WickError where it is of no use."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise WickError(f"{ca_file}: no certificates to trust: {error}") from error


def proxy_of(url: str) -> SplitResult | None:
    """The proxy on the way to `url`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    proxy = proxies.get("https" if parts.scheme in SECURE else "http") or proxies.get("all")
    if not proxy or _is_here(host) or proxy_bypass(f"{host}:{_port(parts)}"):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def dial(
    url: str, context: ssl.SSLContext | None, timeout_s: float,
    connect: Callable[..., Any] = socket.create_connection,
) -> Any:  # fmt: skip
    """A connected socket to the host of `url`, with TLS where its scheme wants it.

    OSError (ssl.SSLError among them), ProxyError, or ValueError for a port that is none. `connect` is
    `socket.create_connection`, or gevent's where nothing is patched.
    """
    parts, proxy = urlsplit(url), proxy_of(url)
    host, port = parts.hostname or "", _port(parts)
    proxy_is_tls = proxy is not None and proxy.scheme == "https"
    if context is None and (parts.scheme in SECURE or proxy_is_tls):
        context = client_context()
    if proxy is None:
        stream = connect((host, port), timeout_s)
    else:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        stream = _through(proxy, target, context if proxy_is_tls else None, timeout_s, connect)
    if context is None or parts.scheme not in SECURE:
        return stream
    try:
        return TlsInTls(stream, context, host) if proxy_is_tls else context.wrap_socket(stream, server_hostname=host)
    except BaseException:
        stream.close()
        raise


def _port(parts: SplitResult) -> int:
    return parts.port or PORTS.get(parts.scheme, 0)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _through(
    proxy: SplitResult, target: str, context: ssl.SSLContext | None, timeout_s: float, connect: Callable[..., Any]
) -> Any:
    """A tunnel to `target` (RFC 9110, 9.3.6), with TLS to the proxy by `context`.

    What is told of the proxy is its address, never its password.
    """
    host = proxy.hostname or ""
    if proxy.scheme not in ("http", "https") or not host:
        named = f"{proxy.scheme}://{host}"
        raise ProxyError(f"the environment's proxy {named} cannot be used: it has to be an http:// or https:// one")
    port = _port(proxy)
    stream = connect((host, port), timeout_s)
    try:
        if context is not None:
            stream = context.wrap_socket(stream, server_hostname=host)
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.username is not None:
            credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {b64encode(credentials.encode()).decode()}")
        stream.sendall("\r\n".join([*lines, "", ""]).encode())
        status = _status(stream)
        if not status.partition(" ")[2].startswith("2"):
            raise ProxyError(f"the proxy {host}:{port} does not let us through to {target}: {status!r}")
    except BaseException:
        stream.close()
        raise
    return stream


def _status(stream: Any) -> str:
    """The first line of the proxy's answer. Byte by byte: what comes after its head is the tunnel's."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte or len(head) > MAX_HEAD_BYTES:
            raise ProxyError(f"the proxy's answer is cut off, or too long: {bytes(head[:100])!r}")
        head += byte
    return bytes(head).partition(b"\r\n")[0].decode("latin-1")


class TlsInTls:
    """TLS through a proxy that is itself reached by TLS: as much of a socket as its users here need."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, host: str) -> None:
        self._outer = outer
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._users = 1  # this object, and the file that was made of it
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=host)
        self._do(self._tls.do_handshake)

    def recv(self, size: int) -> bytes:
        try:
            data: bytes = self._do(self._tls.read, size)
        except ssl.SSLEOFError:  # no close_notify before the end: as SSLSocket has it
            return b""
        return data

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._do(self._tls.write, view) :]

    def settimeout(self, seconds: float | None) -> None:
        self._outer.settimeout(seconds)

    def setsockopt(self, *option: int) -> None:
        self._outer.setsockopt(*option)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        """For http.client, which reads an answer from a file, and may close the socket before."""
        self._users += 1
        return io.BufferedReader(_Readable(self))

    def close(self) -> None:
        self._users -= 1
        if not self._users:
            self._outer.close()

    def _do(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                result = operation(*arguments)
            except ssl.SSLWantReadError:
                self._send()
                if data := self._outer.recv(READ_BYTES):
                    self._arrived.write(data)
                else:
                    self._arrived.write_eof()
            else:
                self._send()
                return result

    def _send(self) -> None:
        if data := self._leaving.read():
            self._outer.sendall(data)


class _Readable(io.RawIOBase):
    def __init__(self, stream: TlsInTls) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
