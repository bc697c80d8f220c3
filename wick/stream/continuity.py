"""Which trades of a symbol have come: none counts twice, and none is missing unseen. Pure.

`Contiguous`: a venue numbers its trades without holes, so every hole shows at the trade behind it; what fills it may
come late, reordered or over REST. `Numbers`: it does not. Then a key only tells that a trade came twice, trades get
numbers of our own, and a number is left out wherever we did not listen: a hole that nothing ever fills.

Both have `next_id`, which a trade's id is compared with where speed counts: equal means that it is simply the next.
"""

from bisect import bisect_right
from operator import itemgetter
from typing import NamedTuple

# A burst that is reordered makes about as many holes as it has trades. On full: the oldest is given up, and counted.
MAX_HOLES = 4_096
MAX_TOLD = 256  # holes that a tail tells of; what a process that dies has left beyond these is asked for by nobody
MOST_MISSING = 1_000_000  # ids; more are no hole but another numbering: an exchange that began anew
RESTART_RUN = 10  # newer trades in a row with ids that we have had: the numbering has begun anew
# A generation of remembered keys; Bybit sends up to 1,024 trades a message. What comes twice comes within seconds, and
# 4,096 keys of each of 300 symbols would be 100 MB.
KEYS = 4_096
GENERATION_NS = 60 * 10**9

_first = itemgetter(0)


class Missing(NamedTuple):
    """Ids `first_id`..`last_id` have not come. They were traded from `from_ns` to `to_ns`; noticed at `since_ns`."""

    first_id: int
    last_id: int
    from_ns: int
    to_ns: int
    since_ns: int


class Tail(NamedTuple):
    """Where a pair's trades stand: what whoever reads it next has to know to see what came between."""

    next_id: int
    first_id: int
    newest_ns: int
    read_ns: int  # when it was last listened to
    price_decimals: int
    quantity_decimals: int
    holes: list[list[int]]  # of a Missing the ids and times


class Contiguous:
    """Ids that grow by one. `next_id`: what follows the highest seen, -1 before the first."""

    __slots__ = ("_first_id", "_run", "given_up", "holes", "newest_ns", "next_id", "restarts")

    def __init__(self) -> None:
        self.next_id = -1
        self.newest_ns = 0  # the latest time that a trade had
        self.holes: list[Missing] = []  # ascending
        self.given_up = 0  # ids that are missing for good
        self.restarts = 0  # of the numbering, since somebody last asked
        self._first_id = 0  # what came before it is not known to be missing
        self._run = (0, 0)  # the first id, and the next, of newer trades whose ids we have had

    def take(self, trade_id: int, event_ns: int, recv_ns: int) -> int:
        """The id under which the trade counts; -1 where it has come before."""
        number = self.admit(trade_id, event_ns, recv_ns)
        return number if number >= 0 else self._again(trade_id, event_ns, recv_ns)

    def admit(self, trade_id: int, event_ns: int, recv_ns: int) -> int:
        """As `take`, for trades that are told again: their times are no sign of another numbering."""
        if self.next_id < 0:
            self._first_id = trade_id
            self.next_id = trade_id + 1
        elif trade_id >= self.next_id:
            self.expect(trade_id - 1, event_ns, recv_ns)
            self.next_id = trade_id + 1
        elif self._first_id - MOST_MISSING <= trade_id < self._first_id and event_ns <= self.newest_ns:
            # Traded before the first that we had: what lies between them may still come, or be asked for.
            if trade_id + 1 < self._first_id:
                self._insert(0, Missing(trade_id + 1, self._first_id - 1, event_ns, self.newest_ns, recv_ns))
            self._first_id = trade_id
        elif not self.fill(trade_id, event_ns):
            return -1
        if event_ns > self.newest_ns:
            self.newest_ns = event_ns
        return trade_id

    def expect(self, last_id: int, to_ns: int, recv_ns: int) -> None:
        """All ids up to `last_id` have been given to trades by `to_ns`: those we do not have are missing."""
        if last_id >= self.next_id >= 0:
            hole = Missing(self.next_id, last_id, self.newest_ns, to_ns, recv_ns)
            self.next_id = last_id + 1
            if last_id - hole.first_id < MOST_MISSING:
                self._insert(len(self.holes), hole)
            else:
                self.given_up += last_id - hole.first_id + 1
                self.restarts += 1

    def fill(self, trade_id: int, event_ns: int) -> bool:
        """Whether the id was missing; it is no more, and what is beside it was traded before or after it."""
        holes = self.holes
        at = bisect_right(holes, trade_id, key=_first) - 1
        if at < 0 or trade_id > holes[at].last_id:
            return False
        hole = holes[at]
        at_ns = min(max(event_ns, hole.from_ns), hole.to_ns)
        parts = hole._replace(last_id=trade_id - 1, to_ns=at_ns), hole._replace(first_id=trade_id + 1, from_ns=at_ns)
        holes[at : at + 1] = [part for part in parts if part.first_id <= part.last_id]
        return True

    def give_up(self, first_id: int, last_id: int) -> int:
        """Whatever of these ids is missing stays so; how many these are."""
        kept: list[Missing] = []
        count = 0
        for hole in self.holes:
            low, high = max(hole.first_id, first_id), min(hole.last_id, last_id)
            if low > high:
                kept.append(hole)
                continue
            count += high - low + 1
            parts = hole._replace(last_id=low - 1), hole._replace(first_id=high + 1)
            kept += [part for part in parts if part.first_id <= part.last_id]
        self.holes = kept
        self.given_up += count
        return count

    def skip(self) -> None:
        """Something may be missed: the next trade's id will tell what."""

    def recall(self, trade_id: int, event_ns: int) -> None:
        """The log has this trade, so it has counted. An id that was not missing is one of another numbering."""
        if self.admit(trade_id, event_ns, 0) < 0:
            self.holes = []
            self._first_id, self.next_id, self.newest_ns = trade_id, trade_id + 1, event_ns
        self.restarts = self.given_up = 0

    def stand(self, tail: Tail) -> None:
        """Go on from there."""
        self.next_id, self._first_id, self.newest_ns = tail.next_id, tail.first_id, tail.newest_ns
        self.holes = [Missing(first, last, from_ns, to_ns, 0) for first, last, from_ns, to_ns in tail.holes]

    def tail(self, read_ns: int, price_decimals: int, quantity_decimals: int) -> Tail | None:
        """None before the first trade."""
        if self.next_id < 0:
            return None
        holes = [list(hole[:4]) for hole in self.holes[-MAX_TOLD:]]
        return Tail(self.next_id, self._first_id, self.newest_ns, read_ns, price_decimals, quantity_decimals, holes)

    def _insert(self, at: int, hole: Missing) -> None:
        self.holes.insert(at, hole)
        if len(self.holes) > MAX_HOLES:
            self.given_up += self.holes[0].last_id - self.holes[0].first_id + 1
            del self.holes[0]

    def _again(self, trade_id: int, event_ns: int, recv_ns: int) -> int:
        """An id that we have had. The same trade is as old as it was; newer ones are of another numbering."""
        if event_ns <= self.newest_ns:
            return -1
        began, following = self._run
        if trade_id != following:
            began = trade_id
        self._run = (began, trade_id + 1)
        if trade_id + 1 - began < RESTART_RUN:
            return -1
        self.given_up += sum(hole.last_id - hole.first_id + 1 for hole in self.holes)
        self.restarts += 1
        self.holes = []
        self._first_id = self.next_id = began
        return self.admit(trade_id, event_ns, recv_ns)


