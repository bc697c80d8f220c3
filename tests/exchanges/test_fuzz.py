"""Whatever is done to a frame of a venue: ParseError or events, never another exception, and nothing that stays.

All venues that are found, by the law in `mutants`. A frame on which one hangs ends the run (faulthandler_timeout).
"""

import pytest

from tests.exchanges.mutants import FUZZ, alone, check, check_skimmed, good, shown, survives
from wick.exchanges import ids, load

EVERY = pytest.mark.parametrize("venue_id", ids())


@EVERY
def test_the_good_frames_of_a_venue_are_of_every_kind(venue_id):
    venue, frames = load(venue_id), good(venue_id)
    taken = [event for raw in frames for event in venue.parse(raw)]
    assert shown(venue.take(frames)) == shown(alone(venue, frames))
    for event in taken:
        check(event)
    for raw in frames:
        check_skimmed(venue, raw)
    kinds = {type(event).__name__ for event in taken}
    assert {"Trade", "DepthUpdate", "Ack"} <= kinds
    assert ("Quote" in kinds) == ("quote" in venue.channels)


@EVERY
def test_mutated_frames_are_refused_or_taken_and_harm_nobody(venue_id):
    assert survives(load(venue_id), good(venue_id), 1_000) > 100


@pytest.mark.slow
@EVERY
def test_so_are_many(venue_id):
    assert survives(load(venue_id), good(venue_id), FUZZ, seed=3) > FUZZ // 10
