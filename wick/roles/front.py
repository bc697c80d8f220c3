"""The front: mirrors every shard, answers HTTP, and tells WebSocket clients what changes.

Several front processes can share the port; each holds the whole state. A hole in a shard's streams, and a worker that
started anew, are mended by one snapshot from the worker, and then by one for every client concerned.
"""

import logging
from collections.abc import Sequence
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import gevent
from gevent.threadpool import ThreadPool

from wick import exchanges
from wick.errors import ProtocolError, StoreError, WireError
from wick.market.intervals import INTERVALS, NAMES
from wick.market.schema import Row
from wick.net import bus
from wick.net.api import Api, join
from wick.net.clock import now_ms, now_ns
from wick.net.http_server import Access, Server, listen
from wick.net.reader import Reader
from wick.net.ws_server import Connection, frame
from wick.ops.settings import Settings, is_loopback
from wick.roles.base import Role, run_role
from wick.storage.sqlite import SqliteStore
from wick.stream.fanout import Fanout, Message
from wick.stream.mirror import live_row
from wick.stream.owed import Owed
from wick.stream.sequence import Follower
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.wire.codec import pack, pack_json, unpack, unpack_json
from wick.wire.messages import Closes, Diffs, Request, Snapshot, Watch
from wick.wire.session import HEARTBEAT_S, VERSION, CloseCode, Kind, Topic, parse_request

MS = 1_000_000
ASK_AGAIN_NS = 1_000 * MS
RETRY_AFTER_MS = 500  # at a stop: clients come back within this time, each at a random moment
MAX_BAD_REQUESTS = 20  # then a client is told not to come back
GOODBYE_S = 2.0  # how long a stop waits for clients to take their last message

log = logging.getLogger("wick")


class Client:
    """One WebSocket session: what it is subscribed to, and in which form it is told."""

    def __init__(self, front: "Front", connection: Connection) -> None:
        self._front, self.connection = front, connection
        self._json = connection.subprotocol.endswith(".json")
        self._form = "json" if self._json else "msgpack"
        self.topics: set[Topic] = set()
        self.owed = Owed(front.fanout)
        self._bad = 0

    def _frame(self, message: Any) -> bytes:
        return frame(pack_json(message), binary=False) if self._json else frame(pack(message), binary=True)

    def offer(self, message: Message) -> None:
        connection, owed = self.connection, self.owed
        if connection.full or owed.channels:
            channel = message.channel
            if channel is not None and (connection.full or channel in owed.channels):
                if not owed.channels:
                    self._front.stats.add("lags")
                owed.miss(message, channel)
                return
            if connection.full and message.fields[0] in (Kind.HEARTBEAT, Kind.LIVE):
                return
        connection.send(message.encoded(self._form, self._frame))

    def say(self, *fields: Any) -> None:
        self.offer(Message(*fields))

    def more(self) -> bytes | None:
        """The next message that is owed, as new as this moment."""
        message = self.owed.next()
        if message is None:
            return None
        if message.fields[0] == Kind.DIFF:
            self._front.stats.add("merged")
        return message.encoded(self._form, self._frame)

    def take(self, data: bytes) -> None:
        """One message of the client."""
        try:
            request = parse_request((unpack_json if self._json else unpack)(data))
            self._front.stats.add("requests")
            if request.kind == Kind.PING:
                self.say(Kind.ACK, request.id, [])
            elif request.kind == Kind.SUBSCRIBE:
                self._subscribe(request.id, request.topics)
            else:
                self._unsubscribe(request.id, request.topics)
        except ProtocolError as error:
            self._refuse(None, error)
        except WireError as error:
            self._refuse(None, ProtocolError("bad_message", "message", data[:40], str(error)))

    def _subscribe(self, number: int, texts: list[str]) -> None:
        fanout = self._front.fanout
        channels = []
        for text in texts:
            try:
                topics = fanout.topics(text)
                room = self._front.settings["front.max_subscriptions"] - len(self.topics)
                if len(set(topics) - self.topics) > room:
                    raise ProtocolError("too_many", "topics", text, f"valid is at most {room} more subscriptions")
            except ProtocolError as error:
                self._refuse(number, error)
                continue
            if text.endswith(":*"):
                fanout.follow_all(self, text.split(":")[1])
            channels += [fanout.subscribe(self, topic) for topic in topics]
        self.say(Kind.ACK, number, [[channel.topic.text, channel.handle] for channel in channels])
        for channel in channels:
            self.owed.state(channel)
        self.connection.wake()

    def _unsubscribe(self, number: int, texts: list[str]) -> None:
        fanout = self._front.fanout
        left = []
        for text in texts:
            try:
                topics = fanout.topics(text)
            except ProtocolError as error:
                self._refuse(number, error)
                continue
            if text.endswith(":*"):
                fanout.follow_all(self, text.split(":")[1], follow=False)
            for topic in topics:
                channel = fanout.unsubscribe(self, topic)
                if channel is not None:
                    self.owed.forget(channel)
                    left.append([topic.text, channel.handle])
        self.say(Kind.ACK, number, left)

    def _refuse(self, number: int | None, error: ProtocolError) -> None:
        self._front.stats.add("bad_requests")
        self._bad += 1
        self.say(Kind.ERROR, number, error.code, error.field, error.value, error.message)
        if self._bad >= MAX_BAD_REQUESTS:
            self.connection.close(CloseCode.BAD_REQUESTS, "too many bad requests")


