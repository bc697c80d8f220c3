"""supervisord.conf: that it says what the rest of the project relies on."""

from configparser import RawConfigParser
from pathlib import Path

import pytest

from wick.ops.settings import BY_NAME
from wick.ops.supervise import STOP_TIMEOUT_S

ROOT = Path(__file__).parents[2]
ROLES = [path.stem for path in (ROOT / "services").glob("*.py")]


@pytest.fixture(scope="module")
def conf() -> RawConfigParser:
    parser = RawConfigParser()
    parser.read(ROOT / "supervisord.conf")
    return parser


def test_there_is_one_program_a_service(conf: RawConfigParser) -> None:
    programs = [section.partition(":")[2] for section in conf.sections() if section.startswith("program:")]
    assert sorted(programs) == sorted(ROLES)


def test_consumers_start_before_producers_and_the_exchange_stops_last(conf: RawConfigParser) -> None:
    by_priority = sorted(ROLES, key=lambda role: conf.getint(f"program:{role}", "priority"))
    assert by_priority == ["exchange", "sink", "front", "aggregator", "feed"]


def test_supervisord_starts_as_many_workers_as_the_feed_expects(conf: RawConfigParser) -> None:
    assert conf.getint("program:aggregator", "numprocs") == BY_NAME["aggregator.workers"].default


def test_only_scripts_run_starts_the_exchange(conf: RawConfigParser) -> None:
    by_hand = [role for role in ROLES if not conf.getboolean(f"program:{role}", "autostart", fallback=True)]
    assert by_hand == ["exchange"]


@pytest.mark.parametrize("role", ROLES)
def test_every_program_restarts_drains_and_rotates_its_log(conf: RawConfigParser, role: str) -> None:
    program = dict(conf[f"program:{role}"])
    service = f"%(here)s/.venv/bin/python %(here)s/services/{role}.py"
    assert program["command"] == f"{service} --index %(process_num)d --of %(numprocs)d"
    assert (program["autorestart"], program["stopsignal"]) == ("true", "TERM")
    assert program["stdout_logfile"].startswith("%(here)s/var/log/")
    assert {"stdout_logfile_maxbytes", "stdout_logfile_backups", "startretries"} <= program.keys()
    assert int(program["stopwaitsecs"]) * len(ROLES) < STOP_TIMEOUT_S
