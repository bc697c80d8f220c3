"""Ports for what a test starts: nobody else takes one between the moment that it is chosen and that it is listened on.

A port that is free at the moment is a gamble, for seconds, while a process starts, or starts again: other tests run at
the same time, and every outgoing connection takes a port of the ephemeral range, where `bind(0)` finds its own too.
"""

import random
import socket
from pathlib import Path


def free_port() -> int:
    """Of 127.0.0.1, below the ephemeral range, and this process's own as long as it lives."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(first // 2, first)
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0wick-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        mark.detach()  # it goes when this process ends, however it does
        return port