class Numbers:
    """Own numbers for trades whose ids do not count. They start with the time of the first trade, in microseconds:
    so those of the next process, or file, follow them, also those that are in no log."""

    __slots__ = (
        "_after", "_before", "_keys", "_number", "_since_ns", "_told_ns", "given_up", "holes", "newest_ns", "next_id",
        "restarts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.next_id = -1  # no key is the next
        self.holes: list[Missing] = []  # none is known
        self.newest_ns = self.given_up = self.restarts = 0
        self._number = -1
        self._after = -1  # the number that whoever read before us would have given next
        self._keys: set[int] = set()
        self._before: set[int] = set()
        self._since_ns = 0  # when this generation began
        self._told_ns = 0  # what was traded up to then has come to whoever read before us

    def take(self, key: int, event_ns: int, recv_ns: int) -> int:
        """The number of the trade; -1 where it has come before."""
        keys = self._keys
        if key in keys or key in self._before:
            return -1
        keys.add(key)
        if len(keys) >= KEYS or not 0 <= recv_ns - self._since_ns < GENERATION_NS:
            self._before, self._keys, self._since_ns = keys, set(), recv_ns
        if event_ns > self.newest_ns:
            self.newest_ns = event_ns
        if self._number < 0:
            self._number = max(event_ns // 1_000, self._after + 1)
        number = self._number
        self._number = number + 1
        return number

    def admit(self, key: int, event_ns: int, recv_ns: int) -> int:
        """As `take`, for trades that are told again: those that the process before us had must not count twice."""
        return self.take(key, event_ns, recv_ns) if event_ns > self._told_ns else -1

    def run(self, keys: list[int], first_ns: int, last_ns: int) -> int:
        """Take many trades none of which has come before: the first's number; -1 where that is not so."""
        new = set(keys)
        if len(new) < len(keys) or not (new.isdisjoint(self._keys) and new.isdisjoint(self._before)):
            return -1
        self._keys |= new
        if len(self._keys) >= KEYS:
            self._before, self._keys = self._keys, set()
        if last_ns > self.newest_ns:
            self.newest_ns = last_ns
        if self._number < 0:
            self._number = max(first_ns // 1_000, self._after + 1)
        first = self._number
        self._number += len(keys)
        return first

    def skip(self) -> None:
        """Something may be missed: one number is for whatever that is."""
        if self._number >= 0:
            self._number += 1

    def recall(self, number: int, event_ns: int) -> None:
        """The log has this trade."""
        self._number = max(self._number, number + 1)
        self.newest_ns = max(self.newest_ns, event_ns)

    def stand(self, tail: Tail) -> None:
        """Go on behind that, with at least one number left out for what was traded since."""
        self._after = tail.next_id
        self.newest_ns = self._told_ns = tail.newest_ns

    def tail(self, read_ns: int, price_decimals: int, quantity_decimals: int) -> Tail | None:
        """None before the first trade."""
        following = max(self._number, self._after)
        if following < 0:
            return None
        return Tail(following, 0, self.newest_ns, read_ns, price_decimals, quantity_decimals, [])
