"""Candle rows on their way out: kept while they can be revised, put in order, written as CSV, JSON or table.

Rows leave ordered by open time, symbol, interval. A month's candle opens before all others of that month and
closes after them, so the rows that wait for it go to a temporary file: memory stays bounded.
"""

import sys
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from heapq import heapify, heappop, heapreplace
from tempfile import TemporaryFile
from typing import IO, Any, TextIO

import orjson

from wick.market.intervals import Interval
from wick.market.rows import COLUMNS, flag_names, readable
from wick.market.schema import CANDLE_FIELDS, CLOSED, Row

IN_MEMORY = 10_000  # rows of an interval that wait in memory: some 3 MB
SHOWN_FIRST = 200  # rows by which a table measures its columns

HEADER = ("venue", "symbol", "interval", *COLUMNS, "closed")
# What a table shows.
SHOWN = ("open", "high", "low", "close", "volume", "trade_count", "vwap", "delta", "cvd", "max_trade_size")

_FLAGS, _PRICE_DECIMALS = CANDLE_FIELDS.index("flags"), CANDLE_FIELDS.index("price_decimals")


def csv_text(venue: str, symbol: str, interval: str, row: Row) -> str:
    """A line of `HEADER`: decimals to the venue's last digit, flags by name, nothing where a value is not known."""
    values = readable(row) | {"flags": " ".join(flag_names(row[_FLAGS]))}
    texts = ["" if (value := values[name]) is None else str(value) for name in COLUMNS]
    return ",".join((venue, symbol, interval, *texts, str(row[_FLAGS] & CLOSED)))


def json_text(venue: str, symbol: str, interval: str, row: Row) -> str:
    """One JSON object: exact decimals as strings, times, counts and ratios as numbers, `flags` by name."""
    values = readable(row)
    named: dict[str, Any] = {"venue": venue, "symbol": symbol, "interval": interval}
    named |= {name: values[name] for name in COLUMNS}
    return orjson.dumps(named | {"flags": flag_names(row[_FLAGS]), "closed": bool(row[_FLAGS] & CLOSED)}).decode()


def table_text(_: str, symbol: str, interval: str, row: Row) -> str:
    """The cells of `TableOut`. An average price has as many decimals as prices have."""
    values = readable(row)
    shown = {name: "-" if value is None else str(value) for name, value in values.items()}
    if isinstance(vwap := values["vwap"], float):
        shown["vwap"] = f"{vwap:.{row[_PRICE_DECIMALS]}f}"
    opened = f"{datetime.fromtimestamp(row[0] / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    state = "" if row[_FLAGS] & CLOSED else "live"
    return ",".join((symbol, interval, opened, *[shown[name] for name in SHOWN], state))


# ---------------------------------------------------------------------- order


class Spool:
    """A queue of (open time, symbol, text) that keeps what does not fit in memory on disk."""

    def __init__(self) -> None:
        self._head: deque[tuple[int, str, str]] = deque()
        self._file: IO[str] | None = None
        self._read_at = self._on_disk = 0

    def __len__(self) -> int:
        return len(self._head) + self._on_disk

    def push(self, open_ms: int, symbol: str, text: str) -> None:
        if not self._on_disk and len(self._head) < IN_MEMORY:
            self._head.append((open_ms, symbol, text))
            return
        if self._file is None:
            self._file = TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115  (it lives as long as the queue)
        self._file.seek(0, 2)
        self._file.write(f"{open_ms}\t{symbol}\t{text}\n")
        self._on_disk += 1

    def peek(self) -> tuple[int, str, str]:
        if not self._head and self._file is not None:
            self._file.seek(self._read_at)
            for _ in range(min(IN_MEMORY, self._on_disk)):
                open_ms, symbol, text = self._file.readline().rstrip("\n").split("\t")
                self._head.append((int(open_ms), symbol, text))
            self._read_at = self._file.tell()
            self._on_disk -= len(self._head)
            if not self._on_disk:
                self._file.close()
                self._file, self._read_at = None, 0
        return self._head[0]

    def pop(self) -> tuple[int, str, str]:
        self.peek()
        return self._head.popleft()


