"""The latest state as values: what a reader makes of them is the state that they were made of."""

from functools import cache

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.stream.market import SYMBOLS, VENUE, Market, Step, steps
from wick.errors import WireError
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, CLOSED, HEAD_FIELDS, LIVE_FIELDS
from wick.roles.latest import Shards
from wick.stream import latest
from wick.stream.mirror import ShardMirror
from wick.wire.messages import Closes, Diffs

FLAGS = CANDLE_FIELDS.index("flags")
TRADE = Step("trade", SYMBOLS[0], 100, 0, 5, 2, 7)


def played(plan):
    """What a market does, with what is written of it: at every flush, or at some only."""
    market, shards, values = Market(epoch=7), Shards(), {}
    shards.restart(market.shard.snapshot())
    for step in plan:
        market.take(step)
        if step.kind == "flush":
            follow(market, shards)
        elif step.kind == "join":
            write(shards, values)
    follow(market, shards)
    write(shards, values)
    return market, shards, values


def follow(market, shards):
    for message in market.flush():
        if isinstance(message, Diffs):
            shards.diffs(0, message)
        else:
            assert isinstance(message, Closes)
            shards.closes(0, message)


def write(shards, values):
    values.update(shards.states())
    values.update(shards.closed())
    shards.written()


def rows(mirror, symbol, interval):
    return [row for row in mirror.rows(VENUE, symbol, interval) if row[FLAGS] & CLOSED]


@given(steps(late=True))
def test_a_reader_that_begins_with_the_values_knows_what_their_writer_knew(plan):
    market, shards, values = played(plan)
    known, wanted = ShardMirror(), shards.mirrors[0]
    stored = latest.stored(values[latest.shard_key(0)])
    known.restart(latest.snapshot(0, stored, values))
    assert (known.epoch, known.seq) == (wanted.epoch, wanted.seq) == (7, market.shard.diffs_seq)
    assert known.names == wanted.names and known.groups == wanted.groups
    for symbol in SYMBOLS:
        for interval in range(len(NAMES)):
            assert rows(known, symbol, interval) == rows(wanted, symbol, interval)


@given(steps(late=False))
def test_a_value_says_by_itself_what_it_is(plan):
    market, _, values = played(plan)
    for (venue, symbol), pair in market.shard.pairs.items():
        value = msgpack.unpackb(values[latest.pair_key(venue, symbol)], ext_hook=lambda _, data: int.from_bytes(data))
        head, *live = pair.published
        assert (value["venue"], value["symbol"]) == (venue, symbol)
        assert dict(zip(value["fields"], value["state"], strict=True)) == dict(zip(HEAD_FIELDS, head, strict=True))
        for name, group in zip(NAMES, live, strict=True):
            candle = dict(zip(value["candle_fields"], value["candles"][name], strict=True))
            assert candle == dict(zip(LIVE_FIELDS, group, strict=True))
            closed = values.get(latest.closed_key(venue, symbol, name))
            if closed is not None:
                told = msgpack.unpackb(closed, ext_hook=lambda _, data: int.from_bytes(data))
                assert (told["symbol"], told["interval"], told["fields"]) == (symbol, name, list(CANDLE_FIELDS))
                assert told["rows"] and all(row[FLAGS] & CLOSED for row in told["rows"])


@pytest.mark.parametrize("is_late", [False, True])
def test_metrics_that_are_stored_outlive_who_knew_them(is_late):
    """A worker's snapshot has candles without their metrics; Redis may be there before it or only later."""
    market, shards, values = closing()
    row = rows(shards.mirrors[0], SYMBOLS[0], 0)[0]
    stored = latest.snapshot(0, latest.stored(values[latest.shard_key(0)]), values)
    snapshot = market.shard.snapshot()
    assert row in [one[3:] for one in stored.recent] and row not in [one[3:] for one in snapshot.recent]
    again = Shards()
    for step in [again.restart, again.remember] if is_late else [again.remember, again.restart]:
        step(snapshot if step == again.restart else stored)
    again.renew(0)
    written = {**again.states(), **dict(again.closed())}
    key = latest.closed_key(VENUE, SYMBOLS[0], "15s")
    assert written[key] == values[key] and again.gone() == []


