"""Quotes and levels to the book fields of closed candles: from frames, through the feed's batches and a shard.

What the levels hold is made here, and put behind the trades of a flush as the feed does.
"""

import random

import pytest

from tests.market.reference import MS, OF_QUOTES, BookReference, Depth, Quote
from wick import exchanges
from wick.market.schema import CANDLE_FIELDS, Flag
from wick.market.trades import DEPTH, QUOTE, RECORD_STRUCT, BookDepth
from wick.sim import wires
from wick.sim.market import Market, TradeEvent
from wick.sim.wires.binance import Form
from wick.stream.shard import CandleRules, Shard
from wick.stream.shards import SHARDS
from wick.stream.ticks import Ticks
from wick.wire.messages import Closes, closes_topic, pack_depth

START_MS = 1_732_000_000_000
LAG_NS = -1_270 * MS  # how far our clock is behind the venue's, on top of which comes a way of 5 ms


def frames_of(market: Market, until_ms: int) -> list[bytes]:
    found, wire = [], wires.load("binance")
    symbols = wires.symbols(wire, market.listings)
    for event in market.advance(until_ms):
        symbol, name = symbols[event.pair], symbols[event.pair].native.lower().encode()
        if isinstance(event, TradeEvent):
            found += wire.trades(symbol, Form("trade", name + b"@trade"), [event], event.time_ms)
        else:
            found += wire.quote(symbol, Form("bookTicker", name + b"@bookTicker"), event, event.time_ms)
    return found


def tuples_of(records: bytes) -> list[object]:
    return [
        Quote(ns, a, c, b, d, p, q) if kind == QUOTE
        else Depth(ns, a, b, c, d, q) if kind == DEPTH
        else (ns, number, a, p, b, q, bool(buy), c)
        for ns, number, a, b, c, d, _, p, q, kind, buy, _ in RECORD_STRUCT.iter_unpack(records)
    ]  # fmt: skip


def depth_of(symbol: str, at_ns: int, chance: random.Random) -> bytes:
    """A book now: mostly known."""
    held = [chance.choice((-1, *[chance.randint(0, 10**9)] * 9)) for _ in range(4)]
    return pack_depth(BookDepth(symbol, 1, *held, 8), at_ns, at_ns, 2)


@pytest.fixture(scope="module")
def demo():
    """What a shard publishes of 40 s of the demo exchange, and what each pair was given."""
    venue, market = exchanges.load("binance"), Market(3, 3, 60.0, START_MS)
    symbols = [venue.symbol(pair.listing.symbol) for pair in market.pairs]
    ticks, shard = Ticks("binance", symbols), Shard(0, 1, {"binance": CandleRules()})
    given, chance, published = {symbol: [] for symbol in symbols}, random.Random(1), []
    for now_ms in range(START_MS + 20, START_MS + 40_000, 20):
        recv_ns = (now_ms + 5) * MS + LAG_NS
        assert ticks.take(venue.take(frames_of(market, now_ms)), recv_ns) == []
        clock_ms = ticks.clock.at(recv_ns) // MS
        for portion in ticks.portions(SHARDS, recv_ns, 0):
            at = 0
            for _, _, _, names, counts in portion.parts:
                for symbol, count in zip(names, counts, strict=True):
                    end = at + count * RECORD_STRUCT.size
                    records = portion.records[at:end] + depth_of(symbol, clock_ms * MS, chance)
                    shard.pair("binance", symbol, now_ms).ticks(records)
                    given[symbol].append(("trades", tuples_of(records)))
                    at = end
        if clock_ms % 1_000 < 20:
            shard.advance("binance", clock_ms)
            for events in given.values():
                events.append(("clock", clock_ms))
        published += [body for topic, body in shard.flush(1) if topic == closes_topic(0)]
    rows = [row for body in published for row in Closes.unpack(body).rows]
    return given, [(row[1], row[2], dict(zip(CANDLE_FIELDS, row[3:], strict=True))) for row in rows]


@pytest.mark.slow
def test_the_demo_exchanges_quotes_make_the_book_fields_of_its_candles(demo):
    _, rows = demo
    whole = [row for _, name, row in rows if name == "15s" and not row["flags"] & Flag.PARTIAL]
    assert len(whole) >= 6
    for row in whole:
        assert all(isinstance(row[name], float) for name in (*OF_QUOTES, "book_imbalance")), row
        assert 0 < row["quoted_spread_bps"] < 20
        # Not always above 0: the quote before a trade is that of the flush before.
        assert abs(row["effective_spread_bps"]) < 20 and abs(row["microprice_dev_bps"]) < 20
        assert 0 < abs(row["book_imbalance"]) < 1
    near = [row["depth_imbalance_10bps"] for row in whole]
    assert any(near) and None in near, "not always known at the end"


@pytest.mark.slow
def test_they_are_what_the_definitions_say_of_the_records_that_the_pair_was_given(demo):
    given, rows = demo
    truth = {symbol: BookReference(events) for symbol, events in given.items()}
    assert len(rows) > 12
    assert [truth[symbol].difference(row) for symbol, _, row in rows] == [[]] * len(rows)


@pytest.mark.slow
def test_a_quote_is_stamped_with_the_venues_clock(demo):
    given, _ = demo
    for events in given.values():
        flushes = [some for kind, some in events if kind == "trades" and not isinstance(some[0], Quote)]
        late_by = [some[-2].at_ns - some[-3][0] for some in flushes if isinstance(some[-2], Quote)]
        assert len(late_by) > 50
        assert min(late_by) >= 0 and max(late_by) <= 30 * MS, "our own clock is more than a second behind"
