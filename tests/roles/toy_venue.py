"""A small venue for the tests of connections: its wire, and an exchange in threads that does as it is told."""

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from wick.exchanges import Limits, Request
from wick.market.trades import Ack, Event, LastTrade, Shutdown, Topic


class Toy:
    """What `Connections` need of a Venue. Data is {"data": [symbol, number]}."""

    id = "toy"
    ws_path = "/"

    def __init__(
        self, streams: int = 1000, requests: tuple[int, float] = (1000, 1.0), connects: tuple[int, float] = (1000, 1.0),
        lifetime_s: float = 0.0, ping_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.limits = Limits(streams, requests, connects, (1000, 1.0), lifetime_s, ping_s)

    def path(self, channel: str) -> str:
        return self.ws_path

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._ask("subscribe", topics, first_id)

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._ask("unsubscribe", topics, first_id)

    def _ask(self, what: str, topics: Iterable[Topic], first_id: int) -> list[Request]:
        topics = tuple(topics)
        return [Request(json.dumps({"op": what, "id": first_id, "topics": topics}).encode(), first_id, topics)]

    def ping(self) -> bytes:
        return b'{"op":"ping"}'

    def take(self, messages: list[bytes]) -> tuple[list[tuple[str, int]], list[Event]]:
        """The data, and the events."""
        data, events = [], []
        for message in map(json.loads, messages):
            if "data" in message:
                data.append(tuple(message["data"]))
            elif "heartbeat" in message:
                events.append(LastTrade("A", 1))
            elif "shutdown" in message:
                events.append(Shutdown(1))
            else:
                events.append(Ack(message["id"], message.get("error")))
        return data, events


class Exchange:
    """The running exchange. All that is told to it holds for what comes after."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.refusing = 0  # the handshake, with this status
        self.refused: set[str] = set()  # symbols
        self.ignored: set[str] = set()  # symbols whose requests get no answer, and no data
        self.mute = False  # subscribed streams give no data
        self.attempts: list[float] = []
        self.requests: list[tuple[ServerConnection, float, dict]] = []
        self.streams: dict[ServerConnection, set[str]] = {}  # of open connections
        self.closes: list[tuple[int | None, str]] = []  # what the clients said when they left
        self.published: dict[str, int] = {}

    def asked(self, op: str) -> list[list[str]]:
        messages = [message for _, _, message in self.requests]
        return [[name for name, _ in message.get("topics", ())] for message in messages if message["op"] == op]

    def publish(self, symbol: str) -> None:
        """The next number of a symbol, to everyone who is subscribed."""
        with self.lock:
            self.published[symbol] = number = self.published.get(symbol, 0) + 1
            self._send({"data": [symbol, number]}, symbol)

    def tell(self, message: dict) -> None:
        with self.lock:
            self._send(message, None)

    def _send(self, message: dict, symbol: str | None) -> None:
        for connection, symbols in self.streams.items():
            if symbol is None or (symbol in symbols and not self.mute):
                try:
                    connection.send(json.dumps(message))
                except ConnectionClosed:
                    pass

    def cut(self) -> None:
        """All connections, without a word."""
        for connection in list(self.streams):
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has just ended

    def close(self, code: int = 1001) -> None:
        for connection in list(self.streams):
            connection.close(code, "as told")

    def serve(self, connection: ServerConnection) -> None:
        with self.lock:
            self.streams[connection] = set()
        try:
            for text in connection:
                with self.lock:
                    self._answer(connection, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            with self.lock:
                del self.streams[connection]
                self.closes.append((connection.protocol.close_code, connection.protocol.close_reason))

    def _answer(self, connection: ServerConnection, message: dict) -> None:
        self.requests.append((connection, time.monotonic(), message))
        symbols = {symbol for symbol, _ in message.get("topics", ())}
        if message["op"] == "ping" or symbols & self.ignored:
            return
        if message["op"] == "unsubscribe":
            self.streams[connection] -= symbols
        elif symbols & self.refused:
            connection.send(json.dumps({"id": message["id"], "error": "no such stream"}))
            return
        else:
            self.streams[connection] |= symbols
        connection.send(json.dumps({"id": message["id"]}))

    def let_in(self, connection: ServerConnection, _: object) -> object:
        with self.lock:
            self.attempts.append(time.monotonic())
        if not self.refusing:
            return None
        response = connection.respond(self.refusing, "not now")
        if self.refusing == 429:
            response.headers["Retry-After"] = "1"
        return response


@contextmanager
def exchange() -> Iterator[tuple[Exchange, str]]:
    """It, and its address."""
    it = Exchange()
    with serve(it.serve, "127.0.0.1", 0, compression=None, process_request=it.let_in, ping_interval=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield it, f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        finally:
            it.cut()
            server.shutdown()
            thread.join()
