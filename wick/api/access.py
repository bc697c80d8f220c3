"""Who may ask a front: by name of the host, by origin, by token, and whether there is room (`api.seats`).

- Bound to loopback, a front answers only requests that name a loopback host or the host of one of `front.origins`: a
  web page elsewhere whose name was made to point here (DNS rebinding) gets nothing.
- A browser says which page a request comes from: its own front's, or one of `front.origins`; a program says nothing.
- Everything but the page's own files and the two health checks asks for a token, where there are any.
- Clients are counted by address (an IPv6 network of 64 bits is one) and by token. Behind `front.proxies` the address is
  what the nearest proxy that is not ours, or the client, was seen at.
"""

import ipaddress
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from wick.api.digest import digest, is_same
from wick.api.replies import RequestError, error_reply, finished
from wick.api.routes import BY_PATH
from wick.api.seats import Seat, Seats
from wick.errors import SettingError
from wick.net.clock import steady_ns
from wick.ops.settings import Settings, is_loopback
from wick.wire.http import Reply, Request

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]", "::1")
TOKEN_OF_SETTING: Final = "front.token"
LOOK_AGAIN_NS: Final = 1_000_000_000  # at most so often is the token file looked at
MAX_HOPS: Final = 16  # of X-Forwarded-For, from the right
_PAGE: Final = "/static/"

log = logging.getLogger("wick")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_tokens(text: str, source: str) -> dict[str, str]:
    """token -> name of a file's lines `name token`. SettingError names the line, and never what stands in it."""
    tokens: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"front.token_file = {source!r}, line {number}:"
        if len(words) != 2:
            raise SettingError(f"{where} has {len(words)} words; valid is `name token`, or a comment after #")
        name, token = words
        if not (token.isascii() and token.isprintable()):
            raise SettingError(f"{where} the token of {name!r} has characters that no header can carry; valid is ASCII")
        if name in tokens.values() or name == TOKEN_OF_SETTING:
            raise SettingError(f"{where} the name {name!r} is there twice; valid is a name of its own for each token")
        if token in tokens:
            raise SettingError(
                f"{where} the token of {name!r} is that of {tokens[token]!r} too; valid is one for each name"
            )
        tokens[token] = name
    return tokens


