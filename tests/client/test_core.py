"""The client without IO: what it asks for, what it says, what it holds, and when it comes back."""

import pytest

from tests.client.speaking import (
    BTC,
    CANDLES,
    CLOSES,
    EPOCH,
    MINUTE,
    TRADES,
    Talk,
    head,
    hello,
    live,
    row,
)
from wick.client import reconnect
from wick.client.core import ENTRIES
from wick.client.events import (
    Changed,
    Closed,
    Connected,
    Disconnected,
    Error,
    Fresh,
    Gap,
    Revised,
    Snapshot,
    Stale,
    Subscribed,
    Trades,
    Unsubscribed,
)
from wick.client.forms import JSON
from wick.wire.session import Kind

OPEN = 1_763_900_040_000


def following_candles(**options):
    talk = Talk(CANDLES, **options)
    talk.opens()
    talk.subscribed(CANDLES)
    talk.says([Kind.SNAPSHOT, 1, EPOCH, 10, [head(), live(OPEN)], [row(OPEN - MINUTE)]])
    return talk


def kinds(said):
    return [type(event) for event in said]


# ---------------------------------------------------------------------- asking


def test_nothing_is_asked_before_the_front_has_spoken():
    talk = Talk(BTC)
    talk.core.opened(0)
    assert talk.asked() == []
    assert kinds(talk.says(hello())) == [Connected]
    assert talk.asked() == [[16, 1, [BTC]]]


def test_a_front_of_another_version_ends_the_session():
    talk = Talk(BTC)
    talk.core.opened(0)
    assert talk.says([Kind.HELLO, 2, 0, "front-9", {}]) == []
    assert talk.core.closing
    assert talk.cut() == [Disconnected(None, str(talk.core.ended), None)]
    assert "version 2" in str(talk.core.ended)


def test_many_topics_are_asked_for_in_pieces_that_a_front_takes():
    topics = [f"candles:binance:SYMBOL{n}-USDT:1m" for n in range(1_100)]
    talk = Talk(*topics)
    talk.opens()
    asked = talk.asked()
    assert [topic for _, _, some in asked for topic in some] == topics
    assert max(len(some) for _, _, some in asked) <= ENTRIES


def test_a_small_limit_on_messages_is_kept():
    talk = Talk(*[f"ticker:binance:S{n}-USDT" for n in range(20)])
    talk.core.opened(0)
    talk.says(hello(message_bytes=300))
    asked = talk.core.outgoing()
    assert len(asked) > 2
    assert max(map(len, asked)) <= 300


def test_a_topic_more_is_asked_for_at_once_and_only_once():
    talk = following_candles()
    talk.core.subscribe([BTC, BTC])
    talk.core.subscribe([BTC])
    assert talk.asked() == [[16, 2, [BTC]]]


def test_what_one_glob_leaves_and_another_still_names_is_subscribed_to_anew():
    talk = Talk("ticker:*", "ticker:binance:*")
    talk.opens()
    talk.subscribed(BTC, "ticker:kraken:BTC-USD")
    talk.core.unsubscribe(["ticker:*"])
    ((_, number, left),) = talk.asked()
    assert left == ["ticker:*"]
    said = talk.says([Kind.ACK, number, [[BTC, 1, False], ["ticker:kraken:BTC-USD", 2, False]]])
    assert said == [Unsubscribed("ticker:kraken:BTC-USD")]
    assert talk.asked() == [[16, 3, [BTC]]]


def test_what_is_left_while_there_is_no_connection_is_not_asked_for_again():
    talk = following_candles()
    talk.cut()
    talk.core.unsubscribe([CANDLES])
    talk.opens()
    assert talk.asked() == [] and talk.core.topics == {}


# ---------------------------------------------------------------------- candles


def test_changes_move_the_state_and_tell_it():
    talk = following_candles()
    (event,) = talk.says([Kind.DIFF, 1, 11, 1, [0, 1, 50]])
    assert type(event) is Changed
    assert str(event.ticker.last_price) == "90000.5"
    assert event.candle.close == event.ticker.last_price and event.ended is None
    assert talk.core.topics[CANDLES].candle == event.candle


