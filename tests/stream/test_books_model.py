"""Books against a market that is a plain dict: whatever is lost, doubled, late or cut, none that is shown is wrong."""

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ParseError
from wick.market.orderbook import OrderBook
from wick.market.trades import DepthSnapshot, DepthUpdate, Levels
from wick.stream.books import Books

X = "X-USD"
SLOTS = 2  # connections that may deliver the book at one time
Level = tuple[int, int]
View = tuple[list[Level], list[Level]]


class Market:
    """A book that changes; remembers what it was at every id."""

    def __init__(self, seed: int, depth: int) -> None:
        self.rng, self.mid, self.depth = random.Random(seed), 1000, depth
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.views: list[View] = []
        for _ in range(40):
            self.change()
        self.views = [self.view()]

    def change(self) -> None:
        rng, (bids, asks) = self.rng, self.sides
        if rng.random() < 0.2:
            self.mid += rng.choice((-3, -1, 1, 3))
            for price in [price for price in bids if price >= self.mid]:
                del bids[price]
            for price in [price for price in asks if price <= self.mid]:
                del asks[price]
        for _ in range(rng.randint(1, 3)):
            ask = rng.randint(0, 1)
            price, quantity = self.mid + (1 if ask else -1) * (1 + int(rng.expovariate(0.12))), rng.randint(0, 2)
            self.sides[ask][price] = quantity
            if not quantity:
                del self.sides[ask][price]

    def step(self) -> None:
        self.change()
        self.views.append(self.view())

    def view(self) -> View:
        bids, asks = self.sides
        most = self.depth or None
        return sorted(bids.items(), reverse=True)[:most], sorted(asks.items())[:most]

    @property
    def now(self) -> int:
        return len(self.views) - 1


def texts(levels: list[Level]) -> Levels:
    return [[f"{price}.00", f"{quantity}.5"] for price, quantity in levels]


class Wire:
    """How a venue tells of the market. Ids are those of the market, plus 1: 0 is none."""

    from_rest = ordered = rolls = checksums = False
    lossy = True  # a lost message can be noticed

    def __init__(self, market: Market) -> None:
        self.market = market

    def ids(self, start: int, end: int) -> dict[str, int]:
        return {}

    def snapshot(self, at: int) -> DepthUpdate:
        bids, asks = self.market.views[at]
        checksum = self.checksum(at) if self.checksums else -1
        return DepthUpdate(X, 0, 0, at + 1 if self.ordered else 0, texts(bids), texts(asks), -1, checksum, True)

    def update(self, start: int, end: int) -> DepthUpdate:
        """From the state `start` to the state `end`, through what was between."""
        changes = [self.changes(side, start, end) for side in (0, 1)]
        update = DepthUpdate(X, 0, 0, 0, *changes, checksum=self.checksum(end) if self.checksums else -1)
        return update._replace(**self.ids(start + 1, end + 1))

    def changes(self, side: int, start: int, end: int) -> Levels:
        """All levels that were touched, also those that are again what they were."""
        states = [set(view[side]) for view in self.market.views[start : end + 1]]
        after = dict(self.market.views[end][side])
        touched = {price for one, next_one in pairwise(states) for price, _ in one ^ next_one}
        told = [(price, after.get(price, 0)) for price in touched]
        self.market.rng.shuffle(told)
        return [[f"{price}.00", f"{quantity}.5" if quantity else "0"] for price, quantity in told]

    def checksum(self, at: int) -> int:
        raise NotImplementedError


class Spot(Wire):
    from_rest = ordered = True

    def ids(self, start: int, end: int) -> dict[str, int]:
        return {"first_update_id": start + 1, "last_update_id": end}


class Futures(Wire):
    from_rest = ordered = True

    def ids(self, start: int, end: int) -> dict[str, int]:
        return {"previous_update_id": start, "last_update_id": end}


class Bybit(Spot):
    from_rest, rolls = False, True


