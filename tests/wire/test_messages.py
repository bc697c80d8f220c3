"""Messages between wick's processes: they come back as they were, and whatever is wrong is a WireError."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import WireError
from wick.market.intervals import NAMES as INTERVALS
from wick.market.records import RECORD, records
from wick.market.schema import CANDLE_FIELDS, FORMED_FIELDS, UNKNOWN
from wick.market.trades import TRADE, Quote, Trade
from wick.wire import messages
from wick.wire.codec import pack, unpack
from wick.wire.messages import Closes, Diffs, Kept, Request, Snapshot, TickHeader, pack_quote, pack_trade

INT64 = st.integers(0, 2**63 - 1)
BIG = st.integers(-(2**200), 2**200)
NAMES = st.text(min_size=1, max_size=10)
PAIRS = st.lists(st.tuples(st.integers(0, 99), NAMES, NAMES).map(list), max_size=3)
ENTRIES = st.lists(st.lists(BIG, min_size=1, max_size=9), max_size=3)
ROWS = st.lists(st.tuples(NAMES, NAMES, NAMES, *[BIG] * 17).map(list), max_size=3)
CANDLES = st.tuples(NAMES, NAMES, st.sampled_from(INTERVALS), *[BIG] * len(FORMED_FIELDS))
CLOSED = st.lists(CANDLES.map(lambda candle: [*candle, *UNKNOWN]), max_size=3)
RUNS = st.lists(st.tuples(NAMES, st.integers(1, 9)), max_size=3)
PARTS = st.lists(
    st.builds(
        lambda shard, seq, outage, runs: [shard, seq, outage, [name for name, _ in runs], [count for _, count in runs]],
        st.integers(0, 31), st.integers(1, 2**63 - 1), st.booleans(), RUNS,
    ),
    max_size=3,
)  # fmt: skip

HEADERS = st.builds(TickHeader, INT64, INT64, INT64, NAMES, INT64, INT64, PARTS)
ALL = st.one_of(
    HEADERS,
    st.builds(Diffs, INT64, INT64, INT64, PAIRS, ENTRIES),
    st.builds(Closes.of_rows, INT64, INT64, INT64, CLOSED),
    st.builds(Snapshot, st.integers(0, 31), INT64, INT64, INT64, PAIRS, ENTRIES, ROWS),
    st.builds(Request, st.sampled_from(["snapshot", "closes"]), st.integers(0, 31), INT64, INT64),
    st.builds(Kept, INT64, INT64, INT64, INT64, st.booleans()),
)
KINDS = (TickHeader, Diffs, Closes, Snapshot, Request, Kept)
PART = [3, 9, False, ["BTC-USDT"], [2]]
HEADER = TickHeader(1, 1, 0, "binance", 5, 6, [PART])


@given(ALL)
def test_a_message_comes_back_as_it_was(message):
    back = type(message).unpack(message.pack())
    assert back == message and type(back) is type(message)


@given(st.binary(max_size=80), st.sampled_from(KINDS))
def test_random_bytes_are_a_wire_error(data, kind):
    try:
        kind.unpack(data)
    except WireError:
        return
    assert type(unpack(data)) is list and len(unpack(data)) == len(kind._fields)


@given(ALL, st.data())
def test_a_field_of_a_wrong_type_is_a_wire_error(message, data):
    fields = list(message)
    index = data.draw(st.integers(0, len(fields) - 1))
    fields[index] = data.draw(
        st.sampled_from([None, 1.5, {}, "text", [3], [[]], [["A"]], [["A", "1"]]]).filter(
            # An empty list, or a text for a text, would be right.
            lambda value: type(value) is not type(fields[index]) or value
        )
    )
    if type(fields[index]) is str and type(message[index]) is str and type(message) is not Request:
        return
    if type(message[index]) is list and type(message) is not TickHeader:
        fields[index] = "text"  # what is inside of the other lists is found where it is applied
    with pytest.raises(WireError):
        type(message).unpack(pack(fields))


@pytest.mark.parametrize("change", [lambda f: f[:-1], lambda f: [*f, 0], lambda f: dict(enumerate(f)), lambda f: 7])
@pytest.mark.parametrize("kind", KINDS)
def test_a_message_of_a_wrong_shape_is_a_wire_error(kind, change):
    with pytest.raises(WireError, match="is not an array of"):
        kind.unpack(pack(change([0] * len(kind._fields))))


def test_a_request_of_an_unknown_kind_is_a_wire_error():
    with pytest.raises(WireError, match="snapshot, closes"):
        Request.unpack(pack(["history", 1, 2, 3]))


TRADES = st.builds(
    Trade, st.just("S"), INT64, INT64, INT64, st.integers(0, 30), INT64, st.integers(0, 30), st.booleans(), INT64
)
QUOTES = st.builds(Quote, st.just("S"), INT64, INT64, INT64, INT64, INT64, st.integers(0, 30), st.integers(0, 30))


def _header(count):
    return HEADER._replace(parts=[[3, 9, False, ["S"] * bool(count), [count] * bool(count)]])


@given(st.lists(st.one_of(TRADES, QUOTES), max_size=6), INT64)
def test_trades_and_quotes_come_back_from_their_records_digit_for_digit(events, recv_ns):
    frame = b"".join(pack_trade(e, recv_ns) if isinstance(e, Trade) else pack_quote(e, recv_ns) for e in events)
    rows = records(frame, _header(len(events))).tolist()
    told = [
        Trade("S", ns, number, a, prices, b, quantities, bool(buy), c)
        if kind == TRADE
        else Quote("S", number, a, c, b, d, prices, quantities)
        for ns, number, a, b, c, d, _, prices, quantities, kind, buy, _ in rows
    ]
    assert told == events
    assert all(row[6] == recv_ns for row in rows)


def test_the_packed_record_and_the_dtype_agree_in_every_field():
    row = np.frombuffer(pack_trade(Trade("S", 1, 2, 3, 4, 5, 6, True, 7), 8), dtype=RECORD)[0]
    assert {name: int(row[name]) for name in RECORD.names} == {
        "event_ns": 1, "id": 2, "a": 3, "b": 5, "c": 7, "d": 0, "recv_ns": 8, "price_decimals": 4,
        "quantity_decimals": 6, "kind": 0, "taker_buy": 1, "reserved": 0,
    }  # fmt: skip
    row = np.frombuffer(pack_quote(Quote("S", 1, 2, 3, 4, 5, 6, 7), 8), dtype=RECORD)[0]
    assert {name: int(row[name]) for name in RECORD.names} == {
        "event_ns": 8, "id": 1, "a": 2, "b": 4, "c": 3, "d": 5, "recv_ns": 8, "price_decimals": 6,
        "quantity_decimals": 7, "kind": 1, "taker_buy": 0, "reserved": 0,
    }  # fmt: skip


def test_records_are_read_where_they_lie():
    frame = pack_trade(Trade("S", 1, 2, 3, 4, 5, 6, True), 8) * 2
    batch = records(frame, HEADER)
    assert np.shares_memory(batch, np.frombuffer(frame, dtype=np.uint8))
    assert not batch.flags.owndata


@pytest.mark.parametrize("size", [0, 1, 64, 127, 129, 192])
def test_a_frame_that_does_not_hold_what_its_header_says_is_a_wire_error(size):
    with pytest.raises(WireError, match=f"a frame of {size} bytes"):
        records(bytes(size), HEADER)


@pytest.mark.parametrize(
    "part",
    [
        PART[:-1], [*PART, 0], "parts", 7, [-1, *PART[1:]], [True, *PART[1:]], [3, 0, *PART[2:]], [3, 1.0, *PART[2:]],
        [3, 9, 0, ["A"], [2]], [3, 9, False, ["A"], []], [3, 9, False, ["A", "B"], [2]], [3, 9, False, ["A"], [0]],
        [3, 9, False, ["A"], [-2]], [3, 9, False, ["A"], [2.0]], [3, 9, False, ["A"], [True]], [3, 9, False, [7], [2]],
        [3, 9, False, [None], [2]], [3, 9, False, "A", [2]], [3, 9, False, ["A"], 2], {"A": 2},
    ],
    ids=repr,
)  # fmt: skip
def test_a_header_with_an_impossible_part_is_a_wire_error(part):
    for parts in ([part], [PART, part]):
        with pytest.raises(WireError, match="impossible part"):
            TickHeader.unpack(HEADER._replace(parts=parts).pack())


@given(HEADERS)
def test_each_part_of_a_header_has_its_own_records(header):
    frame = b"".join(n.to_bytes(2, "big") * 32 for n in range(header.total))
    pieces = list(header.pieces(frame))
    assert [part for part, _ in pieces] == header.parts
    assert [len(some) for _, some in pieces] == [64 * sum(part[4]) for part in header.parts]
    assert b"".join(some for _, some in pieces) == frame


def test_topics_of_one_stream_sort_by_shard_and_are_no_prefixes_of_each_other():
    topics = [messages.diffs_topic(shard) for shard in range(32)] + [messages.closes_topic(s) for s in range(32)]
    assert len(set(topics)) == 64
    assert not [(a, b) for a in topics for b in topics if a != b and b.startswith(a)]
    assert messages.ticks_topic("binance", 3) == b"ticks.binance.03"
    assert messages.stats_topic("feed-0") == b"stats.feed-0"


def test_a_book_travels_with_the_venue_s_own_texts():
    topic, body = messages.book_frames("binance", 7, "BTC-USDT", 5, 2, [["1.50", "0.10"]], [])
    assert topic == b"book.binance.07"
    assert unpack(body) == ["BTC-USDT", 5, 2, [["1.50", "0.10"]], []]


@given(CLOSED)
def test_rows_of_closes_come_back_as_they_were(rows):
    assert Closes.unpack(Closes.of_rows(1, 2, 3, rows).pack()).rows == rows


def test_a_page_of_closes_comes_back_each_with_its_length_and_one_that_is_broken_alone_is():
    packed = [Closes.of_rows(1, number, 3, []).pack() for number in range(1, 20)]
    page = messages.pack_page(packed)
    assert messages.unpack_page(*page) == [(Closes.unpack(one), len(one)) for one in packed]
    broken = [*packed[:5], Closes(1, 6, 3, [["binance"]]).pack(), b"\xc1", *packed[5:]]
    page = messages.pack_page(broken)
    with pytest.raises(WireError):
        messages.unpack_page(*page)
    assert messages.cut_page(*page) == broken


@pytest.mark.parametrize("lengths", [[1], [1, 2, 3], [2.0], 3, "3"])
def test_a_page_that_does_not_have_what_it_tells_of_is_a_wire_error(lengths):
    with pytest.raises(WireError, match="page"):
        messages.unpack_page(pack(lengths), bytes(7))


@pytest.mark.parametrize("body", [b"\xce" + bytes(4), b"\xdd\0\0\0\2\x90\x90"])
def test_a_page_that_is_not_an_array_of_closes_is_a_wire_error(body):
    with pytest.raises(WireError, match="page"):
        messages.unpack_page(pack([len(body) - 5]), body)


@pytest.mark.parametrize(
    ("at", "bad"), [(1, [7]), (2, [1]), (2, [-1]), (3, [99]), (4, b"short"), (5, b""), (6, [[1, []]])]
)
def test_a_block_of_closes_that_does_not_fit_together_is_a_wire_error(at, bad):
    block = Closes.of_rows(1, 2, 3, [["binance", "BTC-USDT", "1m", *range(len(CANDLE_FIELDS))]]).blocks[0]
    block[at] = bad
    with pytest.raises(WireError, match="block"):
        Closes.unpack(Closes(1, 2, 3, [block]).pack())
