"""TradingView's UDF, as its charting library's own data feed uses it."""

import json
from datetime import UTC, datetime

import pytest

from tests.api.asking import HEAD, MINUTE, NOW_MS, PAIRS, Known, request, row
from wick.api.replies import RequestError
from wick.api.routes import MAX_LIMIT, RESOLUTIONS, interval_of
from wick.market.intervals import INTERVALS, NAMES

HISTORY = "/udf/history?symbol=binance:BTC-USDT&resolution=1"
OLD = [row(n * MINUTE, price_decimals=1, quantity_decimals=2, open=10, high=30, low=5, close=20 + n, volume=150)
       for n in range(10)]  # fmt: skip


def bars(known, query):
    """What the library makes of an answer: bar times in s and whether it believes that there is nothing older."""
    status, answer = known.ask(HISTORY + query)
    assert status == 200
    if answer["s"] == "no_data":
        assert answer.keys() <= {"s", "nextTime"}
        return "no_data", answer.get("nextTime")
    assert answer["s"] == "ok"
    assert {len(answer[name]) for name in "tohlcv"} == {len(answer["t"])}
    return answer["t"]


# ---------------------------------------------------------------------- what there is


def test_the_configuration_names_resolutions_and_exchanges():
    status, answer = Known().ask("/udf/config")
    assert status == 200
    assert answer["supported_resolutions"] == ["15S", "30S", "1", "3", "5", "15", "30", "60", "240", "1D", "1W", "1M"]
    assert (answer["supports_search"], answer["supports_group_request"]) == (True, False)
    assert [one["value"] for one in answer["exchanges"]] == ["", "binance", "kraken"]
    assert (answer["supports_time"], answer["supports_marks"]) == (True, False)


def test_every_interval_has_a_resolution_and_the_way_back():
    assert [interval_of(resolution) for resolution in RESOLUTIONS] == list(NAMES)
    assert [interval_of(short) for short in ("D", "W", "M")] == ["1d", "1w", "1M"]
    minutes = {resolution: int(resolution) for resolution in RESOLUTIONS if resolution.isdigit()}
    for interval in INTERVALS:
        for resolution, length in minutes.items():
            if RESOLUTIONS[resolution] == interval.name:
                assert interval.close_ms(0) == length * MINUTE


@pytest.mark.parametrize("symbol", ["binance:BTC-USDT", "BTC-USDT", "btc-usdt", "BINANCE:btc-usdt"])
def test_a_symbol_is_found_by_its_ticker_or_its_name_alone(symbol):
    status, answer = Known().ask(f"/udf/symbols?symbol={symbol}")
    assert (status, answer["ticker"], answer["name"], answer["exchange"]) == (
        200, "binance:BTC-USDT", "BTC-USDT", "binance",
    )  # fmt: skip


def test_a_symbol_says_what_the_library_needs_to_draw_it():
    _, answer = Known().ask("/udf/symbols?symbol=binance:BTC-USDT")
    assert (answer["pricescale"], answer["minmov"], answer["volume_precision"]) == (100, 1, 3)
    assert (answer["session"], answer["timezone"], answer["type"]) == ("24x7", "Etc/UTC", "crypto")
    assert answer["has_seconds"] and answer["has_intraday"] and answer["has_daily"] and answer["has_weekly_and_monthly"]
    assert answer["seconds_multipliers"] == ["15", "30"]
    assert answer["intraday_multipliers"] == ["1", "3", "5", "15", "30", "60", "240"]
    assert "s" not in answer, "that would be an error to the library"


def test_a_symbol_whose_state_is_not_there_yet_can_be_drawn_too():
    assert Known().ask("/udf/symbols?symbol=kraken:BTC-USD")[1]["pricescale"] == 100


@pytest.mark.parametrize(("query", "tickers"), [
    ("query=btc", ["binance:BTC-USDT", "kraken:BTC-USD"]), ("query=USDT", ["binance:BTC-USDT", "binance:ETH-USDT"]),
    ("query=eth&type=&exchange=&limit=30", ["binance:ETH-USDT"]), ("query=&exchange=kraken", ["kraken:BTC-USD"]),
    ("query=btc&limit=1", ["binance:BTC-USDT"]), ("query=btc&type=stock", []), ("query=kraken:", ["kraken:BTC-USD"]),
    ("query=&type=crypto", [":".join(pair) for pair in PAIRS]), ("", [":".join(pair) for pair in PAIRS]),
])  # fmt: skip
def test_symbols_are_found_by_a_part_of_their_name(query, tickers):
    status, answer = Known().ask(f"/udf/search?{query}")
    assert (status, [one["ticker"] for one in answer]) == (200, tickers)
    assert all(one.keys() == {"symbol", "full_name", "ticker", "description", "exchange", "type"} for one in answer)


def test_names_that_begin_with_what_was_typed_come_first(monkeypatch):
    monkeypatch.setattr("tests.api.asking.PAIRS", [("a", "ADA-BTC"), ("b", "BTC-USD")])
    assert [one["symbol"] for one in Known().ask("/udf/search?query=btc")[1]] == ["BTC-USD", "ADA-BTC"]


def test_the_time_is_told_in_seconds_and_nothing_else():
    reply = Known().api().respond(request("/udf/time"))
    assert (reply.body, reply.content_type) == (b"1735689600", "text/plain; charset=utf-8")


# ---------------------------------------------------------------------- bars


def test_bars_are_columns_of_numbers_with_times_in_seconds():
    _, answer = Known(OLD[:2]).ask(HISTORY + "&from=0&to=600")
    assert answer == {
        "s": "ok", "t": [0, 60], "o": [1.0, 1.0], "h": [3.0, 3.0], "l": [0.5, 0.5], "c": [2.0, 2.1], "v": [1.5, 1.5],
    }  # fmt: skip


