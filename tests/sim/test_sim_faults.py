"""Every fault: what it does to frames (pure), and that it is seen on the wire."""

import json
import re
import socket
import time
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.sim.exchange_process import Exchange, take, take_until, wait_until
from tests.sim.wire_bench import Bench
from wick import exchanges
from wick.errors import ParseError
from wick.exchanges import Refused
from wick.market.trades import Topic
from wick.sim import wires
from wick.sim.faults import BY_NAME, CORRUPTIONS, FaultError, Faults, checked

BTC, ETH = (Topic(symbol, "trade") for symbol in ("BTCUSDT", "ETHUSDT"))
FRAME = b'{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"61837.63000000","q":"0.02000000","T":1,"m":true,"M":true}'
DECIMAL = re.compile(r"\d+\.\d{8}")


def is_sound(raw: str | bytes) -> bool:
    """Whether a trade can be read out of this, strictly."""
    try:
        message = json.loads(raw)
        trade = message.get("data", message)
        return type(trade["t"]) is int and all(DECIMAL.fullmatch(trade[key]) for key in "pq")
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def steps_of(trades: list[Any]) -> list[int]:
    """From one id to the next; 1 where all is well."""
    return [after["t"] - before["t"] for before, after in pairwise(trades)]


def holes_of(trades: list[Any], symbol: str) -> list[tuple[int, int]]:
    ids = [trade["t"] for trade in trades if trade["s"] == symbol]
    return [(before, after) for before, after in pairwise(ids) if after != before + 1]


def switched(name: str, now_ms: float = 0.0, **params: Any) -> Faults:
    faults = Faults(seed=1)
    faults.switch(name, checked({"fault": name, **params})[1], now_ms)
    return faults


# ---- the declared table


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ([], "fault"),
        ({}, "fault"),
        ({"fault": "flood"}, "fault"),
        ({"fault": ["gap"]}, "fault"),
        ({"fault": "silence"}, "seconds"),
        ({"fault": "silence", "seconds": "1"}, "seconds"),
        ({"fault": "silence", "seconds": float("nan")}, "seconds"),
        ({"fault": "gap", "symbol": "BTCUSDT", "trades": 0}, "trades"),
        ({"fault": "gap", "symbol": "BTCUSDT", "trades": True}, "trades"),
        ({"fault": "gap", "symbol": "BTCUSDT", "trade": 5}, "trade"),
        ({"fault": "corrupt", "kind": "purple"}, "kind"),
        ({"fault": "slow", "seconds": 1}, "delay_ms"),
        ({"fault": "cut", "seconds": 1}, "seconds"),
    ],
)
def test_a_wrong_request_names_the_field_and_what_is_valid(request_: Any, field: str):
    with pytest.raises(FaultError) as refused:
        checked(request_)
    assert refused.value.field == field
    assert refused.value.valid


def test_a_wrong_request_over_http_is_a_400_and_changes_nothing(demo: Exchange):
    for body in (b'{"fault":"gap","symbol":"NOPE","trades":5}', b"{nonsense", b'{"fault":"?"}'):
        head = f"POST /_faults HTTP/1.1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", demo.port), timeout=30) as sock:
            sock.sendall(head.encode() + body)
            assert sock.recv(4096).startswith(b"HTTP/1.1 400")
    state = demo.get("/_faults")
    assert state["pending"] == {"held": 0}
    assert {entry["fault"] for entry in state["faults"]} == set(BY_NAME) - {"wrong_checksum", "newest_first"}


# ---- frames, pure


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_no_corruption_leaves_a_sound_frame(kind: str):
    assert is_sound(FRAME)
    faults = switched("corrupt", frames=200, kind=kind)
    mutants = {faults.filter(None, BTC, FRAME, 0)[0] for _ in range(200)}
    assert not any(is_sound(mutant) for mutant in mutants)
    assert len(mutants) > 1
    assert faults.filter(None, BTC, FRAME, 0) == (FRAME,)  # the 201st


