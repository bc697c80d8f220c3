"""What one connection has asked its venue for, and what the venue said: frames out, answers in. Pure.

A request that is refused as a whole, or not answered, is asked again in halves, down to the topic that is at fault:
most venues refuse all for one. What is refused alone, or not answered on two connections, is asked for later and later.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from wick.exchanges import Request, Venue
from wick.market.trades import Ack, Topic

NEVER = 2**63 - 1
MOST_ENDING = 256  # unsubscribe requests whose answer is still recognised


class Refusals:
    """The topics that a venue does not give us, and when to ask again: shared by all its connections."""

    def __init__(self, first_ns: int, most_ns: int) -> None:
        self._first_ns, self._most_ns = first_ns, most_ns
        self._times: dict[Topic, tuple[int, int]] = {}  # how often, when to ask again

    def __len__(self) -> int:
        return len(self._times)

    def refuse(self, topic: Topic, now_ns: int, answered: bool = True) -> None:
        """Once more. Silence is no refusal yet when it is the first time: it may be the connection's fault."""
        times = self._times.get(topic, (0, 0))[0] + 1
        doublings = times - 1 if answered else times - 2
        wait_ns = min(self._most_ns, self._first_ns << doublings) if doublings >= 0 else 0
        self._times[topic] = times, now_ns + wait_ns

    def forget(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            self._times.pop(topic, None)

    def due_ns(self, topic: Topic) -> int:
        """When to ask for it; 0: at any time."""
        return self._times.get(topic, (0, 0))[1]


class _Frame(NamedTuple):
    request: Request
    subscribes: bool
    repeated: bool = False  # asked once more, for want of an answer


class _Asked(NamedTuple):
    topics: dict[Topic, None]  # those that are not answered yet
    until_ns: int
    repeated: bool
    alone: bool  # it asked for one topic


class Subscriptions:
    """The topics of one connection. `accepted`: those that the venue confirmed."""

    def __init__(self, venue: Venue, topics: Iterable[Topic], refusals: Refusals, ack_ns: int, now_ns: int) -> None:
        self._venue, self._refusals, self._ack_ns = venue, refusals, ack_ns
        self.wanted: dict[Topic, None] = {}
        self.accepted: set[Topic] = set()
        self._later: set[Topic] = set()  # wanted, refused: asked for again when it is time
        self._frames: deque[_Frame] = deque()
        self._asked: dict[object, _Asked] = {}  # by the request's id, oldest first
        self._ending: dict[object, None] = {}  # ids of unsubscribe requests
        self._next_id = 1
        self._gave_up = False
        self.add(topics, now_ns)

    # ------------------------------------------------------------------ what is wanted

    def add(self, topics: Iterable[Topic], now_ns: int) -> None:
        new = [topic for topic in dict.fromkeys(topics) if topic not in self.wanted]
        self.wanted.update(dict.fromkeys(new))
        self._later.update(topic for topic in new if self._refusals.due_ns(topic) > now_ns)
        self._subscribe(topic for topic in new if topic not in self._later)

    def drop(self, topics: Iterable[Topic]) -> None:
        gone = [topic for topic in dict.fromkeys(topics) if topic in self.wanted]
        self._unsubscribe(topic for topic in gone if topic not in self._later)
        for topic in gone:
            del self.wanted[topic]
            self.accepted.discard(topic)
            self._later.discard(topic)
        self._forget_asked(gone)

    def again(self, topics: Iterable[Topic]) -> None:
        """Those that are accepted: the others are being asked for as it is."""
        known = [topic for topic in dict.fromkeys(topics) if topic in self.accepted]
        self.accepted.difference_update(known)
        self._unsubscribe(known)
        self._subscribe(known)

    # ------------------------------------------------------------------ out

    @property
    def settled(self) -> bool:
        """Nothing is left to be asked or answered."""
        return not self._frames and not self._asked

    @property
    def waiting(self) -> bool:
        """There is something to send now."""
        return bool(self._frames)

    def due_ns(self) -> int:
        """When `check` has something to do."""
        due = min((asked.until_ns for asked in self._asked.values()), default=NEVER)
        if self._gave_up:
            return due
        return min(due, *(self._refusals.due_ns(topic) for topic in self._later), NEVER)

    def check(self, now_ns: int) -> tuple[list[Topic], list[Topic]]:
        """Ask again for what is due: the topics that got no answer in time, and those that got none the second time."""
        if not self._gave_up and (due := [topic for topic in self._later if self._refusals.due_ns(topic) <= now_ns]):
            self._later.difference_update(due)
            self._subscribe(due)
        late: list[Topic] = []
        silent: list[Topic] = []
        for request_id, asked in [*self._asked.items()]:
            if asked.until_ns > now_ns:
                continue
            self._asked[request_id] = asked._replace(until_ns=NEVER)  # the answer may yet come
            if asked.repeated:
                silent += asked.topics
            else:
                late += asked.topics
                self._halve(list(asked.topics), repeated=True)
        if silent:
            self._forget_asked(silent)
            self._gave_up = True  # the next connection is to ask for them
            self._later.update(silent)
            for topic in silent if self.accepted else ():
                self._refusals.refuse(topic, now_ns, answered=False)
        return late, silent

    def next(self, now_ns: int) -> Request:
        """The next frame; it counts as sent."""
        frame = self._frames.popleft()
        if frame.subscribes:
            topics = [topic for topic in frame.request.topics if topic in self.wanted and topic not in self.accepted]
            if topics:
                self._asked[frame.request.id] = _Asked(
                    dict.fromkeys(topics), now_ns + self._ack_ns, frame.repeated, len(frame.request.topics) == 1
                )
        else:  # what was asked before is void; what is wanted again is asked behind it
            self.accepted.difference_update(frame.request.topics)
            self._forget_asked(frame.request.topics)
            self._ending[frame.request.id] = None
            if len(self._ending) > MOST_ENDING:
                del self._ending[next(iter(self._ending))]
        return frame.request

    def _subscribe(self, topics: Iterable[Topic], repeated: bool = False) -> None:
        if topics := list(topics):
            requests = self._venue.subscribe(topics, self._next_id)
            self._next_id += len(requests)
            self._frames += [_Frame(request, True, repeated) for request in requests]

    def _halve(self, topics: list[Topic], repeated: bool = False) -> None:
        half = len(topics) // 2
        self._subscribe(topics[:half], repeated)
        self._subscribe(topics[half:], repeated)

    def _unsubscribe(self, topics: Iterable[Topic]) -> None:
        if topics := list(topics):
            requests = self._venue.unsubscribe(topics, self._next_id)
            self._next_id += len(requests)
            self._frames += [_Frame(request, False) for request in requests]

    # ------------------------------------------------------------------ in

    def answer(self, ack: Ack, now_ns: int) -> tuple[Topic, ...]:
        """Take an answer; the topics that are refused with it, for now."""
        request_id = ack.request_id if isinstance(ack.request_id, int | str) else None
        if request_id in self._ending:
            if not ack.topics:  # a venue that answers topic by topic has more to say
                del self._ending[request_id]
            return ()
        requests = self._meant(request_id, ack)
        if ack.topics:
            about = [topic for topic in ack.topics if any(topic in asked.topics for asked in requests)]
        else:
            about = [topic for asked in requests for topic in asked.topics]
        alone = bool(ack.topics) or all(asked.alone for asked in requests)
        self._forget_asked(about)
        if ack.error is None:
            self.accepted.update(about)
            self._refusals.forget(about)
            return ()
        if not alone:
            self._halve(about)
            return ()
        for topic in about:
            self._refusals.refuse(topic, now_ns)
        self._later.update(about)
        return tuple(about)

    def _meant(self, request_id: object, ack: Ack) -> list[_Asked]:
        """The unanswered requests that an answer may be to."""
        if request_id is not None:
            return [self._asked[request_id]] if request_id in self._asked else []
        if ack.topics:
            return list(self._asked.values())
        # An error that names nothing: venues answer in order.
        return list(self._asked.values())[:1] if ack.error is not None else []

    def _forget_asked(self, topics: Iterable[Topic]) -> None:
        """These are answered for, or not wanted any more."""
        for topic in topics:
            for asked in self._asked.values():
                asked.topics.pop(topic, None)
        for request_id in [name for name, asked in self._asked.items() if not asked.topics]:
            del self._asked[request_id]
