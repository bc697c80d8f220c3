"""Broken frames made of good ones, and what holds for whatever a venue makes of them.

The law: bytes become ParseError or sound events, never another exception; what is taken together is what each is
alone; and good frames that come later are read as if nothing had been. What `skim` takes `parse` takes, of that time;
and what columns take, as the same trades.
The slow tests make WICK_TEST_FUZZ frames of each venue (the gate's million: WICK_TEST_FUZZ=1000000).
"""

import json
import os
import random
import re
from copy import deepcopy
from importlib import import_module
from unittest import mock

from wick.errors import ParseError
from wick.exchanges import Refused, _columns
from wick.market.trades import Ack, DepthSnapshot, DepthUpdate, LastTrade, Quote, Shutdown, Trade
from wick.wire.messages import pack_quote, pack_trade


def good(venue_id):
    """Good frames of the venue, each kind that it sends: every test_<venue>.py has them as GOOD."""
    return import_module(f"tests.exchanges.test_{venue_id.replace('-', '_')}").GOOD


FUZZ = int(os.environ.get("WICK_TEST_FUZZ", "50000"))
A_TIME = 64  # frames that are taken together
ODD = [
    None, True, False, 0, 1, -1, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, 0.5, 1e300, -0.0, "", "0", "0.0", "1", "1.",
    ".5", "-1", "01", "1e5", "1E-7", "NaN", "Infinity", "٣", "²", "1_000", " 1 ", "9" * 19, "9" * 20, "9" * 5000,
    "1" + "0" * 30, "0." + "0" * 40 + "1", "BTC/USD", "BTCUSDT", "BTC-USDT", "🙂", "\x00", "buy", "Sell", "update",
    "snapshot", "delta", "trade", "publicTrade.BTCUSDT", "orderbook.1.BTCUSDT", 'a":5,"b', [], {}, [[]], [{}],
    ["1", "2"], [["1", "2"]], {"price": 1}, "2023-09-25T07:49:37.708706Z", "2023-99-25T07:49:37.708706Z",
    "2023-09-25T07:49:37Z", "2023-09-25T07:49:37.+08706Z", "2023-09-25T07:49:37.70_706Z", "2023-09-25T07:49:37.708706X",
    "2023-09-25T07:49:37,708706Z", "9999-12-31T23:59:59.999999Z", 1672304486865.0, 1672304486865, "1672304486865",
]  # fmt: skip
SPLICES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\xff",
    b"\x00",
    b"null",
    b"1e999",
    b"-",
    b"...",
    b"[" * 2000,
]
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")


def _texts(value):
    """JSON whose odd numbers are written as they are, and long integers as well."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _places(value, found):
    """Every container of a JSON value, with each of its keys."""
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found.append((value, key))
        _places(one, found)
    return found


def mutant(rng, good):
    """A frame that is not quite one of `good`."""
    raw, how = rng.choice(good), rng.randrange(7)
    if how < 3:  # of the values
        try:
            value = json.loads(raw)
        except ValueError:
            return raw[: rng.randrange(len(raw))]
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            places = _places(value, [])
            if not places:
                break
            where, key = rng.choice(places)
            change = rng.randrange(4)
            if change == 0:
                del where[key]
            elif change == 1 and isinstance(where, list):
                where.append(where[key])
            else:
                where[key] = deepcopy(rng.choice(ODD))
        return _texts(value)
    at = rng.randrange(len(raw))
    end = min(len(raw), at + rng.choice((1, 1, 2, 5, 40)))
    if how == 3:
        return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    if how == 4:
        return raw[:at] + raw[end:]
    if how == 5:
        return raw[:at] + rng.choice(SPLICES) + raw[at:]
    other = rng.choice(good)
    return raw[:at] + other[rng.randrange(len(other)) :]


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
        ("refused", one.place, one.error.reason, one.error.field, str(one.error))
        if isinstance(one, Refused)
        else repr(one)
        for one in taken
    ]


def check(event):
    """A sound event: what the feed packs without looking."""
    if isinstance(event, Trade):
        assert event.price > 0 and event.quantity > 0 and event.matches >= 1
        assert type(event.taker_buy) is bool and 0 <= event.trade_id < 2**63
        pack_trade(event, 0)
    elif isinstance(event, Quote):
        assert min(event.bid, event.bid_quantity, event.ask, event.ask_quantity, event.update_id) >= 0
        pack_quote(event, 0, 0)
    elif isinstance(event, DepthUpdate | DepthSnapshot):
        for level in event.bids + event.asks:
            assert len(level) >= 2 and all(_PLAIN.fullmatch(text) for text in level), level
        if isinstance(event, DepthSnapshot):
            assert 0 <= event.last_update_id < 2**63
            return
        assert 0 <= event.first_update_id <= event.last_update_id < 2**63
        assert -1 <= event.checksum < 2**32 and -1 <= event.previous_update_id < 2**63
    elif isinstance(event, LastTrade):
        assert 0 < event.trade_id < 2**63
    elif isinstance(event, Ack):
        assert event.error is None or type(event.error) is str
    else:
        assert isinstance(event, Refused | Shutdown), event


def whole_columns(venue, frames):
    """Its `columns`, however few the frames are."""
    with mock.patch.object(_columns, "AT_LEAST", 1):
        found = venue.columns(frames)
    return found[:2] if found is not None else None


def in_columns(venue, frames):
    """What columns take of the frames is what `parse` makes of these, no more and no less."""
    found = whole_columns(venue, frames)
    if found is not None:
        columns, left = found
        skipped = {*left}
        taken = [raw for place, raw in enumerate(frames) if place not in skipped]
        assert shown(columns.trades()) == shown([event for raw in taken for event in venue.parse(raw)])
        assert not skipped & {*columns.frames.tolist()}


def check_skimmed(venue, raw):
    """What `skim` takes, `parse` takes too: events without a trade, of that time."""
    at_ns = venue.skim(raw)
    if at_ns is not None:
        for event in venue.parse(raw):
            assert type(event) is not Trade, raw
            assert getattr(event, "event_ns", 0) == at_ns, raw


def survives(venue, good, count, seed=1):
    """The law, with so many mutants; how many of them were refused."""
    rng, refused = random.Random(seed), 0
    expected = shown(alone(venue, good))
    for _ in range(0, count, A_TIME):
        frames = [mutant(rng, good) for _ in range(A_TIME)]
        for at in rng.sample(range(A_TIME), rng.choice((0, 1, A_TIME // 2))):
            frames[at] = rng.choice(good)
        if rng.random() < 0.5:  # whole ones alone: they are decoded together
            frames = [raw for raw in frames if _whole(raw)]
        taken = venue.take(frames)
        for event in taken:
            check(event)
        assert shown(taken) == shown(alone(venue, frames))
        in_columns(venue, frames)
        for raw in frames:
            check_skimmed(venue, raw)
        refused += sum(isinstance(one, Refused) for one in taken)
        assert shown(venue.take(good)) == expected
    return refused


def _whole(raw):
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True