def test_mixed_corruption_takes_every_kind_in_turn():
    faults = switched("corrupt", frames=6)
    text = b" ".join(faults.filter(None, BTC, FRAME, 0)[0] for _ in range(6))
    assert all(word in text for word in (b"NaN", b"-1.00000000", b"1e400", b"1.5e2"))


@pytest.mark.parametrize("venue_id", wires.ids())
def test_wick_refuses_every_corruption_of_a_trade_of_any_venue(venue_id: str):
    venue = exchanges.load(venue_id)
    bench = Bench(wires.load(venue_id), venue.path("trade"))
    for request in venue.subscribe([Topic("BTC-USDT", "trade")]):
        bench.ask(request.raw)
    frames, faults = bench.run(300)[:20], switched("corrupt", frames=1_000_000)
    sound = venue.take(frames)
    assert frames and not any(isinstance(one, Refused) for one in sound)
    for frame in frames:
        for _ in range(3 * len(CORRUPTIONS)):
            (mutant,) = faults.filter(None, BTC, frame, 0)
            with pytest.raises(ParseError):
                venue.parse(mutant)


def test_reordering_shuffles_within_the_window_and_loses_nothing():
    faults = switched("reorder", window_ms=50, seconds=1)
    frames = [b"%d" % number for number in range(200)]
    seen, sent_at = [], {}
    for now, frame in enumerate(frames):
        assert faults.filter(None, BTC, frame, now) == ()
        sent_at[frame] = now
        seen += [(now, held) for _, held in faults.release(now)]
    seen += [(300, held) for _, held in faults.release(300)]
    order = [frame for _, frame in seen]
    assert sorted(order, key=int) == frames != order
    assert all(0 <= now - sent_at[frame] <= 50 for now, frame in seen if now < 300)
    again = switched("reorder", window_ms=50, seconds=1)
    for now, frame in enumerate(frames):
        again.filter(None, BTC, frame, now)
    repeated = switched("reorder", window_ms=50, seconds=1)
    for now, frame in enumerate(frames):
        repeated.filter(None, BTC, frame, now)
    assert again.release(300) == repeated.release(300)  # the same seed shuffles alike


def test_where_no_client_could_see_it_nothing_is_shuffled():
    faults = Faults(1, frozenset({"depth"}))
    faults.switch("reorder", checked({"fault": "reorder", "seconds": 1})[1], 0)
    assert faults.filter(None, BTC._replace(channel="depth"), b"x", 0) == (b"x",)
    assert faults.filter(None, BTC, b"x", 0) == ()


def test_nothing_overtakes_a_slow_frame_even_after_the_fault_has_ended():
    faults = switched("slow", delay_ms=100, seconds=0.05)
    assert faults.filter(None, BTC, b"first", 40) == ()
    assert faults.filter(None, BTC, b"second", 60) == ()  # the fault is over, the first still held
    assert faults.release(139) == []
    assert [frame for _, frame in faults.release(140)] == [b"first", b"second"]
    assert faults.filter(None, BTC, b"third", 141) == (b"third",)


def test_clear_lets_held_frames_go_at_once_and_stops_the_rest():
    faults = switched("slow", delay_ms=60_000, seconds=60)
    for number in range(3):
        faults.filter(None, BTC, b"%d" % number, 0)
    faults.switch("clear", {}, 5)
    assert [frame for _, frame in faults.release(5)] == [b"0", b"1", b"2"]
    assert faults.filter(None, BTC, b"3", 5) == (b"3",)


def test_faults_of_frames_keep_to_their_streams():
    faults = switched("duplicate", frames=5, symbol="ETHUSDT", channel="trade")
    assert faults.filter(None, BTC, b"x", 0) == (b"x",)
    assert faults.filter(None, ETH._replace(channel="quote"), b"x", 0) == (b"x",)
    assert faults.filter(None, ETH, b"x", 0) == (b"x", b"x")


