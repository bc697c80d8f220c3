"""Candle rows on their way out: kept while they can be revised, put in order, written as CSV, JSON or table.

Rows leave ordered by open time, symbol, interval. A month's candle opens before all others of that month and
closes after them, so the rows that wait for it go to a temporary file: memory stays bounded.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from heapq import heapify, heappop, heapreplace
from tempfile import TemporaryFile
from typing import IO, Any, TextIO

import orjson

from wick.market.intervals import Interval
from wick.market.rows import ALL_COLUMNS, COLUMNS, METRIC_COLUMNS, flag_names, readable
from wick.market.schema import CANDLE_FIELDS, CLOSED, FIELDS, Row
from wick.wire.codec import pack_json

IN_MEMORY = 10_000  # rows of an interval that wait in memory: some 3 MB
SHOWN_FIRST = 200  # rows by which a table measures its columns

HEADER = ("venue", "symbol", "interval", *COLUMNS, "closed")  # and after it METRIC_COLUMNS, where they are wanted
# What a table shows, and what it does with metrics; `state` says what is live.
SHOWN = ("open", "high", "low", "close", "volume", "trade_count", "vwap", "delta", "cvd", "max_trade_size", "state")
SHOWN_METRICS = (
    "close", "volume", "delta", "vpin_50", "rsi_14", "macd", "adx_14", "atr_14", "supertrend_10_3", "bb_percent_b",
    "state", "patterns",
)  # fmt: skip

_FLAGS, _PRICE_DECIMALS = CANDLE_FIELDS.index("flags"), CANDLE_FIELDS.index("price_decimals")
_TITLES = {"trade_count": "trades", "max_trade_size": "max trade", "supertrend_10_3": "supertrend", "state": ""}
_LEFT = {"symbol", "interval", "open (UTC)", "patterns", ""}
_UNITS = {field.name: field.unit for field in FIELDS}
_DECIMALS = {"1": 4, "0 to 100": 2}  # of a float in a table, by unit; what is made of prices has as many as they have

Enrich = Callable[[Sequence[tuple[str, str]], Sequence[Row]], list[Row]]  # by (symbol, interval); see metrics.Streams


def csv_text(venue: str, symbol: str, interval: str, row: Row, metrics: bool) -> str:
    """A line of `HEADER`: decimals to the venue's last digit, flags and patterns by name, nothing where a value is not
    known."""
    values = readable(row, ALL_COLUMNS if metrics else COLUMNS) | {"flags": " ".join(flag_names(row[_FLAGS]))}
    if isinstance(found := values.get("patterns"), dict):
        values["patterns"] = _patterns(found)
    texts = ["" if value is None else str(value) for value in values.values()]
    texts.insert(len(COLUMNS), str(row[_FLAGS] & CLOSED))
    return ",".join((venue, symbol, interval, *texts))


def json_text(venue: str, symbol: str, interval: str, row: Row, metrics: bool) -> str:
    """One JSON object: exact decimals as strings, times, counts and ratios as numbers, `flags` by name."""
    named: dict[str, Any] = {"venue": venue, "symbol": symbol, "interval": interval, **readable(row, COLUMNS)}
    named |= {"flags": flag_names(row[_FLAGS]), "closed": bool(row[_FLAGS] & CLOSED)}
    if not metrics:
        return orjson.dumps(named).decode()
    return pack_json(named | readable(row, METRIC_COLUMNS)).decode()  # the masks can be too big for JavaScript


def table_text(venue: str, symbol: str, interval: str, row: Row, metrics: bool) -> str:
    """The cells of `TableOut`."""
    shown = SHOWN_METRICS if metrics else SHOWN
    cells = {"state": "" if row[_FLAGS] & CLOSED else "live"}
    for name, value in readable(row, [name for name in shown if name != "state"]).items():
        if isinstance(value, float):
            cells[name] = f"{value:.{_DECIMALS.get(_UNITS[name], row[_PRICE_DECIMALS])}f}"
        elif isinstance(value, dict):
            cells[name] = _patterns(value)
        else:
            cells[name] = "-" if value is None else str(value)
    opened = f"{datetime.fromtimestamp(row[0] / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    return ",".join((symbol, interval, opened, *[cells[name] for name in shown]))


def _patterns(found: dict[str, int]) -> str:
    return " ".join(f"{name}:{value}" for name, value in found.items())


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

    `late_ms`: a row stays open to revision until the clock is so far past its end. `enrich` is given the rows that have
    become final, those of a stream in the order of time.
    """

    def __init__(
        self,
        venue: str,
        intervals: Sequence[Interval],
        late_ms: int,
        text: Callable[[str, str, str, Row], str],
        write: Callable[[str], None],
        enrich: Enrich | None = None,
    ) -> None:
        self.intervals, self.late_ms = intervals, late_ms
        self._venue, self._text, self._write, self._enrich = venue, text, write, enrich
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
            self._settle(bounds)
            self._release(min(bounds))

    def finish(self) -> None:
        """Nothing more will come: write everything."""
        self._settle([max(rows, default=0) + 1 for rows in self._open])
        self._release(sys.maxsize)

    def _settle(self, bounds: list[int]) -> None:
        final = [
            (index, symbol, row) for index, bound in enumerate(bounds) for symbol, row in self._final(index, bound)
        ]
        self._settled = bounds
        if self._enrich is not None:
            rows = self._enrich(
                [(symbol, self.intervals[index].name) for index, symbol, _ in final], [row for *_, row in final]
            )
            final = [(index, symbol, row) for (index, symbol, _), row in zip(final, rows, strict=True)]
        for index, symbol, row in final:
            text = self._text(self._venue, symbol, self.intervals[index].name, row)
            self._spools[index].push(row[0], symbol, text)

    def _final(self, index: int, bound_ms: int) -> Iterable[tuple[str, Row]]:
        """Takes out the rows of an interval that open before the bound, by open time and symbol."""
        rows = self._open[index]
        for open_ms in sorted(open_ms for open_ms in rows if open_ms < bound_ms):
            yield from sorted(rows.pop(open_ms).items())

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
    """A header, then a line a row. `metrics`: with all fields, not only what trades and quotes make."""

    form = staticmethod(csv_text)

    def __init__(self, out: TextIO, metrics: bool) -> None:
        self._out, self._metrics = out, metrics
        self.begin()

    def begin(self) -> None:
        self.write(",".join((*HEADER, *METRIC_COLUMNS) if self._metrics else HEADER))

    def text(self, venue: str, symbol: str, interval: str, row: Row) -> str:
        """A row as `write` takes it."""
        return self.form(venue, symbol, interval, row, self._metrics)

    def write(self, line: str) -> None:
        self._out.write(line + "\n")

    def finish(self) -> None:
        self._out.flush()


class JsonOut(CsvOut):
    """A JSON object a line."""

    form = staticmethod(json_text)

    def begin(self) -> None:
        """It has no header."""


class TableOut(CsvOut):
    """Aligned columns for a reader: what a person looks for first, and no column that says the same in every row."""

    form = staticmethod(table_text)

    def begin(self) -> None:
        shown = [_TITLES.get(name, name) for name in (SHOWN_METRICS if self._metrics else SHOWN)]
        self._titles = ["symbol", "interval", "open (UTC)", *shown]
        self._first = [self._titles]  # rows that wait until the widths are known
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
            text.ljust(width) if title in _LEFT else text.rjust(width)
            for title, text, width in zip(self._titles, row, self._widths, strict=True)
        ]
        self._out.write("  ".join(padded).rstrip() + "\n")

    def finish(self) -> None:
        if not self._widths:
            self._measure()
        self._out.flush()


OUTS: dict[str, type[CsvOut]] = {"csv": CsvOut, "json": JsonOut, "table": TableOut}
