"""Where sockets live: what is wrong with the directory is told before anything is bound."""

from pathlib import Path

import pytest

from wick.errors import SettingError
from wick.net import endpoints


def test_the_directory_of_sockets_is_made_and_only_its_owner_can_enter(tmp_path: Path) -> None:
    made = endpoints.run_dir(tmp_path / "new" / "data")
    assert made.stat().st_mode & 0o777 == 0o700
    assert endpoints.run_dir(tmp_path / "new" / "data") == made


def test_a_directory_that_cannot_be_made_is_named_with_its_setting_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(SettingError, match=r"core.data_dir = '.*data' cannot be written to: Not a directory; valid is"):
        endpoints.run_dir(tmp_path / "data")


def test_a_directory_that_may_not_be_written_is_refused_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.run_dir(tmp_path)
    monkeypatch.setattr("os.access", lambda path, _mode: path != tmp_path / "run")  # root may write everywhere
    with pytest.raises(SettingError, match="cannot be written to: Permission denied"):
        endpoints.run_dir(tmp_path)


def test_a_path_longer_than_a_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="longer than the 107 bytes that Linux allows"):
        endpoints.pub(tmp_path / ("x" * 100), "feed-0")
