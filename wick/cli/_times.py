"""Times as one types them."""

import argparse
import re
from datetime import UTC, datetime

from wick.market.intervals import DAY, HOUR, MINUTE
from wick.net.clock import now_ms

UNITS_MS = {"m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


def time_ms(text: str) -> int:
    if ago := re.fullmatch(r"([0-9]{1,6})([mhdw])", text):
        return now_ms() - int(ago[1]) * UNITS_MS[ago[2]]
    try:
        at = datetime.fromisoformat(text)
        at_ms = round((at.replace(tzinfo=at.tzinfo or UTC)).timestamp() * 1000)
        if not 0 < at_ms < 4_102_444_800_000:
            raise ValueError
    except (ValueError, OverflowError):
        valid = "a time such as 2026-01-31 or 2026-01-31T12:30, UTC, or how long ago: 36h, 30d"
        raise argparse.ArgumentTypeError(f"{text!r} is wrong: valid is {valid}") from None
    return at_ms
