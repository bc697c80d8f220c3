"""What every keeper of the latest state does, and what a Redis does beside it: addresses, passwords, going away."""

import re
import socket
import ssl
import time
from pathlib import Path
from threading import Thread

import pytest
import redis as redis_py
import trustme

from tests.servers.redis import redis as running
from tests.storage.memory_latest import MemoryLatest
from wick.errors import SettingError, StoreAwayError
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, HEAD_FIELDS, LIVE_FIELDS
from wick.storage.latest import Address, RedisLatest, read_shard
from wick.stream.latest import (
    CLOSED_ROWS,
    PAIR,
    SHARD,
    PairParts,
    closed_key,
    closed_value,
    pair_key,
    position,
    shard_key,
)
from wick.wire.codec import pack

PATIENCE_S = 20.0  # here, so that a busy machine does not fail what is not about time


@pytest.fixture(params=["memory", "redis"])
def latest(request):
    if request.param == "memory":
        one = MemoryLatest()
    else:
        one = RedisLatest(request.getfixturevalue("redis_server").url, PATIENCE_S)
        one._ask(b"FLUSHALL\r\n", 1)
    yield one
    one.close()


def test_what_was_written_is_read(latest):
    big = bytes(range(256)) * 8_000  # more than a socket takes at once
    latest.write({b"a": b"1\r\n2", b"b": b"", b"big": big})
    assert latest.read([b"b", b"nothing", b"a", b"big"]) == [b"", None, b"1\r\n2", big]
    latest.write({b"a": b"3"})
    latest.write({})
    assert latest.read([b"a"]) == [b"3"] and latest.read([]) == []


def test_what_expires_stays_if_it_is_written_again(latest):
    latest.write({b"a": b"1", b"b": b"2"})
    latest.expire([b"a", b"b", b"nothing"], 100)
    latest.write({b"a": b"3"})
    if isinstance(latest, MemoryLatest):
        assert latest.expiring == {b"b": 100}
    else:
        assert [latest._ask(b"TTL %b\r\n" % key, 1)[0] for key in (b"a", b"b", b"nothing")] == [-1, 100, -2]


def test_a_shard_that_cannot_be_read_is_left_out_and_said(latest, caplog):
    assert read_shard(latest, 3) is None and not caplog.records
    latest.write({shard_key(3): b"\xc1"})
    assert read_shard(latest, 3) is None
    assert "shard 3 is left out" in caplog.text and latest.address in caplog.text


def test_other_programs_read_what_is_written(redis_server):
    latest = RedisLatest(redis_server.url + "/5", PATIENCE_S)
    latest.write({b"wick:a": b"\x00\xff"})
    assert redis_py.Redis(port=redis_server.port, db=5).get("wick:a") == b"\x00\xff"
    assert redis_py.Redis(port=redis_server.port).get("wick:a") is None
    latest.close()
    by_file = RedisLatest(f"{redis_server.unix_url}?db=5", PATIENCE_S)
    assert by_file.read([b"wick:a"]) == [b"\x00\xff"]
    by_file.close()


def test_the_document_shows_every_field_and_what_it_shows_works(redis_server):
    text = (Path(__file__).parents[2] / "docs/redis.md").read_text()
    for name in (*PAIR, *CLOSED_ROWS, *SHARD):
        assert f"`{name}`" in text
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    head, live = [7] * len(HEAD_FIELDS), [[3] * len(LIVE_FIELDS)] * len(NAMES)
    row = pack(list(range(len(CANDLE_FIELDS))))
    latest, pair = RedisLatest(redis_server.url, PATIENCE_S), ("binance", "BTC-USDT")
    latest.write({closed_key(*pair, "1m"): closed_value(pair, "1m", [row, row])})
    latest.write({pair_key(*pair): PairParts(pair, [head, *live]).value(position(1, 2, 3), [2**70, *head[1:]])})
    found = {}
    exec(program.replace("redis.Redis()", f"redis.Redis(port={redis_server.port})"), found)
    assert (found["price"], found["volume"]) == (2**70 / 10**7, 4 / 10**7)
    assert found["last"] == dict(zip(CANDLE_FIELDS, range(len(CANDLE_FIELDS)), strict=True))
    found["server"].close()
    latest.close()


