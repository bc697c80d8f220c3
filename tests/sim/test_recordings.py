"""Recordings played verbatim to every connection, merged by time."""

import gzip
import json
import time
import urllib.error
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.exchange_process import ROOT, Exchange, StartExchange, wait_until
from tests.sim.wire_bench import START_MS, Bench
from wick import exchanges
from wick.market.trades import Topic
from wick.sim import wires
from wick.sim.routes import Topics, routes_of
from wick.storage.recordings import find, merge

REAL = ROOT.parent / "shared" / "data" / "binance-spot"
NS = 1_000_000_000


BASE_MS = 1_732_000_000_000


def frame(symbol: str, number: int) -> bytes:
    # The blank is there on purpose: a frame that was parsed and written again would lose it.
    return (
        b'{"stream":"%b@trade","data":{"e":"trade", "E":%d,"s":"%b","t":%d,"p":"10.50000000","q":"0.25000000",'
        b'"T":%d,"m":true}}' % (symbol.lower().encode(), number, symbol.encode(), number, BASE_MS + number)
    )


def write(path: Path, *lines: tuple[int, bytes], cut: int = 0) -> Path:
    text = b"".join(b"%d %b\n" % line for line in lines)
    data = gzip.compress(text) if path.suffix == ".gz" else text
    path.write_bytes(data[: len(data) - cut])
    return path


def messages(*paths: Path) -> list[bytes]:
    """All of them in the order of receipt."""
    faults: list[str] = []
    found = find(paths, lambda where, _: faults.append(where))
    read = [item for batch in merge(found, lambda where, _: faults.append(where)) for item in batch.items]
    assert faults == []
    return read


def received(client: Any, count: int) -> list[bytes]:
    return [client.recv(timeout=30).encode() for _ in range(count)]


# ---- messages


BTC_TRADE, BTC_DEPTH = (Topic("BTCUSDT", channel) for channel in ("trade", "depth"))
ETH_TRADE, ETH_QUOTE, ETH_DEPTH = (Topic("ETHUSDT", channel) for channel in ("trade", "quote", "depth"))


@pytest.mark.parametrize(
    ("raw", "topics"),
    [
        (frame("BTCUSDT", 1), (BTC_TRADE,)),
        (b'{"stream":"btcusdt@depth@100ms","data":{garbage', (BTC_DEPTH,)),
        (b'{"stream": "btcusdt@trade", "data": {}}', (BTC_TRADE,)),
        (b'{"stream": "btcusdt@aggTrade", "data": {}}', (BTC_TRADE,)),
        (b'{\t"stream" : "btcusdt@trade" , "data":{garbage', (BTC_TRADE,)),
        (b'{"data": {}, "stream": "btcusdt@trade"}', (BTC_TRADE,)),
        (b'{"stream":"btcusdt@kline_1m"', (Topic("BTCUSDT", "@kline_1m"),)),
        (b'{"stream": 5, "data": {}}', None),
        (b'{"stream": [], "data": {}}', None),
        (b'{"lastUpdateId": 7, garbage', ()),
        (b'{"e":"trade","s":"ETHUSDT","t":1}', (ETH_TRADE,)),
        (b'{"e":"depthUpdate","s":"ETHUSDT"}', (ETH_DEPTH,)),
        (b'{"u":1,"s":"ETHUSDT","b":"1.0","B":"1.0","a":"1.0","A":"1.0"}', (ETH_QUOTE,)),
        (b'{"result":null,"id":1}', ()),
        (b'{"e":"serverShutdown","E":1}', None),
        (b"garbage", None),
        (b"[]", None),
        (b'{"stream":"', None),
    ],
)
def test_the_streams_of_a_recorded_message(raw: bytes, topics: Topics):
    assert routes_of(exchanges.load("binance")).topics(raw) == topics


# ---- playing

BITCOIN = [(number * 10, frame("BTCUSDT", number)) for number in range(1, 300)]
ETHER = [(number * 10 + 5, frame("ETHUSDT", number)) for number in range(1, 300)]
GARBAGE = (1006, b'\xc2\xb5 {"not a frame')


def played(*parts: list[tuple[int, bytes]]) -> list[bytes]:
    """What arrives of these streams: all of it by time, and what names no stream."""
    return [raw for _, raw in sorted([GARBAGE, *(line for part in parts for line in part)])]


