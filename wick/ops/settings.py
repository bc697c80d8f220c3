"""Every setting of wick, declared once in SETTINGS; files, environment, options and docs all read that table.

Where a value comes from, in rising order: the default, `wick.toml` (or the file that `WICK_CONFIG` names),
the environment (`WICK_FRONT_PORT`), the command line (`--front-port`). A wrong value or an unknown name is an
error that names the setting, the value, where it stands and what is valid; nothing is ignored or guessed.

Values are `str`, `int`, `float`, `bool`, and `tuple[str, ...]` for lists (`feed.venues`, `feed.symbols`,
`feed.channels`, `front.origins`, `exchange.files`). `exchange.speed` is text: a number, or "max";
`aggregator.large_notional` is text that `parse_decimal` takes exactly.
"""

import difflib
import ipaddress
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from wick.errors import SettingError
from wick.ops.setting import BOOLEAN, BOOLEANS, DECIMAL, INTEGER, LIST, NUMBER, SPEED, TEXT, Setting, as_text

CONFIG_FILE = "wick.toml"
CONFIG_VARIABLE = "WICK_CONFIG"
TEST_PREFIX = "WICK_TEST_"  # the test suite's own variables; no setting begins like this


def _venues() -> Sequence[str]:
    from wick import exchanges  # only when it is asked: the venues' modules need numpy, most commands do not

    return exchanges.ids()