class Tokens:
    """The tokens of `front.token` and of `front.token_file`; the file is read again when it has changed.

    A file that cannot be read at the start is a SettingError; later the tokens that were valid stay so, and the log
    says what is wrong.
    """

    def __init__(self, token: str, path: str, now_ns: Callable[[], int] = steady_ns) -> None:
        self.wanted = bool(token or path)
        self._own, self._path, self._now_ns = token, path, now_ns
        self._key = os.urandom(32)
        self._looked_ns, self._stamp = now_ns(), self._stamp_of()
        self._known = self._read()

    def name_of(self, given: str) -> str | None:
        """Whose token it is; None: nobody's. Every known token is compared, in a time that does not tell which fits."""
        self._look()
        found, told = None, self._digest(given)
        for known, name in self._known:
            if is_same(told, known):
                found = name
        return found

    def _digest(self, token: str) -> bytes:
        return digest(token.encode("utf-8", "surrogatepass"), self._key, 32)

    def _look(self) -> None:
        if not self._path or self._now_ns() - self._looked_ns < LOOK_AGAIN_NS:
            return
        self._looked_ns = self._now_ns()
        stamp = self._stamp_of()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._known = self._read()
                log.info("%s has changed: %d tokens are valid", self._path, len(self._known))
            except SettingError as error:
                log.error("the tokens stay as they were: %s", error)

    def _stamp_of(self) -> tuple[int, ...]:
        try:
            status = Path(self._path).stat() if self._path else None
        except OSError:
            status = None
        return (status.st_mtime_ns, status.st_size, status.st_ino) if status else ()

    def _read(self) -> list[tuple[bytes, str]]:
        tokens = {self._own: TOKEN_OF_SETTING} if self._own else {}
        if self._path:
            try:
                text = Path(self._path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise SettingError(
                    f"front.token_file = {self._path!r} cannot be read: {reason}; valid is a file of lines `name token`"
                ) from error
            tokens = parse_tokens(text, self._path) | tokens
        return [(self._digest(token), name) for token, name in tokens.items()]


def networks(proxies: tuple[str, ...]) -> list[Network]:
    """`front.proxies`: addresses, or networks as 10.0.0.0/8."""
    found: list[Network] = []
    for text in proxies:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise SettingError(
                f"front.proxies = {text!r} is wrong: {error}; valid is an address or a network, such as 10.0.0.0/8"
            ) from None
    return found


def _parse_address(text: str) -> Address | None:
    """An address as X-Forwarded-For writes it, with a port or not."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Seen(NamedTuple):
    """Where a request comes from: what is counted as one address, and whether a proxy of ours said so."""

    address: str
    is_forwarded: bool
    is_loopback: bool


class Addresses:
    """Turns the address of a connection, and what proxies say, into the address of the client."""

    def __init__(self, proxies: tuple[str, ...]) -> None:
        self._networks = networks(proxies)
        self._is_proxy = lru_cache(maxsize=256)(self._looked_up)
        self.seen = lru_cache(maxsize=256)(self._seen)  # who comes back in a crowd comes by few ways

    def _looked_up(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _seen(self, peer: str, forwarded: str) -> Seen:
        """From the right, the first that is no proxy of ours; what is left of something unreadable is not believed."""
        address = _parse_address(peer)
        if address is None:
            return Seen(peer, False, False)
        nearest = address
        if forwarded and self._is_proxy(address):
            for text in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
                hop = _parse_address(text)
                if hop is None:
                    break
                address = hop
                if not self._is_proxy(hop):
                    break
        return Seen(_counted(address), address is not nearest, address.is_loopback)


def _counted(address: Address) -> str:
    """A customer of a provider has a whole IPv6 network of 64 bits (RFC 6177)."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class Access:
    """Asked before every answer and every handshake. `refuse` is pure but for the token file's being read again."""

    def __init__(self, settings: Settings, now_ns: Callable[[], int] = steady_ns) -> None:
        self._tokens = Tokens(settings["front.token"], settings["front.token_file"], now_ns)
        self._origins: tuple[str, ...] = settings["front.origins"]
        self._hosts = {_split(origin).netloc for origin in self._origins}
        self._is_local = is_loopback(settings["front.host"])
        self._addresses = Addresses(settings["front.proxies"])
        self._seats = Seats(settings)

    # ------------------------------------------------------------------ may it?

    def refuse(self, request: Request, address: str) -> Reply | None:
        """Why a request from that address is not answered; None where it is."""
        try:
            self._check(request, address)
        except RequestError as error:
            return self.shared(finished(error_reply(error), request), request)
        return None

    def _check(self, request: Request, address: str) -> None:
        host = request.headers.get("host", "")
        if self._is_local and not self._is_known(host):
            valid = ", ".join((*LOOPBACK_NAMES, *sorted(self._hosts)))
            raise RequestError("bad_host", "Host", host, valid, 403)
        if is_public(request.path):
            return
        origin = request.headers.get("origin", "")
        if origin and origin not in self._origins and _split(origin).netloc != host:
            raise RequestError("bad_origin", "Origin", origin, "the page's own, or one of front.origins", 403)
        name = self._name(request)
        if name is None:
            valid = "?token=… or Authorization: Bearer … with a token of front.token or front.token_file"
            raise RequestError("bad_token", "token", "", valid, 401, "it is missing or wrong")
        if request.path == "/ws":
            self._check_room(self._counted(request, address), name)

    def _is_known(self, host: str) -> bool:
        is_plain = "@" not in host and "/" not in host
        return host in self._hosts or (is_plain and _split(f"//{host}").hostname in LOOPBACK_NAMES)

    def _name(self, request: Request) -> str | None:
        """Whose token the request has; "" where none is wanted."""
        if not self._tokens.wanted:
            return ""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if "token" in request.query or scheme.lower() != "bearer":
            given = request.query.get("token", "")
        return self._tokens.name_of(given.strip())

    def _counted(self, request: Request, address: str) -> str:
        """The address that is bounded; "" for who is on this machine."""
        seen = self._addresses.seen(address, request.headers.get("x-forwarded-for", ""))
        return seen.address if seen.is_forwarded or not seen.is_loopback else ""

    def _check_room(self, address: str, token: str) -> None:
        bounds = self._seats.full(address, token)
        if bounds is not None:
            name = address if bounds.who == "address" else token
            most = f"at most {bounds.clients:.0f}"
            raise RequestError("too_many", bounds.who, name, most, 429, "it has too many connections")

    # ------------------------------------------------------------------ how many are there?

    def enter(self, request: Request, address: str) -> Seat:
        """Count a connection that was not refused; give the seat back to `leave` when it is over."""
        return self._seats.enter(self._counted(request, address), self._name(request) or "")

    def leave(self, seat: Seat) -> None:
        self._seats.leave(seat)

    def counts(self) -> dict[str, int]:
        return self._seats.counts()

    # ------------------------------------------------------------------ pages elsewhere

    def shared(self, reply: Reply, request: Request) -> Reply:
        """A page of `front.origins` may read the reply (CORS), any other only what it has a right to without asking."""
        if not self._origins:
            return reply
        headers = [*reply.headers, ("Vary", "Origin")]
        origin = request.headers.get("origin", "")
        if origin in self._origins:
            headers.append(("Access-Control-Allow-Origin", origin))
        return reply._replace(headers=tuple(headers))


def is_public(path: str) -> bool:
    """The page's own files hold no secret; what is not known to be public is not."""
    route = BY_PATH.get(path)
    return path == "/" or path.startswith(_PAGE) or (route is not None and route.is_public)


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # "[" and the like: no address at all
        return urlsplit("")
