"""Build candles from recordings: raw captures, and Binance trade dumps (trades or aggTrades).

A FILE may be plain, gzip or zip; its content tells what it is. Files are merged by time, so their order
does not matter. Candles come out ordered by open time, symbol, interval, each once and with all its
trades; a trade may come an hour late. `closed` is 0 for those that were live when the input ended. What
cannot be used is named on standard error with its position (file:line), the rest goes on, and the exit
status is 1.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wick.cli._report import Faults, Progress
from wick.market.intervals import INTERVALS, NAMES
from wick.market.numbers import parse_decimal
from wick.ops.settings import BY_NAME

if TYPE_CHECKING:
    from wick.exchanges import Venue
    from wick.storage.recordings import Recording

NAME = "candles"
HELP = "build candles from raw captures and trade dumps"

_LARGE = BY_NAME["aggregator.large_notional"]


def _intervals(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name != "all" and name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(NAMES)}, all")
    return list(NAMES) if "all" in names else names


def _symbols(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _large(text: str) -> str:
    try:
        return str(_LARGE.parse(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is wrong: valid is {_LARGE.valid}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="raw captures and trade dumps")
    parser.add_argument("--venue", default="binance", help="whose recordings they are (default: %(default)s)")
    parser.add_argument(
        "--symbol", action="extend", type=_symbols, default=[], metavar="S",
        help="BTCUSDT or BTC-USDT; may be repeated (default: every symbol in the input)",
    )  # fmt: skip
    parser.add_argument(
        "--interval", action="extend", type=_intervals, required=True, metavar="I",
        help=f"{', '.join(NAMES)}, or all; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--empty", choices=("flat", "omit"),
        help="a period without a trade: a flat candle at the last close, or none (default: the venue's way)",
    )  # fmt: skip
    parser.add_argument(
        "--large-notional", type=_large, default=_LARGE.default, metavar="N",
        help="trades with a turnover of at least this, in the quote currency, count as large (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", action="store_true",
        help="also indicators and candlestick patterns: all fields of docs/units.md, in a table a choice. A field says "
        "nothing before its n-th candle (n stands there); what is recursive, as EMA, RSI, MACD, ADX or ATR, remembers "
        "more: let the input begin some 300 candles of the interval before what you need",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("csv", "json", "table"),
        help="json is an object a line (default: table on a terminal, else csv)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from wick import exchanges
    from wick.cli import DONE, FAILED, USAGE
    from wick.cli._offline import LATE_MS, OfflineCandles
    from wick.cli._rows import OUTS, Rows
    from wick.storage import recordings

    if args.venue not in exchanges.ids():
        valid = ", ".join(exchanges.ids())
        print(f"wick candles: --venue {args.venue!r} is not one of {valid}", file=sys.stderr)
        return USAGE
    venue = exchanges.load(args.venue)
    wanted = {venue.symbol(name): name for name in args.symbol}

    progress = Progress("frames")
    faults = Faults("candles", progress)
    found = recordings.find(args.files, faults.add)
    problem = _name_dumps(found, venue, list(wanted), args.symbol)
    if problem:
        print(f"wick candles: {problem}", file=sys.stderr)
        return USAGE
    progress.total_bytes = sum(path.stat().st_size for path in {recording.path for recording in found})

    out = OUTS[args.format or ("table" if sys.stdout.isatty() else "csv")](sys.stdout, args.metrics)
    intervals = [interval for interval in INTERVALS if interval.name in args.interval]

    def write(line: str) -> None:
        progress.clear()
        out.write(line)

    enrich = None
    if args.metrics:
        from wick.metrics.streams import Streams

        enrich = Streams().enrich
    rows = Rows(venue.id, intervals, LATE_MS, out.text, write, enrich)
    candles = OfflineCandles(
        venue, intervals,
        empty=args.empty or venue.empty, symbols=wanted, since_ms=_complete_since(found),
        large_notional=parse_decimal(args.large_notional),
        deliver=rows.put, settled=rows.settle, fault=faults.add,
    )  # fmt: skip

    try:
        for batch in recordings.merge(found, faults.add, progress.read):
            candles.take(batch)
            progress.step(len(batch.items))
        candles.finish()
        rows.finish()
    finally:
        progress.clear()
    out.finish()

    unknown = [name for symbol, name in wanted.items() if symbol not in candles.pairs]
    for name in unknown:
        faults.say(f"wick candles: unknown symbol {name}: the input has no trade of it")
    for symbol, pair in sorted(candles.pairs.items()):
        if missing := pair.counters["missing"]:
            what = "trade ids are missing" if venue.contiguous_ids else "gaps"
            faults.say(f"wick candles: note: {symbol}: {missing:,} {what}")
    if candles.past:
        old = f"{candles.past:,} trades that the venue told again are more than an hour old"
        faults.say(f"wick candles: note: {old}: they are left out")
    faults.summary()
    return FAILED if unknown or faults.counts else DONE


def _name_dumps(found: "list[Recording]", venue: "Venue", wanted: Sequence[str], names: Sequence[str]) -> str:
    """Give each dump its symbol: by its name, else the only one that was asked for. Returns what is wrong."""
    kinds: dict[str, Recording] = {}
    for recording in found:
        if recording.kind == "capture":
            continue
        if recording.native:
            recording.symbol = venue.symbol(recording.native)
        elif len(wanted) == 1:
            recording.symbol = wanted[0]
        else:
            return (
                f"{recording.name}: its name is not like BTCUSDT-{recording.kind}-2024-08-08, which tells the symbol:"
                f" give exactly one --symbol, not {len(names)}"
            )
        other = kinds.setdefault(recording.symbol, recording)
        if other.kind != recording.kind:
            return (
                f"{other.name} has {other.kind} of {recording.symbol}, {recording.name} has {recording.kind}:"
                " together they would count trades twice"
            )
    return ""


def _complete_since(found: "list[Recording]") -> dict[str, int]:
    """The times (ms) from which the dumps say, by their names, that they hold all trades of a symbol."""
    since: dict[str, int] = {}
    for recording in found:
        if recording.symbol and recording.since_ms:
            since[recording.symbol] = min(recording.since_ms, since.get(recording.symbol, recording.since_ms))
    return since