@pytest.fixture(scope="module")
def two_symbols(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """An exchange that plays two files at full speed; one of them is cut off in its last line."""
    folder = tmp_path_factory.mktemp("recordings")
    files = [write(folder / "b.gz", *BITCOIN), write(folder / "e", *ETHER[:100], GARBAGE, *ETHER[100:])]
    with files[1].open("ab") as file:
        file.write(b"29")
    exchange = Exchange(folder / "log", files=[str(path) for path in files], speed=None)
    yield exchange
    exchange.stop()


def test_exchange_info_lists_the_symbols_of_the_recordings(two_symbols: Exchange):
    info = two_symbols.get("/api/v3/exchangeInfo")["symbols"]
    assert [(entry["symbol"], entry["baseAsset"], entry["quoteAsset"]) for entry in info] == [
        ("BTCUSDT", "BTC", "USDT"),
        ("ETHUSDT", "ETH", "USDT"),
    ]
    prices, quantities = info[0]["filters"]
    assert (prices["tickSize"], quantities["stepSize"]) == ("0.10000000", "0.01000000")


def test_every_connection_gets_its_streams_verbatim_from_the_start(two_symbols: Exchange):
    with two_symbols.connect("btcusdt@trade", "ethusdt@trade") as first:
        assert received(first, 599) == played(BITCOIN, ETHER)
        with two_symbols.connect("ethusdt@trade") as second:
            assert received(second, 300) == played(ETHER)
            wait_until(lambda: two_symbols.counters().get("played") == 2)
        with pytest.raises(TimeoutError):
            first.recv(timeout=0.1)  # silent, and
        assert first.ping().wait(timeout=30)  # still there
    assert "played all frames=599 other=1 trade=598" in two_symbols.log()


def test_subscriptions_that_come_one_by_one_are_waited_for(two_symbols: Exchange):
    with two_symbols.connect(path="/stream") as client:
        for number, name in enumerate(("btcusdt@trade", "ethusdt@trade")):
            time.sleep(0.1)
            client.send(json.dumps({"method": "SUBSCRIBE", "params": [name], "id": number}))
        assert [json.loads(raw) for raw in received(client, 2)] == [{"result": None, "id": n} for n in (0, 1)]
        assert received(client, 599) == played(BITCOIN, ETHER)


def test_damage_is_counted_and_logged_once_however_often_it_is_played(two_symbols: Exchange):
    assert two_symbols.counters()["bad_lines"] == 1
    assert two_symbols.log().count("/e:301: no receive time and message") == 1


def test_speed_shortens_the_time_between_frames(tmp_path: Path, start_exchange: StartExchange):
    frames = [(number * 5 * NS, frame("BTCUSDT", number)) for number in range(1, 22)]  # 100 s
    exchange = start_exchange(files=[str(write(tmp_path / "x", *frames))], speed=125.0)
    with exchange.connect("btcusdt@trade") as client:
        received(client, 1)
        started = time.monotonic()
        received(client, 20)
        assert 0.3 < time.monotonic() - started < 20  # 0.8 s, where the machine has the time


def test_neither_a_late_reader_nor_a_silence_loses_anything_at_full_speed(
    tmp_path: Path, start_exchange: StartExchange
):
    frames = [(number, frame("BTCUSDT", number) + b" " * 2000) for number in range(1, 6000)]  # 12 MB
    exchange = start_exchange(files=[str(write(tmp_path / "x.gz", *frames))], speed=None, options={"queue_kb": 4096})
    with exchange.connect("btcusdt@trade", max_queue=4, close_timeout=0.1) as client:
        received(client, 10)
        exchange.fault("silence", seconds=0.2)
        time.sleep(0.3)  # the player has stopped by now: 12 MB fit into no buffer between us
        assert "played" not in exchange.counters()
        assert received(client, len(frames) - 10) == [raw for _, raw in frames[10:]]
    assert "slow_clients_cut" not in exchange.counters()


def test_rest_answers_from_the_recording(tmp_path: Path, start_exchange: StartExchange):
    def depth(update_id: int, levels: int = 8) -> bytes:
        side = b",".join(b'["10.%08d","1.00000000"]' % level for level in range(levels))
        return b'{"lastUpdateId":%d,"bids":[%b],"asks":[%b]}' % (update_id, side, side)

    def update(symbol: str, last_id: int) -> bytes:
        return b'{"stream":"%b@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"%b","U":1,"u":%d,"b":[],"a":[]}}' % (
            symbol.lower().encode(), symbol.encode(), last_id,
        )  # fmt: skip

    lines = [update("BTCUSDT", 5000), update("ETHUSDT", 9000), depth(9004), depth(5003), frame("BTCUSDT", 7),
             frame("BTCUSDT", 8), frame("BTCUSDT", 9), depth(5900), update("BTCUSDT", 5910)]  # fmt: skip
    path = write(tmp_path / "x.gz", *enumerate(lines, start=1))
    exchange = start_exchange(files=[str(path)], speed=None)
    snapshot = exchange.get("/api/v3/depth?symbol=BTCUSDT&limit=3")
    assert snapshot["lastUpdateId"] == 5003  # nothing has been played yet: the first one
    assert len(snapshot["bids"]) == len(snapshot["asks"]) == 3
    assert exchange.get("/api/v3/depth?symbol=ETHUSDT")["lastUpdateId"] == 9004
    exchange.fault("gap", symbol="BTCUSDT", trades=1)
    with exchange.connect("btcusdt@trade", "btcusdt@depth@100ms") as client:
        assert received(client, 4) == [lines[0], lines[5], lines[6], lines[8]]  # trade 7 is left out
    assert exchange.get("/api/v3/depth?symbol=BTCUSDT")["lastUpdateId"] == 5900  # that was passed
    trades = exchange.get("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=7")
    assert [trade["id"] for trade in trades] == [7, 8, 9]
    assert (trades[0]["price"], trades[0]["quoteQty"]) == ("10.50000000", "2.62500000")


def test_a_recording_whose_json_has_blanks_is_as_good(tmp_path: Path, start_exchange: StartExchange):
    update = (
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":5000,"b":[],"a":[]}}'
    )
    depth = b'{"lastUpdateId":5003,"bids":[],"asks":[]}'
    spaced = [json.dumps(json.loads(raw)).encode() for raw in (update, frame("BTCUSDT", 7), depth)]
    exchange = start_exchange(files=[str(write(tmp_path / "x", *enumerate(spaced, start=1)))], speed=None)
    (info,) = exchange.get("/api/v3/exchangeInfo")["symbols"]
    assert (info["symbol"], info["filters"][0]["tickSize"]) == ("BTCUSDT", "0.10000000")
    assert exchange.get("/api/v3/depth?symbol=BTCUSDT")["lastUpdateId"] == 5003
    with exchange.connect("btcusdt@trade", "btcusdt@depth@100ms") as client:
        assert received(client, 2) == spaced[:2]
    assert [trade["id"] for trade in exchange.get("/api/v3/trades?symbol=BTCUSDT")] == [7]


def test_every_container_is_played_and_a_dump_is_not(tmp_path: Path, start_exchange: StartExchange):
    lines = [(number, frame("BTCUSDT", number)) for number in range(1, 10)]
    with zipfile.ZipFile(tmp_path / "day.zip", "w") as archive:
        archive.write(write(tmp_path / "plain", *lines[:4]), "first")
        archive.write(write(tmp_path / "gzip.gz", *lines[4:]), "second")
    (tmp_path / "BTCUSDT-trades-2024-08-09.csv").write_text("5,1.5,2,3,1723161585000,True,True\n")
    names = [str(tmp_path / name) for name in ("day.zip", "BTCUSDT-trades-2024-08-09.csv")]
    exchange = start_exchange(files=names, speed=None)
    with exchange.connect("btcusdt@trade") as client:
        assert received(client, 9) == [raw for _, raw in lines]
    assert exchange.counters()["bad_lines"] == 1
    assert "2024-08-09.csv: a dump of trades has no frames to serve" in exchange.log()


@pytest.mark.parametrize(
    ("venue_id", "request_"),
    [
        ("kraken", {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USDT"]}}),
        ("bybit", {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]}),
    ],
)
@pytest.mark.slow
def test_a_capture_of_another_venue_goes_to_who_asked_for_it_in_its_own_words(
    venue_id: str, request_: Any, tmp_path: Path, start_exchange: StartExchange
):
    venue = exchanges.load(venue_id)
    bench = Bench(wires.load(venue_id), venue.ws_path)
    lines = [*bench.session.greeting(bench.now_ms).frames]
    for request in venue.subscribe([Topic(s, c) for c in ("trade", "depth") for s in ("BTC-USDT", "ETH-USDT")]):
        lines += bench.subscribe(request.raw)
    lines += bench.run(1000)
    path = write(tmp_path / "x.gz", *((START_MS * 10**6 + number, raw) for number, raw in enumerate(lines)))
    exchange = start_exchange(files=[str(path)], speed=None, venue=venue_id)
    native = bench.view.names[0]
    wanted = [raw for raw in lines if routes_of(venue).topics(raw) == (Topic(native, "trade"),)]
    with exchange.connect(path=venue.ws_path) as client:
        client.send(json.dumps(request_))
        wait_until(lambda: exchange.counters().get("played") == 1)
        got = [client.recv(timeout=30).encode() for _ in range(len(wanted) + 1)]
        while set(wanted) - set(got):
            got.append(client.recv(timeout=30).encode())
    assert [raw for raw in got if raw in set(wanted)] == wanted
    assert len(wanted) > 10
    assert not any(native.encode() in raw and b"book" in raw for raw in got)
    listed = exchange.get(venue.symbols_path)
    assert len(venue.parse_symbols(json.dumps(listed).encode())) == 2


def test_what_needs_a_market_cannot_happen_to_recordings(two_symbols: Exchange):
    with pytest.raises(urllib.error.HTTPError) as refused:
        two_symbols.fault("freeze", seconds=1)
    with refused.value as error:
        assert "recordings cannot have freeze" in json.load(error)["error"]["message"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real recordings are not at {REAL}")
def test_real_trades_are_played_verbatim_and_without_a_hole(start_exchange: StartExchange):
    paths = sorted(REAL.glob("*_20240808.gz"))
    expected = [raw for raw in messages(*paths) if raw.startswith(b'{"stream":"btcusdt@trade"')]
    exchange = start_exchange(files=[str(path) for path in paths], speed=None)
    with exchange.connect("btcusdt@trade") as client:
        got = received(client, len(expected))
    assert got == expected
    ids = [json.loads(raw)["data"]["t"] for raw in got]
    assert ids == list(range(ids[0], ids[0] + len(ids))) and len(ids) > 9_000
    assert exchange.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")["lastUpdateId"] == 50093239218
    assert exchange.get("/api/v3/depth?symbol=ETHUSDT&limit=1")["lastUpdateId"] == 35346513512
