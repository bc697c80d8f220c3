"""The only place that reads the clock. Everything else is handed `now_ns`."""

import time


def now_ns() -> int:
    """Nanoseconds since the epoch, UTC."""
    return time.time_ns()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def steady_ns() -> int:
    """Nanoseconds that never jump, for how long something took."""
    return time.perf_counter_ns()
