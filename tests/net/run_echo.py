"""An echo on wick's own Server, as a process: `run_echo.py PORT`. It says "ready" when it listens."""

import sys

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402

from wick.net.ws_server import Client, Server, listen  # noqa: E402
from wick.wire.http import Reply, Request  # noqa: E402
from wick.wire.websocket import BINARY, TEXT, Deflater, frame, window_bits  # noqa: E402

MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # Autobahn's longest has 16 MB


class EchoClient(Client):
    __slots__ = ("deflater",)


class Echo:
    """Whoever agreed on compression is answered compressed, be it of use or not: kosoku takes nothing else there."""

    path = "/"
    prompt: frozenset[str] = frozenset()
    subprotocols: tuple[str, ...] = ()

    def __init__(self, port: int) -> None:
        listener = listen("127.0.0.1", port)
        self.server = Server(listener, self, client_type=EchoClient, max_message_bytes=MAX_MESSAGE_BYTES)
        self.deflaters = {bits: Deflater(bits) for bits in range(9, 16)}

    def refuse(self, request: Request, address: str) -> Reply | None:
        return None

    def opened(self, client: EchoClient, request: Request, subprotocol: str, deflate: bool) -> None:
        bits = window_bits(request.headers.get("sec-websocket-extensions", ""))
        client.deflater = self.deflaters.get(bits)

    def message(self, client: EchoClient, data: bytes, is_text: bool) -> None:
        opcode = TEXT if is_text else BINARY
        packed = frame(client.deflater.pack(data), opcode, compressed=True) if client.deflater else frame(data, opcode)
        self.server.send(client, packed)

    def control(self, client: EchoClient) -> None:
        pass

    def stalled(self, client: EchoClient) -> None:
        pass

    def writable(self, client: EchoClient) -> None:
        pass

    def closed(self, client: EchoClient) -> None:
        pass

    def respond(self, request: Request) -> Reply:
        return Reply(200, "text/plain", b"echo")


if __name__ == "__main__":
    echo = Echo(int(sys.argv[1]))
    greenlets = echo.server.start()
    print("ready", flush=True)
    gevent.joinall(greenlets, raise_error=True)
