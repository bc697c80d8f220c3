"""Real processes, real sockets: from the exchange's WebSocket to the store and to a client, digit for digit."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.browser.system import ROOT, RunningWick, running
from tests.ports import free_port
from tests.system.session_client import INTERVALS, SessionClient
from wick.errors import StoreError
from wick.market.intervals import NAMES, by_name
from wick.market.schema import CANDLE_FIELDS, Flag
from wick.market.stored import rounded
from wick.storage.store import open_store
from wick.stream.shards import shard_of, worker_of

pytestmark = pytest.mark.slow

RECORDINGS = ROOT.parent / "shared" / "data" / "binance-spot"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data, the recordings, is not here")
F = {name: index for index, name in enumerate(CANDLE_FIELDS)}
PAIRS = ("BTC-USDT", "ETH-USDT")
OHLC, SUMS = slice(F["open"], F["close"] + 1), slice(F["volume"], F["taker_buy_quote_volume"] + 1)


def wait_until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return value


def stored(wick: RunningWick, symbol: str, interval: str) -> dict[int, list[Any]]:
    """The store's candles by open time; none where the sink has not made it yet."""
    try:
        store = open_store(f"sqlite:{wick.data_dir / 'candles.sqlite'}", read_only=True)
    except StoreError:
        return {}
    rows = store.candles("binance", symbol, interval, 100_000)
    store.close()
    return {row[0]: row for row in rows}


def as_stored(interval: str, row: list[Any]) -> list[Any]:
    """What a store gives back for a row that was published."""
    return rounded(NAMES.index(interval), row)


def recorded_trades(native: str) -> list[dict[str, Any]]:
    """The trades of the recordings, straight from the JSON."""
    import gzip

    trades = []
    for file in sorted(RECORDINGS.glob(f"spot_{native.lower()}_*.gz")):
        with gzip.open(file) as lines:
            for line in lines:
                data = json.loads(line.partition(b" ")[2]).get("data", {})
                if data.get("e") == "trade":
                    trades.append(data)
    return trades


def expected(trades: list[dict[str, Any]], interval: str) -> dict[int, list[Decimal]]:
    """open, high, low, close, volume, quote volume, count, taker buy volume and quote volume, by open time."""
    rows: dict[int, list[Decimal]] = {}
    for one in sorted(trades, key=lambda t: t["t"]):
        price, quantity, buy = Decimal(one["p"]), Decimal(one["q"]), not one["m"]
        open_ms = by_name(interval).open_ms(one["T"])
        row = rows.setdefault(open_ms, [price, price, price, price, *[Decimal(0)] * 5])
        row[1], row[2], row[3] = max(row[1], price), min(row[2], price), price
        for index, amount in ((4, quantity), (5, price * quantity), (6, Decimal(1))):
            row[index] += amount
        for index, amount in ((7, quantity), (8, price * quantity)):
            row[index] += amount if buy else 0
    return rows


def decimals(row: list[Any]) -> list[Decimal]:
    """A row's numbers in the order of `expected`."""
    p, q = row[F["price_decimals"]], row[F["quantity_decimals"]]
    scales = [p, p, p, p, q, p + q, 0, q, p + q]
    return [Decimal(value).scaleb(-scale) for value, scale in zip([*row[OHLC], *row[SUMS]], scales, strict=True)]


def live_decimals(client: SessionClient, topic: str) -> list[Decimal]:
    _, *values = client.live(topic)
    p, q = client.states[topic][0][12:14]
    scales = [p, p, p, p, q, p + q, 0, q, p + q]
    return [Decimal(value).scaleb(-scale) for value, scale in zip(values, scales, strict=True)]


