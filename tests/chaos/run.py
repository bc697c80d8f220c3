"""A chaos run from the first trade to the verdict: kills, the drain, the comparison."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos.herd import PATIENCE_S, START_S, Herd, Killer, Server
from tests.chaos.truth import PLACE, VENUE, Begin, Key, Rows, Truth, begins, candles, differing
from wick import exchanges
from wick.client import connect
from wick.market.intervals import INTERVALS, NAMES
from wick.market.numbers import parse_decimal
from wick.market.records import RECORD
from wick.market.schema import PARTIAL, SUSPECT
from wick.market.stored import rounded
from wick.market.trades import TRADE
from wick.ops.settings import Settings, load
from wick.storage import ticklog
from wick.storage.store import open_store, url_of
from wick.stream.shard import CandleRules
from wick.stream.shards import SHARDS

SHORTEST_MS = 15_000
LOOK_S, SAY_S = 2.0, 20.0
DRAIN_S = 240.0  # a venue's REST limits may make a backfill of several feeds' deaths wait
TOPICS = ("candles:binance:*:15s", "candles:binance:*:1m", "ticker:binance:*")
ALL = 1_000_000
Say = Callable[[str], object]


class Client(threading.Thread):
    """A program on wick.client, through all restarts."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.session = connect(url, TOPICS, keep_candles=10_000)
        self.gaps: Counter[str] = Counter()
        self.failure = ""
        self._stopping = threading.Event()
        self.lock = threading.Lock()

    def run(self) -> None:
        try:
            while not self._stopping.wait(0.001):  # outside the lock: who waits for it gets it
                with self.lock:
                    event = self.session.receive(0.1)
                if event is not None and type(event).__name__ == "Gap":
                    self.gaps[event.topic] += 1
        except Exception as error:  # whatever it is: a thread that has ended says nothing
            self.failure = repr(error)

    def states(self) -> dict[str, tuple[Any, Any, dict[int, list[Any]]]]:
        """Of each topic: position, state, closed rows."""
        with self.lock:
            return {
                topic: (held.position, [list(group) for group in held.groups], dict(held.rows))
                for topic, held in self.session.topics.items()
            }

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)
        self.session.close()


@dataclass
class Verdict:
    """What came of a run; `faults` are what must not be."""

    kills: dict[str, int]
    seconds: float
    candles: int = 0
    intervals: dict[str, int] = field(default_factory=dict)
    trades: int = 0
    ticks_s: float = 0.0
    log_lost_ms: list[tuple[int, int]] = field(default_factory=list)  # by each power cut; and how long the disk took
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def count(self, right: Rows) -> None:
        self.candles = len(right)
        self.intervals = {name: sum(key[1] == name for key in right) for name in NAMES}
        self.trades = sum(row[PLACE["trade_count"]] for (_, name, _), row in right.items() if name == NAMES[0])
        self.figures["partial candles"] = sum(bool(row[PLACE["flags"]] & PARTIAL) for row in right.values())

    def __str__(self) -> str:
        total = sum(self.kills.values())
        lines = [
            f"{total} kills ({', '.join(f'{name} {count}' for name, count in sorted(self.kills.items()))}) "
            f"in {self.seconds:.0f} s",
            f"{self.trades:,} trades, {self.ticks_s:,.0f} ticks a second (trades and quotes)",
            f"{self.candles:,} candles compared: {', '.join(f'{n} {c}' for n, c in self.intervals.items())}",
            *[f"{name}: {value}" for name, value in self.figures.items()],
        ]
        lines += [f"FAULT: {fault}" for fault in self.faults] or ["nothing lost, nothing doubled, all bits right"]
        return "\n".join(lines)


def read_store(settings: Settings) -> Rows:
    """Everything in the store; it says so itself where a candle is there twice."""
    store = open_store(url_of(settings), read_only=True)
    rows: Rows = {}
    try:
        for venue, symbol in store.symbols():
            assert venue == VENUE
            for interval in NAMES:
                for row in store.candles(venue, symbol, interval, ALL, oldest=True):  # no clock is asked
                    key = symbol, interval, row[0]
                    assert key not in rows, f"{key} is there twice"
                    rows[key] = row
    finally:
        store.close()
    return rows


def rules_of(settings: Settings) -> CandleRules:
    venue = exchanges.load(VENUE)
    return CandleRules(
        settings["aggregator.grace_ms"], settings["aggregator.history"], venue.empty,
        parse_decimal(settings["aggregator.large_notional"]), venue.contiguous_ids,
    )  # fmt: skip


def settings_of(herd: Herd) -> Settings:
    return load(env={name: value for name, value in herd.env.items() if name.startswith("WICK_")})


