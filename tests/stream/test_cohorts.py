"""Cohorts and bands: wherever clients come, go and change, each has its place, and nothing empty stays."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from wick.stream.cohorts import MAX_BAND, RUN, SLICES, Slices, join, part
from wick.stream.frames import FORMS

MOST = 3


class Client:
    __slots__ = ("behind", "cohort", "globs", "place")


class Places(RuleBasedStateMachine):
    """Channels are opaque to cohorts: letters here."""

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.slices = Slices(2, most=MOST, run=2)
        self.all: dict[Client, tuple[int, tuple[str, ...]]] = {}

    @rule(target=clients, form=st.integers(0, FORMS - 1))
    def enter(self, form):
        client = Client()
        join(client, self.slices.enter(0), form, ())
        self.all[client] = (form, ())
        return client

    @rule(client=clients, channels=st.sets(st.sampled_from("abc")))
    def change(self, client, channels):
        left = part(client)
        assert client.cohort is None
        join(client, left.band, left.form, tuple(sorted(channels)))
        self.all[client] = (left.form, tuple(sorted(channels)))

    @rule(client=consumes(clients))
    def leave(self, client):
        self.slices.leave(part(client).band)
        del self.all[client]

    @invariant()
    def each_client_has_its_place(self):
        for client, (form, channels) in self.all.items():
            assert list(client.cohort)[client.place] is client
            assert (client.cohort.form, client.cohort.channels) == (form, channels)
            assert client.cohort.band.cohorts[form][channels] is client.cohort

    @invariant()
    def bands_count_their_clients_and_nothing_empty_stays(self):
        for band in self.slices:
            cohorts = [cohort for its in band.cohorts for cohort in its.values()]
            assert all(map(len, cohorts))
            assert 0 < band.clients == sum(map(len, cohorts)) <= MOST
        assert self.slices.sizes == [sum(band.clients for band in bands) for bands in self.slices.bands]
        assert sum(self.slices.sizes) == len(self.all)


Places.TestCase.settings = settings(stateful_step_count=30)
TestPlaces = Places.TestCase


def test_new_clients_are_spread_over_all_slices_in_bands_of_at_most_512():
    slices = Slices()
    for _ in range(SLICES * (MAX_BAND + RUN)):
        slices.enter(0)
    assert slices.sizes == [MAX_BAND + RUN] * SLICES
    assert [[band.clients for band in bands] for bands in slices.bands] == [[MAX_BAND, RUN]] * SLICES


def test_clients_that_come_one_after_the_other_are_told_together_and_the_smallest_slice_gets_the_next():
    slices = Slices(3, most=3, run=2)
    bands = [slices.enter(0) for _ in range(6)]
    assert [band in slices.bands[number // 2] for number, band in enumerate(bands)] == [True] * 6
    slices.leave(bands[3])
    assert [slices.enter(0) in slices.bands[1] for _ in range(3)] == [True, True, False]
    assert slices.sizes == [3, 3, 2]
