"""wick log: what is in the tick log, and whether it is whole."""

import json
from contextlib import closing
from threading import Thread

import pytest

from tests.cli.live import data_dir
from tests.storage.flushes import LARGE, PLENTY, packed, segments
from wick.cli import log, main
from wick.market.trades import BookDepth, Quote, Trade
from wick.storage.logwriter import FileLog, Limits
from wick.stream.tails import Tails
from wick.stream.tails import packed as packed_tails
from wick.wire.messages import TickHeader, pack_depth, pack_quote, pack_trade

__all__ = ["data_dir"]

SECOND = 10**9
NOON = 1_800_014_400 * SECOND  # 2027-01-15 12:00 UTC


def flush(number, seq=None):
    """A trade of Bitcoin, a quote and a depth of Ether; a flush a second."""
    parts = [[7, seq or number, False, ["BTC-USDT", "ETH-USDT"], [1, 2]]]
    trade = pack_trade(Trade("BTC-USDT", 1_000, 40 + number, 6183763, 2, 2, 2, False), 11)
    others = pack_quote(Quote("ETH-USDT", 8, 250001, 15, 250002, 3, 2, 1), 12)
    depth = pack_depth(BookDepth("ETH-USDT", 9, 15, 3, -1, 40, 1), 13, 14, 2)
    return TickHeader(5, number, 0, "binance", NOON + number * SECOND, 0, parts), [trade, others, depth]


@pytest.fixture
def directory(data_dir, tmp_path):
    (tmp_path / "ticklog").mkdir()
    return tmp_path / "ticklog"


def write(directory, numbers, segment_bytes=LARGE):
    with closing(FileLog(directory, Limits(segment_bytes, PLENTY))) as written:
        for number in numbers:
            header, records = flush(number)
            if written.is_due(header.send_ns):
                written.begin((5, number), packed_tails({"binance": Tails(True, {})}), header.send_ns)
            written.append(header, records)


def wick(directory, *arguments):
    return main(["log", *arguments, "--data-dir", str(directory.parent)])


def test_ls_tells_every_segment_and_the_sum(directory, capsys):
    write(directory, range(1, 6), segment_bytes=700)
    assert wick(directory, "ls") == 0
    *listed, total = capsys.readouterr().out.splitlines()
    names = [path.name for path in segments(directory)]
    assert len(names) > 1 and [line.split()[0] for line in listed[1:]] == names
    size = sum(path.stat().st_size for path in segments(directory))
    assert total == f"{len(names)} segments, {size:,} bytes; checkpoints: not every shard has one"


def test_cat_shows_each_tick_to_the_last_digit(directory, capsys):
    write(directory, [1])
    assert wick(directory, "cat") == 0
    assert capsys.readouterr().out.splitlines() == [
        "trades.binance.BTC-USDT position=5-1 event_ns=1000 trade_id=41 price=61837.63 quantity=0.02 taker=sell seq=1"
        " recv_ns=11",
        "quotes.binance.ETH-USDT position=5-1 update_id=8 bid=2500.01 bid_quantity=1.5 ask=2500.02 ask_quantity=0.3"
        " seq=1 recv_ns=12",
        "depths.binance.ETH-USDT position=5-1 event_ns=14 update_id=9 bid_top=1.5 ask_top=0.3 bid_near=- ask_near=4"
        " seq=1 recv_ns=13",
    ]


def ids(capsys):
    return [json.loads(line)["trade_id"] for line in capsys.readouterr().out.splitlines()]


def test_cat_shows_what_is_asked_for(directory, capsys):
    write(directory, range(1, 9), segment_bytes=1500)
    assert wick(directory, "cat", "trades.*.BTC-*", "--json") == 0
    assert ids(capsys) == list(range(41, 49))
    times = ["--from", "2027-01-15T12:00:03", "--to", "2027-01-15T12:00:06"]
    wick(directory, "cat", "trades.*", "--json", *times)
    assert ids(capsys) == [43, 44, 45]
    wick(directory, "cat", "trades.*", "--json", "--count", "2")
    assert ids(capsys) == [41, 42]
    wick(directory, "cat", "trades.okx.*")
    assert capsys.readouterr().out == ""


def test_cat_follows_what_comes(directory, capsys, monkeypatch):
    monkeypatch.setattr(log, "LOOK_S", 0.001)
    write(directory, [1, 2])
    follower = Thread(target=wick, args=(directory, "cat", "trades.*", "--json", "--follow", "--count", "4"))
    follower.start()
    write(directory, [3, 4])
    follower.join(30)
    assert not follower.is_alive() and ids(capsys) == [41, 42, 43, 44]


def test_a_log_that_is_whole_is_said_to_be_and_a_torn_end_is_none_of_its_faults(directory, capsys):
    write(directory, range(1, 8), segment_bytes=1500)
    found = segments(directory)
    size = sum(path.stat().st_size for path in found)
    assert wick(directory, "verify") == 0
    assert (
        capsys.readouterr().out == f"{len(segments(directory))} segments, {size:,} bytes, 7 blocks, 21 ticks: whole\n"
    )
    newest = segments(directory)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    assert wick(directory, "verify") == 0
    told = capsys.readouterr()
    assert "6 blocks" in told.out and "the newest block is torn" in told.err


def test_whatever_is_wrong_is_named(directory, capsys):
    write(directory, range(1, 8), segment_bytes=700)
    first, second, *_ = segments(directory)
    data = bytearray(first.read_bytes())
    data[150] ^= 1
    first.write_bytes(data)
    second.write_bytes(second.read_bytes() + packed(*flush(1, seq=99)) + b"torn")
    assert wick(directory, "verify") == 1
    told = capsys.readouterr().out
    for text in ("are damaged", "comes behind 5-", "shard 7: parts", "4 bytes at its end are torn", "findings"):
        assert text in told, text


def test_without_a_log_it_says_where_it_looked(data_dir, tmp_path, capsys):
    assert main(["log", "ls", "--data-dir", str(tmp_path)]) == 1
    assert "there is no tick log in" in capsys.readouterr().err
