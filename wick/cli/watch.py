"""Follow topics of a front over its WebSocket, as any client of it does, a line an event.

A TOPIC is written as docs/protocol.md says, with * and lists by comma; quote it:

  ticker:<venue>:<symbol>              last price, totals, best quotes
  candles:<venue>:<symbol>:<interval>  the live candle, and candles as they close
  closes:<venue>:<symbol>:<interval>   candles as they close, with metrics and patterns
  metrics:<venue>:<symbol>:<interval>  the live candle with the metrics that it would have
  trades:<venue>:<symbol>              each trade
  book:<venue>:<symbol>                the best levels, where feed.channels has depth
  stats                                what each process says of itself

A lost connection is made anew and goes on where it was; standard error says so. Without --url the front is that of the
settings, and its token is theirs (`front.host`, `front.port`, `front.token`).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wick import client
from wick.client.held import Held
from wick.client.views import Record
from wick.errors import SettingError
from wick.ops.logs import escape
from wick.ops.settings import Settings, load

HELP = "follow tickers, candles, trades or books of a front, as a client gets them"

REDRAW_S = 0.5
FORMED = ("open_time_ms", "open", "high", "low", "close", "volume", "trade_count")  # of a candle, in a line
SHORT = 4  # trades, or levels of each side of a book, in a line
COLUMNS = ("TOPIC", "LAST", "BID", "ASK", "OPEN", "HIGH", "LOW", "CLOSE", "VOLUME", "TRADES")
OF_TICKER = ("last_price", "bid", "ask")
OF_CANDLE = ("open", "high", "low", "close", "volume", "trade_count")

# Of the connection, not of a topic: said on standard error.
ABOUT = client.Connected | client.Disconnected | client.Bye | client.Stale | client.Fresh | client.Error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC", nargs="+", help="for example 'ticker:*' or 'closes:*:1m'")
    parser.add_argument("--url", help="of the front, for example wss://wick.example (default: that of the settings)")
    parser.add_argument("--token-file", metavar="FILE", help="its first line is the token that the front wants")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line, with every field")
    form.add_argument("--table", action="store_true", help="a line a topic, drawn anew as they change")
    parser.add_argument("--count", type=int, metavar="N", help="stop after N events of the topics")


def run(args: argparse.Namespace) -> int:
    if args.count is not None and args.count < 1:
        raise SettingError(f"--count {args.count} is wrong: valid is a whole number from 1")
    settings = load([])
    url = args.url or _own_url(settings)
    token = _token(args.token_file) if args.token_file else None if args.url else settings["front.token"]
    with client.connect(url, args.topic, token=token or None) as session:
        return _table(session, args.count) if args.table else _lines(session, args.count, as_json=args.json)


def _own_url(settings: Settings) -> str:
    host = settings["front.host"]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(host, host)
    return f"ws://{f'[{host}]' if ':' in host else host}:{settings['front.port']}"


def _token(path: str) -> str:
    try:
        return Path(path).read_text().partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise SettingError(f"--token-file {path!r} cannot be read: {error}") from None


# ---------------------------------------------------------------------- lines


def _lines(session: client.Session, count: int | None, *, as_json: bool) -> int:
    shown = 0
    for event in session:
        is_about = isinstance(event, ABOUT)
        if as_json:
            print(json.dumps(as_object(event)), flush=True)
        else:
            print(escape(as_line(event)), flush=True, file=sys.stderr if is_about else sys.stdout)
        if not session.wanted:
            return 1  # no topic is left: each of them was an error
        shown += not is_about
        if shown == count:
            return 0
    return 0


def as_object(event: client.Event) -> dict[str, Any]:
    """For JSON: what happened, and every field; exact decimals as texts."""
    return {"event": type(event).__name__.lower(), **{name: _plain(value) for name, value in event._asdict().items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.text()
    if isinstance(value, client.Trade):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, int | float | str | dict):
        return value
    return format(value, "f")


def as_line(event: client.Event) -> str:
    """For people: the topic, what happened, and the fields that matter most."""
    parts = event._asdict()
    topic = parts.pop("topic", None)
    shown = [f"{name}={_short(value)}" for name, value in parts.items() if value not in (None, [])]
    return " ".join([*([topic] if topic else []), type(event).__name__.lower(), *shown])


def _short(value: Any) -> str:
    if isinstance(value, client.Candle):
        known = value.text(*FORMED)
        return "{" + " ".join(f"{name}={one}" for name, one in known.items()) + "}"
    if isinstance(value, client.Ticker):
        return "{" + " ".join(f"{name}={one}" for name, one in value.text(*OF_TICKER).items()) + "}"
    if isinstance(value, client.Trade):
        return f"{value.quantity:f}@{value.price:f}{'+' if value.taker_is_buyer else '-'}"
    if isinstance(value, client.Level):
        return f"{value.quantity:f}@{value.price:f}"
    if isinstance(value, list) and value and isinstance(value[0], client.Candle):
        return str(len(value))
    if isinstance(value, list):
        more = f" and {len(value) - SHORT} more" if len(value) > SHORT else ""
        return ",".join(_short(one) for one in value[:SHORT]) + more
    return str(value)


# ---------------------------------------------------------------------- a table


def _table(session: client.Session, count: int | None) -> int:
    """Draws what is held at most twice a second, whatever comes."""
    shown, drawn, is_new = 0, -REDRAW_S, False
    while not session.closed:
        event = session.receive(REDRAW_S)
        if isinstance(event, ABOUT):
            print(escape(as_line(event)), file=sys.stderr)
            if not session.wanted:
                return 1
        elif event is not None:
            shown, is_new = shown + 1, True
        is_over = shown == count
        if is_new and (is_over or time.monotonic() - drawn >= REDRAW_S):
            drawn, is_new = time.monotonic(), False
            _draw([COLUMNS, *_rows(session.topics)])
        if is_over:
            return 0
    return 0


def _rows(topics: dict[str, Held]) -> Iterator[tuple[str, ...]]:
    for topic, held in sorted(topics.items()):
        ticker, candle = held.ticker, held.candle or next(reversed(held.candles), None)
        cells = [*_cells(ticker, OF_TICKER), *_cells(candle, OF_CANDLE)]
        if held.book and held.book.bids and held.book.asks:
            cells[1:3] = [f"{side[0].price:f}" for side in (held.book.bids, held.book.asks)]
        yield escape(topic), *cells


def _cells(record: Record | None, names: tuple[str, ...]) -> list[str]:
    return [
        "-" if value is None else str(value)
        for value in (record.text(*names) if record else dict.fromkeys(names)).values()
    ]


def _draw(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    # On a terminal the table stays in its place: cursor home, and clear what is below (ECMA-48 CUP and ED).
    print(("\x1b[H\x1b[J" if sys.stdout.isatty() else "") + "\n".join(lines), flush=True)
