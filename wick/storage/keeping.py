"""How long candles of each interval are kept: what `store.keep` says."""

from math import isfinite

from wick.errors import SettingError, shown
from wick.market.intervals import NAMES
from wick.ops.settings import Settings


def keep_days(settings: Settings) -> dict[str, float]:
    """Days by interval, of those that are not kept for ever."""
    found = {}
    for one in settings["store.keep"]:
        interval, _, text = one.partition(":")
        try:
            days = float(text)
        except ValueError:
            days = 0.0
        if interval not in NAMES or not isfinite(days) or days <= 0:
            raise SettingError(
                f"store.keep = {shown(one)} is wrong: valid is INTERVAL:DAYS, the interval one of {', '.join(NAMES)}, "
                "the days a number above 0 (15s:30)"
            )
        found[interval] = days
    return found
