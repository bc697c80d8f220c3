"""scripts/run, scripts/setup and supervisord.conf as a person meets them, in a copy of the project."""

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
NOT_COPIED = (".git", ".venv", ".venv.lock", "var", "wick.toml", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
PROGRAMS = ("sink", "front:front-0", "aggregator:aggregator-0", "aggregator:aggregator-1", "feed", "exchange")
PATIENCE_S = 90.0
PROMISE_S = 10.0  # from the start to the page's address

T = TypeVar("T")

pytestmark = pytest.mark.slow


def wait_for(probe: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first true answer of `probe`."""
    deadline = time.monotonic() + patience_s
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"{what} did not come within {patience_s:.0f} s"
        time.sleep(0.05)
    return answer


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Started:
    """A `scripts/run` that runs, and all that it has said."""

    def __init__(self, project: "Project", arguments: tuple[str, ...], env: dict[str, str]) -> None:
        self.output_path = project.root / "var" / f"output-{time.monotonic_ns()}"
        self.started = time.monotonic()
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [project.root / "scripts" / "run", *arguments],
                env=project.env | env, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def address(self) -> str:
        def find() -> str:
            assert self.process.poll() is None, self.output
            found = re.search(r"^wick: (http://\S+)$", self.output, re.MULTILINE)
            return found[1] if found else ""

        return wait_for(find, "the page's address")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


class Project:
    """A copy of the project with ports of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.exchange_port = free_port()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("WICK_")} | {
            "WICK_FRONT_PORT": str(self.port),
            "WICK_EXCHANGE_PORT": str(self.exchange_port),
            "WICK_EXCHANGE_SYMBOLS": "20",
        }

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> Started:
        return Started(self, arguments, env or {})

    def refused(self, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        """The exit code and the words of a start that comes to nothing."""
        command = [self.root / "scripts" / "run", *arguments]
        done = subprocess.run(
            command, env=self.env | (env or {}), cwd=self.root, capture_output=True, text=True, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    def supervisorctl(self, *arguments: str) -> str:
        command = [self.root / ".venv/bin/python", "-m", "supervisor.supervisorctl", *arguments]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False).stdout

    def states(self) -> dict[str, str]:
        return {line.split()[0]: line.split()[1] for line in self.supervisorctl("status").splitlines()}

    def is_fed(self) -> bool:
        """Whether trades reach the front: all programs do more than begin."""
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=30).status == 200
        except OSError:
            return False

    def processes(self) -> dict[int, str]:
        """Everything that runs out of this directory."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.root) in command:
                found[int(path.parent.name)] = command
        return found

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """The copy, under a short path (a Unix socket's is limited), with an environment that borrows our packages."""
    with TemporaryDirectory(prefix="wick-", dir="/tmp") as directory:
        root = Path(directory) / "wick"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*NOT_COPIED))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / ".venv"], check=True)
        (site,) = (root / ".venv").glob("lib/python*/site-packages")
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "borrowed.pth").write_text(f"{root}\n{ours}\n")
        command = f"cat '{root}/setup.cfg' '{root}/pyproject.toml' | cksum"
        wanted = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
        (root / ".venv" / ".wick-installed").write_text(f"{wanted}extras none\n")
        yield root


@pytest.fixture
def project(built: Path) -> Iterator[Project]:
    """The copy as after a clone and scripts/setup; whatever a failed test has left there is ended."""
    shutil.rmtree(built / "var", ignore_errors=True)
    subprocess.run([built / "scripts" / "setup"], check=True)
    project = Project(built)
    yield project
    for pid in project.processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for(lambda: not project.processes(), "the end of every process")


# ---------------------------------------------------------------------- a demo from start to stop


