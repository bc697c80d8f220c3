"""Look into the tick log: everything that the feed received, before anything was made of it.

  wick log ls       its segments: when they began, how large they are, who still needs them
  wick log cat      its ticks, a line each; --follow: also what comes
  wick log verify   reads all of it: checksums, positions, the sequences of every stream

A TOPIC-GLOB of `cat` is matched against trades.<venue>.<symbol>, quotes.<venue>.<symbol> and depths.<venue>.<symbol>
(* and ? and [...] as in a shell). T is a time in UTC (2026-01-31, 2026-01-31T12:30), or how long ago (5m, 36h): when
the feed passed the ticks on. The log may be read while it is written. `verify` exits with 1 where something is wrong.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from wick.cli._report import StatusLine
from wick.cli._ticks import ticks
from wick.cli._times import time_ms
from wick.cli.status import settings_of
from wick.errors import SettingError, WickError, WireError
from wick.ops.logs import escape
from wick.storage import checkpoints, ticklog
from wick.storage.ticklog import START, Flush, Position
from wick.stream.tails import unpacked

HELP = "look into the tick log: its segments, its ticks, whether it is whole"

LOOK_S = 0.1  # how often --follow looks for more
MS = 1_000_000
NAMED = 100  # findings that are written out; the rest is counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="what to do", metavar="ls|cat|verify", dest="action", required=True)
    ls = actions.add_parser("ls", help="the segments")
    cat = actions.add_parser("cat", help="the ticks, a line each")
    verify = actions.add_parser("verify", help="whether it is whole")
    cat.add_argument("topic", metavar="TOPIC-GLOB", nargs="?", default="*", help="for example 'trades.*.BTC-USDT'")
    cat.add_argument("--from", dest="from_ms", type=time_ms, metavar="T", default=0, help="else the oldest")
    cat.add_argument("--to", dest="to_ms", type=time_ms, metavar="T", help="else the newest")
    cat.add_argument("--follow", action="store_true", help="go on with what comes")
    cat.add_argument("--json", action="store_true", help="one JSON object a line")
    cat.add_argument("--count", type=int, metavar="N", help="stop after N lines")
    for one in (ls, cat, verify):
        one.add_argument("--data-dir", metavar="DIR", help="core.data_dir of the wick whose log it is")


def run(args: argparse.Namespace) -> int:
    data_dir = Path(settings_of(args)["core.data_dir"])
    directory = data_dir / "ticklog"
    if not directory.is_dir():
        raise WickError(f"there is no tick log in {str(data_dir)!r}: name its --data-dir, or start a feed")
    if args.action == "ls":
        return _list(directory, checkpoints.passed(data_dir))
    if args.action == "verify":
        return _verify(directory)
    if args.count is not None and args.count < 1:
        raise SettingError(f"--count {args.count} is wrong: valid is a whole number from 1")
    return _cat(directory, args)


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


# ---------------------------------------------------------------------- ls


def _list(directory: Path, passed: Position | None) -> int:
    found = ticklog.segments(directory)
    print(f"{'segment':47} {'last written (UTC)':19} {'bytes':>12}  a worker that starts now")
    total = 0
    for place, (_, path) in enumerate(found):
        status = path.stat()
        total += status.st_size
        following = found[place + 1][0] if place + 1 < len(found) else None
        needs = passed is None or following is None or following > (passed[0], passed[1] + 1)
        print(f"{path.name:47} {_time(status.st_mtime_ns)} {status.st_size:12,}  {'reads it' if needs else '-'}")
    reached = "not every shard has one" if passed is None else f"all have passed {_shown(passed)}"
    print(f"{len(found)} segments, {total:,} bytes; checkpoints: {reached}")
    return 0


def _shown(position: Position) -> str:
    return f"{position[0]}-{position[1]}"


# ---------------------------------------------------------------------- cat


def _cat(directory: Path, args: argparse.Namespace) -> int:
    shown = 0
    for header, data in _flushes(directory, args.follow):
        if header.send_ns < args.from_ms * MS:
            continue
        if args.to_ms is not None and header.send_ns >= args.to_ms * MS:
            break
        for topic, item in ticks(header, data, with_depths=True):
            if not fnmatchcase(topic, args.topic):
                continue
            told: dict[str, Any] = {"position": _shown((header.epoch, header.block)), **item}
            if args.json:
                line = json.dumps({"topic": topic, **told})
            else:
                line = escape(topic + " " + " ".join(f"{key}={_text(value)}" for key, value in told.items()))
            print(line, flush=args.follow)
            shown += 1
            if shown == args.count:
                return 0
    return 0


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _flushes(directory: Path, follow: bool) -> Iterator[Flush]:
    after = START
    while True:
        for header, data in ticklog.read(directory, None, after):
            after = header.epoch, header.block
            yield header, data
        if not follow:
            return
        time.sleep(LOOK_S)


# ---------------------------------------------------------------------- verify


class _Findings:
    """What is wrong; said at once."""

    def __init__(self, line: StatusLine) -> None:
        self.count, self._line = 0, line

    def add(self, text: str) -> None:
        self.count += 1
        if self.count <= NAMED:
            self._line.clear()
            print(escape(text))


def _verify(directory: Path) -> int:
    line = StatusLine()
    findings = _Findings(line)
    found = ticklog.segments(directory)
    total = sum(path.stat().st_size for _, path in found)
    read = blocks = records = torn = 0
    newest = START
    sequences: dict[tuple[int, str, int], int] = {}
    for place, (_, path) in enumerate(found):
        line.show(f"{read / max(1, total):4.0%}  {path.name}")
        data, at = path.read_bytes(), 0
        for one in ticklog.blocks(data, path.name):
            if one.at != at:
                findings.add(f"{path.name}: bytes {at} to {one.at} are damaged")
            at = one.end
            if one.is_tails:
                _check_tails(one, path.name, findings)
                continue
            header = ticklog.ticks_of(one)
            if header is None:
                findings.add(f"{path.name}: the block at byte {one.at} makes no sense")
                continue
            if one.position <= newest:
                findings.add(f"{path.name}: {_shown(one.position)} comes behind {_shown(newest)}")
            newest = max(newest, one.position)
            blocks += 1
            records += header.total
            for shard, seq, *_ in header.parts:
                stream = (header.epoch, header.venue, shard)
                before = sequences.get(stream, seq - 1)
                if seq != before + 1:
                    findings.add(
                        f"{path.name}: {header.venue}, shard {shard}: parts {before + 1} to {seq - 1} are missing"
                        if seq > before
                        else f"{path.name}: {header.venue}, shard {shard}: part {seq} comes behind {before}"
                    )
                sequences[stream] = seq
        read += len(data)
        if at < len(data):
            torn = len(data) - at
            if place + 1 < len(found):
                findings.add(f"{path.name}: {torn} bytes at its end are torn")
    line.clear()
    if findings.count > NAMED:
        print(f"... and {findings.count - NAMED} more")
    print(f"{len(found)} segments, {read:,} bytes, {blocks:,} blocks, {records:,} ticks: ", end="")
    print(f"{findings.count} findings" if findings.count else "whole")
    if torn and not findings.count:
        print("the newest block is torn, or is being written: the next feed cuts it off", file=sys.stderr)
    return 1 if findings.count else 0


def _check_tails(one: ticklog.Block, name: str, findings: _Findings) -> None:
    try:
        unpacked(one.records)
    except WireError as error:
        findings.add(f"{name}: the tails at byte {one.at}: {error}")
