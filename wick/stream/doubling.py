"""When something that had to be done again to a symbol may be done the next time: what does not help is not repeated
faster and faster. Pure."""


class Doubling:
    """Waits by key: the first is `first_ns`, each one twice the one before, at most `most_ns`.

    What was left alone for as long as its wait, beyond that wait, begins anew.
    """

    def __init__(self, first_ns: int, most_ns: int) -> None:
        self._first_ns, self._most_ns = first_ns, most_ns
        self._waits: dict[str, tuple[int, int]] = {}  # until when, and how long that was

    def is_due(self, key: str, now_ns: int) -> bool:
        until_ns, wait_ns = self._waits.get(key, (now_ns, 0))
        return not until_ns - wait_ns <= now_ns < until_ns  # before it began: the clock has been set back

    def done(self, key: str, now_ns: int) -> None:
        until_ns, wait_ns = self._waits.get(key, (0, 0))
        calm = not wait_ns or now_ns >= until_ns + wait_ns
        wait_ns = self._first_ns if calm else min(2 * wait_ns, self._most_ns)
        self._waits[key] = (now_ns + wait_ns, wait_ns)

    def forget(self, key: str) -> None:
        self._waits.pop(key, None)
