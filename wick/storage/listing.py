"""What a venue said that it trades, in a file: for a feed that begins while the venue's REST tells nothing."""

from collections.abc import Iterable
from pathlib import Path

from wick.errors import WireError
from wick.exchanges import Instrument
from wick.wire.codec import pack, unpack


def save(path: Path, listed: Iterable[Instrument]) -> None:
    """Keep them whole or not at all. OSError where the disk does not take them."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(pack([list(one) for one in listed]))
    new.replace(path)


def load(path: Path) -> list[Instrument]:
    """What was kept; none where nothing was, or where it is damaged."""
    try:
        listed = [Instrument(*one) for one in unpack(path.read_bytes())]
    except (OSError, WireError, TypeError):
        return []
    return listed if all(type(text) is str for one in listed for text in one) else []
