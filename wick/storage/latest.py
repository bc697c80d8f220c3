"""Where the latest state is kept for other programs and for a front that begins: Redis or Valkey.

`wick.stream.latest` says which keys there are and what is in them. Nothing here waits for long: an operation takes
TIMEOUT_S or fails, and whoever asked goes on without and tries again later.
"""

import logging
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from wick.errors import SettingError, StoreAwayError, WireError
from wick.net.clock import steady_ns
from wick.stream import latest as values
from wick.wire import resp
from wick.wire.messages import Snapshot

TIMEOUT_S = 0.2  # for a whole operation: the thread that waits has something to follow
READ_BYTES = 256 << 10
PORT = 6379

log = logging.getLogger("wick")


class Latest(Protocol):
    """Values by key. Every failure is a StoreAwayError, after which nothing is known of what is stored."""

    address: str  # without the password

    def write(self, values: Mapping[bytes, bytes]) -> None:
        """All of them, at once: a reader sees them all or none."""

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Of each key the value, None where there is none."""

    def expire(self, keys: Sequence[bytes], after_s: int) -> None:
        """They go in so many seconds, unless they are written before."""

    def close(self) -> None: ...


class StoredShard(NamedTuple):
    snapshot: Snapshot
    time_ms: int  # as of when


def read_shard(latest: Latest, shard: int) -> StoredShard | None:
    """What is stored of a shard; None where there is nothing, or nothing that can be read."""
    try:
        [value] = latest.read([values.shard_key(shard)])
        known = values.stored(value)
        if known is None:
            return None
        keys = [key for _, venue, symbol in known.pairs for key in values.keys_of((venue, symbol))]
        found = dict(zip(keys, latest.read(keys), strict=True))
        return StoredShard(values.snapshot(shard, known, found), known.time_ms)
    except WireError as error:
        log.error("what %s has of shard %d is left out: %s", latest.address, shard, error)
        return None


class RedisLatest:
    """A Redis or Valkey server: connects when it is needed, and anew after each failure. For one thread at a time."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """SettingError where the address is none."""
        self._at = Address(url)
        self.address = self._at.shown
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def write(self, values: Mapping[bytes, bytes]) -> None:
        if values:
            self._ask(resp.mset(values), 1)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        [values] = self._ask(resp.command(b"MGET", *keys), 1)
        if not isinstance(values, list) or len(values) != len(keys):
            raise self._away("answers what was not asked")
        return [value if isinstance(value, bytes) else None for value in values]

    def expire(self, keys: Sequence[bytes], after_s: int) -> None:
        self._ask(b"".join([resp.command(b"EXPIRE", key, b"%d" % after_s) for key in keys]), len(keys))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ------------------------------------------------------------------ the connection

    def _ask(self, request: bytes, count: int) -> list[resp.Reply]:
        """The replies to so many commands."""
        deadline_ns = steady_ns() + int(self._timeout_s * 1e9)
        try:
            if self._socket is None:
                self._connect(deadline_ns)
            found = self._exchange(request, count, deadline_ns)
        except OSError as error:  # a timeout is one
            text = f"does not answer within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            raise self._away(text) from None
        except WireError as error:
            raise self._away(f"speaks something else than RESP: {error}") from None
        refused = resp.refusals(found)
        if refused:
            raise self._away(f"refuses: {refused[0]}")
        return found

    def _away(self, text: str) -> StoreAwayError:
        """What is on its way on this connection answers something else: the next question gets a new one."""
        self.close()
        return StoreAwayError(f"{self.address}: {text}")

    def _connect(self, deadline_ns: int) -> None:
        self._socket = self._at.connect(_left_s(deadline_ns))
        greeting = self._at.greeting
        if greeting:
            refused = resp.refusals(self._exchange(b"".join(greeting), len(greeting), deadline_ns))
            if refused:
                raise OSError(f"refuses: {refused[0]}")

    def _exchange(self, request: bytes, count: int, deadline_ns: int) -> list[resp.Reply]:
        assert self._socket is not None
        self._socket.settimeout(_left_s(deadline_ns))
        self._socket.sendall(request)
        data = bytearray()
        while (found := resp.replies(data, count)) is None:
            self._socket.settimeout(_left_s(deadline_ns))
            more = self._socket.recv(READ_BYTES)
            if not more:
                raise ConnectionError("the connection was closed")
            data += more
        return found


def _left_s(deadline_ns: int) -> float:
    left_ns = deadline_ns - steady_ns()
    if left_ns <= 0:
        raise TimeoutError
    return left_ns / 1e9


class Address:
    """`redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://` the same with TLS,
    `unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE]`."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._kind, host, self._port = parts.scheme, parts.hostname or "localhost", parts.port or PORT
        except ValueError:
            raise _wrong("the port is a number up to 65535") from None
        if self._kind not in ("redis", "rediss", "unix"):
            raise _wrong("it begins with redis://, rediss:// or unix://")
        is_file = self._kind == "unix"
        self._path, self._host = unquote(parts.path), host
        database = parse_qs(parts.query).get("db", ["0"])[0] if is_file else parts.path.strip("/") or "0"
        if not (database.isascii() and database.isdigit()):
            raise _wrong("the database is a number, as in redis://localhost:6379/0")
        if is_file and not self._path:
            raise _wrong("a path is named, as in unix:///run/redis.sock")
        self.greeting: list[bytes] = []  # commands
        if parts.password is not None:
            user = [unquote(parts.username).encode()] if parts.username else []
            self.greeting.append(resp.command(b"AUTH", *user, unquote(parts.password).encode()))
        if int(database):
            self.greeting.append(resp.command(b"SELECT", database.encode()))
        place = self._path if is_file else f"{host}:{self._port}"
        self.shown = f"{self._kind}://{place}" + (f"{'?db=' if is_file else '/'}{database}" if int(database) else "")

    def connect(self, timeout_s: float) -> socket.socket:
        if self._kind == "unix":
            made = socket.socket(socket.AF_UNIX)
            try:
                made.settimeout(timeout_s)
                made.connect(self._path)
            except OSError:
                made.close()
                raise
            return made
        made = socket.create_connection((self._host, self._port), timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._kind == "rediss":
            import ssl  # 4 MB, which a front without it saves

            try:
                return ssl.create_default_context().wrap_socket(made, server_hostname=self._host)
            except OSError:
                made.close()
                raise
        return made


def _wrong(valid: str) -> SettingError:
    """Without the value: there may be a password in it."""
    return SettingError(f"redis.url is wrong: valid is redis://HOST:PORT/DATABASE or unix:///PATH; {valid}")