def expected_keys(heard: dict[str, Begin], until_ms: int) -> set[Key]:
    """Every candle that closes by then: none may be missing, traded in or not."""
    keys = set()
    for symbol, begin in heard.items():
        for interval in INTERVALS:
            open_ms = interval.open_ms(begin.since_ms)
            while interval.close_ms(open_ms) <= until_ms:
                keys.add((symbol, interval.name, open_ms))
                open_ms = interval.close_ms(open_ms)
    return keys


def drained(herd: Herd, settings: Settings, until_ms: int, timeout_s: float, say: Say) -> tuple[Rows, list[str]]:
    """The store when it has all candles that close by `until_ms` and none of them is suspect; and what is missing."""
    deadline = time.monotonic() + timeout_s
    rows: Rows = {}
    wrong, said = ["nothing is stored"], 0.0
    while time.monotonic() < deadline:
        next_look = time.monotonic() + LOOK_S
        while time.monotonic() < next_look:
            herd.keep()
            time.sleep(0.05)
        rows = {key: row for key, row in read_store(settings).items() if row[PLACE["close_time_ms"]] <= until_ms}
        missing = expected_keys(begins(rows), until_ms) - rows.keys()
        suspect = [key for key, row in rows.items() if row[PLACE["flags"]] & SUSPECT]
        symbols = {symbol for symbol, _, _ in rows}
        wrong = [f"{len(missing)} candles are missing, as {sorted(missing)[:3]}"] if missing else []
        wrong += [f"{len(suspect)} candles are suspect, as {sorted(suspect)[:3]}"] if suspect else []
        wrong += [f"{len(symbols)} pairs of {herd.symbols} are stored"] if len(symbols) < herd.symbols else []
        if not wrong:
            break
        if time.monotonic() > said + SAY_S:
            said = time.monotonic()
            say(f"not drained yet: {wrong}")
    return rows, wrong


def compared(rows: Rows, right: Rows) -> list[str]:
    """What differs from the truth, as a store keeps it."""
    faults = []
    if missing := right.keys() - rows.keys():
        faults.append(f"{len(missing)} of {len(right)} candles are missing, as {sorted(missing)[:3]}")
    if more := rows.keys() - right.keys():
        faults.append(f"{len(more)} candles should not be there, as {sorted(more)[:3]}")
    fields: Counter[str] = Counter()
    bad: dict[Key, list[str]] = {}
    for key in rows.keys() & right.keys():
        true = rounded(NAMES.index(key[1]), right[key])
        if names := differing(rows[key], true):
            bad[key] = names
            fields.update(names)
    if bad:
        key = min(bad, key=lambda one: (one[2], one))
        values = {name: (rows[key][PLACE[name]], right[key][PLACE[name]]) for name in bad[key][:6]}
        faults.append(
            f"{len(bad)} of {len(right)} candles differ, in {dict(fields.most_common(12))}; "
            f"the first is {key}: {values} (stored, true), flags {rows[key][PLACE['flags']]}"
        )
    return faults


def clients_right(herd: Herd, old: Client, stored: Rows) -> list[str]:
    """A client that lived through it all holds what a new one is told; its closed candles are those of the store."""
    if old.failure:
        return [f"a client ended: {old.failure}"]
    fresh = Client(f"http://127.0.0.1:{herd.port}")
    fresh.start()
    faults: list[str] = []
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            herd.keep()
            time.sleep(0.2)
            here, there = old.states(), fresh.states()
            faults = _states_differ(herd, here, there)
            if not faults or time.monotonic() > deadline:
                break
    finally:
        fresh.stop()
    wrong = []
    for topic, (_, _, rows) in old.states().items():
        _, _, symbol, interval = topic.split(":") if topic.startswith("candles") else ("", "", "", "")
        for open_ms, row in rows.items():
            true = stored.get((symbol, interval, open_ms))
            if (
                true
                and row[PLACE["flags"]] & 1
                and row[PLACE["open"] : PLACE["delta"]] != true[PLACE["open"] : PLACE["delta"]]
            ):
                wrong.append((topic, open_ms))
    unsaid = [one for one in wrong if not old.gaps[one[0]]]
    if unsaid:
        faults.append(f"{len(unsaid)} closed candles of a client are not those of the store, as {unsaid[:3]}")
    return faults


