"""Laws of the client: after any history of losses it holds what the front holds; any bytes leave it able to go on.

The front here is a model of a few lines: a state that random diffs change, candles that close, a ring of the last rows.
"""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.client.speaking import BTC, CANDLES, EPOCH, MINUTE, Talk, encoded, head, hello, live, row
from wick.client.events import Changed, Closed, Disconnected, Error, Gap, Revised, Snapshot
from wick.client.forms import FORMS
from wick.stream import diffs
from wick.wire.session import Kind

RING = 4
OPEN = 1_763_900_040_000


class Front:
    """What is true of one candles topic, and what a front that remembers RING rows says of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.epoch, self.seq = EPOCH, 10
        self.groups = [head(), live(OPEN)]
        self.rows: dict[int, tuple[int, list]] = {}  # open time -> the position at which it closed, the row
        self.connected = False
        self.handle = 0

    def moves(self):
        """A trade, a close with the next candle, or a correction; returns what a client in step is told."""
        new = [list(group) for group in self.groups]
        messages = []
        what = self.random.random()
        new[0][0] += self.random.choice((-(2**70), -1, 1, 2**70))
        if what < 0.3:
            new[1][0] += MINUTE
        self.seq += 1
        messages.append([Kind.DIFF, self.handle, self.seq, 1, diffs.make(self.groups, new)])
        if what < 0.3:
            messages.append(self._close(self.groups[1][0], 0))
        elif what < 0.4 and self.rows:
            opened = self.random.choice(sorted(self.rows))
            messages.append(self._close(opened, self.rows[opened][1][2] + 1))
        self.groups = new
        return messages

    def _close(self, opened: int, revision: int):
        self.rows[opened] = (self.seq, row(opened, close=self.random.randrange(10**7), revision=revision))
        for old in sorted(self.rows)[:-RING]:
            del self.rows[old]
        return [Kind.CLOSE, self.handle, self.seq, self.rows[opened][1]]

    def restarts(self):
        self.epoch, self.seq = self.epoch + 1, self.random.randrange(5)

    def snapshot(self, since: int = 0):
        rows = [told for _, (at, told) in sorted(self.rows.items()) if at >= since]
        return [Kind.SNAPSHOT, self.handle, self.epoch, self.seq, self.groups, rows]

    def answers(self, request):
        """To a SUBSCRIBE: from the position, where it is of this epoch; the ring is behind what it asks for, or not."""
        _, number, (entry,) = request
        self.handle += 1  # of another connection, perhaps
        epoch, seq = [int(part) for part in entry[1:]] if isinstance(entry, list) else (0, 0)
        known = epoch == self.epoch and seq <= self.seq
        oldest = min((at for at, _ in self.rows.values()), default=self.seq)
        resumed = known and (len(self.rows) < RING or oldest <= seq)
        return [
            [Kind.ACK, number, [[CANDLES, self.handle, resumed]]],
            self.snapshot(seq if resumed else 0),
        ]


steps = st.lists(
    st.sampled_from(["move"] * 6 + ["batch", "lose", "cut", "cut in a batch", "restart", "conflate", "connect"] * 2),
    min_size=5, max_size=60,
)  # fmt: skip


@given(steps, st.integers(0, 2**32), st.sampled_from(sorted(FORMS)))
def test_after_any_losses_the_client_holds_what_the_front_holds_and_knows_what_it_may_have_missed(steps, seed, form):
    front, talk = Front(seed), Talk(CANDLES, form=FORMS[form], keep_candles=1_000)
    said = []

    def connects():
        if not front.connected:
            talk.core.opened(talk.now_ms)
            said.extend(talk.says(hello()))
            front.connected = True
        for request in talk.asked():
            for message in front.answers(request):
                said.extend(talk.says(message))

    def cut():
        if front.connected:
            said.extend(talk.cut())
            front.connected = False

    for step in [*steps, "connect"]:
        told = []
        match step:
            case "move":
                told = front.moves()
            case "batch":
                told = [[Kind.BATCH, *[message for _ in range(3) for message in front.moves()]]]
            case "lose":  # a DIFF that never comes; closes do
                told = front.moves()[1:]
            case "cut in a batch":
                if front.connected:
                    batch = [Kind.BATCH, *front.moves(), *front.moves()]
                    told_so_far = talk.core.receive(encoded(batch, talk.form), talk.now_ms)
                    said += [event for _, event in zip(range(1), told_so_far, strict=False)]
                    told_so_far.close()
                    cut()
            case "cut":
                cut()
            case "restart":
                front.restarts()
                told = [front.snapshot()]
            case "conflate":
                before = front.seq
                front.moves()
                told = [front.snapshot(before)]
            case "connect":
                connects()
        if front.connected:
            for message in told:
                said += talk.says(message)
            connects()  # what a hole made it ask

    # A lost DIFF is seen by the next one.
    for message in front.moves():
        said += talk.says(message)
    connects()

    held = talk.core.topics[CANDLES]
    assert (held.epoch, held.seq, held.groups) == (front.epoch, front.seq, front.groups)
    assert {at: held.rows.get(at) for at in front.rows} == {at: told for at, (_, told) in front.rows.items()}
    assert not [event for event in said if isinstance(event, Error)]
    # What is held, the events have told; a candle closes once.
    closed = [event.candle.open_time_ms for event in said if isinstance(event, Closed)]
    assert len(closed) == len({*closed})
    at_first = next(event for event in said if isinstance(event, Snapshot)).candles
    told = {candle.open_time_ms: candle for candle in at_first}
    told |= {event.candle.open_time_ms: event.candle for event in said if isinstance(event, Closed | Revised)}
    assert {at: candle.values for at, candle in told.items()} == {at: tuple(one) for at, one in held.rows.items()}
    # Candles follow one another without a hole, unless a Gap says otherwise.
    if not any(isinstance(event, Gap) and event.reason == "unproven" for event in said):
        opens = sorted(held.rows)
        assert [b - a for a, b in pairwise(opens)] == [MINUTE] * max(0, len(opens) - 1)
    last = [event for event in said if isinstance(event, Changed | Snapshot | Disconnected)][-1]
    assert last.ticker == held.ticker and last.candle == held.candle


@given(st.lists(st.binary(max_size=40), max_size=8), st.sampled_from(sorted(FORMS)))
def test_any_bytes_leave_the_client_able_to_begin_anew(garbage, form):
    talk = Talk(BTC, form=FORMS[form])
    talk.opens()
    talk.subscribed(BTC)
    for data in garbage:
        said = list(talk.core.receive(data if form == "msgpack" else data.decode("latin-1"), 0))
        assert all(isinstance(event, Error) for event in said)
    talk.cut()
    assert talk.core.ended is None
    talk.opens()
    assert [request[2] for request in talk.asked()] == [[BTC]]


anything = st.recursive(
    st.integers(-(2**66), 2**66) | st.sampled_from([None, True, "", "x", "12", BTC, 0.5, float("nan"), b"x"]),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from([kind for kind in Kind if kind != Kind.BYE]), st.lists(anything, max_size=8))
def test_any_fields_of_any_message_are_an_error_or_sense(kind, fields):
    talk = Talk(CANDLES)
    talk.opens()
    talk.subscribed(CANDLES)
    talk.says([Kind.SNAPSHOT, 1, EPOCH, 10, [head(), live(OPEN)], []])
    talk.says([kind, *fields])
    talk.cut()
    talk.opens()
