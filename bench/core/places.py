"""The folders of the user's that the suite reads and writes. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from seqdis.bench.core.errors import UserError


def user_path(path: str | Path) -> Path:
    """A path as the user means it: `~` is the home folder also where no shell has expanded it.

    Raises:
        UserError: there is no such home folder (no HOME and a user id without a name, or an unknown user).
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: there is no such home folder; set HOME, or name the folder with --data-dir or SEQDIS_DATA (data) "
            "or by its whole path."
        ) from None


def data_root() -> Path:
    """The folder of prepared data: $SEQDIS_DATA, else the user's cache folder.

    Raises:
        UserError: the user has no home folder.
    """
    configured = os.environ.get("SEQDIS_DATA")
    if configured:
        return user_path(configured)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "seqdis"


def config_folder() -> Path:
    """The folder of the user's own settings.

    Raises:
        UserError: the user has no home folder.
    """
    return user_path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "seqdis"
