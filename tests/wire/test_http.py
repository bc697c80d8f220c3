"""HTTP's heads and replies: what is taken, what is refused, and that no bytes do anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.wire.http import Refusal, Reply, Request, parse_head, reply_bytes


def parse(*lines):
    return parse_head("\r\n".join([*lines, "", ""]).encode("latin-1"))


def test_a_request_is_taken_apart():
    request, goes_on = parse(
        "GET /a%20b/%C3%A4?x=1&y=a+b&y=%26&z= HTTP/1.1", "Host: h:1", "X-Two: a", "x-two:\tb ", "Empty:"
    )
    assert request == Request(
        "GET", "/a b/ä", {"x": "1", "y": "&", "z": ""}, {"host": "h:1", "x-two": "a, b", "empty": ""},
        "/a%20b/%C3%A4?x=1&y=a+b&y=%26&z=",
    )  # fmt: skip
    assert goes_on


@pytest.mark.parametrize(
    ("version", "connection", "goes_on"),
    [("1.1", "x", True), ("1.1", "Keep-Alive, Close", False), ("1.0", "x", False), ("1.0", "Keep-Alive", True)],
)
def test_whether_the_connection_goes_on_is_the_client_s_to_say(version, connection, goes_on):
    assert parse(f"HEAD / HTTP/{version}", "Host: h", f"Connection: {connection}")[1] == goes_on


def test_a_whole_address_names_its_path():
    assert parse("GET http://h/x?q=1 HTTP/1.1", "Host: h")[0][1:3] == ("/x", {"q": "1"})
    assert parse("GET / HTTP/1.0")[0].headers == {}


@pytest.mark.parametrize(
    ("lines", "status"),
    [(["GET / HTTP/1.1"], 400), (["GET / HTTP/1.1", "Host: a", "Host: b"], 400), (["GET / HTTP/1.1", "Host: a/b"], 400),
     (["GET / HTTP/1.2", "Host: h"], 400), (["GET  / HTTP/1.1", "Host: h"], 400), (["get / HTTP/1.1", "Host: h"], 400),
     (["GET / HTTP/1.1", "Host: h", " folded"], 400), (["GET / HTTP/1.1", "Host : h"], 400),
     (["GET / HTTP/1.1", "Host: h", "A: b\nC: d"], 400), (["GET / HTTP/1.1", "Host: h", "A: \0"], 400),
     (["GET x HTTP/1.1", "Host: h"], 400), (["GET /#x HTTP/1.1", "Host: h"], 400),
     (["GET /%fe HTTP/1.1", "Host: h"], 400),
     (["GET /?a=%fe HTTP/1.1", "Host: h"], 400), (["GET /%0a HTTP/1.1", "Host: h"], 400),
     (["GET /?" + "a&" * 70 + " HTTP/1.1", "Host: h"], 400),
     (["PUT / HTTP/1.1", "Host: h"], 405), (["GET / HTTP/1.1", "Host: h", "Content-Length: 1"], 413),
     (["GET / HTTP/1.1", "Host: h", "Content-Length: 0", "Content-Length: 9"], 413),
     (["GET / HTTP/1.1", "Host: h", "Transfer-Encoding: identity"], 413)],
)  # fmt: skip
def test_what_is_no_request_of_ours_is_refused(lines, status):
    with pytest.raises(Refusal) as caught:
        parse(*lines)
    assert caught.value.reply.status == status and caught.value.reply.body.endswith(b"\n")


@given(st.binary(max_size=200), st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: h\r\n"]))
def test_random_bytes_are_a_request_or_refused(data, start):
    try:
        request, _ = parse_head(start + data + b"\r\n\r\n")
    except Refusal as refusal:
        assert refusal.reply.status in (400, 405, 413)
    else:
        assert request.path.startswith("/") and all(name == name.lower() for name in request.headers)


def test_a_reply_says_its_length_and_whether_the_connection_goes_on():
    reply = Reply(200, "text/plain", b"body", (("ETag", '"1"'),))
    expected = (
        b'HTTP/1.1 200 OK\r\nDate: now\r\nConnection: keep-alive\r\nETag: "1"\r\n'
        b"Content-Type: text/plain\r\nContent-Length: 4\r\n\r\n"
    )
    assert reply_bytes(reply, "now", goes_on=True) == expected + b"body"
    assert reply_bytes(reply, "now", goes_on=True, head_only=True) == expected
    bare = reply_bytes(reply._replace(status=304), "now", goes_on=False)
    assert bare == b'HTTP/1.1 304 Not Modified\r\nDate: now\r\nConnection: close\r\nETag: "1"\r\n\r\n'


def test_a_header_cannot_be_broken_out_of():
    with pytest.raises(ValueError, match="control character"):
        reply_bytes(Reply(200, "text/plain", b"", (("X", "a\r\nSet-Cookie: b"),)), "now", goes_on=True)
