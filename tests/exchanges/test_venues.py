"""Every venue is complete: a file in wick/exchanges is found, and has all that the feed asks of it."""

from pathlib import Path
from typing import get_type_hints
from urllib.parse import urlsplit

import pytest

import wick.exchanges
from wick.errors import ParseError
from wick.exchanges import Venue, ids, load

NAMES = tuple(sorted(path.stem for path in Path(wick.exchanges.__file__).parent.glob("[!_]*.py")))


def test_every_file_is_a_venue_and_nothing_else_is():
    assert tuple(name.replace("-", "_") for name in ids()) == NAMES
    assert "binance" in ids()


@pytest.mark.parametrize("venue_id", ids())
def test_a_venue_has_all_that_the_protocol_asks_for(venue_id):
    venue = load(venue_id)
    for name, kind in get_type_hints(Venue).items():
        value = getattr(venue, name)
        assert isinstance(value, getattr(kind, "__origin__", kind)), name
    for name in vars(Venue):
        if not name.startswith("_"):
            assert callable(getattr(venue, name)), name
    assert venue.id == venue_id
    assert urlsplit(venue.ws_url).scheme == "wss" and urlsplit(venue.rest_url).scheme == "https"
    assert venue.ws_path.startswith("/") and venue.symbols_path.startswith("/")
    assert venue.empty in ("flat", "omit")
    assert venue.max_streams > 0 and "trade" in venue.channels


@pytest.mark.parametrize("venue_id", ids())
@pytest.mark.parametrize("raw", [b"", b"null", b"{", b"[[[]]]", b"\x00\xff", b'{"e":{}}'])
def test_no_venue_raises_anything_but_a_parse_error(venue_id, raw):
    with pytest.raises(ParseError):
        load(venue_id).parse(raw)


@pytest.mark.parametrize("venue_id", ["nowhere", "", "__init__", "../binance", "Binance", "binance "])
def test_an_unknown_venue_is_an_error_that_names_the_valid_ones(venue_id):
    with pytest.raises(KeyError, match="binance"):
        load(venue_id)