def test_a_candle_that_ends_stays_as_it_stood_until_it_closes():
    talk = following_candles()
    (event,) = talk.says([Kind.DIFF, 1, 11, 1, [1, 1, MINUTE]])
    assert event.ended.open_time_ms == OPEN and not event.ended.closed
    assert event.candle.open_time_ms == OPEN + MINUTE
    held = talk.core.topics[CANDLES]
    assert [candle.open_time_ms for candle in held.candles] == [OPEN - MINUTE, OPEN]
    (event,) = talk.says([Kind.CLOSE, 1, 12, row(OPEN, close=9_000_001)])
    assert type(event) is Closed and str(event.candle.close) == "90000.01"
    assert held.candles[-1] == event.candle and not held._ended


def test_candles_without_trades_that_never_close_are_not_kept_forever():
    talk = following_candles()
    for n in range(30):
        talk.says([Kind.DIFF, 1, 11 + n, 1, [1, 1, MINUTE]])
    assert len(talk.core.topics[CANDLES].candles) < 12


def test_a_close_told_twice_is_said_once_and_another_row_of_it_is_a_revision():
    talk = following_candles()
    close = [Kind.CLOSE, 1, 11, row(OPEN)]
    assert kinds(talk.says(close, close)) == [Closed]
    assert kinds(talk.says([Kind.CLOSE, 1, 12, row(OPEN, 9_000_051, revision=1)])) == [Revised]
    assert kinds(talk.says([Kind.CLOSE, 1, 13, row(OPEN, flags=0)], close)) == [Revised]  # a worker began anew
    assert talk.core.topics[CANDLES].rows[OPEN][2] == 0  # what was told last stands


def test_only_the_newest_candles_are_kept():
    talk = following_candles(keep_candles=3)
    talk.says(*[[Kind.CLOSE, 1, 11, row(OPEN + n * MINUTE)] for n in range(9)])
    held = talk.core.topics[CANDLES]
    assert sorted(held.rows) == sorted(held._said) == [OPEN + n * MINUTE for n in (6, 7, 8)]


def test_what_closed_between_two_snapshots_is_said_to_have_closed():
    talk = following_candles()
    rows = [row(OPEN - MINUTE), row(OPEN), row(OPEN + MINUTE)]
    said = talk.says([Kind.SNAPSHOT, 1, EPOCH, 900, [head(), live(OPEN + 2 * MINUTE)], rows])
    assert kinds(said) == [Closed, Closed, Snapshot]
    assert [event.candle.open_time_ms for event in said[:2]] == [OPEN, OPEN + MINUTE]
    assert len(said[2].candles) == 3


def test_a_number_that_json_does_not_have_is_not_known_in_msgpack_either():
    values = row(OPEN)
    values[-2] = float("nan")
    in_both = []
    for form in (None, JSON):
        talk = Talk(CLOSES, **({"form": form} if form else {}))
        talk.opens()
        talk.subscribed(CLOSES)
        talk.says([Kind.SNAPSHOT, 1, EPOCH, 10, [], [values]], [Kind.CLOSE, 1, 11, values])
        in_both.append(talk.core.topics[CLOSES].rows)
    assert in_both[0] == in_both[1]


# ---------------------------------------------------------------------- holes and resumes


def test_a_hole_is_told_once_and_mended_by_one_request():
    talk = following_candles()
    said = talk.says([Kind.DIFF, 1, 13, 1, [0, 1, 50]], [Kind.DIFF, 1, 14, 1, [0, 1, 50]])
    assert said == [Gap(CANDLES, "hole", OPEN, None)]
    assert talk.asked() == [[16, 2, [[CANDLES, EPOCH, 10]]]]
    assert talk.core.topics[CANDLES].groups[0] == head()
    said = talk.says(
        [Kind.ACK, 2, [[CANDLES, 1, True]]],
        [Kind.SNAPSHOT, 1, EPOCH, 14, [head(1), live(OPEN)], []],
        [Kind.DIFF, 1, 15, 1, [0, 1, 1]],
    )
    assert kinds(said) == [Subscribed, Snapshot, Changed]


def test_holes_of_many_topics_are_one_request_without_those_that_were_left_meanwhile():
    talk = Talk(CANDLES, BTC, CLOSES)
    talk.opens()
    talk.subscribed(CANDLES, BTC, CLOSES)
    state = [head(), live(OPEN)]
    talk.says([Kind.SNAPSHOT, 1, EPOCH, 10, state, []], [Kind.SNAPSHOT, 2, EPOCH, 10, state[:1], []])
    talk.says([Kind.DIFF, 1, 13, 1, [0, 1, 50]], [Kind.DIFF, 2, 13, 1, [0, 1, 50]])
    assert talk.asked() == [[16, 2, [[CANDLES, EPOCH, 10], [BTC, EPOCH, 10]]]]
    talk.says([Kind.SNAPSHOT, 1, EPOCH, 14, state, []], [Kind.DIFF, 1, 19, 1, [0, 1, 50]])
    talk.core.unsubscribe([CANDLES])
    assert talk.asked() == [[17, 3, [CANDLES]]]


