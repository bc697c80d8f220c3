"""Record what an exchange sends, as it came: raw captures, which `wick candles` and `wick replay` read.

A line is a received message behind the time of its receipt (ns); a file is one connection's of one UTC day, gzip,
readable at any moment, also after a crash. Where a book begins with REST's snapshot, those answers are recorded too, in
a file of their own. Connections are spread, watched and opened anew as the feed does it. Ctrl-C ends it in good order.
"""

import argparse
import signal
from pathlib import Path

from wick.cli._report import StatusLine
from wick.errors import SettingError

HELP = "record an exchange's messages into raw captures"

SHOW_EVERY_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("venue", metavar="VENUE", help="binance, kraken, ...: docs/exchanges.md lists them")
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="as the venue or as wick writes it; '*': all")
    parser.add_argument("--out", default="captures", metavar="DIR", help="where the files go (default: %(default)s)")
    parser.add_argument("--channels", metavar="C,C", help="of trade, quote, depth (default: feed.channels)")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so long (default: never)")


def run(args: argparse.Namespace) -> int:
    from gevent import monkey

    monkey.patch_all()

    import gevent

    from wick import exchanges
    from wick.cli import DONE, FAILED
    from wick.ops.logs import setup
    from wick.ops.settings import load
    from wick.roles.recorder import Recorder

    if args.venue not in exchanges.ids():
        raise SettingError(f"VENUE {args.venue!r} is wrong: valid is one of {', '.join(exchanges.ids())}")
    if args.seconds is not None and not args.seconds > 0:
        raise SettingError(f"--seconds {args.seconds} is wrong: valid is a number above 0")
    options = ["--feed-venues", args.venue]
    settings = load([*options, "--feed-channels", args.channels] if args.channels else options)
    setup("record", settings["core.log_level"])
    recorder = Recorder(args.venue, settings, Path(args.out))
    symbols = recorder.choose(args.symbols)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, recorder.ended.set)
    recorder.start(symbols)
    print(f"recording {len(symbols)} symbols of {args.venue} into {args.out}", flush=True)
    status = StatusLine()
    left = args.seconds
    while not recorder.ended.wait(SHOW_EVERY_S if left is None else min(SHOW_EVERY_S, left)):
        status.show(recorder.state())
        left = None if left is None else left - SHOW_EVERY_S
        if left is not None and left <= 0:
            break
    status.clear()
    recorder.close()
    print(recorder.state())
    if recorder.failed is not None:
        raise recorder.failed
    return FAILED if recorder.capture.lost or not recorder.capture.messages else DONE
