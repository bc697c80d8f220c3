"""The order in which rows leave, with revisions, and with more of them than memory is given."""

import random

import pytest

from wick.cli import _rows
from wick.cli._rows import Rows, Spool
from wick.market.intervals import by_name

HOUR = 3_600_000
INTERVALS = [by_name(name) for name in ("15s", "1m", "1h")]


def row(interval: str, open_ms: int, revision: int = 0) -> list[int]:
    return [open_ms, by_name(interval).close_ms(open_ms), revision, 1, *[0] * 13]


@pytest.fixture
def written() -> list[tuple[int, str, str, int]]:
    return []


@pytest.fixture
def rows(written, monkeypatch) -> Rows:
    """Rows that are written as (open time, symbol, interval, revision); two of an interval fit in memory."""
    monkeypatch.setattr(_rows, "IN_MEMORY", 2)

    def text(_: str, symbol: str, interval: str, row: list[int]) -> str:
        return f"{row[0]} {symbol} {interval} {row[2]}"

    def write(line: str) -> None:
        open_ms, symbol, interval, revision = line.split()
        written.append((int(open_ms), symbol, interval, int(revision)))

    return Rows("binance", INTERVALS, HOUR, text, write)


def test_rows_leave_by_open_time_symbol_interval_in_whatever_order_they_came(rows, written):
    names = ["15s", "1m", "1h"]
    expected = sorted(
        (open_ms, symbol, names.index(name))
        for name in names
        for open_ms in range(0, 3 * HOUR, by_name(name).close_ms(0))
        for symbol in ("A-B", "C-D")
    )
    closing = sorted(expected, key=lambda key: by_name(names[key[2]]).close_ms(key[0]))
    chance = random.Random(5)
    for at in range(0, len(closing), 40):
        some = closing[at : at + 40]
        chance.shuffle(some)
        for open_ms, symbol, index in some:
            assert rows.put(symbol, names[index], row(names[index], open_ms))
        rows.settle(max(by_name(names[index]).close_ms(open_ms) for open_ms, _, index in some))
    early = len(written)
    rows.finish()
    assert [(open_ms, symbol, names.index(name)) for open_ms, symbol, name, _ in written] == expected
    assert 0 < early < len(expected), "rows leave as soon as nothing can come before them"


def test_a_revision_replaces_its_row_until_it_is_written(rows, written):
    rows.settle(HOUR)
    assert rows.put("A-B", "1m", row("1m", HOUR))
    assert rows.put("A-B", "1m", row("1m", HOUR, revision=1))
    rows.settle(3 * HOUR)
    assert not rows.put("A-B", "1m", row("1m", HOUR, revision=2))
    rows.finish()
    assert written == [(HOUR, "A-B", "1m", 1)]


def test_a_spool_gives_back_what_it_got_whatever_the_turns(monkeypatch):
    monkeypatch.setattr(_rows, "IN_MEMORY", 7)
    chance, spool, pushed, popped = random.Random(1), Spool(), [], []
    for turn in range(2_000):
        for _ in range(chance.randrange(20)):
            pushed.append((turn, f"S{turn}", f"text ünicode {len(pushed)}"))
            spool.push(*pushed[-1])
        for _ in range(chance.randrange(min(20, len(spool) + 1))):
            assert spool.peek() == pushed[len(popped)]
            popped.append(spool.pop())
    while spool:
        popped.append(spool.pop())
    assert popped == pushed
