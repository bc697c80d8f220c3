"""Epochs and sequences: how whoever reads a stream sees every hole. Pure.

Law: a stream has an epoch (new whenever its history restarts) and a sequence that grows by 1. A reader joins
with a snapshot that names the (epoch, sequence) it stands at, keeps what arrives meanwhile, and applies what
follows it. A hole, or another epoch, asks for exactly one new snapshot.
"""

from collections import deque
from typing import Any

MAX_WAITING = 2_000  # messages kept while a snapshot is under way: 100 s at 20 a second; the oldest are dropped


class Follower:
    """Follows one stream that is mended by snapshots.

    `offer` gives back the messages that apply now, in order. `wanted` is true from the moment that a snapshot is
    needed until one has been taken; whoever owns the follower asks for it once and calls `restart` with it.
    """

    __slots__ = ("epoch", "resyncs", "seq", "waiting", "wanted")

    def __init__(self) -> None:
        self.epoch = self.seq = -1
        self.wanted = True
        self.resyncs = 0
        self.waiting: deque[tuple[int, int, Any]] = deque(maxlen=MAX_WAITING)

    def offer(self, epoch: int, seq: int, message: Any) -> bool:
        """True where `message` is the next one and is to be applied now."""
        if self.wanted:
            self.waiting.append((epoch, seq, message))
            return False
        if epoch == self.epoch:
            if seq == self.seq + 1:
                self.seq = seq
                return True
            if seq <= self.seq:
                return False
        elif epoch < self.epoch:
            return False
        self.wanted = True
        self.resyncs += 1
        self.waiting.append((epoch, seq, message))
        return False

    def restart(self, epoch: int, seq: int) -> list[Any]:
        """Stand at a snapshot; the kept messages that follow it, to be applied now. May want another snapshot."""
        self.epoch, self.seq, self.wanted = epoch, seq, False
        waiting = list(self.waiting)
        self.waiting.clear()
        return [message for e, s, message in waiting if self.offer(e, s, message)]
