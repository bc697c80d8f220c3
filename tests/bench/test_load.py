"""The load generator of the front's benchmarks sees what is wrong; the one in C and the lean one alike."""

import importlib.util
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from wick.wire.codec import pack, unpack
from wick.wire.session import SUBPROTOCOLS, Kind

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
HANDLE = 7

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def load() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("_load", BENCH / "_load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


@pytest.fixture(params=["cc", "none"])
def compiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", request.param)


@contextmanager
def front(tell: Callable[[ServerConnection, list[Any]], None]) -> Iterator[int]:
    """The port of a front that acknowledges, and then says what `tell` does of the first topic asked for."""

    def session(connection: ServerConnection) -> None:
        try:
            entry = unpack(connection.recv())[2][0]
            topic, *position = entry if type(entry) is list else [entry]
            connection.send(pack([Kind.ACK, 1, [[topic, HANDLE, bool(position)]]]))
            tell(connection, position)
            connection.recv()
        except ConnectionClosed:
            pass

    server: Server = serve(session, "127.0.0.1", 0, subprotocols=SUBPROTOCOLS, compression=None)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()


def snapshot(seq: int, *rows: list[Any]) -> bytes:
    return pack([Kind.SNAPSHOT, HANDLE, 1, seq, [[10, 20]], list(rows)])


def test_a_client_holds_what_it_was_told(load: ModuleType, compiler: None) -> None:
    def tell(connection: ServerConnection, _: list[Any]) -> None:
        diff = [Kind.DIFF, HANDLE, 12, 2, [0, 0b11, 1, -300]]
        connection.send(snapshot(10, [60_000, 1.5, None]))
        connection.send(pack([Kind.BATCH, diff, [Kind.CLOSE, HANDLE, 12, [120_000, b"\x01", 2**62]]]))

    with front(tell) as port, load.Load(port) as some:
        for _ in range(3):
            some.add(["candles:binance:BTC-USDT:1m"])
        some.start()
        some.until(lambda report: report["messages"].get("close") == 3, "the last message")
        [[clients, known, epoch, seq, fields, rows]] = some.states()["candles:binance:BTC-USDT:1m"]
    assert (clients, known, epoch, seq, rows) == (3, 1, 1, 12, [2, 60_000, 120_000])
    assert fields == [11, -280, *[0] * 30]


def test_a_diff_that_starts_elsewhere_is_a_hole(load: ModuleType, compiler: None) -> None:
    def tell(connection: ServerConnection, _: list[Any]) -> None:
        connection.send(snapshot(10))
        connection.send(pack([Kind.DIFF, HANDLE, 13, 2, [0, 1, 1]]))

    with front(tell) as port, load.Load(port) as some:
        some.add(["ticker:binance:BTC-USDT"])
        some.start()
        report = some.until(lambda report: report["holes"], "the hole is seen")
        assert (report["holes"], report["bad"]) == (1, 0)
        assert some.states()["ticker:binance:BTC-USDT"][0][1] == 0, "its state is not known any more"


def test_what_is_no_message_is_counted(load: ModuleType, compiler: None) -> None:
    with (
        front(lambda connection, _: connection.send(b"\x93\x04")) as port,
        load.Load(port) as some,
    ):
        some.add(["ticker:binance:BTC-USDT"])
        some.start()
        some.until(lambda report: report["bad"], "it is counted")


def test_a_client_that_was_cut_resumes_from_where_it_stands(load: ModuleType, compiler: None) -> None:
    asked: list[list[Any]] = []

    def tell(connection: ServerConnection, position: list[Any]) -> None:
        asked.append(position)
        connection.send(pack([Kind.DIFF, HANDLE, 11, 1, [0, 1, 1]]) if position else snapshot(10))

    with front(tell) as port, load.Load(port) as some:
        some.add(["ticker:binance:BTC-USDT"])
        some.open()
        some.cut()
        back = some.open()
        [[_, known, _, seq, fields, _]] = some.states()["ticker:binance:BTC-USDT"]
    assert asked == [[], [1, 10]]
    assert (back["resumed"], back["fresh"], known, seq, fields[0]) == (1, 0, 1, 11, 11)


def test_the_age_of_a_stamped_message_is_told_by_group(load: ModuleType, compiler: None) -> None:
    def tell(connection: ServerConnection, _: list[Any]) -> None:
        connection.send(snapshot(10))
        connection.pong(struct.pack("<Q", time.monotonic_ns() - 50_000_000))
        connection.send(pack([Kind.DIFF, HANDLE, 11, 1, [0, 1, 1]]))

    with front(tell) as port, load.Load(port) as some:
        some.add(["ticker:binance:BTC-USDT"], 1)
        some.start()
        report = some.until(lambda report: report["messages"].get("diff"), "the stamped message")
    healthy, stalled = (group["latency_ms"] for group in report["groups"])
    assert healthy["count"] == 0 and stalled["count"] == 1
    assert 50 <= stalled["p50"] < 5_000


def test_who_stalls_is_told_nothing_until_it_wakes(load: ModuleType, compiler: None) -> None:
    go_on = threading.Event()

    def tell(connection: ServerConnection, _: list[Any]) -> None:
        connection.send(snapshot(10))
        go_on.wait(20)
        connection.send(pack([Kind.DIFF, HANDLE, 11, 1, [0, 1, 1]]))

    with front(tell) as port, load.Load(port) as some:
        some.add(["ticker:binance:BTC-USDT"], 0)
        some.add(["ticker:binance:BTC-USDT"], 1)
        some.open()
        some.stall()
        go_on.set()
        some.until(lambda report: report["messages"].get("diff") == 1, "the other one is told")
        assert sorted(seq for _, _, _, seq, *_ in some.states()["ticker:binance:BTC-USDT"]) == [10, 11]
        some.wake()
        some.until(lambda report: report["messages"].get("diff") == 1, "it wakes")
        assert [one[3] for one in some.states()["ticker:binance:BTC-USDT"]] == [11]


def test_without_a_compiler_there_is_no_program(load: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "none")
    assert load.built("_load.c") is None
