"""Access and API on wick's own Server, as a process: `run_api.py SETTINGS`, a JSON object. It says its port.

A WebSocket client is told its counted address, and then, 20 times a second, a message.
"""

import json
import sys

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402

from tests.api.asking import MINUTE, Known, row  # noqa: E402
from wick.api.access import Access  # noqa: E402
from wick.api.seats import Seat  # noqa: E402
from wick.net.ws_server import Client, Server, listen  # noqa: E402
from wick.ops.settings import Settings  # noqa: E402
from wick.wire.http import Reply, Request  # noqa: E402
from wick.wire.websocket import TEXT, frame  # noqa: E402


class SeatedClient(Client):
    __slots__ = ("seat",)
    seat: Seat


class App:
    path = "/ws"
    prompt: frozenset[str] = frozenset()
    subprotocols: tuple[str, ...] = ("wick.v1.json",)

    def __init__(self, settings: Settings) -> None:
        self.access = Access(settings)
        self.api = Known([row(n * MINUTE) for n in range(200)]).api()
        listener = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.server = Server(listener, self, client_type=SeatedClient)

    def refuse(self, request: Request, address: str) -> Reply | None:
        return self.access.refuse(request, address)

    def opened(self, client: SeatedClient, request: Request, subprotocol: str, deflate: bool) -> None:
        client.seat = self.access.enter(request, client.address)
        self.server.send(client, frame(client.seat.address.encode(), TEXT))
        gevent.spawn(self.tick, client)

    def tick(self, client: SeatedClient) -> None:
        while client.fd >= 0:
            self.server.send(client, frame(b"tick", TEXT))
            gevent.sleep(0.05)

    def message(self, client: SeatedClient, data: bytes, is_text: bool) -> None:
        self.server.send(client, frame(data, TEXT))

    def control(self, client: SeatedClient) -> None:
        pass

    def stalled(self, client: SeatedClient) -> None:
        pass

    def writable(self, client: SeatedClient) -> None:
        pass

    def closed(self, client: SeatedClient) -> None:
        self.access.leave(client.seat)

    def respond(self, request: Request) -> Reply:
        return self.access.shared(self.api.respond(request), request)


if __name__ == "__main__":
    app = App(Settings(json.loads(sys.argv[1])))
    greenlets = app.server.start()
    print(app.port, flush=True)
    gevent.joinall(greenlets, raise_error=True)
