"""The HTTP API without a front: which fields of candles are served, in what form, and which of two rows of a candle."""

import json

import pytest

from wick.market import schema
from wick.market.rows import ALL_COLUMNS, COLUMNS
from wick.market.schema import CANDLE_FIELDS, CLOSED, PARTIAL
from wick.metrics.pattern_table import PATTERNS
from wick.net.api import ROWS_A_TURN, Api, join

FOUND = bytes([5, *bytes(59), 256 - 10])  # the first pattern +100, the last -200


def row(open_ms=0, **others):
    values = dict.fromkeys(CANDLE_FIELDS) | dict.fromkeys(schema.FORMED_FIELDS, 0)
    return list((values | {"open_time_ms": open_ms, "flags": CLOSED} | others).values())


def asked(rows=(), path="candles", **query):
    """The status, and what is answered, of a front that has these rows."""
    api = Api(lambda: [("binance", "BTC-USDT")], lambda *_: list(rows), dict)
    about = {"venue": "binance", "symbol": "BTC-USDT", "interval": "1m"} if path == "candles" else {}
    reply = api.route(f"/api/v1/{path}", about | query)
    return int(reply.status.split()[0]), json.loads(reply.body)


def test_without_fields_a_candle_has_what_trades_and_quotes_make_of_it():
    status, answer = asked([row(rsi_14=50.0)])
    assert (status, answer["columns"]) == (200, list(COLUMNS))
    assert [len(one) for one in answer["rows"]] == [len(COLUMNS)]


def test_all_fields_are_those_and_the_metrics():
    _, answer = asked(
        [row(price_decimals=2, close=12345, rsi_14=61.5, bull=1, bear=2**60, patterns=FOUND)], fields="all"
    )
    assert answer["columns"] == list(ALL_COLUMNS)
    candle = dict(zip(ALL_COLUMNS, answer["rows"][0], strict=True))
    assert candle["patterns"] == {PATTERNS[0].name: 100, PATTERNS[60].name: -200}
    assert {name: candle[name] for name in ("close", "rsi_14", "macd", "bull", "bear")} == {
        "close": "123.45", "rsi_14": 61.5, "macd": None, "bull": 1, "bear": str(2**60),
    }  # fmt: skip


def test_named_fields_come_alone_in_the_order_in_which_they_were_named_each_once():
    _, answer = asked([row(60_000, rsi_14=0.1)], fields="rsi_14,open_time_ms,rsi_14")
    assert (answer["columns"], answer["rows"]) == (["rsi_14", "open_time_ms"], [[0.1, 60_000]])


@pytest.mark.parametrize(
    "fields", ["rsi", "close,rsi", "close,", ",", "", "ALL", "all,close", "close, open", "price_decimals"]
)
def test_a_field_that_does_not_exist_is_refused_and_those_that_do_are_named(fields):
    status, answer = asked([row()], fields=fields)
    told = answer["error"]
    assert (status, told["code"], told["field"]) == (400, "bad_fields", "fields")
    assert told["valid"] == f"all, or some of {', '.join(ALL_COLUMNS)}"


def test_a_float_is_served_as_the_shortest_text_that_is_that_float():
    _, answer = asked([row(rsi_14=0.1 + 0.2, macd=1e-300)], fields="rsi_14,macd")
    assert answer["rows"] == [[0.30000000000000004, 1e-300]]


@pytest.mark.parametrize("count", [0, 1, ROWS_A_TURN - 1, ROWS_A_TURN, ROWS_A_TURN + 1, 3 * ROWS_A_TURN])
def test_however_many_rows_there_are_all_are_served_in_order(count):
    _, answer = asked([row(n * 60_000) for n in range(count)], fields="open_time_ms")
    assert answer["rows"] == [[n * 60_000] for n in range(count)]


def test_the_metrics_schema_says_of_every_metric_and_pattern_what_it_is():
    _, answer = asked(path="metrics-schema")
    assert [field["name"] for field in answer["fields"]] == [field.name for field in schema.FIELDS]
    rsi = next(field for field in answer["fields"] if field["name"] == "rsi_14")
    assert rsi.keys() == {"number", "name", "unit", "definition", "n", "source"}
    assert (rsi["number"], rsi["n"], rsi["source"]) == (36, 15, "TA-Lib RSI(14)")
    assert [pattern["name"] for pattern in answer["patterns"]] == [pattern.name for pattern in PATTERNS]
    assert answer["patterns"][60].keys() == {"number", "name", "title", "definition", "lookback"}


# Of two rows of a candle: flags, revision, and whether its metrics are known.
@pytest.mark.parametrize(
    ("stored", "recent", "served"),
    [
        ((CLOSED, 0, 1), (CLOSED, 1, 0), "recent"),
        ((CLOSED, 1, 0), (CLOSED, 0, 1), "stored"),
        ((CLOSED, 0, 0), (CLOSED | PARTIAL, 2, 0), "stored"),
        ((CLOSED, 0, 0), (CLOSED, 0, 0), "recent"),
        ((CLOSED, 0, 1), (CLOSED, 0, 0), "stored"),  # a worker that began again without its metrics
        ((CLOSED, 0, 0), (0, 0, 0), "stored"),  # made of diffs: it knows less than what has closed
        ((CLOSED | PARTIAL, 0, 0), (0, 0, 0), "stored"),
        ((0, 0, 1), (CLOSED, 0, 0), "recent"),
    ],
)
def test_of_two_rows_of_a_candle_the_better_one_is_served(stored, recent, served):
    rows = {
        name: row(flags=flags, revision=revision, rsi_14=50.0 if known else None)
        for name, (flags, revision, known) in (("stored", stored), ("recent", recent))
    }
    (chosen,) = join([rows["stored"]], [rows["recent"]], None)
    assert chosen is rows[served]
