#!/usr/bin/env python3
"""How many trades a second a feed process takes: socket, WebSocket, records, tick log, PUSH; all on one core.

    .venv/bin/python scripts/bench/feed_socket.py [--seconds 10] [--rate N]

A sender process writes ready-made WebSocket frames (the generated stream of feed_parse, 300 symbols) as fast as they
are read, or `--rate` a second; a reader takes the messages for one worker, counts and discards. Both run on the second
core, the feed alone on the first. Prints what arrived, and the feed's processor time a trade; appends to
scripts/bench/results.jsonl.
"""

import argparse
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha1
from pathlib import Path
from tempfile import TemporaryDirectory

import zmq
from candles_offline import RESULTS, ROOT, git, machine
from feed_parse import generated

from wick.net import bus, endpoints
from wick.wire.codec import unpack
from wick.wire.messages import TickHeader

FEED_CORE, OTHER_CORE = 0, 1
TARGET = 222_000  # trades a second: 4.5 us each
MESSAGES = 100_000  # sent again and again
CHUNK = 500  # messages a write
WARM_UP_S = 2.0


def serve(listening: socket.socket, rate: int) -> None:
    """As much of an exchange as a feed needs: the list of symbols, the handshake, then the flood."""
    messages = generated(MESSAGES)
    names = sorted({json.loads(raw)["data"]["s"] for raw in messages})
    listed = json.dumps({"symbols": [{"symbol": name, "status": "TRADING"} for name in names]}).encode()
    frames = [b"\x81\x7e" + len(raw).to_bytes(2, "big") + raw for raw in messages]
    chunks = [b"".join(frames[at : at + CHUNK]) for at in range(0, MESSAGES, CHUNK)]
    while True:
        connection, _ = listening.accept()
        request = connection.recv(65_536)
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        if key is None:
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(listed) + listed)
            connection.close()
            continue
        accept = b64encode(sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        began, sent = time.monotonic(), 0
        try:
            while True:
                for chunk in chunks:
                    connection.sendall(chunk)
                    sent += CHUNK
                    if rate and (ahead := began + sent / rate - time.monotonic()) > 0:
                        time.sleep(ahead)
        except OSError:
            return


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=0, help="trades a second; as fast as they are read if not given")
    args = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    multiprocessing.get_context("fork").Process(target=serve, args=(listening, args.rate), daemon=True).start()

    with TemporaryDirectory(prefix="wick-") as data_dir:
        endpoints.run_dir(data_dir)
        pull = bus.pull(data_dir, 0, 200)
        stats = bus.subscriber(data_dir, ["feed-0"], [b"stats."])
        env = os.environ | {
            "PYTHONPATH": str(ROOT), "WICK_CORE_DATA_DIR": data_dir, "WICK_AGGREGATOR_WORKERS": "1",
            "WICK_FEED_SYMBOLS": "*", "WICK_FEED_CHANNELS": "trade", "WICK_FEED_WS_URL": f"ws://127.0.0.1:{port}",
            "WICK_FEED_REST_URL": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        feed = subprocess.Popen(
            ["taskset", "-c", str(FEED_CORE), sys.executable, "services/feed.py"],
            cwd=ROOT, env=env, stderr=subprocess.PIPE,
        )  # fmt: skip
        trades = messages = 0
        began = cpu = warm = 0.0
        counters: dict[str, int] = {}
        try:
            while not began or time.monotonic() - began < args.seconds:
                if not pull.poll(10_000):
                    raise SystemExit(f"nothing came from the feed (exit code {feed.poll()})")
                header, _ = pull.recv_multipart()
                count = TickHeader.unpack(header).total
                if began:
                    trades, messages = trades + count, messages + 1
                elif count and not warm:
                    warm = time.monotonic() + WARM_UP_S
                elif warm and time.monotonic() > warm:
                    began, cpu = time.monotonic(), cpu_s(feed.pid)
            took, cpu = time.monotonic() - began, cpu_s(feed.pid) - cpu
            while stats.poll(0):
                counters = unpack(stats.recv_multipart()[1])["counters"]
        finally:
            feed.send_signal(signal.SIGKILL)
            feed.wait()
            pull.close(linger=0)
            stats.close(linger=0)
            zmq.Context.instance().term()

    rate, each = trades / took, cpu / trades * 1e6
    bad = {name: counters[name] for name in ("refused", "push_dropped", "held_back") if name in counters}
    print(f"{rate:,.0f} trades/s for {took:.1f} s in {messages / took:.0f} messages/s, {cpu / took:.0%} of its core")
    print(f"{each:.2f} us of processor a trade: {1e6 / each:,.0f} trades/s a core; {bad or 'nothing refused or held'}")
    print(f"target {TARGET:,} trades/s: {'met' if rate >= TARGET else 'MISSED'}")
    record = {
        "bench": "feed_socket",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else ""),
        "machine": machine(),
        "asked_rate": args.rate,
        "trades_per_s": round(rate),
        "cpu_us_a_trade": round(each, 3),
        "messages_per_s": round(messages / took),
        "counters": counters,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
