"""Hosts are reached through the environment's proxies, and believed only with a certificate that holds."""

import ssl
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from tests.net.servers import Proxy, Web, echo, server
from wick.errors import WickError
from wick.net.dial import client_context, proxy_of
from wick.net.fetch import FetchError, get
from wick.net.ws_client import Disconnected, WebSocketClient

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without the machine's own proxies."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ours(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return client_context(str(tmp_path / "ca.pem"))


def theirs(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def heard(url: str, context: ssl.SSLContext | None = None) -> bytes:
    with closing(WebSocketClient(url, context)) as client:
        client.send(b"one")
        while True:
            for message in client.receive(30):
                return message


def elsewhere(url: str, name: str = "exchange.example") -> str:
    """That address by a name which only the proxy can resolve."""
    return url.replace("localhost", name)


# ---- which proxy


@pytest.mark.parametrize(
    ("environment_has", "url", "host"),
    [
        ({"HTTPS_PROXY": "http://a:1"}, "wss://x.example/", "a"),
        ({"https_proxy": "http://a:1"}, "https://x.example/", "a"),
        ({"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://b:1"}, "ws://x.example/", "b"),
        ({"HTTP_PROXY": "http://b:1"}, "wss://x.example/", None),
        ({"ALL_PROXY": "c:1"}, "wss://x.example/", "c"),
        ({"ALL_PROXY": "http://c:1", "HTTPS_PROXY": "http://a:1"}, "wss://x.example/", "a"),
        ({"ALL_PROXY": "http://c:1", "NO_PROXY": "x.example"}, "wss://x.example/", None),
        ({"ALL_PROXY": "http://c:1", "NO_PROXY": ".example"}, "wss://x.example:9443/", None),
        ({"ALL_PROXY": "http://c:1", "NO_PROXY": "y.example"}, "wss://x.example/", "c"),
        ({"ALL_PROXY": "http://c:1"}, "ws://localhost:8900/", None),
        ({"ALL_PROXY": "http://c:1"}, "ws://127.0.0.2:8900/", None),
        ({"ALL_PROXY": "http://c:1"}, "wss://[::1]:8900/", None),
        ({}, "wss://x.example/", None),
    ],
)
def test_the_environment_says_which_proxy_leads_to_an_address(
    environment: pytest.MonkeyPatch, environment_has: dict[str, str], url: str, host: str | None
) -> None:
    for name, value in environment_has.items():
        environment.setenv(name, value)
    proxy = proxy_of(url)
    assert (proxy and proxy.hostname) == host


# ---- through it


def test_a_websocket_goes_through_the_proxy_which_resolves_the_name(environment: pytest.MonkeyPatch) -> None:
    with server(echo) as url, Proxy() as proxy:
        environment.setenv("HTTP_PROXY", f"http://{proxy.address}")
        assert heard(elsewhere(url)) == b"one"
        target = elsewhere(url).split("/")[2]
        assert proxy.heads == [[f"CONNECT {target} HTTP/1.1", f"Host: {target}"]]


def test_the_certificate_is_the_hosts_even_behind_a_proxy(
    environment: pytest.MonkeyPatch, authority: trustme.CA, ours: ssl.SSLContext
) -> None:
    with server(echo, theirs(authority, "exchange.example")) as url, Proxy() as proxy:
        environment.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        assert heard(elsewhere(url), ours) == b"one"
        with pytest.raises(Disconnected, match="CERTIFICATE_VERIFY_FAILED"):
            heard(elsewhere(url, "another.example"), ours)


@pytest.mark.slow
def test_a_proxy_may_itself_be_reached_by_tls(
    environment: pytest.MonkeyPatch, authority: trustme.CA, ours: ssl.SSLContext
) -> None:
    certificate = theirs(authority, "exchange.example")
    with server(echo, certificate) as url, Proxy(theirs(authority, "localhost")) as proxy, Web(certificate) as web:
        environment.setenv("HTTPS_PROXY", f"https://{proxy.address}")
        assert heard(elsewhere(url), ours) == b"one"
        web.body = b"x" * 300_000
        assert get(elsewhere(web.url), ours) == web.body
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            get(elsewhere(web.url, "another.example"), ours)
        assert len(proxy.heads) == 3
        with closing(WebSocketClient(elsewhere(url), ours)) as client:
            proxy.cut()
            with pytest.raises(Disconnected, match="the connection was cut"):
                client.receive(30)


def test_a_proxys_user_and_password_are_sent_and_never_told(environment: pytest.MonkeyPatch) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    with Proxy(answer=refusal) as proxy:
        environment.setenv("ALL_PROXY", f"http://user:s%40cret@{proxy.address}")
        with pytest.raises(Disconnected, match="407") as caught:
            WebSocketClient("ws://exchange.example/x")
    assert "Proxy-Authorization: Basic dXNlcjpzQGNyZXQ=" in proxy.heads[0]  # user:s@cret
    assert "cret" not in str(caught.value)
    assert proxy.address in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"x" * 20_000])
def test_a_proxy_that_talks_nonsense_is_a_disconnection(environment: pytest.MonkeyPatch, answer: bytes) -> None:
    with Proxy(answer=answer.replace(b" 200", b" 2O0")) as proxy:
        environment.setenv("ALL_PROXY", f"http://{proxy.address}")
        with pytest.raises(Disconnected, match="prox"):
            WebSocketClient("ws://exchange.example/x")


def test_a_proxy_of_another_kind_is_named_and_refused(environment: pytest.MonkeyPatch, ours: ssl.SSLContext) -> None:
    environment.setenv("ALL_PROXY", "socks5://me:secret@127.0.0.1:1080")
    for attempt in (WebSocketClient, get):
        scheme = "wss" if attempt is WebSocketClient else "https"
        with pytest.raises(WickError, match=r"socks5://127\.0\.0\.1 cannot be used: it has to be an http") as caught:
            attempt(f"{scheme}://exchange.example/x", ours)
        assert "secret" not in str(caught.value)


# ---- certificates


def test_a_file_of_certificates_is_trusted_instead_of_the_systems(authority: trustme.CA, ours: ssl.SSLContext) -> None:
    with Web(theirs(authority, "localhost")) as web:
        assert get(web.url, ours) == b"{}"
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            get(web.url)
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            get(web.url.replace("localhost", "127.0.0.1"), ours)  # another name


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_that_has_no_certificates_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(WickError, match=r"ca\.pem"):
        client_context(str(tmp_path / "ca.pem"))
