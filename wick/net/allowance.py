"""How much of something each client may use: so much a second, and ten seconds' worth at once."""

from array import array

AHEAD_NS = 10_000_000_000


class Allowance:
    """Clients by descriptor: 8 bytes each, whoever they are.

    The generic cell rate algorithm (ITU-T I.371): what is used moves the moment at which all is paid for, and that
    is never further ahead than AHEAD_NS.
    """

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
        paid_ns = max(self._paid_ns[fd], now_ns) + round(amount * self._cost_ns)
        if paid_ns > now_ns + AHEAD_NS:
            return False
        self._paid_ns[fd] = paid_ns
        return True