class Okx(Futures):
    from_rest, rolls = False, True

    def changes(self, side: int, start: int, end: int) -> Levels:
        """What is different in the end: nobody says that it is more."""
        before = texts(self.market.views[start][side])
        return [level for level in super().changes(side, start, end) if level not in before]


class Coinbase(Wire):
    lossy = False


class Kraken(Wire):
    rolls = checksums = True

    def changes(self, side: int, start: int, end: int) -> Levels:
        """What went out of view is not told; the reader has to cut it off."""
        told = super().changes(side, start, end)
        view = self.market.views[end][side]
        if len(view) < self.market.depth:
            return told
        worst = view[-1][0]
        return [level for level in told if level[1] != "0" or (float(level[0]) > worst) is (side == 0)]

    def checksum(self, at: int) -> int:
        book = OrderBook(100)
        book.load(*(texts(side) for side in self.market.views[at]), (True, True), written=True)
        return book.checksum()


class Feed:
    """Delivers, with faults, and looks after each step whether what is shown was so."""

    def __init__(self, wire: type[Wire], seed: int, kept: int) -> None:
        # Kraken's checksum tells a loss if it covers all that is in view.
        self.market = Market(seed, 10 if wire.checksums else 12 if wire.rolls else 0)
        self.wire = wire(self.market)
        self.kept = max(kept, self.market.depth)
        self.books = Books(self.kept, wire.from_rest, self.market.depth)
        self.books.add(X, "0.5", "")
        self.numbers, self.at, self.last = [-1] * SLOTS, [0] * SLOTS, [None] * SLOTS
        self.owner, self.owner_at, self.next_number, self.now_ns = -1, 0, 0, 1
        self.connect(0)

    def connect(self, slot: int) -> None:
        self.books.lost(self.numbers[slot])
        self.numbers[slot], self.at[slot] = self.next_number, self.market.now
        self.last[slot] = None
        self.next_number += 1
        if not self.wire.from_rest:
            self.resubscribe(slot)

    def resubscribe(self, slot: int) -> None:
        self.at[slot] = self.market.now
        self.give(slot, self.wire.snapshot(self.market.now))

    def give(self, slot: int, update: DepthUpdate) -> None:
        self.last[slot] = update
        if update.is_snapshot:
            self.owner = self.numbers[slot]
        if self.numbers[slot] == self.owner:
            self.owner_at = self.at[slot]
        self.now_ns += 300_000_000
        self.books.take(update, self.numbers[slot], self.now_ns)

    # ------------------------------------------------------------------ what may happen

    def step(self, slot: int) -> None:
        self.market.step()

    def send(self, slot: int, lost: bool = False) -> None:
        if self.numbers[slot] >= 0 and self.at[slot] < self.market.now:
            start = self.at[slot]
            self.at[slot] = min(self.market.now, start + self.market.rng.randint(1, 3))
            if not lost:
                self.give(slot, self.wire.update(start, self.at[slot]))

    def lose(self, slot: int) -> None:
        if self.wire.lossy:
            self.send(slot, lost=True)

    def repeat(self, slot: int) -> None:
        last = self.last[slot]
        if self.numbers[slot] >= 0 and last is not None and self.wire.ordered and not last.is_snapshot:
            self.books.take(last, self.numbers[slot], 1)

    def cut(self, slot: int) -> None:
        if self.numbers[slot] >= 0:
            self.books.lost(self.numbers[slot])
            self.numbers[slot] = -1

    def open(self, slot: int) -> None:
        self.connect(slot)

    def resync(self, slot: int) -> None:
        if self.numbers[slot] < 0 or not self.books.broken.pop(X, None):
            return
        if self.wire.from_rest:
            at = max(0, self.market.now - self.market.rng.randint(0, 3))
            bids, asks = self.market.views[at]
            self.books.put(X, DepthSnapshot(at + 1, texts(bids[: self.kept]), texts(asks[: self.kept])), 1)
        else:
            self.resubscribe(slot)

    # ------------------------------------------------------------------ the law

    def check(self) -> None:
        if not self.books.states()["live"]:
            assert self.books.best(X) is None
            return
        _, last_id, bids, asks = self.books.top(X, 1000)
        at = last_id - 1 if self.wire.ordered else self.owner_at
        for side, got in ((0, bids), (1, asks)):
            right = [[str(price), f"{quantity}.5"] for price, quantity in self.market.views[at][side]]
            assert got == (right if self.wire.rolls else right[: len(got)]), f"side {side} at {at}"
        best = self.books.best(X)
        assert best is None or best.bid < best.ask

    def do(self, action: str, slot: int) -> None:
        live, asked = self.books.states()["live"], sum(self.asked().values())
        getattr(self, action)(slot)
        self.check()
        if live and not self.books.states()["live"] and action != "resync":
            # Said at once, and once; where REST is asked, a lost book when its stream speaks again.
            lost = action in ("cut", "open") and self.wire.from_rest
            assert sum(self.asked().values()) - asked == (not lost) and (lost or X in self.books.broken)

    def asked(self) -> dict[str, int]:
        return {why: self.books.counters[why] for why in ("gaps", "checksums", "crossed", "bare", "lost", "reset")}


