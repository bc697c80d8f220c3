"""What a venue's part of the feed needs of the process that it lives in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Recorder(Protocol):
    """Keeps everything as it was received; connection 0 is REST (`storage.capture.Capture`)."""

    def write(self, number: int, recv_ns: int, messages: list[bytes]) -> None: ...

    def end(self, number: int) -> None: ...


@dataclass(frozen=True)
class House:
    """What a venue needs of the process that it lives in."""

    spawn: Callable[..., Any]
    count: Callable[..., Any]  # (name, amount=1)
    room: Callable[[], Any]  # blocks while too much is unsent
    heard: Callable[[int], Any]  # (recv_ns): there was data
    show: Callable[[str, str, tuple[int, int, Any, Any]], Any]  # (venue, symbol, best levels): to who taps them
    recorder: Recorder | None
