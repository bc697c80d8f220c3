"""Cohorts: clients that are told the same, in bands that are told at the same moment. Pure.

A client gets one of ten slices of the flush window, and in it a band of at most 512 clients. All of a band stand at the
same number of the fan-out's messages (`told`), so what is new for them is made once for the band; and a band is small
enough to be flushed without giving way. In it, clients with the same channels and form are one cohort, told by one
frame.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from wick.stream.behind import Behind
from wick.stream.channels import Channel
from wick.stream.frames import FORMS

SLICES = 10
MAX_BAND = 512  # sends without giving way
RUN = 32  # clients, one after the other, in one slice: what was made together the caches have together, the kernel's too
Channels = tuple[Channel, ...]  # by handle


class Client(Protocol):
    """The slots that the fan-out keeps on a client. It has either a cohort, in which it is in step, or is behind."""

    cohort: "Cohort | None"
    place: int  # in its cohort's members
    behind: Behind | None
    globs: tuple[Any, ...]


class Cohort:
    """Clients of a band with the same channels and form, all in step.

    `members` is a list of them, or the only one itself: where each client has topics of its own, a list for each would
    take 100 bytes and two misses of the cache.
    """

    __slots__ = ("band", "channels", "form", "members")

    def __init__(self, band: "Band", form: int, channels: Channels, first: Any) -> None:
        self.band, self.form, self.channels = band, form, channels
        self.members: Any = first

    def __len__(self) -> int:
        return len(self.members) if type(self.members) is list else 1

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members if type(self.members) is list else (self.members,))


class Band:
    """Clients that are told at the same moment."""

    __slots__ = ("beat_ns", "clients", "cohorts", "told", "waiting")

    def __init__(self, told: int) -> None:
        self.told = told  # the number of the newest message that those in step know
        self.beat_ns = 0  # when a heartbeat is due
        self.clients = 0
        self.cohorts: tuple[dict[Channels, Cohort], ...] = tuple({} for _ in range(FORMS))
        self.waiting: dict[Any, None] = {}  # who is behind and takes data: to be told at the next flush


def join(client: Client, band: Band, form: int, channels: Channels) -> None:
    """The client is in step."""
    cohort = band.cohorts[form].get(channels)
    client.behind, client.place = None, 0
    if cohort is None:
        client.cohort = band.cohorts[form][channels] = Cohort(band, form, channels, client)
        return
    if type(cohort.members) is not list:
        cohort.members = [cohort.members]
    client.cohort, client.place = cohort, len(cohort.members)
    cohort.members.append(client)


def part(client: Client) -> Cohort:
    """The client leaves its cohort; the last member takes its place there."""
    cohort = client.cohort
    assert cohort is not None
    if len(cohort) == 1:
        del cohort.band.cohorts[cohort.form][cohort.channels]
    else:
        last = cohort.members.pop()
        if last is not client:
            cohort.members[client.place] = last
            last.place = client.place
    client.cohort = None
    return cohort


class Slices:
    """All bands, by slice."""

    def __init__(self, slices: int = SLICES, most: int = MAX_BAND, run: int = RUN) -> None:
        self.bands: list[list[Band]] = [[] for _ in range(slices)]
        self._most, self._run = most, run
        self._entered = self._slice = 0  # clients so far, and the slice of this run
        self._sizes = [0] * slices

    def __iter__(self) -> Any:
        return (band for bands in self.bands for band in bands)

    def enter(self, told: int) -> Band:
        """The band of a new client: in the slice of this run, which was the smallest as it began, the first with room."""
        if self._entered % self._run == 0:
            self._slice = self._sizes.index(min(self._sizes))
        self._entered += 1
        number = self._slice
        bands = self.bands[number]
        band = next((band for band in bands if band.clients < self._most), None)
        if band is None:
            band = Band(told)
            bands.append(band)
        band.clients += 1
        self._sizes[number] += 1
        return band

    def leave(self, band: Band) -> None:
        """A client is gone; a band goes with its last one."""
        number = next(number for number, bands in enumerate(self.bands) if band in bands)
        band.clients -= 1
        self._sizes[number] -= 1
        if not band.clients:
            self.bands[number].remove(band)

    @property
    def sizes(self) -> Sequence[int]:
        """Clients in each slice."""
        return self._sizes
