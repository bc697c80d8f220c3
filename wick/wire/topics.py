"""What a client can subscribe to: the kinds of topics in one table, and the texts that name topics. Pure.

A text is `<kind>:<part>:…`. A part is a list by comma, and `*` in an item stands for any characters: such a text names
the pairs that are known now and those that appear later. One `*` can stand for venue and symbol both (`closes:*:1h`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple

from wick.errors import ProtocolError
from wick.market.intervals import NAMES

MAX_TOPIC: Final = 1000  # characters of a text
MAX_ITEM: Final = 64  # characters of a venue or symbol; what nobody knows yet is kept, too
MAX_SYMBOL: Final = 32  # characters of a symbol that could be a known one in another spelling
MAX_QUOTE: Final = 6  # letters of its second part
MAX_VALID: Final = 12  # choices that an error lists: as many as there are intervals
TRADES_KEPT: Final = 256  # of a trades topic, for who subscribes, resumes or is slow

Pair = tuple[str, str]  # venue, symbol


class TopicKind(NamedTuple):
    """A kind of topic: its parts after the kind, the groups of its state, the messages that tell of it.

    `resumes`: it has positions, from which a client can go on after a new connection.
    """

    name: str
    parts: tuple[str, ...]
    groups: tuple[str, ...]
    messages: tuple[str, ...]
    resumes: bool
    meaning: str


_PAIR, _CANDLES = ("venue", "symbol"), ("venue", "symbol", "interval")

KINDS: Final = {
    kind.name: kind
    for kind in (
        TopicKind("ticker", _PAIR, ("HEAD",), ("SNAPSHOT", "DIFF"), True,
                  "A pair's head: last price, totals, best quotes."),
        TopicKind("candles", _CANDLES, ("HEAD", "LIVE"), ("SNAPSHOT", "DIFF", "CLOSE"), True,
                  "The head, the live candle, and candles as they close, with their metrics and patterns."),
        TopicKind("closes", _CANDLES, (), ("SNAPSHOT", "CLOSE"), True,
                  "Candles as they close and nothing else."),
        TopicKind("metrics", _CANDLES, (), ("LIVE",), False,
                  "The live candle as a row, with the metrics and patterns that it would have if it closed now: "
                  "`aggregator.live_hz` times a second, computed only for who is subscribed, so the first one takes up "
                  "to a second."),
        TopicKind("trades", _PAIR, (), ("TRADES",), True,
                  f"Each trade as the feed received it, and the last {TRADES_KEPT} to begin with, where the front has "
                  "them."),
        TopicKind("book", _PAIR, (), ("BOOK",), False,
                  "The best levels of a book as they change, where `feed.channels` has `depth`."),
        TopicKind("stats", (), (), ("STATS",), False,
                  "What each process of wick says of itself, once a second."),
    )
}  # fmt: skip


class Topic(NamedTuple):
    """One concrete topic. `interval`: the index in the interval table, -1 where the kind has none; `stats` has neither
    venue nor symbol."""

    kind: str
    venue: str
    symbol: str
    interval: int

    @property
    def text(self) -> str:
        if not self.venue:
            return self.kind
        tail = f":{NAMES[self.interval]}" if self.interval >= 0 else ""
        return f"{self.kind}:{self.venue}:{self.symbol}{tail}"

    @property
    def groups(self) -> dict[int, int]:
        """Which groups of a pair's state the topic shows, and as which of its own."""
        numbers = {"HEAD": 0, "LIVE": self.interval + 1}
        return {numbers[name]: place for place, name in enumerate(KINDS[self.kind].groups)}


class Pattern(NamedTuple):
    """What a text names. Equal for texts that name the same in other words (`ticker:*`, `ticker:*:*`)."""

    kind: str
    venues: tuple[str, ...]
    symbols: tuple[str, ...]
    intervals: tuple[int, ...]

    @property
    def is_open(self) -> bool:
        """Whether pairs that appear later can belong to it."""
        return any("*" in item for item in (*self.venues, *self.symbols))

    @property
    def single(self) -> Topic | None:
        """The topic, where it names exactly one."""
        return _single(self)

    def of(self, venue: str, symbol: str) -> list[Topic]:
        """Its topics of a pair: none where the pair does not belong to it."""
        if _matcher(self.venues)(venue) and _matcher(self.symbols)(symbol):
            return [Topic(self.kind, venue, symbol, interval) for interval in self.intervals]
        return []


@lru_cache(maxsize=1024)
def _single(pattern: Pattern) -> Topic | None:
    kind, *parts = pattern
    if pattern.is_open or any(len(part) != 1 for part in parts):
        return None
    return Topic(kind, pattern.venues[0], pattern.symbols[0], pattern.intervals[0])


