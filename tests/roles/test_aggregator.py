"""A worker, message by message: what it publishes depends on what the feed sent, not on when who had a turn."""

import random
from contextlib import closing

import gevent
import pytest
from gevent.event import Event

from tests.cli.live import data_dir
from tests.roles.worker import MS, SYMBOLS, VENUE, Heard, Venue, logged, session, working
from wick.market.candles import PairCandles
from wick.market.schema import CANDLE_FIELDS, EMPTY, SUSPECT
from wick.net import bus
from wick.net.clock import steady_ns
from wick.roles import aggregator
from wick.roles.actors import MOST_WAITING, Stream
from wick.stream.shard import CandleRules, PairState, Shard
from wick.stream.shards import shard_of
from wick.wire.messages import TickHeader

__all__ = ["data_dir"]

F = {name: 3 + index for index, name in enumerate(CANDLE_FIELDS)}  # of a published row
PATIENCE_S = 60
SEEDS = [0, *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8)]]


def played(data_dir, messages, work=lambda role: None):
    """All that a worker publishes that is handed these messages; `work` is done after each."""
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        for message in messages:
            role._receive(message)
            work(role)
        role._turn()
        role._flush()
        return heard.rows, role.stats.counters


def waiting(role):
    return sum(len(run) // 64 for stream in role.streams.values() for actor in stream.actors.values()
               for run in actor.inbox if run is not None)  # fmt: skip


