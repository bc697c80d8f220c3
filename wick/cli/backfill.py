"""Bring a pair's past into the store: trades, over REST or from dumps, run through the engine, or the venue's candles.

It may be done while wick runs, and again: what is there already, from live data for one, stays, unless what comes is
better (a suspect or partial candle, one that is missing). Cut off, it goes on from there when the same is asked for.
The venue's limits are kept; those of trades are strict: a busy day of BTCUSDT takes some twenty minutes.

T is a time in UTC (2026-01-31, 2026-01-31T12:30), or how long ago (36h, 30d). Let it begin with a day, a week or a
month: a candle that opens before the range is not whole, and left out.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wick.cli._report import Faults, StatusLine
from wick.cli._times import time_ms
from wick.market.intervals import INTERVALS, NAMES, by_name

if TYPE_CHECKING:
    from wick.exchanges import Venue
    from wick.market.trades import Trade
    from wick.ops.settings import Settings
    from wick.roles.asking import Asking
    from wick.roles.filling import Filling, Progress, Range
    from wick.storage.recordings import Recording
    from wick.storage.store import Store

NAME = "backfill"
HELP = "bring a pair's past into the store, from the venue's REST or from trade dumps"

SHORT = NAMES[: NAMES.index("1h") + 1]  # of longer ones, one that is not whole would want days or weeks of trades
MS = 1_000_000


def _intervals(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(NAMES)}")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("venue", metavar="VENUE", help="as `scripts/run live` names it")
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="BTCUSDT or BTC-USDT")
    parser.add_argument(
        "--from", dest="from_ms", type=time_ms, metavar="T", help="with --files: else where they begin"
    )
    parser.add_argument(
        "--to", dest="to_ms", type=time_ms, metavar="T", help="else now, or the end of the files' days",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--candles", action="store_true",
        help="the venue's own candles instead of its trades: months in seconds, but without what only trades tell, and "
        "below any candle that was made of trades; for the metrics to begin with",
    )  # fmt: skip
    what.add_argument("--files", nargs="+", metavar="FILE", help="trade dumps (CSV, gzip or zip) instead of REST")
    parser.add_argument(
        "--gaps", action="store_true",
        help="only the time of candles in the store that are suspect, partial or missing",
    )  # fmt: skip
    parser.add_argument(
        "--interval", action="extend", type=_intervals, metavar="I",
        help="with --candles: of these (default: all that it has); with --gaps: look at these (default: up to 1h)",
    )  # fmt: skip
    parser.add_argument("--again", action="store_true", help="also what an earlier run has finished")


def run(args: argparse.Namespace) -> int:
    from wick import exchanges
    from wick.cli import USAGE
    from wick.ops import settings as table
    from wick.storage.store import open_store, url_of

    def wrong(text: str) -> int:
        print(f"wick backfill: {text}", file=sys.stderr)
        return USAGE

    if args.venue not in exchanges.ids():
        return wrong(f"the venue {args.venue!r} is not one of {', '.join(exchanges.ids())}")
    if args.from_ms is None and not args.files:
        return wrong("--from is missing: since when?")
    if args.gaps and args.candles:
        return wrong("--gaps is of trades: valid is either --candles or --gaps")
    if args.interval and not (args.candles or args.gaps):
        return wrong("--interval goes with --candles or --gaps; of trades all intervals are made")
    settings, venue = table.load(), exchanges.load(args.venue)
    store = open_store(url_of(settings))
    try:
        return Command(args, settings, venue, store).run()
    finally:
        store.close()


def _shown(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _end_ms(dump: "Recording") -> int:
    """Where the day or month ends that a dump is named after; 0 where its name has none."""
    dated = re.search(r"-[0-9]{4}-[0-9]{2}(-[0-9]{2})?\.", dump.name)
    return by_name("1d" if dated[1] else "1M").close_ms(dump.since_ms) if dated and dump.since_ms else 0


class Command:
    """What was asked for, pair by pair."""

    def __init__(self, args: argparse.Namespace, settings: "Settings", venue: "Venue", store: "Store") -> None:
        from wick.ops.symbols import qualified

        self.args, self.settings, self.venue, self.store = args, settings, venue, store
        names = [qualified(f"{venue.id}:{name}", (venue.id,), "SYMBOL") for name in args.symbols]
        self.symbols = [*dict.fromkeys(symbol for found in names for _, symbol in found)]
        self.status = StatusLine()
        self.faults = Faults(NAME, self.status)
        self.failed = False

    def run(self) -> int:
        from wick.cli import DONE, FAILED
        from wick.roles.asking import AskError

        each: Callable[[str], None] = self._candles if self.args.candles else self._trades
        if self.args.files:
            each = self._files()
        for symbol in self.symbols:
            try:
                each(symbol)
            except AskError as error:
                self.failed = True
                self._say(f"{self.venue.id}:{symbol}: {error}; what is done stays, the same command goes on from there")
                if error.is_away:
                    break
            finally:
                self.status.clear()
        self.faults.summary()
        return FAILED if self.failed or self.faults.counts else DONE

    def _say(self, text: str) -> None:
        self.faults.say(f"wick backfill: {text}")

    def _asking(self) -> "Asking":
        from wick.roles.asking import Asking

        return Asking(self.venue, self.settings)

    # ------------------------------------------------------------------ trades

    def _filling(self, symbol: str, wanted: "Range") -> "Filling":
        from wick.net.clock import now_ns
        from wick.roles.filling import Filling

        started_ns = now_ns()

        def show(progress: "Progress") -> None:
            whole = max(1, wanted.to_ms - wanted.from_ms)
            done = min(1.0, max(0.0, (progress.at_ms - wanted.from_ms) / whole))
            elapsed = max((now_ns() - started_ns) / 1e9, 1e-9)
            left = int(elapsed * (1 - done) / done) if done else 0
            self.status.show(
                f"{symbol}  {done:4.0%}  {_shown(progress.at_ms)}  {progress.trades:,} trades"
                f"  {progress.trades / elapsed:,.0f}/s  {progress.candles:,} candles  {left // 60}:{left % 60:02d} left"
            )

        return Filling(self.settings, self.venue, symbol, self.store, show)

    def _range(self, from_ms: int, to_ms: int | None) -> "Range":
        """Up to the last shortest candle that has ended, and all whose trades are known."""
        from wick.cli import USAGE
        from wick.net.clock import now_ms
        from wick.roles.filling import Range

        latest_ms = INTERVALS[0].open_ms(now_ms() - self.settings["aggregator.grace_ms"])
        wanted = Range(from_ms, min(latest_ms, latest_ms if to_ms is None else to_ms))
        if wanted.from_ms >= wanted.to_ms:
            self._say("--from is not before --to, or not before now")
            raise SystemExit(USAGE)
        return wanted

    def _trades(self, symbol: str) -> None:
        from wick.roles.past_trades import PastTrades

        wanted = self._range(self.args.from_ms, self.args.to_ms)
        trades = PastTrades(self.venue, symbol, self._asking())
        for one in self._parts(symbol, wanted):
            self._told(symbol, one, self._filling(symbol, one).from_rest(one, trades))

    def _parts(self, symbol: str, wanted: "Range") -> "Iterator[Range]":
        """The range, or the gaps in it; not what is done already."""
        filling = self._filling(symbol, wanted)
        if self.args.gaps:
            intervals = [one for one in INTERVALS if one.name in (self.args.interval or SHORT)]
            gaps = filling.gaps(wanted, intervals)
            self._say(f"{self.venue.id}:{symbol}: {len(gaps)} gaps")
            yield from gaps
        elif filling.is_done(wanted) and not self.args.again:
            self._say(f"{self.venue.id}:{symbol}: an earlier run has done that; --again does it once more")
        else:
            yield wanted

    def _told(self, symbol: str, wanted: "Range", done: "Progress") -> None:
        self.status.clear()
        times = [datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") for at in wanted]
        self._say(
            f"{self.venue.id}:{symbol}: {' to '.join(times)}: {done.trades:,} trades, {done.candles:,} candles written"
        )

    # ------------------------------------------------------------------ trade dumps

    def _files(self) -> Callable[[str], None]:
        from wick.storage import recordings

        found = recordings.find(self.args.files, self.faults.add)
        for capture in [one for one in found if one.kind == "capture"]:
            self.failed = True
            self._say(f"{capture.name} is a raw capture, no trade dump: it is left out")
        dumps = [one for one in found if one.kind != "capture"]
        for one in dumps:
            one.symbol = self.venue.symbol(one.native) if one.native or len(self.symbols) > 1 else self.symbols[0]

        def fill(symbol: str) -> None:
            own = [one for one in dumps if one.symbol == symbol]
            if not own:
                self.failed = True
                self._say(
                    f"none of the files has trades of {symbol}: its name tells whose they are, as BTCUSDT-trades-…"
                )
                return
            self._dumps(symbol, own)

        return fill

    def _dumps(self, symbol: str, own: "list[Recording]") -> None:
        from wick.roles.filling import between

        begin_ms = min(one.since_ms or one.first_ns // MS for one in own)
        end_ms = max(_end_ms(one) for one in own)
        if not (self.args.to_ms or end_ms):
            self.failed = True
            self._say(f"the names of the files do not tell which days of {symbol} they have: --to is missing")
            return
        wanted = self._range(self.args.from_ms or begin_ms, self.args.to_ms or end_ms)

        def pages() -> "Iterator[list[Trade]]":
            for one in sorted(own, key=lambda one: one.first_ns):
                for block in one.blocks(self.faults.add):
                    yield block.items  # type: ignore[misc]  # a dump has trades

        for part in self._parts(symbol, wanted):

            def source(
                next_id: int, _: int, before_ns: int, from_ns: int = part.from_ms * MS
            ) -> "Iterator[list[Trade]]":
                return between(pages(), next_id, from_ns, before_ns)

            self._told(symbol, part, self._filling(symbol, part).fill(part, 0, source))

    # ------------------------------------------------------------------ the venue's candles

    def _candles(self, symbol: str) -> None:
        from wick.roles import venue_candles
        from wick.roles.asking import AskError
        from wick.roles.rules import candle_rules

        wanted, asking = self._range(self.args.from_ms, self.args.to_ms), self._asking()
        names: Sequence[str] = self.args.interval or [one.name for one in venue_candles.offered(self.venue)]
        if not names:
            raise AskError(f"wick cannot ask {self.venue.title} for candles of its own: valid is without --candles")
        intervals = [one for one in INTERVALS if one.name in names]
        is_flat = candle_rules(self.settings, self.venue.id).empty == "flat"
        enriching, filling = venue_candles.Enriching(self.venue.id, is_flat), self._filling(symbol, wanted)
        count, first_ms = 0, {one.name: wanted.to_ms for one in intervals}
        asked = [(one, wanted.from_ms) for one in intervals]
        for page in venue_candles.fetch(self.venue, asking, symbol, asked, wanted.to_ms):
            found = [one for one in page if one.rows]
            if found:
                filling.write(enriching.batch(found), {})
            for _, interval, rows in found:
                count += len(rows)
                first_ms[interval.name] = min(first_ms[interval.name], rows[0][0])
                self.status.show(f"{symbol}  {interval.name}  {_shown(rows[-1][0])}  {count:,} candles")
        self.status.clear()
        self._say(f"{self.venue.id}:{symbol}: {count:,} candles of the venue's own, of {', '.join(names)}")
        if kept := self.venue.candles_kept:
            late = [name for name, at_ms in first_ms.items() if by_name(name).open_ms(at_ms - 1) >= wanted.from_ms]
            if late:
                self.failed = True
                since = ", ".join(f"{name} since {_shown(first_ms[name])}" for name in late)
                self._say(f"{self.venue.title} has its newest {kept} candles of an interval only: {since}")
