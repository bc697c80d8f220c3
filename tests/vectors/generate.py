"""Makes tests/vectors/*.json: `python -m tests.vectors.generate`. What they are: README.md.

What a client must hold is the state that the messages were made from; no client has a part in it.
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from wick.market.schema import CANDLE_FIELDS, HEAD_FIELDS, LIVE_FIELDS
from wick.stream import diffs
from wick.wire.codec import pack, pack_json
from wick.wire.session import HEARTBEAT_S, VERSION, CloseCode, Kind

HERE = Path(__file__).parent
EPOCH, LATER = 1_763_900_000_000_000_001, 1_763_900_777_000_000_003  # beyond 2^53, as epochs are
NOW_MS = 1_763_900_000_000
MINUTE = 60_000
OPEN = NOW_MS // MINUTE * MINUTE
LIMITS = {"subscriptions": 1000, "message_bytes": 65_536, "messages_s": 20, "heartbeat_s": HEARTBEAT_S}
PATTERNS = 61


class Vector:
    """The steps of one file; each method adds one."""

    def __init__(self, name: str, about: str) -> None:
        self.name, self.about = name, about
        self.steps: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self.letters: dict[str, str] = {}
        self._id = 0

    def _add(self, **step: Any) -> None:
        self.steps.append(_json(step))

    def subscribe(self, *texts: str) -> None:
        self._add(subscribe=texts)

    def unsubscribe(self, *texts: str) -> None:
        self._add(unsubscribe=texts)

    def advance(self, ms: int) -> None:
        self._add(advance_ms=ms)

    def disconnect(self, code: int) -> None:
        self._add(disconnect=code)

    def reconnect(self, max_ms: int | None) -> None:
        self._add(reconnect=None if max_ms is None else {"max_ms": max_ms})

    def age(self, ms: int | None) -> None:
        self._add(age_ms=ms)

    def receive(self, *message: Any) -> None:
        self._add(receive=message, msgpack=pack(message).hex())

    def send(self, kind: Kind, entries: list[Any]) -> None:
        self._id += 1
        self._add(send=[kind, self._id, entries])

    def says(self, type: str, **fields: Any) -> None:
        """An event that the client must have said by the next `expect`."""
        self._events.append({"type": type, **fields})

    def expect(self, **held: Any) -> None:
        """What the client holds: `T0={...}` is by the letter that `topics` gives."""
        self._add(expect={self.letters[letter]: state for letter, state in held.items()}, events=self._events)
        self._events = []

    def begin(self, front: str = "front-0.1", **topics: str) -> None:
        """A connection, its HELLO; `topics` are those of this vector, by letter."""
        self.letters = topics or self.letters
        self._add(connect=True)
        self.receive(Kind.HELLO, VERSION, NOW_MS, front, LIMITS)
        self.says("hello")

    def ack(self, *topics: tuple[str, int, bool], id: int | None = -1) -> None:
        """Of the last request, if not said otherwise."""
        self.receive(Kind.ACK, self._id if id == -1 else id, topics)
        for topic, _, resumed in topics:
            self.says("subscribed", topic=topic, resumed=resumed)

    def text(self) -> str:
        head = f'{{"name": {json.dumps(self.name)},\n"about": {json.dumps(self.about)},\n"steps": [\n'
        return head + ",\n".join(json.dumps(step) for step in self.steps) + "\n]}\n"


def _json(value: Any) -> Any:
    return json.loads(pack_json(value))


def _group(fields: tuple[str, ...], values: dict[str, int]) -> list[int]:
    assert set(values) <= set(fields)
    return [values.get(name, 0) for name in fields]


def head(**values: int) -> list[int]:
    return _group(HEAD_FIELDS, {"price_decimals": 2, "quantity_decimals": 5, **values})


def live(open_ms: int, **values: int) -> list[int]:
    return _group(LIVE_FIELDS, {"open_time_ms": open_ms, **values})


def row(open_ms: int, *, revision: int = 0, **values: Any) -> list[Any]:
    """A closed candle of one minute with some of its fields, each kind among them."""
    known = {
        "open_time_ms": open_ms, "close_time_ms": open_ms + MINUTE, "revision": revision,
        "flags": 1 | 16 * bool(revision), "price_decimals": 2, "quantity_decimals": 5, "open": 9_000_000,
        "high": 9_000_100, "low": 8_999_900, "close": 9_000_050, "volume": 123_456, "quote_volume": 1_111_104_000_000,
        "trade_count": 42, "vwap": 90_000.25, "delta_ratio": -0.125, "bull": 0, "bear": 1,
        "patterns": bytes([5, 0, 251]) + bytes(PATTERNS - 3), **values,
    }  # fmt: skip
    assert set(known) <= set(CANDLE_FIELDS)
    return [known.get(name) for name in CANDLE_FIELDS]


def held(epoch: int | None, seq: int | None, groups: Any = (), rows: Any = ()) -> dict[str, Any]:
    return {"epoch": epoch, "seq": seq, "groups": deepcopy(groups), "rows": rows}


TICKER, CANDLES, CLOSES = "ticker:binance:BTC-USDT", "candles:binance:BTC-USDT:1m", "closes:binance:BTC-USDT:1m"
TRADES, BOOK, METRICS = "trades:binance:BTC-USDT", "book:binance:BTC-USDT", "metrics:binance:BTC-USDT:1m"
FIRST = head(last_price=9_000_000, last_trade_id=7, last_time_ms=NOW_MS, volume=100_000, trade_count=3)
SECOND = head(last_price=9_000_010, last_trade_id=8, last_time_ms=NOW_MS + 5, volume=150_000, trade_count=4)
THIRD = head(last_price=8_999_990, last_trade_id=9, last_time_ms=NOW_MS + 9, volume=150_001, trade_count=5)


def diff(vector: Vector, handle: int, topic: str, seq: int, back: int, old: Any, new: Any) -> None:
    vector.receive(Kind.DIFF, handle, seq, back, diffs.make(old, new))
    vector.says("diff", topic=topic)


def ticker(vector: Vector, seq: int = 10) -> None:
    """To the state FIRST at `seq`, under handle 1."""
    vector.subscribe(TICKER)
    vector.begin(T=TICKER)
    vector.send(Kind.SUBSCRIBE, [TICKER])
    vector.ack((TICKER, 1, False))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, seq, [FIRST], [])
    vector.says("snapshot", topic=TICKER)


def basic() -> Vector:
    vector = Vector(
        "basic", "HELLO, a subscription, its snapshot and diffs, a merged one, an empty one; unsubscribing."
    )
    vector.subscribe(TICKER)
    vector.begin(T=TICKER)
    vector.expect()
    vector.send(Kind.SUBSCRIBE, [TICKER])
    vector.ack((TICKER, 1, False))
    vector.expect(T=held(None, None, None))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, 10, [head(price_decimals=0, quantity_decimals=0)], [])
    vector.says("snapshot", topic=TICKER)
    vector.expect(T=held(EPOCH, 10, [[0] * len(HEAD_FIELDS)]))
    diff(vector, 1, TICKER, 12, 2, [[0] * len(HEAD_FIELDS)], [FIRST])
    vector.expect(T=held(EPOCH, 12, [FIRST]))
    diff(vector, 1, TICKER, 19, 7, [FIRST], [THIRD])  # several in one, for who was slow
    diff(vector, 1, TICKER, 20, 1, [THIRD], [THIRD])  # what changed has changed back
    vector.expect(T=held(EPOCH, 20, [THIRD]))
    vector.unsubscribe(TICKER)
    vector.send(Kind.UNSUBSCRIBE, [TICKER])
    vector.receive(Kind.ACK, 2, [[TICKER, 1, False]])
    vector.says("unsubscribed", topic=TICKER)
    vector.receive(Kind.DIFF, 1, 21, 1, diffs.make([THIRD], [FIRST]))  # a handle that is ours no longer
    vector.expect()
    return vector


def batch() -> Vector:
    vector = Vector("batch", "Several messages in one; they follow the kind.")
    vector.subscribe(TICKER, CLOSES)
    vector.begin(T=TICKER, C=CLOSES)
    vector.send(Kind.SUBSCRIBE, [TICKER, CLOSES])
    vector.receive(
        Kind.BATCH,
        [Kind.ACK, 1, [[TICKER, 1, False], [CLOSES, 2, False]]],
        [Kind.SNAPSHOT, 1, EPOCH, 10, [FIRST], []],
        [Kind.SNAPSHOT, 2, EPOCH, 10, [], []],
        [Kind.DIFF, 1, 11, 1, diffs.make([FIRST], [SECOND])],
        [Kind.HEARTBEAT, NOW_MS, 20],
        [Kind.CLOSE, 2, 11, row(OPEN)],
        [Kind.DIFF, 1, 12, 1, diffs.make([SECOND], [THIRD])],
    )
    for topic in (TICKER, CLOSES):
        vector.says("subscribed", topic=topic, resumed=False)
    for topic in (TICKER, CLOSES):
        vector.says("snapshot", topic=topic)
    vector.says("diff", topic=TICKER)
    vector.says("heartbeat")
    vector.says("close", topic=CLOSES)
    vector.says("diff", topic=TICKER)
    vector.expect(T=held(EPOCH, 12, [THIRD]), C=held(EPOCH, 11, rows=[row(OPEN)]))
    vector.receive(Kind.BATCH)
    vector.expect(T=held(EPOCH, 12, [THIRD]), C=held(EPOCH, 11, rows=[row(OPEN)]))
    return vector


def glob() -> Vector:
    vector = Vector("glob", "A glob, a pair that appears later, and a resume of all of it; the glob goes last.")
    eth = "ticker:binance:ETH-USDT"
    vector.subscribe("ticker:binance:*")
    vector.begin(T=TICKER, E=eth)
    vector.send(Kind.SUBSCRIBE, ["ticker:binance:*"])
    vector.ack((TICKER, 1, False))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, 10, [FIRST], [])
    vector.says("snapshot", topic=TICKER)
    vector.expect(T=held(EPOCH, 10, [FIRST]))
    vector.ack((eth, 2, False), id=None)
    vector.expect(T=held(EPOCH, 10, [FIRST]), E=held(None, None, None))
    vector.receive(Kind.SNAPSHOT, 2, EPOCH, 4, [SECOND], [])
    vector.says("snapshot", topic=eth)
    vector.expect(T=held(EPOCH, 10, [FIRST]), E=held(EPOCH, 4, [SECOND]))
    vector.disconnect(1006)
    vector.reconnect(60_000)
    vector.begin("front-1.1")
    vector.send(Kind.SUBSCRIBE, [[TICKER, EPOCH, 10], [eth, EPOCH, 4], "ticker:binance:*"])
    vector.ack((TICKER, 8, True), (eth, 7, True))
    diff(vector, 8, TICKER, 11, 1, [FIRST], [SECOND])
    diff(vector, 7, eth, 6, 2, [SECOND], [THIRD])
    vector.expect(T=held(EPOCH, 11, [SECOND]), E=held(EPOCH, 6, [THIRD]))
    vector.unsubscribe("ticker:binance:*")
    vector.send(Kind.UNSUBSCRIBE, ["ticker:binance:*"])
    vector.receive(Kind.ACK, 3, [[TICKER, 8, False], [eth, 7, False]])
    for topic in (TICKER, eth):
        vector.says("unsubscribed", topic=topic)
    vector.expect()
    vector.disconnect(1006)
    vector.reconnect(60_000)
    vector.begin()
    vector.expect()
    return vector


def hole() -> Vector:
    vector = Vector("hole", "A DIFF that does not follow: one request, nothing applied until the SNAPSHOT.")
    ticker(vector)
    diff(vector, 1, TICKER, 11, 1, [FIRST], [SECOND])
    vector.receive(Kind.DIFF, 1, 13, 1, diffs.make([FIRST], [SECOND]))
    vector.says("gap", topic=TICKER)
    vector.send(Kind.SUBSCRIBE, [[TICKER, EPOCH, 11]])
    vector.expect(T=held(EPOCH, 11, [SECOND]))
    vector.receive(Kind.DIFF, 1, 14, 1, diffs.make([FIRST], [SECOND]))
    vector.expect(T=held(EPOCH, 11, [SECOND]))
    vector.ack((TICKER, 1, True))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, 14, [THIRD], [])
    vector.says("snapshot", topic=TICKER)
    diff(vector, 1, TICKER, 15, 1, [THIRD], [FIRST])
    vector.expect(T=held(EPOCH, 15, [FIRST]))
    return vector


def restart() -> Vector:
    vector = Vector("restart", "A worker starts anew: a SNAPSHOT unasked, of another epoch, with a smaller position.")
    ticker(vector, 1000)
    vector.receive(Kind.SNAPSHOT, 1, LATER, 3, [SECOND], [])
    vector.says("snapshot", topic=TICKER)
    diff(vector, 1, TICKER, 4, 1, [SECOND], [THIRD])
    vector.expect(T=held(LATER, 4, [THIRD]))
    return vector


def candles() -> Vector:
    vector = Vector(
        "candles", "Rows: of a snapshot, closed, revised, told twice, and told anew by a worker that has restarted."
    )
    now = [FIRST, live(OPEN, open=9_000_000, high=9_000_000, low=9_000_000, volume0=50_000)]
    rows = [row(OPEN - 2 * MINUTE), row(OPEN - MINUTE)]
    vector.subscribe(CANDLES)
    vector.begin(K=CANDLES)
    vector.send(Kind.SUBSCRIBE, [CANDLES])
    vector.ack((CANDLES, 3, False))
    vector.receive(Kind.SNAPSHOT, 3, EPOCH, 10, now, rows)
    vector.says("snapshot", topic=CANDLES)
    vector.expect(K=held(EPOCH, 10, now, rows))
    rolled = [SECOND, live(OPEN + MINUTE, open=9_000_010, high=9_000_010, low=9_000_010, volume0=100_000)]
    diff(vector, 3, CANDLES, 11, 1, now, rolled)
    vector.expect(K=held(EPOCH, 11, rolled, rows))
    closed = row(OPEN, close=9_000_000)
    vector.receive(Kind.CLOSE, 3, 11, closed)
    vector.says("close", topic=CANDLES)
    vector.expect(K=held(EPOCH, 11, rolled, [*rows, closed]))
    revised = row(OPEN, close=9_000_000, revision=2, volume=123_457)
    vector.receive(Kind.CLOSE, 3, 12, revised)
    vector.says("close", topic=CANDLES)
    # It does not move the position: the next DIFF follows the one before.
    diff(vector, 3, CANDLES, 13, 2, rolled, [THIRD, rolled[1]])
    vector.receive(Kind.SNAPSHOT, 3, EPOCH, 14, [THIRD, rolled[1]], [revised])  # twice: harmless
    vector.says("snapshot", topic=CANDLES)
    vector.expect(K=held(EPOCH, 14, [THIRD, rolled[1]], [*rows, revised]))
    anew = row(OPEN, close=9_000_001)  # a worker that has forgotten its revisions: what was told last stands
    vector.receive(Kind.SNAPSHOT, 3, LATER, 2, [THIRD, rolled[1]], [anew])
    vector.says("snapshot", topic=CANDLES)
    vector.expect(K=held(LATER, 2, [THIRD, rolled[1]], [*rows, anew]))
    return vector


def closes() -> Vector:
    vector = Vector("closes", "Closes and nothing else: each moves the position, from which the topic is resumed.")
    vector.subscribe(CLOSES)
    vector.begin(C=CLOSES)
    vector.send(Kind.SUBSCRIBE, [CLOSES])
    vector.ack((CLOSES, 1, False))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, 10, [], [row(OPEN)])
    vector.says("snapshot", topic=CLOSES)
    vector.receive(Kind.CLOSE, 1, 15, row(OPEN + MINUTE))
    vector.says("close", topic=CLOSES)
    vector.expect(C=held(EPOCH, 15, rows=[row(OPEN), row(OPEN + MINUTE)]))
    vector.disconnect(1006)
    vector.reconnect(60_000)
    vector.begin("front-0.2")
    vector.send(Kind.SUBSCRIBE, [[CLOSES, EPOCH, 15]])
    vector.ack((CLOSES, 1, True))
    again, late = row(OPEN + MINUTE), row(OPEN + 2 * MINUTE)
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, 21, [], [again, late])
    vector.says("snapshot", topic=CLOSES)
    vector.expect(C=held(EPOCH, 21, rows=[row(OPEN), again, late]))
    return vector


def integers() -> Vector:
    vector = Vector("integers", "Integers around 2^53, 2^63, 2^64 and beyond, both signs, in states, diffs and rows.")
    edges = [1, 2**31, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 2**200]
    state = [list(FIRST)]
    ticker(vector)
    seq = 10
    for at, edge in enumerate([sign * edge for edge in edges for sign in (1, -1)]):
        old, state = state, deepcopy(state)
        state[0][at % len(HEAD_FIELDS)] = edge
        seq += 1
        diff(vector, 1, TICKER, seq, 1, old, state)
        vector.expect(T=held(EPOCH, seq, state))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, seq, state, [])
    vector.says("snapshot", topic=TICKER)
    diff(vector, 1, TICKER, seq + 1, 1, state, [FIRST])
    vector.expect(T=held(EPOCH, seq + 1, [FIRST]))
    vector.subscribe(CLOSES)
    vector.send(Kind.SUBSCRIBE, [CLOSES])
    vector.ack((CLOSES, 2, False))
    vector.letters = {"T": TICKER, "C": CLOSES}
    big = row(OPEN, quote_volume=2**70 + 1, volume=2**63 + 1, delta=-(2**65) - 1, bull=2**60 + 1)
    vector.receive(Kind.SNAPSHOT, 2, EPOCH, 10, [], [big])
    vector.says("snapshot", topic=CLOSES)
    vector.expect(T=held(EPOCH, seq + 1, [FIRST]), C=held(EPOCH, 10, rows=[big]))
    return vector


def resume() -> Vector:
    vector = Vector(
        "resume", "A restart of the front: BYE, back within its time, the position told, and the answers to it."
    )
    now = [FIRST, live(OPEN, open=9_000_000)]
    vector.subscribe(TICKER, CANDLES, METRICS)
    vector.begin(T=TICKER, K=CANDLES, M=METRICS)
    vector.send(Kind.SUBSCRIBE, [TICKER, CANDLES, METRICS])
    vector.ack((TICKER, 1, False), (CANDLES, 2, False), (METRICS, 3, False))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, 10, [FIRST], [])
    vector.receive(Kind.SNAPSHOT, 2, EPOCH, 10, now, [])
    vector.receive(Kind.LIVE, 3, row(OPEN, flags=0))
    vector.says("snapshot", topic=TICKER)
    vector.says("snapshot", topic=CANDLES)
    vector.says("live", topic=METRICS)
    vector.receive(Kind.BYE, CloseCode.GOING_AWAY, "the front stops", 500)
    vector.says("bye", close_code=1001, retry_after_ms=500)
    vector.disconnect(CloseCode.GOING_AWAY)
    vector.reconnect(500)
    metrics = {"row": row(OPEN, flags=0)}
    vector.expect(T=held(EPOCH, 10, [FIRST]), K=held(EPOCH, 10, now), M=metrics)
    vector.begin("front-0.2")
    vector.send(Kind.SUBSCRIBE, [[TICKER, EPOCH, 10], [CANDLES, EPOCH, 10], METRICS])
    vector.ack((TICKER, 5, True), (CANDLES, 4, False), (METRICS, 6, False))
    vector.receive(Kind.SNAPSHOT, 4, LATER, 2, [SECOND, now[1]], [row(OPEN - MINUTE)])
    vector.says("snapshot", topic=CANDLES)
    diff(vector, 5, TICKER, 11, 1, [FIRST], [SECOND])  # nothing had changed: it goes on from the position
    vector.expect(T=held(EPOCH, 11, [SECOND]), K=held(LATER, 2, [SECOND, now[1]], [row(OPEN - MINUTE)]), M=metrics)
    return vector


def trade(number: int, price: int = 9_000_000) -> list[Any]:
    return [number, NOW_MS * 1000 + number, price, 1000 + number, number % 2 == 0, 1]


def trades() -> Vector:
    vector = Vector(
        "trades", "Trades: the first ones, more, some told twice, some missed, other decimals, another epoch."
    )

    def told(handle: int, epoch: int, seq: int, missed: int, some: list[Any], new: int, decimals: int = 2) -> None:
        vector.receive(Kind.TRADES, handle, epoch, seq, missed, decimals, 5, some)
        vector.says("trades", topic=TRADES, missed=missed, trades=some[len(some) - new :])

    vector.subscribe(TRADES)
    vector.begin(X=TRADES)
    vector.send(Kind.SUBSCRIBE, [TRADES])
    vector.ack((TRADES, 1, False))
    vector.expect(X={"epoch": None, "seq": None})
    told(1, EPOCH, 3, 0, [trade(1), trade(2), trade(3)], 3)
    vector.expect(X={"epoch": EPOCH, "seq": 3})
    told(1, EPOCH, 4, 0, [trade(4)], 1)
    told(1, EPOCH, 310, 304, [trade(309), trade(310)], 2)
    told(1, EPOCH, 311, 0, [trade(311, 2**64 + 1)], 1, decimals=20)
    vector.expect(X={"epoch": EPOCH, "seq": 311})
    vector.disconnect(CloseCode.SLOW)
    vector.reconnect(60_000)
    vector.begin()
    vector.send(Kind.SUBSCRIBE, [[TRADES, EPOCH, 311]])
    vector.ack((TRADES, 1, True))
    told(1, EPOCH, 313, 0, [trade(310), trade(311), trade(312), trade(313)], 2)
    vector.expect(X={"epoch": EPOCH, "seq": 313})
    vector.disconnect(1006)
    vector.reconnect(60_000)
    vector.begin("front-1.1")
    vector.send(Kind.SUBSCRIBE, [[TRADES, EPOCH, 313]])
    vector.ack((TRADES, 1, False))
    told(1, LATER, 2, 0, [trade(313), trade(314)], 2)
    vector.expect(X={"epoch": LATER, "seq": 2})
    return vector


def book_and_stats() -> Vector:
    vector = Vector("book_and_stats", "The newest stands: books, live candles, stats of each process.")
    vector.subscribe(BOOK, "stats", METRICS)
    vector.begin(B=BOOK, S="stats", M=METRICS)
    vector.send(Kind.SUBSCRIBE, [BOOK, "stats", METRICS])
    vector.ack((BOOK, 1, False), ("stats", 2, False), (METRICS, 3, False))
    empty = {"seq": None, "time_us": None, "bids": None, "asks": None}
    vector.expect(B=empty, S={"processes": {}}, M={"row": None})
    books = [
        {"seq": 70, "time_us": NOW_MS * 1000, "bids": [["90000.10", "0.5"]], "asks": [["90000.20", "1"]]},
        {"seq": 65, "time_us": NOW_MS * 1000 + 7, "bids": [["0.000000010", "123456789012345678901"]], "asks": []},
    ]
    for book in books:
        vector.receive(Kind.BOOK, 1, *book.values())
        vector.says("book", topic=BOOK)
        vector.expect(B=book, S={"processes": {}}, M={"row": None})
    feed = {"process": "feed-0", "counters": {"trades": 2**53 + 1}, "rate": 1.5, "state": "running"}
    front = {"process": "front-0", "counters": {}, "rate": 0.0, "state": "waiting"}
    for process, stats in [("feed-0", {**feed, "rate": 0.5}), ("front-0", front), ("feed-0", feed)]:
        vector.receive(Kind.STATS, 2, process, stats)
        vector.says("stats", topic="stats", process=process)
    for at in (0, 1):
        vector.receive(Kind.LIVE, 3, row(OPEN, flags=0, trade_count=at))
        vector.says("live", topic=METRICS)
    processes = {"feed-0": feed, "front-0": front}
    vector.expect(B=books[1], S={"processes": processes}, M={"row": row(OPEN, flags=0, trade_count=1)})
    vector.disconnect(1006)
    vector.reconnect(60_000)
    vector.begin()
    vector.send(Kind.SUBSCRIBE, [BOOK, "stats", METRICS])  # they have no positions
    return vector


def errors() -> Vector:
    vector = Vector(
        "errors", "One text names nothing: an ERROR for it, an ACK for the others; it is not asked for again."
    )
    wrong = "tikcer:binance:BTC-USDT"
    vector.subscribe(wrong, TICKER)
    vector.begin(T=TICKER)
    vector.send(Kind.SUBSCRIBE, [wrong, TICKER])
    kinds = ["ticker", "trades", "candles", "closes", "metrics", "book", "stats"]
    vector.receive(Kind.ERROR, 1, "bad_kind", "kind", "tikcer", "valid is one of " + ", ".join(kinds), kinds, wrong)
    vector.says("error", code="bad_kind", field="kind", value="tikcer", valid=kinds, topic=wrong)
    vector.ack((TICKER, 1, False))
    vector.receive(Kind.SNAPSHOT, 1, EPOCH, 10, [FIRST], [])
    vector.says("snapshot", topic=TICKER)
    vector.receive(Kind.ERROR, None, "bad_message", "message", "{}", "valid is an array", ["an array"], None)
    vector.says("error", code="bad_message", field="message", value="{}", valid=["an array"], topic=None)
    vector.expect(T=held(EPOCH, 10, [FIRST]))
    vector.disconnect(1006)
    vector.reconnect(60_000)
    vector.begin()
    vector.send(Kind.SUBSCRIBE, [[TICKER, EPOCH, 10]])
    vector.disconnect(CloseCode.BAD_REQUESTS)
    vector.reconnect(None)
    return vector


def stale() -> Vector:
    vector = Vector("stale", "The age of the data, by heartbeats; silence is noticed, and the connection made anew.")
    vector.age(None)
    ticker(vector)
    vector.age(None)
    vector.receive(Kind.HEARTBEAT, NOW_MS, None)
    vector.says("heartbeat")
    vector.age(None)
    vector.receive(Kind.HEARTBEAT, NOW_MS, 120)
    vector.says("heartbeat")
    vector.age(120)
    vector.advance(2_000)
    vector.age(2_120)
    vector.advance(2_900)
    diff(vector, 1, TICKER, 11, 1, [FIRST], [SECOND])
    vector.receive(Kind.HEARTBEAT, NOW_MS + 5_000, 40)
    vector.says("heartbeat")
    vector.age(40)
    vector.advance(3 * HEARTBEAT_S * 1000 - 100)
    vector.expect(T=held(EPOCH, 11, [SECOND]))
    vector.advance(200)
    vector.says("stale")
    vector.reconnect(60_000)
    vector.age(3 * HEARTBEAT_S * 1000 + 140)
    vector.expect(T=held(EPOCH, 11, [SECOND]))
    vector.begin("front-0.2")
    vector.send(Kind.SUBSCRIBE, [[TICKER, EPOCH, 11]])
    vector.ack((TICKER, 1, True))
    vector.expect(T=held(EPOCH, 11, [SECOND]))
    return vector


VECTORS = (
    basic, batch, glob, hole, restart, candles, closes, integers, resume, trades, book_and_stats, errors, stale,
)  # fmt: skip


def main() -> None:
    for make in VECTORS:
        vector = make()
        (HERE / f"{vector.name}.json").write_text(vector.text())


if __name__ == "__main__":
    main()
