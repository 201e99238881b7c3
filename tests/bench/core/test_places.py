"""The user's folders, also where no shell has expanded a `~` and where there is no home folder."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from seqdis.bench.cli import main
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.places import config_folder, data_root, user_path


def test_tilde_of_a_variable_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "SEQDIS_DATA"):
        monkeypatch.setenv(name, "~/mine")
    assert data_root() == tmp_path / "mine"
    assert config_folder() == tmp_path / "mine" / "seqdis"
    monkeypatch.delenv("SEQDIS_DATA")
    assert data_root() == tmp_path / "mine" / "seqdis"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == tmp_path / ".cache" / "seqdis"
    assert user_path("a/~b") == Path("a/~b")


def test_tilde_of_an_option_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["table", "--out=~/none"]) == 2
    assert f"{tmp_path}/none does not exist" in capsys.readouterr().err


def test_no_home_folder_is_one_sentence_unless_a_variable_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("SEQDIS_DATA", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(UserError, match="set HOME"):
        data_root()
    monkeypatch.setenv("SEQDIS_DATA", "/data")
    assert data_root() == Path("/data")