def test_a_demo_shows_its_page_in_time_mends_itself_and_stops_without_a_trace(project: Project) -> None:
    demo = project.start()
    address = demo.address()
    assert time.monotonic() - demo.started < PROMISE_S
    assert address == f"http://127.0.0.1:{project.port}/"
    with urllib.request.urlopen(address, timeout=30) as page:
        assert page.status == 200
        assert b"<html" in page.read()
    wait_for(lambda: len(project.get("/api/v1/symbols")) >= 15, "data of most symbols")
    wait_for(lambda: project.states() == dict.fromkeys(PROGRAMS, "RUNNING"), "RUNNING of all programs")

    command = [project.root / ".venv/bin/python", "-c", "import sys, wick.cli; sys.exit(wick.cli.main(['status']))"]
    status = subprocess.run(command, cwd=project.root, env=project.env, capture_output=True, text=True, check=True)
    assert "feed-0" in status.stdout

    code, words = project.refused()
    assert code == 3
    assert f"already running in {project.root}: process {demo.process.pid}, {address}" in words
    assert f"kill {demo.process.pid}" in words

    killed = {int(project.supervisorctl("pid", program)) for program in PROGRAMS}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not killed & project.processes().keys(), "the end of the killed")
    # Before it has noticed their end, supervisord calls them RUNNING.
    said = "feed ended (terminated by SIGKILL) and is started again; see var/log/feed.log"
    wait_for(lambda: said in demo.output, "what the run says of it")
    wait_for(lambda: project.states() == dict.fromkeys(PROGRAMS, "RUNNING"), "RUNNING of all programs again")

    assert demo.stop() == 0
    assert demo.output.endswith("wick: stopping\nwick: stopped\n")
    assert project.processes() == {}
    assert (project.root / "var/demo/candles.sqlite").exists()
    assert not (project.root / "var/candles.sqlite").exists(), "a demo's candles are among the real ones"


def test_a_stop_drains_producers_before_consumers_one_group_after_another(project: Project) -> None:
    demo = project.start("demo")
    demo.address()
    wait_for(lambda: project.states() == dict.fromkeys(PROGRAMS, "RUNNING"), "RUNNING of all programs")
    wait_for(project.is_fed, "trades in the front")
    assert demo.stop(signal.SIGTERM) == 0
    log = (project.root / "var/log/supervisord.log").read_text()
    stops = re.findall(r"stopped: (\S+) \((.*)\)", log)
    assert {how for _, how in stops} == {"exit status 0"}
    order = [name.partition("-")[0] for name, _ in stops]
    assert list(dict.fromkeys(order)) == ["feed", "aggregator", "front", "sink", "exchange"]
    assert order == sorted(order, key=["feed", "aggregator", "front", "sink", "exchange"].index)


def test_a_shutdown_by_supervisorctl_is_a_stop_like_any_other(project: Project) -> None:
    demo = project.start()
    demo.address()
    project.supervisorctl("shutdown")
    assert demo.process.wait(PATIENCE_S) == 0
    assert project.processes() == {}


def test_nothing_outlives_a_killed_run(project: Project) -> None:
    demo = project.start()
    demo.address()
    assert len(project.processes()) > len(PROGRAMS)
    assert demo.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not project.processes(), "the end of every process")


def test_nothing_outlives_a_killed_supervisord_and_the_run_says_so(project: Project) -> None:
    demo = project.start()
    demo.address()
    os.kill(int(project.supervisorctl("pid")), signal.SIGKILL)
    assert demo.process.wait(PATIENCE_S) == 1
    assert project.processes() == {}
    assert "supervisord ended (SIGKILL)" in demo.output
    assert "supervisord had left processes behind, which were ended: " in demo.output


# ---------------------------------------------------------------------- other modes


def trades(first_id: int, count: int) -> Iterator[bytes]:
    """Lines of a capture: a trade a second."""
    for number in range(count):
        time_ms = 1_723_075_200_000 + 1000 * number  # from a full minute on
        event = {"e": "trade", "E": time_ms, "s": "BTCUSDT", "t": first_id + number, "p": "100.5", "q": "0.5",
                 "T": time_ms, "m": False, "M": True}  # fmt: skip
        frame = json.dumps({"stream": "btcusdt@trade", "data": event}, separators=(",", ":"))
        yield b"%d %s\n" % (time_ms * 1_000_000, frame.encode())


