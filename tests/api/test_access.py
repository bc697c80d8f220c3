"""Who may ask a front, what each is told who may not, and how many there may be at once."""

import json
import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.asking import request
from wick.api.access import Access, Addresses, is_public, parse_tokens
from wick.api.routes import ROUTES
from wick.errors import SettingError
from wick.ops.settings import Settings
from wick.wire.http import Reply

REMOTE = "203.0.113.7"


class Clock:
    seconds = 0

    def __call__(self):
        return self.seconds * 1_000_000_000


def access(clock=None, **settings):
    values = {f"front.{name}": value for name, value in settings.items()}
    return Access(Settings(values), clock or Clock())


def refusal(who, target="/api/v1/symbols", address=REMOTE, **headers):
    """The status and the field, or None."""
    reply = who.refuse(request(target, **headers), address)
    return None if reply is None else (reply.status, json.loads(reply.body)["error"]["field"])


# ---------------------------------------------------------------------- Host


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1", "127.0.0.1:80", "[::1]:80", "LOCALHOST"])
def test_a_loopback_name_is_answered(host):
    assert refusal(access(), host=host) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "[::1",
             "[v1.x]", "10.0.0.1", "]", "a b", "evil.example@localhost:x", "charts.example.com.evil.example"]
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/healthz", "/ws", "/api/v1/symbols"])
def test_another_name_for_this_machine_is_refused_whatever_is_asked(host, path):
    who = access(origins=("https://charts.example.com",), proxies=("127.0.0.1",))
    assert refusal(who, path, "127.0.0.1", host=host, x_forwarded_for=REMOTE) == (403, "Host")


def test_the_host_of_a_named_origin_is_answered():
    who = access(origins=("https://charts.example.com",))
    assert refusal(who, host="charts.example.com") is None
    assert refusal(who, "/ws", host="charts.example.com", origin="https://charts.example.com") is None


def test_a_front_that_is_open_to_others_has_any_name():
    assert refusal(access(host="0.0.0.0"), host="wick.example") is None


# ---------------------------------------------------------------------- Origin


@pytest.mark.parametrize("path", ["/ws", "/api/v1/symbols", "/udf/config", "/metrics"])
def test_a_page_from_elsewhere_gets_nothing_but_where_it_is_named(path):
    who = access(origins=("https://desk.example",))
    for origin in (None, "http://localhost:8765", "https://desk.example"):
        headers = {} if origin is None else {"origin": origin}
        assert refusal(who, path, host="localhost:8765", **headers) is None
    for origin in ("https://evil.example", "http://localhost:1", "null", "[", "https://desk.example.evil.example",
                   "http://desk.example"):  # fmt: skip
        assert refusal(who, path, host="localhost:8765", origin=origin) == (403, "Origin")


def test_a_named_page_may_read_replies_and_refusals_and_others_may_not():
    who = access(origins=("https://desk.example",), token="s3cret")
    refused = who.refuse(request("/ws", origin="https://desk.example"), REMOTE)
    assert (refused.status, dict(refused.headers)["Access-Control-Allow-Origin"]) == (401, "https://desk.example")
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {}):
        shared = who.shared(Reply(200, "text/plain", b""), request("/", **headers))
        assert shared.headers == (("Vary", "Origin"),), "a cache must not give it to another origin"
    assert access().shared(refused, request("/")) is refused


# ---------------------------------------------------------------------- tokens


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# who\n\nann a-token\n  bob\tb-token  \n")
    return path


@pytest.mark.parametrize("path", ["/ws", "/metrics", "/nowhere", "/api/v1/openapi.json", "/udf/time", "/static"])
def test_a_token_is_asked_for_by_everything_that_is_not_public(path):
    who = access(host="0.0.0.0", token="s3cret")
    assert refusal(who, path) == (401, "token")
    assert refusal(who, f"{path}?token=s3cret") is None
    assert refusal(who, path, authorization="Bearer s3cret") is None


def test_the_page_and_the_health_need_no_token():
    who = access(token="s3cret")
    assert [refusal(who, path) for path in ("/", "/static/app.js", "/healthz", "/readyz")] == [None] * 4
    assert {route.path for route in ROUTES if is_public(route.path)} == {"/healthz", "/readyz"}


@pytest.mark.parametrize("given", ["", "wrong", "s3cre", "s3cret2", "S3CRET", "s3cré", "\udcff", "s3cret\x00"])
def test_another_token_opens_nothing(given):
    who = access(token="s3cret")
    asked = request("/ws")._replace(query={"token": given})
    assert who.refuse(asked, REMOTE).status == 401
    assert refusal(who, authorization=f"Bearer {given}") == (401, "token")
    assert refusal(who, authorization=given) == (401, "token")
    assert refusal(who, authorization="Basic s3cret") == (401, "token")


