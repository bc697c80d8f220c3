#!/usr/bin/env python3
"""An exchange that sends as fast as it is read: Binance's WebSocket with nothing behind it, for pipeline.py.

    python _venue.py --seconds 20      prints JSON lines: {"port"}, {"began"}, {"sent", "totals", ...}

The frames of 65,536 trades are made before the start, as bytes. Before a slice of them is sent, again and again, the
digits of the trade ids and of the times are overwritten in place: ids grow by 1 a symbol, times are now. So a trade
costs this process a fraction of what it costs the feed. Prices and quantities come again with each round of the frames,
too late for a cache of 16,384 numbers to profit. What was sent is told by symbol, exactly, in units of 1e-8 and 1e-16.
"""

import argparse
import json
import re
import resource
import socket
import sys
import time
from collections import Counter

import _common  # noqa: F401 (it brings the wick of this tree)
import numpy as np
from _market import FIRST_ID, MS, Market, natives
from websockets.http11 import Request
from websockets.server import ServerProtocol

FRAMES, SLICE = 65_536, 2_048
ID_DIGITS, TIME_DIGITS = 10, 13
SEND_BUFFER = 256 * 1024
UNITS = 8  # decimals of every number, as Binance writes them
_REQUEST = re.compile(rb"GET (\S+) HTTP/1\.1\r\n")


class Blast:
    """The frames, and how often each was sent."""

    def __init__(self, market: Market, names: dict[str, str]) -> None:
        ticks = market.ticks(FRAMES, 0, 1000 * MS)
        order = np.argsort(ticks.records["event_ns"], kind="stable")
        pairs, made = ticks.pairs[order], ticks.records[order]
        frames: list[bytes] = []
        id_at, event_at, trade_at = [], [], []
        at = 0
        self.symbols = [names[market.names[pair]] for pair in pairs.tolist()]
        self.prices = [
            _units(int(one), int(decimals)) for one, decimals in zip(made["a"], made["price_decimals"], strict=True)
        ]
        self.quantities = [
            _units(int(one), int(decimals)) for one, decimals in zip(made["b"], made["quantity_decimals"], strict=True)
        ]
        self.buys = made["taker_buy"].astype(bool).tolist()
        for symbol, price, quantity, buy in zip(self.symbols, self.prices, self.quantities, self.buys, strict=True):
            text = (
                f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade","E":{"0" * TIME_DIGITS},"s":"{symbol}",'
                f'"t":{"0" * ID_DIGITS},"p":"{_text(price)}","q":"{_text(quantity)}","T":{"0" * TIME_DIGITS},'
                f'"m":{"false" if buy else "true"},"M":true}}}}'
            ).encode()
            event_at.append(at + 4 + text.index(b'"E":') + 4)
            id_at.append(at + 4 + text.index(b'"t":') + 4)
            trade_at.append(at + 4 + text.index(b'"T":') + 4)
            frames.append(b"\x81\x7e" + len(text).to_bytes(2, "big") + text)
            at += len(frames[-1])
        self.data = np.frombuffer(bytearray(b"".join(frames)), np.uint8)
        self.view = memoryview(self.data)
        self.ends = np.cumsum([len(frame) for frame in frames])
        digits, times = np.arange(ID_DIGITS), np.arange(TIME_DIGITS)
        self._id_at = np.array(id_at)[:, None] + digits
        self._time_at = np.concatenate(
            [np.array(event_at)[:, None] + times, np.array(trade_at)[:, None] + times], axis=1
        )
        self._powers = 10 ** digits[::-1]
        count = np.bincount(pairs)[pairs]  # trades of its symbol in a round
        place = np.empty(FRAMES, np.int64)
        by_pair = np.argsort(pairs, kind="stable")
        place[by_pair] = np.arange(FRAMES) - np.searchsorted(pairs[by_pair], pairs[by_pair])
        self._ids, self._step = FIRST_ID + place, count
        self.sent = 0  # slices

    def send(self, connection: socket.socket) -> None:
        """The next slice."""
        first = self.sent % (FRAMES // SLICE) * SLICE
        frames = slice(first, first + SLICE)
        ids = self._ids[frames]
        self.data[self._id_at[frames]] = ids[:, None] // self._powers % 10 + 48
        now = np.frombuffer(str(time.time_ns() // MS).encode(), np.uint8)
        self.data[self._time_at[frames]] = np.concatenate([now, now])
        ids += self._step[frames]
        start = int(self.ends[first - 1]) if first else 0
        connection.sendall(self.view[start : int(self.ends[first + SLICE - 1])])
        self.sent += 1

    def totals(self) -> dict[str, list[int]]:
        """By symbol: trades, volume, quote volume, taker buy volume; in 1e-8, quote volume in 1e-16."""
        rounds, rest = divmod(self.sent * SLICE, FRAMES)
        totals: dict[str, list[int]] = {}
        for number, (symbol, price, quantity, buy) in enumerate(
            zip(self.symbols, self.prices, self.quantities, self.buys, strict=True)
        ):
            times = rounds + (number < rest)
            if times:
                total = totals.setdefault(symbol, [0] * 4)
                total[0] += times
                total[1] += times * quantity
                total[2] += times * quantity * price
                total[3] += times * quantity * buy
        return totals


def _units(mantissa: int, decimals: int) -> int:
    return mantissa * int(10 ** (UNITS - decimals))


def _text(units: int) -> str:
    return f"{units // 10**UNITS}.{units % 10**UNITS:0{UNITS}d}"


def serve(listener: socket.socket, symbols: list[str]) -> socket.socket:
    """Answer HTTP requests until a WebSocket has subscribed to every symbol; its connection."""
    listed = json.dumps({"symbols": [{"symbol": name, "status": "TRADING"} for name in symbols]}).encode()
    while True:
        connection, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65_536)
            if not data:
                break
            head += data
        if not (asked := _REQUEST.match(head)):
            connection.close()
        elif asked[1].startswith(b"/api/"):
            answer = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            )
            connection.sendall(answer % len(listed) + listed)
            connection.close()
        else:
            subscribe(connection, head, len(symbols))
            return connection


def subscribe(connection: socket.socket, head: bytes, streams: int) -> None:
    """The handshake, then an acknowledgement of each request until all streams are asked for."""
    protocol = ServerProtocol()
    protocol.receive_data(head)
    asked: Counter[str] = Counter()
    while True:
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
                continue
            request = json.loads(event.data)  # type: ignore[union-attr]
            asked.update(request["params"])
            protocol.send_text(json.dumps({"result": None, "id": request["id"]}).encode())
        for data in protocol.data_to_send():
            connection.sendall(data)
        if len(asked) == streams:
            return
        if not (data := connection.recv(65_536)):
            raise SystemExit("the reader left before it had subscribed")
        protocol.receive_data(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    market = Market()
    native = {market.symbol(name): name for name in natives(len(market.names))}
    blast = Blast(market, native)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # its connections have it too
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        connection = serve(listener, list(native.values()))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(json.dumps({"began": time.time_ns()}), flush=True)
    usage, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    try:
        while time.perf_counter() - began < args.seconds:
            blast.send(connection)
        left = ""
    except OSError as error:
        left = str(error)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    told = {"sent": blast.sent * SLICE, "seconds": took, "cpu_s": cpu_s, "left": left, "totals": blast.totals()}
    print(json.dumps(told), flush=True)
    sys.stdin.read()  # whoever started us says when the connection may end
    connection.close()


if __name__ == "__main__":
    main()