def test_a_reconnect_that_proves_nothing_is_a_gap_and_says_from_when():
    talk = following_candles()
    talk.says([Kind.CLOSE, 1, 11, row(OPEN)])
    talk.cut()
    talk.opens()
    assert talk.subscribed(CANDLES) == [
        Subscribed(CANDLES, resumed=False), Gap(CANDLES, "unproven", OPEN + MINUTE, None),
    ]  # fmt: skip
    assert talk.core.counts["gaps"] == 1


def test_a_reconnect_that_proves_all_goes_on_from_the_position():
    talk = following_candles()
    talk.says([Kind.DIFF, 1, 11, 1, [0, 1, 50]])
    talk.cut()
    talk.core.opened(0)
    talk.says(hello())
    assert talk.core.outgoing()
    said = talk.says([Kind.ACK, 2, [[CANDLES, 7, True]]], [Kind.DIFF, 7, 12, 1, [0, 1, 50]])
    assert kinds(said) == [Subscribed, Changed]
    assert talk.core.topics[CANDLES].groups[0][0] == head()[0] + 100


def test_without_proof_changes_wait_for_the_snapshot():
    talk = following_candles()
    talk.cut()
    talk.opens()
    talk.subscribed(CANDLES)
    assert talk.says([Kind.DIFF, 1, 11, 1, [0, 1, 50]]) == []


def test_trades_that_were_left_out_are_a_gap_and_those_told_twice_come_once():
    talk = Talk(TRADES)
    talk.opens()
    talk.subscribed(TRADES)

    def told(seq, missed, *numbers):
        return [Kind.TRADES, 1, EPOCH, seq, missed, 2, 5, [[n, n, 9_000_000, 5, True, 1] for n in numbers]]

    assert kinds(talk.says(told(3, 0, 1, 2, 3))) == [Trades]
    assert talk.says(told(3, 0, 2, 3)) == []
    said = talk.says(told(9, 4, 8, 9))
    assert said[0] == Gap(TRADES, "slow", None, 4)
    assert [trade.id for trade in said[1].trades] == [8, 9]
    (event,) = talk.says(told(10, 0, 9, 10))
    assert [trade.id for trade in event.trades] == [10]
    assert str(event.trades[0].price) == "90000" and event.trades[0].taker_is_buyer


# ---------------------------------------------------------------------- time


def test_old_data_are_told_once_and_fresh_ones_too():
    talk = Talk(BTC, stale_after_ms=10_000)
    talk.opens()
    ages = (None, 50, 10_000, 10_001, 30_000, 900)
    said = talk.says(*[[Kind.HEARTBEAT, 0, age] for age in ages])
    assert said == [Stale(10_001), Fresh(900)]


def test_three_heartbeats_of_silence_end_the_connection_and_the_client_comes_back():
    talk = Talk(BTC)
    talk.opens()
    talk.says([Kind.HEARTBEAT, 0, 40])
    assert list(talk.core.tick(talk.now_ms + 14_999)) == [] and talk.core.closing is None
    assert list(talk.core.tick(talk.now_ms + 15_000)) == [Stale(15_040)]
    assert talk.core.closing
    (event,) = talk.cut()
    assert event.retry_ms is not None and "15 s" in event.reason


def test_a_front_with_other_heartbeats_is_given_other_patience():
    talk = Talk(BTC)
    talk.core.opened(0)
    talk.says(hello(heartbeat_s=1))
    assert talk.core.deadline_ms == talk.now_ms + 3_000


def test_waits_double_up_to_a_cap_and_begin_anew_after_a_heartbeat():
    talk = Talk(BTC)
    waits = [talk.cut()[0].retry_ms for _ in range(9)]
    assert waits == [499, 999, 1998, 3996, 7992, 15984, 29970, 29970, 29970]
    talk.opens()
    assert talk.cut()[0].retry_ms == 29_970  # a connection that does not hold changes nothing
    talk.opens()
    talk.says([Kind.HEARTBEAT, 0, 40])
    assert talk.cut()[0].retry_ms == 499