class Front(Role):
    """Front `index`; `front.port` is shared by all of them."""

    name = "front"
    main_counter = "messages"

    def __init__(self, settings: Settings, index: int) -> None:
        super().__init__(settings, index)
        self.fanout = Fanout(SHARDS, shard_of, exchanges.ids())
        self.clients: set[Client] = set()
        workers: int = settings["aggregator.workers"]
        topics = [b"diffs.", b"closes.", b"live."]
        self.sub = bus.subscriber(self.data_dir, [f"aggregator-{i}" for i in range(workers)], topics)
        self.dealers = [bus.dealer(self.data_dir, worker) for worker in range(workers)]
        self.readers = [Reader(dealer, self._restart) for dealer in self.dealers]
        # One follower a shard and stream; both are mended by the same snapshot.
        self.followers = [{b"diffs": Follower(), b"closes": Follower()} for _ in range(SHARDS)]
        self.asked_ns = [0] * SHARDS
        self.store_path = Path(settings["sink.path"] or Path(self.data_dir) / "candles.sqlite")
        self.store: SqliteStore | None = None
        self.threads = ThreadPool(1)  # SQLite waits for the disk: not in the hub's thread
        access = Access(settings["front.token"], settings["front.origins"], is_loopback(settings["front.host"]))
        api = Api(self.fanout.pairs, self.candles, self.health)
        self.server = Server(listen(settings["front.host"], settings["front.port"]), access, api.route, self._upgrade)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        self.stats.state = "waiting"
        self.spawn(Reader(self.sub, self._receive).run)
        for reader in self.readers:
            self.spawn(reader.run)
        self.spawn(self._ask_forever)
        self.spawn(self._watch_forever)
        self.spawn(self._heartbeats)
        self.server.start()
        log.info("listening on %s:%d", self.settings["front.host"], self.settings["front.port"])

    def drain(self) -> None:
        self.server.stop_accepting()
        for client in list(self.clients):
            client.say(Kind.BYE, CloseCode.GOING_AWAY, "the front stops", RETRY_AFTER_MS)
            client.connection.close(CloseCode.GOING_AWAY, "the front stops")
        with gevent.Timeout(GOODBYE_S, False):
            while self.clients:
                gevent.sleep(0.01)
        self.server.close()

    def gauges(self) -> dict[str, Any]:
        return {
            "clients": len(self.clients),
            "subscriptions": self.fanout.subscriptions,
            "pairs": len(self.fanout.pairs()),
            "lagging": sum(bool(client.owed.channels) for client in self.clients),
            "resyncs": sum(f.resyncs for followers in self.followers for f in followers.values()),
        }

    def health(self) -> dict[str, Any]:
        waiting = sum(followers[b"diffs"].wanted for followers in self.followers)
        return {
            "status": self.stats.state,
            "age_ms": self._age_ms(),
            "pairs": len(self.fanout.pairs()),
            "shards_waiting": waiting,
        }

    def _age_ms(self) -> int | None:
        return (now_ns() - self.stats.newest_ns) // MS if self.stats.newest_ns else None

    # ------------------------------------------------------------------ from the workers

    def _receive(self, frames: list[bytes]) -> None:
        try:
            stream, _, shard_text = frames[0].partition(b".")
            if stream == b"live":
                self.fanout.live(Closes.unpack(frames[1]))
                return
            shard = int(shard_text)
            message: Diffs | Closes = (Diffs if stream == b"diffs" else Closes).unpack(frames[1])
            follower = self.followers[shard][stream]
        except (WireError, ValueError, LookupError) as error:
            self.stats.add("bad_messages")
            log.error("a message is not what it should be, it is left out: %s", error)
            return
        self.stats.add("messages")
        self.stats.state = "running"
        self.stats.newest_ns = now_ns()
        if follower.offer(message.epoch, message.seq, message):
            self._apply(shard, message)
        elif follower.wanted:
            self._ask(shard)

    def _apply(self, shard: int, message: Diffs | Closes) -> None:
        try:
            if isinstance(message, Diffs):
                self.fanout.diffs(shard, message)
            else:
                self.fanout.closes(shard, message)
        except WireError as error:
            log.error("shard %d cannot be followed, asking for a snapshot: %s", shard, error)
            self._ask(shard)

    def _ask(self, shard: int) -> None:
        """Ask for a snapshot, once until it comes or is overdue. It replaces all, so both streams wait for it."""
        for follower in self.followers[shard].values():
            follower.wanted = True
        now = now_ns()
        if now - self.asked_ns[shard] >= ASK_AGAIN_NS:
            self.asked_ns[shard] = now
            worker = worker_of(shard, len(self.dealers))
            bus.try_send(self.dealers[worker], [Request("snapshot", shard, 0, 0).pack()])
            self.readers[worker].kick()

    def _ask_forever(self) -> None:
        while True:
            for shard, followers in enumerate(self.followers):
                if any(follower.wanted for follower in followers.values()):
                    self._ask(shard)
            gevent.sleep(0.25)

    def _watch_forever(self) -> None:
        """Tell the workers, every second, whose live metrics are wanted here; they forget it soon."""
        told: set[int] = set()
        while True:
            streams: dict[int, list[list[Any]]] = {}
            for shard, its in self.fanout.watched().items():
                streams.setdefault(worker_of(shard, len(self.dealers)), []).extend(its)
            for worker in {*streams, *told}:
                bus.try_send(self.dealers[worker], [Watch(streams.get(worker, [])).pack()])
            told = {*streams}
            gevent.sleep(1)

    def _restart(self, frames: list[bytes]) -> None:
        """A worker's snapshot."""
        try:
            snapshot = Snapshot.unpack(frames[1])
            followers = self.followers[snapshot.shard]
        except (WireError, LookupError, TypeError) as error:
            self.stats.add("bad_messages")
            log.error("an answer is not what it should be: %s", error)
            return
        if not any(follower.wanted for follower in followers.values()):
            return  # asked twice: this is the later answer
        self.stats.add("snapshots")
        if snapshot.pairs:
            self.stats.state = "running"
        self.asked_ns[snapshot.shard] = 0
        self.fanout.restart(snapshot)
        for stream, seq in ((b"diffs", snapshot.diffs_seq), (b"closes", snapshot.closes_seq)):
            for message in followers[stream].restart(snapshot.epoch, seq):
                self._apply(snapshot.shard, message)

    # ------------------------------------------------------------------ to the clients

    def _upgrade(self, sock: Any, rfile: BufferedReader, request_line: str, headers: list[tuple[str, str]]) -> None:
        settings = self.settings
        connection = Connection(
            sock,
            rfile,
            max_message_bytes=settings["front.max_message_kb"] * 1024,
            max_outbox_bytes=settings["front.client_queue_kb"] * 1024,
            stall_s=settings["front.client_stall_s"],
        )
        if not connection.accept(request_line, headers):
            self.stats.add("refused_clients")
            return
        client = Client(self, connection)
        if len(self.clients) >= settings["front.max_clients"]:
            self.stats.add("refused_clients")
            connection.close(1013, "too many clients")
            connection.messages(lambda _: None)
            return
        self.clients.add(client)
        self.stats.add("connections")
        limits = {
            "subscriptions": settings["front.max_subscriptions"],
            "message_bytes": settings["front.max_message_kb"] * 1024,
            "heartbeat_s": HEARTBEAT_S,
        }
        try:
            client.say(Kind.HELLO, VERSION, now_ms(), limits)
            connection.messages(client.take, client.more)
        finally:
            self.fanout.leave(client)
            self.clients.discard(client)
            self.stats.add("sent_bytes", connection.sent_bytes)

    def _heartbeats(self) -> None:
        while True:
            gevent.sleep(HEARTBEAT_S)
            beat = Message(Kind.HEARTBEAT, now_ms(), self._age_ms())
            for client in list(self.clients):
                client.offer(beat)
                client.connection.ping()

    # ------------------------------------------------------------------ history

    def candles(self, venue: str, symbol: str, interval: str, limit: int, before_ms: int | None) -> list[Row]:
        """The newest `limit` candles: the store's, what closed since, and (without `before_ms`) the live one."""
        index = NAMES.index(interval)
        stored = self.threads.apply(partial(self._stored, venue, symbol, interval, limit, before_ms))
        # Only now, without a switch to other greenlets: what was closed while the store was read is in here.
        recent = self.fanout.recent(venue, symbol, index)
        state = self.fanout.state(venue, symbol)
        live = None
        if state is not None and state[index + 1][0]:
            live = live_row(state[0], state[index + 1], INTERVALS[index].close_ms(state[index + 1][0]))
        rows = join(stored, recent, live)
        if before_ms is not None:
            rows = [row for row in rows if row[0] < before_ms]
        return rows[-limit:]

    def _stored(self, venue: str, symbol: str, interval: str, limit: int, before_ms: int | None) -> list[Row]:
        try:
            if self.store is None:
                if not self.store_path.exists():
                    return []
                self.store = SqliteStore(self.store_path, read_only=True)
            if before_ms is None:
                return self.store.candles(venue, symbol, interval, limit)
            return self.store.candles(venue, symbol, interval, limit, before_ms)
        except StoreError as error:
            log.error("history cannot be read: %s", error)
            self.stats.add("failed_reads")
            self.store = None
            return []


def main(argv: Sequence[str]) -> int:
    return run_role(Front, argv)
