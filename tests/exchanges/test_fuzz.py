"""Whatever is done to a frame of a venue: ParseError or events, never another exception, and nothing that stays.

`WICK_TEST_FUZZ_FRAMES=1000000 pytest -m slow tests/exchanges/test_fuzz.py` looks at a million a venue.
"""

import os
import time

import pytest

from tests.exchanges.laws import alone, check, fuzz, samples, shown
from wick.exchanges import ids, load

LONG = int(os.environ.get("WICK_TEST_FUZZ_FRAMES", "60000"))
SECONDS_A_FRAME = 0.002  # a hundred times what one takes: a frame that hangs stands out, a busy machine does not


@pytest.mark.parametrize("venue_id", ids())
def test_the_samples_of_a_venue_are_good(venue_id):
    venue, good = load(venue_id), samples(venue_id)
    assert shown(venue.take(good)) == shown(alone(venue, good))
    taken = [event for raw in good for event in venue.parse(raw)]
    for event in taken:
        check(event)
    kinds = {type(event).__name__ for event in taken}
    assert {"Trade", "DepthUpdate", "Ack"} <= kinds
    assert ("Quote" in kinds) == ("quote" in venue.channels)


@pytest.mark.parametrize("venue_id", ids())
def test_mutated_frames_are_refused_or_taken_and_harm_nobody(venue_id):
    assert fuzz(load(venue_id), samples(venue_id), count=600, seed=1) > 100


@pytest.mark.slow
@pytest.mark.parametrize("venue_id", ids())
def test_so_are_many(venue_id):
    began = time.perf_counter()
    assert fuzz(load(venue_id), samples(venue_id), count=LONG, seed=int(began * 1000)) > LONG // 4
    assert time.perf_counter() - began < 10 + LONG * SECONDS_A_FRAME
