"""Show which symbols the feed is to read, and add or remove some while it runs.

  wick symbols                             what is wanted of each venue
  wick symbols add kraken:ETH-USD SOLUSDT  without a venue: of every venue of feed.venues
  wick symbols remove binance:PEPEUSDT

What is added and removed is kept in <core.data_dir>/symbols.json, beside feed.symbols, and the running feed is told
(SIGHUP); a feed that starts later reads it too. What a venue does not list is left out, and the feed's log says so.
"""

import argparse
import os
import signal
from pathlib import Path

from wick.cli.status import settings_of
from wick.errors import SettingError
from wick.ops import symbols

HELP = "show, add and remove the symbols that the feed reads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "add", "remove"), default="list")
    parser.add_argument("names", nargs="*", metavar="[VENUE:]SYMBOL")
    parser.add_argument("--data-dir", metavar="DIR", help="core.data_dir of the wick that is meant")


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    data_dir = settings["core.data_dir"]
    if args.action != "list":
        if not args.names:
            raise SettingError(f"wick symbols {args.action}: which? valid is SYMBOL or VENUE:SYMBOL")
        pairs = [pair for name in args.names for pair in symbols.qualified(name, settings["feed.venues"], "SYMBOL")]
        if symbols.EVERY in [symbol for _, symbol in pairs]:
            raise SettingError("SYMBOL '*' is wrong: valid is the name of one; all of a venue stand in feed.symbols")
        named = [f"{venue}:{symbol}" for venue, symbol in pairs]
        symbols.save(data_dir, symbols.changed(symbols.load(data_dir), **{args.action: named}))
    for venue, wanted in symbols.wanted(settings).items():
        parts = ["every symbol that it lists"] if wanted.every else []
        parts += wanted.symbols
        if wanted.every and wanted.without:
            parts.append(f"but {' '.join(sorted(wanted.without))}")
        print(f"{venue}: {' '.join(parts) or 'none'}")
    if args.action != "list":
        pid = symbols.feed_pid(Path(data_dir) / "run")
        if pid is None:
            print("no feed is running: it will read this at its start")
        else:
            os.kill(pid, signal.SIGHUP)
            print(f"the feed (process {pid}) was told; wick status shows how many it reads")
    return 0
