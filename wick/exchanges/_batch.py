"""Many messages decoded as one JSON array: what makes `take` three times as fast as `parse` one by one. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from wick.errors import ParseError
from wick.exchanges import Refused
from wick.market.trades import Event

# Between the messages that are decoded together, as elements of one array. A message without this number in it cannot
# reach beyond its own place there: see `decode`. No float equals it (2^53 is far below, and it is odd).
MARK = 7_243_081_119_634_025_971
_DIGITS = b"%d" % MARK
_MARKED = b"," + _DIGITS + b","
TOGETHER = 128  # more at once is slower: the objects leave the processor's cache

Read = Callable[[list[Any], int, list[Event | Refused]], None]


def decode(frames: Sequence[bytes], loads: Callable[[bytes], Any] = orjson.loads) -> list[Any] | None:
    """The messages' JSON values; None where not each of them is exactly one value."""
    joined = _MARKED.join(frames)
    try:
        values: list[Any] = loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    # Two broken messages can be whole together ('{"a":[1' and '2]}'); the mark between them is inside of a value then.
    # Where all marks are ours, and stand between the values one by one, no message is broken.
    marks = len(frames) - 1
    if len(values) != len(frames) + marks or values[1::2].count(MARK) != marks or joined.count(_DIGITS) != marks:
        return None
    return values[::2]


def take(
    frames: Sequence[bytes],
    parse: Callable[[bytes], list[Event]],
    read: Read,
    loads: Callable[[bytes], Any] = orjson.loads,
) -> list[Event | Refused]:
    """A venue's `take`: `read(values, start, taken)` appends the events of decoded messages, or their Refused.

    `start` is the place of the first. Where messages cannot be decoded together, `parse` looks at each.
    """
    taken: list[Event | Refused] = []
    for start in range(0, len(frames), TOGETHER):
        some = frames[start : start + TOGETHER]
        values = decode(some, loads)
        if values is not None:
            read(values, start, taken)
            continue
        for place, raw in enumerate(some, start):
            try:
                taken += parse(raw)
            except ParseError as error:
                taken.append(Refused(place, error))
    return taken
