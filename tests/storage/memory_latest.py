"""The latest state in the test's own process: what a Redis does, without one."""

from collections.abc import Mapping, Sequence


class MemoryLatest:
    """In this process."""

    address = "memory"

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.expiring: dict[bytes, int] = {}

    def write(self, values: Mapping[bytes, bytes]) -> None:
        self.values.update(values)
        for key in values:
            self.expiring.pop(key, None)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.values.get(key) for key in keys]

    def expire(self, keys: Sequence[bytes], after_s: int) -> None:
        self.expiring |= {key: after_s for key in keys if key in self.values}

    def close(self) -> None:
        """Nothing is open."""