@lru_cache(maxsize=1024)
def parse_topics(text: str, venues: tuple[str, ...] = ()) -> Pattern:
    """What a client's text names. Raises ProtocolError that says what is valid; `venues`: those that there are."""
    kind, *parts = text.split(":") if len(text) <= MAX_TOPIC else [text]
    declared = KINDS.get(kind)
    if declared is None:
        raise _wrong("bad_kind", "kind", kind, KINDS)
    if declared.parts and parts[:1] == ["*"] and len(parts) == len(declared.parts) - 1:
        parts.insert(0, "*")
    if len(parts) != len(declared.parts):
        raise ProtocolError("bad_topic", "topic", text, "", (":".join([kind, *(f"<{p}>" for p in declared.parts)]),))
    if not parts:
        return Pattern(kind, ("",), ("",), (-1,))
    lists = [tuple(dict.fromkeys(part.split(","))) for part in parts]
    for name, items in zip(declared.parts, lists, strict=True):
        if "" in items:
            raise ProtocolError("bad_topic", name, text, "", (f"<{name}> or *",))
        if len(max(items, key=len)) > MAX_ITEM:
            raise ProtocolError("bad_topic", name, text, "", (f"<{name}> of at most {MAX_ITEM} characters",))
    for item in lists[0] if venues else ():
        if not any(map(_matcher((item,)), venues)):
            raise _wrong("bad_venue", "venue", item, venues)
    return Pattern(kind, lists[0], lists[1], _intervals(lists[2]) if len(lists) > 2 else (-1,))


def _intervals(items: Iterable[str]) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for item in items:
        if item != "*" and item not in NAMES:
            raise _wrong("bad_interval", "interval", item, NAMES)
        found.update(dict.fromkeys(range(len(NAMES)) if item == "*" else [NAMES.index(item)]))
    return tuple(found)


def expand(pattern: Pattern, pairs: Collection[Pair], room: int) -> list[Topic]:
    """The topics that a pattern names now, each once: what it names outright, known or not, then what it matches.

    `pairs` are the known ones (a set or a dict). Raises ProtocolError where the topics are more than `room`, and for a
    name that is a known one but for its spelling.
    """
    named = [pair for pair in product(pattern.venues, pattern.symbols) if not any("*" in item for item in pair)]
    topics: dict[Topic, None] = {}
    for topic in _all(pattern, named, pairs if pattern.is_open else ()):
        topics[topic] = None
        if len(topics) > room:
            raise ProtocolError("too_many", "topics", len(topics), "", (f"at most {room} topics more",))
    for venue, symbol in named if KINDS[pattern.kind].parts else ():
        if (venue, symbol) not in pairs:
            _refuse_misspelt(venue, symbol, pairs)
    return list(topics)


def _all(pattern: Pattern, named: Iterable[Pair], pairs: Iterable[Pair]) -> Iterator[Topic]:
    for (venue, symbol), interval in product(named, pattern.intervals):
        yield Topic(pattern.kind, venue, symbol, interval)
    is_venue, is_symbol = _matcher(pattern.venues), _matcher(pattern.symbols)
    for venue, symbol in pairs:
        if is_symbol(symbol) and is_venue(venue):
            for interval in pattern.intervals:
                yield Topic(pattern.kind, venue, symbol, interval)


def _refuse_misspelt(venue: str, symbol: str, pairs: Collection[Pair]) -> None:
    """A pair may be subscribed to before it is known; `btcusdt` beside a known BTC-USDT is a mistake. It takes a few
    looks, however many pairs there are."""
    letters = "".join(filter(str.isalnum, symbol[:MAX_SYMBOL])).upper()
    for at in range(max(1, len(letters) - MAX_QUOTE), len(letters)):
        meant = f"{letters[:at]}-{letters[at:]}"
        if (venue, meant) in pairs:
            raise _wrong("bad_symbol", "symbol", symbol, [meant])


@lru_cache(maxsize=1024)
def _matcher(items: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether one of the items is a name; `*` stands for any characters."""
    if "*" in items:
        return lambda name: True
    outright = frozenset(item for item in items if "*" not in item)
    globs = [item.split("*") for item in items if "*" in item]
    if not globs:
        return outright.__contains__
    return lambda name: name in outright or any(_matches(pieces, name) for pieces in globs)


def _matches(pieces: list[str], name: str) -> bool:
    """Whether the pieces stand in the name in that order, the first and the last at its ends. Each is sought once: no
    glob is slow."""
    first, *middle, last = pieces
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in middle:
        at = name.find(piece, at, end) + len(piece)
        if at < len(piece):
            return False
    return True


def _wrong(code: str, field: str, value: str, choices: Iterable[str]) -> ProtocolError:
    """One of `choices` was meant: the nearest stand first."""
    import difflib  # only a mistake needs it

    choices = list(choices)
    near = difflib.get_close_matches(value[:80], choices, n=3, cutoff=0.4)
    return ProtocolError(code, field, value, "", (*near, *(one for one in choices if one not in near))[:MAX_VALID])
