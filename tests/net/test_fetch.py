"""REST answers: whole or not at all, and what the venue says of waiting."""

import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.net.servers import Web
from wick.net import fetch
from wick.net.fetch import FetchError, get


def answering(data: bytes) -> tuple[str, threading.Thread]:
    """The address of a server that gives these bytes to the first who asks, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listening, listening.accept()[0] as client:
            client.recv(65536)
            client.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/", thread


def failure(url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        get(url)
    return caught.value


def test_the_body_of_an_answer_with_the_path_as_it_was_asked() -> None:
    with Web() as web:
        web.body = b'{"a":1}' * 100_000
        assert get(f"{web.url}/api?symbol=A%2FB&x=1#not-this") == web.body
        path, headers = web.asked[0]
    assert path == "/api?symbol=A%2FB&x=1"
    assert headers["Host"] == f"localhost:{web.port}"
    assert headers["User-Agent"].startswith("wick/")


@pytest.mark.parametrize("status", [429, 418, 503])
def test_a_refusal_carries_its_status_what_was_said_and_how_long_to_wait(status: int) -> None:
    with Web() as web:
        web.status, web.headers, web.body = status, {"Retry-After": "7"}, b'{"code":-1003}'
        error = failure(web.url)
    assert (error.status, error.retry_after_s) == (status, 7.0)
    assert f"HTTP {status}" in str(error)
    assert "-1003" in str(error)


def test_a_date_to_wait_for_is_as_good_as_seconds() -> None:
    with Web() as web:
        web.status = 429
        web.headers = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)}
        assert 90 < failure(web.url).retry_after_s <= 100
        web.headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
        assert failure(web.url).retry_after_s == 0.0


@pytest.mark.parametrize(("value", "seconds"), [("soon", None), ("", None), ("-5", 0.0), ("9" * 400, 259_200.0)])
def test_an_odd_time_to_wait_does_no_harm(value: str, seconds: float | None) -> None:
    with Web() as web:
        web.status, web.headers = 429, {"Retry-After": value}
        assert failure(web.url).retry_after_s == seconds


def test_a_redirection_is_not_followed() -> None:
    with Web() as web:
        web.status, web.headers = 302, {"Location": f"{web.url}/elsewhere"}
        assert failure(web.url).status == 302
    assert len(web.asked) == 1


def test_an_answer_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    with Web() as web:
        web.body = b"x" * 1000
        assert len(get(web.url)) == 1000
        web.body += b"x"
        assert "more than 1000 bytes" in str(failure(web.url))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"nonsense",
        b"",
    ],
)
def test_an_answer_that_is_cut_off_or_nonsense_is_no_body(answer: bytes) -> None:
    url, thread = answering(answer)
    assert url in str(failure(url))
    thread.join()


def test_a_chunked_answer_is_put_together() -> None:
    url, thread = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert get(url) == b"abc"
    thread.join()


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        error = failure(f"http://127.0.0.1:{listening.getsockname()[1]}/")
    assert "timed out" in str(error)
    assert error.status is None


def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WHOLE_S", -1.0)
    with Web() as web:
        assert "not whole" in str(failure(web.url))


@pytest.mark.parametrize(
    "url", ["ftp://x/", "x", "http://127.0.0.1:1/", "http://[::1", "http://127.0.0.1:99999/", "http:///"]
)
def test_an_address_that_is_none_or_that_nobody_answers_is_an_error_that_names_it(url: str) -> None:
    assert url in str(failure(url))
