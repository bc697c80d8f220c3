"""Many messages taken at once are what each of them is alone: the same events, the same refusals, in the same order."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.exchanges.mutants import alone, good, shown
from tests.exchanges.test_binance import CHANGED, JSON, TRADE, VENUE, frame
from wick.exchanges import Refused, Venue, ids, load
from wick.exchanges._batch import MARK, TOGETHER

FINE = st.one_of(
    st.sampled_from(good("binance")),
    st.builds(
        lambda raw, number, price, time: frame(raw, t=number, p=price, T=time),
        st.just(TRADE), st.integers(0, 2**63 - 1), st.decimals("0.00000001", "99999999", places=8).map(str),
        st.integers(1_700_000_000_000, 1_700_000_000_000_000),
    ),
)  # fmt: skip
# Broken alone; some of them are whole in an array, with what follows or what precedes.
PIECES = [
    b"", b" ", b"{", b"}", b"[", b"]", b"1", b"1,2", b"{},{}", b'{"a":[1', b"2]}", b'{"a":[{}', b"{}]}", b'"',
    b'{"a":"', b'"}', b"null", b"[]", b"\xff", b"%d" % MARK, b"{},%d,{}" % MARK, b"{} , %d ,{}" % MARK,
]  # fmt: skip


def broken(trade):
    """Pieces, and a good frame with too little or too much of itself."""
    spoilt = [
        trade[:-1], trade + b",", b"," + trade, trade + b"," + trade, trade + b"]", b"[" + trade, trade + b"],[" + trade
    ]  # fmt: skip
    return st.one_of(st.binary(max_size=12), st.sampled_from([*PIECES, *spoilt]))


@st.composite
def odd(draw):
    """JSON that is no message, or a message with odd values."""
    value = draw(st.one_of(CHANGED, JSON))
    raw = json.dumps({"stream": "x", "data": value} if draw(st.booleans()) else value)
    return raw.encode("utf-8", "surrogatepass")


FRAMES = st.lists(st.one_of(FINE, FINE, FINE, odd()), max_size=12)


@given(st.one_of(FRAMES, st.lists(st.one_of(FINE, broken(TRADE), odd()), max_size=12)))
@example([b'{"a":[1', b"2]}"])
@example([b'{"a":[{}', b"{}]}", b"{},{}"])
@example([b'{"a":[{}', b"{}]}", b"{} , %d ,{}" % MARK])
@example([TRADE, b'{"data":[1', b'2]}', b'{},%d,{}' % MARK, TRADE])  # fmt: skip
def test_what_is_taken_together_is_what_each_is_alone(frames):
    assert shown(VENUE.take(frames)) == shown(alone(VENUE, frames))


@pytest.mark.parametrize("venue_id", ids())
@given(st.data())
def test_so_it_is_at_every_venue(venue_id, data):
    venue, fine = load(venue_id), good(venue_id)
    some = data.draw(st.lists(st.one_of(st.sampled_from(fine), broken(fine[0]), odd()), max_size=12))
    assert shown(venue.take(some)) == shown(alone(venue, some))


VALUES = [
    None, True, False, 0, 1, -1, 2**63 - 1, 2**63, 2**64, 1.0, 1.5, 1e300, "", "0", "0.0", "1", "1.50", "-1", "NaN",
    "1e5", "BTCUSDT", "BTC-USDT", "trade", "aggTrade", "match", "sell", [], ["1"], {}, {"s": "x"}, 1723161255342,
    1723161255342_000, 4_102_444_800_000, "2024-08-09T00:00:00.1Z", "2024-08-09T00:00:00Z", "2024-08-09T00:00:61Z",
    "2024-08-09T00:00:00.1", "2024-08-09T00:00:00.1234567890Z", "2024-08-09T00:00:00.²Z",
]  # fmt: skip


@pytest.mark.parametrize("field", "estpqTmEM")
def test_every_odd_value_in_every_field_of_a_trade_is_judged_as_it_is_alone(field):
    frames = [frame(TRADE, **{field: value}) for value in VALUES]
    frames += [json.dumps({"data": value}).encode() for value in VALUES]
    assert shown(VENUE.take(frames)) == shown(alone(VENUE, frames))


@pytest.mark.parametrize("venue_id", ids())
def test_and_in_every_field_of_every_sample_of_a_venue(venue_id):
    venue, frames = load(venue_id), []
    for raw in good(venue_id):
        try:
            whole = json.loads(raw)
        except ValueError:  # OKX's pong is a text
            continue
        for data in (whole, whole.get("data")):
            data = data[0] if type(data) is list and data else data
            for field in list(data) if type(data) is dict else ():
                kept = data[field]
                for value in VALUES:
                    data[field] = value
                    frames.append(json.dumps(whole).encode())
                data[field] = kept
    assert len(frames) > 100
    assert shown(venue.take(frames)) == shown(alone(venue, frames))


@pytest.mark.parametrize("count", [0, 1, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER])
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
    frames = [TRADE, b"{", *good(venue_id)]
    assert shown(Venue.take(venue, frames)) == shown(alone(venue, frames))
