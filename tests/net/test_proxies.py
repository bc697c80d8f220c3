"""docs/nginx.conf and docs/Caddyfile as they stand, in front of wick's server and access, with the real programs.

They are looked for in PATH, or where WICK_TEST_NGINX and WICK_TEST_CADDY say; without them these tests are skipped.
"""

import gzip
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
NAME = "charts.example.com"
TOKEN = "a-token-that-is-long"
MOST = 3  # sessions of an address
SETTINGS = {
    "front.token": TOKEN,
    "front.origins": [f"https://{NAME}", "https://desk.example"],
    "front.proxies": ["127.0.0.1"],
    "front.max_per_address": MOST,
}
START_S = 60
CANDLES = f"/api/v1/candles?venue=binance&symbol=BTC-USDT&interval=1m&to=6000000&token={TOKEN}"

pytestmark = pytest.mark.slow


@contextmanager
def process(command: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as running:  # type: ignore[call-overload]
        try:
            yield running
        finally:
            running.terminate()


def program(name: str) -> str:
    found = os.environ.get(f"WICK_TEST_{name.upper()}") or shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here: PATH or WICK_TEST_{name.upper()} would name it")
    return found


def nginx(folder: Path, tls: Path, tls_port: int, plain_port: int, wick_port: int) -> list[str]:
    """nginx with the file of the docs, which a `http` block takes in."""
    text = (ROOT / "docs/nginx.conf").read_text()
    certificate = f"/etc/letsencrypt/live/{NAME}"
    for old, new in (
        ("server 127.0.0.1:8765;", f"server 127.0.0.1:{wick_port};"),
        ("listen 443 ssl", f"listen 127.0.0.1:{tls_port} ssl"),
        ("listen 80;", f"listen 127.0.0.1:{plain_port};"),
        (f"{certificate}/fullchain.pem", str(tls / "chain.pem")),
        (f"{certificate}/privkey.pem", str(tls / "key.pem")),
        ("/var/log/nginx/wick.log", str(folder / "access.log")),
        ("/var/log/nginx/wick.error.log", str(folder / "error.log")),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "wick.conf").write_text(text)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid;\ndaemon off;\nmaster_process off;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{paths}include {folder}/wick.conf;\n}}\n"
    )
    return [program("nginx"), "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]


def caddy(folder: Path, tls: Path, tls_port: int, plain_port: int, wick_port: int) -> list[str]:
    """Caddy with the file of the docs, which gets its certificate from us and writes its log to a file."""
    text = (ROOT / "docs/Caddyfile").read_text()
    for old, new in (
        ("127.0.0.1:8765", f"127.0.0.1:{wick_port}"),
        (f"{NAME} {{\n", f"{NAME}:{tls_port} {{\n\tbind 127.0.0.1\n\ttls {tls}/chain.pem {tls}/key.pem\n"),
        ("\tlog {\n", f"\tlog {{\n\t\toutput file {folder}/access.log\n"),
        ("{\n\tservers {", f"{{\n\tadmin off\n\thttp_port {plain_port}\n\tservers {{"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(text)
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"]


class Proxied:
    """A proxy with wick behind it, and how to ask them."""

    def __init__(self, folder: Path, name: str, authority: trustme.CA, tls_port: int) -> None:
        self.folder, self.name, self.port = folder, name, tls_port
        self.context = ssl.create_default_context()
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2  # wick/client/blocking.py says why
        authority.configure_trust(self.context)

    def connection(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(NAME, self.port, timeout=30)
        plain = socket.create_connection(("127.0.0.1", self.port), 30)
        connection.sock = self.context.wrap_socket(plain, server_hostname=NAME)
        return connection

    def get(self, target: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = self.connection()
        try:
            # As a browser on port 443 would say it.
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", target, headers={"Host": NAME} | names)
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    @contextmanager
    def open(self, query: str = f"?token={TOKEN}", **headers: str) -> Iterator[ClientConnection]:
        origin = headers.pop("origin", f"https://{NAME}")
        with connect(
            f"wss://{NAME}/ws{query}", sock=socket.create_connection(("127.0.0.1", self.port), 30), ssl=self.context,
            origin=Origin(origin),
            additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        ) as session:  # fmt: skip
            yield session

    @contextmanager
    def open_soon(self, **headers: str) -> Iterator[ClientConnection]:
        """As soon as there is a place: wick hears of it a moment later that a session has ended."""
        deadline = time.monotonic() + 30
        with ExitStack() as stack:
            while True:
                try:
                    session = stack.enter_context(self.open(**headers))
                    break
                except InvalidStatus as error:
                    assert error.response.status_code == 429 and time.monotonic() < deadline
                    time.sleep(0.02)
            yield session


def _wait_for(port: int, running: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            log = folder / "error.log"
            assert running.poll() is None and time.monotonic() < deadline, log.exists() and log.read_text()
            time.sleep(0.02)


@pytest.fixture(scope="module", params=[nginx, caddy], ids=lambda one: one.__name__)
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    program(request.param.__name__)
    folder = tmp_path_factory.mktemp(request.param.__name__)
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "chain.pem", append=True)
    with ExitStack() as stack:
        ours = [sys.executable, str(ROOT / "tests/api/run_api.py"), json.dumps(SETTINGS)]
        wick = stack.enter_context(process(ours, env=os.environ | {"PYTHONPATH": str(ROOT)}))
        assert wick.stdout is not None
        wick_port, tls_port, plain_port = int(wick.stdout.readline()), free_port(), free_port()
        command = request.param(folder, folder, tls_port, plain_port, wick_port)
        theirs = {"stderr": subprocess.DEVNULL, "env": os.environ | {"HOME": str(folder)}, "cwd": folder}
        _wait_for(tls_port, stack.enter_context(process(command, **theirs)), folder)
        yield Proxied(folder, request.param.__name__, authority, tls_port)


def test_the_api_is_answered_over_tls_to_who_has_the_token(proxied: Proxied) -> None:
    assert proxied.get("/api/v1/symbols")[0] == 401
    assert proxied.get(f"/api/v1/symbols?token={TOKEN}")[0] == 200
    status, headers, body = proxied.get("/api/v1/symbols", Authorization=f"Bearer {TOKEN}")
    assert (status, headers["x-content-type-options"]) == (200, "nosniff")
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert json.loads(body)[0]["venue"] == "binance"


def test_the_page_is_served(proxied: Proxied) -> None:
    assert b"<title>wick</title>" in proxied.get("/")[2]


def test_a_page_is_compressed_and_the_client_that_has_it_is_told_so(proxied: Proxied) -> None:
    status, headers, body = proxied.get(CANDLES, Accept_Encoding="gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert len(json.loads(gzip.decompress(body))["rows"]) == 100
    assert proxied.get(CANDLES, Accept_Encoding="gzip", If_None_Match=headers["etag"])[0] == 304


def test_a_session_is_opened_and_each_message_comes_at_once(proxied: Proxied) -> None:
    with proxied.open_soon() as session:
        session.recv(30)
        for _ in range(3):
            session.send("echo")
            before = 0
            while session.recv(30) == "tick":
                before += 1
            assert before < 100, "they would come by the thousand, were they buffered"


def test_what_a_client_says_of_its_own_address_does_not_reach_wick(proxied: Proxied) -> None:
    with proxied.open_soon(X_Forwarded_For="1.2.3.4") as session:
        assert session.recv(30) == "127.0.0.1"


def test_the_connections_of_an_address_are_counted_behind_the_proxy_and_given_back(proxied: Proxied) -> None:
    for _ in range(2):
        with ExitStack() as sessions:
            for _ in range(MOST):
                sessions.enter_context(proxied.open_soon())
            with pytest.raises(InvalidStatus) as refused, proxied.open():
                pass
        assert refused.value.response.status_code == 429


@pytest.mark.parametrize(("query", "origin", "status"), [
    ("", f"https://{NAME}", 401), (f"?token={TOKEN}", "https://evil.example", 403),
])  # fmt: skip
def test_a_session_that_is_refused_is_refused_with_its_status(proxied: Proxied, query, origin, status) -> None:
    with pytest.raises(InvalidStatus) as refused, proxied.open(query, origin=origin):
        pass
    assert refused.value.response.status_code == status


def test_a_named_page_elsewhere_may_open_a_session_and_read_the_api(proxied: Proxied) -> None:
    with proxied.open_soon(origin="https://desk.example") as session:
        session.recv(30)
    headers = proxied.get(f"/api/v1/symbols?token={TOKEN}", Origin="https://desk.example")[1]
    assert headers["access-control-allow-origin"] == "https://desk.example"


def test_another_name_is_not_served(proxied: Proxied) -> None:
    try:
        status, _, body = proxied.get(f"/api/v1/symbols?token={TOKEN}", Host="evil.example")
    except (http.client.HTTPException, OSError):
        return
    assert status in (200, 403, 404, 421) and b"binance" not in body


def test_counters_are_for_the_inside(proxied: Proxied) -> None:
    assert proxied.get(f"/metrics?token={TOKEN}")[0] == 404


def test_a_body_is_refused(proxied: Proxied) -> None:
    connection = proxied.connection()
    connection.request("POST", "/api/v1/symbols", b"x" * 100_000, {"Host": NAME})
    assert connection.getresponse().status in (400, 405, 413, 502)
    connection.close()


def test_the_token_is_in_no_log(proxied: Proxied) -> None:
    proxied.get(CANDLES)
    log = proxied.folder / "access.log"
    deadline = time.monotonic() + 30
    while not (log.exists() and "/api/v1/candles" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for log in proxied.folder.glob("*.log"):
        assert TOKEN not in log.read_text()


def test_a_session_that_ends_behind_the_proxy_ends_for_the_client(proxied: Proxied) -> None:
    with proxied.open_soon() as session:
        session.recv(30)
        session.send(b"x" * 70_000)  # longer than a message may be
        with pytest.raises(ConnectionClosed):
            while True:
                session.recv(30)
        assert session.close_code == 1009
