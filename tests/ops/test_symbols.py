"""Which symbols are wanted: the setting, what was added and removed while running, and what makes no sense."""

from pathlib import Path

import pytest

from wick.cli import main
from wick.errors import SettingError
from wick.ops import symbols
from wick.ops.settings import Settings
from wick.ops.symbols import Changes, Wanted


def wanted(tmp_path: Path, *names: str, venues: tuple[str, ...] = ("binance",)) -> dict[str, Wanted]:
    return symbols.wanted(
        Settings({"core.data_dir": str(tmp_path), "feed.venues": venues, "feed.symbols": names or ("BTCUSDT",)})
    )


def test_names_are_taken_as_the_venue_and_as_wick_writes_them(tmp_path):
    assert wanted(tmp_path, "BTCUSDT", "eth-usdt", "binance:SOLUSDT", "BTC-USDT")["binance"].symbols == (
        "BTC-USDT", "ETH-USDT", "SOL-USDT",
    )  # fmt: skip


def test_what_was_added_and_removed_counts_after_the_setting(tmp_path):
    symbols.save(tmp_path, Changes(("binance:SOL-USDT",), ("binance:BTC-USDT",)))
    assert wanted(tmp_path, "BTCUSDT", "ETHUSDT")["binance"].symbols == ("ETH-USDT", "SOL-USDT")


def test_every_symbol_but_those_that_were_removed(tmp_path):
    symbols.save(tmp_path, Changes((), ("binance:BTC-USDT",)))
    assert wanted(tmp_path, "*")["binance"].of(["BTC-USDT", "ETH-USDT"]) == ["ETH-USDT"]


def test_what_is_not_listed_is_not_chosen(tmp_path):
    assert wanted(tmp_path, "ETHUSDT", "XXXUSDT", "BTCUSDT")["binance"].of(["BTC-USDT", "ETH-USDT"]) == [
        "ETH-USDT", "BTC-USDT",
    ]  # fmt: skip


def test_the_last_word_on_a_symbol_counts():
    changes = symbols.changed(Changes(), add=["binance:A-B", "binance:C-D"])
    changes = symbols.changed(changes, remove=["binance:A-B"])
    assert changes == Changes(("binance:C-D",), ("binance:A-B",))
    assert symbols.changed(changes, add=["binance:A-B"]) == Changes(("binance:C-D", "binance:A-B"), ())


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere:BTCUSDT", "not one of binance"), ("binance:", "valid is SYMBOL or VENUE:SYMBOL")]
)
def test_a_name_that_makes_no_sense_is_named(tmp_path, name, message):
    with pytest.raises(SettingError, match=message):
        wanted(tmp_path, name)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"add": []}', '{"add": "x", "remove": []}', '{"add": [1], "remove": []}']
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path, content):
    (tmp_path / symbols.FILE).write_text(content)
    with pytest.raises(SettingError, match=r"symbols.json is damaged: .*delete it"):
        wanted(tmp_path)


def test_the_command_adds_and_removes(tmp_path, capsys):
    assert main(["symbols", "add", "SOLUSDT", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "binance: BTC-USDT ETH-USDT SOL-USDT", "no feed is running: it will read this at its start",
    ]  # fmt: skip
    assert main(["symbols", "remove", "binance:BTCUSDT", "--data-dir", str(tmp_path)]) == 0
    assert main(["symbols", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "binance: ETH-USDT SOL-USDT"


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["symbols", "add", "--data-dir", str(tmp_path)]) == 2
    assert main(["symbols", "add", "*", "--data-dir", str(tmp_path)]) == 2
    assert main(["symbols", "add", "mtgox:BTCUSD", "--data-dir", str(tmp_path)]) == 2
    assert "not one of binance" in capsys.readouterr().err
    assert not (tmp_path / symbols.FILE).exists()
