"""Numbers and times as venues write them. Pure.

Prices and quantities of the simulator are integers of 1e-8.
"""

from datetime import UTC, datetime
from functools import lru_cache

from wick.sim.symbols import UNITS


def fixed(units: int, decimals: int = 8) -> str:
    """With so many decimals (which must be enough): 1.50000000, 1.50, 2."""
    whole, part = divmod(units, UNITS)
    return f"{whole}.{part:08d}"[: -(8 - decimals) or None] if decimals else str(whole)


@lru_cache
def decimals(step: int) -> int:
    """How many decimals numbers with this step (in 1e-8) have."""
    return len(fixed(step).rstrip("0").partition(".")[2])


def stepped(units: int, step: int) -> str:
    """With as many decimals as its step has."""
    return fixed(units, decimals(step))


def plain(units: int) -> str:
    """Without zeros at the end: 1.5, 2."""
    return fixed(units).rstrip("0").rstrip(".")


def rfc3339(time_ms: int, digits: int = 6) -> str:
    """2026-01-31T12:00:00.123000Z."""
    whole = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{time_ms % 1000:03d}{'0' * (digits - 3)}Z"
