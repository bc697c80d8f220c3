"""What is found wrong before anything starts, and how it is told."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.ports import free_port
from wick.errors import SettingError
from wick.ops import preflight
from wick.ops.preflight import InUseError
from wick.ops.settings import Settings

SYMBOLS = [{"symbol": "BTCUSDT", "status": "TRADING"}, {"symbol": "ETHUSDT", "status": "BREAK"}]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def venue() -> Iterator[str]:
    """The address of an exchange that lists SYMBOLS."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"symbols": SYMBOLS}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_free_port_is_no_news_and_a_taken_one_comes_with_another(taken: int) -> None:
    free = free_port()
    preflight.check_ports(Settings({"front.port": free, "exchange.port": taken}), with_exchange=False)
    with pytest.raises(InUseError, match=rf"exchange.port = {taken}: another program listens on 127.0.0.1"):
        preflight.check_ports(Settings({"front.port": free, "exchange.port": taken}), with_exchange=True)
    with pytest.raises(InUseError, match=r"to use another port: scripts/run --front-port \d+ \(or WICK_FRONT_PORT"):
        preflight.check_ports(Settings({"front.port": taken}), with_exchange=False)


def test_an_address_that_is_not_ours_cannot_be_listened_on() -> None:
    with pytest.raises(SettingError, match=r"front.port = 8765: cannot listen on 203.0.113.7"):
        preflight.check_ports(Settings({"front.host": "203.0.113.7"}), with_exchange=False)


def test_a_project_path_too_long_for_a_socket_is_told_by_how_much() -> None:
    spare = preflight.MAX_SOCKET_PATH - preflight.PID_DIGITS - len("./var/run/supervisor.sock")
    preflight.check_socket_path(Path("/" + "x" * (spare - 1)))
    with pytest.raises(SettingError, match="is 1 bytes too long: Linux allows a socket's path 107 bytes"):
        preflight.check_socket_path(Path("/" + "x" * spare))


def test_workers_other_than_supervisord_starts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "supervisord.conf").write_text("[program:aggregator]\ncommand=%(here)s/x ; %(y)s\nnumprocs=3 ; three\n")
    preflight.check_workers(Settings({"aggregator.workers": 3}), tmp_path)
    with pytest.raises(SettingError, match=r"aggregator.workers = 2, but supervisord.conf starts 3"):
        preflight.check_workers(Settings(), tmp_path)


def test_one_run_holds_a_directory_and_the_next_learns_which(tmp_path: Path) -> None:
    settings = Settings({"front.port": 9001})
    with (
        preflight.take_place(settings, tmp_path),
        pytest.raises(InUseError, match=r"process \d+, http://127.0.0.1:9001/\nto stop it, press Ctrl-C .* kill \d+"),
    ):
        preflight.take_place(settings, tmp_path)
    preflight.take_place(settings, tmp_path).close()


def test_symbols_are_those_that_trade_at_the_venue(venue: str) -> None:
    def check(*symbols: str) -> str:
        return preflight.check_symbols(Settings({"feed.rest_url": venue, "feed.symbols": symbols}))

    assert check("BTCUSDT", "*") == ""
    with pytest.raises(SettingError, match="binance does not list 'ETHUSDT'"):
        check("BTCUSDT", "ETHUSDT")
    with pytest.raises(SettingError, match="binance does not list 'BTCUSD'; did you mean BTCUSDT"):
        check("BTCUSD")


def test_an_address_is_that_of_one_exchange() -> None:
    preflight.check_feed(Settings({"feed.rest_url": "http://127.0.0.1:1"}))
    preflight.check_feed(Settings({"feed.venues": ("binance", "coinbase")}))
    for name in ("feed.ws_url", "feed.rest_url"):
        with pytest.raises(SettingError, match=rf"{name} = 'x' is the address of one exchange, .* 2 \(binance"):
            preflight.check_feed(Settings({name: "x", "feed.venues": ("binance", "coinbase")}))


def test_every_venue_has_a_symbol() -> None:
    settings = {"feed.venues": ("binance", "coinbase"), "feed.symbols": ("binance:BTCUSDT",)}
    nobody = "http://127.0.0.1:9"
    with pytest.raises(SettingError, match=r"feed.symbols: none is of coinbase"):
        preflight.check_symbols(Settings(settings | {"feed.rest_url": nobody}))


def test_a_venue_that_cannot_be_asked_is_no_reason_not_to_start(taken: int) -> None:
    settings = Settings({"feed.rest_url": f"http://127.0.0.1:{free_port()}"})
    assert preflight.check_symbols(settings).endswith("Connection refused; starting anyway")


@pytest.mark.parametrize(
    ("host", "token", "address"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:8765/"),
        ("0.0.0.0", "t", "http://127.0.0.1:8765/?token=t"),
        ("::", "", "http://[::1]:8765/"),
        ("192.0.2.1", "a b&c", "http://192.0.2.1:8765/?token=a%20b%26c"),
    ],
)
def test_the_page_has_an_address_that_can_be_opened(host: str, token: str, address: str) -> None:
    assert preflight.page_address(Settings({"front.host": host, "front.token": token})) == address
