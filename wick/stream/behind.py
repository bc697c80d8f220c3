"""A client that is not in step: how far it has been told, channel by channel. Pure.

New, resumed and slow clients are all this. Nothing is queued for one: when it takes data, it is told what it lacks, as
new as that moment, until nothing is missing.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from wick.stream.channels import Channel, Message

if TYPE_CHECKING:
    from wick.stream.cohorts import Band

NOTHING = -1

Lacks = Callable[[Channel, int | None, int], list[Message]]

_by_handle = attrgetter("handle")


class Behind:
    """`since`: the position from which on something of the channel may be missing; None: the client knows nothing.

    Of channels that are not in `todo` all messages up to number `told` are known, or the number in `ahead`; of those
    that are, up to the number there, or NOTHING but what `since` says. `unannounced`: channels that a glob
    has brought and that no ACK has named yet. `lost`: it is being closed, and told nothing more.
    """

    __slots__ = ("ahead", "band", "form", "lost", "since", "todo", "told", "unannounced")

    def __init__(self, band: "Band", form: int, since: dict[Channel, int | None], told: int) -> None:
        self.band, self.form, self.since, self.told = band, form, since, told
        self.todo: dict[Channel, int] = {}
        self.ahead: dict[Channel, int] = {}
        self.unannounced: list[Channel] = []
        self.lost = False

    @property
    def channels(self) -> tuple[Channel, ...]:
        return tuple(sorted(self.since, key=_by_handle))

    def add(self, channel: Channel, since: int | None, *, unannounced: bool = False) -> None:
        self.since[channel] = since
        self.todo[channel] = NOTHING
        self.ahead.pop(channel, None)
        if unannounced:
            self.unannounced.append(channel)

    def discard(self, channel: Channel) -> None:
        del self.since[channel]
        self.todo.pop(channel, None)
        self.ahead.pop(channel, None)
        if channel in self.unannounced:
            self.unannounced.remove(channel)

    def catch_up(self, number: int, kept: int, lacks: Lacks) -> Iterator[list[Message]]:
        """What is missing as of message `number`, the newest; exhausted, the client is in step. It may be left at any
        list: what has been taken counts as told. Messages after number `kept` are kept, and told to who knows those
        before; else `lacks` tells of a channel. Raises Lost."""
        while True:
            while self.todo:
                channel = next(iter(self.todo))
                known = self.todo[channel]
                messages = channel.since(known) if known >= kept else []
                if not messages:
                    self._begin_anew(channel)
                    messages = lacks(channel, self.since[channel], channel.number)
                del self.todo[channel]
                self.since[channel], self.ahead[channel] = channel.position, number
                yield messages
            if self.told == number:
                return
            for channel in self.since:
                known = self.ahead.get(channel, self.told)
                if channel.number > known:
                    self.todo[channel] = known
                    self._begin_anew(channel)
            self.told = number
            self.ahead.clear()

    def _begin_anew(self, channel: Channel) -> None:
        """Positions from before a channel's history began anew say nothing: all since then may be missing."""
        if channel.restarted > self.told and self.since[channel] is not None:
            self.since[channel] = channel.began