@needs_recordings
def test_recordings_come_out_of_the_whole_system_to_the_last_digit_in_the_store_and_at_the_client() -> None:
    files = ",".join(str(file) for file in sorted(RECORDINGS.glob("*.gz")))
    topics = [f"candles:binance:{pair}:{interval}" for pair in PAIRS for interval in INTERVALS]
    with running(EXCHANGE_FILES=files, EXCHANGE_SPEED="60", FEED_SYMBOLS="BTCUSDT,ETHUSDT") as wick:
        wick.start("sink")
        wick.start("front")
        for index in range(2):
            wick.start("aggregator", index, 2)
        # The client listens before the first trade: what it holds, it has from snapshots, diffs and closes alone.
        wait_until(lambda: wick.get("/healthz"))
        wait_until(lambda: wick.get("/healthz")["shards_waiting"] == 0)
        client = SessionClient(wick.port, topics)
        wick.start("exchange")
        wick.start("feed")
        trades = {pair: recorded_trades(pair.replace("-", "")) for pair in PAIRS}
        whole = {pair: expected(trades[pair], "15s") for pair in PAIRS}
        client.follow(lambda c: all(c.trades(topic) == len(trades[topic.split(":")[2]]) for topic in topics), 120)
        # All 15 s candles but the live one close by the clock, which runs on in real time now.
        client.follow(
            lambda c: all(len(c.closed[f"candles:binance:{pair}:15s"]) >= len(whole[pair]) - 1 for pair in PAIRS), 90
        )
        wait_until(lambda: all(len(stored(wick, pair, "15s")) >= len(whole[pair]) - 1 for pair in PAIRS))
        kept = {(pair, interval): stored(wick, pair, interval) for pair in PAIRS for interval in INTERVALS}
        # The sink may have been quicker than the client.
        client.follow(
            lambda c: all(rows.keys() <= c.closed[f"candles:binance:{p}:{i}"].keys() for (p, i), rows in kept.items())
        )
        for pair in PAIRS:
            for interval in INTERVALS:
                topic = f"candles:binance:{pair}:{interval}"
                right = expected(trades[pair], interval)
                rows = kept[pair, interval]
                told = {key: as_stored(interval, row) for key, row in client.closed[topic].items() if key in rows}
                assert rows == told, topic
                traded = {key: row for key, row in rows.items() if not row[F["flags"]] & Flag.EMPTY}
                assert {key: decimals(row) for key, row in traded.items()} == {key: right[key] for key in traded}, topic
                live_open = client.live(topic)[0]
                assert set(right) - set(traded) <= {live_open}, f"{topic}: only the live candle is not stored yet"
                if live_open in right:
                    assert live_decimals(client, topic) == right[live_open], topic
        assert client.errors == []
        assert sum(len(stored(wick, pair, "15s")) for pair in PAIRS) >= 80
        client.close()


