"""What `scripts/run` makes of its arguments: the settings that its children get."""

from pathlib import Path

import pytest

from wick.cli.run import UsageError, forget_last_replay, parse, settle, share_sockets
from wick.errors import SettingError
from wick.ops.settings import Settings, load


@pytest.fixture(autouse=True)
def an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settled(*arguments: str, **env: str) -> Settings:
    return settle(parse(arguments), env)


def test_no_argument_is_a_demo_of_every_symbol_on_loopback() -> None:
    settings = settled()
    assert settings == settled("demo")
    assert settings["feed.symbols"] == ("*",)
    assert settings["feed.ws_url"] == "ws://127.0.0.1:8766"
    assert settings["feed.rest_url"] == "http://127.0.0.1:8766"
    assert settings["exchange.files"] == ()


def test_a_simulation_keeps_its_trades_apart_from_real_ones(tmp_path: Path) -> None:
    (tmp_path / "day.gz").touch()
    assert settled("demo", WICK_STORE_URL="sqlite:/data/real.sqlite")["store.url"] == ""
    assert settled("demo")["core.data_dir"] == "var/demo"


def test_a_replay_plays_files_named_from_where_the_caller_stands(tmp_path: Path) -> None:
    (tmp_path / "day.gz").write_text('1723161254036059768 {"stream":"btcusdt@trade","data":{}}\n')
    settings = settled("replay", "day.gz", "--speed", "max", "--core-data-dir", "/data")
    assert settings["exchange.files"] == (str(tmp_path / "day.gz"),)
    assert settings["exchange.speed"] == "max"
    assert settings["core.data_dir"] == "/data/replay"
    assert settled("replay", "--speed=10", "day.gz")["exchange.speed"] == "10"


def test_a_replay_of_what_is_no_recording_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match=r"no raw capture among the files .*neither a raw capture"):
        settled("replay", "noise")


def test_live_reads_a_real_venue_whatever_is_configured_for_symbols() -> None:
    settings = settled("live", "binance", "btcusdt", "ETH-USDT", "BTCUSDT", WICK_FEED_SYMBOLS="SOLUSDT")
    assert settings["feed.symbols"] == ("BTCUSDT", "ETHUSDT")
    assert settings["feed.ws_url"] == ""
    assert settings["core.data_dir"] == "var"


def test_live_reads_several_venues_each_with_its_own_symbols() -> None:
    settings = settled("live", "binance", "btcusdt", "binance-usdm", "ETH-USDT", "*")
    assert settings["feed.venues"] == ("binance", "binance-usdm")
    assert settings["feed.symbols"] == ("binance:BTCUSDT", "binance-usdm:ETHUSDT", "binance-usdm:*")


def test_a_simulation_speaks_the_wire_that_was_asked_for() -> None:
    assert settled()["feed.venues"] == ("binance",)
    assert settled("--exchange-venue", "binance-usdm")["feed.venues"] == ("binance-usdm",)


def test_an_option_wins_over_what_the_mode_implies() -> None:
    settings = settled("--feed-symbols", "BTCUSDT", "--exchange-port", "9000", WICK_EXCHANGE_PORT="9001")
    assert settings["feed.symbols"] == ("BTCUSDT",)
    assert settings["feed.ws_url"] == "ws://127.0.0.1:9000"


def test_the_children_get_all_of_it_through_the_environment() -> None:
    env: dict[str, str] = {}
    settings = settle(parse(["--front-port", "9000"]), env)
    assert env["WICK_FRONT_PORT"] == "9000"
    assert env["WICK_FEED_SYMBOLS"] == "*"
    assert load(env=env) == settings


@pytest.mark.parametrize(
    "arguments",
    [
        ["live"],
        ["live", "binance"],
        ["demo", "x"],
        ["replay"],
        ["go"],
        ["live", "x", "BTC"],
        ["--x"],
        ["live", "binance", "BTCUSDT", "binance-usdm"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(arguments)


def test_a_recording_must_be_there_and_have_no_comma_in_its_name(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"missing.gz' is wrong: valid is a capture file"):
        parse(["replay", "missing.gz"])
    (tmp_path / "a,b").touch()
    with pytest.raises(UsageError, match="a comma separates the names of a list"):
        parse(["replay", "a,b"])


def test_the_sockets_of_a_simulation_are_where_commands_look_for_them(tmp_path: Path) -> None:
    for _ in range(2):
        share_sockets(tmp_path / "var" / "demo")
    (tmp_path / "var" / "demo" / "run" / "feed-0.pub").touch()
    assert (tmp_path / "var" / "run" / "feed-0.pub").exists()


def test_a_new_replay_forgets_the_last_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "ticklog").mkdir()
    (tmp_path / "ticklog" / "1.ticks").touch()
    for name in ("candles.sqlite", "candles.sqlite-wal", "notes"):
        (tmp_path / name).touch()
    forget_last_replay(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    forget_last_replay(tmp_path / "not-there")