def test_the_first_time_is_inside_and_the_last_is_not():
    assert bars(Known(OLD), "&from=120&to=300") == [120, 180, 240]
    assert bars(Known(OLD), "&from=119&to=301") == [120, 180, 240, 300]


def test_a_count_goes_back_from_the_last_time_whatever_the_first_one_is():
    assert bars(Known(OLD), "&from=240&to=300&countback=3") == [120, 180, 240]
    assert bars(Known(OLD), "&from=0&to=300&countback=2") == [180, 240]
    assert bars(Known(OLD), "&from=100000&to=200000&countback=2") == [480, 540], "a gap: the bars before it"


def test_no_more_bars_are_given_than_there_may_be_and_those_are_the_newest():
    known = Known([row(n * MINUTE) for n in range(MAX_LIMIT + 10)])
    newest = [60 * n for n in range(10, MAX_LIMIT + 10)]
    until = 60 * (MAX_LIMIT + 10)
    assert bars(known, f"&from=0&to={until}&countback={MAX_LIMIT + 1}") == newest
    assert bars(known, f"&from=0&to={until}") == newest


def test_a_gap_says_where_the_bars_before_it_are_and_the_beginning_that_there_are_none():
    assert bars(Known(OLD), "&from=6000&to=12000") == ("no_data", 540)
    assert bars(Known([row(10**9)]), "&from=0&to=60") == ("no_data", None)
    assert bars(Known([row(10**9)]), "&from=0&to=60&countback=300") == ("no_data", None)
    assert bars(Known(), "&from=0&to=60") == ("no_data", None)


def test_bars_that_cannot_be_read_are_an_error_and_not_the_beginning_of_all():
    known = Known(OLD)
    known.failure = RequestError("unreadable_store", "candles", "", "to ask again", 503, "they cannot be read")
    reply = known.api().respond(request(HISTORY + "&from=0&to=600"))
    assert reply.status == 503 and {"Retry-After", "Cache-Control"} <= dict(reply.headers).keys()
    answer = json.loads(reply.body)
    assert answer == {"s": "error", "errmsg": "candles: they cannot be read; valid is to ask again"}


def test_before_1970_there_is_nothing_and_a_chart_may_ask():
    assert bars(Known(OLD), "&from=-86400&to=60") == [0]
    assert bars(Known(OLD), "&from=-86400&to=120&countback=300") == [0, 60]
    assert bars(Known(OLD), "&from=-86400&to=-60") == ("no_data", None)


def test_following_next_time_the_library_reaches_every_bar():
    known = Known([row(60_000), row(120_000), row(9_000_000), row(9_060_000)])
    found, until = set(), 9_120
    while True:
        answer = bars(known, f"&from={max(0, until - 120)}&to={until}")
        if answer[0] == "no_data":
            if answer[1] is None:
                break
            until = answer[1] + 1
        else:
            found |= {*answer}
            until = answer[0]
    assert sorted(found) == [60, 120, 9_000, 9_060]


@pytest.mark.parametrize(("resolution", "interval"), [("1D", "1d"), ("D", "1d"), ("1W", "1w"), ("M", "1M")])
def test_days_weeks_and_months_are_at_midnight_utc(resolution, interval):
    chosen = INTERVALS[NAMES.index(interval)]
    opened = [chosen.open_ms(NOW_MS)]
    opened.append(chosen.close_ms(opened[0]))
    known = Known([row(open_ms, chosen.close_ms(open_ms) - open_ms) for open_ms in opened])
    status, answer = known.ask(f"/udf/history?symbol=BTC-USDT&resolution={resolution}&from=0&to=1800000000")
    days = [datetime.fromtimestamp(at, UTC) for at in answer["t"]]
    assert status == 200 and known.asked[0][2] == interval
    assert all((day.hour, day.minute, day.second) == (0, 0, 0) for day in days)
    assert interval != "1w" or all(day.weekday() == 0 for day in days)
    assert interval != "1M" or all(day.day == 1 for day in days)


@pytest.mark.parametrize(("target", "status"), [
    ("/udf/symbols", 400), ("/udf/symbols?symbol=", 400), ("/udf/symbols?symbol=NO-SUCH", 404),
    ("/udf/symbols?symbol=NO:BTC-USDT", 404), ("/udf/history?symbol=BTC-USDT&resolution=1", 400),
    ("/udf/history?symbol=BTC-USDT&resolution=2&from=0&to=60", 400), (HISTORY + "&from=0&to=soon", 400),
    (HISTORY + "&from=--1&to=60", 400), (HISTORY + "&to=60&countback=0", 400), (HISTORY + "&to=1735689600000", 400),
    ("/udf/search?limit=all", 400),
])  # fmt: skip
def test_what_is_wrong_is_an_error_of_the_protocol(target, status):
    reply = Known().api().respond(request(target))
    answer = json.loads(reply.body)
    assert (reply.status, answer["s"]) == (status, "error")
    assert "valid is" in answer["errmsg"]


def test_what_the_library_adds_to_a_request_is_no_error():
    assert bars(Known(OLD), "&from=0&to=60&currencyCode=USD&unitId=x") == [0]


def test_a_price_with_more_decimals_than_a_scale_can_have_is_drawn_with_as_many_as_it_can(monkeypatch):
    monkeypatch.setitem(HEAD, "price_decimals", 18)
    assert Known().ask("/udf/symbols?symbol=binance:BTC-USDT")[1]["pricescale"] == 10**15
