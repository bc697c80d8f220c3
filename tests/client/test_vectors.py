"""The vectors that all clients share (tests/vectors/README.md), in both forms."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.client.speaking import decoded
from wick.client import events
from wick.client.core import Core
from wick.client.forms import FORMS
from wick.client.held import Held
from wick.wire.codec import pack_json
from wick.wire.session import Kind

FILES = sorted((Path(__file__).parents[1] / "vectors").glob("*.json"))

# What the vectors call an event. This client also says what a snapshot closed, where a gap may be without a hole, and
# when the connection ends; it keeps heartbeats to itself.
NAMES = {
    events.Connected: "hello", events.Subscribed: "subscribed", events.Unsubscribed: "unsubscribed",
    events.Snapshot: "snapshot", events.Changed: "diff", events.Closed: "close", events.Revised: "close",
    events.Live: "live", events.Trades: "trades", events.Book: "book", events.Stats: "stats", events.Gap: "gap",
    events.Error: "error", events.Bye: "bye", events.Stale: "stale",
}  # fmt: skip
PARTS = {
    "subscribed": ("topic", "resumed"), "error": ("code", "field", "value", "valid", "topic"),
    "bye": ("close_code", "retry_after_ms"), "stats": ("topic", "process"), "hello": (), "stale": (),
    "trades": ("topic", "missed"),
}  # fmt: skip


def plain(value: Any) -> Any:
    """In JSON form."""
    return json.loads(pack_json(value))


def described(event: events.Event, told: Any) -> dict[str, Any]:
    name = NAMES[type(event)]
    one = {"type": name, **{part: plain(getattr(event, part)) for part in PARTS.get(name, ("topic",))}}
    if isinstance(event, events.Trades):
        one["trades"] = told[7][len(told[7]) - len(event.trades) :]
        assert [trade.id for trade in event.trades] == [int(trade[0]) for trade in one["trades"]]
    return one


def held(one: Held) -> dict[str, Any]:
    place = {"epoch": plain(one.epoch), "seq": plain(one.seq)}
    match one.kind:
        case "trades":
            return place
        case "metrics":
            return {"row": plain(list(one.latest.values)) if one.latest else None}
        case "book":
            if one.book is None:
                return dict.fromkeys(("seq", "time_us", "bids", "asks"))
            bids, asks = [[[format(part, "f") for part in level] for level in side] for side in one.book[3:]]
            return {"seq": one.book.seq, "time_us": one.book.time_us, "bids": bids, "asks": asks}
        case "stats":
            return {"processes": plain(one.processes)}
    rows = [plain(one.rows[at]) for at in sorted(one.rows)]
    return {**place, "groups": None if one.epoch is None else plain(one.groups), "rows": rows}


class Player:
    """Takes the steps of a file, and is the shell of a core meanwhile."""

    def __init__(self, form: str) -> None:
        self.form, self.now_ms = form, 0
        self.core = Core((), FORMS[form])
        self.sent: list[Any] = []
        self.said: list[dict[str, Any]] = []

    def take(self, step: dict[str, Any]) -> None:
        assert self.sent == [] or step.keys() & {"send", "expect"}  # what was said before was named
        for name in step.keys() - {"msgpack", "events"}:
            getattr(self, f"on_{name}")(step[name], step)
        out = [decoded(data) for data in self.core.outgoing()]
        self.sent += plain(out) if self.form == "msgpack" else out

    def on_subscribe(self, topics: list[str], _: Any) -> None:
        self.core.subscribe(topics)

    def on_unsubscribe(self, topics: list[str], _: Any) -> None:
        self.core.unsubscribe(topics)

    def on_connect(self, _: bool, __: Any) -> None:
        self.now_ms = max(self.now_ms, self.core.deadline_ms)
        self.core.opened(self.now_ms)

    def on_receive(self, message: Any, step: dict[str, Any]) -> None:
        data = bytes.fromhex(step["msgpack"]) if self.form == "msgpack" else json.dumps(message)
        said = list(self.core.receive(data, self.now_ms))
        assert self.core.closing is None, said
        if message[0] == Kind.SNAPSHOT:
            said = [event for event in said if not isinstance(event, events.Closed | events.Revised)]
        said = [event for event in said if not isinstance(event, events.Gap) or event.reason == "hole"]
        self.said += [described(event, message) for event in said]

    def on_send(self, message: Any, _: Any) -> None:
        assert self.sent[:1] == [message]
        del self.sent[0]

    def on_advance_ms(self, n: int, _: Any) -> None:
        self.now_ms += n
        if self.now_ms >= self.core.deadline_ms:
            self.said += [described(event, None) for event in self.core.tick(self.now_ms)]
            if self.core.closing:
                self.on_disconnect(1006, None)

    def on_disconnect(self, code: int, _: Any) -> None:
        (event,) = self.core.lost(self.now_ms, None if code == 1006 else code, "")
        assert isinstance(event, events.Disconnected)
        self.over = event

    def on_reconnect(self, wanted: dict[str, int] | None, _: Any) -> None:
        if wanted is None:
            assert self.over.retry_ms is None and self.core.ended
        else:
            assert self.over.retry_ms is not None and 0 <= self.over.retry_ms <= wanted["max_ms"]

    def on_age_ms(self, n: int | None, _: Any) -> None:
        assert self.core.age_ms(self.now_ms) == n

    def on_expect(self, wanted: dict[str, Any], step: dict[str, Any]) -> None:
        assert {topic: held(one) for topic, one in self.core.topics.items()} == wanted
        assert self.said == [event for event in step["events"] if event["type"] != "heartbeat"]
        self.said = []


def test_there_are_vectors():
    assert len(FILES) >= 12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_client_holds_says_and_sends_what_the_vector_wants(path, form):
    player = Player(form)
    for step in json.loads(path.read_text())["steps"]:
        player.take(step)
    assert player.sent == []
