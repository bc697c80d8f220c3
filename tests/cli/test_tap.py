"""wick tap: any stream, decoded, a line a message, and nothing that a terminal would act upon."""

import json
from contextlib import closing, contextmanager

import pytest

from tests.cli.live import data_dir, in_background, publishing
from tests.net.front_process import Worker
from wick.cli import main, tap
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, Flag
from wick.market.trades import Quote, Trade
from wick.ops.settings import load
from wick.stream.shards import SHARDS, shard_of
from wick.wire.codec import pack
from wick.wire.messages import (
    Closes,
    TickHeader,
    book_frames,
    closes_topic,
    pack_quote,
    pack_trade,
    stats_topic,
    ticks_topic,
)

__all__ = ["data_dir"]

TRADE = Trade("BTC-USDT", 1_000, 9, 6183763, 2, 2, 2, False)
QUOTE = Quote("ETH-USDT", 8, 250001, 15, 250002, 3, 2, 1)


def ticks(_="feed-0"):
    header = TickHeader(1, 1, 0, "binance", 0, 0, [[7, 5, False, ["BTC-USDT", "ETH-USDT"], [1, 1]]])
    return [[ticks_topic("binance", 7), header.pack(), pack_trade(TRADE, 11) + pack_quote(QUOTE, 12)]]


def closes(_="aggregator-0"):
    values = {name: number for number, name in enumerate(CANDLE_FIELDS, 100)}
    values |= {"flags": int(Flag.CLOSED | Flag.SUSPECT), "price_decimals": 2, "quantity_decimals": 1, "close": 6183763}
    values |= {"delta": -117, "cvd": None, "vwap": None, "kyle_lambda": -0.25}
    rows = [["binance", "BTC-USDT", name, *values.values()] for name in ("1m", "5m")]
    return [[closes_topic(3), Closes.of_rows(1, 4, 0, rows).pack()]]