ACTIONS = ["step"] * 6 + ["send"] * 6 + ["lose", "repeat", "cut", "open", "resync", "resync"]
WIRES: list[Any] = [Spot, Futures, Bybit, Okx, Coinbase, Kraken]


@pytest.mark.parametrize("wire", WIRES)
@given(
    st.integers(0, 2**32),
    st.integers(10, 40),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, SLOTS - 1)), max_size=150),
)
def test_a_book_that_is_shown_is_right_and_when_all_is_well_again_it_is_shown(
    wire: type[Wire], seed: int, kept: int, actions: list[tuple[str, int]]
) -> None:
    feed = Feed(wire, seed, kept)
    for action, slot in actions:
        feed.do(action, slot)
    if feed.numbers[0] < 0:
        feed.connect(0)
    feed.cut(1)
    for _ in range(12):
        for action in ("step", "send", "send", "resync"):
            feed.do(action, 0)
    assert feed.books.states()["live"] == 1
    if wire.ordered and not wire.rolls:
        assert feed.books.top(X, 1)[1] == feed.market.now + 1


numbers = st.integers(-1, 12)
words = st.sampled_from(["0", "1", "2", "3.5", "4.00", "", "x", "1e9", "-1", "9" * 30, "0." + "0" * 35 + "1"])
sides = st.lists(st.lists(words, min_size=2, max_size=3), max_size=4)
checksums = st.sampled_from([-1, -1, 5])
updates = st.builds(
    DepthUpdate, st.just(X), numbers, numbers, numbers, sides, sides, numbers, checksums, st.booleans()
)  # fmt: skip


@given(
    st.booleans(),
    st.sampled_from([0, 10]),
    st.lists(st.tuples(st.sampled_from(["take", "take", "put", "lost", "listens"]), updates, st.integers(0, 2))),
)
def test_whatever_comes_only_the_parse_error_is_raised_and_nothing_that_crosses_is_shown(
    from_rest: bool, depth: int, arrivals: list[tuple[str, DepthUpdate, int]]
) -> None:
    books = Books(10, from_rest, depth)
    books.add(X, "", "")
    for action, update, source in arrivals:
        try:
            if action == "take":
                books.take(update, source, 1)
            elif action == "put":
                books.put(X, DepthSnapshot(update.last_update_id, update.bids, update.asks), 1)
            elif action == "lost":
                books.lost(source)
            else:
                books.listens(X, source)
        except ParseError:
            assert not books.is_live(X) and books.broken[X] == "corrupt"
        best = books.best(X)
        assert best is None or best.bid < best.ask
        books.depth(X), books.top(X, 5)
