"""Listen in on any stream of a running wick, decoded, a line a message.

A TOPIC-GLOB is matched against these names (* and ? and [...] as in a shell):

  trades.<venue>.<symbol>              each trade as the feed received it
  quotes.<venue>.<symbol>              best bid and ask, one a batch
  book.<venue>.<symbol>                the best levels of the book, one a batch, where feed.channels has depth
  diffs.<venue>.<symbol>               what changes in a pair's state
  closes.<venue>.<symbol>.<interval>   candles as they close, or are revised
  live.<venue>.<symbol>.<interval>     unclosed candles whose metrics a client is subscribed to
  stats.<process>                      what each process says of itself

A tap is one more subscriber: it never takes a message from anyone, and what it is too slow for is dropped (the
sequences show it).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from typing import Any

import zmq

from wick.cli._ticks import Item, ticks
from wick.cli.status import expected, settings_of
from wick.errors import SettingError, WireError
from wick.market.intervals import NAMES
from wick.market.rows import decimals_of, flag_names, readable, readable_value
from wick.market.schema import CANDLE_FIELDS, HEAD, HEAD_FIELDS, LIVE
from wick.net import bus
from wick.ops.logs import escape
from wick.ops.settings import Settings
from wick.stream import diffs
from wick.stream.mirror import ShardMirror
from wick.stream.sequence import Follower
from wick.stream.shards import SHARDS, shard_of, worker_of
from wick.wire.codec import unpack
from wick.wire.messages import Closes, Diffs, Request, Snapshot, TickHeader

HELP = "listen in on any stream of a running wick"

STREAMS = ("trades", "quotes", "book", "diffs", "closes", "live", "stats")
_WIRE = {"trades": b"ticks", "quotes": b"ticks"}  # the others are called the same on the bus
HINT = "is wick running (wick status)? Symbols are written BTC-USDT; books flow where feed.channels has depth"
QUIET_S = 3.0  # after this long without a message, say so once
ASK_AGAIN_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC-GLOB", help="for example 'closes.*.BTC-USDT.1m' or 'stats.*'")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--count", type=int, metavar="N", help="stop after N lines")
    parser.add_argument("--data-dir", metavar="DIR", help="core.data_dir of the wick to listen to")


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    streams = [stream for stream in STREAMS if _may_match(stream, args.topic)]
    if not streams:
        raise SettingError(f"TOPIC-GLOB {args.topic!r} matches no stream: valid begins with {', '.join(STREAMS)}")
    if args.count is not None and args.count < 1:
        raise SettingError(f"--count {args.count} is wrong: valid is a whole number from 1")
    with closing(Tap(settings, args.topic, streams)) as tap:
        for shown, (topic, item) in enumerate(tap.items(), 1):
            if args.json:
                line = json.dumps({"topic": topic, **item})
            else:
                line = escape(topic + " " + " ".join(f"{key}={_text(value)}" for key, value in item.items()))
            print(line, flush=True)
            if shown == args.count:
                break
    return 0


def _may_match(stream: str, glob: str) -> bool:
    return fnmatchcase(stream, glob.partition(".")[0])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{key}={_text(item)}" for key, item in value.items()) + "}"
    return "-" if value is None else str(value)


class Tap:
    """Subscribes to what a glob can match, and decodes it."""

    def __init__(self, settings: Settings, glob: str, streams: list[str]) -> None:
        self._glob, self._streams = glob, streams
        self._workers: int = settings["aggregator.workers"]
        self._socket = bus.subscriber(settings["core.data_dir"], expected(settings), self._wire_topics())
        self._dealers: list[zmq.Socket[bytes]] = []
        self._mirrors = {shard: (Follower(), ShardMirror()) for shard in self._shards()}
        if "diffs" in streams:
            # Diffs name pairs by number: the names, and the state that they change, come with a snapshot.
            self._dealers = [bus.dealer(settings["core.data_dir"], worker) for worker in range(self._workers)]
        self._asked_s: dict[int, float] = {}  # by shard: when its worker was last asked for a snapshot

    def close(self) -> None:
        for socket in (self._socket, *self._dealers):
            socket.close(linger=0)

    def _shards(self) -> list[int]:
        """The shards that the glob can concern: one, where it names venue and symbol."""
        parts = self._glob.split(".")
        if len(parts) >= 3 and not any(sign in part for part in parts[1:3] for sign in "*?["):
            return [shard_of(parts[1], parts[2])]
        return list(range(SHARDS))

    def _wire_topics(self) -> list[bytes]:
        return sorted({_WIRE.get(stream, stream.encode()) + b"." for stream in self._streams})

    def items(self) -> Iterator[Item]:
        """Forever: the topics and messages that match."""
        poller = zmq.Poller()
        for socket in (self._socket, *self._dealers):
            poller.register(socket, zmq.POLLIN)
        started, heard = time.monotonic(), False
        while True:
            unasked = self._ask()
            ready = dict(poller.poll(20 if unasked else 500))
            if not heard and time.monotonic() - started > QUIET_S:
                print(f"nothing yet for {escape(self._glob)!r}: {HINT}", file=sys.stderr)
                heard = True
            for socket in ready:
                frames = socket.recv_multipart()
                try:
                    found = list(self._decode(frames) if socket is self._socket else self._restart(frames))
                except (WireError, ValueError, LookupError, TypeError) as error:
                    print(f"a message is not what it should be: {escape(str(error))}", file=sys.stderr)
                    continue
                for topic, item in found:
                    if fnmatchcase(topic, self._glob):
                        heard = True
                        yield topic, item

    def _decode(self, frames: list[bytes]) -> Iterator[Item]:
        kind = frames[0].partition(b".")[0]
        if kind == b"ticks":
            yield from ticks(TickHeader.unpack(frames[1]), frames[2])
        elif kind == b"book":
            symbol, event_ns, update_id, bids, asks = unpack(frames[1])
            venue = frames[0].split(b".")[1].decode()
            yield f"book.{venue}.{symbol}", {"event_ns": event_ns, "update_id": update_id, "bids": bids, "asks": asks}
        elif kind in (b"closes", b"live"):
            message = Closes.unpack(frames[1])
            for venue, symbol, interval, *row in message.rows:
                yield f"{kind.decode()}.{venue}.{symbol}.{interval}", {"seq": message.seq, **_candle(row)}
        elif kind == b"diffs":
            shard = int(frames[0].partition(b".")[2])
            if shard in self._mirrors:
                yield from self._diffs(shard, Diffs.unpack(frames[1]))
        else:
            yield frames[0].decode(errors="replace"), unpack(frames[1])

    # ------------------------------------------------------------------ diffs

    def _ask(self) -> bool:
        """Ask for the snapshots that are needed, again where none comes; whether some worker is not there yet."""
        unasked = False
        for shard, (follower, _) in self._mirrors.items() if self._dealers else ():
            if follower.wanted and time.monotonic() - self._asked_s.get(shard, -ASK_AGAIN_S) >= ASK_AGAIN_S:
                question = Request("snapshot", shard, 0, 0).pack()
                if bus.try_send(self._dealers[worker_of(shard, self._workers)], [question]):
                    self._asked_s[shard] = time.monotonic()
                else:
                    unasked = True
        return unasked

    def _restart(self, frames: list[bytes]) -> Iterator[Item]:
        snapshot = Snapshot.unpack(frames[1])
        follower, mirror = self._mirrors[snapshot.shard]
        if not follower.wanted:
            return  # asked twice: this is the later answer
        self._asked_s.pop(snapshot.shard, None)
        mirror.restart(snapshot)
        for message in follower.restart(snapshot.epoch, snapshot.diffs_seq):
            yield from self._apply(mirror, message)

    def _diffs(self, shard: int, message: Diffs) -> Iterator[Item]:
        follower, mirror = self._mirrors[shard]
        if follower.offer(message.epoch, message.seq, message):
            yield from self._apply(mirror, message)

    def _apply(self, mirror: ShardMirror, message: Diffs) -> Iterator[Item]:
        for number, changes in mirror.apply(message):
            venue, symbol = mirror.names[number]
            head, *lives = mirror.groups[number]
            decimals = decimals_of(head[PRICE_AT], head[QUANTITY_AT])
            changed: dict[str, Any] = {}
            for group, mask, _ in diffs.split(changes):
                fields, prefix = (HEAD, "") if group == 0 else (LIVE, NAMES[group - 1] + ".")
                values = head if group == 0 else lives[group - 1]
                for index, (name, kind) in enumerate(fields):
                    if mask >> index & 1:
                        changed[prefix + name] = readable_value(values[index], kind, decimals)
            yield f"diffs.{venue}.{symbol}", {"epoch": message.epoch, "seq": message.seq, "now": changed}


FLAGS_AT = CANDLE_FIELDS.index("flags")
PRICE_AT, QUANTITY_AT = HEAD_FIELDS.index("price_decimals"), HEAD_FIELDS.index("quantity_decimals")


def _candle(row: list[Any]) -> dict[str, Any]:
    return readable(row) | {"flags": ",".join(flag_names(row[FLAGS_AT]))}