def said(capsys, *arguments):
    assert main(["tap", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def said_json(capsys, *arguments):
    return [json.loads(line) for line in said(capsys, *arguments, "--json")]


def test_a_trade_is_told_in_plain_numbers(data_dir, capsys):
    with publishing(data_dir, ticks, "feed-0"):
        (line,) = said(capsys, "trades.*", "--count", "1")
    assert line == (
        "trades.binance.BTC-USDT event_ns=1000 trade_id=9 price=61837.63 quantity=0.02 taker=sell seq=5 recv_ns=11"
    )


def test_a_quote_has_its_sides_the_right_way_round(data_dir, capsys):
    with publishing(data_dir, ticks, "feed-0"):
        (item,) = said_json(capsys, "quotes.binance.*", "--count", "1", "--data-dir", str(data_dir))
    assert item == {
        "topic": "quotes.binance.ETH-USDT", "update_id": 8, "bid": "2500.01", "bid_quantity": "1.5", "ask": "2500.02",
        "ask_quantity": "0.3", "seq": 5, "recv_ns": 12,
    }  # fmt: skip


def test_a_glob_may_cover_several_streams_of_one_symbol(data_dir, capsys):
    with publishing(data_dir, ticks, "feed-0"):
        topics = {item["topic"] for item in said_json(capsys, "[tq]*.binance.*", "--count", "4")}
    assert topics == {"trades.binance.BTC-USDT", "quotes.binance.ETH-USDT"}


def test_a_book_is_told_as_the_venue_said_it(data_dir, capsys):
    frames = book_frames("binance", 3, "BTC-USDT", 5, 2, [["1.50", "0.10"]], [])
    with publishing(data_dir, lambda _: [frames], "feed-0"):
        (item,) = said_json(capsys, "book.*", "--count", "1")
    assert item == {
        "topic": "book.binance.BTC-USDT", "event_ns": 5, "update_id": 2, "bids": [["1.50", "0.10"]], "asks": [],
    }  # fmt: skip


def test_a_closed_candle_is_told_with_its_flags_by_name(data_dir, capsys):
    with publishing(data_dir, closes, "aggregator-0"):
        (item,) = said_json(capsys, "closes.*.BTC-USDT.5m", "--count", "1")
    assert item["topic"] == "closes.binance.BTC-USDT.5m"
    assert (item["flags"], item["close"], item["seq"]) == ("closed,suspect", "61837.63", 4)
    assert (item["volume"], item["quote_volume"], item["trade_count"]) == ("11", "0.111", 112)
    assert (item["delta"], item["kyle_lambda"], item["cvd"], item["vwap"]) == ("-11.7", -0.25, None, None)


def test_what_is_not_known_of_a_candle_is_a_dash_in_a_line(data_dir, capsys):
    with publishing(data_dir, closes, "aggregator-0"):
        (line,) = said(capsys, "closes.*.BTC-USDT.5m", "--count", "1")
    assert {"delta=-11.7", "cvd=-", "vwap=-", "kyle_lambda=-0.25"} <= set(line.split())


def test_stats_are_told_in_braces(data_dir, capsys):
    stats = {"process": "feed-0", "counters": {"trades": 5, "errors": {"x": 1}}}
    with publishing(data_dir, lambda process: [[stats_topic(process), pack(stats)]], "feed-0"):
        (line,) = said(capsys, "stats.feed-*", "--count", "1")
    assert line == "stats.feed-0 process=feed-0 counters={trades=5 errors={x=1}}"


def test_what_a_stream_carries_cannot_drive_the_terminal(data_dir, capsys):
    hostile = {"process": "a\x1b]0;owned\x07\n", "b\r": "\u202egnp"}
    with publishing(data_dir, lambda process: [[stats_topic(process), pack(hostile)]], "feed-0"):
        (line,) = said(capsys, "stats.*", "--count", "1")
        (as_json,) = said(capsys, "stats.*", "--count", "1", "--json")
    for text in (line, as_json):
        assert text.isprintable() and "\u202e" not in text


def test_a_message_that_is_none_is_named_and_left_out(data_dir, capsys):
    def make(_):
        return [[b"ticks.binance.07", b"\xc1", b""], [b"ticks.binance.07"], [b"book.x.07", pack(5)], *ticks()]

    with publishing(data_dir, make, "feed-0"):
        assert main(["tap", "*", "--count", "3"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err.startswith("a message is not what it should be")


def test_diffs_are_told_by_name_from_the_first_one_after_the_snapshot(data_dir, capsys):
    worker = Worker(data_dir)
    try:
        worker.publish("BTC-USDT", head=[6183763, 9, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1])
        with closing(tap.Tap(_settings(data_dir), "diffs.binance.BTC-USDT", ["diffs"])) as one, changing(worker):
            topic, item = next(one.items())
    finally:
        worker.stop()
    assert topic == "diffs.binance.BTC-USDT"
    assert item["epoch"] == 1
    assert item["now"].keys() == {"last_price", "last_trade_id", "1m.open"}
    assert (item["now"]["last_price"], item["now"]["1m.open"]) in [("61837.63", "10.5"), ("61837.64", "10.51")]


def _settings(data_dir):
    return load(["--core-data-dir", str(data_dir)])


@contextmanager
def changing(worker):
    """A trade every 10 ms."""

    def publish(done):
        number = 0
        while not done.wait(0.01):
            number += 1
            worker.publish("BTC-USDT", head=[6183763 + number % 2, 9 + number], g3=[0, 1050 + number % 2])

    with in_background(publish):
        yield


def test_a_glob_that_can_match_no_stream_is_an_error_that_names_them(data_dir, capsys):
    assert main(["tap", "candles.*"]) == 2
    said = capsys.readouterr().err
    assert "candles.*" in said and all(stream in said for stream in tap.STREAMS)


@pytest.mark.parametrize("count", ["0", "-1"])
def test_a_count_that_is_none_is_an_error(data_dir, capsys, count):
    assert main(["tap", "stats.*", "--count", count]) == 2
    assert "valid is a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("glob", "streams"),
    [("*", tap.STREAMS), ("trades.*", ("trades",)), ("[bdt]*.x", ("trades", "book", "diffs")),
     ("s?ats.feed-0", ("stats",)), ("tra", ()), ("Trades.*", ()), ("", ())],
)  # fmt: skip
def test_a_glob_chooses_streams_by_its_first_part(glob, streams):
    assert tuple(stream for stream in tap.STREAMS if tap._may_match(stream, glob)) == streams


def test_only_the_shards_that_a_glob_can_concern_are_followed(data_dir):
    def shards(glob):
        with closing(tap.Tap(_settings(data_dir), glob, ["trades"])) as one:
            return one._shards()

    assert shards("diffs.binance.BTC-USDT") == [shard_of("binance", "BTC-USDT")]
    for glob in ("*", "diffs.*", "diffs.binance", "diffs.binance.*", "diffs.*.BTC-USDT", "diffs.binance.BTC-[UE]*"):
        assert shards(glob) == list(range(SHARDS))


def test_values_within_values_stay_on_one_line():
    assert tap._text({"a": {"b": 1}, "c": [1, 2]}) == "{a={b=1} c=[1, 2]}"
    assert tap._text(None) == "-"
    assert NAMES[2] == "1m", "the name that the diff above is told by"
