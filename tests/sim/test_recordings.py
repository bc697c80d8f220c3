"""Recordings: read whole in spite of damage, merged by time, played verbatim to every connection."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.exchange_process import ROOT, Exchange, StartExchange, wait_until
from wick.errors import SettingError
from wick.sim.captures import Line, find_files, merged
from wick.sim.recordings import stream_of

REAL = ROOT.parent / "shared" / "data" / "binance-spot"
NS = 1_000_000_000


def frame(symbol: str, number: int) -> bytes:
    # The blank is there on purpose: a frame that was parsed and written again would lose it.
    return (
        b'{"stream":"%b@trade","data":{"e":"trade", "E":%d,"s":"%b","t":%d,"p":"10.50000000","q":"0.25000000",'
        b'"T":%d,"m":true}}' % (symbol.lower().encode(), number, symbol.encode(), number, number)
    )


def write(path: Path, *lines: tuple[int, bytes], cut: int = 0) -> Path:
    text = b"".join(b"%d %b\n" % line for line in lines)
    data = gzip.compress(text) if path.suffix == ".gz" else text
    path.write_bytes(data[: len(data) - cut])
    return path


def read(*paths: Path) -> tuple[list[Line], list[tuple[str, str, str]]]:
    complaints: list[tuple[str, str, str]] = []
    lines = list(merged(paths, lambda path, *rest: complaints.append((path.name, *rest))))
    return lines, complaints


def received(client: Any, count: int) -> list[bytes]:
    return [client.recv(timeout=5).encode() for _ in range(count)]


# ---- files


def test_files_are_merged_by_receive_time_and_keep_their_own_order(tmp_path: Path):
    a = write(tmp_path / "a.gz", (10, b"a1"), (30, b"a2"), (20, b"a3"), (50, b"a4"))  # its clock stepped back
    b = write(tmp_path / "b", (5, b"b1"), (31, b"b2"))
    c = write(tmp_path / "c.gz", (40, b"c1"))
    lines, complaints = read(a, b, c)
    assert [line.raw for line in lines] == [b"b1", b"a1", b"a2", b"a3", b"b2", b"c1", b"a4"]
    assert [line.number for line in lines if line.file == 0] == [1, 2, 3, 4]
    assert complaints == []


def test_a_file_is_open_only_while_its_turn_lasts(tmp_path: Path):
    paths = [write(tmp_path / f"{day}.gz", (day * NS, b"x")) for day in range(300)]
    reader = merged(paths, lambda *_: None)
    next(reader)
    open_files = [link.name for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(link.resolve())]
    assert len(open_files) <= 2
    assert len(list(reader)) == 299


def test_gzip_members_one_after_another_are_one_file(tmp_path: Path):
    path = tmp_path / "two.gz"
    path.write_bytes(gzip.compress(b"1 a\n2 b") + gzip.compress(b"b\n3 c\n"))
    assert [line.raw for line in read(path)[0]] == [b"a", b"bb", b"c"]


def test_damage_is_named_with_its_place_and_the_rest_goes_on(tmp_path: Path):
    numbers = [(number * NS, b'{"n":%d,"x":"%d"}' % (number, number * 7919 % 10_007)) for number in range(5000)]
    cut = write(tmp_path / "cut.gz", *numbers, cut=4000)
    odd = tmp_path / "odd"
    odd.write_bytes(b"1 one\nno time here\n\n2\n12345678901234567890 long\n3 three\n")
    lines, complaints = read(cut, odd)
    whole = [line for line in lines if line.file == 0]
    assert 1000 < len(whole) < 5000
    assert [line.raw for line in whole] == [raw for _, raw in numbers[: len(whole)]]
    assert [line.raw for line in lines if line.file == 1] == [b"one", b"three"]
    by_file = {name: [place for file, place, _ in complaints if file == name] for name in ("cut.gz", "odd")}
    assert by_file == {"cut.gz": [f"after line {len(whole)}"], "odd": ["line 2", "line 4", "line 5"]}


def test_a_file_that_is_gone_is_a_complaint(tmp_path: Path):
    lines, complaints = read(tmp_path / "gone.gz", write(tmp_path / "there", (1, b"x")))
    assert len(lines) == 1
    assert [name for name, _, _ in complaints] == ["gone.gz"]


def test_names_patterns_and_directories_stand_for_files(tmp_path: Path):
    a, b = write(tmp_path / "a.gz", (1, b"x")), write(tmp_path / "b.gz", (1, b"x"))
    assert find_files([str(tmp_path)]) == find_files([str(tmp_path / "*.gz")]) == [a, b]
    assert find_files([str(b), str(a), str(tmp_path)]) == [b, a]
    with pytest.raises(SettingError, match="nothing-here"):
        find_files([str(a), str(tmp_path / "nothing-here*")])


@pytest.mark.parametrize(
    ("raw", "stream"),
    [
        (frame("BTCUSDT", 1), "btcusdt@trade"),
        (b'{"stream":"btcusdt@depth@100ms","data":{garbage', "btcusdt@depth@100ms"),
        (b'{"stream": "btcusdt@trade", "data": {}}', "btcusdt@trade"),
        (b'{"stream": 5, "data": {}}', None),
        (b'{"e":"trade","s":"ETHUSDT","t":1}', "ethusdt@trade"),
        (b'{"e":"depthUpdate","s":"ETHUSDT"}', "ethusdt@depth@100ms"),
        (b'{"u":1,"s":"ETHUSDT","b":"1.0","B":"1.0","a":"1.0","A":"1.0"}', "ethusdt@bookTicker"),
        (b'{"result":null,"id":1}', ""),
        (b'{"e":"serverShutdown","E":1}', None),
        (b"garbage", None),
        (b"[]", None),
        (b'{"stream":"', None),
    ],
)
def test_the_stream_of_a_recorded_message(raw: bytes, stream: str | None):
    assert stream_of(raw) == stream


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
        assert first.ping().wait(timeout=5)  # still there
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
    assert two_symbols.log().count("e at=line 301") == 1


def test_speed_shortens_the_time_between_frames(tmp_path: Path, start_exchange: StartExchange):
    frames = [(number * NS // 10, frame("BTCUSDT", number)) for number in range(1, 22)]  # 2 s
    exchange = start_exchange(files=[str(write(tmp_path / "x", *frames))], speed=5.0)
    with exchange.connect("btcusdt@trade") as client:
        received(client, 1)
        started = time.monotonic()
        received(client, 20)
        assert 0.35 < time.monotonic() - started < 1.5  # 2 s as recorded


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


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real recordings are not at {REAL}")
def test_real_trades_are_played_verbatim_and_without_a_hole(start_exchange: StartExchange):
    paths = sorted(REAL.glob("*_20240808.gz"))
    expected = [line.raw for line in read(*paths)[0] if line.raw.startswith(b'{"stream":"btcusdt@trade"')]
    exchange = start_exchange(files=[str(path) for path in paths], speed=None)
    with exchange.connect("btcusdt@trade") as client:
        got = received(client, len(expected))
    assert got == expected
    ids = [json.loads(raw)["data"]["t"] for raw in got]
    assert ids == list(range(ids[0], ids[0] + len(ids))) and len(ids) > 9_000
    assert exchange.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")["lastUpdateId"] == 50093239218
    assert exchange.get("/api/v3/depth?symbol=ETHUSDT&limit=1")["lastUpdateId"] == 35346513512