def test_a_replay_gives_the_same_candles_each_time(project: Project, tmp_path: Path) -> None:
    capture = tmp_path / "capture.gz"
    capture.write_bytes(gzip.compress(b"".join(trades(1, 300))))
    query = "/api/v1/candles?venue=binance&symbol=BTC-USDT&interval=1m"

    def trade_counts() -> list[int]:
        try:
            answer = project.get(query)
        except OSError:
            return []
        return [row[answer["columns"].index("trade_count")] for row in answer["rows"]]

    for _ in range(2):
        replay = project.start("replay", os.path.relpath(capture, "/"), "--speed", "max")
        replay.address()
        wait_for(lambda: trade_counts() == [60] * 5, "five candles with a trade a second")
        assert replay.process.poll() is None, "a replay that is through stays up"
        assert replay.stop() == 0


def test_live_reads_the_named_symbols_and_refuses_one_that_is_not_listed(project: Project) -> None:
    venue = {
        "WICK_FEED_WS_URL": f"ws://127.0.0.1:{project.exchange_port}",
        "WICK_FEED_REST_URL": f"http://127.0.0.1:{project.exchange_port}",
    }
    command = [project.root / ".venv/bin/python", project.root / "services/exchange.py"]
    exchange = subprocess.Popen(command, env=project.env, cwd=project.root, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(project.exchange_port), "the exchange")
        code, words = project.refused("live", "binance", "BTCUSDT", "ETHUSTD", env=venue)
        assert code == 2
        assert "feed.symbols: binance does not list 'ETHUSTD'; did you mean ETHUSDT" in words

        live = project.start("live", "binance", "BTCUSDT", "eth-usdt", env=venue)
        live.address()
        wait_for(lambda: len(project.get("/api/v1/symbols")) == 2, "both symbols")
        assert {row["symbol"] for row in project.get("/api/v1/symbols")} == {"BTC-USDT", "ETH-USDT"}
        assert "exchange" not in {name for name, state in project.states().items() if state == "RUNNING"}
        assert live.stop() == 0
    finally:
        exchange.terminate()
        exchange.wait(PATIENCE_S)


def test_an_operators_own_supervisord_runs_without_the_exchange_and_is_noticed(project: Project) -> None:
    nowhere = {"WICK_FEED_WS_URL": f"ws://127.0.0.1:{project.exchange_port}",
               "WICK_FEED_REST_URL": f"http://127.0.0.1:{project.exchange_port}"}  # fmt: skip
    command = [project.root / ".venv/bin/python", "-m", "supervisor.supervisord", "-n", "-c", "supervisord.conf"]
    daemon = subprocess.Popen(command, cwd=project.root, env=project.env | nowhere, stdout=subprocess.DEVNULL)
    expected = dict.fromkeys(PROGRAMS, "RUNNING") | {"exchange": "STOPPED"}
    wait_for(lambda: project.states() == expected, "RUNNING of all programs but the exchange")
    code, words = project.refused()
    assert code == 3
    assert f"supervisord, process {daemon.pid}, which scripts/run did not start" in words
    project.supervisorctl("restart", "aggregator:*")
    wait_for(lambda: project.states() == expected, "RUNNING after a restart of the workers")
    daemon.terminate()
    assert daemon.wait(PATIENCE_S) == 0
    assert project.processes() == {}


# ---------------------------------------------------------------------- what is refused, and how it is told


