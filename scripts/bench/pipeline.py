#!/usr/bin/env python3
"""Feed process to worker process to published diffs: trades a second on two cores, and whether each of them arrives.

    .venv/bin/python scripts/bench/pipeline.py [--seconds 24] [--quick]

A sender (_venue.py) speaks Binance's WebSocket and sends trades of 300 symbols by Zipf's law as fast as the feed reads
them. The feed (services/feed.py, first core) parses, logs and pushes; one worker (services/aggregator.py, second core)
makes candles and publishes; a reader takes every Diffs message. The sender and the reader have to share the second core
with the worker, which has room; the sender's processor time is told. At the end the trades and volumes of every symbol,
in the worker's snapshot and in what the diffs add up to, must be exactly what was sent: nothing lost, nothing twice.

The rates are what the processes' stats tell, without the first two seconds (zero: too busy to tell any). A trade's way
to its published diff is the publishing, less the newest trade's time in the message; that has the wait in the sockets'
buffers in it, which a sender without mercy keeps full.

Baseline, before it, for a few seconds: what one writes first, all in one process on the first core: `websockets`, json,
twelve candle objects (_naive.py), nothing logged, nothing published.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import _common as common
import zmq
from _market import MS, SECOND, natives
from _naive import Engine

from wick.exchanges import load
from wick.market.schema import HEAD_FIELDS
from wick.net import bus, endpoints
from wick.stream.mirror import ShardMirror
from wick.stream.shards import SHARDS
from wick.wire.codec import unpack
from wick.wire.messages import Diffs, Request, Snapshot

TARGET_RATE, TARGET_S = 200_000, 20.0
WARM_S = 2.0
PATIENCE_S = 30.0
HERE = Path(__file__).parent
PROCESSES = ("feed-0", "aggregator-0")
TROUBLE = {
    "feed-0": ("held_back", "push_dropped", "refused", "connections"),
    "aggregator-0": ("holes", "lost_batches", "bad_batches", "repeated_batches"),
}
HEAD = {name: at for at, name in enumerate(HEAD_FIELDS)}
VENUE = load("binance")


@contextmanager
def running(core: int, *command: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("WICK_")}
    env |= {"PYTHONPATH": str(common.ROOT)}
    process = subprocess.Popen([sys.executable, *command], cwd=common.ROOT, env=env, text=True, **options)
    common.pin_process(process.pid, core)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)


@contextmanager
def venue(seconds: float) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The sender, and its port."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with running(1, str(HERE / "_venue.py"), "--seconds", str(seconds), **pipes) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"], process


def told(sender: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the sender says next: that it begins, or what it has sent."""
    assert sender.stdout is not None
    answer: dict[str, Any] = json.loads(sender.stdout.readline())
    if answer.get("left"):
        raise SystemExit(f"the connection broke: {answer['left']}")
    return answer


class Reader:
    """All that feed and worker publish, kept to be looked at when nothing is measured any more."""

    def __init__(self, data_dir: str) -> None:
        self.sub = bus.subscriber(data_dir, PROCESSES, [b"stats.", b"diffs."])
        self.stats: dict[str, list[dict[str, Any]]] = {name: [] for name in PROCESSES}
        self.messages: list[tuple[int, bytes]] = []  # (shard, Diffs)

    def read(self) -> None:
        bus.drain(self.sub, self._heard, 10_000)

    def _heard(self, frames: list[bytes]) -> None:
        kind, _, which = frames[0].decode().partition(".")
        if kind == "diffs":
            self.messages.append((int(which), frames[1]))
        elif which in self.stats:
            self.stats[which].append(unpack(frames[1]))

    def count(self, process: str, counter: str) -> int:
        stats = self.stats[process]
        return int(stats[-1]["counters"].get(counter, 0)) if stats else 0

    def until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"in {PATIENCE_S:g} s not: {what}")
            self.read()
            time.sleep(0.02)

    def mirrors(self) -> tuple[list[ShardMirror], list[float]]:
        """What the diffs add up to, and the lag (ms) of each message with trades."""
        mirrors, sequences = [ShardMirror() for _ in range(SHARDS)], [0] * SHARDS
        newest: dict[tuple[int, int], int] = {}
        lags = []
        for shard, body in self.messages:
            message = Diffs.unpack(body)
            if message.seq != sequences[shard] + 1:
                raise SystemExit(f"diffs of shard {shard}: {message.seq} follows {sequences[shard]}")
            sequences[shard] = message.seq
            mirror = mirrors[shard]
            changed = {number for number, _ in mirror.apply(message)}
            times = {(shard, number): mirror.groups[number][0][HEAD["last_time_ms"]] for number in changed}
            fresh = [time_ms for key, time_ms in times.items() if time_ms > newest.get(key, 0)]
            newest |= times
            if fresh:
                lags.append(message.publish_ns / MS - max(fresh))
        return mirrors, lags