# ---------------------------------------------------------------------- the same messages, the same candles


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_whenever_actors_have_their_turn_and_a_flush_comes_the_same_rows_are_published(seed, data_dir, monkeypatch):
    messages, chance = session(seed, 60), random.Random(seed)

    def now_and_then(role):
        if chance.random() < 0.3:
            role._turn()
        if chance.random() < 0.2:
            role._flush()

    at_the_end, counters = played(data_dir, messages)
    assert counters["ticks"] > 150 and sum(map(len, at_the_end.values())) > 100
    assert any(row[F["revision"]] for rows in at_the_end.values() for row in rows), "late trades have corrected some"
    assert any(row[F["flags"]] & SUSPECT for rows in at_the_end.values() for row in rows)
    for work in (lambda role: role._flush(), lambda role: (role._turn(), role._flush()), now_and_then, now_and_then):
        rows, _ = played(data_dir, messages, work)
        assert repr(rows) == repr(at_the_end)
    monkeypatch.setattr(aggregator, "MOST_WAITING", 20)
    rows, _ = played(data_dir, messages)
    assert repr(rows) == repr(at_the_end)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize(
    "share", [pytest.param(0, marks=pytest.mark.slow), 0.4, pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_worker_that_starts_from_the_log_publishes_what_one_that_heard_it_all_did(seed, share, data_dir):
    messages = session(seed)
    expected, _ = played(data_dir, messages)
    written = int(len(messages) * share)
    logged(data_dir / "ticklog", messages[:written])
    with working(data_dir) as (role, heard):
        role._replay(role._load())
        for message in messages[max(0, written - 3) :]:  # the last of the log come over the socket too
            role._receive(message)
        role._turn()
        role._flush()
        assert repr(heard.rows) == repr(expected)
        assert role.stats.counters.get("holes", 0) == role.stats.counters.get("lost_batches", 0) == 0
        assert (role.stats.counters.get("repeated_batches", 0) > 0) == (written > 0)


# ---------------------------------------------------------------------- inboxes


@pytest.mark.slow
def test_inboxes_never_hold_more_than_their_bound(data_dir):
    venue = Venue()
    for _ in range(20_000):
        venue.trade(random.choice(SYMBOLS))
    header, records = venue.flush()
    first = TickHeader.unpack(header)
    with working(data_dir, ticklog__enabled=False) as (role, _):
        most = 0
        for seq in range(1, 21):  # the ids come again and again: that is no matter of the inboxes
            parts = [[shard, seq, *rest] for shard, _, *rest in first.parts]
            role._receive([first._replace(parts=parts).pack(), records])
            most = max(most, waiting(role))
            assert waiting(role) <= role._waiting <= MOST_WAITING
        assert most > MOST_WAITING // 2, "they wait for a turn, up to the bound"
        role._turn()
        assert (role._waiting, waiting(role)) == (0, 0)
        counters = role.gauges()
        assert role.stats.counters["ticks"] == counters["trades"] + counters["duplicates"] == 400_000


def records_of(*trades):
    venue = Venue()
    for after_ms, price in trades:
        venue.now_ms += after_ms
        venue.trade(price=price)
    return memoryview(venue.flush()[1])


def test_an_outage_keeps_its_place_between_two_runs_of_an_inbox():
    run = records_of((0, 10), (40_000, 11), (100, 12))
    before, after = run[:64], run[64:]
    shard, together, apart = (Shard(0, 1, {VENUE: CandleRules(grace_ms=0)}) for _ in range(3))
    of_both = Stream(together, VENUE), Stream(apart, VENUE)
    for stream, turns in zip(of_both, (False, True), strict=True):
        for some in (before, None, after):
            if some is None:
                stream.outage()
            else:
                stream.deliver(["BTC-USDT"], [len(some) // 64], some, 1)
            if turns:
                stream.turn(lambda: None)
        stream.turn(lambda: None)
        stream.advance(Venue().now_ms + 90_000)
    one, other = (s.pair(VENUE, "BTC-USDT", 1).candles.drain_closed() for s in (together, apart))
    assert one and repr(one) == repr(other)
    state = shard.pair(VENUE, "BTC-USDT", 1)
    state.ticks(run)
    shard.advance(VENUE, Venue().now_ms + 90_000)
    quiet, all_quiet = (
        [row for name, row in rows if name == "15s" and row[3] & EMPTY] for rows in (one, state.candles.drain_closed())
    )
    assert len(all_quiet) > len(quiet), "of the outage's time nobody knows that it was quiet"


def test_an_outage_reaches_the_pairs_of_its_shard_only_and_those_without_a_tick_too(monkeypatch):
    told = []
    monkeypatch.setattr(PairCandles, "outage", lambda pair: told.append(pair.symbol))
    stream, other = (Stream(Shard(n, 1, {VENUE: CandleRules()}), VENUE) for n in range(2))
    run = records_of((0, 10))
    for one, symbol in ((stream, "BTC-USDT"), (stream, "ETH-USDT"), (other, "SOL-USDT")):
        one.deliver([symbol], [1], run, 1)
        one.turn(lambda: None)
    stream.outage()
    for one in (stream, other):
        one.turn(lambda: None)
    assert told == ["BTC-USDT", "ETH-USDT"]


# ---------------------------------------------------------------------- how long it takes


def test_the_lag_of_each_shard_is_told_with_what_a_worker_says_of_itself(data_dir, monkeypatch):
    venue = Venue()
    for symbol in ("BTC-USDT", "ETH-USDT"):
        venue.trade(symbol)
    monkeypatch.setattr(aggregator, "now_ns", lambda: (venue.now_ms + 7) * MS)
    with working(data_dir, ticklog__enabled=False) as (role, _):
        role._receive(venue.flush())
        monkeypatch.setattr(aggregator, "now_ns", lambda: (venue.now_ms + 30) * MS)
        role._turn()
        role._flush()
        lag = role.gauges()["lag"]
        assert lag == {
            shard_of(VENUE, symbol): [0.0] * 6 + [7.0] * 3 + [23.0] * 3 for symbol in ("BTC-USDT", "ETH-USDT")
        }
        assert role.gauges()["lag"] == {}


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.slow
def test_a_hole_is_mended_from_the_log_as_if_it_had_not_been(data_dir):
    messages = session(1)
    expected, _ = played(data_dir, messages)
    logged(data_dir / "ticklog", messages)
    with working(data_dir) as (role, heard):
        for message in [*messages[:10], *messages[13:50], *messages[80:]]:
            role._receive(message)
        role._turn()
        role._flush()
        assert repr(heard.rows) == repr(expected)
        assert role.stats.counters["holes"] >= 2 and "lost_batches" not in role.stats.counters


@pytest.mark.slow
def test_what_no_log_has_is_counted_as_lost_and_taken_for_an_outage(data_dir):
    messages = session(2, 60)
    with working(data_dir, ticklog__enabled=False) as (role, heard):
        for message in [*messages[:10], *messages[13:]]:
            role._receive(message)
        lost = {(part[0], part[1]) for header, _ in messages[10:13] for part in TickHeader.unpack(header).parts}
        assert role.stats.counters["lost_batches"] == len(lost)
        role._turn()
        role._flush()
        assert any(row[F["flags"]] & SUSPECT for rows in heard.rows.values() for row in rows)


BROKEN = {
    "a record too few": lambda header, records: [header, records[:-64]],
    "a byte too many": lambda header, records: [header, records + b"\0"],
    "no records": lambda header, records: [header, b""],
    "a frame too few": lambda header, records: [header],
    "a frame too many": lambda header, records: [header, records, b""],
    "no header": lambda header, records: [b"\xc1", records],
    "another's shard": lambda header, records: [
        TickHeader.unpack(header)._replace(parts=[[99, 1, False, ["X"], [1]]]).pack(), records[:64]],
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_batch_that_is_not_what_it_should_be_is_refused_and_counted_and_the_next_is_taken(kind, data_dir):
    venue, messages = Venue(), []
    for _ in range(3):
        venue.trade()
        venue.trade(price=11)
        messages.append(venue.flush())
    with working(data_dir, ticklog__enabled=False) as (role, _):
        for number, message in enumerate(messages):
            role._receive(BROKEN[kind](*message) if number == 1 else message)
        role._turn()
        assert role.stats.counters["bad_batches"] == 1
        assert role.stats.counters["ticks"] == role.gauges()["trades"] == 4
        assert role.stats.counters["lost_batches"] == 1, "the one that could not be read"
        assert role.gauges()["missing"] == 2


class Failure(Exception):
    """What a test lets fail."""


def test_a_failure_in_an_actor_ends_the_process(data_dir, monkeypatch, caplog):
    venue, ended = Venue(), Event()
    venue.trade()

    def fail(state, records):
        raise Failure(state.candles.symbol)

    monkeypatch.setattr(PairState, "ticks", fail)
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *_: None)
    with working(data_dir, ticklog__enabled=False) as (role, _), closing(bus.push(data_dir, 0, 9)) as push:
        monkeypatch.setattr(role, "stop", lambda code: (setattr(role, "_code", code), ended.set()))
        push.send_multipart(venue.flush())
        role.spawn(role._work_forever)
        assert ended.wait(PATIENCE_S) and role._code == 1
        assert "Failure: BTC-USDT" in caplog.text


class Flood:
    """A socket that always has another message: more than anyone can read."""

    def __init__(self):
        venue = Venue()
        for _ in range(50):
            venue.trade()
        self.header, self.records = venue.flush()
        self.header, self.sent = TickHeader.unpack(self.header), 0
        self.until_ns = steady_ns() + PATIENCE_S * 1_000 * MS

    def recv_multipart(self, _):
        assert steady_ns() < self.until_ns, "nobody else had a turn"
        self.sent += 1
        parts = [[shard, self.sent, *rest] for shard, _, *rest in self.header.parts]
        return [self.header._replace(parts=parts).pack(), self.records]


@pytest.mark.slow
def test_a_worker_in_a_flood_still_publishes_and_lets_timers_run(data_dir):
    rung = []

    def ring():
        while True:
            gevent.sleep(0.001)
            rung.append(len(rung))

    with working(data_dir, ticklog__enabled=False) as (role, heard):
        pull, role.pull = role.pull, Flood()
        try:
            flushes, flush = [], role._flush
            role._flush = lambda: (flushes.append(len(rung)), flush())
            worker = role.spawn(role._work_forever)
            role.spawn(ring)
            while not (len(flushes) >= 8 and len(rung) >= 20) and not worker.dead:
                gevent.sleep(0.01)
            assert not worker.dead
            assert role.pull.sent > 8 * bus.DRAIN_BUDGET, "the flood has not been waited for"
            assert len(set(flushes)) > 4, "timers ran between flushes, not only after them"
            assert heard.messages and waiting(role) <= MOST_WAITING
        finally:
            flood, role.pull = role.pull, pull
    assert isinstance(heard, Heard) and flood.sent == role.streams[shard_of(VENUE, "BTC-USDT"), VENUE].seq
