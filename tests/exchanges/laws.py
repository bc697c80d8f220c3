"""What holds for every venue's parser, whatever it is given; and frames to try it with."""

import json
import random
from collections.abc import Sequence
from importlib import import_module

from wick.errors import ParseError
from wick.exchanges import Refused, Venue
from wick.market.trades import DepthSnapshot, DepthUpdate, Event, Quote, Trade
from wick.wire.messages import pack_quote, pack_trade

SPLICES = (
    b"", b"-", b"9", b"0", b"e", b".", b'"', b"null", b"true", b"[]", b"{}", b"[", b"]", b"{", b"}", b"\\n", b"\n",
    b"1e400", b"\xc3\xa9", b"\xff", b" ", b"00", b",", b":", b"\\u0000", b'"",', b"18446744073709551616", b"[[[[[[[[",
)  # fmt: skip


def samples(venue_id: str) -> tuple[bytes, ...]:
    """Good frames of the venue, as its own tests have them."""
    return tuple(import_module(f"tests.exchanges.test_{venue_id.replace('-', '_')}").SAMPLES)


def alone(venue: Venue, frames: Sequence[bytes]) -> list[Event | Refused]:
    """What `take` has to be."""
    taken: list[Event | Refused] = []
    for place, raw in enumerate(frames):
        try:
            taken += venue.parse(raw)
        except ParseError as error:
            taken.append(Refused(place, error))
    return taken


def shown(taken: Sequence[Event | Refused]) -> list[object]:
    """As text, which tells True from 1, and one kind of event from another."""
    return [
        ("refused", one.place, one.error.reason, one.error.field, repr(one.error.value), str(one.error))
        if isinstance(one, Refused)
        else (type(one).__name__, repr(one))
        for one in taken
    ]


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """The frame with a piece taken out, replaced, doubled, cut off, or joined to itself."""
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(8):
            case 0:
                del changed[at:]
            case 1:
                changed[at:at] = raw[chance.randrange(len(raw)) :]
            case 2:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case _:
                changed[at : at + chance.choice((0, 1, 1, 2, 8))] = chance.choice(SPLICES)
    return bytes(changed)


def check(event: Event | Refused) -> None:
    """What is accepted is what the rest of wick can rely on."""
    match event:
        case Refused():
            assert type(event.error) is ParseError and event.error.reason and len(str(event.error)) < 400
        case Trade():
            assert len(pack_trade(event, 1)) == 64
            assert event.price > 0 and event.quantity > 0 and event.matches > 0 and type(event.taker_buy) is bool
        case Quote():
            assert len(pack_quote(event, 1)) == 64
        case DepthUpdate() | DepthSnapshot():
            for price, quantity, *_ in [*event.bids, *event.asks]:
                assert price.isascii() and quantity.isascii()
                assert float(price) >= 0 and float(quantity) >= 0


def fuzz(venue: Venue, good: Sequence[bytes], count: int, seed: int) -> int:
    """`count` mutated frames among good ones: ParseErrors or events, the same as one by one; how many were refused."""
    chance, refused = random.Random(seed), 0
    expected = [shown(venue.parse(raw)) for raw in good]
    for _ in range(0, count, 8):
        frames = [mutated(chance.choice(good), chance) for _ in range(8)]
        last = chance.randrange(len(good))
        taken = venue.take([*frames, good[last]])
        for event in taken:
            check(event)
        assert shown(taken) == shown(alone(venue, [*frames, good[last]])), frames
        tail = len(expected[last])
        assert shown(taken[len(taken) - tail :]) == expected[last], "a later good frame is read as ever"
        refused += sum(type(event) is Refused for event in taken)
        for raw in frames:
            at_ns = venue.skim(raw)
            if at_ns is not None:
                check_skimmed(venue, raw, at_ns)
    return refused


def check_skimmed(venue: Venue, raw: bytes, at_ns: int) -> None:
    """What `skim` takes, `parse` takes too: events without a trade, of that time."""
    for event in venue.parse(raw):
        assert type(event) is not Trade, raw
        assert getattr(event, "event_ns", 0) in ((0, at_ns) if at_ns else (0,)), raw


def changed(raw: bytes, **fields: object) -> bytes:
    """The frame with some fields of its outermost object changed; None takes one out."""
    whole = json.loads(raw)
    whole.update(fields)
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()