class Rows:
    """Collects rows, takes their revisions, and writes each once it can change no more.

    `late_ms`: a row stays open to revision until the clock is so far past its end.
    """

    def __init__(
        self,
        venue: str,
        intervals: Sequence[Interval],
        late_ms: int,
        text: Callable[[str, str, str, Row], str],
        write: Callable[[str], None],
    ) -> None:
        self.intervals, self.late_ms = intervals, late_ms
        self._venue, self._text, self._write = venue, text, write
        self._index = {interval.name: index for index, interval in enumerate(intervals)}
        self._open: list[dict[int, dict[str, Row]]] = [{} for _ in intervals]  # by open time, then symbol
        self._settled = [0] * len(intervals)  # rows that opened before it are on their way out
        self._spools = [Spool() for _ in intervals]

    def put(self, symbol: str, interval: str, row: Row) -> bool:
        """Take a row or its revision; false where that comes too late, the row is written."""
        index, open_ms = self._index[interval], row[0]
        if open_ms < self._settled[index]:
            return False
        self._open[index].setdefault(open_ms, {})[symbol] = row
        return True

    def settle(self, clock_ms: int) -> None:
        """The clock has reached `clock_ms`: what ended longer ago than `late_ms` is final."""
        bounds = [interval.open_ms(clock_ms - self.late_ms) for interval in self.intervals]
        if bounds != self._settled:
            for index, bound in enumerate(bounds):
                if bound != self._settled[index]:
                    self._settle(index, bound)
            self._release(min(bounds))

    def finish(self) -> None:
        """Nothing more will come: write everything."""
        for index, rows in enumerate(self._open):
            self._settle(index, max(rows, default=0) + 1)
        self._release(sys.maxsize)

    def _settle(self, index: int, bound_ms: int) -> None:
        rows, name = self._open[index], self.intervals[index].name
        self._settled[index] = bound_ms
        for open_ms in sorted(open_ms for open_ms in rows if open_ms < bound_ms):
            for symbol, row in sorted(rows.pop(open_ms).items()):
                self._spools[index].push(open_ms, symbol, self._text(self._venue, symbol, name, row))

    def _release(self, bound_ms: int) -> None:
        heads = [(*spool.peek()[:2], index) for index, spool in enumerate(self._spools) if spool]
        heapify(heads)
        while heads and heads[0][0] < bound_ms:
            index = heads[0][2]
            spool = self._spools[index]
            self._write(spool.pop()[2])
            if spool:
                heapreplace(heads, (*spool.peek()[:2], index))
            else:
                heappop(heads)


# ---------------------------------------------------------------------- output


class CsvOut:
    """A header, then a line a row."""

    text = staticmethod(csv_text)

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.write(",".join(HEADER))

    def write(self, line: str) -> None:
        self._out.write(line + "\n")

    def finish(self) -> None:
        self._out.flush()


class JsonOut(CsvOut):
    """A JSON object a line."""

    text = staticmethod(json_text)

    def __init__(self, out: TextIO) -> None:
        self._out = out


class TableOut:
    """Aligned columns for a reader: what a person looks for first, and no column that says the same in every row."""

    text = staticmethod(table_text)
    titles = (
        "symbol", "interval", "open (UTC)", "open", "high", "low", "close", "volume", "trades", "vwap", "delta", "cvd",
        "max trade", "",
    )  # fmt: skip

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._first = [list(self.titles)]  # rows that wait until the widths are known
        self._widths: list[int] = []

    def write(self, line: str) -> None:
        row = line.split(",")
        if self._widths:
            self._line(row)
            return
        self._first.append(row)
        if len(self._first) > SHOWN_FIRST:
            self._measure()

    def _measure(self) -> None:
        self._widths = [max(map(len, column)) for column in zip(*self._first, strict=True)]
        for row in self._first:
            self._line(row)

    def _line(self, row: list[str]) -> None:
        padded = [
            text.ljust(width) if at < 3 or at == len(row) - 1 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, self._widths, strict=True))
        ]
        self._out.write("  ".join(padded).rstrip() + "\n")

    def finish(self) -> None:
        if not self._widths:
            self._measure()
        self._out.flush()


OUTS: dict[str, type[CsvOut] | type[TableOut]] = {"csv": CsvOut, "json": JsonOut, "table": TableOut}
