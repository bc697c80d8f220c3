"""Before the first trade: candles for the metrics to begin with, where the store has too few and the venue has its own.

Bounded in time, and by a small share of what the venue allows: the feed needs the rest for its books. What cannot be
had is gone without.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from wick import exchanges
from wick.errors import ParseError, StoreError
from wick.exchanges import Venue
from wick.market.intervals import INTERVALS, Interval
from wick.net.clock import now_ms
from wick.ops.settings import Settings
from wick.ops.symbols import Wanted, wanted
from wick.roles.asking import AskError, Asking
from wick.roles.rest import OURS
from wick.roles.rules import candle_rules
from wick.roles.venue_candles import Enriching, Found, fetch, offered
from wick.storage.store import Store, open_store, url_of

AT_ONCE = 8  # questions under way
TOGETHER = 16  # pairs whose candles get their metrics and are written together
SHARE = 0.2  # of what the venue allows; the feed takes 0.8 (`roles.rest.OURS`)
FORGOTTEN_S = 5.0  # what is used of a limit of so few seconds is free again before the feed begins
# With so many pairs the last candles can be had in the same 15 s in which the feed begins.
FEW = 40
BEHIND_MS = 1_000  # after a candle's end its venue has all of it
_OPEN, _CLOSE = 0, 1  # of a row of `Store.inputs`

Say = Callable[[str], object]


class FirstStart:
    """One venue's pairs."""

    def __init__(self, settings: Settings, venue: Venue, store: Store, show: Say, until: float) -> None:
        """`show` is told how far it is; `until` (`time.monotonic`) it may take."""
        self.settings, self.venue, self.store, self.until = settings, venue, store, until
        self.count: int = settings["aggregator.warmup"]
        self.is_flat = candle_rules(settings, venue.id).empty == "flat"
        share = OURS if venue.limits.rest[1] <= FORGOTTEN_S else SHARE
        self.asking = Asking(venue, settings, tries=1, share=share)
        self.candles = 0
        self.done: list[str] = []  # symbols of which all is there
        self.reason = ""  # why something is not
        self._show = show

    def symbols(self, asked: Wanted) -> list[str]:
        """In wick's names, of a venue that lists them."""
        if not asked.every:
            return [*asked.symbols]
        weight = self.venue.limits.rest[0] // 100
        return asked.of([one.symbol for one in self.asking.ask(self.venue.symbols_path, weight, self._listed)])

    def _listed(self, raw: bytes) -> "list[exchanges.Instrument]":
        return self.venue.parse_symbols(raw)

    def lacking(self, symbol: str, at_ms: int) -> list[tuple[Interval, int]]:
        """The intervals whose candles do not reach up to now, or not far enough back, and from when on they are wanted.

        Of a pair that was asked for before there are no older ones: not every one is 300 months old.
        """
        asked = self.store.positions().get(f"candles.{self.venue.id}.{symbol}", (0, 0))[0]
        found = []
        for interval in offered(self.venue):
            live_ms = interval.open_ms(at_ms)
            first_ms = interval.open_ms(max(0, live_ms - self.count * (interval.close_ms(live_ms) - live_ms)))
            rows = self.store.inputs(self.venue.id, symbol, interval.name, self.count, live_ms)
            whole = _unbroken(rows) if self.is_flat else rows
            if not whole or not (asked >= self.count or len(whole) >= self.count):
                found.append((interval, first_ms))
            elif whole[-1][_CLOSE] < live_ms:
                found.append((interval, max(first_ms, whole[-1][_CLOSE])))
        return found

    def run(self, symbols: Sequence[str], at_ms: int) -> None:
        """Fetch what is lacking of these, and write it."""
        lacking = {symbol: some for symbol in symbols if (some := self.lacking(symbol, at_ms))}
        self.done = [symbol for symbol in symbols if symbol not in lacking]
        whole: list[tuple[str, list[Found]]] = []
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            under_way = [pool.submit(self._pair, symbol, some, at_ms) for symbol, some in lacking.items()]
            for future in as_completed(under_way, max(0.0, self.until - time.monotonic())):
                whole.append(future.result())
                self._show(f"{self.venue.id}: {len(self.done) + len(whole)} of {len(symbols)} symbols")
                if len(whole) == TOGETHER:
                    self._write(whole, at_ms)
        except TimeoutError:
            self.reason = "the time for it is over"
        except AskError as error:
            self.reason = str(error)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        self._write(whole, at_ms)

    def _pair(self, symbol: str, lacking: list[tuple[Interval, int]], at_ms: int) -> tuple[str, list[Found]]:
        pages = fetch(self.venue, self.asking, symbol, lacking, at_ms)
        return symbol, [found for page in pages for found in page]

    def _write(self, whole: list[tuple[str, list[Found]]], at_ms: int) -> None:
        if not whole:
            return
        batch = Enriching(self.venue.id, self.is_flat).batch([one for _, found in whole for one in found])
        self.store.write(batch, {f"candles.{self.venue.id}.{symbol}": (self.count, at_ms) for symbol, _ in whole})
        self.candles += batch.n
        self.done += [symbol for symbol, _ in whole]
        whole.clear()


def _unbroken(rows: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """What is behind the last gap."""
    at = len(rows) - 1
    while at > 0 and rows[at - 1][_CLOSE] == rows[at][_OPEN]:
        at -= 1
    return rows[max(at, 0) :]


def warm(settings: Settings, say: Say, show: Say, sleep: Callable[[float], object] = time.sleep) -> None:
    """All venues' pairs. Never raises for what a venue or the store cannot do: it is said, and the start goes on."""
    started, limit_s = time.monotonic(), settings["aggregator.warmup_s"]
    if not settings["aggregator.warmup"] or not limit_s:
        return
    try:
        store = open_store(url_of(settings))
    except StoreError as error:
        say(f"metrics begin without a history: {error}")
        return
    try:
        for venue_id, asked in wanted(settings).items():
            venue = exchanges.load(venue_id)
            if venue.candles:
                one = FirstStart(settings, venue, store, show, started + limit_s)
                _warm(one, asked, say, show, sleep)
    finally:
        store.close()


def _warm(one: FirstStart, asked: Wanted, say: Say, show: Say, sleep: Callable[[float], object]) -> None:
    started = time.monotonic()
    try:
        symbols = one.symbols(asked)
        one.run(symbols, now_ms() - BEHIND_MS)
        if one.candles and not one.reason and len(symbols) <= FEW:
            # What has closed meanwhile, in the quarter of a minute in which the feed begins: so nothing is between.
            shortest = INTERVALS[0]
            due_ms = shortest.close_ms(shortest.open_ms(now_ms())) + BEHIND_MS
            wait_s = max(0.0, (due_ms - now_ms()) / 1e3)
            if time.monotonic() + wait_s < one.until:
                show(f"{one.venue.id}: {wait_s:.0f} s until the next candle begins")
                sleep(wait_s)
                one.run(symbols, now_ms() - BEHIND_MS)
    except (AskError, ParseError, StoreError) as error:
        one.reason = str(error)
        symbols = []
    if one.candles:
        took_s = time.monotonic() - started
        say(f"{one.candles:,} candles of {one.venue.id} for the metrics of {len(one.done)} symbols, in {took_s:.0f} s")
    if one.reason:
        say(f"metrics of {one.venue.id} begin without a whole history: {one.reason}")
