"""The law of a venue's `skim`: what it takes, `parse` takes too, as events of that time, none of them a trade."""

import gzip
import random

import pytest

from tests.cli.making import RECORDINGS, depth, trade
from tests.exchanges.mutants import SPLICES, check_skimmed, good
from wick import exchanges
from wick.market.trades import DepthUpdate, Quote, Trade

QUOTE = (
    b'{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000",'
    b'"B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}'
)
DEPTH = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,'
    b'"u":50093239207,"b":[["55653.87000000","0.00000000"],["1.5","2.0"]],"a":[]}}'
)
VENUES = [exchanges.load(venue_id) for venue_id in exchanges.ids()]
BINANCE = exchanges.load("binance")
SKIMMED = [(venue, raw) for venue in VENUES for raw in good(venue.id) if venue.skim(raw) is not None]


def test_skim_takes_quotes_and_books_and_leaves_all_else_to_parse():
    assert BINANCE.skim(QUOTE) == 0
    assert BINANCE.skim(DEPTH) == 1723161255308 * 1_000_000
    for other in (trade(1, 0), trade(1, 0, e="bookTicker"), depth(0) + " ", "{}", '{"result":null,"id":1}', ""):
        assert BINANCE.skim(other.encode()) is None


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.id)
def test_skim_takes_no_trade(venue):
    for raw in good(venue.id):
        check_skimmed(venue, raw)
        if any(type(event) is Trade for event in venue.parse(raw)):
            assert venue.skim(raw) is None


@pytest.mark.parametrize("venue_id", ["binance", "binance-usdm", "coinbase"])
def test_these_have_the_short_cut(venue_id):
    taken = [type(venue.parse(raw)[0]) for venue, raw in SKIMMED if venue.id == venue_id]
    assert taken == ([DepthUpdate] if venue_id == "coinbase" else [Quote, DepthUpdate])


@pytest.mark.parametrize(("venue", "frame"), SKIMMED, ids=lambda one: getattr(one, "id", "frame"))
def test_whatever_is_done_to_a_frame_skim_takes_no_more_than_parse(venue, frame):
    chance = random.Random(4)
    taken = 0
    for _ in range(10_000):
        raw = bytearray(frame)
        for _ in range(chance.choice((1, 1, 2, 3))):
            at = chance.randrange(len(raw))
            raw[at : at + chance.choice((0, 1, 1, 2))] = chance.choice(SPLICES)
        taken += venue.skim(bytes(raw)) is not None
        check_skimmed(venue, bytes(raw))
    assert taken > 50, "mutations that are harmless should be among them"


@pytest.mark.parametrize(
    "wrong",
    [
        QUOTE.replace(b"61837.63", b"9" * 19 + b".5"),
        QUOTE.replace(b'"61837.63000000"', b'"61837."'),
        QUOTE.replace(b'"u":5', b'"u":05'),
        QUOTE.replace(b'"s":"BTCUSDT"', b'"s":"../etc"'),
        DEPTH.replace(b"1723161255308", b"9723161255308"),
        DEPTH.replace(b'["1.5","2.0"]', b'["1.5"]'),
        DEPTH.replace(b'["1.5","2.0"]', b'["1.5","2.0"],'),
        DEPTH + b"}",
        QUOTE + b"\n" + QUOTE,
    ],
)
def test_skim_leaves_what_is_wrong_to_parse(wrong):
    assert BINANCE.skim(wrong) is None


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data/binance-spot is not there")
def test_skim_takes_every_recorded_quote_and_book_update():
    path = sorted(RECORDINGS.glob("*eth*"))[0]
    for line in gzip.decompress(path.read_bytes()).splitlines()[::10]:
        raw = line.split(b" ", 1)[1]
        assert (BINANCE.skim(raw) is not None) == (b"@bookTicker" in raw[:60] or b"@depth" in raw[:60])
        check_skimmed(BINANCE, raw)
