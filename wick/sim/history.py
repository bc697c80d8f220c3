"""The latest entries by id, a bounded number of them: what the exchange can still tell over REST. Pure."""

from bisect import bisect_left, bisect_right
from typing import Any


class History:
    """Entries in the order of their ids; when it is full, the oldest make way."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ids: list[int] = []
        self._entries: list[Any] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, entry_id: int, entry: Any) -> None:
        """Keep `entry`, unless one with this id or a higher one is there already."""
        if self._ids and entry_id <= self._ids[-1]:
            return
        self._ids.append(entry_id)
        self._entries.append(entry)
        if len(self._ids) > self._capacity * 5 // 4:  # in large pieces: cutting a list's head moves all of it
            del self._ids[: -self._capacity]
            del self._entries[: -self._capacity]

    @property
    def ids(self) -> tuple[int, int]:
        """The first and the last that is kept; (0, -1): none."""
        return (self._ids[0], self._ids[-1]) if self._ids else (0, -1)

    def latest(self, limit: int) -> list[Any]:
        return self._entries[-limit:]

    def between(self, first_id: int, last_id: int, limit: int) -> list[Any]:
        """The latest `limit` of those with ids `first_id`..`last_id`."""
        start, end = bisect_left(self._ids, first_id), bisect_right(self._ids, last_id)
        return self._entries[max(start, end - limit) : end]

    def later(self, time_ms: int, limit: int) -> list[Any]:
        """Up to `limit` entries (which have a `time_ms`) from that time on."""
        start = bisect_left(self._entries, time_ms, key=lambda entry: entry.time_ms)
        return self._entries[start : start + limit]

    def since(self, entry_id: int, limit: int) -> list[Any]:
        """Up to `limit` entries from `entry_id` on, or from the oldest one that is kept."""
        start = bisect_left(self._ids, entry_id)
        return self._entries[start : start + limit]
