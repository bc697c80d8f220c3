"""Look at a real exchange for half a minute: does wick understand it as it is today?

It connects and subscribes, with TLS verified, and checks that every message is understood, that trade ids are
contiguous where they should be, that REST gives missed trades, that books are valid, and how far the exchange's clock
is from ours.
wick's exchanges have been tested against simulations (docs/exchanges.md): run this before you rely on one, and when
something looks wrong. Exit status: 0 all is well (a warning may be among it), 1 something is not.
"""

import argparse

from wick.cli._report import StatusLine
from wick.errors import ParseError, SettingError
from wick.ops.logs import escape

HELP = "check a real exchange: connection, ids, books, clock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--live", required=True, metavar="VENUE", help="binance, kraken, ...: docs/exchanges.md")
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="up to 10 (default: its busiest)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="N", help="how long (default: %(default)g)")


def run(args: argparse.Namespace) -> int:
    from gevent import monkey

    monkey.patch_all()

    from wick import exchanges
    from wick.cli import DONE, FAILED
    from wick.ops.logs import setup
    from wick.ops.settings import load
    from wick.roles.checkup import FAIL, Checkup

    if args.live not in exchanges.ids():
        raise SettingError(f"--live {args.live!r} is wrong: valid is one of {', '.join(exchanges.ids())}")
    if not args.seconds >= 1:
        raise SettingError(f"--seconds {args.seconds:g} is wrong: valid is a number from 1")
    settings = load()
    setup("doctor", "warning")
    status = StatusLine()
    checkup = Checkup(args.live, settings)
    print(f"{checkup.venue.title} ({args.live}), {args.seconds:g} s", flush=True)
    failed = False
    try:
        for finding in checkup.run(args.symbols, args.seconds, status.show):
            status.clear()
            print(f"  {finding.verdict:4}  {finding.what:13}  {escape(finding.text)}", flush=True)
            failed = failed or finding.verdict == FAIL
    except ParseError as error:
        raise SettingError(f"SYMBOL is wrong: {error}") from None
    finally:
        status.clear()
    return FAILED if failed else DONE
