"""Where each process's sockets live: names in `<data_dir>/run`, which only its owner can enter."""

import errno
import os
from pathlib import Path

from wick.errors import SettingError

MAX_PATH = 107  # sun_path of a Unix socket is 108 bytes with its final zero


def run_dir(data_dir: str | Path) -> Path:
    """The directory of sockets and locks; made, and closed to others, if it is not there. SettingError where nothing
    can be written there."""
    path = Path(data_dir) / "run"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise SettingError(
            f"core.data_dir = {str(data_dir)!r} cannot be written to: {error.strerror}; "
            "valid is a directory of the user that wick runs as, or one that can be made"
        ) from None
    return path


def _ipc(data_dir: str | Path, name: str) -> str:
    path = str(Path(data_dir) / "run" / name)
    if len(path.encode()) > MAX_PATH:
        raise SettingError(
            f"core.data_dir = {str(data_dir)!r} makes the socket path {path!r} longer than the {MAX_PATH} bytes "
            "that Linux allows; valid is a shorter directory"
        )
    return f"ipc://{path}"


def ticks(data_dir: str | Path, worker: int) -> str:
    return _ipc(data_dir, f"ticks-{worker}.ipc")


def pub(data_dir: str | Path, process: str) -> str:
    return _ipc(data_dir, f"{process}.pub")


def publishers(data_dir: str | Path) -> set[str]:
    """The processes that have, or have had, a PUB socket."""
    return {path.stem for path in (Path(data_dir) / "run").glob("*.pub")}


def rpc(data_dir: str | Path, worker: int) -> str:
    return _ipc(data_dir, f"aggregator-{worker}.rpc")