def test_who_lacks_a_token_is_told_how_to_send_it_and_never_what_was_sent():
    reply = access(token="s3cret").refuse(request("/ws?token=s3cret1"), REMOTE)
    assert dict(reply.headers)["WWW-Authenticate"].startswith("Bearer")
    assert b"s3cret" not in reply.body


def test_every_name_of_the_file_has_its_token_beside_the_one_of_the_setting(tokens):
    who = access(token="own", token_file=str(tokens))
    assert [refusal(who, f"/ws?token={one}") for one in ("own", "a-token", "b-token")] == [None] * 3
    assert refusal(who, "/ws?token=ann") == (401, "token")
    assert refusal(who, "/ws?token=#") == (401, "token")


def test_a_file_without_a_token_lets_nobody_in(tmp_path):
    (tmp_path / "tokens").write_text("# none yet\n")
    assert refusal(access(token_file=str(tmp_path / "tokens"))) == (401, "token")


def test_a_file_that_changes_is_read_again_soon(tokens):
    clock = Clock()
    who = access(clock, token_file=str(tokens))
    tokens.write_text("carol c-token\n")
    assert refusal(who, "/ws?token=a-token") is None, "at most once a second is it looked at"
    clock.seconds = 1
    assert refusal(who, "/ws?token=a-token") == (401, "token")
    assert refusal(who, "/ws?token=c-token") is None


def test_a_file_that_becomes_wrong_changes_nothing_and_the_log_says_it_once(tokens, caplog):
    clock = Clock()
    who = access(clock, token_file=str(tokens))
    for text in ("ann\n", None):
        caplog.clear()
        if text is None:
            tokens.unlink()
        else:
            tokens.write_text(text)
        for _ in range(3):
            clock.seconds += 1
            assert refusal(who, "/ws?token=a-token") is None
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "front.token_file" in caplog.text and "a-token" not in caplog.text


