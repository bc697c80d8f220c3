"""What the clients of one address, and those of one token, have together: connections, messages, bytes, topics.

An address or token "" is unbounded: of who is on this machine, of who needs no token. It is counted all the same.
"""

from math import inf
from typing import Final, NamedTuple

from wick.errors import ProtocolError
from wick.net.allowance import pay
from wick.ops.settings import Settings


class Bounds(NamedTuple):
    """Of each address, or of each token; `who` names which."""

    who: str
    clients: float
    messages_s: float
    bytes_s: float
    topics: float


class Share:
    """What one address or token has of its bounds."""

    __slots__ = ("bounds", "bytes_ns", "clients", "messages_ns", "topics")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.clients = self.topics = 0
        self.messages_ns = self.bytes_ns = 0  # until when what was sent is paid for (`net.allowance`)

    def send(self, size: int, now_ns: int) -> str:
        """A message comes: "", or of what there are too many."""
        messages_ns = pay(self.messages_ns, 1e9 / self.bounds.messages_s, now_ns)
        if messages_ns is None:
            return "messages"
        bytes_ns = pay(self.bytes_ns, size * 1e9 / self.bounds.bytes_s, now_ns)
        if bytes_ns is None:
            return "bytes"
        self.messages_ns, self.bytes_ns = messages_ns, bytes_ns
        return ""


class Seat:
    """The clients of one address with one token: they share it, each holds one reference."""

    __slots__ = ("_shares", "address", "count", "token")

    def __init__(self, address: str, token: str, shares: tuple[Share, Share]) -> None:
        self.address, self.token, self._shares, self.count = address, token, shares, 0

    def send(self, size: int, now_ns: int) -> ProtocolError | None:
        """A client sends a message of so many bytes; why it is not followed. `now_ns` is steady."""
        for share in self._shares:
            if field := share.send(size, now_ns):
                most = share.bounds.messages_s if field == "messages" else share.bounds.bytes_s
                return _too_many(field, 1 if field == "messages" else size, share, f"{most:.0f} a second")
        return None

    def hold(self, topics: int) -> ProtocolError | None:
        """A client subscribes to so many topics more; why it may not."""
        for share in self._shares:
            if share.topics + topics > share.bounds.topics:
                return _too_many("topics", topics, share, f"{share.bounds.topics:.0f} topics")
        for share in self._shares:
            share.topics += topics
        return None

    def release(self, topics: int) -> None:
        """A client has left so many topics that it held."""
        for share in self._shares:
            share.topics -= topics


class Seats:
    """All that are taken."""

    def __init__(self, settings: Settings) -> None:
        most, worth = settings["front.max_per_address"], settings["front.address_worth"]
        self._of_address = _Shares(_bounds(settings, "address", most, worth))
        most, worth = settings["front.max_per_token"], settings["front.token_worth"]
        self._of_token = _Shares(_bounds(settings, "token", most, worth))
        self._seats: dict[tuple[str, str], Seat] = {}

    def full(self, address: str, token: str) -> Bounds | None:
        """Whose connections are as many as there may be."""
        return self._of_address.full(address) or self._of_token.full(token)

    def enter(self, address: str, token: str) -> Seat:
        """Count a connection; give the seat back to `leave` when it is over."""
        shares = self._of_address.enter(address), self._of_token.enter(token)
        seat = self._seats.get((address, token))
        if seat is None:
            seat = self._seats[address, token] = Seat(address, token, shares)
        seat.count += 1
        return seat

    def leave(self, seat: Seat) -> None:
        seat.count -= 1
        if not seat.count:
            del self._seats[seat.address, seat.token]
        self._of_address.leave(seat.address)
        self._of_token.leave(seat.token)

    def counts(self) -> dict[str, int]:
        """How many addresses (all of this machine are one) and tokens are connected."""
        return {"addresses": len(self._of_address.shares), "tokens": len(self._of_token.shares.keys() - {""})}


class _Shares:
    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.shares: dict[str, Share] = {}

    def full(self, name: str) -> Bounds | None:
        share = self.shares.get(name) if name else None
        return self._bounds if share is not None and share.clients >= self._bounds.clients else None

    def enter(self, name: str) -> Share:
        share = self.shares.get(name)
        if share is None:
            share = self.shares[name] = Share(self._bounds if name else _UNBOUNDED)
        share.clients += 1
        return share

    def leave(self, name: str) -> None:
        share = self.shares[name]
        share.clients -= 1
        if not share.clients:
            del self.shares[name]


_UNBOUNDED: Final = Bounds("", inf, inf, inf, inf)


def _bounds(settings: Settings, who: str, most: int, worth: int) -> Bounds:
    """At most so many clients, which together have as much as `worth` of them."""
    return Bounds(
        who,
        most,
        worth * settings["front.client_messages_s"],
        worth * settings["front.client_kb_s"] * 1024,
        worth * settings["front.max_subscriptions"],
    )


def _too_many(field: str, value: int, share: Share, most: str) -> ProtocolError:
    who = share.bounds.who
    return ProtocolError("too_many", field, value, f"the {who} has too many", (f"at most {most} for one {who}",))
