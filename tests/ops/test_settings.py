"""The settings table: where values come from, what is refused and in which words, and that the docs tell it."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import SettingError
from wick.ops import settings as table
from wick.ops.setting import BOOLEAN, DECIMAL, INTEGER, LIST, NUMBER, SPEED, TEXT, as_text
from wick.ops.settings import SETTINGS, docs_table, load, role_settings, split_options, to_environment

ROOT = Path(__file__).parents[2]
NUMERIC = [setting for setting in SETTINGS if setting.type in (INTEGER, NUMBER)]
CHOSEN = [setting for setting in SETTINGS if setting.type in (TEXT, LIST) and (setting.choices or setting.starts)]
REQUIRED = [setting for setting in SETTINGS if setting.type in (TEXT, LIST) and not setting.blank]


def by_name(setting: table.Setting) -> str:
    return setting.name


@pytest.fixture(autouse=True)
def an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toml(text: str) -> None:
    Path("wick.toml").write_text(text, encoding="utf-8")


def refusal(argv: list[str] = [], env: dict[str, str] = {}) -> str:  # noqa: B006 (read only)
    with pytest.raises(SettingError) as caught:
        load(argv, env)
    return str(caught.value)


# ---------------------------------------------------------------------- where a value comes from


def test_a_default_gives_way_to_the_file_then_the_environment_then_an_option() -> None:
    assert load([], {})["front.port"] == 8765
    toml("[front]\nport = 1001\n")
    assert load([], {})["front.port"] == 1001
    env = {"WICK_FRONT_PORT": "1002"}
    assert load([], env)["front.port"] == 1002
    assert load(["--front-port", "1003"], env)["front.port"] == 1003


def test_wick_config_names_another_file_which_must_be_there(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[feed]\nsymbols = ['BTCUSDT']\n")
    assert load([], {"WICK_CONFIG": str(other)})["feed.symbols"] == ("BTCUSDT",)
    missing = str(tmp_path / "missing.toml")
    assert refusal(env={"WICK_CONFIG": missing}) == (
        f"cannot read the settings file {missing!r}: No such file or directory"
    )


def test_every_default_is_valid_and_reads_back_from_its_own_text() -> None:
    for setting in SETTINGS:
        assert setting.parse(as_text(setting.default)) == setting.default, setting.name
        assert setting.help.endswith("."), setting.name


@pytest.mark.parametrize("setting", SETTINGS, ids=by_name)
def test_every_setting_can_be_given_in_all_three_places(setting: table.Setting) -> None:
    section, _, key = setting.name.partition(".")
    text = as_text(setting.default)
    toml(f"[{section}]\n{key} = {text if setting.type in (INTEGER, NUMBER, BOOLEAN) else repr(text)}\n")
    assert load([], {})[setting.name] == setting.default
    assert load([], {setting.variable: text})[setting.name] == setting.default
    assert load([f"{setting.option}={text}"], {})[setting.name] == setting.default


def test_values_survive_the_environment_that_hands_them_on() -> None:
    values = {"feed.symbols": ("BTCUSDT", "币安人生USDT"), "front.open": True, "feed.silence_s": 2.5}
    values |= {"exchange.files": ()}
    handed_on = load([], to_environment(values))
    assert {name: handed_on[name] for name in values} == values


def test_the_environment_of_the_tests_and_of_other_programs_is_none_of_our_business() -> None:
    assert load([], {"WICK_TEST_ANYTHING": "1", "WICKED": "1", "PATH": "/bin"})["front.port"] == 8765


def test_options_are_taken_out_of_other_arguments_which_keep_their_order() -> None:
    values, rest = split_options(["live", "--front-open", "BTC", "--front-port=1", "--x", "--", "--front-port", "2"])
    assert values == {"front.open": True, "front.port": 1}
    assert rest == ["live", "BTC", "--x", "--", "--front-port", "2"]
    assert split_options(["--front-open", "no", "x"]) == ({"front.open": False}, ["x"])


def test_lists_come_from_commas_or_from_toml_lists_without_repeats() -> None:
    assert load(["--feed-symbols", " A, B,,A "], {})["feed.symbols"] == ("A", "B")
    toml("[feed]\nsymbols = ['A', 'B', 'A']\nchannels = 'trade,depth'\n")
    assert load([], {})["feed.symbols"] == ("A", "B")
    assert load([], {})["feed.channels"] == ("trade", "depth")


# ---------------------------------------------------------------------- what is refused


def test_a_wrong_value_is_named_with_its_setting_its_origin_and_what_is_valid() -> None:
    valid = "is wrong: valid is a whole number from 1 to 65535"
    assert refusal(["--front-port", "x"]) == f"front.port = 'x' (from option --front-port) {valid}"
    assert refusal(env={"WICK_FRONT_PORT": "0"}) == f"front.port = '0' (from environment WICK_FRONT_PORT) {valid}"
    toml("[front]\nport = 65536\n")
    assert refusal() == f"front.port = 65536 (from wick.toml) {valid}"


@pytest.mark.parametrize("setting", NUMERIC, ids=by_name)
def test_a_number_is_held_to_its_bounds(setting: table.Setting) -> None:
    assert math.isfinite(setting.least)
    assert math.isfinite(setting.most)
    assert setting.parse(str(setting.least)) == setting.least
    assert setting.parse(str(int(setting.most))) == setting.most
    for text in (str(setting.least - 1), str(int(setting.most) + 1), "", "x", "nan", "inf", "1e999"):
        message = refusal([setting.option, text])
        assert message.startswith(f"{setting.name} = {text!r} ")
        assert message.endswith(f"valid is a {'whole ' * (setting.type == INTEGER)}number from "
                                f"{setting.least:g} to {setting.most:.0f}")  # fmt: skip


def test_a_whole_number_is_whole() -> None:
    assert "front.port = '80.5'" in refusal(["--front-port", "80.5"])
    toml("[front]\nport = 80.0\n")
    assert "front.port = 80.0" in refusal()


@pytest.mark.parametrize("setting", CHOSEN, ids=by_name)
def test_a_choice_is_one_of_those_that_the_refusal_names(setting: table.Setting) -> None:
    choices = setting.choices() if callable(setting.choices) else setting.choices
    message = refusal([setting.option, "nonsense"])
    assert message.startswith(f"{setting.name} = 'nonsense' ")
    for choice in choices or setting.starts:
        assert choice in message.partition("valid is")[2]


def test_one_wrong_item_spoils_a_list() -> None:
    assert refusal(["--feed-channels", "trade,trades"]) == (
        "feed.channels = 'trade,trades' (from option --feed-channels) is wrong: "
        "valid is a list, separated by commas, of trade or quote or depth"
    )


@pytest.mark.parametrize("setting", REQUIRED, ids=by_name)
def test_what_must_not_be_blank_is_not(setting: table.Setting) -> None:
    assert refusal(env={setting.variable: "  "}).startswith(f"{setting.name} = '  ' ")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", ""])
def test_a_speed_is_above_zero_or_max(text: str) -> None:
    assert refusal([f"--exchange-speed={text}"]) == (
        f'exchange.speed = {text!r} (from option --exchange-speed) is wrong: valid is a number above 0, or "max"'
    )
    for good in ("max", "0.5", "10"):
        assert load(["--exchange-speed", good], {})["exchange.speed"] == good


@pytest.mark.parametrize("text", ["0", "0.00", "-1", "+1", "nan", "inf", "1e5", "much", "", "1.", "9" * 40])
def test_a_decimal_is_plain_and_above_zero(text: str) -> None:
    assert refusal([f"--aggregator-large-notional={text}"]) == (
        f"aggregator.large_notional = {text!r} (from option --aggregator-large-notional) is wrong: "
        "valid is a plain decimal number above 0"
    )


@pytest.mark.parametrize(
    ("text", "value"), [("2500.5", "2500.5"), ("'0.25'", "0.25"), ("100000", "100000"), ("1e-5", "0.00001")]
)
def test_a_decimal_may_be_a_number_or_a_text_in_toml_and_stays_exact(text: str, value: str) -> None:
    toml(f"[aggregator]\nlarge_notional = {text}\n")
    assert load([], {})["aggregator.large_notional"] == value
    toml("[aggregator]\nlarge_notional = inf\n")
    assert refusal().startswith("aggregator.large_notional = inf (from wick.toml) is wrong: valid is a plain decimal")


def test_a_boolean_is_spelt_in_the_usual_ways_and_no_other() -> None:
    for text, value in (("true", True), ("Yes", True), ("1", True), ("OFF", False), ("no", False), ("0", False)):
        assert load([], {"WICK_FRONT_OPEN": text})["front.open"] is value
    assert "valid is true or false" in refusal(env={"WICK_FRONT_OPEN": "perhaps"})


@pytest.mark.parametrize("line", ["port = true", "port = '1'", "open = 1", "token = 5", "origins = [1]"])
def test_toml_values_have_the_type_of_the_setting(line: str) -> None:
    toml(f"[front]\n{line}\n")
    assert refusal().startswith(f"front.{line.partition(' ')[0]} = ")


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    assert refusal(["--front-prot", "1"]) == "unknown option '--front-prot'; did you mean '--front-port'?"
    assert refusal(env={"WICK_FRONT_PROT": "1"}) == (
        "unknown setting 'WICK_FRONT_PROT' in the environment; did you mean 'WICK_FRONT_PORT'?"
    )
    toml("[front]\nprot = 1\n")
    assert refusal() == "unknown setting 'front.prot' in wick.toml; did you mean 'front.port'?"
    toml("port = 1\n")
    assert refusal() == "'port' in wick.toml stands in no section: valid is a [section] around it"
    toml("[front\n")
    assert refusal().startswith("the settings file 'wick.toml' is not valid TOML: ")


def test_an_option_without_its_value_says_what_would_be_valid() -> None:
    assert refusal(["--front-port"]) == (
        "front.port: option --front-port needs a value; valid is a whole number from 1 to 65535"
    )


@given(st.sampled_from(SETTINGS), st.text())
def test_any_text_is_either_a_value_that_reads_back_or_refused(setting: table.Setting, text: str) -> None:
    try:
        value = setting.parse(text)
    except ValueError:
        return
    assert setting.parse(as_text(value)) == value


# ---------------------------------------------------------------------- what a service begins with


def test_a_role_knows_its_place_from_supervisord() -> None:
    settings, index = role_settings("aggregator", ["--index", "1", "--of", "2", "--front-port", "1"])
    assert (settings["front.port"], index) == (1, 1)
    assert role_settings("feed", [])[1] == 0
    assert role_settings("front", ["--index=3", "--of=4"])[1] == 3


@pytest.mark.parametrize(
    ("role", "argv", "words"),
    [
        ("aggregator", ["--index", "0", "--of", "3"], "--of = 3 is wrong: valid is 2; aggregator.workers is 2"),
        ("aggregator", ["--index", "2", "--of", "2"], "--index = 2 is wrong: valid is a whole number from 0 to 1"),
        ("feed", ["--index", "0", "--of", "2"], "feed: --of = 2 is wrong: valid is 1; there is one feed only"),
        ("front", ["--index", "one"], "front: --index = 'one' is wrong: valid is a whole number from 0"),
        ("front", ["--of"], "front: --of = '' is wrong"),
        ("sink", ["--stor-url", "x"], "sink: unknown option '--stor-url'; did you mean '--store-url'?"),
        ("front", ["--front-host", "0.0.0.0"], "front.host = '0.0.0.0' can be reached from outside"),
    ],
)
def test_a_role_refuses_what_cannot_be_with_exit_code_2(
    role: str, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        role_settings(role, argv)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_a_front_beyond_loopback_needs_a_token_or_the_wish_to_be_open() -> None:
    for more in (["--front-token", "secret"], ["--front-token-file", "tokens"], ["--front-open"]):
        assert role_settings("front", ["--front-host", "0.0.0.0", *more])[0]["front.host"] == "0.0.0.0"
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert role_settings("front", ["--front-host", host])[0]["front.host"] == host


# ---------------------------------------------------------------------- the docs, and the rest of the house


def test_the_docs_are_the_table() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == docs_table(), "run: .venv/bin/python -m wick.ops.settings > docs/settings.md"


def test_every_setting_is_read_somewhere() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "wick").rglob("*.py"))
    assert [setting.name for setting in SETTINGS if f'["{setting.name}"]' not in source] == []
    assert {setting.type for setting in SETTINGS} == {TEXT, INTEGER, NUMBER, BOOLEAN, LIST, SPEED, DECIMAL}