def test_a_file_with_the_same_length_and_time_but_another_place_is_read(tokens):
    clock = Clock()
    who = access(clock, token_file=str(tokens))
    status = tokens.stat()
    other = tokens.with_name("new")
    other.write_text(tokens.read_text().replace("a-token", "x-token"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(tokens)
    clock.seconds = 1
    assert refusal(who, "/ws?token=x-token") is None


@pytest.mark.parametrize(("text", "told"), [
    ("ann a\nbob", "line 2: has 1 words"), ("\n\nann a b", "line 3: has 3 words"),
    ("ann a\nann b", "line 2: the name 'ann' is there twice"),
    ("front.token a", "line 1: the name 'front.token' is there twice"),
    ("ann t\n# c\nbob t", "line 3: the token of 'bob' is that of 'ann' too"),
    ("ann töken", "line 1: the token of 'ann' has characters"),
    ("ann t\x7f", "line 1: the token of 'ann' has characters"),
])  # fmt: skip
def test_a_wrong_line_is_named_and_no_token_is_shown(text, told):
    with pytest.raises(SettingError) as raised:
        parse_tokens(text, "tokens")
    assert told in str(raised.value) and "valid is" in str(raised.value)
    assert "töken" not in str(raised.value)


@given(st.text("ab 1#\n\t\x0b\x7f\x00é\u2028"))
def test_any_text_is_tokens_or_a_wrong_setting(text):
    try:
        tokens = parse_tokens(text, "tokens")
    except SettingError:
        return
    assert all(token.isascii() and name for token, name in tokens.items())


def test_a_file_that_cannot_be_read_is_a_wrong_setting(tmp_path):
    (tmp_path / "latin").write_bytes(b"ann \xff")
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (tmp_path / "latin", "UTF-8")):
        with pytest.raises(SettingError, match=why):
            access(token_file=str(path))


# ---------------------------------------------------------------------- addresses

PROXIES = ("127.0.0.1", "10.0.0.0/8", "::1")


@pytest.mark.parametrize(("peer", "forwarded", "client"), [
    (REMOTE, "", REMOTE),
    (REMOTE, "1.2.3.4", REMOTE),  # who is no proxy says what it likes
    ("127.0.0.1", "1.2.3.4", "1.2.3.4"),
    ("127.0.0.1", "9.9.9.9, 1.2.3.4", "1.2.3.4"),  # the client made the first one up
    ("127.0.0.1", "1.2.3.4, 10.1.1.1,10.2.2.2 ", "1.2.3.4"),
    ("127.0.0.1", "10.3.3.3, 10.1.1.1", "10.3.3.3"),  # proxies alone: the farthest
    ("127.0.0.1", "1.2.3.4, unknown", "127.0.0.1"),
    ("127.0.0.1", "1.2.3.4, garbage, 10.1.1.1", "10.1.1.1"),
    ("127.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
    ("127.0.0.1", '"[2001:db8:1:2:3::9]:443"', "2001:db8:1:2::/64"),
    ("127.0.0.1", "2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
    ("::1", "1.2.3.4", "1.2.3.4"),
    ("::ffff:127.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
    ("fe80::1%eth0", "", "fe80::/64"),
    ("10.9.9.9", ",".join(["1.2.3.4", *["10.1.1.1"] * 100]), "10.1.1.1"),
    ("10.9.9.9", ", ,", "10.9.9.9"),
    ("unix", "1.2.3.4", "unix"),
])  # fmt: skip
def test_the_client_is_the_nearest_that_is_no_proxy_of_ours(peer, forwarded, client):
    assert Addresses(PROXIES).seen(peer, forwarded).address == client


@given(st.text('1.:,[]"%f unkow'), st.sampled_from(["127.0.0.1", "10.0.0.1", "::1"]))
def test_whatever_is_forwarded_there_is_an_address(forwarded, peer):
    assert Addresses(PROXIES).seen(peer, forwarded).address


@pytest.mark.parametrize("proxies", [("nginx",), ("10.0.0.1/8",), ("10.0.0.0/33",), ("",)])
def test_a_wrong_proxy_is_a_wrong_setting(proxies):
    with pytest.raises(SettingError, match=r"front\.proxies = .* valid is an address"):
        access(proxies=proxies)


# ---------------------------------------------------------------------- limits


def test_an_address_has_so_many_connections_and_gets_a_place_back_for_each_that_goes():
    who = access(max_per_address=2)
    seats = [who.enter(request("/ws"), REMOTE) for _ in range(2)]
    assert refusal(who, "/ws") == (429, "address")
    assert refusal(who, "/ws", "203.0.113.8") is None
    assert refusal(who, "/api/v1/symbols") is None, "questions over HTTP hold no place"
    who.leave(seats[0])
    assert refusal(who, "/ws") is None


def test_who_is_turned_away_is_told_when_to_come_back():
    who = access(max_per_address=1)
    who.enter(request("/ws"), REMOTE)
    assert int(dict(who.refuse(request("/ws"), REMOTE).headers)["Retry-After"]) > 0


def test_loopback_has_no_limit_but_for_whom_a_proxy_on_it_forwards():
    who = access(max_per_address=1, proxies=("127.0.0.1",))
    for _ in range(3):
        assert refusal(who, "/ws", "127.0.0.1") is None
        who.enter(request("/ws"), "127.0.0.1")
    for client in ("1.2.3.4", "127.0.0.2", "::1"):
        forwarded = request("/ws", x_forwarded_for=client)
        assert who.refuse(forwarded, "127.0.0.1") is None
        who.enter(forwarded, "127.0.0.1")
        assert who.refuse(forwarded, "127.0.0.1").status == 429


def test_an_ipv6_network_of_64_bits_is_one_address():
    who = access(max_per_address=1)
    who.enter(request("/ws"), "2001:db8::1")
    assert refusal(who, "/ws", "2001:db8::ffff") == (429, "address")
    assert refusal(who, "/ws", "2001:db8:0:1::1") is None


def test_a_token_has_so_many_connections_from_wherever(tokens):
    who = access(max_per_token=2, token_file=str(tokens), host="0.0.0.0")
    seats = [who.enter(request("/ws?token=a-token"), f"203.0.113.{n}") for n in range(2)]
    assert refusal(who, "/ws?token=a-token") == (429, "token")
    assert refusal(who, "/ws", authorization="Bearer b-token") is None
    who.leave(seats[1])
    assert refusal(who, "/ws?token=a-token") is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_places_that_are_taken_and_given_back_are_counted_exactly(steps):
    who = access(max_per_address=3, token="t")
    seats = {}
    for is_enter, host, key in steps:
        if is_enter and (host, key) not in seats:
            seats[host, key] = who.enter(request("/ws?token=t"), f"203.0.113.{host}")
        elif not is_enter and (host, key) in seats:
            who.leave(seats.pop((host, key)))
        for number in range(4):
            held = sum(one == number for one, _ in seats)
            assert (refusal(who, "/ws?token=t", f"203.0.113.{number}") is None) is (held < 3)
    assert who.counts() == {"addresses": len({host for host, _ in seats}), "tokens": bool(seats)}
    for seat in seats.values():
        who.leave(seat)
    assert who.counts() == {"addresses": 0, "tokens": 0}


def test_connections_of_one_address_and_token_share_what_is_kept_of_them():
    who = access()
    assert who.enter(request("/ws"), REMOTE) is who.enter(request("/ws"), REMOTE)
