"""`scripts/run`: all processes in the foreground under supervisord, until Ctrl-C; then they drain and stop.

What is asked for becomes `WICK_*` variables, which supervisord's children inherit. What can be found wrong is
found before anything starts.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import wick
from wick import exchanges
from wick.errors import ParseError, SettingError, WickError
from wick.net import endpoints
from wick.ops import preflight
from wick.ops import settings as table
from wick.ops.preflight import InUseError
from wick.ops.process import ALREADY_RUNNING
from wick.ops.settings import Settings
from wick.ops.supervise import Supervisor
from wick.storage import recordings

ROOT = Path(wick.__file__).parents[1]

HELP = "run everything in the foreground: demo, live or replay"
USAGE = """\
usage: scripts/run [demo]                                  the built-in demo exchange
       scripts/run live VENUE SYMBOL ... [VENUE ...]       real exchanges: live binance BTCUSDT kraken BTC-USD ETH-USD
       scripts/run replay FILE ... [--speed NUMBER|max]    recordings; speed 1 unless told otherwise
options: --<setting> VALUE, for every setting of docs/settings.md: scripts/run --front-port 9000
Ctrl-C drains and stops everything. Exit codes: 0 stopped as asked, 1 something failed, 2 wrong usage,
3 already running or a port in use."""

FAILED, WRONG_USAGE = 1, 2
START_TIMEOUT_S = 30.0  # a start takes two seconds or three; here something is wrong without a word
POLL_S = 0.1
ONE_REQUEST_S = 1.0  # `timeout` and shells may send a signal twice; later ones mean "at once"


class UsageError(WickError):
    """The command line makes no sense."""


class Plan(NamedTuple):
    """What to run: the mode, what it implies, and the settings that were given as options."""

    mode: str
    implied: dict[str, Any]
    given: dict[str, Any]

    @property
    def is_simulated(self) -> bool:
        return self.mode != "live"


def main(argv: Sequence[str]) -> int:
    if "-h" in argv or "--help" in argv:
        print(USAGE)
        return 0
    try:
        plan = parse(argv)
        if config := os.environ.get(table.CONFIG_VARIABLE):  # named from where we stand, read from the root
            os.environ[table.CONFIG_VARIABLE] = str(Path(config).absolute())
        os.chdir(ROOT)
        settings = settle(plan, os.environ)
        preflight.check_front(settings)
        preflight.check_feed(settings)
        preflight.check_workers(settings, ROOT)
        preflight.check_socket_path(ROOT)
        with preflight.take_place(settings, ROOT):
            preflight.check_ports(settings, with_exchange=plan.is_simulated)
            if plan.is_simulated:
                share_sockets(Path(settings["core.data_dir"]))
            endpoints.run_dir(settings["core.data_dir"])
            if plan.mode == "replay":
                forget_last_replay(Path(settings["core.data_dir"]))
            if not plan.is_simulated:
                if doubt := preflight.check_symbols(settings):
                    _say(doubt, error=True)
                else:
                    warm(settings)
            return run(plan, settings)
    except (UsageError, SettingError) as error:
        _say(str(error), error=True)
        return WRONG_USAGE
    except InUseError as error:
        _say(str(error), error=True)
        return ALREADY_RUNNING
    except KeyboardInterrupt:  # before anything was started
        _say("stopped")
        return 0


def parse(argv: Sequence[str]) -> Plan:
    given, words = table.split_options([_unabbreviated(word) for word in argv])
    if wrong := next((word for word in words if word.startswith("-")), None):
        raise UsageError(f"unknown option {wrong!r}\n{USAGE}")
    mode, names = (words[0], words[1:]) if words else ("demo", [])
    if mode == "demo" and not names:
        return Plan(mode, {"feed.symbols": ("*",), "exchange.files": ()}, given)
    if mode == "live" and names:
        return Plan(mode, _live(names), given)
    if mode == "replay" and names:
        return Plan(mode, {"feed.symbols": ("*",), "exchange.files": _files(names)}, given)
    raise UsageError(f"cannot make sense of {' '.join(words)!r}\n{USAGE}")


def _unabbreviated(word: str) -> str:
    """`--speed` is short for the option of its setting."""
    name, equals, value = word.partition("=")
    return f"--exchange-speed{equals}{value}" if name == "--speed" else word


def _live(words: Sequence[str]) -> dict[str, Any]:
    """Venues, each followed by its symbols."""
    wanted: dict[str, list[str]] = {}
    venue_id = ""
    for word in words:
        if word in exchanges.ids():
            venue_id = word
            wanted.setdefault(venue_id, [])
        elif not venue_id:
            raise UsageError(f"unknown venue {word!r}: valid is {' or '.join(exchanges.ids())}")
        else:
            try:
                wanted[venue_id].append(word if word == "*" else exchanges.load(venue_id).native(word.upper()))
            except ParseError as error:
                raise UsageError(f"no symbol of {venue_id}: {error}") from None
    if bare := next((name for name, symbols in wanted.items() if not symbols), None):
        raise UsageError(f"{bare} of what? A venue is followed by its symbols, or by '*'")
    named = [name if len(wanted) == 1 else f"{venue}:{name}" for venue, names in wanted.items() for name in names]
    return {"feed.venues": tuple(wanted), "feed.symbols": tuple(dict.fromkeys(named))}


def _files(names: Sequence[str]) -> tuple[str, ...]:
    """Files, directories and patterns as absolute paths; what they stand for is there and can be read."""
    paths = [str(Path(name).absolute()) for name in names]
    if comma := next((path for path in paths if "," in path), None):
        raise UsageError(f"cannot play {comma!r}: a comma separates the names of a list; rename it")
    if secret := next((path for path in recordings.files_of(paths) if not os.access(path, os.R_OK)), None):
        raise UsageError(f"cannot play {str(secret)!r}: no permission to read it")
    complaints: list[str] = []
    found = recordings.find(recordings.files_of(paths), lambda place, error: complaints.append(f"{place}: {error}"))
    if not any(recording.kind == "capture" for recording in found):
        said = "; ".join(complaints) or "a trade dump has no frames to play"
        raise UsageError(f"cannot play {', '.join(names)}: no raw capture among the files ({said})")
    return tuple(paths)


def settle(plan: Plan, env: MutableMapping[str, str]) -> Settings:
    """The settings in force, after putting them into the environment, for the children.

    Options win over the mode, and the mode wins over the environment and wick.toml: a demo is a demo,
    whatever exchange and store are configured for earnest.
    """
    env.update(table.to_environment(plan.given))
    settings = table.load(env=env)
    values = plan.implied | plan.given
    if plan.is_simulated:
        address = f"127.0.0.1:{settings['exchange.port']}"
        secure = "s" if settings["exchange.certificate"] else ""
        values = {
            "feed.venues": (settings["exchange.venue"],),
            "feed.ws_url": f"ws{secure}://{address}",
            "feed.rest_url": f"http{secure}://{address}",
            "store.url": "",
        } | values
        # Simulated trades must never get among real ones: neither in the tick log nor in the store.
        values["core.data_dir"] = str(Path(settings["core.data_dir"]) / plan.mode)
    env.update(table.to_environment(values))
    return table.load(env=env)


def warm(settings: Settings) -> None:
    """Candles for the metrics to begin with."""
    from wick.cli._report import StatusLine
    from wick.roles import first_start  # it needs numpy, which nothing else here does

    status = StatusLine()

    def say(text: str) -> None:
        status.clear()
        _say(text)

    first_start.warm(settings, say, lambda text: status.show(f"wick: candles for the metrics: {text}"))
    status.clear()


def share_sockets(data_dir: Path) -> None:
    """Only the data are apart: a simulation's sockets are where `wick status` and the like look for them."""
    link = data_dir / "run"
    endpoints.run_dir(data_dir.parent)
    data_dir.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(Path("..") / "run", target_is_directory=True)