def _cli(wick: RunningWick, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from wick.cli import main; sys.exit(main())", *words]
    env = dict(os.environ) | {k: v for k, v in wick.env.items() if k.startswith("WICK_")}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def fault(wick: RunningWick, name: str, **params: Any) -> None:
    port = wick.env["WICK_EXCHANGE_PORT"]
    body = json.dumps({"fault": name, **params}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/_faults", body, method="POST")
    urllib.request.urlopen(request, timeout=30).close()


def true_trades(wick: RunningWick, native: str) -> list[dict[str, Any]]:
    """What the exchange has traded, in the shape of a stream's trades. Not over REST: that is the feed's to use up."""
    url = f"http://127.0.0.1:{wick.env['WICK_EXCHANGE_PORT']}/_truth?symbol={native}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        rows = json.load(answer)["trades"]
    return [{"t": n, "p": p, "q": q, "T": ms, "m": taker == "sell"} for n, p, q, taker, ms in rows]


def duplicated_reordered_and_corrupt_frames() -> None:
    with running(EXCHANGE_SYMBOLS=20, EXCHANGE_RATE=100, AGGREGATOR_GRACE_MS=3000) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        fault(wick, "duplicate", frames=100_000, channel="trade")
        fault(wick, "reorder", window_ms=1000, seconds=3600.0, channel="trade")
        fault(wick, "corrupt", frames=60, channel="quote")
        topic = "candles:binance:BTC-USDT:15s"
        client = SessionClient(wick.port, [topic], form="json")
        whole = Flag.CLOSED  # neither partial nor suspect, nor corrected

        good: list[list[Any]] = []

        def none_is_good() -> list[Any]:
            right, rows = expected(true_trades(wick, "BTCUSDT"), "15s"), list(client.closed[topic].values())
            good[:] = [row for row in rows if row[F["flags"]] == whole and decimals(row) == right[row[0]]]
            return [] if good else ["none is good", rows, right]

        assert left(client, none_is_good) == []
        row = good[0]
        assert wait_until(lambda: stored(wick, "BTC-USDT", "15s").get(row[0])) == as_stored("15s", row)
        feed_log = wick.log_whole("feed-0")
        assert "is left out: " in feed_log and "frame " in feed_log
        client.close()


def metrics_of_closed_and_live_candles() -> None:
    candles, metrics = "candles:binance:BTC-USDT:15s", "metrics:binance:BTC-USDT:15s"
    with running(EXCHANGE_SYMBOLS=3, EXCHANGE_RATE=100, AGGREGATOR_LIVE_HZ=4) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        client, as_json = (
            SessionClient(wick.port, [candles, metrics]),
            SessionClient(wick.port, [candles, metrics], "json"),
        )
        for one in (client, as_json):
            one.follow(lambda own: len(own.told_live[metrics]) >= 5)
            for row in one.told_live[metrics]:
                assert len(row) == len(CANDLE_FIELDS) and not row[F["flags"]] & Flag.CLOSED
                assert row[F["body_ratio"]] is not None and row[F["delta_max"]] is not None
            one.follow(lambda own: len(own.closed[candles]) >= 2, 90)
        newest = max(client.closed[candles])
        row = client.closed[candles][newest]
        assert row[F["log_return"]] is not None and row[F["rsi_14"]] is None, "two candles are enough for one of them"
        assert len(row[F["patterns"]]) == 61 and row[F["quoted_spread_bps"]] > 0
        assert list(row[F["patterns"]]) == [value % 256 for value in as_json.closed[candles][newest][F["patterns"]]]
        # It may be corrected meanwhile.
        client.follow(
            lambda own: stored(wick, "BTC-USDT", "15s").get(newest) == as_stored("15s", own.closed[candles][newest])
        )
        tapped = _cli(wick, "tap", "live.*.15s", "--json", "--count", "2")
        assert tapped.returncode == 0 and "body_ratio" in tapped.stdout


VICTIMS = ("feed-0", "aggregator-0", "aggregator-1", "front-0", "sink-0")


@pytest.fixture(scope="module")
def lives() -> Iterator[dict[str, Future[None]]]:
    """All at once, each in a system of its own: they wait for candles to close most of the time."""
    others = {
        one.__name__: one for one in (duplicated_reordered_and_corrupt_frames, metrics_of_closed_and_live_candles)
    }
    with ThreadPoolExecutor(len(VICTIMS) + len(others)) as pool:
        yield {victim: pool.submit(kill_and_go_on, victim) for victim in VICTIMS} | {
            name: pool.submit(one) for name, one in others.items()
        }


@pytest.mark.parametrize("victim", VICTIMS)
def test_after_kill_9_of_one_process_the_others_go_on_and_the_chart_too(
    lives: dict[str, Future[None]], victim: str
) -> None:
    lives[victim].result()


def test_duplicated_reordered_and_corrupt_frames_leave_the_candles_right(lives: dict[str, Future[None]]) -> None:
    lives["duplicated_reordered_and_corrupt_frames"].result()


def test_metrics_reach_clients_and_the_store_and_those_of_the_live_candle_who_asks_for_them(
    lives: dict[str, Future[None]],
) -> None:
    lives["metrics_of_closed_and_live_candles"].result()


def left(client: SessionClient, faults: Callable[[], list[Any]], timeout_s: float = 90.0) -> list[Any]:
    """Take messages until there are no faults (it looks twice a second), or for so long; those that are left."""
    deadline = time.monotonic() + timeout_s
    while (found := faults()) and time.monotonic() < deadline:
        moment = time.monotonic() + 0.5
        client.follow_through_restarts(lambda _, moment=moment: time.monotonic() > moment)
    return found


def wrong(wick: RunningWick, client: SessionClient, topic: str, keys: list[int], early: set[int]) -> list[Any]:
    """What is not, or not yet, as it has to be of these candles: stored as told, and made of the exchange's own trades.

    What comes late, or is backfilled, corrects them. Of `early` ones only the first may be partial, and the client may
    know less: the store keeps the row that knows more.
    """
    symbol = topic.split(":")[2]
    rows, right = stored(wick, symbol, "15s"), expected(true_trades(wick, symbol.replace("-", "")), "15s")
    faults: list[Any] = [(key, "is not stored") for key in keys if key not in rows]
    for key in set(keys) & rows.keys():
        row, flags, told = rows[key], rows[key][F["flags"]], as_stored("15s", client.closed[topic][key])
        if key in early:
            told = [there if here is None else here for here, there in zip(told, row, strict=True)]
        faults += [(key, *one) for one in zip(CANDLE_FIELDS, row, told, strict=True) if one[1] != one[2]]
        if flags & Flag.SUSPECT or (flags & Flag.PARTIAL and key != min(keys)):
            faults.append((key, flags))
        if not flags & (Flag.PARTIAL | Flag.EMPTY) and min(right) < key and decimals(row) != right[key]:
            faults.append((key, decimals(row), right[key]))
    return faults


def kill_and_go_on(victim: str) -> None:
    role, index = victim.split("-")
    with running(EXCHANGE_SYMBOLS=30, EXCHANGE_RATE=200) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        # Both workers have one of these.
        topics = ["candles:binance:BTC-USDT:15s", "candles:binance:BNB-USDT:15s"]
        owners = {worker_of(shard_of("binance", topic.split(":")[2]), 2) for topic in topics}
        assert owners == {0, 1}
        client = SessionClient(wick.port, topics)
        client.follow_through_restarts(lambda c: all(c.closed[topic] for topic in topics), 90)
        before = {topic: max(client.closed[topic]) for topic in topics}
        epochs = set(client.epochs)

        wick.kill(victim)
        others = {name: process.poll() for name, process in wick.processes.items()}
        assert set(others.values()) == {None}
        wick.start(role, int(index), 2 if role == "aggregator" else 1)
        wick.wait_until_it_runs()
        if role == "aggregator":
            client.follow_through_restarts(lambda c: c.epochs - epochs)  # a new worker sends a snapshot
        runs_ms = time.time_ns() // 10**6

        # The same client sees two more candles close, of every pair.
        client.follow_through_restarts(
            lambda c: all(sum(key > before[topic] for key in c.closed[topic]) >= 2 for topic in topics), 120
        )
        for topic in topics:
            keys = [key for key in client.closed[topic] if key >= before[topic]]
            assert sorted(keys) == list(range(min(keys), max(keys) + 1, 15_000)), "no candle is missing"
            # What closed before the front heard the new worker, or the new front any, came with the state.
            early = {key for key in keys if key == before[topic] or key + 15_000 < runs_ms}
            assert left(client, partial(wrong, wick, client, topic, keys, early)) == []
        assert all(process.poll() is None for process in wick.processes.values())
        client.close()


FAULTS = [
    ("cut", {"reset": True}, "disconnected"),
    ("close", {"code": 1001}, "1001"),
    ("silence", {"seconds": 30.0}, "no data for 2 s"),
    ("refuse", {"seconds": 2.0}, "cannot connect"),
    ("shutdown", {"after_s": 0.5}, "is about to close"),  # the close that follows it may hit the next connection too
]


def test_the_feed_comes_back_after_a_cut_a_close_a_shutdown_notice_silence_and_refusals() -> None:
    with running(EXCHANGE_SYMBOLS=10, EXCHANGE_RATE=100, FEED_SILENCE_S=2) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        topic = "ticker:binance:BTC-USDT"
        client = SessionClient(wick.port, [topic])
        client.follow(lambda c: c.trades(topic) > 0)
        for name, params, said in FAULTS:
            begun = len(wick.log_whole("feed-0"))
            fault(wick, name, **params)
            if name == "refuse":
                fault(wick, "cut")

            def has_come_back(begun: int = begun, said: str = said) -> bool:
                """Again connected, after the words that tell why."""
                return "connected url=" in wick.log_whole("feed-0")[begun:].partition(said)[2]

            wait_until(has_come_back, 60)
            before = client.trades(topic)
            client.follow(lambda c, b=before: c.trades(topic) > b)
        assert client.errors == []
        client.close()


def test_processes_stop_at_sigterm_with_exit_code_0_and_leave_nothing_behind() -> None:
    with running(EXCHANGE_SYMBOLS=10, EXCHANGE_RATE=50) as wick:
        wick.start_all()
        wick.wait_until_it_runs()
        processes = dict(wick.processes)
        for process in processes.values():
            process.terminate()
        assert {name: process.wait(15) for name, process in processes.items()} == dict.fromkeys(processes, 0)


def test_a_second_worker_of_the_same_index_is_told_that_one_runs_already(tmp_path: Path) -> None:
    with running(EXCHANGE_SYMBOLS=10) as wick:
        wick.start("sink")
        wait_until(lambda: (wick.data_dir / "run" / "sink-0.lock").exists() and "started" in wick.log("sink-0"))
        second = subprocess.run(
            [sys.executable, "services/sink.py"], cwd=ROOT, env=wick.env, capture_output=True, text=True, timeout=60
        )
        assert second.returncode == 3
        assert "sink-0 runs already" in second.stderr


def test_a_port_in_use_is_named_with_the_setting_that_mends_it() -> None:
    import socket

    with running(FRONT_PORT=free_port()) as wick, socket.socket() as taken:
        taken.bind(("127.0.0.1", int(wick.env["WICK_FRONT_PORT"])))
        taken.listen()
        front = subprocess.run(
            [sys.executable, "services/front.py"], cwd=ROOT, env=wick.env, capture_output=True, text=True, timeout=60
        )
        assert front.returncode in (2, 3)
        assert "front.port" in front.stderr and "--front-port" in front.stderr


def test_status_and_tap_see_the_running_system() -> None:
    with running(EXCHANGE_SYMBOLS=10, EXCHANGE_RATE=100) as wick:
        wick.start_all()
        wick.wait_until_it_runs()

        status = wait_until(lambda: (answer := _cli(wick, "status")).returncode == 0 and answer)
        for name in ("feed-0", "aggregator-0", "aggregator-1", "front-0", "sink-0"):
            assert name in status.stdout
        globs = ("trades.binance.BTC-USDT", "quotes.*", "diffs.binance.*", "closes.*.15s", "stats.feed-0")
        with ThreadPoolExecutor(len(globs)) as pool:
            for tapped in pool.map(lambda glob: _cli(wick, "tap", glob, "--json", "--count", "2"), globs):
                lines = [json.loads(line) for line in tapped.stdout.splitlines()]
                assert len(lines) == 2 and tapped.returncode == 0, tapped
        wick.kill("sink-0")
        down = _cli(wick, "status")
        assert down.returncode == 1 and "sink-0" in down.stdout and "down" in down.stdout
