"""The log: one line a record, and nothing in it that a terminal would act upon."""

import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.ops import logs


@pytest.fixture(autouse=True)
def the_loggers_of_pytest_are_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []  # `setup` closes those that it finds
    yield
    root.handlers[:], root.level = handlers, level


def test_a_record_is_one_line_with_time_level_process_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("feed-0", "info")
    logging.getLogger("wick.feed").info("connected url=%s", "wss://x")
    line = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO feed-0 connected url=wss://x\n", line)


def test_the_time_of_a_record_is_utc_to_the_millisecond() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "m", (), None)
    record.created = 1_763_845_200.1239
    assert logs.LineFormatter("sink-0").format(record) == "2025-11-22T21:00:00.123Z WARNING sink-0 m"


def test_the_level_holds_back_what_is_less_severe(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("sink-0", "warning")
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_second_setup_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("a", "info")
    logs.setup("b", "info")
    logging.getLogger("x").error("once")
    assert capsys.readouterr().err.endswith("Z ERROR b once\n")


def test_what_would_drive_a_terminal_is_written_as_escapes() -> None:
    assert logs.escape("a\nb\x1b[31m\x9b\u202e") == r"a\nb\x1b[31m\x9b\u202e"
    assert logs.escape("Zürich 币安") == "Zürich 币安"


@given(st.text(alphabet=st.characters()))
def test_no_text_gets_off_its_line(text: str) -> None:
    escaped = logs.escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in escaped)
    escaped.encode("utf-8")


def test_a_traceback_stands_below_its_record_and_cannot_pose_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("feed-0", "info")
    try:
        raise ValueError("x\n2026-01-01T00:00:00.000Z INFO feed-0 all is well")
    except ValueError:
        logging.getLogger("x").exception("failed")
    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith("ERROR feed-0 failed")
    assert others
    assert all(line.startswith("  | ") for line in others)