def test_a_fault_of_one_symbol_is_taken_there_as_often_as_asked():
    faults = switched("gap", symbol="BTCUSDT", trades=2)
    faults.switch("gap", checked({"fault": "gap", "symbol": "ETHUSDT", "trades": 1})[1], 0)
    assert [bool(faults.take("gap", *BTC)) for _ in range(3)] == [True, True, False]
    assert faults.take("gap", *ETH) and not faults.take("gap", *ETH)
    assert faults.counters["gap"] == 3 and not faults.active


def test_a_fault_that_lasts_ends_with_its_time():
    faults = switched("refuse", seconds=2)
    assert faults.take("refuse", now_ms=1999) and not faults.take("refuse", now_ms=2000)
    assert not faults.active


def test_an_oversized_frame_is_the_frame_and_blanks():
    faults = switched("oversized", size=1000)
    (frame,) = faults.filter(None, BTC, FRAME, 0)
    assert len(frame) == 1000 and frame.strip() == FRAME and is_sound(frame)


# ---- on the wire


def test_cut_ends_tcp_without_a_close_frame_and_a_new_connection_works(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        take(client, 1)
        demo.fault("cut")
        with pytest.raises(ConnectionClosed) as closed:
            take(client, 10_000)
        assert closed.value.rcvd is None
    with demo.connect("btcusdt@trade") as client:
        assert take(client, 1)


def test_cut_with_reset_ends_in_rst(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        take(client, 1)
        demo.fault("cut", reset=True)
        with pytest.raises(ConnectionClosed) as closed:
            take(client, 10_000)
        assert isinstance(closed.value.__cause__, ConnectionResetError)


@pytest.mark.slow
def test_silence_sends_nothing_for_its_time_and_then_goes_on_with_a_hole(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        take(client, 1)
        demo.fault("silence", seconds=0.4)
        trades = take_until(client, lambda trades: bool(holes_of(trades, "BTCUSDT")), more=200)
    pauses = [(later["t"] - one["t"], later["T"] - one["T"]) for one, later in pairwise(trades)]
    [(missed, paused_ms)] = [pause for pause in pauses if pause[0] != 1]
    assert missed > 20 and paused_ms > 350


@pytest.mark.slow
def test_a_silent_connection_answers_no_ping_but_a_new_one_is_not_silent(demo: Exchange):
    with demo.connect(path="/ws", close_timeout=0.1) as client:
        demo.fault("silence", seconds=5)
        assert not client.ping().wait(timeout=0.2)
        with demo.connect(path="/ws") as other:
            assert other.ping().wait(timeout=30)


def test_clearing_costs_nothing_and_ends_a_silence_at_once(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        trades = take(client, 5)
        for _ in range(10):
            demo.fault("clear")
            trades += take(client, 5)
        assert set(steps_of(trades)) == {1}
        demo.fault("silence", seconds=60)
        demo.fault("clear")
        assert take(client, 5)


@pytest.mark.slow
def test_a_gap_leaves_a_hole_in_the_ids_that_rest_can_fill(demo: Exchange):
    with demo.connect("btcusdt@trade", "ethusdt@trade") as client:
        before = take_until(client, lambda trades: any(trade["s"] == "BTCUSDT" for trade in trades), more=0)
        demo.fault("gap", symbol="BTCUSDT", trades=7)
        trades = before + take_until(client, lambda trades: bool(holes_of(before + trades, "BTCUSDT")), more=200)
    assert holes_of(trades, "ETHUSDT") == []
    holes = holes_of(trades, "BTCUSDT")
    assert [after - before - 1 for before, after in holes] == [7]
    missing = demo.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={holes[0][0] + 1}&limit=7")
    assert [trade["id"] for trade in missing] == list(range(holes[0][0] + 1, holes[0][1]))


def test_duplicate_sends_frames_twice(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        take(client, 10)
        demo.fault("duplicate", frames=5, channel="trade")
        trades = take_until(client, lambda trades: steps_of(trades).count(0) >= 5)
    assert steps_of(trades).count(0) == 5 and set(steps_of(trades)) == {0, 1}


@pytest.mark.slow
def test_reorder_is_seen_as_ids_out_of_order_without_a_loss(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        take(client, 10)
        demo.fault("reorder", window_ms=100, seconds=0.3)
        trades = take_until(client, lambda trades: any(step < 1 for step in steps_of(trades)))
        time.sleep(0.4)  # until the fault is over: what was held has gone out by then
        latest = demo.get("/api/v3/trades?symbol=BTCUSDT&limit=1")[0]["id"]
        trades += take_until(client, lambda trades: bool(trades) and trades[-1]["t"] > latest)
        ids = sorted(trade["t"] for trade in trades)
    assert ids == list(range(ids[0], ids[0] + len(ids)))


@pytest.mark.slow
def test_slow_delays_every_frame_and_keeps_the_order(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        take(client, 10)
        demo.fault("slow", delay_ms=300, seconds=0.3)
        ids, late = [], 0
        deadline = time.monotonic() + 30
        while late <= 20:
            assert time.monotonic() < deadline, "nothing comes late"
            trade = take(client, 1)[0]
            ids.append(trade["t"])
            late += time.time() * 1000 - trade["T"] >= 290
        ids += [trade["t"] for trade in take(client, 100)]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_corrupt_frames_arrive_and_rest_has_the_sound_trades(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        frames = [client.recv(timeout=30) for _ in range(10)]
        demo.fault("corrupt", frames=6, channel="trade")
        while sum(not is_sound(frame) for frame in frames) < 6 or is_sound(frames[-1]) is False:
            frames.append(client.recv(timeout=30))
        frames += [client.recv(timeout=30) for _ in range(50)]
    broken = [place for place, frame in enumerate(frames) if not is_sound(frame)]
    assert len(broken) == 6 and broken[0] >= 10
    before = json.loads(frames[broken[0] - 1])["data"]["t"]
    rest = demo.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={before + 1}&limit=6")
    assert [trade["id"] for trade in rest] == list(range(before + 1, before + 7))


@pytest.mark.slow
def test_close_sends_a_close_frame_after_its_time(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        started = time.monotonic()
        demo.fault("close", after_s=0.2, code=1001)
        with pytest.raises(ConnectionClosed) as closed:
            take(client, 100_000)
        assert closed.value.rcvd.code == 1001
        assert 0.15 < time.monotonic() - started < 20


def test_shutdown_is_announced_before_the_close_frame(demo: Exchange):
    with demo.connect("btcusdt@trade") as client:
        demo.fault("shutdown", after_s=0.1)
        frames = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                frames.append(json.loads(client.recv(timeout=30)))
    notices = [frame for frame in frames if frame.get("e") == "serverShutdown"]
    assert len(notices) == 1 and type(notices[0]["E"]) is int
    assert frames[-1]["stream"] == "btcusdt@trade"  # data goes on until the close
    assert closed.value.rcvd.code == 1001


@pytest.mark.slow
def test_refuse_turns_new_connections_away_for_its_time(demo: Exchange):
    demo.fault("refuse", seconds=1.5)
    with pytest.raises((InvalidMessage, ConnectionError)), demo.connect("btcusdt@trade"):
        pass

    def works() -> bool:
        try:
            with demo.connect("btcusdt@trade") as client:
                return bool(take(client, 1))
        except (InvalidMessage, ConnectionError):
            return False

    wait_until(works)


def test_rest_error_answers_with_a_status_and_retry_after_as_often_as_asked(demo: Exchange):
    demo.fault("rest_error", requests=2, status=429, retry_after_s=3)
    for _ in range(2):
        status, body, headers = demo.refused("/api/v3/trades?symbol=BTCUSDT")
        assert (status, body["code"], headers["Retry-After"]) == (429, -1003, "3")
    assert demo.get("/api/v3/ping") == {}
