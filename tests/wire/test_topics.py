"""Texts that name topics: understood and written as they were read, or refused with what is valid, nearest first."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import ProtocolError
from wick.market.intervals import NAMES
from wick.wire.topics import KINDS, MAX_TOPIC, MAX_VALID, Pattern, Topic, expand, parse_topics

VENUES = ("binance", "binance-usdm", "kraken")
PAIRS = {
    ("binance", "BTC-USDT"): 0,
    ("binance", "ETH-USDT"): 1,
    ("binance-usdm", "BTC-USDT"): 0,
    ("kraken", "BTC-USD"): 0,
    ("kraken", "ETH-BTC"): 1,
}


def named(text, pairs=PAIRS, room=1000):
    return [topic.text for topic in expand(parse_topics(text, VENUES), pairs, room)]


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("ticker:binance:BTC-USDT", Topic("ticker", "binance", "BTC-USDT", -1)),
        ("candles:binance:BTC-USDT:1M", Topic("candles", "binance", "BTC-USDT", 11)),
        ("candles:binance:币安-USDT:15s", Topic("candles", "binance", "币安-USDT", 0)),
        ("closes:kraken:BTC-USD:1h", Topic("closes", "kraken", "BTC-USD", 7)),
        ("metrics:kraken:BTC-USD:1h", Topic("metrics", "kraken", "BTC-USD", 7)),
        ("trades:kraken:BTC-USD", Topic("trades", "kraken", "BTC-USD", -1)),
        ("book:kraken:BTC-USD", Topic("book", "kraken", "BTC-USD", -1)),
        ("stats", Topic("stats", "", "", -1)),
    ],
)
def test_a_topic_is_understood_and_written_as_it_was_read(text, topic):
    assert parse_topics(text, VENUES).single == topic
    assert topic.text == text
    assert named(text, {}) == [text]  # known or not


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ("ticker:*", ["ticker:binance:BTC-USDT", "ticker:binance:ETH-USDT", "ticker:binance-usdm:BTC-USDT",
                      "ticker:kraken:BTC-USD", "ticker:kraken:ETH-BTC"]),
        ("ticker:binance:*", ["ticker:binance:BTC-USDT", "ticker:binance:ETH-USDT"]),
        ("ticker:binance*:BTC-*", ["ticker:binance:BTC-USDT", "ticker:binance-usdm:BTC-USDT"]),
        ("closes:*:1h", [f"closes:{venue}:{symbol}:1h" for venue, symbol in PAIRS]),
        ("candles:*:BTC-*:15s", ["candles:binance:BTC-USDT:15s", "candles:binance-usdm:BTC-USDT:15s",
                                 "candles:kraken:BTC-USD:15s"]),
        ("candles:binance:BTC-USDT,NEW-USDT:1m,5m", ["candles:binance:BTC-USDT:1m", "candles:binance:BTC-USDT:5m",
                                                     "candles:binance:NEW-USDT:1m", "candles:binance:NEW-USDT:5m"]),
        ("book:kraken:ETH-BTC,*-BTC,ETH-*", ["book:kraken:ETH-BTC"]),
        ("metrics:kraken:BTC-USD:*", [f"metrics:kraken:BTC-USD:{name}" for name in NAMES]),
        ("trades:kraken:BTC-*-*", []),
    ],
)  # fmt: skip
def test_globs_and_lists_name_each_topic_once(text, topics):
    assert named(text) == topics


@pytest.mark.parametrize(
    ("text", "is_open"),
    [("ticker:*", True), ("ticker:binance:*", True), ("candles:*:1m", True), ("candles:k*:BTC-USD:1m", True),
     ("candles:kraken:BTC-USD:*", False), ("ticker:kraken:A-B,C-D", False), ("stats", False)],
)  # fmt: skip
def test_a_glob_goes_on_with_pairs_that_appear_later(text, is_open):
    pattern = parse_topics(text, VENUES)
    assert pattern.is_open == is_open
    assert set(expand(pattern, PAIRS, 1000)) >= {topic for pair in PAIRS for topic in pattern.of(*pair)}


def test_the_same_in_other_words_is_the_same():
    assert parse_topics("ticker:*") == parse_topics("ticker:*:*")
    assert parse_topics("closes:v:A-B,A-B:1m,1m") == Pattern("closes", ("v",), ("A-B",), (2,))


@pytest.mark.parametrize("name", NAMES)
def test_candles_show_the_head_and_the_candle_of_their_interval(name):
    index = NAMES.index(name)
    assert Topic("candles", "v", "S", index).groups == {0: 0, index + 1: 1}
    assert Topic("ticker", "v", "S", -1).groups == {0: 0}
    assert Topic("closes", "v", "S", index).groups == Topic("metrics", "v", "S", index).groups == {}


@pytest.mark.parametrize(
    ("text", "code", "field", "first"),
    [
        ("", "bad_kind", "kind", "ticker"),
        ("tikcer:v:S", "bad_kind", "kind", "ticker"),
        ("trade:v:S", "bad_kind", "kind", "trades"),
        ("Ticker:kraken:S", "bad_kind", "kind", "ticker"),
        (" ticker:kraken:S", "bad_kind", "kind", "ticker"),
        ("ticker:kraken:" + "S" * MAX_TOPIC, "bad_kind", "kind", "ticker"),
        ("ticker", "bad_topic", "topic", "ticker:<venue>:<symbol>"),
        ("ticker:kraken", "bad_topic", "topic", "ticker:<venue>:<symbol>"),
        ("ticker:kraken:S:1m", "bad_topic", "topic", "ticker:<venue>:<symbol>"),
        ("candles:kraken:S", "bad_topic", "topic", "candles:<venue>:<symbol>:<interval>"),
        ("closes:*", "bad_topic", "topic", "closes:<venue>:<symbol>:<interval>"),
        ("stats:feed-0", "bad_topic", "topic", "stats"),
        ("ticker:kraken:", "bad_topic", "symbol", "<symbol> or *"),
        ("ticker::S", "bad_topic", "venue", "<venue> or *"),
        ("candles:kraken:A-B,:1m", "bad_topic", "symbol", "<symbol> or *"),
        (
            "candles:kraken:A-B:1m,",
            "bad_topic",
            "interval",
            "<interval> or *",
        ),
        ("ticker:kracken:S", "bad_venue", "venue", "kraken"),
        ("ticker:x*:S", "bad_venue", "venue", "binance"),
        ("candles:kraken:S:10m", "bad_interval", "interval", "1m"),
        ("candles:kraken:S:1*", "bad_interval", "interval", "1w"),
        (f"ticker:kraken:A-B,{'X' * 65}", "bad_topic", "symbol", "<symbol> of at most 64 characters"),
    ],
)
def test_a_text_that_names_nothing_is_refused_with_what_is_valid_the_nearest_first(text, code, field, first):
    with pytest.raises(ProtocolError, match="valid is ") as caught:
        parse_topics(text, VENUES)
    error = caught.value
    assert (error.code, error.field) == (code, field)
    assert error.valid[0] == first
    assert len(error.valid) <= MAX_VALID
    assert all(choice in error.message for choice in error.valid)


@pytest.mark.parametrize("text", ["binance:btc-usdt", "binance:BTCUSDT", "binance:ETH-USDT,btc/usdt"])
def test_a_known_symbol_that_is_spelt_in_another_way_is_refused_with_the_known_one(text):
    with pytest.raises(ProtocolError) as caught:
        named(f"ticker:{text}")
    assert (caught.value.code, caught.value.field, caught.value.valid) == ("bad_symbol", "symbol", ("BTC-USDT",))


def test_a_name_that_nobody_knows_is_looked_for_a_few_times_only():
    """A request may have two thousand of them, and each look takes a while."""
    looks = []

    class Pairs(set):
        def __contains__(self, pair):
            looks.append(pair)
            return False

    text = f"ticker:kraken:{'X' * 30}"
    assert [topic.text for topic in expand(parse_topics(text, VENUES), Pairs(), 10)] == [text]
    assert len(looks) <= 8


@pytest.mark.parametrize(("room", "text"), [(4, "ticker:*"), (11, "candles:kraken:A-B:*"), (0, "stats")])
def test_a_text_that_names_too_many_is_refused_before_they_are_made(room, text):
    with pytest.raises(ProtocolError, match=f"at most {room} topics more") as caught:
        named(text, room=room)
    assert caught.value.code == "too_many"
    assert len(named(text, room=room + 1)) == room + 1


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_a_star_stands_for_any_characters(item, name):
    pattern = Pattern("ticker", ("v",), (item,), (-1,))
    assert bool(pattern.of("v", name)) == fnmatchcase(name, item)


PARTS = st.one_of(
    st.sampled_from(["*", "binance", "kraken", "BTC-USDT", "BTC-*", "A-B,C-D", "1m", "1m,5m", ""]), st.text(max_size=4)
)


@given(st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=4).flatmap(
    lambda parts: st.sampled_from([*KINDS]).map(lambda kind: ":".join([kind, *parts])))))  # fmt: skip
def test_any_text_names_topics_or_says_what_is_valid(text):
    try:
        for topic in expand(parse_topics(text, VENUES), PAIRS, 1000):
            assert parse_topics(topic.text, VENUES).single == topic
    except ProtocolError as error:
        assert error.valid