def test_a_front_that_stops_says_within_which_time_to_come_back():
    talk = Talk(BTC)
    talk.opens()
    (event,) = talk.says([Kind.BYE, 1001, "the front stops", 2_000])
    assert event.retry_after_ms == 2_000
    assert talk.cut(1001) == [Disconnected(1001, "cut", 1_998)]
    assert talk.core.deadline_ms == talk.now_ms + 1_998


@pytest.mark.parametrize(
    ("code", "invited"),
    [(None, True), (1000, True), (1001, True), (1006, True), (1011, True), (1013, True), (3008, True), (4400, True),
     (1002, False), (1003, False), (1007, False), (1008, False), (1009, False), (3500, False), (3999, False),
     (4500, False)],
)  # fmt: skip
def test_close_codes_say_whether_to_come_back(code, invited):
    talk = Talk(BTC)
    talk.opens()
    (event,) = talk.cut(code)
    assert (event.retry_ms is not None) == (talk.core.ended is None) == invited


@pytest.mark.parametrize(
    ("status", "passes"),
    [(None, True), (503, True), (429, True), (401, False), (403, False), (404, False), (200, False)],
)
def test_refusals_say_whether_to_try_again(status, passes):
    talk = Talk(BTC)
    (event,) = talk.core.refused(0, status, "no")
    assert (event.retry_ms is not None) == passes
    assert passes or talk.core.ended.code == status


def test_a_front_that_says_retry_after_is_left_alone_so_long_but_not_for_years():
    assert reconnect.delay_ms(0, 0.5, after_ms=7_000) == 7_250
    assert reconnect.delay_ms(0, 0.0, after_ms=10**12) == reconnect.LONGEST_MS


# ---------------------------------------------------------------------- what should not be


@pytest.mark.parametrize(
    "message",
    [
        [],
        {"a": 1},
        7,
        [[1], 2],
        [Kind.SNAPSHOT, 1, EPOCH, 1],
        [Kind.SNAPSHOT, 1, EPOCH, 1, [[1, 2]], []],
        [Kind.SNAPSHOT, 1, EPOCH, 1, [[0.5] * 15, live(0)], []],
        [Kind.SNAPSHOT, 1, EPOCH, 1, [head(), live(0)], [[1, 2, 3]]],
        [Kind.DIFF, 1, 11, 1, [5, 1, 1]],
        [Kind.DIFF, 1, 11, 1, [0, 3, 1]],
        [Kind.DIFF, 1, "x", 1, []],
        [Kind.CLOSE, 1, 5, None],
        [Kind.BOOK, 1, 5, 5, [["x", "1"]], []],
        [Kind.TRADES, 1, EPOCH, 5, 0, 2, 5, [[1]]],
        [Kind.ACK, None, [["candles:a:b:7q", 2, False]]],
        [Kind.ACK, None, [["ticker:*", 2, False]]],
        [Kind.HEARTBEAT, 1, "x"],
    ],
)
def test_a_message_that_cannot_be_read_is_an_error_and_the_session_begins_anew(message):
    talk = following_candles()
    (event,) = talk.says(message)
    assert type(event) is Error and event.code == "bad_message"
    assert talk.core.closing
    assert talk.cut()[0].retry_ms is not None
    talk.opens()
    assert talk.asked() == [[16, 2, [CANDLES]]]  # no position: everything is told again


def test_kinds_and_fields_of_later_versions_are_passed_over():
    talk = following_candles()
    assert talk.says([15, 1, 2, 3], [Kind.BATCH, [Kind.BATCH, 7]]) == []
    assert kinds(talk.says([Kind.DIFF, 1, 11, 1, [0, 1, 50], "more"])) == [Changed]


def test_a_request_for_which_others_left_no_room_is_made_again_on_another_connection():
    talk = Talk(BTC)
    talk.opens()
    talk.asked()
    (event,) = talk.says([Kind.ERROR, 1, "too_many", "messages", "1", "the address has too many", [], None])
    assert event.code == "too_many" and talk.core.closing
    talk.cut()
    talk.opens()
    assert talk.asked() == [[16, 2, [BTC]]] and talk.core.ended is None


def test_an_error_of_the_front_is_told_and_its_text_not_asked_for_again():
    talk = Talk("tikcer:x:y", BTC)
    talk.opens()
    talk.asked()
    (event,) = talk.says([Kind.ERROR, 1, "bad_kind", "kind", "tikcer", "valid is one of …", ["ticker"], "tikcer:x:y"])
    assert (event.code, event.valid, event.topic) == ("bad_kind", ["ticker"], "tikcer:x:y")
    talk.cut()
    talk.opens()
    assert talk.asked() == [[16, 2, [BTC]]]
