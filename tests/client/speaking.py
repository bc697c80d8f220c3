"""What the tests of the client say to it, and read of it: messages as a front makes them."""

import json
from typing import Any

from wick.client import events
from wick.client.core import Core
from wick.client.forms import MSGPACK, Form
from wick.market.schema import CANDLE_FIELDS, CLOSED
from wick.wire import codec
from wick.wire.session import Kind

EPOCH = 1_763_900_000_000_000_001  # beyond 2^53, as epochs are
LIMITS = {"subscriptions": 1000, "message_bytes": 65536, "messages_s": 20, "heartbeat_s": 5}
BTC = "ticker:binance:BTC-USDT"
CANDLES = "candles:binance:BTC-USDT:1m"
CLOSES = "closes:binance:BTC-USDT:1m"
TRADES = "trades:binance:BTC-USDT"
MINUTE = 60_000

Message = list[Any]


def encoded(message: Message, form: Form = MSGPACK) -> bytes | str:
    """As a front sends it: by its own codec, not the client's."""
    return codec.pack(message) if form is MSGPACK else codec.pack_json(message).decode()


def decoded(data: bytes | str) -> Message:
    """As a front reads it."""
    return codec.unpack(data) if isinstance(data, bytes) else json.loads(data)


def hello(front: str = "front-0.1", **limits: Any) -> Message:
    return [Kind.HELLO, 1, 1_763_900_000_000, front, LIMITS | limits]


def head(last_price: int = 9_000_000, trades: int = 3, price_decimals: int = 2) -> list[int]:
    return [last_price, 7, 1_763_900_000_000, 100_000, 0, trades, 0, 0, 0, 0, 0, 0, price_decimals, 5, 0]


def live(open_ms: int, price: int = 9_000_000) -> list[int]:
    return [open_ms, price, price, price, 50_000, 0, 1, 0, 0, 0]


def row(open_ms: int, close: int = 9_000_050, revision: int = 0, flags: int = CLOSED) -> list[Any]:
    values: list[Any] = [None] * len(CANDLE_FIELDS)
    values[:15] = [
        open_ms, open_ms + MINUTE, revision, flags, 2, 5, 9_000_000, 9_000_100, 8_999_900, close,
        123_456, 1_111_104_000_000, 42, 0, 0,
    ]  # fmt: skip
    values[CANDLE_FIELDS.index("vwap")] = 90_000.25
    values[-1] = bytes([5, 0, 251]) + bytes(58)  # -5 as a signed byte
    return values


class Talk:
    """A core and the front that it talks to: says messages, and keeps what comes of them."""

    def __init__(self, *topics: str, form: Form = MSGPACK, **options: Any) -> None:
        self.core = Core(topics, form, chance=lambda: 0.999, **options)
        self.form, self.now_ms = form, 1_000

    def opens(self) -> list[events.Event]:
        self.core.opened(self.now_ms)
        return self.says(hello())

    def says(self, *messages: Message) -> list[events.Event]:
        said: list[events.Event] = []
        for message in messages:
            said += self.core.receive(encoded(message, self.form), self.now_ms)
        return said

    def asked(self) -> list[Message]:
        return [decoded(data) for data in self.core.outgoing()]

    def cut(self, code: int | None = None) -> list[events.Event]:
        return list(self.core.lost(self.now_ms, code, "cut"))

    def subscribed(self, *topics: str, resumed: bool = False) -> list[events.Event]:
        """The front takes these topics, with handles from 1."""
        (request,) = self.asked()
        taken = [[topic, handle, resumed] for handle, topic in enumerate(topics, 1)]
        return self.says([Kind.ACK, request[1], taken])
