"""The JavaScript client in node against the engine's codec, diffs and candles: whatever these make, it reads."""

import json
import math
import random
import shutil
import subprocess
from copy import deepcopy
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wick.market.intervals import by_name
from wick.market.numbers import format_decimal
from wick.market.rows import ALL_COLUMNS, readable
from wick.market.schema import (
    CANDLE,
    CANDLE_FIELDS,
    FLOW_FIELDS,
    HEAD_FIELDS,
    LIVE_FIELDS,
    METRIC_FIELDS,
    METRICS,
    REAL,
    Flag,
)
from wick.metrics.pattern_table import NAMES, masks
from wick.stream import diffs
from wick.stream.mirror import live_row
from wick.wire.codec import pack, pack_json, unpack, unpack_json
from wick.wire.session import Kind, Wanted, parse_request

HERE = Path(__file__).parent
CANDLES, TICKER = "candles:binance:BTC-USDT:1m", "ticker:binance:BTC-USDT"
LIVE_METRICS = "metrics:binance:BTC-USDT:1m"
EPOCH = 1_795_384_128_465_000_000  # nanoseconds: beyond what a double holds
OPEN_MS, MINUTE_MS = 1_795_384_080_000, 60_000
PRICE_DECIMALS, QUANTITY_DECIMALS = HEAD_FIELDS.index("price_decimals"), HEAD_FIELDS.index("quantity_decimals")
EDGES = [sign * (2**bits + step) for bits in (31, 52, 53, 63, 64, 80, 127) for step in (-1, 0, 1) for sign in (1, -1)]
HELLO = [Kind.HELLO, 1, OPEN_MS, "front-0", {"heartbeat_s": 5, "message_bytes": 65536}]
NOT_OF_TOTALS = ("close_time_ms", "first_trade_id", "last_trade_id", *FLOW_FIELDS)
node = shutil.which("node")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(node is None, reason="there is no node on this machine")]
both_forms = pytest.mark.parametrize("form", ["msgpack", "json"])


