"""`python -m wick.exchanges`: the table of docs/exchanges.md, from the venues' own declarations."""

import sys

from wick.exchanges import Venue, ids, load


def table() -> str:
    """What each venue can do, as markdown."""
    head = (
        "| venue | id | streams | trade ids | missed trades | own candles | book | a connection | attempts | REST "
        "| ended after |"
    )
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    return "\n".join(lines + [_row(load(venue_id)) for venue_id in ids()]) + "\n"


def _row(venue: Venue) -> str:
    limits = venue.limits
    levels = f"{venue.depth_levels} levels" if venue.depth_levels else "all levels"
    cells = (
        venue.title,
        f"`{venue.id}`",
        ", ".join(venue.channels),
        "contiguous" if venue.contiguous_ids else "not contiguous",
        "backfilled over REST" if venue.backfills else "flagged",
        _candles(venue),
        f"{levels}, begins with {'REST' if venue.depth_from_rest else 'the stream'}, checked by {venue.depth_check}",
        f"{limits.streams:,} streams, {_rate(limits.requests)} messages",
        _rate(limits.connects),
        f"{_rate(limits.rest)} weight",
        f"{limits.lifetime_s / 3600:g} h" if limits.lifetime_s else "-",
    )
    return f"| {' | '.join(cells)} |"


def _candles(venue: Venue) -> str:
    if not venue.candles:
        return "-"
    kept = f"the newest {venue.candles_kept} of " if venue.candles_kept else ""
    return f"{kept}{venue.candles[0]} to {venue.candles[-1]}, {venue.candles_a_page:,} a request"


def _rate(limit: tuple[int, float]) -> str:
    count, seconds = limit
    return f"{count:,} in {seconds:g} s"


if __name__ == "__main__":
    sys.stdout.write(table())