def test_a_user_with_the_rights_that_the_document_names_can_do_all(redis_server):
    text = (Path(__file__).parents[2] / "docs/redis.md").read_text()
    [rights] = re.findall(r"`ACL SETUSER wick on >PASSWORD (.*?)`", text, re.DOTALL)
    admin = redis_py.Redis(port=redis_server.port)
    admin.execute_command("ACL SETUSER wick on >hush " + " ".join(rights.split()))
    admin.close()
    latest = RedisLatest(redis_server.url.replace("//", "//wick:hush@") + "/1", PATIENCE_S)
    latest.write({b"wick:a": b"1"})
    latest.expire([b"wick:a"], 10)
    assert latest.read([b"wick:a"]) == [b"1"]
    assert "NOPERM" in failure(latest)
    latest.close()


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "shown", "greeting"),
    [
        ("redis://localhost", "redis://localhost:6379", []),
        ("redis://one.example:7000/0", "redis://one.example:7000", []),
        ("redis://:p%40ss@[::1]:7000/3", "redis://::1:7000/3", [b"AUTH p@ss", b"SELECT 3"]),
        ("rediss://me:hush@one.example", "rediss://one.example:6379", [b"AUTH me hush"]),
        ("unix:///run/redis.sock", "unix:///run/redis.sock", []),
        ("unix://me:hush@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2", [b"AUTH me hush", b"SELECT 2"]),
    ],
)
def test_an_address_says_where_and_as_whom_and_is_shown_without_its_password(url, shown, greeting):
    address = Address(url)
    words = [b" ".join(one.split(b"\r\n")[2::2]) for one in address.greeting]
    assert (address.shown, words) == (shown, greeting)


@pytest.mark.parametrize(
    "url",
    ["http://hush@localhost", "redis://:hush@localhost:x", "redis://:hush@localhost/name", "unix://", "redis://[::1"],
)
def test_a_wrong_address_names_the_setting_and_what_is_valid_and_no_password(url):
    with pytest.raises(SettingError, match=r"redis\.url is wrong: valid is ") as caught:
        RedisLatest(url)
    assert "hush" not in str(caught.value)


# ---------------------------------------------------------------------- away


def failure(latest):
    with pytest.raises(StoreAwayError) as caught:
        latest.write({b"a": b"1"})
    assert str(caught.value).startswith(latest.address)
    return str(caught.value)


@pytest.mark.slow
def test_a_server_that_is_gone_or_hangs_is_away_at_once_and_there_again_when_it_is_back(redis_server):
    latest = RedisLatest(redis_server.url, 1.0)
    latest.write({b"a": b"1"})
    redis_server.kill()
    began = time.perf_counter()
    failure(latest)
    assert "refused" in failure(latest)
    redis_server.start()
    assert latest.read([b"a"]) == [None], "it has forgotten all"
    redis_server.hang()
    assert "does not answer within 1 s" in failure(latest)
    redis_server.go_on()
    latest.write({b"b": b"1"})
    assert latest.read([b"b"]) == [b"1"], "and no late answer to the question before"
    assert time.perf_counter() - began < PATIENCE_S
    latest.close()


def test_a_server_that_refuses_is_away_and_says_why():
    with running(requirepass="hush", maxmemory="3mb") as server:
        assert "NOAUTH" in failure(RedisLatest(server.url))
        assert "WRONGPASS" in failure(RedisLatest(server.url.replace("//", "//:guess@")))
        latest = RedisLatest(server.url.replace("//", "//:hush@"), PATIENCE_S)
        latest.write({b"a": b"1"})
        with pytest.raises(StoreAwayError, match="OOM"):
            for number in range(10):
                latest.write({b"%d" % number: bytes(1 << 20)})
        latest.close()


def test_who_answers_something_else_or_nothing_at_all_is_away(tmp_path):
    assert "No such file" in failure(RedisLatest(f"unix://{tmp_path}/nothing.sock"))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{tmp_path}/other.sock")
        other.listen()
        latest = RedisLatest(f"unix://{tmp_path}/other.sock", PATIENCE_S)
        answers = Thread(target=lambda: [answered(other, data) for data in (b"HTTP/1.1 400 Bad Request\r\n", b"")])
        answers.start()
        assert "speaks something else than RESP" in failure(latest)
        assert "was closed" in failure(latest)
        answers.join()


def answered(listener, data):
    with listener.accept()[0] as client:
        client.recv(1000)
        client.sendall(data)


def test_tls_goes_to_who_can_prove_its_name(tmp_path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(serving)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        right = RedisLatest(f"rediss://localhost:{port}", PATIENCE_S)
        answers = Thread(target=lambda: [encrypted(serving, listener) for _ in range(2)])
        answers.start()
        right.write({b"a": b"1"})
        assert "certificate verify failed" in failure(RedisLatest(f"rediss://127.0.0.1:{port}", PATIENCE_S))
        answers.join()
        right.close()


def encrypted(serving, listener):
    plain = listener.accept()[0]
    try:
        with serving.wrap_socket(plain, server_side=True) as client:
            client.recv(1000)
            client.sendall(b"+OK\r\n")
    except ssl.SSLError:
        pass  # who asked does not trust us
    finally:
        plain.close()
