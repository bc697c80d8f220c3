#!/usr/bin/env python3
"""services/front.py, with a stamp before every frame of a flush: the moment at which the flush was due.

The stamp is an unasked-for PONG (RFC 6455, 5.5.3), in the same write: CLOCK_MONOTONIC in ns, little-endian. So lateness
of the flusher counts, as does all that the others of the slice were told first.
"""

import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from wick.net.flusher import Flusher
from wick.net.ws_server import Server
from wick.roles.front import main

STAMP = struct.Struct("<BBQ")
PONG, LENGTH = 0x8A, 8


class Due:
    """The tick that is being made."""

    at_ns = 0


def stamped() -> None:
    tick, send_all = Flusher.tick, Server.send_all

    def noted_tick(flusher: Flusher) -> int:
        Due.at_ns = flusher._due_ns
        return tick(flusher)

    def stamped_send_all(server: Server, clients: Sequence[Any], frames: Sequence[bytes]) -> list[Any]:
        stamp = STAMP.pack(PONG, LENGTH, Due.at_ns)
        return send_all(server, clients, [stamp + data for data in frames])

    Flusher.tick, Server.send_all = noted_tick, stamped_send_all  # type: ignore[method-assign]


if __name__ == "__main__":
    stamped()
    sys.exit(main(sys.argv[1:]))
