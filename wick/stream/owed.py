"""What a client that takes no data is owed. Pure.

It waits in no queue: a channel has at most one place here, and what it gets is made when the client takes data again,
as new as that moment. Meanwhile messages cost nothing but a look here, however many come.
"""

from wick.stream.fanout import Channel, Fanout, Message
from wick.wire.session import Kind


class Owed:
    """The channels of which a client has yet to be told, oldest first.

    `channels` says since which DIFF the client has missed all; None: it needs the whole state.
    """

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self.channels: dict[Channel, Message | None] = {}

    def state(self, channel: Channel) -> None:
        """The channel's whole state is owed."""
        self.channels[channel] = None

    def miss(self, message: Message, channel: Channel) -> None:
        """A message of the channel is not sent to the client: later something else tells what it does."""
        if message.fields[0] != Kind.DIFF:
            self.channels[channel] = None  # a row, or a new epoch: a state has both
        elif channel not in self.channels:
            self._fanout.missed(message, channel)
            self.channels[channel] = message

    def forget(self, channel: Channel) -> None:
        self.channels.pop(channel, None)

    def next(self) -> Message | None:
        """What to send now: a SNAPSHOT, or one DIFF for all that were missed; None where nothing is owed."""
        if not self.channels:
            return None
        channel = next(iter(self.channels))
        first = self.channels.pop(channel)
        return self._fanout.snapshot(channel) if first is None else self._fanout.merged(first, channel)
