"""The order books of one venue: which is valid, what has to be synchronised anew, and why. Pure.

A book goes EMPTY -> SYNCING -> LIVE -> BROKEN -> LIVE -> ... and is shown only while it is LIVE. What breaks one book
breaks no other. How an update follows the one before, the update says itself (`DepthUpdate`):

- With ids, an update covers those after `before` up to `last`: it is old for a book that stands at `last` or later,
  and leaves a gap for one that stands before `before`. Binance spot numbers every change (`before` is U - 1) and names
  every level that it touched, so that a book in between can take it. USD-M futures and OKX tell `before` (pu,
  prevSeqId): the book has to stand there exactly, unless REST's snapshot of it fell into the midst of that update.
- Without ids (Coinbase, Kraken), only the connection that sent the snapshot counts, the *owner*.

Where a book begins with REST's snapshot, it is asked for once its stream is open, and updates wait for it:
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly

Two connections may deliver one book for a while. The owner is the one that sent the snapshot, or spoke first. Updates
with ids are taken from both, but only the owner's gap is one at once: the other may be ahead of it. When the owner is
lost, the other that was heard takes its place, and ids will show whether something is missing; without another, or
without ids, the book is broken. A snapshot makes its sender the owner.
"""

from collections import deque
from collections.abc import Iterable

from wick.errors import ParseError
from wick.market.orderbook import OrderBook
from wick.market.trades import BookDepth, DepthSnapshot, DepthUpdate, Levels, Quote

EMPTY, SYNCING, LIVE, BROKEN = range(4)
NOBODY = -1
# What may wait for one snapshot, in levels (200 bytes each). Five seconds of the busiest book of our recordings (57
# levels every 100 ms); all that matters is what arrives while REST answers. On full: the oldest go, counted.
WAITING_LEVELS = 4_096
UNASKED_LEVELS = 256  # the same while REST is not asked yet: the answer will be newer than almost all of them
AHEAD_NS = 2_000_000_000  # so long another connection's updates may be ahead of the owner's; then that is a gap
_COUNTED = {"gap": "gaps", "checksum": "checksums"}  # the others are counted under their own name
ROUND = 100  # venues cut snapshots off at multiples of this, whatever is asked for (USD-M futures: at 1000)


class _Book:
    """One symbol's book and how far it is."""

    __slots__ = (
        "ahead_ns", "event_ns", "expected", "fresh", "last_id", "levels", "ordered", "other", "owner", "rewound",
        "seen", "shallow", "state", "symbol", "waiting", "waiting_levels", "why",
    )  # fmt: skip

    def __init__(self, symbol: str, levels: OrderBook) -> None:
        self.symbol, self.levels = symbol, levels
        self.state = EMPTY
        self.why = "new"  # it is to be synchronised, once its stream speaks
        self.ordered = False  # its updates have ids
        self.last_id = 0  # where they have none: how many updates and snapshots there have been
        self.event_ns = 0
        self.owner = self.other = NOBODY
        self.seen = 0  # the last id that the owner told,
        self.rewound = False  # and whether it was smaller than the one before
        self.ahead_ns = 0  # when the other's updates began not to fit
        self.fresh = False  # nothing was applied since REST's snapshot
        self.shallow = False  # it has been asked for more levels, and is live all the same
        self.expected = False  # REST is being asked for a snapshot
        self.waiting: deque[tuple[DepthUpdate, int, int]] = deque()  # with source and recv_ns
        self.waiting_levels = 0

    def forget(self) -> None:
        """A new beginning."""
        self.waiting.clear()
        self.waiting_levels = self.ahead_ns = 0
        self.rewound = self.shallow = False


