"""docs/client.md: its examples run, and it names all that there is."""

import json
import re
from pathlib import Path

import pytest

from tests.client.front_server import OPEN, Line, playing
from tests.client.speaking import CANDLES, EPOCH, MINUTE, head, live, row
from wick import client
from wick.client import events, reconnect
from wick.market.rows import ALL_COLUMNS, readable
from wick.wire.session import Kind

TEXT = (Path(__file__).parents[2] / "docs/client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SAID = [
    [
        "candles:binance:BTC-USDT:1m 90000.5 0 0",
        "candles:binance:BTC-USDT:1m 90000.5 1.23456 None {'CDL2CROWS': 100, 'CDL3INSIDE': -100}",
    ],
    ["candles:binance:BTC-USDT:1m 90000 90000", "candles:binance:BTC-USDT:1m 90000 90000.5"] * 2,
    [f"{OPEN + MINUTE} 90000.5"],
]  # fmt: skip
PAGE = {"columns": ALL_COLUMNS, "rows": [list(readable(row(OPEN + MINUTE), ALL_COLUMNS).values())], "next": None}


def a_minute(line: Line) -> None:
    line.takes([CANDLES])
    line.says(
        [Kind.SNAPSHOT, 1, EPOCH, 10, [head(), live(OPEN)], []],
        [Kind.DIFF, 1, 11, 1, [0, 1, 50]],
        [Kind.CLOSE, 1, 12, row(OPEN)],
    )
    line.socket.close(1001)


def enough(line: Line) -> None:
    line.socket.close(3500, "that is all")


@pytest.mark.parametrize(
    ("code", "said"), list(zip(EXAMPLES, SAID, strict=True)), ids=["blocking", "asyncio", "history"]
)
def test_an_example_runs_and_prints_what_happens(code, said, monkeypatch, capsys):
    monkeypatch.setattr(reconnect, "FIRST_MS", 4)
    with playing(a_minute, a_minute, enough, page=json.dumps(PAGE)) as front:
        assert "ws://127.0.0.1:8765" in code
        code = code.replace("ws://127.0.0.1:8765", front.url).replace('token="…"', 'token="secret"')
        with pytest.raises(client.ClientError, match="that is all"):
            exec(compile(code, "docs/client.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.splitlines()[: len(said)] == said


@pytest.mark.parametrize("name", client.__all__)
def test_all_that_is_public_is_documented(name):
    if name not in ("Event",):  # all of them together
        assert re.search(rf"\b{name}\b", TEXT)


@pytest.mark.parametrize("event", events.Event.__args__, ids=lambda event: event.__name__)
def test_every_event_is_documented_with_its_fields(event):
    row = next(
        line for line in TEXT.splitlines() if line.startswith("| `") and f"`{event.__name__}`" in line.split("|")[1]
    )
    assert re.findall(r"`(\w+)`", row.split("|")[2]) == list(event._fields)


def test_the_arguments_and_the_parts_of_a_session_are_documented():
    for name in ("token", "form", "keep_candles", "stale_after_s", "receive", "subscribe", "unsubscribe", "topics",
                 "wanted", "age_ms", "counts", "close", "closed"):  # fmt: skip
        assert f"`{name}" in TEXT
    public = {name for name in vars(client.Session) if not name.startswith("_")}
    assert public == {name for name in vars(client.AsyncSession) if not name.startswith("_")}
    for name in public:
        assert f"`{name}" in TEXT, name