def _states_differ(herd: Herd, here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    wanted = 3 * herd.symbols
    if len(there) < wanted or len(here) < wanted:
        return [f"clients hold {len(here)} and {len(there)} topics of {wanted}"]
    # The same epoch and the same state; a sequence moves on without a word where nothing of the topic has changed.
    wrong = [
        topic
        for topic, (position, state, _) in there.items()
        if not position or not here[topic][0] or (here[topic][0][0], here[topic][1]) != (position[0], state)
    ]
    if not wrong:
        return []
    topic = wrong[0]
    return [f"{len(wrong)} topics of a client are not as a new one's, as {topic}: {here[topic][:2]} {there[topic][:2]}"]


def lived_through(
    folder: Path, trouble: Callable[[Herd], None], *, seed: int = 1, symbols: int = 8, rate: float = 300.0,
    turn_s: float = 25.0, drain_s: float = DRAIN_S, say: Say = lambda _text: None,
    servers: Mapping[str, Server] | None = None, data_dir: Path | None = None, **settings: object,
) -> Verdict:  # fmt: skip
    """Start everything, let the trouble come, wait until it is over, and compare."""
    herd = Herd(
        folder, seed=seed, symbols=symbols, rate=rate, turn_s=turn_s, servers=servers, data_dir=data_dir,
        **{"TICKLOG_BUDGET_MB": 4096, **settings},
    )  # fmt: skip
    began = time.monotonic()
    old: Client | None = None
    try:
        herd.start_exchange()
        herd.start()
        herd.wait_until(herd.runs, "all is up", START_S)
        say(f"up after {time.monotonic() - began:.1f} s")
        old = Client(f"http://127.0.0.1:{herd.port}")
        old.start()
        first_ids = first_trades(herd.data_dir)
        trouble(herd)
        say(f"trouble is over after {time.monotonic() - began:.1f} s: {dict(herd.kills)}")
        herd.wait_until(lambda: herd.is_whole and herd.runs(), "all is up again", START_S)
        # Through the turn of the month, and to the end of the candle in which all ran again.
        until_ms = max(herd.now_ms(), herd.turn_ms + 1000) // SHORTEST_MS * SHORTEST_MS
        grace_ms = settings_of(herd)["aggregator.grace_ms"]
        herd.wait_until(lambda: herd.now_ms() > until_ms + grace_ms + 1500, "the last candle has closed", 120)
        rows, wrong = drained(herd, settings_of(herd), until_ms, drain_s, say)
        verdict = Verdict(dict(herd.kills), time.monotonic() - began, faults=wrong)
        say(f"drained after {verdict.seconds:.1f} s: {wrong or 'complete'}")
        heard = begins(rows)
        late = {symbol: one for symbol, one in first_ids.items() if symbol in heard and heard[symbol].trade_id != one}
        verdict.faults += [f"the first trades are lost of {late}"] if late else []
        herd.wait_until(lambda: herd.fault("freeze", seconds=2 * PATIENCE_S), "the market stands still")
        verdict.faults += clients_right(herd, old, rows)
        verdict.figures["client"] = f"{old.session.counts}, gaps told: {sum(old.gaps.values())}"
        herd.stop()
        truth = Truth(herd.notes)
        right = candles(truth, rules_of(settings_of(herd)), heard, until_ms)
        verdict.count(right)
        verdict.ticks_s = truth.ticks / ((until_ms - truth.start_ms) / 1000)
        verdict.log_lost_ms = [(milliseconds, disk_ms) for _, milliseconds, disk_ms in herd.power_cuts]
        verdict.figures["power cuts"] = [
            f"{milliseconds} ms of the log (the disk took up to {disk_ms} ms), {lost}"
            for lost, milliseconds, disk_ms in herd.power_cuts
        ]
        verdict.figures["backfilled"] = herd.most["feed-0.backfilled_trades"]
        verdict.faults += compared(rows, right)
        verdict.faults += herd.deaths
    finally:
        if old:
            old.stop()
        herd.stop()
    return verdict


def chaos(
    folder: Path, *, kills: int, every_s: float, seed: int, victims: list[str] | None = None, **more: Any
) -> Verdict:
    """Kills at random moments, of all that can be killed or of the `victims`."""

    say = more.get("say", lambda _text: None)

    def trouble(herd: Herd) -> None:
        Killer(herd, victims or [*herd.commands, *herd.servers, "machine"], kills, every_s, seed, say).run()

    return lived_through(folder, trouble, seed=seed, **more)


def logged_trades(data_dir: Path) -> Iterator[tuple[str, list[int]]]:
    """What the log has, in its order: of a pair some trades' ids."""
    for header, data in ticklog.read(data_dir / "ticklog", frozenset(range(SHARDS))):
        for (_, _, _, symbols, counts), some in header.pieces(data):
            at = 0
            for symbol, count in zip(symbols, counts, strict=True):
                own = np.frombuffer(some, RECORD)[at : at + count]
                at += count
                yield symbol, own["id"][own["kind"] == TRADE].tolist()


def first_trades(data_dir: Path) -> dict[str, int]:
    """Of each pair the first trade in the log."""
    found: dict[str, int] = {}
    for symbol, ids in logged_trades(data_dir):
        if ids:
            found.setdefault(symbol, ids[0])
    return found