def totals(head: list[int]) -> list[int]:
    """As the sender tells them: trades, volume, quote volume, taker buy volume, in 1e-8 and 1e-16."""
    prices, quantities = 10 ** (8 - head[HEAD["price_decimals"]]), 10 ** (8 - head[HEAD["quantity_decimals"]])
    return [
        head[HEAD["trade_count"]], head[HEAD["volume"]] * quantities, head[HEAD["quote_volume"]] * quantities * prices,
        head[HEAD["taker_buy_volume"]] * quantities,
    ]  # fmt: skip


def snapshots(data_dir: str) -> list[ShardMirror]:
    """Every shard as the worker says that it is."""
    dealer = bus.dealer(data_dir, 0)
    mirrors = []
    for shard in range(SHARDS):
        dealer.send(Request("snapshot", shard, 0, 0).pack())
        if not dealer.poll(PATIENCE_S * 1000, zmq.POLLIN):
            raise SystemExit("the worker gives no snapshot")
        mirror = ShardMirror()
        mirror.restart(Snapshot.unpack(dealer.recv_multipart()[-1]))
        mirrors.append(mirror)
    dealer.close(linger=0)
    return mirrors


def found(mirrors: list[ShardMirror]) -> dict[str, list[int]]:
    """By the venue's name of each symbol that has traded."""
    return {
        VENUE.native(symbol): totals(mirror.groups[number][0])
        for mirror in mirrors
        for number, (_, symbol) in mirror.names.items()
    }