@pytest.mark.parametrize("name", ["front", "exchange"])
def test_a_port_in_use_is_told_with_the_setting_and_another_port(project: Project, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, words = project.refused(env={f"WICK_{name.upper()}_PORT": str(port)})
    assert code == 3
    assert f"{name}.port = {port}: another program listens on 127.0.0.1 port {port}" in words
    assert re.search(rf"scripts/run --{name}-port \d+ \(or WICK_{name.upper()}_PORT, or wick.toml\)", words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["live", "nasdaq", "X"], "unknown venue 'nasdaq': valid is binance"),
        (["live", "binance"], "binance of what? A venue is followed by its symbols"),
        (["demo", "now"], "cannot make sense of 'demo now'"),
        (["--front-prot", "1"], "unknown option '--front-prot'"),
        (["--front-port", "http"], "front.port = 'http' (from option --front-port) is wrong"),
        (["--front-host", "0.0.0.0"], "front.host = '0.0.0.0' can be reached from outside"),
        (["--front-host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["--aggregator-workers", "3"], "aggregator.workers = 3, but supervisord.conf starts 2"),
        (["replay", "missing.gz"], "missing.gz' is wrong: valid is a capture file"),
        (["replay", "scripts/run", "--speed", "0"], "exchange.speed = '0'"),
    ],
)
def test_wrong_usage_says_what_is_valid(project: Project, arguments: list[str], words: str) -> None:
    env = {"WICK_FRONT_TOKEN": "x"} if "203.0.113.7" in arguments else {}
    code, said = project.refused(*arguments, env=env)
    assert words in said
    assert code == 2
    assert project.processes() == {}


def test_a_process_that_does_not_come_up_is_told_with_the_end_of_its_log(project: Project) -> None:
    service = project.root / "services" / "aggregator.py"
    text = service.read_text()
    service.write_text("raise SystemExit('the disk is on fire')\n")
    try:
        code, words = project.refused()
    finally:
        service.write_text(text)
    assert code == 1
    assert "does not come up" in words
    assert "--- the end of var/log/aggregator-" in words
    assert "the disk is on fire" in words
    assert project.processes() == {}


def test_a_process_with_hopeless_settings_ends_the_run_at_once(project: Project) -> None:
    (project.root / "services" / "sink.py").rename(project.root / "sink.kept")
    (project.root / "services" / "sink.py").write_text("import sys\nprint('sink: no')\nsys.exit(2)\n")
    try:
        code, words = project.refused()
    finally:
        (project.root / "sink.kept").replace(project.root / "services" / "sink.py")
    assert code == 2
    assert "sink cannot run (exit status 2)\n--- the end of var/log/sink.log\nsink: no\n" in words


# ---------------------------------------------------------------------- scripts/setup


def setup(project: Project, **env: str) -> tuple[int, str]:
    done = subprocess.run(
        [project.root / "scripts" / "setup"], env=project.env | env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.fixture
def without_environment(project: Project) -> Iterator[Project]:
    (project.root / ".venv").rename(project.root / "venv.kept")
    yield project
    shutil.rmtree(project.root / ".venv", ignore_errors=True)
    (project.root / "venv.kept").rename(project.root / ".venv")


def test_setup_does_nothing_and_says_nothing_when_all_is_there(project: Project) -> None:
    assert setup(project) == (0, "")


def test_setup_without_a_python_says_how_to_get_one(without_environment: Project, tmp_path: Path) -> None:
    for tool in ("sh", "dirname", "mkdir", "cat", "cksum", "flock", "rm", "grep"):
        if found := shutil.which(tool):
            (tmp_path / tool).symlink_to(found)
    code, words = setup(without_environment, PATH=str(tmp_path))
    assert code == 1
    assert "setup: no Python 3.11 or newer on the PATH." in words
    assert "sudo apt install python3 python3-venv" in words


def test_setup_refuses_a_python_that_is_too_old_or_none(without_environment: Project, tmp_path: Path) -> None:
    assert setup(without_environment, PYTHON="/bin/false")[0] == 1
    assert "PYTHON='/bin/false' is no Python 3.11 or newer." in setup(without_environment, PYTHON="/bin/false")[1]


def test_setup_names_the_package_of_a_missing_venv_module(without_environment: Project, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    code, words = setup(without_environment, PYTHON=str(python))
    assert code == 1
    assert f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in words


def test_setup_without_a_network_says_so_and_is_whole_at_the_next_try(without_environment: Project) -> None:
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null"}
    code, words = setup(without_environment, **offline, PYTHON=sys.executable)
    assert code == 1
    assert "could not install wick's packages" in words
    assert "Offline, or behind a proxy?" in words
    assert not (without_environment.root / ".venv" / ".wick-installed").exists()
