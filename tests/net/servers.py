"""Small servers in threads, for the clients of this folder: WebSocket, HTTP, and a proxy that opens tunnels."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from websockets.sync.server import ServerConnection, serve


@contextmanager
def server(handler: Callable[[ServerConnection], Any], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A WebSocket server's address."""
    with serve(handler, "127.0.0.1", 0, ssl=context, compression=None) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        port = listening.socket.getsockname()[1]
        yield f"{'wss' if context else 'ws'}://localhost:{port}/stream"
        listening.shutdown()
        thread.join()


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


class Web:
    """An HTTP server that answers with what it is told, and keeps the requests' paths and headers."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.status, self.headers, self.body = 200, {}, b"{}"
        self.asked: list[tuple[str, dict[str, str]]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, dict(self.headers)))
                self.send_response(web.status)
                for name, value in ({"Content-Length": str(len(web.body))} | web.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(web.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'https' if context else 'http'}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Web":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Proxy:
    """A proxy for CONNECT on loopback. Every name leads to 127.0.0.1, to the port that was asked for."""

    def __init__(self, context: ssl.SSLContext | None = None, answer: bytes = b"HTTP/1.1 200 Opened\r\n\r\n") -> None:
        self.heads: list[list[str]] = []  # of the requests, line by line
        self._context, self._answer = context, answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> "Proxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def cut(self) -> None:
        """All tunnels, without a word."""
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _start(self, body: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=body, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            self._sockets.append(client)
            self._tunnel(client)
        except OSError:  # the client has left
            client.close()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = client.recv(1)
            if not data:
                return
            head += data
        self.heads.append(head.decode().split("\r\n")[:-2])
        client.sendall(self._answer)
        if b" 200 " not in self._answer:
            client.shutdown(socket.SHUT_RDWR)
            return
        port = int(self.heads[-1][0].split(" ")[1].rpartition(":")[2])
        target = socket.create_connection(("127.0.0.1", port))
        self._sockets.append(target)
        self._start(self._pour, target, client)
        self._pour(client, target)

    def _pour(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
