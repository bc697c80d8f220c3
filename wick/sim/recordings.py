"""The recordings source: raw captures, played to every connection from their start.

Frames go out as they were recorded, byte for byte. A connection gets those of its streams, and those that
name no stream at all (garbage and notices were received by everybody). Nothing is dropped: who reads slowly
is waited for.
"""

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from gevent import GreenletExit, sleep, spawn

from wick.errors import ParseError
from wick.exchanges import binance
from wick.sim import wire
from wick.sim.connection import Connection
from wick.sim.history import History
from wick.storage.recordings import Batch, Fault, Recording, find, merge

if TYPE_CHECKING:
    from wick.sim.server import ExchangeServer

QUIET_S = 0.25  # subscriptions are taken to be complete when none came for so long
HISTORY = 200_000  # trades that REST still has, over all symbols
YIELD_EVERY = 200  # lines, so that other greenlets get their turn
MAX_HELD = 10_000  # frames that faults may hold back
STEP_SAMPLES = 2000  # numbers a symbol from which its price and quantity steps are taken
MAX_COMPLAINTS = 20  # that are logged one by one


def _json(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern of JSON: a blank in it stands for any number of them, as a recorder may have written the message."""
    return re.compile(pattern.replace(b" ", rb"[ \t]*"))


_ENVELOPE = _json(rb'{ "stream" : "([^"]+)"')
_SNAPSHOT = _json(rb'{ "lastUpdateId" : ([0-9]*)')
_UPDATE_ID = _json(rb'"u" : (\d+)')
_TRADE_ID = _json(rb'"t" : (\d+)')
_STEPS = _json(rb'"p" : "([0-9.]{1,40})" , "q" : "([0-9.]{1,40})"|"b" : "([0-9.]{1,40})" , "B" : "([0-9.]{1,40})"')


def stream_of(raw: bytes) -> str | None:
    """The stream of a recorded message; "" for an answer that belongs to no stream; None if it names none."""
    if envelope := _ENVELOPE.match(raw):
        return _known(envelope[1])
    if _SNAPSHOT.match(raw):
        return ""
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict):
        return None
    if "result" in message or "lastUpdateId" in message:
        return ""
    if "stream" in message:
        return message["stream"] if wire.is_stream(message["stream"]) else None
    symbol, kind = message.get("s"), message.get("e")
    if not isinstance(symbol, str):
        return None
    if kind is None and "B" in message and "A" in message:
        return f"{symbol.lower()}@bookTicker"
    if kind == "depthUpdate":
        return f"{symbol.lower()}@depth@100ms"
    return f"{symbol.lower()}@{kind}" if kind in ("trade", "aggTrade") else None


@lru_cache(10_000)
def _known(name: bytes) -> str | None:
    """A stream's name as text; None if there can be no such stream."""
    text = name.decode("latin-1")
    return text if wire.is_stream(text) else None


class Snapshot(NamedTuple):
    """A recorded answer of REST. It outlives its batch, so it keeps where it stands as text."""

    recv_ns: int
    raw: bytes
    where: str


class Line(NamedTuple):
    """A message of a capture on its way to the clients, and its place in the batch that was read."""

    recv_ns: int
    raw: bytes
    batch: Batch
    at: int

    @property
    def recording(self) -> Recording:
        return self.batch.place(self.at)[0]

    @property
    def where(self) -> str:
        return self.batch.where(self.at)


def _lines(captures: list[Recording], fault: Fault) -> Iterator[Line]:
    for batch in merge(captures, fault):
        for index, raw in enumerate(batch.items):
            assert isinstance(raw, bytes)  # a capture's; a dump has trades
            yield Line(batch.times_ns[index], raw, batch, index)


def _untold(where: str, error: ParseError) -> None:
    """The first pass told it."""


class Recordings:
    """Recordings behind the server's interface (`server.Source`). `speed` None: as fast as clients read."""

    def __init__(self, paths: list[Path], speed: float | None = 1.0) -> None:
        self.paths, self.speed = paths, speed
        self.frames: Counter[str] = Counter()  # by stream; "" counts what is sent to nobody
        self.bad = 0  # lines and files that cannot be read
        self._infos: dict[str, dict[str, Any]] = {}
        self._depth: dict[str, Snapshot] = {}  # the one that the furthest player has passed, or the first
        self._captures: list[Recording] = []
        self._snapshots: dict[str, str] = {}  # where REST snapshots stand -> their symbol
        self._histories: dict[str, History] = {}
        self._players: dict[Connection, Any] = {}

    # ---- the first pass: which symbols, which snapshots, what is damaged

    def start(self, server: "ExchangeServer") -> None:
        self._server = server
        self._captures = list(self._playable())
        updates: dict[Recording, dict[str, bytes]] = {}  # the latest frame with an update id, by file and symbol
        orphans: dict[Recording, list[Snapshot]] = {}  # snapshots before the first such frame of their file
        samples: dict[str, list[tuple[bytes, bytes]]] = {}
        for line in _lines(self._captures, self._complain):
            raw = line.raw
            stream = stream_of(raw)
            if stream == "" and _SNAPSHOT.match(raw):
                snapshot = Snapshot(line.recv_ns, raw, line.where)
                if line.recording in updates:
                    self._give_snapshot(snapshot, updates[line.recording])
                else:
                    orphans.setdefault(line.recording, []).append(snapshot)
                continue
            self.frames[stream if stream is not None else "(no stream)"] += 1
            if not stream:
                continue
            symbol = stream.partition("@")[0].upper()
            found = samples.setdefault(symbol, [])
            if len(found) < STEP_SAMPLES and (match := _STEPS.search(raw)):
                price, quantity, bid, bid_quantity = match.groups()
                found.append((price or bid, quantity or bid_quantity))
            if _UPDATE_ID.search(raw):
                updates.setdefault(line.recording, {})[symbol] = raw
                for orphan in orphans.pop(line.recording, ()):
                    self._give_snapshot(orphan, updates[line.recording])
        for symbol, found in sorted(samples.items()):
            self._infos[symbol] = _info(symbol, found)
        self._log_scan(server, sum(map(len, orphans.values())))

    def _playable(self) -> Iterator[Recording]:
        for recording in find(self.paths, self._complain):
            if recording.kind == "capture":
                yield recording
            else:
                self._complain(recording.name, ParseError(f"a dump of {recording.kind} has no frames to serve"))

    def _give_snapshot(self, snapshot: Snapshot, updates: dict[str, bytes]) -> None:
        """A REST snapshot does not name its symbol: it is the one whose update ids are nearest."""
        number = _SNAPSHOT.match(snapshot.raw)[1]  # type: ignore[index]
        if not number:
            self._complain(snapshot.where, ParseError("a depth snapshot without lastUpdateId"))
            return
        here = int(number)
        symbol = min(updates, key=lambda name: abs(int(_UPDATE_ID.search(updates[name])[1]) - here))  # type: ignore[index]
        self._snapshots[snapshot.where] = symbol
        self._depth.setdefault(symbol, snapshot)

    def _complain(self, where: str, error: ParseError) -> None:
        self.bad += 1
        if self.bad <= MAX_COMPLAINTS:
            self._server.log.warning("bad recording at=%s: %s", where, error)

    def _log_scan(self, server: "ExchangeServer", orphans: int) -> None:
        if self.bad > MAX_COMPLAINTS:
            server.log.warning("%d more bad places in the recordings", self.bad - MAX_COMPLAINTS)
        server.counters["bad_lines"] = self.bad
        server.log.info(
            "recordings files=%d frames=%d symbols=%d snapshots=%d snapshots_without_symbol=%d bad=%d",
            len(self.paths), self.frames.total(), len(self._infos), len(self._snapshots), orphans, self.bad,
        )  # fmt: skip

    # ---- playing

    def joined(self, connection: Connection) -> None:
        self._players[connection] = spawn(self._play, connection)

    def left(self, connection: Connection) -> None:
        self._players.pop(connection).kill(block=False)

    def subscribe(self, connection: Connection, streams: list[str]) -> None:
        pass  # the player looks at the connection's streams frame by frame

    def unsubscribe(self, connection: Connection, streams: list[str]) -> None:
        pass

    def pulse(self, now_ms: int) -> None:
        pass

    def _play(self, connection: Connection) -> None:
        server = self._server
        try:
            while not connection.streams or server.monotonic() - connection.subscribed_at < QUIET_S:
                sleep(0.02)
            started = server.monotonic()
            sent: Counter[str] = Counter()
            first_ns: int | None = None
            for count, line in enumerate(_lines(self._captures, _untold)):
                if first_ns is None:
                    first_ns = line.recv_ns
                if count % YIELD_EVERY == 0:
                    sleep(0)
                stream = stream_of(line.raw)
                if stream == "" and (symbol := self._snapshots.get(line.where)):
                    self._depth[symbol] = max(self._depth[symbol], Snapshot(line.recv_ns, line.raw, line.where))
                if stream == "" or (stream is not None and stream not in connection.streams):
                    continue
                self._wait(connection, (line.recv_ns - first_ns) / 1e9, started)
                if stream is not None and stream.endswith("@trade"):
                    self._remember_trade(stream, line.raw)
                server.publish(connection, stream or "", line.raw)
                sent[(stream or "(no stream)").partition("@")[2] or "other"] += 1
            while server.faults.held or connection.queued:
                sleep(0.01)
            server.counters["played"] += 1
            channels = " ".join(f"{name}={number}" for name, number in sorted(sent.items()))
            seconds = server.monotonic() - started
            server.log.info("played all frames=%d %s seconds=%.3f", sent.total(), channels, seconds)
        except GreenletExit:
            pass  # the connection has ended before
        except Exception:
            server.log.exception("the player has failed")
            connection.cut()

    def _wait(self, connection: Connection, after_s: float, started: float) -> None:
        """Until the frame's time has come and the client has room for it."""
        if self.speed is not None:
            due = started + after_s / self.speed
            while (early := due - self._server.monotonic()) > 0.001:
                sleep(min(early, 3600.0))
        connection.wait_for_room()
        while self._server.faults.held > MAX_HELD:
            sleep(0.01)

    def _remember_trade(self, stream: str, raw: bytes) -> None:
        symbol = stream.partition("@")[0].upper()
        history = self._histories.get(symbol)
        if history is None:
            history = self._histories[symbol] = History(max(1000, HISTORY // max(1, len(self._infos))))
        if match := _TRADE_ID.search(raw):
            history.add(int(match[1]), raw)

    # ---- REST

    def symbols(self) -> dict[str, dict[str, Any]]:
        return self._infos

    def depth(self, symbol: str, limit: int) -> bytes:
        if symbol not in self._depth:
            raise wire.RestError(-1000, f"The recordings have no depth snapshot of {symbol}.", status=404)
        snapshot = orjson.loads(self._depth[symbol].raw)
        return orjson.dumps({**snapshot, "bids": snapshot["bids"][:limit], "asks": snapshot["asks"][:limit]})

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[dict[str, Any]]:
        history = self._histories.get(symbol)
        if history is None:
            return []
        found = history.latest(limit) if from_id is None else history.since(from_id, limit)
        return [body for raw in found if (body := _trade_body(raw)) is not None]


def _trade_body(raw: bytes) -> dict[str, Any] | None:
    """A recorded trade as REST gives it; None if it is damaged."""
    try:
        message = orjson.loads(raw)
        trade = message.get("data", message)
        quote_quantity = f"{Decimal(trade['p']) * Decimal(trade['q']):.8f}"
        return wire.trade_body(trade["t"], trade["p"], trade["q"], quote_quantity, trade["T"], trade["m"])
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError, InvalidOperation):
        return None


def _info(symbol: str, samples: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    base, _, quote = binance.normalise(symbol).partition("-")
    return wire.symbol_info(symbol, base, quote, _step(price for price, _ in samples), _step(q for _, q in samples))


def _step(numbers: Any) -> str:
    """The smallest step that the samples show, as exchangeInfo writes it."""
    decimals = max((len(text.partition(b".")[2].rstrip(b"0")) for text in numbers), default=8)
    return f"{Decimal(1).scaleb(-decimals):.8f}"
