"""How much of something each client may use: so much a second, and ten seconds' worth at once."""

from array import array

AHEAD_NS = 10_000_000_000


def pay(paid_ns: int, cost_ns: float, now_ns: int) -> int | None:
    """Until when all is paid for once this is used too; None: not now.

    The generic cell rate algorithm (ITU-T I.371): that moment is never further ahead than AHEAD_NS.
    """
    paid_ns = max(paid_ns, now_ns) + round(cost_ns)
    return paid_ns if paid_ns <= now_ns + AHEAD_NS else None


class Allowance:
    """Clients by descriptor: 8 bytes each, whoever they are."""

    def __init__(self, a_second: float) -> None:
        self._cost_ns = 1e9 / a_second
        self._paid_ns = array("q")

    def begin(self, fd: int) -> None:
        """Another client has that descriptor now."""
        if fd >= len(self._paid_ns):
            self._paid_ns.frombytes(bytes(8 * (fd + 1 - len(self._paid_ns))))
        self._paid_ns[fd] = 0

    def take(self, fd: int, amount: int, now_ns: int) -> bool:
        """Whether the client may use so much now; `now_ns` is steady."""
        paid_ns = pay(self._paid_ns[fd], amount * self._cost_ns, now_ns)
        if paid_ns is None:
            return False
        self._paid_ns[fd] = paid_ns
        return True
