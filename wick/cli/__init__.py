"""The `wick` command. One file a command in this package.

A command's file has `HELP` (a line), `add_arguments(parser)` and `run(args) -> exit status`; or, where it
reads its own arguments, `main(argv) -> exit status`. Only the command that is asked for is imported:
`wick --help` reads `HELP` from the sources, so it is instant and no command pays for what another needs.

Exit status: 0 all of it was done, 1 not all (standard error says what), 2 wrong usage or setting,
130 interrupted, 141 nobody reads the output any more.
"""

import argparse
import ast
import os
import sys
from importlib import import_module
from pathlib import Path

from wick import __version__
from wick.errors import SettingError, WickError

DONE, FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

_HERE = Path(__file__).parent


def commands() -> dict[str, str]:
    """The commands that there are, each with its line of help."""
    found = {}
    for path in sorted(_HERE.glob("[!_]*.py")):
        tree = ast.parse(path.read_bytes())
        if {"add_arguments", "main"} & {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            found[path.stem] = _help(tree)
    return found


def _help(tree: ast.Module) -> str:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP":
            return str(ast.literal_eval(node.value))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _run(argv: list[str]) -> int:
    name = argv[0] if argv else ""
    if not name.isidentifier() or name.startswith("_") or name not in commands():
        _overview().parse_args(argv or ["--help"])
        return USAGE
    command = import_module(f"{__name__}.{name}")
    if not hasattr(command, "add_arguments"):
        return int(command.main(argv[1:]))
    parser = argparse.ArgumentParser(
        prog=f"wick {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(argv[1:])))


def _overview() -> argparse.ArgumentParser:
    """What answers `wick --help`, `wick --version` and a command that there is not."""
    parser = argparse.ArgumentParser(prog="wick", description="Real-time crypto market data.")
    parser.add_argument("--version", action="version", version=f"wick {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in commands().items():
        subparsers.add_parser(name, help=text.replace("%", "%%"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except SystemExit as stop:  # argparse: after --help, or with its own message about wrong usage
        return stop.code if isinstance(stop.code, int) else DONE if stop.code is None else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except SettingError as error:
        print(f"wick: {error}", file=sys.stderr)
        return USAGE
    except WickError as error:
        print(f"wick: {error}", file=sys.stderr)
        return FAILED


def _silence_stdout() -> None:
    """The interpreter flushes standard output at exit: without a reader that would print a second error."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