def wick(seconds: float) -> dict[str, Any]:
    with TemporaryDirectory(prefix="wb-") as folder, venue(seconds) as (port, sender):
        endpoints.run_dir(folder)
        own = {
            "core.data_dir": folder, "core.log_level": "warning", "aggregator.workers": 1, "feed.symbols": "*",
            "feed.channels": "trade", "feed.ws_url": f"ws://127.0.0.1:{port}", "feed.rest_url": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        options = [
            w for name, value in own.items() for w in ("--" + name.replace(".", "-").replace("_", "-"), str(value))
        ]
        reader = Reader(folder)
        with running(1, "services/aggregator.py", *options) as worker:
            reader.until(lambda: reader.stats["aggregator-0"], "the worker is up")
            with running(0, "services/feed.py", *options) as feed:
                began_ns = told(sender)["began"]
                processes = {"feed-0": feed.pid, "aggregator-0": worker.pid}
                cpu = {name: common.cpu_ns(pid) for name, pid in processes.items()}
                while time.time_ns() < began_ns + seconds * SECOND:
                    reader.read()
                    time.sleep(0.02)
                sent = told(sender)
                reader.until(lambda: reader.count("feed-0", "trades") >= sent["sent"], "the feed has read all")
                reader.until(lambda: reader.count("aggregator-0", "ticks") >= sent["sent"], "the worker has taken all")
                cpu = {name: common.cpu_ns(pid) - cpu[name] for name, pid in processes.items()}
                asked = found(snapshots(folder))
                reader.until(lambda: int(reader.sub.getsockopt(zmq.EVENTS)) & zmq.POLLIN == 0, "all diffs are read")
                reader.read()
        mirrors, lags = reader.mirrors()
        for what, have in (("the snapshot", asked), ("the sum of the diffs", found(mirrors))):
            if have != sent["totals"]:
                wrong = [name for name in sent["totals"] if have.get(name) != sent["totals"][name]]
                raise SystemExit(f"{what} is not what was sent for {len(wrong)} symbols: {wrong[:5]}")
    lags.sort()
    some = reader.stats["aggregator-0"]
    return {
        "sent": sent["sent"], "sender_us": sent["cpu_s"] * 1e6 / sent["sent"],
        "feed": rates(reader, "feed-0", "trades", began_ns, seconds) | {"cpu_us": cpu["feed-0"] / 1e3 / sent["sent"]},
        "worker": rates(reader, "aggregator-0", "ticks", began_ns, seconds)
        | {"cpu_us": cpu["aggregator-0"] / 1e3 / sent["sent"]},
        "all_per_s": sent["sent"] * SECOND / (some[-1]["time_ns"] - began_ns),
        "lag_ms": {"median": median(lags), "p99": lags[len(lags) * 99 // 100], "most": lags[-1]},
        "worker_lag_ms": max(one["gauges"]["lag_ms"] for one in some),
        "diffs_messages": len(reader.messages),
        "diffs_kb_per_s": sum(len(body) for _, body in reader.messages) / 1e3 / sent["seconds"],
        "trouble": {
            process: {name: reader.count(process, name) for name in names} for process, names in TROUBLE.items()
        },
    }  # fmt: skip


def rates(reader: Reader, process: str, counter: str, began_ns: int, seconds: float) -> dict[str, float]:
    """Trades a second by the process's own stats, without the start; all zero where it told none while it ran."""
    from_ns, to_ns = began_ns + WARM_S * SECOND, began_ns + seconds * SECOND
    some = [one for one in reader.stats[process] if from_ns <= one["time_ns"] <= to_ns]
    points = [(one["time_ns"], one["counters"].get(counter, 0)) for one in some]
    each = [(b - a) * SECOND / (u - t) for (t, a), (u, b) in pairwise(points)]
    span_ns = points[-1][0] - points[0][0] if each else 0
    per_s = (points[-1][1] - points[0][1]) * SECOND / span_ns if each else 0.0
    return {"per_s": per_s, "slowest_s": min(each, default=0.0), "seconds": span_ns / SECOND}


def naive(seconds: float) -> dict[str, float]:
    with (
        venue(seconds) as (port, sender),
        running(0, __file__, "--naive", str(port), stdout=subprocess.PIPE) as process,
    ):
        told(sender)
        sent = told(sender)
        assert sender.stdin is not None and process.stdout is not None
        sender.stdin.close()
        answer: dict[str, float] = json.loads(process.stdout.readline())
    if answer["trades"] != sent["sent"]:
        raise SystemExit(f"{sent['sent']} trades were sent, the naive process has {answer['trades']}")
    return answer


def naive_process(port: int) -> None:
    """What one writes first."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    engine = Engine()
    streams = [f"{name.lower()}@trade" for name in natives(300)]
    count = 0
    with connect(f"ws://127.0.0.1:{port}/stream", compression=None, max_size=None) as socket:
        socket.send(json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1}))
        socket.recv()
        began, cpu = time.perf_counter(), time.process_time()
        try:
            while True:
                data = json.loads(socket.recv())["data"]
                engine.take([(data["s"], data["T"], float(data["p"]), float(data["q"]), not data["m"])])
                count += 1
        except ConnectionClosed:
            pass
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"trades": count, "per_s": count / took, "cpu_us": cpu / count * 1e6}), flush=True)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--naive", type=int, help="(the baseline's process: the port)")
    args = parser.parse_args()
    if args.naive:
        naive_process(args.naive)
        return
    common.pin(1)
    baseline = naive(2.0 if args.quick else 6.0)
    seconds = 6.0 if args.quick else args.seconds
    figures = wick(seconds)
    worker, lag = figures["worker"], figures["lag_ms"]
    print(f"{figures['sent']:,} trades of 300 symbols in {seconds:g} s; every one arrived, once")
    common.table(
        ["", "trades/s", "slowest second", "us of processor a trade"],
        [
            *[
                (name, f"{one['per_s']:,.0f}", f"{one['slowest_s']:,.0f}", f"{one['cpu_us']:.2f}")
                for name, one in ((name, figures[name]) for name in ("feed", "worker"))
            ],
            ("sender", f"{figures['all_per_s']:,.0f}", "", f"{figures['sender_us']:.2f}"),
            ("naive, one process", f"{baseline['per_s']:,.0f}", "", f"{baseline['cpu_us']:.2f}"),
        ],
    )
    print(f"trade to published diff, ms: median {lag['median']:.0f}, p99 {lag['p99']:.0f}, most {lag['most']:.0f}")
    print(f"feed to worker, ms: most {figures['worker_lag_ms']}")
    print(f"trouble: {figures['trouble']}")
    common.finish(
        "pipeline",
        args,
        {**figures, "naive": baseline},
        [
            common.Target("trades a second, sustained", worker["per_s"], TARGET_RATE, True),
            common.Target("seconds of it", worker["seconds"], TARGET_S, True),
        ],
    )


if __name__ == "__main__":
    main()
