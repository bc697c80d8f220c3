"""Every venue is complete: a file in wick/exchanges is found, and has all that the feed asks of it."""

import inspect
import json
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import get_type_hints
from urllib.parse import urlsplit

import pytest

import wick.exchanges
from wick.errors import ParseError
from wick.exchanges import CHANNELS, Hole, Venue, ids, load
from wick.market import foreign, intervals
from wick.market.trades import Topic

NAMES = tuple(sorted(path.stem for path in Path(wick.exchanges.__file__).parent.glob("[!_]*.py")))
EVERY = pytest.mark.parametrize("venue", [load(venue_id) for venue_id in ids()], ids=ids())
SYMBOLS = ("BTC-USDT", "ETH-BTC", "SOL-USDC", "1INCH-EUR")
GARBAGE = [b"", b"null", b"7", b"{", b"[5]", b'{"a":1}', b"[[[]]]", b"\x00\xff", b'{"e":{}}', b"[" * 2000, b'"x"']


def test_every_file_is_a_venue_and_nothing_else_is():
    assert tuple(name.replace("-", "_") for name in ids()) == NAMES
    assert {"binance", "binance-usdm", "coinbase"} <= set(ids())


@EVERY
def test_a_venue_has_all_that_the_protocol_asks_for(venue):
    for name, kind in get_type_hints(Venue).items():
        value = getattr(venue, name)
        assert isinstance(value, getattr(kind, "__origin__", kind)), name
    for name, declared in vars(Venue).items():
        if not name.startswith("_") and callable(declared):
            assert inspect.signature(getattr(type(venue), name)).parameters.keys() == (
                inspect.signature(declared).parameters.keys()
            ), name


@EVERY
def test_what_it_says_of_itself_makes_sense(venue):
    assert load(venue.id) is venue
    assert venue.title and venue.title[0].isupper()
    assert urlsplit(venue.ws_url).scheme == "wss" and urlsplit(venue.rest_url).scheme == "https"
    assert not urlsplit(venue.ws_url).path and not urlsplit(venue.rest_url).path
    for path in (venue.ws_path, venue.symbols_path, *map(venue.path, venue.channels)):
        assert path.startswith("/")
    assert set(venue.channels) <= set(CHANNELS) and {"trade", "depth"} <= set(venue.channels)
    assert len(set(venue.channels)) == len(venue.channels)
    assert venue.empty in ("flat", "omit")
    assert venue.depth_levels >= 0
    assert venue.depth_check in ("ids", "checksum", "nothing")


@EVERY
def test_its_limits_can_be_kept(venue):
    limits = venue.limits
    assert limits.streams >= len(venue.channels)
    for count, seconds in (limits.requests, limits.connects, limits.rest):
        assert count > 0 and seconds > 0
    assert limits.lifetime_s == 0 or limits.lifetime_s >= 3600
    assert 0 < venue.snapshot_weight(5_000) <= limits.rest[0] or not venue.depth_from_rest
    assert 0 < venue.backfill_weight <= limits.rest[0] or not venue.backfills
    assert bool(venue.ping()) == (limits.ping_s > 0) and type(venue.ping()) is bytes


@EVERY
def test_its_file_and_its_class_say_what_they_are(venue):
    module = import_module(type(venue).__module__)
    assert module.__doc__ and "https://" in module.__doc__, "with the address of the venue's documents"
    assert type(venue).__doc__ and type(venue).__doc__ != Venue.__doc__


@EVERY
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_symbol_becomes_a_native_name_and_comes_back(venue, symbol):
    native = venue.native(symbol)
    assert venue.symbol(native) == symbol == venue.symbol(symbol)
    assert venue.native(native) == native


@EVERY
@pytest.mark.parametrize("count", [0, 1, 7, 1_000])
@pytest.mark.parametrize("way", ["subscribe", "unsubscribe"])
def test_requests_name_every_topic_once_within_the_limits(venue, way, count):
    names = (f"A{number}-USDT" for number in range(count))
    topics = [Topic(*one) for one in product(names, venue.channels)][: min(count, venue.limits.streams)]
    requests = getattr(venue, way)(topics, 41)
    assert sorted(topic for request in requests for topic in request.topics) == sorted(topics)
    sent = [request.id for request in requests]
    assert sent == list(range(41, 41 + len(requests)))
    for request in requests:
        assert request.topics and len(request.raw) < 60_000
        assert isinstance(json.loads(request.raw), dict)
        for topic in request.topics:
            assert venue.native(topic.symbol).lower() in request.raw.decode().lower()
    most, seconds = venue.limits.requests
    assert len(requests) / most * seconds < 60, "a connection that is full is subscribed within a minute"


@EVERY
@pytest.mark.parametrize("raw", GARBAGE, ids=repr)
def test_no_venue_raises_anything_but_a_parse_error(venue, raw):
    hole = Hole("BTC-USDT", 5, 9, 0, 2**62)
    readers = [venue.parse, venue.parse_symbols]
    readers += [venue.parse_snapshot] if venue.depth_from_rest else []
    readers += [lambda answer: venue.parse_backfill(hole, answer)] if venue.backfills else []
    for read in readers:
        with pytest.raises(ParseError):
            read(raw)


@EVERY
def test_rest_has_what_is_asked_for_somewhere(venue):
    if venue.depth_from_rest:
        assert venue.snapshot_path("BTC-USDT", 1_000).startswith("/")
    if venue.backfills:
        assert venue.backfill_path(Hole("BTC-USDT", 5, 9, 10**18, 2 * 10**18)).startswith("/")


@pytest.mark.parametrize("venue_id", ["nowhere", "", "__init__", "_text", "../binance", "Binance", "binance "])
def test_an_unknown_venue_is_an_error_that_names_the_valid_ones(venue_id):
    with pytest.raises(KeyError, match="binance"):
        load(venue_id)


@EVERY
def test_a_venue_says_what_it_has_of_the_past(venue):
    assert bool(venue.candles) == bool(venue.candles_a_page)
    assert {*venue.candles} <= {foreign.SECONDS, *intervals.NAMES}
    if venue.candles:
        paths = {venue.candles_path("BTC-USDT", name, 86_400_000, 5) for name in venue.candles}
        assert len(paths) == len(venue.candles) and all(path.startswith("/") for path in paths)
        assert venue.candles_weight(venue.candles_a_page) >= venue.candles_weight(1) > 0
    if venue.since_weight:
        assert venue.backfills and venue.since_path("BTC-USDT", 10**18).startswith("/")
