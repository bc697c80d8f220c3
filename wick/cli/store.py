"""Look after the store of closed candles.

  wick store init            make it, or bring it to this wick's version
  wick store status          what it is, what is in it, how far the sink is
  wick store verify          reads all of it: pages, candles by themselves, sums, gaps
  wick store copy FROM TO    all candles of one into another; what TO has already stays where it is the better row
  wick store compact         deletes what `store.keep` does not keep, gives the space back

A store is an address: sqlite:PATH or postgresql://USER@HOST/DATABASE; without one it is that of `store.url`. A sink may
write meanwhile; a copy that was broken off goes on where it is begun again. `verify` exits with 1 where something is
wrong.
"""

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wick.cli._report import StatusLine
from wick.market.intervals import NAMES
from wick.ops.logs import escape
from wick.ops.settings import load
from wick.storage.keeping import keep_days
from wick.storage.store import Store, open_store, url_of

if TYPE_CHECKING:
    from wick.ops.settings import Settings

HELP = "look after the store of closed candles: init, status, verify, copy, compact"

PAGE = 5_000  # candles in one transaction of a copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="what to do", metavar="init|status|verify|copy|compact", required=True)
    for name, act, text in (
        ("init", _init, "make it, or bring it to this wick's version"),
        ("status", _status, "what it is, what is in it"),
        ("verify", _verify, "whether all of it can be read, and is right"),
        ("compact", _compact, "delete what is not kept, give the space back"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("url", metavar="STORE", nargs="?", help="its address (default: store.url)")
        action.add_argument("--data-dir", metavar="DIR", help="core.data_dir of the wick whose store it is")
        action.set_defaults(act=act)
        if name == "status":
            action.add_argument("--json", action="store_true", help="one JSON object")
    copy = actions.add_parser("copy", help="all candles of one into another")
    copy.add_argument("url", metavar="FROM", help="its address")
    copy.add_argument("to", metavar="TO", help="the other's")
    copy.set_defaults(act=_copy, data_dir=None)


def run(args: argparse.Namespace) -> int:
    settings = load(["--core-data-dir", args.data_dir] if args.data_dir else [])
    act: Callable[[argparse.Namespace, str, Settings], int] = args.act
    return act(args, args.url or url_of(settings), settings)


def _init(_: argparse.Namespace, url: str, __: "Settings") -> int:
    store = open_store(url)
    told = store.status()
    print(f"{escape(store.address)}: {_what(told)}, version {told['version']}")
    store.close()
    return 0


def _status(args: argparse.Namespace, url: str, _: "Settings") -> int:
    store = open_store(url, read_only=True)
    told = store.status()
    if args.json:
        print(json.dumps({"address": store.address, **told}))
        return 0
    print(f"{escape(store.address)}: {_what(told)}, version {told['version']}, {told['bytes'] / 1e6:,.1f} MB")
    for name, value in told.items():
        if name not in ("kind", "server", "version", "bytes", "intervals", "positions"):
            print(f"  {name.replace('_', ' ')}: {value}")
    if told["intervals"]:
        print(f"{'INTERVAL':<10}{'CANDLES':>14}  {'OLDEST':<20}NEWEST")
    for name in NAMES:
        if own := told["intervals"].get(name):
            print(f"{name:<10}{own['rows']:>14,}  {_day(own['oldest_ms']):<20}{_day(own['newest_ms'])}")
    print(f"{len(store.symbols())} pairs, {len(told['positions'])} streams written to")
    store.close()
    return 0


def _what(told: dict[str, Any]) -> str:
    return f"{told['kind']} {told.get('server', '')}".strip()


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _verify(_: argparse.Namespace, url: str, __: "Settings") -> int:
    store, line, bad, last = open_store(url, read_only=True), StatusLine(), 0, ""
    for finding in store.verify():
        if finding.bad or finding.mend:
            line.clear()
            print(f"{'WRONG' if finding.bad else 'note'}: {escape(finding.text)}")
            if finding.mend:
                print(f"    {finding.mend}")
            bad += finding.bad
        else:
            last = finding.text
            line.show(last)
    line.clear()
    print(f"{escape(store.address)}: {last}; {f'{bad} findings' if bad else 'nothing wrong'}")
    store.close()
    return 1 if bad else 0


def _compact(_: argparse.Namespace, url: str, settings: "Settings") -> int:
    store, line = open_store(url), StatusLine()
    said = "there was nothing to do"
    for said in store.compact(keep_days(settings)):
        line.show(said)
    line.clear()
    print(f"{escape(store.address)}: {said}")
    store.close()
    return 0


def _copy(args: argparse.Namespace, url: str, _: "Settings") -> int:
    source, target, line = open_store(url, read_only=True), open_store(args.to), StatusLine()
    positions = source.positions()  # first: what comes meanwhile is asked for again by the sink
    pairs, copied = source.symbols(), 0
    for number, (venue, symbol) in enumerate(pairs):
        for interval in NAMES:
            for count in _series(source, target, venue, symbol, interval):
                copied += count
                line.show(f"{number} of {len(pairs)} pairs, {copied:,} candles")
    known = target.positions()
    if missing := {stream: at for stream, at in positions.items() if stream not in known}:
        from wick.storage.batch import Batch

        target.write(Batch.empty(), missing)
    line.clear()
    print(f"{escape(target.address)}: {copied:,} candles of {len(pairs)} pairs, {len(missing)} positions")
    source.close()
    target.close()
    return 0


def _series(source: Store, target: Store, venue: str, symbol: str, interval: str) -> Any:
    """How many candles were written, page by page."""
    from wick.storage.batch import Batch

    from_ms = -(2**62)
    while rows := source.candles(venue, symbol, interval, PAGE, from_ms=from_ms, oldest=True):
        target.write(Batch.of_rows([venue, symbol, interval, *row] for row in rows), {})
        yield len(rows)
        from_ms = rows[-1][0] + 1