SETTINGS: tuple[Setting, ...] = (
    Setting("core.data_dir", TEXT, "var", "Where sockets, locks, the tick log and the SQLite file live."),
    Setting("core.log_level", TEXT, "info", "The least severe record that is logged.",
            choices=("debug", "info", "warning", "error")),
    Setting("feed.venues", LIST, ("binance",), "The exchanges to read.", choices=_venues),
    Setting("feed.symbols", LIST, ("BTCUSDT", "ETHUSDT"),
            "The symbols to read, as the exchange or as wick writes them; `*`: every one that it lists. "
            "`VENUE:SYMBOL` concerns that exchange alone. Read again on SIGHUP."),
    Setting("feed.channels", LIST, ("trade", "quote", "depth"),
            "The streams of every symbol. Where an exchange has no `quote`, its `depth` tells the best prices.",
            choices=("trade", "quote", "depth")),
    Setting("feed.streams", INTEGER, 0, "Streams of one connection at most; 0: as many as the exchange allows.",
            0, 10_000),
    Setting("feed.book_levels", INTEGER, 500, "Levels of a book that are kept, a side.", 10, 5000),
    Setting("feed.backfill", BOOLEAN, True, "Ask the exchange's REST for trades that were missed."),
    Setting("feed.record", TEXT, "", "A directory for raw captures of everything that is received; blank: none.",
            blank=True),
    Setting("feed.ws_url", TEXT, "", "The WebSocket address of the one exchange; blank: its own.",
            starts=("ws://", "wss://"), blank=True),
    Setting("feed.rest_url", TEXT, "", "The REST address of the one exchange; blank: its own.",
            starts=("http://", "https://"), blank=True),
    Setting("feed.ca_file", TEXT, "", "Certificates (PEM) to trust instead of the system's; blank: the system's.",
            blank=True),
    Setting("feed.batch_ms", INTEGER, 20, "How long ticks are gathered into one batch.", 1, 1000),
    Setting("feed.clock_ms", INTEGER, 250, "How often the workers are told the exchange's time.", 10, 10_000),
    Setting("feed.push_hwm", INTEGER, 200,
            "Batches (64 bytes a trade, one every feed.batch_ms) that may wait for one worker at either end of the "
            "socket. On full: block, then drop and count.", 1, 1_000_000),
    Setting("feed.push_wait_ms", INTEGER, 1000, "How long to block for a full worker.", 0, 60_000),
    Setting("feed.silence_s", NUMBER, 60, "A connection without data (heartbeats are none) for so long is opened anew.",
            0.1, 3600),
    Setting("feed.stale_s", NUMBER, 120, "A symbol without data for so long is subscribed to anew.", 0.1, 86_400),
    Setting("feed.backoff_s", NUMBER, 30, "The longest wait before the next attempt to connect.", 0.05, 3600),
    Setting("aggregator.workers", INTEGER, 2, "Worker processes: the `numprocs` of supervisord.conf.", 1, 32),
    Setting("aggregator.grace_ms", INTEGER, 2000,
            "How long a closed interval waits for late trades before it is issued.", 0, 60_000),
    Setting("aggregator.flush_ms", INTEGER, 50, "How often changes are published.", 5, 5000),
    Setting("aggregator.empty", TEXT, "venue",
            "An interval without a trade: `flat` repeats the last price, `omit` issues nothing, "
            "`venue` does what the venue does.", choices=("venue", "flat", "omit")),
    Setting("aggregator.large_notional", DECIMAL, "100000",
            "Trades with a turnover of at least this, in the quote currency, count as large."),
    Setting("aggregator.warmup", INTEGER, 300,
            "Stored candles of each interval with which the metrics of a pair begin at a start; 0: none.", 0, 100_000),
    Setting("aggregator.warmup_s", NUMBER, 60,
            "How long `scripts/run live` may fetch candles from the venues for that before it starts, where the store "
            "has too few; 0: not at all.", 0, 3600),
    Setting("aggregator.live_hz", INTEGER, 2,
            "How often a second the metrics of unclosed candles are published to who is subscribed to them; 0: never.",
            0, 4),
    Setting("aggregator.closes_mb", INTEGER, 128,
            "Disk of a worker for closes that a sink can ask for again; ten pairs make about 3 MB an hour. On full: "
            "the oldest make way.", 1, 1_048_576),
    Setting("aggregator.checkpoint_s", NUMBER, 15,
            "How often the state of every shard is saved; what came since is read from the tick log. 0: never.",
            0, 3600),
    Setting("aggregator.history", INTEGER, 16,
            "Closed candles of an interval that a late trade can still correct.", 1, 1000),
    Setting("front.host", TEXT, "127.0.0.1", "The address to listen on; beyond loopback, with a token."),
    Setting("front.port", INTEGER, 8765, "The port of the page, the API and the WebSocket.", 1, 65_535),
    Setting("front.token", TEXT, "", "What clients must present; blank: nothing.", blank=True),
    Setting("front.token_file", TEXT, "", "A file of tokens, one a line (`name token`); read again when it changes.",
            blank=True),
    Setting("front.open", BOOLEAN, False, "Listen beyond loopback without a token."),
    Setting("front.origins", LIST, (),
            "Other pages that may open a WebSocket and read the API, and the page's own address behind a proxy; blank: "
            "only our own.",
            starts=("http://", "https://"), blank=True),
    Setting("front.proxies", LIST, (), "Addresses or networks of proxies whose X-Forwarded-For is believed.",
            blank=True),
    Setting("front.flush_ms", INTEGER, 50, "A client is told what has changed at most once in this time.", 5, 5000),
    Setting("front.deflate", BOOLEAN, True, "Compress for clients that offer permessage-deflate."),
    Setting("front.ready_s", NUMBER, 10, "`/readyz` says no when the newest data is older.", 1, 3600),
    Setting("front.client_queue_kb", INTEGER, 64,
            "Bytes of answers that may wait for a client which asks and does not read. On full: disconnect it.",
            4, 65_536),
    Setting("front.client_stall_s", NUMBER, 20, "A client that takes nothing for so long is disconnected.",
            1, 3600),
    Setting("front.max_clients", INTEGER, 16_000, "Connected clients. On full: turn away.", 1, 1_000_000),
    Setting("front.max_per_address", INTEGER, 200,
            "Connected clients of one address, loopback apart. On full: turn away.", 1, 1_000_000),
    Setting("front.max_per_token", INTEGER, 10_000, "Connected clients of one token. On full: turn away.",
            1, 1_000_000),
    Setting("front.client_messages_s", NUMBER, 20,
            "Messages a second that a client may send, ten seconds' worth at once. Above: disconnect it.", 1, 100_000),
    Setting("front.client_kb_s", NUMBER, 64,
            "Kilobytes a second that a client may send, ten seconds' worth at once. Above: disconnect it.", 1, 100_000),
    Setting("front.max_subscriptions", INTEGER, 1000, "Topics a client may hold. On full: an error to it.",
            1, 100_000),
    Setting("front.address_worth", INTEGER, 50,
            "The clients of one address, loopback apart, may together send and subscribe to as much as so many can by "
            "front.client_messages_s, front.client_kb_s and front.max_subscriptions. Above: errors to them.",
            1, 1_000_000),
    Setting("front.token_worth", INTEGER, 500, "The same for the clients of one token.", 1, 1_000_000),
    Setting("front.max_message_kb", INTEGER, 64, "A client's longest message, or disconnect.", 1, 16_384),
    Setting("store.url", TEXT, "",
            "Where closed candles are kept: `postgresql://USER@HOST/DATABASE` (with TimescaleDB where it is there), or "
            "`sqlite:PATH`; blank: `sqlite:<core.data_dir>/candles.sqlite`.",
            starts=("sqlite:", "postgresql://", "postgres://"), blank=True),
    Setting("store.keep", LIST, (),
            "How many days candles of an interval are kept, as `15s:30`; one that is not named is kept for ever.",
            blank=True),
    Setting("redis.url", TEXT, "", "The Redis or Valkey that keeps the latest state; blank: none.",
            starts=("redis://", "rediss://", "unix://"), blank=True),
    Setting("redis.flush_ms", INTEGER, 250, "How often what has changed is written there.", 10, 60_000),
    Setting("sink.batch_rows", INTEGER, 8000, "Candles in one transaction at most.", 1, 1_000_000),
    Setting("sink.batch_ms", INTEGER, 1000, "How long candles are gathered for a transaction.", 10, 60_000),
    Setting("ticklog.enabled", BOOLEAN, True, "Log every batch before it is passed on."),
    Setting("ticklog.segment_mb", INTEGER, 8, "The size of one file of the tick log.", 1, 1024),
    Setting("ticklog.budget_mb", INTEGER, 512,
            "The size of the whole tick log. On full: the oldest segments make way, also those that a worker needs.",
            2, 1_048_576),
    Setting("ticklog.keep_s", NUMBER, 900,
            "How long a segment is kept that every checkpoint has passed.", 0, 31_536_000),
    Setting("ticklog.commit_ms", NUMBER, 10,
            "How often what is logged is forced to the disk: what a crash of the machine may cost. 0: when the system "
            "likes.", 0, 60_000),
    Setting("ticklog.on_error", TEXT, "continue",
            "When the disk is full or fails: `continue` without the log, and say so, or `stop` the feed.",
            choices=("continue", "stop")),
    Setting("exchange.venue", TEXT, "binance", "Whose wire the simulated exchange speaks.", choices=_venues),
    Setting("exchange.certificate", TEXT, "", "Certificate and key (PEM) of the simulated exchange; blank: no TLS.",
            blank=True),
    Setting("exchange.port", INTEGER, 8766, "The port of the simulated exchange.", 1, 65_535),
    Setting("exchange.symbols", INTEGER, 300, "How many symbols the demo market has.", 1, 5000),
    Setting("exchange.rate", NUMBER, 400, "Trades a second of the demo market, on average.", 0.01, 100_000),
    Setting("exchange.seed", INTEGER, 1, "All of the demo market follows from this number.", 0, 2**32 - 1),
    Setting("exchange.files", LIST, (), "Recordings to play instead of the demo market.", blank=True),
    Setting("exchange.speed", SPEED, "1", "How fast recordings are played; `max`: as fast as they are read."),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
BY_OPTION = {setting.option: setting for setting in SETTINGS}
BY_VARIABLE = {setting.variable: setting for setting in SETTINGS}


class Settings(Mapping[str, Any]):
    """The values in force, by name: `settings["front.port"]`. What is not given has its default."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {setting.name: setting.default for setting in SETTINGS} | dict(values or {})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def load(
    argv: Sequence[str] | None = None, env: Mapping[str, str] = os.environ, file: str | Path | None = None
) -> Settings:
    """The settings in force; `argv` holds setting options only. SettingError for the first that is wrong."""
    options, rest = split_options(argv or ())
    if rest:
        raise SettingError(f"unknown option {rest[0]!r}{_nearest(rest[0], BY_OPTION)}")
    return _assemble(options, env, file)


def split_options(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of the setting options in `argv`, and every other argument in its order.

    `--front-port 8080` and `--front-port=8080` are the same; a boolean may stand alone (`--front-open`).
    What follows `--` is left alone.
    """
    values: dict[str, Any] = {}
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return values, [*rest, word, *words]
        option, equals, text = word.partition("=")
        setting = BY_OPTION.get(option)
        if setting is None:
            rest.append(word)
            continue
        if not equals:
            if setting.type == BOOLEAN and (not words or words[0].lower() not in BOOLEANS):
                text = "true"
            elif words:
                text = words.pop(0)
            else:
                raise SettingError(f"{setting.name}: option {option} needs a value; valid is {setting.valid}")
        values[setting.name] = _parse(setting, text, f"option {option}")
    return values, rest


def to_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """The `WICK_*` variables that hand `values` on to another process."""
    return {BY_NAME[name].variable: as_text(value) for name, value in values.items()}


def check_front(settings: Settings) -> None:
    """A front that others can reach asks for a token, unless its operator means it to be open."""
    host = settings["front.host"]
    has_token = settings["front.token"] or settings["front.token_file"]
    if not (has_token or settings["front.open"] or is_loopback(host)):
        raise SettingError(
            f"front.host = {host!r} can be reached from outside, so front.token or front.token_file must be set, or "
            "front.open = true to let everybody in; without these, valid is a loopback address such as 127.0.0.1"
        )


def check_feed(settings: Settings) -> None:
    """An address is that of one exchange."""
    venues = settings["feed.venues"]
    for name in ("feed.ws_url", "feed.rest_url"):
        if settings[name] and len(venues) != 1:
            raise SettingError(
                f"{name} = {settings[name]!r} is the address of one exchange, but feed.venues names {len(venues)} "
                f"({', '.join(venues)}): valid is blank, or one venue in feed.venues"
            )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def role_settings(role: str, argv: Sequence[str]) -> tuple[Settings, int]:
    """What a service's main begins with: its settings, and its index among the processes of its role.

    `argv` holds `--index I --of N` (supervisord's `process_num` and `numprocs`) and any setting as an option.
    On anything wrong, says so on stderr and exits with 2.
    """
    try:
        options, rest = split_options(argv)
        if rest and rest[0] in ("-h", "--help"):
            print(_role_usage(role))
            raise SystemExit(0)
        place = _place(rest)
        settings = _assemble(options, os.environ, None)
        index = place.get("--index", 0)
        _check_place(role, settings, index, place.get("--of"))
        if role == "front":
            check_front(settings)
        if role == "feed":
            check_feed(settings)
    except SettingError as error:
        exit_wrong(role, error)
    return settings, index


def exit_wrong(program: str, error: SettingError) -> NoReturn:
    print(f"{program}: {error}", file=sys.stderr)
    raise SystemExit(2)


def docs_table() -> str:
    """The settings as markdown: the text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Generated from the table in `wick/ops/settings.py`:",
        "`.venv/bin/python -m wick.ops.settings > docs/settings.md`.",
        "",
        "A value comes from, in rising order: the default; `wick.toml` in the project root, or the file that",
        "`WICK_CONFIG` names; the environment; the command line. `front.port` is `port = 8080` under",
        "`[front]` in the file, `WICK_FRONT_PORT=8080` in the environment, and `--front-port 8080` as an",
        "option of a service or of `scripts/run`. A list is separated by commas; in the file it may be a",
        "TOML list.",
    ]
    section = ""
    for setting in SETTINGS:
        if (head := setting.name.partition(".")[0]) != section:
            section = head
            lines += ["", f"## {section}", "", "| setting | default | valid | what |", "|---|---|---|---|"]
        default = f"`{as_text(setting.default)}`" if as_text(setting.default) else "blank"
        lines.append(f"| `{setting.name}` | {default} | {setting.valid} | {setting.help} |")
    return "\n".join(lines) + "\n"


def _assemble(options: Mapping[str, Any], env: Mapping[str, str], file: str | Path | None) -> Settings:
    return Settings(_from_file(env, file) | _from_environment(env) | dict(options))


def _from_file(env: Mapping[str, str], file: str | Path | None) -> dict[str, Any]:
    named = file or env.get(CONFIG_VARIABLE)
    path = Path(named or CONFIG_FILE)
    if not named and not path.exists():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"cannot read the settings file {str(path)!r}: {error.strerror}") from error
    except ValueError as error:  # what is wrong in TOML, and in UTF-8
        raise SettingError(f"the settings file {str(path)!r} is not valid TOML: {error}") from error
    values = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise SettingError(f"{section!r} in {path} stands in no section: valid is a [section] around it")
        for key, value in table.items():
            name = f"{section}.{key}"
            if name not in BY_NAME:
                raise SettingError(f"unknown setting {name!r} in {path}{_nearest(name, BY_NAME)}")
            try:
                values[name] = BY_NAME[name].parse_toml(value)
            except ValueError:
                raise _wrong(BY_NAME[name], value, str(path)) from None
    return values


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in env.items():
        if variable in BY_VARIABLE:
            setting = BY_VARIABLE[variable]
            values[setting.name] = _parse(setting, text, f"environment {variable}")
        elif variable.startswith("WICK_") and not _is_exempt(variable):
            near = _nearest(variable, BY_VARIABLE)
            raise SettingError(f"unknown setting {variable!r} in the environment{near}")
    return values


def _is_exempt(variable: str) -> bool:
    return variable == CONFIG_VARIABLE or variable.startswith(TEST_PREFIX)


def _parse(setting: Setting, text: str, origin: str) -> Any:
    try:
        return setting.parse(text)
    except ValueError:
        raise _wrong(setting, text, origin) from None


def _wrong(setting: Setting, value: Any, origin: str) -> SettingError:
    return SettingError(f"{setting.name} = {value!r} (from {origin}) is wrong: valid is {setting.valid}")


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.partition("=")[0], list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else "; docs/settings.md lists them all"


def _place(arguments: Sequence[str]) -> dict[str, int]:
    """`--index` and `--of`, where given."""
    place = {}
    words = iter(arguments)
    for word in words:
        option, equals, text = word.partition("=")
        if option not in ("--index", "--of"):
            raise SettingError(f"unknown option {word!r}{_nearest(word, [*BY_OPTION, '--index', '--of'])}")
        text = text if equals else next(words, "")
        if not (text.isascii() and text.isdigit()):
            raise SettingError(f"{option} = {text!r} is wrong: valid is a whole number from 0")
        place[option] = int(text)
    return place


def _check_place(role: str, settings: Settings, index: int, count: int | None) -> None:
    if role == "aggregator":
        expected = settings["aggregator.workers"]
        why = (
            f"aggregator.workers is {expected}, and the feed sends to as many; make `numprocs` of "
            "[program:aggregator] in supervisord.conf the same number"
        )
    else:
        expected = count if role == "front" and count else 1
        why = f"there is one {role} only"
    if count not in (None, expected):
        raise SettingError(f"--of = {count} is wrong: valid is {expected}; {why}")
    if index >= expected:
        raise SettingError(f"--index = {index} is wrong: valid is a whole number from 0 to {expected - 1}")


def _role_usage(role: str) -> str:
    lines = [f"usage: services/{role}.py [--index I --of N] [--<setting> value ...]", "", "settings:"]
    lines += [f"  {setting.option:28} {setting.help} [{as_text(setting.default)}]" for setting in SETTINGS]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(docs_table())