class Books:
    """All books of a venue, `levels` deep; `from_rest` and `depth` are the venue's `depth_from_rest`, `depth_levels`.

    `broken` (symbol: why) names the books to be synchronised; whoever takes one out asks REST for a snapshot (`put`),
    or subscribes anew. A book gets there once each time: new, gap, checksum, crossed, bare (a side has no known level
    left), lost, reset (ids began anew), corrupt, old (the snapshot was older than the updates that wait for it), and
    shallow (few known levels are left): that one is live all the same, it only knows less than it should.
    Where books begin with REST's snapshot, new and lost ones get there when their stream speaks (or `listens`).
    `dirty` has the symbols whose book has changed; whoever reads takes them out.
    """

    def __init__(self, levels: int, from_rest: bool, depth: int) -> None:
        self._asked, self._from_rest = levels, from_rest
        # A venue that sends so many levels and no more tells itself what comes into view.
        self._rolls = 0 < depth <= levels
        self._limit = depth if self._rolls else levels
        self._books: dict[str, _Book] = {}
        self.broken: dict[str, str] = {}
        self.dirty: set[str] = set()
        self.counters = dict.fromkeys(
            (
                "updates", "levels", "snapshots", "duplicates", "foreign", "early", "unknown", "overflow",
                "new", "gaps", "checksums", "crossed", "bare", "shallow", "lost", "reset", "corrupt", "old", "doubt",
            ), 0,
        )  # fmt: skip

    def add(self, symbol: str, price_step: str, quantity_step: str) -> None:
        """Steps as the venue writes them, "" where they are not known. A symbol that is there stays as it is."""
        if symbol not in self._books:
            self._books[symbol] = _Book(symbol, OrderBook(self._limit, self._rolls, price_step, quantity_step))

    def remove(self, symbol: str) -> None:
        self._books.pop(symbol, None)
        self.broken.pop(symbol, None)
        self.dirty.discard(symbol)

    # ------------------------------------------------------------------ what comes in

    def take(self, update: DepthUpdate, source: int, recv_ns: int) -> None:
        """An update or a snapshot of the stream, from the connection `source` (>= 0).

        ParseError: it makes no sense, and its book is broken.
        """
        book = self._books.get(update.symbol)
        if book is None:
            self.counters["unknown"] += 1
        elif update.is_snapshot:
            self._begin(book, update, source, recv_ns)
        elif book.state == LIVE:
            self._follow(book, update, source, recv_ns)
        elif self._from_rest:
            self._wait(book, update, source, recv_ns)
        else:
            self.counters["early"] += 1

    def listens(self, symbol: str, source: int) -> None:
        """The venue has said that the connection's subscription holds: a quiet stream need not speak to count."""
        book = self._books.get(symbol)
        if book is None or source == book.owner:
            return
        if book.owner != NOBODY:
            book.other = source
        elif self._from_rest:
            book.owner, book.seen, book.state = source, 0, SYNCING
            self._ask(book, book.why)

    def expect(self, symbol: str, expected: bool = True) -> None:
        """REST is asked for its snapshot now: from here on what comes has to wait for the answer; or it is no more."""
        if symbol in self._books:
            self._books[symbol].expected = expected

    def put(self, symbol: str, snapshot: DepthSnapshot, recv_ns: int) -> None:
        """REST's answer; a book that is live and not shallow, or whose stream is not open, takes none.

        ParseError: the answer, or an update that waited for it, makes no sense; the book is in `broken` again.
        """
        book = self._books.get(symbol)
        if book is None or book.state == EMPTY or (book.state == LIVE and not book.shallow):
            self.counters["unknown" if book is None else "early"] += 1
            return
        snapshot_id = snapshot.last_update_id
        waiting = [one for one in book.waiting if one[0].last_update_id > snapshot_id]
        if waiting and _before(waiting[0][0]) > snapshot_id:
            self._ask(book, "old")
            return
        whole = self._is_whole(snapshot.bids), self._is_whole(snapshot.asks)
        self._load(book, snapshot.bids, snapshot.asks, whole)
        book.last_id, book.event_ns, book.fresh, book.ordered = snapshot_id, recv_ns, True, True
        self._check(book)
        for one in waiting:
            (self._follow if book.state == LIVE else self._wait)(book, *one)

    def lost(self, source: int) -> None:
        """That connection is gone."""
        for book in self._books.values():
            if book.other == source:
                book.other = NOBODY
            elif book.owner == source:
                book.owner, book.other = book.other, NOBODY
                book.seen, book.ahead_ns, book.rewound = 0, 0, False
                if book.owner == NOBODY or not book.ordered:
                    self._abandon(book)

    def doubt(self, symbols: Iterable[str]) -> None:
        """An update of one of these may be lost, and nothing would show it: begin anew."""
        for symbol in symbols:
            book = self._books.get(symbol)
            if book is not None and book.state == LIVE:
                self._break(book, "doubt")

    # ------------------------------------------------------------------ what is told

    def best(self, symbol: str) -> Quote | None:
        """The best levels; None unless the book is live."""
        book = self._live(symbol)
        return book.levels.quote(symbol, book.last_id) if book else None

    def depth(self, symbol: str) -> BookDepth:
        """The sums of the best levels; all unknown unless the book is live."""
        book = self._live(symbol)
        return book.levels.depth(symbol, book.last_id) if book else BookDepth(symbol, 0, -1, -1, -1, -1, 0)

    def top(self, symbol: str, count: int) -> tuple[int, int, Levels, Levels]:
        """Time (the venue's; ours where it tells none), update id, and the best levels; nothing unless live."""
        book = self._live(symbol)
        return (book.event_ns, book.last_id, *book.levels.top(count)) if book else (0, 0, [], [])

    def is_live(self, symbol: str) -> bool:
        return self._live(symbol) is not None

    def states(self) -> dict[str, int]:
        states = [book.state for book in self._books.values()]
        live, broken = states.count(LIVE), states.count(BROKEN)
        return {"live": live, "syncing": len(states) - live - broken, "broken": broken}

    def _live(self, symbol: str) -> _Book | None:
        book = self._books.get(symbol)
        return book if book is not None and book.state == LIVE else None

    # ------------------------------------------------------------------ a book's life

    def _begin(self, book: _Book, update: DepthUpdate, source: int, recv_ns: int) -> None:
        """The stream's own snapshot."""
        if source != book.owner:
            book.owner, book.other = source, book.owner
        self._load(book, update.bids, update.asks, (True, True), update.checksum >= 0)
        book.ordered = update.last_update_id > 0
        book.last_id = book.seen = update.last_update_id if book.ordered else book.last_id + 1
        book.event_ns = update.event_ns or recv_ns
        self._check(book, update)

    def _follow(self, book: _Book, update: DepthUpdate, source: int, recv_ns: int) -> None:
        """An update for a live book."""
        before, last_id = _before(update), update.last_update_id
        if before < 0:
            if source != book.owner:
                self.counters["foreign"] += 1
                return
            last_id = book.last_id + 1
        elif source != book.owner or before != book.last_id:
            verdict = self._verdict(book, update, source, recv_ns)
            if verdict:
                if verdict != "ignore":
                    self._break(book, verdict)
                    if self._from_rest:
                        self._wait(book, update, source, recv_ns)
                return
        bids, asks = update.bids, update.asks
        try:
            book.levels.apply(bids, asks)
        except ParseError:
            self._break(book, "corrupt")
            raise
        book.last_id, book.ahead_ns, book.fresh = last_id, 0, False
        if source == book.owner:
            book.seen, book.rewound = last_id, False
        book.event_ns = update.event_ns or recv_ns
        counters = self.counters
        counters["updates"] += 1
        counters["levels"] += len(bids) + len(asks)
        self.dirty.add(book.symbol)
        self._check(book, update)
        if self._from_rest and (book.state != LIVE or book.shallow):
            self._wait(book, update, source, recv_ns)  # the snapshot may be older than this

    def _verdict(self, book: _Book, update: DepthUpdate, source: int, recv_ns: int) -> str:
        """Why a live book does not take this update with ids: "ignore", or what it breaks of. Else "".

        An owner whose ids go back by one update repeated itself. If they then go on from there, they began anew.
        """
        if source != book.owner:
            book.other = source
        before, last_id = _before(update), update.last_update_id
        if before == book.last_id:
            return ""  # also where the ids go back: OKX says a reset so
        if last_id <= book.last_id:
            self.counters["duplicates"] += 1
            if source == book.owner:
                if book.rewound and last_id > book.seen:
                    return "reset"
                book.rewound |= last_id < book.seen
                book.seen = last_id
            return "ignore"
        if before < book.last_id and (book.fresh or update.previous_update_id < 0):
            return ""
        if source != book.owner:
            book.ahead_ns = book.ahead_ns or recv_ns
            if recv_ns - book.ahead_ns <= AHEAD_NS:
                self.counters["foreign"] += 1
                return "ignore"
            book.owner, book.other = source, NOBODY
        return "gap"

    def _wait(self, book: _Book, update: DepthUpdate, source: int, recv_ns: int) -> None:
        """An update for a book that REST's snapshot will begin."""
        book.ordered = True
        if book.owner == NOBODY:
            book.owner, book.seen = source, 0
        if source != book.owner:
            book.other = source
        elif update.last_update_id < book.seen:
            book.forget()  # the ids began anew: the snapshot will be of the new ones
        if source == book.owner:
            book.seen = update.last_update_id
        book.waiting.append((update, source, recv_ns))
        book.waiting_levels += _size(update)
        most = WAITING_LEVELS if book.expected else UNASKED_LEVELS
        while book.waiting_levels > most:
            book.waiting_levels -= _size(book.waiting.popleft()[0])
            self.counters["overflow"] += book.expected  # before that nothing is lost that could be joined
        if book.state == EMPTY:
            book.state = SYNCING
            self._ask(book, book.why)

    def _load(self, book: _Book, bids: Levels, asks: Levels, whole: tuple[bool, bool], written: bool = False) -> None:
        book.forget()
        try:
            book.levels.load(bids, asks, whole, written)
        except ParseError:
            self._break(book, "corrupt")
            raise
        self.broken.pop(book.symbol, None)
        self.dirty.add(book.symbol)
        self.counters["snapshots"] += 1
        self.counters["levels"] += len(bids) + len(asks)
        book.state = LIVE

    def _check(self, book: _Book, update: DepthUpdate | None = None) -> None:
        """Break what is not right after all levels of a message."""
        levels = book.levels
        fault = levels.fault()
        if not fault and update is not None and update.checksum >= 0:
            fault = "" if levels.matches(update.checksum, update.bids, update.asks) else "checksum"
        if fault:
            self._break(book, fault)
        elif not book.shallow and levels.is_shallow():
            book.shallow = True
            self._ask(book, "shallow")

    def _break(self, book: _Book, why: str) -> None:
        book.state = BROKEN
        self.dirty.add(book.symbol)
        self._ask(book, why)

    def _abandon(self, book: _Book) -> None:
        """Nobody that could be followed is left."""
        book.owner = NOBODY
        book.forget()
        was_live = book.state == LIVE
        if self._from_rest:
            # A snapshot that is asked for now may be older than the stream's first word.
            self.broken.pop(book.symbol, None)
            book.state, book.why = EMPTY, "lost"
            if was_live:
                self.dirty.add(book.symbol)
        elif was_live:
            self._break(book, "lost")

    def _ask(self, book: _Book, why: str) -> None:
        self.broken[book.symbol] = why
        self.counters[_COUNTED.get(why, why)] += 1

    def _is_whole(self, levels: Levels) -> bool:
        """Whether REST had no more; one that has just as many as venues cut at may go on."""
        return len(levels) < self._asked and (len(levels) % ROUND != 0 or not levels)


def _before(update: DepthUpdate) -> int:
    """The id up to which a book has to be for this update; -1: it has no ids."""
    previous = update.previous_update_id
    return previous if previous >= 0 else update.first_update_id - 1


def _size(update: DepthUpdate) -> int:
    return len(update.bids) + len(update.asks) + 1
