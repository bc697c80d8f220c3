"""The law of the fan-out (tests/stream/test_fanout_law.py) with this client in the place of each model client: told the
same, through conflation, cut lines, two fronts and restarted workers, it holds the same, and never finds a hole."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.client.speaking import hello
from tests.stream import test_fanout_law, toy_fronts
from wick.client.core import Core
from wick.client.events import Error, Gap
from wick.market.schema import CLOSED
from wick.wire.codec import pack
from wick.wire.session import Kind


class Both(toy_fronts.Client):
    """The model, which asks and reads, and a core that is told each message after it."""

    __slots__ = ("core",)

    def __init__(self, **options):
        super().__init__(**options)
        self.core = Core((), keep_candles=10_000)
        self.core._wants = lambda _: True  # the model says what is wanted

    def connect(self, front):
        super().connect(front)
        list(self.core.lost(0, None, "cut"))
        self.core.opened(0)
        self._tell(hello())

    def take(self, message):
        super().take(message)
        if message[0] == Kind.BATCH:  # its messages have come here one by one
            return
        if message[0] == Kind.ACK and message[1] is not None and message[1] < 0:
            self.core._requests[message[1]] = Kind.UNSUBSCRIBE
            self.core._wants = lambda _: False
        self._tell(message)
        self.core._wants = lambda _: True
        self._compare()

    def _tell(self, message):
        for event in self.core.receive(pack(message), 0):
            assert not isinstance(event, Error), event
            assert not (isinstance(event, Gap) and event.reason == "hole"), event
        self.core.outgoing()

    def _compare(self):
        assert self.core.topics.keys() == {topic.text for topic in self.told}
        for topic, told in self.told.items():
            held = self.core.topics[topic.text]
            if told.knows:
                assert (held.epoch, held.seq, held.groups) == (told.epoch, told.seq, told.groups)
            for at, row in held.rows.items():
                assert row == told.rows[at] or not told.rows[at][3] & CLOSED


@pytest.fixture
def both(monkeypatch):
    monkeypatch.setattr(test_fanout_law, "Client", Both)


@pytest.mark.slow
@pytest.mark.usefixtures("both")
def test_told_the_same_it_holds_the_same():
    run_state_machine_as_test(
        test_fanout_law.Fronts,
        settings=settings(max_examples=60, stateful_step_count=50, suppress_health_check=list(HealthCheck)),
    )