def replay(form: str, messages: list[Any], topics: list[str], decimals: list[Any] = []) -> dict[str, Any]:  # noqa: B006
    """What the JavaScript client says to HELLO and `messages`."""
    said = [HELLO, *messages]
    frames = [pack(message).hex() if form == "msgpack" else pack_json(message).decode() for message in said]
    given = {"form": form, "topics": topics, "frames": frames, "decimals": decimals}
    command = [str(node), str(HERE / "replay_client.mjs")]
    done = subprocess.run(command, input=json.dumps(given), check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = dict(json.loads(done.stdout))
    statuses = {event["status"]: event["reason"] for event in told["events"]}
    assert set(statuses) <= {"live"}, statuses
    told["events"] = [event for frame in told["events"] for event in frame["told"]]
    return told


def ack(*topics: str) -> list[Any]:
    return [Kind.ACK, 1, [[topic, handle, False] for handle, topic in enumerate(topics, start=7)]]


def texts(groups: list[list[int]]) -> list[list[str]]:
    return [[str(value) for value in group] for group in groups]


def camel(name: str) -> str:
    """A field's name as the page writes it."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def as_candle(row: list[Any], but: tuple[str, ...] = ()) -> dict[str, Any]:
    """A candle's row as the HTTP API writes it, under the page's names."""
    values = json.loads(pack_json(readable(row)))
    return {camel(name): values[name] for name in ALL_COLUMNS if name not in but}


def same_fields(candle: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {name: candle[name] for name in expected}


def some_state(rng: random.Random) -> list[list[int]]:
    """A plausible state of head and live candle, with totals that outgrow 64 bits."""
    price, volume = rng.randrange(1, 10**7), rng.randrange(10**17, 10**19)
    quote_volume, count = volume * price, rng.randrange(2**40)
    head = dict.fromkeys(HEAD_FIELDS, 0) | {
        "last_price": price, "last_trade_id": count, "last_time_ms": OPEN_MS + 5, "volume": volume,
        "quote_volume": quote_volume, "trade_count": count, "taker_buy_volume": volume // 3,
        "taker_buy_quote_volume": quote_volume // 3, "bid": price - 1, "bid_quantity": 7, "ask": price + 1,
        "ask_quantity": 9, "price_decimals": 2, "quantity_decimals": 8, "day_open": price // 2,
    }  # fmt: skip
    live = dict.fromkeys(LIVE_FIELDS, 0) | {
        "open_time_ms": OPEN_MS, "open": price + 3, "high": price + 50, "low": price // 2, "volume0": volume // 5,
        "quote_volume0": quote_volume // 5, "trade_count0": count // 2, "taker_buy_volume0": volume // 7,
        "taker_buy_quote_volume0": quote_volume // 7,
    }  # fmt: skip
    return [list(head.values()), list(live.values())]


def some_row(rng: random.Random, open_ms: int, flags: int = Flag.CLOSED) -> list[Any]:
    price, volume = rng.randrange(1, 10**6), rng.randrange(1, 10**18)
    values = dict.fromkeys(CANDLE_FIELDS) | {
        "open_time_ms": open_ms, "close_time_ms": open_ms + MINUTE_MS, "revision": 2, "flags": flags,
        "price_decimals": 5, "quantity_decimals": 8, "open": price, "high": price + 10, "low": price - 1,
        "close": price + 2, "volume": volume, "quote_volume": volume * price, "trade_count": 99,
        "taker_buy_volume": volume // 2,
        "taker_buy_quote_volume": volume * price // 2, "first_trade_id": 1, "last_trade_id": 99,
    }  # fmt: skip
    exact = ("delta", "delta_max", "delta_min", "cvd", "max_trade_size", "large_trade_volume", "large_trade_delta")
    flow = {name: rng.choice([0, None, rng.choice(EDGES), rng.randrange(-(10**12), 10**12)]) for name in exact}
    ratios = [rng.uniform(-1, 1), 0.0, -0.5, 1e-300, 1e300, math.nan, None]
    real = {name: rng.choice(ratios) for name in ("vwap", "delta_ratio", "avg_trade_size", "tick_rv", "kyle_lambda")}
    metrics = {name: rng.choice(ratios) for name, kind in METRICS if kind == REAL}
    found = np.array([[rng.choice([0, 0, 0, 4, 5, 10, -4, -5, -10])] for _ in NAMES], np.int8)
    bull, bear = masks(found.tobytes())
    values |= {**flow, **real, "cvd_anchor_ms": rng.choice([open_ms, None])}
    if rng.random() < 0.7:
        values |= {**metrics, "obv_anchor_ms": open_ms, "bull": bull, "bear": bear, "patterns": found.tobytes()}
    return [values[field] for field in CANDLE_FIELDS]


def test_the_page_has_the_fields_of_a_row_that_the_engine_has() -> None:
    assert replay("json", [], [TICKER])["fields"] == [list(field) for field in CANDLE]


@both_forms
def test_every_integer_comes_through_exactly(form: str) -> None:
    values = [0, 1, -1, 10, -1000, *EDGES]
    state = [[*(values * 2)[at : at + 12], 2, 8, 0] for at in range(0, len(values), 12)]
    messages = [ack(TICKER)]
    for seq, head in enumerate(state):
        messages.append([Kind.SNAPSHOT, 7, EPOCH, seq, [head], []])
    told = replay(form, messages, [TICKER])["events"][1:]
    assert [event["groups"] for event in told] == [texts([head]) for head in state]
    assert {event["epoch"] for event in told} == {str(EPOCH)}


@both_forms
def test_diffs_lead_to_the_state_that_the_engine_has(form: str) -> None:
    rng = random.Random(20261122)
    states = [some_state(rng) for _ in range(3)]
    for _ in range(40):
        state = deepcopy(states[-1])
        for group in state:
            for field in rng.sample(range(len(group)), rng.randrange(1, 6)):
                if field not in (PRICE_DECIMALS, QUANTITY_DECIMALS):
                    group[field] = rng.choice([*EDGES, rng.randrange(10**6)])
        states.append(state)
    messages = [ack(CANDLES), [Kind.SNAPSHOT, 7, EPOCH, 100, states[0], []]]
    for seq, (old, new) in enumerate(pairwise(states), start=101):
        messages.append([Kind.DIFF, 7, seq, 1, diffs.make(old, new)])
    events = replay(form, messages, [CANDLES])["events"]
    assert [event["type"] for event in events] == ["subscribed", "snapshot"] + ["diff"] * (len(states) - 1)
    assert [event["groups"] for event in events[1:]] == [texts(state) for state in states]
    assert events[-1]["seq"] == 100 + len(states) - 1


@both_forms
def test_a_merged_diff_leads_to_the_state_that_its_parts_lead_to(form: str) -> None:
    rng = random.Random(20261123)
    states = [some_state(rng) for _ in range(10)]
    parts = [diffs.make(old, new) for old, new in pairwise(states)]
    messages = [
        ack(CANDLES),
        [Kind.SNAPSHOT, 7, EPOCH, 1, states[0], []],
        [Kind.DIFF, 7, 10, 9, reduce(diffs.merge, parts)],
        [Kind.DIFF, 7, 12, 2, []],
        [Kind.DIFF, 7, 13, 1, [0, 1, 1]],
    ]
    _, _, merged, nothing, after = replay(form, messages, [CANDLES])["events"]
    assert (merged["seq"], merged["groups"]) == (10, texts(states[-1]))
    assert (nothing["seq"], nothing["groups"]) == (12, texts(states[-1]))
    assert (after["type"], after["seq"]) == ("diff", 13)


@both_forms
def test_the_live_candle_is_the_engines_to_the_last_digit(form: str) -> None:
    rng = random.Random(7)
    states = [some_state(rng) for _ in range(20)]
    messages = [ack(CANDLES)] + [[Kind.SNAPSHOT, 7, EPOCH, seq, state, []] for seq, state in enumerate(states)]
    for event, (head, live) in zip(replay(form, messages, [CANDLES])["events"][1:], states, strict=True):
        row = live_row(head, live, by_name("1m").close_ms(live[0]))
        expected = as_candle(row, NOT_OF_TOTALS)
        assert same_fields(event["live"], expected) == expected


def test_of_the_live_candles_order_flow_the_page_knows_what_the_totals_tell_and_nothing_else() -> None:
    state = some_state(random.Random(21))
    head, live = dict(zip(HEAD_FIELDS, state[0], strict=True)), dict(zip(LIVE_FIELDS, state[1], strict=True))
    volume, bought = (head[name] - live[f"{name}0"] for name in ("volume", "taker_buy_volume"))
    turnover, count = (head[name] - live[f"{name}0"] for name in ("quote_volume", "trade_count"))
    quiet = deepcopy(state)
    for index, name in enumerate(LIVE_FIELDS):
        if name.endswith("0"):
            quiet[1][index] = head[name.removesuffix("0")]
    messages = [ack(CANDLES), [Kind.SNAPSHOT, 7, EPOCH, 1, state, []], [Kind.SNAPSHOT, 7, EPOCH, 2, quiet, []]]
    traded, untraded = (event["live"] for event in replay("msgpack", messages, [CANDLES])["events"][1:])
    assert traded["delta"] == format_decimal(2 * bought - volume, 8)
    assert traded["vwap"] == pytest.approx(turnover / volume / 100, rel=1e-14)
    assert traded["deltaRatio"] == pytest.approx((2 * bought - volume) / volume, rel=1e-14)
    assert traded["avgTradeSize"] == pytest.approx(volume / 10**8 / count, rel=1e-14)
    known = ("delta", "vwap", "delta_ratio", "avg_trade_size")
    assert [untraded[camel(name)] for name in known] == ["0", None, 0, 0]
    unknown = [camel(name) for name in (*FLOW_FIELDS, *METRIC_FIELDS) if name not in known]
    assert {one[name] for one in (traded, untraded) for name in unknown} == {None}


@both_forms
def test_rows_become_the_candles_that_the_api_gives(form: str) -> None:
    rng = random.Random(8)
    rows = [some_row(rng, OPEN_MS - step * MINUTE_MS) for step in range(30, 0, -1)]
    closed = some_row(rng, OPEN_MS, Flag.CLOSED | Flag.SUSPECT)
    messages = [ack(CANDLES), [Kind.SNAPSHOT, 7, EPOCH, 1, some_state(rng), rows], [Kind.CLOSE, 7, 1, closed]]
    _, snapshot, close = replay(form, messages, [CANDLES])["events"]
    for told, row in zip([*snapshot["candles"], close["candle"]], [*rows, closed], strict=True):
        assert same_fields(told, as_candle(row)) == as_candle(row)
    assert close["candle"]["closeTimeMs"] == OPEN_MS + MINUTE_MS


@both_forms
def test_the_live_candle_gets_what_its_totals_do_not_tell_and_keeps_what_they_do(form: str) -> None:
    rng = random.Random(31)
    state, row, other = some_state(rng), some_row(rng, OPEN_MS, 0), some_row(rng, OPEN_MS - MINUTE_MS, 0)
    row[CANDLE_FIELDS.index("rsi_14")] = 54.25
    messages = [
        ack(CANDLES, LIVE_METRICS),
        [Kind.SNAPSHOT, 7, EPOCH, 1, state, []],
        [Kind.LIVE, 8, row],
        [Kind.LIVE, 8, other],
        [Kind.LIVE, 99, row],
    ]
    told = replay(form, messages, [CANDLES, LIVE_METRICS])
    events = told["events"][2:]
    kinds = [(event["type"], event["topic"]) for event in events]
    assert kinds == [("snapshot", CANDLES), ("live", LIVE_METRICS), ("live", LIVE_METRICS)]
    expected = as_candle(row)
    assert same_fields(events[1]["candle"], expected) == expected
    alone = events[0]["live"]
    whole, apart = told["completed"]
    assert apart == alone
    assert whole["rsi14"] == 54.25
    for name, value in whole.items():
        assert value == (expected.get(name, value) if alone[name] is None else alone[name]), name


def test_a_candle_that_the_live_one_left_behind_is_kept_as_it_was_last() -> None:
    before = some_state(random.Random(9))
    after = deepcopy(before)
    after[0][HEAD_FIELDS.index("last_price")] += 5
    after[1] = [OPEN_MS + MINUTE_MS, 1, 2, 1, *after[0][3:8], 0]
    messages = [
        ack(CANDLES),
        [Kind.SNAPSHOT, 7, EPOCH, 1, before, []],
        [Kind.DIFF, 7, 2, 1, diffs.make(before, after)],
        [Kind.DIFF, 7, 3, 1, [0, 1, 1]],
    ]
    _, _, rolled, ordinary = replay("msgpack", messages, [CANDLES])["events"]
    row = live_row(*before, OPEN_MS + MINUTE_MS)
    expected = as_candle(row, NOT_OF_TOTALS)
    assert same_fields(rolled["rolled"], expected) == expected
    assert rolled["live"]["openTimeMs"] == OPEN_MS + MINUTE_MS
    assert ordinary["rolled"] is None


@both_forms
def test_requests_are_readable_to_the_front(form: str) -> None:
    (request,) = replay(form, [], [CANDLES, TICKER])["requests"]
    read = parse_request(unpack(bytes.fromhex(request)) if form == "msgpack" else unpack_json(request))
    assert (read.kind, read.id, read.topics) == (Kind.SUBSCRIBE, 1, [Wanted(CANDLES), Wanted(TICKER)])


@both_forms
def test_a_position_is_readable_to_the_front(form: str) -> None:
    """Of a hole's SUBSCRIBE; a resume's is the same."""
    state = some_state(random.Random(10))
    messages = [ack(CANDLES), [Kind.SNAPSHOT, 7, EPOCH, 1, state, []], [Kind.DIFF, 7, 10, 1, [0, 1, 1]]]
    requests = replay(form, messages, [CANDLES])["requests"]
    read = parse_request(unpack(bytes.fromhex(requests[1])) if form == "msgpack" else unpack_json(requests[1]))
    assert (read.kind, read.topics) == (Kind.SUBSCRIBE, [Wanted(CANDLES, (EPOCH, 1))])


def test_all_of_msgpack_is_read() -> None:
    lengths = [0, 1, 15, 16, 31, 32, 33, 255, 256, 65_535, 65_536]
    value = {
        "texts": ["x" * length for length in lengths],
        "letters": ["\u00e9\u20ac\U0001f40d" * length for length in lengths[:9]],
        "arrays": [[7] * length for length in lengths],
        "maps": [{str(number): number for number in range(length)} for length in lengths[:5]],
        "long map": {str(number): None for number in range(70_000)},
        "floats": [0.0, -0.5, 1e-300, 1e300, 5e-324, 0.1],
        "others": [None, True, False, -1, -32, -33, -128, -129, -32769],
        "__proto__": {"a": 1},
    }
    messages = [[Kind.ACK, 1, [["stats", 7, False]]], [Kind.STATS, 7, "feed-0", value]]
    (_, event) = replay("msgpack", messages, ["stats"])["events"]
    assert event["stats"] == value


def test_decimal_texts_are_the_engines() -> None:
    rng = random.Random(14)
    values = [0, 1, -1, 100, 123456789, *EDGES, *(rng.randrange(-(10**20), 10**20) for _ in range(100))]
    given = [(value, places) for value in values for places in (0, 1, 2, 8, 18)]
    told = replay("json", [], [TICKER], [[str(value), places] for value, places in given])["decimals"]
    assert told == [format_decimal(value, places) for value, places in given]


def test_a_head_tells_prices_and_leaves_out_what_is_not_known() -> None:
    state = some_state(random.Random(15))[:1]
    unknown = [[0] * len(HEAD_FIELDS)]
    messages = [ack(TICKER), [Kind.SNAPSHOT, 7, EPOCH, 1, state, []], [Kind.SNAPSHOT, 7, EPOCH, 2, unknown, []]]
    _, told, nothing = replay("msgpack", messages, [TICKER])["events"]
    head = dict(zip(HEAD_FIELDS, state[0], strict=True))
    for ours, theirs in (("last", "last_price"), ("bid", "bid"), ("ask", "ask"), ("dayOpen", "day_open")):
        assert told["quote"][ours] == format_decimal(head[theirs], 2)
        assert nothing["quote"][ours] is None
    assert told["quote"]["quoteVolume"] == format_decimal(head["quote_volume"], 10)
