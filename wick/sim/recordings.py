"""The recordings source: raw captures of any venue, played to every connection from their start.

Frames go out as they were recorded, byte for byte. A connection gets those of its streams, and those that
name no stream at all (garbage and notices were received by everybody). Nothing is dropped: who reads slowly
is waited for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gevent import GreenletExit, sleep, spawn

from wick import exchanges
from wick.errors import ParseError
from wick.market.trades import Topic
from wick.sim.book import Book
from wick.sim.connection import Connection
from wick.sim.faults import FaultError
from wick.sim.history import History
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.routes import DECIMALS, Steps, Topics, routes_of
from wick.sim.wires import Subscription, Symbol
from wick.storage.recordings import Batch, Fault, Recording, find, merge

if TYPE_CHECKING:
    from wick.sim.server import ExchangeServer

QUIET_S = 0.25  # subscriptions are taken to be complete when none came for so long
HISTORY = 200_000  # trades that REST still has, over all symbols
YIELD_EVERY = 200  # lines, so that other greenlets get their turn
MAX_HELD = 10_000  # frames that faults may hold back
STEP_SAMPLES = 2000  # frames a symbol from which its price and quantity steps are taken
MAX_COMPLAINTS = 20  # that are logged one by one
NO_STREAM = Topic("", "other")
NOBODYS = Topic("", "answer")


class Snapshot(NamedTuple):
    """A recorded answer of REST. It outlives its batch, so it keeps where it stands as text."""

    recv_ns: int
    raw: bytes
    where: str
    update_id: int


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


def _counted(topics: Topics) -> Sequence[Topic]:
    """What a frame counts as in `frames`."""
    return [NO_STREAM] if topics is None else topics or [NOBODYS]


def _untold(where: str, error: ParseError) -> None:
    """The first pass told it."""


class Recordings:
    """Recordings behind the server's interface (`server.Source`), and what REST tells of them (`wires.View`).

    `speed` None: as fast as clients read.
    """

    def __init__(self, paths: list[Path], speed: float | None = 1.0) -> None:
        self.paths, self.speed = paths, speed
        self.frames: Counter[Topic] = Counter()
        self.bad = 0  # lines and files that cannot be read
        self._symbols: dict[str, Symbol] = {}
        self._depth: dict[str, Snapshot] = {}  # the one that the furthest player has passed, or the first
        self._captures: list[Recording] = []
        self._snapshots: dict[str, str] = {}  # where REST snapshots stand -> their symbol
        self._histories: dict[str, History] = {}
        self._players: dict[Connection, Any] = {}

    @property
    def view(self) -> "Recordings":
        return self

    # ---- the first pass: which symbols, which snapshots, what is damaged

    def start(self, server: "ExchangeServer") -> None:
        self._server = server
        self._venue = exchanges.load(server.wire.id)
        self._routes = routes = routes_of(self._venue)
        self._captures = list(self._playable())
        updates: dict[Recording, dict[str, int]] = {}  # the latest update id, by file and symbol
        orphans: dict[Recording, list[Snapshot]] = {}  # snapshots before the first such frame of their file
        samples: dict[str, list[Steps]] = {}
        for line in _lines(self._captures, self._complain):
            raw = line.raw
            topics = routes.topics(raw)
            if topics == () and (snapshot_id := routes.snapshot_id(raw)) is not None:
                snapshot = Snapshot(line.recv_ns, raw, line.where, snapshot_id)
                if line.recording in updates:
                    self._give_snapshot(snapshot, updates[line.recording])
                else:
                    orphans.setdefault(line.recording, []).append(snapshot)
                continue
            self.frames.update(_counted(topics))
            for symbol in {topic.symbol for topic in topics or ()}:
                found = samples.setdefault(symbol, [])
                if len(found) < STEP_SAMPLES and (steps := routes.steps(raw)) is not None:
                    found.append(steps)
                if (update_id := routes.update_id(raw)) is not None:
                    updates.setdefault(line.recording, {})[symbol] = update_id
                    for orphan in orphans.pop(line.recording, ()):
                        self._give_snapshot(orphan, updates[line.recording])
        for name, found in sorted(samples.items()):
            self._symbols[name] = self._symbol(name, found)
        self._log_scan(server, sum(map(len, orphans.values())))

    def _symbol(self, native: str, samples: list[Steps]) -> Symbol:
        """Its steps are the smallest that the samples show."""
        base, _, quote = self._venue.symbol(native).partition("-")
        price = max((steps.price for steps in samples), default=DECIMALS)
        quantity = max((steps.quantity for steps in samples), default=DECIMALS)
        tick, lot = (10 ** max(0, DECIMALS - decimals) for decimals in (price, quantity))
        return Symbol(native, base, quote, tick, lot)

    def _playable(self) -> Iterator[Recording]:
        for recording in find(self.paths, self._complain):
            if recording.kind == "capture":
                yield recording
            else:
                self._complain(recording.name, ParseError(f"a dump of {recording.kind} has no frames to serve"))

    def _give_snapshot(self, snapshot: Snapshot, updates: dict[str, int]) -> None:
        """A REST snapshot does not name its symbol: it is the one whose update ids are nearest."""
        if snapshot.update_id < 0:
            self._complain(snapshot.where, ParseError("a depth snapshot without lastUpdateId"))
            return
        symbol = min(updates, key=lambda name: abs(updates[name] - snapshot.update_id))
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
            len(self.paths), self.frames.total(), len(self._symbols), len(self._snapshots), orphans, self.bad,
        )  # fmt: skip

    # ---- playing

    def joined(self, connection: Connection) -> None:
        self._players[connection] = spawn(self._play, connection)

    def left(self, connection: Connection) -> None:
        self._players.pop(connection).kill(block=False)

    def subscribe(self, connection: Connection, subscriptions: Sequence[Subscription]) -> None:
        pass  # the player looks at the connection's topics frame by frame

    def unsubscribe(self, connection: Connection, subscriptions: Sequence[Subscription]) -> None:
        pass

    def pulse(self, now_ms: int) -> None:
        pass

    def fault(self, name: str, params: Mapping[str, Any]) -> None:
        if name != "clear":
            raise FaultError("fault", f"recordings cannot have {name}", "a fault of frames or of connections")

    def _play(self, connection: Connection) -> None:
        server = self._server
        try:
            while not connection.topics or server.monotonic() - connection.subscribed_at < QUIET_S:
                sleep(0.02)
            started = server.monotonic()
            sent: Counter[str] = Counter()
            first_ns: int | None = None
            for count, line in enumerate(_lines(self._captures, _untold)):
                if first_ns is None:
                    first_ns = line.recv_ns
                if count % YIELD_EVERY == 0:
                    sleep(0)
                topics = self._routes.topics(line.raw)
                if topics == ():
                    self._pass_snapshot(line)
                    continue
                topic = self._wanted(connection, topics)
                if topic is None:
                    continue
                self._wait(connection, (line.recv_ns - first_ns) / 1e9, started)
                if topic.channel == "trade":
                    self._remember_trades(topic.symbol, line.raw)
                if not self._left_out(topic):
                    server.publish(connection, topic, line.raw)
                    sent[topic.channel] += 1
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

    def _wanted(self, connection: Connection, topics: Topics) -> Topic | None:
        """As what the connection gets this frame; None: not at all."""
        if topics is None:
            return NO_STREAM
        return next((topic for topic in topics if topic in connection.topics), None)

    def _left_out(self, topic: Topic) -> bool:
        name = {"trade": "gap", "depth": "depth_gap"}.get(topic.channel)
        return name is not None and self._server.faults.take(name, *topic) is not None

    def _pass_snapshot(self, line: Line) -> None:
        if symbol := self._snapshots.get(line.where):
            update_id = self._routes.snapshot_id(line.raw) or 0
            passed = Snapshot(line.recv_ns, line.raw, line.where, update_id)
            self._depth[symbol] = max(self._depth[symbol], passed)

    def _wait(self, connection: Connection, after_s: float, started: float) -> None:
        """Until the frame's time has come and the client has room for it."""
        if self.speed is not None:
            due = started + after_s / self.speed
            while (early := due - self._server.monotonic()) > 0.001:
                sleep(min(early, 3600.0))
        connection.wait_for_room()
        while self._server.faults.held > MAX_HELD:
            sleep(0.01)

    def _remember_trades(self, symbol: str, raw: bytes) -> None:
        for trade in self._routes.trades(raw):
            self._history(symbol).add(trade)

    def _history(self, symbol: str) -> History:
        if symbol not in self._histories:
            self._histories[symbol] = History(max(1000, HISTORY // max(1, len(self._symbols))))
        return self._histories[symbol]

    # ---- what REST tells (wires.View)

    def history(self, symbol: str) -> History:
        return self._history(symbol)

    def symbols(self) -> dict[str, Symbol]:
        return self._symbols

    def trades(self, symbol: str, limit: int) -> Sequence[TradeEvent]:
        return self._history(symbol).latest(limit)

    def trades_from(self, symbol: str, first_id: int, limit: int) -> Sequence[TradeEvent]:
        return self._history(symbol).since(first_id, limit)

    def trades_between(self, symbol: str, first_id: int, last_id: int, limit: int) -> Sequence[TradeEvent]:
        return self._history(symbol).between(first_id, last_id, limit)

    def past_price(self, symbol: str, time_ms: int) -> int | None:
        return None  # what was before a recording is not known

    def trades_since(self, symbol: str, time_ms: int, limit: int) -> Sequence[TradeEvent]:
        return self._history(symbol).later(time_ms, limit)

    def quote(self, symbol: str) -> QuoteEvent | None:
        return None

    def told(self, symbol: str) -> Book | None:
        return None

    def snapshot(self, symbol: str) -> Book | None:
        """As it was recorded."""
        if symbol not in self._depth:
            return None
        try:
            snapshot = self._venue.parse_snapshot(self._depth[symbol].raw)
        except ParseError:
            return None  # damaged
        bids, asks = ({_units(level[0]): _units(level[1]) for level in side} for side in (snapshot.bids, snapshot.asks))
        return Book(snapshot.last_update_id, bids, asks)


def _units(text: str) -> int:
    return int(Decimal(text).scaleb(DECIMALS))