def test_values_of_another_version_or_with_other_fields_are_left_out():
    def changed(value, **fields):
        return msgpack.packb(msgpack.unpackb(value) | fields)

    values = whole()
    pair, shard = latest.pair_key(VENUE, SYMBOLS[0]), latest.shard_key(0)
    closed = latest.closed_key(VENUE, SYMBOLS[0], "15s")
    stored = latest.stored(values[shard])
    snapshot = latest.snapshot(0, stored, values)
    assert [name for _, *name in snapshot.pairs] == [[VENUE, SYMBOLS[0]]]
    assert "15s" in [row[2] for row in snapshot.recent]
    assert latest.stored(None) is latest.stored(changed(values[shard], version=2)) is None
    for other in (changed(values[pair], version=2), changed(values[pair], fields=["price"]), None):
        assert latest.snapshot(0, stored, values | {pair: other}).pairs == []
    for other in (changed(values[closed], version=2), changed(values[closed], fields=["price"])):
        assert "15s" not in [row[2] for row in latest.snapshot(0, stored, values | {closed: other}).recent]


WRONG = [b"", b"\xc1", msgpack.packb([1]), msgpack.packb({"version": 1})]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("key", [latest.pair_key(VENUE, SYMBOLS[0]), latest.closed_key(VENUE, SYMBOLS[0], "15s")])
def test_a_value_that_is_none_is_a_wire_error(key, wrong):
    values = whole()
    with pytest.raises(WireError):
        latest.snapshot(0, latest.stored(values[latest.shard_key(0)]), values | {key: wrong})
    with pytest.raises(WireError):
        latest.stored(wrong)


@given(st.sampled_from(["epoch", "seq", "time_ms", "pairs"]), st.sampled_from([None, "1", [1], [[1, 2, 3]], 1.5]))
@example("seq", 2**63)
def test_a_shard_with_an_impossible_field_is_a_wire_error(name, value):
    shard = msgpack.unpackb(whole()[latest.shard_key(0)])
    with pytest.raises(WireError):
        latest.stored(msgpack.packb(shard | {name: value}))


@pytest.mark.parametrize("fields", [{"state": [1]}, {"state": 1}, {"candles": {}}, {"candles": {"15s": [1.5] * 10}}])
def test_a_pair_with_an_impossible_state_is_a_wire_error(fields):
    values = whole()
    key = latest.pair_key(VENUE, SYMBOLS[0])
    wrong = msgpack.packb(msgpack.unpackb(values[key]) | fields)
    with pytest.raises(WireError):
        latest.snapshot(0, latest.stored(values[latest.shard_key(0)]), values | {key: wrong})


@pytest.mark.parametrize("rows", [1, [1], [[1, 2]], [["x"] * len(CANDLE_FIELDS)],
                                  [[2**63] + [1] * (len(CANDLE_FIELDS) - 1)],
                                  [[1] * (len(CANDLE_FIELDS) - 4) + [b"anchor", 1, 1, None]]])  # fmt: skip
def test_a_closed_candle_that_is_none_is_a_wire_error(rows):
    values = whole()
    key = latest.closed_key(VENUE, SYMBOLS[0], "15s")
    wrong = msgpack.packb(msgpack.unpackb(values[key]) | {"rows": rows})
    with pytest.raises(WireError):
        latest.snapshot(0, latest.stored(values[latest.shard_key(0)]), values | {key: wrong})


@cache
def whole():
    """The values of a pair of which a candle has closed."""
    return closing()[2]


def closing():
    market, shards, values = Market(epoch=7), Shards(), {}
    shards.restart(market.shard.snapshot())
    market.take(TRADE)
    market.take(TRADE._replace(after_ms=30_000))
    market.take(TRADE._replace(kind="clock"))
    follow(market, shards)
    write(shards, values)
    return market, shards, values
