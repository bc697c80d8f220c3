"""The log of a process: one line a record on stderr, in UTC, safe to show on a terminal.

    2026-11-22T21:00:00.123Z INFO feed-0 connected url=wss://stream.binance.com:9443

Messages may carry bytes that an exchange or a client sent, so control characters are escaped here, once, for
everybody: nobody can forge a line or drive the terminal of whoever reads the log.
"""

import logging
import re
import sys
import time

# C0 and C1 controls, DEL, the Unicode line separators, the bidirectional overrides, and lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    """`text` on one line, with everything that a terminal would act upon written as an escape sequence."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class LineFormatter(logging.Formatter):
    """Time, level, process, message; a traceback follows in lines of its own that begin with `  | `."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        millis = int(record.created * 1000) % 1000
        line = f"{seconds}.{millis:03d}Z {record.levelname} {self._process} {escape(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n  | {escape(part)}" for part in trace.splitlines())
        return line


def setup(process: str, level: str) -> None:
    """Send every record of `level` ("debug", "info", "warning", "error") and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(process))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
