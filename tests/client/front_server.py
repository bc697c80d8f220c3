"""A WebSocket server of the `websockets` package that plays a front: each connection is a script of the test's own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.client.speaking import CANDLES, EPOCH, Message, encoded, head, hello, live, row
from wick.client.forms import JSON, MSGPACK
from wick.wire import codec
from wick.wire.session import SUBPROTOCOLS, Kind

OPEN = 1_763_900_040_000


class Line:
    """The front's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.form = JSON if socket.subprotocol == JSON.subprotocol else MSGPACK

    def says(self, *messages: Message) -> None:
        for message in messages:
            self.socket.send(encoded(message, self.form))

    def hears(self) -> Message:
        """What the client says next; raises ConnectionClosed where it has gone."""
        data = self.socket.recv(timeout=20)
        return json.loads(data) if isinstance(data, str) else codec.unpack(data)

    def greets(self, **limits: Any) -> Message:
        """HELLO; what the client asks for."""
        self.says(hello(**limits))
        return self.hears()

    def takes(self, topics: list[str], *, resumed: bool = False) -> None:
        """HELLO, and the client's request for these topics is taken, with handles from 1."""
        _, number, _ = self.greets()
        self.says([Kind.ACK, number, [[topic, handle, resumed] for handle, topic in enumerate(topics, 1)]])

    def shows_candles(self) -> None:
        self.takes([CANDLES])
        self.says([Kind.SNAPSHOT, 1, EPOCH, 10, [head(), live(OPEN)], [row(OPEN - 60_000)]])

    def stays(self) -> None:
        """Until the client has gone."""
        try:
            while True:
                self.hears()
        except ConnectionClosed:
            pass

    def cut(self) -> None:
        """Without a close frame, as a crash does it."""
        self.socket.close_socket()


Script = Callable[[Line], None]


class FrontServer:
    """`url`; `requests`: the headers of each handshake."""

    def __init__(self, scripts: tuple[Script, ...], refusals: tuple[tuple[int, str], ...], page: str) -> None:
        self._scripts, self._refusals, self._page = list(scripts), list(refusals), page
        self._lock = threading.Lock()
        self.requests: list[Any] = []
        self.failures: list[BaseException] = []
        self.server: Server

    def answer(self, socket: ServerConnection, request: Any) -> Any:
        with self._lock:
            self.requests.append(request)
            if self._page and request.path.startswith("/api/"):
                return socket.respond(HTTPStatus.OK, self._page)
            if self._refusals:
                status, text = self._refusals.pop(0)
                return socket.respond(HTTPStatus(status), text)
        return None

    def handle(self, socket: ServerConnection) -> None:
        with self._lock:
            script = self._scripts.pop(0) if self._scripts else Line.stays
        try:
            script(Line(socket))
        except ConnectionClosed:
            pass
        except BaseException as error:
            self.failures.append(error)
            raise

    @property
    def url(self) -> str:
        host, port = self.server.socket.getsockname()
        return f"ws://{host}:{port}"


@contextmanager
def playing(
    *scripts: Script, refusals: tuple[tuple[int, str], ...] = (), compression: str | None = None, page: str = ""
) -> Iterator[Any]:
    """The first connection is the first script, and so on; before them come refusals. `page`: what the
    HTTP API answers."""
    front = FrontServer(scripts, refusals, page)
    with serve(
        front.handle, "127.0.0.1", 0, process_request=front.answer, compression=compression,
        subprotocols=list(SUBPROTOCOLS), close_timeout=1,
    ) as front.server:  # fmt: skip
        thread = threading.Thread(target=front.server.serve_forever)
        thread.start()
        yield front
        front.server.shutdown()
        thread.join()
    assert front.failures == []