def forget_last_replay(data_dir: Path) -> None:
    """A replay begins with nothing: what is left of the last one would make its trades duplicates."""
    for path in data_dir.glob("candles.sqlite*"):
        path.unlink()
    for name in ("ticklog", "shards"):  # a worker's checkpoints go with the log that they go on from
        shutil.rmtree(data_dir / name, ignore_errors=True)


def run(plan: Plan, settings: Settings) -> int:
    asked: list[float] = []  # when a signal came
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # not under nohup
            signal.signal(number, lambda *_: asked.append(time.monotonic()))
    _say(f"starting ({_describe(plan, settings)})")
    supervisor = Supervisor(ROOT)
    code = FAILED
    try:
        supervisor.start(also=["exchange"] if plan.is_simulated else [])
        code = _watch(supervisor, settings, asked)
    finally:
        _say("stopping")
        complaints = supervisor.stop(is_urgent=lambda: bool(asked) and asked[-1] - asked[0] > ONE_REQUEST_S)
    for complaint in complaints:
        _say(complaint, error=True)
    code = code or (FAILED if complaints else 0)
    _say("stopped" if not code else f"stopped, with exit code {code}")
    return code


def _describe(plan: Plan, settings: Settings) -> str:
    if plan.mode == "demo":
        return f"demo exchange with the wire of {settings['exchange.venue']}, {settings['exchange.symbols']} symbols"
    if plan.mode == "replay":
        return f"replay of {len(settings['exchange.files'])} file(s) at speed {settings['exchange.speed']}"
    return f"{', '.join(settings['feed.venues'])}: {', '.join(settings['feed.symbols'])}"


def _watch(supervisor: Supervisor, settings: Settings, asked: list[float]) -> int:
    """Until a stop is asked for (0), or a process cannot be kept alive (the exit code that says so)."""
    is_ready = False
    deadline = time.monotonic() + START_TIMEOUT_S
    while not asked:
        for news in supervisor.news():
            _say(news.text, error=True)
            if news.code is not None:
                return news.code
        if not is_ready and supervisor.is_up() and preflight.answers(settings):
            is_ready = True
            _say(preflight.page_address(settings))
            _say(f"Ctrl-C stops everything; logs in var/log, data in {settings['core.data_dir']}")
        if not is_ready and time.monotonic() > deadline:
            _say(f"there is no page after {START_TIMEOUT_S:.0f} s\n{supervisor.tail('front-0')}", error=True)
            return FAILED
        time.sleep(POLL_S)
    return 0


def _say(text: str, error: bool = False) -> None:
    try:
        print(f"wick: {text}", file=sys.stderr if error else sys.stdout, flush=True)
    except OSError:
        pass  # whoever listened is gone, as with `| head`: that is no reason not to stop in good order


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
