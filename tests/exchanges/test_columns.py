"""Trades in columns are those that `parse` gives, and whatever is not flawless in every byte is left to it."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.exchanges.mutants import good, in_columns, mutant, whole_columns
from tests.exchanges.test_bybit import NUMBERED
from wick.exchanges import _columns, ids, load
from wick.market.trades import Trade

# A trade as each venue writes it: with s(ymbol), n(umber), p(rice), q(uantity), side and time.
WRITTEN = {
    "binance": '{{"stream":"{small}@trade","data":{{"e":"trade","E":1723161255343,"s":"{s}","t":{n},"p":"{p}",'
    '"q":"{q}","T":{ms},"m":{maker},"M":true}}}}',
    "binance-usdm": '{{"stream":"{small}@aggTrade","data":{{"e":"aggTrade","E":1723161255343,"s":"{s}","a":{n},'
    '"p":"{p}","q":"{q}","f":{n},"l":{last},"T":{ms},"m":{maker}}}}}',
    "coinbase": '{{"type":"match","trade_id":{n},"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8",'
    '"taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"{side}","size":"{q}","price":"{p}",'
    '"product_id":"{s}","sequence":1783284617,"time":"2024-08-09T00:00:{ms:.2}.{ms:.6}Z"}}',
    "kraken": '{{"channel":"trade","type":"update","data":[{{"symbol":"{s}","side":"{side}","price":{p},"qty":{q},'
    '"ord_type":"limit","trade_id":{n},"timestamp":"2024-08-09T00:00:{ms:.2}.{ms:.6}Z"}}]}}',
    "bybit": '{{"topic":"publicTrade.{s}","ts":1672304486868,"type":"snapshot","data":[{{"i":"{n}","T":{ms},"p":"{p}",'
    '"v":"{q}","S":"{taker}","seq":1783284617,"s":"{s}","BT":false,"RPI":true}}]}}',
    "okx": '{{"arg":{{"channel":"trades","instId":"{s}"}},"data":[{{"instId":"{s}","tradeId":"{n}","px":"{p}",'
    '"sz":"{q}","side":"{side}","ts":"{ms}","count":"3","source":"0","seqId":1234}}]}}',
}
NAMES = {"coinbase": "BTC-USD", "kraken": "BTC/USD", "okx": "BTC-USDT"}
EVERY = pytest.mark.parametrize("venue_id", ids())


def written(venue_id, s="", n=7, p="61837.60", q="0.020", ms="1723161255342", buy=True):
    s = s or NAMES.get(venue_id, "BTCUSDT")
    last = n + 2 if type(n) is int and n < 10**16 - 2 else n
    return WRITTEN[venue_id].format(
        s=s, small=s.lower(), n=n, last=last, p=p, q=q, ms=ms, maker="false" if buy else "true",
        side="buy" if buy else "sell", taker="Buy" if buy else "Sell",
    ).encode()  # fmt: skip


def fine(venue_id):
    """Frames that columns take."""
    extra = [NUMBERED.replace(b'"s":"ETHUSDC","BT":false}', b'"seq":1,"s":"ETHUSDC","BT":false,"RPI":true}')]
    return [written(venue_id), *good(venue_id), *(extra if venue_id == "bybit" else ())]


@EVERY
def test_a_flawless_trade_is_taken_and_is_what_parse_makes_of_it(venue_id):
    venue = load(venue_id)
    frames = [
        written(venue_id, n=n, p=p, q=q, buy=buy)
        for n in (1, 9, 12345678, 123456789, 10**15, 10**16 - 1)
        for p in ("1", "0.5", "12345678", "12345678.12345678", "0.00000001", "100.00", "1.10", "90000000")
        for q in ("3", "0.10000000")
        for buy in (True, False)
    ]
    columns, left = whole_columns(venue, frames)
    assert left == []
    assert columns.trades() == [trade for raw in frames for trade in venue.parse(raw)]


@EVERY
def test_a_message_with_any_byte_changed_left_out_or_put_in_is_taken_as_parse_takes_it_or_not_at_all(venue_id):
    venue, raw = load(venue_id), written(venue_id)
    spoilt = [raw]
    for at in range(len(raw)):
        spoilt.append(raw[:at] + raw[at + 1 :])
        spoilt.append(raw[:at])
        for byte in b'\x00\x1f "\\0:/9,.}{[-eA\x7f\x80\xff':
            spoilt.append(raw[:at] + bytes([byte]) + raw[at + 1 :])
            spoilt.append(raw[:at] + bytes([byte]) + raw[at:])
    in_columns(venue, spoilt)


@EVERY
def test_two_pieces_of_a_message_are_none(venue_id):
    venue, raw = load(venue_id), written(venue_id)
    for at in range(1, len(raw), 1 if settings.default.max_examples > 6 else 4):
        frames = [raw, raw[:at], raw[at:], raw]
        found = whole_columns(venue, frames)
        assert found is None or {1, 2} <= set(found[1])
        in_columns(venue, frames)


TEXTS = st.one_of(
    st.from_regex(r"[0-9]{1,10}(\.[0-9]{0,10})?", fullmatch=True),
    st.sampled_from(["", ".5", "1.", "0", "0.0", "00", "01.5", "1..2", "-1", "1e5", "9" * 19, "0." + "0" * 8 + "1"]),
)
ROWS = st.builds(
    dict,
    n=st.one_of(st.integers(0, 2**65), st.integers(1, 10**16), st.just("007"), st.just("1.5")),
    p=TEXTS, q=TEXTS, buy=st.booleans(),
    s=st.sampled_from(
        ["", "", "", "ETHUSDT", "ETH-USDT", "ETH/USD", "ethusdt", "A" * 15, "A" * 16, "A" * 41, "币安人生USDT", "A\x00",
         "BTCUSDT_250328"]
    ),
    ms=st.sampled_from(["1723161255342"] * 3 + ["172316125534", "01723161255342", "0723161255342", "9723161255342"]),
)  # fmt: skip


@EVERY
@given(st.lists(ROWS, min_size=1, max_size=8))
@example([{"n": 2**63 - 1}, {"n": 2**63}, {"n": 10**19}, {"n": 10**20}])
@example([{"s": "ETHUSDT\x00"}, {"s": "ETHUSDT"}, {"s": "ETHUSDT\x00"}])
def test_whatever_the_fields_hold_what_is_taken_is_what_parse_makes_of_it(venue_id, rows):
    in_columns(load(venue_id), [written(venue_id, **row) for row in rows])


@EVERY
def test_mutated_messages_are_taken_as_parse_takes_them_or_not_at_all(venue_id):
    rng, frames = random.Random(2), fine(venue_id)
    for _ in range(20):
        in_columns(
            load(venue_id), [mutant(rng, frames) if rng.random() < 0.7 else rng.choice(frames) for _ in range(50)]
        )


@pytest.mark.parametrize("venue_id", ["bybit", "kraken"])
def test_a_message_of_several_trades_is_taken_whole_or_not(venue_id):
    venue, raw = load(venue_id), written(venue_id)
    head, row = raw[: raw.index(b"[{") + 1], raw[raw.index(b"[{") + 1 : -2]
    two = head + row + b"," + row + b"]}"
    columns, left = whole_columns(venue, [two, raw, two])
    assert (left, columns.frames.tolist()) == ([], [0, 0, 1, 2, 2])
    bad = [
        head + row + b"," + row.replace(b"0.020", b"0.0x0") + b"]}", head + row + b" ," + row + b"]}", head + b"]}",
        head + row + row + b"]}", head + row + b",]}", head + row + b",{}]}", head + row + b"]}}", head + row + b"]",
    ]  # fmt: skip
    for spoilt in bad:
        columns, left = whole_columns(venue, [two, spoilt, raw])
        assert (left, columns.frames.tolist()) == ([1], [0, 0, 2])
        in_columns(venue, [two, spoilt, raw])


def test_the_trades_of_a_symbol_are_all_in_columns_or_all_events_and_each_refusal_names_its_message():
    """So that they stay in order, though some of them are not flawless."""
    frames = []
    for number in range(400):
        frames.append(written("binance", n=1 + number))
        frames.append(written("binance", "ETHUSDT", n=1 + number, p="1.123456789" if number == 200 else "1.5"))
    frames[100] = b"{"
    columns, events = _columns.take(load("binance"), frames)
    assert columns is not None
    assert {trade.symbol for trade in columns.trades()} == {"BTC-USDT"}
    assert [trade.trade_id for trade in columns.trades()] == [n for n in range(1, 401) if n != 51]
    trades = [event for event in events if isinstance(event, Trade)]
    assert [(trade.symbol, trade.trade_id) for trade in trades] == [("ETH-USDT", n) for n in range(1, 401)]
    assert [event.place for event in events if not isinstance(event, Trade)] == [100]


def test_a_message_that_is_torn_takes_its_other_symbols_with_it():
    row = (
        b'{"symbol":"%b","side":"buy","price":%b,"qty":1,"ord_type":"limit","trade_id":%d,'
        b'"timestamp":"2024-08-09T00:00:00.1Z"}'
    )
    head = b'{"channel":"trade","type":"update","data":['
    one = [head + row % (b"A/USD", b"1", number) + b"]}" for number in range(1, 400)]
    both = head + row % (b"A/USD", b"1", 400) + b"," + row % (b"B/USD", b"1", 1) + b"]}"
    other = head + row % (b"B/USD", b"1.123456789", 2) + b"]}"
    third = [head + row % (b"C/USD", b"1", number) + b"]}" for number in range(1, 400)]
    columns, events = _columns.take(load("kraken"), [*one, both, other, *third])
    assert columns is not None and {trade.symbol for trade in columns.trades()} == {"C/USD".replace("/", "-")}
    assert [event.trade_id for event in events if event.symbol == "A-USD"] == [*range(1, 401)]
    assert [event.trade_id for event in events if event.symbol == "B-USD"] == [1, 2]


@EVERY
def test_few_messages_and_messages_without_trades_are_left_to_take(venue_id):
    venue = load(venue_id)
    assert venue.columns([written(venue_id)] * 100) is None
    assert venue.columns([b'{"id":1,"result":null}'] * 1_000) is None
    columns, events = _columns.take(venue, [written(venue_id)] * 3)
    assert columns is None and len(events) == 3


def test_names_without_end_are_forgotten_and_learnt_again(monkeypatch):
    monkeypatch.setattr("wick.exchanges._cursor.MOST_NAMES", 8)
    venue = load("binance")
    for at in range(12):
        frames = [written("binance", f"Z{at + more}USDT") for more in range(3)]
        whole_columns(venue, frames)
        columns, left = whole_columns(venue, frames)
        assert left == []
        assert [trade.symbol for trade in columns.trades()] == [f"Z{at + more}-USDT" for more in range(3)]
