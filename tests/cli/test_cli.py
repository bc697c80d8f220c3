"""The frame of the `wick` command: discovery, help, exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from wick import __version__, cli
from wick.errors import SettingError, StoreError


def test_help_lists_every_command_with_its_line(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    commands = cli.commands()
    assert {"candles", "replay"} <= commands.keys()
    for name, text in commands.items():
        assert text, f"{name} has no HELP"
        assert f"    {name} " in shown


@pytest.mark.parametrize("name", cli.commands())
def test_every_command_explains_itself(name, capsys):
    assert cli.main([name, "--help"]) == 0
    assert "usage:" in capsys.readouterr().out


def test_help_loads_no_command():
    code = (
        "import sys; from wick.cli import main; main(['--help']);"
        "sys.exit(sorted({'numpy', 'gevent', 'zmq', 'orjson', 'wick.cli.candles'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path(cli.__file__).parents[2])


def test_a_command_that_there_is_not_is_wrong_usage_and_the_valid_ones_are_named(capsys):
    assert cli.main(["candels"]) == 2
    assert "candles" in capsys.readouterr().err
    assert cli.main(["_report"]) == 2
    assert cli.main([]) in (0, 2)


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"wick {__version__}\n"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (SettingError("front.port = 'x' is wrong"), 2, "wick: front.port = 'x' is wrong\n"),
        (StoreError("disk full"), 1, "wick: disk full\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_errors_become_exit_statuses(error, status, said, monkeypatch, capsys):
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    monkeypatch.setattr(cli, "_silence_stdout", lambda: None)
    assert cli.main([]) == status
    assert capsys.readouterr().err == said
