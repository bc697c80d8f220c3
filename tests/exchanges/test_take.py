"""Many messages taken at once are what each of them is alone: the same events, the same refusals, in the same order."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.exchanges.test_binance import AGGREGATE, BOOK, CHANGED, DEPTH, JSON, QUOTE, TRADE, VENUE, frame
from wick.errors import ParseError
from wick.exchanges import Refused, Venue, ids, load
from wick.exchanges.binance import _MARK, _TOGETHER

ACK, SHUTDOWN = b'{"result":null,"id":1}', b'{"e":"serverShutdown","E":1723161255343}'
GOOD = st.one_of(
    st.sampled_from([TRADE, QUOTE, DEPTH, BOOK, AGGREGATE, ACK, SHUTDOWN]),
    st.builds(
        lambda raw, number, price, time: frame(raw, t=number, p=price, T=time),
        st.just(TRADE), st.integers(0, 2**63 - 1), st.decimals("0.00000001", "99999999", places=8).map(str),
        st.integers(1_700_000_000_000, 1_700_000_000_000_000),
    ),
)  # fmt: skip
# Broken alone; some of them are whole in an array, with what follows or what precedes.
BROKEN = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([
        b"", b" ", b"{", b"}", b"[", b"]", b"1", b"1,2", b"{},{}", b'{"a":[1', b"2]}", b'{"a":[{}', b"{}]}", b'"',
        b'{"a":"', b'"}', b"null", b"[]", b"\xff", TRADE[:-1], TRADE + b",", b"," + TRADE, TRADE + b"," + TRADE,
        TRADE + b"]", b"[" + TRADE, TRADE + b"],[" + TRADE, b"%d" % _MARK, b"{},%d,{}" % _MARK, b"{} , %d ,{}" % _MARK,
    ]),
)  # fmt: skip


@st.composite
def odd(draw):
    """JSON that is no message, or a message with odd values."""
    value = draw(st.one_of(CHANGED, JSON))
    raw = json.dumps({"stream": "x", "data": value} if draw(st.booleans()) else value)
    return raw.encode("utf-8", "surrogatepass")


def alone(venue, frames):
    taken = []
    for place, raw in enumerate(frames):
        try:
            taken += venue.parse(raw)
        except ParseError as error:
            taken.append(Refused(place, error))
    return taken


def shown(taken):
    """As text, which tells True from 1, and one kind of event from another."""
    return [
        ("refused", one.place, one.error.reason, one.error.field, repr(one.error.value), str(one.error))
        if isinstance(one, Refused)
        else repr(one)
        for one in taken
    ]


FRAMES = st.lists(st.one_of(GOOD, GOOD, GOOD, odd()), max_size=12)


@given(st.one_of(FRAMES, st.lists(st.one_of(GOOD, BROKEN, odd()), max_size=12)))
@example([b'{"a":[1', b"2]}"])
@example([b'{"a":[{}', b"{}]}", b"{},{}"])
@example([b'{"a":[{}', b"{}]}", b"{} , %d ,{}" % _MARK])
@example([TRADE, b'{"data":[1', b'2]}', b'{},%d,{}' % _MARK, TRADE])  # fmt: skip
def test_what_is_taken_together_is_what_each_is_alone(frames):
    assert shown(VENUE.take(frames)) == shown(alone(VENUE, frames))


VALUES = [
    None, True, False, 0, 1, -1, 2**63 - 1, 2**63, 2**64, 1.0, 1.5, 1e300, "", "0", "0.0", "1", "1.50", "-1", "NaN",
    "1e5", "BTCUSDT", "BTC-USDT", "trade", "aggTrade", [], ["1"], {}, {"s": "x"}, 1723161255342, 1723161255342_000,
    4_102_444_800_000,
]  # fmt: skip


@pytest.mark.parametrize("field", "estpqTmEM")
def test_every_odd_value_in_every_field_of_a_trade_is_judged_as_it_is_alone(field):
    frames = [frame(TRADE, **{field: value}) for value in VALUES]
    frames += [json.dumps({"data": value}).encode() for value in VALUES]
    assert shown(VENUE.take(frames)) == shown(alone(VENUE, frames))


@pytest.mark.parametrize("count", [0, 1, _TOGETHER - 1, _TOGETHER, _TOGETHER + 1, 3 * _TOGETHER])
@pytest.mark.parametrize("bad", [None, 0, -1])
def test_a_bad_one_is_named_by_its_place_and_disturbs_nobody_however_many_there_are(count, bad):
    frames = [frame(TRADE, t=number) for number in range(count)]
    if bad is not None and frames:
        frames[bad] = b"{"
    taken = VENUE.take(frames)
    assert shown(taken) == shown(alone(VENUE, frames))
    refused = [one.place for one in taken if isinstance(one, Refused)]
    assert refused == ([] if bad is None or not frames else [bad % count])


@pytest.mark.parametrize("venue_id", ids())
def test_a_venue_that_only_parses_takes_many_too(venue_id):
    venue = load(venue_id)
    frames = [TRADE, b"{", QUOTE]
    assert shown(Venue.take(venue, frames)) == shown(alone(venue, frames))
