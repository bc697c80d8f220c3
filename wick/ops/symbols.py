"""Which symbols of which venues are to be read: `feed.symbols`, and what `wick symbols` has added and removed since.

The latter stands in `<core.data_dir>/symbols.json`: {"add": ["binance:SOL-USDT"], "remove": []}. The feed reads both at
its start and on SIGHUP.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from wick.errors import ParseError, SettingError
from wick.ops.settings import Settings

FILE = "symbols.json"
EVERY = "*"


class Wanted(NamedTuple):
    """What is wanted of one venue, in wick's names. `every`: all that it lists, but for `without`."""

    every: bool
    symbols: tuple[str, ...]
    without: frozenset[str]

    def of(self, listed: Iterable[str]) -> list[str]:
        """Those of the listed symbols, in the order in which they were asked for."""
        listed = list(listed)
        if self.every:
            return [symbol for symbol in listed if symbol not in self.without or symbol in self.symbols]
        known = set(listed)
        return [symbol for symbol in self.symbols if symbol in known]


class Changes(NamedTuple):
    """The content of the file: `VENUE:SYMBOL`, in wick's names."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def wanted(settings: Settings) -> dict[str, Wanted]:
    """By venue. SettingError where a name, or the file, makes no sense."""
    venues: tuple[str, ...] = settings["feed.venues"]
    changes = load(settings["core.data_dir"])
    names: dict[str, dict[str, None]] = {venue: {} for venue in venues}
    for text in settings["feed.symbols"]:
        for venue, symbol in qualified(text, venues, "feed.symbols"):
            names[venue][symbol] = None
    without: dict[str, set[str]] = {venue: set() for venue in venues}
    for text in changes.remove:
        for venue, symbol in qualified(text, venues, FILE, others=True):
            names.get(venue, {}).pop(symbol, None)
            without.setdefault(venue, set()).add(symbol)
    for text in changes.add:
        for venue, symbol in qualified(text, venues, FILE, others=True):
            names.setdefault(venue, {})[symbol] = None
    return {
        venue: Wanted(
            EVERY in names[venue],
            tuple(symbol for symbol in names[venue] if symbol != EVERY),
            frozenset(without[venue]),
        )
        for venue in venues
    }


def qualified(text: str, venues: Sequence[str], where: str, *, others: bool = False) -> list[tuple[str, str]]:
    """`kraken:BTC/USD` -> [("kraken", "BTC-USD")]; `BTC-USD` -> one of each venue. A symbol is given in wick's name.

    SettingError for a venue that is not among `venues` (or not known at all, with `others`), and for no name at all.
    """
    from wick import exchanges  # only when it is asked: see settings._venues

    venue, colon, name = text.rpartition(":")
    valid = exchanges.ids() if others else venues
    if colon and venue not in valid:
        raise SettingError(f"{where}: {text!r} is wrong: the venue is not one of {', '.join(valid)}")
    try:
        found = [
            (one, EVERY if name == EVERY else exchanges.load(one).symbol(name.upper()))
            for one in ([venue] if colon else venues)
        ]
    except ParseError as error:
        raise SettingError(f"{where}: {text!r} is wrong: {error}") from None
    if not name:
        raise SettingError(f"{where}: {text!r} is wrong: valid is SYMBOL or VENUE:SYMBOL")
    return found


def load(data_dir: str | Path) -> Changes:
    """The file's content; nothing where there is none."""
    path = Path(data_dir) / FILE
    try:
        content = json.loads(path.read_bytes())
        parts = [content[key] for key in Changes._fields]
        if any(type(part) is not list or {*map(type, part)} - {str} for part in parts) or len(content) != len(parts):
            raise ValueError("valid are two lists of names, add and remove")
    except FileNotFoundError:
        return Changes()
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SettingError(f"{path} is damaged: {error!r}; delete it, or write it anew with `wick symbols`") from None
    return Changes(*map(tuple, parts))


def save(data_dir: str | Path, changes: Changes) -> None:
    """Write it anew, at once: a reader sees all of the old or all of the new."""
    path = Path(data_dir) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(changes._asdict(), indent=1) + "\n")
    beside.replace(path)


def changed(before: Changes, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Changes:
    """With these added and those removed, the last word on each counting."""
    adds, removes = dict.fromkeys(before.add), dict.fromkeys(before.remove)
    for names, to, of in ((add, adds, removes), (remove, removes, adds)):
        for name in names:
            of.pop(name, None)
            to[name] = None
    return Changes(tuple(adds), tuple(removes))


def feed_pid(run_dir: Path) -> int | None:
    """The process id of the running feed: who holds its lock wrote it there."""
    try:
        pid = int((run_dir / "feed-0.lock").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid
